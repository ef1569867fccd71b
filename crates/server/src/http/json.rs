//! The API as JSON: `POST` a request in proto3's JSON form, and get the response in the same.
//!
//! ```text
//!  JSON ─▶ message (by its descriptor) ─▶ the gRPC service, in-process ─▶ message ─▶ JSON
//! ```
//!
//! It goes through the gRPC services and not beside them: whatever they check, refuse or count,
//! they do here, too, and a service that is new needs nothing. Refusals are data, status 200.
//! Failures are problem details (RFC 9457).
//!
//! The content type must be `application/json`: a browser sends that to another origin only after
//! it has asked, and nobody answers it here.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use jeton_wire::Failure;
use jeton_wire::decode::DEADLINE_MS_MAX;
use jeton_wire::failure::reason;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Code, Status};

use super::body::{self, BodyError};
use super::problem::Problem;
use super::unique;

/// Header: how long the caller waits, in milliseconds.
pub(super) const DEADLINE_HEADER: &str = "jeton-deadline-ms";
/// How long a caller waits who doesn't say.
pub(super) const DEADLINE_MS_DEFAULT: u64 = 5_000;

/// The gRPC services of this process, called without a connection.
#[derive(Clone)]
pub(crate) struct Loopback(Arc<Called>);

type Called =
    dyn Fn(http::Request<Body>) -> BoxFuture<http::Response<Body>, Infallible> + Send + Sync;

impl Loopback {
    pub(crate) fn new<S>(services: S) -> Self
    where
        S: Service<
                http::Request<Body>,
                Response = http::Response<Body>,
                Error = Infallible,
                Future = BoxFuture<http::Response<Body>, Infallible>,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(move |request| services.clone().call(request)))
    }
}

impl Service<http::Request<Body>> for Loopback {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        (self.0)(request)
    }
}

/// Answers one method's requests.
pub(super) async fn answer(
    services: Loopback,
    method: MethodDescriptor,
    bytes_max: usize,
    request: Request,
) -> Response {
    match try_answer(services, &method, bytes_max, request).await {
        Ok(json) => {
            let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
            (headers, json).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

async fn try_answer(
    services: Loopback,
    method: &MethodDescriptor,
    bytes_max: usize,
    request: Request,
) -> Result<Vec<u8>, Problem> {
    let received = Instant::now();
    let (parts, body) = request.into_parts();
    if !body::is_of_type(&parts.headers, "application/json") {
        return Err(Problem::unsupported_media_type("application/json"));
    }
    let deadline = received + deadline(&parts.headers)?;
    let bytes = body::read(body, bytes_max, deadline).await.map_err(|error| match error {
        BodyError::TooLarge => Problem::too_large(bytes_max),
        BodyError::Incomplete => incomplete().into(),
    })?;
    let message = from_json(method.input(), &bytes)?;
    let response = call(services, method, message, deadline).await?;
    Ok(to_json(&response)?)
}

/// How long the caller waits.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Duration, Failure> {
    let Some(header) = headers.get(DEADLINE_HEADER) else {
        return Ok(Duration::from_millis(DEADLINE_MS_DEFAULT));
    };
    let digits = header.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(ms @ 1..=DEADLINE_MS_MAX) => Ok(Duration::from_millis(ms)),
        _ => {
            let words = format!(
                "the header Jeton-Deadline-Ms is malformed: send milliseconds, 1 to \
                 {DEADLINE_MS_MAX}, or leave it out for {DEADLINE_MS_DEFAULT}"
            );
            let failure = Failure::new(Code::InvalidArgument, reason::INVALID_REQUEST, words);
            Err(failure.not_executed())
        }
    }
}

/// The body did not come in time.
fn incomplete() -> Failure {
    let words = "the body did not come in time, or broke off; nothing was executed";
    Failure::new(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, words).not_executed()
}

fn from_json(descriptor: MessageDescriptor, bytes: &[u8]) -> Result<DynamicMessage, Failure> {
    let name = descriptor.full_name().to_owned();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let checked = unique::check(bytes);
    let message = checked.and_then(|()| DynamicMessage::deserialize(descriptor, &mut json));
    message.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let problem = if error.is_data() { data_problem(&error) } else { "no JSON".to_owned() };
        let words = format!(
            "the body is no {name} at line {line}, column {column}: {problem}; see /openapi.json"
        );
        Failure::new(Code::InvalidArgument, reason::UNDECODABLE_MESSAGE, words).not_executed()
    })
}

/// What is wrong with a value, without the value: it may be a secret. Names of fields are none.
fn data_problem(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    if words.starts_with("unrecognized field name") && words.len() <= 128 {
        return words.to_owned();
    }
    if words == "a member is there twice" {
        return words.to_owned();
    }
    "a value is of the wrong type or out of range".to_owned()
}

