//! How a node comes to life. The steps and what a crash leaves at each are drawn in
//! [`crate::node`].

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jeton_storage::data_dir::{DataDir, DataDirError, Expect};
use jeton_storage::state::Checkpointer;
use openraft::errors::{InitializeError, RaftError};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

use crate::batcher::Flights;
use crate::bootstrap::{self, Doorkeeper, Flags, Formed, Lobby, Phase};
use crate::clock::Stamps;
use crate::config::{NodeConfig, Seams};
use crate::digests::DigestBook;
use crate::engine::{Counters, Engine};
use crate::errors::StartError;
use crate::intake::Intake;
use crate::log_store::LogStore;
use crate::node::Life;
use crate::peer::handler::Identity;
use crate::peer::{PeerServer, Peers, Running};
use crate::reads::Reads;
use crate::standing::{self, Health, Standing};
use crate::state_machine::{Progress, StateMachine};
use crate::stores::{self, Stores};
use crate::types::{Member, NodeId, Raft};
use crate::worker;

type Boxed = Box<dyn Error + Send + Sync>;

/// A node that has its directory and its port, and nothing else.
pub(crate) struct Begun {
    config: NodeConfig,
    seams: Seams,
    dir: Arc<DataDir>,
    listener: TcpListener,
    lobby: Arc<Lobby>,
}

/// Takes the directory and the port.
pub(crate) async fn begin(config: NodeConfig, mut seams: Seams) -> Result<Begun, StartError> {
    check(&config)?;
    let flags = Flags { expect: config.bootstrap_expect, join: config.join.clone() };
    bootstrap::check_flags(&flags, &config.peer_addr).map_err(boxed(StartError::Bootstrap))?;
    let lobby = Lobby::new(config.peer_addr.clone(), flags);
    let dir = open_dir(&config, &seams).await?;
    let listener = listen(&config, &mut seams).await?;
    Ok(Begun { config, seams, dir, listener, lobby })
}

impl Begun {
    /// What it waits for.
    pub(crate) fn lobby(&self) -> Arc<Lobby> {
        Arc::clone(&self.lobby)
    }

    /// Starts everything; the caller's runtime is the node's.
    pub(crate) async fn finish(self) -> Result<(Arc<Engine>, Life), StartError> {
        let Self { config, seams, dir, listener, lobby } = self;
        // A directory that has a stamp may hold a log, and whether it does decides what this node
        // may be offered.
        let early = match dir.stamped() {
            Some(_) => Some(stores::open(&config, &seams, &dir).await?),
            None => None,
        };
        let formed = early.as_ref().is_some_and(|stores| stores.log.state().in_use());
        let own =
            Member { peer_addr: config.peer_addr.clone(), client_addr: config.client_addr.clone() };
        let door = Arc::new(Doorkeeper::new(Arc::clone(&dir), own, formed, random_u64()?));
        let server = PeerServer::<Engine>::new(Arc::clone(&door));
        let (stop_server, stopped) = oneshot::channel();
        let serving = serve(server.clone(), listener, stopped);
        let formed = bootstrap::form(&door, seams.connector.clone(), &lobby).await;
        let Formed { identity, first_members } = formed.map_err(boxed(StartError::Bootstrap))?;
        lobby.change(|scene| {
            (scene.phase, scene.identity) = (Phase::Recovering, Some(identity));
        });
        let stores = match early {
            Some(stores) => stores,
            None => stores::open(&config, &seams, &dir).await?,
        };
        // From here on the node may vote.
        stores.claim(&config, &dir).await?;
        let (engine, checkpointer) = assemble(config, seams, identity, stores).await?;
        server.run(Running::new(Arc::clone(&engine)));
        if let Some(members) = first_members {
            initialise(&engine.raft, members).await?;
        }
        let mut tasks = run(&engine, &door);
        tasks.push(serving);
        lobby.change(|scene| scene.phase = Phase::Started(identity.cluster));
        Ok((engine, Life { tasks, server: stop_server, checkpointer, data_dir: dir }))
    }
}

pub(crate) fn boxed<E: Into<Boxed>>(wrap: fn(Boxed) -> StartError) -> impl FnOnce(E) -> StartError {
    move |error| wrap(error.into())
}

fn check(config: &NodeConfig) -> Result<(), StartError> {
    let wrong = |words: &str| Err(StartError::Config(words.to_owned()));
    if config.heartbeat.as_millis() < 10 {
        return wrong("heartbeat must be at least 10 ms");
    }
    if config.election_min < config.heartbeat * 3 {
        return wrong("election_min must be at least three heartbeats");
    }
    if config.election_max <= config.election_min {
        return wrong("election_max must be above election_min");
    }
    if config.overlay_bytes_max < config.checkpoint_bytes.saturating_mul(2) {
        return wrong("overlay_bytes_max must be at least twice checkpoint_bytes");
    }
    Ok(())
}

