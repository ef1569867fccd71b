//! `jeton bench revoke`: a revocation by address, in force at its position, under load.
//!
//! ```text
//!   warm-up │ before │ RevokeWhere(10.0.0.0/8) … its sweep is through │ after │ all are asked
//! ```
//!
//! Half of the families were last seen inside 10.0.0.0/8, half outside. Callers in a closed loop
//! rotate those outside: they are the speed that is measured. From when the revocation is answered
//! on, every fourth of their rotations comes from inside, which must not pull anybody in. A few
//! more callers rotate families inside, from then on from an address outside, which must not save
//! them. Every single answer is judged.

mod load;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use jeton_client::admin::SettingsChange;
use jeton_client::{
    Client, Config, Consistency, Cut, NewFamily, Position, RevocationProgress, SweepProgress,
    Tenant,
};
use tokio::time::{Instant, sleep};

use super::nodes::{self, PATIENCE};
use crate::exit::{Exit, Usage};
use crate::output::Format;
use load::{Family, Sample, Stage};
use report::{Moments, RevokeReport, Verdict};

const TENANT: &str = "bench";
const CLIENT: &str = "bench";
/// What is revoked.
const RANGE: &str = "10.0.0.0/8";
/// Calls at once while families are created and checked.
const CONCURRENCY: usize = 256;
/// Callers that rotate families inside. They are not measured.
const PROBES: usize = 8;
/// How often the sweep's progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// A sweep that takes longer is given up.
const SWEEP_PATIENCE: Duration = Duration::from_secs(1_800);

