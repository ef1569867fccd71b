//! One-time and keyed records: codes, pushed requests, device codes, clients, consents, and
//! whatever else a server keeps under a key.
//!
//! ```text
//!   absent ──put──► live ──consume──► tombstone ──► forgotten
//!                    │ ▲ replace          ▲
//!                    └─┴── delete, cut, expiry, the death of a root
//! ```
//!
//! A record is *gone* when it was deleted, when one of its index keys was cut since it has it, or
//! when one of its roots is dead: a new one may take its key. While one of them is suspended it
//! reads as gone, and its key is not free. A tombstone stays whatever happens,
//! so that nothing is consumed twice.
//!
//! Keys, index keys and preconditions are digests: this is no place for plain text.

pub(crate) mod attempts;
pub(crate) mod collect;
pub(crate) mod consume;
pub(crate) mod delete;
pub(crate) mod kind;
pub(crate) mod put;
pub(crate) mod reclaim;
mod row;
pub(crate) mod seen;
pub(crate) mod view;

use bytes::Bytes;

use crate::codec::{FORMAT, decode_row, encode};
use crate::ids::{KeyDigest, RecordKind, TenantId, UnixMs};
use crate::keys;
use crate::reply::{Replies, RevokedBy};
use crate::roots;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

pub(crate) use row::{IndexKey, RecordRow};

/// A record as it was read: enough to judge it, and to write it back.
pub(crate) struct Loaded {
    /// The row's bytes before any change.
    pub(crate) bytes: Bytes,
    pub(crate) row: RecordRow,
    /// Whether it was deleted, cut, or has a dead root.
    gone: bool,
    /// What suspends a root of it, if that is all that is in its way.
    suspended: Option<RevokedBy>,
    /// Whether there is nothing left of it to know.
    forgotten: bool,
    /// Whether it came from a backup, and may have been consumed since.
    uncertain: bool,
}

impl Loaded {
    /// The row, if it is a tombstone.
    pub(crate) fn tombstone(&self) -> Option<&RecordRow> {
        Some(&self.row).filter(|row| row.consumed_at.is_some() && !self.forgotten)
    }

    /// The row, if there is anything to delete.
    pub(crate) fn there(&self, now: UnixMs) -> Option<&RecordRow> {
        let hidden = self.row.expired(now) && !self.row.keep;
        Some(&self.row).filter(|_| !self.gone && !self.forgotten && !hidden)
    }

    /// The row, if reads may show it.
    pub(crate) fn shown(&self, now: UnixMs) -> Option<&RecordRow> {
        self.there(now).filter(|_| self.suspended.is_none())
    }

    /// What hides the row for a while.
    pub(crate) fn suspended(&self, now: UnixMs) -> Option<&RevokedBy> {
        self.there(now).and(self.suspended.as_ref())
    }

    /// The row, if it can be consumed but for its expiry.
    pub(crate) fn unspent(&self) -> Option<&RecordRow> {
        let certain = !self.gone && !self.forgotten && !self.uncertain;
        let there = certain && self.suspended.is_none();
        Some(&self.row).filter(|row| there && row.consumed_at.is_none())
    }
}

/// Reads a record, and what became of it. `None` if there is no row.
pub(crate) fn load(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    kind: &RecordKind,
    key: &KeyDigest,
    now: UnixMs,
) -> Result<Option<Loaded>, TablesError> {
    let Some(bytes) = tables.get(&keys::record::record(id, kind, key))? else { return Ok(None) };
    let row: RecordRow = decode_row(&bytes)?;
    row.check();
    let forgotten = row.forgotten_at().is_some_and(|at| now >= at);
    let by = killed_by(tables, id, tenant, &row, now)?;
    let dead = by.as_ref().is_some_and(RevokedBy::is_for_ever);
    let uncertain = |position| tenant.restored.as_ref().is_some_and(|it| it.cuts(position));
    let one_time = || tenant.restored.as_ref().is_some_and(|it| it.is_one_time(kind));
    let emptied = row.consumed_at.is_none() && uncertain(row.created) && one_time();
    let gone = dead || emptied || row.deleted || delete::is_cut(tables, id, kind, &row.index)?;
    let uncertain = uncertain(row.rooted);
    let suspended = by.filter(|_| !dead);
    Ok(Some(Loaded { bytes, row, gone, suspended, forgotten, uncertain }))
}

/// What killed or suspends a root of a record, if something does.
pub(crate) fn killed_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    row: &RecordRow,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    roots::dead_by(tables, id, tenant, &row.roots(), now)
}

/// What killed or suspends a root of the record under `key`, if it is there and something does.
pub(crate) fn dead_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    kind: &RecordKind,
    key: &KeyDigest,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    let Some(bytes) = tables.get(&keys::record::record(id, kind, key))? else { return Ok(None) };
    killed_by(tables, id, tenant, &decode_row(&bytes)?, now)
}

/// Where a record is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) id: &'a TenantId,
    pub(crate) kind: &'a RecordKind,
    pub(crate) key: &'a KeyDigest,
}

/// Writes a record, or removes it, and all entries of indexes with it. `old` is what is there.
pub(crate) fn write<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    place: Place<'_>,
    old: Option<(&Bytes, &RecordRow)>,
    new: Option<&RecordRow>,
) {
    let Place { id, kind, key } = place;
    new.inspect(|row| row.check());
    let before = old.map_or_else(Vec::new, |(_, row)| row.entries(id, kind, key));
    let after = new.map_or_else(Vec::new, |row| row.entries(id, kind, key));
    let mark = Bytes::from_static(&[FORMAT]);
    for entry in before.iter().filter(|entry| !after.contains(entry)) {
        turn.delete(entry, &mark);
    }
    for entry in after {
        if !before.contains(&entry) {
            turn.put(entry, None, mark.to_vec());
        }
    }
    let row_key = keys::record::record(id, kind, key);
    match (old, new) {
        (old, Some(row)) => turn.put(row_key, old.map(|(bytes, _)| bytes), encode(row)),
        (Some((bytes, _)), None) => turn.delete(&row_key, bytes),
        (None, None) => {}
    }
}
