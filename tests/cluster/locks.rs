//! Locks on three nodes, while leaders are killed and holders stand still: fences only grow, no two
//! holders overlap by their own clocks, and what is guarded by fences takes nothing that is late.
//!
//! Holders are processes of their own: this test's binary, told to be one. Each has several tasks,
//! and all of them contend for few locks. Longer, with other seeds:
//! `JETON_LOCK_GRANTS=10000 JETON_LOCK_SEED=7`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use jeton_client::{
    Acquisition, Awaited, Client, Config, Entropy, Fence, NewLease, SeededEntropy, SingleFlight,
    Tenant,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::world::{COME_UP, PATIENCE, TENANT, World};

/// Tells the binary that it is a holder, and where the cluster is.
const HOLDER: &str = "JETON_TEST_HOLDER";
const PROCESSES: usize = 3;
const TASKS: usize = 4;
const LOCKS: usize = 3;
const TTL: Duration = Duration::from_secs(1);

/// What a holder tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// A write to what the lock guards.
    Write { lock: usize, fence: u64 },
    /// A hold is over: from when until when it was surely held, by the holder's own clock.
    Hold { lock: usize, fence: u64, from_ns: u128, until_ns: u128, lost: bool },
}

impl Line {
    fn print(self) {
        match self {
            Self::Write { lock, fence } => println!("\nwrite {lock} {fence}"),
            Self::Hold { lock, fence, from_ns, until_ns, lost } => {
                println!("\nhold {lock} {fence} {from_ns} {until_ns} {lost}");
            }
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(match words[..] {
            ["write", lock, fence] => {
                Self::Write { lock: lock.parse().ok()?, fence: fence.parse().ok()? }
            }
            ["hold", lock, fence, from, until, lost] => Self::Hold {
                lock: lock.parse().ok()?,
                fence: fence.parse().ok()?,
                from_ns: from.parse().ok()?,
                until_ns: until.parse().ok()?,
                lost: lost.parse().ok()?,
            },
            // What the test's own framework prints.
            _ => return None,
        })
    }
}

/// The clock that all processes of this machine share.
#[allow(clippy::disallowed_types)] // it compares processes; nothing here is decided by it
fn clock_ns() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

/// No test of its own: what a holder's process does. It ends when it is killed.
#[tokio::test]
async fn holder() -> Result<()> {
    let Ok(endpoints) = std::env::var(HOLDER) else { return Ok(()) };
    let tenant = Client::connect(Config::new(endpoints.split(','))).await?.tenant(TENANT)?;
    let tasks = (0..TASKS).map(|task| {
        let tenant = tenant.clone();
        tokio::spawn(async move {
            for turn in 0.. {
                hold_once(&tenant, task % LOCKS, turn).await;
            }
        })
    });
    join_all(tasks).await;
    Ok(())
}

async fn hold_once(tenant: &Tenant, lock: usize, turn: u64) {
    let new = NewLease::new(format!("guard-{lock}")).ttl(TTL).wait(Duration::from_secs(20));
    // A failure is the cluster's, which is being killed: the next turn tries again.
    let Ok(Acquisition::Granted(lease)) = tenant.acquire(new, PATIENCE).await else { return };
    let (fence, from_ns) = (lease.fence().0, clock_ns());
    let mut until_ns = from_ns;
    // Some hold it for longer than it lasts, so that it is renewed, and that pauses meet them.
    let long = (fence >> 11).is_multiple_of(16);
    let ends = Instant::now() + if long { TTL * 3 / 2 } else { Duration::from_millis(3) };
    loop {
        // Read first: what is held afterwards was held then.
        let now_ns = clock_ns();
        if !lease.is_held() {
            break;
        }
        until_ns = now_ns;
        Line::Write { lock, fence }.print();
        if Instant::now() >= ends {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let lost = !lease.is_held();
    Line::Hold { lock, fence, from_ns, until_ns, lost }.print();
    // One in three leaves it to the drop.
    if !turn.is_multiple_of(3) {
        drop(lease.release(PATIENCE).await);
    }
}

/// A holder's process.
struct Holder {
    child: Child,
}

impl Holder {
    fn start(endpoints: &str, told: mpsc::UnboundedSender<Line>) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["locks::holder", "--exact", "--nocapture", "--test-threads=1"])
            .env(HOLDER, endpoints)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().context("its standard output")?;
        tokio::spawn(async move {
            let mut lines = BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(line) = Line::parse(&line) {
                    // The test has ended.
                    let _ = told.send(line);
                }
            }
        });
        Ok(Self { child })
    }

