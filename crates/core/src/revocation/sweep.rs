//! The sweep of a predicate: writes into each row that was hit that it was, in bounded steps.
//!
//! The oldest predicate of a tenant is swept first. If it walks over all rows, it does so for all
//! that are active when it begins: whoever makes 64 waits for two walks, not for 64. What several
//! have hit is marked with the first of them, which is what answers name. Rows are walked in an
//! order that nothing changes, and what is new among them needs no look. A step is one entry: a
//! crash leaves it undone or done, with its progress.
//!
//! When it is through, those predicates are no longer looked at, and their rows are kept for
//! [`limits::RETENTION`].

use bytes::Bytes;

use crate::codec::{decode_row, encode};
use crate::command::{Criteria, SweepRevocation};
use crate::expiry;
use crate::family::FamilyRow;
use crate::ids::{FamilyId, Position, SessionId, TenantId};
use crate::keys::{self, SessionIndex, index};
use crate::limits;
use crate::reply::{Done, EventKind, Refusal, Replies};
use crate::session::SessionRow;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::{self, Tenant};
use crate::turn::Turn;

use super::predicate::{self, Predicate, Stage};

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
    let (visited, marked, done) = step(turn, &wish.tenant, &tenant, wish.revocation, rows_max)?;
    Ok(Ok(Done::Swept { visited, reclaimed: marked, more: !done }))
}

/// A predicate that a walk marks for.
struct Walker {
    key: Vec<u8>,
    /// Its row.
    old: Bytes,
    predicate: Predicate,
}

/// Those that the walk of the oldest marks for, itself first: all that were active when it began,
/// if it goes over all rows.
struct Walk(Vec<Walker>);

impl Walk {
    fn of(
        tables: &impl ReadTables,
        id: &TenantId,
        tenant: &Tenant,
        oldest: Position,
    ) -> Result<Option<Self>, TablesError> {
        let mut walkers: Vec<Walker> = Vec::new();
        for active in &tenant.active {
            let key = keys::revocation::of_active(id, active.position);
            let Some(old) = tables.get(&key)? else { continue };
            let predicate = decode_row(&old)?;
            walkers.push(Walker { key, old, predicate });
        }
        let Some(Walker { predicate: first, .. }) = walkers.first() else { return Ok(None) };
        let begins = first.walk.is_none();
        let everywhere = matches!(Source::of_families(id, &first.matching), Source::All);
        walkers.retain(|Walker { predicate, .. }| {
            let along = everywhere && (begins || predicate.walk == Some(oldest));
            along || predicate.position == oldest
        });
        walkers.iter_mut().for_each(|walker| walker.predicate.walk = Some(oldest));
        Ok(Some(Self(walkers)))
    }

    /// The one whose rows are walked.
    fn oldest(&mut self) -> &mut Predicate {
        &mut self.0[0].predicate
    }

    /// The one of these that has this position.
    fn at(&mut self, position: Position) -> Option<&mut Predicate> {
        let mut predicates = self.0.iter_mut().map(|walker| &mut walker.predicate);
        predicates.find(|predicate| predicate.position == position)
    }

    fn looked(&mut self, rows: usize) {
        self.0.iter_mut().for_each(|walker| walker.predicate.progress.looked += rows as u64);
    }
}

/// Looks at up to `rows_max` rows. How many it looked at and marked, and whether it is through.
fn step<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    revocation: Position,
    rows_max: u32,
) -> Result<(u32, u32, bool), TablesError> {
    let Some(mut walk) = Walk::of(turn.tables, id, tenant, revocation)? else {
        return Ok((0, 0, true));
    };
    let (mut left, mut marked) = (rows_max as usize, 0);
    while left > 0 && walk.oldest().stage != Stage::Done {
        let (looked, hit) = match walk.oldest().stage {
            Stage::Families => families(turn, id, tenant, &mut walk, left)?,
            _ => sessions(turn, id, tenant, &mut walk, left)?,
        };
        walk.looked(looked);
        marked += hit;
        if looked < left {
            let sessions = walk.0.iter().any(|walker| hits_sessions(&walker.predicate.matching));
            let oldest = walk.oldest();
            oldest.stage = match oldest.stage {
                Stage::Families if sessions => Stage::Sessions,
                _ => Stage::Done,
            };
            oldest.after = None;
        }
        left -= looked;
    }
    let done = walk.oldest().stage == Stage::Done;
    if done {
        end(turn, id, tenant, walk)?;
    } else {
        for Walker { key, old, predicate } in walk.0 {
            turn.put(key, Some(&old), encode(&predicate));
        }
    }
    Ok((rows_max - left as u32, marked, done))
}

