//! `jeton record`: one-time and keyed records.

use std::io::Read as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use jeton_client::{
    Consistency, Consumption, FamilyId, KeyDigest, NewRecord, RecordName, Seen, Tenant, UnixMs,
    digest,
};

use crate::args::{Connection, TenantFlag};
use crate::exit::{Exit, Usage};
use crate::family::family_id;
use crate::output::Format;
use crate::refused::Refused;
use crate::{connect, duration};

mod kind;
mod report;
mod transact;

use report::{
    CollectedReport, ConsumedReport, DeletedReport, PageReport, PutReport, RecordReport, SeenReport,
};

const EXAMPLES: &str = "\
Examples:
  jeton record put code SplxlOBeZQ --value grant --lifetime 1m --if client=web
  jeton record consume code SplxlOBeZQ --if client=web
  jeton record put consent alice/web --value scopes --index alice
  jeton record find consent alice
  jeton record delete --all-of alice consent
  jeton record seen-once dpop --issuer web --id 7f3c --expires-at 1893456000000
  jeton record transact exchange.json
  jeton record kind set device --misses 5 --misses-per-tenant 100 --window 10m

Keys go to the cluster as digests: the first 16 bytes of their SHA-256. Write `hex:` and 32
hexadecimal digits for a digest that was made elsewhere, with a pepper for example.";

/// See [`crate::args::Command::Record`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RecordArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// What to do.
    #[command(subcommand)]
    pub command: RecordCommand,
}

/// What to do with records.
#[derive(Debug, Subcommand)]
pub enum RecordCommand {
    /// Create or replace a record.
    Put(Box<PutArgs>),
    /// Show a record.
    Get(OneArgs),
    /// List the records that have an index key.
    Find(FindArgs),
    /// Look up a record in a kind that counts misses.
    LookUp(LookUpArgs),
    /// Delete a record, or all that have an index key.
    Delete(DeleteArgs),
    /// Take a record's value: exactly one caller in the world gets it.
    Consume(ConsumeArgs),
    /// Say whether a proof is shown for the first time.
    SeenOnce(SeenArgs),
    /// Delete records that were kept after they expired.
    CollectExpired {
        /// Of which kind.
        #[arg(value_name = "KIND")]
        kind: String,
        /// Only what expired before this instant, in Unix milliseconds. Default: now.
        #[arg(long, value_name = "UNIX_MS")]
        before: Option<u64>,
    },
    /// Perform several operations in one, all of them or none: records, families, sessions.
    Transact(transact::TransactArgs),
    /// What holds for all records of a kind.
    #[command(subcommand)]
    Kind(kind::KindCommand),
}

/// A record by its kind and key.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Of which kind.
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// Its key, or `hex:` and its digest.
    #[arg(value_name = "KEY", value_parser = key)]
    pub key: KeyDigest,
}

/// See [`RecordCommand::Put`].
#[derive(Debug, Args)]
pub struct PutArgs {
    /// Which record.
    #[command(flatten)]
    pub one: OneArgs,
    /// Its value, or `-` to read it from standard input; at most 64 KiB.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub value: String,
    /// How long it lives, at most 400d. Default: for ever, which only records without roots may.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub lifetime: Option<Duration>,
    /// Only if there is none.
    #[arg(long, conflicts_with = "if_version")]
    pub create_only: bool,
    /// Only if it is still at this version.
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<u64>,
    /// A key under which it is found besides; may be repeated, at most 8 times.
    #[arg(long = "index", value_name = "KEY", value_parser = key)]
    pub index: Vec<KeyDigest>,
    /// It is gone when this user's things are revoked.
    #[arg(long, value_name = "ID")]
    pub subject: Option<String>,
    /// It is gone when this client's things are revoked.
    #[arg(long, value_name = "ID")]
    pub client: Option<String>,
    /// It is gone when this session ends.
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// It is gone when this device's things are revoked.
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// The family that it is about.
    #[arg(long, value_name = "FAMILY", value_parser = family_id)]
    pub family: Option<FamilyId>,
    /// What who consumes it must show; may be repeated, at most 8 times.
    #[arg(long = "if", value_name = "NAME=VALUE", value_parser = pair)]
    pub preconditions: Vec<(String, String)>,
}

