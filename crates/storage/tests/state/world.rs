//! A state over simulated disk and rows, beside the model it is compared with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::digest::row_digest;
use jeton_core::tables::{ReadTables, Tables};
use jeton_storage::disk::{Disk, Loss, MemDisk};
use jeton_storage::state::{Marker, MemStore, OpenReport, State, StateError, StateOptions};

pub const DIR: &str = "/state";

/// Writes of one entry.
pub type Entry = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The log that the state is replayed from, and what its rows are after each entry.
#[derive(Debug, Default)]
pub struct Log {
    entries: Vec<Entry>,
    states: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Log {
    /// Adds an entry; its index is the length before, plus one.
    pub fn push(&mut self, entry: Entry) -> u64 {
        let mut rows = self.states.last().cloned().unwrap_or_default();
        for (key, value) in &entry {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        self.entries.push(entry);
        self.states.push(rows);
        self.last()
    }

    pub fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn rows(&self, index: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
        match index.checked_sub(1) {
            None => BTreeMap::new(),
            Some(at) => self.states[usize::try_from(at).unwrap()].clone(),
        }
    }

    pub fn marker(&self, index: u64) -> Marker {
        let add = |sum: u128, (key, value): (&Vec<u8>, &Vec<u8>)| {
            sum.wrapping_add(row_digest(key, value))
        };
        let rows = self.rows(index).iter().fold(0, add);
        Marker { index, rows, opaque: Bytes::from(format!("entry {index}")) }
    }

    /// Applies one entry.
    pub fn apply(&self, state: &State, index: u64) -> Result<(), StateError> {
        let mut changes = state.begin()?;
        for (key, value) in &self.entries[usize::try_from(index - 1).unwrap()] {
            match value {
                Some(value) => changes.put(key.clone(), value.clone()),
                None => changes.delete(key),
            }
        }
        changes.commit(self.marker(index));
        Ok(())
    }

    /// Applies what is missing, as a node does when it starts.
    pub fn replay(&self, state: &State) -> Result<(), StateError> {
        let from = state.marker().map_or(0, |marker| marker.index);
        (from + 1..=self.last()).try_for_each(|index| self.apply(state, index))
    }

    /// Compares everything a reader can see with the model.
    pub fn compare(&self, state: &State) {
        let view = state.view();
        let index = view.marker().map_or(0, |marker| marker.index);
        if index > 0 {
            assert_eq!(view.marker(), Some(&self.marker(index)));
        }
        let rows = self.rows(index);
        let scanned = view.scan(b"", &[0xff; 40], usize::MAX).unwrap();
        let expected: Vec<(Bytes, Bytes)> =
            rows.iter().map(|(k, v)| (k.clone().into(), v.clone().into())).collect();
        assert_eq!(scanned.len(), expected.len(), "rows at {index}");
        assert!(scanned == expected, "the rows at {index} differ");
        for (key, value) in &rows {
            assert_eq!(view.get(key).unwrap().as_deref(), Some(value.as_slice()));
        }
    }
}

pub fn synced(_: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Ok(())
}

/// A machine: its disk and its rows outlive its states.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub disk: MemDisk,
    pub store: MemStore,
}

impl World {
    pub fn open(&self) -> Result<(State, OpenReport), StateError> {
        self.open_with(StateOptions::default())
    }

    pub fn open_with(&self, options: StateOptions) -> Result<(State, OpenReport), StateError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        State::open_on(disk, Arc::new(self.store.clone()), Path::new(DIR), options)
    }

    /// Cuts the power; of what was not synced some survives, by the seed.
    pub fn crash(&self, seed: u64) {
        self.disk.crash(Loss::Some(seed));
        let mut random = seed;
        self.store.crash(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            random >> 63 == 1
        });
    }

    /// Names of the files in the state's directory.
    pub fn files(&self) -> Vec<String> {
        self.disk.list(Path::new(DIR)).unwrap()
    }
}
