//! The newest entries in memory, bounded in bytes, and all that are not synced yet.
//!
//! It always holds every entry from `first` to the end of the log, so what is below `first` is
//! synced and in the files. The ticket of the write that an entry came with says when that is so.

use std::collections::VecDeque;

use bytes::Bytes;

/// What an entry costs on top of its bytes.
const OVERHEAD_BYTES: usize = 64;

#[derive(Debug, Default)]
pub struct Cache {
    first: u64,
    entries: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

impl Cache {
    /// An empty one at the end of a log that goes on with `next`.
    pub fn new(next: u64) -> Self {
        Self { first: next, ..Self::default() }
    }

    /// The first entry that is here, or the next one of the log.
    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn append(&mut self, index: u64, entries: &[Bytes], ticket: u64) {
        if self.entries.is_empty() {
            self.first = index;
        }
        self.bytes += entries.iter().map(|entry| entry.len() + OVERHEAD_BYTES).sum::<usize>();
        self.entries.extend(entries.iter().map(|entry| (ticket, entry.clone())));
    }

    pub fn truncate(&mut self, index: u64) {
        while self.first + self.entries.len() as u64 > index
            && let Some((_, entry)) = self.entries.pop_back()
        {
            self.bytes -= entry.len() + OVERHEAD_BYTES;
        }
        self.first = self.first.min(index);
    }

    pub fn purge(&mut self, index: u64) {
        while self.first <= index && self.pop_front_if(|_| true) {}
        self.first = self.first.max(index + 1);
    }

    /// Drops the oldest entries until it is small enough, but none that came with a later ticket.
    pub fn evict(&mut self, synced: u64, bytes_max: usize) {
        while self.bytes > bytes_max && self.pop_front_if(|ticket| ticket <= synced) {}
    }

    /// The ticket of an entry; `None` if it is not here any more.
    pub fn ticket(&self, index: u64) -> Option<u64> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(at).map(|(ticket, _)| *ticket)
    }

    /// The entries from `from` on, which must not be below `first`.
    pub fn from(&self, from: u64) -> impl Iterator<Item = &Bytes> {
        let skip = (from - self.first) as usize;
        self.entries.range(skip.min(self.entries.len())..).map(|(_, entry)| entry)
    }

    fn pop_front_if(&mut self, may: impl Fn(u64) -> bool) -> bool {
        let Some((_, entry)) = self.entries.pop_front_if(|(ticket, _)| may(*ticket)) else {
            return false;
        };
        self.bytes -= entry.len() + OVERHEAD_BYTES;
        self.first += 1;
        true
    }
}
