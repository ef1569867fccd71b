//! Backups from the shell, and nodes that were restored from one, alone.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Result, ensure};
use jeton_client::{Client, Config, Reach};
use jeton_harness::process::{Process, ProcessSpec};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use crate::world::{COME_UP, binary};

/// What an operator has to write to keep what a restore would cut.
pub const WORDS: &str = "I accept that what was revoked or used after this backup may come alive";
const POLL: Duration = Duration::from_millis(25);

pub async fn jeton(args: &[&str]) -> Result<Output> {
    Ok(Command::new(binary()?).args(args).output().await?)
}

/// Runs it, and reads what it prints.
pub async fn json(args: &[&str]) -> Result<Value> {
    let output = jeton(&[args, &["-o", "json"]].concat()).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{args:?}: {errors}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// A backup of a cluster, by way of this endpoint.
pub async fn back_up(endpoint: &str, to: &Path) -> Result<Value> {
    json(&["backup", "create", "--to", text(to), "--endpoint", endpoint]).await
}

/// A node that was restored, alone.
pub struct Alone {
    pub process: Process,
    pub endpoint: String,
    pub client: Client,
}

pub fn free_port() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

pub fn node(data: &Path, endpoint: &str, peer: &str, log: &Path) -> Result<Process> {
    let flags = [
        "server",
        "--data-dir",
        text(data),
        "--client-listen",
        endpoint,
        "--peer-listen",
        peer,
        "--bootstrap-expect",
        "0",
    ];
    let args = flags.into_iter().map(OsString::from).collect();
    Process::start(ProcessSpec { binary: binary()?, args, log: log.to_owned() })
}

/// Connects to this node alone, once it takes calls and has a leader.
pub async fn until_ready(endpoint: &str) -> Result<Client> {
    let until = Instant::now() + COME_UP;
    loop {
        let config = Config::new([endpoint]).reach(Reach::Configured);
        let why = match Client::connect(config).await {
            Ok(client) => match client.admin().status(Duration::from_secs(2)).await {
                Ok(status) if status.not_ready.is_none() && status.leader_id.is_some() => {
                    return Ok(client);
                }
                other => format!("{other:?}"),
            },
            Err(error) => error.to_string(),
        };
        ensure!(Instant::now() < until, "{endpoint} does not serve: {why}");
        tokio::time::sleep(POLL).await;
    }
}

/// Restores a backup and starts the node, at a port of its own.
pub async fn restore(backup: &Path, home: &Path, more: &[&str]) -> Result<Alone> {
    restore_at(&free_port()?, backup, home, more).await
}

/// Restores a backup and starts the node at this endpoint.
pub async fn restore_at(
    endpoint: &str,
    backup: &Path,
    home: &Path,
    more: &[&str],
) -> Result<Alone> {
    std::fs::create_dir_all(home)?;
    let (endpoint, peer) = (endpoint.to_owned(), free_port()?);
    let data = home.join("data");
    let args = [
        "backup",
        "restore",
        text(backup),
        "--data-dir",
        text(&data),
        "--peer-address",
        &peer,
        "--client-address",
        &endpoint,
    ];
    let restored = json(&[&args, more].concat()).await?;
    ensure!(restored["result"] == "RESTORED", "{restored}");
    ensure!(restored["new_cluster"] != restored["cluster"], "{restored}");
    let process = node(&data, &endpoint, &peer, &home.join("log"))?;
    let client = until_ready(&endpoint).await?;
    Ok(Alone { process, endpoint, client })
}
