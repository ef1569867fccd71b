//! Many operations on one stream, answered in any order.
//!
//! ```text
//! call ── submit ─▶ queue ── outbox: all that waits, one message ─▶ stream
//!      ◀─ oneshot ─ slots ◀─ reader: all that came, one lock ────── stream
//! ```
//!
//! There is no timer: the outbox is asked for the next message when the stream can take one, and
//! gives it all that waits. When it is woken by the first operation it lets every other task that
//! is ready run once before it looks, so that callers that were answered together ask together.
//!
//! Age and time left are written into an operation when it leaves, so that waiting here counts.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use jeton_core::limits;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::pb::v1::{Operation, OperationResult, PipelineRequest, PipelineResponse};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{Attempt, CallError};

/// Operations of one connection that may wait for their answers at once.
pub(crate) const OUTSTANDING_MAX: usize = 65_536;

type Answer = Result<Response, CallError>;

/// The client's side of one stream. Closed when dropped.
pub(crate) struct Pipe {
    shared: Arc<Shared>,
}

/// Both directions of one stream, shared by callers, outbox and reader.
struct Shared(Mutex<State>);

struct State {
    next_tag: u64,
    queue: VecDeque<Outgoing>,
    slots: HashMap<u64, Slot>,
    /// Wakes the outbox when it found nothing to send.
    outbox: Option<Waker>,
    /// Why nothing more can be sent, once so.
    broken: Option<Arc<str>>,
}

struct Outgoing {
    tag: u64,
    request: Request,
    attempt: Attempt,
}

struct Slot {
    answer: oneshot::Sender<Answer>,
    sent: bool,
}

impl Pipe {
    /// A pipe, the messages to send through it, and where to put those that come.
    pub fn new() -> (Self, Outbox, Inbox) {
        let shared = Arc::new(Shared(Mutex::new(State {
            next_tag: 1,
            queue: VecDeque::new(),
            slots: HashMap::new(),
            outbox: None,
            broken: None,
        })));
        let outbox = Outbox { shared: Arc::clone(&shared), let_others_run: true };
        (Self { shared: Arc::clone(&shared) }, outbox, Inbox { shared })
    }

    /// Whether operations can still be sent.
    pub fn is_open(&self) -> bool {
        self.shared.0.lock().broken.is_none()
    }

    /// Sends one operation and waits for its answer, until the attempt's deadline.
    ///
    /// # Errors
    /// [`CallError`]: whether it left, and what came instead of an answer.
    pub async fn call(&self, request: Request, attempt: Attempt) -> Answer {
        let (ticket, mut answer) = self.shared.submit(request, attempt)?;
        match tokio::time::timeout_at(attempt.deadline, &mut answer).await {
            Ok(Ok(answered)) => answered,
            // Whoever takes a slot away answers it, so only the runtime's end gets here.
            Ok(Err(_)) => Err(CallError::Lost("the runtime is shutting down".into())),
            Err(_) => match ticket.give_up() {
                Some(sent) => Err(CallError::TimedOut { sent }),
                // It was answered while the time ran out.
                None => answer.try_recv().unwrap_or(Err(CallError::TimedOut { sent: true })),
            },
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shared.close("the client was closed");
    }
}

impl Shared {
    fn submit(
        self: &Arc<Self>,
        request: Request,
        attempt: Attempt,
    ) -> Result<(Ticket, oneshot::Receiver<Answer>), CallError> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.0.lock();
        if let Some(why) = &state.broken {
            return Err(CallError::NotSent(Arc::clone(why)));
        }
        if state.slots.len() >= OUTSTANDING_MAX {
            return Err(CallError::Full { max: OUTSTANDING_MAX });
        }
        let tag = state.next_tag;
        state.next_tag += 1;
        state.slots.insert(tag, Slot { answer: sender, sent: false });
        state.queue.push_back(Outgoing { tag, request, attempt });
        let outbox = state.outbox.take();
        drop(state);
        if let Some(outbox) = outbox {
            outbox.wake();
        }
        Ok((Ticket { shared: Arc::clone(self), tag }, receiver))
    }

