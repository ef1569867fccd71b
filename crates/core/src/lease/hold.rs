//! What holders do: `Renew`, `Release`, `Publish`. All compare lock, holder and fence: whoever
//! comes late hears `LOST`, and changes nothing of what is another's now.

use crate::admission;
use crate::codec::{decode_row, encode};
use crate::command::{Publish, Release, Renew};
use crate::ids::TenantId;
use crate::keys;
use crate::reply::{Done, Refusal, Replies};
use crate::tables::{Tables, TablesError};
use crate::turn::Turn;

use super::lock::Lock;
use super::row::Landed;
use super::{schedule, unschedule};

/// Each lease lasts its ttl from now on. A late copy can make one last longer, never shorter.
pub(crate) fn renew<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    wish: &Renew,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::renew(wish) {
        return Ok(Err(refusal));
    }
    let mut lost = Vec::new();
    for (place, lease) in (0..).zip(&wish.leases) {
        let mut lock = Lock::load(turn, id, &lease.lock)?;
        lock.settle(turn)?;
        if !lock.is_held_by(turn, lease) {
            lost.push(place);
        } else if let Some(held) = &mut lock.row.held {
            held.expires = held.expires.max(turn.lease_now.plus(held.ttl));
        }
        lock.store(turn);
    }
    Ok(Ok(Done::Renewed { lost }))
}

/// The lock is the next one's, in this same command.
pub(crate) fn release<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    wish: &Release,
) -> Result<Result<Done, Refusal>, TablesError> {
    let mut lock = Lock::load(turn, id, &wish.lease.lock)?;
    let held = lock.is_held_by(turn, &wish.lease);
    if held {
        lock.vacate(turn);
    }
    lock.settle(turn)?;
    lock.store(turn);
    Ok(if held { Ok(Done::Released) } else { Err(Refusal::Lost) })
}

/// The result is there for those who wait, and the lock goes on or is given back.
pub(crate) fn publish<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    wish: &Publish,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::publish(wish) {
        return Ok(Err(refusal));
    }
    let mut lock = Lock::load(turn, id, &wish.lease.lock)?;
    let held = lock.is_held_by(turn, &wish.lease);
    if held {
        let key = keys::lock_result(id, &wish.lease.lock);
        let old = turn.tables.get(&key)?;
        if let Some(old) = &old {
            let old: Landed = decode_row(old)?;
            assert!(old.fence <= wish.lease.fence, "fences only grow");
            unschedule(turn, old.expires, &key);
        }
        let expires = turn.lease_now.plus(wish.ttl);
        let landed = Landed { fence: wish.lease.fence, sealed: wish.sealed.clone(), expires };
        schedule(turn, expires, &key);
        turn.put(key, old.as_ref(), encode(&landed));
        lock.changed(turn);
        if wish.release {
            lock.vacate(turn);
        }
    }
    lock.settle(turn)?;
    lock.store(turn);
    Ok(if held { Ok(Done::Published) } else { Err(Refusal::Lost) })
}
