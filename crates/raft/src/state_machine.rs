//! openraft's state machine over [`jeton_core::machine::Machine`] and [`jeton_storage`]'s state,
//! applied on a thread of its own.
//!
//! Each log entry is one commit of the state: its rows and a marker (log id, membership, the
//! machine's counters) become visible together, then its replies leave. A crash at any point leaves
//! the state at the last checkpoint's marker, and the log from there on is applied again: the
//! machine is deterministic, so the rows come out the same, and the replies that were lost are told
//! again to retries by the remembered ones.
//!
//! An error here stops the node: a replica that skipped an entry would differ from the others.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use jeton_core::codec;
use jeton_core::command::Entry as CoreEntry;
use jeton_core::ids::{DurationMs, LeaseMs, LogIndex, Position};
use jeton_core::machine::{Machine, Meta};
use jeton_core::reply::{Event, LeaseNotice, Replies, Reply, StateDigest};
use jeton_storage::log::RaftLog;
use jeton_storage::state::{Marker, State, StateError};
use openraft::storage::{EntryResponder, RaftStateMachine};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot, watch};

use crate::snapshot::{self, SnapshotBuilder, SnapshotFile};
use crate::types::{
    Applied, Entry, FormError, LogId, Membership, Payload, Snapshot, SnapshotMeta,
    StoredMembership, TypeConfig, decode_membership, encode_membership, log_id,
};
use crate::worker;

/// Entries handed to the applying thread at once.
const CHUNK_ENTRIES: usize = 64;
/// Digests remembered, by position.
const DIGESTS_MAX: usize = 64;
/// A marker is small: counters, and a membership of at most a few dozen nodes.
const MARKER_BYTES_MAX: usize = 1024 * 1024;

/// Where security events go, on every node, in order, from the thread that applies. Must not block.
pub trait EventSink: Send + Sync {
    /// One event. What it is about is not visible to readers yet.
    fn event(&self, event: Event);

    /// All that was told is visible to readers of this node now.
    fn visible(&self) {}

    /// What became of those who wait for locks. Told when the rows are visible: whoever looks
    /// after being told finds them as they were told, or newer.
    fn lease(&self, notice: LeaseNotice) {
        let _ = notice;
    }

    /// The state was replaced by a newer one as a whole: what happened in between was not told.
    fn jumped(&self) {}
}

/// What a marker of the state holds beside its index: stored with every checkpoint and base.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MarkerForm {
    meta: Meta,
    applied: Option<(u64, u64, u64)>,
    membership_at: Option<(u64, u64, u64)>,
    membership: Bytes,
    /// The term of the last entry that held commands: lease time is counted within a term only.
    leased_in: Option<u64>,
}

impl MarkerForm {
    /// Reads a marker.
    ///
    /// # Errors
    /// [`FormError`] if another program version wrote it.
    pub fn decode(opaque: &[u8]) -> Result<Self, FormError> {
        codec::decode(opaque, MARKER_BYTES_MAX)
            .map_err(|source| FormError::Decode { what: "a marker of the state", source })
    }

    /// That of a view: an empty state has none.
    ///
    /// # Errors
    /// [`FormError`] if another program version wrote it.
    pub fn of(marker: Option<&Marker>) -> Result<Self, FormError> {
        marker.map_or_else(|| Ok(Self::default()), |marker| Self::decode(&marker.opaque))
    }

    /// That of a state that was restored from a backup, and the digest of its rows.
    pub(crate) fn restored(meta: Meta, at: LogId, membership: &Membership) -> (u128, Self) {
        let (rows, at) = (meta.rows, Some(parts(&at)));
        let membership = encode_membership(membership);
        (rows, Self { meta, applied: at, membership_at: at, membership, leased_in: None })
    }

    /// Its bytes.
    pub(crate) fn encode(&self) -> Bytes {
        codec::encode(self).into()
    }

    /// The machine's counters.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> Option<LogId> {
        self.applied.map(from_parts)
    }

    /// The last membership applied.
    ///
    /// # Errors
    /// [`FormError`] if another program version wrote it.
    pub fn membership(&self) -> Result<StoredMembership, FormError> {
        let membership = if self.membership.is_empty() {
            Membership::default()
        } else {
            decode_membership(&self.membership)?
        };
        Ok(StoredMembership::new(self.membership_at.map(from_parts), membership))
    }
}

