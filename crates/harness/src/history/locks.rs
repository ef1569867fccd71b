//! What holders saw of locks: from when until when, by the one clock of this process; and what
//! became of the record that a lock guards.

use tokio::time::Instant;

use jeton_core::ids::{Fence, LockName, Position};

/// One hold of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Of which lock.
    pub lock: LockName,
    /// Under which fence.
    pub fence: Fence,
    /// When the holder began to act on it.
    pub from: Instant,
    /// The last time when it still was allowed to.
    pub until: Instant,
}

/// A write of the record that a lock guards, which the store was to take only if the lock is held
/// with this fence. What nobody knows the outcome of is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardedWrite {
    /// By which lock.
    pub lock: LockName,
    /// With which fence it came.
    pub fence: Fence,
    /// What it made of the record; `None`: it was refused.
    pub made: Option<Guarded>,
}

/// A version of a guarded record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarded {
    /// Its number.
    pub version: u64,
    /// Where it was written.
    pub position: Position,
}
