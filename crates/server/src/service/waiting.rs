//! What a node answers that has not started yet: how it is, and `InitCluster`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jeton_core::ids::UnixMs;
use jeton_raft::bootstrap::{InitError, Lobby, Phase};
use jeton_wire::Failure;
use jeton_wire::check::Violation;
use jeton_wire::failure::reason;
use jeton_wire::pb::admin_v1 as pb;
use jeton_wire::pb::admin_v1::cluster_service_server::ClusterService;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, async_trait};

use crate::{deadline, failures};

/// Left for the answer, when the cluster is not formed by the deadline.
const ANSWER_TIME: Duration = Duration::from_millis(100);

/// `ClusterService` of a node that waits for its cluster, or recovers.
pub(crate) struct Waiting {
    pub(crate) lobby: Arc<Lobby>,
    /// When this process started.
    pub(crate) started: UnixMs,
}

impl Waiting {
    fn status(&self) -> pb::GetStatusResponse {
        let scene = self.lobby.scene();
        let state = match scene.phase {
            Phase::Waiting => pb::NodeState::Waiting,
            _ => pb::NodeState::Starting,
        };
        let place = scene.identity;
        pb::GetStatusResponse {
            cluster_id: place.map_or_else(Bytes::new, |p| Bytes::copy_from_slice(&p.cluster.0)),
            node_id: place.map_or(0, |place| place.node),
            why_not_ready: self.lobby.why(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_unix_ms: self.started.0,
            state: state.into(),
            missing_members: scene.missing,
            ..pb::GetStatusResponse::default()
        }
    }

    fn not_started<T>(&self) -> Result<Response<T>, Status> {
        Err(failures::not_started(&self.lobby).into())
    }
}

fn of_init(error: InitError) -> Failure {
    match error {
        InitError::Members(problem) => Violation::new("members", problem).into(),
        // Asked again, the node itself says what has become of its cluster.
        InitError::Started => {
            Failure::new(Code::Unavailable, reason::NOT_STARTED, error.to_string())
                .not_executed()
                .retry_after(Duration::from_millis(100))
        }
        InitError::DeadlineExceeded(_) => {
            Failure::new(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, error.to_string())
        }
        _ => {
            let words = error.to_string();
            Failure::new(Code::FailedPrecondition, reason::NOT_POSSIBLE_NOW, words)
        }
    }
}

#[async_trait]
impl ClusterService for Waiting {
    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        Ok(Response::new(self.status()))
    }

    async fn init_cluster(
        &self,
        request: Request<pb::InitClusterRequest>,
    ) -> Result<Response<pb::InitClusterResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        let deadline = deadline.checked_sub(ANSWER_TIME).unwrap_or(deadline);
        let made = self.lobby.init(&request.get_ref().members, deadline).await;
        let cluster = made.map_err(of_init)?;
        let cluster_id = Bytes::copy_from_slice(&cluster.0);
        Ok(Response::new(pb::InitClusterResponse { cluster_id, created: true }))
    }

    async fn add_member(
        &self,
        _: Request<pb::AddMemberRequest>,
    ) -> Result<Response<pb::AddMemberResponse>, Status> {
        self.not_started()
    }

    async fn promote_member(
        &self,
        _: Request<pb::PromoteMemberRequest>,
    ) -> Result<Response<pb::PromoteMemberResponse>, Status> {
        self.not_started()
    }

    async fn remove_member(
        &self,
        _: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        self.not_started()
    }

    async fn transfer_leader(
        &self,
        _: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        self.not_started()
    }

    async fn checkpoint(
        &self,
        _: Request<pb::CheckpointRequest>,
    ) -> Result<Response<pb::CheckpointResponse>, Status> {
        self.not_started()
    }
}
