//! Installing a base that was received: the state of another node replaces this one's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::base;
use super::error::StateError;
use super::files::{base_path, find, incoming_path, redo_path, remove_later};
use super::layers::Layers;
use super::marker::Marker;
use super::row_file::{self, disk_error, publish};
use super::rows::RowIndex;
use super::rows_dir::{Tally, seal};
use super::{Durable, State};

impl State {
    /// Replaces everything by the base file at `file`, which becomes this node's own base. When it
    /// returns, that is durable. A file received at [`State::incoming_path`] is renamed, one that
    /// is elsewhere is copied and left where it is.
    ///
    /// The file is read to its end and its digest compared before anything is replaced: after an
    /// error about the file, or a full disk, the state is as before.
    ///
    /// # Errors
    /// [`StateError::NotNewer`] if the state is already there; [`StateError::Damaged`] or
    /// [`StateError::Digest`] if the file isn't what it was; anything else stops the store.
    ///
    /// # Panics
    /// If an entry is being applied meanwhile.
    pub fn install(&self, file: &Path) -> Result<Marker, StateError> {
        // The rows that a base is being made of go away.
        self.inner.hold.end();
        let _building = self.inner.building.lock();
        let mut durable = self.inner.durable.lock();
        self.inner.gate.check()?;
        let place = &self.inner.place;
        let offered = base::info(place.disk.as_ref(), file)?.marker.index;
        self.refuse_older(offered)?;

        let generation = durable.generation + 1;
        let loaded = place.begin(generation).and_then(|rows| {
            let (marker, tally) = base::load_from(place.disk.as_ref(), file, rows.as_ref())?;
            seal(rows.as_ref(), &marker)?;
            Ok((rows, marker, tally))
        });
        let (rows, marker, tally) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                place.destroy(generation)?;
                return Err(error);
            }
        };
        self.switch(&mut durable, file, generation, rows, &marker, tally)
            .map_err(|error| self.stopped_by(error))?;
        self.clean_up_below(marker.index, generation - 1);
        Ok(marker)
    }

    fn refuse_older(&self, base: u64) -> Result<(), StateError> {
        match self.marker() {
            Some(marker) if base <= marker.index => {
                Err(StateError::NotNewer { base, current: marker.index })
            }
            _ => Ok(()),
        }
    }

    /// From the first step in here on the install is finished by the next opening.
    fn switch(
        &self,
        durable: &mut Durable,
        file: &Path,
        generation: u64,
        rows: Arc<dyn RowIndex>,
        marker: &Marker,
        tally: Tally,
    ) -> Result<(), StateError> {
        let place = &self.inner.place;
        let path = base_path(&place.dir, marker.index);
        if file.parent() == Some(&place.dir) {
            // Whoever received the file may not have synced it.
            let received = place.disk.open(file).map_err(disk_error("open", file))?;
            received.sync().map_err(disk_error("sync", file))?;
            publish(place.disk.as_ref(), file, &path)?;
        } else {
            row_file::copy(place.disk.as_ref(), file, &path)?;
        }
        place.ready(generation)?;

        assert!(!self.inner.writing.load(Ordering::Acquire), "no entry is applied meanwhile");
        let layers = Layers::new(rows, tally.pinned, Some(marker.clone()));
        let old = std::mem::replace(&mut *self.inner.layers.write(), layers);
        self.inner.gate.set_bytes(0, usize::MAX);
        durable.generation = generation;
        durable.marker = Some(marker.clone());
        self.inner.checkpointed.store(marker.index, std::sync::atomic::Ordering::Release);
        *self.inner.base.lock() = Some(base::info(place.disk.as_ref(), &path)?);
        drop(old);
        Ok(())
    }

    fn clean_up_below(&self, index: u64, generation: u64) {
        let place = &self.inner.place;
        let disk = place.disk.as_ref();
        let cleaned = find(disk, &place.dir).and_then(|found| {
            for redo in found.redos.into_iter().filter(|redo| *redo <= index) {
                remove_later(disk, &redo_path(&place.dir, redo));
            }
            for older in found.incoming.into_iter().filter(|older| *older <= index) {
                remove_later(disk, &incoming_path(&place.dir, older));
            }
            self.remove_bases_below(index)?;
            place.destroy(generation)
        });
        if let Err(error) = cleaned {
            tracing::warn!(%error, "what the install replaced could not be removed yet");
        }
    }
}
