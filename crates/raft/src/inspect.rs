//! What is in the directory of a node that doesn't run, as its next start would find it.
//!
//! Opening a log or a state finishes and repairs what its process left. So both are copied first,
//! and it is the copies that are opened; the directory is locked while they are made, and stays as
//! it was. What a start would refuse or repair is told ([`Inspection::problems`]), a damaged base
//! file too, and so is what is usual after a crash ([`Inspection::notes`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::codec;
use jeton_core::digest::row_digest;
use jeton_core::ids::{TenantId, UnixMs};
use jeton_core::machine::Meta;
use jeton_core::rows;
use jeton_core::tables::{ReadTables as _, TablesError};
pub use jeton_storage::data_dir::FORMAT;
use jeton_storage::data_dir::{DataDir, DataDirError, Expect, Stamp};
use jeton_storage::disk::{Disk, RealDisk};
use jeton_storage::log::{LogError, LogOptions, LogReport, RaftLog};
use jeton_storage::ownership::{OwnershipError, Parts};
use jeton_storage::state::{BaseReader, Checkpointer, Finding, State, StateError, StateOptions};

use crate::state_machine::{self, MarkerForm};
use crate::stores;
use crate::types::{FormError, Member, NodeId, Payload, decode_log_id, decode_record, decode_vote};

/// Rows that are read at a time.
const PAGE_ROWS: usize = 1_000;
/// Bytes of entries that are read at a time.
const READ_BYTES: usize = 4 << 20;
/// No key is as large as this one.
const BEHIND_ALL: [u8; 1] = [0xff];

