//! A spent token that comes back after its grace is caught, and kills its family.

use super::{Rule, Story, Verdict};
use crate::history::{Caller, FamilySeen, RotationSeen};

/// No thief was served, and where one was answered the family is dead on every node: nothing of it
/// succeeded when it was called after the thief had the answer.
pub(super) fn check(story: &Story<'_>, verdict: &mut Verdict) {
    if !story.robbed() {
        return;
    }
    for theft in story.family.rotations.iter().filter(|r| r.caller == Caller::Thief) {
        let caught = match &theft.seen {
            RotationSeen::Reused { revoked: true } | RotationSeen::Revoked { .. } => true,
            // May or may not have been judged; a refusal is reported elsewhere.
            RotationSeen::Unknown | RotationSeen::Refused(_) => continue,
            _ => false,
        };
        if !caught {
            let detail = format!(
                "the stolen generation {} was answered {:?}",
                theft.presented.0, theft.seen
            );
            verdict.violations.push(story.violation(Rule::MissedTheft, detail));
            continue;
        }
        for (node, seen) in &story.seen {
            if let Some(FamilySeen::Present { dead: None, .. }) = seen {
                let detail = format!("{node} says it lives after a caught theft");
                verdict.violations.push(story.violation(Rule::MissedTheft, detail));
            }
        }
        let served = story.family.rotations.iter().find(|r| {
            r.call.invoked > theft.call.returned
                && matches!(r.seen, RotationSeen::Rotated(_) | RotationSeen::Replayed(_))
        });
        if let Some(served) = served {
            let detail = format!("generation {} succeeded after a theft", served.presented.0);
            verdict.violations.push(story.violation(Rule::SucceededWhenDead, detail));
        }
    }
}
