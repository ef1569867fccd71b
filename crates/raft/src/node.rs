//! A node: consensus, storage and state machine put together, started, asked and stopped.
//!
//! Start, step by step, and what a crash leaves: lock the directory (nothing); form or join a
//! cluster and stamp the directory with it (a stamped, empty directory: the same node begins
//! again); open log and state (they finish or undo their own steps); mark them and the stamp as
//! having taken part (see [`jeton_storage::ownership`]); apply what is committed (the same again);
//! initialise the membership, on one node of a new cluster only (repeatable).

use std::sync::Arc;
use std::time::Duration;

use jeton_core::command::Command;
use jeton_core::ids::{ClusterId, Position};
use jeton_core::machine::Meta;
use jeton_core::reply::Reply;
use jeton_core::tables::TablesError;
use jeton_storage::state::View;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backup::Backup;
use crate::bootstrap::Lobby;
use crate::config::{NodeConfig, Seams};
use crate::engine::Engine;
use crate::errors::{MembersError, ProposeError, ReadError, StartError};
use crate::intake::ReplySink;
use crate::reads::{Consistency, ReadPoint};
use crate::standing::Health;
use crate::status::Status;
use crate::types::{Member, NodeId};
use crate::{start, worker};

/// How long a stopping node waits for what it has proposed.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// A running node. Clones are the same node; it runs until [`Node::shutdown`], or until the last
/// clone is gone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    /// Everything that dies with the node, in this order.
    life: Mutex<Option<Life>>,
    runtime: Runtime,
}

/// What keeps a node alive.
pub(crate) struct Life {
    pub(crate) tasks: Vec<JoinHandle<()>>,
    /// Stops the peer server when it is dropped or told.
    pub(crate) server: oneshot::Sender<()>,
    pub(crate) checkpointer: jeton_storage::state::Checkpointer,
    pub(crate) data_dir: Arc<jeton_storage::data_dir::DataDir>,
}

/// The runtime of consensus and peers: client load on the caller's can't starve heartbeats.
pub(crate) struct Runtime {
    pub(crate) handle: tokio::runtime::Handle,
    own: Option<tokio::runtime::Runtime>,
}

impl Runtime {
    fn new(threads: usize) -> std::io::Result<Self> {
        if threads == 0 {
            return Ok(Self { handle: tokio::runtime::Handle::current(), own: None });
        }
        let own = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("jeton-raft")
            .enable_all()
            .build()?;
        Ok(Self { handle: own.handle().clone(), own: Some(own) })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Dropping it plainly would block, and must not happen on another runtime.
        if let Some(own) = self.own.take() {
            own.shutdown_background();
        }
    }
}

/// A node on its way. Dropping it is like a crash, which is safe at every step.
pub struct Starting {
    lobby: Arc<Lobby>,
    task: AbortOnDrop,
    runtime: Runtime,
}

type Started = Result<(Arc<Engine>, Life), StartError>;

