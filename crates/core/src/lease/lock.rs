//! A lock while a command changes it: freed, granted, queued for. Its row is written once, at the
//! end.

use bytes::Bytes;

use crate::codec::{decode_row, encode};
use crate::command::LeaseName;
use crate::ids::{DurationMs, Fence, HolderId, LockName, Position, RequestId, TenantId};
use crate::keys;
use crate::reply::{Done, Granted, LeaseNotice, Replies, Reply};
use crate::request;
use crate::tables::{Tables, TablesError};
use crate::turn::Turn;

use super::row::{Held, LockRow, Waiter};
use super::{schedule, unschedule};

/// Waiters looked at in one read: those whose wait is over stay until their own expiry comes by.
const WAITERS_PAGE: usize = 32;

/// See the module.
pub(super) struct Lock<'a> {
    id: &'a TenantId,
    name: &'a LockName,
    key: Vec<u8>,
    old: Option<Bytes>,
    before: LockRow,
    pub(super) row: LockRow,
    /// Position of the grant that this command has made.
    granted: Option<Position>,
}

/// Whom a lock is granted to.
pub(super) struct Grantee {
    pub(super) holder: HolderId,
    pub(super) ttl: DurationMs,
    pub(super) request: RequestId,
    pub(super) asked: Position,
    pub(super) waited: bool,
}

impl<'a> Lock<'a> {
    /// The lock as it is. Whoever changes it calls [`Lock::store`].
    pub(super) fn load<T: Tables, R: Replies>(
        turn: &Turn<'_, T, R>,
        id: &'a TenantId,
        name: &'a LockName,
    ) -> Result<Self, TablesError> {
        let key = keys::lock(id, name);
        let (old, row) = match LockRow::load(turn.tables, &key)? {
            Some((bytes, row)) => (Some(bytes), row),
            None => (None, LockRow::default()),
        };
        Ok(Self { id, name, key, old, before: row.clone(), row, granted: None })
    }

    /// Ends a lease that lease time has overtaken, and grants a lock that is free to the first who
    /// waits.
    pub(super) fn settle<T: Tables, R: Replies>(
        &mut self,
        turn: &mut Turn<'_, T, R>,
    ) -> Result<(), TablesError> {
        if self.row.held.as_ref().is_some_and(|held| held.expires <= turn.lease_now) {
            self.vacate(turn);
        }
        self.grant_next(turn)
    }

    /// Whether `lease` names the hold, and it goes on.
    pub(super) fn is_held_by<T, R>(&self, turn: &Turn<'_, T, R>, lease: &LeaseName) -> bool {
        self.row.held.as_ref().is_some_and(|held| {
            held.fence == lease.fence
                && held.holder == lease.holder
                && held.expires > turn.lease_now
        })
    }

    /// Nobody holds it any more.
    pub(super) fn vacate<T: Tables, R: Replies>(&mut self, turn: &mut Turn<'_, T, R>) {
        if let Some(held) = self.row.held.take() {
            unschedule(turn, held.visit, &self.key);
            self.changed(turn);
        }
    }

    /// Tells those who wait for a result that there is something to look at.
    pub(super) fn changed<T: Tables, R: Replies>(&self, turn: &mut Turn<'_, T, R>) {
        let (tenant, lock) = (self.id.clone(), self.name.clone());
        turn.replies.lease(LeaseNotice::Changed { tenant, lock });
    }

    /// Grants it. It must be free.
    pub(super) fn grant<T: Tables, R: Replies>(
        &mut self,
        turn: &mut Turn<'_, T, R>,
        to: Grantee,
    ) -> Reply {
        assert!(self.row.held.is_none(), "a lock that is held is granted to nobody");
        assert!(
            self.granted.is_none(),
            "one command grants a lock once: its position is the fence"
        );
        self.granted = Some(turn.position);
        let (fence, expires) = (Fence::from(turn.position), turn.lease_now.plus(to.ttl));
        schedule(turn, expires, &self.key);
        self.row.held = Some(Held {
            holder: to.holder,
            fence,
            ttl: to.ttl,
            expires,
            visit: expires,
            request: to.request,
            asked: to.asked,
        });
        turn.reply(Ok(Done::Granted(Granted { fence, ttl: to.ttl, waited: to.waited })))
    }

