//! One command's turn: where it stands in the order of everything, and its way to the rows.
//!
//! Every change of a row goes through here, so that the digest of all rows follows each of them.
//! A crash leaves nothing behind: the store takes the changes of an entry together with the
//! machine's counters, or none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::digest::row_digest;
use crate::feed::Change;
use crate::ids::{FamilyId, LeaseMs, Position, TenantId, UnixMs};
use crate::reply::{Done, Event, EventKind, Refusal, Replies, Reply};
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;

/// Tenants that were looked at, decoded. At most [`crate::limits::TENANTS_MAX`].
pub(crate) type TenantCache = BTreeMap<TenantId, Arc<Tenant>>;

/// The turn of one command.
pub(crate) struct Turn<'a, T, R> {
    /// The rows. Written only through [`Turn::put`] and [`Turn::delete`], and by a draft that is
    /// committed.
    pub(crate) tables: &'a mut T,
    /// Where events go.
    pub(crate) replies: &'a mut R,
    /// Decoded tenants.
    pub(crate) tenants: &'a mut TenantCache,
    /// Digest of all rows.
    pub(crate) rows: &'a mut u128,
    /// The machine's clock.
    pub(crate) now: UnixMs,
    /// Lease time.
    pub(crate) lease_now: LeaseMs,
    /// This command's place.
    pub(crate) position: Position,
    /// What those who watch will hear, written when the turn is over.
    pub(crate) changes: Vec<(TenantId, Change)>,
}

impl<T: Tables, R: Replies> Turn<'_, T, R> {
    /// Writes a row. `old` is its present value, which the caller has read already.
    pub(crate) fn put(&mut self, key: Vec<u8>, old: Option<&Bytes>, value: Vec<u8>) {
        self.check_old(&key, old);
        if let Some(old) = old {
            *self.rows = self.rows.wrapping_sub(row_digest(&key, old));
        }
        *self.rows = self.rows.wrapping_add(row_digest(&key, &value));
        self.tables.put(key, value);
    }

    /// Removes a row. `old` is its present value.
    pub(crate) fn delete(&mut self, key: &[u8], old: &Bytes) {
        self.check_old(key, Some(old));
        *self.rows = self.rows.wrapping_sub(row_digest(key, old));
        self.tables.delete(key);
    }

    /// A wrong `old` would let the digest drift: in debug builds it is compared.
    fn check_old(&self, key: &[u8], old: Option<&Bytes>) {
        if cfg!(debug_assertions)
            && let Ok(have) = self.tables.get(key)
        {
            assert!(have.as_ref() == old, "the value given as old is not the row's");
        }
    }

    /// The tenant, decoded once.
    pub(crate) fn tenant(&mut self, id: &TenantId) -> Result<Option<Arc<Tenant>>, TablesError> {
        if let Some(tenant) = self.tenants.get(id) {
            return Ok(Some(Arc::clone(tenant)));
        }
        let Some(tenant) = Tenant::load(self.tables, id)? else { return Ok(None) };
        let tenant = Arc::new(tenant);
        self.tenants.insert(id.clone(), Arc::clone(&tenant));
        Ok(Some(tenant))
    }

    /// Raises an event.
    pub(crate) fn event(&mut self, tenant: &TenantId, family: Option<FamilyId>, kind: EventKind) {
        let (position, at) = (self.position, self.now);
        self.changes.extend(Change::of(family, &kind).map(|change| (tenant.clone(), change)));
        self.replies.event(Event { position, at, tenant: tenant.clone(), family, kind });
    }

    /// The answer of this turn.
    pub(crate) fn reply(&self, outcome: Result<Done, Refusal>) -> Reply {
        Reply { position: self.position, at: self.now, outcome }
    }
}
