//! A cluster of real node processes on loopback, with data on disk.
//!
//! ```text
//! dir/                      given by the caller, or a temporary one that goes with the cluster
//! ├── node-1/data/          what the node keeps
//! ├── node-1/log            what it printed, over all its lives
//! ├── node-1/clock          what its clock is off by, if clocks can be put wrong
//! └── …
//! ```
//!
//! All nodes get identical bootstrap flags and form the cluster by themselves. Ports stay the same
//! over restarts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jeton_client::admin::ClusterStatus;
use jeton_client::{Client, Config, Reach};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::ports::free_address;
use crate::process::{Process, ProcessSpec};

/// How often conditions are looked at while they are waited for.
const POLL: Duration = Duration::from_millis(25);
/// How long a single look at a node may take.
const LOOK: Duration = Duration::from_millis(800);

/// How to start a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// The `jeton` binary.
    pub binary: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// Where everything goes; `None`: a temporary directory that is removed with the cluster.
    pub dir: Option<PathBuf>,
    /// How many nodes form the cluster by themselves; `None`: all. 0: none, until one is told to.
    pub bootstrap_expect: Option<usize>,
    /// More flags for `jeton server`, the same for all nodes.
    pub flags: Vec<OsString>,
    /// Whether [`Cluster::set_clock`] can put a node's clock wrong.
    pub wrong_clocks: bool,
}

impl ClusterSpec {
    /// This many nodes of this binary in a temporary directory.
    pub fn new(binary: impl Into<PathBuf>, nodes: usize) -> Self {
        Self {
            binary: binary.into(),
            nodes,
            dir: None,
            bootstrap_expect: None,
            flags: Vec::new(),
            wrong_clocks: false,
        }
    }
}

/// A running cluster. Dropping it kills its processes, and removes its temporary directory.
#[derive(Debug)]
pub struct Cluster {
    spec: ClusterSpec,
    nodes: Vec<Node>,
    dir: PathBuf,
    temporary: Option<TempDir>,
}

#[derive(Debug)]
struct Node {
    name: String,
    client_address: SocketAddr,
    peer_address: SocketAddr,
    process: Process,
    /// Talks to this node alone; from when it first answered.
    client: Option<Client>,
}

