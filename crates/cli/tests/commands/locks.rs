//! Locks from the shell.

use std::process::Stdio;

use jeton_harness::cluster::Cluster;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{PATIENCE, cluster, code, errors, jeton, json};

async fn with_tenant() -> (Cluster, String) {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme", &at).await;
    (cluster, at)
}

#[tokio::test]
async fn a_lock_is_held_by_name_on_the_command_line() {
    let (_cluster, at) = with_tenant().await;
    let (free, exit) = json("lock status l --tenant acme", &at).await;
    assert_eq!((free["state"].as_str(), exit), (Some("FREE"), 0));
    let acquire = "lock acquire l --tenant acme --ttl 1h";
    let (granted, exit) = json(&format!("{acquire} --holder me"), &at).await;
    assert_eq!((granted["result"].as_str(), exit), (Some("GRANTED"), 0));
    let fence = granted["fence"].as_str().expect("fences are strings").to_owned();
    let (held, exit) = json(&format!("{acquire} --holder you --wait 100ms"), &at).await;
    assert_eq!((held["reason"].as_str(), exit), (Some("HELD"), 1), "{held}");

    let name = format!("l --tenant acme --holder me --fence {fence}");
    let (renewed, exit) = json(&format!("lock renew {name}"), &at).await;
    assert_eq!((renewed["result"].as_str(), exit), (Some("RENEWED"), 0));
    let (status, _) = json("lock status l --tenant acme", &at).await;
    assert_eq!((status["holder"].as_str(), status["fence"].as_str()), (Some("me"), Some(&*fence)));
    let (released, exit) = json(&format!("lock release {name}"), &at).await;
    assert_eq!((released["result"].as_str(), exit), (Some("RELEASED"), 0));
    for verb in ["renew", "release"] {
        let (lost, exit) = json(&format!("lock {verb} {name}"), &at).await;
        assert_eq!((lost["reason"].as_str(), exit), (Some("LOST"), 1), "{verb}");
    }
    let usage = jeton("lock acquire l --tenant acme --ttl 99ms", &at).await;
    assert_eq!(code(&usage), 2, "{}", errors(&usage));
}

/// `jeton lock run l …`, without waiting for it. Its first line of output says that it runs.
async fn hold(at: &str, flags: &[&str], script: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_jeton"))
        .args(["lock", "run", "l", "--tenant", "acme"])
        .args(flags)
        .args(["--", "sh", "-c", script])
        .env("JETON_ENDPOINTS", at)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("jeton starts");
    let mut lines = BufReader::new(child.stdout.take().expect("standard output")).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it runs in time");
    (child, line.expect("text").expect("a line"))
}

async fn exit_of(mut child: Child) -> i32 {
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends in time");
    ended.expect("it was waited for").code().expect("a code")
}

#[tokio::test]
async fn a_command_runs_while_its_lock_is_held_and_its_code_is_told() {
    let (_cluster, at) = with_tenant().await;
    let out = jeton("lock run l --tenant acme -- printenv JETON_FENCE", &at).await;
    assert_eq!(code(&out), 0, "{}", errors(&out));
    let first: u64 = String::from_utf8_lossy(&out.stdout).trim().parse().expect("a fence");

    // It ends when its standard input does.
    let (mut holder, fence) = hold(&at, &["--holder", "me"], "echo $JETON_FENCE; sleep 60").await;
    let fence: u64 = fence.parse().expect("a fence");
    assert!(fence > first, "fences only grow");
    let refused = jeton("lock run l --tenant acme -- echo never", &at).await;
    assert_eq!((code(&refused), refused.stdout.len()), (1, 0), "{}", errors(&refused));
    let release = format!("lock release l --tenant acme --holder me --fence {fence}");
    let (released, _) = json(&release, &at).await;
    assert_eq!(released["result"], "RELEASED");
    // Its lease is lost, behind its back: the next renewal finds out, and the command is stopped.
    let ended = tokio::time::timeout(PATIENCE, holder.wait()).await.expect("it ends in time");
    assert_eq!(ended.expect("it was waited for").code(), Some(143), "SIGTERM");

    let out = jeton("lock run l --tenant acme -- sh -c exit${IFS}7", &at).await;
    assert_eq!(code(&out), 7, "{}", errors(&out));
    let (status, _) = json("lock status l --tenant acme", &at).await;
    assert_eq!(status["state"], "FREE", "it is given back: {status}");
}

#[tokio::test]
async fn a_command_that_does_not_stop_is_killed() {
    let (mut cluster, at) = with_tenant().await;
    let script = "trap '' TERM; echo runs; while :; do sleep 1; done";
    let flags = ["--ttl", "1s", "--kill-after", "300ms"];
    let (holder, line) = hold(&at, &flags, script).await;
    assert_eq!(line, "runs");
    // Nobody renews anything any more: the holder's own clock has to tell.
    cluster.kill(0).await.expect("the node is killed");
    assert_eq!(exit_of(holder).await, 137, "SIGKILL");
}