/// See [`super::BenchCommand::Revoke`].
#[derive(Debug, Clone, Args)]
pub struct RevokeArgs {
    /// Nodes, each a process of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// Families: half of them are revoked.
    #[arg(long, value_name = "COUNT", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=100_000_000))]
    pub families: u32,
    /// Callers that each wait for one answer at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub in_flight: u32,
    /// How long the clock runs before the revocation, and again after its sweep, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// How long the load runs before the clock does, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub warmup: u64,
    /// Keep the nodes' data in this directory (it must be empty) instead of in a temporary one.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What the run has shown.
struct Ran {
    moments: Moments,
    samples: Vec<Sample>,
    revocation: Position,
    sweep: SweepProgress,
    /// How long the sweep took, by the cluster's clock.
    swept_in: Duration,
    inside: Vec<Family>,
    outside: Vec<Family>,
}

/// Runs it.
pub async fn run(args: RevokeArgs, format: Format) -> Result<Exit> {
    if args.families / 2 < args.in_flight {
        let problem = "--families must be at least twice --in-flight: callers share none";
        return Err(Usage::error(problem));
    }
    let mut cluster = nodes::start(args.nodes, args.dir.clone()).await?;
    let client = Client::connect(Config::new(cluster.endpoints()).prefer_leader(true)).await?;
    let unlimited = SettingsChange::new().rotations_per_s(0);
    client.admin().create_tenant(TENANT, unlimited, PATIENCE).await?;
    let tenant = client.tenant(TENANT)?;

    let began = Instant::now();
    let (inside, outside) = create(&tenant, args.families).await?;
    eprintln!("{} families in {:.1} s", args.families, began.elapsed().as_secs_f64());
    let ran = measure(&args, &tenant, inside, outside).await?;
    let verdict = judge(&tenant, &ran).await?;
    let durability = nodes::durability(args.nodes, &cluster);
    cluster.stop_all(Duration::from_secs(20)).await?;

    let report = RevokeReport::of(&ran, &verdict, durability)?;
    format.print(&report)?;
    for wrong in &verdict.wrong {
        eprintln!("wrong: {wrong}");
    }
    Ok(if verdict.is_right() { Exit::Ok } else { Exit::Refused })
}

/// As many families inside as outside.
async fn create(tenant: &Tenant, families: u32) -> Result<(Vec<Family>, Vec<Family>)> {
    let made = futures::stream::iter(0..families).map(|number| async move {
        let is_inside = number % 2 == 0;
        let ip = if is_inside { load::inside(number) } else { load::outside(number) };
        let new = NewFamily::new(format!("user-{number}"), CLIENT).device("bench").ip(&ip);
        let issued = tenant.create_family(new, PATIENCE).await?;
        anyhow::Ok((is_inside, Family::new(issued)))
    });
    let made: Vec<_> = made.buffer_unordered(CONCURRENCY).try_collect().await?;
    let (inside, outside): (Vec<_>, Vec<_>) = made.into_iter().partition(|(inside, _)| *inside);
    let bare = |families: Vec<(bool, Family)>| families.into_iter().map(|(_, it)| it).collect();
    Ok((bare(inside), bare(outside)))
}

/// Shares families among this many callers.
fn dealt(families: Vec<Family>, callers: usize) -> Vec<Vec<Family>> {
    let mut shares: Vec<Vec<Family>> = (0..callers).map(|_| Vec::new()).collect();
    for (place, family) in families.into_iter().enumerate() {
        shares[place % callers].push(family);
    }
    shares.retain(|share| !share.is_empty());
    shares
}

async fn measure(
    args: &RevokeArgs,
    tenant: &Tenant,
    inside: Vec<Family>,
    outside: Vec<Family>,
) -> Result<Ran> {
    let stage = Arc::new(Stage::new());
    let start = |share| tokio::spawn(load::rotate(tenant.clone(), share, Arc::clone(&stage)));
    let callers: Vec<_> = dealt(outside, args.in_flight as usize).into_iter().map(start).collect();
    let probe = |share| tokio::spawn(load::probe(tenant.clone(), share, Arc::clone(&stage)));
    let probes: Vec<_> = dealt(inside, PROBES).into_iter().map(probe).collect();

    sleep(Duration::from_secs(args.warmup)).await;
    let clock = stage.now();
    sleep(Duration::from_secs(args.seconds)).await;
    let asked = stage.now();
    let cut = Cut::of_whole_tenant().ip(RANGE).reason("bench");
    let revocation = tenant.revoke_matching(cut, PATIENCE).await?.revocation;
    let answered = stage.now();
    stage.revoked(revocation);
    eprintln!("revoked at {revocation} in {:.1} ms", (answered - asked).as_secs_f64() * 1_000.0);
    let (sweep, swept_in) = until_swept(tenant, revocation).await?;
    let swept = stage.now();
    sleep(Duration::from_secs(args.seconds)).await;
    let end = stage.now();
    stage.end();

    let (mut samples, mut inside, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    for caller in callers {
        let share = caller.await.context("a caller panicked")??;
        samples.extend(share.samples);
        outside.extend(share.families);
    }
    for probe in probes {
        inside.extend(probe.await.context("a caller panicked")??);
    }
    let moments = Moments { clock, asked, answered, swept, end };
    Ok(Ran { moments, samples, revocation, sweep, swept_in, inside, outside })
}

/// Follows the sweep to its end, and tells how far it is.
async fn until_swept(tenant: &Tenant, revocation: Position) -> Result<(SweepProgress, Duration)> {
    let deadline = Instant::now() + SWEEP_PATIENCE;
    let mut tell_at = Instant::now();
    loop {
        let seen = tenant.revocation(revocation, Consistency::Linearizable, PATIENCE).await?;
        let RevocationProgress { at, sweep, .. } = seen.value;
        let sweep = sweep.context("a revocation by address has no sweep")?;
        let SweepProgress { looked, rows_estimate, families, .. } = sweep;
        if let Some(done_at) = sweep.done_at {
            eprintln!("swept: {families} families marked");
            return Ok((sweep, Duration::from_millis(done_at.0.saturating_sub(at.0))));
        }
        ensure!(Instant::now() < deadline, "the sweep does not end: {sweep:?}");
        if Instant::now() >= tell_at {
            tell_at = Instant::now() + TELL_EVERY;
            eprintln!("sweeping: {looked} of about {rows_estimate} rows, {families} marked");
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Judges what every caller was told, and asks for every family once more.
async fn judge(tenant: &Tenant, ran: &Ran) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let marked = ran.sweep.families;
    if marked != ran.inside.len() as u64 {
        let inside = ran.inside.len();
        verdict.wrong(format!("the sweep has marked {marked} families, and {inside} matched"));
    }
    let asked = ran.inside.iter().map(|family| load::saved(tenant, family, ran.revocation));
    let mut asked = futures::stream::iter(asked).buffer_unordered(CONCURRENCY);
    while let Some(saved) = asked.next().await {
        verdict.saved(saved?);
    }
    let asked = ran.outside.iter().map(|family| load::killed(tenant, family));
    let mut asked = futures::stream::iter(asked).buffer_unordered(CONCURRENCY);
    while let Some(killed) = asked.next().await {
        verdict.killed(killed?);
    }
    verdict.refused = ran.inside.iter().map(|family| family.refused + 1).sum();
    verdict.moved_in = ran.outside.iter().filter(|family| family.moved_in).count() as u64;
    Ok(verdict)
}
