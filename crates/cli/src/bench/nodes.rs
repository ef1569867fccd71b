//! The nodes that a benchmark runs against: processes of this very program.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use jeton_harness::cluster::{Cluster, ClusterSpec};

/// How long anything may take before a benchmark gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Starts them, with their data in `dir` or in a temporary directory, until one of them leads.
pub async fn start(nodes: u8, dir: Option<PathBuf>) -> Result<Cluster> {
    let binary = std::env::current_exe().context("can't find this program")?;
    let mut spec = ClusterSpec::new(binary, usize::from(nodes));
    spec.dir = dir;
    spec.flags = vec!["--log-filter".into(), "warn".into()];
    let mut cluster = Cluster::start(spec)?;
    eprintln!("{nodes} nodes start, data in {}", cluster.dir().display());
    cluster.wait_ready(PATIENCE).await?;
    cluster.leader(PATIENCE).await?;
    Ok(cluster)
}

/// What an answer was worth: a directory in memory makes syncs worthless.
pub fn durability(nodes: u8, cluster: &Cluster) -> String {
    let majority = nodes / 2 + 1;
    match jeton_harness::process::is_in_memory(cluster.dir()) {
        Ok(false) => format!("fdatasync on {majority} of {nodes} nodes before each answer"),
        Ok(true) => "none: the data directory is in memory (tmpfs), give --dir".to_owned(),
        Err(error) => format!("unknown: {error:#}"),
    }
}
