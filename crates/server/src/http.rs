//! HTTP beside gRPC, on the same port: probes, metrics, OAuth's revocation and introspection, and
//! all of the API as JSON.
//!
//! ```text
//!  request ─▶ Port ─┬─ content-type application/grpc… ─▶ Routes (gRPC)
//!                   └─ else ─▶ Web ─┬─ /livez /readyz /metrics /openapi.json
//!                                   ├─ /oauth2/…              ─▶ desk
//!                                   ├─ /v1/WatchService/Watch ─▶ the same Routes, as events
//!                                   └─ /v1/{service}/{method} ─▶ the same Routes, in-process
//! ```
//!
//! A gRPC call pays one comparison for it. Nothing here knows a rule of the state machine, and
//! nothing a caller sends may panic it. Never in an answer or a log line: what a caller sent as a
//! token or a secret.

mod body;
mod events;
mod json;
mod oauth;
mod openapi;
mod probes;
mod problem;
mod services;
mod unique;
mod web;

use std::convert::Infallible;

use axum::response::IntoResponse;
use jeton_raft::bootstrap::Lobby;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic_health::pb::health_server::Health;

use crate::failures;
use crate::routes::Routes;
pub(crate) use json::Loopback;
pub(crate) use oauth::Clients;
pub(crate) use openapi::Comments;
pub use openapi::document as openapi;
use problem::Problem;
pub(crate) use web::{Shared, Web};

/// What calls of gRPC begin their content type with.
const GRPC: &[u8] = b"application/grpc";

/// Where reflection is asked for.
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/";

/// gRPC server reflection: what the descriptors say, for tools.
pub(crate) fn reflection() -> Loopback {
    let service = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(jeton_wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    Loopback::new(service.expect("the build wrote these descriptors"))
}

/// Whether this is a call of gRPC.
pub(crate) fn is_grpc<B>(request: &http::Request<B>) -> bool {
    let content_type = request.headers().get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|text| text.as_bytes().starts_with(GRPC))
}

/// What a node answers over HTTP that has not started.
pub(crate) fn before_start(lobby: &Lobby, path: &str) -> http::Response<Body> {
    let response = match path {
        "/livez" => "ok\n".into_response(),
        "/readyz" => probes::not_ready(&lobby.why()),
        _ => Problem::from(failures::not_started(lobby)).into_response(),
    };
    response.map(Body::new)
}

/// Everything that the client port serves.
pub(crate) struct Port<H> {
    pub(crate) grpc: Routes<H>,
    pub(crate) web: Web,
    /// Server reflection, if it is wanted.
    pub(crate) reflection: Option<Loopback>,
}

impl<H: Health> Port<H> {
    /// Answers a call; of what is behind the port, only its own service is cloned for it.
    pub(crate) fn answer(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<http::Response<Body>, Infallible> {
        if !is_grpc(&request) {
            return self.web.answer(request);
        }
        match &self.reflection {
            Some(reflection) if request.uri().path().starts_with(REFLECTION) => {
                reflection.clone().call(request)
            }
            _ => self.grpc.answer(request),
        }
    }
}
