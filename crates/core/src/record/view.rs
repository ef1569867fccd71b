//! Records as they are shown, one by one and in pages.

use crate::ids::{KeyDigest, RecordKind, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::reply::{RecordPage, RecordView};
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;

use super::RecordRow;

fn view(kind: &RecordKind, key: &KeyDigest, row: &RecordRow, now: UnixMs) -> RecordView {
    RecordView {
        kind: kind.clone(),
        key: *key,
        value: row.value.clone(),
        version: row.version,
        created: row.created,
        created_at: row.created_at,
        origin: row.origin,
        expires_at: row.expires_at,
        expired: row.expired(now),
        consumed_at: row.consumed_at,
        index: row.index.iter().map(|index| index.digest).collect(),
        roots: row.roots.clone(),
        family: row.family,
    }
}

/// The record under `key`, if it may be shown.
pub(crate) fn one(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    kind: &RecordKind,
    key: &KeyDigest,
    now: UnixMs,
) -> Result<Option<RecordView>, TablesError> {
    let loaded = super::load(tables, id, tenant, kind, key, now)?;
    Ok(loaded.and_then(|loaded| loaded.shown(now).map(|row| view(kind, key, row, now))))
}

/// Up to `rows_max` records that have an index key, behind `after`. A page may be short, or empty,
/// though another follows: much of what it looked at may be gone.
#[allow(clippy::too_many_arguments)]
pub(crate) fn page(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    kind: &RecordKind,
    index: &KeyDigest,
    after: Option<&KeyDigest>,
    rows_max: usize,
    now: UnixMs,
) -> Result<RecordPage, TablesError> {
    let start = keys::record::index_of(id, kind, index);
    let mut from = start.clone();
    if let Some(after) = after {
        // The smallest key behind that one.
        from.extend_from_slice(&after.0);
        from.push(0);
    }
    let mut to = start;
    to.extend_from_slice(&[0xff; 17]);
    let (mut page, mut bytes, mut looked) = (RecordPage::default(), 0, 0);
    loop {
        let step = rows_max.clamp(1, limits::FIND_ROWS_MAX);
        let entries = tables.scan(&from, &to, step)?;
        for (entry, _) in &entries {
            let Some(key) = keys::record::indexed_key(entry) else { continue };
            looked += 1;
            if let Some(found) = one(tables, id, tenant, kind, &key, now)? {
                bytes += found.value.len();
                if bytes > limits::PAGE_BYTES_MAX && !page.records.is_empty() {
                    return Ok(page);
                }
                page.records.push(found);
            }
            page.next = Some(key);
            if page.records.len() >= rows_max || looked >= limits::FIND_ROWS_MAX {
                return Ok(page);
            }
        }
        if entries.len() < step {
            return Ok(RecordPage { next: None, ..page });
        }
        if let Some((last, _)) = entries.last() {
            from = last.to_vec();
            from.push(0);
        }
    }
}
