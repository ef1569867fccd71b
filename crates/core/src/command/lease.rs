//! Commands about leases: locks that end by themselves.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::command::Operation;
use crate::ids::{DurationMs, Fence, HolderId, LockName, Position, RequestId};

/// See [`Operation::Acquire`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// Which lock.
    pub lock: LockName,
    /// Who asks. A lock is not reentrant: its own holder waits like any other.
    pub holder: HolderId,
    /// How long the lease lasts unless it is renewed.
    pub ttl: DurationMs,
    /// How long to wait for it, from the first attempt on; 0: not at all.
    pub wait: DurationMs,
}

/// A grant of a lock, as its holder names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseName {
    /// Which lock.
    pub lock: LockName,
    /// Who was granted it.
    pub holder: HolderId,
    /// Which grant it was.
    pub fence: Fence,
}

/// See [`Operation::Renew`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// All leases of one caller: at most [`crate::limits::RENEW_LEASES_MAX`].
    pub leases: Vec<LeaseName>,
}

/// See [`Operation::Release`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// What is given back.
    pub lease: LeaseName,
}

/// See [`Operation::Publish`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publish {
    /// The winner's lease.
    pub lease: LeaseName,
    /// The result, sealed for those who wait.
    pub sealed: Bytes,
    /// How long it is handed out, in lease time.
    pub ttl: DurationMs,
    /// Gives the lock back in the same step.
    pub release: bool,
}

/// See [`Operation::Withdraw`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdraw {
    /// Which lock.
    pub lock: LockName,
    /// Name of the [`Operation::Acquire`].
    pub acquire: RequestId,
    /// Only if it was not asked again since this position: a node that lost its caller does not
    /// know whether another node has it now. `None`: the caller itself doesn't want it any more.
    pub asked: Option<Position>,
}
