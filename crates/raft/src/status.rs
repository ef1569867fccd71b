//! What an operator, a health check and a metric want to know of a node.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::ids::{ClusterId, Position};
use jeton_core::reply::StateDigest;
use jeton_storage::log::LogStats;
use openraft::async_runtime::instant::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::standing::{Health, Role, Standing};
use crate::types::{Member, NodeId};

/// A member that was heard of within this time counts as reachable.
const REACHABLE_WITHIN: Duration = Duration::from_secs(3);

/// A leader whom no majority has answered for so many election timeouts is alone.
const QUORUM_ELECTIONS: u32 = 3;

/// A node as it sees itself and its cluster.
#[derive(Debug, Clone)]
pub struct Status {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Which node.
    pub node: NodeId,
    /// The leader, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Raft's term.
    pub term: u64,
    /// Index of the first entry that the log still has.
    pub first_log: u64,
    /// Index of the last entry in the log.
    pub last_log: u64,
    /// Index of the last entry known to be on a majority.
    pub committed: u64,
    /// Index of the last applied entry.
    pub applied: u64,
    /// Position of the last applied command.
    pub position: Position,
    /// All members, by number.
    pub members: Vec<MemberStatus>,
    /// Newest digests of the whole state, oldest first.
    pub digests: Vec<(Position, StateDigest)>,
    /// Whether it may serve.
    pub health: Health,
    /// Whether it has caught up with a leader that a quorum confirmed, since it started. Before,
    /// whoever reads here waits.
    pub caught_up: bool,
    /// Whether, if it leads, a majority of the voters has answered it lately. Who doesn't lead
    /// notices by itself when there is no leader.
    pub quorum: bool,
    /// This node's clock against the median of the voters', in milliseconds; ahead is positive.
    pub clock_skew_ms: Option<i64>,
    /// What the log has done since the start.
    pub log: LogStats,
    /// Bytes of changes that only the log and memory hold.
    pub overlay_bytes: usize,
    /// Index that the rows on disk stand at: 0 before the first checkpoint.
    pub checkpoint: u64,
    /// The base file's index and length, if there is one.
    pub base: Option<(u64, u64)>,
    /// Commands that wait here to be proposed or forwarded.
    pub waiting: usize,
    /// Since the start: batches proposed here as leader.
    pub batches: u64,
    /// Since the start: commands in those batches.
    pub commands: u64,
    /// Since the start: commands applied here, whoever proposed them.
    pub commands_applied: u64,
    /// Since the start: rotations answered together with an equal one.
    pub collapsed: u64,
    /// Since the start: base files built.
    pub bases: u64,
    /// Since the start: how long building them took.
    pub base_time: Duration,
    /// Since the start: rounds that confirmed a read index for all readers that waited.
    pub read_rounds: u64,
}

/// A member as this node sees it.
#[derive(Debug, Clone)]
pub struct MemberStatus {
    /// Its number.
    pub id: NodeId,
    /// Its addresses.
    pub member: Member,
    /// Whether it votes; a learner does not.
    pub voter: bool,
    /// Entries that it lacks; only the leader knows.
    pub lag: Option<u64>,
    /// Its clock against the median, in milliseconds; only the leader knows.
    pub clock_skew_ms: Option<i64>,
    /// Whether it was heard of lately; only the leader knows of others.
    pub reachable: Option<bool>,
}

impl Status {
    /// Whether it can serve writes and linearizable reads: it may serve, knows a leader, has
    /// caught up and is not left alone.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.health == Health::Serving && self.leader.is_some() && self.caught_up && self.quorum
    }
}

impl Engine {
    /// Whether a majority has acknowledged this leader lately.
    fn has_quorum(&self, standing: &Standing) -> bool {
        if standing.configs.iter().all(|config| config.iter().all(|node| *node == self.id)) {
            return true;
        }
        let metrics = self.raft.metrics();
        let acked = metrics.borrow_watched().last_quorum_acked;
        acked.is_some_and(|acked| acked.elapsed() < self.config.election_max * QUORUM_ELECTIONS)
    }

    pub(crate) fn status(&self) -> Status {
        let standing = self.standing();
        let now = Instant::now();
        let (last_log, committed) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let committed = metrics.cluster_committed.map_or(0, |id| id.index());
            (metrics.last_log_index.unwrap_or(0), committed)
        };
        let leads = standing.leads();
        let members = standing.members.iter().map(|(id, member)| {
            let heard = self.stamps.heard(*id);
            let recent = heard.is_some_and(|at| now.duration_since(at) < REACHABLE_WITHIN);
            MemberStatus {
                id: *id,
                member: member.clone(),
                voter: standing.is_voter(*id),
                lag: if *id == self.id { Some(0) } else { self.lag(*id) },
                clock_skew_ms: if leads { self.stamps.skew(*id, now) } else { None },
                reachable: if *id == self.id { Some(true) } else { leads.then_some(recent) },
            }
        });
        let skew = self.stamps.estimate(now);
        Status {
            cluster: self.cluster,
            node: self.id,
            leader: match &standing.role {
                Role::Leader => Some(self.id),
                Role::Follower { leader, .. } => Some(*leader),
                Role::Nobody => None,
            },
            term: standing.term,
            first_log: self.log.state().first.unwrap_or(last_log + 1),
            last_log,
            committed,
            applied: *self.progress.applied.borrow(),
            position: Position(self.progress.position.load(Ordering::Acquire)),
            members: members.collect(),
            digests: self.progress.digests.lock().iter().copied().collect(),
            health: self.health.borrow().clone(),
            caught_up: self.caught_up.load(Ordering::Acquire),
            quorum: !leads || self.has_quorum(&standing),
            clock_skew_ms: skew.map(|median| crate::clock::skew_ms(self.clock.wall(), median)),
            log: self.log.stats(),
            overlay_bytes: self.state.overlay_bytes(),
            checkpoint: self.state.checkpointed(),
            base: self.state.base().map(|base| (base.marker.index, base.bytes)),
            waiting: self.intake.waiting().0,
            batches: self.counters.batches.load(Ordering::Relaxed),
            commands: self.counters.commands.load(Ordering::Relaxed),
            commands_applied: self.progress.commands.load(Ordering::Relaxed),
            collapsed: self.counters.collapsed.load(Ordering::Relaxed),
            bases: self.counters.bases.load(Ordering::Relaxed),
            base_time: Duration::from_micros(self.counters.base_micros.load(Ordering::Relaxed)),
            read_rounds: self.counters.read_rounds.load(Ordering::Relaxed),
        }
    }
}
