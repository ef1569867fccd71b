//! The sweep of a predicate: writes into each row that was hit that it was, in bounded steps.
//!
//! The oldest predicate of a tenant is swept first, alone: so what several have hit is marked with
//! the first of them, which is what answers name. The rows that it walks are in an order that
//! nothing changes, and what is new among them needs no look. A step is one entry: a crash leaves
//! it undone or done, with its progress.
//!
//! When it is through, the predicate is no longer looked at, and its row is kept for
//! [`limits::RETENTION`].

use bytes::Bytes;

use crate::codec::{decode_row, encode};
use crate::command::{Criteria, SweepRevocation};
use crate::expiry;
use crate::family::{self, FamilyRow};
use crate::ids::{FamilyId, Position, SessionId, TenantId};
use crate::keys::{self, SessionIndex, index};
use crate::limits;
use crate::reply::{Done, EventKind, Refusal, Replies};
use crate::session::{self, SessionRow};
use crate::tables::{Tables, TablesError};
use crate::tenant::{self, Tenant};
use crate::turn::Turn;

use super::predicate::{Predicate, Stage};

/// Which rows hold all that may match.
pub(super) enum Source {
    /// All of the tenant.
    All,
    /// Those that an index leads to.
    Index(Vec<u8>),
}

impl Source {
    /// The index of families with the fewest rows.
    pub(super) fn of_families(id: &TenantId, matching: &Criteria) -> Self {
        let [subject, client, device, session] = matching.keys();
        let (what, names) = match (subject, client, device, session) {
            (.., Some(session)) => (index::SESSION, vec![session]),
            (Some(subject), Some(client), ..) => (index::SUBJECT_CLIENT, vec![subject, client]),
            (.., Some(device), None) => (index::DEVICE, vec![device]),
            (Some(subject), ..) => (index::SUBJECT, vec![subject]),
            (None, Some(client), ..) => (index::CLIENT, vec![client]),
            (None, None, None, None) => return Self::All,
        };
        Self::Index(keys::family_index(id, what, &names))
    }

    /// From where to where families are.
    pub(super) fn range_of_families(&self, id: &TenantId) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::All => keys::all_families(id),
            Self::Index(index) => (index.clone(), keys::index_end(index)),
        }
    }

    /// The family that a row leads to; by an index, with where it was created.
    pub(super) fn family(&self, key: &[u8]) -> Option<(FamilyId, Option<Position>)> {
        match self {
            Self::All => keys::family_of(key).map(|(_, family)| (family, None)),
            Self::Index(_) => {
                keys::index_target(key).map(|(created, family)| (family, Some(created)))
            }
        }
    }

    /// The session that a row leads to.
    pub(super) fn session(&self, key: &[u8]) -> Option<SessionId> {
        match self {
            Self::All => keys::session_of(key),
            Self::Index(prefix) => SessionId::new(keys::session_entry_of(prefix, key)?).ok(),
        }
    }

    /// The one index of sessions, if it helps.
    pub(super) fn of_sessions(id: &TenantId, matching: &Criteria) -> Self {
        match &matching.subject {
            Some(subject) => {
                Self::Index(keys::session_index(id, SessionIndex::OfSubject, subject.as_str()))
            }
            None => Self::All,
        }
    }

    /// From where to where sessions are.
    pub(super) fn range_of_sessions(&self, id: &TenantId) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::All => keys::all_sessions(id),
            Self::Index(prefix) => (prefix.clone(), keys::session_entries_end(prefix)),
        }
    }
}

/// Whether sessions can match at all: they have no client.
pub(super) fn hits_sessions(matching: &Criteria) -> bool {
    matching.client.is_none()
}

/// One step. Anything but the tenant's oldest active predicate is left alone.
pub(crate) fn sweep<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    wish: &SweepRevocation,
) -> Result<Result<Done, Refusal>, TablesError> {
    let nothing = Done::Swept { visited: 0, reclaimed: 0, more: false };
    let Some(tenant) = turn.tenant(&wish.tenant)? else { return Ok(Ok(nothing)) };
    if tenant.active.first().is_none_or(|oldest| oldest.position != wish.revocation) {
        return Ok(Ok(nothing));
    }
    let rows_max = wish.rows_max.clamp(1, limits::SWEEP_ROWS_MAX);
    let (visited, marked, done) = step(turn, &wish.tenant, wish.revocation, rows_max)?;
    Ok(Ok(Done::Swept { visited, reclaimed: marked, more: !done }))
}

/// Looks at up to `rows_max` rows. How many it looked at and marked, and whether it is through.
fn step<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    revocation: Position,
    rows_max: u32,
) -> Result<(u32, u32, bool), TablesError> {
    let key = keys::revocation::of_active(id, revocation);
    let Some(tenant) = turn.tenant(id)? else { return Ok((0, 0, true)) };
    let Some(old) = turn.tables.get(&key)? else { return Ok((0, 0, true)) };
    let mut predicate: Predicate = decode_row(&old)?;
    let before = predicate.progress;
    let mut left = rows_max as usize;
    while left > 0 && predicate.stage != Stage::Done {
        let looked = match predicate.stage {
            Stage::Families => families(turn, id, &tenant, &mut predicate, left)?,
            _ => sessions(turn, id, &tenant, &mut predicate, left)?,
        };
        predicate.progress.looked += looked as u64;
        if looked < left {
            predicate.stage = match predicate.stage {
                Stage::Families if hits_sessions(&predicate.matching) => Stage::Sessions,
                _ => Stage::Done,
            };
            predicate.after = None;
        }
        left -= looked;
    }
    let done = predicate.stage == Stage::Done;
    let after = predicate.progress;
    let marked = after.families + after.sessions - before.families - before.sessions;
    if done {
        end(turn, id, &tenant, (&key, &old), predicate)?;
    } else {
        turn.put(key, Some(&old), encode(&predicate));
    }
    Ok((rows_max - left as u32, marked as u32, done))
}

