//! `RecordService`: one-time and keyed records, one call at a time.

use std::sync::Arc;

use jeton_wire::pb::v1;
use jeton_wire::pb::v1::record_service_server::RecordService;
use tonic::{Request, Response, Status, async_trait};

use crate::desk::Desk;
use crate::service::unary::unary;

/// See the module.
pub(crate) struct Records(pub(crate) Arc<Desk>);

#[async_trait]
impl RecordService for Records {
    async fn put_record(
        &self,
        request: Request<v1::PutRecordRequest>,
    ) -> Result<Response<v1::PutRecordResponse>, Status> {
        unary!(self.0, request, PutRecord)
    }

    async fn get_record(
        &self,
        request: Request<v1::GetRecordRequest>,
    ) -> Result<Response<v1::GetRecordResponse>, Status> {
        unary!(self.0, request, GetRecord)
    }

    async fn find_records(
        &self,
        request: Request<v1::FindRecordsRequest>,
    ) -> Result<Response<v1::FindRecordsResponse>, Status> {
        unary!(self.0, request, FindRecords)
    }

    async fn look_up_record(
        &self,
        request: Request<v1::LookUpRecordRequest>,
    ) -> Result<Response<v1::LookUpRecordResponse>, Status> {
        unary!(self.0, request, LookUpRecord)
    }

    async fn delete_record(
        &self,
        request: Request<v1::DeleteRecordRequest>,
    ) -> Result<Response<v1::DeleteRecordResponse>, Status> {
        unary!(self.0, request, DeleteRecord)
    }

    async fn delete_records(
        &self,
        request: Request<v1::DeleteRecordsRequest>,
    ) -> Result<Response<v1::DeleteRecordsResponse>, Status> {
        unary!(self.0, request, DeleteRecords)
    }

    async fn collect_expired(
        &self,
        request: Request<v1::CollectExpiredRequest>,
    ) -> Result<Response<v1::CollectExpiredResponse>, Status> {
        unary!(self.0, request, CollectExpired)
    }

    async fn consume(
        &self,
        request: Request<v1::ConsumeRequest>,
    ) -> Result<Response<v1::ConsumeResponse>, Status> {
        unary!(self.0, request, Consume)
    }

    async fn seen_once(
        &self,
        request: Request<v1::SeenOnceRequest>,
    ) -> Result<Response<v1::SeenOnceResponse>, Status> {
        unary!(self.0, request, SeenOnce)
    }
}
