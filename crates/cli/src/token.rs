//! `jeton token`: create, rotate, check and revoke refresh tokens.
//!
//! Printing tokens is what these commands are for; they are printed to standard output only.

use clap::{Args, Subcommand};
use jeton_client::{
    CapPolicy, CapScope, Check, Consumption, FamilyCap, FamilyView, Generation, Issued, KeyDigest,
    NewFamily, Position, RotateContext, Rotation, Tenant, Validation,
};
use serde::{Serialize, Serializer};

use crate::args::{Connection, TenantFlag};
use crate::connect;
use crate::duration;
use crate::exit::Exit;
use crate::family::FamilyReport;
use crate::listing::{self, FilterArgs, ListArgs};
use crate::opaque::{self, Given};
use crate::output::{Format, Report, Table, as_text};
use crate::record::{key, pair};
use crate::refused::Refused;
use crate::revoke::RevokedReport;

const EXAMPLES: &str = "\
Examples:
  jeton token create --subject alice --client web --grace 10s
  jeton token create --subject alice --client web --ip 10.1.2.3 --region eu
  jeton token rotate --client web jrt_…
  jeton token create --subject alice --client web --code Spl… --code-if client_id=web
  jeton token create --subject alice --client web -o json | jq -r .token | \\
    jeton token rotate --client web -";

/// See [`crate::args::Command::Token`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TokenArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do with a token.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Start a family and print its first refresh token.
    Create(CreateArgs),
    /// Exchange a refresh token for its successor, and print that.
    ///
    /// A token that is presented once more within its grace gets the identical successor; a spent
    /// one after it is taken for stolen, and its whole family dies.
    Rotate(RotateArgs),
    /// Say whether a token is the live head of its family. Changes nothing.
    Validate(ValidateArgs),
    /// List families, oldest first: by subject, client, device, narrowed by attributes.
    List(ListArgs),
    /// Count what `list` would list: exact up to 10,000.
    Count(FilterArgs),
    /// Revoke the whole family of a token (RFC 7009). Any genuine token of it will do.
    Revoke(PresentedArgs),
}

/// See [`TokenCommand::Create`].
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Whose authorization it is (`sub`).
    #[arg(long, value_name = "ID")]
    pub subject: String,
    /// The OAuth client that it is for (`client_id`).
    #[arg(long, value_name = "ID")]
    pub client: String,
    /// The device that it is for.
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// How long a spent token is answered with its successor. Default: the tenant's.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub grace: Option<std::time::Duration>,
    /// When the family ends, whatever happens. Default: the tenant's maximum.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub lifetime: Option<std::time::Duration>,
    /// When it ends if it isn't rotated before. Default: the tenant's.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub idle: Option<std::time::Duration>,
    /// The session that it is bound to, and ends with at the latest. Default: none.
    #[arg(long, value_name = "SID")]
    pub session: Option<String>,
    /// The address that the request came from: what `jeton revoke --ip` goes by.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// The attribute `region`: what `jeton revoke --region` goes by.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// An attribute of your own; may be repeated, up to 16 times.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
    /// Its tokens are opaque: minted by an authorization server, which is played here.
    #[arg(long)]
    pub opaque: bool,
    /// At most so many families of the subject (or of subject and client) live at once: 1 to 256.
    #[arg(long, value_name = "COUNT")]
    pub cap: Option<u32>,
    /// Which families the cap counts.
    #[arg(long, value_enum, value_name = "SCOPE", default_value_t, requires = "cap")]
    pub cap_scope: CapScopeFlag,
    /// What happens at the cap.
    #[arg(long, value_enum, value_name = "POLICY", default_value_t, requires = "cap")]
    pub cap_policy: CapPolicyFlag,
    /// The code that it is made from: consumed in the same command, or no family is made. Its text,
    /// or `hex:` and its digest.
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub code: Option<KeyDigest>,
    /// The kind of records that codes are kept in.
    #[arg(long, value_name = "KIND", default_value = "code", requires = "code")]
    pub code_kind: String,
    /// What the code asks for; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, requires = "code")]
    pub code_if: Vec<(String, String)>,
    /// If the code was used before, the family that was made from it dies.
    #[arg(long, requires = "code")]
    pub revoke_on_replay: bool,
}

/// Which families a cap counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum CapScopeFlag {
    /// All of the subject.
    #[default]
    Subject,
    /// Those of the subject that the client holds.
    SubjectClient,
}

/// What happens at a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum CapPolicyFlag {
    /// The oldest are revoked.
    #[default]
    EvictOldest,
    /// The new one is refused.
    Deny,
}

