//! `jeton record kind`: what holds for all records of a kind.

use std::time::Duration;

use clap::{Args, Subcommand};
use jeton_client::admin::Admin;
use jeton_client::{AttemptLimits, OnExpiry, RecordKind, RecordKindSettings};
use serde::Serialize;

use crate::duration;
use crate::exit::Exit;
use crate::output::{Format, Report, Table, or_dash};

/// What to do with kinds.
#[derive(Debug, Subcommand)]
pub enum KindCommand {
    /// Replace all settings of a kind. What isn't named gets its default.
    Set(SetArgs),
    /// List the kinds that were set.
    List,
}

/// See [`KindCommand::Set`].
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Which kind.
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// Expired records are readable, marked as such, until they are collected. Default: hidden.
    #[arg(long)]
    pub keep_expired: bool,
    /// How many look-ups of one guesser may miss in a window. Default: not counted.
    #[arg(long, value_name = "COUNT", requires = "misses_per_tenant")]
    pub misses: Option<u32>,
    /// How many of all guessers together.
    #[arg(long, value_name = "COUNT", requires = "misses")]
    pub misses_per_tenant: Option<u32>,
    /// How long a window lasts: 1s to 24h.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "10m")]
    pub window: Duration,
}

/// Runs it.
pub async fn run(
    admin: &Admin,
    tenant: &str,
    command: KindCommand,
    timeout: Duration,
    format: Format,
) -> anyhow::Result<Exit> {
    if let KindCommand::Set(set) = command {
        let window = u64::try_from(set.window.as_millis()).unwrap_or(u64::MAX);
        let limits = set.misses.zip(set.misses_per_tenant);
        let attempts = limits.map(|(misses_per_guesser, misses_per_tenant)| AttemptLimits {
            misses_per_guesser,
            misses_per_tenant,
            window: jeton_core::ids::DurationMs(window),
        });
        let on_expiry = if set.keep_expired { OnExpiry::Keep } else { OnExpiry::Hide };
        let settings = RecordKindSettings { on_expiry, attempts };
        admin.set_record_kind(tenant, &set.kind, settings, timeout).await?;
    }
    let kinds = admin.record_kinds(tenant, timeout).await?;
    let kinds = kinds.iter().map(|(kind, settings)| KindReport::new(kind, settings)).collect();
    format.print(&KindsReport { kinds })?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct KindsReport {
    kinds: Vec<KindReport>,
}

#[derive(Serialize)]
struct KindReport {
    kind: String,
    keep_expired: bool,
    misses_per_guesser: Option<u32>,
    misses_per_tenant: Option<u32>,
    window_ms: Option<u64>,
}

impl KindReport {
    fn new(kind: &RecordKind, settings: &RecordKindSettings) -> Self {
        Self {
            kind: kind.as_str().to_owned(),
            keep_expired: settings.on_expiry == OnExpiry::Keep,
            misses_per_guesser: settings.attempts.map(|it| it.misses_per_guesser),
            misses_per_tenant: settings.attempts.map(|it| it.misses_per_tenant),
            window_ms: settings.attempts.map(|it| it.window.0),
        }
    }
}

impl Report for KindsReport {
    fn table(&self) -> Table {
        let mut table = Table::new(["KIND", "EXPIRED", "MISSES", "PER TENANT", "WINDOW"]);
        for kind in &self.kinds {
            table.row([
                kind.kind.clone(),
                if kind.keep_expired { "kept" } else { "hidden" }.to_owned(),
                or_dash(kind.misses_per_guesser),
                or_dash(kind.misses_per_tenant),
                or_dash(kind.window_ms.map(duration::show)),
            ]);
        }
        table
    }
}
