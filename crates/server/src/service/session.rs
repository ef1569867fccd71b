//! `SessionService`: sessions, one call at a time.

use std::sync::Arc;

use jeton_wire::pb::v1;
use jeton_wire::pb::v1::session_service_server::SessionService;
use tonic::{Request, Response, Status, async_trait};

use crate::desk::Desk;
use crate::service::unary::unary;

/// See the module.
pub(crate) struct Sessions(pub(crate) Arc<Desk>);

#[async_trait]
impl SessionService for Sessions {
    async fn create_session(
        &self,
        request: Request<v1::CreateSessionRequest>,
    ) -> Result<Response<v1::CreateSessionResponse>, Status> {
        unary!(self.0, request, CreateSession)
    }

    async fn touch_session(
        &self,
        request: Request<v1::TouchSessionRequest>,
    ) -> Result<Response<v1::TouchSessionResponse>, Status> {
        unary!(self.0, request, TouchSession)
    }

    async fn end_session(
        &self,
        request: Request<v1::EndSessionRequest>,
    ) -> Result<Response<v1::EndSessionResponse>, Status> {
        unary!(self.0, request, EndSession)
    }

    async fn get_session(
        &self,
        request: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::GetSessionResponse>, Status> {
        unary!(self.0, request, GetSession)
    }

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        unary!(self.0, request, ListSessions)
    }

    async fn list_session_clients(
        &self,
        request: Request<v1::ListSessionClientsRequest>,
    ) -> Result<Response<v1::ListSessionClientsResponse>, Status> {
        unary!(self.0, request, ListSessionClients)
    }
}
