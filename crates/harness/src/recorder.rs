//! The recorder that callers write into while a workload runs.
//!
//! One lock around plain vectors: at some ten thousand events a second that is nothing, and the
//! order of what is written can be trusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::history::{
    Call, Caller, CodeHistory, Creation, FamilyKey, GuardedWrite, History, Hold, Look, Redeemed,
    Redeemer, Redemption, Revocation, Roots, Rotation, RotationSeen, Target, Tick,
};
use jeton_core::ids::{Generation, Position};

/// Collects what callers saw. Cheap to clone; all clones write into one history.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    tick: AtomicU64,
    history: Mutex<History>,
    counts: Counts,
    gap: Mutex<Gap>,
}

/// Time without a successful write.
#[derive(Debug, Default)]
struct Gap {
    /// Since when nothing succeeded; `None` while nobody measures.
    since: Option<Instant>,
    longest: Duration,
}

/// Running totals for whoever watches.
#[derive(Debug, Default)]
struct Counts {
    created: AtomicU64,
    rotated: AtomicU64,
    replayed: AtomicU64,
    superseded: AtomicU64,
    reused: AtomicU64,
    refused_dead: AtomicU64,
    unknown: AtomicU64,
    revoked: AtomicU64,
    codes: AtomicU64,
    grants: AtomicU64,
    stale_refused: AtomicU64,
    denied: AtomicU64,
    slowest_denial_us: AtomicU64,
}

/// Totals at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Families created.
    pub created: u64,
    /// Rotations that made a successor.
    pub rotated: u64,
    /// Rotations answered with an earlier one's successor.
    pub replayed: u64,
    /// Rotations answered with "a sibling holds a newer token".
    pub superseded: u64,
    /// Stolen tokens that were caught as such.
    pub reused: u64,
    /// Rotations refused because the family is dead.
    pub refused_dead: u64,
    /// Rotations and revocations whose outcome nobody knows.
    pub unknown: u64,
    /// Revocations in force.
    pub revoked: u64,
    /// Codes that somebody redeemed.
    pub codes: u64,
    /// Locks that were granted.
    pub grants: u64,
    /// Writes of what locks guard that were refused: their fence was none any more.
    pub stale_refused: u64,
    /// Revocations that a local view denies access for.
    pub denied: u64,
    /// Longest time from a revocation's acknowledgement until a local view denied access.
    pub slowest_denial: Duration,
}

/// Kept by a caller between calling and being answered.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Invoked(Tick);

impl Recorder {
    /// To be called before the first attempt of an operation.
    pub fn invoke(&self) -> Invoked {
        Invoked(self.tick())
    }

    /// A family lives.
    pub fn created(&self, invoked: Invoked, key: FamilyKey, roots: Roots, position: Position) {
        let call = self.returned(invoked);
        self.0.counts.created.fetch_add(1, Ordering::Relaxed);
        self.succeeded();
        let creation = Creation { roots, position, call };
        self.0.history.lock().families.entry(key).or_default().creation = Some(creation);
    }

