//! `jeton record transact`: several operations in one, as a JSON document tells them.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use jeton_client::{
    Consumption, FamilyId, FamilyUpdate, Fence, Issued, KeyDigest, NewFamily, NewRecord,
    NewSession, OpaqueRotation, OpaqueToken, Performed, Revocation, RotateContext, Rotation,
    SessionChange, Step, StoppedBy, Tenant, Transacted, Transaction, UnixMs, When,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::report::text_of;
use crate::exit::{Exit, Usage};
use crate::family::family_id;
use crate::opaque::{Given, mint};
use crate::output::{Format, Report, Table};
use crate::refused::Refused;

/// The document, for `--help`.
const DOCUMENT: &str = r#"The document has conditions (`when`), and steps for when all
of them hold (`then`) and for when one doesn't (`otherwise`), named and made as in
docs/reference/transactions.md:

  {
    "when": [{"record_absent": {"kind": "consent", "key": "alice/web"}},
             {"lock_held": {"lock": "deploy", "fence": "4096"}}],
    "then": [{"consume": {"kind": "code", "key": "SplxlOBeZQ", "if": {"client": "web"}}},
             {"create_family": {"subject": "alice", "client": "web"}},
             {"put_record": {"kind": "consent", "key": "alice/web", "value": "openid",
                             "index": ["alice"]}}]
  }

Conditions: record_exists, record_absent, record_version (kind, key, version), family_alive,
lock_held. Steps: put_record, delete_record, delete_records, consume, seen_once, create_family,
rotate, touch, update_family, revoke_family, create_session, touch_session, end_session. Keys are
texts, or `hex:` and a digest; durations are texts like `1m`.

Exit code 0 if the steps were done; 1 if one was refused and nothing was done, or if a condition did
not hold and there is no `otherwise`."#;

/// See [`super::RecordCommand::Transact`].
#[derive(Debug, Args)]
#[command(after_help = DOCUMENT)]
pub struct TransactArgs {
    /// The document, or `-` to read it from standard input.
    #[arg(value_name = "FILE")]
    pub file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    when: Vec<Condition>,
    #[serde(default)]
    then: Vec<Operation>,
    #[serde(default)]
    otherwise: Vec<Operation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Condition {
    RecordExists { kind: String, key: Key },
    RecordAbsent { kind: String, key: Key },
    RecordVersion { kind: String, key: Key, version: u64 },
    FamilyAlive { family: Family },
    LockHeld { lock: String, fence: Number },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Operation {
    PutRecord(Box<Put>),
    DeleteRecord { kind: String, key: Key, version: Option<u64> },
    DeleteRecords { kind: String, index_key: Key },
    Consume(Consume),
    SeenOnce { kind: String, issuer: String, id: String, expires_at_unix_ms: u64 },
    CreateFamily(Box<Create>),
    Rotate { token: String, client: String, jkt: Option<String>, x5t_s256: Option<String> },
    Touch { token: String },
    UpdateFamily { family: Family, version: u64, attributes: Option<Texts>, grace: Option<Span> },
    RevokeFamily { family: Family, reason: Option<String> },
    CreateSession { session: String, subject: String, device: Option<String> },
    TouchSession { session: String },
    EndSession { session: String, reason: Option<String> },
}

type Texts = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    kind: String,
    key: Key,
    #[serde(default)]
    value: String,
    #[serde(default)]
    absent: bool,
    version: Option<u64>,
    lifetime: Option<Span>,
    #[serde(default)]
    index: Vec<Key>,
    subject: Option<String>,
    client: Option<String>,
    session: Option<String>,
    device: Option<String>,
    family: Option<Family>,
    #[serde(default, rename = "if")]
    preconditions: Texts,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Consume {
    kind: String,
    key: Key,
    #[serde(default, rename = "if")]
    preconditions: Texts,
    family: Option<Family>,
    #[serde(default)]
    revoke_on_replay: bool,
    guesser: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    subject: String,
    client: String,
    family: Option<Family>,
    device: Option<String>,
    session: Option<String>,
    lifetime: Option<Span>,
    idle: Option<Span>,
    grace: Option<Span>,
    #[serde(default)]
    attributes: Texts,
    #[serde(default)]
    opaque: bool,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Key(KeyDigest);

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Family(FamilyId);

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

/// A number that does not fit the numbers of every reader: text.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Number(u64);

impl TryFrom<String> for Key {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        super::key(&text).map(Self)
    }
}

impl TryFrom<String> for Family {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        family_id(&text).map(Self)
    }
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        crate::duration::parse(&text).map(Self)
    }
}

