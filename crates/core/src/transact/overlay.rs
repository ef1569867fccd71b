//! Rows as they would be: changes over rows that nobody has touched yet.
//!
//! A draft is a turn over an overlay. What it did is taken over as a whole ([`Draft::commit`]), or
//! dropped, and then nothing is left of it: no row, no digest, no event, no place in the feed.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::feed::Change;
use crate::ids::TenantId;
use crate::reply::{Event, Replies, Reply};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::turn::{TenantCache, Turn};

/// Rows of `base`, but for what was changed since.
pub(super) struct Overlay<'a, T> {
    base: &'a T,
    /// `None`: removed.
    changes: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl<T: ReadTables> ReadTables for Overlay<'_, T> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        match self.changes.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let changed: Vec<_> = self.changes.range::<[u8], _>(range).collect();
        if changed.is_empty() {
            return self.base.scan(from, to, rows_max);
        }
        // Each change hides one row at most: so many more are enough.
        let below = self.base.scan(from, to, rows_max.saturating_add(changed.len()))?;
        let mut rows: BTreeMap<Bytes, Bytes> = below.into_iter().collect();
        for (key, value) in changed {
            match value {
                Some(value) => drop(rows.insert(Bytes::copy_from_slice(key), value.clone())),
                None => drop(rows.remove(key.as_slice())),
            }
        }
        Ok(rows.into_iter().take(rows_max).collect())
    }
}

impl<T: ReadTables> Tables for Overlay<'_, T> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value.into()));
    }

    fn delete(&mut self, key: &[u8]) {
        self.changes.insert(key.to_vec(), None);
    }
}

/// Events wait here. No operation of a transaction touches a lock, so there is nothing else to
/// tell.
#[derive(Default)]
pub(super) struct Raised(Vec<Event>);

impl Replies for Raised {
    fn wanted(&self) -> bool {
        false
    }

    fn reply(&mut self, _: usize, _: Reply) {}

    fn event(&mut self, event: Event) {
        self.0.push(event);
    }
}

/// What a turn over an overlay did.
pub(super) struct Draft {
    changes: BTreeMap<Vec<u8>, Option<Bytes>>,
    rows: u128,
    events: Vec<Event>,
    feed: Vec<(TenantId, Change)>,
}

/// Does something in the place of `turn`, over its rows, and changes none of them.
pub(super) fn draft<T: Tables, R, W>(
    turn: &Turn<'_, T, R>,
    work: impl FnOnce(&mut Turn<'_, Overlay<'_, T>, Raised>) -> Result<W, TablesError>,
) -> Result<(W, Draft), TablesError> {
    let mut tables = Overlay { base: &*turn.tables, changes: BTreeMap::new() };
    let (mut raised, mut rows) = (Raised::default(), *turn.rows);
    let mut over = Turn {
        tables: &mut tables,
        replies: &mut raised,
        // Its own: what it reads may never have been.
        tenants: &mut TenantCache::new(),
        rows: &mut rows,
        now: turn.now,
        lease_now: turn.lease_now,
        position: turn.position,
        changes: Vec::new(),
    };
    let done = work(&mut over)?;
    let feed = over.changes;
    Ok((done, Draft { changes: tables.changes, rows, events: raised.0, feed }))
}

impl Draft {
    /// Makes it so. `turn` must be the one that it was drawn up over, unchanged since then.
    pub(super) fn commit<T: Tables, R: Replies>(self, turn: &mut Turn<'_, T, R>) {
        for (key, value) in self.changes {
            match value {
                Some(value) => turn.tables.put(key, value.into()),
                None => turn.tables.delete(&key),
            }
        }
        // The draft's turn has followed every change.
        *turn.rows = self.rows;
        turn.changes.extend(self.feed);
        self.events.into_iter().for_each(|event| turn.replies.event(event));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::MemTables;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0_u8..4, 0..3)
    }

    fn changes() -> impl Strategy<Value = Vec<(Vec<u8>, Option<u8>)>> {
        prop::collection::vec((key(), any::<Option<u8>>()), 0..24)
    }

    fn change(tables: &mut impl Tables, changes: &[(Vec<u8>, Option<u8>)]) {
        for (key, value) in changes {
            match value {
                Some(value) => tables.put(key.clone(), vec![*value]),
                None => tables.delete(key),
            }
        }
    }

    proptest! {
        /// Rows under changes read like rows that were changed.
        #[test]
        fn an_overlay_is_a_copy(
            first in changes(), then in changes(), from in key(), to in key(), max in 0_usize..30,
        ) {
            let mut base = MemTables::new();
            change(&mut base, &first);
            let untouched = base.clone();
            let mut model = base.clone();
            change(&mut model, &then);
            let mut overlay = Overlay { base: &base, changes: BTreeMap::new() };
            change(&mut overlay, &then);
            for max in [max, usize::MAX] {
                let (ours, theirs) = (overlay.scan(&from, &to, max), model.scan(&from, &to, max));
                prop_assert_eq!(ours.unwrap(), theirs.unwrap());
            }
            prop_assert_eq!(overlay.get(&from).unwrap(), model.get(&from).unwrap());
            let mut after = base.clone();
            for (key, value) in overlay.changes {
                match value {
                    Some(value) => after.put(key, value.into()),
                    None => after.delete(&key),
                }
            }
            prop_assert_eq!(after, model);
            prop_assert_eq!(base, untouched);
        }
    }
}
