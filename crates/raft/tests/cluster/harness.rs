//! Starts nodes, asks them, and waits for conditions with a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jeton_core::command::{
    Command, CreateFamily, CreateTenant, KeyMaterial, Operation, Origin, PresentedToken,
    RequestName, Rotate, TenantSettings,
};
use jeton_core::ids::{
    ClientId, DurationMs, FamilyId, Generation, Kid, RequestId, SecretDigest, SubjectId, TenantId,
};
use jeton_core::reply::{Done, FamilyView, Refusal, Reply};
use jeton_raft::{Consistency, Node, NodeConfig, ProposeError, Seams, StartError};
use jeton_storage::state::MemStore;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Generous: two busy cores run several of these at once.
pub const WAIT: Duration = Duration::from_secs(30);

pub fn deadline() -> Instant {
    Instant::now() + WAIT
}

/// A node's place: its directory and rows outlive the node.
pub struct Place {
    pub dir: TempDir,
    pub rows: Arc<MemStore>,
    pub addr: String,
}

impl Place {
    pub async fn new() -> (Self, TcpListener) {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Set by the first test of a process.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let place = Self { dir: TempDir::new().unwrap(), rows: Arc::new(MemStore::new()), addr };
        (place, listener)
    }

    pub fn config(&self) -> NodeConfig {
        let listen = self.addr.parse().unwrap();
        let mut config = NodeConfig::new(self.dir.path().join("data"), listen);
        config.client_addr = format!("client-of-{}", self.addr);
        config.segment_bytes = 1 << 20;
        config
    }

    pub fn seams(&self, listener: Option<TcpListener>) -> Seams {
        let rows = Some(Arc::clone(&self.rows) as _);
        Seams { rows, peer_listener: listener, ..Seams::default() }
    }
}

/// A node alone, ready.
pub async fn single() -> (Place, Node) {
    single_seamed(|_| {}).await
}

pub async fn single_seamed(adjust: impl FnOnce(&mut Seams)) -> (Place, Node) {
    let (place, listener) = Place::new().await;
    let mut seams = place.seams(Some(listener));
    adjust(&mut seams);
    let node = Node::start(place.config(), seams).await.unwrap();
    node.wait_ready(deadline()).await.unwrap();
    (place, node)
}

/// Nodes of one cluster, by place.
pub struct Cluster {
    pub places: Vec<Place>,
    pub nodes: Vec<Node>,
}

impl Cluster {
    pub async fn start(count: usize) -> Self {
        Self::start_seamed(count, |_, _| {}).await
    }

    pub async fn start_seamed(count: usize, adjust: impl Fn(usize, &mut Seams)) -> Self {
        let mut places = Vec::new();
        let mut listeners = Vec::new();
        for _ in 0..count {
            let (place, listener) = Place::new().await;
            places.push(place);
            listeners.push(listener);
        }
        let join: Vec<String> = places.iter().map(|place| place.addr.clone()).collect();
        let starting = places.iter().zip(listeners).enumerate().map(|(at, (place, listener))| {
            let mut config = place.config();
            config.bootstrap_expect = count;
            config.join.clone_from(&join);
            let mut seams = place.seams(Some(listener));
            adjust(at, &mut seams);
            Node::start(config, seams)
        });
        let nodes = futures::future::try_join_all(starting).await.unwrap();
        for node in &nodes {
            node.wait_ready(deadline()).await.unwrap();
        }
        Self { places, nodes }
    }

    /// The addresses of all.
    pub fn join(&self) -> Vec<String> {
        self.places.iter().map(|place| place.addr.clone()).collect()
    }

    /// Starts a node again in its place, after it was stopped.
    pub async fn restart(&mut self, at: usize) {
        let mut config = self.places[at].config();
        config.bootstrap_expect = self.places.len();
        config.join = self.join();
        let until = deadline();
        self.nodes[at] = loop {
            match Node::start(config.clone(), self.places[at].seams(None)).await {
                Ok(node) => break node,
                // The old one's last task may hold the directory for a moment longer.
                Err(StartError::InUse(_)) => pause(until).await,
                Err(error) => panic!("{error:?}"),
            }
        };
    }

