//! What all parts of a running node share, and how a command finds its way: answered from a local
//! look, settled by a confirmed read, or queued to be proposed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jeton_core::command::{Command, Operation};
use jeton_core::ids::{ClusterId, UnixMs};
use jeton_core::machine::Meta;
use jeton_core::read::{self, Judged, Tenants};
use jeton_core::reply::{Refusal, Reply};
use jeton_core::tables::TablesError;
use jeton_storage::disk::Disk;
use jeton_storage::log::RaftLog;
use jeton_storage::state::{State, View};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::batcher::Flights;
use crate::clock::{Clock, Stamps};
use crate::config::NodeConfig;
use crate::digests::DigestBook;
use crate::errors::ProposeError;
use crate::intake::{Intake, ReplySink, Waiting, is_urgent};
use crate::peer::{Connector, Peers};
use crate::reads::{Confirmed, Reads};
use crate::standing::{Health, Standing};
use crate::state_machine::{MarkerForm, Progress, StateMachine};
use crate::types::{NodeId, Raft};

/// How often deadlines are looked at while rotations wait for a confirmed read.
const SETTLE_TICK: Duration = Duration::from_millis(50);

/// A running node, from within.
pub(crate) struct Engine {
    pub(crate) config: NodeConfig,
    pub(crate) cluster: ClusterId,
    pub(crate) id: NodeId,
    pub(crate) raft: Raft,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: RaftLog,
    pub(crate) state: State,
    pub(crate) machine: StateMachine,
    pub(crate) progress: Arc<Progress>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stamps: Stamps,
    pub(crate) intake: Intake,
    pub(crate) flights: Flights,
    pub(crate) reads: Reads,
    pub(crate) digests: Mutex<DigestBook>,
    pub(crate) settling: Mutex<Vec<Waiting>>,
    pub(crate) to_settle: Notify,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) health: watch::Sender<Health>,
    /// The last proposal or forward was turned away: the leader is not ready, or has moved.
    pub(crate) turned_away: AtomicBool,
    /// The log's disk is full: as leader, only revocations are taken.
    pub(crate) disk_full: AtomicBool,
    /// It has caught up with a confirmed leader since it started.
    pub(crate) caught_up: AtomicBool,
    pub(crate) counters: Counters,
    /// The marker that was looked at last, and what it says.
    pub(crate) seen_meta: Mutex<(Bytes, Arc<Meta>)>,
    /// Tenants as rotations find them.
    pub(crate) tenants: Mutex<Tenants>,
}

/// What has happened since the start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) collapsed: AtomicU64,
    pub(crate) bases: AtomicU64,
    /// Microseconds that building them took.
    pub(crate) base_micros: AtomicU64,
    /// Rounds that confirmed a read index.
    pub(crate) read_rounds: AtomicU64,
}

impl Engine {
    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    pub(crate) fn machine_clock(&self) -> UnixMs {
        UnixMs(self.progress.clock.load(Ordering::Acquire))
    }

    /// Why this node must not serve, if it must not.
    pub(crate) fn not_serving(&self) -> Option<Arc<str>> {
        match &*self.health.borrow() {
            Health::Serving | Health::ClockSkewed { .. } | Health::Stopping => None,
            Health::Fenced(why) | Health::Failed(why) => Some(Arc::clone(why)),
        }
    }

