//! Rows of locks, of those who wait, and of results.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::decode_row;
use crate::ids::{DurationMs, Fence, HolderId, LeaseMs, Position, RequestId};
use crate::reply::{HeldView, Refusal};
use crate::tables::{ReadTables, TablesError};

/// A lock. One that is neither held nor waited for has no row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LockRow {
    pub(crate) held: Option<Held>,
    /// Rows of waiters that there are.
    pub(crate) waiters: u32,
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) holder: HolderId,
    pub(crate) fence: Fence,
    pub(crate) ttl: DurationMs,
    pub(crate) expires: LeaseMs,
    /// Where its entry of the index of what is due stands: not behind `expires`. Renewals leave it
    /// there, and the visit moves it.
    pub(crate) visit: LeaseMs,
    /// Name of the request that it was granted to.
    pub(crate) request: RequestId,
    /// Where that was asked last.
    pub(crate) asked: Position,
}

/// One who waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    pub(crate) holder: HolderId,
    pub(crate) ttl: DurationMs,
    pub(crate) request: RequestId,
    /// Where it was asked last.
    pub(crate) asked: Position,
    /// Until when it waits. Its entry of the index of what is due stands there.
    pub(crate) deadline: LeaseMs,
}

/// What a single flight has published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Landed {
    pub(crate) fence: Fence,
    pub(crate) sealed: Bytes,
    /// Until when it is handed out. Its entry of the index of what is due stands there.
    pub(crate) expires: LeaseMs,
}

impl LockRow {
    /// The row under `key`, with its bytes.
    pub(crate) fn load(
        tables: &impl ReadTables,
        key: &[u8],
    ) -> Result<Option<(Bytes, Self)>, TablesError> {
        let Some(bytes) = tables.get(key)? else { return Ok(None) };
        let row = decode_row(&bytes)?;
        Ok(Some((bytes, row)))
    }
}

impl Held {
    /// As it is shown at `now`; `None` once it has ended.
    pub(crate) fn view(&self, now: LeaseMs) -> Option<HeldView> {
        (self.expires > now).then(|| HeldView {
            holder: self.holder.clone(),
            fence: self.fence,
            ttl: self.ttl,
            remaining: self.expires.since(now),
        })
    }

    /// What one who does not get it is told.
    pub(crate) fn refusal(&self, now: LeaseMs) -> Refusal {
        Refusal::Held { holder: self.holder.clone(), remaining: self.expires.since(now) }
    }
}
