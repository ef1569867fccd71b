//! Rows in sled 0.34.7: the only file that knows it.
//!
//! What its measured faults make us do:
//!
//! - **Plain inserts only.** `Batch` and transactions take a lock that every reader waits for.
//! - **`flush()` is not an fsync** on Linux (it is `sync_file_range`): after it, `sync_data` is
//!   called on a descriptor of the `db` file.
//! - **Large items go to blob files that are never synced**: a value above 8 KiB is cut into
//!   chunks, kept in a tree of their own, and its row says how many bytes they make.
//! - **It panics over damaged files**: every call is caught and becomes [`RowsError::Panicked`].
//!   (So the binary must be built with unwinding panics.)
//! - **It hides damage**: rows may be missing without an error. The digest above this layer is
//!   what notices.
//!
//! Trees: `rows` (key → tag ‖ value), `chunks` (key ‖ number `u32` → part), `meta` (marker).

use std::any::Any;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::rows::{RowIndex, RowStore, RowsError};

/// Longest part of a value that one sled item carries.
const CHUNK_BYTES_MAX: usize = 8 * 1024;
/// First byte of a row whose value follows.
const INLINE: u8 = 0;
/// First byte of a row whose value is in `chunks`; its length follows, `u32` big endian.
const CHUNKED: u8 = 1;
/// Length of the number that ends a chunk's key.
const CHUNK_NUMBER_BYTES: usize = 4;
const MARKER_KEY: &[u8] = b"marker";

/// Opens sled indexes.
#[derive(Clone, Debug)]
pub struct SledStore {
    /// Bytes of sled's page cache.
    pub cache_bytes: u64,
}

impl RowStore for SledStore {
    fn open(&self, dir: &Path) -> Result<Arc<dyn RowIndex>, RowsError> {
        Ok(Arc::new(SledRows::open(dir, self.cache_bytes)?))
    }

    fn destroy(&self, dir: &Path) -> Result<(), RowsError> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RowsError::Engine(Box::new(error)))
            }
            _ => Ok(()),
        }
    }
}

/// One open sled database.
pub struct SledRows {
    /// `None` only while it is dropped.
    trees: Option<Trees>,
    /// A descriptor of sled's own file, for real syncs.
    file: File,
    /// The database's directory, synced too: sled creates and renames files in it.
    dir: File,
    /// Keys that have chunks; few, so that overwriting an ordinary row needs no read.
    chunked: Mutex<BTreeSet<Vec<u8>>>,
}

struct Trees {
    db: sled::Db,
    rows: sled::Tree,
    chunks: sled::Tree,
    meta: sled::Tree,
}

impl SledRows {
    /// Opens the database in `dir`, an empty one if there is none.
    ///
    /// # Errors
    /// [`RowsError`] if sled can't, or panicked.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, RowsError> {
        caught(|| {
            let db = sled::Config::new()
                .path(dir)
                .cache_capacity(cache_bytes)
                .flush_every_ms(Some(500))
                .open()?;
            let trees = Trees {
                rows: db.open_tree("rows")?,
                chunks: db.open_tree("chunks")?,
                meta: db.open_tree("meta")?,
                db,
            };
            let chunked = sweep_chunks(&trees)?;
            let file = OpenOptions::new().read(true).open(dir.join("db")).map_err(engine)?;
            let dir = OpenOptions::new().read(true).open(dir).map_err(engine)?;
            Ok(Self { trees: Some(trees), file, dir, chunked: Mutex::new(chunked) })
        })
    }

    fn trees(&self) -> &Trees {
        self.trees.as_ref().expect("taken only in drop")
    }

    fn put_value(&self, key: &[u8], value: &[u8]) -> Result<(), RowsError> {
        let trees = self.trees();
        if value.len() < CHUNK_BYTES_MAX {
            let mut item = Vec::with_capacity(1 + value.len());
            item.push(INLINE);
            item.extend_from_slice(value);
            trees.rows.insert(key, item)?;
            return self.drop_chunks(key, 0);
        }
        // Noted before anything is written, so that a failure half way leaves no forgotten chunk.
        self.chunked.lock().insert(key.to_vec());
        let mut number = 0_u32;
        for part in value.chunks(CHUNK_BYTES_MAX) {
            trees.chunks.insert(chunk_key(key, number), part)?;
            number += 1;
        }
        let bytes = u32::try_from(value.len()).map_err(|_| RowsError::Damaged("value too long"))?;
        let mut item = Vec::with_capacity(1 + 4);
        item.push(CHUNKED);
        item.extend_from_slice(&bytes.to_be_bytes());
        trees.rows.insert(key, item)?;
        self.drop_chunks(key, number)
    }

    /// Removes the chunks of `key` from number `keep` on.
    fn drop_chunks(&self, key: &[u8], keep: u32) -> Result<(), RowsError> {
        let mut chunked = self.chunked.lock();
        if !chunked.contains(key) {
            return Ok(());
        }
        let chunks = &self.trees().chunks;
        for item in chunks.range(chunk_key(key, keep)..=chunk_key(key, u32::MAX)) {
            let (chunk, _) = item?;
            // A longer key that begins like this one sorts in between.
            if chunk.len() == key.len() + CHUNK_NUMBER_BYTES {
                chunks.remove(chunk)?;
            }
        }
        if keep == 0 {
            chunked.remove(key);
        }
        Ok(())
    }
}

