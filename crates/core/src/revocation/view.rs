//! What may be shown of revocations: what became of one, and how much it hits.

use crate::codec::decode_row;
use crate::command::{Criteria, Except};
use crate::family::{self, index};
use crate::feed::{self, Change};
use crate::ids::{Position, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::reply::{MatchCount, Refusal, RevocationView, RevokedBy};
use crate::roots::Roots;
use crate::session;
use crate::standing::Standing;
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;

use super::predicate::Predicate;
use super::spared::Spared;
use super::sweep::{Source, behind, hits_sessions};
use super::{Cutoff, admit, mask_of};

/// Keys of an index that are counted, to know how large it is.
const INDEX_COUNTED_MAX: usize = 100_000;

/// A revocation by [`crate::command::Operation::RevokeWhere`], by its position. Known for
/// [`limits::RETENTION`] at least: a predicate from the end of its sweep on, a cutoff from when it
/// was made.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`],
/// [`Refusal::NotFound`].
pub fn revocation<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    revocation: Position,
) -> Result<Result<RevocationView, Refusal>, TablesError> {
    if Tenant::load(tables, tenant)?.is_none() {
        return Ok(Err(Refusal::TenantUnknown));
    }
    if let Some(row) = tables.get(&keys::revocation::of_active(tenant, revocation))? {
        return Ok(Ok(decode_row::<Predicate>(&row)?.view()));
    }
    if let Some(row) = tables.get(&keys::revocation::of_done(tenant, revocation))? {
        let row: Predicate = decode_row(&row)?;
        let known = now < row.forgotten_at();
        return Ok(if known { Ok(row.view()) } else { Err(Refusal::NotFound) });
    }
    Ok(cutoff(tables, now, tenant, revocation)?.ok_or(Refusal::NotFound))
}

/// A cutoff, as the feed remembers it.
fn cutoff(
    tables: &impl ReadTables,
    now: UnixMs,
    id: &TenantId,
    revocation: Position,
) -> Result<Option<RevocationView>, TablesError> {
    let before = Position(revocation.0.saturating_sub(1));
    let found = feed::entries(tables, id, before, 1)?;
    let Some(entry) = found.into_iter().find(|entry| entry.position == revocation) else {
        return Ok(None);
    };
    if now >= entry.ends_at() {
        return Ok(None);
    }
    for change in entry.changes {
        let Change::Cutoff { subject, client, device, session, except } = change else { continue };
        let matching = Criteria { subject, client, device, session, ..Criteria::default() };
        let names = matching.keys();
        let row = tables.get(&keys::cutoff(id, mask_of(names), names))?;
        let row: Option<Cutoff> = row.map(|row| decode_row(&row)).transpose()?;
        let row = row.filter(|row| row.position == revocation);
        return Ok(Some(RevocationView {
            revocation,
            at: entry.at,
            matching,
            kept: except,
            reason: row.and_then(|row| row.reason),
            sweep: None,
        }));
    }
    Ok(None)
}

/// A predicate that is to be swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueSweep {
    /// Whose.
    pub tenant: TenantId,
    /// Its position: the oldest active one of the tenant.
    pub revocation: Position,
    /// [`limits::PREDICATES_CROWD`] or more of the tenant are active: others may wait for room.
    pub crowded: bool,
}

/// What is to be swept next: of the tenant behind `after`, in some order that goes round.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn next_revocation_sweep<T: ReadTables>(
    tables: &T,
    after: Option<&TenantId>,
) -> Result<Option<DueSweep>, TablesError> {
    for after in [after, None] {
        let (from, to) = keys::revocation::active_behind(after);
        let first = tables.scan(&from, &to, 1)?;
        let found = first.first().and_then(|(key, _)| keys::revocation::active_of(key));
        let Some((tenant, revocation)) = found else { continue };
        let (from, to) = keys::revocation::active(&tenant);
        let active = tables.scan(&from, &to, limits::PREDICATES_CROWD)?.len();
        let crowded = active >= limits::PREDICATES_CROWD;
        return Ok(Some(DueSweep { tenant, revocation, crowded }));
    }
    Ok(None)
}

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// What a revocation with these exceptions would hit now: what matches by itself, and lives or
    /// is suspended.
    Would(Except),
    /// What the revocation at this position has hit: what matches by itself, and had it as the
    /// first cause of its death. The same whenever it is asked, until what was hit is forgotten or
    /// a newer cutoff of the same keys is made.
    Has(Position),
}

/// A count that is made in many short looks. Up to [`limits::COUNT_EXACT_MAX`] families and as many
/// sessions are looked at.
#[derive(Debug, Clone)]
pub struct MatchWalk {
    matching: Criteria,
    counted: Counted,
    spared: Option<Spared>,
    sessions: bool,
    after: Option<Vec<u8>>,
    /// Of the present kind.
    looked: u64,
    found: u64,
    count: MatchCount,
}

impl MatchWalk {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(matching: Criteria, counted: Counted) -> Self {
        let count = MatchCount { exact: true, ..MatchCount::default() };
        let (spared, after) = (None, None);
        Self { matching, counted, spared, sessions: false, after, looked: 0, found: 0, count }
    }

