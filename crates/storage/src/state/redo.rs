//! Redo files: an overlay made durable before the rows are touched.
//!
//! The rows below take the copy in any order and any part of it may be lost by a power cut. The
//! redo file is what makes that harmless: it holds all of the overlay, so copying it once more
//! gives the same rows, and it is removed only after they are durable.

use std::path::Path;

use super::error::StateError;
use super::files::{redo_path, remove_later};
use super::layers::Frozen;
use super::row_file::{Head, Kind, Reader, Writer, tmp_path};
use crate::disk::Disk;

/// Makes a frozen overlay durable, as changes to the state at `previous`.
pub(super) fn write(
    disk: &dyn Disk,
    dir: &Path,
    previous: Option<u64>,
    frozen: &Frozen,
) -> Result<(), StateError> {
    let path = redo_path(dir, frozen.marker.index);
    let written = write_to(disk, &path, previous, frozen);
    if written.is_err() {
        // A full disk: give back what was taken.
        remove_later(disk, &tmp_path(&path));
    }
    written
}

fn write_to(
    disk: &dyn Disk,
    path: &Path,
    previous: Option<u64>,
    frozen: &Frozen,
) -> Result<(), StateError> {
    let head = Head { marker: frozen.marker.clone(), previous };
    let mut writer = Writer::create(disk, path, Kind::Redo, &head)?;
    for (key, value) in &frozen.overlay.writes {
        writer.push(key, value.as_deref())?;
    }
    writer.finish()?;
    Ok(())
}

/// Reads a redo file to its end, to know that it is whole, and opens it again.
pub(super) fn open(disk: &dyn Disk, dir: &Path, index: u64) -> Result<Reader, StateError> {
    let path = redo_path(dir, index);
    let mut reader = Reader::open(disk, &path, Kind::Redo)?;
    while reader.next_rows()?.is_some() {}
    Reader::open(disk, &path, Kind::Redo)
}

/// Whether a redo file's changes lead from the state at `index` to its own marker. Changes that
/// the state already has may be among them: they are the last ones of their keys.
pub(super) fn applies_to(head: &Head, index: Option<u64>) -> bool {
    head.previous <= index && index <= Some(head.marker.index)
}
