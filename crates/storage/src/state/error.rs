//! Why an operation of the state failed, each with what an operator needs to know.

use std::path::PathBuf;

use super::marker::MarkerError;
use super::rows::RowsError;

/// The replicated state could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The row engine failed.
    #[error("the state's rows could not be read or written")]
    Rows(#[from] RowsError),
    /// The file system failed.
    #[error("could not {what} {}", path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system answered.
        #[source]
        source: std::io::Error,
    },
    /// A file is not as it was written.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of a newer release.
    #[error("{} has format version {version}, which a newer release wrote", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// The stored marker can't be read.
    #[error("the state's marker can't be read")]
    Marker(#[from] MarkerError),
    /// The rows don't add up to what the state machine counted.
    #[error(
        "the rows at index {index} add up to {found:032x} and not to {expected:032x}: \
         some of them were altered or lost"
    )]
    Digest {
        /// Where the state stands.
        index: u64,
        /// What the marker says.
        expected: u128,
        /// What the rows make.
        found: u128,
    },
    /// Neither the rows nor a base are usable.
    #[error(
        "this node's state is lost: its rows can't be used ({rows}), and neither can its base \
         file. Remove the node from the cluster, empty its data directory and add it again as a \
         new node; the other nodes hold everything that was acknowledged"
    )]
    Lost {
        /// What is wrong with the rows.
        rows: String,
        /// What is wrong with the newest base.
        #[source]
        base: Box<StateError>,
    },
    /// The log could not say that an entry is durable.
    #[error("the log could not be synced up to index {index}")]
    Log {
        /// The entry.
        index: u64,
        /// What the log answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A base that is not ahead of the state is of no use.
    #[error("the base stands at index {base}, the state already at {current}")]
    NotNewer {
        /// The base's index.
        base: u64,
        /// The state's.
        current: u64,
    },
    /// An earlier error stopped the store; nothing is written any more.
    #[error("the state's storage stopped after an error: {0}")]
    Stopped(String),
}

impl StateError {
    /// Whether the disk is full: it may have room again later, nothing was damaged.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Disk { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}
