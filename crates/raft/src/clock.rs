//! Time: the wall clock seam, and the median of the voters' clocks that entries are stamped with.
//!
//! Every member reports its wall clock to the leader once a second. A stamp is the median over the
//! voters that reported within the last three seconds, each carried forward by monotonic time, and
//! only if they are a majority: so one broken clock can neither expire the world nor stop it. With
//! an even number the earlier of the middle two is taken: standing still for a moment can be made
//! good, a jump ahead can't. Without a majority of reports time stands still at the last stamp.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jeton_core::ids::{DurationMs, UnixMs};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::millis;
use crate::types::NodeId;

/// A report counts for this long.
const FRESH: Duration = Duration::from_secs(3);

/// A new leader waits this long for its voters' clocks: they report as soon as they know it.
const REPORTS_WAIT: Duration = Duration::from_secs(1);

/// Wall time. Never used to order anything.
pub trait Clock: Send + Sync {
    /// Now.
    fn wall(&self) -> UnixMs;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    // This is the implementation of the seam that the ban points to.
    #[allow(clippy::disallowed_types)]
    fn wall(&self) -> UnixMs {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        UnixMs(since.map_or(0, millis))
    }
}

/// Reports of the voters, and the time made from them.
#[derive(Default)]
pub(crate) struct Stamps {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    reports: BTreeMap<NodeId, Reading>,
    /// The newest median: our own as leader, the leader's as follower.
    median: Option<Reading>,
    /// Never runs back while this node leads.
    last_stamp: UnixMs,
    /// When this leadership began.
    begun: Option<Instant>,
    /// When this node's previous entry was made, in this leadership.
    last_entry: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Reading {
    wall: UnixMs,
    at: Instant,
}

impl Reading {
    fn carried_to(self, now: Instant) -> UnixMs {
        self.wall.plus(DurationMs(millis(now.saturating_duration_since(self.at))))
    }
}

impl Stamps {
    /// A member's report, or our own.
    pub(crate) fn report(&self, node: NodeId, wall: UnixMs, now: Instant) {
        self.inner.lock().reports.insert(node, Reading { wall, at: now });
    }

    /// The leader's verdict, on a follower.
    pub(crate) fn learn_median(&self, median: UnixMs, now: Instant) {
        self.inner.lock().median = Some(Reading { wall: median, at: now });
    }

    /// Leadership begins or ends here. What was reported stays true for as long as it is fresh: a
    /// voter may have reported to this leader before it knew itself that it leads.
    pub(crate) fn change_of_leader(&self, begun: Option<Instant>) {
        let mut inner = self.inner.lock();
        inner.begun = begun;
        inner.last_entry = None;
    }

    /// Whether this leader has heard of a majority's clocks, or has waited for them long enough to
    /// carry the last stamp on.
    pub(crate) fn knows_time(&self, configs: &[BTreeSet<NodeId>], now: Instant) -> bool {
        let known = self.median(configs, now).is_some();
        let begun = self.inner.lock().begun;
        known || begun.is_some_and(|begun| now.saturating_duration_since(begun) >= REPORTS_WAIT)
    }

    /// Median of the voters' clocks; `None` without fresh reports of a majority of each config.
    pub(crate) fn median(&self, configs: &[BTreeSet<NodeId>], now: Instant) -> Option<UnixMs> {
        let mut inner = self.inner.lock();
        let fresh = |node: &NodeId| {
            inner
                .reports
                .get(node)
                .filter(|reading| now.saturating_duration_since(reading.at) <= FRESH)
                .map(|reading| reading.carried_to(now))
        };
        let majority = |config: &BTreeSet<NodeId>| {
            config.iter().filter(|node| fresh(node).is_some()).count() * 2 > config.len()
        };
        if configs.is_empty() || !configs.iter().all(majority) {
            return None;
        }
        let voters: BTreeSet<NodeId> = configs.iter().flatten().copied().collect();
        let mut walls: Vec<UnixMs> = voters.iter().filter_map(fresh).collect();
        walls.sort_unstable();
        let median = *walls.get((walls.len() - 1) / 2)?;
        inner.median = Some(Reading { wall: median, at: now });
        Some(median)
    }

    /// The stamp of an entry or of a confirmed read index that the leader makes now; `None` while
    /// no majority has reported since the cluster was born.
    pub(crate) fn stamp(
        &self,
        configs: &[BTreeSet<NodeId>],
        machine: UnixMs,
        now: Instant,
    ) -> Option<UnixMs> {
        let median = self.median(configs, now);
        let mut inner = self.inner.lock();
        let stamp = median.unwrap_or_default().max(inner.last_stamp).max(machine);
        inner.last_stamp = stamp;
        (stamp > UnixMs(0)).then_some(stamp)
    }

    /// Milliseconds of monotonic time since this leader's previous entry; 0 for its first. What is
    /// left of a millisecond is kept for the next.
    pub(crate) fn lease_advance(&self, now: Instant) -> DurationMs {
        let mut inner = self.inner.lock();
        let Some(last) = inner.last_entry else {
            inner.last_entry = Some(now);
            return DurationMs(0);
        };
        let passed = millis(now.saturating_duration_since(last));
        inner.last_entry = Some(last + Duration::from_millis(passed));
        DurationMs(passed)
    }

