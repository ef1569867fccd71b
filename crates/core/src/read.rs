//! Reads: pure questions about rows at one moment, behind whatever barrier the caller wants.
//!
//! `now` is the larger of the machine's clock and the stamp that came with a confirmed read index:
//! a read may call something expired by the clocks' bound earlier than apply does, never later.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::access::{self, Access, AccessClaims, RowFacts};
use crate::admission;
use crate::command::{Binding, Presented, RecordKindSettings, RequestName, Rotate};
use crate::family::rotate::{self, Presentation};
use crate::family::{self, Place, opaque};
use crate::ids::{ClientId, FamilyId, KeyDigest, RecordKind, SecretDigest, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::machine::Meta;
use crate::record::{kind, view};
use crate::reply::{FamilyView, RecordPage, RecordView, Refusal, Reply, TenantView};
use crate::tables::{ReadTables, TablesError};
use crate::tenant::{self, Tenant};

pub use crate::family::list::{FamilyCursor, FamilyQuery, FamilySlice};
pub use crate::lease::view::{flight, lock, next_lease_due, settled};
pub use crate::mac::TenantKeys;
pub use crate::revocation::view::{
    Counted, DueSweep, MatchWalk, next_revocation_sweep, revocation,
};
pub use crate::session::list::{session, session_clients, sessions};

/// What a look at a rotation found.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// The answer. Nothing needs to change for it.
    Settled(Reply),
    /// It changes rows or raises an event: propose it, and take apply's answer.
    Enter,
}

/// Tenants that were looked at, decoded: for questions that come with every rotation.
#[derive(Debug, Default)]
pub struct Tenants {
    /// By id: the row, and what it says. At most [`limits::TENANTS_MAX`].
    seen: BTreeMap<TenantId, (Bytes, KnownTenant)>,
}

/// A tenant as it was when it was looked at.
#[derive(Debug, Clone)]
pub struct KnownTenant(Arc<Tenant>);

impl Tenants {
    /// The tenant as `tables` has it; `None` if there is none. It is decoded again only if its row
    /// was written since: predicates begin and end together with their number there.
    ///
    /// # Errors
    /// [`TablesError`] if the store below failed.
    pub fn look<T: ReadTables>(
        &mut self,
        tables: &T,
        id: &TenantId,
    ) -> Result<Option<KnownTenant>, TablesError> {
        let Some(row) = tables.get(&keys::tenant(id))? else { return Ok(None) };
        if let Some((seen, known)) = self.seen.get(id)
            && std::ptr::eq::<[u8]>(&**seen, &*row)
        {
            return Ok(Some(known.clone()));
        }
        let known = Tenant::decode(tables, id, &row)?;
        let known = KnownTenant(Arc::new(known));
        self.seen.insert(id.clone(), (row, known.clone()));
        Ok(Some(known))
    }
}

/// A family as it may be shown, dead ones with the cause.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`], or
/// [`Refusal::NotFound`] if it never was or ended longer than [`limits::RETENTION`] ago.
pub fn family<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    family: FamilyId,
) -> Result<Result<FamilyView, Refusal>, TablesError> {
    let Some(known) = Tenant::load(tables, tenant)? else {
        return Ok(Err(Refusal::TenantUnknown));
    };
    let Some(loaded) = family::load(tables, tenant, &known, family, now)? else {
        return Ok(Err(Refusal::NotFound));
    };
    let view = family::view(family, loaded, now);
    Ok(if view.dead == Some(Refusal::NotFound) { Err(Refusal::NotFound) } else { Ok(view) })
}

/// Families that match, in the order of creation, behind `after`: looks at up to `rows_max` rows of
/// an index, so a slice may hold fewer, or none. Go on until there is no `next`.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`], or
/// [`Refusal::Invalid`] if the query names no subject, client, device or session.
pub fn families<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    query: &FamilyQuery,
    after: Option<FamilyCursor>,
    rows_max: usize,
) -> Result<Result<FamilySlice, Refusal>, TablesError> {
    family::list::list(tables, now, tenant, query, after, rows_max)
}

/// The family of a token, live head or not, as [`family`] shows it. A native token's mac was
/// verified.
///
/// # Errors
/// As [`family`].
pub fn family_of<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    token: &Presented,
) -> Result<Result<FamilyView, Refusal>, TablesError> {
    let Some(known) = Tenant::load(tables, tenant)? else {
        return Ok(Err(Refusal::TenantUnknown));
    };
    match opaque::resolve(tables, tenant, &known, token, now)? {
        Some((token, _)) => family(tables, now, tenant, token.family),
        None => Ok(Err(Refusal::NotFound)),
    }
}

