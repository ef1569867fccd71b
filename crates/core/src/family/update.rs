//! `UpdateFamily`: compare-and-set on the version. Rotations don't change the version: a client
//! that refreshes must not make an administrator's edit fail.

use crate::admission;
use crate::command::{RequestName, UpdateFamily};
use crate::ids::TenantId;
use crate::reply::{Done, Refusal, Replies};
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

pub(crate) fn update<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    request: RequestName,
    wish: &UpdateFamily,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::update_family(wish) {
        return Ok(Err(refusal));
    }
    let loaded = super::load(turn.tables, id, tenant, wish.family, turn.now)?;
    let Some(mut loaded) = loaded else { return Ok(Err(Refusal::NotFound)) };
    let at = turn.now.minus(request.age);
    if let Some(refusal) = loaded.standing(turn.now, at).refusal() {
        return Ok(Err(refusal));
    }
    let row = &mut loaded.row;
    if wish.version != row.version {
        return Ok(Err(Refusal::VersionMismatch { version: row.version }));
    }
    // Before the grace changes: a longer one must not bring back what may be erased already.
    row.erase_old_seal(turn.now);
    row.version += 1;
    row.updated = turn.position;
    if let Some(attributes) = &wish.attributes {
        row.attributes = attributes.clone();
    }
    if let Some(payload) = &wish.payload {
        row.payload = payload.clone();
    }
    if let Some(grace) = wish.grace {
        row.grace = grace;
    }
    row.check();
    let version = row.version;
    turn.put(loaded.key, Some(&loaded.bytes), row.encode());
    Ok(Ok(Done::FamilyUpdated { version }))
}
