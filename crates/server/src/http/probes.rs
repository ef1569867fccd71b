//! What load balancers, orchestrators and Prometheus ask for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::web::Shared;
use crate::metrics::{self, Moment};
use crate::service::cluster::why_not_ready;

/// `GET /livez`: this process answers. It says nothing of the cluster, so that no orchestrator
/// restarts nodes because a quorum is missing.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: whether this node serves, with a quorum behind it; 503 and why, if not.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.why_not_ready() {
        None => "ok\n".into_response(),
        Some(why) => not_ready(&why),
    }
}

/// What `/readyz` says of a node that does not serve.
pub(super) fn not_ready(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
}

/// `GET /metrics`: see [`crate::metrics`].
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let moment = Moment {
        ready: shared.why_not_ready().is_none(),
        status: shared.desk.node.status(),
        outstanding: shared.desk.outstanding(),
        started: shared.started,
    };
    let page = shared.desk.metrics.page(&moment);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response()
}

impl Shared {
    fn why_not_ready(&self) -> Option<String> {
        if self.desk.is_draining() {
            return Some("it is stopping".to_owned());
        }
        why_not_ready(&self.desk.node.status())
    }
}
