//! Token revocation, RFC 7009.
//!
//! | case | answer |
//! |---|---|
//! | the client may not revoke | 403 `unauthorized_client` |
//! | no `token` | 400 `invalid_request` |
//! | no token of this tenant, forged, unknown, long gone | 200: what was asked for is so (§2.2) |
//! | another client's, and the client may only revoke its own | 400 `invalid_grant` (§2.1) |
//! | any genuine token of a family, spent ones too | 200: the family is dead, everywhere |
//! | a reference access token | 200: its record is deleted |
//! | no quorum | 503, `Retry-After` (§2.2.1) |

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::refusal::Code;

use super::error::{self, OAuthError};
use super::{Asked, reference};
use crate::config::Reach;
use crate::http::web::Shared;
use crate::service::unary::unary;

pub(super) async fn revoke(shared: &Shared, asked: &Asked<'_>) -> Result<Response, OAuthError> {
    if asked.client.revoke == Reach::None {
        return Err(OAuthError::unauthorized("revoke"));
    }
    let Some(token) = asked.token()? else { return Ok(done()) };
    if let Some(reference) = reference::find(shared, asked, &token).await? {
        if asked.client.revoke == Reach::Own && asked.client.id != reference.client {
            return Err(OAuthError::issued_to_another());
        }
        reference.revoke(shared, asked).await?;
        return Ok(done());
    }
    let owner = match asked.client.revoke {
        Reach::Any => owner(shared, asked, &token).await?,
        Reach::Own | Reach::None => Some(asked.client.id.clone()),
    };
    let Some(client) = owner else { return Ok(done()) };
    let revocation = v1::RevokeTokenRequest {
        tenant: asked.tenant.as_str().to_owned(),
        request: Some(v1::RequestName { id: fresh_id()?, age_ms: 0 }),
        token: Some(token),
        client,
    };
    let answered = unary!(shared.desk, asked.call(revocation), RevokeToken)?.into_inner();
    use v1::revoke_token_response::Outcome;
    match answered.outcome {
        Some(Outcome::Result(_)) => Ok(done()),
        Some(Outcome::Refusal(refusal)) => match refusal.code() {
            Code::ClientMismatch => Err(OAuthError::issued_to_another()),
            Code::NotFound | Code::TenantUnknown => Ok(done()),
            _ => Err(OAuthError::server()),
        },
        None => Err(OAuthError::server()),
    }
}

/// The client that the token's family belongs to: whoever may revoke any token acts in its name.
async fn owner(
    shared: &Shared,
    asked: &Asked<'_>,
    token: &v1::PresentedToken,
) -> Result<Option<String>, OAuthError> {
    let question = v1::GetFamilyRequest {
        tenant: asked.tenant.as_str().to_owned(),
        token: Some(token.clone()),
        ..Default::default()
    };
    let answered = unary!(shared.desk, asked.call(question), GetFamily)?.into_inner();
    use v1::get_family_response::Outcome;
    match answered.outcome {
        Some(Outcome::Family(family)) => Ok(Some(family.client)),
        Some(Outcome::Refusal(_)) => Ok(None),
        None => Err(OAuthError::server()),
    }
}

/// A name for the request: its sender has none to give, and may repeat it safely.
pub(super) fn fresh_id() -> Result<Bytes, OAuthError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| OAuthError::server())?;
    Ok(Bytes::copy_from_slice(&id))
}

fn done() -> Response {
    let mut response = StatusCode::OK.into_response();
    error::never_kept(response.headers_mut());
    response
}