    /// SIGSTOP or SIGCONT, to this process only.
    async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().context("the holder runs")?.to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await?;
        ensure!(sent.success(), "can't signal a holder");
        Ok(())
    }
}

/// What was told of one lock.
#[derive(Default)]
struct Guarded {
    /// The highest fence that a write came with: lower ones are refused.
    highest: u64,
    refused: usize,
    /// By fence.
    holds: BTreeMap<u64, (u128, u128)>,
    lost: usize,
}

impl Guarded {
    fn hear(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Write { fence, .. } if fence < self.highest => self.refused += 1,
            Line::Write { fence, .. } => self.highest = fence,
            Line::Hold { fence, from_ns, until_ns, lost, .. } => {
                self.lost += usize::from(lost);
                let before = self.holds.insert(fence, (from_ns, until_ns));
                ensure!(before.is_none(), "fence {fence} was granted twice");
            }
        }
        Ok(())
    }

    /// Later fences are later holds, and none begins before the one before it has ended.
    fn check(&self) -> Result<()> {
        for ((fence, (_, until)), (next, (from, _))) in
            self.holds.iter().zip(self.holds.iter().skip(1))
        {
            ensure!(until < from, "holds {fence} and {next} overlap: {until} ns, {from} ns");
        }
        Ok(())
    }

    fn grants(&self) -> usize {
        self.holds.len()
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A whole number below `bound`.
fn below(entropy: &SeededEntropy, bound: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes) % bound)
}

