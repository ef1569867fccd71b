//! Rows in memory, for tests and simulation, with a power cut that is as unkind as the seam allows:
//! of the writes since the last sync any subset survives it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::rows::{RowIndex, RowStore, RowsError};

/// Row indexes by directory. Clones share them, so that a test keeps one to cut the power.
#[derive(Clone, Debug, Default)]
pub struct MemStore {
    indexes: Arc<Mutex<BTreeMap<PathBuf, Arc<Mutex<Rows>>>>>,
    faults: Arc<Mutex<Faults>>,
}

/// What the store does wrong on request.
#[derive(Debug, Default)]
struct Faults {
    /// Writes and syncs still to succeed; `None`: all do.
    writes_left: Option<u64>,
}

#[derive(Debug, Default)]
struct Rows {
    live: Contents,
    durable: Contents,
    /// Writes since the last sync.
    unsynced: Vec<Write>,
    /// Refuses to open, like sled over some damages.
    broken: bool,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    rows: BTreeMap<Bytes, Bytes>,
    marker: Option<Bytes>,
}

#[derive(Clone, Debug)]
enum Write {
    Put(Bytes, Bytes),
    Delete(Bytes),
    Marker(Bytes),
}

impl Contents {
    fn write(&mut self, write: Write) {
        match write {
            Write::Put(key, value) => {
                self.rows.insert(key, value);
            }
            Write::Delete(key) => {
                self.rows.remove(&key);
            }
            Write::Marker(marker) => self.marker = Some(marker),
        }
    }
}

/// An injected failure.
#[derive(Debug, thiserror::Error)]
#[error("injected failure")]
struct Injected;

impl MemStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: of each index's writes since its last sync those survive for which
    /// `survives` answers yes. Ends injected failures.
    pub fn crash(&self, mut survives: impl FnMut() -> bool) {
        self.faults.lock().writes_left = None;
        for rows in self.indexes.lock().values() {
            let mut rows = rows.lock();
            for write in std::mem::take(&mut rows.unsynced) {
                if survives() {
                    rows.durable.write(write);
                }
            }
            rows.live = rows.durable.clone();
        }
    }

    /// Lets `writes` more writes and syncs succeed; the ones after them fail.
    pub fn fail_after(&self, writes: u64) {
        self.faults.lock().writes_left = Some(writes);
    }

    /// Loses a row silently, in every index: what sled does over some damages.
    pub fn lose(&self, key: &[u8]) {
        for rows in self.indexes.lock().values() {
            let mut rows = rows.lock();
            rows.live.rows.remove(key);
            rows.durable.rows.remove(key);
        }
    }

    /// Makes every index that exists refuse to open.
    pub fn break_all(&self) {
        for rows in self.indexes.lock().values() {
            rows.lock().broken = true;
        }
    }

    /// Directories that hold an index.
    #[must_use]
    pub fn dirs(&self) -> Vec<PathBuf> {
        self.indexes.lock().keys().cloned().collect()
    }
}

impl RowStore for MemStore {
    fn open(&self, dir: &Path) -> Result<Arc<dyn RowIndex>, RowsError> {
        let rows = Arc::clone(self.indexes.lock().entry(dir.to_owned()).or_default());
        if rows.lock().broken {
            return Err(RowsError::Engine(Box::new(Injected)));
        }
        Ok(Arc::new(MemRows { rows, faults: Arc::clone(&self.faults) }))
    }

    fn destroy(&self, dir: &Path) -> Result<(), RowsError> {
        self.indexes.lock().remove(dir);
        Ok(())
    }
}

/// One index in memory.
#[derive(Debug)]
pub struct MemRows {
    rows: Arc<Mutex<Rows>>,
    faults: Arc<Mutex<Faults>>,
}

impl MemRows {
    fn write(&self, write: Write) -> Result<(), RowsError> {
        self.may_fail()?;
        let mut rows = self.rows.lock();
        rows.live.write(write.clone());
        rows.unsynced.push(write);
        Ok(())
    }

    fn may_fail(&self) -> Result<(), RowsError> {
        match &mut self.faults.lock().writes_left {
            None => Ok(()),
            Some(0) => Err(RowsError::Engine(Box::new(Injected))),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl RowIndex for MemRows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowsError> {
        Ok(self.rows.lock().live.rows.get(key).cloned())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), RowsError> {
        self.write(Write::Put(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))
    }

    fn delete(&self, key: &[u8]) -> Result<(), RowsError> {
        self.write(Write::Delete(Bytes::copy_from_slice(key)))
    }

    fn range(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, RowsError> {
        if to.is_some_and(|to| from >= to) {
            return Ok(Vec::new());
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.lock();
        let found = rows.live.rows.range::<[u8], _>((Bound::Included(from), end));
        Ok(found.take(rows_max).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn marker(&self) -> Result<Option<Bytes>, RowsError> {
        Ok(self.rows.lock().live.marker.clone())
    }

    fn set_marker(&self, marker: &[u8]) -> Result<(), RowsError> {
        self.write(Write::Marker(Bytes::copy_from_slice(marker)))
    }

    fn sync(&self) -> Result<(), RowsError> {
        self.may_fail()?;
        let mut rows = self.rows.lock();
        for write in std::mem::take(&mut rows.unsynced) {
            rows.durable.write(write);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_takes_what_was_not_synced() {
        let store = MemStore::new();
        let rows = store.open(Path::new("r")).unwrap();
        rows.put(b"a", b"1").unwrap();
        rows.sync().unwrap();
        rows.put(b"a", b"2").unwrap();
        rows.set_marker(b"m").unwrap();
        store.crash(|| false);
        let rows = store.open(Path::new("r")).unwrap();
        assert_eq!(rows.get(b"a").unwrap().unwrap(), "1");
        assert_eq!(rows.marker().unwrap(), None);
    }

    #[test]
    fn a_power_cut_may_keep_later_writes_without_earlier_ones() {
        let store = MemStore::new();
        let rows = store.open(Path::new("r")).unwrap();
        rows.put(b"a", b"1").unwrap();
        rows.set_marker(b"m").unwrap();
        let mut survives = [false, true].into_iter();
        store.crash(|| survives.next().unwrap());
        assert_eq!(rows.get(b"a").unwrap(), None);
        assert_eq!(rows.marker().unwrap().unwrap(), "m");
    }
}
