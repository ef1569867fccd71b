//! A server's life: configuration → build → run → drain.
//!
//! ```text
//!  build   check the configuration ─ take the ports ─ take the directory ─ listen for clients
//!  start   the node opens its directory, finds its cluster, recovers; clients are told what it
//!          waits for, and may have it form a cluster
//!  run     serve until told to stop, or until the node fails
//!  drain   health NOT_SERVING ─ take nothing new ─ wait for what is outstanding ─ end pipelines
//!          ─ close connections ─ the node hands leadership over and closes
//! ```
//!
//! A crash at any step leaves what the node's own modules say: nothing here is durable.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use jeton_core::ids::UnixMs;
use jeton_raft::{Clock, Health as NodeHealth, Node, NodeConfig, Seams, Starting};
use jeton_wire::decode::DEADLINE_MS_MAX;
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
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::health_reporter;
use tracing::{error, info, warn};

use crate::clock;
use crate::config::Config;
use crate::connections::{self, Connection};
use crate::desk::Desk;
use crate::events::LoggedEvents;
use crate::feed::{Feeds, NodeEvents};
use crate::gate::Gate;
use crate::health;
use crate::http::{Clients, Loopback, Port, Shared, Web};
use crate::metrics::Metrics;
use crate::routes::Routes;
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
use crate::service::waiting::Waiting;
use crate::service::watch::Watches;
use crate::start_error::StartError;
use crate::waits::{LeaseEvents, Waits};

/// HTTP/2 pings find connections whose peer is gone.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// A ping that is not answered within this time ends the connection.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Flow control: what a stream may have in flight.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Flow control: what a connection may have in flight.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes of headers that a call may have.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Streams that a peer may reset before they were accepted (rapid reset, CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 64;
/// How long connections have to close when all calls have ended.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// How often a draining server looks whether it is done.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(10);

/// A server that is ready to run.
pub struct App {
    config: Config,
    starting: Starting,
    metrics: Arc<Metrics>,
    waits: Arc<Waits>,
    feeds: Arc<Feeds>,
    listener: TcpListener,
    client_addr: SocketAddr,
    started: UnixMs,
}

/// Why a running server ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The client port failed.
    #[error("serving clients failed")]
    Serve(#[source] tonic::transport::Error),
    /// The node may not go on: its disk or log failed.
    #[error("the node failed and stopped: {why}; look at its disk, then restart or replace it")]
    Node {
        /// What failed.
        why: Arc<str>,
    },
}

