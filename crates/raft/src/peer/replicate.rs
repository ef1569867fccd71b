//! The append pipeline to one peer: requests go out as fast as the window allows, answers come back
//! in order.
//!
//! Both directions live in one stream that is polled by the replication task, and nowhere else: as
//! soon as it is dropped, not a single further request is taken from openraft. (A request stream
//! that was handed to the transport would be polled on until the connection noticed, and could
//! swallow entries that belong to the session after it.)
//!
//! It ends after the first answer that is not a success, and with the first error: openraft then
//! starts another session from what was acknowledged.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::channel::mpsc;
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use prost::Message;
use tonic::Streaming;

use super::connect::PeerCallError;
use super::convert::{append_result_from_pb, append_to_pb};
use super::network::unreachable;
use super::{MESSAGE_BYTES_MAX, pb};
use crate::types::TypeConfig;

type Answer = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// Requests that wait for the transport, beside those in its window.
pub(super) const PIPELINE_REQUESTS: usize = 2;

/// See the module's documentation.
pub(super) struct Pipeline<S> {
    address: String,
    /// `None` once openraft has no more requests.
    input: Option<S>,
    /// `None` once the last request was handed over.
    requests: Option<mpsc::Sender<pb::AppendRequest>>,
    answers: Streaming<pb::AppendResponse>,
    /// An error or a refusal was given out: nothing follows.
    over: bool,
}

impl<S> Pipeline<S> {
    pub(super) fn new(
        address: String,
        input: S,
        requests: mpsc::Sender<pb::AppendRequest>,
        answers: Streaming<pb::AppendResponse>,
    ) -> Self {
        Self { address, input: Some(input), requests: Some(requests), answers, over: false }
    }
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Pipeline<S> {
    /// Hands requests over until the transport or openraft has to be waited for.
    fn feed(&mut self, cx: &mut Context<'_>) -> Result<(), PeerCallError> {
        while let (Some(input), Some(requests)) = (&mut self.input, &mut self.requests) {
            match requests.poll_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) => {}
                // The transport has given up. The answers say why.
                Poll::Ready(Err(_)) => {
                    self.requests = None;
                    return Ok(());
                }
            }
            match Pin::new(input).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => {
                    self.input = None;
                    self.requests = None;
                }
                Poll::Ready(Some(request)) => {
                    let request = append_to_pb(&request);
                    check_size(&self.address, &request)?;
                    if requests.start_send(request).is_err() {
                        self.requests = None;
                    }
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, error: &PeerCallError) -> Poll<Option<Answer>> {
        self.over = true;
        self.input = None;
        self.requests = None;
        Poll::Ready(Some(Err(unreachable(error))))
    }
}

/// Refuses a request that the peer would refuse, with words instead of a broken connection.
pub(super) fn check_size(address: &str, request: &pb::AppendRequest) -> Result<(), PeerCallError> {
    let bytes = request.encoded_len();
    if bytes <= MESSAGE_BYTES_MAX {
        return Ok(());
    }
    Err(PeerCallError::Broken {
        address: address.to_owned(),
        why: format!("an append request of {bytes} bytes: the limit is {MESSAGE_BYTES_MAX}"),
    })
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Stream for Pipeline<S> {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        if let Err(error) = this.feed(cx) {
            return this.end(&error);
        }
        let answer = match ready!(Pin::new(&mut this.answers).poll_next(cx)) {
            // The peer ends its answers when the requests ended, or when it goes down.
            None if this.input.is_none() => return Poll::Ready(None),
            None => {
                let (address, why) = (this.address.clone(), "it ended the stream".to_owned());
                return this.end(&PeerCallError::Unreachable { address, why });
            }
            Some(Err(status)) => {
                let error = PeerCallError::from_status(&this.address, &status);
                return this.end(&error);
            }
            Some(Ok(response)) => append_result_from_pb(response),
        };
        match answer {
            Ok(result) => {
                if result.is_err() {
                    this.over = true;
                    this.input = None;
                    this.requests = None;
                }
                Poll::Ready(Some(Ok(result)))
            }
            Err(broken) => {
                let (address, why) = (this.address.clone(), broken.to_string());
                this.end(&PeerCallError::Broken { address, why })
            }
        }
    }
}
