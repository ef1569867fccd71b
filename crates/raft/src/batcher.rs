//! The pump: takes what waits and, as leader, proposes it in batches; as follower, forwards it.
//!
//! Only the leader clocks itself: a batch starts when fewer than two are in flight, or when a full
//! one waits (up to 32, for far quorums). What arrives meanwhile fills the next one: the sync and
//! the round trip in progress are the window, no timer is. Replies leave from the thread that
//! applies, straight into the callers' sinks.
//!
//! What can go wrong with a batch, and what its callers hear:
//!
//! | openraft says | it was | callers |
//! |---|---|---|
//! | `ForwardToLeader` (also a fresh leader before its first quorum) | not proposed | waits again |
//! | `LogEntryDiscarded`, or the callback is dropped | perhaps proposed | unknown |
//! | nothing until a caller's deadline | proposed | deadline exceeded, sent |

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jeton_core::command::Entry as CoreEntry;
use jeton_core::reply::Reply;
use jeton_core::{codec, limits};
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::errors::ProposeError;
use crate::forwarding::Link;
use crate::intake::{FLIGHTS_MIN, Waiting};
use crate::standing::{Health, Role, Standing};
use crate::types::{Applied, Callback, Proposal, TypeConfig};

/// Full batches in flight at most.
const FLIGHTS_MAX: usize = 32;
/// How often deadlines are looked at while anything waits.
const TICK: Duration = Duration::from_millis(20);
/// Pause after the leader, or openraft, turned commands away.
const TURNED_AWAY_PAUSE: Duration = Duration::from_millis(5);
/// Batches that were proposed and are not answered yet.
#[derive(Default)]
pub(crate) struct Flights {
    open: Mutex<HashMap<u64, Arc<Flight>>>,
    next: AtomicU64,
}

struct Flight {
    waiting: Mutex<Vec<Option<Waiting>>>,
    earliest: Instant,
}

impl Flights {
    pub(crate) fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    /// A flight that never lands: clients are never quiet.
    #[cfg(test)]
    pub(crate) fn start_endless(&self) {
        self.start(Vec::new());
    }

    fn start(&self, batch: Vec<Waiting>) -> (u64, Arc<Flight>) {
        let earliest = batch.iter().map(|waiting| waiting.deadline).min();
        let flight = Arc::new(Flight {
            earliest: earliest.unwrap_or_else(Instant::now),
            waiting: Mutex::new(batch.into_iter().map(Some).collect()),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(number, Arc::clone(&flight));
        (number, flight)
    }

    fn expired(&self, now: Instant) -> Vec<Waiting> {
        let late: Vec<Arc<Flight>> = {
            let open = self.open.lock();
            open.values().filter(|flight| flight.earliest <= now).cloned().collect()
        };
        let mut out = Vec::new();
        for flight in late {
            for slot in flight.waiting.lock().iter_mut() {
                if slot.as_ref().is_some_and(|waiting| waiting.deadline <= now) {
                    out.extend(slot.take());
                }
            }
        }
        out
    }
}

/// Brings a batch's outcome to its callers exactly once, also when openraft drops it.
struct Landing {
    engine: Arc<Engine>,
    number: u64,
    flight: Arc<Flight>,
    landed: bool,
}

impl Landing {
    fn land(mut self, result: ClientWriteResult<TypeConfig>) {
        self.landed = true;
        match result {
            Ok(written) => self.reply(written.data),
            Err(ClientWriteError::ForwardToLeader(_)) => {
                self.engine.turned_away.store(true, Ordering::Release);
                self.engine.intake.give_back(self.rest());
            }
            Err(_) => self.unknown("the leader changed"),
        }
        self.close();
    }

    fn reply(&self, applied: Applied) {
        let mut slots = std::mem::take(&mut *self.flight.waiting.lock());
        debug_assert_eq!(slots.len(), applied.replies.len(), "one reply for each command");
        let mut replies = applied.replies.into_iter();
        for slot in &mut slots {
            let reply: Option<Reply> = replies.next();
            if let Some(waiting) = slot.take() {
                let result = reply.ok_or(ProposeError::Unknown { why: "the reply is missing" });
                self.engine.answer(waiting, result);
            }
        }
    }

    fn rest(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.flight.waiting.lock()).into_iter().flatten().collect()
    }

    fn unknown(&self, why: &'static str) {
        for waiting in self.rest() {
            self.engine.answer(waiting, Err(ProposeError::Unknown { why }));
        }
    }

    fn close(&self) {
        self.engine.flights.open.lock().remove(&self.number);
        self.engine.intake.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.engine.intake.more.notify_one();
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.landed {
            self.unknown("consensus stopped");
            self.close();
        }
    }
}

/// The pump's own memory.
#[derive(Default)]
struct Pump {
    /// The term that this node leads in.
    leading: Option<u64>,
    link: Option<Link>,
    /// Streams to former leaders that still owe answers.
    draining: Vec<Link>,
}

impl Pump {
    fn links(&self) -> impl Iterator<Item = &Link> {
        self.link.iter().chain(&self.draining)
    }

