//! A node that has no cluster yet: its port is open, and says so.

use std::time::Duration;

use jeton_server::{App, RunError};
use jeton_wire::Failure;
use jeton_wire::pb::admin_v1 as admin;
use jeton_wire::pb::admin_v1::cluster_service_client::ClusterServiceClient;
use jeton_wire::pb::admin_v1::tenant_service_client::TenantServiceClient;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::pipeline_service_client::PipelineServiceClient;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::rig::{PATIENCE, config, soon};
use crate::web::get;

/// A server with `bootstrap_expect` 0 over an empty directory.
struct Alone {
    addr: std::net::SocketAddr,
    channel: Channel,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
    _dir: tempfile::TempDir,
}

impl Alone {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = config(dir.path());
        config.bootstrap_expect = 0;
        let app = App::build(config).await.expect("a server");
        let addr = app.client_addr();
        let endpoint = Endpoint::from_shared(format!("http://{addr}"));
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async move {
            let _ = stopped.await;
        }));
        let channel = endpoint.expect("a good address").connect().await.expect("a connection");
        let alone = Self { addr, channel, stop, running, _dir: dir };
        alone.reach(admin::NodeState::Waiting).await;
        alone
    }

    fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    async fn status(&self) -> admin::GetStatusResponse {
        let status = self.cluster().get_status(soon(admin::GetStatusRequest {})).await;
        status.expect("a status").into_inner()
    }

    async fn reach(&self, state: admin::NodeState) {
        let until = Instant::now() + PATIENCE;
        while self.status().await.state() != state {
            assert!(Instant::now() < until, "it never became {state:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn health(&self) -> ServingStatus {
        let mut health = HealthClient::new(self.channel.clone());
        let said = health.check(HealthCheckRequest::default()).await.expect("an answer");
        said.into_inner().status()
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(PATIENCE, self.running).await;
        ended.expect("it stops in time").expect("no panic").expect("it stops cleanly");
    }
}

fn not_started(status: &tonic::Status) {
    let failure = Failure::from(status);
    assert_eq!((failure.code, &*failure.reason), (Code::Unavailable, "NOT_STARTED"), "{failure}");
    assert!(failure.retry_after.is_some() && failure.not_executed, "{failure:?}");
    assert!(failure.message.contains("jeton cluster init"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_node_says_what_it_waits_for_and_turns_the_rest_away() {
    let alone = Alone::start().await;
    assert_eq!(alone.health().await, ServingStatus::NotServing);
    let status = alone.status().await;
    assert!(!status.ready && status.cluster_id.is_empty() && status.node_id == 0, "{status:?}");
    for words in ["jeton cluster add", "jeton cluster init"] {
        assert!(status.why_not_ready.contains(words), "{}", status.why_not_ready);
    }
    let mut tenants = TenantServiceClient::new(alone.channel.clone());
    let listed = tenants.list_tenants(soon(admin::ListTenantsRequest::default())).await;
    not_started(&listed.expect_err("it serves no tenants"));
    let added = alone.cluster().add_member(soon(admin::AddMemberRequest::default())).await;
    not_started(&added.expect_err("it adds nobody"));
    let mut pipelines = PipelineServiceClient::new(alone.channel.clone());
    let requests = tokio_stream::iter([v1::PipelineRequest::default()]);
    let opened = pipelines.pipeline(requests).await;
    not_started(&opened.expect_err("it opens no pipeline"));
    let ready = get(alone.addr, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(get(alone.addr, "/livez").await.status, 200);
    assert_eq!(get(alone.addr, "/metrics").await.status, 503);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_forms_its_cluster_and_serves_on_the_same_connection() {
    let alone = Alone::start().await;
    let members = vec!["10.9.9.9:7402".to_owned()];
    let wrong = alone.cluster().init_cluster(soon(admin::InitClusterRequest { members })).await;
    let wrong = Failure::from(&wrong.expect_err("it is not among them"));
    assert_eq!((wrong.code, &*wrong.reason), (Code::InvalidArgument, "INVALID_REQUEST"));
    let init = || admin::InitClusterRequest { members: Vec::new() };
    let made = alone.cluster().init_cluster(soon(init())).await.expect("a cluster").into_inner();
    assert!(made.created);
    alone.reach(admin::NodeState::Running).await;
    let until = Instant::now() + PATIENCE;
    while alone.health().await != ServingStatus::Serving {
        assert!(Instant::now() < until, "it never serves");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let again = alone.cluster().init_cluster(soon(init())).await.expect("the same").into_inner();
    assert_eq!((&again.cluster_id, again.created), (&made.cluster_id, false));
    let others = vec!["10.9.9.9:7402".to_owned()];
    let others = admin::InitClusterRequest { members: others };
    let told = alone.cluster().init_cluster(soon(others)).await.expect("the same").into_inner();
    assert_eq!((told.cluster_id, told.created), (made.cluster_id, false), "whatever is asked for");
    let mut tenants = TenantServiceClient::new(alone.channel.clone());
    let listed = tenants.list_tenants(soon(admin::ListTenantsRequest::default())).await;
    assert!(listed.expect("it serves").into_inner().tenants.is_empty());
    alone.stop().await;
}
