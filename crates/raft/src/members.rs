//! Who belongs to the cluster. A node always joins as a learner and is promoted when it has caught
//! up; openraft takes voters through a joint configuration, so that a crash in between leaves both
//! majorities in force until the next leader finishes the change.
//!
//! A new node's number comes from the index of a log entry written for it: no number is ever used
//! twice, whoever was removed meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use tokio::time::{Instant, timeout_at};

use crate::bootstrap::{Place, node_id_at, offer_place};
use crate::engine::Engine;
use crate::errors::MembersError;
use crate::standing::{Health, Role};
use crate::types::{Member, NodeId, TypeConfig};

/// Entries that a learner may lack when it is promoted.
const PROMOTE_LAG_MAX: u64 = 1_000;
/// A transfer of leadership that takes longer has failed.
const TRANSFER_WAIT: Duration = Duration::from_secs(2);
/// A peer that was heard of within this time may be handed leadership.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// A member that has not said where its clients reach it can't be recommended to them.
fn leads_elsewhere(leader: Option<Member>) -> MembersError {
    let leader = leader.map(|member| member.client_addr).filter(|address| !address.is_empty());
    MembersError::NotLeader { leader }
}

type WriteError = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

impl Engine {
    fn not_leader(&self) -> MembersError {
        let leader = match self.standing().role {
            Role::Follower { member, .. } => Some(member),
            Role::Leader | Role::Nobody => None,
        };
        leads_elsewhere(leader)
    }

