//! What may be shown of a family: never a secret, digest or seal.

use crate::ids::{FamilyId, UnixMs};
use crate::reply::FamilyView;

use super::Loaded;

pub(crate) fn view(family: FamilyId, loaded: Loaded, now: UnixMs) -> FamilyView {
    let dead = loaded.standing(now, now).refusal();
    let row = loaded.row;
    FamilyView {
        family,
        subject: row.subject,
        client: row.client,
        device: row.device,
        session: row.session,
        opaque: row.opaque.is_some(),
        binding: row.binding,
        ip: row.ip,
        attributes: row.attributes,
        payload: row.payload,
        version: row.version,
        generation: row.head.generation,
        created: row.created,
        created_at: row.created_at,
        origin: row.origin,
        authenticated_at: row.authenticated_at,
        rotated_at: row.head.made_at,
        expires_at: row.expires_at,
        idle_expires_at: row.idle_expires_at,
        grace: row.grace,
        dead,
    }
}
