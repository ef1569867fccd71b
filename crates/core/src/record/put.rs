//! `PutRecord`: create, replace at a version, or either.

use bytes::Bytes;

use crate::admission;
use crate::command::{OnExpiry, Precondition, PutRecord, PutWhen};
use crate::ids::{KeyDigest, TenantId};
use crate::limits;
use crate::reply::{Done, Refusal, Replies};
use crate::session;
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::{IndexKey, Loaded, Place, RecordRow, kind};

pub(crate) fn put<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &PutRecord,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admit(wish) {
        return Ok(Err(refusal));
    }
    if let Err(refusal) = admission::authenticated_at(wish.authenticated_at, turn.position) {
        return Ok(Err(refusal));
    }
    let loaded = super::load(turn.tables, id, tenant, &wish.kind, &wish.key, turn.now)?;
    if let Some(refusal) = refused(loaded.as_ref(), turn, wish.when) {
        return Ok(Err(refusal));
    }
    let before = loaded.as_ref().and_then(|loaded| loaded.shown(turn.now));
    let keep = kind::settings(turn.tables, id, &wish.kind)?.on_expiry == OnExpiry::Keep;
    let mut row = new_row(turn, before, wish, keep);
    if let Some(name) = &wish.roots.session
        && let Some(session) = session::load(turn.tables, id, tenant, name, turn.now)?
    {
        // It is as old as the session that it is bound to.
        let read = session.row.authenticated_at;
        row.authenticated_at = Some(row.authenticated_at.map_or(read, |own| own.min(read)));
        row.origin = row.origin.min(read);
    }
    if let Some(by) = super::killed_by(turn.tables, id, tenant, &row, turn.now)? {
        let dead = by.is_for_ever();
        return Ok(Err(if dead { Refusal::Revoked(by) } else { Refusal::Suspended(by) }));
    }
    let old = loaded.as_ref().map(|loaded| (&loaded.bytes, &loaded.row));
    super::write(turn, Place { id, kind: &wish.kind, key: &wish.key }, old, Some(&row));
    Ok(Ok(Done::RecordPut { version: row.version }))
}

/// Why what is there can't be replaced. What was consumed never is.
fn refused<T, R>(loaded: Option<&Loaded>, turn: &Turn<'_, T, R>, when: PutWhen) -> Option<Refusal> {
    if let Some(row) = loaded.and_then(Loaded::tombstone)
        && let Some(at) = row.consumed_at
    {
        return Some(Refusal::Already { at, family: row.family });
    }
    if let Some(by) = loaded.and_then(|loaded| loaded.suspended(turn.now)) {
        return Some(Refusal::Suspended(by.clone()));
    }
    match (loaded.and_then(|loaded| loaded.shown(turn.now)), when) {
        (Some(_), PutWhen::Absent) => Some(Refusal::AlreadyExists),
        (None, PutWhen::Version(_)) => Some(Refusal::NotFound),
        (Some(row), PutWhen::Version(version)) if row.version != version => {
            Some(Refusal::VersionMismatch { version: row.version })
        }
        _ => None,
    }
}

fn new_row<T, R>(
    turn: &Turn<'_, T, R>,
    before: Option<&RecordRow>,
    wish: &PutRecord,
    keep: bool,
) -> RecordRow {
    let position = turn.position;
    let created = before.map_or(position, |row| row.created);
    let origin = before.map_or(position, |row| row.origin);
    let since = |digest: &KeyDigest| {
        let known = before.and_then(|row| row.index.iter().find(|known| known.digest == *digest));
        known.map_or(position, |known| known.since)
    };
    let index = wish.index.iter().map(|digest| IndexKey { digest: *digest, since: since(digest) });
    RecordRow {
        value: wish.value.clone(),
        version: before.map_or(0, |row| row.version).saturating_add(1),
        created,
        created_at: before.map_or(turn.now, |row| row.created_at),
        origin: origin.min(wish.authenticated_at.unwrap_or(origin)),
        authenticated_at: wish.authenticated_at,
        expires_at: wish.lifetime.map(|lifetime| turn.now.plus(lifetime)),
        keep,
        index: index.collect(),
        roots: wish.roots.clone(),
        rooted: position,
        family: wish.family,
        preconditions: wish.preconditions.clone(),
        consumed_at: None,
        deleted: false,
    }
}

fn admit(wish: &PutRecord) -> Result<(), Refusal> {
    value(&wish.value)?;
    let max = limits::RECORD_LIFETIME_MAX;
    match wish.lifetime {
        Some(lifetime) if lifetime.0 == 0 || lifetime > max => {
            let problem = format!("give 1 to {} ms, or none", max.0);
            return Err(Refusal::invalid("lifetime", &problem));
        }
        None if !wish.roots.is_empty() => {
            let problem = format!("a record with roots must end: give 1 to {} ms", max.0);
            return Err(Refusal::invalid("lifetime", &problem));
        }
        _ => {}
    }
    if wish.index.len() > limits::INDEX_KEYS_MAX {
        return Err(Refusal::limit("INDEX_KEYS_MAX", limits::INDEX_KEYS_MAX));
    }
    if !wish.index.is_sorted_by(|a, b| a < b) {
        return Err(Refusal::invalid("index", "sort the keys, and give each once"));
    }
    preconditions(&wish.preconditions)
}

fn value(value: &Bytes) -> Result<(), Refusal> {
    if value.len() > limits::RECORD_VALUE_BYTES_MAX {
        let max = limits::RECORD_VALUE_BYTES_MAX;
        return Err(Refusal::limit("RECORD_VALUE_BYTES_MAX", max));
    }
    Ok(())
}

pub(crate) fn preconditions(preconditions: &[Precondition]) -> Result<(), Refusal> {
    if preconditions.len() > limits::PRECONDITIONS_MAX {
        return Err(Refusal::limit("PRECONDITIONS_MAX", limits::PRECONDITIONS_MAX));
    }
    let max = limits::PRECONDITION_NAME_BYTES_MAX;
    if preconditions.iter().any(|one| one.name.is_empty() || one.name.len() > max) {
        let problem = format!("give each a name of 1 to {max} bytes");
        return Err(Refusal::invalid("preconditions", &problem));
    }
    if !preconditions.is_sorted_by(|a, b| a.name < b.name) {
        let problem = "sort them by name, and give each name once";
        return Err(Refusal::invalid("preconditions", problem));
    }
    Ok(())
}
