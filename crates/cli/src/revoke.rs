//! `jeton revoke`: everything that matches dies, in one step.

use std::time::Duration;

use clap::Args;
use jeton_client::admin::Pending;
use jeton_client::{
    Client, Cut, FamilyId, MatchCount, Position, Revocation, Revoked, RevokedMatching, UnixMs,
};
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
  jeton revoke --tenant acme --ip 10.0.0.0/8 --dry-run    how much an office's network would be
  jeton revoke --tenant acme --region eu --created-before 1800000000 --wait-all
  jeton revoke --tenant acme --subject alice --except-session 7d1f
  jeton revoke --tenant acme --jti 7f3a --client web      one access token

What was made before the printed position, and matches all that is named, is dead on every node.
With --region, --ip, --attribute or --created-before that is: the families and sessions that match
there, and what is bound to those sessions. A sweep marks them later; see jeton revocation show.";

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
    /// But for this family, if it is alive: 32 hexadecimal digits. May be given often.
    #[arg(long, value_name = "FAMILY", value_parser = family_id)]
    #[arg(conflicts_with_all = ["family", "jti"])]
    pub except_family: Vec<FamilyId>,
    /// But for this session, if it is alive, and what is bound to it. May be given often.
    #[arg(long, value_name = "SID", conflicts_with_all = ["family", "jti"])]
    pub except_session: Vec<String>,
    /// Revoke nothing: say how much it would be.
    #[arg(long, conflicts_with_all = ["family", "jti", "wait_all"])]
    pub dry_run: bool,
    /// Wait, up to the timeout, until every member has applied it; else say which have not.
    #[arg(long)]
    pub wait_all: bool,
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
    /// What has this value of the attribute `region`.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// What was last seen at one of these addresses: 10.0.0.0/8, 2001:db8::/32, or one alone.
    #[arg(long, value_name = "RANGE")]
    pub ip: Option<String>,
    /// What has this attribute. May be given often.
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute)]
    pub attribute: Vec<(String, String)>,
    /// What was created before this time, in Unix seconds.
    #[arg(long, value_name = "SECONDS")]
    pub created_before: Option<u64>,
    /// One family: 32 hexadecimal digits.
    #[arg(long, value_name = "FAMILY", value_parser = family_id)]
    #[arg(conflicts_with_all = ["subject", "client", "device", "session"])]
    #[arg(conflicts_with_all = ["region", "ip", "attribute", "created_before"])]
    pub family: Option<FamilyId>,
    /// One access token, by its `jti`, of the client that is named.
    #[arg(long, value_name = "JTI", requires = "client")]
    #[arg(conflicts_with_all = ["subject", "device", "session", "family"])]
    #[arg(conflicts_with_all = ["region", "ip", "attribute", "created_before"])]
    pub jti: Option<String>,
    /// Everything of the tenant.
    #[arg(long)]
    #[arg(conflicts_with_all = ["subject", "client", "device", "session", "family", "jti"])]
    #[arg(conflicts_with_all = ["region", "ip", "attribute", "created_before"])]
    pub tenant_wide: bool,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs it.
pub async fn run(args: RevokeArgs, format: Format) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection).await?;
    let tenant = client.tenant(&args.tenant.tenant)?;
    let timeout = args.connection.timeout;
    let mut report = if let Some(family) = args.what.family {
        let revoked = tenant.revoke_family(family, args.reason.as_deref(), timeout).await?;
        RevokedReport::of(revoked)
    } else if let (Some(jti), Some(client)) = (&args.what.jti, &args.what.client) {
        let expires_at = args.expires_at.map(|seconds| UnixMs(seconds.saturating_mul(1_000)));
        let revoked = tenant.revoke_access_token(jti, client, expires_at, timeout).await?;
        RevokedReport::of(revoked)
    } else if args.dry_run {
        let matched = tenant.count_matching(&cut(&args), timeout).await?;
        format.print(&DryRun { result: "DRY_RUN", matched: matched.into() })?;
        return Ok(Exit::Ok);
    } else {
        RevokedReport::matching(tenant.revoke_matching(cut(&args), timeout).await?)
    };
    if args.wait_all {
        report.everywhere = Some(everywhere(&client, report.position, timeout).await?);
    }
    format.print(&report)?;
    Ok(Exit::Ok)
}

async fn everywhere(
    client: &Client,
    position: Position,
    timeout: Duration,
) -> anyhow::Result<Everywhere> {
    Ok(client.admin().wait_for_all(position, timeout).await?.into())
}

