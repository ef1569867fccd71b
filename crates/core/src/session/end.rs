//! `EndSession`: log out. Kills the session and, through the root, all that is bound to it: one
//! row, whatever that is. Tells which clients to notify (OpenID Connect Back-Channel Logout 1.0).

use crate::admission;
use crate::codec::encode;
use crate::command::EndSession;
use crate::ids::TenantId;
use crate::limits;
use crate::reply::{Done, EventKind, Refusal, Replies, RevocationCause, RevokedBy, SessionEnded};
use crate::standing::Standing;
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::index;

pub(crate) fn end<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &EndSession,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::reason(wish.reason.as_ref()) {
        return Ok(Err(refusal));
    }
    let loaded = super::load(turn.tables, id, tenant, &wish.session, turn.now)?;
    let Some(mut loaded) = loaded else { return Ok(Ok(Done::NothingToRevoke)) };
    if loaded.standing(turn.now) == Standing::Gone {
        return Ok(Ok(Done::NothingToRevoke));
    }
    let most = limits::NOTIFIED_CLIENTS_MAX;
    let page = index::clients(turn.tables, id, &wish.session, loaded.row.created, None, most)?;
    // A suspension ends, a death doesn't.
    let already = loaded.ended(turn.now).is_some();
    if !already {
        let (cause, reason) = (RevocationCause::Session, wish.reason.clone());
        let by = RevokedBy { cause, position: turn.position, at: turn.now, reason };
        assert!(loaded.row.dead.is_none(), "a session dies once");
        loaded.row.dead = Some(by);
        let subject = loaded.row.subject.clone();
        turn.put(loaded.key, Some(&loaded.bytes), encode(&loaded.row));
        turn.event(id, None, EventKind::SessionEnded { session: wish.session.clone(), subject });
    }
    let index::Clients { clients, more } = page;
    Ok(Ok(Done::SessionEnded(SessionEnded { already, clients, more })))
}
