//! The replicated state: rows under a memtable, made durable by checkpoints, whole in base files.
//!
//! ```text
//!   Changes ──commit──► active overlay ─┐ freeze        (memory: the Raft log has it)
//!   View ◄───────────── frozen overlay ◄┘
//!     ▲                      │ checkpoint: redo file, then plain inserts, marker, sync
//!     └──────────────────── rows (sled) ──build_base──► base file ──► followers, rebuilding
//! ```
//!
//! What is on disk is the state at some index *i*; everything after *i* is only in the Raft log,
//! which is replayed at start. So nothing here is in the way of a write, and losing all of it costs
//! a replay, not data. It must never know what a row means.
//!
//! # What a crash leaves, step by step
//!
//! Checkpoint of the overlay frozen at *i*, over rows at *m* < *i*:
//!
//! | after the step | a crash leaves | opening then |
//! |---|---|---|
//! | freeze; wait for the log | rows at *m* | uses them |
//! | write `redo-i.tmp`, sync | an unfinished file | removes it; rows at *m* |
//! | rename to `redo-i`, sync the directory | rows at *m*, a whole redo | copies it |
//! | copy into the rows, marker last | any part of the copy | copies it again |
//! | sync the rows | rows at *i* | copies it again, to the same rows |
//! | remove `redo-i` | rows at *i* | uses them |
//!
//! The log is waited for, so that the rows are never ahead of it. A redo says which index it
//! builds on, and is copied only if that is at or below the marker. At each opening all rows are
//! read and their digest compared with the marker's, or later in the background.
//!
//! Base at *i* (checkpoints go on meanwhile, and save the rows they overwrite):
//!
//! | after the step | a crash leaves | opening then |
//! |---|---|---|
//! | write `base-i.tmp`, compare the digest, sync | an unfinished file | removes it |
//! | rename to `base-i`, sync the directory | perhaps an older one beside it | uses the newer |
//! | remove older bases | one base | uses it |
//!
//! Install of a received base at *j*, over rows at *m* < *j* in generation *g*:
//!
//! | after the step | a crash leaves | opening then |
//! |---|---|---|
//! | load it into *g* + 1, verify, sync | *g* + 1 without `ready` | removes it; state at *m* |
//! | rename it to `base-j`, sync | **a base ahead of the rows** | loads it into *g* + 1 |
//! | create `ready` in *g* + 1 | two generations | uses the higher, removes the lower |
//! | remove what is older | some of it | removes it |
//!
//! Rebuilding damaged rows is the same from the second step on, with the newest base that can be
//! read whole, and with the redo if that builds on it.

mod backup;
mod base;
mod changes;
mod checkpoint;
mod checkpointer;
mod error;
mod files;
mod gaps;
mod gate;
mod hold;
mod install;
mod layers;
mod marker;
mod mem_rows;
mod recovery;
mod redo;
mod row_file;
mod rows;
mod rows_dir;
mod sled_rows;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

pub use backup::{BackupReader, Strip, base_of_backup, publish_backup, write_backup};
pub use base::{BaseInfo, BaseReader};
pub use changes::Changes;
pub use checkpointer::Checkpointer;
pub use error::StateError;
pub use marker::{Marker, MarkerError};
pub use mem_rows::{MemRows, MemStore};
pub use recovery::{Finding, OpenReport};
pub use rows::{RowIndex, RowStore, RowsError};
pub use sled_rows::{SledRows, SledStore};
pub use view::View;

use crate::disk::Disk;
use gate::Gate;
use hold::Hold;
use layers::{Layers, Writes};
use rows_dir::Place;

/// How the state is kept. Sizes are in bytes of memory.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// The overlays together are kept below this: writers wait for the checkpoint.
    /// Default 256 MiB.
    pub overlay_bytes_max: usize,
    /// Overlays of this size are worth a checkpoint. Default 64 MiB; at most half the bound makes
    /// sense.
    pub checkpoint_bytes: usize,
    /// Look at all rows while opening (1.6 µs a row), so that damage is repaired before anything is
    /// built on it. Without it opening is quick, [`State::verify`] does that later, and the caller
    /// must serve nothing before. Default true.
    pub verify_at_open: bool,
    /// sled's page cache, where [`State::open`] chooses sled; taken only as rows fill it. A read
    /// that misses it costs about four times as much, so give it some 700 bytes a row where there
    /// is memory. Default 1 GiB.
    pub cache_bytes: u64,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            overlay_bytes_max: 256 << 20,
            checkpoint_bytes: 64 << 20,
            verify_at_open: true,
            cache_bytes: 1 << 30,
        }
    }
}

/// What is durable. Locked by whoever changes it, a checkpoint or an install, from beginning to
/// end.
struct Durable {
    generation: u64,
    /// Of the rows on disk.
    marker: Option<Marker>,
}

