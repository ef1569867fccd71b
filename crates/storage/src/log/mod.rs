//! The Raft log: entries, votes, the committed index, truncations and purges, as records in one
//! ordered sequence of preallocated files.
//!
//! ```text
//! callers ──► queue ──► flusher ──► one write, one sync ──► callbacks
//!    │                     │
//!    └──► cache ◄─ reads ─►└──► log-…0007 | log-…0008 (live) | log-…0009 (blank, made ahead)
//! ```
//!
//! What queues while a sync runs is the next batch: the disk sets the pace, and there is no timer.
//! Callers see their own writes at once; that they are durable is what the callback says. After a
//! write or sync has failed, everything written later fails with the same error and nothing is
//! tried again. Bytes are never overwritten, and files never used twice.
//!
//! The log never looks into an entry, a vote or a log id.
//!
//! # What a crash leaves
//!
//! - **A batch is written, not synced**: any part of it, by sectors. The next start keeps the
//!   records up to the first that is not whole, zeroes the rest, and says so in
//!   [`LogReport::torn`].
//! - **After the sync, before the callbacks**: the whole batch. It is kept: nobody was told yet,
//!   and nothing is wrong.
//! - **The note "synced up to here" is written after a batch, and not synced**: the note, or a part
//!   of it, or nothing. It is kept or cut; the batch before is whole.
//! - **The next segment is being made**: `next.tmp`, which is removed, or a blank segment, which is
//!   used.
//! - **The live segment is sealed; the new one has nothing yet**: a seal, and a blank segment
//!   behind it. The log goes on in the blank one.
//! - **The first batch of a new segment is written, not synced**: parts of it. They are cut, and
//!   the segment's first record is written again.
//! - **Truncation, then other entries under the same indexes**: records in the order they were
//!   asked for, dropped and added in that order. A torn batch keeps a prefix of it, never the new
//!   entries without the truncation.
//! - **A purge is written, not synced**: it, or not. No file is gone yet.
//! - **A purge is synced; some of the old segments are removed**: the newer part of them, since the
//!   oldest goes first, and each durably before the next. The next start removes the rest.
//! - **A cut-off tail is zeroed, not synced**: a shorter torn tail, which is cut again.
//! - **Only the process is killed**: everything written, but perhaps not synced. The next start
//!   syncs all files and the directory before it builds on them.
//!
//! A segment starts with all that is known from the ones before (first and next index, owner, vote,
//! committed, purged), so removing those never needs anything to be copied.
//!
//! # Damage
//!
//! Bytes that can't be read are taken for a batch that was cut short only if nothing behind them
//! says that they had been synced: each record carries the offset below which everything had been
//! (`synced to`). The next batch says so of the one before it; when there is no next batch yet, a
//! small note says so, which is written right after the sync and not synced itself. **What
//! remains:** if power fails before the system has written that note *and* the bytes of the very
//! last batch change, then that looks like a torn batch, and an acknowledged batch is cut off. It
//! is reported as torn. Everything else is refused, with file and offset, and nothing is changed.
//!
//! Two losses leave no trace in the files: all bytes from some record on turn to zeros, up to the
//! end of the live segment (that is what an unwritten segment looks like), and all files are gone
//! (that is a new log). Whoever keeps the state next to the log must compare the two, and ask for
//! the *owner*, a record that is written before all others: see [`crate::ownership`].

mod cache;
mod error;
mod flusher;
mod index;
mod kept;
mod record;
mod recovery;
mod segment;
mod spare;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::Disk;
pub use error::LogError;
use flusher::Shared;
use index::Run;
pub use recovery::{LogReport, Torn};
use writer::Op;

/// Called once, on the flusher's thread: it must be quick, and must not wait for the log.
pub type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// How the log uses disk and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes of a segment file. Unit of purging; the largest entry is a little smaller. 64 MiB;
    /// at least 4 KiB, at most 1 GiB. Segments that exist keep their size.
    pub segment_bytes: u64,
    /// Bytes of recent entries to keep in memory; what is not synced yet comes on top. 32 MiB.
    pub cache_bytes: usize,
    /// Bytes of entries that make a batch large enough to be synced without taking more. 4 MiB.
    pub batch_bytes_max: usize,
    /// No threads: each call writes, syncs and calls back before it returns. For simulation.
    pub inline: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            cache_bytes: 32 << 20,
            batch_bytes_max: 4 << 20,
            inline: false,
        }
    }
}

/// What is in the log, as its callers see it: also what is not synced yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogState {
    /// Index of the first entry.
    pub first: Option<u64>,
    /// Index of the last entry. If there are none it is `None`, also after a purge.
    pub last: Option<u64>,
    /// The last index purged, and the log id given for it.
    pub purged: Option<(u64, Bytes)>,
    /// The latest vote.
    pub vote: Option<Bytes>,
    /// The latest committed log id.
    pub committed: Option<Bytes>,
    /// Whose log it is; `None` before [`RaftLog::save_owner`].
    pub owner: Option<Bytes>,
}

impl LogState {
    /// Whether it has, or has had, a vote or an entry: its node has taken part in consensus.
    #[must_use]
    pub fn in_use(&self) -> bool {
        self.vote.is_some() || self.last.is_some() || self.purged.is_some()
    }
}

/// Counters since the log was opened, and how it is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Syncs of segments.
    pub syncs: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Entries written and synced.
    pub entries: u64,
    /// Files in use.
    pub segments: usize,
    /// Bytes of entries in memory.
    pub cache_bytes: usize,
    /// Bytes that the live segment still has room for.
    pub room_bytes: u64,
    /// The disk has no room for the next segment: stop accepting what only adds. What is left is
    /// `room_bytes`; after that, writes wait until there is room. It heals by itself.
    pub full: bool,
}

