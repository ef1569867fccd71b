//! A backup is made while the cluster is at work; more is acknowledged behind it; a new cluster is
//! made of it. Nothing that ended behind the backup lives there, fences go on, and nobody of the
//! old cluster gets in.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jeton_client::{
    Acquisition, Check, Consumed, Consumption, Fence, Issued, NewFamily, NewLease, NewRecord,
    Refusal, Rotation, Seen, Tenant, UnixMs, Validation, digest,
};
use tokio::time::Instant;

use crate::alone::{WORDS, back_up, free_port, jeton, json, node, restore, text, until_ready};
use crate::load::Load;
use crate::world::{CLIENT, COME_UP, PATIENCE, TENANT, World, own};

/// A tenant that is kept.
const KEPT: &str = "kept";
const POLL: Duration = Duration::from_millis(25);

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

/// The flags that name a passphrase.
fn under(path: &Path) -> [&str; 2] {
    ["--passphrase-file", text(path)]
}

#[tokio::test]
async fn an_encrypted_backup_is_restored_under_its_passphrase_and_no_other() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let alice = world.families("alice-of-the-backup", 20).await?.remove(0);
    let folder = tempfile::tempdir()?;
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).map(|()| path)
    };
    let right = write("right", "correct horse battery staple\n")?;
    let (wrong, none) = (write("wrong", "battery staple\n")?, write("none", "\n")?);
    let (backup, clear) = (folder.path().join("b"), folder.path().join("clear"));
    let endpoints = world.cluster.endpoints();
    let create = ["backup", "create", "--to", text(&backup), "--endpoint", &endpoints[0]];
    let empty = jeton(&[&create[..], &under(&none)].concat()).await?;
    ensure!(empty.status.code() == Some(2), "an empty passphrase was taken");
    let made = json(&[&create[..], &under(&right)].concat()).await?;
    ensure!(made["encrypted"] == true && made["result"] == "CREATED", "{made}");
    back_up(&endpoints[0], &clear).await?;

    // Rows are compressed, so that no subject can be looked for; but every file begins alike.
    let (bytes, plain) = (std::fs::read(&backup)?, std::fs::read(&clear)?);
    ensure!(bytes.len() as u64 == made["bytes"].as_u64().unwrap_or(0), "{made}");
    ensure!(bytes.starts_with(b"jetonenc") && plain.starts_with(b"jetonbak"));
    ensure!(!bytes.windows(8).any(|part| part == &plain[..8]), "a part of it is in clear");
    let left: Vec<_> = std::fs::read_dir(folder.path())?.collect::<Result<_, _>>()?;
    ensure!(left.len() == 5, "nothing else was written: {left:?}");

    let verify = |path| ["backup", "verify", text(path)];
    let whole = json(&[&verify(&backup)[..], &under(&right)].concat()).await?;
    ensure!(whole["digest"] == made["digest"] && whole["rows"] == made["rows"], "{whole}");
    let damaged = folder.path().join("damaged");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    std::fs::write(&damaged, &flipped)?;
    let cut = folder.path().join("cut");
    std::fs::write(&cut, &bytes[..bytes.len() - 100])?;
    let data = folder.path().join("data");
    for (file, passphrase, code, told) in [
        (&backup, None, 2, "--passphrase-file"),
        (&backup, Some(&wrong), 1, "the passphrase is not the one"),
        (&clear, Some(&right), 1, "is not encrypted"),
        (&damaged, Some(&right), 1, "are not what was written there"),
        (&cut, Some(&right), 1, "are not what was written there"),
    ] {
        let passphrase = passphrase.map(|path| under(path));
        let passphrase = passphrase.as_ref().map_or(&[][..], |flags| &flags[..]);
        let restore = ["backup", "restore", text(file), "--data-dir", text(&data)];
        for command in [&verify(file)[..], &restore] {
            let output = jeton(&[command, passphrase].concat()).await?;
            let words = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(code), "{command:?}: {words}");
            ensure!(words.contains(told), "{command:?}: {words}");
            ensure!(!data.exists(), "something was written");
        }
    }

    let keep = format!("{TENANT}={WORDS}");
    let more = [&["--keep", &keep][..], &under(&right)].concat();
    let mut alone = restore(&backup, &folder.path().join("new"), &more).await?;
    let restored = alone.client.tenant(TENANT)?;
    ensure!(matches!(validate(&restored, &alice).await?, Validation::Active(_)));
    alone.process.stop(PATIENCE).await?;
    world.cluster.stop_all(PATIENCE).await
}
