//! What is done without a node: a backup is looked at, and restored into an empty directory.
//!
//! A restore makes the directory of node 1 of a new cluster: the rows of the backup, then one
//! change that marks them as restored ([`jeton_core::backup`]), and a log that begins behind it.
//! It looks as a node does that was sent its state and has purged its log:
//!
//! | step | a crash behind it leaves |
//! |---|---|
//! | the backup is read to its end | nothing |
//! | `RESTORE` is written | a directory that no node starts in |
//! | stamp: a new cluster id, node 1 | the same |
//! | rows, the mark, a base file of both | the same |
//! | log, owner, incarnation, a vote | the same |
//! | `RESTORE` is removed | a node that starts, alone |
//!
//! Nobody takes a half-made directory for a node, and nothing has to be undone: empty it and
//! begin again. Nodes of the old cluster have another cluster id, which peers compare on each call.

#[cfg(test)]
mod cuts;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use jeton_core::backup::{self, Header, Plan, RestoreError, Survey};
use jeton_core::codec::DecodeError;
use jeton_core::ids::{ClusterId, DurationMs, LogIndex, Position, TenantId};
use jeton_core::rows;
use jeton_storage::data_dir::{DataDir, DataDirError, Expect, Incarnation};
use jeton_storage::disk::{Disk, RealDisk};
use jeton_storage::log::{LogError, LogOptions, RaftLog};
use jeton_storage::ownership::{OwnershipError, Parts};
pub use jeton_storage::sealed::Passphrase;
use jeton_storage::sealed::SealedError;
use jeton_storage::state::{
    Marker, RowStore, SledStore, State, StateError, StateOptions, base_of_backup,
};

use crate::clock::{Clock, SystemClock};
use crate::state_machine::MarkerForm;
use crate::types::{Member, Membership, NodeId, Vote, encode_log_id, encode_vote, log_id};
pub use file::Incoming;
use file::Source;

/// The first node of a restored cluster.
const NODE: NodeId = 1;
/// The term that stands for the restore.
const TERM: u64 = 1;
/// The log index that the backup's rows stand at.
const ROWS_AT: u64 = 1;
/// And the one of the restore's own change: the log begins behind it.
const MARKED_AT: u64 = 2;

