//! `jeton suspend`, `jeton resume` and `jeton reauthenticate`: what is dead for a while, and who
//! must log in anew.

use clap::Args;
use jeton_client::{ClientId, FamilyId, Held, Position, SubjectId, Suspendable};
use serde::Serialize;

use crate::args::{Connection, TenantFlag};
use crate::connect;
use crate::exit::{Exit, Usage};
use crate::family::family_id;
use crate::output::{Format, Report, Table, as_text};

const EXAMPLES: &str = "\
Examples:
  jeton suspend --tenant acme --subject alice --reason fraud
  jeton resume --tenant acme --subject alice
  jeton suspend --tenant acme --tenant-wide

While it lasts, everything that hangs on what is named answers REVOKED with the cause SUSPENSION.
Lifetimes go on meanwhile, and what is killed meanwhile stays dead.";

/// See [`crate::args::Command::Suspend`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SuspendArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// Told to those whom it hits; at most 256 bytes.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// What is suspended.
    #[command(flatten)]
    pub what: What,
}

/// See [`crate::args::Command::Resume`].
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// What lives again.
    #[command(flatten)]
    pub what: What,
}

/// One root.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// All that is this subject's, its sessions included.
    #[arg(long, value_name = "ID")]
    pub subject: Option<String>,
    /// All that was given to this OAuth client.
    #[arg(long, value_name = "ID")]
    pub client: Option<String>,
    /// One family: 32 hexadecimal digits.
    #[arg(long, value_name = "FAMILY", value_parser = family_id)]
    pub family: Option<FamilyId>,
    /// Everything of the tenant.
    #[arg(long)]
    pub tenant_wide: bool,
}

/// See [`crate::args::Command::Reauthenticate`].
#[derive(Debug, Args)]
pub struct ReauthenticateArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// Who must log in anew.
    #[arg(value_name = "SUBJECT")]
    pub subject: String,
    /// Told to those whom it hits; at most 256 bytes.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl What {
    fn root(self) -> anyhow::Result<Suspendable> {
        let wrong = |error| Usage::error(format!("{error}"));
        Ok(match self {
            Self { subject: Some(subject), .. } => {
                Suspendable::Subject(SubjectId::new(&subject).map_err(wrong)?)
            }
            Self { client: Some(client), .. } => {
                Suspendable::Client(ClientId::new(&client).map_err(wrong)?)
            }
            Self { family: Some(family), .. } => Suspendable::Family(family),
            Self { .. } => Suspendable::Tenant,
        })
    }
}

/// Runs `jeton suspend`.
pub async fn suspend(args: SuspendArgs, format: Format) -> anyhow::Result<Exit> {
    let what = args.what.root()?;
    let tenant = connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?;
    let held = tenant.suspend(what, args.reason.as_deref(), args.connection.timeout).await?;
    format.print(&HeldReport::of("SUSPENDED", held))?;
    Ok(Exit::Ok)
}

/// Runs `jeton resume`.
pub async fn resume(args: ResumeArgs, format: Format) -> anyhow::Result<Exit> {
    let what = args.what.root()?;
    let tenant = connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?;
    let held = tenant.resume(what, args.connection.timeout).await?;
    format.print(&HeldReport::of("RESUMED", held))?;
    Ok(Exit::Ok)
}

/// Runs `jeton reauthenticate`.
pub async fn reauthenticate(args: ReauthenticateArgs, format: Format) -> anyhow::Result<Exit> {
    let tenant = connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?;
    let (reason, timeout) = (args.reason.as_deref(), args.connection.timeout);
    let position = tenant.require_reauthentication(&args.subject, reason, timeout).await?;
    format.print(&HeldReport { result: "REQUIRED", already: false, position })?;
    Ok(Exit::Ok)
}

#[derive(Debug, Serialize)]
struct HeldReport {
    result: &'static str,
    already: bool,
    #[serde(serialize_with = "as_text")]
    position: Position,
}

impl HeldReport {
    fn of(result: &'static str, held: Held) -> Self {
        Self { result, already: held.already, position: held.position }
    }
}

impl Report for HeldReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([
            ("result", self.result.to_owned()),
            ("position", self.position.to_string()),
        ]);
        table.note(match (self.result, self.already) {
            ("REQUIRED", _) => "Sessions and tokens from an earlier log-in are dead.",
            (_, true) => "It was so before: nothing changed.",
            (_, false) => "So on every node, from this position on.",
        });
        table
    }
}
