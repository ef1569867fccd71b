//! `PipelineService`: many operations a message, either way. Two tasks a stream, none an operation.
//!
//! Bounds: operations a message, bytes a message (the transport's limit), and what is outstanding:
//! when that is reached, the next message is not read until answers have left, so the caller is
//! held back by flow control. A message that breaks the rules ends the stream, after everything
//! that is owed was answered.

use std::iter::Peekable;
use std::sync::Arc;

use jeton_wire::pb::v1;
use jeton_wire::pb::v1::pipeline_service_server::PipelineService;
use jeton_wire::{Failure, Violation};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::desk::Desk;
use crate::outbox::Outbox;

/// Operations in one message, and results in one.
const OPERATIONS_MAX: usize = 1_024;
/// About the bytes of results in one message; one larger result travels alone.
const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// Messages that wait for the transport. What becomes ready meanwhile shares the next one.
const MESSAGES_WAITING: usize = 2;

/// See the module.
pub(crate) struct Pipelines {
    pub(crate) desk: Arc<Desk>,
    pub(crate) outstanding_max: usize,
    /// Turns true when streams must end.
    pub(crate) closing: watch::Receiver<bool>,
}

type Outgoing = mpsc::Sender<Result<v1::PipelineResponse, Status>>;

#[async_trait]
impl PipelineService for Pipelines {
    type PipelineStream = ReceiverStream<Result<v1::PipelineResponse, Status>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let outbox = self.desk.outbox(self.outstanding_max);
        let (outgoing, responses) = mpsc::channel(MESSAGES_WAITING);
        let incoming = request.into_inner();
        tokio::spawn(read(self.desk.clone(), incoming, outbox.clone(), self.closing.clone()));
        tokio::spawn(write(self.desk.clone(), outbox, outgoing));
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

async fn read(
    desk: Arc<Desk>,
    mut incoming: Streaming<v1::PipelineRequest>,
    outbox: Arc<Outbox>,
    mut closing: watch::Receiver<bool>,
) {
    let end = loop {
        if !outbox.room().await {
            break None;
        }
        let message = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => break None,
            message = incoming.message() => message,
        };
        match message {
            Ok(Some(message)) if message.operations.len() > OPERATIONS_MAX => {
                break Some(too_many(message.operations.len()).into());
            }
            Ok(Some(message)) => desk.take(message.operations, Instant::now(), &outbox),
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
    };
    outbox.close(end);
}

async fn write(desk: Arc<Desk>, outbox: Arc<Outbox>, outgoing: Outgoing) {
    loop {
        let ready = tokio::select! {
            biased;
            () = outgoing.closed() => break,
            ready = outbox.next() => ready,
        };
        let Some(ready) = ready else {
            if let Some(end) = outbox.take_end() {
                // If the caller has gone there is nobody to be told.
                let _ = outgoing.send(Err(end)).await;
            }
            break;
        };
        let mut results = desk.results(ready, &outbox).into_iter().peekable();
        while results.peek().is_some() {
            let message = v1::PipelineResponse { results: message_of(&mut results) };
            if outgoing.send(Ok(message)).await.is_err() {
                outbox.abandon();
                return;
            }
        }
    }
    outbox.abandon();
}

/// As many results as one message may hold, at least one.
fn message_of(
    results: &mut Peekable<impl Iterator<Item = v1::OperationResult>>,
) -> Vec<v1::OperationResult> {
    let (mut message, mut bytes) = (Vec::new(), 0);
    while message.len() < OPERATIONS_MAX {
        let Some(next) = results.peek() else { break };
        bytes += next.encoded_len();
        if bytes > RESULT_BYTES_MAX && !message.is_empty() {
            break;
        }
        message.extend(results.next());
    }
    message
}

/// Of such a message nothing was executed; those before it are answered each by itself.
fn too_many(len: usize) -> Failure {
    let problem = format!("has {len} entries: the limit is {OPERATIONS_MAX}; send more messages");
    Violation::new("operations", problem).into()
}

#[cfg(test)]
mod tests {
    use jeton_wire::pb::v1::operation_result::Response as Answer;

    use super::*;

    fn result(bytes: usize) -> v1::OperationResult {
        let failure = v1::Failure { message: "x".repeat(bytes), ..v1::Failure::default() };
        v1::OperationResult { tag: 1, response: Some(Answer::Failure(failure)) }
    }

    fn messages(results: Vec<v1::OperationResult>) -> Vec<usize> {
        let mut results = results.into_iter().peekable();
        let mut sizes = Vec::new();
        while results.peek().is_some() {
            sizes.push(message_of(&mut results).len());
        }
        sizes
    }

    #[test]
    fn results_share_messages_up_to_both_limits() {
        assert_eq!(messages(vec![result(10); 3]), [3]);
        assert_eq!(messages(vec![result(1); OPERATIONS_MAX + 5]), [OPERATIONS_MAX, 5]);
        assert_eq!(messages(vec![result(600 * 1024); 3]), [1, 1, 1]);
        assert_eq!(messages(vec![result(400 * 1024); 3]), [2, 1]);
        assert_eq!(messages(vec![result(3 * RESULT_BYTES_MAX); 2]), [1, 1]);
    }
}
