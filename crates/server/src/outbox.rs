//! What one caller is owed: the operations that wait for an answer, and the answers that are ready
//! to leave. One per pipeline; a unary call has one for itself.
//!
//! ```text
//!  open ──▶ slot ──(node: reply)──▶ replies ─┐
//!     └──(read done: complete)──────▶ done ───┴─▶ next() ─▶ one message
//! ```
//!
//! A slot costs no allocation once its table has grown, and an answer none either. Answers that
//! became ready together leave together. A slot is answered exactly once: what comes for a slot
//! that was answered already is dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jeton_core::command::{Command, Criteria};
use jeton_core::ids::{SecretDigest, TenantId};
use jeton_core::reply::{Done, Reply};
use jeton_raft::{ProposeError, ReplySink};
use jeton_wire::Failure;
use jeton_wire::pb::v1;
use jeton_wire::reply::Kind;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::Status;
use v1::operation_result::Response;

use crate::transactions::Parts;
use crate::waits::{AcquireName, Waiting};

/// The node answers at the deadline by itself, and knows more then. Only if it doesn't within this
/// time is the operation answered without it.
const OVERDUE: Duration = Duration::from_secs(1);
/// How often overdue operations are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// An operation that waits for its answer.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    /// As the caller chose it.
    pub(crate) tag: u64,
    /// How it is answered.
    pub(crate) kind: Kind,
    /// When the caller stops waiting.
    pub(crate) deadline: Instant,
    /// What the mac of the issued token is made over, if it issues one.
    pub(crate) issue: Option<Issue>,
    /// What it is known by among those who wait, if it may have to.
    pub(crate) acquire: Option<AcquireName>,
    /// What it is made of, if it is a transaction.
    pub(crate) parts: Option<Arc<Parts>>,
    /// What is to be counted before it is answered, or asked again, if it revokes all that matches.
    pub(crate) counting: Option<Arc<Counting>>,
}

impl Pending {
    /// One that needs nothing more.
    pub(crate) fn of(tag: u64, kind: Kind, deadline: Instant) -> Self {
        Self { tag, kind, deadline, issue: None, acquire: None, parts: None, counting: None }
    }
}

/// A revocation of all that matches.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) tenant: TenantId,
    pub(crate) matching: Criteria,
    /// As it came in.
    pub(crate) command: Command,
    /// When it came in: its age counts on while it waits for room.
    pub(crate) received: Instant,
}

/// What a new token's mac is made over, beside what the reply says.
#[derive(Debug, Clone)]
pub(crate) struct Issue {
    pub(crate) tenant: TenantId,
    pub(crate) digest: SecretDigest,
}

/// Names a pending operation; never reused within an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u64);

/// A reply of the node, with the operation that it answers.
pub(crate) type Replied = (Pending, Result<Reply, ProposeError>);

/// What is ready to leave.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// Replies that have yet to be put in words.
    pub(crate) replies: Vec<Replied>,
    /// Results as they are.
    pub(crate) done: Vec<v1::OperationResult>,
    /// Operations that nobody answered in time.
    pub(crate) overdue: Vec<Pending>,
}

impl Ready {
    fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.done.is_empty() && self.overdue.is_empty()
    }
}

#[derive(Debug, Default)]
struct Place {
    /// How often this place was used: makes slots unique.
    uses: u32,
    pending: Option<Pending>,
}

#[derive(Default)]
struct Inner {
    places: Vec<Place>,
    free: Vec<u32>,
    open: usize,
    replies: Vec<Replied>,
    done: Vec<v1::OperationResult>,
    closed: bool,
    /// What the stream ends with, after everything that is owed.
    end: Option<Status>,
    abandoned: bool,
    /// When overdue operations are looked for next, however busy the outbox is meanwhile.
    look_at: Option<Instant>,
}

impl Inner {
    fn held(&self) -> usize {
        self.open + self.replies.len() + self.done.len()
    }

    fn pending(&self, slot: Slot) -> Option<&Pending> {
        let (at, uses) = ((slot.0 & u64::from(u32::MAX)) as usize, (slot.0 >> 32) as u32);
        self.places.get(at).filter(|place| place.uses == uses)?.pending.as_ref()
    }

    fn close_slot(&mut self, slot: Slot) -> Option<Pending> {
        let (at, uses) = ((slot.0 & u64::from(u32::MAX)) as usize, (slot.0 >> 32) as u32);
        let place = self.places.get_mut(at).filter(|place| place.uses == uses)?;
        let pending = place.pending.take()?;
        self.free.push(at as u32);
        self.open -= 1;
        Some(pending)
    }
}

