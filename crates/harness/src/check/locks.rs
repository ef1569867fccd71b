//! One holder at a time, and later holders have larger fences.

use std::collections::BTreeMap;

use jeton_core::ids::{Fence, LockName};

use super::{Rule, Verdict, Violation};
use crate::history::{History, Hold};

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
}

fn overlap(verdict: &mut Verdict, detail: String) {
    verdict.violations.push(Violation { rule: Rule::LockOverlap, family: None, detail });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

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
}
