//! Records as they are shown, both ways.

use jeton_core::command::RecordRoots;
use jeton_core::ids::{Position, RecordKind, UnixMs};
use jeton_core::reply::{ConsumedRecord, RecordView};

use super::encode::{digest, family, roots};
use crate::check::{self, Violation};
use crate::pb::v1;

pub(super) fn encode(view: RecordView) -> v1::Record {
    v1::Record {
        kind: view.kind.as_str().to_owned(),
        key: digest(&view.key),
        value: view.value,
        version: view.version,
        created_position: view.created.0,
        created_at_unix_ms: view.created_at.0,
        origin_position: view.origin.0,
        expires_at_unix_ms: view.expires_at.map(|at| at.0),
        expired: view.expired,
        consumed_at_unix_ms: view.consumed_at.map(|at| at.0),
        index_keys: view.index.iter().map(digest).collect(),
        roots: roots(&view.roots),
        family_id: family(view.family),
    }
}

pub(super) fn decode(pb: v1::Record) -> Result<RecordView, Violation> {
    let kind = RecordKind::new(&pb.kind);
    let roots = pb.roots.unwrap_or_default();
    let index = pb.index_keys.iter().map(|key| check::key_digest("record.index_keys", key));
    Ok(RecordView {
        kind: kind.map_err(|error| Violation::new("record.kind", error.to_string()))?,
        key: check::key_digest("record.key", &pb.key)?,
        value: pb.value,
        version: pb.version,
        created: Position(pb.created_position),
        created_at: UnixMs(pb.created_at_unix_ms),
        origin: Position(pb.origin_position),
        expires_at: pb.expires_at_unix_ms.map(UnixMs),
        expired: pb.expired,
        consumed_at: pb.consumed_at_unix_ms.map(UnixMs),
        index: index.collect::<Result<_, _>>()?,
        roots: RecordRoots {
            subject: check::subject_opt(&roots.subject)?,
            client: check::client_opt(&roots.client)?,
            session: check::session_opt("record.roots.session", &roots.session)?,
            device: check::device_opt("record.roots.device", &roots.device)?,
            family: check::family_opt("record.roots.family_id", &roots.family_id)?,
        },
        family: check::family_opt("record.family_id", &pb.family_id)?,
    })
}

pub(super) fn consumed(it: ConsumedRecord) -> v1::ConsumedRecord {
    v1::ConsumedRecord {
        value: it.value,
        created_at_unix_ms: it.created_at.0,
        origin_position: it.origin.0,
        authenticated_at_position: it.authenticated_at.map(|at| at.0),
        expires_at_unix_ms: it.expires_at.map(|at| at.0),
    }
}

pub(super) fn consumed_from(pb: v1::ConsumedRecord) -> ConsumedRecord {
    ConsumedRecord {
        value: pb.value,
        created_at: UnixMs(pb.created_at_unix_ms),
        origin: Position(pb.origin_position),
        authenticated_at: pb.authenticated_at_position.map(Position),
        expires_at: pb.expires_at_unix_ms.map(UnixMs),
    }
}
