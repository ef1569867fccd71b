//! The seam to whatever keeps the bulk of the rows: sled in production, memory in simulation, so
//! that the checkpoints and the recovery above it are the same code in both.
//!
//! What the code above relies on, and nothing more:
//!
//! - a write is seen by the reads that follow it;
//! - what was written before a [`RowIndex::sync`] that returned survives a power cut;
//! - of what was written after it, *any subset* may survive: no order, no atomicity.
//!
//! There is one writer at a time: a checkpoint, an install, or recovery.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// Why the rows below could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// The engine reported an error of its own.
    #[error("the row engine failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The machine is in the way (no space, no permission, in use); the rows may be sound.
    #[error("the operating system refused the row engine")]
    Refused(#[source] std::io::Error),
    /// The engine panicked: sled does so over damaged files.
    #[error("the row engine panicked: {0}")]
    Panicked(String),
    /// A row's parts don't fit together.
    #[error("a row is damaged: {0}")]
    Damaged(&'static str),
}

/// An ordered map from keys to values, with one marker beside it.
pub trait RowIndex: Send + Sync {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`RowsError`] if the engine failed; never for a missing row.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowsError>;

    /// Writes a row. Durable after the next [`RowIndex::sync`].
    ///
    /// # Errors
    /// [`RowsError`] if the engine failed.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), RowsError>;

    /// Removes a row, if there is one. Durable after the next [`RowIndex::sync`].
    ///
    /// # Errors
    /// [`RowsError`] if the engine failed.
    fn delete(&self, key: &[u8]) -> Result<(), RowsError>;

    /// Up to `rows_max` rows with `from <= key < to` (`None`: to the end), ascending.
    ///
    /// # Errors
    /// [`RowsError`] if the engine failed.
    fn range(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, RowsError>;

    /// The marker set last, if there is one.
    ///
    /// # Errors
    /// [`RowsError`] if the engine failed.
    fn marker(&self) -> Result<Option<Bytes>, RowsError>;

    /// Replaces the marker. Durable after the next [`RowIndex::sync`].
    ///
    /// # Errors
    /// [`RowsError`] if the engine failed.
    fn set_marker(&self, marker: &[u8]) -> Result<(), RowsError>;

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// [`RowsError`] if it could not; the index must then not be used any more.
    fn sync(&self) -> Result<(), RowsError>;
}

/// Opens and destroys row indexes, each in a directory of its own.
pub trait RowStore: Debug + Send + Sync {
    /// Opens the index in `dir`, an empty one if there is none.
    ///
    /// # Errors
    /// [`RowsError`] if the engine can't; the index is then to be rebuilt elsewhere.
    fn open(&self, dir: &Path) -> Result<Arc<dyn RowIndex>, RowsError>;

    /// Removes the index in `dir` and the directory with everything in it; nothing happens if
    /// there is none. May be interrupted anywhere and repeated.
    ///
    /// # Errors
    /// [`RowsError`] if it could not be removed.
    fn destroy(&self, dir: &Path) -> Result<(), RowsError>;
}
