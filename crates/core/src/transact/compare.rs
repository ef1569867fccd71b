//! What must hold before a transaction does what it is for.
//!
//! A record *exists* if a read would show it: a consumed one does, one that hangs on something dead
//! or suspended does not. A lock is *held with a fence* by lease time, as of the entry that asks:
//! so a holder that has lost its lease without knowing changes nothing any more, however late its
//! request comes.

use crate::command::{Comparison, RequestName};
use crate::family;
use crate::ids::{KeyDigest, RecordKind, TenantId};
use crate::lease;
use crate::record::{self, kind};
use crate::reply::Refusal;
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

/// The first comparison that does not hold, if one doesn't.
pub(super) fn first_unmet<T: ReadTables, R>(
    turn: &Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    request: RequestName,
    comparisons: &[Comparison],
) -> Result<Result<Option<u32>, Refusal>, TablesError> {
    // All of them are asked whether they may be, before any answers.
    for (at, comparison) in comparisons.iter().enumerate() {
        if let Some((kind, _)) = record_of(comparison)
            && kind::settings(turn.tables, id, kind)?.attempts.is_some()
        {
            let field = format!("compare[{at}].{}.kind", comparison.name());
            let problem = "counts misses: look it up with LookUpRecord, and name who asks";
            return Ok(Err(Refusal::invalid(&field, problem)));
        }
    }
    for (at, comparison) in (0..).zip(comparisons) {
        if !holds(turn, id, tenant, request, comparison)? {
            return Ok(Ok(Some(at)));
        }
    }
    Ok(Ok(None))
}

fn record_of(comparison: &Comparison) -> Option<(&RecordKind, &KeyDigest)> {
    match comparison {
        Comparison::RecordVersion { kind, key, .. }
        | Comparison::RecordExists { kind, key }
        | Comparison::RecordAbsent { kind, key } => Some((kind, key)),
        Comparison::FamilyAlive { .. } | Comparison::LockHeld { .. } => None,
    }
}

fn holds<T: ReadTables, R>(
    turn: &Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    request: RequestName,
    comparison: &Comparison,
) -> Result<bool, TablesError> {
    let version = match record_of(comparison) {
        Some((kind, key)) => {
            let loaded = record::load(turn.tables, id, tenant, kind, key, turn.now)?;
            loaded.as_ref().and_then(|loaded| loaded.shown(turn.now)).map(|row| row.version)
        }
        None => None,
    };
    Ok(match comparison {
        Comparison::RecordVersion { version: wanted, .. } => version == Some(*wanted),
        Comparison::RecordExists { .. } => version.is_some(),
        Comparison::RecordAbsent { .. } => version.is_none(),
        Comparison::FamilyAlive { family } => {
            let loaded = family::load(turn.tables, id, tenant, *family, turn.now)?;
            // As for a rotation: waiting in a queue makes nothing expire.
            let at = turn.now.minus(request.age);
            loaded.is_some_and(|it| it.standing(turn.now, at).refusal().is_none())
        }
        Comparison::LockHeld { lock, fence } => {
            lease::held(turn.tables, id, lock, *fence, turn.lease_now)?
        }
    })
}