/// Whether an opaque token with this digest may be known. `false` is certain; a family that ended
/// long ago may still be known here until the sweep comes by.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn may_know<T: ReadTables>(
    tables: &T,
    tenant: &TenantId,
    digest: SecretDigest,
) -> Result<bool, TablesError> {
    Ok(tables.get(&keys::ancestor(tenant, digest))?.is_some())
}

/// Whether a token, whose mac was verified, could be rotated by this client now: what RFC 7662
/// calls active. Changes nothing, and is never a verdict of theft. `client` and `binding` are
/// compared if they are given.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside, in this order: [`Refusal::TenantUnknown`],
/// [`Refusal::NotFound`], [`Refusal::Revoked`], [`Refusal::Expired`], [`Refusal::ClientMismatch`],
/// [`Refusal::BindingMismatch`], [`Refusal::Integrity`], [`Refusal::Spent`].
pub fn validate<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    token: &Presented,
    client: Option<&ClientId>,
    binding: Option<&Binding>,
) -> Result<Result<FamilyView, Refusal>, TablesError> {
    let Some(known) = Tenant::load(tables, tenant)? else {
        return Ok(Err(Refusal::TenantUnknown));
    };
    let Some((token, loaded)) = opaque::resolve(tables, tenant, &known, token, now)? else {
        return Ok(Err(Refusal::NotFound));
    };
    if let Some(refusal) = loaded.standing(now, now).refusal() {
        return Ok(Err(refusal));
    }
    let row = &loaded.row;
    if client.is_some_and(|client| *client != row.client) {
        return Ok(Err(Refusal::ClientMismatch));
    }
    if binding.is_some_and(|proved| !rotate::proves(&row.binding, proved)) {
        return Ok(Err(Refusal::BindingMismatch));
    }
    let head = row.head.generation;
    Ok(match row.place(&token) {
        Place::Head => Ok(family::view(token.family, loaded, now)),
        Place::Foreign => Err(Refusal::Integrity { head }),
        Place::Ring(_) | Place::Older => Err(Refusal::Spent { head }),
    })
}

/// A record, if it may be shown.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`],
/// [`Refusal::Invalid`] in kinds that count misses (look it up with
/// [`crate::command::LookUpRecord`]), [`Refusal::NotFound`].
pub fn record<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    kind: &RecordKind,
    key: &KeyDigest,
) -> Result<Result<RecordView, Refusal>, TablesError> {
    let known = match open_kind(tables, tenant, kind)? {
        Ok(known) => known,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let found = view::one(tables, tenant, &known, kind, key, now)?;
    Ok(found.ok_or(Refusal::NotFound))
}

/// Up to `rows_max` records that have an index key, behind `after`, in the order of their keys.
///
/// # Errors
/// As of [`record`], but for [`Refusal::NotFound`]: nothing found is an empty page.
pub fn records<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    kind: &RecordKind,
    index: &KeyDigest,
    after: Option<&KeyDigest>,
    rows_max: u32,
) -> Result<Result<RecordPage, Refusal>, TablesError> {
    let known = match open_kind(tables, tenant, kind)? {
        Ok(known) => known,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let rows_max = rows_max.clamp(1, limits::PAGE_ROWS_MAX) as usize;
    view::page(tables, tenant, &known, kind, index, after, rows_max, now).map(Ok)
}

/// What holds for all records of a kind; defaults, if nothing was ever set.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`].
pub fn record_kind<T: ReadTables>(
    tables: &T,
    tenant: &TenantId,
    kind: &RecordKind,
) -> Result<Result<RecordKindSettings, Refusal>, TablesError> {
    if Tenant::load(tables, tenant)?.is_none() {
        return Ok(Err(Refusal::TenantUnknown));
    }
    kind::settings(tables, tenant, kind).map(Ok)
}

/// All kinds of a tenant that were set, shorter names first: at most
/// [`limits::RECORD_KINDS_MAX`].
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn record_kinds<T: ReadTables>(
    tables: &T,
    tenant: &TenantId,
) -> Result<Vec<(RecordKind, RecordKindSettings)>, TablesError> {
    let (from, to) = keys::record::all_settings(tenant);
    let rows = tables.scan(&from, &to, limits::RECORD_KINDS_MAX)?;
    let mut kinds = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        if let Some(kind) = keys::record::kind_of(tenant, &key) {
            kinds.push((kind, crate::codec::decode_row(&row)?));
        }
    }
    Ok(kinds)
}

