//! Opening: what an earlier process left is finished, and what is damaged is rebuilt. Which step
//! left what stands in the table of the module above.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::base::{self, BaseInfo};
use super::error::StateError;
use super::files::{self, Found, base_path, incoming_path, redo_path, remove};
use super::marker::Marker;
use super::redo;
use super::row_file::{Reader, disk_error};
use super::rows::{RowIndex, RowsError};
use super::rows_dir::{Place, Tally, copy_file, glance, seal, tally};

/// What opening the state found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Where the state stands; `None`: it is empty, and the log must begin at its first entry.
    pub applied: Option<Marker>,
    /// The rows were discarded and made anew, from a base or from nothing.
    pub rebuilt: bool,
    /// How many rows there are, all of them looked at; `None` if [`State::verify`] is to do that.
    ///
    /// [`State::verify`]: super::State::verify
    pub rows: Option<u64>,
    /// What was out of the ordinary, in the order it was found.
    pub findings: Vec<Finding>,
}

/// Something out of the ordinary.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A checkpoint was interrupted, and is finished.
    CheckpointFinished {
        /// Where the rows stand now.
        index: u64,
    },
    /// A redo file can't be read; the log has what was in it.
    RedoDamaged {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The rows can't be used.
    RowsDamaged {
        /// What is wrong with them.
        why: String,
    },
    /// The base is ahead of the rows: an install was interrupted, and is finished; or the rows
    /// lost their end.
    BaseAhead {
        /// The base's index.
        base: u64,
        /// The rows' index.
        rows: Option<u64>,
    },
    /// A base can't be read. Make a new one.
    BaseDamaged {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// A state ready for use.
pub(super) struct Recovered {
    pub(super) generation: u64,
    pub(super) rows: Arc<dyn RowIndex>,
    pub(super) pinned: BTreeMap<Bytes, Bytes>,
    pub(super) base: Option<BaseInfo>,
    pub(super) report: OpenReport,
}

/// Rows that can be used.
struct Verified {
    /// Their digest was compared with their marker.
    whole: bool,
    generation: u64,
    rows: Arc<dyn RowIndex>,
    marker: Option<Marker>,
    tally: Tally,
}

pub(super) fn recover(place: &Place, verify: bool) -> Result<Recovered, StateError> {
    place.disk.create_dir_all(&place.dir).map_err(disk_error("create", &place.dir))?;
    let found = files::find(place.disk.as_ref(), &place.dir)?;
    for name in &found.unfinished {
        remove(place.disk.as_ref(), &place.dir.join(name))?;
    }
    let recovery = Recovery { place, verify, found, report: OpenReport::default() };
    recovery.run()
}

struct Recovery<'p> {
    place: &'p Place,
    /// Look at all rows, whatever is found.
    verify: bool,
    found: Found,
    report: OpenReport,
}

impl Recovery<'_> {
    fn run(mut self) -> Result<Recovered, StateError> {
        let mut ready = Vec::new();
        for generation in self.found.generations.clone() {
            if self.place.is_ready(generation)? {
                ready.push(generation);
            } else {
                self.place.destroy(generation)?;
            }
        }
        let base = self.newest_base()?;
        let used = match ready.last() {
            Some(generation) => self.use_rows(*generation, base.as_ref())?,
            None if base.is_none() && self.found.redos.is_empty() => Some(self.first()?),
            None => None,
        };
        let verified = match used {
            Some(verified) => verified,
            None => self.rebuild()?,
        };
        self.clean_up(&verified)?;
        for finding in &self.report.findings {
            tracing::warn!(?finding, "opening the state");
        }
        self.report.applied = verified.marker;
        self.report.rows = verified.whole.then_some(verified.tally.rows);
        Ok(Recovered {
            generation: verified.generation,
            rows: verified.rows,
            pinned: verified.tally.pinned,
            base: self.newest_base()?,
            report: self.report,
        })
    }

    /// The newest base whose head can be read.
    fn newest_base(&mut self) -> Result<Option<BaseInfo>, StateError> {
        for index in self.found.bases.iter().rev() {
            match base::info(self.place.disk.as_ref(), &base_path(&self.place.dir, *index)) {
                Ok(info) => return Ok(Some(info)),
                Err(error) => {
                    let why = damage(error)?;
                    let finding = Finding::BaseDamaged { index: *index, why };
                    if !self.report.findings.contains(&finding) {
                        self.report.findings.push(finding);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The first rows of a new state.
    fn first(&self) -> Result<Verified, StateError> {
        let generation = 1;
        let rows = self.place.begin(generation)?;
        rows.sync()?;
        self.place.ready(generation)?;
        Ok(Verified { whole: true, generation, rows, marker: None, tally: Tally::default() })
    }

    /// Uses the rows that are there; `None` if they must be made anew.
    fn use_rows(
        &mut self,
        generation: u64,
        base: Option<&BaseInfo>,
    ) -> Result<Option<Verified>, StateError> {
        if self.place.is_suspect(generation)? {
            let why = "an earlier process found them damaged".to_owned();
            self.report.findings.push(Finding::RowsDamaged { why });
            return Ok(None);
        }
        let verified = match self.verify(generation) {
            Ok(verified) => verified,
            Err(error) => {
                let why = damage(error)?;
                self.report.findings.push(Finding::RowsDamaged { why });
                return Ok(None);
            }
        };
        let rows = verified.marker.as_ref().map(|marker| marker.index);
        match base.map(|base| base.marker.index) {
            Some(base) if Some(base) > rows => {
                self.report.findings.push(Finding::BaseAhead { base, rows });
                Ok(None)
            }
            _ => Ok(Some(verified)),
        }
    }

    fn verify(&mut self, generation: u64) -> Result<Verified, StateError> {
        let rows = self.place.store.open(&files::rows_dir(&self.place.dir, generation))?;
        let stored = rows.marker()?;
        let mut marker = stored.as_deref().map(Marker::decode).transpose()?;
        if let Some(redone) = self.redo(rows.as_ref(), marker.as_ref().map(|m| m.index))? {
            marker = Some(redone);
        }
        let tally = if self.verify {
            tally(rows.as_ref())?
        } else {
            glance(rows.as_ref(), marker.as_ref())?
        };
        if self.verify || marker.is_none() {
            check(&tally, marker.as_ref())?;
        }
        Ok(Verified { whole: self.verify, generation, rows, marker, tally })
    }

    /// Copies the newest redo that builds on the state at `index`; returns where that leads.
    fn redo(
        &mut self,
        rows: &dyn RowIndex,
        index: Option<u64>,
    ) -> Result<Option<Marker>, StateError> {
        for redo in self.found.redos.clone().into_iter().rev() {
            let mut reader = match redo::open(self.place.disk.as_ref(), &self.place.dir, redo) {
                Ok(reader) => reader,
                Err(error) => {
                    let finding = Finding::RedoDamaged { index: redo, why: damage(error)? };
                    if !self.report.findings.contains(&finding) {
                        self.report.findings.push(finding);
                    }
                    continue;
                }
            };
            if redo::applies_to(reader.head(), index) {
                return self.copy_redo(rows, &mut reader).map(Some);
            }
        }
        Ok(None)
    }

    fn copy_redo(
        &mut self,
        rows: &dyn RowIndex,
        reader: &mut Reader,
    ) -> Result<Marker, StateError> {
        copy_file(rows, reader)?;
        let marker = reader.head().marker.clone();
        seal(rows, &marker)?;
        self.report.findings.push(Finding::CheckpointFinished { index: marker.index });
        Ok(marker)
    }

    /// Makes the rows anew, in a generation of their own.
    fn rebuild(&mut self) -> Result<Verified, StateError> {
        self.report.rebuilt = true;
        let generation = self.found.generations.last().copied().unwrap_or(0) + 1;
        let verified = match self.rebuild_with(generation, true) {
            Err(StateError::Digest { index, .. }) => {
                // The redo does not fit after all: the log has what is in it.
                let why = "its rows don't add up".to_owned();
                self.report.findings.push(Finding::RedoDamaged { index, why });
                self.rebuild_with(generation, false)?
            }
            other => other?,
        };
        self.place.ready(generation)?;
        Ok(verified)
    }

    fn rebuild_with(&mut self, generation: u64, redo: bool) -> Result<Verified, StateError> {
        let (rows, mut marker, mut counted) = self.load_base(generation)?;
        let index = marker.as_ref().map(|marker| marker.index);
        if redo && let Some(redone) = self.redo(rows.as_ref(), index)? {
            counted = tally(rows.as_ref())?;
            counted.check(&redone)?;
            marker = Some(redone);
        }
        match &marker {
            Some(marker) => seal(rows.as_ref(), marker)?,
            None => rows.sync()?,
        }
        Ok(Verified { whole: true, generation, rows, marker, tally: counted })
    }

    /// New rows with the newest base that is whole; empty ones if there never was a base.
    #[allow(clippy::type_complexity, reason = "used once, named right here")]
    fn load_base(
        &mut self,
        generation: u64,
    ) -> Result<(Arc<dyn RowIndex>, Option<Marker>, Tally), StateError> {
        let mut newest = None;
        for index in self.found.bases.clone().into_iter().rev() {
            let rows = self.place.begin(generation)?;
            let path = base_path(&self.place.dir, index);
            match base::load_from(self.place.disk.as_ref(), &path, rows.as_ref()) {
                Ok((marker, tally)) => return Ok((rows, Some(marker), tally)),
                Err(error @ (StateError::Damaged { .. } | StateError::Digest { .. })) => {
                    let why = error.to_string();
                    let finding = Finding::BaseDamaged { index, why };
                    if !self.report.findings.contains(&finding) {
                        self.report.findings.push(finding);
                    }
                    newest.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match newest {
            Some(base) => Err(self.lost(base)),
            None => Ok((self.place.begin(generation)?, None, Tally::default())),
        }
    }

    fn lost(&self, base: StateError) -> StateError {
        let rows = self.report.findings.iter().find_map(|finding| match finding {
            Finding::RowsDamaged { why } => Some(why.clone()),
            _ => None,
        });
        let rows = rows.unwrap_or_else(|| "they are older than the base".to_owned());
        StateError::Lost { rows, base: Box::new(base) }
    }

    /// Removes what the state in use has replaced.
    fn clean_up(&self, verified: &Verified) -> Result<(), StateError> {
        let (disk, dir) = (self.place.disk.as_ref(), &self.place.dir);
        for redo in &self.found.redos {
            remove(disk, &redo_path(dir, *redo))?;
        }
        for generation in &self.found.generations {
            if *generation != verified.generation {
                self.place.destroy(*generation)?;
            }
        }
        let index = verified.marker.as_ref().map(|marker| marker.index);
        for incoming in &self.found.incoming {
            if Some(*incoming) <= index {
                remove(disk, &incoming_path(dir, *incoming))?;
            }
        }
        Ok(())
    }
}

/// Compares rows with their marker; without one there must be none.
fn check(tally: &Tally, marker: Option<&Marker>) -> Result<(), StateError> {
    match marker {
        Some(marker) => tally.check(marker),
        None if tally.rows == 0 => Ok(()),
        None => Err(RowsError::Damaged("there are rows, and nothing says of which index").into()),
    }
}

/// What is wrong, if it is damage; any other error is the machine's, and is passed on.
fn damage(error: StateError) -> Result<String, StateError> {
    let damaged = match &error {
        StateError::Rows(RowsError::Refused(_)) => false,
        StateError::Rows(_)
        | StateError::Damaged { .. }
        | StateError::Digest { .. }
        | StateError::Marker(_) => true,
        _ => false,
    };
    if !damaged {
        return Err(error);
    }
    let mut why = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    Ok(why)
}
