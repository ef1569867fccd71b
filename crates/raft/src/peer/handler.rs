//! The seam between the peer protocol and the node: what the peer server asks of the node that it
//! belongs to, in plain types. The other direction, what a node asks of its peers, is
//! [`super::client`].
//!
//! ```text
//!  node: batcher, reads, clock ──► peer::client ══ gRPC ══► peer::server ──► PeerHandler (node)
//! ```

use std::sync::Arc;

use bytes::Bytes;
use jeton_core::ids::{ClusterId, Position, UnixMs};
use jeton_core::reply::{Reply, StateDigest};
use tokio::time::Instant;

use crate::snapshot::SnapshotFile;
use crate::types::{Member, NodeId, Raft, SnapshotMeta};

/// What the peer server calls. Implemented by the node.
pub trait PeerHandler: Send + Sync + 'static {
    /// Which cluster, and which node of it, this is. Every peer RPC is compared with it.
    fn identity(&self) -> (ClusterId, NodeId);

    /// The consensus module: append, vote, pre-vote, snapshot, transfer of leadership.
    fn raft(&self) -> &Raft;

    /// Commands that a follower forwards, in its order. Each is answered exactly once through
    /// `replies`, in any order: [`ForwardOutcome::NotProposed`] if this node does not lead.
    fn forwarded(&self, from: NodeId, commands: Vec<Forwarded>, replies: Arc<dyn ForwardReplies>);

    /// A read index that a quorum confirmed after this call began. Many calls share one round.
    fn read_index(
        &self,
        deadline: Instant,
    ) -> impl Future<Output = Result<ConfirmedIndex, ReadIndexError>> + Send;

    /// Whether this node has applied a position before the deadline.
    fn applied(&self, position: Position, deadline: Instant) -> impl Future<Output = bool> + Send;

    /// A member's clock and digests; answered with what the leader makes of them.
    fn clock_report(&self, report: ClockReport) -> Result<ClockVerdict, NotLeader>;

    /// Where a snapshot that is being received may be written: a directory of this node's data
    /// directory, on the same file system. It exists. What lies in it survives restarts, so that
    /// a transfer can be resumed.
    fn incoming_dir(&self) -> std::path::PathBuf;

    /// The files of this node: base files are read and written through it.
    fn disk(&self) -> Arc<dyn jeton_storage::disk::Disk>;

    /// Verifies a received base file before openraft hears of it: checksums, digest, position.
    /// The words say what is wrong; the file is then thrown away and sent again.
    fn verify_snapshot(
        &self,
        meta: &SnapshotMeta,
        file: &SnapshotFile,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// All members, learners too, and the leader where known: for nodes that knock.
    fn known(&self) -> Known;
}

/// Which node of which cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's number in it.
    pub node: NodeId,
}

/// What a node knows of its cluster.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// All members, learners too.
    pub members: Vec<(NodeId, Member)>,
    /// The leader.
    pub leader: Option<NodeId>,
}

/// One forwarded command.
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// Chosen by the follower, unique in its stream.
    pub tag: u64,
    /// As `jeton_core::codec::encode` wrote the `Command`.
    pub command: Bytes,
    /// Time that the caller still has, when it was sent.
    pub timeout_ms: u64,
    /// How long it waited for the stream, which its age does not hold yet. The stream counts it.
    pub held_ms: u64,
}

/// Where answers to forwarded commands go: the stream that they came on. Must not block.
pub trait ForwardReplies: Send + Sync {
    /// The answer to the command under `tag`.
    fn reply(&self, tag: u64, outcome: ForwardOutcome);
}

