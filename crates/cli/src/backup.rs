//! `jeton backup`: make a backup, look at one, and make a new cluster of one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jeton_core::ids::{DurationMs, TenantId};
use jeton_server::offline::{self, Incoming, Restore, Verified};
use serde::Serialize;

use crate::args::{Connection, default_endpoint};
use crate::connect;
use crate::duration;
use crate::exit::{Exit, Usage};
use crate::output::{Format, Report, Table};

/// What an operator has to write to waive the cut of a tenant.
const WORDS: &str = "I accept that what was revoked or used after this backup may come alive";

const EXAMPLES: &str = "\
Examples:
  jeton backup create --to monday.backup
  jeton backup verify monday.backup
  jeton backup restore monday.backup --data-dir /var/lib/jeton \\
    --peer-address 10.0.0.1:7402 --client-address 10.0.0.1:7401

A backup holds the tenants' keys, subjects, attributes and payloads: keep it secret.

A restore makes the first node of a new cluster. All families and sessions are revoked and
records of one-time kinds are gone, since what happened behind the backup is unknown. To waive that
for a tenant, in these very words:
  --keep acme=\"I accept that what was revoked or used after this backup may come alive\"";

/// How long the making of a backup may take.
const BEGIN: Duration = Duration::from_secs(30 * 60);
/// Bytes between two words about progress.
const PROGRESS_BYTES: u64 = 64 << 20;

/// See [`crate::args::Command::Backup`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BackupArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: BackupCommand,
}

/// What to do with backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Have a node make a backup of everything acknowledged so far, and write it into a file.
    Create {
        /// The file; there must be none of that name.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Read all of a backup, and say what is in it. Needs no cluster.
    Verify {
        /// The backup.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make the data directory of the first node of a new cluster. Needs no cluster.
    Restore {
        /// The backup.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The directory to make: missing or empty.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// Where other nodes will reach this one.
        #[arg(long, value_name = "HOST:PORT", default_value_t = default_peer())]
        peer_address: String,
        /// Where clients will reach it.
        #[arg(long, value_name = "HOST:PORT", default_value_t = default_endpoint())]
        client_address: String,
        /// Don't revoke what the backup holds of this tenant; may be repeated. The words are in
        /// the examples.
        #[arg(long, value_name = "TENANT=WORDS")]
        keep: Vec<String>,
        /// How long proofs (DPoP, client assertions) live at most: those that may have been seen
        /// before the restore are replays.
        #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1d")]
        proofs_live: Duration,
    },
}

fn default_peer() -> String {
    jeton_server::Config::default().peer_listen.to_string()
}

/// Runs it.
pub async fn run(args: BackupArgs, format: Format) -> anyhow::Result<Exit> {
    let report = match args.command {
        BackupCommand::Create { to } => {
            let mut incoming = Incoming::create(&to)?;
            let admin = connect::client(&args.connection).await?.admin();
            eprintln!("a node makes the backup");
            let silence = args.connection.timeout.max(Duration::from_secs(30));
            let mut stream = admin.backup(BEGIN, silence).await?;
            let mut told = 0;
            while let Some(bytes) = stream.next().await? {
                incoming.write(&bytes)?;
                if incoming.bytes() - told >= PROGRESS_BYTES {
                    told = incoming.bytes();
                    eprintln!("{told} of {} bytes", stream.total());
                }
            }
            eprintln!("{} bytes are here: reading them again", incoming.bytes());
            BackupReport::of("CREATED", &incoming.finish()?)
        }
        BackupCommand::Verify { file } => BackupReport::of("WHOLE", &offline::verify(&file)?),
        BackupCommand::Restore {
            file,
            data_dir,
            peer_address,
            client_address,
            keep,
            proofs_live,
        } => {
            let live = u64::try_from(proofs_live.as_millis()).unwrap_or(u64::MAX);
            let wish = Restore {
                data_dir,
                peer_addr: peer_address,
                client_addr: client_address,
                keep: kept(&keep)?,
                proofs_live: DurationMs(live),
            };
            eprintln!("reading all of {}", file.display());
            let restored = offline::restore(&file, &wish)?;
            BackupReport {
                new_cluster: Some(restored.cluster.to_string()),
                new_node_id: Some(restored.node),
                restored_at_position: Some(restored.position.to_string()),
                ..BackupReport::of("RESTORED", &restored.backup)
            }
        }
    };
    format.print(&report)?;
    Ok(Exit::Ok)
}

fn kept(keep: &[String]) -> anyhow::Result<BTreeSet<TenantId>> {
    let one = |text: &String| {
        let Some((tenant, words)) = text.split_once('=') else {
            return Err(Usage::error(format!("--keep {text}: write TENANT=\"{WORDS}\"")));
        };
        if words != WORDS {
            let told = format!("--keep {tenant}: the words must be exactly \"{WORDS}\"");
            return Err(Usage::error(told));
        }
        TenantId::new(tenant).map_err(|error| Usage::error(format!("--keep {tenant}: {error}")))
    };
    keep.iter().map(one).collect()
}

/// What is in a backup, and what became of it.
#[derive(Debug, Serialize)]
struct BackupReport {
    result: &'static str,
    cluster: String,
    position: String,
    clock_unix_ms: u64,
    made_at_unix_ms: u64,
    bytes: u64,
    rows: u64,
    digest: String,
    tenants: Vec<String>,
    kinds: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_node_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored_at_position: Option<String>,
}

impl BackupReport {
    fn of(result: &'static str, verified: &Verified) -> Self {
        let Verified { header, survey, bytes } = verified;
        Self {
            result,
            cluster: header.cluster.to_string(),
            position: header.meta.position.to_string(),
            clock_unix_ms: header.meta.clock.0,
            made_at_unix_ms: header.made_at.0,
            bytes: *bytes,
            rows: survey.rows,
            digest: format!("{:032x}", survey.digest),
            tenants: survey.tenants.iter().map(ToString::to_string).collect(),
            kinds: survey.kinds.clone(),
            new_cluster: None,
            new_node_id: None,
            restored_at_position: None,
        }
    }
}

impl Report for BackupReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([
            ("result", self.result.to_owned()),
            ("of cluster", self.cluster.clone()),
            ("at position", self.position.clone()),
            ("made at", format!("{} ms since 1970", self.made_at_unix_ms)),
            ("bytes", self.bytes.to_string()),
            ("rows", self.rows.to_string()),
            ("digest", self.digest.clone()),
            ("tenants", self.tenants.join(", ")),
        ]);
        for (kind, rows) in &self.kinds {
            table.row([format!("rows of {kind}"), rows.to_string()]);
        }
        if let Some(cluster) = &self.new_cluster {
            table.row(["new cluster".to_owned(), cluster.clone()]);
            table.note("Start this node, then add others with jeton cluster add.");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_waived_in_the_very_words_only() {
        let kept_of = |words: &str| kept(&[format!("acme={words}")]);
        assert_eq!(kept_of(WORDS).unwrap().len(), 1);
        assert!(kept_of("yes").unwrap_err().to_string().contains(WORDS));
        assert!(kept_of(&WORDS.to_lowercase()).is_err());
        assert!(kept(&["acme".to_owned()]).is_err());
        assert!(EXAMPLES.contains(WORDS), "the examples show them");
    }
}
