//! A backup is made while the cluster is at work; more is acknowledged behind it; a new cluster is
//! made of it. Nothing that ended behind the backup lives there, fences go on, and nobody of the
//! old cluster gets in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jeton_client::{
    Acquisition, Check, Client, Config, Consumed, Consumption, Fence, Issued, NewFamily, NewLease,
    NewRecord, Reach, Refusal, Rotation, Seen, Tenant, UnixMs, Validation, digest,
};
use jeton_harness::process::{Process, ProcessSpec};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use crate::load::Load;
use crate::world::{CLIENT, COME_UP, PATIENCE, TENANT, World, binary, own};

/// What an operator has to write to keep what a restore would cut.
const WORDS: &str = "I accept that what was revoked or used after this backup may come alive";
/// A tenant that is kept.
const KEPT: &str = "kept";
const POLL: Duration = Duration::from_millis(25);

async fn jeton(args: &[&str]) -> Result<Output> {
    Ok(Command::new(binary()?).args(args).output().await?)
}

/// Runs it, and reads what it prints.
async fn json(args: &[&str]) -> Result<Value> {
    let output = jeton(&[args, &["-o", "json"]].concat()).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{args:?}: {errors}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// A backup of a cluster, by way of this endpoint.
async fn back_up(endpoint: &str, to: &Path) -> Result<Value> {
    json(&["backup", "create", "--to", text(to), "--endpoint", endpoint]).await
}

/// A node that was restored, alone.
struct Alone {
    process: Process,
    endpoint: String,
    peer: String,
    data: PathBuf,
    client: Client,
}

fn free_port() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn node(data: &Path, endpoint: &str, peer: &str, log: &Path) -> Result<Process> {
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
async fn until_ready(endpoint: &str) -> Result<Client> {
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

/// Restores a backup and starts the node.
async fn restore(backup: &Path, home: &Path, more: &[&str]) -> Result<Alone> {
    std::fs::create_dir_all(home)?;
    let (endpoint, peer) = (free_port()?, free_port()?);
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
    Ok(Alone { process, endpoint, peer, data, client })
}

async fn validate(tenant: &Tenant, issued: &Issued) -> Result<Validation> {
    Ok(tenant.validate(&issued.token, Check::new(), PATIENCE).await?)
}

async fn rotate(tenant: &Tenant, issued: &Issued) -> Result<Issued> {
    match tenant.rotate(&issued.token, own(), PATIENCE).await? {
        Rotation::Rotated(next) => Ok(next),
        other => bail!("{other:?}"),
    }
}

async fn put_code(tenant: &Tenant, code: &str) -> Result<()> {
    let new = NewRecord::new("code", digest(code)).create_only().lifetime(COME_UP * 10);
    tenant.put_record(new.value("grant").precondition("client", CLIENT), PATIENCE).await?;
    Ok(())
}

async fn consume(tenant: &Tenant, code: &str) -> Result<Consumed> {
    let wish = Consumption::new("code", digest(code)).precondition("client", CLIENT);
    Ok(tenant.consume(wish, PATIENCE).await?)
}

async fn fence(tenant: &Tenant, lock: &str) -> Result<Fence> {
    let new = NewLease::new(lock).ttl(COME_UP).wait(Duration::ZERO);
    match tenant.acquire(new, PATIENCE).await? {
        Acquisition::Granted(lease) => Ok(lease.fence()),
        other => bail!("{lock} is held: {other:?}"),
    }
}

fn in_an_hour() -> Result<UnixMs> {
    let now = std::process::Command::new("date").arg("+%s").output()?;
    let now: u64 = String::from_utf8(now.stdout)?.trim().parse()?;
    Ok(UnixMs((now + 3_600) * 1_000))
}

#[tokio::test]
async fn nothing_that_ended_behind_the_backup_comes_alive() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let no_limit = jeton_client::admin::SettingsChange::new().rotations_per_s(0);
    world.clients[0].admin().create_tenant(KEPT, no_limit, PATIENCE).await?;
    let tenant = world.tenant()?;
    let kept = world.clients[0].tenant(KEPT)?;
    let families = world.families("alice", 4).await?;
    let other = kept.create_family(NewFamily::new("carol", CLIENT), PATIENCE).await?;
    for code in ["used before", "used after", "never used"] {
        put_code(&tenant, code).await?;
    }
    let consent = NewRecord::new("consent", digest("alice")).value("yes");
    tenant.put_record(consent, PATIENCE).await?;
    ensure!(matches!(consume(&tenant, "used before").await?, Consumed::First { .. }));
    let fenced = fence(&tenant, "job").await?;
    let soon = in_an_hour()?;

    let folder = tempfile::tempdir()?;
    let backup = folder.path().join("monday.backup");
    let load = Load::start(&world, 8).await?;
    load.go_on(200).await?;
    let follower = (world.cluster.leader(PATIENCE).await? + 1) % 3;
    let made = back_up(&world.cluster.endpoints()[follower], &backup).await?;
    load.go_on(100).await?;
    println!("{made}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&backup)?.permissions());
    ensure!(mode & 0o077 == 0, "others can read it: {mode:o}");
    // None is overwritten.
    let endpoints = world.cluster.endpoints();
    let again = ["backup", "create", "--to", text(&backup), "--endpoint", &endpoints[0]];
    let again = jeton(&again);
    ensure!(again.await?.status.code() == Some(2), "a backup was overwritten");
    let looked = json(&["backup", "verify", text(&backup)]).await?;
    ensure!(looked["result"] == "WHOLE" && looked["digest"] == made["digest"], "{looked}");
    ensure!(looked["tenants"] == serde_json::json!([TENANT, KEPT]), "{looked}");
    ensure!(looked["kinds"].get("reply").is_none(), "answers are no part of it: {looked}");

    // Acknowledged, and not in the backup.
    let rotated = rotate(&tenant, &families[0]).await?;
    tenant.revoke_where(jeton_client::Cut::of_subject("alice"), PATIENCE).await?;
    ensure!(matches!(consume(&tenant, "used after").await?, Consumed::First { .. }));
    let seen = tenant.seen_once("dpop", CLIENT, "jti", soon, PATIENCE).await?;
    ensure!(seen == Seen::Fresh, "{seen:?}");
    let late = kept.create_family(NewFamily::new("carol", CLIENT), PATIENCE).await?;
    println!("{} rotations", load.stop().await?);

    let keep = format!("{KEPT}={WORDS}");
    let mut alone = restore(&backup, &folder.path().join("new"), &["--keep", &keep]).await?;
    let restored = alone.client.tenant(TENANT)?;
    for issued in families.iter().chain([&rotated]) {
        let refused = validate(&restored, issued).await?;
        let dead = matches!(
            refused,
            Validation::Refused(
                Refusal::Revoked(_) | Refusal::NotFound | Refusal::Integrity { .. }
            )
        );
        ensure!(dead, "{refused:?}");
        let refused = restored.rotate(&issued.token, own(), PATIENCE).await?;
        ensure!(matches!(refused, Rotation::Refused(_)), "{refused:?}");
    }
    // One that was used before is known for it; the others are nobody's.
    let before = consume(&restored, "used before").await?;
    ensure!(matches!(before, Consumed::Refused(Refusal::Already { .. })), "{before:?}");
    for code in ["used after", "never used"] {
        let gone = consume(&restored, code).await?;
        ensure!(matches!(gone, Consumed::Refused(Refusal::NotFound)), "{code}: {gone:?}");
    }
    let level = jeton_client::Consistency::Linearizable;
    // What is not consumed is still there.
    restored.get_record("consent", digest("alice"), level, PATIENCE).await?;
    let seen = restored.seen_once("dpop", CLIENT, "jti", soon, PATIENCE).await?;
    ensure!(seen == Seen::Replay, "{seen:?}");
    let higher = fence(&restored, "job").await?;
    ensure!(higher > fenced, "{higher:?} is not above {fenced:?}");

    // The operator accepted that for this one.
    let kept = alone.client.tenant(KEPT)?;
    ensure!(matches!(validate(&kept, &other).await?, Validation::Active(_)));
    rotate(&kept, &other).await?;
    let unknown = validate(&kept, &late).await?;
    ensure!(matches!(unknown, Validation::Refused(_)), "it was made later: {unknown:?}");

    // New ones live, over a restart too.
    let new = restored.create_family(NewFamily::new("alice", CLIENT), PATIENCE).await?;
    let new = rotate(&restored, &new).await?;
    alone.process.stop(PATIENCE).await?;
    alone.process.restart()?;
    let client = until_ready(&alone.endpoint).await?;
    let restored = client.tenant(TENANT)?;
    ensure!(matches!(validate(&restored, &new).await?, Validation::Active(_)));

    // Others join as empty nodes; one of the old cluster doesn't.
    let (endpoint, peer) = (free_port()?, free_port()?);
    let home = folder.path().join("second");
    std::fs::create_dir_all(&home)?;
    let mut second = node(&home.join("data"), &endpoint, &peer, &home.join("log"))?;
    let until = Instant::now() + COME_UP;
    while let Err(error) = client.admin().add_member(&peer, true, PATIENCE).await {
        ensure!(Instant::now() < until, "{error}");
        tokio::time::sleep(POLL).await;
    }
    let joined = until_ready(&endpoint).await?.tenant(TENANT)?;
    ensure!(matches!(validate(&joined, &new).await?, Validation::Active(_)));
    let old = world.cluster.peer_address(0);
    let error = client.admin().add_member(&old, false, PATIENCE).await;
    let error = error.err().context("a node of the old cluster was taken")?.to_string();
    ensure!(error.contains("cluster"), "{error}");

    second.stop(PATIENCE).await?;
    alone.process.stop(PATIENCE).await?;
    println!("{} {}", alone.peer, alone.data.display());
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn damage_is_found_and_half_a_restore_is_nobodys_directory() -> Result<()> {
    let mut world = World::new(&[]).await?;
    world.families("alice", 50).await?;
    let folder = tempfile::tempdir()?;
    let backup = folder.path().join("b");
    back_up(&world.cluster.endpoints()[0], &backup).await?;
    let bytes = std::fs::read(&backup)?;
    let damaged = folder.path().join("damaged");
    let (data, step) = (folder.path().join("data"), bytes.len() / 5);
    for at in (0..bytes.len()).step_by(step.max(1)) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        for content in [&flipped[..], &bytes[..at]] {
            std::fs::write(&damaged, content)?;
            let verified = jeton(&["backup", "verify", text(&damaged)]).await?;
            let words = String::from_utf8_lossy(&verified.stderr).into_owned();
            ensure!(verified.status.code() == Some(1), "byte {at}: {words}");
            ensure!(words.contains("byte"), "{words}");
            let restored =
                jeton(&["backup", "restore", text(&damaged), "--data-dir", text(&data)]).await?;
            ensure!(restored.status.code() == Some(1), "it was restored");
            ensure!(!data.exists(), "something was written");
        }
    }
    // As a crash in its middle leaves it.
    std::fs::create_dir_all(&data)?;
    std::fs::write(data.join("RESTORE"), b"unfinished")?;
    let words = |output: Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let (endpoint, peer) = (free_port()?, free_port()?);
    let server =
        ["server", "--data-dir", text(&data), "--client-listen", &endpoint, "--peer-listen", &peer];
    let started = jeton(&server).await?;
    ensure!(!started.status.success(), "it started");
    let told = words(started);
    ensure!(told.contains("unfinished restore"), "{told}");
    let again = ["backup", "restore", text(&backup), "--data-dir", text(&data)];
    ensure!(words(jeton(&again).await?).contains("unfinished restore"));
    std::fs::remove_dir_all(&data)?;
    json(&again).await?;
    // It is a node's now.
    ensure!(words(jeton(&again).await?).contains("belongs to a node"));
    world.cluster.stop_all(PATIENCE).await
}
