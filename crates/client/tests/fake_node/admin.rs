//! Operators' calls, and following the leader.

use std::sync::Arc;
use std::time::Duration;

use jeton_client::admin::SettingsChange;
use jeton_client::{Client, Error, RotateContext, Rotation};
use jeton_wire::Failure;
use jeton_wire::failure::reason;
use jeton_wire::pb::admin_v1 as pb;
use parking_lot::Mutex;
use pb::cluster_service_server::{ClusterService, ClusterServiceServer};
use pb::tenant_service_server::{TenantService, TenantServiceServer};
use tonic::{Code, Request, Response, Status};

use super::node::{Act, FakeNode, config, failure, rotated, token};

const SOON: Duration = Duration::from_secs(20);

/// What operators' calls find.
#[derive(Clone, Default)]
pub struct FakeAdmin(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    status: pb::GetStatusResponse,
    /// Failed with, one a call, before anything is answered.
    failures: Vec<Failure>,
    created: Vec<pb::CreateTenantRequest>,
    added: Vec<pb::AddMemberRequest>,
    timeouts: Vec<bool>,
    /// How often the status was asked for.
    asked: usize,
    /// Changes of members are refused, and this address of the leader is named.
    leader: Option<String>,
}

impl FakeAdmin {
    pub fn clusters(&self) -> ClusterServiceServer<Self> {
        ClusterServiceServer::new(self.clone())
    }

    pub fn tenants(&self) -> TenantServiceServer<Self> {
        TenantServiceServer::new(self.clone())
    }

    /// Says from now on that node 2 leads, at `leader`.
    pub fn names_leader(&self, leader: &FakeNode) {
        let member = pb::Member {
            node_id: 2,
            client_address: leader.address.to_string(),
            leader: true,
            ..pb::Member::default()
        };
        let mut state = self.0.lock();
        state.status =
            pb::GetStatusResponse { node_id: 1, leader_id: 2, ..pb::GetStatusResponse::default() };
        state.status.members.push(member);
    }

    /// Refuses changes of members from now on, and says that the leader is there.
    pub fn follows(&self, leader: impl ToString) {
        self.0.lock().leader = Some(leader.to_string());
    }

    /// The changes of members that it was sent, refused ones included.
    pub fn changes(&self) -> usize {
        self.0.lock().added.len()
    }

    /// How often its status was asked for.
    pub fn asked(&self) -> usize {
        self.0.lock().asked
    }

    fn fail_first(&self, failures: impl IntoIterator<Item = Failure>) {
        self.0.lock().failures.extend(failures);
    }

    fn next_failure<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.0.lock();
        state.timeouts.push(request.metadata().contains_key("grpc-timeout"));
        if state.failures.is_empty() { Ok(()) } else { Err(state.failures.remove(0).into()) }
    }
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not here"))
}

#[tonic::async_trait]
impl ClusterService for FakeAdmin {
    async fn get_status(
        &self,
        request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        self.next_failure(&request)?;
        let mut state = self.0.lock();
        state.asked += 1;
        Ok(Response::new(state.status.clone()))
    }

    async fn add_member(
        &self,
        request: Request<pb::AddMemberRequest>,
    ) -> Result<Response<pb::AddMemberResponse>, Status> {
        let failed = self.next_failure(&request);
        let mut state = self.0.lock();
        state.added.push(request.into_inner());
        if let Some(leader) = state.leader.clone() {
            let not_leader = failure(Code::Unavailable, reason::NOT_LEADER);
            return Err(not_leader.not_executed().leader(Some(leader)).into());
        }
        failed.map(|()| Response::new(pb::AddMemberResponse { node_id: 4 }))
    }

    async fn init_cluster(
        &self,
        _: Request<pb::InitClusterRequest>,
    ) -> Result<Response<pb::InitClusterResponse>, Status> {
        not_here()
    }

    async fn promote_member(
        &self,
        _: Request<pb::PromoteMemberRequest>,
    ) -> Result<Response<pb::PromoteMemberResponse>, Status> {
        not_here()
    }

    async fn remove_member(
        &self,
        _: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        not_here()
    }

    async fn transfer_leader(
        &self,
        _: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        not_here()
    }

    async fn checkpoint(
        &self,
        _: Request<pb::CheckpointRequest>,
    ) -> Result<Response<pb::CheckpointResponse>, Status> {
        not_here()
    }
}

#[tonic::async_trait]
impl TenantService for FakeAdmin {
    async fn create_tenant(
        &self,
        request: Request<pb::CreateTenantRequest>,
    ) -> Result<Response<pb::CreateTenantResponse>, Status> {
        let failed = self.next_failure(&request);
        let request = request.into_inner();
        let tenant = pb::Tenant {
            tenant: request.tenant.clone(),
            settings: request.settings,
            version: 1,
            ..pb::Tenant::default()
        };
        self.0.lock().created.push(request);
        failed.map(|()| Response::new(pb::CreateTenantResponse { tenant: Some(tenant) }))
    }