/// Why a backup can't be read, written or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineError {
    /// There is a file of that name.
    #[error("{} exists: nothing is overwritten; name another file", .0.display())]
    Exists(PathBuf),
    /// It can only be read with its passphrase.
    #[error(
        "{} is encrypted: name the file that holds its passphrase with --passphrase-file",
        .0.display()
    )]
    Encrypted(PathBuf),
    /// A passphrase was given for a file in clear, which anybody could have put there.
    #[error(
        "{} is not encrypted, though a passphrase was given: is it the right file? Leave \
         --passphrase-file away to take it as it is", .0.display()
    )]
    NotEncrypted(PathBuf),
    /// It can't be opened with this passphrase.
    #[error("{} can't be opened", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: SealedError,
    },
    /// The file can't be read, or is damaged.
    #[error(transparent)]
    File(StateError),
    /// The header is not one.
    #[error("the backup's header can't be read")]
    Header(#[source] DecodeError),
    /// A row can't be read.
    #[error("row {row} of the backup ({kind}) can't be read: {why}")]
    Row {
        /// Which, from 1.
        row: u64,
        /// Of which kind.
        kind: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Rows and header don't fit together.
    #[error("the backup's rows don't add up to what its header says: it is damaged")]
    Digest,
    /// It can't be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The directory can't be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The directory can't be marked.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// The new state can't be written.
    #[error("the new state can't be written")]
    State(#[source] StateError),
    /// The new log can't be written.
    #[error("the new log can't be written")]
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

impl OfflineError {
    /// Whether what is wrong is the file itself, or what was asked for: trying again is no use.
    #[must_use]
    pub fn is_verdict(&self) -> bool {
        match self {
            Self::Header(_)
            | Self::Row { .. }
            | Self::Digest
            | Self::Restore(_)
            | Self::Exists(_)
            | Self::Encrypted(_)
            | Self::NotEncrypted(_) => true,
            Self::Sealed { source, .. } => !matches!(source, SealedError::Io(_)),
            Self::File(StateError::Damaged { .. } | StateError::Newer { .. }) => true,
            _ => false,
        }
    }
}

/// What a backup holds, all of it read.
#[derive(Debug)]
pub struct Verified {
    /// Its header.
    pub header: Header,
    /// Its rows.
    pub survey: Survey,
    /// Length of the file.
    pub bytes: u64,
    /// Whether the file is encrypted.
    pub encrypted: bool,
}

/// Reads all of a backup: every checksum, every row, their number and digest.
///
/// # Errors
/// [`OfflineError`] says what is wrong, and where.
pub fn verify(file: &Path, passphrase: Option<&Passphrase>) -> Result<Verified, OfflineError> {
    read_all(&Source::open(&RealDisk, file, passphrase)?)
}

fn read_all(source: &Source) -> Result<Verified, OfflineError> {
    let mut reader = source.read()?;
    let header = Header::decode(&reader.marker().opaque).map_err(OfflineError::Header)?;
    let mut survey = Survey::default();
    while let Some(page) = reader.next_rows().map_err(OfflineError::File)? {
        for (key, value) in &page {
            survey.add(key, value).map_err(|error| OfflineError::Row {
                row: survey.rows,
                kind: rows::kind_name(key),
                why: error.to_string(),
            })?;
        }
    }
    if survey.digest != reader.marker().rows || survey.rows != header.rows {
        return Err(OfflineError::Digest);
    }
    Ok(Verified { header, survey, bytes: source.bytes, encrypted: source.encrypted })
}

/// How and where a backup is restored.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The directory to make: missing or empty.
    pub data_dir: PathBuf,
    /// Where peers will reach the node, `host:port`.
    pub peer_addr: String,
    /// Where clients will reach it, `host:port`.
    pub client_addr: String,
    /// Tenants whose cut the operator waives.
    pub keep: BTreeSet<TenantId>,
    /// How long proofs live, at most, that `SeenOnce` is asked about.
    pub proofs_live: DurationMs,
}

/// A directory that was made.
#[derive(Debug)]
pub struct Restored {
    /// The new cluster.
    pub cluster: ClusterId,
    /// Its only node.
    pub node: u64,
    /// Everything from the backup is older than this.
    pub position: Position,
    /// What was restored.
    pub backup: Verified,
}

/// Makes the directory of the first node of a new cluster from a backup.
///
/// # Errors
/// [`OfflineError`]. Before anything is written the whole backup was found good; after a later
/// error the directory is one that no node starts in.
pub fn restore(
    file: &Path,
    passphrase: Option<&Passphrase>,
    wish: &Restore,
) -> Result<Restored, OfflineError> {
    let source = Source::open(&RealDisk, file, passphrase)?;
    let sled = SledStore { cache_bytes: StateOptions::default().cache_bytes };
    // Nothing else is written meanwhile, so that the log needs no threads.
    let log = LogOptions { inline: true, ..LogOptions::default() };
    let place = Place { disk: Arc::new(RealDisk), rows: Arc::new(sled), log };
    restore_on(&place, &source, wish, &SystemClock)
}

/// Where a directory is made, and how.
struct Place {
    disk: Arc<dyn Disk>,
    rows: Arc<dyn RowStore>,
    log: LogOptions,
}

fn restore_on(
    place: &Place,
    source: &Source,
    wish: &Restore,
    clock: &dyn Clock,
) -> Result<Restored, OfflineError> {
    let disk = &place.disk;
    let verified = read_all(source)?;
    let now = clock.wall();
    let plan = Plan {
        base: now.0.saturating_mul(1_000),
        index: LogIndex(MARKED_AT),
        now,
        proofs_until: now.plus(wish.proofs_live),
        keep: wish.keep.clone(),
    };
    backup::admit(&verified.header, &verified.survey, &plan)?;
    let dir = DataDir::open(Arc::clone(disk), &wish.data_dir, Expect::default())?;
    dir.begin_restore()?;
    let cluster = ClusterId(random()?);
    dir.stamp(cluster, NODE)?;
    let (log_dir, state_dir) = (wish.data_dir.join("log"), wish.data_dir.join("state"));
    for made in [&log_dir, &state_dir] {
        disk.create_dir_all(made).map_err(io_error("create", made))?;
    }
    let position = write_state(place, source, &state_dir, wish, &verified, &plan)?;
    write_log(place, &dir, &log_dir, &state_dir)?;
    dir.end_restore()?;
    Ok(Restored { cluster, node: NODE, position, backup: verified })
}

fn write_state(
    place: &Place,
    source: &Source,
    dir: &Path,
    wish: &Restore,
    verified: &Verified,
    plan: &Plan,
) -> Result<Position, OfflineError> {
    let member =
        Member { peer_addr: wish.peer_addr.clone(), client_addr: wish.client_addr.clone() };
    let members = BTreeMap::from([(NODE, member)]);
    let membership = Membership::new(vec![BTreeSet::from([NODE])], members)
        .unwrap_or_else(|_| unreachable!("its one voter is a member"));
    let (disk, options) = (Arc::clone(&place.disk), StateOptions::default());
    let opened = State::open_on(Arc::clone(&disk), Arc::clone(&place.rows), dir, options);
    let (state, _) = opened.map_err(OfflineError::State)?;
    let mut meta = verified.header.meta.clone();
    meta.rows = verified.survey.digest;
    let marker = |meta, index| {
        let (rows, form) = MarkerForm::restored(meta, log_id(TERM, NODE, index), &membership);
        Marker { index, rows, opaque: form.encode() }
    };
    let incoming = state.incoming_path(ROWS_AT);
    base_of_backup(disk.as_ref(), source.read()?, &incoming, &marker(meta, ROWS_AT))
        .map_err(OfflineError::State)?;
    state.install(&incoming).map_err(OfflineError::State)?;
    let mut changes = state.begin().map_err(OfflineError::State)?;
    let meta = backup::restore(&mut changes, &verified.header, &verified.survey, plan)?;
    let position = meta.position;
    changes.commit(marker(meta, MARKED_AT));
    // There is no log that it could be ahead of.
    state.checkpoint(&|_| Ok(())).map_err(OfflineError::State)?;
    state.build_base().map_err(OfflineError::State)?;
    Ok(position)
}

fn write_log(
    place: &Place,
    dir: &DataDir,
    log_dir: &Path,
    state_dir: &Path,
) -> Result<(), OfflineError> {
    let (log, _) = RaftLog::open(Arc::clone(&place.disk), log_dir, place.log.clone())?;
    let parts = Parts { dir, log: log_dir, state: state_dir };
    parts.claim(&log, Incarnation(random()?))?;
    let (done, waited) = mpsc::channel();
    let purged = done.clone();
    let last = encode_log_id(&log_id(TERM, NODE, MARKED_AT));
    log.purge(MARKED_AT, last, Box::new(move |saved| drop(purged.send(saved))));
    let vote = encode_vote(&Vote::new_committed(TERM, NODE));
    log.save_vote(vote, Box::new(move |saved| drop(done.send(saved))));
    for _ in 0..2 {
        waited.recv().unwrap_or(Err(LogError::Closed))?;
    }
    log.shutdown();
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], OfflineError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(io::Error::other)
        .map_err(io_error("draw", Path::new("a random number")))?;
    Ok(bytes)
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OfflineError {
    let path = path.to_owned();
    move |source| OfflineError::Io { what, path, source }
}
