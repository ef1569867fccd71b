//! Lease time: whose clock it is, and what it ends by itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use jeton_core::command::{Acquire, Command, Operation};
use jeton_core::ids::{DurationMs, Fence, HolderId, LockName, Position, UnixMs};
use jeton_core::read;
use jeton_core::reply::{Done, Event, LeaseNotice, Refusal, Reply};
use jeton_raft::{Clock, EventSink, Node, Seams, SystemClock};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::harness::{
    Cluster, Place, WAIT, command, create_tenant, deadline, done, insist, pause, tenant,
};

const HOUR: DurationMs = DurationMs::from_secs(3_600);

fn acquire(holder: &str, ttl: DurationMs, wait: DurationMs) -> Command {
    let (lock, holder) = (LockName::new("l").unwrap(), HolderId::new(holder).unwrap());
    command(Operation::Acquire(Acquire { lock, holder, ttl, wait }))
}

fn granted(reply: &Reply) -> Fence {
    match &reply.outcome {
        Ok(Done::Granted(granted)) => granted.fence,
        other => panic!("not granted: {other:?}"),
    }
}

/// What is left of the hold, as one who asks is told.
async fn left(node: &Node) -> DurationMs {
    let asked = acquire("other", HOUR, DurationMs(0));
    match insist(node, asked).await.outcome {
        Err(Refusal::Held { remaining, .. }) => remaining,
        other => panic!("not held: {other:?}"),
    }
}

/// Wall time that stands where the test puts it.
struct Hand(AtomicU64);

impl Clock for Hand {
    fn wall(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::Acquire))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_ends_no_lease() {
    let (place, listener) = Place::new().await;
    let clock = Arc::new(Hand(AtomicU64::new(1_700_000_000_000)));
    let seams = Seams { clock: Arc::clone(&clock) as _, ..place.seams(Some(listener)) };
    let node = Node::start(place.config(), seams).await.unwrap();
    node.wait_ready(deadline()).await.unwrap();
    done(&node, create_tenant(0)).await;
    granted(&done(&node, acquire("a", HOUR, DurationMs(0))).await);
    let before = left(&node).await;
    // Ten hours ahead, and the machine's clock goes along: there is no other voter.
    let ahead = clock.0.load(Ordering::Acquire) + 10 * HOUR.0;
    clock.0.store(ahead, Ordering::Release);
    let until = deadline();
    while node.view(|_, meta| Ok(meta.clock)).unwrap().0 < ahead {
        // Some entry, so that the clock moves.
        insist(&node, acquire("b", HOUR, DurationMs(0))).await;
        pause(until).await;
    }
    assert!(left(&node).await.0 > before.0 - HOUR.0 / 2, "it was counted by the wall clock");
    node.shutdown().await;
}

/// A clock that runs an hour ahead of everybody's.
struct HourAhead;

