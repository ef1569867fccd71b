//! `jeton revocation show`: what a revocation was, and how far its sweep is.

use clap::{Args, Subcommand};
use jeton_client::{Consistency, Position, RevocationProgress, SweepProgress};
use serde::Serialize;

use crate::args::{Connection, TenantFlag};
use crate::connect;
use crate::exit::Exit;
use crate::output::{Format, Report, Table, as_text};

/// See [`crate::args::Command::Revocation`].
#[derive(Debug, Args)]
pub struct RevocationArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RevocationCommand,
}

/// What to do with a revocation.
#[derive(Debug, Subcommand)]
pub enum RevocationCommand {
    /// Show what was revoked, and how far the sweep that marks it is.
    Show(ShowArgs),
}

/// See [`RevocationCommand::Show`].
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// The position that `jeton revoke` printed.
    #[arg(value_name = "POSITION")]
    pub revocation: u64,
}

/// Runs it.
pub async fn run(args: RevocationArgs, format: Format) -> anyhow::Result<Exit> {
    let RevocationCommand::Show(args) = args.command;
    let tenant = connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?;
    let (revocation, timeout) = (Position(args.revocation), args.connection.timeout);
    let read = tenant.revocation(revocation, Consistency::Linearizable, timeout).await?;
    format.print(&Shown::of(read.value))?;
    Ok(Exit::Ok)
}

/// A revocation as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(serialize_with = "as_text")]
    revocation: Position,
    at_unix_ms: u64,
    /// `CUTOFF`, `SWEEPING` or `DONE`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    criteria: Vec<String>,
    kept_families: Vec<String>,
    kept_sessions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sweep: Option<Sweep>,
}

#[derive(Debug, Serialize)]
struct Sweep {
    rows_looked_at: u64,
    rows_estimate: u64,
    families_marked: u64,
    sessions_marked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_at_unix_ms: Option<u64>,
}

impl Shown {
    fn of(view: RevocationProgress) -> Self {
        let it = view.matching;
        let named = [
            ("subject", it.subject.map(|id| id.to_string())),
            ("client", it.client.map(|id| id.to_string())),
            ("device", it.device.map(|id| id.to_string())),
            ("session", it.session.map(|id| id.to_string())),
            ("region", it.region.map(|text| text.to_string())),
            ("ip", it.ip.map(|range| range.to_string())),
            ("created_before_unix_ms", it.created_before.map(|before| before.0.to_string())),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut criteria: Vec<_> = named.map(|(name, value)| format!("{name}={value}")).collect();
        let attributes = it.attributes.iter();
        criteria.extend(attributes.map(|(name, value)| format!("attribute {name}={value}")));
        Self {
            revocation: view.revocation,
            at_unix_ms: view.at.0,
            state: match &view.sweep {
                None => "CUTOFF",
                Some(SweepProgress { done_at: None, .. }) => "SWEEPING",
                Some(_) => "DONE",
            },
            reason: view.reason.map(|text| text.to_string()),
            criteria,
            kept_families: view.kept.families.iter().map(ToString::to_string).collect(),
            kept_sessions: view.kept.sessions.iter().map(ToString::to_string).collect(),
            sweep: view.sweep.map(|sweep| Sweep {
                rows_looked_at: sweep.looked,
                rows_estimate: sweep.rows_estimate,
                families_marked: sweep.families,
                sessions_marked: sweep.sessions,
                done_at_unix_ms: sweep.done_at.map(|at| at.0),
            }),
        }
    }
}

impl Report for Shown {
    fn table(&self) -> Table {
        let criteria = match self.criteria.is_empty() {
            true => "the whole tenant".to_owned(),
            false => self.criteria.join(" "),
        };
        let mut table = Table::facts([
            ("revocation", self.revocation.to_string()),
            ("state", self.state.to_owned()),
            ("criteria", criteria),
        ]);
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        if let Some(reason) = &self.reason {
            row("reason", reason.clone());
        }
        for family in &self.kept_families {
            row("kept family", family.clone());
        }
        for session in &self.kept_sessions {
            row("kept session", session.clone());
        }
        if let Some(sweep) = &self.sweep {
            let about = match sweep.rows_estimate {
                0 => String::new(),
                rows => format!(" of about {rows}"),
            };
            row("looked at", format!("{} rows{about}", sweep.rows_looked_at));
            let marked = (sweep.families_marked, sweep.sessions_marked);
            row("marked", format!("{} families, {} sessions", marked.0, marked.1));
        }
        table.note("In force since its position, whatever the sweep has marked.");
        table
    }
}
