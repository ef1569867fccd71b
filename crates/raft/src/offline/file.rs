//! The file of a backup: in clear, or under a passphrase; on its way in, and read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_storage::disk::{Disk, DiskFile, RealDisk};
use jeton_storage::sealed::{self, Cost, Passphrase, SealedFile, SealedWriter};
use jeton_storage::state::{BackupReader, publish_backup};

use super::{OfflineError, Verified, io_error, random, verify};

/// A backup that can be read, from its beginning, as often as needed.
pub(super) struct Source {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Length of the file.
    pub(super) bytes: u64,
    pub(super) encrypted: bool,
}

impl Source {
    /// Opens it. With a passphrase it must be encrypted: otherwise anybody could have written it.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, OfflineError> {
        let file = disk.open(path).map_err(io_error("open", path))?;
        let bytes = file.len().map_err(io_error("read", path))?;
        let encrypted = sealed::is_sealed(file.as_ref()).map_err(io_error("read", path))?;
        let file = match (encrypted, passphrase) {
            (false, None) => file,
            (true, Some(passphrase)) => {
                let opened = SealedFile::open(file, passphrase);
                let path = path.to_owned();
                Arc::new(opened.map_err(|source| OfflineError::Sealed { path, source })?)
            }
            (true, None) => return Err(OfflineError::Encrypted(path.to_owned())),
            (false, Some(_)) => return Err(OfflineError::NotEncrypted(path.to_owned())),
        };
        Ok(Self { path: path.to_owned(), file, bytes, encrypted })
    }

    pub(super) fn read(&self) -> Result<BackupReader, OfflineError> {
        BackupReader::over(Arc::clone(&self.file), &self.path).map_err(OfflineError::File)
    }
}

/// A backup on its way into a file: `FILE.partial`, until it is whole. Under a passphrase nothing
/// reaches the disk in clear.
pub struct Incoming {
    path: PathBuf,
    partial: PathBuf,
    file: Arc<dyn DiskFile>,
    sealed: Option<(SealedWriter, Passphrase)>,
    bytes: u64,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Incoming {
    /// Begins it. What an earlier attempt left unfinished is begun anew.
    ///
    /// # Errors
    /// [`OfflineError::Exists`] and [`OfflineError::Io`].
    pub fn create(path: &Path, passphrase: Option<Passphrase>) -> Result<Self, OfflineError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        if RealDisk.exists(path).map_err(io_error("look for", path))? {
            return Err(OfflineError::Exists(path.to_owned()));
        }
        let file = RealDisk.open_or_create(&partial).map_err(io_error("create", &partial))?;
        keep_secret(&partial).map_err(io_error("protect", &partial))?;
        file.set_len(0).map_err(io_error("empty", &partial))?;
        let sealed = match passphrase {
            None => None,
            Some(passphrase) => {
                let (file, salt) = (Arc::clone(&file), random()?);
                let begun = SealedWriter::begin(file, &passphrase, salt, Cost::default());
                Some((begun.map_err(io_error("write", &partial))?, passphrase))
            }
        };
        Ok(Self { path: path.to_owned(), partial, file, sealed, bytes: 0 })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`OfflineError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), OfflineError> {
        let written = match &mut self.sealed {
            None => self.file.write_at(bytes, self.bytes),
            Some((writer, _)) => writer.write(bytes),
        };
        written.map_err(io_error("write", &self.partial))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes of the backup so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Syncs it, reads all of it again, and gives it its name.
    ///
    /// # Errors
    /// [`OfflineError`]; the unfinished file stays.
    pub fn finish(self) -> Result<Verified, OfflineError> {
        let Self { path, partial, file, sealed, .. } = self;
        let passphrase = match sealed {
            None => None,
            Some((writer, passphrase)) => {
                writer.finish().map_err(io_error("write", &partial))?;
                Some(passphrase)
            }
        };
        file.sync().map_err(io_error("sync", &partial))?;
        let verified = verify(&partial, passphrase.as_ref())?;
        if RealDisk.exists(&path).map_err(io_error("look for", &path))? {
            return Err(OfflineError::Exists(path));
        }
        publish_backup(&RealDisk, &partial, &path).map_err(OfflineError::File)?;
        Ok(verified)
    }
}

/// Nobody but its owner reads it. Before there is a byte in it.
fn keep_secret(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}