fn parts(id: &LogId) -> (u64, u64, u64) {
    (id.committed_leader_id().term, id.committed_leader_id().node_id, id.index())
}

fn from_parts((term, node, index): (u64, u64, u64)) -> LogId {
    log_id(term, node, index)
}

/// How far this node has applied, for those who wait for it.
pub(crate) struct Progress {
    /// Index of the last applied entry.
    pub(crate) applied: watch::Sender<u64>,
    /// The machine's base: positions are (base + index) × 2¹¹ + place.
    pub(crate) base: AtomicU64,
    /// The machine's clock.
    pub(crate) clock: AtomicU64,
    /// The last command's position.
    pub(crate) position: AtomicU64,
    /// Commands applied since the start.
    pub(crate) commands: AtomicU64,
    /// Newest digests, oldest first.
    pub(crate) digests: Mutex<VecDeque<(Position, StateDigest)>>,
    /// Lease time.
    pub(crate) lease_clock: AtomicU64,
    /// Nothing ends before lease time reaches this, as far as entries have told since the leader
    /// looked last.
    pub(crate) lease_due: AtomicU64,
    /// Told when that has become earlier.
    pub(crate) lease_due_earlier: Notify,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            applied: watch::Sender::new(0),
            base: AtomicU64::new(0),
            clock: AtomicU64::new(0),
            position: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            digests: Mutex::new(VecDeque::new()),
            lease_clock: AtomicU64::new(0),
            lease_due: AtomicU64::new(u64::MAX),
            lease_due_earlier: Notify::new(),
        }
    }
}

impl Progress {
    /// Something ends at `due`.
    pub(crate) fn note_lease_due(&self, due: LeaseMs) {
        if self.lease_due.fetch_min(due.0, Ordering::AcqRel) > due.0 {
            self.lease_due_earlier.notify_one();
        }
    }
}

/// Answers once the log is durable up to an index.
type SyncLog =
    Arc<dyn Fn(u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

enum Job {
    Apply(Vec<EntryResponder<TypeConfig>>, oneshot::Sender<io::Result<()>>),
    Install(SnapshotFile, oneshot::Sender<io::Result<()>>),
    Applied(oneshot::Sender<io::Result<(Option<LogId>, StoredMembership)>>),
}

/// Handle on the applying thread. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct StateMachine {
    jobs: mpsc::Sender<Job>,
    state: State,
    synced: SyncLog,
}

impl StateMachine {
    /// Starts the applying thread over an open state.
    ///
    /// # Errors
    /// If the state's marker was written by another program version, or no thread can be started.
    pub(crate) fn start(
        state: State,
        log: RaftLog,
        progress: Arc<Progress>,
        events: Option<Arc<dyn EventSink>>,
    ) -> io::Result<Self> {
        let synced = Arc::new(move |index| log.wait_synced(index).map_err(Into::into));
        Self::start_synced(state, synced, progress, events)
    }

    /// The same, with anything that waits for the log: rows must never be ahead of it.
    pub(crate) fn start_synced(
        state: State,
        synced: SyncLog,
        progress: Arc<Progress>,
        events: Option<Arc<dyn EventSink>>,
    ) -> io::Result<Self> {
        let applier = Applier::over(state.clone(), progress, events)?;
        let (jobs, inbox) = mpsc::channel();
        worker::start("jeton-apply", move || applier.run(&inbox))?;
        Ok(Self { jobs, state, synced })
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Job,
    ) -> io::Result<T> {
        let (sender, receiver) = oneshot::channel();
        let gone = || io::Error::other("the applying thread has ended");
        self.jobs.send(job(sender)).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }

    /// Makes everything applied so far durable in the state, without a new base.
    pub(crate) async fn checkpoint(&self) -> io::Result<Option<Marker>> {
        let (state, synced) = (self.state.clone(), Arc::clone(&self.synced));
        worker::run("jeton-checkpoint", move || {
            state.checkpoint(synced.as_ref()).map_err(io::Error::other)
        })
        .await?
    }

