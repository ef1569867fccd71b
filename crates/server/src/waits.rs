//! Those who wait at this node: for a lock, or for the result of a single flight.
//!
//! ```text
//!  outbox ◀─ slot stays open ──┐
//!  reply QUEUED ──▶ by place ──┤◀── notice of apply: settled ── answered at once
//!  Await        ──▶ by lock  ──┘◀── notice of apply: changed ── looked at by the task
//! ```
//!
//! Who waits for a lock has a place in the replicated queue; what is kept here is only who is to be
//! told. The grant is made by whichever command finds the lock free, and every node that applies
//! it tells its own. A node that goes down forgets nothing that matters: the caller asks another
//! one under the same name, and finds its place or its grant.
//!
//! When a caller is lost here (gone, or out of time), its place is taken back after a moment,
//! unless it has asked elsewhere meanwhile: apply judges that, by where it was asked last.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jeton_core::command::{Command, Operation, Withdraw};
use jeton_core::ids::{LockName, Position, RequestId, TenantId};
use jeton_core::read;
use jeton_core::reply::{Event, Flight, LeaseNotice, Refusal, Reply};
use jeton_raft::{EventSink, ProposeError, ReplySink};
use jeton_wire::lock::{self, FlightAsked};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::desk::{Desk, unreadable};
use crate::events::LoggedEvents;
use crate::failures;
use crate::outbox::{Outbox, Slot};
use crate::service::cluster::why_not_ready;

/// How often those who wait are looked through: for callers that have gone, and for deadlines.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A caller that was lost here has this long to ask another node before its place is given up.
const LINGER: Duration = Duration::from_secs(2);
/// A node that has not been ready for so long sends those who wait to another one.
const UNREADY_MAX: Duration = Duration::from_secs(2);
/// How long taking back a place may take.
const WITHDRAW_DEADLINE: Duration = Duration::from_secs(30);

/// What an `Acquire` is known by, and where its wait is kept.
#[derive(Clone)]
pub(crate) struct AcquireName {
    pub(crate) tenant: TenantId,
    pub(crate) lock: LockName,
    pub(crate) request: RequestId,
    pub(crate) waits: Arc<Waits>,
}

impl std::fmt::Debug for AcquireName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} by {}", self.lock, self.tenant, self.request)
    }
}

/// One who waits for a lock.
pub(crate) struct Waiting {
    pub(crate) name: AcquireName,
    /// Where it was asked through this node.
    pub(crate) asked: Position,
    pub(crate) slot: Slot,
    pub(crate) outbox: Weak<Outbox>,
    pub(crate) deadline: Instant,
}

/// One who waits for a result.
pub(crate) struct Awaiting {
    pub(crate) tenant: TenantId,
    pub(crate) asked: FlightAsked,
    pub(crate) slot: Slot,
    pub(crate) outbox: Weak<Outbox>,
    pub(crate) until: Instant,
}

#[derive(Default)]
struct Inner {
    acquires: HashMap<Position, Vec<Waiting>>,
    flights: HashMap<(TenantId, LockName), Vec<Awaiting>>,
    /// Places whose notice may have come before they were entered here.
    fresh: Vec<Position>,
    changed: HashSet<(TenantId, LockName)>,
    jumped: bool,
    lingering: Vec<(Instant, TenantId, Withdraw)>,
    closed: bool,
}

impl Inner {
    fn is_empty(&self) -> bool {
        self.acquires.is_empty() && self.flights.is_empty() && self.lingering.is_empty()
    }

