//! What operators do: the cluster, its members, its tenants.
//!
//! Calls about the whole cluster may go to any node. `status`, `init` and `checkpoint` are about
//! the node that answers: connect to that one alone to be sure which it is.
//!
//! Changes of members and transfers of leadership are made by the leader alone. Whichever node they
//! are sent to, the client finds the leader by what the others say (see
//! [`Reach`](crate::Reach)) and remembers it for the next one.
//!
//! Tenants and their keys are changed under a name, and repeated like every mutation. Changes of
//! members have no name: they are repeated only while they certainly did not happen; otherwise the
//! error says that the outcome is unknown, and the status shows what became of it.

mod backup;
mod everywhere;
mod settings;
mod status;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use jeton_core::command::RecordKindSettings;
use jeton_core::ids::{ClusterId, Kid, RecordKind, TenantId};
use jeton_core::reply::TenantView;
use jeton_wire::pb::admin_v1 as pb;
use pb::cluster_service_client::ClusterServiceClient;
use pb::tenant_service_client::TenantServiceClient;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};

pub use backup::BackupStream;
pub use everywhere::Pending;
pub use settings::SettingsChange;
pub use status::{ClusterStatus, Member, NodeState};

use crate::client::{Client, Deadline};
use crate::error::Error;
use crate::id::IntoId;
use crate::transport::call::{Attempt, CallError};
use crate::transport::retry::Repeat;
use crate::transport::router::Toward;
use crate::transport::unary::error_of;

/// Operators' calls. See the module's page for which node they go to.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

/// A checkpoint that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Index of the last entry in it.
    pub index: u64,
    /// Index of the last entry in the base file, if one was asked for.
    pub base_index: Option<u64>,
}

/// A cluster that exists now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initialised {
    /// Its name for its whole life.
    pub cluster: ClusterId,
    /// Whether this call made it; otherwise it was there before, and nothing changed.
    pub created: bool,
}

/// One page of tenants, in order of name.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantPage {
    /// The tenants.
    pub tenants: Vec<TenantView>,
    /// For the next page; `None` if that was all.
    pub next: Option<String>,
}

/// What is new in every attempt.
#[derive(Clone, Copy)]
struct Stamp {
    age_ms: u64,
    left: Duration,
}

