//! `LockService`: locks and single flights, one call at a time.

use std::sync::Arc;

use jeton_wire::pb::v1;
use jeton_wire::pb::v1::lock_service_server::LockService;
use tonic::{Request, Response, Status, async_trait};

use crate::desk::Desk;
use crate::service::unary::unary;

/// See the module.
pub(crate) struct Locks(pub(crate) Arc<Desk>);

#[async_trait]
impl LockService for Locks {
    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        unary!(self.0, request, Acquire)
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        unary!(self.0, request, Renew)
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        unary!(self.0, request, Release)
    }

    async fn withdraw(
        &self,
        request: Request<v1::WithdrawRequest>,
    ) -> Result<Response<v1::WithdrawResponse>, Status> {
        unary!(self.0, request, Withdraw)
    }

    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        unary!(self.0, request, Publish)
    }

    async fn r#await(
        &self,
        request: Request<v1::AwaitRequest>,
    ) -> Result<Response<v1::AwaitResponse>, Status> {
        unary!(self.0, request, Await)
    }

    async fn get_lock(
        &self,
        request: Request<v1::GetLockRequest>,
    ) -> Result<Response<v1::GetLockResponse>, Status> {
        unary!(self.0, request, GetLock)
    }
}
