//! The state machine of Jeton: commands, replies, rows and rules. Pure, synchronous, deterministic.
//!
//! No clock, no randomness, no I/O, no order of a hash map: the same entries give the same rows,
//! the same replies and the same digest on every node, today and in a replay.
//!
//! ```text
//!  Entry { stamp, commands } ──► machine::apply ──► replies and events
//!                                     │
//!                request (name, age, memory)
//!                                     │
//!                         transact: several of these, or none
//!                                     │
//!        tenant · family/{create, rotate, touch, update} · session · record · suspension
//!                     └──────────── roots: what lives ────────────┘ · revocation · expiry
//!                                     │
//!                         turn: rows and their digest ──► Tables
//! ```
//!
//! Where to start: [`machine`], then `family/rotate.rs` (what happens when a spent token comes
//! back), then [`read`]. Types that others build on: [`command`], [`mod@reply`], [`ids`].

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod access;
mod admission;
pub mod backup;
pub mod codec;
pub mod command;
mod denial;
pub mod digest;
mod expiry;
mod family;
pub mod feed;
pub mod ids;
pub mod ip;
mod keys;
mod lease;
pub mod limits;
pub mod mac;
pub mod machine;
pub mod read;
mod record;
pub mod reply;
mod request;
mod revocation;
mod roots;
pub mod rows;
mod session;
mod standing;
mod suspension;
pub mod tables;
mod tenant;
pub mod token;
mod transact;
mod turn;