struct Inner {
    place: Place,
    options: StateOptions,
    layers: RwLock<Layers>,
    gate: Gate,
    /// Locked before `durable`, by whoever makes or installs a base.
    building: Mutex<()>,
    hold: Hold,
    durable: Mutex<Durable>,
    /// Index of the durable marker, to be read while `durable` is locked.
    checkpointed: AtomicU64,
    base: Mutex<Option<BaseInfo>>,
    /// An entry is being applied.
    writing: AtomicBool,
    /// Makes room on the writer's own thread, where there is no other.
    inline: Mutex<Option<checkpointer::Inline>>,
}

/// The replicated state of one node. Clones share it.
#[derive(Clone)]
pub struct State {
    inner: Arc<Inner>,
}

impl State {
    /// Opens the state in `dir` over sled, finishing or repairing what an earlier process left.
    ///
    /// The caller must compare [`OpenReport::applied`] with its log: entries after it are applied
    /// again, and if the log does not reach back to it, this node's state is lost.
    ///
    /// # Errors
    /// [`StateError::Lost`] if neither the rows nor a base can be used; other errors are those of
    /// the machine (no space, no permission), and nothing was discarded.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: StateOptions,
    ) -> Result<(Self, OpenReport), StateError> {
        let store = Arc::new(SledStore { cache_bytes: options.cache_bytes });
        Self::open_on(disk, store, dir, options)
    }

    /// Opens the state over any row store.
    ///
    /// # Errors
    /// As [`State::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        store: Arc<dyn RowStore>,
        dir: &Path,
        options: StateOptions,
    ) -> Result<(Self, OpenReport), StateError> {
        let place = Place { disk, dir: dir.to_owned(), store };
        let recovered = recovery::recover(&place, options.verify_at_open)?;
        let marker = recovered.report.applied.clone();
        let layers = Layers::new(recovered.rows, recovered.pinned, marker.clone());
        let checkpointed = AtomicU64::new(marker.as_ref().map_or(0, |marker| marker.index));
        let inner = Inner {
            place,
            options,
            layers: RwLock::new(layers),
            gate: Gate::default(),
            building: Mutex::new(()),
            hold: Hold::default(),
            durable: Mutex::new(Durable { generation: recovered.generation, marker }),
            checkpointed,
            base: Mutex::new(recovered.base),
            writing: AtomicBool::new(false),
            inline: Mutex::new(None),
        };
        Ok((Self { inner: Arc::new(inner) }, recovered.report))
    }

    /// Begins an entry. Blocks while the overlays are at their bound, until a checkpoint has made
    /// room: one must be running elsewhere (see [`Checkpointer`]).
    ///
    /// # Errors
    /// [`StateError::Stopped`] after an error that stopped the store; and the checkpoint's own
    /// error where it runs inline.
    ///
    /// # Panics
    /// If another entry is being applied: there is one writer.
    pub fn begin(&self) -> Result<Changes, StateError> {
        self.run_inline()?;
        self.inner.gate.wait_below(self.inner.options.overlay_bytes_max)?;
        self.begin_writing();
        Ok(Changes::new(self.clone()))
    }

    /// The state as the last whole entry left it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View::new(self.layers())
    }

    /// Where the state stands in memory; `None` before the first entry.
    #[must_use]
    pub fn marker(&self) -> Option<Marker> {
        self.layers().marker().cloned()
    }

    /// About how many bytes of memory the overlays take.
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        self.inner.gate.bytes()
    }

    /// Index that the rows on disk stand at; 0 before the first checkpoint.
    #[must_use]
    pub fn checkpointed(&self) -> u64 {
        self.inner.checkpointed.load(Ordering::Acquire)
    }

    /// The newest base, if there is one.
    #[must_use]
    pub fn base(&self) -> Option<BaseInfo> {
        self.inner.base.lock().clone()
    }

    /// Where to receive a base that stands at `index`, for [`State::install`]. The file may be
    /// kept over a restart and continued.
    #[must_use]
    pub fn incoming_path(&self, index: u64) -> PathBuf {
        files::incoming_path(&self.inner.place.dir, index)
    }

    /// Whether the store still works.
    ///
    /// # Errors
    /// [`StateError::Stopped`] with the error that stopped it.
    pub fn check(&self) -> Result<(), StateError> {
        self.inner.gate.check()
    }

    fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.inner.layers.read()
    }

    fn begin_writing(&self) {
        let was_writing = self.inner.writing.swap(true, Ordering::AcqRel);
        assert!(!was_writing, "one writer at a time changes the state");
    }

    fn end_writing(&self) {
        self.inner.writing.store(false, Ordering::Release);
    }

    fn merge(&self, writes: Writes, marker: Marker) {
        let bytes = {
            let mut layers = self.inner.layers.write();
            let before = layers.marker().map(|marker| marker.index);
            assert!(before < Some(marker.index), "entry {} is applied twice", marker.index);
            layers.merge(writes, marker);
            layers.bytes()
        };
        self.inner.gate.set_bytes(bytes, self.inner.options.checkpoint_bytes);
    }
}
