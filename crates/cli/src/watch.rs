//! `jeton watch`: revocations as they happen.

use std::time::Duration;

use clap::Args;
use jeton_client::{Begin, Change, FeedEntry, Notice, Suspendable};
use serde::Serialize;

use crate::args::{Connection, TenantFlag};
use crate::connect;
use crate::exit::Exit;
use crate::output::{Format, Report, Table};
use crate::refused::cause;

const EXAMPLES: &str = "\
Examples:
  jeton watch --tenant acme                 a line for each revocation from now on
  jeton watch --tenant acme --snapshot      all that is in force first
  jeton watch --tenant acme -o json         one JSON object a line

It goes on at another node when one fails, and repeats nothing. It runs until it is stopped, or
until --events of them were told.";

/// See [`crate::args::Command::Watch`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WatchArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// Begin with all that is in force, instead of with now.
    #[arg(long)]
    pub snapshot: bool,
    /// Stop after so many changes.
    #[arg(long, value_name = "COUNT")]
    pub events: Option<u64>,
}

/// Runs it.
pub async fn run(args: WatchArgs, format: Format) -> anyhow::Result<Exit> {
    let tenant = connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?;
    let begin = if args.snapshot { Begin::Snapshot } else { Begin::Now };
    let (probe_every, silence_max) = (Duration::from_millis(500), Duration::from_secs(2));
    let mut watcher = tenant.watch(begin, probe_every, silence_max);
    let mut left = args.events.unwrap_or(u64::MAX);
    while left > 0 {
        let entries = match watcher.next().await {
            Notice::Snapshot { entries, .. } => entries,
            Notice::Changed(entry) => vec![entry],
            Notice::Fresh { .. } => continue,
        };
        for line in entries.iter().flat_map(lines) {
            if left == 0 {
                break;
            }
            format.print(&line)?;
            left -= 1;
        }
    }
    Ok(Exit::Ok)
}

/// A change as it is printed.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Line {
    position: String,
    at_unix_ms: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// Families and sessions that are left alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    except: Vec<String>,
}

fn lines(entry: &FeedEntry) -> Vec<Line> {
    entry.changes.iter().map(|change| line(entry, change)).collect()
}

fn line(entry: &FeedEntry, change: &Change) -> Line {
    let position = entry.position.to_string();
    let mut line = Line { position, at_unix_ms: entry.at.0, event: "OTHER", ..Line::default() };
    match change {
        Change::FamilyRevoked { family, cause: by } => {
            line.event = "FAMILY_REVOKED";
            (line.family, line.cause) = (Some(family.to_string()), Some(cause(*by)));
        }
        Change::SessionEnded { session } => {
            (line.event, line.session) = ("SESSION_ENDED", Some(session.to_string()));
        }
        Change::Cutoff { subject, client, device, session, except } => {
            line.event = "CUTOFF";
            line.subject = subject.as_ref().map(ToString::to_string);
            line.client = client.as_ref().map(ToString::to_string);
            line.device = device.as_ref().map(ToString::to_string);
            line.session = session.as_ref().map(ToString::to_string);
            line.except = except.families.iter().map(ToString::to_string).collect();
            line.except.extend(except.sessions.iter().map(ToString::to_string));
        }
        Change::Reauthentication { subject } => {
            (line.event, line.subject) = ("REAUTHENTICATION", Some(subject.to_string()));
        }
        Change::AccessTokenRevoked { jti, client } => {
            line.event = "ACCESS_TOKEN_REVOKED";
            (line.jti, line.client) = (Some(jti.to_string()), Some(client.to_string()));
        }
        Change::Suspended { what } => {
            line.event = "SUSPENDED";
            line.root(what);
        }
        Change::Resumed { what } => {
            line.event = "RESUMED";
            line.root(what);
        }
        _ => {}
    }
    line
}

impl Line {
    /// The whole tenant is what nothing is named of.
    fn root(&mut self, what: &Suspendable) {
        match what {
            Suspendable::Subject(subject) => self.subject = Some(subject.to_string()),
            Suspendable::Client(client) => self.client = Some(client.to_string()),
            Suspendable::Family(family) => self.family = Some(family.to_string()),
            Suspendable::Tenant => {}
        }
    }
}

impl Report for Line {
    fn table(&self) -> Table {
        let named = [
            ("family", &self.family),
            ("subject", &self.subject),
            ("client", &self.client),
            ("device", &self.device),
            ("session", &self.session),
            ("jti", &self.jti),
        ];
        let named = named.into_iter().filter_map(|(name, it)| Some((name, it.as_ref()?)));
        let mut what: Vec<String> = named.map(|(name, it)| format!("{name}={it}")).collect();
        what.extend(self.cause.map(|cause| format!("cause={cause}")));
        what.extend(self.except.iter().map(|name| format!("except={name}")));
        let mut table = Table::default();
        table.row([self.position.clone(), self.event.to_owned(), what.join(" ")]);
        table
    }
}

#[cfg(test)]
mod tests {
    use jeton_client::{Position, SubjectId, UnixMs};

    use super::*;

    #[test]
    fn a_change_is_one_line_and_its_position_a_string() {
        let subject = SubjectId::new("alice").ok();
        let except = jeton_client::Except::default();
        let cut = Change::Cutoff { subject, client: None, device: None, session: None, except };
        let (position, at) = (Position(1 << 60), UnixMs(5));
        let entry = FeedEntry { position, at, until: UnixMs(9), changes: vec![cut] };
        let line = lines(&entry).remove(0);
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!(json["position"], "1152921504606846976");
        assert_eq!((&json["event"], &json["subject"]), (&"CUTOFF".into(), &"alice".into()));
        assert!(json.get("client").is_none());
        assert_eq!(line.table().render(), "1152921504606846976  CUTOFF  subject=alice\n");
    }
}
