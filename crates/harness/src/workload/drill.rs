//! The drill: a workload on a cluster whose leader is killed, then the survey and the verdict.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep_until};

use super::{Kill, Plan, Workload};
use crate::check::{Verdict, judge};
use crate::cluster::Cluster;
use crate::recorder::{Recorder, Totals};
use crate::survey;

/// How long a cluster may take to agree on a leader, or a node to come back.
const COME_BACK: Duration = Duration::from_secs(60);
/// What must be left of a run for one more kill to make sense, beyond the node's time down.
const AFTER_KILL: Duration = Duration::from_secs(4);

/// Something that whoever watches wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Setup is done.
    Ready {
        /// Families that were created.
        families: u64,
        /// How long that took.
        took: Duration,
    },
    /// The leader, or every node, got SIGKILL.
    Killed {
        /// Name or names.
        node: String,
    },
    /// All that was killed serves again.
    Back {
        /// Name or names.
        node: String,
        /// Longest time without a successful write since it was killed.
        unavailable: Duration,
    },
    /// Callers have stopped; every node is asked about everything.
    Surveying {
        /// How many families.
        families: usize,
    },
}

/// What a drill found out.
#[derive(Debug, Clone)]
pub struct Drill {
    /// What callers saw, counted.
    pub totals: Totals,
    /// How often the leader was killed.
    pub leader_kills: u32,
    /// Longest time without a successful write after a kill.
    pub unavailable: Duration,
    /// Whether all replicas were equal at one position.
    pub digests_equal: bool,
    /// What was wrong.
    pub verdict: Verdict,
}

impl Drill {
    /// Runs a plan on a cluster that is ready. `tell` hears of moments as they come.
    pub async fn run(
        plan: Plan,
        cluster: &mut Cluster,
        recorder: Recorder,
        tell: impl Fn(Moment),
    ) -> Result<Self> {
        let clients = cluster.callers().await?;
        let pinned = cluster.pinned()?;
        let workload = Workload::new(plan.clone(), clients, pinned, recorder.clone())?;
        let started = Instant::now();
        let shares = workload.setup().await.context("setup failed")?;
        tell(Moment::Ready { families: recorder.totals().created, took: started.elapsed() });

        let running = {
            let workload = Arc::clone(&workload);
            tokio::spawn(async move { workload.run(shares).await })
        };
        let killed = kill_again(&plan, cluster, &recorder, &tell).await;
        workload.stop();
        let unavailable = recorder.gap_end();
        let newest = running.await.context("the workload panicked")??;
        let leader_kills = killed?;

        cluster.wait_ready(COME_BACK).await?;
        let totals = recorder.totals();
        let history = recorder.take();
        tell(Moment::Surveying { families: history.families.len() });
        let nodes = survey::survey(cluster, &history, &newest).await?;
        let verdict = judge(&history, &nodes);
        let digests_equal = verdict.digests_equal(&nodes);
        Ok(Self { totals, leader_kills, unavailable, digests_equal, verdict })
    }
}

/// Kills nodes in the middle of the run, or as often as planned; returns when the run is over.
async fn kill_again(
    plan: &Plan,
    cluster: &mut Cluster,
    recorder: &Recorder,
    tell: &impl Fn(Moment),
) -> Result<u32> {
    let end = Instant::now() + plan.duration;
    let mut kills = 0;
    if let Some(every) = plan.kill_every {
        let mut next = Instant::now() + every.min(plan.duration * 2 / 5);
        while kills == 0 || next + plan.down + AFTER_KILL < end {
            sleep_until(next).await;
            let leader = cluster.leader(COME_BACK).await?;
            let victims = match plan.kill {
                Kill::Leader => vec![leader],
                Kill::All => (0..cluster.len()).collect(),
            };
            let names: Vec<&str> = victims.iter().map(|node| cluster.name(*node)).collect();
            let node = names.join(", ");
            recorder.gap_start();
            cluster.kill_together(&victims).await?;
            kills += 1;
            tell(Moment::Killed { node: node.clone() });
            tokio::time::sleep(plan.down).await;
            for victim in &victims {
                cluster.restart(*victim)?;
            }
            for victim in victims {
                cluster.wait_node_ready(victim, Instant::now() + COME_BACK).await?;
            }
            tell(Moment::Back { node, unavailable: recorder.gap_end() });
            next = Instant::now() + every;
        }
    }
    sleep_until(end).await;
    Ok(kills)
}
