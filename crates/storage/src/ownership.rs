//! That log and state are those that the node of this directory has kept all along.
//!
//! A node that goes on with an empty log after it has voted may vote again in the same term, and
//! one that has acknowledged entries may help to overrule them. So before a node takes part in
//! consensus for the first time, all three parts of its directory are marked with one random
//! number, the *incarnation*, in this order:
//!
//! | step | a crash behind it leaves | next start |
//! |---|---|---|
//! | the log gets a record with its owner, synced | a log with nothing else in it | begins again |
//! | `state/OWNER` is written | the same, and that file | begins again |
//! | the stamp is written again, with the number | all marked, nothing in them | goes on |
//! | the first vote or entry | a node like any other | goes on |
//!
//! Who begins again draws another number and marks all three with it.
//!
//! The log is marked before the stamp is, so from then on **a log that does not bear the stamp's
//! incarnation was lost or exchanged**, also if it is empty: there is no moment at which a crash
//! leaves a log that looks lost and is not. And nothing is voted or acknowledged before the stamp
//! is marked, so a node whose stamp is not may begin again without having promised anything.
//!
//! What `check` finds:
//!
//! | stamp | log | state | verdict |
//! |---|---|---|---|
//! | no incarnation | never used | empty | may begin |
//! | no incarnation | used | or not empty | refused: the stamp is from before |
//! | *i* | no owner, or no files | | refused: the log was lost |
//! | *i* | of *i* | of *i* | goes on |
//! | *i* | of *i* | empty | goes on, if the log reaches back: its caller sees to that |
//! | *i* | of another | | refused: exchanged |
//! | *i* | of *i* | of another, or of nobody and not empty | refused: exchanged |
//!
//! It does not notice a log that is an older copy of this very one: never put back a log alone.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use bytes::Bytes;

use crate::data_dir::{DataDir, DataDirError, Incarnation, Stamp};
use crate::disk::{self, Disk};
use crate::log::{LogError, RaftLog};

const OWNER: &str = "OWNER";
const MAGIC: [u8; 8] = *b"JETONOWN";
const OWNER_BYTES: usize = 8 + 16 + 8 + 16;

/// Why a log or a state can't be this node's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnershipError {
    /// There is no log, or one in which nothing is.
    #[error(
        "the log in {} is lost, but node {node} of cluster {cluster} has taken part in consensus: \
         the votes it gave and the entries it acknowledged are gone with it. Put back the \
         directory as it was, or replace the node: remove it from the cluster (jeton cluster \
         remove {node}), empty {}, start it again and add it as a new node (jeton cluster add)",
        log.display(), dir.display()
    )]
    LogLost {
        /// The log's directory.
        log: PathBuf,
        /// The data directory.
        dir: PathBuf,
        /// Whose it is.
        node: u64,
        /// Of which cluster.
        cluster: jeton_core::ids::ClusterId,
    },
    /// Log or state belong to another node, or to an earlier life of this one.
    #[error(
        "{} is not what node {node} of cluster {cluster} kept there: it comes from another \
         directory. Put back its own, or replace the node: remove it from the cluster (jeton \
         cluster remove {node}), empty {}, start it again and add it as a new node (jeton cluster \
         add)", part.display(), dir.display()
    )]
    Exchanged {
        /// The log's or the state's directory.
        part: PathBuf,
        /// The data directory.
        dir: PathBuf,
        /// Whose it is.
        node: u64,
        /// Of which cluster.
        cluster: jeton_core::ids::ClusterId,
    },
    /// There are a log or a state, but the stamp says that the node never took part.
    #[error(
        "{} is in use, but the STAMP in {} is from before its node took part in consensus: put \
         back the stamp that was there, or replace the node by a new one with an empty directory",
        part.display(), dir.display()
    )]
    OldStamp {
        /// The log's or the state's directory.
        part: PathBuf,
        /// The data directory.
        dir: PathBuf,
    },
    /// The stamp can't be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log can't be marked.
    #[error("the log can't be marked with its owner")]
    Log(#[from] LogError),
    /// The disk did not do what it was asked to.
    #[error("can't {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Where the parts of a node are.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The directory, open.
    pub dir: &'a DataDir,
    /// The log's directory.
    pub log: &'a Path,
    /// The state's directory.
    pub state: &'a Path,
}