    fn refused(&self, error: WriteError) -> MembersError {
        match error {
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(_) => MembersError::InProgress,
                ChangeMembershipError::LearnerNotFound(missing) => {
                    MembersError::Unknown(missing.node_id)
                }
                other => MembersError::Refused(other.to_string()),
            },
            // It may know better than the standing, which follows a moment later.
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                match forward.leader_node.filter(|_| forward.leader_id != Some(self.id)) {
                    Some(leader) => leads_elsewhere(Some(leader)),
                    None => self.not_leader(),
                }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => MembersError::InDoubt,
            RaftError::APIError(other) => MembersError::Refused(other.to_string()),
            // It may have been written before consensus stopped here, and others may keep it.
            RaftError::Fatal(_) => MembersError::InDoubt,
        }
    }

    /// A number that no node has ever had. Needs a quorum.
    async fn fresh_id(&self) -> Result<NodeId, String> {
        let written = self.raft.write_blank().await.map_err(|error| error.to_string())?;
        Ok(node_id_at(written.log_id.index()))
    }

    /// Finds the node at that address empty, has it take a place in this cluster, and adds it.
    pub(crate) async fn invite(
        &self,
        member: Member,
        deadline: Instant,
    ) -> Result<NodeId, MembersError> {
        let standing = self.standing();
        if !standing.leads() {
            return Err(self.not_leader());
        }
        let place = Place {
            cluster: self.cluster,
            leader_address: self.config.peer_addr.clone(),
            members: standing.members.as_ref().clone(),
        };
        let connector = Arc::clone(&self.connector);
        let offered = offer_place(connector, &place, &member.peer_addr, || self.fresh_id());
        let offered = timeout_at(deadline, offered).await;
        let (node, own) = offered
            .map_err(|_| MembersError::DeadlineExceeded)?
            .map_err(|error| MembersError::Refused(error.to_string()))?;
        // The node knows best where its clients reach it.
        let client_addr =
            if own.client_addr.is_empty() { member.client_addr } else { own.client_addr };
        let member = Member { peer_addr: member.peer_addr, client_addr };
        self.add_learner(node, member, deadline).await?;
        Ok(node)
    }

    /// Adds a learner: it is sent everything, and has no vote.
    pub(crate) async fn add_learner(
        &self,
        node: NodeId,
        member: Member,
        deadline: Instant,
    ) -> Result<(), MembersError> {
        if !self.standing.borrow().leads() {
            return Err(self.not_leader());
        }
        let added = timeout_at(deadline, self.raft.add_learner(node, member, false)).await;
        added.map_err(|_| MembersError::DeadlineExceeded)?.map_err(|error| self.refused(error))?;
        Ok(())
    }

    /// Makes a learner that has caught up a voter.
    pub(crate) async fn promote(
        &self,
        node: NodeId,
        deadline: Instant,
    ) -> Result<(), MembersError> {
        let standing = self.standing();
        if !standing.leads() {
            return Err(self.not_leader());
        }
        if !standing.members.iter().any(|(id, _)| *id == node) {
            return Err(MembersError::Unknown(node));
        }
        let lag = self.lag(node);
        if lag.is_none_or(|lag| lag > PROMOTE_LAG_MAX) && node != self.id {
            return Err(MembersError::Lagging { node, lag: lag.unwrap_or(u64::MAX) });
        }
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([node]));
        self.change(change, deadline).await
    }

    /// Removes a member, voter or learner. Its data directory can't come back.
    pub(crate) async fn remove(&self, node: NodeId, deadline: Instant) -> Result<(), MembersError> {
        let standing = self.standing();
        if !standing.leads() {
            return Err(self.not_leader());
        }
        let Some((_, member)) = standing.members.iter().find(|(id, _)| *id == node) else {
            return Err(MembersError::Unknown(node));
        };
        let voters: BTreeSet<NodeId> = standing.configs.iter().flatten().copied().collect();
        if voters == BTreeSet::from([node]) {
            return Err(MembersError::Refused("it is the last voter".to_owned()));
        }
        let ids = BTreeSet::from([node]);
        if voters.contains(&node) {
            self.change(ChangeMembers::RemoveVoters(ids), deadline).await?;
        } else {
            self.change(ChangeMembers::RemoveNodes(ids), deadline).await?;
        }
        self.peers.forget(&member.peer_addr);
        Ok(())
    }

    async fn change(
        &self,
        change: ChangeMembers<NodeId, Member>,
        deadline: Instant,
    ) -> Result<(), MembersError> {
        let changed = timeout_at(deadline, self.raft.change_membership(change, false)).await;
        let changed = changed.map_err(|_| MembersError::DeadlineExceeded)?;
        match changed.map_err(|error| self.refused(error)) {
            Ok(_) => Ok(()),
            // It takes two entries, and the error doesn't say which of them found no leader here.
            Err(MembersError::NotLeader { .. }) => Err(MembersError::InDoubt),
            Err(error) => Err(error),
        }
    }

    /// Entries that `node` lacks, if this node leads and has heard of it.
    pub(crate) fn lag(&self, node: NodeId) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = metrics.replication.as_ref()?.get(&node)?.as_ref()?.index();
        Some(last.saturating_sub(matched))
    }

    /// Hands leadership to `node` and waits until it has taken it.
    pub(crate) async fn transfer_leader(
        self: &Arc<Self>,
        node: NodeId,
        deadline: Instant,
    ) -> Result<(), MembersError> {
        let mut standing = self.standing.subscribe();
        let now = standing.borrow_and_update().clone();
        if !now.leads() {
            return Err(self.not_leader());
        }
        if node == self.id {
            return Ok(());
        }
        if !now.is_voter(node) {
            return Err(MembersError::Unknown(node));
        }
        let asked = self.raft.trigger().transfer_leader(node).await;
        asked.map_err(|fatal| MembersError::Refused(fatal.to_string()))?;
        let until = deadline.min(Instant::now() + TRANSFER_WAIT);
        let taken = standing
            .wait_for(|now| matches!(&now.role, Role::Follower { leader, .. } if *leader == node));
        match timeout_at(until, taken).await {
            Ok(Ok(_)) => Ok(()),
            // The node is stopping: whether the other took over is not heard any more.
            Ok(Err(_)) => Err(MembersError::InDoubt),
            Err(_) => Err(MembersError::DeadlineExceeded),
        }
    }

    /// Hands leadership to the voter that lacks least, among those heard of lately whose clock is
    /// right. Nothing happens if there is none: a leader with a broken clock is better than none,
    /// since its stamps are a majority's.
    pub(crate) async fn hand_over(self: &Arc<Self>) {
        let now = Instant::now();
        let standing = self.standing();
        let skew_max = crate::config::millis(self.config.clock_skew_max);
        let heir = standing
            .configs
            .iter()
            .flatten()
            .filter(|node| **node != self.id)
            .filter(|node| {
                let heard = self.stamps.heard(**node);
                heard.is_some_and(|at| now.saturating_duration_since(at) < HEARD_WITHIN)
            })
            .filter(|node| {
                *self.health.borrow() == Health::Stopping
                    || self.stamps.skew(**node, now).is_some_and(|ms| ms.unsigned_abs() <= skew_max)
            })
            .min_by_key(|node| self.lag(**node).unwrap_or(u64::MAX));
        if let Some(heir) = heir
            && let Err(error) = self.transfer_leader(*heir, now + TRANSFER_WAIT).await
        {
            tracing::warn!(%error, heir, "leadership was not taken over");
        }
    }
}
