//! OAuth's own endpoints: token revocation (RFC 7009) and introspection (RFC 7662).
//!
//! ```text
//!  form ─▶ client authenticated ─▶ token taken apart: its secret becomes a digest, and is erased
//!       ─▶ desk, as any other operation ─▶ 200, or an error as in RFC 6749 §5.2
//! ```
//!
//! Here alone a whole token comes into a node. It is never logged, never part of an answer, and
//! what holds it is erased when the request ends; what the HTTP library buffered is not.

mod clients;
mod error;
pub(super) mod form;
mod introspect;
mod reference;
mod revoke;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use jeton_core::command::Presented;
use jeton_core::ids::TenantId;
use jeton_core::token::{NativeToken, PREFIX, opaque_digest, tenant_tag};
use jeton_wire::pb::v1;
use jeton_wire::{check, encode};
use tokio::time::Instant;

pub(crate) use self::clients::Clients;
use self::error::OAuthError;
use self::form::Form;
use super::body::{self, BodyError};
use super::json;
use super::problem::Problem;
use super::web::Shared;
use crate::config::GatewayClient;

/// What a form must be.
const FORM_TYPE: &str = "application/x-www-form-urlencoded";
/// Largest form, in bytes.
pub(super) const FORM_BYTES_MAX: usize = 16 * 1024;

/// A request whose client is who it says.
struct Asked<'c> {
    client: &'c GatewayClient,
    tenant: TenantId,
    form: Form,
    deadline: Instant,
}

/// `POST /oauth2/revoke` and `POST /t/{tenant}/oauth2/revoke`.
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    tenant: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let tenant = match tenant_of(tenant, &request) {
        Ok(tenant) => tenant,
        Err(problem) => return problem.into_response(),
    };
    let answered = async {
        let asked = ask(&shared, tenant.as_deref(), request).await?;
        revoke::revoke(&shared, &asked).await
    };
    answered.await.unwrap_or_else(|error: OAuthError| error.into_response())
}

/// `POST /oauth2/introspect` and `POST /t/{tenant}/oauth2/introspect`.
pub(super) async fn introspect(
    State(shared): State<Arc<Shared>>,
    tenant: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let tenant = match tenant_of(tenant, &request) {
        Ok(tenant) => tenant,
        Err(problem) => return problem.into_response(),
    };
    let answered = async {
        let asked = ask(&shared, tenant.as_deref(), request).await?;
        introspect::introspect(&shared, &asked).await
    };
    answered.await.unwrap_or_else(|error: OAuthError| error.into_response())
}

/// The tenant that the path names, if it names one.
fn tenant_of(
    path: Result<Path<String>, PathRejection>,
    request: &Request,
) -> Result<Option<String>, Problem> {
    if !request.uri().path().starts_with("/t/") {
        return Ok(None);
    }
    match path {
        Ok(Path(tenant)) => Ok(Some(tenant)),
        Err(_) => Err(Problem::unknown_path(request.uri().path())),
    }
}

/// Everything that comes before the question itself.
async fn ask<'c>(
    shared: &'c Shared,
    tenant: Option<&str>,
    request: Request,
) -> Result<Asked<'c>, OAuthError> {
    let received = Instant::now();
    let (parts, body) = request.into_parts();
    if !body::is_of_type(&parts.headers, FORM_TYPE) {
        return Err(OAuthError::unsupported_media_type(FORM_TYPE));
    }
    let deadline = json::deadline(&parts.headers).map_err(|_| OAuthError::deadline())?;
    let deadline = received + deadline;
    let bytes = body::read(body, FORM_BYTES_MAX, deadline).await.map_err(|error| match error {
        BodyError::TooLarge => OAuthError::too_large(FORM_BYTES_MAX),
        BodyError::Incomplete => OAuthError::incomplete(),
    })?;
    let form = Form::parse(&bytes).map_err(OAuthError::form)?;
    let client = shared.clients.authenticate(tenant, &parts.headers, &form)?;
    // The configuration was checked.
    let tenant = check::tenant(&client.tenant).map_err(|_| OAuthError::server())?;
    Ok(Asked { client, tenant, form, deadline })
}

impl Asked<'_> {
    /// The token of the form, as the store may see it: native, or opaque if it has another form.
    /// `None` if it can't be a token of this tenant.
    fn token(&self) -> Result<Option<v1::PresentedToken>, OAuthError> {
        let text = self.form.get("token").ok_or_else(|| OAuthError::missing("token"))?;
        if !text.starts_with(PREFIX) {
            let opaque = opaque_digest(text).map(Presented::Opaque);
            return Ok(opaque.map(|opaque| encode::presented(&opaque, None)));
        }
        let Ok(token) = NativeToken::parse(text) else { return Ok(None) };
        if token.tenant_tag != tenant_tag(&self.tenant) {
            return Ok(None);
        }
        let (presented, mac) = token.presented();
        Ok(Some(encode::presented(&presented.into(), Some(&mac))))
    }

    /// A call with what is left of the caller's time.
    fn call<Q>(&self, message: Q) -> tonic::Request<Q> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.deadline.saturating_duration_since(Instant::now()));
        request
    }
}
