//! The result of the demo.

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
            unavailable_ms: u64::try_from(drill.unavailable.as_millis()).unwrap_or(u64::MAX),
            digests_equal: drill.digests_equal,
            ok: verdict.ok() && drill.digests_equal && everything_happened,
        }
    }
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
    use std::time::Duration;

    use jeton_harness::check::{Verdict, Violation};
    use jeton_harness::recorder::Totals;

    use super::*;

    fn good() -> Drill {
        Drill {
            totals: Totals { rotated: 9, replayed: 5, reused: 2, revoked: 3, ..Totals::default() },
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
             \"unavailable_ms\":812,\"digests_equal\":true,\"ok\":true}"
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
    fn a_run_without_a_kill_or_a_theft_proves_nothing() {
        let mut drill = good();
        drill.leader_kills = 0;
        assert!(!DemoReport::of(&drill).ok);
        let mut drill = good();
        drill.totals.reused = 0;
        assert!(!DemoReport::of(&drill).ok);
        let mut drill = good();
        drill.digests_equal = false;
        assert!(!DemoReport::of(&drill).ok);
    }
}
