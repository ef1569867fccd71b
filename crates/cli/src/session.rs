//! `jeton session`: single sign-on sessions, and what hangs on them.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use jeton_client::{
    Consistency, NewSession, Position, Revocation, SessionChange, SessionOver, SessionView,
    Sessions, Tenant,
};
use serde::Serialize;

use crate::args::{Connection, TenantFlag};
use crate::exit::Exit;
use crate::output::{Format, Report, Table, as_text, or_dash};
use crate::refused::Refused;
use crate::token::attribute;
use crate::{connect, duration};

const EXAMPLES: &str = "\
Examples:
  jeton session create --tenant acme --subject alice 08a5019c-17e1
  jeton token create --tenant acme --subject alice --client web --session 08a5019c-17e1
  jeton session touch --tenant acme 08a5019c-17e1
  jeton session list --tenant acme alice
  jeton session end --tenant acme 08a5019c-17e1 --reason logout";

/// See [`crate::args::Command::Session`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SessionArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// What to do.
    #[command(subcommand)]
    pub command: SessionCommand,
}

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Start a session.
    Create(CreateArgs),
    /// Keep a session from ending idle, and change what it carries.
    Touch(TouchArgs),
    /// End a session and all that is bound to it, and print which clients to notify.
    End {
        /// Its `sid`.
        #[arg(value_name = "SID")]
        session: String,
        /// Told to those whom it hits; at most 256 bytes.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Show a session, dead or alive.
    Get {
        /// Its `sid`.
        #[arg(value_name = "SID")]
        session: String,
    },
    /// Show a subject's sessions.
    List(ListArgs),
}

/// See [`SessionCommand::Create`].
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its `sid`: your choice, not guessable, never used before.
    #[arg(value_name = "SID")]
    pub session: String,
    /// Who signed in.
    #[arg(long, value_name = "ID")]
    pub subject: String,
    /// The device that it is on.
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// The attribute `ip`, an address: what `jeton revoke --ip` goes by.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// The attribute `region`: what `jeton revoke --region` goes by.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// An attribute of your own; may be repeated, up to 16 times.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
    /// How long it lives, whatever happens. Default and most: the tenant's maximum.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub lifetime: Option<Duration>,
    /// How long it lives without a touch. Default: the tenant's.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub idle: Option<Duration>,
    /// Position that was read when the user's credentials were checked.
    #[arg(long, value_name = "POSITION")]
    pub authenticated_at: Option<u64>,
}

/// See [`SessionCommand::Touch`].
#[derive(Debug, Args)]
pub struct TouchArgs {
    /// Its `sid`.
    #[arg(value_name = "SID")]
    pub session: String,
    /// Only if the session is still at this version.
    #[arg(long, value_name = "VERSION")]
    pub at_version: Option<u64>,
    /// An attribute, instead of all that it has; may be repeated.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    #[arg(requires = "at_version")]
    pub attributes: Vec<(String, String)>,
}

/// See [`SessionCommand::List`].
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Whose.
    #[arg(value_name = "SUBJECT")]
    pub subject: String,
    /// Dead and expired ones too, for the 24 hours in which answers name their cause.
    #[arg(long)]
    pub ended: bool,
    /// At most so many, 1 to 1,000.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
    /// Go on where a listing of the same subject ended.
    #[arg(long, value_name = "TOKEN")]
    pub page: Option<String>,
}