    /// Builds a base file of what the last checkpoint holds. `false`: it gave up, try later.
    pub(crate) async fn build_base(&self) -> io::Result<bool> {
        self.checkpoint().await?;
        let state = self.state.clone();
        let base = worker::run("jeton-base", move || state.build_base()).await?;
        Ok(base.map_err(io::Error::other)?.is_some())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.ask(Job::Applied).await
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        // Reading is a look into memory but for the oldest entries, so a chunk fills at once.
        let mut chunks = entries.ready_chunks(CHUNK_ENTRIES);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.into_iter().collect::<io::Result<Vec<_>>>()?;
            self.ask(|done| Job::Apply(chunk, done)).await?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        (force || self.state.base().is_some())
            .then(|| SnapshotBuilder { machine: self.clone(), force })
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { machine: self.clone(), force: true }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        self.ask(|done| Job::Install(snapshot, done)).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        snapshot::current(&self.state)
    }
}

/// The applying thread's own things.
struct Applier {
    machine: Machine,
    applied: Option<LogId>,
    membership: StoredMembership,
    membership_bytes: Bytes,
    leased_in: Option<u64>,
    state: State,
    progress: Arc<Progress>,
    events: Option<Arc<dyn EventSink>>,
}

/// Applies entries outside of consensus, as a node would: nobody is told.
pub(crate) fn replay(
    state: &State,
    entries: impl IntoIterator<Item = io::Result<Entry>>,
) -> io::Result<()> {
    let mut applier = Applier::over(state.clone(), Arc::default(), None)?;
    entries.into_iter().try_for_each(|entry| applier.apply(entry?, false).map(drop))
}

impl Applier {
    /// One that goes on where the state stands.
    fn over(
        state: State,
        progress: Arc<Progress>,
        events: Option<Arc<dyn EventSink>>,
    ) -> io::Result<Self> {
        let mut applier = Self {
            machine: Machine::new(),
            applied: None,
            membership: StoredMembership::default(),
            membership_bytes: Bytes::new(),
            leased_in: None,
            state,
            progress,
            events,
        };
        applier.restore()?;
        Ok(applier)
    }

    fn run(mut self, inbox: &mpsc::Receiver<Job>) {
        // Whoever asked and has gone is shutting down: nobody is left to be told.
        while let Ok(job) = inbox.recv() {
            match job {
                Job::Apply(chunk, done) => {
                    let _ = done.send(self.apply_chunk(chunk));
                }
                Job::Install(file, done) => {
                    let _ = done.send(self.install(&file));
                }
                Job::Applied(done) => {
                    let _ = done.send(Ok((self.applied, self.membership.clone())));
                }
            }
        }
    }

    /// Takes up what the state's marker says.
    fn restore(&mut self) -> io::Result<()> {
        let form = {
            let view = self.state.view();
            MarkerForm::of(view.marker()).map_err(io::Error::other)?
        };
        self.machine = Machine::restore(form.meta());
        self.applied = form.applied();
        self.membership = form.membership().map_err(io::Error::other)?;
        self.membership_bytes = form.membership;
        self.leased_in = form.leased_in;
        self.publish(self.applied.map_or(0, |id| id.index()));
        Ok(())
    }

    /// Tells those who wait how far this node is: after the rows are visible, never before.
    fn publish(&self, index: u64) {
        let meta = self.machine.meta();
        self.progress.base.store(meta.base, Ordering::Release);
        self.progress.clock.store(meta.clock.0, Ordering::Release);
        self.progress.lease_clock.store(meta.lease_clock.0, Ordering::Release);
        self.progress.position.store(meta.position.0, Ordering::Release);
        self.progress.applied.send_replace(index);
    }

    fn apply_chunk(&mut self, chunk: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        for (entry, responder) in chunk {
            let replies = self.apply(entry, responder.is_some())?;
            if let Some(responder) = responder {
                responder.send(Applied { replies });
            }
        }
        Ok(())
    }

