//! All services on one port, told apart by their paths.

use std::convert::Infallible;
use std::task::{Context, Poll};

use jeton_wire::pb::admin_v1::backup_service_server::BackupServiceServer;
use jeton_wire::pb::admin_v1::cluster_service_server::ClusterServiceServer;
use jeton_wire::pb::admin_v1::tenant_service_server::TenantServiceServer;
use jeton_wire::pb::v1::lock_service_server::LockServiceServer;
use jeton_wire::pb::v1::pipeline_service_server::PipelineServiceServer;
use jeton_wire::pb::v1::record_service_server::RecordServiceServer;
use jeton_wire::pb::v1::revocation_service_server::RevocationServiceServer;
use jeton_wire::pb::v1::session_service_server::SessionServiceServer;
use jeton_wire::pb::v1::token_service_server::TokenServiceServer;
use jeton_wire::pb::v1::transaction_service_server::TransactionServiceServer;
use jeton_wire::pb::v1::watch_service_server::WatchServiceServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::deadline;
use crate::service::backup::Backups;
use crate::service::cluster::Cluster;
use crate::service::locks::Locks;
use crate::service::pipeline::Pipelines;
use crate::service::record::Records;
use crate::service::revocation::Revocations;
use crate::service::session::Sessions;
use crate::service::tenants::Tenants;
use crate::service::token::Tokens;
use crate::service::transaction::Transactions;
use crate::service::watch::Watches;

/// Hands each call to the service that its path names.
pub(crate) struct Routes<H> {
    pub(crate) health: HealthServer<H>,
    pub(crate) tokens: TokenServiceServer<Tokens>,
    pub(crate) records: RecordServiceServer<Records>,
    pub(crate) revocations: RevocationServiceServer<Revocations>,
    pub(crate) sessions: SessionServiceServer<Sessions>,
    pub(crate) pipelines: PipelineServiceServer<Pipelines>,
    pub(crate) locks: LockServiceServer<Locks>,
    pub(crate) transactions: TransactionServiceServer<Transactions>,
    pub(crate) watches: WatchServiceServer<Watches>,
    pub(crate) cluster: ClusterServiceServer<Cluster>,
    pub(crate) tenants: TenantServiceServer<Tenants>,
    pub(crate) backups: BackupServiceServer<Backups>,
}

// Not derived: a health service need not be cloned for it.
impl<H> Clone for Routes<H> {
    fn clone(&self) -> Self {
        Self {
            health: self.health.clone(),
            tokens: self.tokens.clone(),
            records: self.records.clone(),
            revocations: self.revocations.clone(),
            sessions: self.sessions.clone(),
            pipelines: self.pipelines.clone(),
            locks: self.locks.clone(),
            transactions: self.transactions.clone(),
            watches: self.watches.clone(),
            cluster: self.cluster.clone(),
            tenants: self.tenants.clone(),
            backups: self.backups.clone(),
        }
    }
}

impl<H: Health> Routes<H> {
    /// Hands a call to its service; of the others nothing is cloned.
    pub(crate) fn answer(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<http::Response<Body>, Infallible> {
        if deadline::is_passed(request.headers()) {
            return Box::pin(async { Ok(Status::from(deadline::expired()).into_http()) });
        }
        let path = request.uri().path();
        match path.strip_prefix('/').and_then(|path| path.split('/').next()) {
            Some(PipelineServiceServer::<Pipelines>::NAME) => self.pipelines.clone().call(request),
            Some(TokenServiceServer::<Tokens>::NAME) => self.tokens.clone().call(request),
            Some(RecordServiceServer::<Records>::NAME) => self.records.clone().call(request),
            Some(RevocationServiceServer::<Revocations>::NAME) => {
                self.revocations.clone().call(request)
            }
            Some(SessionServiceServer::<Sessions>::NAME) => self.sessions.clone().call(request),
            Some(LockServiceServer::<Locks>::NAME) => self.locks.clone().call(request),
            Some(TransactionServiceServer::<Transactions>::NAME) => {
                self.transactions.clone().call(request)
            }
            Some(WatchServiceServer::<Watches>::NAME) => self.watches.clone().call(request),
            Some(TenantServiceServer::<Tenants>::NAME) => self.tenants.clone().call(request),
            Some(ClusterServiceServer::<Cluster>::NAME) => self.cluster.clone().call(request),
            Some(BackupServiceServer::<Backups>::NAME) => self.backups.clone().call(request),
            Some(HealthServer::<H>::NAME) => self.health.clone().call(request),
            _ => Box::pin(async {
                let words = "there is no such service here; see the .proto files of this version";
                Ok(Status::unimplemented(words).into_http())
            }),
        }
    }
}

impl<H: Health> Service<http::Request<Body>> for Routes<H> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.answer(request)
    }
}