impl CreateArgs {
    fn consumption(&self) -> Option<Consumption> {
        let mut code = Consumption::new(&self.code_kind, self.code?);
        for (name, value) in &self.code_if {
            code = code.precondition(name, value);
        }
        Some(if self.revoke_on_replay { code.revoke_on_replay() } else { code })
    }

    fn cap(&self) -> Option<FamilyCap> {
        let scope = match self.cap_scope {
            CapScopeFlag::Subject => CapScope::Subject,
            CapScopeFlag::SubjectClient => CapScope::SubjectClient,
        };
        let policy = match self.cap_policy {
            CapPolicyFlag::EvictOldest => CapPolicy::EvictOldest,
            CapPolicyFlag::Deny => CapPolicy::Deny,
        };
        Some(FamilyCap { max: self.cap?, scope, policy })
    }
}

/// See [`TokenCommand::Rotate`].
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// What is presented, and by whom.
    #[command(flatten)]
    pub presented: PresentedArgs,
    /// Of an opaque token: if another one rotates first, the successor that is minted here is to
    /// stand for the winner's.
    #[arg(long)]
    pub adopt: bool,
    /// The address that it is presented from: known from then on as the one last seen.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// The device that presents it. For events; it never decides.
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
}

/// A token and the client that presents it.
#[derive(Debug, Args)]
pub struct PresentedArgs {
    /// The OAuth client that presents the token.
    #[arg(long, value_name = "ID")]
    pub client: String,
    /// The token, or `-` to read it from standard input.
    #[arg(value_name = "TOKEN")]
    pub token: String,
}

/// See [`TokenCommand::Validate`].
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Only valid if it is this client's.
    #[arg(long, value_name = "ID")]
    pub client: Option<String>,
    /// The token, or `-` to read it from standard input.
    #[arg(value_name = "TOKEN")]
    pub token: String,
}

/// Reads NAME=VALUE.
pub fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs it. A token is read before anything is connected: what is wrong with it needs no cluster.
pub async fn run(args: TokenArgs, format: Format) -> anyhow::Result<Exit> {
    let timeout = args.connection.timeout;
    let tenant = async || -> anyhow::Result<Tenant> {
        Ok(connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?)
    };
    match args.command {
        TokenCommand::Create(create) => {
            let (new, tenant) = (new_family(&create), tenant().await?);
            if create.opaque {
                return opaque::create(&tenant, new, timeout, format).await;
            }
            let issued = tenant.create_family(new, timeout).await?;
            format.print(&IssuedReport::new("CREATED", issued))?;
            Ok(Exit::Ok)
        }
        TokenCommand::Rotate(rotate) => {
            let mut context = RotateContext::new(&rotate.presented.client);
            if rotate.adopt {
                context = context.adopt();
            }
            if let Some(ip) = &rotate.ip {
                context = context.ip(ip);
            }
            if let Some(device) = &rotate.device {
                context = context.device(device);
            }
            match Given::read(&rotate.presented.token)? {
                Given::Native(token) => {
                    rotated(tenant().await?.rotate(&token, context, timeout).await?, format)
                }
                Given::Opaque(token) => {
                    opaque::rotate(&tenant().await?, &token, context, timeout, format).await
                }
            }
        }
        TokenCommand::Validate(validate) => {
            let token = Given::read(&validate.token)?;
            let client = validate.client.as_deref();
            run_validate(&tenant().await?, &token, client, timeout, format).await
        }
        TokenCommand::List(list) => listing::list(&list, tenant, timeout, format).await,
        TokenCommand::Count(filter) => listing::count(&filter, tenant, timeout, format).await,
        TokenCommand::Revoke(revoke) => {
            let token = Given::read(&revoke.token)?;
            let revoked = token.revoke(&tenant().await?, &revoke.client, timeout).await?;
            format.print(&RevokedReport::of(revoked))?;
            Ok(Exit::Ok)
        }
    }
}

fn new_family(args: &CreateArgs) -> NewFamily {
    let mut new = NewFamily::new(&args.subject, &args.client);
    if let Some(device) = &args.device {
        new = new.device(device);
    }
    if let Some(grace) = args.grace {
        new = new.grace(grace);
    }
    if let Some(lifetime) = args.lifetime {
        new = new.lifetime(lifetime);
    }
    if let Some(session) = &args.session {
        new = new.session(session);
    }
    if let Some(idle) = args.idle {
        new = new.idle(idle);
    }
    if let Some(cap) = args.cap() {
        new = new.cap(cap);
    }
    if let Some(code) = args.consumption() {
        new = new.code(code);
    }
    if let Some(ip) = &args.ip {
        new = new.ip(ip);
    }
    if let Some(region) = &args.region {
        new = new.attribute("region", region);
    }
    args.attributes.iter().fold(new, |new, (name, value)| new.attribute(name, value))
}