async fn open_dir(config: &NodeConfig, seams: &Seams) -> Result<Arc<DataDir>, StartError> {
    let (disk, path) = (Arc::clone(&seams.disk), config.data_dir.clone());
    let open = move || DataDir::open(disk, &path, Expect::default());
    let dir = worker::run("jeton-open", open).await.map_err(StartError::Thread)?;
    let dir = dir.map_err(|error| match error {
        DataDirError::InUse { .. } => StartError::InUse(error.into()),
        _ => StartError::DataDir(error.into()),
    })?;
    Ok(Arc::new(dir))
}

/// Randomness for this process, not for secrets.
fn random_u64() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::Thread(std::io::Error::other(error)))
}

async fn listen(config: &NodeConfig, seams: &mut Seams) -> Result<TcpListener, StartError> {
    match seams.peer_listener.take() {
        Some(listener) => Ok(listener),
        None => TcpListener::bind(config.peer_listen)
            .await
            .map_err(|source| StartError::Listen { addr: config.peer_listen, source }),
    }
}

fn serve(
    server: PeerServer<Engine>,
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let incoming = tokio_stream::StreamExt::map(TcpListenerStream::new(listener), |stream| {
            stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        });
        let stop = async move {
            // Told, or dropped with the node: both mean stop.
            let _ = stopped.await;
        };
        if let Err(error) = server.serve(incoming, stop).await {
            tracing::error!(%error, "the peer server stopped");
        }
    })
}

/// Puts consensus over the stores, with everything committed applied.
async fn assemble(
    config: NodeConfig,
    seams: Seams,
    identity: Identity,
    stores: Stores,
) -> Result<(Arc<Engine>, Checkpointer), StartError> {
    let Stores { log, state } = stores;
    let sync_log = {
        let log = log.clone();
        Arc::new(move |index| log.wait_synced(index).map_err(Boxed::from))
    };
    // Replaying needs it already: it may fill the overlay.
    let checkpointer = Checkpointer::start(&state, sync_log).map_err(StartError::Thread)?;
    let progress = Arc::new(Progress::default());
    let machine = StateMachine::start(
        state.clone(),
        log.clone(),
        Arc::clone(&progress),
        seams.events.clone(),
    )
    .map_err(boxed(StartError::State))?;
    let log_store = LogStore::new(log.clone()).map_err(boxed(StartError::Log))?;
    let peers = Peers::new(seams.connector.clone(), identity, Arc::clone(&seams.disk));
    let raft_config = config.openraft(identity.cluster.to_string());
    let raft_config =
        raft_config.validate().map_err(|error| StartError::Config(error.to_string()))?;
    let raft =
        Raft::new(identity.node, Arc::new(raft_config), peers.clone(), log_store, machine.clone())
            .await
            .map_err(|fatal| StartError::Consensus(fatal.to_string()))?;
    let engine = Arc::new(Engine {
        config,
        cluster: identity.cluster,
        id: identity.node,
        raft,
        disk: seams.disk,
        log,
        state,
        machine,
        progress,
        peers: Arc::new(peers),
        connector: seams.connector,
        clock: seams.clock,
        stamps: Stamps::default(),
        intake: Intake::default(),
        flights: Flights::default(),
        reads: Reads::default(),
        digests: Mutex::new(DigestBook::default()),
        settling: Mutex::default(),
        to_settle: Notify::new(),
        standing: watch::Sender::new(Standing::default()),
        health: watch::Sender::new(Health::Serving),
        turned_away: AtomicBool::new(false),
        disk_full: AtomicBool::new(false),
        caught_up: AtomicBool::new(false),
        counters: Counters::default(),
        seen_meta: Mutex::default(),
        tenants: Mutex::default(),
    });
    Ok((engine, checkpointer))
}

/// Writes the first membership. Repeating it after a crash changes nothing.
async fn initialise(raft: &Raft, members: BTreeMap<NodeId, Member>) -> Result<(), StartError> {
    match raft.initialize(members).await {
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(StartError::Consensus(error.to_string())),
    }
}

fn run(engine: &Arc<Engine>, door: &Arc<Doorkeeper>) -> Vec<JoinHandle<()>> {
    let following = {
        let (engine, door) = (Arc::clone(engine), Arc::clone(door));
        tokio::spawn(async move {
            let why = standing::follow(&engine.raft, engine.id, &engine.standing, &door).await;
            engine.health.send_if_modified(|health| {
                let failed = !matches!(health, Health::Stopping | Health::Failed(_));
                if failed {
                    tracing::error!(%why, "consensus stopped");
                    *health = Health::Failed(why.as_str().into());
                }
                failed
            });
        })
    };
    vec![
        following,
        tokio::spawn(Arc::clone(engine).run_pump()),
        tokio::spawn(Arc::clone(engine).run_reads()),
        tokio::spawn(Arc::clone(engine).run_refreshing()),
        tokio::spawn(Arc::clone(engine).run_settling()),
        tokio::spawn(Arc::clone(engine).run_reports()),
        tokio::spawn(Arc::clone(engine).run_stepping_down()),
        tokio::spawn(Arc::clone(engine).run_proposals()),
        tokio::spawn(Arc::clone(engine).run_revocations()),
        tokio::spawn(Arc::clone(engine).run_leases()),
        tokio::spawn(Arc::clone(engine).run_storage()),
        tokio::spawn(Arc::clone(engine).run_catching_up()),
    ]
}
