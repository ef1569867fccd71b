//! `jeton bench rotate`: rotations in a closed loop over nodes that really sync.
//!
//! Each caller owns its share of the families and rotates them in turn, one at a time. It checks
//! every answer: its own successor, the next generation. Afterwards the cluster is asked for every
//! family's generation, which must be the number of rotations that were acknowledged.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use hdrhistogram::Histogram;
use jeton_client::admin::SettingsChange;
use jeton_client::{
    Client, Config, Consistency, NewFamily, RefreshToken, RotateContext, Rotation, Tenant,
};
use jeton_harness::cluster::Cluster;
use tokio::time::{Instant, sleep};

use super::nodes::{self, PATIENCE};
use super::report::{Counted, RotateReport};
use crate::exit::{Exit, Usage};
use crate::output::Format;

const TENANT: &str = "bench";
const CLIENT: &str = "bench";
/// Calls at once while families are created and checked.
const CONCURRENCY: usize = 256;

/// See [`super::BenchCommand::Rotate`].
#[derive(Debug, Clone, Args)]
pub struct RotateArgs {
    /// Nodes, each a process of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// Callers that each wait for one answer at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub in_flight: u32,
    /// Families that are rotated in turn; at least one for each caller.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub families: u32,
    /// How long the clock runs, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// How long the load runs before the clock does, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub warmup: u64,
    /// Send every rotation as a call of its own instead of sharing messages on a stream.
    #[arg(long)]
    pub unary: bool,
    /// Connections that the callers share.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// Talk to any node instead of to the one that leads.
    #[arg(long)]
    pub any_node: bool,
    /// Keep the nodes' data in this directory (it must be empty) instead of in a temporary one.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Phases of a run.
const WARMUP: u8 = 0;
const CLOCK: u8 = 1;
const END: u8 = 2;

/// A family, and how often it was rotated.
struct Spun {
    token: RefreshToken,
    rotations: u64,
}

/// What a caller brings home.
struct Share {
    families: Vec<Spun>,
    /// Microseconds each, while the clock ran.
    latencies: Vec<u32>,
}

/// The cluster's counters at one moment.
struct Counters {
    at: Instant,
    cpu: Duration,
    syncs: u64,
    /// Of the first node.
    entries: u64,
    commands: u64,
}

/// Runs it.
pub async fn run(args: RotateArgs, format: Format) -> Result<Exit> {
    if args.families < args.in_flight {
        return Err(Usage::error("--families must be at least --in-flight: callers share none"));
    }
    let mut cluster = nodes::start(args.nodes, args.dir.clone()).await?;

    let tenants = tenants(&args, &cluster).await?;
    let started = Instant::now();
    let shares = create(&args, &tenants).await?;
    eprintln!("{} families in {:.1} s", args.families, started.elapsed().as_secs_f64());
    let (counted, families) = measure(&args, &cluster, &tenants, shares).await?;
    check(&tenants[0], &families).await.context("the benchmark's own results are wrong")?;
    eprintln!("every family is at the generation that was acknowledged");
    cluster.stop_all(Duration::from_secs(20)).await?;
    format.print(&RotateReport::of(&counted))?;
    Ok(Exit::Ok)
}

/// One for each connection.
async fn tenants(args: &RotateArgs, cluster: &Cluster) -> Result<Vec<Tenant>> {
    let mut tenants = Vec::new();
    for _ in 0..args.connections {
        let config =
            Config::new(cluster.endpoints()).unary(args.unary).prefer_leader(!args.any_node);
        let client = Client::connect(config).await?;
        if tenants.is_empty() {
            let unlimited = SettingsChange::new().rotations_per_s(0);
            client.admin().create_tenant(TENANT, unlimited, PATIENCE).await?;
        }
        tenants.push(client.tenant(TENANT)?);
    }
    Ok(tenants)
}

async fn create(args: &RotateArgs, tenants: &[Tenant]) -> Result<Vec<Vec<Spun>>> {
    let made = futures::stream::iter(0..args.families).map(|number| {
        let tenant = &tenants[number as usize % tenants.len()];
        let new = NewFamily::new(format!("user-{number}"), CLIENT).device("bench");
        async move { tenant.create_family(new, PATIENCE).await }
    });
    let made: Vec<_> = made.buffer_unordered(CONCURRENCY).try_collect().await?;
    let mut shares: Vec<Vec<Spun>> = (0..args.in_flight).map(|_| Vec::new()).collect();
    for (place, issued) in made.into_iter().enumerate() {
        let share = place % shares.len();
        shares[share].push(Spun { token: issued.token, rotations: 0 });
    }
    Ok(shares)
}

async fn measure(
    args: &RotateArgs,
    cluster: &Cluster,
    tenants: &[Tenant],
    shares: Vec<Vec<Spun>>,
) -> Result<(Counted, Vec<Spun>)> {
    let phase = Arc::new(AtomicU8::new(WARMUP));
    let callers: Vec<_> = shares
        .into_iter()
        .enumerate()
        .map(|(place, families)| {
            let tenant = tenants[place % tenants.len()].clone();
            tokio::spawn(call(tenant, families, Arc::clone(&phase)))
        })
        .collect();
    sleep(Duration::from_secs(args.warmup)).await;
    let before = counters(cluster).await?;
    phase.store(CLOCK, Ordering::Relaxed);
    sleep(Duration::from_secs(args.seconds)).await;
    phase.store(END, Ordering::Relaxed);
    let after = counters(cluster).await?;

    let mut latencies = Histogram::new(3)?;
    let mut families = Vec::new();
    for caller in callers {
        let share = caller.await.context("a caller panicked")??;
        for latency in share.latencies {
            latencies.record(u64::from(latency.max(1)))?;
        }
        families.extend(share.families);
    }
    let counted = Counted {
        time: after.at - before.at,
        latencies,
        server_cpu: after.cpu.saturating_sub(before.cpu),
        log_syncs: after.syncs.saturating_sub(before.syncs),
        entries: after.entries.saturating_sub(before.entries),
        commands: after.commands.saturating_sub(before.commands),
        durability: nodes::durability(args.nodes, cluster),
    };
    Ok((counted, families))
}

async fn call(tenant: Tenant, mut families: Vec<Spun>, phase: Arc<AtomicU8>) -> Result<Share> {
    let mut latencies = Vec::new();
    let mut place = 0;
    while phase.load(Ordering::Relaxed) != END {
        let next = (place + 1) % families.len();
        let family = &mut families[place];
        place = next;
        let family_generation = family.token.generation();
        let started = Instant::now();
        let rotation = tenant.rotate(&family.token, RotateContext::new(CLIENT), PATIENCE).await?;
        let latency = started.elapsed();
        if phase.load(Ordering::Relaxed) == CLOCK {
            latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        }
        let Rotation::Rotated(issued) = rotation else {
            bail!("a rotation that nobody else asked for was answered {rotation:?}");
        };
        ensure!(
            issued.generation == family_generation.next(),
            "generation {} was rotated into {}",
            family_generation.0,
            issued.generation.0
        );
        family.token = issued.token;
        family.rotations += 1;
    }
    Ok(Share { families, latencies })
}

async fn counters(cluster: &Cluster) -> Result<Counters> {
    let at = Instant::now();
    let cpu = cluster.cpu_time();
    let mut syncs = 0;
    let (mut entries, mut commands) = (0, 0);
    for node in 0..cluster.len() {
        let status = cluster.client(node)?.admin().status(PATIENCE).await?;
        syncs += status.log_syncs;
        if node == 0 {
            (entries, commands) = (status.log_entries, status.commands_applied);
        }
    }
    Ok(Counters { at, cpu, syncs, entries, commands })
}

/// Every family is at the generation that its caller was told.
async fn check(tenant: &Tenant, families: &[Spun]) -> Result<()> {
    let checks = families.iter().map(|family| async move {
        let id = family.token.family();
        let read = tenant.get_family(id, Consistency::Linearizable, PATIENCE).await?;
        let generation = read.value.generation.0;
        ensure!(read.value.dead.is_none(), "family {id} is dead");
        ensure!(
            generation == family.rotations,
            "family {id} has generation {generation} after {} acknowledged rotations",
            family.rotations
        );
        Ok(())
    });
    futures::stream::iter(checks).buffer_unordered(CONCURRENCY).try_collect::<()>().await
}