struct AbortOnDrop(JoinHandle<Started>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Starting {
    /// What it waits for, and the way to have it form a cluster.
    #[must_use]
    pub fn lobby(&self) -> Arc<Lobby> {
        Arc::clone(&self.lobby)
    }

    /// Waits until the node takes part in its cluster and has applied what it knows to be
    /// committed.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and, where it can, what to do.
    pub async fn started(mut self) -> Result<Node, StartError> {
        let started = (&mut self.task.0).await;
        let (engine, life) = started.map_err(|join| StartError::Consensus(join.to_string()))??;
        let (life, runtime) = (Mutex::new(Some(life)), self.runtime);
        Ok(Node { inner: Arc::new(Inner { engine, life, runtime }) })
    }
}

impl Node {
    /// Starts a node. Returns when it has applied what it knows to be committed and takes part in
    /// its cluster; with `bootstrap_expect` above 1, that is when all of them are there.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and, where it can, what to do.
    pub async fn start(config: NodeConfig, seams: Seams) -> Result<Self, StartError> {
        Self::begin(config, seams).await?.started().await
    }

    /// Begins to start a node: returns when it has its directory and its peer port. What it waits
    /// for then, [`Starting::lobby`] says.
    ///
    /// # Errors
    /// [`StartError`] if there is something else in the directory, or it is in use.
    pub async fn begin(config: NodeConfig, seams: Seams) -> Result<Starting, StartError> {
        let runtime = Runtime::new(config.runtime_threads).map_err(StartError::Thread)?;
        let begun = runtime.handle.spawn(start::begin(config, seams)).await;
        let begun = begun.map_err(|join| StartError::Consensus(join.to_string()))??;
        let lobby = begun.lobby();
        let task = runtime.handle.spawn(begun.finish());
        Ok(Starting { lobby, task: AbortOnDrop(task), runtime })
    }

    /// Which cluster this node belongs to.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.inner.engine.cluster
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.inner.engine.id
    }

    /// Sends a command on its way; `sink` hears what became of it, once, under `tag`. Its age is
    /// what it says and the time since `received`, when its caller's message came in.
    ///
    /// A rotation is looked at first: what the local state settles is settled behind a confirmed
    /// read, without an entry; equal ones share one.
    pub fn submit(
        &self,
        command: Command,
        received: Instant,
        deadline: Instant,
        tag: u64,
        sink: Arc<dyn ReplySink>,
    ) {
        self.inner.engine.submit(command, received, deadline, tag, sink);
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine
    }

    /// The same for one command, and waits.
    ///
    /// # Errors
    /// [`ProposeError`]: each variant says whether it may have taken effect.
    pub async fn propose(
        &self,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, ProposeError> {
        Awaited::submit(&self.inner.engine, command, deadline).await
    }

    /// A point of the asked consistency: whatever [`Node::view`] shows afterwards is at least that
    /// fresh.
    ///
    /// # Errors
    /// [`ReadError`] if it can't be had before the deadline.
    pub async fn read_point(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<ReadPoint, ReadError> {
        let engine = Arc::clone(&self.inner.engine);
        engine.read_point(consistency, deadline).await
    }

    /// Looks at rows and counters of one moment. Applying waits meanwhile: read at most some 64
    /// rows, and never call it within itself.
    ///
    /// # Errors
    /// [`TablesError`] if the state can't be read.
    pub fn view<R>(
        &self,
        look: impl FnOnce(&View<'_>, &Meta) -> Result<R, TablesError>,
    ) -> Result<R, TablesError> {
        self.inner.engine.with_view(look)?
    }

    /// The node as it sees itself and its cluster.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.engine.status()
    }

    /// Told whenever [`Status::health`] changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.engine.health.subscribe()
    }

    /// Waits until a quorum has confirmed a leader and this node has applied all that was committed
    /// then.
    ///
    /// # Errors
    /// [`ReadError`] if that does not happen before the deadline.
    pub async fn wait_ready(&self, deadline: Instant) -> Result<ReadPoint, ReadError> {
        self.inner.engine.confirmed(deadline).await
    }

    /// Waits until this node has applied `position`.
    ///
    /// # Errors
    /// [`ReadError`] if that does not happen before the deadline.
    pub async fn wait_applied(
        &self,
        position: Position,
        deadline: Instant,
    ) -> Result<ReadPoint, ReadError> {
        self.inner.engine.read_point(Consistency::AtLeast(position), deadline).await
    }

    /// Waits until every member, learners too, has applied `position`. Those that have not said so
    /// before the deadline: as far as this node knows who is a member.
    pub async fn wait_for_all(
        &self,
        position: Position,
        deadline: Instant,
    ) -> Vec<(NodeId, Member)> {
        let engine = Arc::clone(&self.inner.engine);
        let work = async move { engine.wait_for_all(position, deadline).await };
        match self.on_runtime(work).await {
            Some(pending) => pending,
            // It is stopping: nobody was asked.
            None => self.inner.engine.standing.borrow().members.as_ref().clone(),
        }
    }

    /// Runs work that belongs to consensus on its own runtime.
    async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.inner.runtime.handle.spawn(work).await.ok()
    }

    /// Invites the empty node that listens at `member.peer_addr`, and adds it as a learner. Returns
    /// its number. Only on the leader.
    ///
    /// # Errors
    /// [`MembersError`].
    pub async fn add_learner(
        &self,
        member: Member,
        deadline: Instant,
    ) -> Result<NodeId, MembersError> {
        let engine = Arc::clone(&self.inner.engine);
        let work = async move { engine.invite(member, deadline).await };
        self.on_runtime(work).await.unwrap_or(Err(MembersError::DeadlineExceeded))
    }

    /// Makes a learner that has caught up a voter. Only on the leader.
    ///
    /// # Errors
    /// [`MembersError`].
    pub async fn promote(&self, node: NodeId, deadline: Instant) -> Result<(), MembersError> {
        let engine = Arc::clone(&self.inner.engine);
        let work = async move { engine.promote(node, deadline).await };
        self.on_runtime(work).await.unwrap_or(Err(MembersError::DeadlineExceeded))
    }

    /// Removes a member for ever. Only on the leader.
    ///
    /// # Errors
    /// [`MembersError`].
    pub async fn remove(&self, node: NodeId, deadline: Instant) -> Result<(), MembersError> {
        let engine = Arc::clone(&self.inner.engine);
        let work = async move { engine.remove(node, deadline).await };
        self.on_runtime(work).await.unwrap_or(Err(MembersError::DeadlineExceeded))
    }

    /// Hands leadership to a voter, and waits until it has it. Only on the leader.
    ///
    /// # Errors
    /// [`MembersError`].
    pub async fn transfer_leader(&self, to: NodeId, deadline: Instant) -> Result<(), MembersError> {
        let engine = Arc::clone(&self.inner.engine);
        let work = async move { engine.transfer_leader(to, deadline).await };
        self.on_runtime(work).await.unwrap_or(Err(MembersError::DeadlineExceeded))
    }

    /// Makes everything applied so far durable in the rows, now.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn checkpoint(&self) -> std::io::Result<()> {
        let engine = Arc::clone(&self.inner.engine);
        let work = async move { engine.machine.checkpoint().await.map(drop) };
        self.on_runtime(work).await.unwrap_or_else(|| Err(stopping()))
    }

    /// The same, writes a base file, and purges the log behind it.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn rebase(&self) -> std::io::Result<()> {
        let engine = Arc::clone(&self.inner.engine);
        let work = async move { engine.rebase().await };
        self.on_runtime(work).await.unwrap_or_else(|| Err(stopping()))
    }

    /// Makes a backup of what is applied here.
    ///
    /// # Errors
    /// What the disk says; or too much changed meanwhile, and it is worth another try.
    pub async fn backup(&self) -> std::io::Result<Backup> {
        let engine = Arc::clone(&self.inner.engine);
        let work = async move { engine.backup().await };
        self.on_runtime(work).await.unwrap_or_else(|| Err(stopping()))
    }

    /// Stops the node: takes nothing new, finishes what it proposed, hands leadership over, makes
    /// its state durable. The second call does nothing.
    pub async fn shutdown(&self) {
        let Some(life) = self.inner.life.lock().take() else { return };
        let engine = Arc::clone(&self.inner.engine);
        self.on_runtime(async move { stop(&engine, life).await }).await;
    }
}