impl Stamp {
    fn request<T>(self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.left);
        request
    }
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The cluster as the node that answers sees it.
    ///
    /// # Errors
    /// Whatever any read may fail with.
    pub async fn status(&self, deadline: impl Into<Deadline>) -> Result<ClusterStatus, Error> {
        let call = |channel, stamp: Stamp| async move {
            ClusterServiceClient::new(channel)
                .get_status(stamp.request(pb::GetStatusRequest {}))
                .await
        };
        let status = self.call(Repeat::Read, deadline, call).await?;
        ClusterStatus::decode(status)
    }

    /// Has the empty node form a cluster of the nodes at these peer addresses, its own among them;
    /// of those that it was started with if there are none. All of them must run, empty, with
    /// `bootstrap_expect` 0. Repeatable: a node that belongs to a cluster says which.
    ///
    /// # Errors
    /// [`Error::Failed`] if that isn't possible, and whatever any call may fail with.
    pub async fn init(
        &self,
        members: &[String],
        deadline: impl Into<Deadline>,
    ) -> Result<Initialised, Error> {
        let call = |channel, stamp: Stamp| {
            let request = stamp.request(pb::InitClusterRequest { members: members.to_vec() });
            async move { ClusterServiceClient::new(channel).init_cluster(request).await }
        };
        // A repetition finds the cluster that the first attempt made.
        let made = self.call(Repeat::Named, deadline, call).await?;
        let cluster = ClusterId::from_slice(&made.cluster_id)
            .map_err(|error| Error::protocol(error.to_string()))?;
        Ok(Initialised { cluster, created: made.created })
    }

    /// Adds a running, empty node as a learner, by its peer address; with `voter` it is promoted
    /// when it has caught up. Answers its node id.
    ///
    /// # Errors
    /// [`Error::Failed`] if that isn't possible now, and whatever any call may fail with.
    pub async fn add_member(
        &self,
        peer_address: &str,
        voter: bool,
        deadline: impl Into<Deadline>,
    ) -> Result<u64, Error> {
        let call = |channel, stamp: Stamp| async move {
            let peer_address = peer_address.to_owned();
            ClusterServiceClient::new(channel)
                .add_member(stamp.request(pb::AddMemberRequest { peer_address, voter }))
                .await
        };
        Ok(self.lead(deadline, call).await?.node_id)
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// [`Error::Failed`] if that isn't possible now, and whatever any call may fail with.
    pub async fn promote_member(
        &self,
        node_id: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<(), Error> {
        let call = |channel, stamp: Stamp| async move {
            ClusterServiceClient::new(channel)
                .promote_member(stamp.request(pb::PromoteMemberRequest { node_id }))
                .await
        };
        self.lead(deadline, call).await.map(|_| ())
    }

    /// Removes a member for good: its id is never used again.
    ///
    /// # Errors
    /// [`Error::Failed`] if that isn't possible now, and whatever any call may fail with.
    pub async fn remove_member(
        &self,
        node_id: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<(), Error> {
        let call = |channel, stamp: Stamp| async move {
            ClusterServiceClient::new(channel)
                .remove_member(stamp.request(pb::RemoveMemberRequest { node_id }))
                .await
        };
        self.lead(deadline, call).await.map(|_| ())
    }

    /// Hands leadership to a voter; to the most advanced one if none is named. Answers who leads
    /// now.
    ///
    /// # Errors
    /// [`Error::Failed`] if that isn't possible now, and whatever any call may fail with.
    pub async fn transfer_leader(
        &self,
        node_id: Option<u64>,
        deadline: impl Into<Deadline>,
    ) -> Result<u64, Error> {
        let call = |channel, stamp: Stamp| async move {
            let node_id = node_id.unwrap_or_default();
            ClusterServiceClient::new(channel)
                .transfer_leader(stamp.request(pb::TransferLeaderRequest { node_id }))
                .await
        };
        Ok(self.lead(deadline, call).await?.leader_id)
    }

    /// Writes a checkpoint on the node that answers; with `base` also a base file, and purges the
    /// log up to it.
    ///
    /// # Errors
    /// [`Error::Failed`] if that isn't possible now, and whatever any call may fail with.
    pub async fn checkpoint(
        &self,
        base: bool,
        deadline: impl Into<Deadline>,
    ) -> Result<Checkpoint, Error> {
        let call = |channel, stamp: Stamp| async move {
            ClusterServiceClient::new(channel)
                .checkpoint(stamp.request(pb::CheckpointRequest { base }))
                .await
        };
        let written = self.call(Repeat::Never, deadline, call).await?;
        let base_index = (written.base_index != 0).then_some(written.base_index);
        Ok(Checkpoint { index: written.checkpoint_index, base_index })
    }

    /// Makes a tenant with its first key. What isn't named has its default.
    ///
    /// # Errors
    /// [`Error::Failed`] with `ALREADY_EXISTS`, and whatever any call may fail with.
    pub async fn create_tenant(
        &self,
        tenant: impl IntoId<TenantId>,
        settings: SettingsChange,
        deadline: impl Into<Deadline>,
    ) -> Result<TenantView, Error> {
        let (tenant, request_id) = (name(tenant)?, self.request_id()?);
        let call = |channel, stamp: Stamp| {
            let request = stamp.request(pb::CreateTenantRequest {
                tenant: tenant.clone(),
                request_id: request_id.clone(),
                settings: Some(settings.encode()),
                age_ms: stamp.age_ms,
            });
            async move { TenantServiceClient::new(channel).create_tenant(request).await }
        };
        let made = self.call(Repeat::Named, deadline, call).await?;
        tenant_view(made.tenant)
    }

    /// Changes a tenant's settings; only if it is still at `version`, if one is named. What isn't
    /// named stays.
    ///
    /// # Errors
    /// [`Error::Failed`] with `NOT_FOUND`, or `ABORTED` if the version is another, and whatever
    /// any call may fail with.
    pub async fn set_tenant(
        &self,
        tenant: impl IntoId<TenantId>,
        version: Option<u64>,
        settings: SettingsChange,
        deadline: impl Into<Deadline>,
    ) -> Result<TenantView, Error> {
        let (tenant, request_id) = (name(tenant)?, self.request_id()?);
        let call = |channel, stamp: Stamp| {
            let request = stamp.request(pb::SetTenantRequest {
                tenant: tenant.clone(),
                request_id: request_id.clone(),
                version,
                settings: Some(settings.encode()),
                age_ms: stamp.age_ms,
            });
            async move { TenantServiceClient::new(channel).set_tenant(request).await }
        };
        let set = self.call(Repeat::Named, deadline, call).await?;
        tenant_view(set.tenant)
    }

    /// Shows one tenant; never its keys.
    ///
    /// # Errors
    /// [`Error::Failed`] with `NOT_FOUND`, and whatever any read may fail with.
    pub async fn get_tenant(
        &self,
        tenant: impl IntoId<TenantId>,
        deadline: impl Into<Deadline>,
    ) -> Result<TenantView, Error> {
        let tenant = name(tenant)?;
        let call = |channel, stamp: Stamp| {
            let request = stamp.request(pb::GetTenantRequest { tenant: tenant.clone() });
            async move { TenantServiceClient::new(channel).get_tenant(request).await }
        };
        let shown = self.call(Repeat::Read, deadline, call).await?;
        tenant_view(shown.tenant)
    }

    /// Shows up to `size_max` tenants (at most 1,000), from the beginning or from where the last
    /// page ended.
    ///
    /// # Errors
    /// Whatever any read may fail with.
    pub async fn list_tenants(
        &self,
        size_max: u32,
        page: Option<&str>,
        deadline: impl Into<Deadline>,
    ) -> Result<TenantPage, Error> {
        let call = |channel, stamp: Stamp| {
            let request = stamp.request(pb::ListTenantsRequest {
                page_size: size_max,
                page_token: page.unwrap_or_default().to_owned(),
            });
            async move { TenantServiceClient::new(channel).list_tenants(request).await }
        };
        let listed = self.call(Repeat::Read, deadline, call).await?;
        let tenants = listed.tenants.into_iter().map(|tenant| tenant_view(Some(tenant)));
        let next = Some(listed.next_page_token).filter(|token| !token.is_empty());
        Ok(TenantPage { tenants: tenants.collect::<Result<_, _>>()?, next })
    }

    /// Makes a new key, and answers its number; old ones still verify.
    ///
    /// # Errors
    /// [`Error::Failed`] with `NOT_FOUND`, and whatever any call may fail with.
    pub async fn rotate_tenant_key(
        &self,
        tenant: impl IntoId<TenantId>,
        deadline: impl Into<Deadline>,
    ) -> Result<Kid, Error> {
        let (tenant, request_id) = (name(tenant)?, self.request_id()?);
        let call = |channel, stamp: Stamp| {
            let request = stamp.request(pb::RotateTenantKeyRequest {
                tenant: tenant.clone(),
                request_id: request_id.clone(),
                age_ms: stamp.age_ms,
            });
            async move { TenantServiceClient::new(channel).rotate_tenant_key(request).await }
        };
        let made = self.call(Repeat::Named, deadline, call).await?;
        u16::try_from(made.kid)
            .map(Kid)
            .map_err(|_| Error::protocol(format!("the key number {} is above 65535", made.kid)))
    }

    /// Marks a key as leaked: replays of tokens under it revoke nothing any more.
    ///
    /// # Errors
    /// [`Error::Failed`] with `NOT_FOUND`, and whatever any call may fail with.
    pub async fn mark_key_compromised(
        &self,
        tenant: impl IntoId<TenantId>,
        kid: Kid,
        deadline: impl Into<Deadline>,
    ) -> Result<(), Error> {
        let (tenant, request_id) = (name(tenant)?, self.request_id()?);
        let call = |channel, stamp: Stamp| {
            let request = stamp.request(pb::MarkKeyCompromisedRequest {
                tenant: tenant.clone(),
                request_id: request_id.clone(),
                kid: u32::from(kid.0),
                age_ms: stamp.age_ms,
            });
            async move { TenantServiceClient::new(channel).mark_key_compromised(request).await }
        };
        self.call(Repeat::Named, deadline, call).await.map(|_| ())
    }

    /// Says what holds for all records of a kind: what expiry means to reads, for records that are
    /// put from now on, and whether misses are counted.
    ///
    /// # Errors
    /// [`Error::Failed`] with `NOT_FOUND`, [`Error::InvalidArgument`], and whatever any call may
    /// fail with.
    pub async fn set_record_kind(
        &self,
        tenant: impl IntoId<TenantId>,
        kind: impl IntoId<RecordKind>,
        settings: RecordKindSettings,
        deadline: impl Into<Deadline>,
    ) -> Result<(), Error> {
        let (tenant, request_id) = (name(tenant)?, self.request_id()?);
        let kind = kind.into_id().map_err(|error| Error::violation("kind", error.to_string()))?;
        let call = |channel, stamp: Stamp| {
            let request = stamp.request(pb::SetRecordKindRequest {
                tenant: tenant.clone(),
                request_id: request_id.clone(),
                age_ms: stamp.age_ms,
                kind: Some(jeton_wire::admin::record_kind(&kind, &settings)),
            });
            async move { TenantServiceClient::new(channel).set_record_kind(request).await }
        };
        self.call(Repeat::Named, deadline, call).await.map(|_| ())
    }

    /// The kinds of records that were set, shorter names first: at most 256.
    ///
    /// # Errors
    /// [`Error::Failed`] with `NOT_FOUND`, and whatever any read may fail with.
    pub async fn record_kinds(
        &self,
        tenant: impl IntoId<TenantId>,
        deadline: impl Into<Deadline>,
    ) -> Result<Vec<(RecordKind, RecordKindSettings)>, Error> {
        let tenant = name(tenant)?;
        let call = |channel, stamp: Stamp| {
            let request = stamp.request(pb::ListRecordKindsRequest { tenant: tenant.clone() });
            async move { TenantServiceClient::new(channel).list_record_kinds(request).await }
        };
        let listed = self.call(Repeat::Read, deadline, call).await?;
        let kinds = listed.kinds.iter().map(jeton_wire::admin::record_kind_from);
        let kinds = kinds.collect::<Result<_, _>>();
        kinds.map_err(|violation| Error::protocol(violation.to_string()))
    }

    /// One call to whichever node, repeated as far as that is safe.
    async fn call<T, F, C>(
        &self,
        repeat: Repeat,
        deadline: impl Into<Deadline>,
        call: F,
    ) -> Result<T, Error>
    where
        F: Fn(Channel, Stamp) -> C,
        C: Future<Output = Result<Response<T>, Status>>,
    {
        self.send(Toward::Any, repeat, deadline.into(), call).await
    }

    /// One call that only the leader takes, repeated while it certainly did not happen.
    async fn lead<T, F, C>(&self, deadline: impl Into<Deadline>, call: F) -> Result<T, Error>
    where
        F: Fn(Channel, Stamp) -> C,
        C: Future<Output = Result<Response<T>, Status>>,
    {
        self.send(Toward::Leader, Repeat::Never, deadline.into(), call).await
    }

    async fn send<T, F, C>(
        &self,
        toward: Toward,
        repeat: Repeat,
        deadline: Deadline,
        call: F,
    ) -> Result<T, Error>
    where
        F: Fn(Channel, Stamp) -> C,
        C: Future<Output = Result<Response<T>, Status>>,
    {
        let attempt = |node: std::sync::Arc<crate::transport::node::Node>, attempt: Attempt| {
            let now = Instant::now();
            let left = attempt.deadline.saturating_duration_since(now);
            let stamp = Stamp { age_ms: attempt.age_ms(now), left };
            let answer = call(node.channel.clone(), stamp);
            async move {
                match tokio::time::timeout_at(attempt.deadline, answer).await {
                    Ok(Ok(answer)) => Ok(answer.into_inner()),
                    Ok(Err(status)) => Err(error_of(&status)),
                    Err(_) => Err(CallError::TimedOut { sent: true }),
                }
            }
        };
        self.client.repeat(toward, repeat, deadline, attempt).await
    }

    fn request_id(&self) -> Result<Bytes, Error> {
        Ok(Bytes::copy_from_slice(&self.client.new_request_id()?.0))
    }
}

fn name(tenant: impl IntoId<TenantId>) -> Result<String, Error> {
    match tenant.into_id() {
        Ok(tenant) => Ok(tenant.as_str().to_owned()),
        Err(error) => Err(Error::violation("tenant", error.to_string())),
    }
}

fn tenant_view(tenant: Option<pb::Tenant>) -> Result<TenantView, Error> {
    let tenant = tenant.ok_or_else(|| Error::protocol("the answer names no tenant"))?;
    jeton_wire::admin::tenant_view(&tenant)
        .map_err(|violation| Error::protocol(violation.to_string()))
}
