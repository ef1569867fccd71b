//! Contended locks on three nodes, while leaders are killed or stand still, holders stand still,
//! and single nodes' clocks are wrong: fences only grow, a holder's own deadline comes before the
//! next grant, no two overlap, and the record that a lock guards takes no write that comes late.
//!
//! Longer, with another seed (see `docs/performance.md`):
//! `JETON_LOCK_GRANTS=10000 JETON_LOCK_SEED=7`.

mod holder;
mod told;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jeton_client::{Consistency, Entropy, SeededEntropy, digest};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::world::{COME_UP, PATIENCE, World};
use holder::Holder;
use told::{Line, Story};

const PROCESSES: usize = 3;
const LOCKS: usize = 6;
const TTL: Duration = Duration::from_millis(800);
/// A holder's own deadline is earlier than its lease's end by 2 ε = 4 %, but for the millisecond
/// that lease time is counted in.
const MARGIN: Duration = Duration::from_millis(TTL.as_millis() as u64 * 4 / 100 - 1);
/// Kind of the guarded records.
const KIND: &str = "guarded";
/// How far ahead a clock is set, in milliseconds: so little that its node goes on serving, and more
/// than any lease lasts.
const AHEAD_MS: [i64; 4] = [1_000, 60_000, 600_000, 86_400_000];
/// Beyond this a node doesn't serve (`clock_skew_max_ms`).
const SKEW_MAX_MS: i64 = 2_000;
/// How often a condition is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(25);
/// Faults that every run has.
const KILLS_MIN: u64 = 2;
const PAUSES_MIN: u64 = 3;
const CLOCKS_MIN: u64 = 2;

