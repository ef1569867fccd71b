//! Commands on their way between a follower and the leader, seen from both ends.
//!
//! A follower sends what waits at once, in order, on one stream, and remembers it until it is
//! answered. Only an explicit "not proposed" goes back into the queue; a broken stream makes all
//! that was sent and not answered *unknown*. The leader queues what it is sent like its own
//! clients' commands, and answers on the stream that it came on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jeton_core::command::Command;
use jeton_core::ids::DurationMs;
use jeton_core::reply::Reply;
use jeton_core::{codec, limits};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::millis;
use crate::engine::Engine;
use crate::errors::ProposeError;
use crate::intake::{ReplySink, Waiting};
use crate::peer::ForwardLink;
use crate::peer::handler::{ForwardAnswers, ForwardOutcome, ForwardReplies, Forwarded, PeerLinks};
use crate::types::{Member, NodeId};

/// A stream that takes nothing for this long is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// When to try again after the leader's disk was full.
const DISK_FULL_PAUSE: Duration = Duration::from_secs(1);
/// Largest encoded command that is taken from a peer.
const COMMAND_BYTES_MAX: usize = 1024 * 1024;

/// The follower's end of the stream to one leader.
pub(crate) struct Link {
    leader: NodeId,
    stream: ForwardLink,
    sent: Arc<Sent>,
}

/// What was sent and is not answered.
struct Sent {
    engine: Weak<Engine>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    next: AtomicU64,
    broken: AtomicBool,
}

impl Link {
    /// Whether it leads to `leader`, and is not broken.
    pub(crate) fn serves(&self, leader: NodeId) -> bool {
        self.leader == leader && !self.sent.broken.load(Ordering::Acquire)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.sent.waiting.lock().is_empty()
    }

    /// Takes out what has waited past its deadline.
    pub(crate) fn expired(&self, now: Instant) -> Vec<Waiting> {
        let mut waiting = self.sent.waiting.lock();
        waiting.extract_if(|_, waiting| waiting.deadline <= now).map(|(_, late)| late).collect()
    }
}

impl Drop for Link {
    /// The leader has changed, or the node stops: whatever is unanswered stays unknown.
    fn drop(&mut self) {
        self.sent.give_up(true);
    }
}

impl Sent {
    fn give_up(&self, sent_anything: bool) {
        if self.broken.swap(true, Ordering::AcqRel) {
            return;
        }
        let rest: Vec<Waiting> = self.waiting.lock().drain().map(|(_, waiting)| waiting).collect();
        let Some(engine) = self.engine.upgrade() else {
            for waiting in rest {
                waiting.sink.reply(waiting.tag, Err(ProposeError::Unknown { why: "stopped" }));
            }
            return;
        };
        engine.turned_away.store(true, Ordering::Release);
        if sent_anything {
            for waiting in rest {
                let why = "the stream to the leader broke";
                engine.answer(waiting, Err(ProposeError::Unknown { why }));
            }
        } else {
            engine.intake.give_back(rest);
        }
        engine.intake.more.notify_one();
    }
}

impl ForwardAnswers for Sent {
    fn reply(&self, tag: u64, outcome: ForwardOutcome) {
        // Answered already if its deadline passed.
        let Some(waiting) = self.waiting.lock().remove(&tag) else { return };
        let Some(engine) = self.engine.upgrade() else { return };
        match outcome {
            ForwardOutcome::NotProposed => {
                engine.turned_away.store(true, Ordering::Release);
                engine.intake.give_back(vec![waiting]);
            }
            ForwardOutcome::Replied(reply) => engine.answer(waiting, Ok(*reply)),
            ForwardOutcome::Unknown => {
                engine.answer(waiting, Err(ProposeError::Unknown { why: "the leader changed" }));
            }
            ForwardOutcome::Overloaded { retry_after_ms } => {
                let retry_after = Duration::from_millis(retry_after_ms);
                engine.answer(waiting, Err(ProposeError::Overloaded { retry_after }));
            }
            ForwardOutcome::DeadlineExceeded { sent } => {
                engine.answer(waiting, Err(ProposeError::DeadlineExceeded { sent }));
            }
            ForwardOutcome::Rejected(why) => {
                tracing::warn!(%why, "the leader rejected a command");
                let bytes = waiting.bytes;
                let error = ProposeError::TooLarge { bytes, max: limits::BATCH_BYTES_MAX };
                engine.answer(waiting, Err(error));
            }
        }
    }

    fn broken(&self, sent_anything: bool) {
        self.give_up(sent_anything);
    }
}

