//! `jeton inspect`: what is in the data directory of a node that doesn't run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use jeton_core::ids::TenantId;
use jeton_core::rows;
use jeton_server::offline::inspect::{
    EntryContent, EntrySeen, FORMAT, Inspection, LogSeen, RowsSeen, StateSeen,
};
use serde::Serialize;
use serde_json::json;

use crate::exit::{Exit, Usage};
use crate::output::{Format, Report, Table, or_dash};

const EXAMPLES: &str = "\
Examples:
  jeton inspect /var/lib/jeton                      whose it is, what is in it, whether it is whole
  jeton inspect /var/lib/jeton --replay             with what was committed behind the checkpoint
  jeton inspect /var/lib/jeton --rows family --tenant acme --limit 10
  jeton inspect /var/lib/jeton --log --from 1000

Log and state are copied and the copies opened: that needs as much room, see --scratch. Of keys,
digests, seals, values and payloads only the lengths are shown; subjects, clients, addresses,
attributes and reasons as they are.

Exit codes: 0 whole, 1 damaged, incomplete or of a newer release, 2 usage, 3 a node uses the
directory, or an I/O error.";

/// See [`crate::args::Command::Inspect`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    /// The data directory.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where the copies are made, and removed again. Default: the system's directory for
    /// temporary files.
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// Apply to the copy what the log knows to be committed, as the next start would.
    #[arg(long)]
    pub replay: bool,
    /// Print the rows of a kind instead, each as a JSON object on a line.
    #[arg(long, value_name = "KIND", conflicts_with = "log")]
    pub rows: Option<String>,
    /// Of this tenant only.
    #[arg(long, value_name = "NAME", requires = "rows")]
    pub tenant: Option<String>,
    /// List the entries of the log instead.
    #[arg(long)]
    pub log: bool,
    /// From this index on.
    #[arg(long, value_name = "INDEX", requires = "log", default_value_t = 0)]
    pub from: u64,
    /// Up to this index.
    #[arg(long, value_name = "INDEX", requires = "log")]
    pub to: Option<u64>,
    /// Print at most so many.
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<u64>,
}

/// Runs it.
pub fn run(args: &InspectArgs, format: Format) -> anyhow::Result<Exit> {
    if let Some(kind) = &args.rows
        && rows::range_of(kind).is_none()
    {
        let kinds = rows::kinds().collect::<Vec<_>>().join(", ");
        return Err(Usage::error(format!("--rows {kind}: there are {kinds}")));
    }
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::Builder::new()
        .prefix("jeton-inspect-")
        .tempdir_in(&scratch)
        .with_context(|| format!("can't make a directory in {}", scratch.display()))?;
    let mut inspection = Inspection::open(&args.dir, scratch.path())?;
    let replayed = if args.replay { Some(inspection.replay()?) } else { None };
    if let Some(kind) = &args.rows {
        print_rows(args, &inspection, kind)?;
    } else if args.log {
        print_log(args, &inspection, format)?;
    } else {
        let report = InspectReport::of(&inspection, replayed)?;
        format.print(&report)?;
        return Ok(if report.result == WHOLE { Exit::Ok } else { Exit::Refused });
    }
    for problem in inspection.problems() {
        eprintln!("{problem}");
    }
    Ok(if inspection.problems().is_empty() { Exit::Ok } else { Exit::Refused })
}

/// Lines on standard output, until there are enough of them or nobody reads any more.
struct Lines {
    out: io::BufWriter<io::StdoutLock<'static>>,
    left: u64,
    failed: Option<io::Error>,
}

impl Lines {
    fn new(limit: Option<u64>) -> Self {
        let out = io::BufWriter::new(io::stdout().lock());
        Self { out, left: limit.unwrap_or(u64::MAX), failed: None }
    }

