//! What the records so far add up to, apart from where the entries are.
//!
//! There are three of it: what callers see at once, what the flusher has written (carried over into
//! each new segment), and what recovery finds. The rules are the same, so they are here.

use bytes::Bytes;

use super::error::LogError;

/// Entries `first..next`, and the latest of everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Index of the first entry, if there are any.
    pub first: u64,
    /// Index that the next entry will have.
    pub next: u64,
    /// Last index purged, and its log id.
    pub purged: Option<(u64, Bytes)>,
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
    /// Whose log it is.
    pub owner: Option<Bytes>,
}

impl Kept {
    pub fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// Takes `count` entries from `index` on. They must follow the last one; only a log that never
    /// had anything may start anywhere.
    pub fn append(&mut self, index: u64, count: usize) -> Result<(), LogError> {
        if index != self.next {
            if !self.is_empty() || self.purged.is_some() {
                return Err(LogError::Gap { expected: self.next, got: index });
            }
            self.first = index;
        }
        self.next = index + count as u64;
        Ok(())
    }

    /// Drops the entries from `index` on.
    pub fn truncate(&mut self, index: u64) {
        self.next = self.next.min(index.max(self.first));
    }

    /// Drops the entries up to `index`; the log goes on behind it even if it never had it.
    pub fn purge(&mut self, index: u64, log_id: Bytes) {
        if self.purged.as_ref().is_some_and(|(purged, _)| *purged > index) {
            return;
        }
        self.purged = Some((index, log_id));
        self.first = self.first.max(index + 1);
        self.next = self.next.max(index + 1);
    }
}
