//! openraft's calls to one peer over one lane.
//!
//! Every failure of the transport is `Unreachable`: openraft backs off from it, whereas it retries
//! `Network` at once in a tight loop.

use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::{self, Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkV2};

use super::client::{Peers, within};
use super::connect::{Lane, PeerCallError};
use super::convert::{
    Broken, append_result_from_pb, append_to_pb, transfer_result_from_pb, transfer_to_pb,
    vote_request_to_pb, vote_response_from_pb,
};
use super::pb;
use super::replicate::{PIPELINE_REQUESTS, Pipeline, check_size};
use super::transfer;
use crate::snapshot::SnapshotFile;
use crate::types::{NodeId, Snapshot, TypeConfig, Vote};

/// Opening a pipeline may need a new connection: openraft's time, made for one request, is short.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

type AppendAnswers<'s> =
    BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

/// See the module's documentation.
pub struct PeerNetwork {
    peers: Peers,
    target: NodeId,
    address: String,
    lane: Lane,
}

impl PeerNetwork {
    pub(super) fn new(peers: Peers, target: NodeId, address: String, lane: Lane) -> Self {
        Self { peers, target, address, lane }
    }

    fn broken(&self, broken: &Broken) -> RPCError<TypeConfig> {
        let (address, why) = (self.address.clone(), broken.to_string());
        unreachable(&PeerCallError::Broken { address, why })
    }

    async fn heartbeat(
        &self,
        request: pb::AppendRequest,
        wait: Duration,
    ) -> Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>> {
        check_size(&self.address, &request).map_err(|e| unreachable(&e))?;
        let mut client =
            self.peers.raft_client(&self.address, self.lane).map_err(|e| unreachable(&e))?;
        let message = pb::HeartbeatRequest { append: Some(request) };
        let call = client.heartbeat(self.peers.addressed(message, self.target));
        let response = within(wait, &self.address, call).await.map_err(|e| unreachable(&e))?;
        let append = response.append.ok_or_else(|| Broken::new("a heartbeat answer without one"));
        append.and_then(append_result_from_pb).map_err(|b| self.broken(&b))
    }

    async fn open_pipeline<S>(
        &self,
        input: S,
        wait: Duration,
    ) -> Result<Pipeline<S>, RPCError<TypeConfig>> {
        let mut client =
            self.peers.raft_client(&self.address, self.lane).map_err(|e| unreachable(&e))?;
        let (requests, body) = mpsc::channel(PIPELINE_REQUESTS);
        let call = client.append(self.peers.addressed(body, self.target));
        let answers = within(wait, &self.address, call).await.map_err(|e| unreachable(&e))?;
        Ok(Pipeline::new(self.address.clone(), input, requests, answers))
    }

    async fn ask_vote(
        &self,
        request: &VoteRequest<TypeConfig>,
        wait: Duration,
        pre: bool,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client =
            self.peers.raft_client(&self.address, Lane::Liveness).map_err(|e| unreachable(&e))?;
        let message = vote_request_to_pb(request);
        let answer = if pre {
            let message = pb::PreVoteRequest { vote: Some(message) };
            let call = client.pre_vote(self.peers.addressed(message, self.target));
            let response = within(wait, &self.address, call).await.map_err(|e| unreachable(&e))?;
            response.vote.ok_or_else(|| Broken::new("a pre-vote answer without one"))
        } else {
            let call = client.vote(self.peers.addressed(message, self.target));
            Ok(within(wait, &self.address, call).await.map_err(|e| unreachable(&e))?)
        };
        answer.and_then(vote_response_from_pb).map_err(|b| self.broken(&b))
    }
}

/// The one way in which failures are told to openraft.
pub(super) fn unreachable(error: &PeerCallError) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let sent = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        match self.heartbeat(append_to_pb(&rpc), option.soft_ttl()).await? {
            Ok(matched) if matched == sent => Ok(AppendEntriesResponse::Success),
            Ok(matched) => Ok(AppendEntriesResponse::PartialSuccess(matched)),
            Err(StreamAppendError::Conflict(_)) => Ok(AppendEntriesResponse::Conflict),
            Err(StreamAppendError::HigherVote(vote)) => Ok(AppendEntriesResponse::HigherVote(vote)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendAnswers<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        // A heartbeat is one request: a stream for each would cost more and bring nothing.
        if self.lane == Lane::Liveness {
            return stream_append_sequential(self, input, option);
        }
        let mut input = input;
        Box::pin(async move {
            // openraft puts its backoff in front of the first request: to connect before that one
            // has come would be to retry a dead peer in a tight loop.
            let Some(first) = input.next().await else {
                let nothing: AppendAnswers<'s> = Box::pin(stream::empty());
                return Ok(nothing);
            };
            let input = stream::iter([first]).chain(input);
            let pipeline = self.open_pipeline(input, option.soft_ttl().max(OPEN_TIMEOUT)).await?;
            let answers: AppendAnswers<'s> = Box::pin(pipeline);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(&rpc, option.soft_ttl(), false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(&rpc, option.soft_ttl(), true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let file = transfer::name(&snapshot, self.peers.node());
        let send = transfer::send(&self.peers, self.target, &self.address, &vote, &snapshot, file);
        let cancel = std::pin::pin!(cancel);
        let send = std::pin::pin!(send);
        match futures::future::select(cancel, send).await {
            futures::future::Either::Left((closed, _)) => Err(closed.into()),
            futures::future::Either::Right((Ok(vote), _)) => Ok(SnapshotResponse::new(vote)),
            futures::future::Either::Right((Err(error), _)) => {
                tracing::warn!(peer = self.target, %error, "a base file was not installed");
                Err(StreamingError::Unreachable(Unreachable::new(&error)))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client =
            self.peers.raft_client(&self.address, Lane::Liveness).map_err(|e| unreachable(&e))?;
        let call = client.transfer_leader(self.peers.addressed(transfer_to_pb(&req), self.target));
        let response =
            within(option.soft_ttl(), &self.address, call).await.map_err(|e| unreachable(&e))?;
        transfer_result_from_pb(response).map_err(|b| self.broken(&b))
    }
}
