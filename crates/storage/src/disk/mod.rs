//! The seam between storage and the disk: the only way any file is read or written.
//!
//! It is as narrow as durability allows, and promises no more than POSIX does:
//!
//! - what was written is durable after [`DiskFile::sync`] of that file, not before;
//! - a new, renamed or removed name is durable after [`Disk::sync_dir`] of its directory;
//! - whatever was not synced may survive a crash wholly, partly (by sectors) or not at all.
//!
//! [`RealDisk`] is the operating system's. [`MemDisk`] is for tests and simulation: it can lose
//! exactly what it may lose, flip bits, fail syncs, fill up, and stop after any number of calls.

mod mem;
mod real;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use mem::{Loss, MemDisk};
pub use real::RealDisk;

/// Directories and names. Calls are plain `io::Result`s: the caller knows what to say about them.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates a directory and those above it that are missing, durably. It may exist already.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Names of the files and directories in `dir`, in ascending order.
    ///
    /// # Errors
    /// `NotFound` if there is no such directory, and what the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Whether a file or directory of that name exists.
    ///
    /// # Errors
    /// What the operating system says.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` if there is none, and what the operating system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a file that does not exist yet; its name is durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists`, and what the operating system says.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file, creating it empty if there is none.
    ///
    /// # Errors
    /// What the operating system says.
    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match self.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create_new(path),
            other => other,
        }
    }

    /// Renames within one directory, atomically, replacing what had the new name. Durable after
    /// [`Disk::sync_dir`].
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and everything in it. A crash may leave any part of it.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes an exclusive lock on the file `path`, creating it, without waiting. `None` means that
    /// somebody else holds it. It is released when dropped, also by the death of the process.
    ///
    /// # Errors
    /// What the operating system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
}

/// One open file. Handles are shared: every call names its offset.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Reads what is at `offset`; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file if needed.
    ///
    /// # Errors
    /// What the operating system says; then any part of it may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file's content and length durable. **An error is final**: the system may have
    /// dropped what it could not write, and a second try would answer a lie.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or grows it by zeros that may have no space behind them yet.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Grows the file to `len` by zeros that are really written. Later writes inside it change no
    /// metadata, which makes a sync a third cheaper, and can't run out of space.
    ///
    /// # Errors
    /// `StorageFull`, and what the operating system says.
    fn preallocate(&self, len: u64) -> io::Result<()>;

    /// Fills all of `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, and what the operating system says.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }

    /// The whole content.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// A held lock; see [`Disk::lock`].
pub struct Lock {
    _held: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// Replaces the file `path` by `bytes`, durably and atomically: a crash leaves the old content or
/// the new one, and perhaps a file with `.tmp` behind its name, which the next call overwrites.
///
/// # Errors
/// What the operating system says. The old content is still there.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let tmp = Path::new(&name);
    let file = disk.open_or_create(tmp)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(tmp, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