impl TryFrom<String> for Number {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| "write the number between quotes".to_owned())
    }
}

impl Condition {
    fn when(self) -> When {
        match self {
            Self::RecordExists { kind, key } => When::record_exists(kind, key.0),
            Self::RecordAbsent { kind, key } => When::record_absent(kind, key.0),
            Self::RecordVersion { kind, key, version } => {
                When::record_version(kind, key.0, version)
            }
            Self::FamilyAlive { family } => When::family_alive(family.0),
            Self::LockHeld { lock, fence } => When::lock_held(lock, Fence(fence.0)),
        }
    }
}

/// `$new` with what is named.
macro_rules! with {
    ($new:expr, $($method:ident = $value:expr),*) => {{
        let mut new = $new;
        $(if let Some(value) = $value { new = new.$method(value); })*
        new
    }};
}

impl Operation {
    fn step(self) -> anyhow::Result<Step> {
        Ok(match self {
            Self::PutRecord(put) => Step::put_record(put.record()?),
            Self::DeleteRecord { kind, key, version } => Step::delete_record(kind, key.0, version),
            Self::DeleteRecords { kind, index_key } => Step::delete_records(kind, index_key.0),
            Self::Consume(it) => {
                let new = Consumption::new(it.kind, it.key.0);
                let new = with!(new, family = it.family.map(|it| it.0), guesser = it.guesser);
                let new = if it.revoke_on_replay { new.revoke_on_replay() } else { new };
                let shown = it.preconditions.iter();
                Step::consume(shown.fold(new, |new, (name, value)| new.precondition(name, value)))
            }
            Self::SeenOnce { kind, issuer, id, expires_at_unix_ms } => {
                Step::seen_once(kind, issuer, id, UnixMs(expires_at_unix_ms))
            }
            Self::CreateFamily(create) => create.step()?,
            Self::Rotate { token, client, jkt, x5t_s256 } => {
                let context = RotateContext::new(client);
                let context = with!(context, jkt = jkt.as_deref(), x5t_s256 = x5t_s256.as_deref());
                match Given::read(&token)? {
                    Given::Native(token) => Step::rotate(&token, context),
                    Given::Opaque(token) => Step::rotate_opaque(&token, &mint()?, context),
                }
            }
            Self::Touch { token } => match Given::read(&token)? {
                Given::Native(token) => Step::touch(&token),
                Given::Opaque(token) => Step::touch(&token),
            },
            Self::UpdateFamily { family, version, attributes, grace } => {
                let update = with!(FamilyUpdate::new(version), grace = grace.map(|it| it.0));
                let update = match &attributes {
                    Some(texts) => update.attributes(pairs(texts)),
                    None => update,
                };
                Step::update_family(family.0, update)
            }
            Self::RevokeFamily { family, reason } => {
                Step::revoke_family(family.0, reason.as_deref())
            }
            Self::CreateSession { session, subject, device } => {
                Step::create_session(with!(NewSession::new(session, subject), device = device))
            }
            Self::TouchSession { session } => Step::touch_session(session, SessionChange::none()),
            Self::EndSession { session, reason } => Step::end_session(session, reason.as_deref()),
        })
    }
}