    /// How long ago this leader has counted lease time; `None` before its first entry.
    pub(crate) fn lease_uncounted(&self, now: Instant) -> Option<Duration> {
        self.inner.lock().last_entry.map(|last| now.saturating_duration_since(last))
    }

    /// The best guess at the median now, on any node.
    pub(crate) fn estimate(&self, now: Instant) -> Option<UnixMs> {
        self.inner.lock().median.map(|reading| reading.carried_to(now))
    }

    /// How far each reporting node is from the median, in milliseconds, signed.
    pub(crate) fn skew(&self, node: NodeId, now: Instant) -> Option<i64> {
        let inner = self.inner.lock();
        let median = inner.median?.carried_to(now);
        let wall = inner.reports.get(&node)?.carried_to(now);
        Some(skew_ms(wall, median))
    }

    /// When `node` last reported.
    pub(crate) fn heard(&self, node: NodeId) -> Option<Instant> {
        self.inner.lock().reports.get(&node).map(|reading| reading.at)
    }
}

/// `wall − median` in milliseconds.
pub(crate) fn skew_ms(wall: UnixMs, median: UnixMs) -> i64 {
    i64::try_from(wall.0).unwrap_or(i64::MAX) - i64::try_from(median.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(ids: &[NodeId]) -> Vec<BTreeSet<NodeId>> {
        vec![ids.iter().copied().collect()]
    }

    #[test]
    fn one_broken_clock_moves_nothing() {
        let now = Instant::now();
        let stamps = Stamps::default();
        stamps.report(1, UnixMs(1_000_000), now);
        stamps.report(2, UnixMs(1_000_010), now);
        stamps.report(3, UnixMs(9_999_999_999), now);
        assert_eq!(stamps.median(&voters(&[1, 2, 3]), now), Some(UnixMs(1_000_010)));
        stamps.report(3, UnixMs(0), now);
        assert_eq!(stamps.median(&voters(&[1, 2, 3]), now), Some(UnixMs(1_000_000)));
    }

    #[test]
    fn a_jump_ahead_is_outvoted_even_by_two_of_three() {
        let now = Instant::now();
        let stamps = Stamps::default();
        stamps.report(1, UnixMs(1_000_000), now);
        stamps.report(2, UnixMs(9_999_999_999), now);
        assert_eq!(stamps.median(&voters(&[1, 2, 3]), now), Some(UnixMs(1_000_000)));
    }

    #[test]
    fn without_a_majority_time_stands_still_and_never_runs_back() {
        let now = Instant::now();
        let stamps = Stamps::default();
        let three = voters(&[1, 2, 3]);
        assert_eq!(stamps.stamp(&three, UnixMs(0), now), None, "no time is known at all");
        stamps.report(1, UnixMs(5_000), now);
        stamps.report(2, UnixMs(5_000), now);
        assert_eq!(stamps.stamp(&three, UnixMs(0), now), Some(UnixMs(5_000)));
        let later = now + Duration::from_secs(10);
        assert_eq!(stamps.stamp(&three, UnixMs(0), later), Some(UnixMs(5_000)));
        stamps.report(1, UnixMs(4_000), later);
        stamps.report(2, UnixMs(4_000), later);
        assert_eq!(stamps.stamp(&three, UnixMs(0), later), Some(UnixMs(5_000)));
    }

    #[test]
    fn a_new_leader_waits_for_clocks_but_not_for_ever() {
        let now = Instant::now();
        let stamps = Stamps::default();
        let three = voters(&[1, 2, 3]);
        stamps.change_of_leader(Some(now));
        stamps.report(1, UnixMs(5_000), now);
        assert!(!stamps.knows_time(&three, now));
        assert!(stamps.knows_time(&three, now + REPORTS_WAIT));
        stamps.report(2, UnixMs(5_000), now);
        assert!(stamps.knows_time(&three, now));
        stamps.change_of_leader(None);
        assert!(stamps.knows_time(&three, now + REPORTS_WAIT), "what is fresh stays true");
        assert!(!stamps.knows_time(&three, now + FRESH * 2), "it does not lead any more");
    }

    #[test]
    fn both_configs_of_a_joint_membership_need_a_majority() {
        let now = Instant::now();
        let stamps = Stamps::default();
        let joint = vec![[1, 2, 3].into_iter().collect(), [3, 4, 5].into_iter().collect()];
        for node in [1, 2, 3] {
            stamps.report(node, UnixMs(7), now);
        }
        assert_eq!(stamps.median(&joint, now), None);
        stamps.report(4, UnixMs(7), now);
        assert_eq!(stamps.median(&joint, now), Some(UnixMs(7)));
    }

    #[test]
    fn lease_time_starts_at_zero_and_loses_no_fraction() {
        let start = Instant::now();
        let stamps = Stamps::default();
        assert_eq!(stamps.lease_advance(start), DurationMs(0));
        let steps =
            (1..=10u32).map(|i| stamps.lease_advance(start + Duration::from_micros(1_500) * i));
        assert_eq!(steps.map(|step| step.0).sum::<u64>(), 15);
        stamps.change_of_leader(None);
        assert_eq!(stamps.lease_advance(start + Duration::from_secs(9)), DurationMs(0));
    }
}