impl RowIndex for SledRows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowsError> {
        caught(|| match self.trees().rows.get(key)? {
            None => Ok(None),
            Some(item) => value_of(&self.trees().chunks, key, &item).map(Some),
        })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), RowsError> {
        caught(|| self.put_value(key, value))
    }

    fn delete(&self, key: &[u8]) -> Result<(), RowsError> {
        caught(|| {
            self.trees().rows.remove(key)?;
            self.drop_chunks(key, 0)
        })
    }

    fn range(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, RowsError> {
        caught(|| {
            let trees = self.trees();
            let found = match to {
                Some(to) if from >= to => return Ok(Vec::new()),
                Some(to) => trees.rows.range(from..to),
                None => trees.rows.range(from..),
            };
            let mut rows = Vec::new();
            for item in found.take(rows_max) {
                let (key, item) = item?;
                let value = value_of(&trees.chunks, &key, &item)?;
                rows.push((Bytes::copy_from_slice(&key), value));
            }
            Ok(rows)
        })
    }

    fn marker(&self) -> Result<Option<Bytes>, RowsError> {
        caught(|| Ok(self.trees().meta.get(MARKER_KEY)?.map(|item| Bytes::copy_from_slice(&item))))
    }

    fn set_marker(&self, marker: &[u8]) -> Result<(), RowsError> {
        caught(|| {
            self.trees().meta.insert(MARKER_KEY, marker)?;
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), RowsError> {
        caught(|| {
            self.trees().db.flush()?;
            self.file.sync_data().map_err(engine)?;
            self.dir.sync_all().map_err(engine)
        })
    }
}

impl Drop for SledRows {
    fn drop(&mut self) {
        // Dropping a damaged database may panic, and its rows are rebuilt from elsewhere anyway.
        let trees = self.trees.take();
        if let Err(error) = caught(|| {
            drop(trees);
            Ok(())
        }) {
            tracing::warn!(%error, "closing the row index failed");
        }
    }
}

/// Puts a row's value together.
fn value_of(chunks: &sled::Tree, key: &[u8], item: &[u8]) -> Result<Bytes, RowsError> {
    match item.split_first() {
        Some((&INLINE, value)) => Ok(Bytes::copy_from_slice(value)),
        Some((&CHUNKED, bytes)) => {
            let bytes = chunked_len(bytes)?;
            let mut value = Vec::with_capacity(bytes);
            for number in 0..chunk_count(bytes) {
                let part = chunks.get(chunk_key(key, number))?;
                value.extend_from_slice(&part.ok_or(RowsError::Damaged("a chunk is missing"))?);
            }
            if value.len() != bytes {
                return Err(RowsError::Damaged("its chunks have another length"));
            }
            Ok(value.into())
        }
        _ => Err(RowsError::Damaged("it has no known tag")),
    }
}

fn chunked_len(bytes: &[u8]) -> Result<usize, RowsError> {
    let bytes: [u8; 4] = bytes.try_into().map_err(|_| RowsError::Damaged("it has no length"))?;
    usize::try_from(u32::from_be_bytes(bytes)).map_err(|_| RowsError::Damaged("it is too long"))
}

fn chunk_count(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(CHUNK_BYTES_MAX)).expect("shorter than its u32 length")
}

fn chunk_key(key: &[u8], number: u32) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(key.len() + CHUNK_NUMBER_BYTES);
    chunk.extend_from_slice(key);
    chunk.extend_from_slice(&number.to_be_bytes());
    chunk
}

/// Removes chunks that a crash left without a row, and returns the keys that have chunks.
fn sweep_chunks(trees: &Trees) -> Result<BTreeSet<Vec<u8>>, RowsError> {
    let mut chunked = BTreeSet::new();
    for chunk in trees.chunks.iter().keys() {
        let chunk = chunk?;
        let Some((key, number)) = chunk.split_last_chunk::<CHUNK_NUMBER_BYTES>() else {
            return Err(RowsError::Damaged("a chunk has no number"));
        };
        let wanted = match trees.rows.get(key)?.as_deref().and_then(<[u8]>::split_first) {
            Some((&CHUNKED, bytes)) => chunk_count(chunked_len(bytes)?),
            _ => 0,
        };
        if u32::from_be_bytes(*number) < wanted {
            if !chunked.contains(key) {
                chunked.insert(key.to_vec());
            }
        } else {
            trees.chunks.remove(&chunk)?;
        }
    }
    Ok(chunked)
}