    /// If it is free, grants it to the first of those who still wait.
    fn grant_next<T: Tables, R: Replies>(
        &mut self,
        turn: &mut Turn<'_, T, R>,
    ) -> Result<(), TablesError> {
        if self.row.held.is_some() || self.row.waiters == 0 {
            return Ok(());
        }
        let mut from = keys::lock_waiter(self.id, self.name, Position(0));
        let to = keys::lock_waiter(self.id, self.name, Position(u64::MAX));
        loop {
            let page = turn.tables.scan(&from, &to, WAITERS_PAGE)?;
            for (key, bytes) in &page {
                let waiter: Waiter = decode_row(bytes)?;
                if waiter.deadline > turn.lease_now {
                    return self.grant_to_waiter(turn, key, bytes, waiter);
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == WAITERS_PAGE => {
                    from.clear();
                    from.extend_from_slice(key);
                    // The smallest key behind that one.
                    from.push(0);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Ends a wait with a grant. The lock must be free.
    pub(super) fn grant_to_waiter<T: Tables, R: Replies>(
        &mut self,
        turn: &mut Turn<'_, T, R>,
        key: &[u8],
        bytes: &Bytes,
        waiter: Waiter,
    ) -> Result<(), TablesError> {
        let request = waiter.request;
        self.remove_waiter(turn, key, bytes, &waiter);
        let to = Grantee {
            holder: waiter.holder,
            ttl: waiter.ttl,
            request,
            asked: waiter.asked,
            waited: true,
        };
        let reply = self.grant(turn, to);
        request::amend(turn, self.id, request, &reply)?;
        self.tell(turn, key, reply);
        Ok(())
    }

    /// Takes one who waits out of the queue.
    pub(super) fn remove_waiter<T: Tables, R: Replies>(
        &mut self,
        turn: &mut Turn<'_, T, R>,
        key: &[u8],
        bytes: &Bytes,
        waiter: &Waiter,
    ) {
        unschedule(turn, waiter.deadline, key);
        turn.delete(key, bytes);
        assert!(self.row.waiters > 0, "a lock counts those who wait for it");
        self.row.waiters -= 1;
    }

    /// Tells the one who waited at the place under `key`.
    pub(super) fn tell<T: Tables, R: Replies>(
        &self,
        turn: &mut Turn<'_, T, R>,
        key: &[u8],
        reply: Reply,
    ) {
        if let Some((_, _, Some(place))) = keys::lock_of(key) {
            turn.replies.lease(LeaseNotice::Settled { place, reply });
        }
    }

    /// Puts one more at the end of the queue.
    pub(super) fn queue<T: Tables, R: Replies>(
        &mut self,
        turn: &mut Turn<'_, T, R>,
        waiter: &Waiter,
    ) -> Reply {
        let key = keys::lock_waiter(self.id, self.name, turn.position);
        schedule(turn, waiter.deadline, &key);
        turn.put(key, None, encode(waiter));
        self.row.waiters += 1;
        turn.reply(Ok(Done::Queued { asked: waiter.asked }))
    }

    /// Writes the row, if it is another than it was.
    pub(super) fn store<T: Tables, R: Replies>(self, turn: &mut Turn<'_, T, R>) {
        if self.row == self.before {
            return;
        }
        match (&self.old, self.row == LockRow::default()) {
            (Some(old), true) => turn.delete(&self.key, old),
            (None, true) => {}
            (old, false) => turn.put(self.key, old.as_ref(), encode(&self.row)),
        }
    }
}
