//! The queue between callers and the disk, and the thread that empties it.
//!
//! Lock order: writer, then core, then index. Callbacks are called with none of them held.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::cache::Cache;
use super::error::LogError;
use super::index::Index;
use super::kept::Kept;
use super::recovery::{self, LogReport};
use super::segment::{OWNER_BYTES_MAX, RESERVED_BYTES, SMALL_BYTES_MAX};
use super::spare::Spare;
use super::writer::{Op, Writer};
use super::{Done, LogOptions, LogState, LogStats, read_run};
use crate::disk::Disk;

pub struct Shared {
    pub dir: PathBuf,
    options: LogOptions,
    core: Mutex<Core>,
    /// Something was queued, or the log is closing.
    queued: Condvar,
    /// A batch was synced, or the log has failed.
    synced: Condvar,
    writer: Mutex<Writer>,
    index: Arc<Mutex<Index>>,
    spare: Arc<Spare>,
}

struct Core {
    /// What callers see.
    kept: Kept,
    cache: Cache,
    queue: VecDeque<Item>,
    /// The latest committed log id has not been handed to the writer yet.
    committed_new: bool,
    /// Of the last item queued, and of the last one synced.
    ticket: u64,
    ticket_synced: u64,
    /// How often entries were dropped from the end.
    truncations: u64,
    failed: Option<LogError>,
    closing: bool,
    /// The flusher sleeps.
    idle: bool,
    stats: LogStats,
}

struct Item {
    op: Op,
    ticket: u64,
    done: Option<Done>,
}

