//! What a node does by itself: clock reports, digests and sweeps, checkpoints, bases, purging.
//!
//! Space is given back in this order, each step durable before the next: checkpoint (state up to
//! `i`), base (file up to `i`), openraft told of it, log purged up to `i`. A crash between any two
//! leaves more on disk than needed, never less.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::command::{Command, Operation, Sweep};
use jeton_core::limits;
use jeton_core::reply::{Done, Reply};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;

use crate::clock::skew_ms;
use crate::config::millis;
use crate::digests::differs;
use crate::engine::Engine;
use crate::errors::ProposeError;
use crate::node::Awaited;
use crate::peer::handler::{ClockReport, ClockVerdict, NotLeader, PeerLinks};
use crate::standing::{Health, Role};
use crate::types::NodeId;

/// Members report to the leader this often.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A report that failed is tried again after this long: a new leader needs them to tell the time.
const REPORT_RETRY: Duration = Duration::from_millis(50);
/// A member that has not reported for so long is said to be gone.
const ABSENT_AFTER: Duration = Duration::from_secs(3);
/// Digests in one report.
const DIGESTS_SENT: usize = 16;
/// Log that is kept for members that are behind, beyond the base. More than this, and they are sent
/// the base instead.
const LAGGARDS_LOG_BYTES: u64 = 1024 * 1024 * 1024;
/// When a sweep found nothing, the next one waits this many times longer.
const SWEEP_IDLE_FACTOR: u32 = 10;
/// Periods that a sweep waits for a moment without clients. Under load that never ends, space must
/// come back all the same.
const SWEEP_PUT_OFF_MAX: u32 = 5;
/// Under load, sweeps rest this many times as long as they took.
const SWEEP_REST_FACTOR: u32 = 3;
/// Proposals of our own wait this long at most.
const OWN_DEADLINE: Duration = Duration::from_secs(5);

/// Members that the leader does not hear of.
#[derive(Default)]
struct Absent {
    /// Since when this node leads.
    since: Option<Instant>,
    nodes: BTreeSet<NodeId>,
}

