//! A process that contends for locks, holds them, writes what they guard, and tells.
//!
//! It is this test's own binary, told to be one. Most holds are careful: they look at their guard
//! before each write, and some outlast their lease, which is renewed meanwhile. Others are
//! reckless: they look at nothing, and write when they please. And now and then one tries the fence
//! of its earlier hold.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use jeton_client::{
    Acquisition, Client, Config, Fence, Lease, NewLease, NewRecord, Performed, SeededEntropy, Step,
    Tenant, When, digest,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::told::{Line, Writer};
use super::{KIND, LOCKS, TTL, below, lock_name};
use crate::world::{PATIENCE, TENANT};

/// Tells the binary that it is a holder: the seed, and where the cluster is.
const HOLDER: &str = "JETON_TEST_HOLDER";
/// Tasks of one process, spread over the locks.
const TASKS: usize = 8;
/// How long a task stands in the queue.
const WAIT: Duration = Duration::from_secs(20);
/// A short hold, and how long a long one works on each of its writes.
const SHORT: Duration = Duration::from_millis(3);
const WORK: Duration = Duration::from_millis(25);
/// Two moments that are taken together are no further apart than this.
const TOGETHER: Duration = Duration::from_millis(1);

/// The monotonic clock that all processes of this machine share, and that theirs are made of.
fn clock_ns() -> u128 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).map_or(0, |now| now.as_nanos())
}

/// An instant by that clock, or a little earlier.
fn instant_ns(instant: Instant) -> u128 {
    loop {
        let before = Instant::now();
        let clock = clock_ns();
        let after = Instant::now();
        // Else this process stood still in between.
        if after - before < TOGETHER {
            let ahead = instant.saturating_duration_since(after).as_nanos();
            return clock + ahead - after.saturating_duration_since(instant).as_nanos();
        }
    }
}

fn tell(line: Line) {
    println!("{}", line.text());
}

/// No test of its own: what a holder's process does. It ends when it is killed.
#[tokio::test]
async fn process() -> Result<()> {
    let Ok(told) = std::env::var(HOLDER) else { return Ok(()) };
    let (seed, endpoints) = told.split_once(' ').context("a seed and endpoints")?;
    let seed: u64 = seed.parse()?;
    // The framework's own line ends here.
    println!();
    let tenant = Client::connect(Config::new(endpoints.split(','))).await?.tenant(TENANT)?;
    let tasks = (0..TASKS).map(|task| {
        let dice = SeededEntropy::new(seed + task as u64);
        let lock = task % LOCKS;
        let contender = Contender { tenant: tenant.clone(), lock, dice, spent: None, nth: 0 };
        tokio::spawn(contender.run())
    });
    for task in join_all(tasks).await {
        task??;
    }
    Ok(())
}

/// A task that wants one lock, again and again.
struct Contender {
    tenant: Tenant,
    lock: usize,
    dice: SeededEntropy,
    /// Of its hold before.
    spent: Option<Fence>,
    /// Counts its writes, so that no two write the same.
    nth: u64,
}

impl Contender {
    async fn run(mut self) -> Result<()> {
        loop {
            let new = NewLease::new(lock_name(self.lock)).ttl(TTL).wait(WAIT);
            // A failure is the cluster's, which is being killed: the next turn tries again.
            let Ok(Acquisition::Granted(lease)) = self.tenant.acquire(new, PATIENCE).await else {
                continue;
            };
            let (lock, fence) = (self.lock, lease.fence());
            tell(Line::Granted { lock, fence: fence.0, at_ns: clock_ns() });
            if let Some(spent) = self.spent.replace(fence)
                && below(&self.dice, 4)? == 0
            {
                self.write(spent, Writer::Spent, || false).await;
            }
            match below(&self.dice, 24)? {
                0 | 1 => self.be_reckless(lease).await?,
                2 => self.be_careful(lease, TTL * 3 / 2).await?,
                _ => self.be_careful(lease, SHORT).await?,
            }
        }
    }

    /// Holds it for so long, or as long as the guard says that it is held.
    async fn be_careful(&mut self, lease: Lease, long: Duration) -> Result<()> {
        let (lock, fence) = (self.lock, lease.fence());
        let ends = Instant::now() + long;
        let mut until_ns = 0;
        loop {
            // Read first: what is held afterwards was held then.
            let now_ns = clock_ns();
            if !lease.is_held() {
                break;
            }
            until_ns = now_ns;
            if Instant::now() >= ends {
                break;
            }
            // Work between look and write: a pause of the process meets it there.
            tokio::time::sleep(WORK.min(long)).await;
            self.write(fence, Writer::Careful, || lease.is_held()).await;
        }
        let ran_out = !lease.is_held();
        if ran_out {
            until_ns = instant_ns(lease.until());
        }
        tell(Line::Held { lock, fence: fence.0, until_ns, ran_out });
        if ran_out {
            // Left to the store, so that it is seen when that lets the next one have it.
            drop(lease.into_name());
        } else if below(&self.dice, 3)? > 0 {
            drop(lease.release(PATIENCE).await);
        }
        // One in three is given back by the drop.
        Ok(())
    }

    /// Lets its lease run out, or not quite, and writes without a look at it.
    async fn be_reckless(&mut self, lease: Lease) -> Result<()> {
        let (lock, fence) = (self.lock, lease.fence());
        let until_ns = instant_ns(lease.until());
        // Nobody renews it from here on.
        drop(lease.into_name());
        tell(Line::Held { lock, fence: fence.0, until_ns, ran_out: true });
        let dawdle = TTL / 20 * (10 + below(&self.dice, 31)? as u32);
        tokio::time::sleep(dawdle).await;
        self.write(fence, Writer::Reckless, || false).await;
        Ok(())
    }

    /// Overwrites what the lock guards, if the store says that it is held with this fence. `held`
    /// is what the writer's guard says, once there is an answer.
    async fn write(&mut self, fence: Fence, writer: Writer, held: impl Fn() -> bool) {
        self.nth += 1;
        let (lock, name) = (self.lock, lock_name(self.lock));
        let value = format!("{}/{}", fence.0, self.nth);
        let put = NewRecord::new(KIND, digest(&name)).value(value);
        let guarded = self.tenant.transact().when(When::lock_held(&name, fence));
        tell(Line::Sent { lock, writer });
        // Of what has failed nobody knows whether it happened.
        let Ok(done) = guarded.then(Step::put_record(put)).send(PATIENCE).await else { return };
        let (fence, position) = (fence.0, done.position.0);
        match done.outcome.as_deref() {
            Ok([Performed::RecordPut { version }]) => {
                tell(Line::Wrote { lock, fence, writer, version: *version, position });
            }
            _ => tell(Line::Refused { lock, fence, writer, held: held() }),
        }
    }
}

/// A holder's process, as the test has it.
pub struct Holder {
    child: Child,
}

impl Holder {
    /// Starts one, whose lines go to `told`.
    pub fn start(endpoints: &str, seed: u64, told: mpsc::UnboundedSender<Line>) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["contended::holder::process", "--exact", "--nocapture", "--test-threads=1"])
            .env(HOLDER, format!("{seed} {endpoints}"))
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

    /// It does nothing for so long, and goes on as if no time had passed.
    pub async fn stand_still(&self, still: Duration) -> Result<()> {
        self.signal("-STOP").await?;
        tokio::time::sleep(still).await;
        self.signal("-CONT").await
    }

    /// To this process only.
    async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().context("the holder runs")?.to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await?;
        ensure!(sent.success(), "can't signal a holder");
        Ok(())
    }
}
