//! `Acquire` and `Withdraw`: getting a lock or a place in its queue, and taking that back.
//!
//! | the request | the lock | answer |
//! |---|---|---|
//! | was granted it, and holds it still | | `GRANTED`, the same |
//! | was granted it, and has lost it since | | `LOST` |
//! | waits already | | `QUEUED`, at its place |
//! | was refused | | the same refusal |
//! | is new, or was taken out of the queue | free | `GRANTED` |
//! | | held, and it does not wait (any more) | `HELD` |
//! | | held, and 10,000 wait | `LIMIT_REACHED` |
//! | | held | `QUEUED` |
//!
//! What was asked is remembered under its name as any request is; while it waits, its memory says
//! where, and the grant changes it. A crash leaves the queue as it was: it is part of the state.

use crate::admission;
use crate::codec::{decode_row, encode};
use crate::command::{Acquire, Command, Operation, RequestName, Withdraw};
use crate::ids::{DurationMs, Position, TenantId};
use crate::keys;
use crate::limits;
use crate::reply::{Done, Refusal, Replies, Reply};
use crate::request;
use crate::tables::{Tables, TablesError};
use crate::turn::Turn;

use super::lock::{Grantee, Lock};
use super::row::Waiter;

pub(crate) fn acquire<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    name: RequestName,
    operation: &Operation,
    wish: &Acquire,
) -> Result<Reply, TablesError> {
    let digest = request::digest(operation);
    // Another request under this name must not even have the lock looked at.
    let known = request::recall(turn, id, name, digest)?;
    if let Some(Reply { outcome: Err(_), .. }) = known {
        return Ok(known.expect("it was just seen"));
    }
    if let Err(refusal) = admission::acquire(wish) {
        let reply = turn.reply(Err(refusal));
        request::remember(turn, id, name, digest, operation, &reply)?;
        return Ok(reply);
    }
    let mut lock = Lock::load(turn, id, &wish.lock)?;
    lock.settle(turn)?;
    // That may have granted it to this very request.
    let known = if known.is_some() { request::remembered(turn.tables, id, name.id)? } else { None };
    if let Some(reply) = known
        && let Some(again) = answer_again(turn, id, wish, &mut lock, reply)?
    {
        lock.store(turn);
        return Ok(again);
    }
    let reply = judge(turn, name, wish, &mut lock);
    lock.store(turn);
    request::remember(turn, id, name, digest, operation, &reply)?;
    Ok(reply)
}

/// What a request that was seen before is told; `None` if nothing is left of it.
fn answer_again<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    wish: &Acquire,
    lock: &mut Lock<'_>,
    reply: Reply,
) -> Result<Option<Reply>, TablesError> {
    match &reply.outcome {
        Ok(Done::Granted(granted)) => match &mut lock.row.held {
            Some(held) if held.fence == granted.fence => {
                held.asked = turn.position;
                Ok(Some(reply))
            }
            _ => Ok(Some(turn.reply(Err(Refusal::Lost)))),
        },
        Ok(Done::Queued { .. }) => {
            let key = keys::lock_waiter(id, &wish.lock, reply.position);
            let Some(bytes) = turn.tables.get(&key)? else { return Ok(None) };
            let mut waiter: Waiter = decode_row(&bytes)?;
            waiter.asked = turn.position;
            turn.put(key, Some(&bytes), encode(&waiter));
            let outcome = Ok(Done::Queued { asked: turn.position });
            Ok(Some(Reply { outcome, ..reply }))
        }
        _ => Ok(Some(reply)),
    }
}

/// What a request is told of which nothing is there yet.
fn judge<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    name: RequestName,
    wish: &Acquire,
    lock: &mut Lock<'_>,
) -> Reply {
    let (holder, ttl, asked) = (wish.holder.clone(), wish.ttl, turn.position);
    let Some(held) = &lock.row.held else {
        let to = Grantee { holder, ttl, request: name.id, asked, waited: false };
        return lock.grant(turn, to);
    };
    let left = DurationMs(wish.wait.0.saturating_sub(name.age.0));
    if left.0 == 0 {
        let refusal = held.refusal(turn.lease_now);
        return turn.reply(Err(refusal));
    }
    if lock.row.waiters >= limits::LOCK_WAITERS_MAX {
        let max = limits::LOCK_WAITERS_MAX as usize;
        return turn.reply(Err(Refusal::limit("LOCK_WAITERS_MAX", max)));
    }
    let deadline = turn.lease_now.plus(left);
    lock.queue(turn, &Waiter { holder, ttl, request: name.id, asked, deadline })
}

/// `Withdraw`. It can be repeated as it is, so it is not remembered, and a node that proposes it by
/// itself needs no name for it.
pub(crate) fn withdraw<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    command: &Command,
    wish: &Withdraw,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Some(name) = &command.request
        && let Err(refusal) = admission::request(Some(name))
    {
        return Ok(Err(refusal));
    }
    let Some(id) = &command.tenant else {
        return Ok(Err(Refusal::invalid("tenant", "missing: name one")));
    };
    if turn.tenant(id)?.is_none() {
        return Ok(Err(Refusal::TenantUnknown));
    }
    let Some(reply) = request::remembered(turn.tables, id, wish.acquire)? else {
        return Ok(Ok(Done::Withdrawn));
    };
    let mut lock = Lock::load(turn, id, &wish.lock)?;
    let since = |asked: Position| wish.asked.is_none_or(|known| known == asked);
    match reply.outcome {
        Ok(Done::Granted(granted)) => {
            let held = lock.row.held.as_ref();
            if held.is_some_and(|held| held.fence == granted.fence && since(held.asked)) {
                lock.vacate(turn);
            }
        }
        Ok(Done::Queued { .. }) => {
            let key = keys::lock_waiter(id, &wish.lock, reply.position);
            if let Some(bytes) = turn.tables.get(&key)? {
                let waiter: Waiter = decode_row(&bytes)?;
                if since(waiter.asked) {
                    lock.remove_waiter(turn, &key, &bytes, &waiter);
                    let answer = turn.reply(Err(Refusal::Lost));
                    lock.tell(turn, &key, answer);
                }
            }
        }
        _ => {}
    }
    lock.settle(turn)?;
    lock.store(turn);
    Ok(Ok(Done::Withdrawn))
}
