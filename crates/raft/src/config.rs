//! What a node is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jeton_storage::disk::{Disk, RealDisk};
use jeton_storage::state::RowStore;

use crate::clock::{Clock, SystemClock};
use crate::peer::{Connector, TcpConnector};
use crate::state_machine::EventSink;

/// Settings of a node. Every field has a default but the directory and the addresses.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Everything that this node keeps. Made if it does not exist.
    pub data_dir: PathBuf,
    /// Where peers are listened for.
    pub peer_listen: SocketAddr,
    /// The address, `host:port`, that peers reach this node at. Names it for ever in a bootstrap.
    pub peer_addr: String,
    /// The address, `host:port`, that clients reach this node at.
    pub client_addr: String,
    /// How many nodes a new cluster waits for. 1: this node alone. 0: join an existing one only.
    pub bootstrap_expect: usize,
    /// Peer addresses of the cluster, identical on every node, this one's included.
    pub join: Vec<String>,
    /// How often the leader says that it is there. Default 80 ms, at least 10 ms.
    pub heartbeat: Duration,
    /// A follower stands for election after a silence of `election_max` and a random time between
    /// this and `election_max`: with the defaults after 650 to 800 ms. Default 250 ms, at least
    /// three heartbeats.
    pub election_min: Duration,
    /// So long after a heartbeat a follower refuses to vote for another. Default 400 ms.
    pub election_max: Duration,
    /// How far this node's clock may be from the median. Default 2 s.
    pub clock_skew_max: Duration,
    /// Bytes of changes in memory from which a checkpoint is made. Default 64 MiB.
    pub checkpoint_bytes: usize,
    /// Bytes of changes in memory at which applying waits for a checkpoint. Default 256 MiB.
    pub overlay_bytes_max: usize,
    /// Bytes of log since the last base from which a new one is built. Default 256 MiB.
    pub base_bytes_min: u64,
    /// Length of one log segment. Default 64 MiB.
    pub segment_bytes: u64,
    /// How often the leader proposes a digest. Default 1 s; zero turns it off.
    pub digest_every: Duration,
    /// How often the leader proposes a sweep. Default 1 s; zero turns it off.
    pub sweep_every: Duration,
    /// Rows that one step of a revocation's sweep looks at. Default 250, 1 to 1,000.
    pub revocation_step_rows: u32,
    /// Threads of the runtime that consensus and peers have for themselves. Default 2; 0 runs them
    /// on the caller's runtime.
    pub runtime_threads: usize,
}

impl NodeConfig {
    /// The defaults, for a node alone in `data_dir`.
    #[must_use]
    pub fn new(data_dir: PathBuf, peer_listen: SocketAddr) -> Self {
        Self {
            data_dir,
            peer_listen,
            peer_addr: peer_listen.to_string(),
            client_addr: String::new(),
            bootstrap_expect: 1,
            join: Vec::new(),
            heartbeat: Duration::from_millis(80),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(400),
            clock_skew_max: Duration::from_secs(2),
            checkpoint_bytes: 64 << 20,
            overlay_bytes_max: 256 << 20,
            base_bytes_min: 256 << 20,
            segment_bytes: 64 << 20,
            digest_every: Duration::from_secs(1),
            sweep_every: Duration::from_secs(1),
            revocation_step_rows: 250,
            runtime_threads: 2,
        }
    }

    /// openraft's settings. Each that is not the default closes a trap:
    ///
    /// - `snapshot_policy` `Never`, `max_in_snapshot_log_to_keep` huge: bases are built and logs
    ///   purged by us, by bytes; the default keeps 1,000 entries even under `Never`.
    /// - `replication_lag_threshold` huge: a lagging follower is sent log as long as there is log.
    /// - `enable_leader_restore` off: a restarted leader could serve a state older than one already
    ///   seen.
    /// - `enable_pre_vote` on: a node that was cut off doesn't depose a healthy leader.
    /// - `install_snapshot_timeout` long: progress is watched by the transfer itself.
    pub(crate) fn openraft(&self, cluster: String) -> openraft::Config {
        openraft::Config {
            cluster_name: cluster,
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(Duration::from_secs(60 * 60)),
            max_payload_entries: 256,
            replication_lag_threshold: u64::MAX / 4,
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX / 4,
            enable_leader_restore: Some(false),
            enable_pre_vote: Some(true),
            backoff: "50ms 100ms 200ms ..500ms".to_owned(),
            ..openraft::Config::default()
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The world as the node sees it, replaced in tests and simulation.
pub struct Seams {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Security events, if anyone wants them.
    pub events: Option<Arc<dyn EventSink>>,
    /// A socket that already listens for peers, instead of one bound to `peer_listen`.
    pub peer_listener: Option<tokio::net::TcpListener>,
    /// Where the state's rows are kept, instead of in sled.
    pub rows: Option<Arc<dyn RowStore>>,
    /// How connections to peers are made.
    pub connector: Arc<dyn Connector>,
}

impl Default for Seams {
    /// The real world.
    fn default() -> Self {
        Self {
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
            events: None,
            peer_listener: None,
            rows: None,
            connector: Arc::new(TcpConnector),
        }
    }
}
