//! Space: what no answer depends on any more is reclaimed.
//!
//! Every answer judges retention by the machine's clock, so a sweep changes none of them: it only
//! removes what is past its time already. The expiry index has exactly one entry for each row that
//! can end, made with the row and moved only by the sweep: a rotation never writes one.
//!
//! A sweep is an entry of the log like any other, looks at a bounded number of rows in the order
//! in which they were due, and can be repeated: a crash leaves it undone or done.

use bytes::Bytes;

use crate::codec::{FORMAT, decode_row, encode};
use crate::command::Sweep;
use crate::denial::Denial;
use crate::family;
use crate::feed::FeedRow;
use crate::ids::{DurationMs, UnixMs};
use crate::keys::{self, kind};
use crate::limits;
use crate::record::attempts::Misses;
use crate::record::reclaim;
use crate::record::seen::Seen;
use crate::reply::{Done, Refusal, Replies};
use crate::request::Remembered;
use crate::revocation::Cutoff;
use crate::revocation::predicate::Predicate;
use crate::session::{self, IndexRow, SessionRow};
use crate::tables::{Tables, TablesError};
use crate::turn::Turn;

/// Makes the index entry of a row that is about to be written, if it is new.
pub(crate) fn schedule_new<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    target: &[u8],
    old: Option<&Bytes>,
    due: UnixMs,
) {
    // A row that is past its time, but not yet swept, has its entry still.
    if old.is_none() {
        turn.put(keys::expiry(due, target), None, vec![FORMAT]);
    }
}

/// What becomes of a row that was visited.
pub(crate) enum Fate {
    /// It is past its time.
    Remove,
    /// Looked at again later, with this new value if it has one.
    Later(UnixMs, Option<Vec<u8>>),
    /// So many rows that hung on it were removed; it is, too, unless it is looked at again.
    Bulk {
        /// Rows beside it.
        rows: u32,
        /// When there is more to do.
        next: Option<UnixMs>,
    },
}

/// Visits what is due, at most `rows_max` rows of it.
pub(crate) fn sweep<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    wish: Sweep,
) -> Result<Result<Done, Refusal>, TablesError> {
    let rows_max = wish.rows_max.clamp(1, limits::SWEEP_ROWS_MAX);
    let (from, to) =
        (keys::expiry_from(UnixMs(0)), keys::expiry_from(turn.now.plus(DurationMs(1))));
    // One more than may be visited tells whether there is more to do.
    let mut due = turn.tables.scan(&from, &to, rows_max as usize + 1)?;
    let mut more = due.len() > rows_max as usize;
    due.truncate(rows_max as usize);
    let (mut visited, mut reclaimed) = (0, 0);
    for (entry, value) in &due {
        if visited >= rows_max {
            more = true;
            break;
        }
        visited += 1;
        // A visit before it may have removed the row that it was about, and the entry with it: a
        // cut removes the records that it hit.
        if turn.tables.get(entry)?.is_none() {
            continue;
        }
        let target = keys::expiry_target(entry);
        // These have rows beside them, and a cut has as many as there are.
        if let Some(target) = target.filter(|at| matches!(at[0], kind::RECORD | kind::RECORD_CUT)) {
            let visit = reclaim::visit(turn, entry, target)?;
            visited += visit.looked;
            reclaimed += visit.reclaimed;
            if visit.looked > 0 && visited >= rows_max {
                more = true;
                break;
            }
            continue;
        }
        turn.delete(entry, value);
        let Some(target) = target else { continue };
        let Some(row) = turn.tables.get(target)? else { continue };
        match fate(turn, target, &row, rows_max - visited)? {
            Fate::Remove => {
                turn.delete(target, &row);
                reclaimed += 1;
            }
            Fate::Later(due, changed) => {
                assert!(due > turn.now, "a sweep must not come back to the same row at once");
                if let Some(value) = changed {
                    turn.put(target.to_vec(), Some(&row), value);
                }
                turn.put(keys::expiry(due, target), None, vec![FORMAT]);
            }
            Fate::Bulk { rows, next } => {
                visited += rows;
                reclaimed += rows;
                match next {
                    Some(due) => {
                        turn.put(keys::expiry(due, target), None, vec![FORMAT]);
                        more = true;
                    }
                    None => {
                        turn.delete(target, &row);
                        reclaimed += 1;
                    }
                }
            }
        }
    }
    Ok(Ok(Done::Swept { visited, reclaimed, more }))
}

fn fate<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    target: &[u8],
    row: &Bytes,
    rows_max: u32,
) -> Result<Fate, TablesError> {
    let ends_at = match target[0] {
        kind::REPLY => decode_row::<Remembered>(row)?.forgotten_at(),
        kind::CUTOFF | kind::REAUTHENTICATION => decode_row::<Cutoff>(row)?.ends_at(),
        kind::FEED => decode_row::<FeedRow>(row)?.ends_at(),
        kind::REVOCATION => decode_row::<Predicate>(row)?.forgotten_at(),
        kind::DENIED => decode_row::<Denial>(row)?.until,
        kind::FAMILY => return family::reclaim::visit(turn, target, row),
        kind::ANCESTOR => return family::opaque::visit(turn, target, rows_max),
        kind::FAMILY_INDEX => return family::cap::visit(turn, target, row),
        kind::SESSION_INDEX => decode_row::<IndexRow>(row)?.forgotten_at(),
        kind::SESSION => {
            let mut row: SessionRow = decode_row(row)?;
            if turn.now >= row.forgotten_at() {
                return Ok(Fate::Remove);
            }
            let changed = session::tidy(&mut row, turn.now).then(|| encode(&row));
            return Ok(Fate::Later(session::next_visit(&row, turn.now), changed));
        }
        kind::ATTEMPTS => decode_row::<Misses>(row)?.ends_at,
        kind::SEEN => decode_row::<Seen>(row)?.expires_at,
        other => unreachable!("no row of kind {other} is ever scheduled"),
    };
    Ok(if turn.now >= ends_at { Fate::Remove } else { Fate::Later(ends_at, None) })
}
