//! A local view denies what was revoked, and never allows what it claims to know better.

use super::{Rule, Verdict, Violation};
use crate::history::History;

/// Every acknowledged revocation came to the view, which let nobody in while it claimed to be
/// newer, and denied nobody else.
pub(super) fn check(history: &History, verdict: &mut Verdict) {
    for look in &history.looks {
        let (tenant, subject, at) = (&look.tenant, &look.subject, look.position);
        if look.denied_after.is_none() {
            let detail = format!("a view of {tenant} never heard that {subject} was cut at {at}");
            verdict.violations.push(Violation { rule: Rule::Lost, family: None, detail });
        }
        if look.let_in > 0 {
            let detail = format!(
                "a view of {tenant} let {subject} in {} times, cut at {at}, which it knew",
                look.let_in
            );
            verdict.violations.push(Violation { rule: Rule::StaleView, family: None, detail });
        }
        if look.wrongly_denied {
            let detail = format!("a view of {tenant} denied somebody whom nobody revoked");
            verdict.violations.push(Violation {
                rule: Rule::FalseRevocation,
                family: None,
                detail,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jeton_core::ids::{Position, SubjectId, TenantId};

    use super::*;
    use crate::history::Look;

    fn rules(change: impl FnOnce(&mut Look)) -> Vec<Rule> {
        let mut look = Look {
            tenant: TenantId::new("acme").unwrap(),
            subject: SubjectId::new("alice").unwrap(),
            position: Position(7),
            denied_after: Some(Duration::from_millis(2)),
            let_in: 0,
            wrongly_denied: false,
        };
        change(&mut look);
        let history = History { looks: vec![look], ..History::default() };
        let mut verdict = Verdict::default();
        check(&history, &mut verdict);
        verdict.violations.iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn a_view_hears_of_everything_and_keeps_its_word() {
        assert_eq!(rules(|_| {}), []);
        assert_eq!(rules(|look| look.denied_after = None), [Rule::Lost]);
        assert_eq!(rules(|look| look.let_in = 1), [Rule::StaleView]);
        assert_eq!(rules(|look| look.wrongly_denied = true), [Rule::FalseRevocation]);
    }
}
