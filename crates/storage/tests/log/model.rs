//! A log that is a map in memory, and scripts to run against both.

use std::collections::BTreeMap;

use bytes::Bytes;
use jeton_storage::log::{LogError, RaftLog};
use proptest::prelude::*;

use super::{all, append, entry, wait};

/// One call. Numbers are relative, so that each script makes sense at any time.
#[derive(Debug, Clone)]
pub enum Step {
    /// That many entries of that many bytes.
    Append(u64, usize),
    Vote,
    Committed,
    /// Drops that many entries, but none that is committed.
    Truncate(u64),
    /// Purges that many.
    Purge(u64),
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..8u64, 0..700usize).prop_map(|(count, len)| Step::Append(count, len)),
        2 => Just(Step::Vote),
        2 => Just(Step::Committed),
        1 => (0..12u64).prop_map(Step::Truncate),
        1 => (0..40u64).prop_map(Step::Purge),
    ]
}

/// What a log should hold. The committed index is kept apart: it may lag behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    entries: BTreeMap<u64, Bytes>,
    next: u64,
    purged: Option<(u64, Bytes)>,
    vote: Option<Bytes>,
}

/// A model and all the states that the log may be found in after a crash.
#[derive(Debug, Default)]
pub struct History {
    now: Model,
    /// One state after each record, from the last one that was acknowledged.
    possible: Vec<Model>,
    committed: u64,
    time: u64,
}

impl History {
    /// Takes the step on both. An error of the log means that its disk has stopped.
    pub fn step(&mut self, log: &RaftLog, step: &Step) -> Result<(), LogError> {
        self.time += 1;
        if self.possible.is_empty() {
            self.possible.push(self.now.clone());
        }
        let outcome = match *step {
            Step::Append(count, len) => {
                let first = self.now.next;
                let new: Vec<_> =
                    (first..first + count).map(|index| entry(index, self.time, len)).collect();
                for (index, entry) in (first..).zip(&new) {
                    self.now.entries.insert(index, entry.clone());
                    self.now.next = index + 1;
                    self.possible.push(self.now.clone());
                }
                append(log, first, &new)
            }
            Step::Vote => {
                let vote = Bytes::from(format!("vote {}", self.time));
                self.now.vote = Some(vote.clone());
                wait(|done| log.save_vote(vote, done))
            }
            Step::Committed => {
                self.committed = self.now.next;
                log.save_committed(Bytes::copy_from_slice(&self.committed.to_le_bytes()));
                return Ok(());
            }
            Step::Truncate(count) => {
                let from = self.now.next.saturating_sub(count).max(self.committed);
                self.now.entries.split_off(&from);
                self.now.next = from;
                wait(|done| log.truncate_from(from, done))
            }
            Step::Purge(count) => {
                let upto =
                    self.now.entries.keys().next().map_or(self.now.next, |first| first + count);
                let id = Bytes::from(format!("id {upto}"));
                self.now.entries = self.now.entries.split_off(&(upto + 1));
                self.now.next = self.now.next.max(upto + 1);
                self.now.purged = Some((upto, id.clone()));
                self.committed = self.committed.max(upto + 1);
                wait(|done| log.purge(upto, id, done))
            }
        };
        self.possible.push(self.now.clone());
        outcome.inspect(|()| self.possible.clear())
    }

    /// Checks what is found after a restart, and goes on from there.
    pub fn check_recovered(&mut self, log: &RaftLog) {
        let found = observe(log);
        let now = [self.now.clone()];
        let possible = if self.possible.is_empty() { &now[..] } else { &self.possible };
        assert!(possible.contains(&found), "{found:#?}\nis none of\n{possible:#?}");
        if let Some(committed) = log.state().committed {
            let committed = u64::from_le_bytes(committed[..].try_into().unwrap());
            assert!(committed <= self.committed);
            assert!(committed <= found.next, "committed before {committed}: {found:?}");
        }
        self.committed = self.committed.min(found.next);
        self.now = found;
        self.possible.clear();
    }

    /// Checks that the running log shows exactly what was asked for.
    pub fn check(&self, log: &RaftLog) {
        assert_eq!(observe(log), self.now);
    }
}

fn observe(log: &RaftLog) -> Model {
    let (state, entries) = (log.state(), all(log));
    assert_eq!(state.first, entries.first().map(|(index, _)| *index));
    assert_eq!(state.last, entries.last().map(|(index, _)| *index));
    let after_purge = state.purged.as_ref().map_or(0, |(index, _)| index + 1);
    Model {
        next: state.last.map_or(after_purge, |last| last + 1),
        entries: entries.into_iter().collect(),
        purged: state.purged,
        vote: state.vote,
    }
}