    /// Where the node that leads stands.
    pub async fn leader(&self) -> usize {
        let until = deadline();
        loop {
            for (at, node) in self.nodes.iter().enumerate() {
                let status = node.status();
                if status.leader == Some(status.node) {
                    return at;
                }
            }
            pause(until).await;
        }
    }

    pub async fn stop(self) {
        for node in &self.nodes {
            node.shutdown().await;
        }
    }
}

/// One turn of waiting for a condition.
pub async fn pause(until: Instant) {
    assert!(Instant::now() < until, "the condition did not come true in time");
    tokio::time::sleep(Duration::from_millis(5)).await;
}

pub fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

pub fn client() -> ClientId {
    ClientId::new("web").unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub fn name() -> RequestName {
    RequestName { id: RequestId(random()), age: DurationMs(0) }
}

pub fn command(operation: Operation) -> Command {
    Command { tenant: Some(tenant()), request: Some(name()), operation }
}

pub fn create_tenant(rotations_per_s: u32) -> Command {
    let settings = TenantSettings { rotations_per_s, ..TenantSettings::default() };
    command(Operation::CreateTenant(CreateTenant { settings, key: KeyMaterial(random()) }))
}

/// A family as its client sees it.
#[derive(Clone, Copy)]
pub struct Family {
    pub id: FamilyId,
    pub head: PresentedToken,
}

impl Family {
    pub fn new() -> Self {
        let id = FamilyId(random());
        let digest = SecretDigest(random());
        let head = PresentedToken { kid: Kid(0), family: id, generation: Generation(0), digest };
        Self { id, head }
    }

    pub fn create(&self) -> Command {
        command(Operation::CreateFamily(Box::new(CreateFamily {
            family: self.id,
            digest: self.head.digest,
            opaque: false,
            subject: SubjectId::new("alice").unwrap(),
            client: client(),
            device: None,
            binding: Default::default(),
            ip: None,
            attributes: Vec::new(),
            payload: Bytes::new(),
            lifetime: None,
            idle: None,
            grace: None,
            authenticated_at: None,
            cap: None,
            session: None,
            code: None,
        })))
    }

    /// A rotation of the head, and the token that would be the head after it.
    pub fn rotate(&self) -> (Command, PresentedToken) {
        let successor = SecretDigest(random());
        let rotate = Operation::Rotate(Box::new(Rotate {
            token: self.head.into(),
            successor,
            seal: Bytes::from_static(b"sealed"),
            losers: Default::default(),
            client: client(),
            binding: Default::default(),
            origin: Origin::default(),
        }));
        let generation = self.head.generation.next();
        let next = PresentedToken { generation, digest: successor, ..self.head };
        (command(rotate), next)
    }
}

pub async fn done(node: &Node, command: Command) -> Reply {
    let reply = node.propose(command, deadline()).await.unwrap();
    assert!(reply.outcome.is_ok(), "refused: {:?}", reply.outcome);
    reply
}

/// Proposes under one name until there is an answer, as a client does.
pub async fn insist(node: &Node, command: Command) -> Reply {
    let until = deadline();
    loop {
        let attempt = Instant::now() + Duration::from_secs(2);
        match node.propose(command.clone(), attempt).await {
            Ok(reply) => return reply,
            Err(
                ProposeError::NotProposed { .. }
                | ProposeError::Unknown { .. }
                | ProposeError::DeadlineExceeded { .. },
            ) => pause(until).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A tenant without a limit of rates, and a family in it.
pub async fn family(node: &Node) -> Family {
    done(node, create_tenant(0)).await;
    new_family(node).await
}

pub async fn new_family(node: &Node) -> Family {
    let mut family = Family::new();
    let reply = done(node, family.create()).await;
    let Ok(Done::FamilyCreated(created)) = reply.outcome else { panic!("{reply:?}") };
    family.head.kid = created.first.kid.expect("a native token");
    family
}

/// A family as `node` shows it at that consistency.
pub async fn read(
    node: &Node,
    family: &Family,
    consistency: Consistency,
) -> Result<FamilyView, Refusal> {
    let point = node.read_point(consistency, deadline()).await.unwrap();
    node.view(|view, _| jeton_core::read::family(view, point.now, &tenant(), family.id)).unwrap()
}
