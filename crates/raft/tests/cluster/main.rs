//! Whole nodes in one process, over loopback and real directories.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should say where")]

mod harness;

mod damage;
mod failover;
mod inspect;
mod large;
mod leases;
mod members;
mod reads;
mod rotation;
mod single;
mod time;