    /// Answers all that is outstanding with "lost" or "not sent", and takes nothing more.
    fn close(&self, why: &str) {
        let why: Arc<str> = why.into();
        let mut state = self.0.lock();
        if state.broken.is_some() {
            return;
        }
        state.broken = Some(Arc::clone(&why));
        state.queue.clear();
        let slots = std::mem::take(&mut state.slots);
        let outbox = state.outbox.take();
        drop(state);
        for slot in slots.into_values() {
            let why = Arc::clone(&why);
            let error = if slot.sent { CallError::Lost(why) } else { CallError::NotSent(why) };
            // A caller that is gone doesn't mind.
            let _ = slot.answer.send(Err(error));
        }
        if let Some(outbox) = outbox {
            outbox.wake();
        }
    }
}

/// Holds one slot; frees it when the caller goes away.
struct Ticket {
    shared: Arc<Shared>,
    tag: u64,
}

impl Ticket {
    /// Stops waiting. Says whether the operation had left; nothing if it was answered already.
    fn give_up(&self) -> Option<bool> {
        self.shared.0.lock().slots.remove(&self.tag).map(|slot| slot.sent)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The messages to send, in order; ends when the pipe is closed.
pub(crate) struct Outbox {
    shared: Arc<Shared>,
    let_others_run: bool,
}

impl Stream for Outbox {
    type Item = PipelineRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PipelineRequest>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.0.lock();
        if state.broken.is_some() {
            return Poll::Ready(None);
        }
        if state.queue.is_empty() {
            self.let_others_run = true;
            state.outbox = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.let_others_run {
            self.let_others_run = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let operations = state.take_message(Instant::now());
        if operations.is_empty() {
            self.let_others_run = true;
            state.outbox = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Some(PipelineRequest { operations }))
    }
}

impl State {
    /// All that waits and is still waited for, as far as one message may hold it.
    fn take_message(&mut self, now: Instant) -> Vec<Operation> {
        let mut operations = Vec::with_capacity(self.queue.len().min(limits::BATCH_COMMANDS_MAX));
        let mut bytes = 0;
        while operations.len() < limits::BATCH_COMMANDS_MAX && bytes < limits::BATCH_BYTES_MAX {
            let Some(mut outgoing) = self.queue.pop_front() else { break };
            let Some(slot) = self.slots.get_mut(&outgoing.tag) else { continue };
            let Some(deadline_ms) = outgoing.attempt.stamp(&mut outgoing.request, now) else {
                // Its caller is about to find out that its time is over, and that it never left.
                continue;
            };
            slot.sent = true;
            let operation =
                Operation { tag: outgoing.tag, deadline_ms, request: Some(outgoing.request) };
            bytes += bytes_about(&operation);
            operations.push(operation);
        }
        operations
    }
}

/// Bytes that an operation has on the wire, within a factor of three: only what callers bring along
/// can make it large. Nodes take messages of four times the limit that this is held against.
fn bytes_about(operation: &Operation) -> usize {
    const IDS_AND_DIGESTS: usize = 512;
    let brought = match &operation.request {
        Some(Request::CreateFamily(r)) => r.payload.len() + text_len(&r.attributes),
        Some(Request::UpdateFamily(r)) => {
            let attributes = r.attributes.as_ref().map_or(0, |a| text_len(&a.values));
            r.payload.as_ref().map_or(0, bytes::Bytes::len) + attributes
        }
        _ => 0,
    };
    brought + IDS_AND_DIGESTS
}

fn text_len(attributes: &BTreeMap<String, String>) -> usize {
    attributes.iter().map(|(name, value)| name.len() + value.len() + 8).sum()
}

/// Where answers go; the pipe is broken when it is dropped.
pub(crate) struct Inbox {
    shared: Arc<Shared>,
}

impl Inbox {
    /// Hands every answer to whoever waits for it. Answers that nobody waits for are dropped.
    pub fn deliver(&self, message: PipelineResponse) {
        let mut answers = Vec::with_capacity(message.results.len());
        let mut state = self.shared.0.lock();
        for OperationResult { tag, response } in message.results {
            if let Some(slot) = state.slots.remove(&tag) {
                answers.push((slot.answer, response));
            }
        }
        drop(state);
        for (caller, response) in answers {
            let answer = match response {
                Some(Response::Failure(failure)) => Err(CallError::Failed(failure.into())),
                Some(response) => Ok(response),
                None => Err(CallError::Garbled("an answer without content".into())),
            };
            // A caller that is gone doesn't mind.
            let _ = caller.send(answer);
        }
    }

    /// Ends the pipe.
    pub fn close(&self, why: &str) {
        self.shared.close(why);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.close("the connection's task ended");
    }
}
