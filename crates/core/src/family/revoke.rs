//! `RevokeFamily`, and `RevokeToken` (RFC 7009): the death of one family.

use std::sync::Arc;

use crate::admission;
use crate::command::{RevokeFamily, RevokeToken};
use crate::ids::{FamilyId, TenantId};
use crate::reply::{Done, EventKind, Refusal, Replies, RevocationCause, RevokedBy};
use crate::standing::Standing;
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::{Loaded, Place, opaque};

/// Writes the death of a family that was not dead.
pub(crate) fn kill<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    family: FamilyId,
    loaded: &mut Loaded,
    by: RevokedBy,
) {
    let cause = by.cause;
    loaded.row.die(by);
    loaded.row.check();
    let key = std::mem::take(&mut loaded.key);
    turn.put(key, Some(&loaded.bytes), loaded.row.encode());
    turn.event(id, Some(family), EventKind::FamilyRevoked { cause });
}

pub(crate) fn revoke_family<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RevokeFamily,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::reason(wish.reason.as_ref()) {
        return Ok(Err(refusal));
    }
    let loaded = super::load(turn.tables, id, tenant, wish.family, turn.now)?;
    let Some(loaded) = loaded else { return Ok(Ok(Done::NothingToRevoke)) };
    let reason = wish.reason.clone();
    Ok(Ok(end(turn, id, wish.family, loaded, RevocationCause::Family, reason)))
}

/// Any authenticated ancestor revokes as the head does. Another client's token is refused, and
/// nothing is told of it.
pub(crate) fn revoke_token<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RevokeToken,
) -> Result<Result<Done, Refusal>, TablesError> {
    let found = opaque::resolve(turn.tables, id, tenant, &wish.token, turn.now)?;
    let Some((token, loaded)) = found else { return Ok(Ok(Done::NothingToRevoke)) };
    let family = token.family;
    if loaded.standing(turn.now, turn.now) == Standing::Gone {
        return Ok(Ok(Done::NothingToRevoke));
    }
    if wish.client != loaded.row.client {
        let presented = wish.client.clone();
        turn.event(id, Some(family), EventKind::ClientMismatch { presented });
        return Ok(Err(Refusal::ClientMismatch));
    }
    match loaded.row.place(&token) {
        Place::Head | Place::Ring(_) => {}
        // A mac under a key in the wrong hands proves nothing, and the digest is not known.
        Place::Older | Place::Foreign if tenant.is_compromised(token.kid) => {
            return Ok(Ok(Done::NothingToRevoke));
        }
        Place::Older => {}
        // Genuine and unknown: an alarm. Its owner wants it dead all the same.
        Place::Foreign => {
            let (presented, head) = (token.generation, loaded.row.head.generation);
            turn.event(id, Some(family), EventKind::Integrity { presented, head });
        }
    }
    Ok(Ok(end(turn, id, family, loaded, RevocationCause::Token, None)))
}

fn end<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    family: FamilyId,
    mut loaded: Loaded,
    cause: RevocationCause,
    reason: Option<Arc<str>>,
) -> Done {
    match loaded.standing(turn.now, turn.now) {
        Standing::Gone => Done::NothingToRevoke,
        Standing::Revoked(_) => Done::Revoked { already: true },
        // A suspension ends, a death doesn't. And what has expired may still be asked for by a
        // request that is judged by when it began.
        Standing::Alive | Standing::Suspended(_) | Standing::Expired { .. } => {
            let by = RevokedBy { cause, position: turn.position, at: turn.now, reason };
            kill(turn, id, family, &mut loaded, by);
            Done::Revoked { already: false }
        }
    }
}
