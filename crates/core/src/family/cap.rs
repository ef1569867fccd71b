//! Caps: how many families of a subject may live at once. Never one more, not for a moment: the
//! creating command itself judges, and evicts.
//!
//! A capped key (a subject, or a subject and a client) has a **roster**: the families that may
//! live, oldest first. It is made from the index when the key is first capped, and every creation
//! under the key adds to it, capped or not, so it never misses one. Only when it names as many as
//! the cap allows are its members looked at, and the dead ones struck off. Nobody who dies tells
//! it: so a cutoff stays one row.
//!
//! Expired is not quite dead: a rotation that was presented before and waited in a queue may still
//! succeed. Such a family does not count, and dies for good when another takes its place.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{decode_row, encode};
use crate::command::{CapPolicy, CapScope, CreateFamily, FamilyCap};
use crate::expiry::{self, Fate};
use crate::ids::{FamilyId, Position, TenantId, UnixMs};
use crate::keys::{self, index};
use crate::limits;
use crate::reply::{Refusal, Replies, RevocationCause, RevokedBy};
use crate::standing::Standing;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::Loaded;
use super::index::{Found, scan};

/// Families that may live, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Roster {
    members: Vec<(Position, FamilyId)>,
    /// They were too many to name: it is made anew when the key is capped again.
    given_up: bool,
}

/// What became of a family that a roster names.
enum Member {
    Lives(Loaded),
    /// Expired, but so lately that a request which waits could still bring it back.
    Lingers(Loaded),
    Dead,
}

/// A roster as it was read or made.
struct Read {
    key: Vec<u8>,
    old: Option<Bytes>,
    roster: Roster,
}

/// What the creation of one more family needs: judged, and not yet carried out.
#[derive(Default)]
pub(crate) struct Room {
    rosters: Vec<Read>,
    evicted: Vec<(FamilyId, Loaded)>,
    ended: Vec<(FamilyId, Loaded)>,
}

fn names(wish: &CreateFamily, scope: CapScope) -> (u8, u8, Vec<&str>) {
    let (subject, client) = (wish.subject.as_str(), wish.client.as_str());
    match scope {
        CapScope::Subject => (index::ROSTER, index::SUBJECT, vec![subject]),
        CapScope::SubjectClient => {
            (index::ROSTER_CLIENT, index::SUBJECT_CLIENT, vec![subject, client])
        }
    }
}

