//! `jeton backup`: make a backup, look at one, and make a new cluster of one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jeton_core::ids::{DurationMs, TenantId};
use jeton_server::offline::{self, Incoming, Passphrase, Restore, Verified};
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
  jeton backup create --to monday.backup --passphrase-file /etc/jeton/backup.passphrase
  jeton backup verify monday.backup --passphrase-file /etc/jeton/backup.passphrase
  jeton backup restore monday.backup --data-dir /var/lib/jeton \\
    --peer-address 10.0.0.1:7402 --client-address 10.0.0.1:7401

A backup holds the tenants' keys, subjects, attributes and payloads: keep it secret. With
--passphrase-file it is encrypted here, before anything of it is written; the passphrase stays on
this machine. Whoever loses it has no backup.

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
        /// Encrypt it.
        #[command(flatten)]
        under: Under,
    },
    /// Read all of a backup, and say what is in it. Needs no cluster.
    Verify {
        /// The backup.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// It is encrypted.
        #[command(flatten)]
        under: Under,
    },
    /// Make the data directory of the first node of a new cluster. Needs no cluster.
    Restore {
        /// The backup.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// It is encrypted.
        #[command(flatten)]
        under: Under,
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

/// Under which passphrase a backup is encrypted, if it is.
#[derive(Debug, Args)]
pub struct Under {
    /// The backup is encrypted under the passphrase in this file, without the line's end; - reads
    /// it from standard input.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// No passphrase is longer.
const PASSPHRASE_BYTES_MAX: usize = 1024;

impl Under {
    /// Reads the passphrase.
    fn read(&self) -> anyhow::Result<Option<Passphrase>> {
        let Some(path) = &self.passphrase_file else { return Ok(None) };
        let what = format!("--passphrase-file {}", path.display());
        let mut bytes = Vec::with_capacity(PASSPHRASE_BYTES_MAX + 3);
        let mut read = |from: &mut dyn std::io::Read| {
            from.take(PASSPHRASE_BYTES_MAX as u64 + 3).read_to_end(&mut bytes)
        };
        if path == Path::new("-") {
            read(&mut std::io::stdin())?;
        } else {
            let opened = std::fs::OpenOptions::new().read(true).open(path);
            let mut file = opened.map_err(|error| Usage::error(format!("{what}: {error}")))?;
            read(&mut file)?;
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let len = line.strip_suffix(b"\r").unwrap_or(line).len();
        bytes.truncate(len);
        if len > PASSPHRASE_BYTES_MAX {
            let told = format!("{what}: longer than {PASSPHRASE_BYTES_MAX} bytes");
            return Err(Usage::error(told));
        }
        let passphrase = Passphrase::new(bytes);
        passphrase.map(Some).ok_or_else(|| Usage::error(format!("{what}: it is empty")))
    }
}

fn default_peer() -> String {
    jeton_server::Config::default().peer_listen.to_string()
}

/// Runs it.
pub async fn run(args: BackupArgs, format: Format) -> anyhow::Result<Exit> {
    let report = match args.command {
        BackupCommand::Create { to, under } => {
            let mut incoming = Incoming::create(&to, under.read()?)?;
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
        BackupCommand::Verify { file, under } => {
            BackupReport::of("WHOLE", &offline::verify(&file, under.read()?.as_ref())?)
        }
        BackupCommand::Restore {
            file,
            under,
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
            let passphrase = under.read()?;
            eprintln!("reading all of {}", file.display());
            let restored = offline::restore(&file, passphrase.as_ref(), &wish)?;
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
    encrypted: bool,
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
        let Verified { header, survey, bytes, encrypted } = verified;
        Self {
            result,
            cluster: header.cluster.to_string(),
            position: header.meta.position.to_string(),
            clock_unix_ms: header.meta.clock.0,
            made_at_unix_ms: header.made_at.0,
            bytes: *bytes,
            encrypted: *encrypted,
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
            ("encrypted", if self.encrypted { "yes" } else { "no" }.to_owned()),
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
