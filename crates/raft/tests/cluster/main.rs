//! Whole nodes in one process, over loopback and real directories.

mod harness;

mod failover;
mod members;
mod reads;
mod rotation;
mod single;
