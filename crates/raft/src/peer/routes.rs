//! Three services on one port. Their paths are known, so no router is needed.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

use super::MESSAGE_BYTES_MAX;
use super::handler::PeerHandler;
use super::pb::door_service_server::DoorServiceServer;
use super::pb::leader_service_server::LeaderServiceServer;
use super::pb::raft_service_server::RaftServiceServer;
use super::server::PeerServer;

/// Hands each call to the service that its path names.
pub(super) struct Routes<H> {
    raft: RaftServiceServer<PeerServer<H>>,
    leader: LeaderServiceServer<PeerServer<H>>,
    door: DoorServiceServer<PeerServer<H>>,
}

impl<H: PeerHandler> Routes<H> {
    pub(super) fn new(server: PeerServer<H>) -> Self {
        Self {
            raft: RaftServiceServer::new(server.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            leader: LeaderServiceServer::new(server.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            // Whoever knocks may be a stranger: the default of 4 MiB is more than enough.
            door: DoorServiceServer::new(server),
        }
    }
}

// Not derived: a handler need not be cloned for it.
impl<H> Clone for Routes<H> {
    fn clone(&self) -> Self {
        let (raft, leader, door) = (self.raft.clone(), self.leader.clone(), self.door.clone());
        Self { raft, leader, door }
    }
}

impl<H: PeerHandler> Service<http::Request<Body>> for Routes<H> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let service = path.strip_prefix('/').and_then(|path| path.split('/').next());
        match service {
            Some(RaftServiceServer::<PeerServer<H>>::NAME) => self.raft.call(request),
            Some(LeaderServiceServer::<PeerServer<H>>::NAME) => self.leader.call(request),
            Some(DoorServiceServer::<PeerServer<H>>::NAME) => self.door.call(request),
            _ => Box::pin(async {
                Ok(Status::unimplemented("peers have no such service").into_http())
            }),
        }
    }
}
