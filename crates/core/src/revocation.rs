//! Cutoffs: one row that kills everything older than it, however much that is.
//!
//! A cutoff names all of some of {subject, client, device, session}, its *mask*; one that names
//! none is the whole tenant's. It kills what has an origin strictly before its position: so a cut
//! and a new family in the same entry work in either order. Nothing enumerates children.
//!
//! A call for authentication anew is a cutoff of a subject that looks at `authenticated_at`, and
//! leaves alone what does not say when its user was authenticated.
//!
//! A tenant's row says which masks were ever used, so that a check looks up only those, in memory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::Mark;
use crate::admission;
use crate::codec::{decode_row, encode};
use crate::command::{RequireReauthentication, RevokeWhere};
use crate::expiry;
use crate::ids::{
    ClientId, DeviceId, DurationMs, Position, SessionId, SubjectId, TenantId, UnixMs,
};
use crate::keys;
use crate::limits;
use crate::reply::{Done, EventKind, Refusal, Replies, RevocationCause, RevokedBy};
use crate::roots::Roots;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::{self, Tenant};
use crate::turn::Turn;

/// A cutoff is in force as long as anything that it could kill may be remembered: the longest
/// family, born in the same instant, and its retention; and once more the longest family, for what
/// was authenticated before the cut and not yet made.
pub(crate) const IN_FORCE: DurationMs =
    DurationMs(2 * (limits::FAMILY_LIFETIME_MAX.0 + limits::RETENTION.0));

/// A cutoff: the newest one of its key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cutoff {
    position: Position,
    at: UnixMs,
    reason: Option<Arc<str>>,
}

impl Cutoff {
    pub(crate) fn ends_at(&self) -> UnixMs {
        self.at.plus(IN_FORCE)
    }
}

const SUBJECT: u8 = 1;
const CLIENT: u8 = 2;
const DEVICE: u8 = 4;
const SESSION: u8 = 8;
/// How many masks there are.
pub(crate) const MASKS: u8 = 16;

/// The mask and the names under it.
pub(crate) fn masked(names: [Option<&str>; 4], mask: u8) -> Option<[Option<&str>; 4]> {
    let mut chosen = [None; 4];
    for (place, bit) in [SUBJECT, CLIENT, DEVICE, SESSION].into_iter().enumerate() {
        if mask & bit != 0 {
            chosen[place] = Some(names[place]?);
        }
    }
    Some(chosen)
}

/// Puts the newest one under `key`.
fn put<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    key: Vec<u8>,
    reason: Option<&Arc<str>>,
) -> Result<(), TablesError> {
    let old = turn.tables.get(&key)?;
    if let Some(old) = &old {
        let old: Cutoff = decode_row(old)?;
        assert!(old.position < turn.position, "cutoffs only move forward");
    }
    let cutoff = Cutoff { position: turn.position, at: turn.now, reason: reason.cloned() };
    expiry::schedule_new(turn, &key, old.as_ref(), cutoff.ends_at());
    turn.put(key, old.as_ref(), encode(&cutoff));
    Ok(())
}

/// The cutoff under this key, if it is in force.
pub(crate) fn mark(
    tables: &impl ReadTables,
    key: &[u8],
    cause: RevocationCause,
    now: UnixMs,
) -> Result<Option<Mark>, TablesError> {
    let Some(row) = tables.get(key)? else { return Ok(None) };
    let cutoff: Cutoff = decode_row(&row)?;
    let mark = Mark { cause, position: cutoff.position, at: cutoff.at };
    Ok((now < cutoff.ends_at()).then_some(mark))
}

/// The first cutoff that killed something with these roots, if one did.
pub(crate) fn cut_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    roots: &Roots<'_>,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    let mut first: Option<(RevocationCause, Cutoff)> = None;
    let mut look = |key: &[u8], compared: Position, cause| {
        let Some(row) = tables.get(key)? else { return Ok(()) };
        let cutoff: Cutoff = decode_row(&row)?;
        let kills = compared < cutoff.position && now < cutoff.ends_at();
        if kills && first.as_ref().is_none_or(|(_, first)| cutoff.position < first.position) {
            first = Some((cause, cutoff));
        }
        Ok::<_, TablesError>(())
    };
    let names = [
        roots.subject.map(SubjectId::as_str),
        roots.client.map(ClientId::as_str),
        roots.device.map(DeviceId::as_str),
        roots.session.map(SessionId::as_str),
    ];
    for mask in (0..MASKS).filter(|mask| tenant.cutoff_masks & (1 << mask) != 0) {
        let Some(names) = masked(names, mask) else { continue };
        look(&keys::cutoff(id, mask, names), roots.origin, RevocationCause::Cutoff)?;
    }
    if let (true, Some(subject), Some(authenticated_at)) =
        (tenant.reauthentications, roots.subject, roots.authenticated_at)
    {
        let key = keys::reauthentication(id, subject.as_str());
        look(&key, authenticated_at, RevocationCause::Reauthentication)?;
    }
    Ok(first.map(|(cause, Cutoff { position, at, reason })| RevokedBy {
        cause,
        position,
        at,
        reason,
    }))
}

/// `RevokeWhere`: one row, effective at its position.
pub(crate) fn revoke_where<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RevokeWhere,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::reason(wish.reason.as_ref()) {
        return Ok(Err(refusal));
    }
    let names = [
        wish.subject.as_ref().map(SubjectId::as_str),
        wish.client.as_ref().map(ClientId::as_str),
        wish.device.as_ref().map(DeviceId::as_str),
        wish.session.as_ref().map(SessionId::as_str),
    ];
    let named = names.iter().zip([SUBJECT, CLIENT, DEVICE, SESSION]);
    let mask = named.filter(|(name, _)| name.is_some()).map(|(_, bit)| bit).sum();
    put(turn, keys::cutoff(id, mask, names), wish.reason.as_ref())?;
    if tenant.cutoff_masks & (1 << mask) == 0 {
        let cutoff_masks = tenant.cutoff_masks | (1 << mask);
        tenant::store(turn, id, &Tenant { cutoff_masks, ..tenant.clone() })?;
    }
    let (subject, client) = (wish.subject.clone(), wish.client.clone());
    let (device, session) = (wish.device.clone(), wish.session.clone());
    turn.event(id, None, EventKind::Cutoff { subject, client, device, session });
    Ok(Ok(Done::Cut))
}

/// `RequireReauthentication`: one row, effective at its position.
pub(crate) fn require_reauthentication<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RequireReauthentication,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::reason(wish.reason.as_ref()) {
        return Ok(Err(refusal));
    }
    put(turn, keys::reauthentication(id, wish.subject.as_str()), wish.reason.as_ref())?;
    if !tenant.reauthentications {
        tenant::store(turn, id, &Tenant { reauthentications: true, ..tenant.clone() })?;
    }
    turn.event(id, None, EventKind::Reauthentication { subject: wish.subject.clone() });
    Ok(Ok(Done::Cut))
}
