//! `jeton lock`: locks that end by themselves, for scripts and for a look.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jeton_client::{
    Acquisition, Consistency, Fence, HeldView, HolderId, Lease, LeaseName, LockName, LockView,
    NewLease, Tenant,
};
use jeton_core::reply::Refusal;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Connection, TenantFlag};
use crate::connect;
use crate::duration;
use crate::exit::{Exit, Usage};
use crate::output::{Format, Report, Table, as_text, or_dash};
use crate::refused::Refused;

const EXAMPLES: &str = "\
Examples:
  jeton lock run nightly -- ./reindex.sh             only one of all hosts runs it
  jeton lock run nightly --wait 5m -- ./reindex.sh   … after the one that does
  jeton lock acquire deploy --holder $USER --ttl 10m
  jeton lock renew deploy --holder $USER --fence 4096
  jeton lock release deploy --holder $USER --fence 4096
  jeton lock status deploy

A lock is a lease: it ends when it is not renewed for its ttl. Every grant has a fence larger than
all before; send it along with whatever must not come late.";

/// See [`crate::args::Command::Lock`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LockArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// What to do.
    #[command(subcommand)]
    pub command: LockCommand,
}

/// What to do with a lock.
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Get a lock for as long as its ttl; nobody renews it for you.
    Acquire(AcquireArgs),
    /// Make a lease last for another ttl, counted from now.
    Renew(HeldArgs),
    /// Give a lock back.
    Release(HeldArgs),
    /// Who holds a lock, and how many wait.
    Status(StatusArgs),
    /// Run a command while holding a lock: its fence is in JETON_FENCE, its exit code is the
    /// command's. When the lease is lost the command gets SIGTERM, and SIGKILL later.
    Run(RunArgs),
}

/// How to ask for a lock.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The lock: 1 to 256 bytes.
    #[arg(value_name = "LOCK")]
    pub lock: String,
    /// Who asks, for those who look. Default: random.
    #[arg(long, value_name = "NAME")]
    pub holder: Option<String>,
    /// How long the lease lasts unless it is renewed: 100ms to 1h.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "15s")]
    pub ttl: Duration,
    /// How long to wait while another one holds it: at most 10m.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "0s")]
    pub wait: Duration,
}

/// See [`LockCommand::Acquire`].
#[derive(Debug, Args)]
pub struct AcquireArgs {
    /// How to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// A lease by its name.
#[derive(Debug, Args)]
pub struct HeldArgs {
    /// The lock.
    #[arg(value_name = "LOCK")]
    pub lock: String,
    /// Who holds it, as it was acquired.
    #[arg(long, value_name = "NAME")]
    pub holder: String,
    /// Its fence, as it was granted.
    #[arg(long, value_name = "NUMBER")]
    pub fence: u64,
}

/// See [`LockCommand::Status`].
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The lock.
    #[arg(value_name = "LOCK")]
    pub lock: String,
}

/// See [`LockCommand::Run`].
#[derive(Debug, Args)]
pub struct RunArgs {
    /// How to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// How long the command has between SIGTERM and SIGKILL.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "5s")]
    pub kill_after: Duration,
    /// The command and its arguments, behind `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Runs it.
pub async fn run(args: LockArgs, format: Format) -> anyhow::Result<Exit> {
    let timeout = args.connection.timeout;
    let tenant = async || -> anyhow::Result<Tenant> {
        Ok(connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?)
    };
    match &args.command {
        LockCommand::Acquire(acquire) => {
            let tenant = tenant().await?;
            match ask(&tenant, &acquire.ask, timeout).await? {
                Acquisition::Granted(lease) => {
                    format.print(&GrantedReport::of(lease.into_name(), acquire.ask.ttl))?;
                    Ok(Exit::Ok)
                }
                Acquisition::Held { holder, remaining } => refuse(held(holder, remaining), format),
            }
        }
        LockCommand::Renew(name) => {
            let name = name.lease()?;
            match tenant().await?.renew_leases(&[name], timeout).await?.is_empty() {
                true => done("RENEWED", format),
                false => refuse(Refusal::Lost, format),
            }
        }
        LockCommand::Release(name) => {
            let name = name.lease()?;
            match tenant().await?.release_lease(name, timeout).await? {
                true => done("RELEASED", format),
                false => refuse(Refusal::Lost, format),
            }
        }
        LockCommand::Status(status) => {
            let consistency = Consistency::Linearizable;
            let seen = tenant().await?.get_lock(&status.lock, consistency, timeout).await?;
            format.print(&StatusReport::of(seen.value))?;
            Ok(Exit::Ok)
        }
        LockCommand::Run(run) => {
            let tenant = tenant().await?;
            match ask(&tenant, &run.ask, timeout).await? {
                Acquisition::Granted(lease) => run_holding(run, lease, timeout).await,
                Acquisition::Held { holder, remaining } => {
                    let why = jeton_wire::refusal::message(&held(holder, remaining));
                    eprintln!("error: the command was not run: {why}");
                    Ok(Exit::Refused)
                }
            }
        }
    }
}

async fn ask(tenant: &Tenant, ask: &AskArgs, timeout: Duration) -> anyhow::Result<Acquisition> {
    let mut new = NewLease::new(&ask.lock).ttl(ask.ttl).wait(ask.wait);
    if let Some(holder) = &ask.holder {
        new = new.holder(holder);
    }
    Ok(tenant.acquire(new, timeout).await?)
}

fn held(holder: HolderId, remaining: Duration) -> Refusal {
    let remaining = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
    Refusal::Held { holder, remaining: jeton_core::ids::DurationMs(remaining) }
}

fn refuse(refusal: Refusal, format: Format) -> anyhow::Result<Exit> {
    format.print(&Refused::new(refusal))?;
    Ok(Exit::Refused)
}

fn done(result: &'static str, format: Format) -> anyhow::Result<Exit> {
    format.print(&DoneReport { result })?;
    Ok(Exit::Ok)
}

impl HeldArgs {
    fn lease(&self) -> anyhow::Result<LeaseName> {
        let lock = LockName::new(&self.lock).map_err(|error| Usage::error(error.to_string()))?;
        let holder =
            HolderId::new(&self.holder).map_err(|error| Usage::error(error.to_string()))?;
        Ok(LeaseName { lock, holder, fence: Fence(self.fence) })
    }
}

/// Runs the command, and ends this process with its exit code.
async fn run_holding(run: &RunArgs, lease: Lease, timeout: Duration) -> anyhow::Result<Exit> {
    let (program, arguments) = run.command.split_first().context("a command is required")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("JETON_FENCE", lease.fence().to_string())
        .env("JETON_LOCK", &run.ask.lock)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("can't run {}", program.to_string_lossy()))?;
    let ended = loop {
        tokio::select! {
            biased;
            ended = child.wait() => break ended?,
            () = lease.lost() => {
                eprintln!("error: the lease was lost: the command is stopped");
                break stop(&mut child, run.kill_after).await?;
            }
            // The command hears of it, and says what becomes of it.
            _ = terminate.recv() => tell(&child, Signal::TERM),
            // A terminal tells the command itself.
            _ = interrupt.recv() => {}
        }
    };
    if lease.is_held()
        && let Err(error) = lease.release(timeout).await
    {
        eprintln!("warning: the lock was not given back, its lease ends by itself: {error}");
    }
    // Nothing of this process is left to be done: what it ends with is the command's.
    std::process::exit(code_of(ended))
}

