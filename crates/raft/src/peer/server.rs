//! The peer port: checks whom a call was meant for, turns protobuf into plain types, and hands it
//! to the node.
//!
//! The server runs before the node does: a node that has no cluster yet answers probes and offers,
//! and everything else with "starting". Streams end when the server is told to stop, so that a
//! shutdown doesn't wait for connections that would stay open for ever.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use jeton_core::ids::{Position, UnixMs};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use super::connect::{PING_INTERVAL, PING_TIMEOUT};
use super::convert::{
    Broken, append_from_pb, append_result_to_pb, digests_from_pb, digests_to_pb, not_leader_to_pb,
    offer_from_pb, transfer_from_pb, transfer_result_to_pb, visit_to_pb, vote_request_from_pb,
    vote_response_to_pb,
};
use super::handler::{ClockReport, PeerHandler, ReadIndexError};
use super::intake::Intake;
use super::pb::door_service_server::DoorService;
use super::pb::leader_service_server::LeaderService;
use super::pb::raft_service_server::RaftService;
use super::raft_door::{RaftDoor, Stopped};
use super::receive::receive;
use super::routes::Routes;
use super::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, headers, pb};
use crate::bootstrap::Doorkeeper;
use crate::types::NodeId;

/// Progress messages that wait for the sender of a base file.
const PROGRESS_QUEUE: usize = 4;

/// No peer waits longer for anything.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// A node that runs, behind the server.
pub struct Running<H> {
    handler: Arc<H>,
    raft: Arc<dyn RaftDoor>,
    /// Held while a base file arrives.
    receiving: Arc<tokio::sync::Mutex<()>>,
}

impl<H: PeerHandler> Running<H> {
    /// Serves peers with this node.
    pub fn new(handler: Arc<H>) -> Self {
        let raft = Arc::new(handler.raft().clone());
        Self::with_raft(handler, raft)
    }

    pub(super) fn with_raft(handler: Arc<H>, raft: Arc<dyn RaftDoor>) -> Self {
        Self { handler, raft, receiving: Arc::default() }
    }
}

/// The server of the peer port. Cheap to clone.
pub struct PeerServer<H> {
    shared: Arc<Shared<H>>,
}

struct Shared<H> {
    door: Arc<Doorkeeper>,
    running: OnceLock<Running<H>>,
    stopping: watch::Sender<bool>,
}

impl<H> Clone for PeerServer<H> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<H: PeerHandler> PeerServer<H> {
    /// A server that only answers at the door, until [`PeerServer::run`].
    #[must_use]
    pub fn new(door: Arc<Doorkeeper>) -> Self {
        let (running, stopping) = (OnceLock::new(), watch::Sender::new(false));
        Self { shared: Arc::new(Shared { door, running, stopping }) }
    }

    /// From now on the node answers. Does nothing the second time.
    pub fn run(&self, node: Running<H>) {
        let handler = node.handler.clone();
        self.shared.door.opened(Arc::new(move || handler.known()));
        let _ = self.shared.running.set(node);
    }