/// See [`RecordCommand::Find`].
#[derive(Debug, Args)]
pub struct FindArgs {
    /// Of which kind.
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// The index key, or `hex:` and its digest.
    #[arg(value_name = "INDEX_KEY", value_parser = key)]
    pub index: KeyDigest,
    /// Records of a page: 1 to 1,000.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub page_size: u32,
    /// Where the last page said that the next one begins.
    #[arg(long, value_name = "TOKEN")]
    pub page: Option<String>,
}

/// See [`RecordCommand::LookUp`].
#[derive(Debug, Args)]
pub struct LookUpArgs {
    /// Which record.
    #[command(flatten)]
    pub one: OneArgs,
    /// The key is an index key.
    #[arg(long)]
    pub index: bool,
    /// Who asks: a session or an address.
    #[arg(long, value_name = "WHO")]
    pub guesser: String,
}

/// See [`RecordCommand::Delete`].
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Of which kind.
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// Its key, or `hex:` and its digest.
    #[arg(value_name = "KEY", value_parser = key, required_unless_present = "all_of")]
    pub key: Option<KeyDigest>,
    /// Only if it is still at this version.
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<u64>,
    /// All records that have this index key, at once.
    #[arg(long, value_name = "INDEX_KEY", value_parser = key)]
    #[arg(conflicts_with_all = ["key", "if_version"])]
    pub all_of: Option<KeyDigest>,
}

/// See [`RecordCommand::Consume`].
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// Which record.
    #[command(flatten)]
    pub one: OneArgs,
    /// What the record asks for; may be repeated.
    #[arg(long = "if", value_name = "NAME=VALUE", value_parser = pair)]
    pub preconditions: Vec<(String, String)>,
    /// The family that will be made from it.
    #[arg(long, value_name = "FAMILY", value_parser = family_id)]
    pub family: Option<FamilyId>,
    /// If it was consumed before, the family that was made from it dies.
    #[arg(long)]
    pub revoke_on_replay: bool,
    /// Who asks, in kinds that count misses: a session or an address.
    #[arg(long, value_name = "WHO")]
    pub guesser: Option<String>,
}

/// See [`RecordCommand::SeenOnce`].
#[derive(Debug, Args)]
pub struct SeenArgs {
    /// What kind of proof.
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// Whose ids these are (`iss`).
    #[arg(long, value_name = "ID")]
    pub issuer: String,
    /// The proof's id (`jti`).
    #[arg(long, value_name = "ID")]
    pub id: String,
    /// When the proof ends by itself (`exp`), in Unix milliseconds.
    #[arg(long, value_name = "UNIX_MS")]
    pub expires_at: u64,
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A key: its digest is what leaves this process.
pub(crate) fn key(text: &str) -> Result<KeyDigest, String> {
    let Some(hex) = text.strip_prefix("hex:") else { return Ok(digest(text)) };
    let wrong = || "`hex:` is followed by 32 hexadecimal digits".to_owned();
    if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let number = u128::from_str_radix(hex, 16).map_err(|_| wrong())?;
    Ok(KeyDigest(number.to_be_bytes()))
}

/// Runs it.
pub async fn run(args: RecordArgs, format: Format) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection).await?;
    let timeout = args.connection.timeout;
    if let RecordCommand::Kind(command) = args.command {
        return kind::run(&client.admin(), &args.tenant.tenant, command, timeout, format).await;
    }
    let tenant = client.tenant(&args.tenant.tenant)?;
    match args.command {
        RecordCommand::Put(put) => {
            let put = tenant.put_record(new_record(&put)?, timeout).await?;
            format.print(&PutReport::new(put))?;
        }
        RecordCommand::Get(OneArgs { kind, key }) => {
            let read = tenant.get_record(&kind, key, Consistency::Linearizable, timeout).await?;
            format.print(&RecordReport::new(read.value))?;
        }
        RecordCommand::Find(find) => {
            let FindArgs { kind, index, page_size, page } = find;
            let found =
                tenant.find_records(&kind, index, page.as_deref(), page_size, timeout).await?;
            format.print(&PageReport::new(found.value))?;
        }
        RecordCommand::LookUp(LookUpArgs { one, index, guesser }) => {
            let by = if index { RecordName::Index(one.key) } else { RecordName::Key(one.key) };
            let found = tenant.look_up_record(&one.kind, by, guesser, timeout).await?;
            format.print(&RecordReport::new(found))?;
        }
        RecordCommand::Delete(delete) => {
            format.print(&run_delete(&tenant, delete, timeout).await?)?;
        }
        RecordCommand::Consume(consume) => {
            return run_consume(&tenant, consume, timeout, format).await;
        }
        RecordCommand::SeenOnce(seen) => {
            let SeenArgs { kind, issuer, id, expires_at } = seen;
            let expires_at = UnixMs(expires_at);
            let seen = tenant.seen_once(&kind, &issuer, id, expires_at, timeout).await?;
            format.print(&SeenReport::new(seen))?;
            return Ok(if seen == Seen::Fresh { Exit::Ok } else { Exit::Refused });
        }
        RecordCommand::CollectExpired { kind, before } => {
            let collected = tenant.collect_expired(&kind, before.map(UnixMs), timeout).await?;
            format.print(&CollectedReport::new(collected))?;
        }
        RecordCommand::Transact(args) => {
            return transact::run(&tenant, args, timeout, format).await;
        }
        RecordCommand::Kind(_) => return Err(Usage::error("kinds were dealt with above")),
    }
    Ok(Exit::Ok)
}