fn cut(args: &RevokeArgs) -> Cut {
    let what = &args.what;
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
    if let Some(region) = &what.region {
        cut = cut.region(region);
    }
    if let Some(range) = &what.ip {
        cut = cut.ip(range);
    }
    for (name, value) in &what.attribute {
        cut = cut.attribute(name, value);
    }
    if let Some(seconds) = what.created_before {
        cut = cut.created_before(UnixMs(seconds.saturating_mul(1_000)));
    }
    for family in &args.except_family {
        cut = cut.except_family(*family);
    }
    for session in &args.except_session {
        cut = cut.except_session(session);
    }
    match &args.reason {
        Some(reason) => cut.reason(reason),
        None => cut,
    }
}

/// How much matches, as it is printed.
#[derive(Debug, Serialize)]
pub struct Matched {
    families: u64,
    sessions: u64,
    exact: bool,
}

impl From<MatchCount> for Matched {
    fn from(MatchCount { families, sessions, exact }: MatchCount) -> Self {
        Self { families, sessions, exact }
    }
}

impl Matched {
    fn told(&self) -> String {
        let Self { families, sessions, exact } = self;
        if *exact {
            format!("{families} families, {sessions} sessions")
        } else {
            format!("about {families} families, at least {sessions} sessions")
        }
    }
}

/// How much it would be.
#[derive(Debug, Serialize)]
struct DryRun {
    result: &'static str,
    matched: Matched,
}

impl Report for DryRun {
    fn table(&self) -> Table {
        let mut table =
            Table::facts([("result", self.result.to_owned()), ("matched", self.matched.told())]);
        table.note("Nothing was revoked.");
        table
    }
}

/// Whether every member has applied it, as it is printed.
#[derive(Debug, Serialize)]
struct Everywhere {
    all: bool,
    /// Where clients reach those that have not said so.
    pending: Vec<String>,
    bounded_reads_safe_after_ms: u64,
}

impl From<Option<Pending>> for Everywhere {
    fn from(pending: Option<Pending>) -> Self {
        let safe = pending.as_ref().map(|pending| pending.bounded_reads_safe_after);
        let nodes = pending.into_iter().flat_map(|pending| pending.nodes);
        let pending: Vec<_> = nodes.map(|(node, at)| format!("{node} at {at}")).collect();
        let bounded_reads_safe_after_ms =
            u64::try_from(safe.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        Self { all: pending.is_empty(), pending, bounded_reads_safe_after_ms }
    }
}

/// A revocation as it is printed.
#[derive(Debug, Serialize)]
pub struct RevokedReport {
    result: &'static str,
    #[serde(serialize_with = "as_text")]
    position: Position,
    /// A sweep will mark what was hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<Matched>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_families: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_sessions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    everywhere: Option<Everywhere>,
}

impl RevokedReport {
    /// As answered.
    pub fn of(revoked: Revoked) -> Self {
        let result = match revoked.outcome {
            Revocation::Revoked => "REVOKED",
            Revocation::Already => "ALREADY",
            Revocation::Unknown => "UNKNOWN",
        };
        Self { result, ..Self::at(revoked.position) }
    }

    fn at(position: Position) -> Self {
        Self {
            result: "REVOKED",
            position,
            predicate: None,
            matched: None,
            kept_families: None,
            kept_sessions: None,
            everywhere: None,
        }
    }

    fn matching(revoked: RevokedMatching) -> Self {
        let RevokedMatching { revocation, predicate, kept, matched } = revoked;
        Self {
            predicate: Some(predicate),
            matched: matched.map(Matched::from),
            kept_families: Some(kept.families.iter().map(ToString::to_string).collect()),
            kept_sessions: Some(kept.sessions.iter().map(ToString::to_string).collect()),
            ..Self::at(revocation)
        }
    }
}

impl Report for RevokedReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([
            ("result", self.result.to_owned()),
            ("position", self.position.to_string()),
        ]);
        let kept = [("kept family", &self.kept_families), ("kept session", &self.kept_sessions)];
        if let Some(matched) = &self.matched {
            table.row(["matched".to_owned(), matched.told()]);
        }
        for (what, kept) in kept {
            for one in kept.iter().flatten() {
                table.row([what.to_owned(), one.clone()]);
            }
        }
        for node in self.everywhere.iter().flat_map(|everywhere| &everywhere.pending) {
            table.row(["pending".to_owned(), node.clone()]);
        }
        match &self.everywhere {
            Some(it) if it.all => table.note("Every member has applied it."),
            Some(it) => table.note(format!(
                "Not every member said in time that it has applied it. Bounded reads are safe \
                 everywhere {} from now on.",
                crate::duration::show(it.bounded_reads_safe_after_ms)
            )),
            None => {}
        }
        table.note(match self.result {
            "ALREADY" => "It was dead before.",
            "UNKNOWN" => "Nothing to revoke: no such token or family is known, or it has expired.",
            _ => "Dead on every node, from this position on.",
        });
        table
    }
}
