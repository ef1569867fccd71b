//! What can go wrong with the log, in words that name the file, the offset and the way out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the log could not be opened, written or read.
///
/// An error of a write is **sticky**: the log answers it to everything that is written afterwards.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The disk did not do what it was asked to.
    #[error("can't {what} {}", file.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        file: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// What was written may or may not be on the disk, and nobody can find out: the system drops
    /// what it failed to write, so that a second sync proves nothing.
    #[error(
        "can't sync {}: the log takes no more writes; check the disk, then start again",
        file.display()
    )]
    Sync {
        /// The segment.
        file: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Bytes that were synced have changed since.
    #[error(
        "{} is damaged at offset {offset}: {why}; nothing was changed: the disk may be failing, so \
         replace this node by a new one with an empty directory, or restore its directory",
        file.display()
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where the first wrong record starts, in bytes.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A segment that must be there is not.
    #[error(
        "{} is missing: {why}; restore this node's directory, or replace it by a new one",
        file.display()
    )]
    Missing {
        /// The segment.
        file: PathBuf,
        /// How that is known.
        why: &'static str,
    },
    /// Written by a later version.
    #[error(
        "{} has format {found}, and this binary knows up to {known}: start the newer version of \
         jeton that wrote it",
        file.display()
    )]
    NewerFormat {
        /// The segment.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest one this binary reads.
        known: u32,
    },
    /// There is no room for the next segment.
    #[error("no room for the next segment of the log in {}: free some space", dir.display())]
    Full {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The entries don't follow the last one. Nothing was written.
    #[error("entry {got} can't be written: the log goes on with {expected}")]
    Gap {
        /// The index that must come next.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// A record does not fit into a segment. Nothing was written.
    #[error("a record of {bytes} bytes: the limit is {bytes_max}")]
    TooLarge {
        /// Its payload.
        bytes: usize,
        /// The most there may be.
        bytes_max: usize,
    },
    /// There is no such entry: never appended, cut off, or purged.
    #[error("entry {index} is not in the log")]
    Absent {
        /// The index asked for.
        index: u64,
    },
    /// The options can't work.
    #[error("segment_bytes is {got}: give {min} to {max}")]
    SegmentBytes {
        /// What was given.
        got: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The log was shut down.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    pub(super) fn io(what: &'static str, file: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, file: file.to_owned(), source: Arc::new(source) }
    }

    pub(super) fn sync(file: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Sync { file: file.to_owned(), source: Arc::new(source) }
    }

    pub(super) fn damaged(file: &Path, offset: usize, why: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), offset: offset as u64, why: why.into() }
    }

    /// Whether the disk is only full, so that the same may work later.
    pub(super) fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}
