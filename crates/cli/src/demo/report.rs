//! The result of the demo.

use std::time::Duration;

use jeton_harness::check::Rule;
use jeton_harness::workload::Drill;
use serde::Serialize;

use crate::output::{Report, Table};

/// What is printed in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DemoReport {
    /// Rotations that made a successor.
    pub rotated: u64,
    /// Presentations that were answered with the identical successor of an earlier one.
    pub replayed: u64,
    /// Stolen tokens that were caught.
    pub reused: u64,
    /// Revocations in force.
    pub revoked: u64,
    /// Acknowledged things that are not there or do not hold.
    pub lost: usize,
    /// Tokens with two successors.
    pub double_successors: usize,
    /// Families that died without anybody revoking them.
    pub false_revocations: usize,
    /// How often the leader got SIGKILL.
    pub leader_kills: u32,
    /// Longest time without a successful write after a kill.
    pub unavailable_ms: u64,
    /// Authorization codes that somebody redeemed.
    pub codes: u64,
    /// Codes that were redeemed twice, or by somebody whom they are not for.
    pub double_redemptions: usize,
    /// Locks that were granted.
    pub lock_grants: u64,
    /// Times when two held one lock, or a fence did not grow.
    pub lock_overlaps: usize,
    /// Writes of what a lock guards that came with an old fence, and were refused.
    pub stale_writes_refused: u64,
    /// Such as were not.
    pub stale_writes: usize,
    /// Revocations that a resource server's local view denied access for.
    pub view_denied: u64,
    /// Longest time from a revocation's acknowledgement until the view denied access.
    pub view_slowest_ms: u64,
    /// Revocations that the view let somebody pass in spite of, claiming to know better.
    pub view_wrong: usize,
    /// Whether all nodes had the same digest at one position.
    pub digests_equal: bool,
    /// Whether every promise was kept, also those that have no number here.
    pub ok: bool,
}

impl DemoReport {
    /// Sums a drill up. A run in which a scene never happened proves nothing about it.
    pub fn of(drill: &Drill) -> Self {
        let verdict = &drill.verdict;
        let totals = drill.totals;
        let everything_happened = totals.rotated > 0
            && totals.replayed > 0
            && totals.reused > 0
            && totals.revoked > 0
            && totals.codes > 0
            && totals.grants > 0
            && totals.stale_refused > 0
            && totals.denied > 0
            && drill.leader_kills > 0;
        Self {
            rotated: totals.rotated,
            replayed: totals.replayed,
            reused: totals.reused,
            revoked: totals.revoked,
            lost: verdict.count(Rule::Lost),
            double_successors: verdict.count(Rule::DoubleSuccessor),
            false_revocations: verdict.count(Rule::FalseRevocation),
            leader_kills: drill.leader_kills,
            unavailable_ms: millis(drill.unavailable),
            codes: totals.codes,
            double_redemptions: verdict.count(Rule::DoubleRedemption),
            lock_grants: totals.grants,
            lock_overlaps: verdict.count(Rule::LockOverlap),
            stale_writes_refused: totals.stale_refused,
            stale_writes: verdict.count(Rule::StaleWrite),
            view_denied: totals.denied,
            view_slowest_ms: millis(totals.slowest_denial),
            view_wrong: verdict.count(Rule::StaleView),
            digests_equal: drill.digests_equal,
            ok: verdict.ok() && drill.digests_equal && everything_happened,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Report for DemoReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([
            ("rotated", self.rotated.to_string()),
            ("replayed, identical successor", self.replayed.to_string()),
            ("thefts caught", self.reused.to_string()),
            ("revocations in force", self.revoked.to_string()),
            ("lost", self.lost.to_string()),
            ("double successors", self.double_successors.to_string()),
            ("false revocations", self.false_revocations.to_string()),
            ("leader killed", format!("{} ×", self.leader_kills)),
            ("longest time without a write", format!("{} ms", self.unavailable_ms)),
            ("codes redeemed", self.codes.to_string()),
            ("codes redeemed twice", self.double_redemptions.to_string()),
            ("locks granted", self.lock_grants.to_string()),
            ("locks held by two", self.lock_overlaps.to_string()),
            ("writes with old fences refused", self.stale_writes_refused.to_string()),
            ("such writes taken", self.stale_writes.to_string()),
            ("denied by the local view", self.view_denied.to_string()),
            ("slowest of these", format!("{} ms", self.view_slowest_ms)),
            ("wrongly let in by it", self.view_wrong.to_string()),
            ("digests equal on all nodes", self.digests_equal.to_string()),
        ]);
        table.note(if self.ok {
            "ok: every promise was kept"
        } else {
            "NOT OK: a promise was broken, or a scene never happened"
        });
        table
    }
}

#[cfg(test)]
mod tests {
    use jeton_harness::check::{Verdict, Violation};
    use jeton_harness::recorder::Totals;

    use super::*;

    fn good() -> Drill {
        Drill {
            totals: Totals {
                rotated: 9,
                replayed: 5,
                reused: 2,
                revoked: 3,
                codes: 4,
                grants: 6,
                stale_refused: 2,
                denied: 3,
                slowest_denial: Duration::from_millis(7),
                ..Totals::default()
            },
            leader_kills: 1,
            unavailable: Duration::from_millis(812),
            digests_equal: true,
            verdict: Verdict::default(),
        }
    }

    #[test]
    fn the_result_is_one_object_with_the_promised_keys_in_order() {
        let json = serde_json::to_string(&DemoReport::of(&good())).unwrap();
        assert_eq!(
            json,
            "{\"rotated\":9,\"replayed\":5,\"reused\":2,\"revoked\":3,\"lost\":0,\
             \"double_successors\":0,\"false_revocations\":0,\"leader_kills\":1,\
             \"unavailable_ms\":812,\"codes\":4,\"double_redemptions\":0,\"lock_grants\":6,\
             \"lock_overlaps\":0,\"stale_writes_refused\":2,\"stale_writes\":0,\
             \"view_denied\":3,\"view_slowest_ms\":7,\"view_wrong\":0,\
             \"digests_equal\":true,\"ok\":true}"
        );
    }

    #[test]
    fn a_broken_promise_is_not_ok_whether_or_not_it_has_a_number() {
        for rule in [Rule::Lost, Rule::MissedTheft, Rule::Undecided] {
            let mut drill = good();
            let detail = String::new();
            drill.verdict.violations.push(Violation { rule, family: None, detail });
            assert!(!DemoReport::of(&drill).ok, "{rule:?}");
        }
    }

    #[test]
    fn a_run_without_a_kill_or_a_theft_or_a_lock_proves_nothing() {
        let mut drill = good();
        drill.leader_kills = 0;
        assert!(!DemoReport::of(&drill).ok);
        let mut drill = good();
        drill.totals.reused = 0;
        assert!(!DemoReport::of(&drill).ok);
        let unset: [fn(&mut Totals); 4] =
            [|t| t.codes = 0, |t| t.grants = 0, |t| t.stale_refused = 0, |t| t.denied = 0];
        for unset in unset {
            let mut drill = good();
            unset(&mut drill.totals);
            assert!(!DemoReport::of(&drill).ok);
        }
        let mut drill = good();
        drill.digests_equal = false;
        assert!(!DemoReport::of(&drill).ok);
    }
}