    /// Serves the connections that come in, until `stop` resolves; then ends all streams.
    ///
    /// # Errors
    /// What the transport says.
    pub async fn serve<I, IO, E>(
        self,
        incoming: I,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), tonic::transport::Error>
    where
        I: Stream<Item = Result<IO, E>>,
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let shared = self.shared.clone();
        let stop = async move {
            stop.await;
            shared.stopping.send_replace(true);
        };
        Server::builder()
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .serve_with_incoming_shutdown(Routes::new(self), incoming, stop)
            .await
    }

    /// The node, and the sender of a call that was meant for it.
    fn admit(&self, headers: &MetadataMap) -> Result<(&Running<H>, NodeId), Status> {
        let running = self.shared.running.get();
        let running = running.ok_or_else(|| Status::unavailable("the node is starting"))?;
        let (cluster, node) = running.handler.identity();
        let from = headers::sender(headers, cluster, node)?;
        Ok((running, from))
    }

    /// Resolves when the server stops.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.shared.stopping.subscribe();
        async move {
            // The server is gone, too.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

fn unavailable(stopped: Stopped) -> Status {
    Status::unavailable(stopped.to_string())
}

/// The messages up to the first broken one, and where its status is put.
fn readable<M: Send + 'static, T: Send + 'static>(
    stream: Streaming<M>,
    convert: fn(M) -> Result<T, Broken>,
) -> (BoxStream<'static, T>, Arc<Mutex<Option<Status>>>) {
    let fault = Arc::new(Mutex::new(None));
    let found = fault.clone();
    let messages = stream::unfold(Some(stream), move |stream| {
        let found = found.clone();
        async move {
            let mut stream = stream?;
            let status = match stream.message().await {
                Ok(None) => return None,
                Ok(Some(message)) => match convert(message) {
                    Ok(message) => return Some((message, Some(stream))),
                    Err(broken) => Status::from(broken),
                },
                Err(status) => status,
            };
            *found.lock() = Some(status);
            None
        }
    });
    (messages.boxed(), fault)
}

#[tonic::async_trait]
impl<H: PeerHandler> RaftService for PeerServer<H> {
    type AppendStream = BoxStream<'static, Result<pb::AppendResponse, Status>>;
    type SnapshotStream = BoxStream<'static, Result<pb::SnapshotResponse, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (node, _) = self.admit(request.metadata())?;
        let (requests, fault) = readable(request.into_inner(), append_from_pb);
        let answers = node.raft.append(requests).map(|result| match result {
            Ok(result) => Ok(append_result_to_pb(&result)),
            Err(stopped) => Err(unavailable(stopped)),
        });
        let end = stream::once(async move { fault.lock().take() })
            .filter_map(|status| async move { status.map(Err) });
        Ok(Response::new(answers.chain(end).take_until(self.stopped()).boxed()))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let (node, _) = self.admit(request.metadata())?;
        let append = request.into_inner().append;
        let append = append.ok_or_else(|| Broken::new("a heartbeat without its append"))?;
        let request = append_from_pb(append)?;
        let mut answers = node.raft.append(stream::iter([request]).boxed());
        match answers.next().await {
            Some(Ok(result)) => Ok(Response::new(pb::HeartbeatResponse {
                append: Some(append_result_to_pb(&result)),
            })),
            Some(Err(stopped)) => Err(unavailable(stopped)),
            None => Err(Status::unavailable("consensus gave no answer")),
        }
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let (node, _) = self.admit(request.metadata())?;
        let request = vote_request_from_pb(request.into_inner())?;
        let response = node.raft.vote(request).await.map_err(unavailable)?;
        Ok(Response::new(vote_response_to_pb(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::PreVoteRequest>,
    ) -> Result<Response<pb::PreVoteResponse>, Status> {
        let (node, _) = self.admit(request.metadata())?;
        let vote = request.into_inner().vote;
        let vote = vote.ok_or_else(|| Broken::new("a pre-vote without its vote"))?;
        let request = vote_request_from_pb(vote)?;
        let response = node.raft.pre_vote(request).await.map_err(unavailable)?;
        let vote = Some(vote_response_to_pb(&response));
        Ok(Response::new(pb::PreVoteResponse { vote }))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let (node, _) = self.admit(request.metadata())?;
        let request = transfer_from_pb(request.into_inner())?;
        let response = node.raft.transfer_leader(request).await.map_err(unavailable)?;
        Ok(Response::new(transfer_result_to_pb(&response)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotRequest>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let (node, from) = self.admit(request.metadata())?;
        let slot = node.receiving.clone().try_lock_owned();
        let slot = slot.map_err(|_| Status::unavailable("another base file is arriving"))?;
        let (handler, raft) = (node.handler.clone(), node.raft.clone());
        let (answers, body) = mpsc::channel(PROGRESS_QUEUE);
        tracing::info!(from, "a base file arrives");
        tokio::spawn(async move {
            receive(handler, raft, request.into_inner(), answers).await;
            drop(slot);
        });
        Ok(Response::new(ReceiverStream::new(body).take_until(self.stopped()).boxed()))
    }
}

#[tonic::async_trait]
impl<H: PeerHandler> LeaderService for PeerServer<H> {
    type ForwardStream = BoxStream<'static, Result<pb::ForwardResponse, Status>>;

    async fn forward(
        &self,
        request: Request<Streaming<pb::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (node, from) = self.admit(request.metadata())?;
        let handler = node.handler.clone();
        let intake = Intake::new(request.into_inner(), move |commands, replies| {
            handler.forwarded(from, commands, replies);
        });
        Ok(Response::new(intake.take_until(self.stopped()).boxed()))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexResponse>, Status> {
        use pb::read_index_response::Result as Case;
        let (node, _) = self.admit(request.metadata())?;
        let timeout = Duration::from_millis(request.get_ref().timeout_ms).min(TIMEOUT_MAX);
        let deadline = Instant::now() + timeout;
        let result = match node.handler.read_index(deadline).await {
            Ok(confirmed) => Case::Confirmed(pb::ReadIndexConfirmed {
                index: confirmed.index,
                stamp_unix_ms: confirmed.stamp.0,
            }),
            Err(ReadIndexError::NotLeader(not)) => Case::NotLeader(not_leader_to_pb(&not)),
            Err(ReadIndexError::NoQuorum) => Case::NoQuorum(true),
            Err(ReadIndexError::Stopping) => Case::Stopping(true),
        };
        Ok(Response::new(pb::ReadIndexResponse { result: Some(result) }))
    }

    async fn applied(
        &self,
        request: Request<pb::AppliedRequest>,
    ) -> Result<Response<pb::AppliedResponse>, Status> {
        let (node, _) = self.admit(request.metadata())?;
        let pb::AppliedRequest { position, timeout_ms } = *request.get_ref();
        let deadline = Instant::now() + Duration::from_millis(timeout_ms).min(TIMEOUT_MAX);
        let applied = node.handler.applied(Position(position), deadline).await;
        Ok(Response::new(pb::AppliedResponse { applied }))
    }

    async fn report(
        &self,
        request: Request<pb::ReportRequest>,
    ) -> Result<Response<pb::ReportResponse>, Status> {
        use pb::report_response::Result as Case;
        let (node, from) = self.admit(request.metadata())?;
        let report = request.into_inner();
        let report = ClockReport {
            node: from,
            wall: UnixMs(report.wall_unix_ms),
            applied: report.applied_index,
            digests: digests_from_pb(report.digests)?,
        };
        let result = match node.handler.clock_report(report) {
            Ok(verdict) => Case::Accepted(pb::ReportAccepted {
                median_unix_ms: verdict.median.map(|median| median.0),
                agreed: digests_to_pb(&verdict.agreed),
            }),
            Err(not) => Case::NotLeader(not_leader_to_pb(&not)),
        };
        Ok(Response::new(pb::ReportResponse { result: Some(result) }))
    }
}

#[tonic::async_trait]
impl<H: PeerHandler> DoorService for PeerServer<H> {
    async fn probe(
        &self,
        _request: Request<pb::ProbeRequest>,
    ) -> Result<Response<pb::ProbeResponse>, Status> {
        Ok(Response::new(visit_to_pb(&self.shared.door.visit())))
    }

    async fn offer(
        &self,
        request: Request<pb::OfferRequest>,
    ) -> Result<Response<pb::OfferResponse>, Status> {
        use pb::offer_response::Result as Case;
        let offer = offer_from_pb(request.into_inner())?;
        let result = match self.shared.door.clone().offer(offer).await {
            Ok(()) => Case::Accepted(true),
            Err(undecided) if undecided.passes() => Case::Later(undecided.to_string()),
            Err(refused) => Case::Refused(refused.to_string()),
        };
        Ok(Response::new(pb::OfferResponse { result: Some(result) }))
    }
}