fn stopping() -> std::io::Error {
    std::io::Error::other("the node is stopping")
}

async fn stop(engine: &Arc<Engine>, life: Life) {
    engine.health.send_replace(Health::Stopping);
    for waiting in engine.intake.close() {
        engine.answer(waiting, Err(ProposeError::Shutdown));
    }
    let until = Instant::now() + DRAIN_WAIT;
    while !engine.flights.is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if engine.standing.borrow().leads() {
        engine.hand_over().await;
    }
    if let Err(error) = engine.raft.shutdown().await {
        tracing::warn!(%error, "consensus did not stop cleanly");
    }
    engine.reads.close();
    // The receiver is gone only if the server has already stopped.
    let _ = life.server.send(());
    for task in &life.tasks {
        task.abort();
    }
    // What was turned away meanwhile waits in a queue that nobody empties any more.
    let left = std::mem::take(&mut *engine.settling.lock());
    for waiting in engine.intake.close().into_iter().chain(left) {
        engine.answer(waiting, Err(ProposeError::Shutdown));
    }
    let last = engine.machine.checkpoint().await;
    if let Err(error) = last {
        tracing::warn!(%error, "the last checkpoint failed: the log is replayed at the next start");
    }
    let log = engine.log.clone();
    let (checkpointer, data_dir) = (life.checkpointer, life.data_dir);
    let closed = worker::run("jeton-stop", move || {
        drop(checkpointer);
        log.shutdown();
        drop(data_dir);
    });
    if let Err(error) = closed.await {
        tracing::warn!(%error, "the storage did not stop cleanly");
    }
}

impl Drop for Inner {
    /// Not stopped properly: like a crash, which is safe, but nothing may go on in the background.
    fn drop(&mut self) {
        if let Some(life) = self.life.lock().take() {
            for task in &life.tasks {
                task.abort();
            }
        }
    }
}

/// A sink for one command.
pub(crate) struct Awaited(Mutex<Option<oneshot::Sender<Result<Reply, ProposeError>>>>);

impl Awaited {
    pub(crate) async fn submit(
        engine: &Engine,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, ProposeError> {
        let (sender, receiver) = oneshot::channel();
        let sink = Arc::new(Self(Mutex::new(Some(sender))));
        engine.submit(command, Instant::now(), deadline, 0, sink);
        receiver.await.unwrap_or(Err(ProposeError::Unknown { why: "the node stopped" }))
    }
}

impl ReplySink for Awaited {
    fn reply(&self, _tag: u64, result: Result<Reply, ProposeError>) {
        if let Some(sender) = self.0.lock().take() {
            // The caller may have given up.
            let _ = sender.send(result);
        }
    }
}