/// The Raft log of one node. Clones are the same log; the last one to go shuts it down.
#[derive(Clone)]
pub struct RaftLog {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for RaftLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLog").field("dir", &self.inner.shared.dir).finish_non_exhaustive()
    }
}

impl RaftLog {
    /// Opens the log in `dir`, which must be locked by the caller (see [`crate::data_dir`]), or
    /// makes an empty one. What it then holds is durable.
    ///
    /// # Errors
    /// [`LogError`]; when something is damaged or missing, nothing has been changed.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
    ) -> Result<(Self, LogReport), LogError> {
        let (min, max) = (4 << 10, 1 << 30);
        if !(min..=max).contains(&options.segment_bytes) {
            return Err(LogError::SegmentBytes { got: options.segment_bytes, min, max });
        }
        let (shared, report) = Shared::open(disk, dir, options)?;
        if let Some(torn) = &report.torn {
            tracing::warn!(
                file = %torn.file.display(),
                offset = torn.offset,
                bytes = torn.bytes,
                "cut off a batch of the log that was not written completely"
            );
        }
        let threads = Mutex::new(shared.spawn(dir)?);
        Ok((Self { inner: Arc::new(Inner { shared, threads }) }, report))
    }

    /// Appends `entries`, the first of which has index `first`: the one after the last. `done` is
    /// called when they are durable.
    ///
    /// # Errors
    /// `done` is given [`LogError::Gap`] or [`LogError::TooLarge`], and nothing is written, or the
    /// error that the log has failed with.
    pub fn append(&self, first: u64, entries: Vec<Bytes>, done: Done) {
        self.inner.shared.submit(Op::Entries { first, entries }, Some(done));
    }

    /// Saves a vote, in order with everything else. `done` is called when it is durable.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.inner.shared.submit(Op::Vote(vote), Some(done));
    }

    /// Whether there is a log in `dir`, also a damaged one. Nothing is changed.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn exists(disk: &dyn Disk, dir: &Path) -> Result<bool, LogError> {
        recovery::exists(disk, dir)
    }

    /// Says whose log this is, at most 64 bytes; every segment from here on repeats it. `done` is
    /// called when it is durable.
    pub fn save_owner(&self, owner: Bytes, done: Done) {
        self.inner.shared.submit(Op::Owner(owner), Some(done));
    }

    /// Notes the committed log id. It is written with the next batch, behind the entries that were
    /// appended before it, and at shutdown; nobody is told when. Only the latest one counts.
    pub fn save_committed(&self, committed: Bytes) {
        self.inner.shared.save_committed(committed);
    }

    /// Drops the entries from `index` on; the next one appended has this index.
    pub fn truncate_from(&self, index: u64, done: Done) {
        self.inner.shared.submit(Op::Truncate(index), Some(done));
    }

    /// Drops the entries up to and including `upto`, and remembers its log id. The log goes on
    /// behind it even if it never had it. Files are removed in the background, later, as a whole.
    pub fn purge(&self, upto: u64, log_id: Bytes, done: Done) {
        self.inner.shared.submit(Op::Purge(upto, log_id), Some(done));
    }

    /// The entries of `from..to` that there are, in order, with their indexes: at most `bytes_max`
    /// bytes of them, but one at least. Sees what is appended and not synced yet. An empty or
    /// inverted range gives nothing.
    ///
    /// # Errors
    /// [`LogError::Damaged`] if an entry in a file has changed since it was written, and
    /// [`LogError::Io`].
    pub fn read(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, LogError> {
        self.inner.shared.read(from, to, bytes_max)
    }

    /// What is in the log.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.inner.shared.state()
    }

    /// Waits until the entry `index` is durable. Not to be called from a callback of the log.
    ///
    /// # Errors
    /// [`LogError::Absent`] if it was never appended, or the error that the log has failed with.
    pub fn wait_synced(&self, index: u64) -> Result<(), LogError> {
        self.inner.shared.wait_synced(index)
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.inner.shared.stats()
    }

    /// Bytes that the log takes from the entry `index` on, as far as they are written.
    #[must_use]
    pub fn bytes_since(&self, index: u64) -> u64 {
        self.inner.shared.bytes_since(index)
    }

    /// Writes and syncs what has been asked for, then stops. What is asked for later is answered
    /// [`LogError::Closed`]; reads go on. It waits for the flusher, unless it is called from there.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

impl Inner {
    fn shutdown(&self) {
        self.shared.close();
        let threads = std::mem::take(&mut *self.threads.lock());
        let here = std::thread::current().id();
        if threads.iter().any(|thread| thread.thread().id() == here) {
            // A callback has dropped the last clone: the threads end by themselves, after it.
            return;
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log has panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Reads the entries of a run from its file, and checks them.
fn read_run(dir: &Path, run: &Run) -> Result<Vec<Bytes>, LogError> {
    let path = segment::path(dir, run.sequence);
    let start = run.offsets.first().copied().unwrap_or(run.end);
    let mut bytes = vec![0; (run.end - start) as usize];
    run.file.read_exact_at(&mut bytes, u64::from(start)).map_err(LogError::io("read", &path))?;
    let bytes = Bytes::from(bytes);
    let mut entries = Vec::with_capacity(run.offsets.len());
    for (index, offset) in (run.first..).zip(&run.offsets) {
        let rest = &bytes[(offset - start) as usize..];
        let entry = record::header(rest)
            .filter(|header| header.kind == record::Kind::Entry && header.index == index)
            .and_then(|header| header.payload(rest))
            .ok_or_else(|| {
                let why = format!("entry {index} is not there any more");
                LogError::damaged(&path, *offset as usize, why)
            })?;
        entries.push(bytes.slice_ref(entry));
    }
    Ok(entries)
}
