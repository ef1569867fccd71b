//! `TransactionService`: several operations in one call.

use std::sync::Arc;

use jeton_wire::pb::v1;
use jeton_wire::pb::v1::transaction_service_server::TransactionService;
use tonic::{Request, Response, Status, async_trait};

use crate::desk::Desk;
use crate::service::unary::unary;

/// See the module.
pub(crate) struct Transactions(pub(crate) Arc<Desk>);

#[async_trait]
impl TransactionService for Transactions {
    async fn transact(
        &self,
        request: Request<v1::TransactRequest>,
    ) -> Result<Response<v1::TransactResponse>, Status> {
        unary!(self.0, request, Transact)
    }
}
