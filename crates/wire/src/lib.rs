//! The words on the wire: generated protobuf types, and dull, explicit conversions between them
//! and the words of `jeton-core`.
//!
//! ```text
//! client  command ──encode──▶ pb request ═════▶ decode──▶ command  server
//!         outcome ◀──answer── pb response ◀════ reply ◀── reply
//! ```
//!
//! * [`decode`] checks everything that comes from outside and names the field that is wrong.
//! * [`failure::Failure`] is the one form of a gRPC error; its details survive the trip as
//!   `google.rpc` messages.
//! * A *refusal* (an answer "no") is not a failure: [`refusal`] holds the table of which is which.
//!
//! Never here: a decision of the state machine, a socket, a clock.

pub mod access;
pub mod admin;
pub mod answer;
pub mod check;
pub mod codec;
pub mod decode;
pub mod encode;
pub mod failure;
pub mod listing;
pub mod lock;
pub mod record;
mod redact;
pub mod refusal;
pub mod reply;
pub mod revocation;
pub mod session;
pub mod status;
pub mod suspension;
pub mod transact;
pub mod view;
pub mod watch;

pub use check::Violation;
pub use failure::Failure;

/// The API's own description, a `google.protobuf.FileDescriptorSet` with all comments: what
/// reflection shows, and what JSON and the OpenAPI document are made from.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Generated from `proto/`.
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod pb {
    /// `jeton.v1`: tokens, revocation, pipeline.
    pub mod v1 {
        tonic::include_proto!("jeton.v1");
    }
    /// `jeton.admin.v1`: cluster and tenants.
    pub mod admin_v1 {
        tonic::include_proto!("jeton.admin.v1");
    }
    /// `google.rpc`: details of errors.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}