/// Runs it.
pub async fn run(args: SessionArgs, format: Format) -> anyhow::Result<Exit> {
    let tenant = connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?;
    let timeout = args.connection.timeout;
    match args.command {
        SessionCommand::Create(args) => {
            let made = tenant.create_session(new(&args), timeout).await?;
            let report = CreatedReport {
                session: args.session,
                position: made.position,
                expires_at_unix_ms: made.expires_at.0,
                idle_expires_at_unix_ms: made.idle_expires_at.0,
            };
            format.print(&report)?;
        }
        SessionCommand::Touch(args) => {
            let mut change = match args.at_version {
                Some(version) => SessionChange::at_version(version),
                None => SessionChange::none(),
            };
            if !args.attributes.is_empty() {
                let pairs = args.attributes.iter();
                change = change.attributes(pairs.map(|(n, v)| (n.as_str(), v.as_str())));
            }
            let used = tenant.touch_session(&args.session, change, timeout).await?;
            let report = TouchedReport {
                version: used.version,
                position: used.position,
                idle_expires_at_unix_ms: used.idle_expires_at.0,
            };
            format.print(&report)?;
        }
        SessionCommand::End { session, reason } => {
            let over = tenant.end_session(&session, reason.as_deref(), timeout).await?;
            format.print(&ended(&tenant, &session, over, timeout).await?)?;
        }
        SessionCommand::Get { session } => {
            let read = tenant.get_session(&session, Consistency::Linearizable, timeout).await?;
            format.print(&SessionReport::of(read.value))?;
        }
        SessionCommand::List(args) => list(&tenant, &args, timeout, format).await?,
    }
    Ok(Exit::Ok)
}

fn new(args: &CreateArgs) -> NewSession {
    let mut new = NewSession::new(&args.session, &args.subject);
    if let Some(device) = &args.device {
        new = new.device(device);
    }
    if let Some(lifetime) = args.lifetime {
        new = new.lifetime(lifetime);
    }
    if let Some(idle) = args.idle {
        new = new.idle(idle);
    }
    if let Some(position) = args.authenticated_at {
        new = new.authenticated_at(Position(position));
    }
    for (name, value) in [("ip", &args.ip), ("region", &args.region)] {
        if let Some(value) = value {
            new = new.attribute(name, value);
        }
    }
    args.attributes.iter().fold(new, |new, (name, value)| new.attribute(name, value))
}

/// All clients to notify, also those that the answer had no room for.
async fn ended(
    tenant: &Tenant,
    session: &str,
    over: SessionOver,
    timeout: Duration,
) -> anyhow::Result<EndedReport> {
    let mut clients = over.clients;
    let mut next = over.next;
    while let Some(behind) = next {
        let page = tenant.list_session_clients(session, Some(&behind), timeout).await?.value;
        clients.extend(page.rows);
        next = page.next;
    }
    let result = match over.outcome {
        Revocation::Revoked => "ENDED",
        Revocation::Already => "ALREADY",
        Revocation::Unknown => "UNKNOWN",
    };
    let notify = clients.iter().map(ToString::to_string).collect();
    Ok(EndedReport { result, position: over.position, notify })
}

async fn list(
    tenant: &Tenant,
    args: &ListArgs,
    timeout: Duration,
    format: Format,
) -> anyhow::Result<()> {
    let mut report = SessionsReport {
        sessions: Vec::new(),
        next_page: args.page.clone(),
        position: Position(0),
    };
    loop {
        let left = args.limit - u32::try_from(report.sessions.len()).unwrap_or(args.limit);
        let mut asked = Sessions::of_subject(&args.subject).page_size(left);
        if args.ended {
            asked = asked.include_ended();
        }
        let read = tenant.list_sessions(&asked, report.next_page.as_deref(), timeout).await?;
        report.position = read.position;
        report.sessions.extend(read.value.rows.into_iter().map(SessionReport::of));
        report.next_page = read.value.next;
        if report.next_page.is_none() || report.sessions.len() >= args.limit as usize {
            return format.print(&report);
        }
    }
}

#[derive(Serialize)]
struct CreatedReport {
    session: String,
    #[serde(serialize_with = "as_text")]
    position: Position,
    expires_at_unix_ms: u64,
    idle_expires_at_unix_ms: u64,
}

impl Report for CreatedReport {
    fn table(&self) -> Table {
        Table::facts([
            ("session", self.session.clone()),
            ("position", self.position.to_string()),
            ("ends at", self.expires_at_unix_ms.to_string()),
            ("idle until", self.idle_expires_at_unix_ms.to_string()),
        ])
    }
}

