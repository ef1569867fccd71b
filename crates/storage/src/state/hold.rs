//! Rows held still for a base, while checkpoints go on changing them.
//!
//! A base takes minutes where a checkpoint takes a second, and neither writers nor checkpoints can
//! wait that long. So, while one is made, a checkpoint saves the old row before it overwrites one
//! that the base has not come to yet, and the base is made of the saved rows where there are any:
//!
//! ```text
//!   keys:    written to the base │ still to come
//!                               from
//!   a checkpoint's write to ──────────┤ key: the row before it is saved, once
//! ```
//!
//! Saved rows are in memory and bounded: above the bound the base is given up and made later.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

use super::layers::ENTRY_BYTES;
use super::rows::{RowIndex, RowsError};

/// Rows copied or read while the lock is held: both sides wait for each other this long at most.
const PAGE_ROWS: usize = 128;

/// Rows as they were at [`Hold::begin`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// The next ones.
    Rows(Vec<(Bytes, Bytes)>),
    /// There are no more.
    End,
    /// They can't be known any more.
    GivenUp,
}

/// What a base in the making needs.
#[derive(Debug)]
struct Held {
    /// The base has all rows with keys below this; `None`: all rows.
    from: Option<Vec<u8>>,
    /// Rows at or above it that were overwritten since: `None` where there was none.
    before: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
    bytes_max: usize,
}

/// At most one base is made at a time.
#[derive(Debug)]
pub(super) struct Hold {
    held: Mutex<Option<Held>>,
    page_rows: usize,
}

impl Default for Hold {
    fn default() -> Self {
        Self { held: Mutex::default(), page_rows: PAGE_ROWS }
    }
}

impl Hold {
    /// From here on the rows as they are now can be read, page by page. No checkpoint may be in
    /// its middle.
    pub(super) fn begin(&self, bytes_max: usize) {
        let from = Some(Vec::new());
        *self.held.lock() = Some(Held { from, before: BTreeMap::new(), bytes: 0, bytes_max });
    }

    /// Saves nothing any more; a base in the making is given up.
    pub(super) fn end(&self) {
        let held = self.held.lock().take();
        // Freed outside the lock.
        drop(held);
    }

    /// Copies writes into the rows, saving what a base still needs.
    pub(super) fn copy<'w>(
        &self,
        rows: &dyn RowIndex,
        writes: impl IntoIterator<Item = (&'w Bytes, &'w Option<Bytes>)>,
    ) -> Result<(), RowsError> {
        let mut writes = writes.into_iter().peekable();
        while writes.peek().is_some() {
            let mut held = self.held.lock();
            for (key, value) in writes.by_ref().take(self.page_rows) {
                save(&mut held, rows, key)?;
                match value {
                    Some(value) => rows.put(key, value)?,
                    None => rows.delete(key)?,
                }
            }
        }
        Ok(())
    }

    /// The next rows as they were when it began.
    pub(super) fn next_page(&self, rows: &dyn RowIndex) -> Result<Page, RowsError> {
        let mut held = self.held.lock();
        let Some(held) = held.as_mut() else { return Ok(Page::GivenUp) };
        let Some(from) = &held.from else { return Ok(Page::End) };
        let now = rows.range(from, None, self.page_rows)?;
        let whole = (now.len() == self.page_rows).then_some(()).and(now.last());
        held.from = whole.map(|(last, _)| [last, [0].as_slice()].concat());
        let saved = match &held.from {
            Some(from) => {
                let later = held.before.split_off(from.as_slice());
                std::mem::replace(&mut held.before, later)
            }
            None => std::mem::take(&mut held.before),
        };
        held.bytes -= saved.iter().map(|(key, value)| cost(key, value.as_ref())).sum::<usize>();
        if saved.is_empty() {
            return Ok(Page::Rows(now));
        }
        let mut page: BTreeMap<Bytes, Option<Bytes>> =
            now.into_iter().map(|(key, value)| (key, Some(value))).collect();
        page.extend(saved);
        Ok(Page::Rows(page.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()))
    }
}

fn save(held: &mut Option<Held>, rows: &dyn RowIndex, key: &Bytes) -> Result<(), RowsError> {
    let Some(base) = held else { return Ok(()) };
    let to_come = base.from.as_ref().is_some_and(|from| from.as_slice() <= key.as_ref());
    if !to_come || base.before.contains_key(key) {
        return Ok(());
    }
    let before = rows.get(key)?;
    base.bytes += cost(key, before.as_ref());
    base.before.insert(key.clone(), before);
    if base.bytes > base.bytes_max {
        *held = None;
    }
    Ok(())
}

fn cost(key: &Bytes, value: Option<&Bytes>) -> usize {
    ENTRY_BYTES + key.len() + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::state::{MemStore, RowStore};

    type Writes = BTreeMap<Bytes, Option<Bytes>>;

    fn writes() -> impl Strategy<Value = Writes> {
        let key = (0_u8..40).prop_map(|key| Bytes::from(vec![key]));
        let value = proptest::option::of(any::<u8>().prop_map(|value| Bytes::from(vec![value])));
        proptest::collection::btree_map(key, value, 0..12)
    }

    proptest! {
        #[test]
        fn the_pages_are_the_rows_as_they_were(
            first in writes(),
            second in writes(),
            // A checkpoint's writes, or a page of the base.
            steps in proptest::collection::vec(proptest::option::of(writes()), 0..40),
        ) {
            let rows = MemStore::new().open(Path::new("rows")).unwrap();
            let hold = Hold { page_rows: 3, ..Hold::default() };
            hold.copy(rows.as_ref(), &first).unwrap();
            hold.copy(rows.as_ref(), &second).unwrap();
            let expected = rows.range(b"", None, usize::MAX).unwrap();
            hold.begin(1 << 20);
            let mut found = Vec::new();
            for step in steps.into_iter().map(Some).chain(std::iter::repeat(None)) {
                match step {
                    Some(Some(writes)) => hold.copy(rows.as_ref(), &writes).unwrap(),
                    Some(None) | None => match hold.next_page(rows.as_ref()).unwrap() {
                        Page::Rows(page) => found.extend(page),
                        Page::End if step.is_none() => break,
                        Page::End => {}
                        Page::GivenUp => prop_assert!(false, "given up"),
                    },
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(hold.held.lock().as_ref().unwrap().bytes, 0);
        }
    }

    #[test]
    fn too_many_saved_rows_give_the_base_up() {
        let rows = MemStore::new().open(Path::new("rows")).unwrap();
        let hold = Hold::default();
        hold.begin(10 * ENTRY_BYTES);
        let write = |key: u8| Writes::from([(Bytes::from(vec![key]), Some(Bytes::new()))]);
        for key in 0..9 {
            hold.copy(rows.as_ref(), &write(key)).unwrap();
        }
        assert!(hold.held.lock().is_some());
        hold.copy(rows.as_ref(), &write(9)).unwrap();
        assert_eq!(hold.next_page(rows.as_ref()).unwrap(), Page::GivenUp);
        assert_eq!(rows.range(b"", None, 99).unwrap().len(), 10, "the checkpoint goes on");
    }
}
