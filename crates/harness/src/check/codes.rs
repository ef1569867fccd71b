//! A code makes one family, for the client that it is for, and a stolen one ends it.

use super::{Rule, Story, Verdict, Violation};
use crate::history::{CodeHistory, FamilySeen, History, Redeemed, Redeemer};

/// Of each code: nobody but its client got anything, at most one got it, and somebody did unless
/// the user was logged out meanwhile or an outcome is unknown.
pub(super) fn check(history: &History, verdict: &mut Verdict) {
    for code in &history.codes {
        check_answers(history, code, verdict);
        let first = code.families().count();
        if first > 1 {
            let detail = format!("{first} callers were first with one code");
            verdict.violations.push(violation(Rule::DoubleRedemption, code, detail));
        }
        let open = |seen: &Redeemed| matches!(seen, Redeemed::Unknown | Redeemed::Gone);
        if first == 0 && !code.redemptions.iter().any(|it| open(&it.seen)) {
            let detail = "nobody got anything for a code".to_owned();
            verdict.violations.push(violation(Rule::Lost, code, detail));
        }
    }
}

fn check_answers(history: &History, code: &CodeHistory, verdict: &mut Verdict) {
    for redemption in &code.redemptions {
        let (by, seen) = (redemption.by, &redemption.seen);
        let (rule, what) = match (by, seen) {
            (_, Redeemed::Unknown)
            | (Redeemer::Stranger, Redeemed::Mismatch)
            | (Redeemer::Client, Redeemed::First(_) | Redeemed::Already)
            | (Redeemer::Thief, Redeemed::Already) => continue,
            (_, Redeemed::Gone) if logged_out(history, code, redemption.call.returned) => continue,
            (Redeemer::Thief | Redeemer::Stranger, Redeemed::First(_)) => {
                (Rule::DoubleRedemption, "got a family for another's code")
            }
            _ => (Rule::WrongAnswer, "was answered wrongly"),
        };
        let detail = format!("{by:?} {what}: {seen:?}");
        verdict.violations.push(violation(rule, code, detail));
    }
}

/// Whether somebody had set out to log the user out before that.
fn logged_out(history: &History, code: &CodeHistory, before: crate::history::Tick) -> bool {
    history.revocations.iter().any(|revocation| {
        revocation.call.invoked < before
            && revocation.target.covers_all_of(&code.tenant, &code.roots)
    })
}

/// The family of a code that came back is dead on every node.
pub(super) fn check_family(story: &Story<'_>, verdict: &mut Verdict) {
    let Some(code) = story.code else { return };
    let thief =
        |it: &&crate::history::Redemption| it.by == Redeemer::Thief && it.seen == Redeemed::Already;
    if !code.redemptions.iter().any(|it| thief(&it)) {
        return;
    }
    for (node, seen) in &story.seen {
        if let Some(FamilySeen::Present { dead: None, .. }) = seen {
            let detail = format!("{node} says it lives, although its code came back");
            verdict.violations.push(story.violation(Rule::MissedTheft, detail));
        }
    }
}

fn violation(rule: Rule, code: &CodeHistory, detail: String) -> Violation {
    Violation { rule, family: code.families().next().cloned(), detail }
}

#[cfg(test)]
mod tests {
    use jeton_core::ids::{ClientId, FamilyId, Position, SubjectId, TenantId};

    use super::super::judge;
    use super::*;
    use crate::history::{Call, FamilyKey, Redemption, Revocation, Roots, Target, Tick};

    fn made(n: u8) -> Redeemed {
        let tenant = TenantId::new("acme").unwrap();
        Redeemed::First(FamilyKey { tenant, family: FamilyId([n; 16]) })
    }

    /// The rules that such a history breaks.
    fn rules(redemptions: Vec<(Redeemer, Redeemed)>, logged_out: bool) -> Vec<Rule> {
        let roots = Roots {
            subject: SubjectId::new("alice").unwrap(),
            client: ClientId::new("web").unwrap(),
            device: None,
        };
        let tenant = TenantId::new("acme").unwrap();
        let call = Call { invoked: Tick(1), returned: Tick(2) };
        let redemptions =
            redemptions.into_iter().map(|(by, seen)| Redemption { by, call, seen }).collect();
        let mut history = History::default();
        if logged_out {
            let subject = Some(roots.subject.clone());
            let target =
                Target::Where { tenant: tenant.clone(), subject, client: None, device: None };
            let acknowledged = Some(Position(9));
            history.revocations.push(Revocation { target, call, acknowledged });
        }
        history.codes.push(CodeHistory { tenant, roots, redemptions });
        judge(&history, &[]).violations.iter().map(|v| v.rule).collect()
    }

    #[test]
    fn one_is_first_and_a_stranger_never() {
        use Redeemer::{Client, Stranger, Thief};
        let good = vec![
            (Stranger, Redeemed::Mismatch),
            (Client, Redeemed::Already),
            (Client, made(1)),
            (Thief, Redeemed::Already),
        ];
        // A history without nodes proves nothing of their digests.
        assert_eq!(rules(good, false), [Rule::Undecided]);
        let twice = vec![(Client, made(1)), (Client, made(2))];
        assert_eq!(rules(twice, false), [Rule::DoubleRedemption, Rule::Undecided]);
        let stranger = vec![(Stranger, made(1))];
        assert_eq!(rules(stranger, false), [Rule::DoubleRedemption, Rule::Undecided]);
        let burnt = vec![(Stranger, Redeemed::Mismatch), (Client, Redeemed::Already)];
        assert_eq!(rules(burnt, false), [Rule::Lost, Rule::Undecided]);
    }

    #[test]
    fn a_code_is_gone_only_if_the_user_was_logged_out() {
        let gone = || vec![(Redeemer::Client, Redeemed::Gone)];
        assert_eq!(rules(gone(), true), [Rule::Undecided]);
        assert_eq!(rules(gone(), false), [Rule::WrongAnswer, Rule::Undecided]);
    }
}
