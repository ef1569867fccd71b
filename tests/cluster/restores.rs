//! What is revoked, suspended or bound stays so over a backup and its restore; and those who watch
//! notice that the cluster is another one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jeton_client::admin::SettingsChange;
use jeton_client::{
    Begin, Check, Claims, Consistency, Cut, Error, Issued, NewFamily, NewSession, Notice, Position,
    Rotation, SubjectId, Suspendable, Tenant, Validation, Verdict, ViewOptions,
};
use jeton_core::reply::{Refusal, RevocationCause};
use tokio::time::{Instant, timeout};

use crate::alone::{Alone, WORDS, back_up, restore, restore_at};
use crate::world::{CLIENT, COME_UP, PATIENCE, TENANT, World, own};

/// A tenant that is kept.
const KEPT: &str = "kept";
/// Families of each region: more than a sweep visits at once.
const REGION: usize = 300;
const POLL: Duration = Duration::from_millis(25);

/// What was there when the backup was made.
struct Lives {
    european: Vec<Issued>,
    american: Vec<Issued>,
    bound: Issued,
    loose: Issued,
    suspended: Issued,
    revocation: Position,
}

async fn family(tenant: &Tenant, new: NewFamily) -> Result<Issued> {
    Ok(tenant.create_family(new, PATIENCE).await?)
}

fn in_region(subject: &str, region: &str) -> NewFamily {
    NewFamily::new(subject, CLIENT).attribute("region", region)
}

fn mallory() -> Suspendable {
    Suspendable::Subject(SubjectId::new("mallory").expect("a subject"))
}

/// Families in two regions, one of which is revoked; a session and what is bound to it; someone who
/// is suspended.
async fn live(tenant: &Tenant) -> Result<Lives> {
    let many = async |region: &'static str| {
        let calls = (0..REGION).map(|_| family(tenant, in_region("alice", region)));
        futures::future::join_all(calls).await.into_iter().collect::<Result<Vec<_>>>()
    };
    let (european, american) = (many("eu").await?, many("us").await?);
    tenant.create_session(NewSession::new("sid", "bob"), PATIENCE).await?;
    let bound = family(tenant, NewFamily::new("bob", CLIENT).session("sid")).await?;
    let loose = family(tenant, NewFamily::new("bob", CLIENT)).await?;
    let suspended = family(tenant, NewFamily::new("mallory", CLIENT)).await?;
    tenant.suspend(mallory(), Some("fraud"), PATIENCE).await?;
    let cut = Cut::of_whole_tenant().region("eu").reason("breach");
    let revocation = tenant.revoke_matching(cut, PATIENCE).await?.revocation;
    Ok(Lives { european, american, bound, loose, suspended, revocation })
}

async fn validate(tenant: &Tenant, issued: &Issued) -> Result<Validation> {
    Ok(tenant.validate(&issued.token, Check::new(), PATIENCE).await?)
}

async fn is_active(tenant: &Tenant, issued: &Issued) -> Result<()> {
    match validate(tenant, issued).await? {
        Validation::Active(_) => Ok(()),
        other => bail!("it was alive, and is {other:?}"),
    }
}

/// Dead or suspended, by this.
async fn is_dead_by(tenant: &Tenant, issued: &Issued, cause: RevocationCause) -> Result<()> {
    match validate(tenant, issued).await? {
        Validation::Refused(Refusal::Revoked(by)) if by.cause == cause => {}
        other => bail!("it should be dead by {cause:?}, and is {other:?}"),
    }
    match tenant.rotate(&issued.token, own(), PATIENCE).await? {
        Rotation::Refused(Refusal::Revoked(by)) if by.cause == cause => Ok(()),
        other => bail!("it should be dead by {cause:?}, and rotates: {other:?}"),
    }
}

