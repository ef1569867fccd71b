//! Cutoffs: one row that kills everything older than it, however much that is.
//!
//! A cutoff names all of some of {subject, client, device, session}, its *mask*; one that names
//! none is the whole tenant's. It kills what has an origin strictly before its position: so a cut
//! and a new family in the same entry work in either order. Nothing enumerates children.
//!
//! A call for authentication anew is a cutoff of a subject that looks at `authenticated_at`, and
//! leaves alone what does not say when its user was authenticated.
//!
//! What names more than these is a [`predicate`]. Either kind may leave some families and sessions
//! alone ([`spared`]).
//!
//! A tenant's row says which masks were ever used, so that a check looks up only those, in memory.

pub(crate) mod predicate;
mod spared;
pub(crate) mod sweep;
pub(crate) mod view;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::{Claims, Mark};
use crate::admission;
use crate::codec::{decode_row, encode};
use crate::command::{Criteria, Except, RequireReauthentication, RevokeWhere};
use crate::expiry;
use crate::ids::{
    ClientId, DeviceId, DurationMs, Position, SessionId, SubjectId, TenantId, UnixMs,
};
use crate::keys;
use crate::limits;
use crate::reply::{Done, EventKind, Refusal, Replies, RevocationCause, RevokedBy, RevokedWhere};
use crate::roots::Roots;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::{self, Restored, Tenant};
use crate::turn::Turn;

use spared::Spared;

/// A cutoff is in force as long as anything that it could kill may be remembered: the longest
/// family, born in the same instant, and its retention; and once more the longest family, for what
/// was authenticated before the cut and not yet made.
pub(crate) const IN_FORCE: DurationMs =
    DurationMs(2 * (limits::FAMILY_LIFETIME_MAX.0 + limits::RETENTION.0));

/// A cutoff: the newest one of its key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cutoff {
    position: Position,
    at: UnixMs,
    reason: Option<Arc<str>>,
    spared: Spared,
}

impl Cutoff {
    pub(crate) fn ends_at(&self) -> UnixMs {
        self.at.plus(IN_FORCE)
    }
}

const SUBJECT: u8 = 1;
const CLIENT: u8 = 2;
const DEVICE: u8 = 4;
const SESSION: u8 = 8;
/// What each bit of a mask names, in the order of the names in a key.
pub(crate) const NAMED: [(u8, &str); 4] =
    [(SUBJECT, "subject"), (CLIENT, "client"), (DEVICE, "device"), (SESSION, "session")];
/// How many masks there are.
pub(crate) const MASKS: u8 = 16;

/// The mask and the names under it.
pub(crate) fn masked(names: [Option<&str>; 4], mask: u8) -> Option<[Option<&str>; 4]> {
    let mut chosen = [None; 4];
    for (place, bit) in [SUBJECT, CLIENT, DEVICE, SESSION].into_iter().enumerate() {
        if mask & bit != 0 {
            chosen[place] = Some(names[place]?);
        }
    }
    Some(chosen)
}

/// Puts the newest one under `key`.
fn put<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    key: Vec<u8>,
    reason: Option<&Arc<str>>,
    spared: Spared,
) -> Result<(), TablesError> {
    let old = turn.tables.get(&key)?;
    if let Some(old) = &old {
        let old: Cutoff = decode_row(old)?;
        assert!(old.position < turn.position, "cutoffs only move forward");
    }
    let cutoff = Cutoff { position: turn.position, at: turn.now, reason: reason.cloned(), spared };
    expiry::schedule_new(turn, &key, old.as_ref(), cutoff.ends_at());
    turn.put(key, old.as_ref(), encode(&cutoff));
    Ok(())
}

/// The cutoff under this key, if it is in force and hits what says this of itself.
pub(crate) fn mark(
    tables: &impl ReadTables,
    key: &[u8],
    cause: RevocationCause,
    claims: &Claims<'_>,
    now: UnixMs,
) -> Result<Option<Mark>, TablesError> {
    let Some(row) = tables.get(key)? else { return Ok(None) };
    let cutoff: Cutoff = decode_row(&row)?;
    let mark = Mark { cause, position: cutoff.position, at: cutoff.at };
    let hits = now < cutoff.ends_at() && !cutoff.spared.spares_claims(claims);
    Ok(hits.then_some(mark))
}

