//! Limits on guessing: in kinds that count misses, look-ups name who guesses.
//!
//! Every such look-up is a command, also one that finds what it looks for: if it were a read, a
//! thousand of them could all look before the first miss was counted. A window begins with its
//! first miss. Beyond the limit nothing is looked up, so that nothing is told.

use serde::{Deserialize, Serialize};

use crate::codec::{decode_row, encode};
use crate::command::{AttemptLimits, LookUpRecord, RecordName};
use crate::expiry;
use crate::ids::{KeyDigest, RecordKind, TenantId, UnixMs};
use crate::keys;
use crate::reply::{Done, Refusal, Replies};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::{kind, view};

/// Misses of a guesser, or of all of a tenant, in the window that ends at `ends_at`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Misses {
    count: u32,
    pub(crate) ends_at: UnixMs,
}

/// The limits that a guesser is under, in kinds that count.
#[derive(Clone, Copy)]
pub(crate) struct Guard<'a> {
    limits: AttemptLimits,
    guesser: &'a KeyDigest,
}

/// Whether a look-up may go on, and under which limits.
pub(crate) fn guard<'a>(
    tables: &impl ReadTables,
    id: &TenantId,
    kind: &RecordKind,
    guesser: Option<&'a KeyDigest>,
    now: UnixMs,
) -> Result<Result<Option<Guard<'a>>, Refusal>, TablesError> {
    let Some(limits) = kind::settings(tables, id, kind)?.attempts else { return Ok(Ok(None)) };
    let Some(guesser) = guesser else {
        let problem = "missing: this kind counts misses; name the session or address that asks";
        return Ok(Err(Refusal::invalid("guesser", problem)));
    };
    let mut wait = None;
    let counts = [(Some(guesser), limits.misses_per_guesser), (None, limits.misses_per_tenant)];
    for (who, max) in counts {
        if let Some(row) = tables.get(&keys::record::attempts(id, kind, who))? {
            let misses: Misses = decode_row(&row)?;
            if now < misses.ends_at && misses.count >= max {
                wait = wait.max(Some(misses.ends_at.since(now)));
            }
        }
    }
    Ok(match wait {
        Some(retry_after) => Err(Refusal::AttemptsExceeded { retry_after }),
        None => Ok(Some(Guard { limits, guesser })),
    })
}

/// Counts a miss.
pub(crate) fn miss<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    kind: &RecordKind,
    guard: Option<Guard<'_>>,
) -> Result<(), TablesError> {
    let Some(Guard { limits, guesser }) = guard else { return Ok(()) };
    for who in [Some(guesser), None] {
        let key = keys::record::attempts(id, kind, who);
        let old = turn.tables.get(&key)?;
        let misses = match &old {
            Some(row) => decode_row(row)?,
            None => Misses { count: 0, ends_at: UnixMs(0) },
        };
        let misses = if turn.now < misses.ends_at {
            Misses { count: misses.count.saturating_add(1), ..misses }
        } else {
            Misses { count: 1, ends_at: turn.now.plus(limits.window) }
        };
        expiry::schedule_new(turn, &key, old.as_ref(), misses.ends_at);
        turn.put(key, old.as_ref(), encode(&misses));
    }
    Ok(())
}

/// `LookUpRecord`.
pub(crate) fn look_up<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &LookUpRecord,
) -> Result<Result<Done, Refusal>, TablesError> {
    let guard = match guard(turn.tables, id, &wish.kind, Some(&wish.guesser), turn.now)? {
        Ok(guard) => guard,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let found = match &wish.by {
        RecordName::Key(key) => view::one(turn.tables, id, tenant, &wish.kind, key, turn.now)?,
        RecordName::Index(index) => {
            let page = view::page(turn.tables, id, tenant, &wish.kind, index, None, 1, turn.now)?;
            page.records.into_iter().next()
        }
    };
    match found {
        Some(view) => Ok(Ok(Done::RecordFound(Box::new(view)))),
        None => {
            miss(turn, id, &wish.kind, guard)?;
            Ok(Err(Refusal::NotFound))
        }
    }
}
