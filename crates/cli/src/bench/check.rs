//! `jeton bench check`: what a local check of an access token costs a resource server.
//!
//! One node that really syncs is given its revocations; a view of them is taken as any resource
//! server would, and asked in random order. Every answer is checked. Beside it, in the same run,
//! stands the least that such a check could cost: a look into a plain hash map.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use jeton_client::{
    Claims, Client, Config, Cut, FamilyId, Position, RevocationView, Tenant, Verdict, ViewOptions,
};
use jeton_harness::cluster::{Cluster, ClusterSpec};
use tokio::time::Instant;

use super::report::CheckReport;
use crate::exit::Exit;
use crate::output::Format;

const TENANT: &str = "bench";
const CLIENT: &str = "bench";
/// How long any call may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the whole snapshot may take.
const SNAPSHOT_TIME: Duration = Duration::from_secs(120);
/// Revocations at once.
const CONCURRENCY: usize = 1_024;
/// Of so many entries one is a cut of a subject, the others are access tokens.
const CUT_EVERY: usize = 4;
/// Checks between two looks at the clock.
const ROUND: usize = 65_536;

/// See [`super::BenchCommand::Check`].
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Revocations that the view holds.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(16..=20_000_000))]
    pub entries: u32,
    /// How long each figure is measured, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// Keep the node's data in this directory (it must be empty) instead of in a temporary one.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs it.
pub async fn run(args: CheckArgs, format: Format) -> Result<Exit> {
    let binary = std::env::current_exe().context("can't find this program")?;
    let mut spec = ClusterSpec::new(binary, 1);
    spec.dir = args.dir.clone();
    spec.flags = vec!["--log-filter".into(), "warn".into()];
    let mut cluster = Cluster::start(spec)?;
    cluster.wait_ready(PATIENCE).await?;
    let client = Client::connect(Config::new(cluster.endpoints())).await?;
    client.admin().create_tenant(TENANT, Default::default(), PATIENCE).await?;
    let tenant = client.tenant(TENANT)?;

    let started = Instant::now();
    revoke(&tenant, args.entries as usize).await?;
    eprintln!("{} revocations in {:.1} s", args.entries, started.elapsed().as_secs_f64());
    let last = tenant.revoke_where(Cut::of_subject("last"), PATIENCE).await?;

    let before = resident_bytes();
    let started = Instant::now();
    // What is measured is the check; a view that lags would answer something else.
    let options = ViewOptions { max_staleness: PATIENCE, ..ViewOptions::default() };
    let view = tenant.view(options)?;
    view.fresh(last, SNAPSHOT_TIME).await?;
    let loaded = started.elapsed();
    let entries = view.len();
    ensure!(entries == u64::from(args.entries) + 1, "the view holds {entries} entries");
    let resident = resident_bytes().zip(before).map(|(now, before)| now.saturating_sub(before));

    let bench = Bench {
        view,
        names: Names::new(args.entries as usize),
        seconds: Duration::from_secs(args.seconds),
        last,
    };
    let bytes = bench.view.bytes();
    // Other threads of the runtime keep the view meanwhile.
    let times = tokio::task::block_in_place(|| bench.measure())?;
    cluster.stop_all(Duration::from_secs(20)).await?;
    format.print(&CheckReport::of(&times, entries, bytes, resident, loaded))?;
    Ok(Exit::Ok)
}

/// Nanoseconds of one call each.
#[derive(Debug)]
pub struct Times {
    /// A token with all claims that is active: nothing is found anywhere.
    pub active_ns: f64,
    /// A token with all claims that was revoked by name.
    pub denied_ns: f64,
    /// A token with nothing but its name, that was revoked: one look.
    pub one_look_ns: f64,
    /// Asking how old the view is: part of what an active token costs.
    pub staleness_ns: f64,
    /// The same names in `std`'s hash map: one look.
    pub hash_map_ns: f64,
}

