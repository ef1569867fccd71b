//! `jeton cluster`: look at the cluster and change its members.

use clap::{Args, Subcommand};
use jeton_client::admin::{ClusterStatus, NodeState};
use serde::Serialize;

use crate::args::Connection;
use crate::connect;
use crate::exit::{Exit, Usage};
use crate::output::{Format, Report, Table, or_dash};

const EXAMPLES: &str = "\
Examples:
  jeton cluster status
  jeton cluster status -o json | jq .leader_id
  jeton cluster add 10.0.0.4:7402 --voter     a running, empty node; promoted when caught up
  jeton cluster transfer-leader 2
  jeton cluster remove 4                      for good: its id is never used again

Members are changed by the leader; any node says where it is, so any will do as the endpoint.

A new cluster needs none of these: start every node with the same --bootstrap-expect and --join.
Or start them with --bootstrap-expect 0, and tell one of them, and only one, to begin:
  jeton cluster init --members 10.0.0.1:7402,10.0.0.2:7402,10.0.0.3:7402";

/// See [`crate::args::Command::Cluster`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ClusterArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Have the node at the one endpoint form a new cluster, of nodes that all run, empty, with
    /// --bootstrap-expect 0. Returns when it runs. Can be repeated: with the same members it goes
    /// on, and a cluster that exists is left alone.
    Init {
        /// Peer addresses of all first members, the node's own too. Default: those of its --join,
        /// or the node alone.
        #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
        members: Vec<String>,
    },
    /// Show the cluster as the node at the endpoint sees it.
    Status,
    /// Add a running, empty node as a learner.
    Add {
        /// Its peer address, as the other nodes reach it.
        #[arg(value_name = "HOST:PORT")]
        peer_address: String,
        /// Promote it to a voter when it has caught up.
        #[arg(long)]
        voter: bool,
    },
    /// Make a learner a voter.
    Promote {
        /// Its node id, as in the status.
        #[arg(value_name = "NODE")]
        node: u64,
    },
    /// Remove a member for good: its id is never used again.
    Remove {
        /// Its node id, as in the status.
        #[arg(value_name = "NODE")]
        node: u64,
    },
    /// Hand leadership to another voter.
    TransferLeader {
        /// Its node id. Default: the most advanced voter.
        #[arg(value_name = "NODE")]
        node: Option<u64>,
    },
    /// Write a checkpoint on the node at the endpoint now.
    Checkpoint {
        /// Also write a base file, and purge the log up to it.
        #[arg(long)]
        base: bool,
    },
}

/// Runs it.
pub async fn run(args: ClusterArgs, format: Format) -> anyhow::Result<Exit> {
    if matches!(args.command, ClusterCommand::Init { .. }) && args.connection.endpoints.len() > 1 {
        return Err(Usage::error(
            "cluster init takes one endpoint, that of the node that is to begin: \
             repeated at another one, it could form a second cluster",
        ));
    }
    let admin = connect::client(&args.connection).await?.admin();
    let timeout = args.connection.timeout;
    let done = match args.command {
        ClusterCommand::Status => {
            format.print(&StatusReport::of(admin.status(timeout).await?))?;
            return Ok(Exit::Ok);
        }
        ClusterCommand::Init { members } => {
            let made = admin.init(&members, timeout).await?;
            let result = if made.created { "CREATED" } else { "EXISTS" };
            DoneReport { cluster: Some(made.cluster.to_string()), ..DoneReport::new(result) }
        }
        ClusterCommand::Add { peer_address, voter } => {
            let node = admin.add_member(&peer_address, voter, timeout).await?;
            DoneReport { node_id: Some(node), ..DoneReport::new("ADDED") }
        }
        ClusterCommand::Promote { node } => {
            admin.promote_member(node, timeout).await?;
            DoneReport { node_id: Some(node), ..DoneReport::new("PROMOTED") }
        }
        ClusterCommand::Remove { node } => {
            admin.remove_member(node, timeout).await?;
            DoneReport { node_id: Some(node), ..DoneReport::new("REMOVED") }
        }
        ClusterCommand::TransferLeader { node } => {
            let leader = admin.transfer_leader(node, timeout).await?;
            DoneReport { leader_id: Some(leader), ..DoneReport::new("TRANSFERRED") }
        }
        ClusterCommand::Checkpoint { base } => {
            let written = admin.checkpoint(base, timeout).await?;
            DoneReport {
                checkpoint_index: Some(written.index),
                base_index: written.base_index,
                ..DoneReport::new("WRITTEN")
            }
        }
    };
    format.print(&done)?;
    Ok(Exit::Ok)
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct DoneReport {
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_index: Option<u64>,
}

impl DoneReport {
    fn new(result: &'static str) -> Self {
        Self { result, ..Self::default() }
    }
}

impl Report for DoneReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([("result", self.result.to_owned())]);
        let facts = [
            ("cluster", self.cluster.clone()),
            ("node", self.node_id.map(|id| id.to_string())),
            ("leader", self.leader_id.map(|id| id.to_string())),
            ("checkpoint at index", self.checkpoint_index.map(|index| index.to_string())),
            ("base at index", self.base_index.map(|index| index.to_string())),
        ];
        for (name, value) in facts {
            if let Some(value) = value {
                table.row([name.to_owned(), value]);
            }
        }
        table
    }
}

