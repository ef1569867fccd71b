//! `SetRecordKind`: what holds for all records of a kind. A kind that was never set has defaults.

use crate::codec::{decode_row, encode};
use crate::command::{RecordKindSettings, SetRecordKind};
use crate::ids::{DurationMs, RecordKind, TenantId};
use crate::keys;
use crate::limits;
use crate::reply::{Done, Refusal, Replies};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::turn::Turn;

/// The settings of a kind. From memory: they are pinned.
pub(crate) fn settings(
    tables: &impl ReadTables,
    id: &TenantId,
    kind: &RecordKind,
) -> Result<RecordKindSettings, TablesError> {
    let row = tables.get(&keys::record::settings(id, kind))?;
    row.map_or(Ok(RecordKindSettings::default()), |row| decode_row(&row))
}

pub(crate) fn set<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    wish: &SetRecordKind,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admit(&wish.settings) {
        return Ok(Err(refusal));
    }
    let key = keys::record::settings(id, &wish.kind);
    let old = turn.tables.get(&key)?;
    if old.is_none() {
        let (from, to) = keys::record::all_settings(id);
        let known = turn.tables.scan(&from, &to, limits::RECORD_KINDS_MAX)?.len();
        if known >= limits::RECORD_KINDS_MAX {
            return Ok(Err(Refusal::limit("RECORD_KINDS_MAX", limits::RECORD_KINDS_MAX)));
        }
    }
    turn.put(key, old.as_ref(), encode(&wish.settings));
    Ok(Ok(Done::RecordKindSet))
}

fn admit(settings: &RecordKindSettings) -> Result<(), Refusal> {
    let Some(attempts) = &settings.attempts else { return Ok(()) };
    let (most, window_max) = (limits::ATTEMPTS_MISSES_MAX, limits::ATTEMPTS_WINDOW_MAX);
    if attempts.misses_per_guesser == 0 || attempts.misses_per_tenant > most {
        let problem = format!("give 1 to {most}");
        return Err(Refusal::invalid("misses_per_guesser", &problem));
    }
    if attempts.misses_per_tenant < attempts.misses_per_guesser {
        let problem = "give at least misses_per_guesser";
        return Err(Refusal::invalid("misses_per_tenant", problem));
    }
    if attempts.window < DurationMs::from_secs(1) || attempts.window > window_max {
        let problem = format!("give 1000 to {} ms", window_max.0);
        return Err(Refusal::invalid("window", &problem));
    }
    Ok(())
}