impl Shared {
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
    ) -> Result<(Arc<Self>, LogReport), LogError> {
        let found = recovery::recover(disk.as_ref(), dir, options.segment_bytes)?;
        let segment_bytes = options.segment_bytes;
        let spare = Spare::new(disk, dir.into(), segment_bytes, options.inline, found.blank);
        let spare = Arc::new(spare);
        spare.remove(found.unneeded);
        let index = Arc::new(Mutex::new(found.index));
        let writer = Writer::new(
            dir.to_owned(),
            found.tail,
            found.kept.clone(),
            Arc::clone(&index),
            Arc::clone(&spare),
            found.report.marked,
        );
        let core = Core {
            cache: Cache::new(found.kept.next),
            kept: found.kept,
            queue: VecDeque::new(),
            committed_new: false,
            ticket: 0,
            ticket_synced: 0,
            truncations: 0,
            failed: None,
            closing: false,
            idle: false,
            stats: LogStats { room_bytes: writer.room(), ..LogStats::default() },
        };
        let shared = Self {
            dir: dir.to_owned(),
            options,
            core: Mutex::new(core),
            queued: Condvar::new(),
            synced: Condvar::new(),
            writer: Mutex::new(writer),
            index,
            spare,
        };
        Ok((Arc::new(shared), found.report))
    }

    /// Starts the flusher, and the thread that prepares segments.
    pub fn spawn(self: &Arc<Self>, dir: &Path) -> Result<Vec<JoinHandle<()>>, LogError> {
        if self.options.inline {
            return Ok(Vec::new());
        }
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        let (shared, spare) = (Arc::clone(self), Arc::clone(&self.spare));
        let preparer = named("jeton-log-spare")
            .spawn(move || spare.run())
            .map_err(LogError::io("start a thread for", dir))?;
        let flusher = named("jeton-log").spawn(move || shared.run()).map_err(|error| {
            self.spare.stop();
            LogError::io("start a thread for", dir)(error)
        })?;
        Ok(vec![flusher, preparer])
    }

    /// Queues a write, and makes it visible to readers.
    pub fn submit(&self, op: Op, done: Option<Done>) {
        let mut core = self.core.lock();
        if let Err(error) = core.take(&op, self.options.segment_bytes) {
            drop(core);
            if let Some(done) = done {
                done(Err(error));
            }
            return;
        }
        let ticket = core.ticket;
        core.queue.push_back(Item { op, ticket, done });
        let wake = std::mem::take(&mut core.idle);
        drop(core);
        if wake {
            self.queued.notify_one();
        }
        if self.options.inline {
            while self.flush() {}
            self.mark();
        }
    }

    pub fn save_committed(&self, committed: Bytes) {
        if committed.len() > SMALL_BYTES_MAX {
            // Harmless: it only saves time after a restart.
            tracing::error!(bytes = committed.len(), "the committed log id is too large to keep");
            return;
        }
        let mut core = self.core.lock();
        core.kept.committed = Some(committed);
        core.committed_new = true;
    }

    pub fn state(&self) -> LogState {
        let Kept { first, next, purged, vote, committed, owner } = self.core.lock().kept.clone();
        LogState {
            first: (first < next).then_some(first),
            last: (first < next).then(|| next - 1),
            purged,
            vote,
            committed,
            owner,
        }
    }

    pub fn stats(&self) -> LogStats {
        let core = self.core.lock();
        let segments = self.index.lock().segments();
        let (full, cache_bytes) = (self.spare.full(), core.cache.bytes());
        LogStats { segments, cache_bytes, full, ..core.stats }
    }

    pub fn bytes_since(&self, index: u64) -> u64 {
        self.index.lock().bytes_since(index)
    }

    pub fn wait_synced(&self, index: u64) -> Result<(), LogError> {
        let mut core = self.core.lock();
        if index >= core.kept.next {
            return Err(LogError::Absent { index });
        }
        // What is not in the cache any more was synced before it left.
        let Some(ticket) = core.cache.ticket(index) else { return Ok(()) };
        while core.ticket_synced < ticket {
            if let Some(error) = &core.failed {
                return Err(error.clone());
            }
            self.synced.wait(&mut core);
        }
        Ok(())
    }

    pub fn read(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, LogError> {
        let mut found = Found { entries: Vec::new(), bytes: 0, bytes_max };
        let mut truncations = None;
        let mut next = from;
        loop {
            let core = self.core.lock();
            if *truncations.get_or_insert(core.truncations) != core.truncations {
                // Entries were replaced while a file was read: start again, so that what is
                // returned was in the log at one moment.
                truncations = None;
                next = from;
                found.clear();
                continue;
            }
            next = next.max(core.kept.first);
            let to = to.min(core.kept.next);
            if next >= to {
                return Ok(found.entries);
            }
            if next >= core.cache.first() {
                for (index, entry) in (next..to).zip(core.cache.from(next)) {
                    if !found.add(index, entry.clone()) {
                        break;
                    }
                }
                return Ok(found.entries);
            }
            let (to, room) = (to.min(core.cache.first()), bytes_max.saturating_sub(found.bytes));
            let run = self.index.lock().run(next, to, room);
            drop(core);
            let run = run.ok_or(LogError::Absent { index: next })?;
            for (index, entry) in (next..).zip(read_run(&self.dir, &run)?) {
                if !found.add(index, entry) {
                    return Ok(found.entries);
                }
                next = index + 1;
            }
        }
    }

    /// Lets the queue run empty, then ends the threads.
    pub fn close(&self) {
        self.spare.close();
        let mut core = self.core.lock();
        let first = !std::mem::replace(&mut core.closing, true);
        core.idle = false;
        drop(core);
        self.queued.notify_all();
        if first && self.options.inline {
            self.finish();
        }
    }

    fn run(&self) {
        let _end = End(self);
        self.mark();
        loop {
            let mut core = self.core.lock();
            while core.queue.is_empty() && !core.closing {
                core.idle = true;
                self.queued.wait(&mut core);
            }
            core.idle = false;
            let over = core.queue.is_empty();
            drop(core);
            if over {
                break;
            }
            if !self.flush() {
                self.mark();
            }
        }
        self.finish();
    }

    /// Writes and syncs one batch, calls back, and says whether more is waiting.
    fn flush(&self) -> bool {
        let mut writer = self.writer.lock();
        let (batch, committed) = self.core.lock().next_batch(self.options.batch_bytes_max);
        let mut outcome = self.failure().map_or(Ok(()), Err);
        for item in &batch {
            outcome = outcome.and_then(|()| writer.write(&item.op));
        }
        if let Some(committed) = committed {
            outcome = outcome.and_then(|()| writer.write(&Op::Committed(committed)));
        }
        outcome = outcome.and_then(|()| writer.sync());
        let more = self.settle(&writer, &batch, outcome.as_ref().err());
        drop(writer);
        for done in batch.into_iter().filter_map(|item| item.done) {
            done(outcome.clone());
        }
        more
    }

    /// Notes how a batch went; then whoever waits for it can go on.
    fn settle(&self, writer: &Writer, batch: &[Item], failed: Option<&LogError>) -> bool {
        let mut core = self.core.lock();
        if let Some(error) = failed {
            core.failed.get_or_insert_with(|| {
                tracing::error!(%error, "the log has failed: it takes no more writes");
                error.clone()
            });
        } else {
            core.ticket_synced = batch.last().map_or(core.ticket_synced, |item| item.ticket);
            let synced = core.ticket_synced;
            core.cache.evict(synced, self.options.cache_bytes);
            let entries = batch.iter().map(|item| item.op.entries() as u64);
            core.stats.entries += entries.sum::<u64>();
            core.stats.syncs = writer.syncs;
            core.stats.bytes = writer.bytes;
            core.stats.room_bytes = writer.room();
        }
        let more = !core.queue.is_empty();
        drop(core);
        self.synced.notify_all();
        more
    }

    /// Nothing waits, so there is time to note that all is synced.
    fn mark(&self) {
        let mut writer = self.writer.lock();
        if self.failure().is_none()
            && let Err(error) = writer.mark()
        {
            self.settle(&writer, &[], Some(&error));
        }
    }

    /// The last batch: what was committed, and the note that all is synced.
    fn finish(&self) {
        while self.flush() {}
        self.mark();
        self.flush();
    }

    fn failure(&self) -> Option<LogError> {
        self.core.lock().failed.clone()
    }
}

