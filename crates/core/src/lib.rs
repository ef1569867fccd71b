//! The state machine of Jeton: commands, replies, rows and rules. Pure, synchronous, deterministic.
//!
//! No clock, no randomness, no I/O, no order of a hash map: the same entries give the same rows, the
//! same replies and the same digest on every node, today and in a replay.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod command;
pub mod ids;
pub mod limits;
pub mod reply;
pub mod tables;
