//! Points to read at. A linearizable read needs a read index that a quorum confirmed *after* the
//! read began: one round asks for all readers that came before it was issued, on the leader by
//! openraft's ReadIndex, on a follower by a call to the leader. Then the node waits until it has
//! applied that index, and serves from its own rows.
//!
//! Leases are not used: after a restart a vote carries none, so a lease read could be stale.
//!
//! The age of what is read is the monotonic time since the confirmed round was *sent* whose index
//! this node has applied: no wall clock is in it. While someone reads with a bound, rounds leave
//! five times a second, so that such reads wait for nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::ids::{DurationMs, Position, UnixMs};
use openraft::ReadPolicy;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use crate::config::millis;
use crate::engine::Engine;
use crate::errors::{ProposeError, ReadError};
use crate::peer::handler::{ConfirmedIndex, PeerLinks};
use crate::standing::{Health, Role};

/// Rounds under way at once: the second leaves while the first is answered.
const ROUNDS_MAX: usize = 2;
/// A round that nobody answers is given up after this long, and another one is tried.
const ROUND_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause after a round that failed: leaders change in milliseconds, not microseconds.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// How often a round leaves by itself while someone reads with a bound on its age.
const REFRESH_EVERY: Duration = Duration::from_millis(200);
/// Someone does if someone did within this long.
const READERS_LINGER: Duration = Duration::from_secs(1);

/// A node has caught up when it applies within this long what was committed at its beginning.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(5);

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Sees everything that was acknowledged before it began.
    Linearizable,
    /// Sees at least what this position names: read your own writes.
    AtLeast(Position),
    /// Sees everything that was acknowledged this long before it began.
    Bounded(Duration),
}

/// A point at which this node may answer a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPoint {
    /// What the answer will reflect at least.
    pub position: Position,
    /// The time to judge lifetimes by.
    pub now: UnixMs,
    /// How long ago what this node holds was certainly the newest; `None` if that is not known.
    pub age: Option<Duration>,
}

/// A confirmed round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Confirmed {
    pub(crate) index: ConfirmedIndex,
    pub(crate) sent: Instant,
}

/// Readers that wait for a round.
pub(crate) struct Reads {
    waiting: Mutex<Vec<oneshot::Sender<Confirmed>>>,
    more: Notify,
    /// The newest round that this node has applied, too.
    reached: Mutex<Option<Confirmed>>,
    /// When someone last read with a bound.
    bounded_at: Mutex<Option<Instant>>,
    bounded: Notify,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            more: Notify::new(),
            reached: Mutex::new(None),
            bounded_at: Mutex::new(None),
            bounded: Notify::new(),
        }
    }
}

impl Reads {
    /// A read index confirmed after this call.
    pub(crate) async fn round(&self, deadline: Instant) -> Result<Confirmed, ReadError> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().push(sender);
        self.more.notify_one();
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(confirmed)) => Ok(confirmed),
            Ok(Err(_)) => Err(ReadError::Shutdown),
            Err(_) => Err(ReadError::DeadlineExceeded { why: "no quorum confirmed a leader" }),
        }
    }

    /// Someone reads with a bound.
    fn wanted(&self, now: Instant) {
        let before = self.bounded_at.lock().replace(now);
        if before.is_none_or(|before| now.saturating_duration_since(before) >= READERS_LINGER) {
            self.bounded.notify_one();
        }
    }

    fn read_lately(&self, now: Instant) -> bool {
        let at = *self.bounded_at.lock();
        at.is_some_and(|at| now.saturating_duration_since(at) < READERS_LINGER)
    }

    /// This node has applied what the round confirmed.
    fn reach(&self, confirmed: Confirmed) {
        let mut reached = self.reached.lock();
        if reached.is_none_or(|old| old.sent < confirmed.sent) {
            *reached = Some(confirmed);
        }
    }

    /// Drops those who wait: they hear that the node stops.
    pub(crate) fn close(&self) {
        self.waiting.lock().clear();
    }
}

impl Confirmed {
    /// Its stamp, carried on to `now`: late by as long as the round took, at most.
    pub(crate) fn stamp_at(&self, now: Instant) -> UnixMs {
        let passed = millis(now.saturating_duration_since(self.sent));
        self.index.stamp.plus(DurationMs(passed))
    }

    pub(crate) fn index(&self) -> ConfirmedIndex {
        self.index
    }
}

impl Engine {
    /// Issues rounds for as long as the node runs.
    pub(crate) async fn run_reads(self: Arc<Self>) {
        let rounds = Arc::new(Semaphore::new(ROUNDS_MAX));
        loop {
            self.reads.more.notified().await;
            let Ok(permit) = Arc::clone(&rounds).acquire_owned().await else { return };
            let waiting = std::mem::take(&mut *self.reads.waiting.lock());
            if waiting.is_empty() {
                continue;
            }
            let engine = Arc::clone(&self);
            tokio::spawn(async move {
                engine.run_round(waiting).await;
                drop(permit);
            });
        }
    }

