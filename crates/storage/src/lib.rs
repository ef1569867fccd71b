//! Durability for Jeton: the directory a node lives in, its Raft log, and the rows of its state.
//!
//! This crate moves bytes: it knows neither Raft nor what a token is. Everything that touches a
//! file goes through [`disk::Disk`], so that tests and simulation can cut the power.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod data_dir;
pub mod disk;
pub mod init_plan;
pub mod log;
pub mod ownership;
pub mod sealed;
pub mod state;