    fn linger(&mut self, waiting: Waiting) {
        let AcquireName { tenant, lock, request, .. } = waiting.name;
        let withdraw = Withdraw { lock, acquire: request, asked: Some(waiting.asked) };
        self.lingering.push((Instant::now() + LINGER, tenant, withdraw));
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Waits {
    inner: Mutex<Inner>,
    more: Notify,
}

impl Waits {
    /// Enters one who was given the place `place`. Its slot stays open until it is settled.
    pub(crate) fn enter(&self, place: Position, waiting: Waiting) {
        let mut inner = self.inner.lock();
        if inner.closed {
            drop(inner);
            if let Some(outbox) = waiting.outbox.upgrade() {
                outbox.complete(waiting.slot, Err(failures::shutting_down()));
            }
            return;
        }
        inner.fresh.push(place);
        inner.acquires.entry(place).or_default().push(waiting);
        drop(inner);
        self.more.notify_one();
    }

    /// Enters one who waits for a result, and has it looked at once more.
    pub(crate) fn enter_flight(&self, awaiting: Awaiting) {
        let key = (awaiting.tenant.clone(), awaiting.asked.lock.clone());
        let mut inner = self.inner.lock();
        if inner.closed {
            drop(inner);
            if let Some(outbox) = awaiting.outbox.upgrade() {
                outbox.complete(awaiting.slot, Err(failures::shutting_down()));
            }
            return;
        }
        inner.changed.insert(key.clone());
        inner.flights.entry(key).or_default().push(awaiting);
        drop(inner);
        self.more.notify_one();
    }

    /// Answers whoever waits at that place.
    fn settle(&self, place: Position, reply: &Reply) {
        let mut inner = self.inner.lock();
        for waiting in inner.acquires.remove(&place).unwrap_or_default() {
            match waiting.outbox.upgrade().filter(|outbox| !outbox.is_abandoned()) {
                Some(outbox) => outbox.reply(Outbox::tag(waiting.slot), Ok(reply.clone())),
                // A grant for nobody.
                None if reply.outcome.is_ok() => inner.linger(waiting),
                None => {}
            }
        }
    }

    /// From now on nobody waits here: their callers go to another node, and keep their places.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let gone = (std::mem::take(&mut inner.acquires), std::mem::take(&mut inner.flights));
        drop(inner);
        let acquires = gone.0.into_values().flatten().map(|w| (w.outbox, w.slot));
        let flights = gone.1.into_values().flatten().map(|a| (a.outbox, a.slot));
        for (outbox, slot) in acquires.chain(flights) {
            if let Some(outbox) = outbox.upgrade() {
                outbox.complete(slot, Err(failures::shutting_down()));
            }
        }
    }

    /// This node can't tell what happens: those who wait ask another one.
    fn send_elsewhere(&self) {
        let mut inner = self.inner.lock();
        let gone: Vec<Waiting> = inner.acquires.drain().flat_map(|(_, waiting)| waiting).collect();
        for waiting in gone {
            if let Some(outbox) = waiting.outbox.upgrade() {
                let why = "this node has lost touch with the cluster";
                outbox.reply(Outbox::tag(waiting.slot), Err(ProposeError::Unknown { why }));
            }
            inner.linger(waiting);
        }
    }

    /// Gives up callers that have gone or run out of time, and those whose moment to come back has
    /// passed.
    fn look_through(&self, desk: &Desk) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut lost = Vec::new();
        for waiting in inner.acquires.values_mut() {
            lost.extend(waiting.extract_if(.., |waiting| {
                waiting.deadline <= now
                    || waiting.outbox.upgrade().is_none_or(|outbox| outbox.is_abandoned())
            }));
        }
        inner.acquires.retain(|_, waiting| !waiting.is_empty());
        for waiting in lost {
            if let Some(outbox) = waiting.outbox.upgrade() {
                outbox.complete(waiting.slot, Err(failures::overdue()));
            }
            inner.linger(waiting);
        }
        for awaiting in inner.flights.values_mut() {
            awaiting.retain(|a| a.outbox.upgrade().is_some_and(|o| !o.is_abandoned()));
        }
        inner.flights.retain(|_, awaiting| !awaiting.is_empty());
        for (_, tenant, wish) in inner.lingering.extract_if(.., |(until, ..)| *until <= now) {
            let operation = Operation::Withdraw(wish);
            let command = Command { tenant: Some(tenant), request: None, operation };
            desk.node.submit(command, now, now + WITHDRAW_DEADLINE, 0, Arc::new(Unheard));
        }
    }

    /// Looks up what may have become of these places before anybody listened.
    fn look_at_places(&self, desk: &Desk, places: Vec<Position>) {
        for place in places {
            let name = self.inner.lock().acquires.get(&place).map(|w| w[0].name.clone());
            let Some(name) = name else { continue };
            let AcquireName { tenant, lock, request, .. } = &name;
            let seen = desk
                .node
                .view(|view, meta| read::settled(view, meta, tenant, lock, *request, place));
            match seen {
                Ok(Some(reply)) => self.settle(place, &reply),
                Ok(None) => {}
                // Told to the operator there; the caller hears of its deadline.
                Err(error) => drop(unreadable(&error)),
            }
        }
    }

