//! Generations of the rows' directory: rows are never replaced in place, they are loaded into a
//! new directory, which counts once its `ready` file is durable.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::digest::row_digest;
use jeton_core::tables::PINNED_END;

use super::error::StateError;
use super::files::{ready_path, rows_dir, suspect_path};
use super::layers::is_pinned;
use super::marker::Marker;
use super::row_file::{Reader, disk_error};
use super::rows::{RowIndex, RowStore};
use crate::disk::Disk;

/// Rows read at a time when all of them are looked at.
const PAGE_ROWS: usize = 512;

/// Where generations are made.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) store: Arc<dyn RowStore>,
}

/// What a look at all rows gave.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) digest: u128,
    pub(super) rows: u64,
    pub(super) pinned: BTreeMap<Bytes, Bytes>,
}

impl Tally {
    pub(super) fn add(&mut self, key: &Bytes, value: &Bytes) {
        self.digest = self.digest.wrapping_add(row_digest(key, value));
        self.rows += 1;
        if is_pinned(key) {
            // Copied: the row may be a slice of a far larger buffer.
            self.pinned.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        }
    }

    /// Compares with what the state machine counted.
    pub(super) fn check(&self, marker: &Marker) -> Result<(), StateError> {
        if self.digest == marker.rows {
            return Ok(());
        }
        let (index, expected, found) = (marker.index, marker.rows, self.digest);
        Err(StateError::Digest { index, expected, found })
    }
}

/// Looks at all rows.
pub(super) fn tally(rows: &dyn RowIndex) -> Result<Tally, StateError> {
    let mut tally = Tally::default();
    let mut from = Vec::new();
    loop {
        let page = rows.range(&from, None, PAGE_ROWS)?;
        for (key, value) in &page {
            tally.add(key, value);
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE_ROWS => from = [last, [0].as_slice()].concat(),
            _ => return Ok(tally),
        }
    }
}

/// Looks at the pinned rows only: that takes no time, and shows no damage elsewhere.
pub(super) fn glance(rows: &dyn RowIndex, marker: Option<&Marker>) -> Result<Tally, StateError> {
    let mut tally = Tally::default();
    let pinned = rows.range(&[], Some(&[PINNED_END]), usize::MAX)?;
    pinned.iter().for_each(|(key, value)| tally.add(key, value));
    if marker.is_none() {
        // Without a marker there must be no row at all.
        rows.range(&[], None, 1)?.iter().for_each(|(key, value)| tally.add(key, value));
    }
    Ok(tally)
}

/// Copies writes into rows. Not durable before [`seal`].
pub(super) fn copy<'w>(
    rows: &dyn RowIndex,
    writes: impl IntoIterator<Item = (&'w Bytes, &'w Option<Bytes>)>,
) -> Result<(), StateError> {
    for (key, value) in writes {
        match value {
            Some(value) => rows.put(key, value)?,
            None => rows.delete(key)?,
        }
    }
    Ok(())
}

/// Copies a whole file into rows, to its verified end.
pub(super) fn copy_file(rows: &dyn RowIndex, file: &mut Reader) -> Result<(), StateError> {
    while let Some(page) = file.next_rows()? {
        copy(rows, page.iter().map(|(key, value)| (key, value)))?;
    }
    Ok(())
}

/// Copies a base into empty rows, to its verified end and digest.
pub(super) fn load(rows: &dyn RowIndex, base: &mut Reader) -> Result<Tally, StateError> {
    let mut tally = Tally::default();
    while let Some(page) = base.next_rows()? {
        for (key, value) in &page {
            let Some(value) = value else { continue };
            tally.add(key, value);
            rows.put(key, value)?;
        }
    }
    tally.check(&base.head().marker)?;
    Ok(tally)
}

/// Writes the marker behind its rows, and makes all of it durable.
pub(super) fn seal(rows: &dyn RowIndex, marker: &Marker) -> Result<(), StateError> {
    rows.set_marker(&marker.encode())?;
    rows.sync()?;
    Ok(())
}

impl Place {
    /// Begins a generation with no rows, whatever was under that number before.
    pub(super) fn begin(&self, generation: u64) -> Result<Arc<dyn RowIndex>, StateError> {
        self.destroy(generation)?;
        let dir = rows_dir(&self.dir, generation);
        self.disk.create_dir_all(&dir).map_err(disk_error("create", &dir))?;
        Ok(self.store.open(&dir)?)
    }

    /// Makes a generation count, from the next opening on.
    pub(super) fn ready(&self, generation: u64) -> Result<(), StateError> {
        self.put_sign(generation, ready_path(&self.dir, generation))
    }

    /// Makes the next opening rebuild the rows.
    pub(super) fn suspect(&self, generation: u64) -> Result<(), StateError> {
        self.put_sign(generation, suspect_path(&self.dir, generation))
    }

    /// Creates an empty file in a generation's directory, durably.
    fn put_sign(&self, generation: u64, path: PathBuf) -> Result<(), StateError> {
        let file = self.disk.open_or_create(&path).map_err(disk_error("create", &path))?;
        file.sync().map_err(disk_error("sync", &path))?;
        let dir = rows_dir(&self.dir, generation);
        self.disk.sync_dir(&dir).map_err(disk_error("sync", &dir))
    }

    pub(super) fn is_ready(&self, generation: u64) -> Result<bool, StateError> {
        let path = ready_path(&self.dir, generation);
        self.disk.exists(&path).map_err(disk_error("look for", &path))
    }

    pub(super) fn is_suspect(&self, generation: u64) -> Result<bool, StateError> {
        let path = suspect_path(&self.dir, generation);
        self.disk.exists(&path).map_err(disk_error("look for", &path))
    }

    /// Removes a generation, if it is there. Its rows must not be open.
    pub(super) fn destroy(&self, generation: u64) -> Result<(), StateError> {
        let dir = rows_dir(&self.dir, generation);
        self.store.destroy(&dir)?;
        match self.disk.remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(disk_error("remove", &dir)(error))
            }
            _ => Ok(()),
        }
    }
}
