//! What was acknowledged is on every node: families, and the rotations of each.

use jeton_core::ids::Generation;

use super::{Rule, Story, Verdict};
use crate::history::{Caller, FamilySeen, RotationSeen};

/// Every node knows the family, its head is the newest acknowledged successor (or one more, if a
/// rotation may have made it that never got its answer), and the owner's newest token is that head.
pub(super) fn check(story: &Story<'_>, verdict: &mut Verdict) {
    let newest = newest_acknowledged(story);
    // A rotation whose first answer was lost may be told "revoked" when it asks again: a root that
    // died since turns a remembered success into that.
    let open = story.family.rotations.iter().any(|r| {
        r.presented == newest
            && matches!(r.seen, RotationSeen::Unknown | RotationSeen::Revoked { .. })
    });
    for (node, seen) in &story.seen {
        let found = match seen {
            None => Some((Rule::Undecided, format!("{node} was not asked"))),
            Some(FamilySeen::Missing) => {
                Some((Rule::Lost, format!("{node} doesn't know it, head {}", newest.0)))
            }
            Some(FamilySeen::Present { head, newest_valid, .. }) => {
                judge_head(node, *head, newest, open, *newest_valid)
            }
        };
        verdict.violations.extend(found.map(|(rule, detail)| story.violation(rule, detail)));
    }
    check_answers(story, newest, verdict);
}

fn newest_acknowledged(story: &Story<'_>) -> Generation {
    let made = story.family.rotations.iter().filter_map(|r| match &r.seen {
        RotationSeen::Rotated(successor) | RotationSeen::Replayed(successor) => {
            Some(successor.generation)
        }
        _ => None,
    });
    made.max().unwrap_or(Generation(0))
}

fn judge_head(
    node: &str,
    head: Generation,
    newest: Generation,
    open: bool,
    newest_valid: Option<bool>,
) -> Option<(Rule, String)> {
    if head < newest {
        let lost = format!("{node} has head {}, {} was acknowledged", head.0, newest.0);
        return Some((Rule::Lost, lost));
    }
    if head > newest && !(open && head == newest.next()) {
        let beyond = format!("{node} has head {}, nobody got more than {}", head.0, newest.0);
        return Some((Rule::WrongAnswer, beyond));
    }
    if head == newest && newest_valid == Some(false) {
        let other = format!("{node} has another head {} than the one handed out", head.0);
        return Some((Rule::Lost, other));
    }
    None
}

/// Answers that only a cluster which forgot something gives to an owner.
fn check_answers(story: &Story<'_>, newest: Generation, verdict: &mut Verdict) {
    for rotation in &story.family.rotations {
        let detail = match &rotation.seen {
            RotationSeen::Refused(refusal) => {
                format!("generation {} was refused: {refusal}", rotation.presented.0)
            }
            RotationSeen::Superseded { head }
                if rotation.caller == Caller::Owner
                    && (*head <= rotation.presented || *head > newest.next()) =>
            {
                format!("generation {} superseded by {}", rotation.presented.0, head.0)
            }
            _ => continue,
        };
        verdict.violations.push(story.violation(Rule::WrongAnswer, detail));
    }
}