impl App {
    /// Checks the configuration, takes the ports and the directory, and begins to start the node.
    ///
    /// # Errors
    /// [`StartError`] says what was wrong and what to do.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let clock = clock::of(&config);
        Self::build_with(config, clock).await
    }

    /// The same with another wall clock, for tests.
    ///
    /// # Errors
    /// As [`App::build`].
    pub async fn build_with(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        config.check()?;
        let client = (config.client_listen, "client_listen");
        let listen = |error| StartError::listen(client.0, client.1, error);
        let socket = connections::bind(config.client_listen).map_err(listen)?;
        let client_addr = socket.local_addr().map_err(listen)?;
        let peer_listener = peer_listener(config.peer_listen)?;
        let peer_addr = peer_listener
            .local_addr()
            .map_err(|error| StartError::listen(config.peer_listen, "peer_listen", error))?;
        let node_config = node_config(&config, client_addr, peer_addr);
        let started = clock.wall();
        let metrics = Arc::new(Metrics::default());
        let waits = Arc::new(Waits::default());
        let feeds = Arc::new(Feeds::default());
        let events = LoggedEvents(metrics.events.clone());
        let leases = LeaseEvents { events, waits: Arc::clone(&waits) };
        let events = NodeEvents { leases, feeds: Arc::clone(&feeds) };
        let seams = Seams {
            clock,
            events: Some(Arc::new(events)),
            peer_listener: Some(peer_listener),
            ..Seams::default()
        };
        let starting = Node::begin(node_config, seams).await?;
        let listener = connections::listen(socket).map_err(listen)?;
        info!(client = %client_addr, peer = %peer_addr, "starting");
        Ok(Self { config, starting, metrics, waits, feeds, listener, client_addr, started })
    }

    /// Where clients are served: the port that was chosen, if 0 was configured.
    #[must_use]
    pub fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Starts the node, serves until `stop` is done, then drains. A node that still waits for its
    /// cluster stops at once.
    ///
    /// # Errors
    /// [`RunError`] if it ended before it was told to.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { config, starting, metrics, waits, feeds, listener, started, .. } = self;
        let drain = Duration::from_millis(config.drain_ms);
        let (close, closing) = watch::channel(false);
        let (reporter, health_service) = health_reporter();
        health::report(&reporter, false).await;
        let waiting = Waiting { lobby: starting.lobby(), started };
        let gate = Gate {
            health: health_service.clone(),
            waiting: ClusterServiceServer::new(waiting),
            lobby: starting.lobby(),
            open: Arc::default(),
        };
        let open = Arc::clone(&gate.open);
        let connections =
            connections::accept(listener, config.connections_max, metrics.connections.clone());
        let serving = serve(config.calls_per_connection_max, connections, gate, closing.clone());
        let mut serving = tokio::spawn(serving);
        let mut stop = std::pin::pin!(stop);
        let node = tokio::select! {
            biased;
            () = &mut stop => {
                info!("told to stop before the node had started");
                close_port(&close, &mut serving).await;
                return Ok(());
            }
            node = starting.started() => node.map_err(StartError::from)?,
            served = &mut serving => return Err(port_closed(served)),
        };
        info!(node = node.id(), cluster = %node.cluster(), "started");
        let desk = Desk::new(node, metrics, waits, feeds);
        // Nobody else sets it.
        let _ = open.set(port(&config, &desk, started, health_service, closing));
        let mut healthy = desk.node.health();
        let following = tokio::spawn(health::follow(desk.node.clone(), reporter.clone()));
        let telling = tokio::spawn(Arc::clone(&desk.waits).run(Arc::clone(&desk)));

        let ended = tokio::select! {
            biased;
            () = stop => Ok(()),
            served = &mut serving => Err(served),
            why = failed(&mut healthy) => {
                error!(%why, "the node failed: this server stops");
                following.abort();
                telling.abort();
                desk.node.shutdown().await;
                return Err(RunError::Node { why });
            }
        };
        following.abort();
        telling.abort();
        health::report(&reporter, false).await;
        if let Err(served) = ended {
            desk.node.shutdown().await;
            return Err(port_closed(served));
        }
        info!("stopping: nothing new is taken");
        desk.drain();
        let left = drained(&desk, drain).await;
        if left > 0 {
            warn!(left, "time was up for what was outstanding: its outcome is unknown");
        }
        close_port(&close, &mut serving).await;
        desk.node.shutdown().await;
        info!("stopped");
        Ok(())
    }
}

type Served = Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>;

fn port_closed(served: Served) -> RunError {
    match served {
        Ok(Err(error)) => RunError::Serve(error),
        Ok(Ok(())) | Err(_) => RunError::Node { why: "the client port closed".into() },
    }
}

/// Ends the connections, and the server with them.
async fn close_port(
    close: &watch::Sender<bool>,
    serving: &mut JoinHandle<Result<(), tonic::transport::Error>>,
) {
    close.send_replace(true);
    if timeout(CLOSE_TIME, &mut *serving).await.is_err() {
        serving.abort();
    }
}

