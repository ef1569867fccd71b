//! `jeton demo`: three real nodes, a hard day's work, a SIGKILL, and the proof.
//!
//! The nodes are processes of this very binary. What happened is told on standard error; standard
//! output gets the result.

mod report;
mod view;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jeton_client::Client;
use jeton_harness::cluster::{Cluster, ClusterSpec, status_of};
use jeton_harness::recorder::Recorder;
use jeton_harness::workload::{Drill, Moment, Plan};
use parking_lot::Mutex;

use crate::exit::Exit;
use crate::output::Format;
use report::DemoReport;
use view::{NodeLine, View};

/// How long three nodes may take to form a cluster.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How many violations are told in words.
const TOLD_MAX: usize = 20;

const HELP: &str = "\
What happens: users of two tenants rotate refresh tokens through all three nodes, with 100 callers
at once on one token now and then, replies that get lost and are asked for again, thieves who come
with spent tokens, and users who are logged out while they rotate. Codes are redeemed by many copies
of a client at once, and by thieves; contenders queue for locks; a resource server keeps a local
view of what is revoked. In the middle the leader is killed with SIGKILL, and started again. Then
every node is asked about every family:

  every acknowledged rotation and revocation holds on every node
  every token has one successor
  every theft was caught, and no family was revoked by mistake
  every code made one family, and none that came back left its family alive
  no two held a lock at once, fences only grew, and what a lock guards took no old one
  the local view denied all that was revoked, and let nobody in against better knowledge
  all three nodes have the same digest at one position

Exit codes: 0 if all of that is so, 1 if not, 3 if the demo itself failed.";

/// See [`crate::args::Command::Demo`].
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DemoArgs {
    /// How long the users are at work, in seconds; thieves need some time to come.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub seconds: u64,
    /// Seeds every choice; printed when something was wrong. Default: random.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Keep data and logs of the nodes, and say where they are.
    #[arg(long)]
    pub keep: bool,
    /// Users, half of them in each tenant.
    #[arg(long, value_name = "COUNT", default_value_t = 400)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub users: u32,
    /// Families of refresh tokens, spread over the users.
    #[arg(long, value_name = "COUNT", default_value_t = 3_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub families: u32,
    /// Callers at once; stampedes come on top.
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub callers: u32,
}

/// Runs it.
pub async fn run(args: DemoArgs, format: Format) -> anyhow::Result<Exit> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => random_seed()?,
    };
    let view = Arc::new(Mutex::new(View::new()));
    let result = tokio::select! {
        biased;
        result = play(&args, seed, &view) => result,
        () = crate::server::stop_signal() => Err(anyhow::anyhow!("interrupted")),
    };
    view.lock().finish();
    let drill = result.with_context(|| format!("the demo failed (--seed {seed})"))?;
    let report = DemoReport::of(&drill);
    if !report.ok {
        for violation in drill.verdict.violations.iter().take(TOLD_MAX) {
            eprintln!("{violation}");
        }
        eprintln!("{} violations; run it again with --seed {seed}", drill.verdict.violations.len());
    }
    format.print(&report)?;
    Ok(if report.ok { Exit::Ok } else { Exit::Refused })
}

async fn play(args: &DemoArgs, seed: u64, view: &Arc<Mutex<View>>) -> anyhow::Result<Drill> {
    let binary = std::env::current_exe().context("can't find this program")?;
    let mut cluster = Cluster::start(ClusterSpec::new(binary, 3))?;
    if args.keep {
        cluster.keep();
    }
    view.lock().say(&format!("three nodes start, data in {}", cluster.dir().display()));
    cluster.wait_ready(READY_WITHIN).await?;
    let leader = cluster.leader(READY_WITHIN).await?;
    view.lock().say(&format!("the cluster is formed, {} leads", cluster.name(leader)));

    let recorder = Recorder::default();
    let names = (0..cluster.len()).map(|node| cluster.name(node).to_owned()).collect();
    let watch = tokio::spawn(watch(Arc::clone(view), recorder.clone(), names, cluster.pinned()?));
    let plan = Plan {
        seed,
        duration: Duration::from_secs(args.seconds),
        users: args.users as usize,
        families: args.families as usize,
        callers: args.callers as usize,
        ..Plan::default()
    };
    let drill =
        Drill::run(plan, &mut cluster, recorder, |moment| view.lock().say(&told(&moment))).await;
    watch.abort();
    view.lock().finish();
    let drill = drill?;
    cluster.stop_all(Duration::from_secs(20)).await?;
    if args.keep {
        view.lock().say(&format!("kept: {}", cluster.dir().display()));
    }
    Ok(drill)
}

/// Updates the view until it is told to end.
async fn watch(
    view: Arc<Mutex<View>>,
    recorder: Recorder,
    names: Vec<String>,
    clients: Vec<Client>,
) {
    let mut tick = tokio::time::interval(view.lock().tick());
    loop {
        tick.tick().await;
        let statuses = futures::future::join_all(clients.iter().map(status_of)).await;
        let nodes: Vec<NodeLine> = names
            .iter()
            .zip(statuses)
            .map(|(name, status)| match status {
                Ok(status) => NodeLine {
                    name: name.clone(),
                    role: if status.leader_id == Some(status.node_id) {
                        "leader"
                    } else {
                        "follower"
                    },
                    applied: Some(status.applied_index),
                },
                Err(_) => NodeLine { name: name.clone(), role: "down", applied: None },
            })
            .collect();
        view.lock().update(recorder.totals(), &nodes);
    }
}

fn told(moment: &Moment) -> String {
    match moment {
        Moment::Ready { families, took } => {
            format!("{families} families were created in {:.1} s", took.as_secs_f64())
        }
        Moment::Killed { node } => format!("{node} leads: SIGKILL"),
        Moment::Back { node, unavailable } => format!(
            "{node} serves again; the longest time without a successful write was {} ms",
            unavailable.as_millis()
        ),
        Moment::Surveying { families } => {
            format!("the work is done; every node is asked about {families} families")
        }
    }
}

fn random_seed() -> anyhow::Result<u64> {
    // Short enough to be typed.
    Ok(u64::from(getrandom::u32().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?))
}
