//! The one trait between the state machine and whatever keeps its rows.

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