    /// Whether more are wanted.
    fn print(&mut self, line: &str) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.failed = writeln!(self.out, "{line}").err();
        self.left > 0 && self.failed.is_none()
    }

    fn finish(mut self) -> anyhow::Result<()> {
        match self.failed.take().map_or_else(|| self.out.flush(), Err) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn print_rows(args: &InspectArgs, inspection: &Inspection, kind: &str) -> anyhow::Result<()> {
    let tenant = args.tenant.as_deref().map(TenantId::new).transpose();
    let tenant = tenant.map_err(|error| Usage::error(format!("--tenant: {error}")))?;
    let mut lines = Lines::new(args.limit);
    inspection.rows(kind, |key, value| {
        let wanted = tenant.is_none() || rows::tenant_of(key) == tenant;
        !wanted || lines.print(&rows::json(key, value))
    })?;
    lines.finish()
}

fn print_log(args: &InspectArgs, inspection: &Inspection, format: Format) -> anyhow::Result<()> {
    let behind = args.to.map_or(u64::MAX, |to| to.saturating_add(1));
    let mut lines = Lines::new(args.limit);
    inspection.entries(args.from, behind, |entry| {
        lines.print(&match format {
            Format::Table => entry_in_words(&entry),
            Format::Json => entry_in_json(&entry),
        })
    })?;
    lines.finish()
}

/// One line: entries are too many for a table whose columns line up.
fn entry_in_words(entry: &EntrySeen) -> String {
    let EntrySeen { index, term, leader, bytes, content } = entry;
    let content = match content {
        EntryContent::Blank => "a leader's first".to_owned(),
        EntryContent::Membership { voters, learners } => {
            format!("members: {voters:?} vote, {learners:?} learn")
        }
        EntryContent::Commands { operations, .. } => {
            let counted = operations.iter().map(|(name, count)| format!("{count} {name}"));
            counted.collect::<Vec<_>>().join(", ")
        }
        EntryContent::Damaged(why) => format!("can't be read: {why}"),
        _ => "something else".to_owned(),
    };
    format!("{index:>10}  term {term}  node {leader}  {bytes:>8} bytes  {content}")
}

fn entry_in_json(entry: &EntrySeen) -> String {
    let EntrySeen { index, term, leader, bytes, content } = entry;
    let mut line = json!({ "index": index, "term": term, "leader_id": leader, "bytes": bytes });
    let (name, value) = match content {
        EntryContent::Blank => ("blank", json!(true)),
        EntryContent::Membership { voters, learners } => {
            ("members", json!({ "voters": voters, "learners": learners }))
        }
        EntryContent::Commands { stamp, operations } => {
            line["stamp_unix_ms"] = json!(stamp.0);
            ("commands", json!(operations))
        }
        EntryContent::Damaged(why) => ("damaged", json!(why)),
        _ => ("other", json!(true)),
    };
    line[name] = value;
    line.to_string()
}

const WHOLE: &str = "WHOLE";

/// What is in a directory.
#[derive(Debug, Serialize)]
struct InspectReport {
    result: &'static str,
    cluster: Option<String>,
    node_id: Option<u64>,
    format: u32,
    /// Whether its node has ever taken part in consensus.
    begun: bool,
    log: Option<LogReport>,
    state: Option<StateReport>,
    tenants: BTreeSet<TenantId>,
    rows: u64,
    row_bytes: u64,
    kinds: BTreeMap<&'static str, KindReport>,
    problems: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LogReport {
    segments: usize,
    first: Option<u64>,
    last: Option<u64>,
    purged: Option<u64>,
    committed: Option<u64>,
    vote: Option<VoteReport>,
}

#[derive(Debug, Serialize)]
struct VoteReport {
    term: u64,
    node_id: u64,
    committed: bool,
}

#[derive(Debug, Serialize)]
struct StateReport {
    applied: Option<u64>,
    /// How many of the entries were applied to the copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<u64>,
    base: Option<u64>,
    position: String,
    clock_unix_ms: u64,
    lease_time_ms: u64,
    digest: String,
    members: Vec<MemberReport>,
}

#[derive(Debug, Serialize)]
struct MemberReport {
    node_id: u64,
    voter: bool,
    peer_address: String,
    client_address: String,
}

#[derive(Debug, Serialize)]
struct KindReport {
    rows: u64,
    bytes: u64,
}

impl From<LogSeen> for LogReport {
    fn from(log: LogSeen) -> Self {
        let LogSeen { segments, first, last, purged, committed, vote } = log;
        let vote = vote.map(|vote| VoteReport {
            term: vote.term,
            node_id: vote.node,
            committed: vote.committed,
        });
        Self { segments, first, last, purged, committed, vote }
    }
}

impl StateReport {
    fn of(state: StateSeen, replayed: Option<u64>) -> Self {
        let StateSeen { meta, applied, base, members, voters } = state;
        let members = members.into_iter().map(|(node_id, member)| MemberReport {
            node_id,
            voter: voters.contains(&node_id),
            peer_address: member.peer_addr,
            client_address: member.client_addr,
        });
        Self {
            applied,
            replayed,
            base,
            position: meta.position.to_string(),
            clock_unix_ms: meta.clock.0,
            lease_time_ms: meta.lease_clock.0,
            digest: meta.digest().to_string(),
            members: members.collect(),
        }
    }
}

impl InspectReport {
    fn of(inspection: &Inspection, replayed: Option<u64>) -> anyhow::Result<Self> {
        let stamp = inspection.stamp();
        let state = inspection.state()?;
        let RowsSeen { kinds, all, tenants, digest, damaged } = inspection.count()?;
        let mut problems = inspection.problems().to_vec();
        if let Some((rows, first)) = damaged {
            problems.push(format!("{rows} rows are damaged; the first: {first}"));
        }
        if state.as_ref().is_some_and(|state| state.meta.rows != digest) {
            problems.push("the rows don't add up to what the state machine counted".to_owned());
        }
        let kinds = kinds
            .into_iter()
            .map(|(kind, tally)| (kind, KindReport { rows: tally.rows, bytes: tally.bytes }));
        Ok(Self {
            result: if problems.is_empty() { WHOLE } else { "DAMAGED" },
            cluster: stamp.map(|stamp| stamp.cluster.to_string()),
            node_id: stamp.map(|stamp| stamp.node),
            format: FORMAT,
            begun: stamp.is_some_and(|stamp| stamp.incarnation.is_some()),
            log: inspection.log()?.map(LogReport::from),
            state: state.map(|state| StateReport::of(state, replayed)),
            tenants,
            rows: all.rows,
            row_bytes: all.bytes,
            kinds: kinds.collect(),
            problems,
            notes: inspection.notes().to_vec(),
        })
    }
}

impl Report for InspectReport {
    fn table(&self) -> Table {
        let begun = if self.begun { "" } else { ", which has not taken part in consensus yet" };
        let mut table = Table::facts([
            ("result", self.result.to_owned()),
            ("cluster", or_dash(self.cluster.as_ref())),
            ("node", format!("{}{begun}", or_dash(self.node_id))),
            ("format", self.format.to_string()),
        ]);
        if let Some(log) = &self.log {
            let range = format!("{} to {}", or_dash(log.first), or_dash(log.last));
            table.row(["log entries".to_owned(), format!("{range}, {} files", log.segments)]);
            table.row(["committed".to_owned(), or_dash(log.committed)]);
            table.row(["purged up to".to_owned(), or_dash(log.purged)]);
            let vote = log.vote.as_ref().map(|vote| {
                let led = if vote.committed { ", who led" } else { "" };
                format!("term {} for node {}{led}", vote.term, vote.node_id)
            });
            table.row(["vote".to_owned(), or_dash(vote)]);
        }
        if let Some(state) = &self.state {
            let replayed =
                state.replayed.map(|entries| format!(", {entries} of them from the log"));
            let applied = format!("{}{}", or_dash(state.applied), replayed.unwrap_or_default());
            table.row(["applied up to".to_owned(), applied]);
            table.row(["base file at".to_owned(), or_dash(state.base)]);
            table.row(["position".to_owned(), state.position.clone()]);
            table.row(["clock".to_owned(), format!("{} ms since 1970", state.clock_unix_ms)]);
            table.row(["lease time".to_owned(), format!("{} ms", state.lease_time_ms)]);
            table.row(["digest".to_owned(), state.digest.clone()]);
            for MemberReport { node_id, voter, peer_address, client_address } in &state.members {
                let role = if *voter { "voter" } else { "learner" };
                let member = format!("{role}, peers {peer_address}, clients {client_address}");
                table.row([format!("member {node_id}"), member]);
            }
        }
        let tenants = self.tenants.iter().map(TenantId::as_str).collect::<Vec<_>>();
        table.row(["tenants".to_owned(), tenants.join(", ")]);
        table.row(["rows".to_owned(), format!("{}, {} bytes", self.rows, self.row_bytes)]);
        for (kind, KindReport { rows, bytes }) in &self.kinds {
            table.row([format!("rows of {kind}"), format!("{rows}, {bytes} bytes")]);
        }
        for problem in &self.problems {
            table.note(format!("Problem: {problem}"));
        }
        for note in &self.notes {
            table.note(format!("Note: {note}"));
        }
        table
    }
}
