//! Reference access tokens: opaque texts that an authorization server keeps as records, with what
//! they stand for in clear (RFC 7662 §2.2), so that resource servers can ask about them here.
//!
//! ```text
//!  record (the client's `access_token_kind`, digest of the text) = {"client_id":"web","scope":…}
//! ```
//!
//! A token is alive as long as its record is: not past its end, not consumed, no root of it dead;
//! and not past the `exp` that its value names.
//! Whose value is no JSON object with a `client_id` (a sealed one, for instance) is nobody's token.

use bytes::Bytes;
use jeton_wire::pb::v1;
use serde_json::{Map, Value, json};

use super::revoke::fresh_id;
use super::{Asked, OAuthError};
use crate::http::web::Shared;
use crate::service::unary::unary;

/// A reference access token that is alive.
pub(super) struct Reference {
    /// What it stands for.
    members: Map<String, Value>,
    /// The client that it was issued to.
    pub(super) client: String,
    record: Box<v1::Record>,
    position: u64,
}

/// The reference access token that was sent, if its client's tenant keeps them and it is one.
pub(super) async fn find(
    shared: &Shared,
    asked: &Asked<'_>,
    token: &v1::PresentedToken,
) -> Result<Option<Reference>, OAuthError> {
    let Some(kind) = &asked.client.access_token_kind else { return Ok(None) };
    if token.opaque_digest.is_empty() {
        return Ok(None);
    }
    let question = v1::GetRecordRequest {
        tenant: asked.tenant.as_str().to_owned(),
        kind: kind.clone(),
        key: token.opaque_digest.clone(),
        consistency: None,
    };
    let answered = unary!(shared.desk, asked.call(question), GetRecord)?.into_inner();
    use v1::get_record_response::Outcome;
    let record = match answered.outcome {
        Some(Outcome::Record(record)) => record,
        Some(Outcome::Refusal(_)) => return Ok(None),
        None => return Err(OAuthError::server()),
    };
    if record.expired || record.consumed_at_unix_ms.is_some() {
        return Ok(None);
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(&record.value) else {
        return Ok(None);
    };
    let Some(client) = members.get("client_id").and_then(Value::as_str) else { return Ok(None) };
    let client = client.to_owned();
    if let Some(ends_s) = members.get("exp").and_then(Value::as_u64) {
        let clock = shared.desk.node.view(|_, meta| Ok(meta.clock));
        let clock = clock.map_err(|_| OAuthError::server())?;
        if ends_s <= clock.0 / 1_000 {
            return Ok(None);
        }
    }
    let position = answered.read.map_or(0, |read| read.position);
    Ok(Some(Reference { members, client, record, position }))
}

impl Reference {
    /// What is answered of it. Times are in whole seconds; the end is the earlier one of what the
    /// value says and of the record's own, rounded down.
    pub(super) fn shown(self, tenant: &str) -> Value {
        let Self { mut members, record, position, .. } = self;
        members.insert("active".to_owned(), json!(true));
        let ends_s = record.expires_at_unix_ms.map(|ends_ms| ends_ms / 1_000);
        let named_s = members.get("exp").and_then(Value::as_u64);
        if let Some(ends_s) = ends_s.into_iter().chain(named_s).min() {
            members.insert("exp".to_owned(), json!(ends_s));
        }
        members.entry("iat").or_insert_with(|| json!(record.created_at_unix_ms / 1_000));
        members.entry("token_type").or_insert_with(|| json!("Bearer"));
        members.insert("jeton_tenant".to_owned(), json!(tenant));
        members.insert("jeton_position".to_owned(), json!(position.to_string()));
        Value::Object(members)
    }

    /// Deletes it: it is no token any more, at any node.
    pub(super) async fn revoke(self, shared: &Shared, asked: &Asked<'_>) -> Result<(), OAuthError> {
        let deletion = v1::DeleteRecordRequest {
            tenant: asked.tenant.as_str().to_owned(),
            request: Some(v1::RequestName { id: fresh_id()?, age_ms: 0 }),
            kind: self.record.kind,
            key: Bytes::clone(&self.record.key),
            version: None,
        };
        // Whether it was there or is gone meanwhile: what was asked for is so.
        unary!(shared.desk, asked.call(deletion), DeleteRecord)?;
        Ok(())
    }
}
