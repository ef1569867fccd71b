//! What stands before the client port until the node has started: it says how the node is, takes
//! the order to form a cluster, and turns everything else away.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use jeton_raft::bootstrap::Lobby;
use jeton_wire::pb::admin_v1::cluster_service_server::ClusterServiceServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::http::{self, Port};
use crate::service::waiting::Waiting;
use crate::{deadline, failures};

/// See the module.
pub(crate) struct Gate<H> {
    pub(crate) health: HealthServer<H>,
    pub(crate) waiting: ClusterServiceServer<Waiting>,
    pub(crate) lobby: Arc<Lobby>,
    /// Set when it has started: then these answer.
    pub(crate) open: Arc<OnceLock<Port<H>>>,
}

impl<H> Clone for Gate<H> {
    fn clone(&self) -> Self {
        Self {
            health: self.health.clone(),
            waiting: self.waiting.clone(),
            lobby: self.lobby.clone(),
            open: self.open.clone(),
        }
    }
}

impl<H: Health> Service<Request<Body>> for Gate<H> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(port) = self.open.get() {
            return port.answer(request);
        }
        if !http::is_grpc(&request) {
            let answer = http::before_start(&self.lobby, request.uri().path());
            return Box::pin(async { Ok(answer) });
        }
        if deadline::is_passed(request.headers()) {
            return Box::pin(async { Ok(Status::from(deadline::expired()).into_http()) });
        }
        let path = request.uri().path();
        match path.strip_prefix('/').and_then(|path| path.split('/').next()) {
            Some(ClusterServiceServer::<Waiting>::NAME) => self.waiting.call(request),
            Some(HealthServer::<H>::NAME) => self.health.call(request),
            _ => {
                let status = Status::from(failures::not_started(&self.lobby));
                Box::pin(async { Ok(status.into_http()) })
            }
        }
    }
}
