//! `TouchSession`: the user was there. Begins the idle lifetime anew, and may change what the
//! session carries, by compare-and-set on its version.
//!
//! A touch alone doesn't change the version: a user who clicks must not make an edit fail.

use crate::admission;
use crate::codec::encode;
use crate::command::TouchSession;
use crate::ids::TenantId;
use crate::reply::{Done, Refusal, Replies, SessionTouched};
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

pub(crate) fn touch<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &TouchSession,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::touch_session(wish) {
        return Ok(Err(refusal));
    }
    let loaded = super::load(turn.tables, id, tenant, &wish.session, turn.now)?;
    let Some(mut loaded) = loaded else { return Ok(Err(Refusal::NotFound)) };
    if let Some(refusal) = loaded.standing(turn.now).refusal() {
        return Ok(Err(refusal));
    }
    let row = &mut loaded.row;
    if wish.version.is_some_and(|version| version != row.version) {
        return Ok(Err(Refusal::VersionMismatch { version: row.version }));
    }
    if wish.attributes.is_some() || wish.payload.is_some() {
        row.version += 1;
        row.updated = turn.position;
    }
    if let Some(attributes) = &wish.attributes {
        row.attributes = attributes.clone();
    }
    if let Some(payload) = &wish.payload {
        row.payload = payload.clone();
    }
    row.touched_at = turn.now;
    row.idle_expires_at = turn.now.plus(row.idle).min(row.expires_at);
    row.check();
    let (version, idle_expires_at) = (row.version, row.idle_expires_at);
    turn.put(loaded.key, Some(&loaded.bytes), encode(row));
    Ok(Ok(Done::SessionTouched(SessionTouched { version, idle_expires_at })))
}
