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
//!
//! What waits here grows older: how long is written into it when it leaves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use jeton_core::codec;
use jeton_core::reply::Reply;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::Streaming;

use super::client::{Peers, within};
use super::connect::{Lane, PeerCallError};
use super::handler::{ForwardAnswers, ForwardOutcome, Forwarded};
use super::{MESSAGE_BYTES_MAX, pb};
use crate::config::millis;
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
    requests: mpsc::Sender<Held>,
    gate: Arc<Gate>,
}

/// Commands that wait for the transport, and since when.
struct Held {
    since: Instant,
    commands: Vec<Forwarded>,
}

impl Held {
    /// They leave: the time that they waited is theirs from here on.
    fn leave(self, now: Instant) -> pb::ForwardRequest {
        let waited = millis(now.saturating_duration_since(self.since));
        let to_pb = |command: Forwarded| pb::ForwardedCommand {
            tag: command.tag,
            command: command.command,
            timeout_ms: command.timeout_ms.saturating_sub(waited),
            held_ms: command.held_ms.saturating_add(waited),
        };
        pb::ForwardRequest { commands: self.commands.into_iter().map(to_pb).collect() }
    }
}

impl ForwardLink {
    /// Sends commands behind those sent before. Waits while the leader doesn't keep up.
    ///
    /// # Errors
    /// [`LinkBroken`]: nothing of this call was sent.
    pub async fn send(&self, commands: Vec<Forwarded>) -> Result<(), LinkBroken> {
        let since = Instant::now();
        let mut closed = self.gate.closed.subscribe();
        let permit = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return Err(LinkBroken),
            permit = self.requests.reserve() => permit.map_err(|_| LinkBroken)?,
        };
        let _passing = self.gate.pass.lock();
        if *self.gate.closed.borrow() {
            return Err(LinkBroken);
        }
        permit.send(Held { since, commands });
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
    queue: mpsc::Receiver<Held>,
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
        Poll::Ready(message.map(|held| held.leave(Instant::now())))
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

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    /// The leader doesn't read: what waits for it must not look younger than it is, or its tokens
    /// would be judged as if they had been presented later.
    #[tokio::test]
    async fn what_waits_for_the_stream_grows_older() {
        let (requests, queue) = mpsc::channel(1);
        let gate = Arc::new(Gate { pass: Mutex::new(false), closed: watch::Sender::new(false) });
        let link = ForwardLink { requests, gate: Arc::clone(&gate) };
        let mut outgoing = Outgoing { queue, gate };
        let command =
            |tag| Forwarded { tag, command: Default::default(), timeout_ms: 10_000, held_ms: 0 };
        link.send(vec![command(1)]).await.unwrap();
        let waits = tokio::spawn(async move { link.send(vec![command(2)]).await });
        // It is on its way, and finds no room.
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        for tag in [1, 2] {
            let message = outgoing.next().await.unwrap();
            let command = &message.commands[0];
            assert_eq!(command.tag, tag);
            assert!(command.held_ms >= 50, "{tag}: {} ms", command.held_ms);
            assert_eq!(command.timeout_ms + command.held_ms, 10_000);
        }
        waits.await.unwrap().unwrap();
    }
}
