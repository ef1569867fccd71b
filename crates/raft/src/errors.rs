//! What a caller is told when there is no answer. Refusals are answers and don't come this way.

use std::sync::Arc;
use std::time::Duration;

/// Why a command has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// It entered no log: safe to try again, here or elsewhere.
    #[error("there is no leader to take it; it was not proposed")]
    NotProposed {
        /// When to try again.
        retry_after: Duration,
    },
    /// It may or may not take effect. Repeat it under the same request id.
    #[error("whether it took effect is unknown ({why}); repeat it under the same request id")]
    Unknown {
        /// What happened.
        why: &'static str,
    },
    /// The deadline passed.
    #[error(
        "the deadline passed; it {}",
        if *sent { "may have taken effect" } else { "was not proposed" }
    )]
    DeadlineExceeded {
        /// Whether it may have entered a log.
        sent: bool,
    },
    /// The node is stopping; it was not proposed.
    #[error("the node is stopping; it was not proposed")]
    Shutdown,
    /// Larger than a log entry may be.
    #[error("the command has about {bytes} bytes: the limit is {max}")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        max: usize,
    },
    /// Too much waits already; it was not proposed.
    #[error("too many commands wait; it was not proposed")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The leader's disk is full; it was not proposed. Revocations still are.
    #[error("the disk of node {node} is full; it was not proposed: free some space")]
    DiskFull {
        /// Whose.
        node: u64,
    },
    /// This node must not serve: its state is in doubt, or its disk failed.
    #[error("this node does not serve: {why}")]
    NotServing {
        /// Why.
        why: Arc<str>,
    },
}

/// Why there is no point to read at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The deadline passed before the consistency that was asked for was reached.
    #[error("this node could not reach the asked consistency before the deadline: {why}")]
    DeadlineExceeded {
        /// What was missing.
        why: &'static str,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Shutdown,
    /// This node must not serve: its state is in doubt, or its disk failed.
    #[error("this node does not serve: {why}")]
    NotServing {
        /// Why.
        why: Arc<str>,
    },
}

/// Why a node did not start. The words are for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings contradict each other.
    #[error("the configuration is wrong: {0}")]
    Config(String),
    /// Another process uses the data directory.
    #[error("the data directory can't be used")]
    InUse(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The data directory can't be used: another cluster's, another node's, another format's.
    #[error("the data directory can't be used")]
    DataDir(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log does not open.
    #[error("the Raft log does not open")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The state does not open.
    #[error("the state does not open")]
    State(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Log or state are gone, or not this node's: starting with them could vote a second time.
    #[error("this node can't go on with what is in its data directory")]
    Ownership(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The state is gone, and the log does not reach back to make it again.
    #[error(
        "the state stands at {applied:?}, but the log begins after {purged}: this node's data is \
         lost. Empty its directory, remove it from the cluster, and add it as a new node"
    )]
    StateLost {
        /// Index that the state stands at.
        applied: Option<u64>,
        /// Index up to which the log was purged.
        purged: u64,
    },
    /// The log is gone, or has lost its end, and with it votes and what others count on.
    #[error(
        "the state stands at {applied}, but the log ends at {last:?}: its log, and the votes in \
         it, are lost. Empty its directory, remove it from the cluster, and add it as a new node"
    )]
    LogLost {
        /// Index that the state stands at.
        applied: u64,
        /// The last index in the log.
        last: Option<u64>,
    },
    /// The peer port can't be listened at.
    #[error("can't listen for peers at {addr}")]
    Listen {
        /// Where.
        addr: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No cluster was formed or joined.
    #[error("no cluster could be formed or joined")]
    Bootstrap(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The consensus module did not start.
    #[error("consensus did not start: {0}")]
    Consensus(String),
    /// A thread or the runtime could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// Why the membership did not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembersError {
    /// Only the leader changes members.
    #[error(
        "this node does not lead; ask {}",
        leader.as_deref().unwrap_or("again when there is a leader")
    )]
    NotLeader {
        /// The leader's client address, if known.
        leader: Option<String>,
    },
    /// Another change is under way.
    #[error("another change of members is under way; try again when it is done")]
    InProgress,
    /// No such member.
    #[error("node {0} is no member")]
    Unknown(u64),
    /// A learner that lags can't vote yet.
    #[error("node {node} lags by {lag} entries: promote it when it has caught up")]
    Lagging {
        /// Which.
        node: u64,
        /// By how much.
        lag: u64,
    },
    /// What was asked would leave no voter, or is no change at all.
    #[error("{0}")]
    Refused(String),
    /// Leadership moved while the change was made; the next leader may finish it.
    #[error("the leader changed meanwhile; the change may still happen: look at the status")]
    InDoubt,
    /// The deadline passed; the change may still happen.
    #[error("the deadline passed; the change may still happen: look at the status")]
    DeadlineExceeded,
}
