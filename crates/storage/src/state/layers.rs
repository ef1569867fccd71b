//! What readers look through: active overlay, frozen overlay, rows; and the pinned rows beside.
//!
//! ```text
//!   key < PINNED_END ──► pinned (all of them, current)
//!   other keys ────────► active ──► frozen ──► rows
//!                        newest                oldest; the first that knows the key decides
//! ```
//!
//! Pinned rows are written to the active overlay as well, since that is what a checkpoint copies,
//! but never read from there.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::tables::PINNED_END;
use parking_lot::Mutex;

use super::gaps::Gaps;
use super::marker::Marker;
use super::rows::{RowIndex, RowsError};

/// Writes in order of key; `None` is a removal.
pub(super) type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// Bytes of memory that an overlay's entry costs beside its key and value.
pub(super) const ENTRY_BYTES: usize = 128;

/// Writes that are not in the rows yet.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    pub(super) writes: Writes,
    /// About how much memory they take.
    pub(super) bytes: usize,
}

impl Overlay {
    fn write(&mut self, key: Bytes, value: Option<Bytes>) {
        let key_len = key.len();
        self.bytes += value.as_ref().map_or(0, Bytes::len);
        match self.writes.insert(key, value) {
            None => self.bytes += ENTRY_BYTES + key_len,
            Some(old) => self.bytes -= old.as_ref().map_or(0, Bytes::len),
        }
    }
}

/// An overlay that takes no more writes, on its way into the rows.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) overlay: Overlay,
    /// Where the state stood when it was frozen.
    pub(super) marker: Marker,
}

/// Everything that readers see, under one lock.
pub(super) struct Layers {
    active: Overlay,
    frozen: Option<Arc<Frozen>>,
    rows: Arc<dyn RowIndex>,
    pinned: BTreeMap<Bytes, Bytes>,
    /// Of the last entry merged; `None` before the first.
    marker: Option<Marker>,
    gaps: Mutex<Gaps>,
}

/// Whether all rows with this key are kept in memory.
pub(super) fn is_pinned(key: &[u8]) -> bool {
    key < [PINNED_END].as_slice()
}

impl Layers {
    pub(super) fn new(
        rows: Arc<dyn RowIndex>,
        pinned: BTreeMap<Bytes, Bytes>,
        marker: Option<Marker>,
    ) -> Self {
        debug_assert!(pinned.keys().all(|key| is_pinned(key)));
        let gaps = Mutex::default();
        Self { active: Overlay::default(), frozen: None, rows, pinned, marker, gaps }
    }

    pub(super) fn marker(&self) -> Option<&Marker> {
        self.marker.as_ref()
    }

    pub(super) fn rows(&self) -> &Arc<dyn RowIndex> {
        &self.rows
    }

    /// Memory of both overlays.
    pub(super) fn bytes(&self) -> usize {
        self.active.bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.overlay.bytes)
    }

    /// Merges an entry's writes; from here on they are what readers see.
    pub(super) fn merge(&mut self, writes: Writes, marker: Marker) {
        let gaps = self.gaps.get_mut();
        for (key, value) in writes {
            if value.is_some() {
                gaps.filled(&key);
            }
            if is_pinned(&key) {
                match &value {
                    Some(value) => self.pinned.insert(key.clone(), value.clone()),
                    None => self.pinned.remove(&key),
                };
            }
            self.active.write(key, value);
        }
        self.marker = Some(marker);
    }

    /// Starts a new active overlay; the present one becomes the frozen one, which there must not
    /// be yet. `None` before the first entry.
    pub(super) fn freeze(&mut self) -> Option<Arc<Frozen>> {
        assert!(self.frozen.is_none(), "one overlay is frozen at a time");
        let marker = self.marker.clone()?;
        let overlay = std::mem::take(&mut self.active);
        let frozen = Arc::new(Frozen { overlay, marker });
        self.frozen = Some(Arc::clone(&frozen));
        Some(frozen)
    }

    pub(super) fn frozen(&self) -> Option<&Arc<Frozen>> {
        self.frozen.as_ref()
    }

    /// Forgets the frozen overlay once the rows hold it; returned, so that it is freed outside
    /// the lock.
    pub(super) fn thaw(&mut self) -> Option<Arc<Frozen>> {
        self.frozen.take()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowsError> {
        if is_pinned(key) {
            return Ok(self.pinned.get(key).cloned());
        }
        if let Some(write) = self.active.writes.get(key) {
            return Ok(write.clone());
        }
        if let Some(write) = self.frozen.as_ref().and_then(|f| f.overlay.writes.get(key)) {
            return Ok(write.clone());
        }
        self.rows.get(key)
    }

    /// Up to `rows_max` rows with `from <= key < to`, with `own` above all layers.
    pub(super) fn scan(
        &self,
        own: Option<&Writes>,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, RowsError> {
        if from >= to || rows_max == 0 {
            return Ok(Vec::new());
        }
        // What is known to be empty is not walked through again.
        let start = self.gaps.lock().skip(from, to);
        let mut merged = Committed::new(self, &start, to, rows_max);
        let mut next = merged.next()?;
        let first_live = next.as_ref().map_or(to, |(key, _)| key);
        self.gaps.lock().found(from, first_live, merged.skipped);

        let mut own = own.map(|own| own.range::<[u8], _>(span(from, to))).into_iter().flatten();
        let mut own_next = own.next();
        let mut found = Vec::new();
        while found.len() < rows_max {
            let own_first = match (&own_next, &next) {
                (None, None) => break,
                (Some((own_key, _)), Some((key, _))) => *own_key <= key,
                (own_next, _) => own_next.is_some(),
            };
            if own_first {
                let Some((key, value)) = own_next.take() else { break };
                if next.as_ref().is_some_and(|(shadowed, _)| shadowed == key) {
                    next = merged.next()?;
                }
                if let Some(value) = value {
                    found.push((key.clone(), value.clone()));
                }
                own_next = own.next();
            } else {
                found.extend(next.take());
                if found.len() < rows_max {
                    next = merged.next()?;
                }
            }
        }
        Ok(found)
    }
}

fn span<'k>(
    from: &'k [u8],
    to: &'k [u8],
) -> (std::ops::Bound<&'k [u8]>, std::ops::Bound<&'k [u8]>) {
    use std::ops::Bound::{Excluded, Included};
    // `BTreeMap::range` panics over an inverted range.
    (Included(from), Excluded(to.max(from)))
}

