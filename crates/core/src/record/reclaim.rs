//! The sweep's visits to records: those that nothing is left to know of, and cuts whose records
//! are still there.

use crate::codec::{FORMAT, decode_row, encode};
use crate::ids::DurationMs;
use crate::keys::{self, kind};
use crate::limits;
use crate::reply::Replies;
use crate::tables::{Tables, TablesError};
use crate::turn::Turn;

use super::delete::{RecordCut, tombstone};
use super::{Place, RecordRow};

/// What a visit did.
#[derive(Default)]
pub(crate) struct Visit {
    /// Records looked at besides the row itself.
    pub(crate) looked: u32,
    /// Rows removed.
    pub(crate) reclaimed: u32,
}

/// Visits the row under `target`, which is due; `entry` of the expiry index says so.
pub(crate) fn visit<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    entry: &[u8],
    target: &[u8],
) -> Result<Visit, TablesError> {
    match target[0] {
        kind::RECORD => forget(turn, target),
        _ => sweep_cut(turn, entry, target),
    }
}

/// A record has exactly one entry in the expiry index, and is past its time when that is due.
fn forget<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    target: &[u8],
) -> Result<Visit, TablesError> {
    let (Some((id, kind, key)), Some(bytes)) =
        (keys::record::record_of(target), turn.tables.get(target)?)
    else {
        unreachable!("an entry of the expiry index without its record");
    };
    let row: RecordRow = decode_row(&bytes)?;
    assert!(row.forgotten_at().is_some_and(|at| turn.now >= at), "a record is visited once");
    let place = Place { id: &id, kind: &kind, key: &key };
    super::write(turn, place, Some((&bytes, &row)), None);
    Ok(Visit { looked: 0, reclaimed: 1 })
}

/// Removes some of the records that a cut hit. With the last of them the cut goes.
fn sweep_cut<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    entry: &[u8],
    target: &[u8],
) -> Result<Visit, TablesError> {
    let mark = turn.tables.get(entry)?;
    if let Some(mark) = &mark {
        turn.delete(entry, mark);
    }
    let (Some((id, kind, index)), Some(bytes)) =
        (keys::record::record_of(target), turn.tables.get(target)?)
    else {
        unreachable!("an entry of the expiry index without its cut");
    };
    let mut cut: RecordCut = decode_row(&bytes)?;
    let mut from = keys::record::index_of(&id, &kind, &index);
    let mut to = from.clone();
    to.extend_from_slice(&[0xff; 17]);
    if let Some(swept) = &cut.swept {
        from.extend_from_slice(&swept.0);
        from.push(0);
    }
    let mut visit = Visit::default();
    let entries = turn.tables.scan(&from, &to, limits::CUT_ROWS_MAX as usize)?;
    for (entry, _) in &entries {
        visit.looked += 1;
        let Some(key) = keys::record::indexed_key(entry) else { continue };
        cut.swept = Some(key);
        let Some(bytes) = turn.tables.get(&keys::record::record(&id, &kind, &key))? else {
            continue;
        };
        let row: RecordRow = decode_row(&bytes)?;
        if row.index.iter().any(|known| known.digest == index && known.since < cut.position) {
            let place = Place { id: &id, kind: &kind, key: &key };
            let left = tombstone(&row);
            visit.reclaimed += u32::from(left.is_none());
            super::write(turn, place, Some((&bytes, &row)), left.as_ref());
        }
    }
    if entries.len() < limits::CUT_ROWS_MAX as usize {
        turn.delete(target, &bytes);
        visit.reclaimed += 1;
    } else {
        turn.put(target.to_vec(), Some(&bytes), encode(&cut));
        let next = turn.now.plus(DurationMs(1));
        turn.put(keys::expiry(next, target), None, vec![FORMAT]);
    }
    Ok(visit)
}
