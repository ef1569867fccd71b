//! Consensus as the peer server sees it: openraft's calls behind a trait, so that tests can stand
//! in for it.

use futures::StreamExt;
use futures::stream::BoxStream;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use crate::snapshot::SnapshotFile;
use crate::types::{Raft, Snapshot, SnapshotMeta, TypeConfig, Vote};

/// Consensus has stopped: why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("consensus has stopped on this node: {0}")]
pub(crate) struct Stopped(pub(crate) String);

/// Requests of one append stream, in order.
pub(crate) type AppendRequests = BoxStream<'static, AppendEntriesRequest<TypeConfig>>;
/// One answer for each request, in order.
pub(crate) type AppendResults = BoxStream<'static, Result<StreamAppendResult<TypeConfig>, Stopped>>;

/// What peers may ask of consensus.
#[tonic::async_trait]
pub(crate) trait RaftDoor: Send + Sync + 'static {
    fn append(&self, requests: AppendRequests) -> AppendResults;

    async fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, Stopped>;

    async fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, Stopped>;

    async fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Stopped>;

    /// Installs a verified base file; returns when it is durable, with this node's vote.
    async fn install(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<Vote, Stopped>;
}

#[tonic::async_trait]
impl RaftDoor for Raft {
    fn append(&self, requests: AppendRequests) -> AppendResults {
        self.stream_append(requests).map(|result| result.map_err(stopped)).boxed()
    }

    async fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, Stopped> {
        Raft::vote(self, request).await.map_err(stopped)
    }

    async fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, Stopped> {
        Raft::pre_vote(self, request).await.map_err(stopped)
    }

    async fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Stopped> {
        self.handle_transfer_leader(request).await.map_err(stopped)
    }

    async fn install(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<Vote, Stopped> {
        let snapshot = Snapshot { meta, snapshot: file };
        let response = self.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(response.vote)
    }
}

fn stopped(error: impl std::fmt::Display) -> Stopped {
    Stopped(error.to_string())
}
