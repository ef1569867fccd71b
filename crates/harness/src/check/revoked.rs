//! A revocation is never undone, and nothing dies that nobody revoked.

use jeton_core::ids::Position;
use jeton_core::reply::RevocationCause;

use super::{Rule, Story, Verdict};
use crate::history::{Call, Caller, DeadBy, FamilySeen, Redeemer, RotationSeen};

/// Every node says that a revoked family is dead; nothing of it succeeded at a later position, nor
/// when it was called after the revocation's answer. Whoever was told "dead" was told a cause that
/// somebody made.
pub(super) fn check(story: &Story<'_>, verdict: &mut Verdict) {
    check_nodes(story, verdict);
    check_successes(story, verdict);
    check_refusals(story, verdict);
}

fn check_nodes(story: &Story<'_>, verdict: &mut Verdict) {
    let first = story.in_force().filter_map(|r| r.acknowledged).min();
    for (node, seen) in &story.seen {
        let Some(FamilySeen::Present { dead, .. }) = seen else { continue };
        let found = match (dead, first) {
            (None, Some(at)) => {
                Some((Rule::Lost, format!("{node} says it lives, revoked at {at}")))
            }
            (Some(DeadBy::Other(why)), _) => {
                Some((Rule::FalseRevocation, format!("{node} says it is over: {why}")))
            }
            (Some(DeadBy::Revoked { cause, position }), _)
                if !explained(story, *cause, *position, None) =>
            {
                let detail = format!("{node} says dead by {cause:?} at {position}: by nobody");
                Some((Rule::FalseRevocation, detail))
            }
            _ => None,
        };
        verdict.violations.extend(found.map(|(rule, detail)| story.violation(rule, detail)));
    }
}

fn check_successes(story: &Story<'_>, verdict: &mut Verdict) {
    let in_force: Vec<(Position, Call)> =
        story.in_force().filter_map(|r| Some((r.acknowledged?, r.call))).collect();
    for rotation in &story.family.rotations {
        let (RotationSeen::Rotated(successor) | RotationSeen::Replayed(successor)) = &rotation.seen
        else {
            continue;
        };
        let broken = in_force
            .iter()
            .find(|(at, call)| successor.position > *at || rotation.call.invoked > call.returned);
        if let Some((at, _)) = broken {
            let detail = format!(
                "revoked at {at}, yet generation {} got a successor made at {}",
                rotation.presented.0, successor.position
            );
            verdict.violations.push(story.violation(Rule::SucceededWhenDead, detail));
        }
    }
}

fn check_refusals(story: &Story<'_>, verdict: &mut Verdict) {
    for rotation in &story.family.rotations {
        let detail = match &rotation.seen {
            RotationSeen::Revoked { cause, position }
                if !explained(story, *cause, *position, Some(rotation.call)) =>
            {
                format!("a caller was told dead by {cause:?} at {position}: by nobody")
            }
            RotationSeen::Reused { .. } if rotation.caller == Caller::Owner => {
                format!("the owner's own generation {} was judged stolen", rotation.presented.0)
            }
            _ => continue,
        };
        verdict.violations.push(story.violation(Rule::FalseRevocation, detail));
    }
}

/// Whether somebody did what the answer names as the cause, at that position, and before the
/// answer (`told`) came.
fn explained(
    story: &Story<'_>,
    cause: RevocationCause,
    position: Position,
    told: Option<Call>,
) -> bool {
    if position <= story.creation.position {
        return false;
    }
    let before = |call: Call| told.is_none_or(|told| call.invoked < told.returned);
    if cause == RevocationCause::Reuse {
        return story.family.rotations.iter().any(|r| r.caller == Caller::Thief && before(r.call));
    }
    if cause == RevocationCause::CodeReplay {
        let redemptions = story.code.into_iter().flat_map(|code| &code.redemptions);
        return redemptions.into_iter().any(|r| r.by == Redeemer::Thief && before(r.call));
    }
    story.aimed.iter().any(|revocation| {
        revocation.target.cause() == cause
            && before(revocation.call)
            && revocation.acknowledged.is_none_or(|at| at == position)
    })
}
