//! A unary call is a pipeline of one.

use std::sync::Arc;

use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request as Operation;
use jeton_wire::pb::v1::operation_result::Response as Answer;
use jeton_wire::{Failure, reply};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::deadline;
use crate::desk::Desk;

/// Takes a request in as an operation, and takes the answer of the same kind out.
pub(crate) async fn call<Q, R>(
    desk: &Arc<Desk>,
    request: Request<Q>,
    wrap: fn(Q) -> Operation,
    unwrap: fn(Answer) -> Option<R>,
) -> Result<Response<R>, Status> {
    let received = Instant::now();
    let deadline = deadline::of_unary(request.metadata(), received)?;
    let left = deadline.saturating_duration_since(received).as_millis();
    let operation = v1::Operation {
        tag: 0,
        deadline_ms: u64::try_from(left).unwrap_or(u64::MAX).max(1),
        request: Some(wrap(request.into_inner())),
    };
    let outbox = desk.outbox(1);
    desk.take(vec![operation], received, &outbox);
    loop {
        let Some(ready) = outbox.next().await else {
            return Err(reply::bug("a call ended without an answer").into());
        };
        if let Some(result) = desk.results(ready, &outbox).pop() {
            return answer(result, unwrap).map(Response::new).map_err(Status::from);
        }
    }
}

fn answer<R>(result: v1::OperationResult, unwrap: fn(Answer) -> Option<R>) -> Result<R, Failure> {
    match result.response {
        Some(Answer::Failure(failure)) => Err(failure.into()),
        response => response
            .and_then(unwrap)
            .ok_or_else(|| reply::bug("a call was answered with another one's response")),
    }
}

/// [`call`] with the two conversions of one kind of operation.
macro_rules! unary {
    ($desk:expr, $request:expr, $kind:ident) => {
        crate::service::unary::call(
            &$desk,
            $request,
            jeton_wire::pb::v1::operation::Request::$kind,
            |answer| match answer {
                jeton_wire::pb::v1::operation_result::Response::$kind(response) => Some(response),
                _ => None,
            },
        )
        .await
    };
}
pub(crate) use unary;
