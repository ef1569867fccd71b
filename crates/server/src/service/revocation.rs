//! `RevocationService`: revocations, one call at a time.

use std::sync::Arc;

use jeton_wire::pb::v1;
use jeton_wire::pb::v1::revocation_service_server::RevocationService;
use tonic::{Request, Response, Status, async_trait};

use crate::desk::Desk;
use crate::service::unary::unary;

/// See the module.
pub(crate) struct Revocations(pub(crate) Arc<Desk>);

#[async_trait]
impl RevocationService for Revocations {
    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        unary!(self.0, request, RevokeToken)
    }

    async fn revoke_family(
        &self,
        request: Request<v1::RevokeFamilyRequest>,
    ) -> Result<Response<v1::RevokeFamilyResponse>, Status> {
        unary!(self.0, request, RevokeFamily)
    }

    async fn revoke_where(
        &self,
        request: Request<v1::RevokeWhereRequest>,
    ) -> Result<Response<v1::RevokeWhereResponse>, Status> {
        unary!(self.0, request, RevokeWhere)
    }

    async fn get_revocation(
        &self,
        request: Request<v1::GetRevocationRequest>,
    ) -> Result<Response<v1::GetRevocationResponse>, Status> {
        unary!(self.0, request, GetRevocation)
    }

    async fn wait_for_all(
        &self,
        request: Request<v1::WaitForAllRequest>,
    ) -> Result<Response<v1::WaitForAllResponse>, Status> {
        crate::revocations::wait_for_all(&self.0, request).await
    }

    async fn revoke_access_token(
        &self,
        request: Request<v1::RevokeAccessTokenRequest>,
    ) -> Result<Response<v1::RevokeAccessTokenResponse>, Status> {
        unary!(self.0, request, RevokeAccessToken)
    }

    async fn check_access(
        &self,
        request: Request<v1::CheckAccessRequest>,
    ) -> Result<Response<v1::CheckAccessResponse>, Status> {
        unary!(self.0, request, CheckAccess)
    }

    async fn suspend(
        &self,
        request: Request<v1::SuspendRequest>,
    ) -> Result<Response<v1::SuspendResponse>, Status> {
        unary!(self.0, request, Suspend)
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::ResumeResponse>, Status> {
        unary!(self.0, request, Resume)
    }

    async fn require_reauthentication(
        &self,
        request: Request<v1::RequireReauthenticationRequest>,
    ) -> Result<Response<v1::RequireReauthenticationResponse>, Status> {
        unary!(self.0, request, RequireReauthentication)
    }
}