    /// The rows and counters of one moment.
    pub(crate) fn with_view<R>(
        &self,
        look: impl FnOnce(&View<'_>, &Meta) -> R,
    ) -> Result<R, TablesError> {
        let view = self.state.view();
        let meta = self.meta_of(&view)?;
        Ok(look(&view, &meta))
    }

    /// The machine's counters at a view: decoded once for all looks between two entries.
    fn meta_of(&self, view: &View<'_>) -> Result<Arc<Meta>, TablesError> {
        let Some(marker) = view.marker() else { return Ok(Arc::default()) };
        let mut seen = self.seen_meta.lock();
        let (bytes, meta) = &*seen;
        if std::ptr::eq::<[u8]>(&**bytes, &*marker.opaque) {
            return Ok(Arc::clone(meta));
        }
        let form = MarkerForm::decode(&marker.opaque).map_err(|e| TablesError(Box::new(e)))?;
        let meta = Arc::new(form.meta().clone());
        *seen = (marker.opaque.clone(), Arc::clone(&meta));
        Ok(meta)
    }

    /// Sends a client's command, which this node has held since `received`, on its way.
    pub(crate) fn submit(
        &self,
        command: Command,
        received: Instant,
        deadline: Instant,
        tag: u64,
        sink: Arc<dyn ReplySink>,
    ) {
        if let Some(why) = self.not_serving() {
            sink.reply(tag, Err(ProposeError::NotServing { why }));
            return;
        }
        let mut waiting = Waiting::new(Arc::new(command), deadline, tag, sink, None);
        waiting.since = received.min(waiting.since);
        // What this node has applied may be old, so a look decides only the way, but for the
        // limiter: a rate only ever looks slower from the past.
        let now = self.stamps.estimate(Instant::now()).unwrap_or_default();
        match self.judge(&waiting.command, now) {
            Ok(None | Some(Judged::Enter)) => match self.refused_for_space(&waiting) {
                Some(error) => self.answer(waiting, Err(error)),
                None => self.intake.push(waiting, true),
            },
            Ok(Some(Judged::Settled(reply))) => {
                if matches!(reply.outcome, Err(Refusal::RateLimited { .. })) {
                    self.answer(waiting, Ok(reply));
                } else {
                    self.settle([waiting]);
                }
            }
            Err(error) => self.fail_read(waiting, &error),
        }
    }

    /// On a full disk of the leader only revocations may still grow the log, from what is left in
    /// its last segment.
    pub(crate) fn refused_for_space(&self, waiting: &Waiting) -> Option<ProposeError> {
        let full = self.disk_full.load(Ordering::Acquire) && self.standing.borrow().leads();
        let refused = full && !is_urgent(&waiting.command);
        refused.then_some(ProposeError::DiskFull { node: self.id })
    }

    /// What the local state says to a rotation; `None` for any other command.
    fn judge(&self, command: &Command, now: UnixMs) -> Result<Option<Judged>, TablesError> {
        let (Operation::Rotate(rotate), Some(tenant), Some(request)) =
            (&command.operation, &command.tenant, &command.request)
        else {
            return Ok(None);
        };
        self.with_view(|view, meta| {
            let known = self.tenants.lock().look(view, tenant)?;
            let tenant = (tenant, known.as_ref());
            read::judge_rotation(view, meta, now.max(meta.clock), tenant, request, rotate).map(Some)
        })?
    }

    fn fail_read(&self, waiting: Waiting, error: &TablesError) {
        tracing::error!(%error, "the state can't be read");
        self.health.send_replace(Health::Failed("its state can't be read".into()));
        self.answer(
            waiting,
            Err(ProposeError::NotServing { why: "its state can't be read".into() }),
        );
    }

    /// Answers a command, and lets go of the equal ones that waited for it.
    pub(crate) fn answer(&self, waiting: Waiting, result: Result<Reply, ProposeError>) {
        if let Some(key) = &waiting.group {
            let group = self.intake.group(key);
            if !group.is_empty() {
                if result.is_ok() {
                    self.counters.collapsed.fetch_add(group.len() as u64, Ordering::Relaxed);
                    self.settle(group);
                } else {
                    // None of them was proposed, whatever became of the first.
                    for waiting in group {
                        self.intake.push(waiting, true);
                    }
                }
            }
        }
        waiting.sink.reply(waiting.tag, result);
    }

    /// Has rotations judged behind a confirmed read.
    pub(crate) fn settle(&self, rotations: impl IntoIterator<Item = Waiting>) {
        self.settling.lock().extend(rotations);
        self.to_settle.notify_one();
    }

    /// Judges the rotations that wait, one confirmed read for all that came before it was asked.
    /// While nobody confirms one, each still hears of its own deadline.
    pub(crate) async fn run_settling(self: Arc<Self>) {
        loop {
            self.to_settle.notified().await;
            let mut rotations = std::mem::take(&mut *self.settling.lock());
            let Some(latest) = rotations.iter().map(|waiting| waiting.deadline).max() else {
                continue;
            };
            let mut confirmed = std::pin::pin!(self.confirmed_round(latest));
            let confirmed = loop {
                tokio::select! {
                    biased;
                    confirmed = &mut confirmed => break confirmed,
                    () = tokio::time::sleep(SETTLE_TICK) => {
                        self.answer_late(&mut rotations);
                        let mut behind = std::mem::take(&mut *self.settling.lock());
                        self.answer_late(&mut behind);
                        self.settling.lock().extend(behind);
                    }
                }
            };
            match confirmed {
                Ok(confirmed) => {
                    for waiting in rotations {
                        self.settle_one(waiting, confirmed);
                    }
                }
                Err(error) => {
                    for waiting in rotations {
                        self.answer(waiting, Err((&error).into()));
                    }
                }
            }
        }
    }

    /// Answers those whose deadline has passed: none of them was proposed.
    fn answer_late(&self, rotations: &mut Vec<Waiting>) {
        let now = Instant::now();
        for late in rotations.extract_if(.., |waiting| waiting.deadline <= now) {
            self.answer(late, Err(ProposeError::DeadlineExceeded { sent: false }));
        }
    }

    /// Judges a rotation behind a confirmed round. The time since the round is added to both its
    /// stamp and the rotation's age: added to the age alone, the token would seem to have been
    /// presented earlier than it was, and grace would last as much longer as this node lags.
    fn settle_one(&self, mut waiting: Waiting, confirmed: Confirmed) {
        let now = Instant::now();
        if waiting.deadline <= now {
            self.answer(waiting, Err(ProposeError::DeadlineExceeded { sent: false }));
            return;
        }
        waiting.age(now);
        match self.judge(&waiting.command, confirmed.stamp_at(now)) {
            Ok(Some(Judged::Settled(reply))) => self.answer(waiting, Ok(reply)),
            // It changes something after all: on its own, since its equals were judged like it.
            Ok(Some(Judged::Enter) | None) => self.intake.push(waiting, false),
            Err(error) => self.fail_read(waiting, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jeton_core::command::{
        CreateFamily, CreateTenant, KeyMaterial, Origin, PresentedToken, RequestName, Rotate,
        TenantSettings,
    };
    use jeton_core::ids::{
        ClientId, DurationMs, FamilyId, Generation, Kid, RequestId, SecretDigest, SubjectId,
        TenantId,
    };
    use jeton_core::reply::Done;
    use jeton_core::tables::ReadTables;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::Seams;
    use crate::node::{Awaited, Node};
    use crate::peer::handler::ConfirmedIndex;

    const WAIT: Duration = Duration::from_secs(20);

    /// Wall time that stands where the test puts it.
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn wall(&self) -> UnixMs {
            UnixMs(self.0.load(Ordering::Acquire))
        }
    }

    struct Ear(mpsc::UnboundedSender<Result<Reply, ProposeError>>);

    impl ReplySink for Ear {
        fn reply(&self, _tag: u64, result: Result<Reply, ProposeError>) {
            self.0.send(result).unwrap();
        }
    }

    fn command(request: u8, operation: Operation) -> Command {
        let request = RequestName { id: RequestId([request; 16]), age: DurationMs(0) };
        Command { tenant: Some(TenantId::new("acme").unwrap()), request: Some(request), operation }
    }

    fn create_family() -> Operation {
        Operation::CreateFamily(Box::new(CreateFamily {
            family: FamilyId([1; 16]),
            opaque: false,
            digest: SecretDigest([0; 16]),
            subject: SubjectId::new("alice").unwrap(),
            client: ClientId::new("web").unwrap(),
            device: None,
            binding: Default::default(),
            ip: None,
            attributes: Vec::new(),
            payload: Default::default(),
            lifetime: None,
            idle: None,
            grace: Some(DurationMs::from_secs(1)),
            authenticated_at: None,
            cap: None,
            session: None,
            code: None,
        }))
    }

    /// The first token of the family, presented.
    fn rotate() -> Operation {
        let token = PresentedToken {
            kid: Kid(1),
            family: FamilyId([1; 16]),
            generation: Generation(0),
            digest: SecretDigest([0; 16]),
        };
        Operation::Rotate(Box::new(Rotate {
            token: token.into(),
            successor: SecretDigest([1; 16]),
            seal: bytes::Bytes::from_static(b"sealed"),
            losers: Default::default(),
            client: ClientId::new("web").unwrap(),
            binding: Default::default(),
            origin: Origin::default(),
        }))
    }

    async fn done(engine: &Engine, command: Command) -> Reply {
        let until = Instant::now() + WAIT;
        let reply = Awaited::submit(engine, command, until).await.unwrap();
        assert!(reply.outcome.is_ok(), "{reply:?}");
        reply
    }

    /// A node alone whose family's first token was rotated at the time that is given back.
    async fn rotated() -> (tempfile::TempDir, Node, Arc<Hand>, UnixMs) {
        let dir = tempfile::TempDir::new().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = NodeConfig::new(dir.path().join("data"), listen);
        config.sweep_every = Duration::from_millis(10);
        let clock = Arc::new(Hand(AtomicU64::new(1_700_000_000_000)));
        let seams = Seams { clock: Arc::clone(&clock) as _, ..Seams::default() };
        let node = Node::start(config, seams).await.unwrap();
        node.wait_ready(Instant::now() + WAIT).await.unwrap();
        let settings = TenantSettings::default();
        let tenant = CreateTenant { settings, key: KeyMaterial([7; 32]) };
        done(node.engine(), command(1, Operation::CreateTenant(tenant))).await;
        done(node.engine(), command(2, create_family())).await;
        let at = done(node.engine(), command(3, rotate())).await.at;
        (dir, node, clock, at)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn catching_up_with_a_confirmed_read_makes_no_grace_longer() {
        let (_dir, node, clock, rotated_at) = rotated().await;
        // Presented half a second too late; then this node lagged for two seconds.
        let confirmed = rotated_at.plus(DurationMs(1_500));
        let sent = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        clock.0.store(confirmed.plus(DurationMs(2_000)).0, Ordering::Release);
        let (sender, mut heard) = mpsc::unbounded_channel();
        let until = Instant::now() + WAIT;
        let shown = Arc::new(command(4, rotate()));
        let mut waiting = Waiting::new(shown, until, 0, Arc::new(Ear(sender)), None);
        waiting.since = sent;
        let index = ConfirmedIndex { index: 0, stamp: confirmed };
        node.engine().settle_one(waiting, Confirmed { index, sent });
        let reply = heard.recv().await.unwrap().unwrap();
        assert!(matches!(reply.outcome, Err(Refusal::Reused(_))), "{reply:?}");
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn time_that_a_caller_was_held_before_is_part_of_the_age() {
        let (_dir, node, clock, rotated_at) = rotated().await;
        // Presented in grace; then held for two seconds before it got here.
        clock.0.store(rotated_at.plus(DurationMs(2_500)).0, Ordering::Release);
        let received = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        let (sender, mut heard) = mpsc::unbounded_channel();
        let until = Instant::now() + WAIT;
        node.submit(command(4, rotate()), received, until, 0, Arc::new(Ear(sender)));
        let reply = heard.recv().await.unwrap().unwrap();
        assert!(matches!(reply.outcome, Ok(Done::Replayed(_))), "{reply:?}");
        node.shutdown().await;
    }

    /// Remembered replies in the rows.
    fn remembered(node: &Node) -> usize {
        let rows = node.view(|view, _| view.scan(&[0x41], &[0x42], 1_000));
        rows.unwrap().len()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn load_that_never_ends_does_not_keep_space_from_coming_back() {
        let (_dir, node, clock, at) = rotated().await;
        assert!(remembered(&node) > 0);
        node.engine().flights.start_endless();
        clock.0.store(at.plus(DurationMs::from_secs(3_600)).0, Ordering::Release);
        let until = Instant::now() + Duration::from_secs(5);
        while remembered(&node) > 0 {
            assert!(Instant::now() < until, "nothing was swept in five hundred periods");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
