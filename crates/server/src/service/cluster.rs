//! `ClusterService`: the cluster and its members, for operators.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jeton_core::ids::UnixMs;
use jeton_raft::{Health, Member, MemberStatus, MembersError, Status as NodeStatus};
use jeton_wire::Failure;
use jeton_wire::check::Violation;
use jeton_wire::failure::reason;
use jeton_wire::pb::admin_v1 as pb;
use jeton_wire::pb::admin_v1::cluster_service_server::ClusterService;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, async_trait};
use tracing::error;

use crate::deadline;
use crate::desk::{Desk, unreadable};
use crate::failures;

/// How often a learner that catches up is looked at.
const PROMOTE_EVERY: Duration = Duration::from_millis(100);
/// Left for the answer, when a learner has not caught up by the deadline.
const ANSWER_TIME: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct Cluster {
    pub(crate) desk: Arc<Desk>,
    /// When this process started.
    pub(crate) started: UnixMs,
}

impl Cluster {
    fn status(&self) -> Result<pb::GetStatusResponse, Failure> {
        let status = self.desk.node.status();
        let clock = self.desk.node.view(|_, meta| Ok(meta.clock));
        let clock = clock.map_err(|error| unreadable(&error))?;
        let why_not_ready = why_not_ready(&status);
        let digests = status.digests.iter().map(|(position, digest)| pb::PositionDigest {
            position: position.0,
            digest: digest.to_string(),
        });
        let (base_index, base_bytes) = status.base.unwrap_or_default();
        Ok(pb::GetStatusResponse {
            cluster_id: Bytes::copy_from_slice(&status.cluster.0),
            node_id: status.node,
            leader_id: status.leader.unwrap_or(0),
            term: status.term,
            last_log_index: status.last_log,
            committed_index: status.committed,
            applied_index: status.applied,
            position: status.position.0,
            members: status.members.iter().map(|m| member(m, status.leader)).collect(),
            digests: digests.collect(),
            log_syncs: status.log.syncs,
            log_entries: status.log.entries,
            commands_applied: status.commands_applied,
            rotations_collapsed: status.collapsed,
            commands_waiting: status.waiting as u64,
            overlay_bytes: status.overlay_bytes as u64,
            checkpoint_index: status.checkpoint,
            base_index,
            base_bytes,
            ready: why_not_ready.is_none(),
            why_not_ready: why_not_ready.unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_unix_ms: self.started.0,
            clock_unix_ms: clock.0,
            clock_skew_ms: status.clock_skew_ms,
            state: pb::NodeState::Running.into(),
            missing_members: Vec::new(),
        })
    }

    async fn add(
        &self,
        r: &pb::AddMemberRequest,
        deadline: Instant,
    ) -> Result<pb::AddMemberResponse, Failure> {
        if r.peer_address.is_empty() {
            let problem = "is empty: send the host:port of the new node's peer port";
            return Err(Violation::new("peer_address", problem).into());
        }
        let member = Member { peer_addr: r.peer_address.clone(), ..Member::default() };
        let added = self.desk.node.add_learner(member, deadline).await;
        let node_id = added.map_err(|error| failures::of_members(&error))?;
        if r.voter {
            self.promote_when_caught_up(node_id, deadline).await?;
        }
        Ok(pb::AddMemberResponse { node_id })
    }

    /// A learner that lags is promoted as soon as it doesn't.
    async fn promote_when_caught_up(&self, node: u64, deadline: Instant) -> Result<(), Failure> {
        loop {
            match self.desk.node.promote(node, deadline).await {
                Ok(()) => return Ok(()),
                Err(MembersError::Lagging { .. } | MembersError::InProgress)
                    if Instant::now() + PROMOTE_EVERY + ANSWER_TIME < deadline =>
                {
                    tokio::time::sleep(PROMOTE_EVERY).await;
                }
                Err(error) => return Err(not_promoted(node, &error)),
            }
        }
    }

    /// Who takes over if nobody is named: the voter that lacks least.
    fn heir(&self) -> Result<u64, Failure> {
        let status = self.desk.node.status();
        let others = status
            .members
            .iter()
            .filter(|m| m.voter && m.id != status.node && m.reachable != Some(false));
        let heir = others.min_by_key(|m| m.lag.unwrap_or(u64::MAX)).map(|m| m.id);
        heir.ok_or_else(|| {
            let words = "there is no other voter that can be reached: add one, or wait for one";
            Failure::new(Code::FailedPrecondition, reason::NOT_POSSIBLE_NOW, words).not_executed()
        })
    }

    async fn transfer(&self, to: u64, deadline: Instant) -> Result<u64, Failure> {
        let to = if to == 0 { self.heir()? } else { to };
        let moved = self.desk.node.transfer_leader(to, deadline).await;
        moved.map_err(|error| failures::of_members(&error))?;
        Ok(to)
    }