type OverlayRange<'a> =
    std::iter::Peekable<std::collections::btree_map::Range<'a, Bytes, Option<Bytes>>>;

/// The live rows of all committed layers in order of key.
struct Committed<'a> {
    pinned: std::collections::btree_map::Range<'a, Bytes, Bytes>,
    active: OverlayRange<'a>,
    frozen: Option<OverlayRange<'a>>,
    rows: Pager<'a>,
    /// Removals passed so far.
    skipped: usize,
}

impl<'a> Committed<'a> {
    fn new(layers: &'a Layers, from: &[u8], to: &[u8], rows_hint: usize) -> Self {
        let end = [PINNED_END];
        let unpinned = from.max(end.as_slice());
        let to_pinned = to.min(end.as_slice());
        let overlay =
            |overlay: &'a Overlay| overlay.writes.range::<[u8], _>(span(unpinned, to)).peekable();
        Self {
            pinned: layers.pinned.range::<[u8], _>(span(from.min(to_pinned), to_pinned)),
            active: overlay(&layers.active),
            frozen: layers.frozen.as_ref().map(|frozen| overlay(&frozen.overlay)),
            rows: Pager::new(layers.rows.as_ref(), unpinned, to, rows_hint),
            skipped: 0,
        }
    }

    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, RowsError> {
        if let Some((key, value)) = self.pinned.next() {
            return Ok(Some((key.clone(), value.clone())));
        }
        loop {
            let row = self.rows.peek()?;
            let active = self.active.peek().map(|(key, _)| *key);
            let frozen = self.frozen.as_mut().and_then(|f| f.peek().map(|(key, _)| *key));
            let overlaid = match (active, frozen) {
                (Some(active), Some(frozen)) => Some(active.min(frozen)),
                (active, frozen) => active.or(frozen),
            };
            let Some(key) = overlaid else { return Ok(self.rows.take()) };
            if row.is_some_and(|row| row < key) {
                return Ok(self.rows.take());
            }
            if row == Some(key) {
                self.rows.take();
            }
            let newest = self.active.next_if(|(active, _)| *active == key);
            let older = self.frozen.as_mut().and_then(|f| f.next_if(|(frozen, _)| *frozen == key));
            match newest.or(older) {
                Some((key, Some(value))) => return Ok(Some((key.clone(), value.clone()))),
                _ => self.skipped += 1,
            }
        }
    }
}

/// The rows below, read a page at a time.
struct Pager<'a> {
    rows: &'a dyn RowIndex,
    page: std::vec::IntoIter<(Bytes, Bytes)>,
    from: Vec<u8>,
    to: Vec<u8>,
    page_rows: usize,
    /// Nothing is left below.
    done: bool,
}

impl<'a> Pager<'a> {
    fn new(rows: &'a dyn RowIndex, from: &[u8], to: &[u8], rows_hint: usize) -> Self {
        Self {
            rows,
            page: Vec::new().into_iter(),
            from: from.to_vec(),
            to: to.to_vec(),
            page_rows: rows_hint.clamp(16, 256),
            done: from >= to,
        }
    }

    fn peek(&mut self) -> Result<Option<&Bytes>, RowsError> {
        if self.page.as_slice().is_empty() && !self.done {
            let page = self.rows.range(&self.from, Some(&self.to), self.page_rows)?;
            self.done = page.len() < self.page_rows;
            if let Some((last, _)) = page.last() {
                self.from.clear();
                self.from.extend_from_slice(last);
                self.from.push(0);
            }
            self.page = page.into_iter();
        }
        Ok(self.page.as_slice().first().map(|(key, _)| key))
    }

    /// What [`Pager::peek`] showed.
    fn take(&mut self) -> Option<(Bytes, Bytes)> {
        self.page.next()
    }
}