impl From<sled::Error> for RowsError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if is_machines(&error) => Self::Refused(error),
            error => engine(error),
        }
    }
}

fn engine(error: impl std::error::Error + Send + Sync + 'static) -> RowsError {
    RowsError::Engine(Box::new(error))
}

/// Whether an error is the machine's rather than a sign of damage.
fn is_machines(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    let kinds = [
        Kind::StorageFull,
        Kind::QuotaExceeded,
        Kind::PermissionDenied,
        Kind::ReadOnlyFilesystem,
        Kind::OutOfMemory,
    ];
    // sled wraps what its lock says; the rest is told by number (EMFILE, ENFILE).
    kinds.contains(&error.kind())
        || matches!(error.raw_os_error(), Some(23 | 24))
        || error.to_string().contains("could not acquire lock")
}

/// Runs `call`, and makes an error of a panic.
fn caught<T>(call: impl FnOnce() -> Result<T, RowsError>) -> Result<T, RowsError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(RowsError::Panicked(panic_text(panic.as_ref()))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> SledRows {
        SledRows::open(dir, 8 << 20).unwrap()
    }

    fn value(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[test]
    fn a_row_may_have_any_size_and_change_it() {
        let dir = tempfile::tempdir().unwrap();
        let edge = CHUNK_BYTES_MAX;
        let sizes = [0, 1, edge - 1, edge, edge + 1, 3 * edge, 100_000, edge, 5, 2 * edge + 7];
        {
            let rows = open(dir.path());
            for bytes in sizes {
                rows.put(b"k", &value(bytes)).unwrap();
                assert_eq!(rows.get(b"k").unwrap().unwrap(), value(bytes));
                let expected = if bytes < edge { 0 } else { bytes.div_ceil(edge) };
                assert_eq!(rows.trees().chunks.len(), expected, "no chunk left over at {bytes}");
            }
            rows.sync().unwrap();
        }
        let rows = open(dir.path());
        assert_eq!(rows.get(b"k").unwrap().unwrap(), value(2 * edge + 7));
        rows.delete(b"k").unwrap();
        assert_eq!(rows.get(b"k").unwrap(), None);
        assert_eq!(rows.trees().chunks.len(), 0);
    }

    #[test]
    fn no_item_in_sled_is_above_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let rows = open(dir.path());
        rows.put(b"k", &value(100_000)).unwrap();
        rows.put(b"l", &value(CHUNK_BYTES_MAX - 1)).unwrap();
        for tree in [&rows.trees().rows, &rows.trees().chunks] {
            for item in tree.iter().values() {
                assert!(item.unwrap().len() <= CHUNK_BYTES_MAX);
            }
        }
    }

    #[test]
    fn chunks_of_keys_that_prefix_each_other_stay_apart() {
        let dir = tempfile::tempdir().unwrap();
        let rows = open(dir.path());
        let long = [b"k".as_slice(), &[0, 0, 0, 1]].concat();
        rows.put(b"k", &value(30_000)).unwrap();
        rows.put(&long, &value(40_000)).unwrap();
        rows.put(b"k", b"short").unwrap();
        assert_eq!(rows.get(&long).unwrap().unwrap(), value(40_000));
        assert_eq!(rows.range(b"", None, 10).unwrap().len(), 2);
    }

    #[test]
    fn chunks_without_a_row_are_swept_at_open() {
        let dir = tempfile::tempdir().unwrap();
        {
            let rows = open(dir.path());
            rows.put(b"kept", &value(20_000)).unwrap();
            rows.put(b"lost", &value(20_000)).unwrap();
            rows.trees().rows.remove(b"lost").unwrap();
            rows.sync().unwrap();
        }
        let rows = open(dir.path());
        assert_eq!(rows.trees().chunks.len(), 20_000_usize.div_ceil(CHUNK_BYTES_MAX));
        assert_eq!(rows.get(b"kept").unwrap().unwrap(), value(20_000));
        rows.put(b"kept", b"").unwrap();
        assert_eq!(rows.trees().chunks.len(), 0);
    }

    #[test]
    fn a_missing_chunk_is_an_error_and_no_short_value() {
        let dir = tempfile::tempdir().unwrap();
        let rows = open(dir.path());
        rows.put(b"k", &value(20_000)).unwrap();
        rows.trees().chunks.remove(chunk_key(b"k", 1)).unwrap();
        assert!(matches!(rows.get(b"k"), Err(RowsError::Damaged(_))));
    }

    #[test]
    fn an_inverted_range_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let rows = open(dir.path());
        rows.put(b"b", b"").unwrap();
        assert!(rows.range(b"c", Some(b"a"), 10).unwrap().is_empty());
        assert!(rows.range(b"b", Some(b"b"), 10).unwrap().is_empty());
    }
}