/// What must be so when the flusher is gone, also if a callback has panicked: nobody waits for it.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.spare.stop();
        let mut core = self.0.core.lock();
        core.failed.get_or_insert(LogError::Closed);
        let queue = std::mem::take(&mut core.queue);
        drop(core);
        self.0.synced.notify_all();
        queue.into_iter().filter_map(|item| item.done).for_each(|done| done(Err(LogError::Closed)));
    }
}

impl Core {
    /// Checks a write and applies it to what callers see.
    fn take(&mut self, op: &Op, segment_bytes: u64) -> Result<(), LogError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.closing {
            return Err(LogError::Closed);
        }
        let bytes_max = match op {
            Op::Entries { .. } => segment_bytes as usize - RESERVED_BYTES,
            Op::Owner(_) => OWNER_BYTES_MAX,
            _ => SMALL_BYTES_MAX,
        };
        if let Some(bytes) = op.largest().filter(|bytes| *bytes > bytes_max) {
            return Err(LogError::TooLarge { bytes, bytes_max });
        }
        let ticket = self.ticket + 1;
        match op {
            Op::Entries { first, entries } => {
                self.kept.append(*first, entries.len())?;
                self.cache.append(*first, entries, ticket);
            }
            Op::Vote(vote) => self.kept.vote = Some(vote.clone()),
            Op::Committed(committed) => self.kept.committed = Some(committed.clone()),
            Op::Owner(owner) => self.kept.owner = Some(owner.clone()),
            Op::Truncate(index) => {
                self.kept.truncate(*index);
                self.cache.truncate(self.kept.next);
                self.truncations += 1;
            }
            Op::Purge(index, log_id) => {
                self.kept.purge(*index, log_id.clone());
                self.cache.purge(*index);
            }
        }
        self.ticket = ticket;
        Ok(())
    }

    /// The items for the next batch. The committed log id goes last, so that a torn batch can't
    /// keep it without an entry that was appended before it.
    fn next_batch(&mut self, bytes_max: usize) -> (Vec<Item>, Option<Bytes>) {
        let mut batch = Vec::with_capacity(self.queue.len());
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(item) = self.queue.pop_front()
        {
            bytes += item.op.bytes();
            batch.push(item);
        }
        let take = self.queue.is_empty() && std::mem::take(&mut self.committed_new);
        let committed = if take { self.kept.committed.clone() } else { None };
        (batch, committed)
    }
}

impl Op {
    fn payloads(&self) -> &[Bytes] {
        match self {
            Self::Entries { entries, .. } => entries,
            Self::Vote(bytes)
            | Self::Committed(bytes)
            | Self::Owner(bytes)
            | Self::Purge(_, bytes) => std::slice::from_ref(bytes),
            Self::Truncate(_) => &[],
        }
    }

    fn largest(&self) -> Option<usize> {
        self.payloads().iter().map(Bytes::len).max()
    }

    fn bytes(&self) -> usize {
        self.payloads().iter().map(Bytes::len).sum()
    }

    fn entries(&self) -> usize {
        if let Self::Entries { entries, .. } = self { entries.len() } else { 0 }
    }
}

/// Entries collected by a read.
struct Found {
    entries: Vec<(u64, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

impl Found {
    /// Adds an entry, unless it would be too much; the first one always fits.
    fn add(&mut self, index: u64, entry: Bytes) -> bool {
        let bytes = self.bytes + entry.len();
        if bytes > self.bytes_max && !self.entries.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.entries.push((index, entry));
        true
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}