/// What became of a forwarded command. A stream that breaks means [`ForwardOutcome::Unknown`] for
/// all that was sent and not answered.
#[derive(Debug, Clone)]
pub enum ForwardOutcome {
    /// Applied, or settled by a confirmed read.
    Replied(Box<Reply>),
    /// It never entered a log: safe to send again, here or elsewhere.
    NotProposed,
    /// Nobody can tell whether it took or will take effect.
    Unknown,
    /// The leader has too much to do: it never entered a log.
    Overloaded {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// Its deadline passed at the leader.
    DeadlineExceeded {
        /// Whether it may have entered a log.
        sent: bool,
    },
    /// It can never be accepted: too large, or not decodable. The text says which.
    Rejected(Arc<str>),
}

/// A read index confirmed by a quorum.
#[derive(Debug, Clone, Copy)]
pub struct ConfirmedIndex {
    /// Index that must be applied before reading.
    pub index: u64,
    /// The leader's stamp when it was confirmed.
    pub stamp: UnixMs,
}

/// Why there is no read index.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadIndexError {
    /// This node does not lead.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// No quorum answered in time.
    #[error("no quorum confirmed the leader in time")]
    NoQuorum,
    /// The node is shutting down or has failed.
    #[error("the node is stopping")]
    Stopping,
}

/// This node does not lead; perhaps it knows who does.
#[derive(Debug, Clone, thiserror::Error)]
#[error("this node does not lead")]
pub struct NotLeader {
    /// The leader, if known.
    pub leader: Option<(NodeId, Member)>,
}

/// Sent by every member to the leader once a second, and at once when the leader changes.
#[derive(Debug, Clone)]
pub struct ClockReport {
    /// Whose.
    pub node: NodeId,
    /// Its wall clock when it sent this.
    pub wall: UnixMs,
    /// Index that it has applied.
    pub applied: u64,
    /// Its newest digests, oldest first, at most 16.
    pub digests: Vec<(Position, StateDigest)>,
}

/// What the leader makes of a report.
#[derive(Debug, Clone)]
pub struct ClockVerdict {
    /// Median of the voters' clocks, if a majority has reported lately.
    pub median: Option<UnixMs>,
    /// Digests that a majority of voters agree on, oldest first, at most 16.
    pub agreed: Vec<(Position, StateDigest)>,
}

/// What a node asks of its peers, beside openraft's own RPCs. Implemented by
/// [`super::client::Peers`], which also makes openraft's network factory. Connections are shared
/// per peer and made when first used.
pub trait PeerLinks: Send + Sync + 'static {
    /// Asks the leader for a confirmed read index.
    fn read_index(
        &self,
        leader: NodeId,
        member: &Member,
        deadline: Instant,
    ) -> impl Future<Output = Result<ConfirmedIndex, CallError>> + Send;

    /// Sends the leader this member's report.
    fn report(
        &self,
        leader: NodeId,
        member: &Member,
        report: ClockReport,
    ) -> impl Future<Output = Result<ClockVerdict, CallError>> + Send;

    /// Asks any member whether it has applied a position, until the deadline.
    fn applied(
        &self,
        node: NodeId,
        member: &Member,
        position: Position,
        deadline: Instant,
    ) -> impl Future<Output = Result<bool, CallError>> + Send;

    /// Opens the ordered stream of forwarded commands to the leader. Returns at once; a connection
    /// that can't be made is reported through [`ForwardAnswers::broken`].
    fn forward(
        &self,
        leader: NodeId,
        member: &Member,
        answers: Arc<dyn ForwardAnswers>,
    ) -> super::ForwardLink;
}

/// Where the answers of a forward stream go. Must not block.
///
/// [`super::ForwardLink`] has
/// `async fn send(&self, commands: Vec<Forwarded>) -> Result<(), LinkBroken>`: waits while too many
/// bytes are on their way, keeps the order; an error means that nothing of this call was sent.
/// Dropping it closes the stream.
pub trait ForwardAnswers: Send + Sync {
    /// The answer to the command under `tag`.
    fn reply(&self, tag: u64, outcome: ForwardOutcome);

    /// The stream is gone. Called exactly once, and nothing is answered afterwards: all that was
    /// sent and not answered is unknown. `sent_anything` is false if no byte of any command left
    /// this node (no connection): then all of it was not proposed.
    fn broken(&self, sent_anything: bool);
}

/// Why a call to a peer gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It does not lead.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// It can't be reached, or did not answer in time.
    #[error("peer {node} at {addr} can't be reached: {why}")]
    Unreachable {
        /// Which.
        node: NodeId,
        /// Where.
        addr: String,
        /// As the transport says it.
        why: String,
    },
    /// It answered with an error.
    #[error("peer {node} refused: {why}")]
    Refused {
        /// Which.
        node: NodeId,
        /// In its words.
        why: String,
    },
}