async fn until_swept(tenant: &Tenant, revocation: Position) -> Result<u64> {
    let until = Instant::now() + COME_UP;
    loop {
        let seen = tenant.revocation(revocation, Consistency::Linearizable, PATIENCE).await?.value;
        match seen.sweep {
            Some(sweep) if sweep.done_at.is_some() => return Ok(sweep.families),
            sweep => ensure!(Instant::now() < until, "the sweep does not end: {sweep:?}"),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A world with the tenants, one of which will be kept.
async fn world(flags: &[&str]) -> Result<World> {
    let world = World::new(flags).await?;
    let no_limit = SettingsChange::new().rotations_per_s(0);
    world.clients[0].admin().create_tenant(KEPT, no_limit, PATIENCE).await?;
    Ok(world)
}

async fn restored(world: &mut World, backup: &Path, home: &Path) -> Result<Alone> {
    let keep = format!("{KEPT}={WORDS}");
    world.cluster.stop_all(PATIENCE).await?;
    restore(backup, home, &["--keep", &keep]).await
}

#[tokio::test]
async fn what_was_revoked_suspended_or_bound_is_so_after_a_restore() -> Result<()> {
    // Sweeps by single rows: the backup finds them under way, if the machine is not too slow.
    let mut world = world(&["--revocation-step-rows", "1"]).await?;
    let (cut, kept) = (live(&world.tenant()?).await?, world.clients[0].tenant(KEPT)?);
    let kept_lives = live(&kept).await?;
    let folder = tempfile::tempdir()?;
    let backup = folder.path().join("b");
    let made = back_up(&world.cluster.endpoints()[0], &backup).await?;
    println!("predicates under way: {}", made["kinds"]["predicate"]);
    let mut alone = restored(&mut world, &backup, &folder.path().join("new")).await?;

    let tenant = alone.client.tenant(KEPT)?;
    let lives = &kept_lives;
    for family in [&lives.european[0], &lives.european[REGION - 1]] {
        is_dead_by(&tenant, family, RevocationCause::Predicate).await?;
    }
    for family in [&lives.american[0], &lives.american[REGION - 1], &lives.bound, &lives.loose] {
        is_active(&tenant, family).await?;
    }
    is_dead_by(&tenant, &lives.suspended, RevocationCause::Suspension).await?;
    // The sweep goes on where the backup left it, and who comes later is not meant.
    let late = family(&tenant, in_region("alice", "eu")).await?;
    ensure!(until_swept(&tenant, lives.revocation).await? == REGION as u64);
    is_active(&tenant, &late).await?;
    is_dead_by(&tenant, &lives.european[1], RevocationCause::Predicate).await?;
    is_active(&tenant, &lives.american[1]).await?;
    tenant.resume(mallory(), PATIENCE).await?;
    is_active(&tenant, &lives.suspended).await?;
    let session = tenant.get_session("sid", Consistency::Linearizable, PATIENCE).await?;
    ensure!(session.value.clients == 1, "{:?}", session.value);
    tenant.end_session("sid", None, PATIENCE).await?;
    is_dead_by(&tenant, &lives.bound, RevocationCause::Session).await?;
    is_active(&tenant, &lives.loose).await?;

    // In the other one the restore has cut all, whatever else was said of it.
    let (tenant, lives) = (alone.client.tenant(TENANT)?, &cut);
    for issued in [&lives.european[0], &lives.american[0], &lives.bound, &lives.loose] {
        match validate(&tenant, issued).await? {
            Validation::Refused(Refusal::Revoked(by)) => {
                ensure!(by.cause != RevocationCause::Suspension, "{by:?}");
            }
            other => bail!("it comes from the backup, and is {other:?}"),
        }
    }
    let session = tenant.get_session("sid", Consistency::Linearizable, PATIENCE).await;
    let dead = session.as_ref().is_ok_and(|session| session.value.dead.is_some());
    ensure!(dead, "the session comes from the backup: {session:?}");
    let bind = NewFamily::new("bob", CLIENT).session("sid");
    let dead = tenant.create_family(bind, PATIENCE).await.err();
    ensure!(matches!(dead, Some(Error::Refused(Refusal::SessionDead { .. }))), "{dead:?}");
    let again = NewFamily::new("mallory", CLIENT);
    let refused = tenant.create_family(again, PATIENCE).await.err();
    ensure!(matches!(refused, Some(Error::Refused(Refusal::Suspended { .. }))), "{refused:?}");
    tenant.resume(mallory(), PATIENCE).await?;
    let dead = validate(&tenant, &lives.suspended).await?;
    ensure!(matches!(dead, Validation::Refused(Refusal::Revoked(_))), "{dead:?}");
    for subject in ["mallory", "alice"] {
        is_active(&tenant, &family(&tenant, in_region(subject, "eu")).await?).await?;
    }
    until_swept(&tenant, lives.revocation).await?;
    alone.process.stop(PATIENCE).await?;
    Ok(())
}

/// What an access token says that was made from a reply.
fn of(subject: &str, position: Position) -> Claims<'_> {
    let (subject, client, position) = (Some(subject), Some(CLIENT), Some(position));
    Claims { subject, client, position, ..Claims::default() }
}

#[tokio::test]
async fn a_watcher_and_a_view_take_a_snapshot_of_the_restored_cluster() -> Result<()> {
    let mut world = world(&[]).await?;
    let (tenant, kept) = (world.tenant()?, world.clients[0].tenant(KEPT)?);
    let (view, kept_view) =
        (tenant.view(ViewOptions::default())?, kept.view(ViewOptions::default())?);
    let probe_every = Duration::from_millis(100);
    let mut watcher = tenant.watch(Begin::Now, probe_every, Duration::from_secs(1));
    let old = family(&tenant, NewFamily::new("alice", CLIENT)).await?;
    let kept_old = family(&kept, NewFamily::new("alice", CLIENT)).await?;
    let gone = family(&kept, NewFamily::new("dora", CLIENT)).await?;
    let before = kept.revoke_where(Cut::of_subject("dora"), PATIENCE).await?;
    view.fresh(old.position, PATIENCE).await?;
    kept_view.fresh(before, PATIENCE).await?;
    let claims = of("alice", old.position);
    ensure!(view.check(&claims).allows());
    let place = loop {
        if let Notice::Fresh { place, .. } = timeout(PATIENCE, watcher.next()).await? {
            break place;
        }
    };

    let folder = tempfile::tempdir()?;
    let backup = folder.path().join("b");
    let endpoint = world.cluster.endpoints().first().context("an endpoint")?.clone();
    back_up(&endpoint, &backup).await?;
    world.cluster.stop_all(PATIENCE).await?;
    let keep = format!("{KEPT}={WORDS}");
    let home = folder.path().join("new");
    // Where a node of the old cluster was: nobody is told to look elsewhere.
    let mut alone = restore_at(&endpoint, &backup, &home, &["--keep", &keep]).await?;

    // The watcher's place means nothing here: it is told all that is in force instead.
    let until = Instant::now() + COME_UP;
    let (entries, there) = loop {
        ensure!(Instant::now() < until, "no snapshot: {:?}", watcher.why_left());
        if let Notice::Snapshot { entries, place } = timeout(COME_UP, watcher.next()).await? {
            break (entries, place);
        }
    };
    ensure!(there.cluster != place.cluster && there.position > place.position, "{there:?}");
    let cuts_all = entries.iter().flat_map(|entry| &entry.changes).any(|change| {
        use jeton_client::Change::Cutoff;
        matches!(change, Cutoff { subject: None, client: None, device: None, session: None, .. })
    });
    ensure!(cuts_all, "the restore's cut is not in it: {entries:?}");

    // So is the view, which has been closed since the old cluster was gone.
    let restored = alone.client.tenant(TENANT)?;
    let new = family(&restored, NewFamily::new("alice", CLIENT)).await?;
    view.fresh(new.position, COME_UP).await?;
    for dead in [claims, Claims { family: Some(old.family), ..claims }] {
        let verdict = view.check(&dead);
        ensure!(matches!(verdict, Verdict::Denied(_)), "{dead:?} is {verdict:?}");
    }
    ensure!(view.check(&of("alice", new.position)).allows());

    // What was revoked before the backup is so in the tenant that was kept; the rest lives on.
    let restored = alone.client.tenant(KEPT)?;
    let new = family(&restored, NewFamily::new("erin", CLIENT)).await?;
    kept_view.fresh(new.position, COME_UP).await?;
    let verdict = kept_view.check(&of("dora", gone.position));
    ensure!(matches!(verdict, Verdict::Denied(_)), "{verdict:?}");
    ensure!(kept_view.check(&of("alice", kept_old.position)).allows());
    alone.process.stop(PATIENCE).await?;
    Ok(())
}
