//! What holders saw of locks: from when until when, by the one clock of this process.

use tokio::time::Instant;

use jeton_core::ids::{Fence, LockName};

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
