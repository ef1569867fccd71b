//! `DeleteRecord`, and `DeleteRecords`: a cut on an index key.
//!
//! The cut is one row, and what had that key before is gone at once. The sweep then goes through
//! the index, and the row goes with the last of them: so there are only as many cuts as there is
//! work left to do.

use serde::{Deserialize, Serialize};

use crate::codec::{decode_row, encode};
use crate::command::{DeleteRecord, DeleteRecords};
use crate::expiry;
use crate::ids::{KeyDigest, Position, RecordKind, TenantId};
use crate::keys;
use crate::reply::{Done, Refusal, Replies};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::{IndexKey, Loaded, Place, RecordRow};

/// A cut: what had its index key before `position` is gone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordCut {
    pub(crate) position: Position,
    /// The sweep has seen to the records up to this one.
    pub(crate) swept: Option<KeyDigest>,
}

/// Whether a record with these index keys was cut.
pub(crate) fn is_cut(
    tables: &impl ReadTables,
    id: &TenantId,
    kind: &RecordKind,
    index: &[IndexKey],
) -> Result<bool, TablesError> {
    for key in index {
        if let Some(cut) = tables.get(&keys::record::cut(id, kind, &key.digest))?
            && key.since < decode_row::<RecordCut>(&cut)?.position
        {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn delete<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &DeleteRecord,
) -> Result<Result<Done, Refusal>, TablesError> {
    let loaded = super::load(turn.tables, id, tenant, &wish.kind, &wish.key, turn.now)?;
    let there = loaded.as_ref().and_then(|loaded| loaded.there(turn.now));
    let (Some(loaded), Some(row)) = (&loaded, there) else {
        return Ok(match wish.version {
            Some(_) => Err(Refusal::NotFound),
            None => Ok(Done::RecordDeleted { existed: false }),
        });
    };
    if wish.version.is_some_and(|version| version != row.version) {
        return Ok(Err(Refusal::VersionMismatch { version: row.version }));
    }
    let place = Place { id, kind: &wish.kind, key: &wish.key };
    remove(turn, place, loaded);
    Ok(Ok(Done::RecordDeleted { existed: true }))
}

fn remove<T: Tables, R: Replies>(turn: &mut Turn<'_, T, R>, place: Place<'_>, loaded: &Loaded) {
    let left = tombstone(&loaded.row);
    super::write(turn, place, Some((&loaded.bytes, &loaded.row)), left.as_ref());
}

/// What is left of a record that is deleted: nothing, or that it was consumed.
pub(crate) fn tombstone(row: &RecordRow) -> Option<RecordRow> {
    row.consumed_at?;
    Some(RecordRow { deleted: true, index: Vec::new(), ..row.clone() })
}

pub(crate) fn cut<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    wish: &DeleteRecords,
) -> Result<Result<Done, Refusal>, TablesError> {
    let key = keys::record::cut(id, &wish.kind, &wish.index);
    let old = turn.tables.get(&key)?;
    if let Some(old) = &old {
        let old: RecordCut = decode_row(old)?;
        assert!(old.position < turn.position, "cuts only move forward");
    }
    expiry::schedule_new(turn, &key, old.as_ref(), turn.now);
    let cut = RecordCut { position: turn.position, swept: None };
    turn.put(key, old.as_ref(), encode(&cut));
    Ok(Ok(Done::Cut))
}
