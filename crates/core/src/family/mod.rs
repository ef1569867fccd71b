//! Families: the chain of refresh tokens of one authorization.
//!
//! [`row`] is what is kept, `standing` whether it lives, `rotate` the rule that everything else is
//! about. Each operation changes one family, in one entry: a crash leaves it before or after, and
//! the caller's retry under the same name is answered from memory (`request`, or the row's ring).

pub(crate) mod cap;
pub(crate) mod create;
pub(crate) mod index;
pub(crate) mod list;
pub(crate) mod opaque;
pub(crate) mod reclaim;
pub(crate) mod revoke;
pub(crate) mod rotate;
mod row;
pub(crate) mod touch;
pub(crate) mod update;
mod view;

use bytes::Bytes;

use crate::ids::{FamilyId, TenantId, UnixMs};
use crate::keys;
use crate::reply::RevokedBy;
use crate::revocation::predicate;
use crate::roots;
use crate::standing::{Standing, standing};
use crate::suspension::Suspended;
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;

pub(crate) use row::{FamilyRow, Place, next_visit, tidy};
pub(crate) use view::view;

/// A family as it was read: enough to judge it, and to write it back.
pub(crate) struct Loaded {
    pub(crate) key: Vec<u8>,
    /// The row's bytes before any change.
    pub(crate) bytes: Bytes,
    pub(crate) row: Box<FamilyRow>,
    /// What killed it, if anything did; else what suspends it.
    pub(crate) revoked: Option<RevokedBy>,
}

impl Loaded {
    pub(crate) fn standing(&self, now: UnixMs, at: UnixMs) -> Standing {
        standing((self.row.expires_at, self.row.idle_expires_at), self.revoked.as_ref(), now, at)
    }

    /// As it would be if nothing suspended it.
    pub(crate) fn without_suspension(self) -> Self {
        Self { revoked: self.revoked.filter(RevokedBy::is_for_ever), ..self }
    }
}

/// A family's row, as if a sweep had been there: what an active predicate has hit is dead.
pub(crate) fn read(
    tenant: &Tenant,
    family: FamilyId,
    bytes: &Bytes,
) -> Result<Box<FamilyRow>, TablesError> {
    let mut row = Box::new(FamilyRow::decode(bytes)?);
    row.check();
    if row.dead.is_none()
        && !tenant.active.is_empty()
        && let Some(by) = predicate::hit_by(tenant, &row.facts(), &row.roots(family))
    {
        row.die(by);
    }
    Ok(row)
}

/// Reads a family and what became of its roots. `None` if it was never there, or is forgotten.
pub(crate) fn load(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    family: FamilyId,
    now: UnixMs,
) -> Result<Option<Loaded>, TablesError> {
    let key = keys::family(id, family);
    let Some(bytes) = tables.get(&key)? else { return Ok(None) };
    let row = read(tenant, family, &bytes)?;
    if now >= row.forgotten_at() {
        return Ok(None);
    }
    let own = row.dead.clone().or(row.suspended.clone().map(Suspended::by));
    let revoked = roots::first(own, roots::dead_by(tables, id, tenant, &row.roots(family), now)?);
    Ok(Some(Loaded { key, bytes, row, revoked }))
}

/// What killed or suspends a family, if it was there and something did.
pub(crate) fn dead_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    family: FamilyId,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    Ok(load(tables, id, tenant, family, now)?.and_then(|loaded| loaded.revoked))
}