#[tokio::test]
async fn no_two_hold_a_lock_while_leaders_die_and_holders_stand_still() -> Result<()> {
    let (grants, seed) = (setting("JETON_LOCK_GRANTS", 150), setting("JETON_LOCK_SEED", 5));
    println!("{grants} grants, JETON_LOCK_SEED={seed}");
    let dice = SeededEntropy::new(seed);
    let mut world = World::new(&[]).await?;
    let (told, mut lines) = mpsc::unbounded_channel();
    let endpoints = world.cluster.endpoints().join(",");
    let holders: Vec<Holder> =
        (0..PROCESSES).map(|_| Holder::start(&endpoints, told.clone())).collect::<Result<_>>()?;
    let mut guarded: Vec<Guarded> = (0..LOCKS).map(|_| Guarded::default()).collect();
    let (mut kills, mut pauses) = (0, 0);
    let total = |guarded: &[Guarded]| guarded.iter().map(Guarded::grants).sum::<usize>() as u64;
    while total(&guarded) < grants || kills < 2 || pauses < 4 {
        // Some grants go well between two faults.
        let next = total(&guarded) + 10 + below(&dice, 20)?;
        while total(&guarded) < next {
            let line = timeout(PATIENCE * 2, lines.recv()).await;
            let line = line.context("nobody got a lock for a minute")?.context("holders tell")?;
            let (Line::Write { lock, .. } | Line::Hold { lock, .. }) = line;
            guarded[lock].hear(line)?;
        }
        if below(&dice, 3)? == 0 {
            let leader = world.cluster.leader(PATIENCE).await?;
            world.cluster.kill(leader).await?;
            world.cluster.restart(leader)?;
            world.cluster.wait_node_ready(leader, Instant::now() + COME_UP).await?;
            kills += 1;
        } else {
            let holder = &holders[below(&dice, PROCESSES as u64)? as usize];
            holder.signal("-STOP").await?;
            // The fault lasts longer than its leases, or not quite.
            let still = TTL.as_millis() as u64 / 2 + below(&dice, 2 * TTL.as_millis() as u64)?;
            tokio::time::sleep(Duration::from_millis(still)).await;
            holder.signal("-CONT").await?;
            pauses += 1;
        }
    }
    drop(holders);
    for one in &guarded {
        one.check().with_context(|| format!("JETON_LOCK_SEED={seed}"))?;
        ensure!(one.grants() > 0, "a lock that nobody got proves nothing");
    }
    let (lost, refused) = guarded.iter().fold((0, 0), |(l, r), g| (l + g.lost, r + g.refused));
    let granted = total(&guarded);
    println!("{granted} grants, {kills} leaders killed, {pauses} holders paused");
    println!("{lost} leases lost, {refused} late writes refused");
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn who_waits_keeps_its_place_when_its_node_and_the_leader_die() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let lock = "queue";
    let long = |wait: u64| {
        NewLease::new(lock).ttl(Duration::from_secs(60)).wait(Duration::from_secs(wait))
    };
    let Acquisition::Granted(first) = world.tenant()?.acquire(long(0), PATIENCE).await? else {
        bail!("a free lock is granted")
    };
    let mut waiting = Vec::new();
    for place in 1..=3_u32 {
        let tenant = world.clients[place as usize % 3].tenant(TENANT)?;
        let acquire = long(120);
        waiting.push(tokio::spawn(async move { tenant.acquire(acquire, PATIENCE).await }));
        let until = Instant::now() + PATIENCE;
        while world.tenant()?.get_lock(lock, Default::default(), PATIENCE).await?.value.waiters
            < place
        {
            ensure!(Instant::now() < until, "nobody took place {place}");
        }
    }
    // Every node is down once; two of the three deaths are a leader's.
    for _ in 0..2 {
        let leader = world.cluster.leader(PATIENCE).await?;
        world.cluster.kill(leader).await?;
        world.cluster.restart(leader)?;
        world.cluster.wait_node_ready(leader, Instant::now() + COME_UP).await?;
    }
    let follower = (world.cluster.leader(PATIENCE).await? + 1) % 3;
    world.cluster.kill(follower).await?;
    world.cluster.restart(follower)?;
    world.cluster.wait_node_ready(follower, Instant::now() + COME_UP).await?;

    let mut fence = first.fence();
    ensure!(first.release(PATIENCE).await?, "a minute's lease is kept over failovers");
    for (place, waiting) in waiting.into_iter().enumerate() {
        let granted = timeout(PATIENCE * 2, waiting).await.context("a grant in time")???;
        let Acquisition::Granted(lease) = granted else { bail!("place {place}: {granted:?}") };
        ensure!(lease.fence() > fence, "first come, first served");
        fence = lease.fence();
        ensure!(lease.release(PATIENCE).await?, "it was held");
    }
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn a_hundred_callers_on_three_nodes_share_one_flight() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    let work = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut after = Fence(0);
    for round in 0..3 {
        let callers = (0..100).map(|n| {
            let (tenant, work) = (tenants[n % 3].clone(), work.clone());
            let flight = SingleFlight::new("flight", b"what all callers know").after(after);
            tokio::spawn(async move {
                let once = async |_: &jeton_client::Lease| {
                    let nth = work.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    Ok::<_, std::io::Error>(nth.to_string().into_bytes())
                };
                tenant.single_flight(&flight, PATIENCE, once).await
            })
        });
        let mut results = BTreeSet::new();
        for caller in join_all(callers).await {
            let landed = caller??;
            results.insert((landed.fence, landed.result.to_vec()));
        }
        ensure!(results.len() == 1, "one result for all: {results:?}");
        let done = work.load(std::sync::atomic::Ordering::SeqCst);
        ensure!(done == round + 1, "{done} times in round {round}");
        // It has become stale: the next ones want a newer one.
        after = results.first().context("a result")?.0;
    }
    let none = tenants[1].await_result("flight", after, Duration::ZERO, PATIENCE).await?;
    ensure!(none == Awaited::Grounded, "{none:?}");
    Ok(())
}
