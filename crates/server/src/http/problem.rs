//! Problem details (RFC 9457): how everything but OAuth's own paths says that it failed.
//!
//! The type is always `about:blank`: programs compare `reason`, which is that of a gRPC failure.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use jeton_wire::Failure;
use jeton_wire::failure::reason;
use serde_json::{Value, json};
use tonic::Code;

/// Seconds that a caller is asked to wait when nobody knows better.
const RETRY_AFTER_S: u64 = 1;

/// A failed request.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    // Boxed: a result holds it, and it is rare.
    failure: Box<Failure>,
}

impl Problem {
    fn new(status: StatusCode, code: Code, reason: &'static str, words: String) -> Self {
        let failure = Failure::new(code, reason, words).not_executed();
        Self { status, failure: Box::new(failure) }
    }

    pub(super) fn unknown_path(path: &str) -> Self {
        let known = "look at /openapi.json for those that there are";
        // What is not plain ASCII, or long, is not repeated.
        let plain = path.len() <= 128 && path.bytes().all(|b| b.is_ascii_graphic());
        let shown = if plain { path } else { "this path" };
        let words = format!("nothing is served at {shown}: {known}");
        Self::new(StatusCode::NOT_FOUND, Code::Unimplemented, reason::NOT_FOUND, words)
    }

    pub(super) fn method_not_allowed(method: &Method) -> Self {
        let words = format!("{method} is not for this path: the header Allow says what is");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, Code::Unimplemented, reason::INVALID_REQUEST, words)
    }

    pub(super) fn unsupported_media_type(want: &str) -> Self {
        let words = format!("the body must be {want}: say so in the header Content-Type");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, Code::InvalidArgument, reason::INVALID_REQUEST, words)
    }

    pub(super) fn too_large(max: usize) -> Self {
        let words = format!("the body is larger than {max} bytes, which is the limit");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::OutOfRange, reason::TOO_LARGE, words)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self { status: status_of(failure.code), failure: Box::new(failure) }
    }
}

/// As in google.rpc.Code, but for conflicts and limits, which HTTP can tell apart.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable | Code::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, failure } = self;
        let mut problem = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": failure.message,
            "reason": failure.reason,
            "notExecuted": failure.not_executed,
        });
        if !failure.violations.is_empty() {
            let violations = failure.violations.iter();
            problem["violations"] = violations
                .map(|v| json!({ "field": v.field, "description": v.description }))
                .collect();
        }
        if !failure.metadata.is_empty() {
            problem["metadata"] = json!(failure.metadata);
        }
        let mut retry_after = None;
        if let Some(after) = failure.retry_after {
            let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            problem["retryAfterMs"] = Value::from(ms);
            retry_after = Some(ms.div_ceil(1_000).max(1));
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            retry_after = Some(RETRY_AFTER_S);
        }
        let mut response = (status, problem.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jeton_wire::Violation;

    use super::*;

    async fn told(problem: Problem) -> (StatusCode, Option<String>, Value) {
        let response = problem.into_response();
        let status = response.status();
        let retry = response.headers().get(RETRY_AFTER).map(|v| v.to_str().unwrap().to_owned());
        let bytes = axum::body::to_bytes(response.into_body(), 4_096).await.expect("a body");
        (status, retry, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[tokio::test]
    async fn a_failure_keeps_its_details() {
        let failure = Failure::new(Code::Unavailable, reason::NOT_PROPOSED, "no leader")
            .not_executed()
            .retry_after(Duration::from_millis(1_200))
            .leader(Some("n2:7401".to_owned()));
        let (status, retry, body) = told(failure.into()).await;
        assert_eq!((status.as_u16(), retry.as_deref()), (503, Some("2")));
        assert_eq!(body["title"], "Service Unavailable");
        assert_eq!((&body["status"], &body["reason"]), (&json!(503), &json!("NOT_PROPOSED")));
        assert_eq!((&body["retryAfterMs"], &body["notExecuted"]), (&json!(1_200), &json!(true)));
        assert_eq!(body["metadata"]["leader"], "n2:7401");

        let failure = Failure::from(Violation::new("token.mac", "is missing"));
        let (status, retry, body) = told(failure.into()).await;
        assert_eq!((status.as_u16(), retry), (400, None));
        assert_eq!(body["violations"][0]["field"], "token.mac");
    }

    #[tokio::test]
    async fn a_strange_path_is_not_repeated() {
        let (_, _, body) = told(Problem::unknown_path(&"/x".repeat(400))).await;
        assert!(body["detail"].as_str().expect("words").starts_with("nothing is served at this"));
    }
}
