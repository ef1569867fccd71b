//! Leases: locks that end by themselves, the queues before them, and what a single flight leaves.
//!
//! ```text
//!  LOCK          held by whom, under which fence, until when · how many wait
//!  LOCK_WAITER   one row for each who waits, in the order in which they came
//!  LOCK_RESULT   what the last single flight has published
//!  LEASE_DUE     when lease time ends which of these
//! ```
//!
//! All of it is judged by **lease time**: a counter that each entry moves forward by the
//! milliseconds of its leader's monotonic clock. It is never faster than real time, and stands
//! still while there is no leader: so a failover takes nobody's lock away, and a holder that counts
//! by its own clock, a little short, stops before the cluster lets the next one in.
//!
//! A lock changes hands inside apply: whatever finds it free, be it an expiry that the leader
//! proposes or the next command that touches it, grants it to the head of the queue at once. One
//! command grants a lock at most once, so that its position is the fence of one grant only.
//!
//! Never here: a clock of the holder's, or a guess at what it does. Who is cut off is told nothing;
//! its own clock has to.

pub(crate) mod acquire;
pub(crate) mod expire;
pub(crate) mod hold;
mod lock;
mod row;
pub(crate) mod view;

use crate::codec::FORMAT;
use crate::ids::{Fence, LeaseMs, LockName, TenantId};
use crate::keys;
use crate::reply::Replies;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::turn::Turn;

pub(crate) use row::{Landed, LockRow, Waiter};

/// Whether this very grant is held: what a transaction compares that must not come late.
pub(crate) fn held(
    tables: &impl ReadTables,
    id: &TenantId,
    lock: &LockName,
    fence: Fence,
    lease_now: LeaseMs,
) -> Result<bool, TablesError> {
    let row = LockRow::load(tables, &keys::lock(id, lock))?;
    let held = row.and_then(|(_, row)| row.held);
    Ok(held.is_some_and(|held| held.fence == fence && held.expires > lease_now))
}

/// Has the row under `target` looked at when lease time reaches `due`.
fn schedule<T: Tables, R: Replies>(turn: &mut Turn<'_, T, R>, due: LeaseMs, target: &[u8]) {
    turn.put(keys::lease_due(due, target), None, vec![FORMAT]);
    turn.replies.lease_due(due);
}

/// Takes back what [`schedule`] did.
fn unschedule<T: Tables, R: Replies>(turn: &mut Turn<'_, T, R>, due: LeaseMs, target: &[u8]) {
    turn.delete(&keys::lease_due(due, target), &bytes::Bytes::from_static(&[FORMAT]));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::{
        Acquire, Command, CreateTenant, Entry, KeyMaterial, Operation, RequestName, TenantSettings,
    };
    use crate::ids::{DurationMs, HolderId, LogIndex, Position, RequestId, UnixMs};
    use crate::machine::Machine;
    use crate::reply::{Event, Reply};
    use crate::tables::MemTables;

    struct Nobody;

    impl Replies for Nobody {
        fn wanted(&self) -> bool {
            false
        }
        fn reply(&mut self, _: usize, _: Reply) {}
        fn event(&mut self, _: Event) {}
    }

    #[test]
    fn a_grant_is_held_until_lease_time_overtakes_it() {
        let (tenant, lock) = (TenantId::new("acme").unwrap(), LockName::new("l").unwrap());
        let create =
            CreateTenant { settings: TenantSettings::default(), key: KeyMaterial([7; 32]) };
        let holder = HolderId::new("a").unwrap();
        let (ttl, wait) = (DurationMs(1_000), DurationMs(0));
        let acquire = Acquire { lock: lock.clone(), holder, ttl, wait };
        let operations = [Operation::CreateTenant(create), Operation::Acquire(acquire)];
        let (mut machine, mut tables) = (Machine::new(), MemTables::new());
        for (index, operation) in (1..).zip(operations) {
            let request = RequestName { id: RequestId([index; 16]), age: DurationMs(0) };
            let (tenant, request) = (Some(tenant.clone()), Some(request));
            let commands = vec![Arc::new(Command { tenant, request, operation })];
            let entry = Entry { stamp: UnixMs(1), lease_advance: DurationMs(5), commands };
            let index = LogIndex(u64::from(index));
            machine.apply(&mut tables, index, &entry, &mut Nobody).unwrap();
        }
        let fence = Fence::from(Position::new(0, LogIndex(2), 0));
        let held = |fence, now| held(&tables, &tenant, &lock, fence, LeaseMs(now)).unwrap();
        assert!(held(fence, 10) && held(fence, 1_009));
        assert!(!held(fence, 1_010), "it has ended");
        assert!(!held(Fence(fence.0 - 1), 10) && !held(Fence(fence.0 + 1), 10));
    }
}