/// The first cutoff that killed something with these roots, if one did; a restore from a backup is
/// one, too.
pub(crate) fn cut_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    roots: &Roots<'_>,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    let mut first: Option<(RevocationCause, Cutoff)> = None;
    let mut look = |key: &[u8], compared: Position, cause| {
        let Some(row) = tables.get(key)? else { return Ok(()) };
        let cutoff: Cutoff = decode_row(&row)?;
        let kills =
            compared < cutoff.position && now < cutoff.ends_at() && !cutoff.spared.spares(roots);
        if kills && first.as_ref().is_none_or(|(_, first)| cutoff.position < first.position) {
            first = Some((cause, cutoff));
        }
        Ok::<_, TablesError>(())
    };
    let names = [
        roots.subject.map(SubjectId::as_str),
        roots.client.map(ClientId::as_str),
        roots.device.map(DeviceId::as_str),
        roots.session.map(SessionId::as_str),
    ];
    for mask in (0..MASKS).filter(|mask| tenant.cutoff_masks & (1 << mask) != 0) {
        let Some(names) = masked(names, mask) else { continue };
        look(&keys::cutoff(id, mask, names), roots.origin, RevocationCause::Cutoff)?;
    }
    if let (true, Some(subject), Some(authenticated_at)) =
        (tenant.reauthentications, roots.subject, roots.authenticated_at)
    {
        let key = keys::reauthentication(id, subject.as_str());
        look(&key, authenticated_at, RevocationCause::Reauthentication)?;
    }
    let cut = first.map(|(cause, Cutoff { position, at, reason, .. })| RevokedBy {
        cause,
        position,
        at,
        reason,
    });
    let restored = tenant.restored.as_ref().filter(|_| roots.cut_by_restore);
    let restored = restored.filter(|restored| restored.cuts(roots.origin));
    Ok(crate::roots::first(cut, restored.map(Restored::by)))
}

/// What a revocation may name.
fn admit(matching: &Criteria, except: &Except, now: UnixMs) -> Result<(), Refusal> {
    admission::attributes(&matching.attributes)?;
    if let Some(region) = &matching.region
        && region.len() > limits::ATTRIBUTE_VALUE_BYTES_MAX
    {
        let max = limits::ATTRIBUTE_VALUE_BYTES_MAX;
        return Err(Refusal::limit("ATTRIBUTE_VALUE_BYTES_MAX", max));
    }
    if matching.created_before.is_some_and(|before| before > now) {
        let problem = "lies in the future: give a time up to now";
        return Err(Refusal::invalid("created_before", problem));
    }
    if except.families.len() + except.sessions.len() > limits::EXCEPTIONS_MAX {
        return Err(Refusal::limit("EXCEPTIONS_MAX", limits::EXCEPTIONS_MAX));
    }
    Ok(())
}

/// Which of them are named.
fn mask_of(names: [Option<&str>; 4]) -> u8 {
    let named = names.iter().zip([SUBJECT, CLIENT, DEVICE, SESSION]);
    named.filter(|(name, _)| name.is_some()).map(|(_, bit)| bit).sum()
}

/// `RevokeWhere`: one row, effective at its position.
pub(crate) fn revoke_where<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RevokeWhere,
) -> Result<Result<Done, Refusal>, TablesError> {
    let RevokeWhere { matching, except, reason } = wish;
    let admitted = admission::reason(reason.as_ref());
    if let Err(refusal) = admitted.and_then(|()| admit(matching, except, turn.now)) {
        return Ok(Err(refusal));
    }
    let predicate = !matching.is_exact();
    if predicate && usize::from(tenant.predicates) >= limits::PREDICATES_MAX {
        let retry_after = limits::PREDICATE_PAUSE;
        return Ok(Err(Refusal::SweepsPending { retry_after }));
    }
    let spared = Spared::alive(turn.tables, id, tenant, matching, except, turn.now)?;
    let kept = spared.names();
    if predicate {
        predicate::begin(turn, id, tenant, wish, spared)?;
    } else {
        cut(turn, id, tenant, wish, spared)?;
    }
    Ok(Ok(Done::RevokedWhere(Box::new(RevokedWhere { predicate, kept }))))
}

/// Exact keys: a cutoff.
fn cut<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RevokeWhere,
    spared: Spared,
) -> Result<(), TablesError> {
    let (names, except) = (wish.matching.keys(), spared.names());
    let mask = mask_of(names);
    put(turn, keys::cutoff(id, mask, names), wish.reason.as_ref(), spared)?;
    if tenant.cutoff_masks & (1 << mask) == 0 {
        let cutoff_masks = tenant.cutoff_masks | (1 << mask);
        tenant::store(turn, id, &Tenant { cutoff_masks, ..tenant.clone() })?;
    }
    let Criteria { subject, client, device, session, .. } = wish.matching.clone();
    turn.event(id, None, EventKind::Cutoff { subject, client, device, session, except });
    Ok(())
}

/// `RequireReauthentication`: one row, effective at its position.
pub(crate) fn require_reauthentication<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RequireReauthentication,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::reason(wish.reason.as_ref()) {
        return Ok(Err(refusal));
    }
    let key = keys::reauthentication(id, wish.subject.as_str());
    put(turn, key, wish.reason.as_ref(), Spared::default())?;
    if !tenant.reauthentications {
        tenant::store(turn, id, &Tenant { reauthentications: true, ..tenant.clone() })?;
    }
    turn.event(id, None, EventKind::Reauthentication { subject: wish.subject.clone() });
    Ok(Ok(Done::Cut))
}
