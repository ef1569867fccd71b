//! Token introspection, RFC 7662: whether a refresh token could be rotated now, or a reference
//! access token is alive, and what it is.
//!
//! Whatever is not active is `{"active":false}` and nothing else (§2.2): not why, nor whose. That
//! goes for another client's token, too, if the client may only ask about its own.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use jeton_wire::pb::v1;
use serde_json::{Value, json};

use super::error::{self, OAuthError};
use super::{Asked, reference};
use crate::config::Reach;
use crate::http::web::Shared;
use crate::service::unary::unary;

pub(super) async fn introspect(shared: &Shared, asked: &Asked<'_>) -> Result<Response, OAuthError> {
    let client = match asked.client.introspect {
        Reach::None => return Err(OAuthError::unauthorized("introspect")),
        Reach::Own => asked.client.id.clone(),
        Reach::Any => String::new(),
    };
    let Some(token) = asked.token()? else { return Ok(answer(&inactive())) };
    if let Some(reference) = reference::find(shared, asked, &token).await? {
        let visible = client.is_empty() || client == reference.client;
        let told = if visible { reference.shown(asked.tenant.as_str()) } else { inactive() };
        return Ok(answer(&told));
    }
    let question = v1::ValidateRequest {
        tenant: asked.tenant.as_str().to_owned(),
        token: Some(token),
        client,
        binding: None,
        consistency: None,
    };
    let answered = unary!(shared.desk, asked.call(question), Validate)?.into_inner();
    use v1::validate_response::Outcome;
    match answered.outcome {
        Some(Outcome::Active(family)) => {
            let position = answered.read.map_or(0, |read| read.position);
            Ok(answer(&active(asked, &family, position)))
        }
        Some(Outcome::Refusal(_)) => Ok(answer(&inactive())),
        None => Err(OAuthError::server()),
    }
}

fn inactive() -> Value {
    json!({ "active": false })
}

/// Times in whole seconds (RFC 7662 §2.2): the end is rounded down, so that nobody trusts a token
/// for longer than it lives.
fn active(asked: &Asked<'_>, family: &v1::Family, position: u64) -> Value {
    let ends_ms = family.expires_at_unix_ms.min(family.idle_expires_at_unix_ms);
    let mut members = json!({
        "active": true,
        "client_id": family.client,
        "sub": family.subject,
        "exp": ends_ms / 1_000,
        "iat": family.rotated_at_unix_ms / 1_000,
        "token_type": "refresh_token",
        "jeton_tenant": asked.tenant.as_str(),
        "jeton_family": hex(&family.family_id),
        "jeton_generation": family.generation.to_string(),
        "jeton_family_exp": family.expires_at_unix_ms / 1_000,
        "jeton_position": position.to_string(),
    });
    if !family.device.is_empty() {
        members["jeton_device"] = json!(family.device);
    }
    if let Some(binding) = &family.binding {
        let mut confirmation = serde_json::Map::new();
        // RFC 9449 §6.1 and RFC 8705 §3.1.
        for (name, text) in [("jkt", &binding.jkt), ("x5t#S256", &binding.x5t_s256)] {
            if !text.is_empty() {
                confirmation.insert(name.to_owned(), json!(text));
            }
        }
        if !confirmation.is_empty() {
            members["cnf"] = Value::Object(confirmation);
        }
    }
    members
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(members: &Value) -> Response {
    let mut response = ([(CONTENT_TYPE, "application/json")], members.to_string()).into_response();
    error::never_kept(response.headers_mut());
    response
}
