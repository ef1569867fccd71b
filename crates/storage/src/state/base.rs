//! Base files: the whole state at one index, compressed and checksummed, in order of key.
//!
//! It is what a follower is sent, what a backup is, and what damaged rows are rebuilt from. Making
//! one reads every row and compares their digest with what the state machine counted: it is the
//! scrub too.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::StateError;
use super::files::{base_path, remove_later};
use super::hold::Page;
use super::marker::Marker;
use super::row_file::{Head, Kind, Reader, Writer, tmp_path};
use super::rows::RowIndex;
use super::rows_dir::{Place, Tally, load};
use crate::disk::Disk;

/// A base file on this node's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseInfo {
    /// The state it holds.
    pub marker: Marker,
    /// Where it is. A newer base replaces it; who opened it before reads on.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Reads the rows of a base file in order of key.
pub struct BaseReader {
    reader: Reader,
}

impl BaseReader {
    /// Opens a base file; its head is checked here, the rest while it is read.
    ///
    /// # Errors
    /// [`StateError`] if it can't be read, or is damaged.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StateError> {
        Ok(Self { reader: Reader::open(disk, path, Kind::Base)? })
    }

    /// The state it holds.
    #[must_use]
    pub fn marker(&self) -> &Marker {
        &self.reader.head().marker
    }

    /// The next rows; `None` after the last, and only if the file was whole.
    ///
    /// # Errors
    /// [`StateError`] if it can't be read, or is damaged.
    pub fn next_rows(&mut self) -> Result<Option<Vec<(Bytes, Bytes)>>, StateError> {
        let page = self.reader.next_rows()?;
        let rows = |page: Vec<_>| {
            page.into_iter().filter_map(|(key, value): (Bytes, Option<Bytes>)| Some((key, value?)))
        };
        Ok(page.map(|page| rows(page).collect()))
    }

    /// Reads all of a base file and compares its rows' digest with its marker's; returns how many
    /// rows there are.
    ///
    /// # Errors
    /// [`StateError`] if it can't be read, or is damaged.
    pub fn verify(disk: &dyn Disk, path: &Path) -> Result<u64, StateError> {
        let mut reader = Self::open(disk, path)?;
        let mut tally = Tally::default();
        while let Some(page) = reader.next_rows()? {
            for (key, value) in &page {
                tally.add(key, value);
            }
        }
        tally.check(reader.marker())?;
        Ok(tally.rows)
    }
}

/// What is known of a base by its head.
pub(super) fn info(disk: &dyn Disk, path: &Path) -> Result<BaseInfo, StateError> {
    let reader = Reader::open(disk, path, Kind::Base)?;
    let (marker, bytes) = (reader.head().marker.clone(), reader.file_bytes());
    Ok(BaseInfo { marker, path: path.to_owned(), bytes })
}

/// Loads a base into empty rows, verified to its end; the rows are not durable yet.
pub(super) fn load_from(
    disk: &dyn Disk,
    path: &Path,
    rows: &dyn RowIndex,
) -> Result<(Marker, Tally), StateError> {
    let mut reader = Reader::open(disk, path, Kind::Base)?;
    let tally = load(rows, &mut reader)?;
    Ok((reader.head().marker.clone(), tally))
}

/// Writes the rows that `next_page` gives, which stand at `marker`, into a base file. `None` if it
/// gave up in between.
pub(super) fn write(
    place: &Place,
    marker: &Marker,
    next_page: &mut dyn FnMut() -> Result<Page, StateError>,
) -> Result<Option<BaseInfo>, StateError> {
    let path = base_path(&place.dir, marker.index);
    let head = Head { marker: marker.clone(), previous: None };
    let mut writer = Writer::create(place.disk.as_ref(), &path, Kind::Base, &head)?;
    match write_rows(&mut writer, marker, next_page) {
        Ok(true) => {
            let bytes = writer.finish()?;
            Ok(Some(BaseInfo { marker: marker.clone(), path, bytes }))
        }
        Ok(false) => writer.abandon().map(|()| None),
        Err(error) => {
            remove_later(place.disk.as_ref(), &tmp_path(&path));
            Err(error)
        }
    }
}

/// Whether all rows were written, and add up.
fn write_rows(
    writer: &mut Writer<'_>,
    marker: &Marker,
    next_page: &mut dyn FnMut() -> Result<Page, StateError>,
) -> Result<bool, StateError> {
    let write = &mut |key: &Bytes, value: &Bytes| writer.push(key, Some(value));
    Ok(count_each(marker, next_page, write)?.is_some())
}

/// How many rows there are, which must add up; `None` if they were given up.
pub(super) fn count(
    marker: &Marker,
    next_page: &mut dyn FnMut() -> Result<Page, StateError>,
) -> Result<Option<u64>, StateError> {
    count_each(marker, next_page, &mut |_, _| Ok(()))
}

fn count_each(
    marker: &Marker,
    next_page: &mut dyn FnMut() -> Result<Page, StateError>,
    each: &mut dyn FnMut(&Bytes, &Bytes) -> Result<(), StateError>,
) -> Result<Option<u64>, StateError> {
    let mut tally = Tally::default();
    loop {
        match next_page()? {
            Page::GivenUp => return Ok(None),
            Page::End => break,
            Page::Rows(page) => {
                for (key, value) in &page {
                    tally.add(key, value);
                    each(key, value)?;
                }
            }
        }
    }
    tally.check(marker)?;
    Ok(Some(tally.rows))
}
