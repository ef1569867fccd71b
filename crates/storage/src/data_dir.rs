//! The directory a node lives in: one process at a time, one node of one cluster for ever.
//!
//! ```text
//! <data>/LOCK    locked while a process uses the directory
//! <data>/STAMP   {magic, format version, cluster id, node id, incarnation, checksum}
//! <data>/RESTORE only while it is made from a backup: written first, removed last
//! <data>/INIT    only where `cluster init` was called: see [`crate::init_plan`]
//! <data>/…       the log, the state: theirs, made after the stamp
//! ```
//!
//! A directory without a stamp belongs to nobody; it must then be empty, so that a wrong path is
//! noticed before anything is written there. The stamp is written when the node gets its place, and
//! once more with the *incarnation*: a random number that says that the node is about to take part
//! in consensus, and that log and state bear too ([`crate::ownership`]). Neither is ever changed
//! again. Each time: write a temporary file, sync it, rename it, sync the directory. A crash on the
//! way leaves
//!
//! - before the rename: what was there before, perhaps a temporary file, which counts as nothing;
//! - after the rename, before the directory is synced: the whole of the old or of the new. Nobody
//!   was told yet that the new one is there, and writing it again gives the same result. The next
//!   start syncs the directory before it says what it read.
//!
//! Incarnation and stamp are one file, so that one can't be lost without the other.
//!
//! It never looks into what the others keep in the directory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_core::ids::ClusterId;
use parking_lot::Mutex;

use crate::disk::{self, Disk, Lock};
use crate::init_plan::INIT;

const LOCK: &str = "LOCK";
const STAMP: &str = "STAMP";
/// There while the directory is made from a backup.
const RESTORE: &str = "RESTORE";
/// May be there although nobody has used the directory yet.
const NOT_COUNTED: [&str; 6] = [LOCK, "STAMP.tmp", "RESTORE.tmp", INIT, "INIT.tmp", "lost+found"];

const MAGIC: [u8; 8] = *b"JETONDIR";
/// The format of everything in a data directory. Raise it when an older binary can't read it.
///
/// Format 1, of versions before any release, did not mark that a node has taken part in consensus.
pub const FORMAT: u32 = 2;
const STAMP_BYTES: usize = 8 + 4 + 16 + 8 + 16 + 4;

/// Tells all that a node has kept since it first took part in consensus from anything else: random,
/// never all zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Incarnation(pub [u8; 16]);

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Whose a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node of that cluster.
    pub node: u64,
    /// Set before the node takes part in consensus for the first time, that is before it gives a
    /// vote or takes an entry. From then on an empty log is a lost one.
    pub incarnation: Option<Incarnation>,
}

/// What the caller knows already; `None` accepts anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expect {
    /// The cluster that a stamped directory must belong to.
    pub cluster: Option<ClusterId>,
    /// The node that a stamped directory must belong to.
    pub node: Option<u64>,
}

/// Why a data directory could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Locked by somebody else.
    #[error(
        "{} is in use by another process: stop it first, or give this node another data directory",
        dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// Stamped by another cluster.
    #[error(
        "{} belongs to cluster {found}, not to {expected}: check the path and the configured \
         cluster; if the data is not needed any more, empty the directory and join as a new node",
        dir.display()
    )]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        expected: ClusterId,
    },
    /// Stamped by another node of the cluster.
    #[error(
        "{} belongs to node {found}, not to node {expected}: a directory is never passed on to \
         another node; check the path, or give this node an empty directory",
        dir.display()
    )]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: u64,
        /// Whose it should be.
        expected: u64,
    },
    /// Written by a later version.
    #[error(
        "{} has format {found}, and this binary knows up to {FORMAT}: start the newer version of \
         jeton that wrote it",
        dir.display()
    )]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// The format of the directory.
        found: u32,
    },
    /// Written by an earlier version, which kept less than this one needs.
    #[error(
        "{} has format {found}, of a version before any release, which did not mark that its node \
         has voted; this binary needs {FORMAT}. Go on with the version that wrote it, or replace \
         the node: remove it from its cluster, empty the directory, add it as a new one",
        dir.display()
    )]
    OlderFormat {
        /// The directory.
        dir: PathBuf,
        /// The format of the directory.
        found: u32,
    },
    /// There are files, but no stamp.
    #[error(
        "{} is not empty and not a jeton data directory (it holds {example:?} and no STAMP): give \
         an empty directory or one that a node has used",
        dir.display()
    )]
    NotJeton {
        /// The directory.
        dir: PathBuf,
        /// One of the files in it.
        example: String,
    },
    /// A restore from a backup was not finished.
    #[error(
        "{} holds an unfinished restore from a backup (it has a file RESTORE): empty the directory \
         and restore again",
        dir.display()
    )]
    HalfRestored {
        /// The directory.
        dir: PathBuf,
    },
    /// A backup is restored into an empty directory only.
    #[error("{} belongs to a node already: restore into an empty directory", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// The stamp is there but its bytes are wrong.
    #[error(
        "{}: {why}; the disk may be failing: restore the file from a copy of this very directory, \
         or replace the node by a new one with an empty directory",
        file.display()
    )]
    DamagedStamp {
        /// The stamp.
        file: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A node takes part in consensus in a stamped directory only.
    #[error("{} has no stamp: its node has no place in a cluster yet", dir.display())]
    Unstamped {
        /// The directory.
        dir: PathBuf,
    },
    /// It has begun before, with another log.
    #[error("{} has begun before, with another log: a node begins once", dir.display())]
    OtherIncarnation {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk did not do what it was asked to.
    #[error("can't {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// A locked data directory. The lock is held until the last reference is dropped.
pub struct DataDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    stamp: Mutex<Option<Stamp>>,
    _lock: Lock,
}

impl fmt::Debug for DataDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataDir").field("path", &self.path).field("stamp", &self.stamped()).finish()
    }
}