    /// The leader has changed: the stream to the old one is kept until it has answered.
    fn retire_link(&mut self) {
        self.draining.extend(self.link.take());
        self.draining.retain(|link| !link.is_idle());
    }
}

impl Engine {
    /// Runs the pump until the node stops.
    pub(crate) async fn run_pump(self: Arc<Self>) {
        let mut standing = self.standing.subscribe();
        let mut health = self.health.subscribe();
        let mut pump = Pump::default();
        loop {
            self.answer_expired(&pump);
            let now = standing.borrow_and_update().clone();
            self.step(&mut pump, &now).await;
            if matches!(*health.borrow_and_update(), Health::Failed(_)) {
                self.refuse_waiting();
            }
            if self.turned_away.swap(false, Ordering::AcqRel) {
                tokio::time::sleep(TURNED_AWAY_PAUSE).await;
                continue;
            }
            let idle = self.is_idle(&pump);
            tokio::select! {
                biased;
                changed = standing.changed() => if changed.is_err() { return },
                () = self.intake.more.notified() => {}
                () = tokio::time::sleep(TICK), if !idle => {}
                changed = health.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn step(self: &Arc<Self>, pump: &mut Pump, standing: &Standing) {
        if !standing.leads() && pump.leading.take().is_some() {
            self.stamps.change_of_leader(None);
        }
        match &standing.role {
            Role::Leader => {
                pump.retire_link();
                if pump.leading != Some(standing.term) {
                    self.stamps.change_of_leader(Some(Instant::now()));
                    self.digests.lock().clear();
                    pump.leading = Some(standing.term);
                }
                self.propose_waiting(standing).await;
            }
            Role::Follower { leader, member } => {
                self.turn_away_foreign();
                if pump.link.as_ref().is_some_and(|link| !link.serves(*leader)) {
                    pump.retire_link();
                }
                self.forward_waiting(&mut pump.link, *leader, member).await;
            }
            Role::Nobody => {
                pump.retire_link();
                self.turn_away_foreign();
            }
        }
    }

    fn turn_away_foreign(&self) {
        let retry_after = TURNED_AWAY_PAUSE;
        for waiting in self.intake.foreign() {
            self.answer(waiting, Err(ProposeError::NotProposed { retry_after }));
        }
    }

    fn refuse_waiting(&self) {
        let why = self.not_serving().unwrap_or_else(|| "it failed".into());
        for waiting in self.intake.close() {
            self.answer(waiting, Err(ProposeError::NotServing { why: Arc::clone(&why) }));
        }
    }

    fn is_idle(&self, pump: &Pump) -> bool {
        self.intake.waiting().0 == 0 && self.flights.is_empty() && pump.links().all(Link::is_idle)
    }

    fn answer_expired(&self, pump: &Pump) {
        let now = Instant::now();
        for waiting in self.intake.expired(now) {
            self.answer(waiting, Err(ProposeError::DeadlineExceeded { sent: false }));
        }
        let sent = self.flights.expired(now).into_iter();
        for waiting in sent.chain(pump.links().flat_map(|link| link.expired(now))) {
            self.answer(waiting, Err(ProposeError::DeadlineExceeded { sent: true }));
        }
    }

    async fn propose_waiting(self: &Arc<Self>, standing: &Standing) {
        loop {
            let (waiting, full) = self.intake.waiting();
            let in_flight = self.intake.in_flight.load(Ordering::Acquire);
            let starts = in_flight < FLIGHTS_MIN || (full && in_flight < FLIGHTS_MAX);
            if waiting == 0 || !starts || self.turned_away.load(Ordering::Acquire) {
                return;
            }
            let now = Instant::now();
            self.stamps.report(self.id, self.clock.wall(), now);
            if !self.stamps.knows_time(&standing.configs, now) {
                // The voters report as soon as they know this leader, and that wakes us.
                return;
            }
            let Some(stamp) = self.stamps.stamp(&standing.configs, self.machine_clock(), now)
            else {
                return;
            };
            let batch = self.intake.take(limits::BATCH_COMMANDS_MAX, limits::BATCH_BYTES_MAX);
            if batch.is_empty() {
                return;
            }
            self.launch(batch, stamp).await;
        }
    }

    async fn launch(self: &Arc<Self>, mut batch: Vec<Waiting>, stamp: jeton_core::ids::UnixMs) {
        // Read after the last of them has come in, however long this thread stood still before: a
        // lease must not begin before it was asked for, or it ends before its holder's deadline.
        let now = Instant::now();
        for waiting in &mut batch {
            waiting.age(now);
        }
        let entry = Arc::new(CoreEntry {
            stamp,
            lease_advance: self.stamps.lease_advance(now),
            commands: batch.iter().map(|waiting| Arc::clone(&waiting.command)).collect(),
        });
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.counters.commands.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.intake.in_flight.fetch_add(1, Ordering::AcqRel);
        let (number, flight) = self.flights.start(batch);
        let landing = Landing { engine: Arc::clone(self), number, flight, landed: false };
        let proposal = Proposal { bytes: codec::encode_entry(&entry), entry: Some(entry) };
        let callback = Callback(Box::new(move |result| landing.land(result)));
        // An error means that openraft has stopped; it has dropped the callback, which answered.
        if let Err(error) = self.raft.client_write_ff(proposal, Some(callback)).await {
            tracing::debug!(%error, "nothing can be proposed any more");
        }
    }
}
