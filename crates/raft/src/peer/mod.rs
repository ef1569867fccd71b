//! How the nodes of a cluster talk to each other: gRPC on the peer port. Nothing outside of this
//! folder knows the protocol's protobuf types.
//!
//! ```text
//!   client.rs    Peers: one set of connections per peer, openraft's network factory, calls
//!   network.rs     openraft's calls to one peer          replicate.rs  the append pipeline
//!   forward.rs     commands on their way to the leader   transfer.rs   a base file on its way
//!   connect.rs     connections by lane, behind the Connector seam
//!   server.rs    the other end; raft_door.rs, receive.rs, intake.rs do its three streams
//!   handler.rs   the seam to the node                    convert.rs    plain types ↔ protobuf
//! ```
//!
//! **Lanes.** Each peer is reached over three connections: log (replication, forwarded commands,
//! read index), liveness (heartbeats, votes, reports, probes) and bulk (base files), so that a
//! large transfer never delays a heartbeat. HTTP/2 pings find a dead connection within two seconds.
//!
//! **Identity.** Every call names the cluster, its sender and the node that it means. A server
//! answers only what is meant for it.

mod client;
mod connect;
mod convert;
mod forward;
pub mod handler;
mod headers;
mod intake;
mod network;
mod raft_door;
mod receive;
mod replicate;
mod routes;
mod server;
mod transfer;

#[cfg(test)]
mod tests;

pub(crate) use client::DoorCalls;
pub use client::Peers;
pub use connect::{Connector, PeerCallError, TcpConnector};
pub use forward::{ForwardLink, LinkBroken};
pub use server::{PeerServer, Running};

/// Types and stubs generated from `proto/jeton/peer/v1/peer.proto`.
pub(crate) mod pb {
    #![allow(clippy::all, clippy::pedantic, missing_docs)]
    tonic::include_proto!("jeton.peer.v1");
}

/// No message between peers is larger, in bytes: what the log gives for one append request, and the
/// largest entry on top of it, with room to spare.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that one stream may have under way before its sender has to wait.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// The same for a connection.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