pub(super) fn to_json(message: &DynamicMessage) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    // What is 0 or empty is written, too: callers need not know proto3's defaults.
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut json = serde_json::Serializer::new(&mut bytes);
    let written = message.serialize_with_options(&mut json, &options);
    written.map_err(|_| Failure::from(Status::internal("the answer can't be JSON")))?;
    Ok(bytes)
}

async fn call(
    services: Loopback,
    method: &MethodDescriptor,
    message: DynamicMessage,
    deadline: Instant,
) -> Result<DynamicMessage, Failure> {
    let service = method.parent_service().full_name();
    let path = PathAndQuery::try_from(format!("/{service}/{}", method.name()));
    let path = path.map_err(|_| Failure::from(Status::internal("a method has no path")))?;
    let mut request = tonic::Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    let mut grpc = Grpc::new(services).max_decoding_message_size(usize::MAX);
    let answered = grpc.unary(request, path, DynamicCodec(method.output())).await;
    answered.map(tonic::Response::into_inner).map_err(Failure::from)
}

/// Encodes any message; decodes those of one descriptor.
struct DynamicCodec(MessageDescriptor);

struct DynamicEncoder;

struct DynamicDecoder(MessageDescriptor);

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = DynamicEncoder;
    type Decoder = DynamicDecoder;

    fn encoder(&mut self) -> DynamicEncoder {
        DynamicEncoder
    }

    fn decoder(&mut self) -> DynamicDecoder {
        DynamicDecoder(self.0.clone())
    }
}

impl Encoder for DynamicEncoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buf).map_err(|_| Status::internal("a message could not be encoded"))
    }
}

impl Decoder for DynamicDecoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let decoded = DynamicMessage::decode(self.0.clone(), buf);
        decoded.map(Some).map_err(|_| Status::internal("an answer could not be decoded"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::services;
    use super::*;

    fn request(json: &str) -> Result<DynamicMessage, Failure> {
        let method = services::methods()["/v1/RevocationService/RevokeWhere"].clone();
        from_json(method.input(), json.as_bytes())
    }

    #[test]
    fn positions_are_strings_bytes_are_base64_and_nothing_is_left_out() {
        let sent = r#"{"tenant":"acme","request":{"id":"AAECAwQFBgcICQoLDA0ODw==","ageMs":"7"}}"#;
        let message = request(sent).expect("good");
        let text = String::from_utf8(to_json(&message).expect("JSON")).expect("UTF-8");
        for part in [r#""ageMs":"7""#, r#""id":"AAECAwQFBgcICQoLDA0ODw==""#, r#""subject":"""#] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_value() {
        for (json, words) in [
            ("", "line 1, column 0: no JSON"),
            ("{\"tenant\":\"x\"", "no JSON"),
            ("{\"tenant\":\"x\"} more", "no JSON"),
            ("[]", "wrong type"),
            ("{\"tenannt\":\"jrt_secret\"}", "unrecognized field name 'tenannt'"),
            ("{\"tenant\":{\"a\":\"jrt_secret\"}}", "wrong type"),
            ("{\"request\":{\"id\":\"jrt_secret!\"}}", "wrong type"),
            ("{\"request\":\"jrt_secret\"}", "wrong type"),
            ("{\"wholeTenant\":\"jrt_secret\"}", "wrong type"),
            ("{\"tenant\":\"a\",\"tenant\":\"jrt_secret\"}", "twice"),
        ] {
            let failure = request(json).expect_err(json);
            assert_eq!(failure.reason, "UNDECODABLE_MESSAGE", "{json}");
            assert!(failure.message.contains(words), "{json}: {}", failure.message);
            assert!(!failure.message.contains("secret"), "{json}: {}", failure.message);
        }
        let deep = "[".repeat(10_000);
        assert!(request(&deep).is_err(), "depth is bounded");
    }

    #[test]
    fn a_deadline_is_milliseconds_or_nothing() {
        let of = |text: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(DEADLINE_HEADER, text.parse().expect("a header value"));
            }
            deadline(&headers)
        };
        assert_eq!(of(None), Ok(Duration::from_secs(5)));
        assert_eq!(of(Some("1")), Ok(Duration::from_millis(1)));
        assert_eq!(of(Some("600000")), Ok(Duration::from_secs(600)));
        for bad in ["0", "600001", "-1", "+1", "1s", "", "99999999999999999999"] {
            assert_eq!(of(Some(bad)).expect_err(bad).reason, "INVALID_REQUEST");
        }
    }
}
