//! Real processes on the real disk with sled, killed at any moment: in the middle of checkpoints,
//! bases and installs. More rounds with `JETON_KILL_ROUNDS=200`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jeton_core::digest::row_digest;
use jeton_core::tables::{ReadTables, Tables};
use jeton_storage::disk::{Disk, RealDisk};
use jeton_storage::state::{Checkpointer, Marker, OpenReport, State, StateOptions};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::world::{Entry, synced};

/// Names the directory that a child works in.
const CHILD_DIR: &str = "JETON_STATE_CHILD";
/// Names the base that a child installs at once, if it is to.
const CHILD_INSTALL: &str = "JETON_STATE_INSTALL";
const KEYS: u64 = 2_000;

/// The same entries in every process.
pub struct History {
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub index: u64,
    digest: u128,
}

impl History {
    pub fn new() -> Self {
        Self { rows: BTreeMap::new(), index: 0, digest: 0 }
    }

    pub fn at(index: u64) -> Self {
        let mut history = Self::new();
        while history.index < index {
            history.step();
        }
        history
    }

    pub fn step(&mut self) -> Entry {
        self.index += 1;
        let mut random = SmallRng::seed_from_u64(self.index);
        let mut entry = Entry::new();
        for _ in 0..8 {
            let number = random.random_range(0..KEYS);
            let first = if number.is_multiple_of(20) { 0x10_u8 } else { 0x50 };
            let key = [[first].as_slice(), &number.to_be_bytes()].concat();
            let len = if random.random_ratio(1, 50) { 20_000 } else { 300 };
            let value = random.random_ratio(3, 4).then(|| {
                let mut value = vec![0; random.random_range(0..len)];
                random.fill(value.as_mut_slice());
                value
            });
            entry.push((key, value));
        }
        for (key, value) in &entry {
            if let Some(old) = self.rows.remove(key) {
                self.digest = self.digest.wrapping_sub(row_digest(key, &old));
            }
            if let Some(value) = value {
                self.digest = self.digest.wrapping_add(row_digest(key, value));
                self.rows.insert(key.clone(), value.clone());
            }
        }
        entry
    }

    pub fn marker(&self) -> Marker {
        let opaque = Bytes::from(self.index.to_string());
        Marker { index: self.index, rows: self.digest, opaque }
    }

    pub fn apply_next(&mut self, state: &State) {
        let mut changes = state.begin().unwrap();
        for (key, value) in self.step() {
            match value {
                Some(value) => changes.put(key, value),
                None => changes.delete(&key),
            }
        }
        changes.commit(self.marker());
    }

    pub fn compare(&self, state: &State) {
        let view = state.view();
        if self.index > 0 {
            assert_eq!(view.marker(), Some(&self.marker()));
        }
        let found = view.scan(&[0], &[0xff], usize::MAX).unwrap();
        assert_eq!(found.len(), self.rows.len());
        for ((key, value), (expected_key, expected)) in found.iter().zip(&self.rows) {
            assert_eq!(key, expected_key);
            assert!(value == expected, "another value under {key:?}");
            assert!(view.get(key).unwrap().unwrap() == *expected);
        }
    }
}

pub fn options() -> StateOptions {
    StateOptions { checkpoint_bytes: 100_000, cache_bytes: 4 << 20, ..StateOptions::default() }
}

pub fn open(dir: &Path) -> (State, OpenReport) {
    State::open(Arc::new(RealDisk), dir, options()).unwrap()
}

/// What a killed child does: not a test of its own.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (state, report) = open(Path::new(&dir));
    let applied = report.applied.map_or(0, |marker| marker.index);
    println!("\nopened {applied}");
    let mut history = History::at(applied);
    if let Some(base) = std::env::var_os(CHILD_INSTALL) {
        let installed = state.install(Path::new(&base)).unwrap();
        println!("installed {}", installed.index);
        history = History::at(installed.index);
    }
    let _checkpointer = Checkpointer::start(
        &state,
        Arc::new(|index| {
            println!("checkpoint {index}");
            Ok(())
        }),
    )
    .unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                println!("building");
                if let Some(base) = state.build_base().unwrap() {
                    println!("base {}", base.marker.index);
                }
            }
        });
        loop {
            history.apply_next(&state);
        }
    });
}

