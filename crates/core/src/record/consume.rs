//! `Consume`: a record's value, once in the world.
//!
//! | # | case | reply | state |
//! |---|---|---|---|
//! | 1 | no such record, or gone | `NOT_FOUND` | a miss, in kinds that count |
//! | 2 | something else shown than it asks for | `PRECONDITION_FAILED` | likewise |
//! | 3 | consumed before | `ALREADY{at, family}` | event; if asked for, that family dies |
//! | 4 | past its expiry | `EXPIRED` | none |
//! | 5 | otherwise | `FIRST{value}` | a tombstone |
//!
//! Row 2 stands before all that tells whether it was used: the wrong client neither burns a code
//! nor learns anything of it. A tombstone is judged without its roots: a code that comes back
//! revokes what it made also when its session has ended.
//!
//! The value moves from the row into the memory of the winner's reply: there is one copy of it, and
//! none is left when the winner's retries are over.

use bytes::Bytes;

use crate::command::{Consume, Precondition};
use crate::family;
use crate::ids::{FamilyId, TenantId};
use crate::reply::{
    CodeRefusal, ConsumedRecord, Done, EventKind, Refusal, Replies, RevocationCause, RevokedBy,
};
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::{Loaded, Place, attempts, put};

/// `Consume`, inside an entry.
pub(crate) fn consume<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &Consume,
) -> Result<Result<Done, Refusal>, TablesError> {
    let loaded = match judge(turn, id, tenant, wish)? {
        Ok(loaded) => loaded,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let consumed = spend(turn, id, wish, loaded, wish.family);
    Ok(Ok(Done::Consumed(Box::new(consumed))))
}

/// The table, and what its refusals change.
pub(crate) fn judge<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &Consume,
) -> Result<Result<Loaded, Refusal>, TablesError> {
    if let Err(refusal) = put::preconditions(&wish.preconditions) {
        return Ok(Err(refusal));
    }
    let guesser = wish.guesser.as_ref();
    let guard = match attempts::guard(turn.tables, id, &wish.kind, guesser, turn.now)? {
        Ok(guard) => guard,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let loaded = super::load(turn.tables, id, tenant, &wish.kind, &wish.key, turn.now)?;
    // 1
    let known = loaded.filter(|it| it.unspent().is_some() || it.tombstone().is_some());
    let Some(loaded) = known else {
        attempts::miss(turn, id, &wish.kind, guard)?;
        return Ok(Err(Refusal::NotFound));
    };
    // 2
    if !shows(&loaded.row.preconditions, &wish.preconditions) {
        attempts::miss(turn, id, &wish.kind, guard)?;
        return Ok(Err(Refusal::PreconditionFailed));
    }
    // 3
    if let Some(at) = loaded.row.consumed_at {
        let family = loaded.row.family;
        turn.event(id, family, EventKind::RecordReplayed { kind: wish.kind.clone() });
        if let (Some(family), true) = (family, wish.revoke_on_replay) {
            revoke(turn, id, tenant, family)?;
        }
        return Ok(Err(Refusal::Already { at, family }));
    }
    // 4
    if let Some(at) = loaded.row.expires_at.filter(|at| turn.now >= *at) {
        return Ok(Err(Refusal::Expired { absolute: at, idle: at }));
    }
    Ok(Ok(loaded))
}

/// Whether exactly that is shown which is asked for. More is no better than less: a verifier for a
/// code that was given without a challenge is a downgrade (RFC 9700 §4.8.2).
fn shows(asked: &[Precondition], shown: &[Precondition]) -> bool {
    asked.len() == shown.len() && asked.iter().zip(shown).all(|(asked, shown)| asked == shown)
}

/// What was made from a code that came back dies.
fn revoke<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    family: FamilyId,
) -> Result<(), TablesError> {
    let Some(mut loaded) = family::load(turn.tables, id, tenant, family, turn.now)? else {
        return Ok(());
    };
    let dead = loaded.revoked.as_ref().is_some_and(RevokedBy::is_for_ever);
    if loaded.row.dead.is_none() && !dead {
        let cause = RevocationCause::CodeReplay;
        let by = RevokedBy { cause, position: turn.position, at: turn.now, reason: None };
        family::revoke::kill(turn, id, family, &mut loaded, by);
    }
    Ok(())
}

/// Row 5: leaves a tombstone, which names what will be made from it.
pub(crate) fn spend<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    wish: &Consume,
    loaded: Loaded,
    family: Option<FamilyId>,
) -> ConsumedRecord {
    let Loaded { bytes, row: old, .. } = loaded;
    assert_eq!(old.consumed_at, None, "a record is consumed once");
    let mut row = old.clone();
    row.value = Bytes::new();
    row.consumed_at = Some(turn.now);
    row.version = row.version.saturating_add(1);
    row.family = family.or(row.family);
    let place = Place { id, kind: &wish.kind, key: &wish.key };
    super::write(turn, place, Some((&bytes, &old)), Some(&row));
    ConsumedRecord {
        value: old.value,
        created_at: old.created_at,
        origin: old.origin,
        authenticated_at: old.authenticated_at,
        expires_at: old.expires_at,
    }
}

/// How a new family's refusal names what was wrong with its code.
pub(crate) fn of_code(refusal: Refusal) -> Refusal {
    Refusal::Code(match refusal {
        Refusal::NotFound => CodeRefusal::NotFound,
        Refusal::PreconditionFailed => CodeRefusal::PreconditionFailed,
        Refusal::Already { at, family } => CodeRefusal::Already { at, family },
        Refusal::Expired { absolute, .. } => CodeRefusal::Expired { at: absolute },
        other => return other,
    })
}
