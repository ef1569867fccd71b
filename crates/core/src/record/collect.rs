//! `CollectExpired`: deletes what was kept after it expired. A bounded number at a time.

use crate::codec::decode_row;
use crate::command::CollectExpired;
use crate::ids::{DurationMs, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::reply::{Done, Refusal, Replies};
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::{Place, RecordRow};

/// Counts what was there; what was gone already is removed all the same.
pub(crate) fn collect<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &CollectExpired,
) -> Result<Result<Done, Refusal>, TablesError> {
    let rows_max = wish.rows_max.clamp(1, limits::COLLECT_ROWS_MAX) as usize;
    let before = wish.before.min(turn.now.plus(DurationMs(1)));
    let kind = &wish.kind;
    let from = keys::record::kept_from(id, kind, UnixMs(0));
    let to = keys::record::kept_from(id, kind, before);
    let mut due = turn.tables.scan(&from, &to, rows_max + 1)?;
    let more = due.len() > rows_max;
    due.truncate(rows_max);
    let mut count = 0;
    for (entry, _) in &due {
        let Some(key) = keys::record::indexed_key(entry) else { continue };
        let Some(loaded) = super::load(turn.tables, id, tenant, kind, &key, turn.now)? else {
            continue;
        };
        count += u32::from(loaded.there(turn.now).is_some());
        let bytes = &loaded.bytes;
        let row: RecordRow = decode_row(bytes)?;
        super::write(turn, Place { id, kind, key: &key }, Some((bytes, &row)), None);
    }
    Ok(Ok(Done::Collected { count, more }))
}