fn pairs(texts: &Texts) -> impl Iterator<Item = (&str, &str)> {
    texts.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

impl Put {
    fn record(self) -> anyhow::Result<NewRecord> {
        let mut new = NewRecord::new(self.kind, self.key.0).value(self.value);
        new = match (self.absent, self.version) {
            (true, None) => new.create_only(),
            (false, Some(version)) => new.at_version(version),
            (false, None) => new,
            (true, Some(_)) => {
                return Err(Usage::error("a record is put if it is absent, or at a version"));
            }
        };
        new = with!(
            new,
            lifetime = self.lifetime.map(|it| it.0),
            subject = self.subject,
            client = self.client,
            session = self.session,
            device = self.device,
            family = self.family.map(|it| it.0)
        );
        new = self.index.iter().fold(new, |new, key| new.index_key(key.0));
        let asked = self.preconditions.iter();
        Ok(asked.fold(new, |new, (name, value)| new.precondition(name, value)))
    }
}

impl Create {
    fn step(self) -> anyhow::Result<Step> {
        let new = with!(
            NewFamily::new(self.subject, self.client),
            family = self.family.map(|it| it.0),
            device = self.device,
            session = self.session,
            lifetime = self.lifetime.map(|it| it.0),
            idle = self.idle.map(|it| it.0),
            grace = self.grace.map(|it| it.0)
        );
        let attributes = pairs(&self.attributes);
        let new = attributes.fold(new, |new, (name, value)| new.attribute(name, value));
        Ok(match self.opaque {
            true => Step::create_opaque_family(new, &mint()?),
            false => Step::create_family(new),
        })
    }
}

fn transaction(tenant: &Tenant, document: Document) -> anyhow::Result<Transaction> {
    let Document { when, then, otherwise } = document;
    let mut asked = tenant.transact();
    for condition in when {
        asked = asked.when(condition.when());
    }
    for operation in then {
        asked = asked.then(operation.step()?);
    }
    for operation in otherwise {
        asked = asked.otherwise(operation.step()?);
    }
    Ok(asked)
}

/// What came of it.
#[derive(Serialize)]
struct TransactedReport {
    result: &'static str,
    position: String,
    unmet: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    performed: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Value>,
}

impl TransactedReport {
    fn new(done: Transacted) -> anyhow::Result<Self> {
        let (position, unmet) = (done.position.to_string(), done.unmet);
        Ok(match done.outcome {
            Ok(performed) => {
                let performed = performed.into_iter().map(told).collect();
                let (operation, why) = (None, None);
                Self { result: "DONE", position, unmet, performed, operation, why }
            }
            Err(stopped) => {
                let why = match stopped.why {
                    StoppedBy::Refused(refusal) => serde_json::to_value(Refused::new(refusal))?,
                    StoppedBy::Superseded { head } => {
                        json!({ "result": "SUPERSEDED", "head_generation": head.0 })
                    }
                    _ => json!({ "result": "OTHER" }),
                };
                let (performed, operation, why) = (Vec::new(), Some(stopped.operation), Some(why));
                Self { result: "STOPPED", position, unmet, performed, operation, why }
            }
        })
    }
}

fn issued<T>(result: &str, token: &str, issued: &Issued<T>) -> Value {
    json!({
        "result": result,
        "token": token,
        "family": issued.family.to_string(),
        "generation": issued.generation.0,
        "expires_at_unix_ms": issued.expires_at.0,
        "idle_expires_at_unix_ms": issued.idle_expires_at.0,
    })
}

fn native(result: &str, it: &Issued) -> Value {
    issued(result, it.token.expose().expose(), it)
}

fn opaque(result: &str, it: &Issued<OpaqueToken>) -> Value {
    issued(result, it.token.expose(), it)
}

fn told(performed: Performed) -> Value {
    match performed {
        Performed::RecordPut { version } => json!({ "result": "PUT", "version": version }),
        Performed::RecordDeleted { existed } => {
            json!({ "result": if existed { "DELETED" } else { "UNKNOWN" } })
        }
        Performed::RecordsDeleted => json!({ "result": "DELETED" }),
        Performed::Consumed(it) => json!({ "result": "FIRST", "value": text_of(&it.value) }),
        Performed::Fresh => json!({ "result": "FRESH" }),
        Performed::FamilyCreated(it) => native("CREATED", &it),
        Performed::OpaqueFamilyCreated(it) => opaque("CREATED", &it),
        Performed::Rotated(it) => match &*it {
            Rotation::Rotated(it) => native("ROTATED", it),
            Rotation::Replayed(it) => native("REPLAYED", it),
            Rotation::Superseded { .. } | Rotation::Refused(_) => json!({ "result": "OTHER" }),
        },
        Performed::OpaqueRotated(it) => match &*it {
            OpaqueRotation::Rotated(it) => opaque("ROTATED", it),
            OpaqueRotation::Replayed(it) => opaque("REPLAYED", it),
            OpaqueRotation::Adopted(it) => opaque("ADOPTED", it),
            OpaqueRotation::Superseded { .. } | OpaqueRotation::Refused(_) => {
                json!({ "result": "OTHER" })
            }
        },
        Performed::Touched | Performed::SessionTouched(_) => json!({ "result": "TOUCHED" }),
        Performed::FamilyUpdated { version } => json!({ "result": "UPDATED", "version": version }),
        Performed::FamilyRevoked(revocation) => revoked(revocation),
        Performed::SessionCreated(it) => {
            json!({ "result": "CREATED", "expires_at_unix_ms": it.expires_at.0 })
        }
        Performed::SessionEnded(it) => revoked(it.outcome),
        _ => json!({ "result": "OTHER" }),
    }
}

fn revoked(revocation: Revocation) -> Value {
    json!({ "result": match revocation {
        Revocation::Revoked => "REVOKED",
        Revocation::Already => "ALREADY",
        Revocation::Unknown => "UNKNOWN",
    } })
}

impl Report for TransactedReport {
    fn table(&self) -> Table {
        let mut table = Table::new(["OPERATION", "RESULT", "MORE"]);
        let told = self.performed.iter().enumerate().map(|(at, it)| (at, it, true));
        let stopped = self.operation.zip(self.why.as_ref()).map(|(at, it)| (at, it, false));
        for (at, it, done) in told.chain(stopped) {
            let text = |name: &str| it[name].as_str().map(str::to_owned);
            let result = match text("reason") {
                Some(reason) if !done => format!("REFUSED ({reason})"),
                _ => text("result").unwrap_or_default(),
            };
            let version = || it["version"].as_u64().map(|version| format!("version {version}"));
            let more = text("token").or_else(|| text("value")).or_else(|| text("message"));
            table.row([at.to_string(), result, more.or_else(version).unwrap_or_default()]);
        }
        if let Some(unmet) = self.unmet {
            table.note(format!("Condition {unmet} did not hold."));
        }
        table.note(match self.result {
            "DONE" => format!("Done at position {}.", self.position),
            _ => "Nothing was done.".to_owned(),
        });
        table
    }
}

/// Runs it.
pub async fn run(
    tenant: &Tenant,
    args: TransactArgs,
    timeout: Duration,
    format: Format,
) -> anyhow::Result<Exit> {
    let text = super::text_or_stdin(&args.file)?;
    let document: Document = serde_json::from_str(&text)
        .map_err(|error| Usage::error(format!("the document: {error}")))?;
    let nothing = document.otherwise.is_empty();
    let done = transaction(tenant, document)?.send(timeout).await?;
    let fails = done.outcome.is_err() || (done.unmet.is_some() && nothing);
    format.print(&TransactedReport::new(done)?)?;
    Ok(if fails { Exit::Refused } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_the_help_is_one() {
        let from = DOCUMENT.find("  {").unwrap();
        let to = DOCUMENT.find("Conditions:").unwrap();
        let document: Document = serde_json::from_str(&DOCUMENT[from..to]).unwrap();
        assert_eq!((document.when.len(), document.then.len()), (2, 3));
        for operation in document.then {
            operation.step().unwrap();
        }
    }

    #[test]
    fn what_is_unknown_in_a_document_is_told() {
        for wrong in [
            r#"{"if": []}"#,
            r#"{"then": [{"get_record": {}}]}"#,
            r#"{"then": [{"put_record": {"kind": "k", "key": "a", "values": "b"}}]}"#,
            r#"{"when": [{"lock_held": {"lock": "l", "fence": 5}}]}"#,
        ] {
            assert!(serde_json::from_str::<Document>(wrong).is_err(), "{wrong}");
        }
    }
}