#[derive(Serialize)]
struct TouchedReport {
    version: u64,
    #[serde(serialize_with = "as_text")]
    position: Position,
    idle_expires_at_unix_ms: u64,
}

impl Report for TouchedReport {
    fn table(&self) -> Table {
        Table::facts([
            ("version", self.version.to_string()),
            ("position", self.position.to_string()),
            ("idle until", self.idle_expires_at_unix_ms.to_string()),
        ])
    }
}

#[derive(Serialize)]
struct EndedReport {
    result: &'static str,
    #[serde(serialize_with = "as_text")]
    position: Position,
    notify: Vec<String>,
}

impl Report for EndedReport {
    fn table(&self) -> Table {
        let notify = (!self.notify.is_empty()).then(|| self.notify.join(", "));
        let mut table = Table::facts([
            ("result", self.result.to_owned()),
            ("position", self.position.to_string()),
            ("notify", or_dash(notify)),
        ]);
        table.note(match self.result {
            "ALREADY" => "It was dead before.",
            "UNKNOWN" => "Nothing to end: no such session is known.",
            _ => "It and all that is bound to it are dead on every node, from this position on.",
        });
        table
    }
}

/// A session as it is printed.
#[derive(Debug, Serialize)]
struct SessionReport {
    session: String,
    subject: String,
    device: Option<String>,
    state: &'static str,
    dead: Option<Refused>,
    version: u64,
    clients: u32,
    created_position: String,
    created_at_unix_ms: u64,
    authenticated_at_position: String,
    touched_at_unix_ms: u64,
    expires_at_unix_ms: u64,
    idle_expires_at_unix_ms: u64,
    attributes: BTreeMap<String, String>,
    payload_bytes: usize,
}

impl SessionReport {
    fn of(view: SessionView) -> Self {
        let pairs = view.attributes.into_iter();
        Self {
            session: view.session.to_string(),
            subject: view.subject.to_string(),
            device: view.device.map(|device| device.to_string()),
            state: if view.dead.is_some() { "DEAD" } else { "ACTIVE" },
            dead: view.dead.map(Refused::new),
            version: view.version,
            clients: view.clients,
            created_position: view.created.to_string(),
            created_at_unix_ms: view.created_at.0,
            authenticated_at_position: view.authenticated_at.to_string(),
            touched_at_unix_ms: view.touched_at.0,
            expires_at_unix_ms: view.expires_at.0,
            idle_expires_at_unix_ms: view.idle_expires_at.0,
            attributes: pairs.map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            payload_bytes: view.payload.len(),
        }
    }
}

impl Report for SessionReport {
    fn table(&self) -> Table {
        let attributes: Vec<String> =
            self.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut table = Table::facts([
            ("session", self.session.clone()),
            ("state", self.state.to_owned()),
            ("subject", self.subject.clone()),
            ("device", or_dash(self.device.as_ref())),
            ("version", self.version.to_string()),
            ("clients", self.clients.to_string()),
            ("authenticated at position", self.authenticated_at_position.clone()),
            ("attributes", or_dash((!attributes.is_empty()).then(|| attributes.join(", ")))),
        ]);
        if let Some(dead) = &self.dead {
            table.note(format!("Dead: {}.", dead.message));
        }
        table
    }
}

#[derive(Serialize)]
struct SessionsReport {
    sessions: Vec<SessionReport>,
    next_page: Option<String>,
    #[serde(serialize_with = "as_text")]
    position: Position,
}

impl Report for SessionsReport {
    fn table(&self) -> Table {
        let mut table = Table::new(["SESSION", "DEVICE", "STATE", "CLIENTS", "VERSION"]);
        for session in &self.sessions {
            table.row([
                session.session.clone(),
                or_dash(session.device.as_ref()),
                session.state.to_owned(),
                session.clients.to_string(),
                session.version.to_string(),
            ]);
        }
        if let Some(next) = &self.next_page {
            table.note(format!("There are more: --page {next}"));
        }
        table
    }
}
