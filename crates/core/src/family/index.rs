//! Where families are found by their roots: one row for each of them, in the order of creation.
//!
//! Written with the family's own row, in the same command, and removed with it, or when the family
//! has been dead for longer than any answer names it: reads show it no more then, so nobody can
//! tell. A rotation touches none of them. How many rows of families a tenant keeps, tombstones
//! included, is counted in a row of its own.

use crate::codec::{FORMAT, decode_row, encode};
use crate::command::TenantSettings;
use crate::ids::{FamilyId, Position, TenantId};
use crate::keys::{self, index};
use crate::reply::{EventKind, Replies};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::turn::Turn;

use super::FamilyRow;

/// The indexes that a family stands in.
fn indexes(id: &TenantId, row: &FamilyRow) -> Vec<Vec<u8>> {
    let (subject, client) = (row.subject.as_str(), row.client.as_str());
    let mut indexes = vec![
        keys::family_index(id, index::SUBJECT, &[subject]),
        keys::family_index(id, index::CLIENT, &[client]),
        keys::family_index(id, index::SUBJECT_CLIENT, &[subject, client]),
    ];
    if let Some(device) = &row.device {
        indexes.push(keys::family_index(id, index::DEVICE, &[device.as_str()]));
    }
    if let Some(session) = &row.session {
        indexes.push(keys::family_index(id, index::SESSION, &[session.as_str()]));
    }
    indexes
}

/// Lets a new family be found.
pub(crate) fn insert<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    family: FamilyId,
    row: &FamilyRow,
) {
    for index in indexes(id, row) {
        turn.put(keys::index_entry(index, row.created, family), None, vec![FORMAT]);
    }
}

/// Forgets where a family is found. How many rows that removed: none the second time.
pub(crate) fn remove<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    family: FamilyId,
    row: &FamilyRow,
) -> Result<(), TablesError> {
    for index in indexes(id, row) {
        let entry = keys::index_entry(index, row.created, family);
        if let Some(old) = turn.tables.get(&entry)? {
            turn.delete(&entry, &old);
        }
    }
    Ok(())
}

/// Counts a row of a family that is new. Whether the tenant keeps more of them than its soft quota.
pub(crate) fn count_new<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    settings: &TenantSettings,
) -> Result<bool, TablesError> {
    let kept = count(turn, id, |kept| kept.saturating_add(1))?;
    let quota = settings.families_max_soft;
    if quota != 0 && kept == quota.saturating_add(1) {
        turn.event(id, None, EventKind::SoftQuota { kept });
    }
    Ok(quota != 0 && kept > quota)
}

/// Counts a row of a family that is gone.
pub(crate) fn count_gone<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
) -> Result<(), TablesError> {
    count(turn, id, |kept| kept.saturating_sub(1)).map(drop)
}

/// How many rows of families a tenant keeps, those of dead ones included.
pub(crate) fn kept(tables: &impl ReadTables, id: &TenantId) -> Result<u64, TablesError> {
    let row = tables.get(&keys::family_index(id, index::KEPT, &[]))?;
    row.map_or(Ok(0), |row| decode_row(&row))
}

fn count<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    change: impl Fn(u64) -> u64,
) -> Result<u64, TablesError> {
    let key = keys::family_index(id, index::KEPT, &[]);
    let old = turn.tables.get(&key)?;
    let kept = match &old {
        Some(row) => decode_row(row)?,
        None => 0,
    };
    let kept = change(kept);
    turn.put(key, old.as_ref(), encode(&kept));
    Ok(kept)
}

/// A family as an index leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) created: Position,
    pub(crate) family: FamilyId,
}

/// Up to `rows_max` families of an index, in the order of creation, behind `after`.
pub(crate) fn scan(
    tables: &impl ReadTables,
    index: &[u8],
    after: Option<Found>,
    rows_max: usize,
) -> Result<Vec<Found>, TablesError> {
    let from = match after {
        Some(Found { created, family }) => {
            let mut key = keys::index_entry(index.to_vec(), created, family);
            // The smallest key behind that one.
            key.push(0);
            key
        }
        None => index.to_vec(),
    };
    let rows = tables.scan(&from, &keys::index_end(index), rows_max)?;
    let found = rows.iter().filter_map(|(key, _)| keys::index_target(key));
    Ok(found.map(|(created, family)| Found { created, family }).collect())
}
