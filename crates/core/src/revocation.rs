//! Cutoffs: one row that kills everything older than it, however much that is.
//!
//! A cutoff names all of some of {subject, client, device}, its *mask*; one that names none is the
//! whole tenant's. It kills what has an origin strictly before its position: so a cut and a new
//! family in the same entry work in either order. Nothing enumerates children.
//!
//! A tenant's row says which masks were ever used, so that a check looks up only those, in memory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::admission;
use crate::codec::{decode_row, encode};
use crate::command::RevokeWhere;
use crate::expiry;
use crate::ids::{ClientId, DeviceId, DurationMs, Position, SubjectId, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::reply::{Done, EventKind, Refusal, Replies, RevocationCause, RevokedBy};
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

/// The roots of a family that cutoffs may name, and how old it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Roots<'a> {
    pub(crate) subject: &'a SubjectId,
    pub(crate) client: &'a ClientId,
    pub(crate) device: Option<&'a DeviceId>,
    pub(crate) origin: Position,
}

const SUBJECT: u8 = 1;
const CLIENT: u8 = 2;
const DEVICE: u8 = 4;
const MASKS: u8 = 8;

/// The mask and the names under it.
fn masked(names: [Option<&str>; 3], mask: u8) -> Option<[Option<&str>; 3]> {
    let mut chosen = [None; 3];
    for (place, bit) in [SUBJECT, CLIENT, DEVICE].into_iter().enumerate() {
        if mask & bit != 0 {
            chosen[place] = Some(names[place]?);
        }
    }
    Some(chosen)
}

/// The first cutoff that killed something with these roots, if one did.
pub(crate) fn cut_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    roots: Roots<'_>,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    let mut first: Option<Cutoff> = None;
    let device = roots.device.map(DeviceId::as_str);
    let names = [Some(roots.subject.as_str()), Some(roots.client.as_str()), device];
    for mask in (0..MASKS).filter(|mask| tenant.cutoff_masks & (1 << mask) != 0) {
        let Some(names) = masked(names, mask) else { continue };
        let Some(row) = tables.get(&keys::cutoff(id, mask, names))? else { continue };
        let cutoff: Cutoff = decode_row(&row)?;
        let kills = roots.origin < cutoff.position && now < cutoff.ends_at();
        if kills && first.as_ref().is_none_or(|first| cutoff.position < first.position) {
            first = Some(cutoff);
        }
    }
    Ok(first.map(|Cutoff { position, at, reason }| RevokedBy {
        cause: RevocationCause::Cutoff,
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
    ];
    let named = names.iter().zip([SUBJECT, CLIENT, DEVICE]);
    let mask = named.filter(|(name, _)| name.is_some()).map(|(_, bit)| bit).sum();
    let key = keys::cutoff(id, mask, names);
    let old = turn.tables.get(&key)?;
    if let Some(old) = &old {
        let old: Cutoff = decode_row(old)?;
        assert!(old.position < turn.position, "cutoffs only move forward");
    }
    let cutoff = Cutoff { position: turn.position, at: turn.now, reason: wish.reason.clone() };
    expiry::schedule_new(turn, &key, old.as_ref(), cutoff.ends_at());
    turn.put(key, old.as_ref(), encode(&cutoff));
    if tenant.cutoff_masks & (1 << mask) == 0 {
        let cutoff_masks = tenant.cutoff_masks | (1 << mask);
        tenant::store(turn, id, &Tenant { cutoff_masks, ..tenant.clone() })?;
    }
    let (subject, client) = (wish.subject.clone(), wish.client.clone());
    turn.event(id, None, EventKind::Cutoff { subject, client, device: wish.device.clone() });
    Ok(Ok(Done::Cut))
}
