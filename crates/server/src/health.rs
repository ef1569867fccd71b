//! Whether this node serves, for load balancers and clients: `grpc.health.v1`.

use std::time::Duration;

use jeton_raft::Node;
use jeton_wire::pb::admin_v1::cluster_service_server::ClusterServiceServer;
use jeton_wire::pb::admin_v1::tenant_service_server::TenantServiceServer;
use jeton_wire::pb::v1::lock_service_server::LockServiceServer;
use jeton_wire::pb::v1::pipeline_service_server::PipelineServiceServer;
use jeton_wire::pb::v1::record_service_server::RecordServiceServer;
use jeton_wire::pb::v1::revocation_service_server::RevocationServiceServer;
use jeton_wire::pb::v1::session_service_server::SessionServiceServer;
use jeton_wire::pb::v1::token_service_server::TokenServiceServer;
use jeton_wire::pb::v1::transaction_service_server::TransactionServiceServer;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::service::cluster::{Cluster, why_not_ready};
use crate::service::locks::Locks;
use crate::service::pipeline::Pipelines;
use crate::service::record::Records;
use crate::service::revocation::Revocations;
use crate::service::session::Sessions;
use crate::service::tenants::Tenants;
use crate::service::token::Tokens;
use crate::service::transaction::Transactions;

/// How often the node is asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Services that a caller may ask about; "" is the server as a whole.
const SERVICES: [&str; 10] = [
    "",
    TokenServiceServer::<Tokens>::NAME,
    RevocationServiceServer::<Revocations>::NAME,
    SessionServiceServer::<Sessions>::NAME,
    RecordServiceServer::<Records>::NAME,
    PipelineServiceServer::<Pipelines>::NAME,
    LockServiceServer::<Locks>::NAME,
    TransactionServiceServer::<Transactions>::NAME,
    ClusterServiceServer::<Cluster>::NAME,
    TenantServiceServer::<Tenants>::NAME,
];

/// Says the same of all services.
pub(crate) async fn report(reporter: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Reports what the node says, until it is dropped.
pub(crate) async fn follow(node: Node, reporter: HealthReporter) {
    let mut last = None;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let why_not = why_not_ready(&node.status());
        if last.as_ref() == Some(&why_not) {
            continue;
        }
        match &why_not {
            None => info!("this node serves"),
            Some(why) => warn!(why = why.as_str(), "this node does not serve"),
        }
        report(&reporter, why_not.is_none()).await;
        last = Some(why_not);
    }
}