/// They are looked at no more; what became of them is known for a while.
fn end<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    walk: Walk,
) -> Result<(), TablesError> {
    let predicates = tenant.predicates.saturating_sub(walk.0.len() as u16);
    for Walker { key, old, mut predicate } in walk.0 {
        turn.delete(&key, &old);
        predicate.stage = Stage::Done;
        predicate.progress.done_at = Some(turn.now);
        let kept = keys::revocation::of_done(id, predicate.position);
        expiry::schedule_new(turn, &kept, None, predicate.forgotten_at());
        turn.put(kept, None, encode(&predicate));
        let (revocation, progress) = (predicate.position, predicate.progress);
        turn.event(id, None, EventKind::PredicateSwept { revocation, progress });
    }
    tenant::store(turn, id, &Tenant { predicates, ..tenant.clone() })
}

/// Where the walk goes on: the smallest key behind `after`.
pub(super) fn behind(from: Vec<u8>, after: Option<&Vec<u8>>) -> Vec<u8> {
    after.map_or(from, |after| [&after[..], &[0]].concat())
}

fn families<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    walk: &mut Walk,
    rows_max: usize,
) -> Result<(usize, u32), TablesError> {
    let oldest = walk.oldest();
    let source = Source::of_families(id, &oldest.matching);
    let (from, to) = source.range_of_families(id);
    let rows = turn.tables.scan(&behind(from, oldest.after.as_ref()), &to, rows_max)?;
    oldest.after = rows.last().map(|(key, _)| key.to_vec()).or(oldest.after.take());
    let mut marked = 0;
    for (key, value) in &rows {
        let Some((family, created)) = source.family(key) else { continue };
        let bytes = match &source {
            Source::All => Some(value.clone()),
            Source::Index(_) => turn.tables.get(&keys::family(id, family))?,
        };
        let Some(bytes) = bytes else { continue };
        marked += u32::from(mark_family(turn, id, tenant, walk, (family, created), &bytes)?);
    }
    Ok((rows.len(), marked))
}

/// Writes into a family's row that it was hit, if it was. Whether it was.
fn mark_family<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    walk: &mut Walk,
    (family, created): (FamilyId, Option<Position>),
    bytes: &Bytes,
) -> Result<bool, TablesError> {
    let mut row = FamilyRow::decode(bytes)?;
    // Its id may have been taken again: that family stands elsewhere in the index.
    let another = created.is_some_and(|created| created != row.created);
    if another || row.dead.is_some() || turn.now >= row.forgotten_at() {
        return Ok(false);
    }
    let hit = predicate::hit_by(tenant, &row.facts(), &row.roots(family));
    let Some(by) = hit else { return Ok(false) };
    let Some(predicate) = walk.at(by.position) else { return Ok(false) };
    predicate.progress.families += 1;
    let cause = by.cause;
    row.die(by);
    turn.put(keys::family(id, family), Some(bytes), row.encode());
    turn.event(id, Some(family), EventKind::FamilyRevoked { cause });
    Ok(true)
}

fn sessions<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    walk: &mut Walk,
    rows_max: usize,
) -> Result<(usize, u32), TablesError> {
    let oldest = walk.oldest();
    let source = Source::of_sessions(id, &oldest.matching);
    let (from, to) = source.range_of_sessions(id);
    let rows = turn.tables.scan(&behind(from, oldest.after.as_ref()), &to, rows_max)?;
    oldest.after = rows.last().map(|(key, _)| key.to_vec()).or(oldest.after.take());
    let mut marked = 0;
    for (key, value) in &rows {
        let Some(name) = source.session(key) else { continue };
        let bytes = match &source {
            Source::All => Some(value.clone()),
            Source::Index(_) => turn.tables.get(&keys::session(id, &name))?,
        };
        let Some(bytes) = bytes else { continue };
        marked += u32::from(mark_session(turn, id, tenant, walk, &name, &bytes)?);
    }
    Ok((rows.len(), marked))
}

/// Writes into a session's row that it was hit, if it was. Whether it was.
fn mark_session<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    walk: &mut Walk,
    session: &SessionId,
    bytes: &Bytes,
) -> Result<bool, TablesError> {
    let mut row: SessionRow = decode_row(bytes)?;
    if row.dead.is_some() || turn.now >= row.forgotten_at() {
        return Ok(false);
    }
    let hit = predicate::hit_by(tenant, &row.facts(session), &row.roots(session));
    let Some(by) = hit else { return Ok(false) };
    let Some(predicate) = walk.at(by.position) else { return Ok(false) };
    predicate.progress.sessions += 1;
    row.dead = Some(by);
    let (session, subject) = (session.clone(), row.subject.clone());
    turn.put(keys::session(id, &session), Some(bytes), encode(&row));
    turn.event(id, None, EventKind::SessionEnded { session, subject });
    Ok(true)
}