    /// A rotation was answered, or given up.
    pub fn rotation(
        &self,
        invoked: Invoked,
        key: &FamilyKey,
        presented: Generation,
        caller: Caller,
        seen: RotationSeen,
    ) {
        let call = self.returned(invoked);
        let counts = &self.0.counts;
        let count = match &seen {
            RotationSeen::Rotated(_) => Some(&counts.rotated),
            RotationSeen::Replayed(_) => Some(&counts.replayed),
            RotationSeen::Superseded { .. } => Some(&counts.superseded),
            RotationSeen::Reused { .. } => Some(&counts.reused),
            RotationSeen::Revoked { .. } => Some(&counts.refused_dead),
            RotationSeen::Unknown => Some(&counts.unknown),
            RotationSeen::Refused(_) => None,
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if matches!(seen, RotationSeen::Rotated(_)) {
            self.succeeded();
        }
        let rotation = Rotation { presented, caller, call, seen };
        let mut history = self.0.history.lock();
        if let Some(family) = history.families.get_mut(key) {
            family.rotations.push(rotation);
        } else {
            history.families.entry(key.clone()).or_default().rotations.push(rotation);
        }
    }

    /// A revocation is in force (`Some`), or nobody knows (`None`).
    pub fn revocation(&self, invoked: Invoked, target: Target, acknowledged: Option<Position>) {
        let call = self.returned(invoked);
        let counts = &self.0.counts;
        let count = if acknowledged.is_some() { &counts.revoked } else { &counts.unknown };
        count.fetch_add(1, Ordering::Relaxed);
        if acknowledged.is_some() {
            self.succeeded();
        }
        self.0.history.lock().revocations.push(Revocation { target, call, acknowledged });
    }

    /// Somebody tried to redeem a code, or nobody knows.
    pub fn redemption(&self, invoked: Invoked, by: Redeemer, seen: Redeemed) -> Redemption {
        let call = self.returned(invoked);
        if matches!(seen, Redeemed::First(_)) {
            self.0.counts.codes.fetch_add(1, Ordering::Relaxed);
            self.succeeded();
        }
        Redemption { by, call, seen }
    }

    /// A code's story is over.
    pub fn code(&self, code: CodeHistory) {
        self.0.history.lock().codes.push(code);
    }

    /// A lock was held.
    pub fn hold(&self, hold: Hold) {
        self.0.counts.grants.fetch_add(1, Ordering::Relaxed);
        self.0.history.lock().holds.push(hold);
    }

    /// What a lock guards was written, or that was refused.
    pub fn guarded(&self, write: GuardedWrite) {
        match write.made {
            Some(_) => self.succeeded(),
            None => drop(self.0.counts.stale_refused.fetch_add(1, Ordering::Relaxed)),
        }
        self.0.history.lock().guarded.push(write);
    }

    /// A revocation came to a local view, or did not.
    pub fn look(&self, look: Look) {
        if let Some(after) = look.denied_after {
            let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
            self.0.counts.denied.fetch_add(1, Ordering::Relaxed);
            self.0.counts.slowest_denial_us.fetch_max(micros, Ordering::Relaxed);
        }
        self.0.history.lock().looks.push(look);
    }

    /// Starts to measure the longest time without a successful write, from now.
    pub fn gap_start(&self) {
        let mut gap = self.0.gap.lock();
        gap.since = Some(Instant::now());
    }

    /// Ends the measurement and returns the longest gap since the recorder was made.
    pub fn gap_end(&self) -> Duration {
        let mut gap = self.0.gap.lock();
        if let Some(since) = gap.since.take() {
            gap.longest = gap.longest.max(since.elapsed());
        }
        gap.longest
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        let counts = &self.0.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Totals {
            created: read(&counts.created),
            rotated: read(&counts.rotated),
            replayed: read(&counts.replayed),
            superseded: read(&counts.superseded),
            reused: read(&counts.reused),
            refused_dead: read(&counts.refused_dead),
            unknown: read(&counts.unknown),
            revoked: read(&counts.revoked),
            codes: read(&counts.codes),
            grants: read(&counts.grants),
            stale_refused: read(&counts.stale_refused),
            denied: read(&counts.denied),
            slowest_denial: Duration::from_micros(read(&counts.slowest_denial_us)),
        }
    }

    /// Takes the history out, when all callers are done.
    pub fn take(&self) -> History {
        std::mem::take(&mut *self.0.history.lock())
    }

    fn succeeded(&self) {
        let mut gap = self.0.gap.lock();
        if let Some(since) = gap.since {
            let now = Instant::now();
            gap.longest = gap.longest.max(now - since);
            gap.since = Some(now);
        }
    }

    fn returned(&self, invoked: Invoked) -> Call {
        Call { invoked: invoked.0, returned: self.tick() }
    }

    fn tick(&self) -> Tick {
        Tick(self.0.tick.fetch_add(1, Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::ids::{FamilyId, TenantId};

    use super::*;

    #[test]
    fn calls_are_ordered_and_counted() {
        let recorder = Recorder::default();
        let key = FamilyKey { tenant: TenantId::new("t").unwrap(), family: FamilyId([1; 16]) };
        let first = recorder.invoke();
        let second = recorder.invoke();
        recorder.rotation(second, &key, Generation(0), Caller::Owner, RotationSeen::Unknown);
        recorder.rotation(
            first,
            &key,
            Generation(0),
            Caller::Thief,
            RotationSeen::Reused { revoked: true },
        );
        let totals = recorder.totals();
        assert_eq!((totals.unknown, totals.reused, totals.rotated), (1, 1, 0));
        let history = recorder.take();
        let rotations = &history.families[&key].rotations;
        assert_eq!(rotations.len(), 2);
        assert!(rotations[1].call.invoked < rotations[0].call.invoked);
        assert!(rotations[0].call.returned < rotations[1].call.returned);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_gap_is_the_time_between_successes() {
        let recorder = Recorder::default();
        let key = FamilyKey { tenant: TenantId::new("t").unwrap(), family: FamilyId([1; 16]) };
        let revoke = || {
            let invoked = recorder.invoke();
            recorder.revocation(invoked, Target::Family(key.clone()), Some(Position(1)));
        };
        tokio::time::advance(Duration::from_secs(60)).await;
        recorder.gap_start();
        tokio::time::advance(Duration::from_millis(700)).await;
        revoke();
        tokio::time::advance(Duration::from_millis(20)).await;
        revoke();
        assert_eq!(recorder.gap_end(), Duration::from_millis(700));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(recorder.gap_end(), Duration::from_millis(700));
    }
}