async fn revoke(tenant: &Tenant, entries: usize) -> Result<()> {
    let revoked = (0..entries).map(|number| async move {
        if number % CUT_EVERY == 0 {
            let cut = Cut::of_subject(format!("user-{number}"));
            tenant.revoke_where(cut, PATIENCE).await.map(drop)
        } else {
            tenant.revoke_access_token(jti(number), CLIENT, None, PATIENCE).await.map(drop)
        }
    });
    futures::stream::iter(revoked).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    Ok(())
}

fn jti(number: usize) -> String {
    format!("{number:016x}-access-token")
}

/// What tokens say, made before the clock runs, in the order in which they are asked about.
struct Names {
    revoked: Vec<String>,
    active: Vec<String>,
    subjects: Vec<String>,
    sessions: Vec<String>,
}

impl Names {
    fn new(entries: usize) -> Self {
        // A step that shares no divisor with their number visits all, far from each other.
        let step = (entries / 2 + 7_919..).find(|step| coprime(*step, entries)).unwrap_or(1);
        let order = (0..entries).map(|turn| turn * step % entries);
        let revoked: Vec<_> = order.filter(|number| number % CUT_EVERY != 0).collect();
        let of = |prefix: &str| -> Vec<_> {
            revoked.iter().map(|number| format!("{prefix}-{number}")).collect()
        };
        Self {
            active: of("other-access-token"),
            subjects: of("user"),
            sessions: of("session"),
            revoked: revoked.into_iter().map(jti).collect(),
        }
    }
}

fn coprime(mut one: usize, mut other: usize) -> bool {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one == 1
}

struct Bench {
    view: RevocationView,
    names: Names,
    seconds: Duration,
    /// Tokens are newer than every cut.
    last: Position,
}

impl Bench {
    fn measure(&self) -> Result<Times> {
        let (view, names) = (&self.view, &self.names);
        let all = |jti, place: usize| {
            let mut family = [0; 16];
            family[..8].copy_from_slice(&(place as u64).to_le_bytes());
            Claims {
                jti: Some(jti),
                subject: Some(&*names.subjects[place]),
                client: Some(CLIENT),
                device: None,
                session: Some(&*names.sessions[place]),
                family: Some(FamilyId(family)),
                position: Some(self.last),
                issued_at: None,
            }
        };
        let active_ns =
            self.time(|place| view.check(&all(&*names.active[place], place)) == Verdict::Active)?;
        let denied_ns = self.time(|place| {
            matches!(view.check(&all(&*names.revoked[place], place)), Verdict::Denied(_))
        })?;
        let one_look_ns = self.time(|place| {
            let (jti, client) = (Some(&*names.revoked[place]), Some(CLIENT));
            matches!(view.check(&Claims { jti, client, ..Claims::default() }), Verdict::Denied(_))
        })?;
        let staleness_ns = self.time(|_| view.staleness().is_some())?;
        let map: HashMap<&str, usize> =
            names.revoked.iter().enumerate().map(|(place, jti)| (&**jti, place)).collect();
        let hash_map_ns = self.time(|place| map.get(&*names.revoked[place]) == Some(&place))?;
        Ok(Times { active_ns, denied_ns, one_look_ns, staleness_ns, hash_map_ns })
    }

    /// Nanoseconds of one call, and that each of them is answered as it must be.
    fn time(&self, mut ask: impl FnMut(usize) -> bool) -> Result<f64> {
        let len = self.names.revoked.len();
        let (mut calls, mut right, mut place) = (0_u64, 0_u64, 0);
        let started = Instant::now();
        while started.elapsed() < self.seconds {
            for _ in 0..ROUND {
                right += u64::from(black_box(ask(black_box(place))));
                place = if place + 1 == len { 0 } else { place + 1 };
            }
            calls += ROUND as u64;
        }
        let elapsed = started.elapsed();
        ensure!(right == calls, "{} of {calls} answers were wrong", calls - right);
        Ok(super::report::ratio(elapsed.as_nanos(), u128::from(calls)))
    }
}

/// Memory of this process, if the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_revoked_name_is_asked_about_once_a_round() {
        for entries in [16, 1_000, 4_096] {
            let names = Names::new(entries);
            let mut seen = names.revoked.clone();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), entries - entries.div_ceil(CUT_EVERY));
            assert_eq!(names.subjects.len(), seen.len());
        }
    }
}