/// Why a directory can't be looked into.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is none.
    #[error("{} is not the data directory of a node: it has no STAMP", .0.display())]
    NoNode(PathBuf),
    /// It is locked by the node that runs there, or is not one that this release can read.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log can't be read, for a reason that is not damage.
    #[error("the log can't be read")]
    Log(#[source] LogError),
    /// The state can't be read, for a reason that is not damage.
    #[error("the state can't be read")]
    State(#[source] StateError),
    /// Whose log and state are can't be read.
    #[error(transparent)]
    Ownership(OwnershipError),
    /// The rows can't be read.
    #[error("the rows can't be read")]
    Rows(#[from] TablesError),
    /// What stands beside log and state was written by another release.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The entries behind the checkpoint can't be applied.
    #[error("the log can't be applied")]
    Replay(#[source] io::Error),
    /// The copy can't be made.
    #[error("can't copy {}", path.display())]
    Copy {
        /// What of.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl InspectError {
    /// Whether what is wrong is the directory itself: trying again is no use.
    #[must_use]
    pub fn is_verdict(&self) -> bool {
        match self {
            Self::DataDir(error) => {
                !matches!(error, DataDirError::InUse { .. } | DataDirError::Io { .. })
            }
            Self::NoNode(_) | Self::Form(_) | Self::Rows(_) | Self::Replay(_) => true,
            _ => false,
        }
    }
}

/// What a log holds.
#[derive(Debug)]
pub struct LogSeen {
    /// Files.
    pub segments: usize,
    /// Index of the first entry.
    pub first: Option<u64>,
    /// Index of the last entry.
    pub last: Option<u64>,
    /// The last index that was purged.
    pub purged: Option<u64>,
    /// The last index that the log knows to be committed: the cluster may know more.
    pub committed: Option<u64>,
    /// The latest vote.
    pub vote: Option<VoteSeen>,
}

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteSeen {
    /// In which term.
    pub term: u64,
    /// For whom.
    pub node: NodeId,
    /// Whether a quorum gave it: that node led then.
    pub committed: bool,
}

/// One entry of a log.
#[derive(Debug)]
pub struct EntrySeen {
    /// Its index.
    pub index: u64,
    /// The term it was proposed in, and by whom.
    pub term: u64,
    /// The leader of that term.
    pub leader: NodeId,
    /// Bytes in the log.
    pub bytes: usize,
    /// What it holds.
    pub content: EntryContent,
}

/// What an entry of a log holds.
#[derive(Debug)]
#[non_exhaustive]
pub enum EntryContent {
    /// Nothing: a leader's first.
    Blank,
    /// A change of members.
    Membership {
        /// Who votes then.
        voters: BTreeSet<NodeId>,
        /// Who learns only.
        learners: BTreeSet<NodeId>,
    },
    /// Commands: how many of each operation.
    Commands {
        /// The leader's clock.
        stamp: UnixMs,
        /// By name.
        operations: BTreeMap<&'static str, usize>,
    },
    /// It can't be read.
    Damaged(String),
}

/// Where a state stands.
#[derive(Debug)]
pub struct StateSeen {
    /// The counters of the state machine.
    pub meta: Meta,
    /// Index of the newest checkpoint; of the last entry applied, after [`Inspection::replay`].
    pub applied: Option<u64>,
    /// Index of the newest base file.
    pub base: Option<u64>,
    /// The members, as of then.
    pub members: BTreeMap<NodeId, Member>,
    /// Those of them who vote.
    pub voters: BTreeSet<NodeId>,
}

/// How many rows there are.
#[derive(Debug, Default)]
pub struct RowsSeen {
    /// By kind.
    pub kinds: BTreeMap<&'static str, Tally>,
    /// All.
    pub all: Tally,
    /// Tenants.
    pub tenants: BTreeSet<TenantId>,
    /// Sum of the rows' digests, wrapping.
    pub digest: u128,
    /// Rows that can't be read, and what is wrong with the first of them.
    pub damaged: Option<(u64, String)>,
}

/// A number of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub rows: u64,
    /// Of keys and values.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// The copies, open.
pub struct Inspection {
    stamp: Option<Stamp>,
    log: Option<RaftLog>,
    segments: usize,
    state: Option<State>,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Inspection {
    /// Copies what a node keeps in `dir` into `scratch`, an empty directory with room for it, and
    /// opens the copies.
    ///
    /// # Errors
    /// [`InspectError`]. That log or state are damaged is none: it is among the problems.
    pub fn open(dir: &Path, scratch: &Path) -> Result<Self, InspectError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        if !["STAMP", "RESTORE", "log"].iter().any(|name| dir.join(name).exists()) {
            return Err(InspectError::NoNode(dir.to_owned()));
        }
        let held = DataDir::open(Arc::clone(&disk), dir, Expect::default())?;
        for part in ["log", "state"] {
            copy(&dir.join(part), &scratch.join(part))?;
        }
        let mut inspection = Self {
            stamp: held.stamped(),
            log: None,
            segments: 0,
            state: None,
            problems: Vec::new(),
            notes: Vec::new(),
        };
        let (log, state) = (dir.join("log"), dir.join("state"));
        let parts = Parts { dir: &held, log: &log, state: &state };
        match parts.check_log_exists() {
            Ok(()) => inspection.open_log(&disk, &scratch.join("log"))?,
            Err(lost) => inspection.problems.push(ownership(lost)?),
        }
        inspection.open_state(&disk, &scratch.join("state"))?;
        inspection.compare(&parts)?;
        for text in inspection.problems.iter_mut().chain(&mut inspection.notes) {
            *text = text.replace(&*scratch.to_string_lossy(), &dir.to_string_lossy());
        }
        Ok(inspection)
    }

    fn open_log(&mut self, disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), InspectError> {
        if !RaftLog::exists(disk.as_ref(), dir).map_err(InspectError::Log)? {
            return Ok(());
        }
        match RaftLog::open(Arc::clone(disk), dir, LogOptions::default()) {
            Ok((log, LogReport { segments, torn, .. })) => {
                let cut = torn.map(|torn| {
                    format!("the log ends with {} bytes of a batch that was cut short", torn.bytes)
                });
                self.notes.extend(cut);
                (self.log, self.segments) = (Some(log), segments);
            }
            Err(
                error @ (LogError::Damaged { .. }
                | LogError::Missing { .. }
                | LogError::NewerFormat { .. }),
            ) => self.problems.push(in_words(&error)),
            Err(error) => return Err(InspectError::Log(error)),
        }
        Ok(())
    }

    fn open_state(&mut self, disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), InspectError> {
        let opened = State::open(Arc::clone(disk), dir, StateOptions::default());
        let (state, report) = match opened {
            Ok(opened) => opened,
            Err(StateError::Disk { what, path, source }) => {
                return Err(InspectError::State(StateError::Disk { what, path, source }));
            }
            Err(error) => {
                self.problems.push(in_words(&error));
                return Ok(());
            }
        };
        for finding in &report.findings {
            match finding {
                Finding::CheckpointFinished { index } => self.notes.push(format!(
                    "a checkpoint at index {index} was interrupted: the next start finishes it"
                )),
                Finding::BaseAhead { base, rows } => self.notes.push(format!(
                    "the base file stands at index {base}, ahead of the rows ({rows:?}): the next \
                     start makes the rows from it"
                )),
                Finding::RowsDamaged { why } => self.problems.push(format!(
                    "the rows are damaged: {why}; the next start makes them anew from the base \
                     file and the log, and these are those"
                )),
                Finding::RedoDamaged { index, why } => self
                    .problems
                    .push(format!("redo-{index} is damaged: {why}; the log has what was in it")),
                Finding::BaseDamaged { index, why } => {
                    self.problems.push(format!("base-{index} is damaged: {why}"));
                }
                other => self.problems.push(format!("{other:?}")),
            }
        }
        // Opening looks at its head only, as long as the rows are whole.
        if let Some(base) = state.base() {
            match BaseReader::verify(disk.as_ref(), &base.path) {
                Ok(_) => {}
                Err(StateError::Disk { what, path, source }) => {
                    return Err(InspectError::State(StateError::Disk { what, path, source }));
                }
                Err(error) => self.problems.push(in_words(&error)),
            }
        }
        self.state = Some(state);
        Ok(())
    }

    /// Whether log, state and stamp are of one node, and reach each other.
    fn compare(&mut self, parts: &Parts<'_>) -> Result<(), InspectError> {
        let (Some(log), Some(state)) = (&self.log, &self.state) else { return Ok(()) };
        let base = state.base().map(|base| base.marker.index);
        let applied = state.marker().map(|marker| marker.index);
        if let Err(error) = parts.check(log, applied.is_some() || base.is_some()) {
            self.problems.push(ownership(error)?);
        }
        if let Err(error) = stores::meet(&log.state(), applied, base) {
            self.problems.push(in_words(&error));
        }
        Ok(())
    }

    /// Whose the directory is; `None` if its node never got a place.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// What is wrong, in words: damage, loss, and parts that are not of one node.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// What a crash has left, and the next start sees to.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the log holds; `None` if it can't be opened, or there is none.
    ///
    /// # Errors
    /// [`InspectError::Form`].
    pub fn log(&self) -> Result<Option<LogSeen>, InspectError> {
        let Some(log) = &self.log else { return Ok(None) };
        let found = log.state();
        let committed = found.committed.as_deref().map(decode_log_id).transpose()?;
        let vote = found.vote.as_deref().map(decode_vote).transpose()?;
        Ok(Some(LogSeen {
            segments: self.segments,
            first: found.first,
            last: found.last,
            purged: found.purged.map(|(index, _)| index),
            committed: committed.map(|id| id.index()),
            vote: vote.map(|vote| VoteSeen {
                term: vote.leader_id().term,
                node: vote.leader_id().node_id,
                committed: vote.is_committed(),
            }),
        }))
    }

    /// Shows the entries of `from..to` that there are, in order, until `each` says no.
    ///
    /// # Errors
    /// [`InspectError::Log`] if they can't be read.
    pub fn entries(
        &self,
        mut from: u64,
        to: u64,
        mut each: impl FnMut(EntrySeen) -> bool,
    ) -> Result<(), InspectError> {
        let Some(log) = &self.log else { return Ok(()) };
        from = from.max(log.state().first.unwrap_or(0));
        while from < to {
            let page = log.read(from, to, READ_BYTES).map_err(InspectError::Log)?;
            let Some((last, _)) = page.last() else { break };
            from = last + 1;
            for (index, record) in page {
                if !each(entry_seen(index, record)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Applies, in the copy, the entries behind the checkpoint that the log knows to be committed.
    /// How many there were.
    ///
    /// # Errors
    /// [`InspectError::Replay`] if one can't be read or applied.
    pub fn replay(&mut self) -> Result<u64, InspectError> {
        let committed = self.log()?.and_then(|log| log.committed);
        let (Some(log), Some(state), Some(committed)) = (&self.log, &self.state, committed) else {
            return Ok(0);
        };
        let applied = state.marker().map(|marker| marker.index);
        let from = applied.map_or(0, |index| index + 1).max(log.state().first.unwrap_or(0));
        if !self.problems.is_empty() || from > committed {
            return Ok(0);
        }
        // What is applied finds room below the overlay.
        let _checkpoints =
            Checkpointer::start(state, Arc::new(|_| Ok(()))).map_err(InspectError::Replay)?;
        let mut next = from;
        while next <= committed {
            let page = log.read(next, committed + 1, READ_BYTES).map_err(InspectError::Log)?;
            let Some((last, _)) = page.last() else { break };
            next = last + 1;
            let entries = page.into_iter();
            let entries =
                entries.map(|(index, record)| decode_record(index, record).map_err(other));
            state_machine::replay(state, entries).map_err(InspectError::Replay)?;
        }
        Ok(next - from)
    }

    /// Where the state stands; `None` if it can't be opened.
    ///
    /// # Errors
    /// [`InspectError::Form`].
    pub fn state(&self) -> Result<Option<StateSeen>, InspectError> {
        let Some(state) = &self.state else { return Ok(None) };
        let form = MarkerForm::of(state.marker().as_ref())?;
        let membership = form.membership()?;
        let membership = membership.membership();
        Ok(Some(StateSeen {
            meta: form.meta().clone(),
            applied: form.applied().map(|id| id.index()),
            base: state.base().map(|base| base.marker.index),
            members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
            voters: membership.voter_ids().collect(),
        }))
    }

    /// Counts all rows, and reads each.
    ///
    /// # Errors
    /// [`InspectError::Rows`] if the store below fails.
    pub fn count(&self) -> Result<RowsSeen, InspectError> {
        let mut seen = RowsSeen::default();
        self.scan(&[], &BEHIND_ALL, |key, value| {
            let kind = rows::kind_name(key);
            seen.all.add(key, value);
            seen.kinds.entry(kind).or_default().add(key, value);
            seen.digest = seen.digest.wrapping_add(row_digest(key, value));
            if kind == "tenant" {
                seen.tenants.extend(rows::tenant_of(key));
            }
            if let Err(error) = rows::check(key, value) {
                let first = || (0, format!("a row ({kind}) can't be read: {error}"));
                seen.damaged.get_or_insert_with(first).0 += 1;
            }
            true
        })?;
        Ok(seen)
    }

    /// Shows the rows of a kind ([`rows::kinds`]) in the order of their keys, until `each` says no.
    ///
    /// # Errors
    /// [`InspectError::Rows`] if the store below fails.
    pub fn rows(
        &self,
        kind: &str,
        each: impl FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), InspectError> {
        rows::range_of(kind).map_or(Ok(()), |(from, to)| self.scan(&from, &to, each))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        mut each: impl FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), InspectError> {
        let Some(state) = &self.state else { return Ok(()) };
        let mut from = from.to_vec();
        loop {
            let page = state.view().scan(&from, to, PAGE_ROWS)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = [last, &[0][..]].concat();
            for (key, value) in &page {
                if !each(key, value) {
                    return Ok(());
                }
            }
        }
    }
}

fn entry_seen(index: u64, record: Bytes) -> EntrySeen {
    let bytes = record.len();
    let entry = match decode_record(index, record) {
        Ok(entry) => entry,
        Err(error) => {
            let content = EntryContent::Damaged(in_words(&error));
            return EntrySeen { index, term: 0, leader: 0, bytes, content };
        }
    };
    let content = match entry.payload {
        Payload::Blank => EntryContent::Blank,
        Payload::Membership(membership) => EntryContent::Membership {
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
        },
        Payload::Normal(proposal) => match codec::decode_entry(&proposal.bytes) {
            Ok(entry) => {
                let mut operations = BTreeMap::new();
                for command in &entry.commands {
                    *operations.entry(command.operation.name()).or_default() += 1;
                }
                EntryContent::Commands { stamp: entry.stamp, operations }
            }
            Err(error) => EntryContent::Damaged(in_words(&error)),
        },
    };
    let leader = entry.log_id.committed_leader_id();
    EntrySeen { index, term: leader.term, leader: leader.node_id, bytes, content }
}

/// An error of the disk is passed on; the others are what was found.
fn ownership(error: OwnershipError) -> Result<String, InspectError> {
    match error {
        OwnershipError::Io { .. } => Err(InspectError::Ownership(error)),
        found => Ok(in_words(&found)),
    }
}

fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

fn copy(from: &Path, to: &Path) -> Result<(), InspectError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| InspectError::Copy { path, source }
    };
    std::fs::create_dir_all(to).map_err(failed(to))?;
    if !from.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            std::fs::copy(&path, &to).map_err(failed(&path))?;
        }
    }
    Ok(())
}