    async fn run_round(&self, mut waiting: Vec<oneshot::Sender<Confirmed>>) {
        loop {
            let sent = Instant::now();
            let asked = tokio::time::timeout(ROUND_TIMEOUT, self.ask_once(sent)).await;
            if let Ok(Some(index)) = asked {
                let confirmed = Confirmed { index, sent };
                self.counters.read_rounds.fetch_add(1, Ordering::Relaxed);
                for reader in waiting {
                    // Its deadline may have passed meanwhile.
                    let _ = reader.send(confirmed);
                }
                return;
            }
            waiting.retain(|reader| !reader.is_closed());
            if waiting.is_empty() || *self.health.borrow() == Health::Stopping {
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// One attempt, by whichever way leads to the leader now.
    async fn ask_once(&self, sent: Instant) -> Option<ConfirmedIndex> {
        match self.standing().role {
            Role::Leader => {
                // A new leader must know the time first, or what expired while nobody led would
                // look alive.
                let configs = Arc::clone(&self.standing.borrow().configs);
                self.stamps.report(self.id, self.clock.wall(), sent);
                if !self.stamps.knows_time(&configs, sent) {
                    return None;
                }
                let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
                let index = linearizer.ok()?.read_log_id().index();
                Some(ConfirmedIndex {
                    index,
                    stamp: self.stamp(Instant::now()).unwrap_or_default(),
                })
            }
            Role::Follower { leader, member } => {
                let asked = self.peers.read_index(leader, &member, sent + ROUND_TIMEOUT).await;
                asked.inspect_err(|error| tracing::debug!(%error, "no read index")).ok()
            }
            Role::Nobody => None,
        }
    }

    /// The stamp that this node would make now as leader.
    pub(crate) fn stamp(&self, now: Instant) -> Option<UnixMs> {
        let configs = Arc::clone(&self.standing.borrow().configs);
        self.stamps.report(self.id, self.clock.wall(), now);
        self.stamps.stamp(&configs, self.machine_clock(), now)
    }

    /// A linearizable point.
    pub(crate) async fn confirmed(&self, deadline: Instant) -> Result<ReadPoint, ReadError> {
        let Confirmed { index, sent } = self.confirmed_round(deadline).await?;
        Ok(self.point(index.stamp, Some(sent.elapsed())))
    }

    /// A round that was confirmed after this call, and that this node has applied.
    pub(crate) async fn confirmed_round(&self, deadline: Instant) -> Result<Confirmed, ReadError> {
        let confirmed = self.reads.round(deadline).await?;
        self.applied(confirmed.index.index, deadline).await?;
        self.reads.reach(confirmed);
        Ok(confirmed)
    }

    /// Keeps what this node holds fresh while someone reads with a bound on its age.
    pub(crate) async fn run_refreshing(self: Arc<Self>) {
        loop {
            self.reads.bounded.notified().await;
            while self.reads.read_lately(Instant::now()) {
                let next = Instant::now() + REFRESH_EVERY;
                // Without a quorum what is held grows old, which readers are told.
                if let Err(ReadError::Shutdown) = self.confirmed_round(next).await {
                    return;
                }
                tokio::time::sleep_until(next).await;
            }
        }
    }

    /// A point of the asked consistency.
    pub(crate) async fn read_point(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<ReadPoint, ReadError> {
        if let Some(why) = self.not_serving() {
            return Err(ReadError::NotServing { why });
        }
        match consistency {
            Consistency::Linearizable => self.confirmed(deadline).await,
            Consistency::AtLeast(position) => self.at_least(position, deadline).await,
            Consistency::Bounded(age_max) => self.bounded(age_max, deadline).await,
        }
    }

    async fn at_least(&self, wanted: Position, deadline: Instant) -> Result<ReadPoint, ReadError> {
        let base = self.progress.base.load(Ordering::Acquire);
        let index = (wanted.0 >> Position::PLACE_BITS).saturating_sub(base);
        self.applied(index, deadline).await?;
        let reached = *self.reads.reached.lock();
        let estimate = self.stamps.estimate(Instant::now()).unwrap_or_default();
        Ok(self.point(estimate, reached.map(|last| last.sent.elapsed())))
    }

    async fn bounded(&self, age_max: Duration, deadline: Instant) -> Result<ReadPoint, ReadError> {
        self.reads.wanted(Instant::now());
        let reached = *self.reads.reached.lock();
        if let Some(reached) = reached
            && reached.sent.elapsed() <= age_max
        {
            return Ok(self.point(reached.index.stamp, Some(reached.sent.elapsed())));
        }
        // A round that is sent after the read began is fresher than any bound can ask for.
        self.confirmed(deadline).await
    }

    /// Waits until this node has caught up for the first time.
    pub(crate) async fn run_catching_up(self: Arc<Self>) {
        loop {
            match self.confirmed(Instant::now() + CAUGHT_UP_WITHIN).await {
                Ok(_) => break self.caught_up.store(true, Ordering::Release),
                Err(ReadError::Shutdown) => break,
                // No quorum yet, or much to apply.
                Err(error) => tracing::debug!(%error, "this node has not caught up yet"),
            }
        }
    }

    fn applied_now(&self) -> u64 {
        *self.progress.applied.borrow()
    }

    async fn applied(&self, index: u64, deadline: Instant) -> Result<(), ReadError> {
        if self.applied_now() >= index {
            return Ok(());
        }
        let mut applied = self.progress.applied.subscribe();
        let reached = applied.wait_for(|now| *now >= index);
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReadError::Shutdown),
            Err(_) => Err(ReadError::DeadlineExceeded { why: "this node lags behind" }),
        }
    }

    fn point(&self, stamp: UnixMs, age: Option<Duration>) -> ReadPoint {
        let position = self.progress.position.load(Ordering::Acquire);
        ReadPoint { position: Position(position), now: stamp.max(self.machine_clock()), age }
    }
}

impl From<&ReadError> for ProposeError {
    /// For commands that only a read could settle: none of them was proposed.
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::DeadlineExceeded { .. } => Self::DeadlineExceeded { sent: false },
            ReadError::Shutdown => Self::Shutdown,
            ReadError::NotServing { why } => Self::NotServing { why: Arc::clone(why) },
        }
    }
}