impl DataDir {
    /// Opens and locks `path`, creating it if it is missing.
    ///
    /// # Errors
    /// [`DataDirError`] says what is wrong and what to do. Nothing is written to a directory that
    /// holds something else.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, expect: Expect) -> Result<Self, DataDirError> {
        disk.create_dir_all(path).map_err(io_error("create", path))?;
        refuse_foreign(disk.as_ref(), path)?;
        let lock_path = path.join(LOCK);
        let lock = disk.lock(&lock_path).map_err(io_error("lock", &lock_path))?;
        let lock = lock.ok_or_else(|| DataDirError::InUse { dir: path.to_owned() })?;
        let stamp = read_stamp(disk.as_ref(), path)?;
        if let Some(stamp) = stamp {
            check(path, stamp, expect)?;
            // The process that wrote it may have died between the rename and this.
            disk.sync_dir(path).map_err(io_error("sync", path))?;
        }
        Ok(Self { disk, path: path.to_owned(), stamp: Mutex::new(stamp), _lock: lock })
    }

    /// Whose the directory is; `None` if it was never stamped.
    #[must_use]
    pub fn stamped(&self) -> Option<Stamp> {
        *self.stamp.lock()
    }

    /// Makes it the directory of this node, durably and for ever. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`DataDirError::OtherCluster`] or [`DataDirError::OtherNode`] if it belongs to another one,
    /// and [`DataDirError::Io`].
    pub fn stamp(&self, cluster: ClusterId, node: u64) -> Result<(), DataDirError> {
        let mut stamp = self.stamp.lock();
        if let Some(stamp) = *stamp {
            return check(&self.path, stamp, Expect { cluster: Some(cluster), node: Some(node) });
        }
        let new = Stamp { cluster, node, incarnation: None };
        self.write(new)?;
        *stamp = Some(new);
        Ok(())
    }

    /// Says, durably and for ever, that its node takes part in consensus from now on, in log and
    /// state of this incarnation. Repeating it changes nothing. Call it by way of
    /// `ownership::claim`, which does the same to log and state first.
    ///
    /// # Errors
    /// [`DataDirError::Unstamped`], [`DataDirError::OtherIncarnation`] and [`DataDirError::Io`].
    pub fn begin(&self, incarnation: Incarnation) -> Result<(), DataDirError> {
        let mut stamp = self.stamp.lock();
        let dir = || self.path.clone();
        let found = (*stamp).ok_or_else(|| DataDirError::Unstamped { dir: dir() })?;
        match found.incarnation {
            Some(found) if found == incarnation => Ok(()),
            Some(_) => Err(DataDirError::OtherIncarnation { dir: dir() }),
            None => {
                let new = Stamp { incarnation: Some(incarnation), ..found };
                self.write(new)?;
                *stamp = Some(new);
                Ok(())
            }
        }
    }

    /// Says, durably, that it is being made from a backup: until [`DataDir::end_restore`] nobody
    /// opens it. It must belong to nobody.
    ///
    /// # Errors
    /// [`DataDirError::NotEmpty`] and [`DataDirError::Io`].
    pub fn begin_restore(&self) -> Result<(), DataDirError> {
        if self.stamped().is_some() {
            return Err(DataDirError::NotEmpty { dir: self.path.clone() });
        }
        let file = self.path.join(RESTORE);
        disk::replace(self.disk.as_ref(), &file, b"unfinished").map_err(io_error("write", &file))
    }

    /// Says, durably, that it is whole.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn end_restore(&self) -> Result<(), DataDirError> {
        let file = self.path.join(RESTORE);
        self.disk.remove(&file).map_err(io_error("remove", &file))?;
        self.disk.sync_dir(&self.path).map_err(io_error("sync", &self.path))
    }

    fn write(&self, stamp: Stamp) -> Result<(), DataDirError> {
        let file = self.path.join(STAMP);
        disk::replace(self.disk.as_ref(), &file, &encode(stamp)).map_err(io_error("write", &file))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk that it is on.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
}

