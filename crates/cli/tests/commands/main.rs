//! The binary as people and scripts use it: real processes, exit codes, tables and JSON.

mod access;
mod cluster;
mod demo;
mod init;
mod inspect;
mod locks;
mod offline;
mod records;
mod revocations;
mod sessions;
mod tokens;
mod transactions;

use std::process::{Output, Stdio};
use std::time::Duration;

use jeton_harness::cluster::{Cluster, ClusterSpec};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Long enough for a busy machine; what works takes a fraction of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of nodes of this build that serves.
async fn cluster(nodes: usize) -> Cluster {
    let mut spec = ClusterSpec::new(env!("CARGO_BIN_EXE_jeton"), nodes);
    spec.flags = vec!["--log-filter".into(), "warn".into()];
    let mut cluster = Cluster::start(spec).expect("nodes start");
    cluster.wait_ready(PATIENCE).await.expect("nodes get ready");
    cluster
}

/// Runs `jeton` with these words, and this on its standard input.
async fn jeton_with(words: &str, endpoints: &str, input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jeton"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("JETON_") {
            command.env_remove(name);
        }
    }
    if !endpoints.is_empty() {
        command.env("JETON_ENDPOINTS", endpoints);
    }
    let mut child = command
        .args(words.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("jeton starts");
    let mut stdin = child.stdin.take().expect("standard input");
    // A command that doesn't read may be gone before all is written.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE * 3, child.wait_with_output());
    output.await.expect("jeton ends").expect("jeton was waited for")
}

async fn jeton(words: &str, endpoints: &str) -> Output {
    jeton_with(words, endpoints, "").await
}

/// The one JSON object on one line that a command printed, and its exit code.
async fn json(words: &str, endpoints: &str) -> (Value, i32) {
    let output = jeton(&format!("{words} -o json"), endpoints).await;
    (parsed(&output), code(&output))
}

fn parsed(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "one line, but: {text:?} {}", errors(output));
    serde_json::from_str(&text).expect("JSON")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