    /// Looks at what those want who wait for the result of these flights.
    fn look_at_flights(&self, desk: &Desk, keys: impl IntoIterator<Item = (TenantId, LockName)>) {
        let now = Instant::now();
        for key in keys {
            let awaiting = self.inner.lock().flights.remove(&key).unwrap_or_default();
            let mut left = Vec::new();
            for awaiting in awaiting {
                let Some(outbox) = awaiting.outbox.upgrade() else { continue };
                let (lock, after) = (&awaiting.asked.lock, awaiting.asked.after);
                let seen = desk.node.view(|view, meta| {
                    let flight = read::flight(view, meta, &awaiting.tenant, lock, after)?;
                    Ok((meta.position, flight))
                });
                match seen {
                    Ok((_, Ok(Flight::Flying(_)))) if awaiting.until > now => left.push(awaiting),
                    Ok((position, flight)) => {
                        let response = lock::flight_response(position, None, flight);
                        outbox.complete(awaiting.slot, response);
                    }
                    Err(error) => outbox.complete(awaiting.slot, Err(unreadable(&error))),
                }
            }
            if !left.is_empty() {
                self.inner.lock().flights.entry(key).or_default().extend(left);
            }
        }
    }

    /// When there is something to look at next, if nobody tells.
    fn next_look(&self, tick: Instant) -> Option<Instant> {
        let inner = self.inner.lock();
        if inner.is_empty() {
            return None;
        }
        let until = inner.flights.values().flatten().map(|awaiting| awaiting.until).min();
        Some(until.map_or(tick, |until| until.min(tick)))
    }

    /// Waits for this node's callers, until the server ends.
    pub(crate) async fn run(self: Arc<Self>, desk: Arc<Desk>) {
        let mut tick = Instant::now();
        let mut ready_at = Instant::now();
        loop {
            let next = self.next_look(tick);
            tokio::select! {
                biased;
                () = self.more.notified() => {}
                () = tokio::time::sleep_until(next.unwrap_or(tick)), if next.is_some() => {}
            }
            let now = Instant::now();
            let (fresh, changed) = {
                let mut inner = self.inner.lock();
                let all = std::mem::take(&mut inner.jumped);
                let mut fresh = std::mem::take(&mut inner.fresh);
                let mut changed = std::mem::take(&mut inner.changed);
                let over = inner.flights.iter().filter(|(_, a)| a.iter().any(|a| a.until <= now));
                changed.extend(over.map(|(key, _)| key.clone()));
                if all {
                    fresh = inner.acquires.keys().copied().collect();
                    changed.extend(inner.flights.keys().cloned());
                }
                (fresh, changed)
            };
            self.look_at_places(&desk, fresh);
            self.look_at_flights(&desk, changed);
            if now < tick {
                continue;
            }
            tick = now + LOOK_EVERY;
            self.look_through(&desk);
            // After a time in which nobody waited, nobody has looked whether it was ready.
            if why_not_ready(&desk.node.status()).is_none() || next.is_none() {
                ready_at = now;
            } else if now.saturating_duration_since(ready_at) >= UNREADY_MAX {
                self.send_elsewhere();
            }
        }
    }
}

/// Nobody waits for the answer.
struct Unheard;

impl ReplySink for Unheard {
    fn reply(&self, _: u64, result: Result<Reply, ProposeError>) {
        match result.map(|reply| reply.outcome) {
            Ok(Ok(_) | Err(Refusal::TenantUnknown)) => {}
            // The wait's own deadline ends it then.
            other => tracing::debug!(?other, "a place was not given up"),
        }
    }
}

/// What the node tells: events to the log, notices to those who wait.
pub(crate) struct LeaseEvents {
    pub(crate) events: LoggedEvents,
    pub(crate) waits: Arc<Waits>,
}

impl EventSink for LeaseEvents {
    fn event(&self, event: Event) {
        self.events.event(event);
    }

    fn lease(&self, notice: LeaseNotice) {
        match notice {
            LeaseNotice::Settled { place, reply } => self.waits.settle(place, &reply),
            LeaseNotice::Changed { tenant, lock } => {
                let mut inner = self.waits.inner.lock();
                let key = (tenant, lock);
                if inner.flights.contains_key(&key) {
                    inner.changed.insert(key);
                    drop(inner);
                    self.waits.more.notify_one();
                }
            }
        }
    }

    fn jumped(&self) {
        self.waits.inner.lock().jumped = true;
        self.waits.more.notify_one();
    }
}
