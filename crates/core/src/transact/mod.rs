//! `Transact`: several operations in one command, all of them or none.
//!
//! ```text
//!  comparisons ──► then, or otherwise ──► draft: its operations in order, over an overlay
//!                                           │
//!                  all took effect ─────────┼──► the draft becomes the rows
//!                  one was refused ─────────┘──► the draft is dropped; that one alone, over the
//!                                                rows: its effect, if it is refused alike
//! ```
//!
//! A refusal may have an effect of its own: a spent token that comes back kills its family, a wrong
//! guess is counted. That is done, and nothing else. If an operation is refused only for what an
//! operation before it did, its refusal has no effect: what it was refused for never was.
//!
//! A rotation that a sibling has overtaken (`SUPERSEDED`) gives the caller no token, so it stops a
//! transaction as a refusal does; one that is replayed or adopted gives one, and goes on.
//!
//! All operations stand at one position, which is the transaction's. Its answer is remembered as
//! any other; its rotations are in their families' rings besides.

mod compare;
mod overlay;

use std::collections::BTreeSet;

use crate::codec::encode;
use crate::command::{Part, ROTATED_TWICE, RequestName, Rotate, Transact};
use crate::family::{create, opaque, revoke, rotate, touch, update};
use crate::ids::{FamilyId, TenantId};
use crate::limits;
use crate::record;
use crate::reply::{Done, Ran, Refusal, Replies, Reply, Transacted};
use crate::session;
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

pub(crate) fn transact<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    name: RequestName,
    wish: &Transact,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = wish.check() {
        return Ok(Err(refusal));
    }
    let unmet = match compare::first_unmet(turn, id, tenant, name, &wish.compare)? {
        Ok(unmet) => unmet,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let held = unmet.is_none();
    let parts = wish.branch(held);
    let (ran, draft) = overlay::draft(turn, |over| run(over, id, tenant, name, parts))?;
    match &ran {
        Ran::Through(answers) => {
            let max = limits::TRANSACTION_REPLY_BYTES_MAX;
            if encode(answers).len() > max {
                return Ok(Err(Refusal::limit("TRANSACTION_REPLY_BYTES_MAX", max)));
            }
            draft.commit(turn);
        }
        Ran::Stopped { operation, answer } => {
            let at = *operation as usize;
            // Not judged at all: a wrong request, or one that may come again under its name.
            if let Err(refusal @ (Refusal::Invalid { .. } | Refusal::RateLimited { .. })) =
                &answer.outcome
            {
                return Ok(Err(parts[at].inside(held, at, refusal.clone())));
            }
            drop(draft);
            let part = &parts[at];
            let (alone, draft) =
                overlay::draft(turn, |over| perform(over, id, tenant, name, part))?;
            if alone == **answer {
                draft.commit(turn);
            }
        }
    }
    Ok(Ok(Done::Transacted(Box::new(Transacted { unmet, ran }))))
}

/// Performs the operations in order, until one is refused.
fn run<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    name: RequestName,
    parts: &[Part],
) -> Result<Ran, TablesError> {
    let mut answers = Vec::with_capacity(parts.len());
    let mut rotated = BTreeSet::new();
    for (operation, part) in (0..).zip(parts) {
        let family = match part {
            Part::Rotate(wish) => family_of(turn, id, tenant, wish)?,
            _ => None,
        };
        // Of opaque tokens it can be told only here.
        let answer = match family {
            Some(family) if !rotated.insert(family) => {
                turn.reply(Err(Refusal::invalid("token", ROTATED_TWICE)))
            }
            _ => perform(turn, id, tenant, name, part)?,
        };
        if matches!(answer.outcome, Err(_) | Ok(Done::Superseded { .. })) {
            return Ok(Ran::Stopped { operation, answer: Box::new(answer) });
        }
        answers.push(answer);
    }
    Ok(Ran::Through(answers))
}

fn family_of<T: Tables, R: Replies>(
    turn: &Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &Rotate,
) -> Result<Option<FamilyId>, TablesError> {
    let found = opaque::resolve(turn.tables, id, tenant, &wish.token, turn.now)?;
    Ok(found.map(|(token, _)| token.family))
}

/// The rule of one operation. Not the machine's own: a transaction can't be part of another, and
/// its operations are not remembered one by one.
fn perform<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    name: RequestName,
    part: &Part,
) -> Result<Reply, TablesError> {
    let outcome = match part {
        Part::PutRecord(wish) => record::put::put(turn, id, tenant, wish)?,
        Part::DeleteRecord(wish) => record::delete::delete(turn, id, tenant, wish)?,
        Part::DeleteRecords(wish) => record::delete::cut(turn, id, wish)?,
        Part::Consume(wish) => record::consume::consume(turn, id, tenant, wish)?,
        Part::SeenOnce(wish) => record::seen::seen_once(turn, id, tenant, wish)?,
        Part::CreateFamily(wish) => create::create(turn, id, tenant, wish)?,
        Part::Rotate(wish) => return rotate::rotate(turn, id, tenant, name, wish),
        Part::Touch(wish) => touch::touch(turn, id, tenant, name, wish)?,
        Part::UpdateFamily(wish) => update::update(turn, id, tenant, name, wish)?,
        Part::RevokeFamily(wish) => revoke::revoke_family(turn, id, tenant, wish)?,
        Part::CreateSession(wish) => session::create::create(turn, id, tenant, wish)?,
        Part::TouchSession(wish) => session::touch::touch(turn, id, tenant, wish)?,
        Part::EndSession(wish) => session::end::end(turn, id, tenant, wish)?,
    };
    Ok(turn.reply(outcome))
}
