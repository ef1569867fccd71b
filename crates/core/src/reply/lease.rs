//! Answers about leases, and what those who wait for locks are told.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{DurationMs, Fence, HolderId, LockName, Position, TenantId};
use crate::reply::Reply;

/// A lock was granted. Its fence is larger than that of any grant before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Position of the grant.
    pub fence: Fence,
    /// How long it lasts in lease time, from the grant on.
    pub ttl: DurationMs,
    /// Whether it was waited for: how much is left is not known to the caller then.
    pub waited: bool,
}

/// A lock as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockView {
    /// Who holds it; `None` if nobody does.
    pub held: Option<HeldView>,
    /// How many wait, those included whose wait has just ended.
    pub waiters: u32,
}

/// A hold as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldView {
    /// By whom.
    pub holder: HolderId,
    /// Which grant it is.
    pub fence: Fence,
    /// How long a renewal makes it last.
    pub ttl: DurationMs,
    /// Lease time until it ends unless it is renewed, as of the last entry.
    pub remaining: DurationMs,
}

/// What can be said to one who waits for the result of a single flight.
#[derive(Clone, PartialEq, Eq)]
pub enum Flight {
    /// It is there.
    Landed {
        /// The grant that it was made under.
        fence: Fence,
        /// As the winner sealed it.
        sealed: Bytes,
    },
    /// Somebody is at it.
    Flying(HeldView),
    /// Nobody is at it: whoever wants a result acquires the lock.
    Grounded,
}

impl std::fmt::Debug for Flight {
    /// Without the result.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Landed { fence, .. } => f.debug_tuple("Landed").field(fence).finish(),
            Self::Flying(held) => f.debug_tuple("Flying").field(held).finish(),
            Self::Grounded => f.write_str("Grounded"),
        }
    }
}

/// What became of those who wait. Every node that applies an entry raises its notices, since any
/// node may have the one who waits.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaseNotice {
    /// A wait is over.
    Settled {
        /// The place in the queue: position of the [`crate::reply::Done::Queued`].
        place: Position,
        /// What is to be answered.
        reply: Reply,
    },
    /// A lock has become free or changed hands, or its result was published.
    Changed {
        /// In which tenant.
        tenant: TenantId,
        /// Which lock.
        lock: LockName,
    },
}
