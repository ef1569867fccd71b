//! The client against a node that misbehaves on command: what is repeated, under which name, and
//! what callers are told in the end.

#![allow(clippy::unwrap_used, reason = "a test that fails may say so by panicking")]

mod admin;
mod hints;
mod leases;
mod multiplexing;
mod node;
mod outcomes;
mod replays;
mod retries;
mod routing;
mod transactions;
mod unary;