    /// Looks at up to `rows_max` rows more. The count, when it is made.
    ///
    /// # Errors
    /// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`], and what
    /// [`crate::command::Operation::RevokeWhere`] would be refused with.
    pub fn look<T: ReadTables>(
        &mut self,
        tables: &T,
        now: UnixMs,
        tenant: &TenantId,
        rows_max: usize,
    ) -> Result<Result<Option<MatchCount>, Refusal>, TablesError> {
        let Some(known) = Tenant::load(tables, tenant)? else {
            return Ok(Err(Refusal::TenantUnknown));
        };
        let place = Place { tables, id: tenant, tenant: &known, now };
        if let (None, Counted::Would(except)) = (&self.spared, &self.counted) {
            if let Err(refusal) = admit(&self.matching, except, now) {
                return Ok(Err(refusal));
            }
            let spared = Spared::alive(tables, tenant, &known, &self.matching, except, now)?;
            self.spared = Some(spared);
        }
        let left = limits::COUNT_EXACT_MAX - self.looked;
        let rows_max = rows_max.clamp(1, usize::try_from(left).unwrap_or(usize::MAX).max(1));
        let rows = if self.sessions {
            self.look_at_sessions(&place, rows_max)?
        } else {
            self.look_at_families(&place, rows_max)?
        };
        let through = rows < rows_max;
        if !through && self.looked < limits::COUNT_EXACT_MAX {
            return Ok(Ok(None));
        }
        self.close(&place, through)?;
        let more = !self.sessions && hits_sessions(&self.matching);
        (self.sessions, self.after, self.looked, self.found) = (true, None, 0, 0);
        Ok(Ok((!more).then_some(self.count)))
    }

    /// All that is looked at of the present kind was.
    fn close(
        &mut self,
        place: &Place<'_, impl ReadTables>,
        through: bool,
    ) -> Result<(), TablesError> {
        self.count.exact &= through;
        if self.sessions {
            self.count.sessions = self.found;
            return Ok(());
        }
        self.count.families = self.found;
        if !through {
            let source = Source::of_families(place.id, &self.matching);
            let total = match source {
                Source::All => index::kept(place.tables, place.id)?,
                Source::Index(_) => {
                    let (from, to) = source.range_of_families(place.id);
                    place.tables.scan(&from, &to, INDEX_COUNTED_MAX)?.len() as u64
                }
            };
            // Families are looked at in the order of ids, which are random, or of creation.
            let scaled = u128::from(self.found) * u128::from(total.max(self.looked));
            let scaled = scaled / u128::from(self.looked.max(1));
            self.count.families = u64::try_from(scaled).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn hits(&self, seen: &Seen<'_>) -> bool {
        match (&self.counted, &self.spared) {
            (Counted::Would(_), spared) => {
                seen.lives && spared.as_ref().is_none_or(|spared| !spared.spares(&seen.roots))
            }
            (Counted::Has(revocation), _) => {
                seen.revoked.is_some_and(|by| by.position == *revocation && by.at < seen.ends_at)
            }
        }
    }

    fn look_at_families(
        &mut self,
        place: &Place<'_, impl ReadTables>,
        rows_max: usize,
    ) -> Result<usize, TablesError> {
        let source = Source::of_families(place.id, &self.matching);
        let (from, to) = source.range_of_families(place.id);
        let rows = place.tables.scan(&behind(from, self.after.as_ref()), &to, rows_max)?;
        self.after = rows.last().map(|(key, _)| key.to_vec());
        self.looked += rows.len() as u64;
        for (key, _) in &rows {
            let Some((family, created)) = source.family(key) else { continue };
            let loaded = family::load(place.tables, place.id, place.tenant, family, place.now)?;
            let Some(loaded) = loaded else { continue };
            let row = &loaded.row;
            let another = created.is_some_and(|created| created != row.created);
            if another || !self.matching.matches(&row.facts()) {
                continue;
            }
            let standing = loaded.standing(place.now, place.now);
            let seen = Seen {
                roots: row.roots(family),
                lives: matches!(standing, Standing::Alive | Standing::Suspended(_)),
                revoked: loaded.revoked.as_ref(),
                ends_at: row.idle_expires_at,
            };
            self.found += u64::from(self.hits(&seen));
        }
        Ok(rows.len())
    }

    fn look_at_sessions(
        &mut self,
        place: &Place<'_, impl ReadTables>,
        rows_max: usize,
    ) -> Result<usize, TablesError> {
        let source = Source::of_sessions(place.id, &self.matching);
        let (from, to) = source.range_of_sessions(place.id);
        let (names, rows) = match &self.matching.session {
            Some(name) => (vec![name.clone()], 0),
            None => {
                let from = behind(from, self.after.as_ref());
                let rows = place.tables.scan(&from, &to, rows_max)?;
                self.after = rows.last().map(|(key, _)| key.to_vec());
                let names = rows.iter().filter_map(|(key, _)| source.session(key)).collect();
                (names, rows.len())
            }
        };
        self.looked += rows as u64;
        for name in names {
            let loaded = session::load(place.tables, place.id, place.tenant, &name, place.now)?;
            let Some(loaded) = loaded else { continue };
            if self.matching.matches(&loaded.row.facts(&name)) {
                let seen = Seen {
                    roots: loaded.row.roots(&name),
                    lives: loaded.ended(place.now).is_none(),
                    revoked: loaded.revoked.as_ref(),
                    ends_at: loaded.row.idle_expires_at,
                };
                self.found += u64::from(self.hits(&seen));
            }
        }
        Ok(rows)
    }
}

/// A family or session that matches.
struct Seen<'a> {
    roots: Roots<'a>,
    /// It lives, or is suspended.
    lives: bool,
    revoked: Option<&'a RevokedBy>,
    /// Its end by the clock.
    ends_at: UnixMs,
}

/// Where is looked.
struct Place<'a, T> {
    tables: &'a T,
    id: &'a TenantId,
    tenant: &'a Tenant,
    now: UnixMs,
}