/// The cluster as it is printed.
#[derive(Debug, Serialize)]
struct StatusReport {
    cluster: Option<String>,
    node_id: u64,
    leader_id: Option<u64>,
    term: u64,
    state: &'static str,
    ready: bool,
    why_not_ready: Option<String>,
    missing_members: Vec<String>,
    position: String,
    last_log_index: u64,
    applied_index: u64,
    checkpoint_index: u64,
    base_index: Option<u64>,
    log_syncs: u64,
    log_entries: u64,
    commands_applied: u64,
    version: String,
    started_at_unix_ms: u64,
    clock_unix_ms: u64,
    members: Vec<MemberReport>,
    digests: Vec<DigestReport>,
}

#[derive(Debug, Serialize)]
struct MemberReport {
    node_id: u64,
    role: &'static str,
    peer_address: String,
    client_address: String,
    lag_entries: Option<u64>,
    clock_skew_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct DigestReport {
    position: String,
    digest: String,
}

impl StatusReport {
    fn of(status: ClusterStatus) -> Self {
        let members = status.members.into_iter().map(|member| MemberReport {
            node_id: member.node_id,
            role: match (member.leader, member.voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "learner",
            },
            peer_address: member.peer_address,
            client_address: member.client_address,
            lag_entries: member.lag_entries,
            clock_skew_ms: member.clock_skew_ms,
        });
        let digests = status
            .digests
            .into_iter()
            .map(|(position, digest)| DigestReport { position: position.to_string(), digest });
        Self {
            cluster: status.cluster.map(|cluster| cluster.to_string()),
            node_id: status.node_id,
            leader_id: status.leader_id,
            term: status.term,
            state: match status.state {
                NodeState::Starting => "STARTING",
                NodeState::Waiting => "WAITING",
                _ => "RUNNING",
            },
            missing_members: status.missing_members,
            ready: status.not_ready.is_none(),
            why_not_ready: status.not_ready,
            position: status.position.to_string(),
            last_log_index: status.last_log_index,
            applied_index: status.applied_index,
            checkpoint_index: status.checkpoint_index,
            base_index: status.base_index,
            log_syncs: status.log_syncs,
            log_entries: status.log_entries,
            commands_applied: status.commands_applied,
            version: status.version,
            started_at_unix_ms: status.started_at.0,
            clock_unix_ms: status.clock.0,
            members: members.collect(),
            digests: digests.collect(),
        }
    }
}

impl Report for StatusReport {
    fn table(&self) -> Table {
        if self.state != "RUNNING" {
            let why = self.why_not_ready.clone().unwrap_or_default();
            let facts = [("state", self.state.to_owned()), ("why", why)];
            return Table::facts(facts);
        }
        let mut table = Table::new(["NODE", "ROLE", "CLIENTS", "PEERS", "BEHIND", "CLOCK"]);
        for member in &self.members {
            let here = if member.node_id == self.node_id { "*" } else { "" };
            table.row([
                format!("{}{here}", member.node_id),
                member.role.to_owned(),
                member.client_address.clone(),
                member.peer_address.clone(),
                or_dash(member.lag_entries),
                member.clock_skew_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:+} ms")),
            ]);
        }
        table.note(format!(
            "\ncluster {}, term {}; * answered: applied {} of {}, position {}, version {}",
            or_dash(self.cluster.as_ref()),
            self.term,
            self.applied_index,
            self.last_log_index,
            self.position,
            self.version,
        ));
        if let Some(why) = &self.why_not_ready {
            table.note(format!("Not ready: {why}"));
        }
        table
    }
}
