//! The server: a node of the cluster behind its client port.
//!
//! ```text
//!  connections ─▶ service ─▶ desk ─▶ node (jeton-raft)
//!                    ▲         │ ▲
//!                    │         ▼ │
//!                    └────── outbox        what a caller is owed
//! ```
//!
//! The same port speaks HTTP: [`metrics`], probes, OAuth, JSON (`http.rs`).
//!
//! [`Config`] says how, [`App`] is the life: build, run, drain. Never here: a rule of the state
//! machine, bytes on disk, a peer's protocol.

mod app;
mod clock;
pub mod config;
mod connections;
mod deadline;
mod desk;
pub mod events;
mod failures;
mod feed;
mod gate;
mod health;
mod http;
mod keys;
mod listing;
mod locks;
pub mod logging;
pub mod metrics;
pub mod offline;
mod outbox;
mod reads;
mod records;
pub mod reference;
mod revocations;
mod routes;
mod service;
mod sessions;
mod start_error;
mod transactions;
mod waits;

pub use app::{App, RunError};
pub use config::Config;
pub use http::openapi;
pub use start_error::StartError;
