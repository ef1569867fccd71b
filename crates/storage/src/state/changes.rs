//! The writes of one log entry, kept aside until the entry is whole.

use bytes::Bytes;
use jeton_core::tables::{ReadTables, Tables, TablesError};

use super::State;
use super::layers::Writes;
use super::marker::Marker;
use super::view::tables_error;

/// One entry's reads and writes. Its reads see its own writes; nobody else sees them before
/// [`Changes::commit`]. Dropped without it, they never were.
pub struct Changes {
    state: State,
    writes: Writes,
}

impl Changes {
    pub(super) fn new(state: State) -> Self {
        Self { state, writes: Writes::new() }
    }

    /// Makes the entry's writes the state that readers see, all at once.
    ///
    /// # Panics
    /// If `marker` is not ahead of the state's: an entry would be applied twice.
    pub fn commit(mut self, marker: Marker) {
        let writes = std::mem::take(&mut self.writes);
        self.state.merge(writes, marker);
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.state.end_writing();
    }
}

impl ReadTables for Changes {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        match self.writes.get(key) {
            Some(write) => Ok(write.clone()),
            None => self.state.layers().get(key).map_err(tables_error),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
        self.state.layers().scan(Some(&self.writes), from, to, rows_max).map_err(tables_error)
    }
}

impl Tables for Changes {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key.into(), Some(value.into()));
    }

    fn delete(&mut self, key: &[u8]) {
        match self.writes.get_mut(key) {
            Some(write) => *write = None,
            None => {
                self.writes.insert(Bytes::copy_from_slice(key), None);
            }
        }
    }
}