struct Killed {
    /// The last base that was acknowledged.
    base: u64,
    /// The last checkpoint that was followed by another.
    checkpoint: u64,
}

fn start(dir: &Path, install: Option<&Path>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::child", "--nocapture"]).env(CHILD_DIR, dir);
    if let Some(base) = install {
        command.env(CHILD_INSTALL, base);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Lets a child say `lines` lines that begin with `word`, then kills it after `delay`.
fn run_and_kill(mut child: Child, word: &str, lines: u32, delay: Duration) -> Killed {
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut killed = Killed { base: 0, checkpoint: 0 };
    let (mut seen, mut last_begun) = (0, 0);
    let mut note = |line: String| {
        let (said, number) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        let number: u64 = number.parse().unwrap_or(0);
        match said {
            "base" | "installed" => killed.base = number,
            "checkpoint" => killed.checkpoint = std::mem::replace(&mut last_begun, number),
            _ => {}
        }
        said == word
    };
    while seen < lines {
        let line = output.next().expect("the child lives until it is killed").unwrap();
        seen += u32::from(note(line));
    }
    // Not to wait for anything: to strike at another moment each time.
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before it was killed.
    for line in output.map_while(Result::ok) {
        note(line);
    }
    killed
}

fn rounds() -> u64 {
    std::env::var("JETON_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[test]
fn a_killed_process_loses_nothing_that_was_durable() {
    let mut dir = tempfile::tempdir().unwrap();
    let (mut interrupted, mut last, mut longest) = (0, 0, 0);
    for round in 0..rounds() {
        if round % 6 == 5 {
            // A new life now and then: the model is computed from the beginning each time.
            (dir, last) = (tempfile::tempdir().unwrap(), 0);
        }
        let mut random = SmallRng::seed_from_u64(round);
        let word = ["opened", "checkpoint", "building", "base"][random.random_range(0..4_usize)];
        let lines = if word == "opened" { 1 } else { random.random_range(1..4) };
        let delay = Duration::from_micros(random.random_range(0..20_000));
        let killed = run_and_kill(start(dir.path(), None), word, lines, delay);

        let (state, report) = open(dir.path());
        let applied = report.applied.as_ref().map_or(0, |marker| marker.index);
        assert!(!report.rebuilt, "round {round}: {report:?}");
        assert!(applied >= killed.base.max(killed.checkpoint).max(last), "{report:?}");
        assert!(state.base().is_none_or(|base| base.marker.index >= killed.base));
        interrupted += usize::from(!report.findings.is_empty());
        last = applied;
        longest = applied.max(longest);
        History::at(applied).compare(&state);
    }
    assert!(longest > 0 && interrupted > 0, "no checkpoint was interrupted in its middle");
}

#[test]
fn a_process_killed_while_it_installs_has_the_old_state_or_the_new_one() {
    let other = tempfile::tempdir().unwrap();
    let (state, _) = open(other.path());
    let mut history = History::new();
    while history.index < 3_000 {
        history.apply_next(&state);
    }
    state.checkpoint(&synced).unwrap();
    let base = state.build_base().unwrap().unwrap();
    let (mut old, mut new) = (0, 0);
    for round in 0..rounds() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = open(dir.path());
        let mut history = History::new();
        while history.index < 10 {
            history.apply_next(&state);
        }
        state.checkpoint(&synced).unwrap();
        let incoming: PathBuf = state.incoming_path(base.marker.index);
        drop(state);
        copy(&base.path, &incoming);

        let mut random = SmallRng::seed_from_u64(round);
        let delay = Duration::from_micros(random.random_range(0..60_000));
        let killed = run_and_kill(start(dir.path(), Some(&incoming)), "opened", 1, delay);
        let (state, report) = open(dir.path());
        let applied = report.applied.as_ref().map_or(0, |marker| marker.index);
        assert!(applied >= killed.base, "round {round}: {report:?}");
        assert!(applied == 10 || applied >= base.marker.index, "round {round}: {report:?}");
        if applied == 10 {
            old += 1
        } else {
            new += 1
        }
        History::at(applied).compare(&state);
    }
    assert!(old > 0 && new > 0, "killed before the switch {old} times, after it {new} times");
}

fn copy(from: &Path, to: &Path) {
    let bytes = RealDisk.open(from).unwrap().read_all().unwrap();
    RealDisk.create_new(to).unwrap().write_at(&bytes, 0).unwrap();
}
