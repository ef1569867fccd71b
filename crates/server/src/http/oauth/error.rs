//! Errors as OAuth tells them (RFC 6749 §5.2).

use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, HeaderMap, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::response::{IntoResponse, Response};
use jeton_wire::Failure;
use serde_json::json;
use tonic::{Code, Status};
use tracing::error;

use super::form::{FormError, PARAMETERS_MAX};

/// Seconds until a caller should try again, when nobody knows better.
const RETRY_AFTER_S: u64 = 1;

/// A refused request.
#[derive(Debug)]
pub(super) struct OAuthError {
    status: StatusCode,
    error: &'static str,
    description: String,
    retry_after_s: Option<u64>,
}

impl OAuthError {
    fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        Self { status, error, description: description.into(), retry_after_s: None }
    }

    fn invalid_request(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    pub(super) fn unsupported_media_type(want: &str) -> Self {
        let words = format!("the body must be a form: send it with Content-Type {want}");
        Self { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Self::invalid_request(words) }
    }

    pub(super) fn too_large(max: usize) -> Self {
        let words = format!("the body is larger than {max} bytes, which is the limit");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..Self::invalid_request(words) }
    }

    pub(super) fn incomplete() -> Self {
        Self::invalid_request("the body did not come in time, or broke off")
    }

    pub(super) fn deadline() -> Self {
        Self::invalid_request("the header Jeton-Deadline-Ms is malformed: send milliseconds")
    }

    pub(super) fn form(error: FormError) -> Self {
        Self::invalid_request(match error {
            FormError::Encoding => {
                "the form is malformed: percent-encoding of UTF-8 is needed".into()
            }
            FormError::Duplicate => "a parameter is there twice (RFC 6749 section 3.1)".into(),
            FormError::TooMany => format!("the form has more than {PARAMETERS_MAX} parameters"),
        })
    }

    pub(super) fn missing(parameter: &str) -> Self {
        Self::invalid_request(format!("the parameter {parameter} is missing"))
    }

    pub(super) fn two_methods() -> Self {
        Self::invalid_request(
            "the client authenticates in two ways, or under two names: use the header \
             Authorization or client_id and client_secret in the form, not both",
        )
    }

    /// The client is not who it says, or says nothing.
    pub(super) fn invalid_client() -> Self {
        let words = "client authentication failed: use client_secret_basic or client_secret_post \
                     with a client of this node's gateway_clients";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", words)
    }

    /// The client is known, and may not.
    pub(super) fn unauthorized(what: &str) -> Self {
        let words = format!("this client may not {what} tokens");
        Self::new(StatusCode::FORBIDDEN, "unauthorized_client", words)
    }

    /// RFC 7009 §2.1.
    pub(super) fn issued_to_another() -> Self {
        let words = "the token was issued to another client; nothing was revoked";
        Self::new(StatusCode::BAD_REQUEST, "invalid_grant", words)
    }

    pub(super) fn server() -> Self {
        let words = "this node could not answer; nothing is known of the token";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", words)
    }
}

impl From<Status> for OAuthError {
    /// RFC 7009 §2.2.1: with 503 the client must assume that the token still exists.
    fn from(status: Status) -> Self {
        let failure = Failure::from(&status);
        match failure.code {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled => {
                let words = "no quorum answered in time: try again, here or at another node";
                let after = failure.retry_after.map_or(RETRY_AFTER_S, |after| after.as_secs() + 1);
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let error = Self::new(status, "temporarily_unavailable", words);
                Self { retry_after_s: Some(after), ..error }
            }
            _ => {
                error!(reason = &*failure.reason, "an OAuth request could not be answered");
                Self::server()
            }
        }
    }
}

/// RFC 7009 and RFC 7662 answers are nobody's to keep (RFC 6749 §5.1).
pub(super) fn never_kept(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "error_description": self.description });
        let mut response = (self.status, axum::body::Body::from(body.to_string())).into_response();
        let headers = response.headers_mut();
        never_kept(headers);
        let json = HeaderValue::from_static("application/json");
        headers.insert(axum::http::header::CONTENT_TYPE, json);
        if self.status == StatusCode::UNAUTHORIZED {
            let basic = HeaderValue::from_static("Basic realm=\"jeton\", charset=\"UTF-8\"");
            headers.insert(WWW_AUTHENTICATE, basic);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
