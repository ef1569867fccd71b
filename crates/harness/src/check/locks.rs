//! One holder at a time, later holders have larger fences, and what a lock guards takes no write
//! that comes with an old one.

use std::collections::{BTreeMap, BTreeSet};

use jeton_core::ids::{Fence, LockName};

use super::{Rule, Verdict, Violation};
use crate::history::{Guarded, History, Hold};

/// Holds of a lock, in the order of their fences, follow each other without a moment in common.
pub(super) fn check(history: &History, verdict: &mut Verdict) {
    let mut locks: BTreeMap<&LockName, BTreeMap<Fence, &Hold>> = BTreeMap::new();
    for hold in &history.holds {
        if locks.entry(&hold.lock).or_default().insert(hold.fence, hold).is_some() {
            overlap(verdict, format!("{}: fence {} was granted twice", hold.lock, hold.fence.0));
        }
    }
    for (lock, holds) in &locks {
        for (earlier, later) in holds.values().zip(holds.values().skip(1)) {
            if later.from < earlier.until {
                let (one, two) = (earlier.fence.0, later.fence.0);
                overlap(verdict, format!("{lock}: {two} was held while {one} was"));
            }
        }
    }
    check_guarded(history, verdict);
}

/// In the order of a record's versions, positions grow and fences never go back; and none was
/// written under a fence when there was a larger one, whoever held it.
fn check_guarded(history: &History, verdict: &mut Verdict) {
    let mut fences: BTreeMap<&LockName, BTreeSet<u64>> = BTreeMap::new();
    for hold in &history.holds {
        fences.entry(&hold.lock).or_default().insert(hold.fence.0);
    }
    let mut records: BTreeMap<&LockName, BTreeMap<u64, (Fence, Guarded)>> = BTreeMap::new();
    for write in &history.guarded {
        let (lock, fence) = (&write.lock, write.fence);
        let Some(made) = write.made else { continue };
        let granted = fences.entry(lock).or_default();
        granted.insert(fence.0);
        if records.entry(lock).or_default().insert(made.version, (fence, made)).is_some() {
            stale(verdict, format!("{lock}: version {} was made twice", made.version));
        }
    }
    for (lock, versions) in &records {
        for ((one, earlier), (two, later)) in versions.values().zip(versions.values().skip(1)) {
            if two < one || later.position <= earlier.position {
                stale(verdict, format!("{lock}: {} was written over {}", two.0, one.0));
            }
        }
        for (fence, made) in versions.values() {
            let at = made.position.0;
            let newer = fences[lock].range(fence.0 + 1..at.max(fence.0 + 1)).next();
            if at <= fence.0 || newer.is_some() {
                stale(verdict, format!("{lock}: {} wrote at {at}, after {newer:?}", fence.0));
            }
        }
    }
}

fn stale(verdict: &mut Verdict, detail: String) {
    verdict.violations.push(Violation { rule: Rule::StaleWrite, family: None, detail });
}

fn overlap(verdict: &mut Verdict, detail: String) {
    verdict.violations.push(Violation { rule: Rule::LockOverlap, family: None, detail });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jeton_core::ids::Position;
    use tokio::time::Instant;

    use super::*;
    use crate::history::GuardedWrite;

    fn overlaps(holds: &[(u64, u64, u64)]) -> usize {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let lock = LockName::new("upstream").unwrap();
        let holds = holds.iter().map(|(fence, from, until)| Hold {
            lock: lock.clone(),
            fence: Fence(*fence),
            from: at(*from),
            until: at(*until),
        });
        let history = History { holds: holds.collect(), ..History::default() };
        let mut verdict = Verdict::default();
        check(&history, &mut verdict);
        assert_eq!(verdict.count(Rule::LockOverlap), verdict.violations.len());
        verdict.violations.len()
    }

    #[test]
    fn holds_follow_each_other_in_the_order_of_their_fences() {
        assert_eq!(overlaps(&[(3, 20, 30), (1, 0, 10), (2, 10, 19)]), 0);
        assert_eq!(overlaps(&[(1, 0, 10), (2, 9, 19)]), 1, "two at once");
        assert_eq!(overlaps(&[(2, 0, 10), (1, 20, 30)]), 1, "a later hold with a smaller fence");
        assert_eq!(overlaps(&[(1, 0, 10), (1, 20, 30)]), 1, "one fence twice");
    }

    /// Fence, and the version and position that it made, if it did.
    type Wrote = (u64, Option<(u64, u64)>);

    /// With the fences 10 and 20.
    fn stale_writes(writes: &[Wrote]) -> usize {
        let lock = LockName::new("upstream").unwrap();
        let from = Instant::now();
        let hold = |fence| Hold { lock: lock.clone(), fence: Fence(fence), from, until: from };
        let guarded = writes.iter().map(|(fence, made)| GuardedWrite {
            lock: lock.clone(),
            fence: Fence(*fence),
            made: made.map(|(version, at)| Guarded { version, position: Position(at) }),
        });
        let guarded = guarded.collect();
        let history = History { holds: vec![hold(10), hold(20)], guarded, ..History::default() };
        let mut verdict = Verdict::default();
        check(&history, &mut verdict);
        assert_eq!(verdict.count(Rule::StaleWrite), verdict.violations.len());
        verdict.violations.len()
    }

    #[test]
    fn what_a_lock_guards_takes_no_write_that_comes_late() {
        let first = (10, Some((1, 12)));
        assert_eq!(stale_writes(&[first, (20, Some((2, 22))), (10, None)]), 0);
        assert_eq!(stale_writes(&[first, (10, Some((2, 21)))]), 1, "20 was granted before");
        assert_eq!(stale_writes(&[(20, Some((1, 22))), (10, Some((2, 19)))]), 1, "over 20's");
        assert_eq!(stale_writes(&[first, (20, Some((1, 22)))]), 1, "one version twice");
        assert_eq!(stale_writes(&[(20, Some((1, 19)))]), 1, "before its own grant");
    }
}
