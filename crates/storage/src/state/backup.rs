//! Backup files: the rows of a base file that may leave the cluster, in the same form, under a name
//! and a header of their own.
//!
//! | after the step | a crash leaves | then |
//! |---|---|---|
//! | on a node: write `outgoing-….tmp`, sync | it | the node's next opening removes it |
//! | open it, remove its name | nothing | |
//! | at the operator: write `FILE.partial` | a part of it | it is no backup; begin again |
//! | verify it, sync, rename to `FILE`, sync the directory | the one or the other | |
//!
//! Which rows go into one, and what the header says, the caller knows; here they are bytes.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::digest::row_digest;
use jeton_core::tables::TablesError;

use super::base::BaseReader;
use super::error::StateError;
use super::files::remove;
use super::marker::Marker;
use super::row_file::{Head, Kind, Reader, Writer, disk_error, publish};
use crate::disk::{Disk, DiskFile};

/// What becomes of a row: its value, or nothing.
pub type Strip<'s> = &'s dyn Fn(&[u8], &Bytes) -> Result<Option<Bytes>, TablesError>;

/// Reads the rows of a backup in order of key.
pub struct BackupReader {
    reader: Reader,
}

impl BackupReader {
    /// Reads an open file, which is called `path` in errors; its head is checked here, the rest
    /// while it is read.
    ///
    /// # Errors
    /// [`StateError`] if it can't be read, is damaged or something else.
    pub fn over(file: Arc<dyn DiskFile>, path: &Path) -> Result<Self, StateError> {
        let reader = Reader::over(file, path, Kind::Backup);
        Ok(Self { reader: reader.map_err(|error| as_damage(error, path))? })
    }

    /// Its header, in the marker's opaque part; the digest is that of the rows in the file.
    #[must_use]
    pub fn marker(&self) -> &Marker {
        &self.reader.head().marker
    }

    /// The next rows; `None` after the last, and only if the file was whole.
    ///
    /// # Errors
    /// [`StateError`] if it can't be read, or is damaged.
    pub fn next_rows(&mut self) -> Result<Option<Vec<(Bytes, Bytes)>>, StateError> {
        let page = self.reader.next_rows();
        let page = page.map_err(|error| as_damage(error, self.reader.path()))?;
        let rows = |page: Vec<_>| {
            page.into_iter().filter_map(|(key, value): (Bytes, Option<Bytes>)| Some((key, value?)))
        };
        Ok(page.map(|page| rows(page).collect()))
    }
}

/// What an encrypted file says of its own damage.
fn as_damage(error: StateError, path: &Path) -> StateError {
    match error {
        StateError::Disk { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
            StateError::Damaged { path: path.to_owned(), why: source.to_string() }
        }
        other => other,
    }
}

/// Writes the rows of a base, as `strip` leaves them, into a backup at `path`. The header is made
/// from the base's marker and the number of rows. The file is opened and its name removed: it is
/// gone when the last reader is.
///
/// # Errors
/// [`StateError`] if the base can't be read, a row is not what it should be, or the disk is full.
pub fn write_backup(
    disk: &dyn Disk,
    base: &Path,
    path: &Path,
    strip: Strip<'_>,
    header: &dyn Fn(&Marker, u64) -> Result<Bytes, StateError>,
) -> Result<(Arc<dyn DiskFile>, u64), StateError> {
    let (mut digest, mut rows) = (0_u128, 0_u64);
    // Both are opened before anything takes time: a newer base may remove this one's name.
    let (first, second) = (BaseReader::open(disk, base)?, BaseReader::open(disk, base)?);
    let marker = first.marker().clone();
    each(first, base, strip, &mut |key, value| {
        digest = digest.wrapping_add(row_digest(key, value));
        rows += 1;
        Ok(())
    })?;
    let opaque = header(&marker, rows)?;
    let head =
        Head { marker: Marker { index: marker.index, rows: digest, opaque }, previous: None };
    let mut writer = Writer::create(disk, path, Kind::Backup, &head)?;
    let written = each(second, base, strip, &mut |key, value| writer.push(key, Some(value)));
    if let Err(error) = written {
        writer.abandon()?;
        return Err(error);
    }
    let bytes = writer.finish()?;
    let file = disk.open(path).map_err(disk_error("open", path));
    remove(disk, path)?;
    Ok((file?, bytes))
}

/// Every row that is left of a base.
fn each(
    mut reader: BaseReader,
    base: &Path,
    strip: Strip<'_>,
    take: &mut dyn FnMut(&Bytes, &Bytes) -> Result<(), StateError>,
) -> Result<(), StateError> {
    while let Some(page) = reader.next_rows()? {
        for (key, value) in &page {
            let stripped = strip(key, value).map_err(|error| StateError::Damaged {
                path: base.to_owned(),
                why: format!("a row can't be read: {error}"),
            })?;
            if let Some(value) = stripped {
                take(key, &value)?;
            }
        }
    }
    Ok(())
}

/// Writes the rows of a backup into a base file at `path`, under a marker of the caller's.
///
/// # Errors
/// [`StateError`] if the backup can't be read or is damaged, or the disk is full.
pub fn base_of_backup(
    disk: &dyn Disk,
    mut reader: BackupReader,
    path: &Path,
    marker: &Marker,
) -> Result<(), StateError> {
    let head = Head { marker: marker.clone(), previous: None };
    let mut writer = Writer::create(disk, path, Kind::Base, &head)?;
    while let Some(page) = reader.next_rows()? {
        for (key, value) in &page {
            writer.push(key, Some(value))?;
        }
    }
    writer.finish().map(drop)
}

/// Gives a synced file its name, durably. There must be none of that name.
///
/// # Errors
/// [`StateError`] if the disk says so.
pub fn publish_backup(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StateError> {
    publish(disk, from, to)
}
