//! Which path is answered by what.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use jeton_core::ids::UnixMs;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};

use super::json::{self, Loopback};
use super::oauth::{self, Clients};
use super::problem::Problem;
use super::{events, openapi, probes, services};
use crate::desk::Desk;

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) desk: Arc<Desk>,
    /// When this process started.
    pub(crate) started: UnixMs,
    /// The services behind JSON.
    pub(crate) grpc: Loopback,
    /// Who may use OAuth's endpoints.
    pub(crate) clients: Clients,
    /// Largest JSON body, in bytes.
    pub(crate) json_bytes_max: usize,
}

/// The HTTP interface.
pub(crate) struct Web {
    router: Router,
    shared: Arc<Shared>,
}

impl Web {
    pub(crate) fn new(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let mut router = Router::new()
            .route("/livez", get(probes::live))
            .route("/readyz", get(probes::ready))
            .route("/metrics", get(probes::metrics))
            .route("/openapi.json", get(openapi::serve))
            .route(events::PATH, get(events::watch))
            .route("/oauth2/revoke", post(oauth::revoke))
            .route("/oauth2/introspect", post(oauth::introspect))
            .route("/t/{tenant}/oauth2/revoke", post(oauth::revoke))
            .route("/t/{tenant}/oauth2/introspect", post(oauth::introspect));
        for (path, method) in services::methods() {
            let (grpc, bytes_max) = (shared.grpc.clone(), shared.json_bytes_max);
            let answer =
                move |request: Request| json::answer(grpc, method.clone(), bytes_max, request);
            router = router.route(&path, post(answer));
        }
        let router = router
            .fallback(unknown)
            .method_not_allowed_fallback(not_allowed)
            .with_state(shared.clone());
        Self { router, shared }
    }

    /// Answers a request.
    pub(crate) fn answer(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<http::Response<Body>, Infallible> {
        let answering = self.router.clone().call(request.map(axum::body::Body::new));
        let shared = self.shared.clone();
        Box::pin(async move {
            let response = answering.await?;
            shared.desk.metrics.http.count(response.status().as_u16());
            Ok(response.map(Body::new))
        })
    }
}

async fn unknown(request: Request) -> Response {
    Problem::unknown_path(request.uri().path()).into_response()
}

async fn not_allowed(request: Request) -> Response {
    Problem::method_not_allowed(request.method()).into_response()
}