    async fn checkpoint_now(&self, base: bool) -> Result<pb::CheckpointResponse, Failure> {
        let node = &self.desk.node;
        let made = if base { node.rebase().await } else { node.checkpoint().await };
        made.map_err(|source| {
            error!(error = %source, "the checkpoint that was asked for failed");
            let words = format!("the checkpoint failed: {source}; look at the disk and the log");
            Failure::new(Code::Unavailable, reason::STORAGE_FAILED, words)
        })?;
        let status = node.status();
        let base_index = if base { status.base.unwrap_or_default().0 } else { 0 };
        Ok(pb::CheckpointResponse { checkpoint_index: status.checkpoint, base_index })
    }
}

/// It was added, so this much was executed.
fn not_promoted(node: u64, error: &MembersError) -> Failure {
    let mut failure = failures::of_members(error);
    let words = format!("node {node} is a learner, but no voter yet ({error}): promote it later");
    failure.message = words.into();
    if failure.reason == reason::NOT_LEADER {
        // Whoever leads now has the learner, too: the same call there would add it once more.
        failure.code = Code::FailedPrecondition;
        failure.reason = reason::NOT_POSSIBLE_NOW.into();
    }
    failure.metadata.insert("node_id".to_owned(), node.to_string());
    failure.not_executed = false;
    failure
}

/// Why a node doesn't serve; `None` if it does.
pub(crate) fn why_not_ready(status: &NodeStatus) -> Option<String> {
    match &status.health {
        Health::Serving if status.leader.is_none() => Some("there is no leader".to_owned()),
        Health::Serving if !status.quorum => {
            Some("it leads, but no majority of the voters answers it".to_owned())
        }
        Health::Serving if !status.caught_up => {
            Some("it has not caught up with the leader yet".to_owned())
        }
        Health::Serving => None,
        Health::ClockSkewed { skew_ms } => {
            Some(format!("its clock is {skew_ms} ms from the median of the voters'"))
        }
        Health::Fenced(why) | Health::Failed(why) => Some(why.to_string()),
        Health::Stopping => Some("it is stopping".to_owned()),
        other => Some(format!("{other:?}")),
    }
}

fn member(status: &MemberStatus, leader: Option<u64>) -> pb::Member {
    pb::Member {
        node_id: status.id,
        peer_address: status.member.peer_addr.clone(),
        client_address: status.member.client_addr.clone(),
        voter: status.voter,
        leader: leader == Some(status.id),
        lag_entries: status.lag,
        clock_skew_ms: status.clock_skew_ms,
        reachable: status.reachable,
    }
}

/// Members are named by their number, from 1.
fn named(node_id: u64) -> Result<u64, Failure> {
    if node_id == 0 {
        return Err(Violation::new("node_id", "is 0: name the member by its number").into());
    }
    Ok(node_id)
}

#[async_trait]
impl ClusterService for Cluster {
    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        Ok(Response::new(self.status()?))
    }

    async fn init_cluster(
        &self,
        _: Request<pb::InitClusterRequest>,
    ) -> Result<Response<pb::InitClusterResponse>, Status> {
        // A node that runs has a place in a cluster: it began or joined one when it started.
        let cluster = self.desk.node.cluster();
        if self.desk.node.status().members.is_empty() {
            let words = format!(
                "this node has a place in cluster {cluster}, which is not formed yet: go on at the \
                 node where it was begun, or empty this node's data directory and start it again"
            );
            let failure = Failure::new(Code::FailedPrecondition, reason::NOT_POSSIBLE_NOW, words);
            return Err(failure.not_executed().into());
        }
        let cluster_id = Bytes::copy_from_slice(&cluster.0);
        Ok(Response::new(pb::InitClusterResponse { cluster_id, created: false }))
    }

    async fn add_member(
        &self,
        request: Request<pb::AddMemberRequest>,
    ) -> Result<Response<pb::AddMemberResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        Ok(Response::new(self.add(request.get_ref(), deadline).await?))
    }

    async fn promote_member(
        &self,
        request: Request<pb::PromoteMemberRequest>,
    ) -> Result<Response<pb::PromoteMemberResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        let node = named(request.get_ref().node_id)?;
        let promoted = self.desk.node.promote(node, deadline).await;
        promoted.map_err(|error| failures::of_members(&error))?;
        Ok(Response::new(pb::PromoteMemberResponse {}))
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        let node = named(request.get_ref().node_id)?;
        let removed = self.desk.node.remove(node, deadline).await;
        removed.map_err(|error| failures::of_members(&error))?;
        Ok(Response::new(pb::RemoveMemberResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        let leader_id = self.transfer(request.get_ref().node_id, deadline).await?;
        Ok(Response::new(pb::TransferLeaderResponse { leader_id }))
    }

    async fn checkpoint(
        &self,
        request: Request<pb::CheckpointRequest>,
    ) -> Result<Response<pb::CheckpointResponse>, Status> {
        // It isn't cut off at the deadline: what is half done would be done again. There must be
        // one all the same, so that nobody waits for ever.
        deadline::of_unary(request.metadata(), Instant::now())?;
        Ok(Response::new(self.checkpoint_now(request.get_ref().base).await?))
    }
}
