//! Names of the files in the state's directory.
//!
//! ```text
//!   rows-000001/         sled; in use if it is the highest that has …
//!   rows-000001/ready    … this empty file
//!   rows-000001/suspect  they were found damaged while in use: not used again
//!   redo-<index>         an overlay on its way into the rows
//!   base-<index>         a whole state; the highest counts
//!   incoming-<index>     a base that is being received
//!   *.tmp                unfinished; removed at open
//! ```

use std::path::{Path, PathBuf};

use super::error::StateError;
use super::row_file::disk_error;
use crate::disk::Disk;

/// What is in the directory, each sorted ascending.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) redos: Vec<u64>,
    pub(super) bases: Vec<u64>,
    pub(super) incoming: Vec<u64>,
    pub(super) generations: Vec<u64>,
    pub(super) unfinished: Vec<String>,
}

pub(super) fn redo_path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("redo-{index:020}"))
}

pub(super) fn base_path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("base-{index:020}"))
}

pub(super) fn incoming_path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("incoming-{index:020}"))
}

pub(super) fn rows_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("rows-{generation:06}"))
}

/// The file that says that a generation is whole.
pub(super) fn ready_path(dir: &Path, generation: u64) -> PathBuf {
    rows_dir(dir, generation).join("ready")
}

/// The file that says that a generation was found damaged.
pub(super) fn suspect_path(dir: &Path, generation: u64) -> PathBuf {
    rows_dir(dir, generation).join("suspect")
}

/// Lists the directory. Names of others are left alone.
pub(super) fn find(disk: &dyn Disk, dir: &Path) -> Result<Found, StateError> {
    let mut found = Found::default();
    for name in disk.list(dir).map_err(disk_error("list", dir))? {
        if name.ends_with(".tmp") {
            found.unfinished.push(name);
            continue;
        }
        let Some((kind, number)) = name.split_once('-') else { continue };
        let Ok(number) = number.parse() else { continue };
        match kind {
            "redo" => found.redos.push(number),
            "base" => found.bases.push(number),
            "incoming" => found.incoming.push(number),
            "rows" => found.generations.push(number),
            _ => {}
        }
    }
    for numbers in [&mut found.redos, &mut found.bases, &mut found.incoming, &mut found.generations]
    {
        numbers.sort_unstable();
    }
    Ok(found)
}

/// Removes a file that is no longer needed, if it is there.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), StateError> {
    match disk.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(disk_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file that is no longer needed; what can't be removed is only reported, since the next
/// opening removes it.
pub(super) fn remove_later(disk: &dyn Disk, path: &Path) {
    if let Err(error) = remove(disk, path) {
        let path = path.display();
        tracing::warn!(%path, %error, "a file that is no longer needed could not be removed");
    }
}
