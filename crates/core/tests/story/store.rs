//! Where a story keeps its rows: in memory here, on disk where storage tells the same stories.

use bytes::Bytes;
use jeton_core::command::Entry;
use jeton_core::ids::LogIndex;
use jeton_core::machine::{Machine, Meta};
use jeton_core::reply::Replies;
use jeton_core::tables::{MemTables, ReadTables, TablesError};

/// A machine and its rows.
pub trait Store: ReadTables {
    /// The machine's counters.
    fn meta(&self) -> &Meta;

    /// Applies the next entry, and keeps what it changed.
    fn apply<R: Replies>(&mut self, index: LogIndex, entry: &Entry, replies: &mut R);

    /// Between two lines of the story: time to forget whatever is not kept.
    fn turn_the_page(&mut self) {}

    /// All rows, in ascending order of key.
    fn rows(&self) -> Vec<(Bytes, Bytes)> {
        self.scan(b"", &[0xff; 600], usize::MAX).unwrap()
    }
}

/// Everything in memory.
#[derive(Default)]
pub struct Memory {
    machine: Machine,
    tables: MemTables,
}

impl ReadTables for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        self.tables.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
        self.tables.scan(from, to, rows_max)
    }
}

impl Store for Memory {
    fn meta(&self) -> &Meta {
        self.machine.meta()
    }

    fn apply<R: Replies>(&mut self, index: LogIndex, entry: &Entry, replies: &mut R) {
        self.machine.apply(&mut self.tables, index, entry, replies).unwrap();
    }
}
