//! Who leads, as this node knows it, and whether this node may serve.

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::bootstrap::Doorkeeper;
use crate::types::{Member, NodeId, Raft};

/// What this node is in the cluster now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// Another one leads.
    Follower {
        /// Which.
        leader: NodeId,
        /// Where.
        member: Member,
    },
    /// Nobody leads, as far as this node knows.
    Nobody,
}

/// Role, term and members, changing together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    pub(crate) term: u64,
    /// Voters: one set, or two while they change.
    pub(crate) configs: Arc<Vec<BTreeSet<NodeId>>>,
    /// All members, learners too.
    pub(crate) members: Arc<Vec<(NodeId, Member)>>,
}

impl Role {
    /// Who leads, as seen by node `own`.
    fn leader(&self, own: NodeId) -> Option<NodeId> {
        match self {
            Self::Leader => Some(own),
            Self::Follower { leader, .. } => Some(*leader),
            Self::Nobody => None,
        }
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self { role: Role::Nobody, term: 0, configs: Arc::default(), members: Arc::default() }
    }
}

impl Standing {
    pub(crate) fn is_voter(&self, node: NodeId) -> bool {
        self.configs.iter().any(|config| config.contains(&node))
    }

    /// Says who leads.
    fn tell(&self, own: NodeId) {
        let term = self.term;
        match self.role.leader(own) {
            Some(leader) if leader == own => tracing::info!(term, "this node leads"),
            Some(leader) => tracing::info!(term, leader, "this node follows a leader"),
            None => tracing::info!(term, "there is no leader"),
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == Role::Leader
    }
}

/// Whether this node may serve.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It may.
    Serving,
    /// Its clock is too far from the median of the voters': it may not lead.
    ClockSkewed {
        /// How far, in milliseconds; ahead is positive.
        skew_ms: i64,
    },
    /// Its state differs from that of a majority, or there is no majority: it serves nothing.
    Fenced(Arc<str>),
    /// Its disk or its log failed: it serves nothing, and must be restarted or replaced.
    Failed(Arc<str>),
    /// It is on its way out.
    Stopping,
}

/// Follows openraft's metrics until it stops; says why it stopped.
pub(crate) async fn follow(
    raft: &Raft,
    id: NodeId,
    standing: &watch::Sender<Standing>,
    door: &Doorkeeper,
) -> String {
    let mut metrics = raft.server_metrics();
    loop {
        let now = {
            let seen = metrics.borrow_watched();
            let membership = seen.membership_config.membership();
            let role = match seen.current_leader {
                Some(leader) if leader == id && seen.state == ServerState::Leader => Role::Leader,
                Some(leader) if leader != id => match membership.get_node(&leader) {
                    Some(member) => Role::Follower { leader, member: member.clone() },
                    None => Role::Nobody,
                },
                _ => Role::Nobody,
            };
            Standing {
                role,
                term: seen.vote.leader_id().term,
                configs: Arc::new(membership.get_joint_config().clone()),
                members: Arc::new(membership.nodes().map(|(id, m)| (*id, m.clone())).collect()),
            }
        };
        if now.role != Role::Nobody {
            door.set_formed();
        }
        standing.send_if_modified(|old| {
            let changed = *old != now;
            if changed {
                if (old.role.leader(id), old.term) != (now.role.leader(id), now.term) {
                    now.tell(id);
                }
                *old = now;
            }
            changed
        });
        if metrics.changed().await.is_err() {
            let why = raft.metrics().borrow_watched().running_state.clone();
            return why.err().map_or_else(|| "stopped".to_owned(), |fatal| fatal.to_string());
        }
    }
}
