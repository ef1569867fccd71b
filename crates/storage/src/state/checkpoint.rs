//! Checkpoints: overlay into rows; and the base files made from the rows between two of them.
//! What a crash leaves at each step stands in the table of the module above.

use std::error::Error;
use std::sync::Arc;

use super::base::{self, BaseInfo};
use super::error::StateError;
use super::files::{base_path, find, redo_path, remove_later};
use super::hold::Page;
use super::layers::Frozen;
use super::marker::Marker;
use super::redo;
use super::rows::{RowIndex, RowsError};
use super::rows_dir::seal;
use super::{Durable, State};

/// Answers once the log is durable up to an index.
pub type Synced<'l> = &'l dyn Fn(u64) -> Result<(), Box<dyn Error + Send + Sync>>;

/// The rows as a checkpoint left them, until it is dropped.
struct Still<'s> {
    state: &'s State,
    generation: u64,
    marker: Marker,
    rows: Arc<dyn RowIndex>,
}

impl Still<'_> {
    fn next_page(&self) -> Result<Page, StateError> {
        self.state.inner.gate.check()?;
        Ok(self.state.inner.hold.next_page(self.rows.as_ref())?)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.state.inner.hold.end();
    }
}

impl State {
    /// Makes the state durable as it is now, and frees the overlay. Returns where the rows then
    /// stand; `None` if no entry was ever applied.
    ///
    /// `synced` must block until the log is durable up to the index: rows must never be ahead of
    /// the log. Readers and the writer go on meanwhile.
    ///
    /// # Errors
    /// If the disk is full ([`StateError::is_disk_full`]), nothing is lost and it may be tried
    /// again; any other error stops the store.
    pub fn checkpoint(&self, synced: Synced<'_>) -> Result<Option<Marker>, StateError> {
        let mut durable = self.inner.durable.lock();
        self.inner.gate.check()?;
        let Some(frozen) = self.freeze(&durable) else { return Ok(durable.marker.clone()) };
        self.make_durable(&durable, &frozen, synced).map_err(|error| self.stopped_by(error))?;
        durable.marker = Some(frozen.marker.clone());
        let index = frozen.marker.index;
        self.inner.checkpointed.store(index, std::sync::atomic::Ordering::Release);
        self.thaw(frozen);
        remove_later(self.inner.place.disk.as_ref(), &redo_path(&self.inner.place.dir, index));
        Ok(durable.marker.clone())
    }

    /// Writes the rows as the last checkpoint left them into a base file. `None` if there was no
    /// checkpoint yet, or if too much changed meanwhile: try later. Writers and checkpoints go on.
    ///
    /// # Errors
    /// [`StateError::Digest`] if the rows aren't what they should be: this node must be started
    /// again, which rebuilds them. Also that stops the store, as any error but a full disk.
    pub fn build_base(&self) -> Result<Option<BaseInfo>, StateError> {
        let _building = self.inner.building.lock();
        let Some(still) = self.hold_still()? else { return Ok(None) };
        if let Some(base) = self.base().filter(|base| base.marker == still.marker) {
            return Ok(Some(base));
        }
        let mut next_page = || still.next_page();
        let built = base::write(&self.inner.place, &still.marker, &mut next_page);
        let Some(built) = built.map_err(|error| self.found(error, &still))? else {
            return Ok(None);
        };
        self.remove_bases_below(still.marker.index)?;
        *self.inner.base.lock() = Some(built.clone());
        Ok(Some(built))
    }

    /// Looks at all rows as the last checkpoint left them, and compares their digest with its
    /// marker's: what [`build_base`](Self::build_base) does, without a file. Returns how many there
    /// are; `None` as there.
    ///
    /// # Errors
    /// As [`build_base`](Self::build_base).
    pub fn verify(&self) -> Result<Option<u64>, StateError> {
        let _building = self.inner.building.lock();
        let Some(still) = self.hold_still()? else { return Ok(None) };
        let counted = base::count(&still.marker, &mut || still.next_page());
        counted.map_err(|error| self.found(error, &still))
    }

    /// Lets the rows of the last checkpoint be read while the next ones change them. `None` before
    /// the first.
    fn hold_still(&self) -> Result<Option<Still<'_>>, StateError> {
        // Between two checkpoints the rows are those of the marker.
        let durable = self.inner.durable.lock();
        self.inner.gate.check()?;
        let Some(marker) = durable.marker.clone() else { return Ok(None) };
        self.inner.hold.begin(self.inner.options.overlay_bytes_max);
        let rows = Arc::clone(self.layers().rows());
        Ok(Some(Still { state: self, generation: durable.generation, marker, rows }))
    }

    /// Makes the next opening rebuild rows that were found damaged, and stops the store.
    fn found(&self, error: StateError, still: &Still<'_>) -> StateError {
        let damaged = match &error {
            StateError::Rows(error) => !matches!(error, RowsError::Refused(_)),
            error => matches!(error, StateError::Digest { .. }),
        };
        if damaged && let Err(error) = self.inner.place.suspect(still.generation) {
            tracing::error!(%error, "damaged rows could not be marked as such");
        }
        self.stopped_by(error)
    }

    /// The overlay to copy: one that an earlier attempt left frozen, or the active one. `None` if
    /// the rows are up to date.
    fn freeze(&self, durable: &Durable) -> Option<Arc<Frozen>> {
        let mut layers = self.inner.layers.write();
        if let Some(frozen) = layers.frozen() {
            return Some(Arc::clone(frozen));
        }
        if layers.marker() == durable.marker.as_ref() {
            return None;
        }
        layers.freeze()
    }

    fn make_durable(
        &self,
        durable: &Durable,
        frozen: &Frozen,
        synced: Synced<'_>,
    ) -> Result<(), StateError> {
        let index = frozen.marker.index;
        synced(index).map_err(|source| StateError::Log { index, source })?;
        let previous = durable.marker.as_ref().map(|marker| marker.index);
        redo::write(self.inner.place.disk.as_ref(), &self.inner.place.dir, previous, frozen)?;
        let rows: Arc<dyn RowIndex> = Arc::clone(self.layers().rows());
        self.inner.hold.copy(rows.as_ref(), &frozen.overlay.writes)?;
        seal(rows.as_ref(), &frozen.marker)
    }

    /// Lets readers find the frozen writes in the rows from here on.
    fn thaw(&self, frozen: Arc<Frozen>) {
        let (thawed, bytes) = {
            let mut layers = self.inner.layers.write();
            (layers.thaw(), layers.bytes())
        };
        self.inner.gate.set_bytes(bytes, self.inner.options.checkpoint_bytes);
        // Hundreds of thousands of rows are freed here, where nobody waits for it.
        drop(thawed);
        drop(frozen);
    }

    pub(super) fn remove_bases_below(&self, index: u64) -> Result<(), StateError> {
        let place = &self.inner.place;
        for older in find(place.disk.as_ref(), &place.dir)?.bases {
            if older < index {
                remove_later(place.disk.as_ref(), &base_path(&place.dir, older));
            }
        }
        Ok(())
    }

    /// Stops the store over `error`, unless it is one that passes.
    pub(super) fn stopped_by(&self, error: StateError) -> StateError {
        if !error.is_disk_full() {
            self.inner.gate.stop(&error);
        }
        error
    }
}
