//! The next segment, made before it is needed, and old ones removed, off the path of writes.
//!
//! Writing 64 MiB of zeros takes a tenth of a second or more. A thread does it as soon as the
//! segment before is taken into use, so that the flusher finds the next one ready. When the disk is
//! full, the thread keeps trying; the flusher goes on until its segment is full too, and then waits
//! for room: nothing is lost or refused halfway, and it heals by itself. [`Spare::full`] lets the
//! layers above refuse writes long before that, while there is a segment's worth of room for what
//! frees some: purges.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::error::LogError;
use super::segment;
use crate::disk::{Disk, DiskFile};

/// How long to wait before looking whether a full disk has room again.
const RETRY: Duration = Duration::from_millis(200);

/// Shared by the flusher and the thread that runs [`Spare::run`].
#[derive(Debug)]
pub struct Spare {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    /// Nobody runs [`Spare::run`]: do everything when asked.
    inline: bool,
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    wanted: Option<u64>,
    ready: Option<(u64, Arc<dyn DiskFile>)>,
    unneeded: VecDeque<u64>,
    full: bool,
    failed: Option<LogError>,
    /// Removing failed, so nothing is removed any more.
    keeps_old: bool,
    /// Don't wait for room any more.
    closing: bool,
    stop: bool,
}

impl Spare {
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        inline: bool,
        blank: Option<(u64, Arc<dyn DiskFile>)>,
    ) -> Self {
        let work = Mutex::new(Work { ready: blank, ..Work::default() });
        Self { disk, dir, segment_bytes, inline, work, changed: Condvar::new() }
    }

    /// Asks for a segment that will be taken later.
    pub fn prepare(&self, sequence: u64) {
        let mut work = self.work.lock();
        if work.ready.as_ref().is_none_or(|(ready, _)| *ready != sequence) {
            work.wanted = Some(sequence);
            self.changed.notify_all();
        }
    }

    /// The segment asked for, when it is there.
    pub fn take(&self, sequence: u64) -> Result<Arc<dyn DiskFile>, LogError> {
        let mut work = self.work.lock();
        loop {
            if let Some((_, file)) = work.ready.take_if(|(ready, _)| *ready == sequence) {
                return Ok(file);
            }
            if self.inline {
                return self.create(sequence).map_err(|error| self.name_full(error));
            }
            if let Some(error) = &work.failed {
                return Err(error.clone());
            }
            if work.closing && work.full {
                return Err(LogError::Full { dir: self.dir.clone() });
            }
            self.changed.wait(&mut work);
        }
    }

    /// Removes segments, oldest first. They may stay if that fails: the next start removes them.
    pub fn remove(&self, sequences: Vec<u64>) {
        if self.inline {
            sequences.into_iter().for_each(|sequence| self.remove_one(sequence));
            return;
        }
        self.work.lock().unneeded.extend(sequences);
        self.changed.notify_all();
    }

    /// Whether there is no room for the next segment at the moment.
    pub fn full(&self) -> bool {
        self.work.lock().full
    }

    /// From now on a full disk is an error instead of a reason to wait.
    pub fn close(&self) {
        self.work.lock().closing = true;
        self.changed.notify_all();
    }

    /// Ends [`Spare::run`], when it has removed what it was told to.
    pub fn stop(&self) {
        self.work.lock().stop = true;
        self.changed.notify_all();
    }

    /// Does what is asked for until it is stopped. It runs on a thread of its own.
    pub fn run(&self) {
        let mut work = self.work.lock();
        loop {
            if let Some(sequence) = work.unneeded.pop_front() {
                drop(work);
                self.remove_one(sequence);
                work = self.work.lock();
            } else if work.stop {
                return;
            } else if let Some(sequence) = work.wanted.take() {
                drop(work);
                let made = self.create(sequence);
                work = self.work.lock();
                self.note(&mut work, sequence, made);
            } else {
                self.changed.wait(&mut work);
            }
        }
    }

    fn note(
        &self,
        work: &mut parking_lot::MutexGuard<'_, Work>,
        sequence: u64,
        made: Result<Arc<dyn DiskFile>, LogError>,
    ) {
        match made {
            Ok(file) => {
                if std::mem::take(&mut work.full) {
                    tracing::info!(dir = %self.dir.display(), "the log has room again");
                }
                work.ready = Some((sequence, file));
                self.changed.notify_all();
            }
            Err(error) if error.is_full() => {
                if !std::mem::replace(&mut work.full, true) {
                    tracing::error!(
                        dir = %self.dir.display(),
                        "the disk is full: no room for the next segment of the log"
                    );
                }
                work.wanted.get_or_insert(sequence);
                self.changed.notify_all();
                if work.unneeded.is_empty() && !work.stop {
                    self.changed.wait_for(work, RETRY);
                }
            }
            Err(error) => {
                work.failed = Some(error);
                self.changed.notify_all();
            }
        }
    }

    fn create(&self, sequence: u64) -> Result<Arc<dyn DiskFile>, LogError> {
        segment::create(self.disk.as_ref(), &self.dir, sequence, self.segment_bytes)
    }

    fn name_full(&self, error: LogError) -> LogError {
        if error.is_full() { LogError::Full { dir: self.dir.clone() } } else { error }
    }

    /// Each removal is durable before the next one, and the first that fails is the last one: what
    /// is left after a crash has no gap, so that a missing segment is always noticed.
    fn remove_one(&self, sequence: u64) {
        if self.work.lock().keeps_old {
            return;
        }
        let path = segment::path(&self.dir, sequence);
        if let Err(error) = self.disk.remove(&path).and_then(|()| self.disk.sync_dir(&self.dir)) {
            self.work.lock().keeps_old = true;
            tracing::warn!(
                file = %path.display(),
                %error,
                "can't remove old segments of the log: they stay until the next start"
            );
        }
    }
}
