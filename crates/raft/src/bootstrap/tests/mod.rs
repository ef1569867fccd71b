//! Nodes that find their places, over real sockets, with disks in memory. A crash drops the node
//! and keeps its disk; what a crash at a given step leaves behind is put on the disk by hand.

mod first_start;
mod init;
mod joining;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jeton_core::ids::{ClusterId, Position};
use jeton_storage::data_dir::{DataDir, Expect};
use jeton_storage::disk::{Disk, MemDisk};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::TcpListenerStream;

use super::{BootstrapError, Doorkeeper, Flags, Formed, Lobby, form};
use crate::peer::handler::{
    ClockReport, ClockVerdict, ConfirmedIndex, ForwardReplies, Forwarded, Identity, Known,
    NotLeader, PeerHandler, ReadIndexError,
};
use crate::peer::{PeerServer, TcpConnector};
use crate::snapshot::SnapshotFile;
use crate::types::{Member, NodeId, Raft, SnapshotMeta};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Never runs: only the door is under test.
struct Nobody;

impl PeerHandler for Nobody {
    fn identity(&self) -> (ClusterId, NodeId) {
        panic!("only the door is under test")
    }
    fn raft(&self) -> &Raft {
        panic!("only the door is under test")
    }
    fn forwarded(&self, _: NodeId, _: Vec<Forwarded>, _: Arc<dyn ForwardReplies>) {}
    async fn read_index(&self, _: Instant) -> Result<ConfirmedIndex, ReadIndexError> {
        Err(ReadIndexError::Stopping)
    }
    async fn applied(&self, _: Position, _: Instant) -> bool {
        false
    }
    fn clock_report(&self, _: ClockReport) -> Result<ClockVerdict, NotLeader> {
        Err(NotLeader { leader: None })
    }
    fn incoming_dir(&self) -> PathBuf {
        PathBuf::new()
    }
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(MemDisk::new())
    }
    async fn verify_snapshot(&self, _: &SnapshotMeta, _: &SnapshotFile) -> Result<(), String> {
        Ok(())
    }
    fn known(&self) -> Known {
        Known::default()
    }
}

/// Addresses on which nobody listens yet, sorted as the bootstrap sorts them.
async fn addresses(count: usize) -> Vec<String> {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let mut found: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    found.sort();
    found
}

fn member(address: &str) -> Member {
    Member { peer_addr: address.to_owned(), client_addr: format!("client-of-{address}") }
}

fn flags(addresses: &[String]) -> Flags {
    // In whatever order, and with repetitions.
    let join = addresses.iter().rev().chain(addresses).cloned().collect();
    Flags { expect: addresses.len(), join }
}

fn open(disk: &MemDisk) -> DataDir {
    DataDir::open(Arc::new(disk.clone()), Path::new("/data"), Expect::default()).unwrap()
}

/// What a crash behind the stamp leaves on the disk.
fn stamped(identity: Identity) -> MemDisk {
    let disk = MemDisk::new();
    open(&disk).stamp(identity.cluster, identity.node).unwrap();
    disk
}

fn stamp_of(disk: &MemDisk) -> Option<Identity> {
    open(disk).stamped().map(|s| Identity { cluster: s.cluster, node: s.node })
}

/// A node at its door.
struct Node {
    door: Arc<Doorkeeper>,
    server: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Node {
    /// A process that starts: `formed` if it has a log.
    async fn start(address: &str, disk: &MemDisk, formed: bool) -> Self {
        static BOOTS: AtomicU64 = AtomicU64::new(1);
        let boot_id = BOOTS.fetch_add(1, Ordering::Relaxed);
        let listener = TcpListener::bind(address).await.unwrap();
        let door = Doorkeeper::new(Arc::new(open(disk)), member(address), formed, boot_id);
        let door = Arc::new(door);
        let server = PeerServer::<Nobody>::new(door.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            server.serve(TcpListenerStream::new(listener), stopped).await.unwrap();
        });
        Self { door, server, stop: Some(stop) }
    }

    /// Finds its place, in the background.
    fn form(&self, flags: Flags) -> JoinHandle<Result<Formed, BootstrapError>> {
        self.form_told(flags).1
    }

    /// The same, and the way to give it orders.
    fn form_told(&self, flags: Flags) -> (Arc<Lobby>, JoinHandle<Result<Formed, BootstrapError>>) {
        let door = self.door.clone();
        let lobby = Lobby::new(door.own().peer_addr.clone(), flags);
        let told = lobby.clone();
        let forming = tokio::spawn(async move { form(&door, Arc::new(TcpConnector), &told).await });
        (lobby, forming)
    }

    /// The node is a member of a cluster that runs, and knows these members.
    fn run(&self, members: &[(NodeId, String)]) {
        let members = members.iter().map(|(id, address)| (*id, member(address))).collect();
        let known = Known { members, leader: Some(1) };
        self.door.set_formed();
        self.door.opened(Arc::new(move || known.clone()));
    }

    /// Its process ends; the disk is as a kill leaves it.
    async fn crash(mut self, forming: Option<JoinHandle<Result<Formed, BootstrapError>>>) {
        if let Some(forming) = forming {
            forming.abort();
            let _ = forming.await;
        }
        self.stop.take().unwrap().send(()).unwrap();
        timeout(PATIENCE, self.server).await.unwrap().unwrap();
        // An offer that was being decided holds the directory's lock for a moment longer.
        let deadline = Instant::now() + PATIENCE;
        while Arc::strong_count(&self.door) > 1 {
            assert!(Instant::now() < deadline, "the door is still held");
            tokio::task::yield_now().await;
        }
    }
}

async fn formed(forming: JoinHandle<Result<Formed, BootstrapError>>) -> Formed {
    timeout(PATIENCE, forming).await.unwrap().unwrap().unwrap()
}

async fn failed(forming: JoinHandle<Result<Formed, BootstrapError>>) -> BootstrapError {
    timeout(PATIENCE, forming).await.unwrap().unwrap().unwrap_err()
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came about that {what}");
        tokio::task::yield_now().await;
    }
}
