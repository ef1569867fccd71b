//! Consensus for Jeton: a [`Node`] takes commands, replicates them, applies them in the same order
//! on every node, and says where it is safe to read.
//!
//! openraft stays behind this crate: its generics are spelled once, in `types`, and nothing public
//! here is generic.
//!
//! ```text
//!  submit ─► engine ─► intake ─► batcher ─► openraft ─► log_store ─► jeton_storage::log
//!              │         ▲  └──► forwarding ═ peers ═► the leader's intake
//!              └► reads ◄┘                     openraft ─► state_machine ─► jeton_core::machine
//!  upkeep: clock reports, digests, sweeps, bases           └─► jeton_storage::state
//!  leases: what lease time ends
//! ```
//!
//! It must never judge a command itself: only `jeton_core` knows what one means.

#![forbid(unsafe_code)]

mod backup;
mod batcher;
pub mod bootstrap;
mod clock;
mod config;
mod digests;
mod engine;
mod errors;
mod forwarding;
pub mod inspect;
mod intake;
mod leases;
mod log_store;
mod members;
mod node;
pub mod offline;
pub mod peer;
mod peer_seam;
mod reads;
mod revocations;
mod snapshot;
mod standing;
mod start;
mod state_machine;
mod status;
#[cfg(test)]
mod storage_suite;
mod stores;
mod types;
mod upkeep;
mod worker;

pub use backup::Backup;
pub use clock::{Clock, SystemClock};
pub use config::{NodeConfig, Seams};
pub use errors::{MembersError, ProposeError, ReadError, StartError};
pub use intake::ReplySink;
pub use node::{Node, Starting};
pub use reads::{Consistency, ReadPoint};
pub use standing::Health;
pub use state_machine::EventSink;
pub use status::{MemberStatus, Status};
pub use types::{Member, NodeId};