impl Parts<'_> {
    /// Refuses a node that has a past but no log. To be called before the log is opened, which
    /// would make an empty one. Nothing is changed.
    ///
    /// # Errors
    /// [`OwnershipError::LogLost`] and [`OwnershipError::Log`].
    pub fn check_log_exists(&self) -> Result<(), OwnershipError> {
        let Some(stamp) = self.dir.stamped().filter(|stamp| stamp.incarnation.is_some()) else {
            return Ok(());
        };
        match RaftLog::exists(self.dir.disk().as_ref(), self.log)? {
            true => Ok(()),
            false => Err(self.log_lost(stamp)),
        }
    }

    /// Refuses a log or a state that is not this node's: see the table of the module. `holds`: the
    /// state has rows or a base. Nothing is changed.
    ///
    /// # Errors
    /// [`OwnershipError`] says what was lost and what to do.
    pub fn check(&self, log: &RaftLog, holds: bool) -> Result<(), OwnershipError> {
        let found = log.state();
        let stamp = self.dir.stamped();
        let Some((stamp, incarnation)) = stamp.and_then(|s| Some((s, s.incarnation?))) else {
            return match (found.in_use(), holds) {
                (true, _) => Err(self.old_stamp(self.log)),
                (_, true) => Err(self.old_stamp(self.state)),
                _ => Ok(()),
            };
        };
        let own = encode(stamp, incarnation);
        match found.owner {
            Some(owner) if owner == own => {}
            None if !found.in_use() => return Err(self.log_lost(stamp)),
            _ => return Err(self.exchanged(stamp, self.log)),
        }
        match self.owner_of_state()? {
            Some(owner) if owner == own => Ok(()),
            None if !holds => Ok(()),
            _ => Err(self.exchanged(stamp, self.state)),
        }
    }

    /// Marks everything that is not marked yet, durably; from then on the node may vote and take
    /// entries. To be called after [`Parts::check`], before consensus starts. `fresh` is the number
    /// to use if there is none yet: random. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`OwnershipError::DataDir`], [`OwnershipError::Log`] and [`OwnershipError::Io`].
    pub fn claim(&self, log: &RaftLog, fresh: Incarnation) -> Result<(), OwnershipError> {
        let stamp = self.dir.stamped();
        let path = self.dir.path().to_owned();
        let stamp = stamp.ok_or(DataDirError::Unstamped { dir: path })?;
        let incarnation = stamp.incarnation.unwrap_or(fresh);
        let own = encode(stamp, incarnation);
        if log.state().owner.as_ref() != Some(&own) {
            let (done, waited) = mpsc::channel();
            log.save_owner(own.clone(), Box::new(move |saved| drop(done.send(saved))));
            waited.recv().unwrap_or(Err(LogError::Closed))?;
        }
        if self.owner_of_state()?.as_ref() != Some(&own) {
            let file = self.state.join(OWNER);
            let disk = self.dir.disk().as_ref();
            disk::replace(disk, &file, &own).map_err(io_error("write", &file))?;
        }
        Ok(self.dir.begin(incarnation)?)
    }

    /// What the state's file says, if it is there. It says something wrong if it is damaged.
    fn owner_of_state(&self) -> Result<Option<Bytes>, OwnershipError> {
        let (disk, file): (&dyn Disk, _) = (self.dir.disk().as_ref(), self.state.join(OWNER));
        if !disk.exists(&file).map_err(io_error("look for", &file))? {
            return Ok(None);
        }
        let read = disk.open(&file).and_then(|file| file.read_all());
        read.map(|bytes| Some(bytes.into())).map_err(io_error("read", &file))
    }

    fn log_lost(&self, Stamp { cluster, node, .. }: Stamp) -> OwnershipError {
        let (log, dir) = (self.log.to_owned(), self.dir.path().to_owned());
        OwnershipError::LogLost { log, dir, node, cluster }
    }

    fn exchanged(&self, Stamp { cluster, node, .. }: Stamp, part: &Path) -> OwnershipError {
        let (part, dir) = (part.to_owned(), self.dir.path().to_owned());
        OwnershipError::Exchanged { part, dir, node, cluster }
    }

    fn old_stamp(&self, part: &Path) -> OwnershipError {
        OwnershipError::OldStamp { part: part.to_owned(), dir: self.dir.path().to_owned() }
    }
}

/// It is compared, never taken apart: a flipped bit makes it somebody else's.
fn encode(stamp: Stamp, incarnation: Incarnation) -> Bytes {
    let mut bytes = Vec::with_capacity(OWNER_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&stamp.cluster.0);
    bytes.extend_from_slice(&stamp.node.to_le_bytes());
    bytes.extend_from_slice(&incarnation.0);
    bytes.into()
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OwnershipError {
    move |source| OwnershipError::Io { what, path: path.to_owned(), source }
}
