//! Reads of the state at one moment.

use bytes::Bytes;
use jeton_core::tables::{ReadTables, TablesError};
use parking_lot::RwLockReadGuard;

use super::layers::Layers;
use super::marker::Marker;
use super::rows::RowsError;

/// The state as the last whole entry left it. Holds the lock shared: the apply thread waits while
/// it lives, so read a page of at most some 64 rows and drop it; never make a second one on the
/// same thread meanwhile (a writer between the two would block both).
pub struct View<'s> {
    layers: RwLockReadGuard<'s, Layers>,
}

impl<'s> View<'s> {
    pub(super) fn new(layers: RwLockReadGuard<'s, Layers>) -> Self {
        Self { layers }
    }

    /// Where the state stands; `None` before the first entry.
    #[must_use]
    pub fn marker(&self) -> Option<&Marker> {
        self.layers.marker()
    }
}

impl ReadTables for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        self.layers.get(key).map_err(tables_error)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
        self.layers.scan(None, from, to, rows_max).map_err(tables_error)
    }
}

pub(super) fn tables_error(error: RowsError) -> TablesError {
    TablesError(Box::new(error))
}
