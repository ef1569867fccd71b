//! The one trait between the state machine and whatever keeps its rows.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// The store below could not answer: an I/O error, never a missing row. The machine stops on it.
#[derive(Debug, thiserror::Error)]
#[error("the row store failed: {0}")]
pub struct TablesError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Reads of an ordered map from byte keys to byte values, at one consistent moment.
pub trait ReadTables {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`TablesError`] if the store below can't answer.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TablesError>;

    /// Up to `rows_max` rows with `from <= key < to`, in ascending order of key.
    ///
    /// # Errors
    /// [`TablesError`] if the store below can't answer.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TablesError>;
}

/// Reads and writes of one log entry while it is applied: reads see the entry's own writes.
///
/// Keys whose first byte is below [`PINNED_END`] are *pinned*: the store keeps all of them in
/// memory (tenants, keys, cutoffs: what every rotation looks at), so reading them costs no disk.
pub trait Tables: ReadTables {
    /// Writes a row.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);

    /// Removes a row; nothing happens if there is none.
    fn delete(&mut self, key: &[u8]);
}

/// First bytes of keys below this one are pinned in memory.
pub const PINNED_END: u8 = 0x40;

/// Rows in memory: the model that every other implementation must behave like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemTables {
    rows: BTreeMap<Bytes, Bytes>,
}

impl MemTables {
    /// No rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All rows in ascending order of key.
    pub fn rows(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.rows.iter()
    }
}

impl ReadTables for MemTables {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
        // `BTreeMap::range` panics on an inverted range; here it is an empty one.
        if from >= to {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let rows = self.rows.range::<[u8], _>(range).take(rows_max);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl Tables for MemTables {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.rows.insert(key.into(), value.into());
    }

    fn delete(&mut self, key: &[u8]) {
        self.rows.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(tables: &MemTables, from: &[u8], to: &[u8], rows_max: usize) -> Vec<Bytes> {
        let rows = tables.scan(from, to, rows_max).unwrap();
        rows.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_scan_is_ordered_bounded_and_half_open() {
        let mut tables = MemTables::new();
        for key in [b"b", b"a", b"d", b"c"] {
            tables.put(key.to_vec(), vec![1]);
        }
        assert_eq!(keys(&tables, b"a", b"d", 9), ["a", "b", "c"].map(Bytes::from));
        assert_eq!(keys(&tables, b"b", b"zz", 2), ["b", "c"].map(Bytes::from));
        assert!(keys(&tables, b"c", b"c", 9).is_empty());
        assert!(keys(&tables, b"d", b"a", 9).is_empty(), "an inverted range is an empty one");
    }

    #[test]
    fn the_last_write_is_what_is_read() {
        let mut tables = MemTables::new();
        tables.delete(b"a");
        tables.put(b"a".to_vec(), vec![1]);
        tables.put(b"a".to_vec(), Vec::new());
        assert_eq!(tables.get(b"a").unwrap(), Some(Bytes::new()), "empty is not absent");
        tables.delete(b"a");
        assert_eq!(tables.get(b"a").unwrap(), None);
    }
}