impl Engine {
    /// Reports this node's clock, once a second and whenever the leader changes.
    pub(crate) async fn run_reports(self: Arc<Self>) {
        let mut standing = self.standing.subscribe();
        let mut absent = Absent::default();
        loop {
            let role = standing.borrow_and_update().role.clone();
            if role != Role::Leader {
                absent = Absent::default();
            }
            let told = match role {
                Role::Leader => {
                    self.judge_report(self.own_report());
                    self.look_for_absent(&mut absent);
                    true
                }
                Role::Follower { leader, member } => {
                    let verdict = self.peers.report(leader, &member, self.own_report()).await;
                    match &verdict {
                        Ok(verdict) => self.hear_verdict(verdict),
                        Err(error) => tracing::debug!(%error, "the leader took no report"),
                    }
                    verdict.is_ok()
                }
                Role::Nobody => true,
            };
            let pause = if told { REPORT_EVERY } else { REPORT_RETRY };
            tokio::select! {
                biased;
                changed = standing.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Says once of each member that it is gone, and once that it is back.
    fn look_for_absent(&self, absent: &mut Absent) {
        let now = Instant::now();
        let since = *absent.since.get_or_insert(now);
        let members = Arc::clone(&self.standing.borrow().members);
        absent.nodes.retain(|node| members.iter().any(|(id, _)| id == node));
        for (node, member) in members.iter().filter(|(node, _)| *node != self.id) {
            let heard = self.stamps.heard(*node).map_or(since, |heard| heard.max(since));
            let peer = member.peer_addr.as_str();
            if now.saturating_duration_since(heard) >= ABSENT_AFTER {
                if absent.nodes.insert(*node) {
                    tracing::warn!(node, peer, "a member is not heard of: it is down or cut off");
                }
            } else if absent.nodes.remove(node) {
                tracing::info!(node, peer, "a member is heard of again");
            }
        }
    }

    fn own_report(&self) -> ClockReport {
        let digests = self.progress.digests.lock();
        let skipped = digests.len().saturating_sub(DIGESTS_SENT);
        ClockReport {
            node: self.id,
            wall: self.clock.wall(),
            applied: *self.progress.applied.borrow(),
            digests: digests.iter().skip(skipped).copied().collect(),
        }
    }

    /// What this node, as leader, makes of a member's report.
    pub(crate) fn take_report(&self, report: ClockReport) -> Result<ClockVerdict, NotLeader> {
        let standing = self.standing();
        if !standing.leads() {
            let leader = match standing.role {
                Role::Follower { leader, member } => Some((leader, member)),
                Role::Leader | Role::Nobody => None,
            };
            return Err(NotLeader { leader });
        }
        Ok(self.judge_report(report))
    }

    fn judge_report(&self, report: ClockReport) -> ClockVerdict {
        let now = Instant::now();
        let configs = Arc::clone(&self.standing.borrow().configs);
        self.stamps.report(report.node, report.wall, now);
        self.stamps.report(self.id, self.clock.wall(), now);
        let median = self.stamps.median(&configs, now);
        let (agreed, dispute) = {
            let mut book = self.digests.lock();
            book.note(report.node, &report.digests);
            (book.agreed(&configs), book.dispute(&configs))
        };
        let verdict = ClockVerdict { median, agreed };
        if let Some(position) = dispute {
            self.fence(format!("no majority agrees on the state at position {position}"));
        }
        self.hear_verdict(&verdict);
        // Batches may have been waiting for a majority of clocks.
        self.intake.more.notify_one();
        verdict
    }

    /// Compares this node's clock and digests with the majority's.
    fn hear_verdict(&self, verdict: &ClockVerdict) {
        let now = Instant::now();
        if let Some(median) = verdict.median {
            self.stamps.learn_median(median, now);
            self.judge_own_clock(skew_ms(self.clock.wall(), median));
        }
        let ours: Vec<_> = self.progress.digests.lock().iter().copied().collect();
        if let Some(position) = differs(ours, &verdict.agreed) {
            self.fence(format!("its state at position {position} differs from a majority's"));
        }
    }

    fn judge_own_clock(&self, skew_ms: i64) {
        let skewed = skew_ms.unsigned_abs() > millis(self.config.clock_skew_max);
        self.health.send_if_modified(|health| {
            let new = match (&*health, skewed) {
                (Health::Serving | Health::ClockSkewed { .. }, true) => {
                    Health::ClockSkewed { skew_ms }
                }
                (Health::ClockSkewed { .. }, false) => Health::Serving,
                _ => return false,
            };
            let changed = *health != new;
            *health = new;
            changed
        });
    }

    fn fence(&self, why: String) {
        self.health.send_if_modified(|health| {
            if matches!(health, Health::Fenced(_) | Health::Failed(_) | Health::Stopping) {
                return false;
            }
            tracing::error!(%why, "this node serves nothing any more");
            *health = Health::Fenced(why.into());
            true
        });
    }

    /// Hands leadership over while this node may not lead: clock skewed, fenced.
    pub(crate) async fn run_stepping_down(self: Arc<Self>) {
        let mut standing = self.standing.subscribe();
        let mut health = self.health.subscribe();
        loop {
            let unfit = matches!(
                *health.borrow_and_update(),
                Health::ClockSkewed { .. } | Health::Fenced(_)
            );
            if unfit && standing.borrow_and_update().leads() {
                self.hand_over().await;
            }
            tokio::select! {
                biased;
                changed = health.changed() => if changed.is_err() { return },
                changed = standing.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(REPORT_EVERY), if unfit => {}
            }
        }
    }

    /// As leader, proposes what keeps the state true and small.
    pub(crate) async fn run_proposals(self: Arc<Self>) {
        let (digest_every, sweep_every) = (self.config.digest_every, self.config.sweep_every);
        let mut digest_due = Instant::now() + digest_every;
        let mut sweep_due = Instant::now() + sweep_every;
        let mut digested = 0;
        let mut put_off = 0;
        loop {
            let due = match (digest_every.is_zero(), sweep_every.is_zero()) {
                (true, true) => return,
                (false, true) => digest_due,
                (true, false) => sweep_due,
                (false, false) => digest_due.min(sweep_due),
            };
            tokio::time::sleep_until(due).await;
            let now = Instant::now();
            let leads = self.standing.borrow().leads() && self.not_serving().is_none();
            if !digest_every.is_zero() && now >= digest_due {
                digest_due = now + digest_every;
                let applied = *self.progress.applied.borrow();
                // An idle cluster needs no new digest.
                if leads && applied > digested {
                    let done = self.propose_own(Operation::DigestAt).await;
                    digested = applied + u64::from(done.is_ok());
                }
            }
            if !sweep_every.is_zero() && now >= sweep_due {
                let pause = if leads { self.sweep(&mut put_off).await } else { sweep_every };
                sweep_due = Instant::now() + pause;
            }
        }
    }

    /// One sweep, unless clients need the log; returns how long the next one may wait. `put_off`
    /// counts how often clients came first.
    async fn sweep(self: &Arc<Self>, put_off: &mut u32) -> Duration {
        let period = self.config.sweep_every;
        let busy = self.clients_write();
        if busy && *put_off < SWEEP_PUT_OFF_MAX {
            *put_off += 1;
            return period;
        }
        let began = Instant::now();
        let sweep = Sweep { rows_max: limits::SWEEP_ROWS_MAX };
        let swept = self.propose_own(Operation::Sweep(sweep)).await.map(|reply| reply.outcome);
        match swept {
            // What was put off is not put off again before it is done.
            Ok(Ok(Done::Swept { more: true, .. })) if busy => began.elapsed() * SWEEP_REST_FACTOR,
            Ok(Ok(Done::Swept { more: true, .. })) => Duration::ZERO,
            Ok(Ok(Done::Swept { reclaimed: 0, .. })) => {
                *put_off = 0;
                period * SWEEP_IDLE_FACTOR
            }
            _ => {
                *put_off = 0;
                period
            }
        }
    }

    pub(crate) async fn propose_own(
        self: &Arc<Self>,
        operation: Operation,
    ) -> Result<Reply, ProposeError> {
        let command = Command { tenant: None, request: None, operation };
        Awaited::submit(self, command, Instant::now() + OWN_DEADLINE).await
    }

    /// Watches the storage, and makes bases when they are due.
    pub(crate) async fn run_storage(self: Arc<Self>) {
        loop {
            tokio::time::sleep(REPORT_EVERY).await;
            if let Err(error) = self.tidy_storage().await {
                tracing::error!(%error, "the state can't be made durable");
                self.health.send_replace(Health::Failed("its state can't be made durable".into()));
                // A node that can't write must not hold up the others: it stops taking part.
                if let Err(error) = self.raft.shutdown().await {
                    tracing::error!(%error, "consensus did not stop cleanly");
                }
                return;
            }
        }
    }

    async fn tidy_storage(&self) -> std::io::Result<()> {
        // Checkpoints run on a thread of the storage's; what stops them is known there.
        self.state.check().map_err(std::io::Error::other)?;
        let full = self.log.stats().full;
        if self.disk_full.swap(full, Ordering::AcqRel) != full {
            tracing::warn!(full, "the log's disk has become full, or has room again");
        }
        // A base is worth its writing once the log since the last one outweighs it.
        let (base, bytes) =
            self.state.base().map_or((0, 0), |base| (base.marker.index, base.bytes));
        if self.log.bytes_since(base) >= self.config.base_bytes_min.max(bytes) {
            self.rebase().await?;
        }
        Ok(())
    }

    /// Builds a base and purges the log behind it.
    pub(crate) async fn rebase(&self) -> std::io::Result<()> {
        let began = Instant::now();
        if !self.machine.build_base().await? {
            return Ok(());
        }
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.base_micros.fetch_add(micros, Ordering::Relaxed);
        self.counters.bases.fetch_add(1, Ordering::Relaxed);
        let Some(base) = self.state.base() else { return Ok(()) };
        let stopped = |error: openraft::errors::Fatal<_>| std::io::Error::other(error.to_string());
        self.raft.trigger().snapshot().await.map_err(stopped)?;
        let seen = self.raft.wait(Some(Duration::from_secs(30)));
        let noticed = seen.metrics(
            |metrics| metrics.snapshot.is_some_and(|id| id.index() >= base.marker.index),
            "openraft notices the base",
        );
        if noticed.await.is_err() {
            return Ok(());
        }
        self.raft.trigger().purge_log(self.purge_upto(base.marker.index)).await.map_err(stopped)
    }

    /// As leader, keeps some log for members that lag; what the base holds may go otherwise.
    fn purge_upto(&self, base: u64) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else { return base };
        let slowest = replication.values().map(|id| id.as_ref().map_or(0, |id| id.index())).min();
        match slowest {
            Some(index) if self.log.bytes_since(index) <= LAGGARDS_LOG_BYTES => base.min(index),
            _ => base,
        }
    }
}
