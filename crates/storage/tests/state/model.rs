//! Random entries, checkpoints, bases, installs, crashes and failing disks, against the model.

use std::path::Path;

use jeton_storage::disk::Disk;
use jeton_storage::state::{OpenReport, State, StateError};
use proptest::prelude::*;

use crate::world::{DIR, Entry, Log, World, synced};

#[derive(Clone, Debug)]
enum Step {
    Entry(Entry),
    Checkpoint,
    Base,
    /// Another node's base, this many entries ahead, is installed.
    Install(u64),
    /// The power fails.
    Crash(u64),
    /// The disk stops after so many calls of the next step, then the power fails.
    DiskStops(u64, u64),
    /// The rows stop taking writes after so many in the next step, then the power fails.
    RowsStop(u64, u64),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few keys, pinned ones among them, some the beginning of others.
    (prop_oneof![Just(0x10_u8), Just(0x3f), Just(0x40), Just(0xf0)], 0_u8..6, 0_usize..3)
        .prop_map(|(first, second, length)| [vec![first, second], vec![0; length]].concat())
}

fn entry() -> impl Strategy<Value = Entry> {
    let value = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Some),
        1 => (9_000_usize..20_000).prop_map(|len| Some(vec![7; len])),
        2 => Just(None),
    ];
    proptest::collection::vec((key(), value), 0..8)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => entry().prop_map(Step::Entry),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Base),
        1 => (0_u64..4).prop_map(Step::Install),
        1 => any::<u64>().prop_map(Step::Crash),
        2 => (0_u64..25, any::<u64>()).prop_map(|(calls, seed)| Step::DiskStops(calls, seed)),
        2 => (0_u64..25, any::<u64>()).prop_map(|(calls, seed)| Step::RowsStop(calls, seed)),
    ]
}

/// One node under test, and the log that it would replay.
struct Node {
    world: World,
    log: Log,
    /// The log is purged up to here: a state below it is lost.
    purged: u64,
    state: Option<State>,
}

impl Node {
    fn new() -> Self {
        let world = World::default();
        let (state, report) = world.open().unwrap();
        let expected = OpenReport { rows: Some(0), ..OpenReport::default() };
        assert_eq!(report, expected, "nothing is out of the ordinary at first");
        Self { world, log: Log::default(), purged: 0, state: Some(state) }
    }

    fn state(&self) -> &State {
        self.state.as_ref().unwrap()
    }

    fn run(&mut self, step: &Step) -> Result<(), StateError> {
        match step {
            Step::Entry(entry) => {
                let index = self.log.push(entry.clone());
                self.log.apply(self.state(), index)?;
            }
            Step::Checkpoint => {
                self.state().checkpoint(&synced)?;
            }
            Step::Base => {
                if let Some(base) = self.state().build_base()? {
                    self.purged = self.purged.max(base.marker.index);
                }
            }
            Step::Install(ahead) => self.install(*ahead)?,
            Step::Crash(_) | Step::DiskStops(..) | Step::RowsStop(..) => {}
        }
        Ok(())
    }

    fn install(&mut self, ahead: u64) -> Result<(), StateError> {
        let current = self.log.last();
        for number in 0..ahead {
            let value = number.to_be_bytes().to_vec();
            self.log.push(vec![(b"\x10ahead".to_vec(), Some(value.clone()))]);
            self.log.push(vec![(b"\x80ahead".to_vec(), Some(value))]);
        }
        let index = self.log.last();
        if index == 0 {
            return Ok(());
        }
        let file = self.state().incoming_path(index);
        receive(&self.world, &base_of(&self.log), &file).map_err(|_| {
            StateError::Stopped("the disk stopped while the base was received".into())
        })?;
        match self.state().install(&file) {
            Ok(marker) => assert_eq!(marker, self.log.marker(index)),
            Err(StateError::NotNewer { .. }) if ahead == 0 => assert_eq!(index, current),
            Err(error) => return Err(error),
        }
        // The log before an installed base is of no use any more.
        if ahead > 0 {
            self.purged = index;
        }
        Ok(())
    }

    fn restart(&mut self, seed: u64) {
        self.state = None;
        self.world.crash(seed);
        let (state, report) = self.world.open().unwrap();
        let applied = report.applied.as_ref().map_or(0, |marker| marker.index);
        assert!(applied >= self.purged, "at {applied}, purged {}: {report:?}", self.purged);
        assert_eq!(report.rows, Some(self.log.rows(applied).len() as u64));
        self.log.compare(&state);
        self.log.replay(&state).unwrap();
        self.state = Some(state);
    }
}

/// Another node's base file after the whole log.
pub fn base_of(log: &Log) -> Vec<u8> {
    let other = World::default();
    let (state, _) = other.open().unwrap();
    log.replay(&state).unwrap();
    state.checkpoint(&synced).unwrap();
    let base = state.build_base().unwrap().unwrap();
    other.disk.content(&base.path).unwrap()
}

pub fn receive(world: &World, bytes: &[u8], file: &Path) -> std::io::Result<()> {
    let received = world.disk.open_or_create(file)?;
    received.set_len(0)?;
    received.write_at(bytes, 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens, opening gives the rows of some entry not before the purged ones, and the
    /// replay gives those of the last.
    #[test]
    fn the_state_is_the_models_after_any_history(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let mut node = Node::new();
        let mut ending = None;
        for step in &steps {
            let ran = node.run(step);
            if let Some(seed) = ending.take() {
                // The fault may not have struck: then it strikes between two steps.
                node.restart(seed);
            } else {
                ran.unwrap();
            }
            match step {
                Step::Crash(seed) => node.restart(*seed),
                Step::DiskStops(calls, seed) => {
                    node.world.disk.stop_after(*calls);
                    ending = Some(*seed);
                }
                Step::RowsStop(writes, seed) => {
                    node.world.store.fail_after(*writes);
                    ending = Some(*seed);
                }
                _ => {}
            }
            if ending.is_none() {
                node.log.compare(node.state());
            }
        }
        node.restart(0);
        node.log.compare(node.state());
        prop_assert_eq!(node.state().marker().map_or(0, |m| m.index), node.log.last());
        prop_assert!(node.world.files().iter().all(|name| !name.ends_with(".tmp")), "{DIR}");
    }
}
