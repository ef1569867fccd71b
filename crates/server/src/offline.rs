//! What is done without a node that runs: backups are looked at, and restored; a directory is
//! looked into.
//!
//! The work is the consensus crate's, which knows what a node's directory holds; this is its door
//! for programs that know the server only.

pub use jeton_raft::offline::{
    Incoming, OfflineError, Passphrase, Restore, Restored, Verified, restore, verify,
};

/// What is in a node's directory.
pub use jeton_raft::inspect;
