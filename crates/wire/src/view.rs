//! Families as they may be shown, both ways. Never a secret, digest or seal.

use jeton_core::ids::{DurationMs, Generation, Position, UnixMs};
use jeton_core::reply::FamilyView;

use crate::check::{self, Violation};
use crate::encode;
use crate::failure::Failure;
use crate::pb::v1;
use crate::refusal;

/// A family for the wire.
///
/// # Errors
/// [`Failure`] if the state names a death that can't be told as data.
pub fn encode(view: FamilyView) -> Result<v1::Family, Failure> {
    Ok(v1::Family {
        family_id: bytes::Bytes::copy_from_slice(&view.family.0),
        subject: view.subject.as_str().to_owned(),
        client: view.client.as_str().to_owned(),
        device: encode::text(view.device.as_ref().map(|d| d.as_str())),
        opaque: view.opaque,
        binding: encode::binding(&view.binding),
        ip: encode::text(view.ip.as_deref()),
        attributes: encode::attributes(&view.attributes),
        payload: view.payload,
        version: view.version,
        generation: view.generation.0,
        created_position: view.created.0,
        created_at_unix_ms: view.created_at.0,
        origin_position: view.origin.0,
        rotated_at_unix_ms: view.rotated_at.0,
        expires_at_unix_ms: view.expires_at.0,
        idle_expires_at_unix_ms: view.idle_expires_at.0,
        grace_ms: view.grace.0,
        dead: view.dead.map(refusal::encode).transpose()?,
        session: encode::text(view.session.as_ref().map(|s| s.as_str())),
        authenticated_at_position: view.authenticated_at.map(|p| p.0),
    })
}

/// A family from the wire.
///
/// # Errors
/// [`Violation`] if it breaks the protocol.
pub fn decode(pb: v1::Family) -> Result<FamilyView, Violation> {
    Ok(FamilyView {
        family: check::family("family_id", &pb.family_id)?,
        subject: check::subject(&pb.subject)?,
        client: check::client(&pb.client)?,
        device: check::device_opt("device", &pb.device)?,
        session: check::session_opt("session", &pb.session)?,
        opaque: pb.opaque,
        binding: check::binding(pb.binding)?,
        ip: (!pb.ip.is_empty()).then(|| pb.ip.into()),
        attributes: pb.attributes.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
        payload: pb.payload,
        version: pb.version,
        generation: Generation(pb.generation),
        created: Position(pb.created_position),
        created_at: UnixMs(pb.created_at_unix_ms),
        origin: Position(pb.origin_position),
        authenticated_at: pb.authenticated_at_position.map(Position),
        rotated_at: UnixMs(pb.rotated_at_unix_ms),
        expires_at: UnixMs(pb.expires_at_unix_ms),
        idle_expires_at: UnixMs(pb.idle_expires_at_unix_ms),
        grace: DurationMs(pb.grace_ms),
        dead: pb.dead.map(refusal::decode).transpose()?,
    })
}