fn rotated(rotation: Rotation, format: Format) -> anyhow::Result<Exit> {
    match rotation {
        Rotation::Rotated(issued) => format.print(&IssuedReport::new("ROTATED", issued))?,
        Rotation::Replayed(issued) => format.print(&IssuedReport::new("REPLAYED", issued))?,
        Rotation::Superseded { head, position } => {
            format.print(&SupersededReport::new(head, position))?;
            return Ok(Exit::Refused);
        }
        Rotation::Refused(refusal) => {
            format.print(&Refused::new(refusal))?;
            return Ok(Exit::Refused);
        }
    }
    Ok(Exit::Ok)
}

async fn run_validate(
    tenant: &Tenant,
    token: &Given,
    client: Option<&str>,
    timeout: std::time::Duration,
    format: Format,
) -> anyhow::Result<Exit> {
    let check = match client {
        Some(client) => Check::new().client(client),
        None => Check::new(),
    };
    match token.validate(tenant, check, timeout).await? {
        Validation::Active(read) => {
            format.print(&ActiveReport::new(read.value, read.position))?;
            Ok(Exit::Ok)
        }
        Validation::Refused(refusal) => {
            format.print(&Refused::new(refusal))?;
            Ok(Exit::Refused)
        }
    }
}

#[derive(Serialize)]
pub struct IssuedReport {
    result: &'static str,
    #[serde(serialize_with = "exposed")]
    token: Text,
    #[serde(serialize_with = "as_text")]
    family: jeton_client::FamilyId,
    generation: u64,
    #[serde(serialize_with = "as_text")]
    position: Position,
    expires_at_unix_ms: u64,
    idle_expires_at_unix_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evicted: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    over_soft_quota: bool,
}

/// A token as text; it can't be printed by accident.
pub struct Text(String);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The one place where a token leaves as text: it was asked for.
fn exposed<S: Serializer>(token: &Text, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&token.0)
}

impl IssuedReport {
    fn new(result: &'static str, issued: Issued) -> Self {
        let text = Text(issued.token.expose().expose().to_owned());
        Self::of(result, text, &issued)
    }

    /// What was issued, with the token's text.
    pub fn of<T>(result: &'static str, token: Text, issued: &Issued<T>) -> Self {
        Self {
            result,
            token,
            family: issued.family,
            generation: issued.generation.0,
            position: issued.position,
            expires_at_unix_ms: issued.expires_at.0,
            idle_expires_at_unix_ms: issued.idle_expires_at.0,
            evicted: issued.evicted.iter().map(ToString::to_string).collect(),
            over_soft_quota: issued.over_soft_quota,
        }
    }
}

impl Report for IssuedReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([
            ("result", self.result.to_owned()),
            ("token", self.token.0.clone()),
            ("family", self.family.to_string()),
            ("generation", self.generation.to_string()),
            ("position", self.position.to_string()),
        ]);
        for family in &self.evicted {
            table.note(format!("Revoked to make room: {family}"));
        }
        if self.over_soft_quota {
            table.note("The tenant keeps more families than its soft quota.");
        }
        table
    }
}

#[derive(Serialize)]
pub struct SupersededReport {
    result: &'static str,
    head_generation: u64,
    #[serde(serialize_with = "as_text")]
    position: Position,
}

impl SupersededReport {
    /// A sibling holds the newest token, of generation `head`.
    pub fn new(head: Generation, position: Position) -> Self {
        Self { result: "SUPERSEDED", head_generation: head.0, position }
    }
}

impl Report for SupersededReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([
            ("result", self.result.to_owned()),
            ("head", self.head_generation.to_string()),
        ]);
        table.note("A sibling holds a newer token: use that one.");
        table
    }
}

#[derive(Serialize)]
struct ActiveReport {
    result: &'static str,
    #[serde(serialize_with = "as_text")]
    position: Position,
    #[serde(flatten)]
    family: FamilyReport,
}

impl ActiveReport {
    fn new(family: FamilyView, position: Position) -> Self {
        Self { result: "ACTIVE", position, family: FamilyReport::of(family) }
    }
}

impl Report for ActiveReport {
    fn table(&self) -> Table {
        self.family.table()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_split_at_the_first_sign() {
        assert_eq!(attribute("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(attribute("ab").is_err());
    }
}