    async fn set_tenant(
        &self,
        _: Request<pb::SetTenantRequest>,
    ) -> Result<Response<pb::SetTenantResponse>, Status> {
        not_here()
    }

    async fn get_tenant(
        &self,
        _: Request<pb::GetTenantRequest>,
    ) -> Result<Response<pb::GetTenantResponse>, Status> {
        not_here()
    }

    async fn list_tenants(
        &self,
        _: Request<pb::ListTenantsRequest>,
    ) -> Result<Response<pb::ListTenantsResponse>, Status> {
        not_here()
    }

    async fn rotate_tenant_key(
        &self,
        _: Request<pb::RotateTenantKeyRequest>,
    ) -> Result<Response<pb::RotateTenantKeyResponse>, Status> {
        not_here()
    }

    async fn mark_key_compromised(
        &self,
        _: Request<pb::MarkKeyCompromisedRequest>,
    ) -> Result<Response<pb::MarkKeyCompromisedResponse>, Status> {
        not_here()
    }

    async fn set_record_kind(
        &self,
        _: Request<pb::SetRecordKindRequest>,
    ) -> Result<Response<pb::SetRecordKindResponse>, Status> {
        not_here()
    }

    async fn list_record_kinds(
        &self,
        _: Request<pb::ListRecordKindsRequest>,
    ) -> Result<Response<pb::ListRecordKindsResponse>, Status> {
        not_here()
    }
}

async fn node() -> FakeNode {
    FakeNode::start(|operation| Act::Answer(rotated(operation))).await
}

#[tokio::test]
async fn a_tenant_is_made_once_however_often_it_is_sent() {
    let node = node().await;
    let pause = Duration::from_millis(30);
    let unknown = failure(Code::Unavailable, reason::OUTCOME_UNKNOWN).retry_after(pause);
    node.admin.fail_first([unknown]);
    let settings = SettingsChange::new().rotation_burst(3).grace_default(Duration::from_secs(7));
    let admin = node.client().await.admin();
    let made = admin.create_tenant("acme", settings, SOON).await.unwrap();
    assert_eq!(made.tenant.as_str(), "acme");
    assert_eq!((made.settings.rotation_burst, made.settings.grace_default.0), (3, 7_000));

    let state = node.admin.0.lock();
    assert_eq!(state.created.len(), 2);
    assert_eq!(state.created[0].request_id, state.created[1].request_id);
    assert_eq!(state.created[0].request_id.len(), 16);
    assert!(state.created[1].age_ms >= state.created[0].age_ms + 30);
    assert!(state.timeouts.iter().all(|named| *named), "every call names its deadline");
}

#[tokio::test]
async fn a_change_of_members_is_repeated_only_if_it_did_not_happen() {
    let node = node().await;
    let admin = node.client().await.admin();
    node.admin.fail_first([failure(Code::Unavailable, reason::NOT_PROPOSED).not_executed()]);
    assert_eq!(admin.add_member("10.0.0.4:7402", true, SOON).await, Ok(4));
    assert_eq!(node.admin.0.lock().added.len(), 2);

    node.admin.fail_first([failure(Code::Unavailable, reason::OUTCOME_UNKNOWN)]);
    let error = admin.add_member("10.0.0.5:7402", true, SOON).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(node.admin.0.lock().added.len(), 3, "not once more");
}

#[tokio::test]
async fn what_exists_already_is_told_by_its_code() {
    let node = node().await;
    node.admin.fail_first([failure(Code::AlreadyExists, reason::ALREADY_EXISTS).not_executed()]);
    let admin = node.client().await.admin();
    let error = admin.create_tenant("acme", SettingsChange::new(), SOON).await.unwrap_err();
    assert!(matches!(&error, Error::Failed { code: "ALREADY_EXISTS", .. }), "{error}");
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn a_status_says_who_leads() {
    let (node, leader) = (node().await, node().await);
    node.admin.names_leader(&leader);
    let status = node.client().await.admin().status(SOON).await.unwrap();
    assert_eq!((status.node_id, status.leader_id), (1, Some(2)));
    assert_eq!(status.cluster, None, "there is none yet");
    assert_eq!(status.members[0].client_address, leader.address.to_string());
    assert!(status.not_ready.is_some());
}

#[tokio::test]
async fn a_client_that_prefers_the_leader_finds_it_by_itself() {
    let (follower, leader) = (node().await, node().await);
    follower.admin.names_leader(&leader);
    // It only knows the follower.
    let config = config([&follower]).prefer_leader(true);
    let client = Client::connect(config).await.unwrap();
    let acme = client.tenant("acme").unwrap();
    let moved = async {
        while leader.operations().is_empty() {
            let answer = acme.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap();
            assert!(matches!(answer, Rotation::Rotated(_)), "it works all the while");
        }
    };
    tokio::time::timeout(SOON, moved).await.unwrap();
}