/// SIGTERM, and SIGKILL when that has not helped in time.
async fn stop(child: &mut Child, kill_after: Duration) -> anyhow::Result<ExitStatus> {
    tell(child, Signal::TERM);
    if let Ok(ended) = tokio::time::timeout(kill_after, child.wait()).await {
        return Ok(ended?);
    }
    child.start_kill()?;
    Ok(child.wait().await?)
}

fn tell(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // It may have ended just now.
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

/// As shells say it: the code, or 128 and the number of the signal.
fn code_of(ended: ExitStatus) -> i32 {
    ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or_default())
}

#[derive(Serialize)]
struct GrantedReport {
    result: &'static str,
    lock: String,
    holder: String,
    #[serde(serialize_with = "as_text")]
    fence: Fence,
    ttl_ms: u64,
}

impl GrantedReport {
    fn of(name: LeaseName, ttl: Duration) -> Self {
        Self {
            result: "GRANTED",
            lock: name.lock.to_string(),
            holder: name.holder.to_string(),
            fence: name.fence,
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Report for GrantedReport {
    fn table(&self) -> Table {
        Table::facts([
            ("result", self.result.to_owned()),
            ("lock", self.lock.clone()),
            ("holder", self.holder.clone()),
            ("fence", self.fence.to_string()),
            ("ttl", duration::show(self.ttl_ms)),
        ])
    }
}

#[derive(Serialize)]
struct DoneReport {
    result: &'static str,
}

impl Report for DoneReport {
    fn table(&self) -> Table {
        Table::facts([("result", self.result.to_owned())])
    }
}

#[derive(Serialize)]
struct StatusReport {
    state: &'static str,
    holder: Option<String>,
    /// As a string: it does not fit the numbers of every reader.
    fence: Option<String>,
    ttl_ms: Option<u64>,
    remaining_ms: Option<u64>,
    waiters: u32,
}

impl StatusReport {
    fn of(view: LockView) -> Self {
        let LockView { held, waiters } = view;
        let state = if held.is_some() { "HELD" } else { "FREE" };
        let mut report =
            Self { state, holder: None, fence: None, ttl_ms: None, remaining_ms: None, waiters };
        if let Some(HeldView { holder, fence, ttl, remaining }) = held {
            report.holder = Some(holder.to_string());
            report.fence = Some(fence.to_string());
            report.ttl_ms = Some(ttl.0);
            report.remaining_ms = Some(remaining.0);
        }
        report
    }
}

impl Report for StatusReport {
    fn table(&self) -> Table {
        Table::facts([
            ("state", self.state.to_owned()),
            ("holder", or_dash(self.holder.as_ref())),
            ("fence", or_dash(self.fence.as_ref())),
            ("ttl", or_dash(self.ttl_ms.map(duration::show))),
            ("left", or_dash(self.remaining_ms.map(duration::show))),
            ("waiting", self.waiters.to_string()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_killed_ends_as_shells_say_it() {
        assert_eq!(code_of(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code_of(ExitStatus::from_raw(0)), 0);
        assert_eq!(code_of(ExitStatus::from_raw(15)), 143);
    }
}