    fn apply(&mut self, entry: Entry, wanted: bool) -> io::Result<Vec<Reply>> {
        let id = entry.log_id;
        let mut changes = self.state.begin().map_err(io::Error::other)?;
        let mut out = Collected {
            wanted,
            replies: Vec::new(),
            digest: None,
            notices: Vec::new(),
            lease_due: None,
            raised: false,
            events: self.events.as_deref(),
        };
        match entry.payload {
            Payload::Blank => {}
            Payload::Membership(membership) => {
                self.membership_bytes = encode_membership(&membership);
                self.membership = StoredMembership::new(Some(id), membership);
            }
            Payload::Normal(proposal) => {
                let mut core: Arc<CoreEntry> = match proposal.entry {
                    Some(decoded) => decoded,
                    None => {
                        Arc::new(codec::decode_entry(&proposal.bytes).map_err(io::Error::other)?)
                    }
                };
                // What a leader has counted since an entry of an earlier term was partly another
                // leader's time: however it came to propose that, it does not count.
                let term = id.committed_leader_id().term;
                if self.leased_in.replace(term) != Some(term) && core.lease_advance.0 > 0 {
                    Arc::make_mut(&mut core).lease_advance = DurationMs(0);
                }
                self.machine
                    .apply(&mut changes, LogIndex(id.index()), &core, &mut out)
                    .map_err(io::Error::other)?;
                self.progress.commands.fetch_add(core.commands.len() as u64, Ordering::Relaxed);
            }
        }
        let Collected { replies, digest, notices, lease_due, raised, .. } = out;
        self.applied = Some(id);
        let marker = self.marker(&id);
        changes.commit(marker);
        if let (true, Some(events)) = (raised, &self.events) {
            events.visible();
        }
        if let Some(digest) = digest {
            self.remember_digest(digest);
        }
        self.publish(id.index());
        if let Some(due) = lease_due {
            self.progress.note_lease_due(due);
        }
        if let Some(sink) = &self.events {
            notices.into_iter().for_each(|notice| sink.lease(notice));
        }
        Ok(replies)
    }

    fn marker(&self, id: &LogId) -> Marker {
        let form = MarkerForm {
            meta: self.machine.meta().clone(),
            applied: Some(parts(id)),
            membership_at: self.membership.log_id().as_ref().map(parts),
            membership: self.membership_bytes.clone(),
            leased_in: self.leased_in,
        };
        Marker {
            index: id.index(),
            rows: self.machine.meta().rows,
            opaque: codec::encode(&form).into(),
        }
    }

    fn remember_digest(&self, digest: (Position, StateDigest)) {
        let mut digests = self.progress.digests.lock();
        if digests.len() >= DIGESTS_MAX {
            digests.pop_front();
        }
        digests.push_back(digest);
    }

    fn install(&mut self, file: &SnapshotFile) -> io::Result<()> {
        match self.state.install(&file.path) {
            // Overtaken by what was applied meanwhile: nothing is missing.
            Ok(_) | Err(StateError::NotNewer { .. }) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        self.progress.digests.lock().clear();
        self.restore()?;
        if let Some(sink) = &self.events {
            sink.jumped();
        }
        Ok(())
    }
}

/// Collects an entry's replies for its proposer, and passes events on.
struct Collected<'a> {
    wanted: bool,
    replies: Vec<Reply>,
    digest: Option<(Position, StateDigest)>,
    notices: Vec<LeaseNotice>,
    lease_due: Option<LeaseMs>,
    /// Whether there were events.
    raised: bool,
    events: Option<&'a dyn EventSink>,
}

impl Replies for Collected<'_> {
    fn wanted(&self) -> bool {
        self.wanted
    }

    fn reply(&mut self, place: usize, reply: Reply) {
        debug_assert_eq!(place, self.replies.len(), "replies come in the order of the commands");
        self.replies.push(reply);
    }

    fn digest(&mut self, position: Position, digest: StateDigest) {
        self.digest = Some((position, digest));
    }

    fn event(&mut self, event: Event) {
        self.raised = true;
        if let Some(sink) = self.events {
            sink.event(event);
        }
    }

    fn lease(&mut self, notice: LeaseNotice) {
        if self.events.is_some() {
            self.notices.push(notice);
        }
    }

    fn lease_due(&mut self, due: LeaseMs) {
        self.lease_due = Some(self.lease_due.map_or(due, |earlier| earlier.min(due)));
    }
}
