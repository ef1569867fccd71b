//! Three real node processes on loopback, seen only through the client.
//!
//! The binary is the one beside this test's own: `cargo build` makes it.

#![allow(clippy::disallowed_methods)] // tests look at the nodes' files

mod actor;
mod alone;
mod backups;
mod contended;
mod crashes;
mod families;
mod flags;
mod freezes;
mod kills;
mod load;
mod locks;
mod members;
mod opaque;
mod predicates;
mod records;
mod resource_servers;
mod restores;
mod revocation;
mod secrets;
mod sessions;
mod stampede;
mod transactions;
mod watching;
mod world;
