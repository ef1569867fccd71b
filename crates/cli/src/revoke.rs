//! `jeton revoke`: everything that matches dies, in one step.

use clap::Args;
use jeton_client::{Cut, FamilyId, Position, Revocation, Revoked, UnixMs};
use serde::Serialize;

use crate::args::{Connection, TenantFlag};
use crate::connect;
use crate::exit::Exit;
use crate::family::family_id;
use crate::output::{Format, Report, Table, as_text};

const EXAMPLES: &str = "\
Examples:
  jeton revoke --tenant acme --subject alice              log alice out everywhere
  jeton revoke --tenant acme --subject alice --device tv  … on that device
  jeton revoke --tenant acme --client web --reason leak   all that was given to a client
  jeton revoke --tenant acme --tenant-wide                everything of the tenant
  jeton revoke --tenant acme --jti 7f3a --client web      one access token

What was made before the printed position, and matches all that is named, is dead on every node.";

/// See [`crate::args::Command::Revoke`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RevokeArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// Told to those whom it hits; at most 256 bytes.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The access token's `exp` claim, in Unix seconds. Without it: as late as one that the tenant
    /// issues now.
    #[arg(long, value_name = "SECONDS", requires = "jti")]
    pub expires_at: Option<u64>,
    /// What dies.
    #[command(flatten)]
    pub what: What,
}

/// What dies: all that is named must match.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct What {
    /// Everything of this subject.
    #[arg(long, value_name = "ID")]
    pub subject: Option<String>,
    /// Everything of this OAuth client.
    #[arg(long, value_name = "ID")]
    pub client: Option<String>,
    /// Everything on this device.
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// This session, and everything that is bound to it.
    #[arg(long, value_name = "SID")]
    pub session: Option<String>,
    /// One family: 32 hexadecimal digits.
    #[arg(long, value_name = "FAMILY", value_parser = family_id)]
    #[arg(conflicts_with_all = ["subject", "client", "device", "session"])]
    pub family: Option<FamilyId>,
    /// One access token, by its `jti`, of the client that is named.
    #[arg(long, value_name = "JTI", requires = "client")]
    #[arg(conflicts_with_all = ["subject", "device", "session", "family"])]
    pub jti: Option<String>,
    /// Everything of the tenant.
    #[arg(long)]
    #[arg(conflicts_with_all = ["subject", "client", "device", "session", "family", "jti"])]
    pub tenant_wide: bool,
}

/// Runs it.
pub async fn run(args: RevokeArgs, format: Format) -> anyhow::Result<Exit> {
    let tenant = connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?;
    let timeout = args.connection.timeout;
    let what = args.what;
    if let Some(family) = what.family {
        let revoked = tenant.revoke_family(family, args.reason.as_deref(), timeout).await?;
        format.print(&RevokedReport::of(revoked))?;
        return Ok(Exit::Ok);
    }
    if let (Some(jti), Some(client)) = (&what.jti, &what.client) {
        let expires_at = args.expires_at.map(|seconds| UnixMs(seconds.saturating_mul(1_000)));
        let revoked = tenant.revoke_access_token(jti, client, expires_at, timeout).await?;
        format.print(&RevokedReport::of(revoked))?;
        return Ok(Exit::Ok);
    }
    let mut cut = Cut::of_whole_tenant();
    if let Some(subject) = &what.subject {
        cut = cut.subject(subject);
    }
    if let Some(client) = &what.client {
        cut = cut.client(client);
    }
    if let Some(device) = &what.device {
        cut = cut.device(device);
    }
    if let Some(session) = &what.session {
        cut = cut.session(session);
    }
    if let Some(reason) = &args.reason {
        cut = cut.reason(reason);
    }
    let position = tenant.revoke_where(cut, timeout).await?;
    format.print(&RevokedReport { result: "REVOKED", position })?;
    Ok(Exit::Ok)
}

/// A revocation as it is printed.
#[derive(Debug, Serialize)]
pub struct RevokedReport {
    result: &'static str,
    #[serde(serialize_with = "as_text")]
    position: Position,
}

impl RevokedReport {
    /// As answered.
    pub fn of(revoked: Revoked) -> Self {
        let result = match revoked.outcome {
            Revocation::Revoked => "REVOKED",
            Revocation::Already => "ALREADY",
            Revocation::Unknown => "UNKNOWN",
        };
        Self { result, position: revoked.position }
    }
}

impl Report for RevokedReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([
            ("result", self.result.to_owned()),
            ("position", self.position.to_string()),
        ]);
        table.note(match self.result {
            "ALREADY" => "It was dead before.",
            "UNKNOWN" => "Nothing to revoke: no such token or family is known, or it has expired.",
            _ => "Dead on every node, from this position on.",
        });
        table
    }
}