impl Engine {
    /// Sends all that waits to the leader.
    pub(crate) async fn forward_waiting(
        self: &Arc<Self>,
        link: &mut Option<Link>,
        leader: NodeId,
        member: &Member,
    ) {
        while !self.turned_away.load(Ordering::Acquire) {
            let batch = self.intake.take(limits::BATCH_COMMANDS_MAX, limits::BATCH_BYTES_MAX);
            if batch.is_empty() {
                return;
            }
            let open = link.get_or_insert_with(|| self.open_link(leader, member));
            if !open.send(batch).await {
                *link = None;
                return;
            }
        }
    }

    fn open_link(self: &Arc<Self>, leader: NodeId, member: &Member) -> Link {
        let sent = Arc::new(Sent {
            engine: Arc::downgrade(self),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        });
        let answers: Arc<dyn ForwardAnswers> = sent.clone();
        Link { leader, stream: self.peers.forward(leader, member, answers), sent }
    }

    /// Takes in what a follower forwards.
    pub(crate) fn take_forwarded(
        &self,
        from: NodeId,
        commands: Vec<Forwarded>,
        replies: Arc<dyn ForwardReplies>,
    ) {
        let now = Instant::now();
        let leads = self.standing.borrow().leads() && self.not_serving().is_none();
        let sink: Arc<dyn ReplySink> = Arc::new(ToFollower(Arc::clone(&replies)));
        for forwarded in commands {
            if !leads {
                replies.reply(forwarded.tag, ForwardOutcome::NotProposed);
                continue;
            }
            match codec::decode::<Command>(&forwarded.command, COMMAND_BYTES_MAX) {
                Ok(mut command) => {
                    command.grow_older(DurationMs(forwarded.held_ms));
                    let deadline = now + Duration::from_millis(forwarded.timeout_ms);
                    let sink = Arc::clone(&sink);
                    let waiting =
                        Waiting::new(Arc::new(command), deadline, forwarded.tag, sink, Some(from));
                    match self.refused_for_space(&waiting) {
                        Some(error) => self.answer(waiting, Err(error)),
                        None => self.intake.push(waiting, true),
                    }
                }
                Err(error) => {
                    let why = Arc::from(error.to_string());
                    replies.reply(forwarded.tag, ForwardOutcome::Rejected(why));
                }
            }
        }
    }
}

impl Link {
    /// Sends a batch; `false` if the stream is of no more use.
    async fn send(&self, batch: Vec<Waiting>) -> bool {
        let now = Instant::now();
        let mut commands = Vec::with_capacity(batch.len());
        let mut tags = Vec::with_capacity(batch.len());
        {
            let mut sent = self.sent.waiting.lock();
            for mut waiting in batch {
                waiting.age(now);
                let tag = self.sent.next.fetch_add(1, Ordering::Relaxed);
                commands.push(Forwarded {
                    tag,
                    command: codec::encode(&*waiting.command).into(),
                    timeout_ms: millis(waiting.deadline.saturating_duration_since(now)),
                    held_ms: 0,
                });
                tags.push(tag);
                sent.insert(tag, waiting);
            }
        }
        match tokio::time::timeout(SEND_TIMEOUT, self.stream.send(commands)).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => {
                // Nothing of this batch was sent. If the stream has been given up meanwhile, its
                // callers have been told already.
                let unsent: Vec<Waiting> = {
                    let mut sent = self.sent.waiting.lock();
                    tags.iter().filter_map(|tag| sent.remove(tag)).collect()
                };
                if let Some(engine) = self.sent.engine.upgrade() {
                    engine.turned_away.store(true, Ordering::Release);
                    engine.intake.give_back(unsent);
                }
                false
            }
            Err(_) => false,
        }
    }
}

/// The leader's sink for what a follower forwarded: back onto its stream.
struct ToFollower(Arc<dyn ForwardReplies>);

impl ReplySink for ToFollower {
    fn reply(&self, tag: u64, result: Result<Reply, ProposeError>) {
        let outcome = match result {
            Ok(reply) => ForwardOutcome::Replied(Box::new(reply)),
            Err(ProposeError::Unknown { .. }) => ForwardOutcome::Unknown,
            Err(ProposeError::DeadlineExceeded { sent }) => {
                ForwardOutcome::DeadlineExceeded { sent }
            }
            Err(ProposeError::Overloaded { retry_after }) => {
                ForwardOutcome::Overloaded { retry_after_ms: millis(retry_after) }
            }
            // The follower's caller hears "overloaded": only the leader's operator can help.
            Err(ProposeError::DiskFull { .. }) => {
                ForwardOutcome::Overloaded { retry_after_ms: millis(DISK_FULL_PAUSE) }
            }
            Err(error @ ProposeError::TooLarge { .. }) => {
                ForwardOutcome::Rejected(error.to_string().into())
            }
            Err(
                ProposeError::NotProposed { .. }
                | ProposeError::Shutdown
                | ProposeError::NotServing { .. },
            ) => ForwardOutcome::NotProposed,
        };
        self.0.reply(tag, outcome);
    }
}
