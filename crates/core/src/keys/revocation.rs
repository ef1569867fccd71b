//! Keys of predicates: while they are active, and when their sweep is through.

use crate::ids::{Position, TenantId};

use super::{kind, split_tenant, start};

/// A predicate that is active.
pub(crate) fn of_active(tenant: &TenantId, revocation: Position) -> Vec<u8> {
    at(kind::PREDICATE, tenant, revocation)
}

/// One whose sweep is through.
pub(crate) fn of_done(tenant: &TenantId, revocation: Position) -> Vec<u8> {
    at(kind::REVOCATION, tenant, revocation)
}

fn at(kind: u8, tenant: &TenantId, revocation: Position) -> Vec<u8> {
    let mut key = start(kind, tenant, 8);
    key.extend_from_slice(&revocation.0.to_be_bytes());
    key
}

/// From where to where a tenant's active predicates are, oldest first.
pub(crate) fn active(tenant: &TenantId) -> (Vec<u8>, Vec<u8>) {
    let from = start(kind::PREDICATE, tenant, 9);
    let to = [&from[..], &[0xff; 9]].concat();
    (from, to)
}

/// From where to where the active predicates of all tenants are that come behind this one.
pub(crate) fn active_behind(tenant: Option<&TenantId>) -> (Vec<u8>, Vec<u8>) {
    let from = tenant.map_or_else(|| vec![kind::PREDICATE], |tenant| active(tenant).1);
    (from, vec![kind::PREDICATE + 1])
}

/// The tenant and the position that a key of an active predicate is about.
pub(crate) fn active_of(key: &[u8]) -> Option<(TenantId, Position)> {
    let (tenant, position) = split_tenant(key)?;
    let position = u64::from_be_bytes(position.try_into().ok()?);
    Some((tenant, Position(position)))
}