/// See the module.
pub(crate) struct Outbox {
    me: Weak<Self>,
    inner: Mutex<Inner>,
    ready: Notify,
    room: Notify,
    held_max: usize,
    gauge: Gauge,
}

/// Operations that are outstanding on a whole server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    pub(crate) fn read(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Outbox {
    /// Whoever waited has gone: nobody is owed an answer any more.
    fn drop(&mut self) {
        self.gauge.0.fetch_sub(self.inner.get_mut().open, Ordering::Relaxed);
    }
}

impl Outbox {
    /// An outbox that has room for `held_max` operations and answers.
    pub(crate) fn new(held_max: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            inner: Mutex::default(),
            ready: Notify::new(),
            room: Notify::new(),
            held_max,
            gauge,
        })
    }

    fn close_slot(&self, inner: &mut Inner, slot: Slot) -> Option<Pending> {
        let pending = inner.close_slot(slot)?;
        self.gauge.0.fetch_sub(1, Ordering::Relaxed);
        Some(pending)
    }

    /// A slot for an operation.
    pub(crate) fn open(&self, pending: Pending) -> Slot {
        let mut inner = self.inner.lock();
        inner.open += 1;
        self.gauge.0.fetch_add(1, Ordering::Relaxed);
        let at = match inner.free.pop() {
            Some(at) => at as usize,
            None => {
                inner.places.push(Place::default());
                inner.places.len() - 1
            }
        };
        let place = &mut inner.places[at];
        place.uses = place.uses.wrapping_add(1);
        place.pending = Some(pending);
        Slot((u64::from(place.uses) << 32) | at as u64)
    }

    /// The slot as the node sees it.
    pub(crate) fn tag(slot: Slot) -> u64 {
        slot.0
    }

    /// The final result of an operation that has a slot.
    pub(crate) fn complete(&self, slot: Slot, result: Result<Response, Failure>) {
        let mut inner = self.inner.lock();
        let Some(pending) = self.close_slot(&mut inner, slot) else { return };
        inner.done.push(result_of(pending.tag, result));
        drop(inner);
        self.ready.notify_one();
    }

    /// The final result of an operation that never got a slot.
    pub(crate) fn answer(&self, tag: u64, result: Result<Response, Failure>) {
        self.inner.lock().done.push(result_of(tag, result));
        self.ready.notify_one();
    }

    /// No more operations will come. The stream ends with `end`, if it is an error, after
    /// everything that is owed.
    pub(crate) fn close(&self, end: Option<Status>) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.end = end;
        drop(inner);
        self.ready.notify_one();
    }

    /// What the stream ends with, once.
    pub(crate) fn take_end(&self) -> Option<Status> {
        self.inner.lock().end.take()
    }

    /// Nobody takes answers any more.
    pub(crate) fn abandon(&self) {
        self.inner.lock().abandoned = true;
        self.room.notify_waiters();
    }

    /// Whether nobody takes answers any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.inner.lock().abandoned
    }

    /// If a reply is a place in a queue: the slot stays open for what comes of it.
    fn waits(&self, slot: Slot, reply: &Reply) -> bool {
        let Ok(Done::Queued { asked }) = reply.outcome else { return false };
        let inner = self.inner.lock();
        let Some(pending) = inner.pending(slot) else { return false };
        let Some(name) = pending.acquire.clone() else { return false };
        let (outbox, deadline) = (self.me.clone(), pending.deadline);
        drop(inner);
        let waits = Arc::clone(&name.waits);
        waits.enter(reply.position, Waiting { name, asked, slot, outbox, deadline });
        true
    }

    /// Whether anything is owed still.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().held() == 0
    }

    /// Waits until there is room for more operations; `false` if nobody takes answers any more.
    pub(crate) async fn room(&self) -> bool {
        loop {
            let mut freed = std::pin::pin!(self.room.notified());
            // Counts from here on, so that nothing is missed between look and wait.
            freed.as_mut().enable();
            {
                let inner = self.inner.lock();
                if inner.abandoned {
                    return false;
                }
                if inner.held() < self.held_max {
                    return true;
                }
            }
            freed.await;
        }
    }

    /// Waits for what is ready next; `None` once the outbox is closed and owes nothing.
    pub(crate) async fn next(&self) -> Option<Ready> {
        loop {
            let look_at = {
                let mut inner = self.inner.lock();
                let now = Instant::now();
                let ready = Ready {
                    overdue: self.overdue(&mut inner, now),
                    replies: std::mem::take(&mut inner.replies),
                    done: std::mem::take(&mut inner.done),
                };
                if !ready.is_empty() {
                    drop(inner);
                    self.room.notify_waiters();
                    return Some(ready);
                }
                if inner.closed && inner.open == 0 {
                    return None;
                }
                inner.look_at.unwrap_or(now + LOOK_EVERY)
            };
            tokio::select! {
                biased;
                () = self.ready.notified() => {}
                () = tokio::time::sleep_until(look_at) => {}
            }
        }
    }

    /// Takes out what nobody answered in time, if it is time to look.
    fn overdue(&self, inner: &mut Inner, now: Instant) -> Vec<Pending> {
        let mut late = Vec::new();
        if now < *inner.look_at.get_or_insert(now + LOOK_EVERY) {
            return late;
        }
        inner.look_at = Some(now + LOOK_EVERY);
        for at in 0..inner.places.len() {
            let place = &mut inner.places[at];
            if place.pending.as_ref().is_some_and(|p| p.deadline + OVERDUE < now) {
                late.extend(place.pending.take());
                inner.free.push(at as u32);
                inner.open -= 1;
                self.gauge.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        late
    }
}

/// A result as it travels.
pub(crate) fn result_of(tag: u64, result: Result<Response, Failure>) -> v1::OperationResult {
    let response = match result {
        Ok(response) => response,
        Err(failure) => Response::Failure(failure.into()),
    };
    v1::OperationResult { tag, response: Some(response) }
}

impl ReplySink for Outbox {
    fn reply(&self, tag: u64, result: Result<Reply, ProposeError>) {
        if result.as_ref().is_ok_and(|reply| self.waits(Slot(tag), reply)) {
            return;
        }
        let mut inner = self.inner.lock();
        let Some(pending) = self.close_slot(&mut inner, Slot(tag)) else { return };
        inner.replies.push((pending, result));
        drop(inner);
        self.ready.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(tag: u64) -> Pending {
        let deadline = Instant::now() + Duration::from_secs(60);
        Pending::of(tag, Kind::Touch, deadline)
    }

    fn unknown() -> Result<Reply, ProposeError> {
        Err(ProposeError::Unknown { why: "test" })
    }

    #[tokio::test]
    async fn answers_that_are_ready_together_leave_together() {
        let outbox = Outbox::new(8, Gauge::default());
        let first = outbox.open(pending(1));
        let second = outbox.open(pending(2));
        outbox.reply(Outbox::tag(second), unknown());
        outbox.reply(Outbox::tag(first), unknown());
        outbox.close(None);
        let ready = outbox.next().await.expect("two answers");
        assert_eq!(ready.replies.iter().map(|(p, _)| p.tag).collect::<Vec<_>>(), [2, 1]);
        assert!(outbox.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slot_is_answered_once_even_after_its_place_was_used_again() {
        let outbox = Outbox::new(8, Gauge::default());
        let first = outbox.open(pending(1));
        outbox.reply(Outbox::tag(first), unknown());
        let second = outbox.open(pending(2));
        assert_ne!(first, second);
        outbox.reply(Outbox::tag(first), unknown());
        outbox.complete(first, Err(Failure::from(jeton_wire::Violation::new("f", "d"))));
        let ready = outbox.next().await.expect("one answer");
        assert_eq!((ready.replies.len(), ready.done.len()), (1, 0));
        outbox.reply(Outbox::tag(second), unknown());
        let ready = outbox.next().await.expect("the other answer");
        assert_eq!(ready.replies[0].0.tag, 2);
    }

    #[tokio::test]
    async fn a_full_outbox_has_no_room_until_answers_left() {
        let outbox = Outbox::new(1, Gauge::default());
        let slot = outbox.open(pending(1));
        outbox.reply(Outbox::tag(slot), unknown());
        let waits = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished(), "ready answers that have not left take room");
        assert!(outbox.next().await.is_some());
        assert!(waits.await.expect("no panic"), "room was made");
        assert!(outbox.is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_for_room_hears_that_nobody_takes_answers() {
        let gauge = Gauge::default();
        let outbox = Outbox::new(1, gauge.clone());
        outbox.open(pending(1));
        assert_eq!(gauge.read(), 1);
        let waits = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.room().await }
        });
        tokio::task::yield_now().await;
        outbox.abandon();
        assert!(!waits.await.expect("no panic"));
        drop(outbox);
        assert_eq!(gauge.read(), 0, "what is abandoned is not outstanding");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_answers_is_overdue_after_its_deadline() {
        let outbox = Outbox::new(1, Gauge::default());
        let deadline = Instant::now() + Duration::from_secs(2);
        outbox.open(Pending { deadline, ..pending(7) });
        let ready = outbox.next().await.expect("the overdue one");
        assert_eq!(ready.overdue.len(), 1);
        assert!(Instant::now() >= deadline + OVERDUE);
    }
}
