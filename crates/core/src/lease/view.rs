//! Reads of locks and flights, judged by lease time as of the last entry: a hold may be shown for
//! a moment longer than it lasts, never shorter.

use crate::codec::decode_row;
use crate::ids::{Fence, LeaseMs, LockName, Position, RequestId, TenantId};
use crate::keys;
use crate::machine::Meta;
use crate::reply::{Done, Flight, LockView, Refusal, Reply};
use crate::request;
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;

use super::expire;
use super::row::{Landed, LockRow};

/// Who holds a lock, and how many wait. One that nobody wants is free.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`].
pub fn lock<T: ReadTables>(
    tables: &T,
    meta: &Meta,
    tenant: &TenantId,
    lock: &LockName,
) -> Result<Result<LockView, Refusal>, TablesError> {
    if Tenant::load(tables, tenant)?.is_none() {
        return Ok(Err(Refusal::TenantUnknown));
    }
    let row = LockRow::load(tables, &keys::lock(tenant, lock))?.map(|(_, row)| row);
    let LockRow { held, waiters } = row.unwrap_or_default();
    Ok(Ok(LockView { held: held.and_then(|held| held.view(meta.lease_clock)), waiters }))
}

/// What there is for one who wants a result of a later grant than `after`.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`].
pub fn flight<T: ReadTables>(
    tables: &T,
    meta: &Meta,
    tenant: &TenantId,
    lock: &LockName,
    after: Fence,
) -> Result<Result<Flight, Refusal>, TablesError> {
    let view = match self::lock(tables, meta, tenant, lock)? {
        Ok(view) => view,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(bytes) = tables.get(&keys::lock_result(tenant, lock))? {
        let Landed { fence, sealed, expires } = decode_row(&bytes)?;
        if fence > after && expires > meta.lease_clock {
            return Ok(Ok(Flight::Landed { fence, sealed }));
        }
    }
    Ok(Ok(view.held.map_or(Flight::Grounded, Flight::Flying)))
}

/// What became of an `Acquire` that was given the place `place`; `None` while it waits there, or
/// if this node has not come so far yet. For a node that may have missed the notice.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn settled<T: ReadTables>(
    tables: &T,
    meta: &Meta,
    tenant: &TenantId,
    lock: &LockName,
    acquire: RequestId,
    place: Position,
) -> Result<Option<Reply>, TablesError> {
    if meta.position < place || tables.get(&keys::lock_waiter(tenant, lock, place))?.is_some() {
        return Ok(None);
    }
    let (position, at) = (meta.position, meta.clock);
    let row = LockRow::load(tables, &keys::lock(tenant, lock))?.map(|(_, row)| row);
    let held = row.and_then(|row| row.held);
    let remembered = request::remembered(tables, tenant, acquire)?;
    let outcome = match (remembered, held) {
        (Some(reply), held) if matches!(reply.outcome, Ok(Done::Granted(_))) => {
            let Ok(Done::Granted(granted)) = &reply.outcome else { return Ok(Some(reply)) };
            if held.is_some_and(|held| held.fence == granted.fence) {
                return Ok(Some(reply));
            }
            Err(Refusal::Lost)
        }
        (_, Some(held)) => Err(held.refusal(meta.lease_clock)),
        (_, None) => Err(Refusal::Lost),
    };
    Ok(Some(Reply { position, at, outcome }))
}

/// When lease time ends the next hold, wait or result.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn next_lease_due<T: ReadTables>(tables: &T) -> Result<Option<LeaseMs>, TablesError> {
    expire::next_due(tables)
}
