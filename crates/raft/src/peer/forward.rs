//! Commands on their way to the leader: one ordered stream, opened for one leader.
//!
//! What is certain about a command when the stream breaks depends on whether anything was handed to
//! the transport. A gate decides it, under one lock: once closed, nothing more is accepted from the
//! node and nothing more is given to the transport, and only then is the node told.
//!
//! ```text
//!   node ── send ──► [gate] queue of 2 messages ── [gate] ──► transport ══► leader
//!                      ▲ waits when the leader doesn't read (window of 8 MiB)
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use jeton_core::codec;
use jeton_core::reply::Reply;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tonic::Streaming;

use super::client::{Peers, within};
use super::connect::{Lane, PeerCallError};
use super::handler::{ForwardAnswers, ForwardOutcome, Forwarded};
use super::{MESSAGE_BYTES_MAX, pb};
use crate::types::NodeId;

/// How long the leader may take to accept the stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages that wait for the transport.
const QUEUE_MESSAGES: usize = 2;

/// The stream is gone: nothing of the call was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream to the leader is broken, nothing of this was sent")]
pub struct LinkBroken;

/// The sending end of a stream to the leader. Dropping it closes the stream: what was sent is still
/// answered.
pub struct ForwardLink {
    requests: mpsc::Sender<pb::ForwardRequest>,
    gate: Arc<Gate>,
}

impl ForwardLink {
    /// Sends commands behind those sent before. Waits while the leader doesn't keep up.
    ///
    /// # Errors
    /// [`LinkBroken`]: nothing of this call was sent.
    pub async fn send(&self, commands: Vec<Forwarded>) -> Result<(), LinkBroken> {
        let mut closed = self.gate.closed.subscribe();
        let permit = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return Err(LinkBroken),
            permit = self.requests.reserve() => permit.map_err(|_| LinkBroken)?,
        };
        let commands = commands.into_iter().map(command_to_pb).collect();
        let _passing = self.gate.pass.lock();
        if *self.gate.closed.borrow() {
            return Err(LinkBroken);
        }
        permit.send(pb::ForwardRequest { commands });
        Ok(())
    }
}

/// See the module's documentation.
struct Gate {
    /// Held while a message passes, and while the gate is closed. True: something was handed over.
    pass: Mutex<bool>,
    closed: watch::Sender<bool>,
}

impl Gate {
    /// Closes for good; tells whether anything ever went through.
    fn close(&self) -> bool {
        let passed = self.pass.lock();
        self.closed.send_replace(true);
        *passed
    }
}

/// The messages as the transport takes them.
struct Outgoing {
    queue: mpsc::Receiver<pb::ForwardRequest>,
    gate: Arc<Gate>,
}

impl Stream for Outgoing {
    type Item = pb::ForwardRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = ready!(self.queue.poll_recv(cx));
        let mut passed = self.gate.pass.lock();
        if *self.gate.closed.borrow() {
            return Poll::Ready(None);
        }
        *passed |= message.is_some();
        Poll::Ready(message)
    }
}

/// Opens a stream to the leader. Returns at once.
pub(super) fn open(
    peers: Peers,
    leader: NodeId,
    address: String,
    answers: Arc<dyn ForwardAnswers>,
) -> ForwardLink {
    let (requests, queue) = mpsc::channel(QUEUE_MESSAGES);
    let gate = Arc::new(Gate { pass: Mutex::new(false), closed: watch::Sender::new(false) });
    let outgoing = Outgoing { queue, gate: gate.clone() };
    let task_gate = gate.clone();
    tokio::spawn(async move {
        if let Err(error) = converse(&peers, leader, &address, outgoing, answers.as_ref()).await {
            tracing::debug!(leader, %error, "the stream of forwarded commands broke");
        }
        answers.broken(task_gate.close());
    });
    ForwardLink { requests, gate }
}

/// Runs the stream to its end; each answer goes to the node as it comes.
async fn converse(
    peers: &Peers,
    leader: NodeId,
    address: &str,
    outgoing: Outgoing,
    answers: &dyn ForwardAnswers,
) -> Result<(), PeerCallError> {
    let mut client = peers.leader_client(address, Lane::Log)?;
    let call = client.forward(peers.addressed(outgoing, leader));
    let mut incoming: Streaming<pb::ForwardResponse> = within(OPEN_TIMEOUT, address, call).await?;
    loop {
        let message = incoming.message().await;
        let message = message.map_err(|status| PeerCallError::from_status(address, &status))?;
        let Some(message) = message else { return Ok(()) };
        for reply in message.replies {
            let tag = reply.tag;
            let outcome = outcome_from_pb(reply)
                .map_err(|why| PeerCallError::Broken { address: address.to_owned(), why })?;
            answers.reply(tag, outcome);
        }
    }
}

fn command_to_pb(forwarded: Forwarded) -> pb::ForwardedCommand {
    pb::ForwardedCommand {
        tag: forwarded.tag,
        command: forwarded.command,
        timeout_ms: forwarded.timeout_ms,
    }
}

fn outcome_from_pb(reply: pb::ForwardedReply) -> Result<ForwardOutcome, String> {
    use pb::forwarded_reply::Outcome as Case;
    Ok(match reply.outcome.ok_or("a forwarded reply without an outcome")? {
        Case::Reply(bytes) => {
            let reply: Reply =
                codec::decode(&bytes, MESSAGE_BYTES_MAX).map_err(|e| e.to_string())?;
            ForwardOutcome::Replied(Box::new(reply))
        }
        Case::NotProposed(_) => ForwardOutcome::NotProposed,
        Case::Unknown(_) => ForwardOutcome::Unknown,
        Case::OverloadedRetryAfterMs(retry_after_ms) => {
            ForwardOutcome::Overloaded { retry_after_ms }
        }
        Case::DeadlineExceededSent(sent) => ForwardOutcome::DeadlineExceeded { sent },
        Case::Rejected(why) => ForwardOutcome::Rejected(why.into()),
    })
}