/// The predicate is looked at no more; what became of it is known for a while.
fn end<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    (key, old): (&[u8], &Bytes),
    mut predicate: Predicate,
) -> Result<(), TablesError> {
    turn.delete(key, old);
    predicate.progress.done_at = Some(turn.now);
    let kept = keys::revocation::of_done(id, predicate.position);
    expiry::schedule_new(turn, &kept, None, predicate.forgotten_at());
    turn.put(kept, None, encode(&predicate));
    let predicates = tenant.predicates.saturating_sub(1);
    tenant::store(turn, id, &Tenant { predicates, ..tenant.clone() })?;
    let (revocation, progress) = (predicate.position, predicate.progress);
    turn.event(id, None, EventKind::PredicateSwept { revocation, progress });
    Ok(())
}

/// Where the walk goes on: the smallest key behind `after`.
pub(super) fn behind(from: Vec<u8>, after: Option<&Vec<u8>>) -> Vec<u8> {
    after.map_or(from, |after| [&after[..], &[0]].concat())
}

fn families<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    predicate: &mut Predicate,
    rows_max: usize,
) -> Result<usize, TablesError> {
    let source = Source::of_families(id, &predicate.matching);
    let (from, to) = source.range_of_families(id);
    let rows = turn.tables.scan(&behind(from, predicate.after.as_ref()), &to, rows_max)?;
    for (key, value) in &rows {
        let Some((family, created)) = source.family(key) else { continue };
        let bytes = match &source {
            Source::All => Some(value.clone()),
            Source::Index(_) => turn.tables.get(&keys::family(id, family))?,
        };
        let Some(bytes) = bytes else { continue };
        let marked = mark_family(turn, id, tenant, predicate.position, (family, created), &bytes)?;
        predicate.progress.families += u64::from(marked);
    }
    predicate.after = rows.last().map(|(key, _)| key.to_vec()).or(predicate.after.take());
    Ok(rows.len())
}

/// Writes into a family's row that it was hit, if it was. Whether it was.
fn mark_family<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    revocation: Position,
    (family, created): (FamilyId, Option<Position>),
    bytes: &Bytes,
) -> Result<bool, TablesError> {
    let before = FamilyRow::decode(bytes)?;
    // Its id may have been taken again: that family stands elsewhere in the index.
    let another = created.is_some_and(|created| created != before.created);
    if another || before.dead.is_some() || turn.now >= before.forgotten_at() {
        return Ok(false);
    }
    let row = family::read(tenant, family, bytes)?;
    let by = row.dead.as_ref().filter(|by| by.position == revocation);
    let Some(cause) = by.map(|by| by.cause) else { return Ok(false) };
    turn.put(keys::family(id, family), Some(bytes), row.encode());
    turn.event(id, Some(family), EventKind::FamilyRevoked { cause });
    Ok(true)
}

fn sessions<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    predicate: &mut Predicate,
    rows_max: usize,
) -> Result<usize, TablesError> {
    let source = Source::of_sessions(id, &predicate.matching);
    let (from, to) = source.range_of_sessions(id);
    let rows = turn.tables.scan(&behind(from, predicate.after.as_ref()), &to, rows_max)?;
    for (key, value) in &rows {
        let Some(name) = source.session(key) else { continue };
        let bytes = match &source {
            Source::All => Some(value.clone()),
            Source::Index(_) => turn.tables.get(&keys::session(id, &name))?,
        };
        let Some(bytes) = bytes else { continue };
        let marked = mark_session(turn, id, tenant, predicate.position, &name, &bytes)?;
        predicate.progress.sessions += u64::from(marked);
    }
    predicate.after = rows.last().map(|(key, _)| key.to_vec()).or(predicate.after.take());
    Ok(rows.len())
}

/// Writes into a session's row that it was hit, if it was. Whether it was.
fn mark_session<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    revocation: Position,
    session: &SessionId,
    bytes: &Bytes,
) -> Result<bool, TablesError> {
    let before: SessionRow = decode_row(bytes)?;
    if before.dead.is_some() || turn.now >= before.forgotten_at() {
        return Ok(false);
    }
    let row = session::read(tenant, session, bytes)?;
    if row.dead.as_ref().is_none_or(|by| by.position != revocation) {
        return Ok(false);
    }
    let (session, subject) = (session.clone(), row.subject.clone());
    turn.put(keys::session(id, &session), Some(bytes), encode(&row));
    turn.event(id, None, EventKind::SessionEnded { session, subject });
    Ok(true)
}
