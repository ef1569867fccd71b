//! The leader's end of a stream of forwarded commands.
//!
//! Requests are read, and answers written, by the one stream that the transport polls: a follower
//! that doesn't read its answers isn't read from either, and commands beyond a bound of bytes wait
//! in the transport's window, that is at the follower.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::Stream;
use jeton_core::codec;
use parking_lot::Mutex;
use prost::Message as _;
use tonic::Status;

use super::handler::{ForwardOutcome, ForwardReplies, Forwarded};
use super::pb;

/// Commands of one stream that wait for their answers, in bytes. Beyond it nothing more is read.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Answers in one message.
const REPLIES_PER_MESSAGE_MAX: usize = 4096;
/// About the bytes of answers in one message; one larger answer travels alone.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// What a command costs beside its own bytes.
const COMMAND_OVERHEAD_BYTES: usize = 64;

/// Collects the answers of one stream. Handed to the node with each batch.
#[derive(Default)]
pub(super) struct Replies {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes of each command that has no answer yet, by tag.
    waiting: BTreeMap<u64, usize>,
    waiting_bytes: usize,
    ready: Vec<pb::ForwardedReply>,
    /// The transport's task, when it has nothing to do.
    waker: Option<Waker>,
}

impl State {
    /// As many answers as one message may hold, at least one.
    fn ready_for_one_message(&mut self) -> Vec<pb::ForwardedReply> {
        let mut bytes = 0;
        let fit = self.ready.iter().take(REPLIES_PER_MESSAGE_MAX).take_while(|reply| {
            bytes += reply.encoded_len();
            bytes <= REPLY_BYTES_MAX
        });
        let count = fit.count().max(1).min(self.ready.len());
        self.ready.drain(..count).collect()
    }
}

impl ForwardReplies for Replies {
    fn reply(&self, tag: u64, outcome: ForwardOutcome) {
        let outcome = outcome_to_pb(outcome);
        let mut state = self.state.lock();
        let Some(bytes) = state.waiting.remove(&tag) else {
            debug_assert!(false, "command {tag} was answered twice");
            return;
        };
        state.waiting_bytes -= bytes;
        state.ready.push(pb::ForwardedReply { tag, outcome: Some(outcome) });
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

fn outcome_to_pb(outcome: ForwardOutcome) -> pb::forwarded_reply::Outcome {
    use pb::forwarded_reply::Outcome as Case;
    match outcome {
        ForwardOutcome::Replied(reply) => Case::Reply(Bytes::from(codec::encode(&*reply))),
        ForwardOutcome::NotProposed => Case::NotProposed(true),
        ForwardOutcome::Unknown => Case::Unknown(true),
        ForwardOutcome::Overloaded { retry_after_ms } => {
            Case::OverloadedRetryAfterMs(retry_after_ms)
        }
        ForwardOutcome::DeadlineExceeded { sent } => Case::DeadlineExceededSent(sent),
        ForwardOutcome::Rejected(why) => Case::Rejected(why.to_string()),
    }
}

/// Requests in, answers out: the body of the leader's response.
pub(super) struct Intake<S, F> {
    /// `None` after its end, or its first broken message.
    requests: Option<S>,
    /// What the stream ends with, once all is answered.
    fault: Option<Status>,
    take: F,
    replies: Arc<Replies>,
    over: bool,
}

impl<S, F> Intake<S, F> {
    /// `take` is handed each batch of commands, in order.
    pub(super) fn new(requests: S, take: F) -> Self {
        let replies = Arc::new(Replies::default());
        Self { requests: Some(requests), fault: None, take, replies, over: false }
    }
}

impl<S, F> Intake<S, F>
where
    S: Stream<Item = Result<pb::ForwardRequest, Status>> + Unpin,
    F: FnMut(Vec<Forwarded>, Arc<dyn ForwardReplies>) + Unpin,
{
    /// Reads until there is nothing to read, or too much waits.
    fn read(&mut self, cx: &mut Context<'_>) {
        while let Some(requests) = &mut self.requests {
            if self.replies.state.lock().waiting_bytes >= WAITING_BYTES_MAX {
                return;
            }
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(Err(status))) => self.stop(status),
                Poll::Ready(Some(Ok(request))) => match self.admit(&request) {
                    Ok(()) => {
                        let commands = request.commands.into_iter().map(command_from_pb);
                        (self.take)(commands.collect(), self.replies.clone());
                    }
                    Err(status) => self.stop(status),
                },
            }
        }
    }

    /// Remembers what must be answered.
    fn admit(&self, request: &pb::ForwardRequest) -> Result<(), Status> {
        let mut state = self.replies.state.lock();
        for command in &request.commands {
            let bytes = command.command.len() + COMMAND_OVERHEAD_BYTES;
            if state.waiting.insert(command.tag, bytes).is_some() {
                let words = format!("tag {} is already in use on this stream", command.tag);
                return Err(Status::invalid_argument(words));
            }
            state.waiting_bytes += bytes;
        }
        Ok(())
    }

    /// Nothing is read behind a broken message.
    fn stop(&mut self, status: Status) {
        self.requests = None;
        // What was under the same broken message has not reached the node and never will.
        self.fault = Some(status);
    }
}

impl<S, F> Stream for Intake<S, F>
where
    S: Stream<Item = Result<pb::ForwardRequest, Status>> + Unpin,
    F: FnMut(Vec<Forwarded>, Arc<dyn ForwardReplies>) + Unpin,
{
    type Item = Result<pb::ForwardResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        // Before reading, so that an answer that comes meanwhile is not missed.
        this.replies.state.lock().waker = Some(cx.waker().clone());
        this.read(cx);
        let mut state = this.replies.state.lock();
        if !state.ready.is_empty() {
            let replies = state.ready_for_one_message();
            return Poll::Ready(Some(Ok(pb::ForwardResponse { replies })));
        }
        if this.fault.is_some() || (this.requests.is_none() && state.waiting.is_empty()) {
            this.over = true;
            return Poll::Ready(this.fault.take().map(Err));
        }
        Poll::Pending
    }
}

fn command_from_pb(command: pb::ForwardedCommand) -> Forwarded {
    Forwarded {
        tag: command.tag,
        command: command.command,
        timeout_ms: command.timeout_ms,
        held_ms: command.held_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(sizes: &[usize]) -> Vec<usize> {
        let replies = Replies::default();
        let mut state = replies.state.lock();
        state.ready = sizes
            .iter()
            .map(|bytes| {
                let outcome = pb::forwarded_reply::Outcome::Rejected("x".repeat(*bytes));
                pb::ForwardedReply { tag: 1, outcome: Some(outcome) }
            })
            .collect();
        let mut counts = Vec::new();
        while !state.ready.is_empty() {
            counts.push(state.ready_for_one_message().len());
        }
        counts
    }

    #[test]
    fn answers_share_messages_up_to_both_limits() {
        assert_eq!(messages(&[10; 3]), [3]);
        assert_eq!(messages(&[1; REPLIES_PER_MESSAGE_MAX + 5]), [REPLIES_PER_MESSAGE_MAX, 5]);
        assert_eq!(messages(&[400 * 1024; 3]), [2, 1]);
        assert_eq!(messages(&[3 * REPLY_BYTES_MAX, 1, 3 * REPLY_BYTES_MAX]), [1, 1, 1]);
    }
}