impl Clock for HourAhead {
    fn wall(&self) -> UnixMs {
        UnixMs(SystemClock.wall().0 + HOUR.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failovers_and_a_clock_that_is_ahead_never_make_lease_time_faster_than_time() {
    let mut cluster = Cluster::start_seamed(3, |at, seams| {
        if at == 0 {
            seams.clock = Arc::new(HourAhead);
        }
    })
    .await;
    let began = Instant::now();
    insist(&cluster.nodes[1], create_tenant(0)).await;
    granted(&insist(&cluster.nodes[1], acquire("a", HOUR, DurationMs(0))).await);
    for round in 0..4 {
        let leader = cluster.leader().await;
        if round % 2 == 0 {
            // No quorum, and nobody counts.
            let gone = (leader + 1) % 3;
            cluster.nodes[leader].shutdown().await;
            cluster.nodes[gone].shutdown().await;
            cluster.restart(leader).await;
            cluster.restart(gone).await;
        } else {
            let heir = cluster.nodes[(leader + 1) % 3].id();
            // The one whose clock is wrong gives leadership back at once.
            let _ = cluster.nodes[leader].transfer_leader(heir, deadline()).await;
        }
        let remaining = left(&cluster.nodes[(leader + 1) % 3]).await;
        let counted = HOUR.0 - remaining.0;
        let passed = u64::try_from(began.elapsed().as_millis()).unwrap();
        assert!(counted <= passed, "{counted} ms were counted in {passed} ms");
    }
    cluster.stop().await;
}

/// A clock that can be shut: whoever looks at it then stands still, but for the test itself.
struct Gate {
    test: ThreadId,
    shut: Mutex<bool>,
    changed: Condvar,
    stopped: AtomicU64,
}

impl Gate {
    fn new() -> Self {
        let test = std::thread::current().id();
        Self { test, shut: Mutex::default(), changed: Condvar::new(), stopped: AtomicU64::new(0) }
    }

    fn shut(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.changed.notify_all();
    }
}

impl Clock for Gate {
    fn wall(&self) -> UnixMs {
        let mut shut = self.shut.lock().unwrap();
        while *shut && std::thread::current().id() != self.test {
            self.stopped.fetch_add(1, Ordering::Release);
            shut = self.changed.wait(shut).unwrap();
        }
        SystemClock.wall()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_asked_for_while_the_leader_stood_still_lasts_its_time() {
    const TTL: Duration = Duration::from_secs(1);
    let (sender, mut heard) = mpsc::unbounded_channel();
    let (place, listener) = Place::new().await;
    let gate = Arc::new(Gate::new());
    let seams = Seams {
        clock: Arc::clone(&gate) as _,
        events: Some(Arc::new(Ear(sender))),
        ..place.seams(Some(listener))
    };
    let node = Arc::new(Node::start(place.config(), seams).await.unwrap());
    node.wait_ready(deadline()).await.unwrap();
    done(&node, create_tenant(0)).await;
    // Something to propose, for which the leader looks at the clock, and stands still.
    gate.shut(true);
    let first = tokio::spawn({
        let node = Arc::clone(&node);
        async move { insist(&node, create_tenant(0)).await }
    });
    let until = deadline();
    while gate.stopped.load(Ordering::Acquire) == 0 {
        pause(until).await;
    }
    // The fault lasts.
    tokio::time::sleep(TTL / 2).await;
    // Now the lease is asked for, and is in the batch that was begun before.
    let asked = Instant::now();
    let lease = tokio::spawn({
        let node = Arc::clone(&node);
        let ttl = DurationMs(TTL.as_millis().try_into().unwrap());
        async move { done(&node, acquire("a", ttl, DurationMs(0))).await }
    });
    let until = deadline();
    while node.status().waiting < 2 {
        pause(until).await;
    }
    gate.shut(false);
    first.await.unwrap();
    granted(&lease.await.unwrap());
    let queued = done(&node, acquire("b", HOUR, DurationMs(600_000))).await;
    let (place, _) = settled(&mut heard).await;
    assert_eq!(place, queued.position);
    assert!(asked.elapsed() >= TTL, "it ended {:?} after it was asked for", asked.elapsed());
    node.shutdown().await;
}

/// What one node hears of those who wait.
struct Ear(mpsc::UnboundedSender<LeaseNotice>);

impl EventSink for Ear {
    fn event(&self, _: Event) {}

    fn lease(&self, notice: LeaseNotice) {
        // The test may have ended.
        let _ = self.0.send(notice);
    }
}

async fn settled(heard: &mut mpsc::UnboundedReceiver<LeaseNotice>) -> (Position, Reply) {
    loop {
        let notice = timeout(WAIT, heard.recv()).await.expect("a notice in time").unwrap();
        if let LeaseNotice::Settled { place, reply } = notice {
            return (place, reply);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_waits_end_by_themselves_and_every_node_is_told() {
    let (senders, mut ears): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::unbounded_channel()).unzip();
    let cluster = Cluster::start_seamed(3, |at, seams| {
        seams.events = Some(Arc::new(Ear(senders[at].clone())));
    })
    .await;
    let node = &cluster.nodes[0];
    done(node, create_tenant(0)).await;
    granted(&done(node, acquire("a", DurationMs(300), DurationMs(0))).await);
    let queued = done(node, acquire("b", HOUR, HOUR.min(DurationMs(600_000)))).await;
    let brief = done(node, acquire("c", HOUR, DurationMs(50))).await;
    assert!(matches!(queued.outcome, Ok(Done::Queued { .. })), "{queued:?}");
    // Nobody asks for anything any more: what ends does so by itself.
    for (at, heard) in ears.iter_mut().enumerate() {
        let (place, reply) = settled(heard).await;
        assert_eq!(place, brief.position, "node {at}: the wait of 50 ms ends first");
        assert!(matches!(reply.outcome, Err(Refusal::Held { .. })), "{reply:?}");
        let (place, reply) = settled(heard).await;
        assert_eq!(place, queued.position);
        let fence = granted(&reply);
        assert!(fence.0 > queued.position.0, "a grant is later than the wait for it");
        // Told when it is there to be seen.
        let lock = LockName::new("l").unwrap();
        let view = cluster.nodes[at].view(|view, meta| read::lock(view, meta, &tenant(), &lock));
        assert_eq!(view.unwrap().unwrap().held.unwrap().fence, fence);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_ends_what_the_old_one_granted() {
    let (sender, mut heard) = mpsc::unbounded_channel();
    let mut cluster = Cluster::start_seamed(3, |_, seams| {
        seams.events = Some(Arc::new(Ear(sender.clone())));
    })
    .await;
    done(&cluster.nodes[0], create_tenant(0)).await;
    granted(&done(&cluster.nodes[0], acquire("a", DurationMs(1_500), DurationMs(0))).await);
    let queued = done(&cluster.nodes[0], acquire("b", HOUR, DurationMs(600_000))).await;
    let asked = Instant::now();
    let leader = cluster.leader().await;
    drop(cluster.nodes.remove(leader));
    let (place, reply) = settled(&mut heard).await;
    assert_eq!(place, queued.position);
    granted(&reply);
    assert!(asked.elapsed() > Duration::from_millis(1_000), "not before its time");
    cluster.stop().await;
}
