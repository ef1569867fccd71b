//! `CreateSession`: a user signed in.

use crate::admission;
use crate::codec::encode;
use crate::command::CreateSession;
use crate::expiry;
use crate::ids::TenantId;
use crate::keys;
use crate::reply::{Done, Refusal, Replies, SessionCreated};
use crate::revocation;
use crate::suspension;
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::index;
use super::row::{SessionRow, next_visit};

pub(crate) fn create<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &CreateSession,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::create_session(wish, &tenant.settings) {
        return Ok(Err(refusal));
    }
    if let Err(refusal) = admission::authenticated_at(wish.authenticated_at, turn.position) {
        return Ok(Err(refusal));
    }
    let subject = Some(wish.subject.as_str());
    if let Some(by) = suspension::suspended_by(turn.tables, id, tenant, subject, None)? {
        return Ok(Err(Refusal::Suspended(by)));
    }
    let row = new_row(turn, tenant, wish);
    row.check();
    let roots = row.roots(&wish.session);
    if let Some(by) = revocation::cut_by(turn.tables, id, tenant, &roots, turn.now)? {
        return Ok(Err(Refusal::Revoked(by)));
    }
    if super::load(turn.tables, id, tenant, &wish.session, turn.now)?.is_some() {
        return Ok(Err(Refusal::AlreadyExists));
    }
    let key = keys::session(id, &wish.session);
    // A forgotten row may still be there, if no sweep came by.
    let old = turn.tables.get(&key)?;
    expiry::schedule_new(turn, &key, old.as_ref(), next_visit(&row, turn.now));
    turn.put(key, old.as_ref(), encode(&row));
    index::enter(turn, index::of_subject(id, &wish.subject, &wish.session), &row)?;
    Ok(Ok(Done::SessionCreated(SessionCreated {
        expires_at: row.expires_at,
        idle_expires_at: row.idle_expires_at,
    })))
}

fn new_row<T: Tables, R: Replies>(
    turn: &Turn<'_, T, R>,
    tenant: &Tenant,
    wish: &CreateSession,
) -> SessionRow {
    let (now, settings) = (turn.now, &tenant.settings);
    let expires_at = now.plus(wish.lifetime.unwrap_or(settings.family_lifetime_max));
    let idle = wish.idle.unwrap_or(settings.idle_default);
    SessionRow {
        idle_expires_at: now.plus(idle).min(expires_at),
        touched_at: now,
        dead: None,
        version: 1,
        clients: 0,
        subject: wish.subject.clone(),
        device: wish.device.clone(),
        created: turn.position,
        created_at: now,
        authenticated_at: wish.authenticated_at.unwrap_or(turn.position),
        expires_at,
        idle,
        updated: turn.position,
        attributes: wish.attributes.clone(),
        payload: wish.payload.clone(),
    }
}