/// Judges whether there is room for one more, and whom it costs. Changes nothing.
pub(crate) fn judge<T: Tables, R: Replies>(
    turn: &Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &CreateFamily,
) -> Result<Result<Room, Refusal>, TablesError> {
    let mut room = Room::default();
    for scope in [CapScope::Subject, CapScope::SubjectClient] {
        let cap = wish.cap.filter(|cap| cap.scope == scope);
        let (what, index, names) = names(wish, scope);
        let key = keys::family_index(id, what, &names);
        let old = turn.tables.get(&key)?;
        let known: Option<Roster> = old.as_ref().map(|row| decode_row(row)).transpose()?;
        let roster = match (known.filter(|roster| !roster.given_up), cap) {
            (Some(roster), _) => roster,
            (None, None) => continue,
            (None, Some(_)) => {
                let index = keys::family_index(id, index, &names);
                match first_roster(turn, id, tenant, &index)? {
                    Ok(roster) => roster,
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
        };
        let mut read = Read { key, old, roster };
        match cap {
            Some(cap) => {
                if let Err(refusal) = make_room(turn, id, tenant, cap, &mut read, &mut room)? {
                    return Ok(Err(refusal));
                }
            }
            None if read.roster.members.len() >= limits::ROSTER_MEMBERS_MAX => {
                strike_dead(turn.tables, id, tenant, turn.now, &mut read.roster)?;
            }
            None => {}
        }
        room.rosters.push(read);
    }
    Ok(Ok(room))
}

/// Everyone under a key that is capped for the first time, or whose roster grew too long.
fn first_roster<T: Tables, R: Replies>(
    turn: &Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    index: &[u8],
) -> Result<Result<Roster, Refusal>, TablesError> {
    let (mut roster, mut seen, mut after) = (Roster::default(), 0, None);
    loop {
        let found = scan(turn.tables, index, after, 1_000)?;
        let Some(last) = found.last().copied() else { return Ok(Ok(roster)) };
        seen += found.len();
        if seen > limits::ROSTER_SEARCH_MAX {
            return Ok(Err(Refusal::limit("ROSTER_SEARCH_MAX", limits::ROSTER_SEARCH_MAX)));
        }
        for Found { created, family } in found {
            let member = member(turn.tables, id, tenant, (created, family), turn.now)?;
            if !matches!(member, Member::Dead) {
                roster.members.push((created, family));
            }
        }
        if roster.members.len() > limits::ROSTER_MEMBERS_MAX {
            return Ok(Err(Refusal::limit("ROSTER_MEMBERS_MAX", limits::ROSTER_MEMBERS_MAX)));
        }
        after = Some(last);
    }
}

fn member(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    (created, family): (Position, FamilyId),
    now: UnixMs,
) -> Result<Member, TablesError> {
    let loaded = super::load(tables, id, tenant, family, now)?;
    // Its id may have been taken again.
    let Some(loaded) = loaded.filter(|loaded| loaded.row.created == created) else {
        return Ok(Member::Dead);
    };
    // What is suspended may come back: it counts.
    let loaded = loaded.without_suspension();
    Ok(match loaded.standing(now, now) {
        Standing::Gone | Standing::Revoked(_) => Member::Dead,
        Standing::Expired { idle, .. } if idle.passed(limits::REQUEST_TTL, now) => Member::Dead,
        Standing::Expired { .. } => Member::Lingers(loaded),
        Standing::Alive | Standing::Suspended(_) => Member::Lives(loaded),
    })
}

/// Judges one cap: leaves in the roster who lives on, and adds whom that costs to `room`.
fn make_room<T: Tables, R: Replies>(
    turn: &Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    cap: FamilyCap,
    read: &mut Read,
    room: &mut Room,
) -> Result<Result<(), Refusal>, TablesError> {
    let max = cap.max as usize;
    if read.roster.members.len() < max {
        return Ok(Ok(()));
    }
    let mut lives = Vec::new();
    for named in std::mem::take(&mut read.roster.members) {
        match member(turn.tables, id, tenant, named, turn.now)? {
            Member::Lives(loaded) => lives.push((named, loaded)),
            Member::Lingers(loaded) => room.ended.push((named.1, loaded)),
            Member::Dead => {}
        }
    }
    let excess = (lives.len() + 1).saturating_sub(max);
    if excess > 0 && cap.policy == CapPolicy::Deny {
        return Ok(Err(Refusal::CapReached { max: cap.max }));
    }
    let staying = lives.split_off(excess);
    room.evicted.extend(lives.into_iter().map(|((_, family), loaded)| (family, loaded)));
    read.roster.members = staying.into_iter().map(|(named, _)| named).collect();
    Ok(Ok(()))
}

fn strike_dead(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    now: UnixMs,
    roster: &mut Roster,
) -> Result<(), TablesError> {
    let mut staying = Vec::new();
    for named in &roster.members {
        if !matches!(member(tables, id, tenant, *named, now)?, Member::Dead) {
            staying.push(*named);
        }
    }
    roster.members = staying;
    Ok(())
}

impl Room {
    /// Makes the room, and gives it to the new family. Who was evicted, oldest first.
    pub(crate) fn take<T: Tables, R: Replies>(
        self,
        turn: &mut Turn<'_, T, R>,
        id: &TenantId,
        family: FamilyId,
    ) -> Vec<FamilyId> {
        let by = RevokedBy {
            cause: RevocationCause::Evicted,
            position: turn.position,
            at: turn.now,
            reason: None,
        };
        let evicted = self.evicted.iter().map(|(family, _)| *family).collect();
        for (family, mut loaded) in self.evicted.into_iter().chain(self.ended) {
            super::revoke::kill(turn, id, family, &mut loaded, by.clone());
        }
        for Read { key, old, mut roster } in self.rosters {
            roster.members.push((turn.position, family));
            if roster.members.len() > limits::ROSTER_MEMBERS_MAX {
                roster = Roster { members: Vec::new(), given_up: true };
            }
            expiry::schedule_new(turn, &key, old.as_ref(), next_visit(turn.now));
            turn.put(key, old.as_ref(), encode(&roster));
        }
        evicted
    }
}

fn next_visit(now: UnixMs) -> UnixMs {
    now.plus(limits::ROSTER_VISIT_EVERY)
}

/// The sweep's look at a roster: one that names nobody alive is not needed.
pub(crate) fn visit<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    key: &[u8],
    row: &Bytes,
) -> Result<Fate, TablesError> {
    let mut roster: Roster = decode_row(row)?;
    let Some((id, _)) = keys::split_tenant(key) else { return Ok(Fate::Remove) };
    let Some(tenant) = turn.tenant(&id)? else { return Ok(Fate::Remove) };
    let before = roster.members.len();
    strike_dead(turn.tables, &id, &tenant, turn.now, &mut roster)?;
    if roster.members.is_empty() {
        return Ok(Fate::Remove);
    }
    let changed = (roster.members.len() < before).then(|| encode(&roster));
    Ok(Fate::Later(next_visit(turn.now), changed))
}