fn check(dir: &Path, stamp: Stamp, expect: Expect) -> Result<(), DataDirError> {
    let dir = dir.to_owned();
    match expect {
        Expect { cluster: Some(expected), .. } if expected != stamp.cluster => {
            Err(DataDirError::OtherCluster { dir, found: stamp.cluster, expected })
        }
        Expect { node: Some(expected), .. } if expected != stamp.node => {
            Err(DataDirError::OtherNode { dir, found: stamp.node, expected })
        }
        _ => Ok(()),
    }
}

fn refuse_foreign(disk: &dyn Disk, dir: &Path) -> Result<(), DataDirError> {
    let names = disk.list(dir).map_err(io_error("list", dir))?;
    if names.iter().any(|name| name == RESTORE) {
        return Err(DataDirError::HalfRestored { dir: dir.to_owned() });
    }
    if names.iter().any(|name| name == STAMP) {
        return Ok(());
    }
    match names.into_iter().find(|name| !NOT_COUNTED.contains(&name.as_str())) {
        Some(example) => Err(DataDirError::NotJeton { dir: dir.to_owned(), example }),
        None => Ok(()),
    }
}

fn read_stamp(disk: &dyn Disk, dir: &Path) -> Result<Option<Stamp>, DataDirError> {
    let file = dir.join(STAMP);
    if !disk.exists(&file).map_err(io_error("look for", &file))? {
        return Ok(None);
    }
    let bytes =
        disk.open(&file).and_then(|file| file.read_all()).map_err(io_error("read", &file))?;
    match decode(&bytes) {
        Ok(stamp) => Ok(Some(stamp)),
        Err(Undecodable::Newer(found)) => {
            Err(DataDirError::NewerFormat { dir: dir.to_owned(), found })
        }
        Err(Undecodable::Older(found)) => {
            Err(DataDirError::OlderFormat { dir: dir.to_owned(), found })
        }
        Err(Undecodable::Damaged(why)) => Err(DataDirError::DamagedStamp { file, why }),
    }
}

enum Undecodable {
    Older(u32),
    Newer(u32),
    Damaged(&'static str),
}

fn encode(stamp: Stamp) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(STAMP_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&stamp.cluster.0);
    bytes.extend_from_slice(&stamp.node.to_le_bytes());
    bytes.extend_from_slice(&stamp.incarnation.map_or([0; 16], |incarnation| incarnation.0));
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// In every format the file starts with the magic and the version and ends with the checksum of
/// all before it, so that a newer one is told from a damaged one.
fn decode(bytes: &[u8]) -> Result<Stamp, Undecodable> {
    let damaged = Undecodable::Damaged;
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(damaged("the stamp is too short"))?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(damaged("the stamp's checksum does not match"));
    }
    let rest = body.strip_prefix(&MAGIC).ok_or(damaged("the stamp starts with foreign bytes"))?;
    let (format, rest) =
        rest.split_first_chunk::<4>().ok_or(damaged("the stamp has no format version"))?;
    match u32::from_le_bytes(*format) {
        0 => return Err(damaged("the stamp has format 0")),
        FORMAT => {}
        older if older < FORMAT => return Err(Undecodable::Older(older)),
        newer => return Err(Undecodable::Newer(newer)),
    }
    let (cluster, rest) =
        rest.split_first_chunk::<16>().ok_or(damaged("the stamp has no cluster id"))?;
    let (node, rest) = rest.split_first_chunk::<8>().ok_or(damaged("the stamp has no node id"))?;
    let incarnation: [u8; 16] =
        rest.try_into().map_err(|_| damaged("the stamp has no incarnation"))?;
    let incarnation = (incarnation != [0; 16]).then_some(Incarnation(incarnation));
    Ok(Stamp { cluster: ClusterId(*cluster), node: u64::from_le_bytes(*node), incarnation })
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    move |source| DataDirError::Io { what, path: path.to_owned(), source }
}
