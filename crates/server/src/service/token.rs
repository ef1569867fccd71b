//! `TokenService`: families of refresh tokens, one call at a time.

use std::sync::Arc;

use jeton_wire::pb::v1;
use jeton_wire::pb::v1::token_service_server::TokenService;
use tonic::{Request, Response, Status, async_trait};

use crate::desk::Desk;
use crate::service::unary::unary;

/// See the module.
pub(crate) struct Tokens(pub(crate) Arc<Desk>);

#[async_trait]
impl TokenService for Tokens {
    async fn create_family(
        &self,
        request: Request<v1::CreateFamilyRequest>,
    ) -> Result<Response<v1::CreateFamilyResponse>, Status> {
        unary!(self.0, request, CreateFamily)
    }

    async fn rotate(
        &self,
        request: Request<v1::RotateRequest>,
    ) -> Result<Response<v1::RotateResponse>, Status> {
        unary!(self.0, request, Rotate)
    }

    async fn validate(
        &self,
        request: Request<v1::ValidateRequest>,
    ) -> Result<Response<v1::ValidateResponse>, Status> {
        unary!(self.0, request, Validate)
    }

    async fn touch(
        &self,
        request: Request<v1::TouchRequest>,
    ) -> Result<Response<v1::TouchResponse>, Status> {
        unary!(self.0, request, Touch)
    }

    async fn update_family(
        &self,
        request: Request<v1::UpdateFamilyRequest>,
    ) -> Result<Response<v1::UpdateFamilyResponse>, Status> {
        unary!(self.0, request, UpdateFamily)
    }

    async fn get_family(
        &self,
        request: Request<v1::GetFamilyRequest>,
    ) -> Result<Response<v1::GetFamilyResponse>, Status> {
        unary!(self.0, request, GetFamily)
    }

    async fn list_families(
        &self,
        request: Request<v1::ListFamiliesRequest>,
    ) -> Result<Response<v1::ListFamiliesResponse>, Status> {
        unary!(self.0, request, ListFamilies)
    }

    async fn count_families(
        &self,
        request: Request<v1::CountFamiliesRequest>,
    ) -> Result<Response<v1::CountFamiliesResponse>, Status> {
        unary!(self.0, request, CountFamilies)
    }
}
