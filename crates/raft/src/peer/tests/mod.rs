//! The real server and clients on loopback sockets, with a fake node behind them.

mod append;
mod forward;
mod identity;
mod snapshot;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use jeton_core::ids::{ClusterId, Position, UnixMs};
use jeton_core::reply::StateDigest;
use jeton_storage::data_dir::{DataDir, Expect};
use jeton_storage::disk::{Disk, MemDisk};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::TcpListenerStream;

use super::connect::TcpConnector;
use super::handler::{
    ClockReport, ClockVerdict, ConfirmedIndex, ForwardReplies, Forwarded, Identity, Known,
    NotLeader, PeerHandler, ReadIndexError,
};
use super::raft_door::{AppendRequests, AppendResults, RaftDoor, Stopped};
use super::{PeerServer, Peers, Running};
use crate::bootstrap::Doorkeeper;
use crate::snapshot::SnapshotFile;
use crate::types::{
    Entry, LogId, Member, NodeId, Payload, Proposal, Raft, SnapshotMeta, TypeConfig, Vote, log_id,
};

const CLUSTER: ClusterId = ClusterId([7; 16]);
/// The node that the tests talk to.
const SERVER: NodeId = 2;
/// The node that they are.
const CLIENT: NodeId = 1;
/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Commands that the fake node was handed, and where its answers go.
type Batch = (NodeId, Vec<Forwarded>, Arc<dyn ForwardReplies>);

/// The fake node.
struct Fake {
    disk: MemDisk,
    batches: mpsc::UnboundedSender<Batch>,
    /// What verification says.
    verdict: Mutex<Result<(), String>>,
}

fn incoming() -> PathBuf {
    PathBuf::from("/node/incoming")
}

impl PeerHandler for Fake {
    fn identity(&self) -> (ClusterId, NodeId) {
        (CLUSTER, SERVER)
    }

    fn raft(&self) -> &Raft {
        panic!("the fake node has no openraft: its consensus is a FakeRaft")
    }

    fn forwarded(&self, from: NodeId, commands: Vec<Forwarded>, replies: Arc<dyn ForwardReplies>) {
        // A test that has seen enough has dropped its end.
        let _ = self.batches.send((from, commands, replies));
    }

    async fn read_index(&self, deadline: Instant) -> Result<ConfirmedIndex, ReadIndexError> {
        if deadline <= Instant::now() {
            return Err(ReadIndexError::NoQuorum);
        }
        Ok(ConfirmedIndex { index: 77, stamp: UnixMs(1234) })
    }

    async fn applied(&self, position: Position, deadline: Instant) -> bool {
        if position <= Position(77) {
            return true;
        }
        tokio::time::sleep_until(deadline).await;
        false
    }

    fn clock_report(&self, report: ClockReport) -> Result<ClockVerdict, NotLeader> {
        if report.wall == UnixMs(0) {
            let member = Member { peer_addr: "third:1".into(), client_addr: "third:2".into() };
            return Err(NotLeader { leader: Some((3, member)) });
        }
        let mut agreed = report.digests;
        agreed.push((Position(report.applied), StateDigest(u128::from(report.node))));
        Ok(ClockVerdict { median: Some(report.wall), agreed })
    }

    fn incoming_dir(&self) -> PathBuf {
        incoming()
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    async fn verify_snapshot(&self, _: &SnapshotMeta, file: &SnapshotFile) -> Result<(), String> {
        assert_eq!(self.disk.content(&file.path).map(|c| c.len() as u64), Some(file.bytes));
        self.verdict.lock().clone()
    }

    fn known(&self) -> Known {
        Known::default()
    }
}

/// What the fake consensus was asked.
#[derive(Default)]
struct FakeRaft {
    /// Last index of each append request, in order.
    appended: watch::Sender<Vec<u64>>,
    /// Answers are held until so many requests have come.
    hold_until: usize,
    installed: Mutex<Vec<(SnapshotMeta, Vec<u8>)>>,
    disk: Option<MemDisk>,
}

#[tonic::async_trait]
impl RaftDoor for FakeRaft {
    fn append(&self, requests: AppendRequests) -> AppendResults {
        let (appended, hold) = (self.appended.clone(), self.hold_until);
        // Requests are taken by a task of its own, as openraft does.
        let (sender, answers) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut requests = requests;
            while let Some(request) = requests.next().await {
                let last = request.entries.last().map(|e| e.log_id).or(request.prev_log_id);
                appended.send_modify(|seen| seen.push(last.map_or(0, |id| id.index)));
                if sender.send(last).is_err() {
                    break;
                }
            }
        });
        let seen = self.appended.subscribe();
        futures::stream::unfold((answers, seen), move |(mut answers, mut seen)| async move {
            let last = answers.recv().await?;
            seen.wait_for(|seen| seen.len() >= hold).await.ok()?;
            Some((Ok(Ok(last)), (answers, seen)))
        })
        .boxed()
    }

    async fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, Stopped> {
        Ok(VoteResponse::new(request.vote, request.last_log_id, !request.leadership_transfer))
    }

    async fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, Stopped> {
        Ok(VoteResponse::new(request.vote, None, false))
    }

    async fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Stopped> {
        assert_eq!(*request.to_node_id(), SERVER);
        Ok(Err(openraft::raft::TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: None,
        }))
    }

    async fn install(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<Vote, Stopped> {
        let disk = self.disk.as_ref().ok_or_else(|| Stopped("no disk".to_owned()))?;
        let content = disk.content(&file.path).ok_or_else(|| Stopped("no file".to_owned()))?;
        self.installed.lock().push((meta, content));
        Ok(vote)
    }
}