/// What a node serves that has started.
fn port<H: Health>(
    config: &Config,
    desk: &Arc<Desk>,
    started: UnixMs,
    health: HealthServer<H>,
    closing: watch::Receiver<bool>,
) -> Port<H> {
    let bytes_max = config.message_bytes_max;
    let watches = Watches { desk: desk.clone(), closing: closing.clone() };
    let backups = Backups { desk: desk.clone(), closing: closing.clone() };
    let pipelines =
        Pipelines { desk: desk.clone(), outstanding_max: config.pipeline_outstanding_max, closing };
    let tokens = TokenServiceServer::new(Tokens(desk.clone()));
    let sessions = SessionServiceServer::new(Sessions(desk.clone()));
    let records = RecordServiceServer::new(Records(desk.clone()));
    let revocations = RevocationServiceServer::new(Revocations(desk.clone()));
    let locks = LockServiceServer::new(Locks(desk.clone()));
    let transactions = TransactionServiceServer::new(Transactions(desk.clone()));
    let pipelines = PipelineServiceServer::new(pipelines);
    let tenants = TenantServiceServer::new(Tenants(desk.clone()));
    let grpc = Routes {
        health,
        tokens: tokens.max_decoding_message_size(bytes_max),
        sessions: sessions.max_decoding_message_size(bytes_max),
        records: records.max_decoding_message_size(bytes_max),
        revocations: revocations.max_decoding_message_size(bytes_max),
        locks: locks.max_decoding_message_size(bytes_max),
        transactions: transactions.max_decoding_message_size(bytes_max),
        watches: WatchServiceServer::new(watches),
        pipelines: pipelines.max_decoding_message_size(bytes_max),
        cluster: ClusterServiceServer::new(Cluster { desk: desk.clone(), started }),
        tenants: tenants.max_decoding_message_size(bytes_max),
        backups: BackupServiceServer::new(backups),
    };
    let web = Web::new(Shared {
        desk: desk.clone(),
        started,
        grpc: Loopback::new(grpc.clone()),
        clients: Clients::new(config.gateway_clients.clone()),
        json_bytes_max: bytes_max,
    });
    let reflection = config.reflection.then(crate::http::reflection);
    Port { grpc, web, reflection }
}

async fn serve(
    calls_per_connection_max: u32,
    incoming: impl Stream<Item = io::Result<Connection>> + Send + 'static,
    gate: Gate<impl Health>,
    mut closing: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let closed = async move {
        // If the sender is gone, so is whoever could tell: stop, too.
        let _ = closing.wait_for(|closing| *closing).await;
    };
    Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(calls_per_connection_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        // Calls have deadlines of their own; this ends those whose body never comes.
        .timeout(Duration::from_millis(DEADLINE_MS_MAX))
        .serve_with_incoming_shutdown(gate, incoming, closed)
        .await
}

/// Takes the peer port, so that one in use is told before anything is opened.
fn peer_listener(address: SocketAddr) -> Result<TcpListener, StartError> {
    connections::bind(address)
        .and_then(connections::listen)
        .map_err(|error| StartError::listen(address, "peer_listen", error))
}

fn node_config(config: &Config, client_addr: SocketAddr, peer_addr: SocketAddr) -> NodeConfig {
    let named = |advertised: &str, listened: SocketAddr| {
        if advertised.is_empty() { listened.to_string() } else { advertised.to_owned() }
    };
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut node = NodeConfig::new(config.data_dir.clone(), config.peer_listen);
    node.peer_addr = named(&config.peer_advertise, peer_addr);
    node.client_addr = named(&config.client_advertise, client_addr);
    node.bootstrap_expect = config.bootstrap_expect;
    node.join = config.join.clone();
    node.heartbeat = Duration::from_millis(config.heartbeat_ms);
    node.election_min = Duration::from_millis(config.election_min_ms);
    node.election_max = Duration::from_millis(config.election_max_ms);
    node.clock_skew_max = Duration::from_millis(config.clock_skew_max_ms);
    node.checkpoint_bytes = bytes(config.checkpoint_bytes);
    node.overlay_bytes_max = bytes(config.overlay_bytes_max);
    node.base_bytes_min = config.base_bytes_min;
    node.segment_bytes = config.log_segment_bytes;
    node.digest_every = Duration::from_millis(config.digest_every_ms);
    node.sweep_every = Duration::from_millis(config.sweep_every_ms);
    node.revocation_step_rows = config.revocation_step_rows;
    node.runtime_threads = config.consensus_threads;
    node
}

/// Waits until the node can't go on.
async fn failed(health: &mut watch::Receiver<NodeHealth>) -> Arc<str> {
    loop {
        if let NodeHealth::Failed(why) = &*health.borrow_and_update() {
            return why.clone();
        }
        if health.changed().await.is_err() {
            // The node is gone without a word; `run` holds it, so this does not happen.
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until nothing is outstanding, or until time is up; what is left then.
async fn drained(desk: &Desk, time: Duration) -> usize {
    let until = Instant::now() + time;
    loop {
        let left = desk.outstanding();
        if left == 0 || Instant::now() >= until {
            return left;
        }
        tokio::time::sleep(DRAIN_LOOK_EVERY).await;
    }
}
