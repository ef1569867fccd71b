//! `ExpireLeases`: ends what lease time has overtaken. The leader proposes it when something is
//! due; apply judges again, since lease time is what the entries make of it.
//!
//! The index of what is due has exactly one entry for each lock that is held, for each who waits
//! and for each result. It can be repeated: a crash leaves it undone or done.

use crate::codec::decode_row;
use crate::command::Sweep;
use crate::ids::{LeaseMs, LockName, TenantId};
use crate::keys::{self, kind};
use crate::limits;
use crate::reply::{Done, Refusal, Replies};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::turn::Turn;

use super::lock::Lock;
use super::row::Waiter;
use super::{schedule, unschedule};

/// Visits what is due, at most `rows_max` of it, in the order in which it was due.
pub(crate) fn expire<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    wish: Sweep,
) -> Result<Result<Done, Refusal>, TablesError> {
    let rows_max = wish.rows_max.clamp(1, limits::SWEEP_ROWS_MAX);
    let behind = LeaseMs(turn.lease_now.0.saturating_add(1));
    let (from, to) = (keys::lease_due_from(LeaseMs(0)), keys::lease_due_from(behind));
    // One more than may be visited tells whether there is more to do.
    let mut due = turn.tables.scan(&from, &to, rows_max as usize + 1)?;
    let more = due.len() > rows_max as usize;
    due.truncate(rows_max as usize);
    let (mut visited, mut reclaimed) = (0, 0);
    for (entry, value) in &due {
        visited += 1;
        // Another visit may have ended this one's row already, and taken its entry with it.
        if turn.tables.get(entry)?.as_ref() != Some(value) {
            continue;
        }
        let found = keys::lease_due_target(entry);
        let target = found.and_then(|(due, key)| Some((due, key, keys::lock_of(key)?)));
        let Some((at, key, (id, lock, _))) = target else {
            turn.delete(entry, value);
            continue;
        };
        let ended = match key[0] {
            kind::LOCK => visit_lock(turn, &id, &lock, at, key)?,
            kind::LOCK_WAITER => visit_waiter(turn, &id, &lock, key)?,
            kind::LOCK_RESULT => visit_result(turn, at, key)?,
            other => unreachable!("no row of kind {other} is ended by lease time"),
        };
        reclaimed += u32::from(ended);
    }
    Ok(Ok(Done::Swept { visited, reclaimed, more }))
}

/// A lock that was renewed is looked at again later.
fn visit_lock<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    name: &LockName,
    at: LeaseMs,
    key: &[u8],
) -> Result<bool, TablesError> {
    let mut lock = Lock::load(turn, id, name)?;
    let now = turn.lease_now;
    let ended = match &mut lock.row.held {
        Some(held) if held.expires > now => {
            assert_eq!(held.visit, at, "a lock knows when it is looked at");
            held.visit = held.expires;
            let due = held.expires;
            unschedule(turn, at, key);
            schedule(turn, due, key);
            false
        }
        _ => true,
    };
    lock.settle(turn)?;
    lock.store(turn);
    Ok(ended)
}

/// A wait is over: with what there is, which may be the lock itself.
fn visit_waiter<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    name: &LockName,
    key: &[u8],
) -> Result<bool, TablesError> {
    let mut lock = Lock::load(turn, id, name)?;
    lock.settle(turn)?;
    let Some(bytes) = turn.tables.get(key)? else {
        lock.store(turn);
        return Ok(false);
    };
    let waiter: Waiter = decode_row(&bytes)?;
    match &lock.row.held {
        Some(held) => {
            let answer = turn.reply(Err(held.refusal(turn.lease_now)));
            lock.remove_waiter(turn, key, &bytes, &waiter);
            lock.tell(turn, key, answer);
        }
        // Nobody who waits any longer wants it: better late than nobody.
        None => lock.grant_to_waiter(turn, key, &bytes, waiter)?,
    }
    lock.store(turn);
    Ok(true)
}

fn visit_result<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    at: LeaseMs,
    key: &[u8],
) -> Result<bool, TablesError> {
    unschedule(turn, at, key);
    let Some(bytes) = turn.tables.get(key)? else { return Ok(false) };
    turn.delete(key, &bytes);
    Ok(true)
}

/// When the next one is due; `None` if lease time ends nothing that is there.
pub(crate) fn next_due(tables: &impl ReadTables) -> Result<Option<LeaseMs>, TablesError> {
    let (from, to) = (vec![kind::LEASE_DUE], vec![kind::LEASE_DUE + 1]);
    let first = tables.scan(&from, &to, 1)?;
    Ok(first.first().and_then(|(key, _)| keys::lease_due_target(key)).map(|(due, _)| due))
}