/// A server that runs.
struct Served {
    address: String,
    server: PeerServer<Fake>,
    handler: Arc<Fake>,
    raft: Arc<FakeRaft>,
    batches: mpsc::UnboundedReceiver<Batch>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Served {
    /// A node that answers.
    async fn running(hold_until: usize) -> Self {
        let served = Self::starting(hold_until).await;
        let running = Running::with_raft(served.handler.clone(), served.raft.clone());
        served.server.run(running);
        served
    }

    /// A node that doesn't run yet.
    async fn starting(hold_until: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let disk = MemDisk::new();
        disk.create_dir_all(&incoming()).unwrap();
        let dir = DataDir::open(Arc::new(MemDisk::new()), Path::new("/node"), Expect::default());
        let own = Member { peer_addr: address.clone(), client_addr: String::new() };
        let door = Arc::new(Doorkeeper::new(Arc::new(dir.unwrap()), own, false, 1));
        let server = PeerServer::new(door);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = server.clone();
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serving.serve(TcpListenerStream::new(listener), stopped).await.unwrap();
        });
        let (sender, batches) = mpsc::unbounded_channel();
        let verdict = Mutex::new(Ok(()));
        let handler = Arc::new(Fake { disk: disk.clone(), batches: sender, verdict });
        let raft = Arc::new(FakeRaft { hold_until, disk: Some(disk), ..FakeRaft::default() });
        Self { address, server, handler, raft, batches, stop: Some(stop), task }
    }

    fn member(&self) -> Member {
        Member { peer_addr: self.address.clone(), client_addr: String::new() }
    }

    /// Stops the server and waits until all its connections are closed.
    async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        timeout(PATIENCE, &mut self.task).await.expect("streams keep the server up").unwrap();
    }

    async fn next_batch(&mut self) -> Batch {
        timeout(PATIENCE, self.batches.recv()).await.unwrap().unwrap()
    }
}

fn peers() -> Peers {
    peers_of(CLUSTER, &MemDisk::new())
}

fn peers_of(cluster: ClusterId, disk: &MemDisk) -> Peers {
    let identity = Identity { cluster, node: CLIENT };
    Peers::new(Arc::new(TcpConnector), identity, Arc::new(disk.clone()))
}

fn option() -> RPCOption {
    RPCOption::new(PATIENCE)
}

fn leader_vote() -> Vote {
    Vote::new_committed(3, CLIENT)
}

fn entry(index: u64, bytes: usize) -> Entry {
    let payload = Proposal { bytes: Bytes::from(vec![index as u8; bytes]), entry: None };
    Entry { log_id: log_id(3, CLIENT, index), payload: Payload::Normal(payload) }
}

/// A request with one entry at `index`.
fn append(index: u64, bytes: usize) -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest {
        vote: leader_vote(),
        prev_log_id: previous(index),
        entries: vec![entry(index, bytes)],
        leader_commit: None,
    }
}

fn previous(index: u64) -> Option<LogId> {
    (index > 0).then(|| log_id(3, CLIENT, index - 1))
}

/// Members 1 and 2, both voters.
fn membership() -> crate::types::Membership {
    let nodes = [1, 2].map(|id| (id, Member { peer_addr: format!("n{id}"), ..Member::default() }));
    let voters = BTreeSet::from([1, 2]);
    crate::types::Membership::new(vec![voters], std::collections::BTreeMap::from(nodes)).unwrap()
}