/// Which lock, and the key of the record that it guards.
fn lock_name(lock: usize) -> String {
    format!("guard-{lock}")
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

/// Holders at work, and what becomes of their nodes.
struct Drill {
    world: World,
    dice: SeededEntropy,
    holders: Vec<Holder>,
    lines: mpsc::UnboundedReceiver<Line>,
    stories: Vec<Story>,
    /// The node whose clock is ahead now, and by how many milliseconds.
    ahead: Option<(usize, i64)>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Faults {
    leaders_killed: u64,
    leaders_paused: u64,
    holders_paused: u64,
    clocks_set: u64,
    leaders_clocks_set: u64,
}

impl Drill {
    async fn new(seed: u64) -> Result<Self> {
        let world = World::with_wrong_clocks().await?;
        let (told, lines) = mpsc::unbounded_channel();
        let endpoints = world.cluster.endpoints().join(",");
        let holders = (0..PROCESSES as u64)
            .map(|nth| Holder::start(&endpoints, seed ^ (nth + 1) << 32, told.clone()))
            .collect::<Result<_>>()?;
        Ok(Self {
            world,
            dice: SeededEntropy::new(seed),
            holders,
            lines,
            stories: (0..LOCKS).map(|_| Story::default()).collect(),
            ahead: None,
            faults: Faults::default(),
        })
    }

    fn grants(&self) -> u64 {
        self.stories.iter().map(Story::grants).sum()
    }

    fn enough(&self, grants: u64) -> bool {
        self.grants() >= grants
            && self.faults.leaders_killed >= KILLS_MIN
            && self.faults.holders_paused >= PAUSES_MIN
            && self.faults.clocks_set >= CLOCKS_MIN
            && self.faults.leaders_clocks_set > 0
    }

    /// Some grants go well, then there is a fault; again and again.
    async fn run(&mut self, grants: u64) -> Result<()> {
        while !self.enough(grants) {
            self.hear(10 + below(&self.dice, 20)?).await?;
            match below(&self.dice, 6)? {
                0 => self.kill_the_leader().await?,
                1 => self.pause_the_leader().await?,
                2 | 3 => self.pause_a_holder().await?,
                _ => match self.ahead.take() {
                    None => self.set_a_clock_ahead().await?,
                    Some((node, _)) => self.set_right(node).await?,
                },
            }
        }
        Ok(())
    }

    /// Listens until there were so many more grants than have been told of already.
    async fn hear(&mut self, more: u64) -> Result<()> {
        while let Ok(line) = self.lines.try_recv() {
            self.note(line)?;
        }
        let enough = self.grants() + more;
        while self.grants() < enough {
            let line = timeout(PATIENCE * 2, self.lines.recv()).await;
            self.note(line.context("nobody got a lock for a minute")?.context("holders tell")?)?;
        }
        Ok(())
    }

    fn note(&mut self, line: Line) -> Result<()> {
        self.stories[line.lock()].hear(line).with_context(|| lock_name(line.lock()))
    }

    async fn kill_the_leader(&mut self) -> Result<()> {
        let cluster = &mut self.world.cluster;
        let leader = cluster.leader(PATIENCE).await?;
        cluster.kill(leader).await?;
        cluster.restart(leader)?;
        match self.ahead {
            // It is back with the wrong clock, and can't be ready.
            Some((node, ahead)) if node == leader && ahead > SKEW_MAX_MS => {
                self.until_seen_ahead(node, ahead).await?;
            }
            _ => cluster.wait_node_ready(leader, Instant::now() + COME_UP).await?,
        }
        self.faults.leaders_killed += 1;
        Ok(())
    }

    async fn pause_the_leader(&mut self) -> Result<()> {
        let leader = self.world.cluster.leader(PATIENCE).await?;
        // Longer than an election takes, or not: it goes on as leader, or finds another one.
        let still = TTL / 20 * (1 + below(&self.dice, 30)? as u32);
        let process = self.world.cluster.process(leader);
        process.freeze()?;
        tokio::time::sleep(still).await;
        process.thaw()?;
        self.faults.leaders_paused += 1;
        Ok(())
    }

    async fn pause_a_holder(&mut self) -> Result<()> {
        let holder = &self.holders[below(&self.dice, PROCESSES as u64)? as usize];
        // The fault lasts longer than its leases, or not quite.
        let twentieths = 10 + below(&self.dice, 31)? as u32;
        holder.stand_still(TTL / 20 * twentieths).await?;
        self.faults.holders_paused += 1;
        Ok(())
    }

    async fn set_a_clock_ahead(&mut self) -> Result<()> {
        let leader = self.world.cluster.leader(PATIENCE).await?;
        let node = match below(&self.dice, 4)? as usize {
            node @ 0..3 => node,
            _ => leader,
        };
        let ahead = AHEAD_MS[below(&self.dice, AHEAD_MS.len() as u64)? as usize];
        self.world.cluster.set_clock(node, ahead)?;
        self.ahead = Some((node, ahead));
        self.until_seen_ahead(node, ahead).await?;
        self.faults.clocks_set += 1;
        self.faults.leaders_clocks_set += u64::from(node == leader);
        Ok(())
    }

    /// Waits until the fault is there: the cluster knows how wrong the clock is, and its node
    /// doesn't lead if that is too much.
    async fn until_seen_ahead(&self, node: usize, ahead: i64) -> Result<()> {
        let cluster = &self.world.cluster;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = cluster.clock_skew_ms(node).await.is_some_and(|skew| skew > ahead / 2);
            if seen && (ahead <= SKEW_MAX_MS || cluster.leader(PATIENCE).await? != node) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "node {node} is {ahead} ms ahead, and it's unseen");
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn set_right(&mut self, node: usize) -> Result<()> {
        self.world.cluster.set_clock(node, 0)?;
        self.world.cluster.wait_node_ready(node, Instant::now() + COME_UP).await
    }

    /// Ends the holders, hears what they had to tell, and judges.
    async fn judge(&mut self) -> Result<()> {
        if let Some((node, _)) = self.ahead.take() {
            self.set_right(node).await?;
        }
        self.holders.clear();
        while let Some(line) = self.lines.recv().await {
            self.note(line)?;
        }
        let tenant = self.world.tenant()?;
        let mut least = None;
        for (lock, story) in self.stories.iter().enumerate() {
            let name = lock_name(lock);
            let record =
                tenant.get_record(KIND, digest(&name), Consistency::Linearizable, PATIENCE).await?;
            let (version, value) = (record.value.version, record.value.value.to_vec());
            let judged = async {
                story.record()?;
                story.last(version, &String::from_utf8(value)?)?;
                story.holds()
            };
            least = least.into_iter().chain(judged.await.context(name)?).min();
        }
        self.tell(least);
        // What is left for the clocks' rates to differ must be left whole: they don't here.
        let least = least.context("no lease ran out")?;
        ensure!(least > MARGIN.as_nanos(), "only {least} ns between a deadline and a grant");
        self.proves_something()?;
        self.world.cluster.stop_all(PATIENCE).await
    }

    fn sum(&self, of: impl Fn(&Story) -> u64) -> u64 {
        self.stories.iter().map(of).sum()
    }

    fn tell(&self, least: Option<u128>) {
        println!("{} grants, {:?}", self.grants(), self.faults);
        println!(
            "{} leases ran out; the holder's own deadline came first by {} ms or more",
            self.sum(|it| it.ran_out),
            least.unwrap_or_default() / 1_000_000
        );
        println!(
            "{} guarded writes; refused: {} of reckless holders, {} of paused ones, {} under \
             spent fences",
            self.sum(Story::writes),
            self.sum(|it| it.refused_reckless),
            self.sum(|it| it.refused_careful),
            self.sum(|it| it.refused_spent)
        );
    }

    /// A run in which nobody came late, or a lock had no use, proves nothing.
    fn proves_something(&self) -> Result<()> {
        ensure!(self.stories.iter().all(|it| it.grants() > 0 && it.writes() > 0), "an idle lock");
        ensure!(self.sum(|it| it.refused_reckless) > 0, "no reckless holder came late");
        ensure!(self.sum(|it| it.refused_spent) > 0, "no spent fence was tried");
        Ok(())
    }
}

#[tokio::test]
async fn contended_locks_keep_their_word_over_kills_pauses_and_wrong_clocks() -> Result<()> {
    let (grants, seed) = (setting("JETON_LOCK_GRANTS", 200), setting("JETON_LOCK_SEED", 12));
    println!("JETON_LOCK_GRANTS={grants} JETON_LOCK_SEED={seed}");
    let began = Instant::now();
    let mut drill = Drill::new(seed).await?;
    let judged = match drill.run(grants).await {
        Ok(()) => drill.judge().await,
        Err(error) => Err(error),
    };
    if judged.is_err() {
        drill.world.cluster.keep();
        println!("data and logs stay in {}", drill.world.cluster.dir().display());
    }
    println!("{} s", began.elapsed().as_secs());
    judged.with_context(|| format!("JETON_LOCK_GRANTS={grants} JETON_LOCK_SEED={seed}"))
}