/// The tenant, if anyone may look into this kind without being counted.
fn open_kind(
    tables: &impl ReadTables,
    tenant: &TenantId,
    kind: &RecordKind,
) -> Result<Result<Tenant, Refusal>, TablesError> {
    let Some(known) = Tenant::load(tables, tenant)? else {
        return Ok(Err(Refusal::TenantUnknown));
    };
    if kind::settings(tables, tenant, kind)?.attempts.is_some() {
        let problem = "counts misses: use LookUpRecord, and name who asks";
        return Ok(Err(Refusal::invalid("kind", problem)));
    }
    Ok(Ok(known))
}

/// Whether access tokens may still be used, one answer for each, in their order. At most
/// [`limits::ACCESS_CHECKS_MAX`] are looked at.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`],
/// [`Refusal::Invalid`] if a `jti` comes without its client, [`Refusal::LimitReached`].
pub fn check_access<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    tokens: &[AccessClaims],
) -> Result<Result<Vec<Access>, Refusal>, TablesError> {
    if tokens.len() > limits::ACCESS_CHECKS_MAX {
        return Ok(Err(Refusal::limit("ACCESS_CHECKS_MAX", limits::ACCESS_CHECKS_MAX)));
    }
    if tokens.iter().any(|claims| claims.jti.is_some() && claims.client.is_none()) {
        let problem = "missing: a jti is denied together with the client that it was issued to";
        return Ok(Err(Refusal::invalid("client", problem)));
    }
    let Some(known) = Tenant::load(tables, tenant)? else {
        return Ok(Err(Refusal::TenantUnknown));
    };
    let facts = RowFacts { tables, id: tenant, tenant: &known, now };
    let judged = tokens.iter().map(|claims| access::judge(&facts, &claims.as_claims()));
    judged.collect::<Result<Vec<_>, _>>().map(Ok)
}

/// A tenant as operators may see it; `None` if there is none.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn tenant<T: ReadTables>(
    tables: &T,
    tenant: &TenantId,
) -> Result<Option<TenantView>, TablesError> {
    Ok(Tenant::load(tables, tenant)?.map(|known| known.view(tenant.clone())))
}

/// Up to `max` tenants behind `after`: shorter names first, then in the order of their bytes.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn tenants<T: ReadTables>(
    tables: &T,
    after: Option<&TenantId>,
    max: usize,
) -> Result<Vec<TenantView>, TablesError> {
    let (mut from, to) = keys::all_tenants();
    if let Some(after) = after {
        from = keys::tenant(after);
        // The smallest key behind that one.
        from.push(0);
    }
    let rows = tables.scan(&from, &to, max.min(limits::TENANTS_MAX))?;
    let mut views = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        if let Some(id) = keys::tenant_of(&key) {
            views.push(crate::codec::decode_row::<Tenant>(&row)?.view(id));
        }
    }
    Ok(views)
}

/// A tenant's keys, for checking and making macs; `None` if there is no such tenant.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn tenant_keys<T: ReadTables>(
    tables: &T,
    tenant: &TenantId,
) -> Result<Option<TenantKeys>, TablesError> {
    tenant::tenant_keys(tables, tenant)
}

/// Judges a rotation by apply's own rule, without changing anything. Its token's mac was verified;
/// the tenant was looked at in the same `tables`.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn judge_rotation<T: ReadTables>(
    tables: &T,
    meta: &Meta,
    now: UnixMs,
    (tenant, known): (&TenantId, Option<&KnownTenant>),
    request: &RequestName,
    rotate: &Rotate,
) -> Result<Judged, TablesError> {
    let now = now.max(meta.clock);
    let plain = |outcome| Reply { position: meta.position, at: now, outcome };
    let request = match admission::request(Some(request)) {
        Ok(request) => request,
        Err(refusal) => return Ok(Judged::Settled(plain(Err(refusal)))),
    };
    let Some(KnownTenant(known)) = known else {
        return Ok(Judged::Settled(plain(Err(Refusal::TenantUnknown))));
    };
    let shown = Presentation { wish: rotate, request, now };
    let (case, verdict) = rotate::decide(tables, tenant, known, &shown)?;
    if rotate::needs_entry(&verdict) {
        return Ok(Judged::Enter);
    }
    Ok(Judged::Settled(rotate::answer(case.as_ref(), verdict, plain)))
}
