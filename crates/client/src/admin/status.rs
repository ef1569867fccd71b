//! The cluster as one node sees it.

use jeton_core::ids::{ClusterId, Position, UnixMs};
use jeton_wire::pb::admin_v1 as pb;

use crate::error::Error;

/// The cluster as the node that answered sees it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The cluster's name; `None` before it exists.
    pub cluster: Option<ClusterId>,
    /// The node that answered.
    pub node_id: u64,
    /// Who leads, as far as that node knows.
    pub leader_id: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// Last index in the node's log.
    pub last_log_index: u64,
    /// Last index that it applied.
    pub applied_index: u64,
    /// Position of the last command that it applied.
    pub position: Position,
    /// All members, the node included.
    pub members: Vec<Member>,
    /// Digests of its whole state at recent positions, newest last. Equal positions must have equal
    /// digests on all nodes.
    pub digests: Vec<(Position, String)>,
    /// Syncs of its log since it started.
    pub log_syncs: u64,
    /// Entries appended to its log since it started.
    pub log_entries: u64,
    /// Commands applied since it started.
    pub commands_applied: u64,
    /// Index of its newest checkpoint.
    pub checkpoint_index: u64,
    /// Index of its newest base file.
    pub base_index: Option<u64>,
    /// What the node is doing.
    pub state: NodeState,
    /// While it waits: peer addresses that do not answer it.
    pub missing_members: Vec<String>,
    /// Why it doesn't serve; `None` while it does.
    pub not_ready: Option<String>,
    /// Of the binary that it runs.
    pub version: String,
    /// When it started.
    pub started_at: UnixMs,
    /// The state machine's clock there.
    pub clock: UnixMs,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeState {
    /// It opens its directory, or applies what was committed.
    Starting,
    /// It has no cluster, or its cluster is not formed yet.
    Waiting,
    /// It takes part in its cluster.
    Running,
}

impl NodeState {
    fn of(state: i32) -> Self {
        match pb::NodeState::try_from(state) {
            Ok(pb::NodeState::Starting) => Self::Starting,
            Ok(pb::NodeState::Waiting) => Self::Waiting,
            _ => Self::Running,
        }
    }
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// Its number, never used again after it was removed.
    pub node_id: u64,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// Whether it votes; learners don't.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// How many entries it is behind, if the node that answered leads.
    pub lag_entries: Option<u64>,
    /// Its wall clock against the median, in milliseconds, if it was reported.
    pub clock_skew_ms: Option<i64>,
}

impl ClusterStatus {
    pub(super) fn decode(status: pb::GetStatusResponse) -> Result<Self, Error> {
        let cluster = match &status.cluster_id[..] {
            [] => None,
            bytes => Some(
                ClusterId::from_slice(bytes).map_err(|error| Error::protocol(error.to_string()))?,
            ),
        };
        let digests =
            status.digests.into_iter().map(|digest| (Position(digest.position), digest.digest));
        Ok(Self {
            cluster,
            node_id: status.node_id,
            leader_id: unless_zero(status.leader_id),
            term: status.term,
            last_log_index: status.last_log_index,
            applied_index: status.applied_index,
            position: Position(status.position),
            members: status.members.into_iter().map(Member::decode).collect(),
            digests: digests.collect(),
            log_syncs: status.log_syncs,
            log_entries: status.log_entries,
            commands_applied: status.commands_applied,
            checkpoint_index: status.checkpoint_index,
            base_index: unless_zero(status.base_index),
            state: NodeState::of(status.state),
            missing_members: status.missing_members,
            not_ready: (!status.ready).then_some(status.why_not_ready),
            version: status.version,
            started_at: UnixMs(status.started_at_unix_ms),
            clock: UnixMs(status.clock_unix_ms),
        })
    }
}

impl Member {
    fn decode(member: pb::Member) -> Self {
        Self {
            node_id: member.node_id,
            peer_address: member.peer_address,
            client_address: member.client_address,
            voter: member.voter,
            leader: member.leader,
            lag_entries: member.lag_entries,
            clock_skew_ms: member.clock_skew_ms,
        }
    }
}

fn unless_zero(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}