impl Cluster {
    /// Starts the processes; see [`Cluster::wait_ready`].
    pub fn start(spec: ClusterSpec) -> Result<Self> {
        let temporary = match &spec.dir {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("jeton-")
                    .tempdir()
                    .context("can't make a temporary directory")?,
            ),
        };
        let dir = match (&spec.dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => bail!("no directory for the nodes"),
        };
        let mut addresses = Vec::new();
        for _ in 0..spec.nodes {
            addresses.push((free_address()?, free_address()?));
        }
        let peers: Vec<String> = addresses.iter().map(|(_, peer)| peer.to_string()).collect();
        let expect = spec.bootstrap_expect.unwrap_or(spec.nodes);
        let mut cluster = Self { spec, nodes: Vec::new(), dir, temporary };
        for address in addresses {
            cluster.start_node(address, expect, &peers)?;
        }
        Ok(cluster)
    }

    /// Starts one more node, which waits to be added. Says which it is.
    pub fn grow(&mut self) -> Result<usize> {
        let peers: Vec<String> =
            self.nodes.iter().map(|node| node.peer_address.to_string()).collect();
        self.start_node((free_address()?, free_address()?), 0, &peers)?;
        Ok(self.nodes.len() - 1)
    }

    fn start_node(
        &mut self,
        (client_address, peer_address): (SocketAddr, SocketAddr),
        expect: usize,
        peers: &[String],
    ) -> Result<()> {
        let name = format!("node-{}", self.nodes.len() + 1);
        let home = self.dir.join(&name);
        std::fs::create_dir_all(&home).with_context(|| format!("can't make {}", home.display()))?;
        let args = server_args(&self.spec, expect, &home, client_address, peer_address, peers);
        let (binary, log) = (self.spec.binary.clone(), home.join("log"));
        let process = Process::start(ProcessSpec { binary, args, log })?;
        self.nodes.push(Node { name, client_address, peer_address, process, client: None });
        Ok(())
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Client addresses of all nodes.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.client_address.to_string()).collect()
    }

    /// Where other nodes reach a node.
    pub fn peer_address(&self, node: usize) -> String {
        self.nodes[node].peer_address.to_string()
    }

    /// Where data and logs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps the directory when the cluster goes.
    pub fn keep(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            self.dir = temporary.keep();
        }
    }

    /// A node's name.
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// A client that talks to one node only. There is none before the node was ready once.
    pub fn client(&self, node: usize) -> Result<&Client> {
        let node = &self.nodes[node];
        node.client.as_ref().with_context(|| format!("{} was never ready", node.name))
    }

    /// One client a node, each knowing that node only.
    pub fn pinned(&self) -> Result<Vec<Client>> {
        (0..self.len()).map(|node| self.client(node).cloned()).collect()
    }

    /// As many clients as there are nodes, each knowing all nodes, as programs have them.
    pub async fn callers(&self) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..self.len() {
            clients.push(Client::connect(Config::new(self.endpoints())).await?);
        }
        Ok(clients)
    }

    /// The data directory of a node.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.join(&self.nodes[node].name).join("data")
    }

    /// The process of a node.
    pub fn process(&mut self, node: usize) -> &mut Process {
        &mut self.nodes[node].process
    }

    /// What a node says of itself now.
    pub async fn status(&self, node: usize) -> Result<ClusterStatus> {
        status_of(self.client(node)?).await
    }

    /// Waits until every running node serves.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        for node in 0..self.nodes.len() {
            if self.nodes[node].process.pid().is_some() {
                self.wait_node_ready(node, deadline).await?;
            }
        }
        Ok(())
    }

    /// Waits until one node serves.
    pub async fn wait_node_ready(&mut self, node: usize, deadline: Instant) -> Result<()> {
        let mut last;
        loop {
            self.connect(node).await;
            match self.status(node).await {
                Ok(ClusterStatus { not_ready: None, .. }) => return Ok(()),
                Ok(ClusterStatus { not_ready: Some(why), .. }) => last = why,
                Err(error) => last = format!("{error:#}"),
            }
            let node = &mut self.nodes[node];
            if !node.process.is_running() {
                bail!("{} ended by itself:\n{}", node.name, node.process.log_tail(20));
            }
            if Instant::now() > deadline {
                let log = node.process.log_tail(20);
                bail!("{} is not ready ({last}); the end of its log:\n{log}", node.name);
            }
            sleep(POLL).await;
        }
    }

    async fn connect(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        if node.client.is_none() {
            let config = Config::new([node.client_address.to_string()]).reach(Reach::Configured);
            node.client = Client::connect(config).await.ok();
        }
    }

    /// Waits until a majority of all nodes agrees on a leader that runs; says which it is.
    pub async fn leader(&self, within: Duration) -> Result<usize> {
        let deadline = Instant::now() + within;
        loop {
            let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
            let mut places: BTreeMap<u64, usize> = BTreeMap::new();
            for node in 0..self.nodes.len() {
                if let Ok(status) = self.status(node).await {
                    places.insert(status.node_id, node);
                    *votes.entry(status.leader_id.unwrap_or_default()).or_default() += 1;
                }
            }
            let chosen = votes.into_iter().find(|(leader, votes)| {
                places.contains_key(leader) && *votes * 2 > self.nodes.len()
            });
            if let Some(place) = chosen.and_then(|(leader, _)| places.get(&leader)) {
                return Ok(*place);
            }
            if Instant::now() > deadline {
                bail!("no leader that a majority agrees on within {within:?}");
            }
            sleep(POLL).await;
        }
    }

    /// SIGKILL to one node.
    pub async fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node].process.kill().await.map(drop)
    }

    /// SIGKILL to these nodes at once.
    pub async fn kill_together(&mut self, nodes: &[usize]) -> Result<()> {
        let chosen = self.nodes.iter_mut().enumerate().filter(|(node, _)| nodes.contains(node));
        // Polled one after the other, each sends its signal before any of them is waited for.
        let kills = chosen.map(|(_, node)| node.process.kill());
        futures::future::try_join_all(kills).await.map(drop)
    }

    /// SIGTERM to one node, and waits for it.
    pub async fn stop(&mut self, node: usize, within: Duration) -> Result<()> {
        let name = self.nodes[node].name.clone();
        let status = self.nodes[node].process.stop(within).await?;
        if !status.success() {
            bail!("{name} stopped with {status}:\n{}", self.nodes[node].process.log_tail(20));
        }
        Ok(())
    }

    /// Starts a node that is down, with the same data and addresses.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.nodes[node].process.restart()
    }

    /// SIGTERM to all running nodes, one after the other.
    pub async fn stop_all(&mut self, within: Duration) -> Result<()> {
        for node in 0..self.nodes.len() {
            if self.nodes[node].process.is_running() {
                self.stop(node, within).await?;
            }
        }
        Ok(())
    }

    /// Puts a node's wall clock wrong by so many milliseconds, ahead or behind, or right again (0):
    /// from its next look at it on, and over its restarts.
    pub fn set_clock(&self, node: usize, offset_ms: i64) -> Result<()> {
        if !self.spec.wrong_clocks {
            bail!("this cluster's clocks can't be put wrong: see ClusterSpec::wrong_clocks");
        }
        let home = self.dir.join(&self.nodes[node].name);
        // Whoever reads it sees the old number or the new one.
        let mut file = tempfile::NamedTempFile::new_in(&home).context("can't make a file")?;
        write!(file, "{offset_ms}").context("can't write an offset")?;
        file.persist(clock_file(&home)).context("can't put an offset in its place")?;
        Ok(())
    }

    /// How far a node's clock is from the median of all, in milliseconds, as the leader has heard.
    /// `None` while nobody leads.
    pub async fn clock_skew_ms(&self, node: usize) -> Option<i64> {
        let id = self.status(node).await.ok()?.node_id;
        for asked in 0..self.nodes.len() {
            let Ok(status) = self.status(asked).await else { continue };
            if status.leader_id == Some(status.node_id) {
                let member = status.members.iter().find(|member| member.node_id == id);
                return member.and_then(|member| member.clock_skew_ms);
            }
        }
        None
    }

    /// CPU time of all nodes over all their lives.
    pub fn cpu_time(&self) -> Duration {
        self.nodes.iter().map(|node| node.process.cpu_time()).sum()
    }
}

/// What a node that this client talks to says of itself.
pub async fn status_of(client: &Client) -> Result<ClusterStatus> {
    Ok(client.admin().status(LOOK).await?)
}

/// What the clock of the node with this directory is off by.
fn clock_file(home: &Path) -> PathBuf {
    home.join("clock")
}

fn server_args(
    spec: &ClusterSpec,
    expect: usize,
    home: &Path,
    client_address: SocketAddr,
    peer_address: SocketAddr,
    peers: &[String],
) -> Vec<OsString> {
    let pairs: [(&str, OsString); 5] = [
        ("--data-dir", home.join("data").into()),
        ("--client-listen", client_address.to_string().into()),
        ("--peer-listen", peer_address.to_string().into()),
        ("--bootstrap-expect", expect.to_string().into()),
        ("--join", peers.join(",").into()),
    ];
    let mut args = vec![OsString::from("server")];
    args.extend(pairs.into_iter().flat_map(|(flag, value)| [flag.into(), value]));
    if spec.wrong_clocks {
        args.extend(["--chaos-clock-offset-file".into(), clock_file(home).into()]);
    }
    args.extend(spec.flags.iter().cloned());
    args
}