/// What a file holds, or with `-` standard input.
fn text_or_stdin(file: &str) -> anyhow::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file)
            .map_err(|error| Usage::error(format!("{file} can't be read: {error}")));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn new_record(args: &PutArgs) -> anyhow::Result<NewRecord> {
    let mut value = args.value.clone().into_bytes();
    if args.value == "-" {
        value.clear();
        std::io::stdin().read_to_end(&mut value)?;
    }
    let mut new = NewRecord::new(&args.one.kind, args.one.key).value(value);
    if let Some(lifetime) = args.lifetime {
        new = new.lifetime(lifetime);
    }
    if args.create_only {
        new = new.create_only();
    }
    if let Some(version) = args.if_version {
        new = new.at_version(version);
    }
    if let Some(subject) = &args.subject {
        new = new.subject(subject);
    }
    if let Some(client) = &args.client {
        new = new.client(client);
    }
    if let Some(session) = &args.session {
        new = new.session(session);
    }
    if let Some(device) = &args.device {
        new = new.device(device);
    }
    if let Some(family) = args.family {
        new = new.family(family);
    }
    new = args.index.iter().fold(new, |new, key| new.index_key(*key));
    Ok(args.preconditions.iter().fold(new, |new, (name, value)| new.precondition(name, value)))
}

async fn run_delete(
    tenant: &Tenant,
    args: DeleteArgs,
    timeout: Duration,
) -> anyhow::Result<DeletedReport> {
    if let Some(index) = args.all_of {
        let position = tenant.delete_records(&args.kind, index, timeout).await?;
        return Ok(DeletedReport::all(position));
    }
    let Some(key) = args.key else { return Err(Usage::error("name a key")) };
    let existed = tenant.delete_record(&args.kind, key, args.if_version, timeout).await?;
    Ok(DeletedReport::one(existed))
}

async fn run_consume(
    tenant: &Tenant,
    args: ConsumeArgs,
    timeout: Duration,
    format: Format,
) -> anyhow::Result<Exit> {
    let mut consumption = Consumption::new(&args.one.kind, args.one.key);
    for (name, value) in &args.preconditions {
        consumption = consumption.precondition(name, value);
    }
    if let Some(family) = args.family {
        consumption = consumption.family(family);
    }
    if args.revoke_on_replay {
        consumption = consumption.revoke_on_replay();
    }
    if let Some(guesser) = &args.guesser {
        consumption = consumption.guesser(guesser);
    }
    match tenant.consume(consumption, timeout).await? {
        jeton_client::Consumed::First { record, position } => {
            format.print(&ConsumedReport::new(*record, position))?;
            Ok(Exit::Ok)
        }
        jeton_client::Consumed::Refused(refusal) => {
            format.print(&Refused::new(refusal))?;
            Ok(Exit::Refused)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_digest_or_text() {
        let text = key("SplxlOBeZQ").unwrap();
        assert_eq!(text, digest("SplxlOBeZQ"));
        let hex: String = text.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(key(&format!("hex:{hex}")).unwrap(), text);
        assert!(key("hex:12").is_err());
    }
}
