//! What a node answers to its peers: the seam between the peer server, which knows protobuf and
//! connections, and the node, which knows consensus. Plain types on both sides, so that tests put
//! fakes behind a real server.
//!
//! ```text
//!   peer server ─► RaftPeer      openraft itself (implemented in `raft_peer.rs` for `Raft`)
//!               ─► LeaderPeer    what only a leader answers: forwarded commands, read index, clocks
//!               ─► SnapshotInbox where a base file is put while it arrives
//!               ─► Doorkeeper    probe and offer (`bootstrap`), also before the node runs
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use jeton_core::ids::{ClusterId, Position, UnixMs};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use super::intake::ForwardReplies;
use crate::snapshot::SnapshotFile;
use crate::types::{Member, NodeId, SnapshotMeta, TypeConfig, Vote};

/// Which node of which cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's number in it.
    pub node: NodeId,
}

/// Why a peer could not be answered, in words. The caller backs off and comes again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Everything that a running node answers with.
#[derive(Clone)]
pub struct PeerHandler {
    /// Consensus.
    pub raft: Arc<dyn RaftPeer>,
    /// The leader's part.
    pub leader: Arc<dyn LeaderPeer>,
    /// Where base files arrive.
    pub inbox: Arc<dyn SnapshotInbox>,
}

/// Requests of one append stream, in order. It ends with the first message that can't be read.
pub type AppendRequests = BoxStream<'static, AppendEntriesRequest<TypeConfig>>;
/// One answer for each request, in order; an error ends it.
pub type AppendResults = BoxStream<'static, Result<StreamAppendResult<TypeConfig>, Refusal>>;

/// openraft's own calls.
#[tonic::async_trait]
pub trait RaftPeer: Send + Sync + 'static {
    /// Replication and heartbeats.
    fn append(&self, requests: AppendRequests) -> AppendResults;
    /// A candidate asks for this node's vote.
    async fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, Refusal>;
    /// The same without consequences.
    async fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, Refusal>;
    /// The leader wants this node to follow it in office.
    async fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Refusal>;
    /// Installs a verified base file; returns when it is durable, with the node's vote.
    async fn install(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<Vote, Refusal>;
    /// The node's vote, to stop a snapshot of a leader that was deposed. `None`: not known yet.
    async fn vote_now(&self) -> Result<Option<Vote>, Refusal>;
}

/// A command that a follower sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedCommand {
    /// Names it in the answer.
    pub tag: u64,
    /// As `jeton_core::codec` encoded it.
    pub command: Bytes,
    /// How long the follower held it: to be added to the command's age.
    pub held: Duration,
    /// Not to be proposed once this much time has passed since it arrived.
    pub deadline: Duration,
}

/// How a forwarded command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Applied: the encoded reply.
    Reply(Bytes),
    /// Certain not to happen: safe to send again.
    NotProposed {
        /// Why.
        reason: NotProposedReason,
        /// Come again after this.
        retry_after: Duration,
        /// Who leads instead, where known.
        leader: Option<NodeId>,
    },
    /// It may happen or not: repeat it only under the same name.
    Unknown(Arc<str>),
}

impl Answer {
    /// Certain not to happen, and why; to be tried again at once.
    #[must_use]
    pub fn not_proposed(reason: NotProposedReason) -> Self {
        Self::NotProposed { reason, retry_after: Duration::ZERO, leader: None }
    }
}

/// Why a command was not proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotProposedReason {
    /// Another node leads, or none.
    NotLeader,
    /// Too much is under way.
    Overloaded,
    /// Its deadline passed while it waited.
    Deadline,
    /// It would never fit into an entry.
    TooLarge,
    /// The node is going down.
    Shutdown,
}

/// Another node leads, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLeader {
    /// Who does, where known.
    pub leader: Option<NodeId>,
}

/// What one follower's stream of commands is handed to, in order.
pub trait ForwardIntake: Send {
    /// Takes a batch. Each command is answered exactly once, through the replies that the intake
    /// was made with; in whatever order.
    fn take(&mut self, commands: Vec<ForwardedCommand>);
}

/// A read index that a quorum confirmed after the call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadIndex {
    /// To be applied before the read.
    pub index: u64,
    /// What an entry proposed now would be stamped with.
    pub stamp: UnixMs,
}

/// Why there is no read index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadIndexError {
    /// Ask the leader.
    #[error("this node does not lead")]
    NotLeader(NotLeader),
    /// No quorum confirmed in time.
    #[error("leadership was not confirmed: {0}")]
    Unconfirmed(String),
}

/// What every node tells the leader once a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its wall clock.
    pub wall: UnixMs,
    /// What it has applied.
    pub applied: Position,
    /// Its last digests by position, newest last.
    pub digests: Vec<(Position, [u8; 16])>,
}

/// How a report compares with the others'.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reported {
    /// Median of the voters' wall clocks; `None` until a majority has reported.
    pub median: Option<UnixMs>,
    /// Where the sender's digest differs from the majority's: it must fence itself.
    pub diverged: Vec<Position>,
}

/// What a node knows of its cluster, for those who knock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// All members, learners too.
    pub members: Vec<(NodeId, Member)>,
    /// The leader.
    pub leader: Option<NodeId>,
}

/// What a leader does for its followers.
#[tonic::async_trait]
pub trait LeaderPeer: Send + Sync + 'static {
    /// Opens a stream of commands from node `from`, which takes this node for the leader of `term`.
    ///
    /// # Errors
    /// [`NotLeader`] if it isn't, in that very term: nothing of the stream is proposed.
    fn forwarding(
        &self,
        from: NodeId,
        term: u64,
        replies: Arc<ForwardReplies>,
    ) -> Result<Box<dyn ForwardIntake>, NotLeader>;
    /// Confirms leadership with a quorum, from now on.
    async fn read_index(&self, from: NodeId) -> Result<ReadIndex, ReadIndexError>;
    /// Remembers a node's clock and digests.
    fn report(&self, from: NodeId, report: Report) -> Result<Reported, NotLeader>;
    /// Members and leader.
    fn known(&self) -> Known;
}

/// Keeps base files while they arrive.
#[tonic::async_trait]
pub trait SnapshotInbox: Send + Sync + 'static {
    /// Starts or resumes receiving the file that `file_id` names; what there is of any other file
    /// is thrown away.
    async fn begin(&self, file_id: &str, bytes_total: u64) -> Result<Box<dyn Receiving>, Refusal>;
}

/// A base file that arrives. Dropped before the end it stays, for the transfer to be resumed.
#[tonic::async_trait]
pub trait Receiving: Send {
    /// Bytes that are there, from the beginning, without gaps.
    fn received(&self) -> u64;
    /// Adds bytes at the end.
    async fn write(&mut self, data: Bytes) -> Result<(), Refusal>;
    /// Verifies the whole file: checksums, digest, position. A file that fails is thrown away.
    async fn finish(self: Box<Self>, meta: &SnapshotMeta) -> Result<SnapshotFile, Refusal>;
}

/// A base file that is sent.
#[tonic::async_trait]
pub trait SnapshotSource: Send + Sync {
    /// Its length.
    fn bytes_total(&self) -> u64;
    /// At most `bytes_max` bytes from `offset` on; at least one before the end.
    async fn read_at(&self, offset: u64, bytes_max: usize) -> Result<Bytes, Refusal>;
}
