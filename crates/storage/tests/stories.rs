//! The transcripts of the core, told over rows on disk: every few lines the process forgets all
//! that it has in memory, and opens again what a checkpoint has left in sled.
//!
//! What must be answered stands in `crates/core/tests/transcripts`, and is read only here.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads its script")]

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../core/tests/story/mod.rs"]
mod story;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::codec;
use jeton_core::command::Entry;
use jeton_core::ids::LogIndex;
use jeton_core::machine::{Machine, Meta};
use jeton_core::reply::Replies;
use jeton_core::tables::{ReadTables, TablesError};
use jeton_storage::disk::RealDisk;
use jeton_storage::state::{Marker, State, StateOptions};
use story::store::Store;
use story::{Story, run};

/// Lines between two openings, so that some answers come out of the overlay, and some out of sled.
const LINES_A_PROCESS: u32 = 4;
/// Far above what a machine's counters take.
const META_BYTES_MAX: usize = 4_096;

/// A node's rows on disk, and its machine in memory.
struct OnDisk {
    dir: tempfile::TempDir,
    /// `None` only between two openings.
    state: Option<State>,
    machine: Machine,
    lines: u32,
    openings: u32,
}

impl OnDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Self { dir, state: None, machine: Machine::new(), lines: 0, openings: 0 };
        disk.open();
        disk
    }

    fn state(&self) -> &State {
        self.state.as_ref().unwrap()
    }

    /// Everything in memory is made anew from what is on disk.
    fn open(&mut self) {
        let options = StateOptions { cache_bytes: 1 << 20, ..StateOptions::default() };
        let (state, report) = State::open(Arc::new(RealDisk), self.dir.path(), options).unwrap();
        self.machine = report.applied.map_or_else(Machine::new, |marker| {
            let meta = codec::decode::<Meta>(&marker.opaque, META_BYTES_MAX).unwrap();
            assert_eq!(marker.rows, meta.rows, "the rows are those of the marker");
            Machine::restore(&meta)
        });
        self.state = Some(state);
        self.openings += 1;
    }
}

impl ReadTables for OnDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        self.state().view().get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
        self.state().view().scan(from, to, rows_max)
    }
}

impl Store for OnDisk {
    fn meta(&self) -> &Meta {
        self.machine.meta()
    }

    fn apply<R: Replies>(&mut self, index: LogIndex, entry: &Entry, replies: &mut R) {
        let mut changes = self.state().begin().unwrap();
        self.machine.apply(&mut changes, index, entry, replies).unwrap();
        let meta = self.machine.meta();
        let opaque = Bytes::from(codec::encode(meta));
        changes.commit(Marker { index: index.0, rows: meta.rows, opaque });
    }

    fn turn_the_page(&mut self) {
        self.lines += 1;
        if self.lines.is_multiple_of(LINES_A_PROCESS) {
            self.state().checkpoint(&|_| Ok(())).unwrap();
            self.state = None;
            self.open();
        }
    }
}

fn check(path: &Path) {
    let (name, text) = (path.display(), std::fs::read_to_string(path).unwrap());
    let mut story = Story::over(OnDisk::new());
    let told = run(&text, &mut story);
    for (line, (want, got)) in text.lines().zip(told.lines()).enumerate() {
        assert_eq!(want, got, "{name}, line {}", line + 1);
    }
    assert_eq!(text.lines().count(), told.lines().count(), "{name} ends elsewhere");
    assert!(story.store().openings > 2, "{name} was told in one go");
}

/// The stories, in parts, so that they are told side by side.
fn check_part(part: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/transcripts");
    let found = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 40, "the transcripts have moved");
    paths.iter().skip(part).step_by(4).for_each(|path| check(path));
}

#[test]
fn stories_are_the_same_over_sled_first_part() {
    check_part(0);
}

#[test]
fn stories_are_the_same_over_sled_second_part() {
    check_part(1);
}

#[test]
fn stories_are_the_same_over_sled_third_part() {
    check_part(2);
}

#[test]
fn stories_are_the_same_over_sled_fourth_part() {
    check_part(3);
}
