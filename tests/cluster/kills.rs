//! The leader is killed, and all nodes together, under load: nothing acknowledged is lost, nothing
//! is judged twice, all replicas stay equal.
//!
//! A soak is the same for longer, with other seeds: `JETON_DRILL_SECONDS=600 JETON_DRILL_SEED=7`.

use std::time::Duration;

use anyhow::{Result, ensure};
use jeton_harness::cluster::{Cluster, ClusterSpec};
use jeton_harness::recorder::Recorder;
use jeton_harness::workload::{Drill, Kill, Plan};

use crate::world::{COME_UP, PATIENCE, binary};

/// Runs a plan on a cluster with these flags, and prints what it did.
async fn drill(plan: Plan, flags: &[&str]) -> Result<()> {
    let mut spec = ClusterSpec::new(binary()?, 3);
    spec.flags = flags.iter().map(Into::into).collect();
    let mut cluster = Cluster::start(spec)?;
    cluster.wait_ready(COME_UP).await?;
    let seed = plan.seed;
    let drill = Drill::run(plan, &mut cluster, Recorder::default(), |moment| {
        println!("{moment:?}");
    })
    .await;
    if drill.as_ref().is_err() || drill.as_ref().is_ok_and(|drill| !drill.verdict.ok()) {
        cluster.keep();
        println!("seed {seed}; data and logs stay in {}", cluster.dir().display());
    }
    let drill = drill?;
    println!("{:?}, {} kills", drill.totals, drill.leader_kills);
    ensure!(drill.leader_kills > 0, "nothing was killed");
    ensure!(drill.totals.rotated > 500, "only {} rotations", drill.totals.rotated);
    ensure!(drill.totals.reused > 0, "no theft was caught");
    ensure!(drill.verdict.ok(), "seed {seed}: {:#?}", drill.verdict);
    ensure!(drill.digests_equal, "seed {seed}: replicas differ");
    cluster.stop_all(PATIENCE).await
}

/// A number from the environment, for soaks.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn plan(seed: u64, kill: Kill) -> Plan {
    Plan {
        seed: setting("JETON_DRILL_SEED", seed),
        duration: Duration::from_secs(setting("JETON_DRILL_SECONDS", 20)),
        users: 100,
        families: 600,
        callers: 32,
        kill_every: Some(Duration::from_secs(4)),
        down: Duration::from_millis(500),
        kill,
        ..Plan::default()
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_leaders_die() -> Result<()> {
    drill(plan(11, Kill::Leader), &[]).await
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_all_nodes_die_at_once() -> Result<()> {
    // Checkpoints and base files all the time, so that some die in the middle of them.
    let small = ["--checkpoint-bytes", "1048576", "--base-bytes-min", "1048576"];
    let more = ["--overlay-bytes-max", "4194304", "--log-segment-bytes", "1048576"];
    drill(plan(12, Kill::All), &[small, more].concat()).await
}
