//! Who watches revocations hears each of them once, in order, whatever happens to nodes; and a view
//! that can't hear them says so.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use jeton_client::{
    Begin, Change, Claims, Cut, FeedPlace, Notice, Position, RotateContext, Rotation, Tenant,
    Verdict, ViewOptions,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::world::{CLIENT, COME_UP, PATIENCE, World};

const PROBE_EVERY: Duration = Duration::from_millis(100);
const SILENCE_MAX: Duration = Duration::from_millis(700);

/// Cuts one subject after the other until it is told to stop; says where each cut is.
async fn revoke(tenant: Tenant, stop: watch::Receiver<bool>) -> Result<Vec<(Position, String)>> {
    let mut cuts = Vec::new();
    while !*stop.borrow() {
        let subject = format!("subject-{}", cuts.len());
        let position = tenant.revoke_where(Cut::of_subject(subject.as_str()), PATIENCE).await?;
        cuts.push((position, subject));
    }
    Ok(cuts)
}

/// Watches, and is cut off every so many events: another watcher goes on from its place.
async fn hear(
    tenant: Tenant,
    from: FeedPlace,
    cut_off_every: usize,
    mut until: watch::Receiver<Option<Position>>,
) -> Result<Vec<(Position, String)>> {
    let mut heard: Vec<(Position, String)> = Vec::new();
    let mut watcher = tenant.watch(Begin::At(from), PROBE_EVERY, SILENCE_MAX);
    loop {
        let last = *until.borrow_and_update();
        if last.is_some() && heard.last().map(|(position, _)| *position) >= last {
            return Ok(heard);
        }
        let notice = tokio::select! {
            notice = watcher.next() => notice,
            _ = until.changed() => continue,
        };
        match notice {
            Notice::Changed(entry) => {
                for change in entry.changes {
                    let Change::Cutoff { subject: Some(subject), .. } = change else {
                        bail!("nobody did that: {change:?}");
                    };
                    heard.push((entry.position, subject.to_string()));
                }
            }
            Notice::Fresh { .. } => {}
            Notice::Snapshot { .. } => bail!("no place is older than a day here"),
        }
        if heard.len() % cut_off_every == cut_off_every - 1 {
            let place = watcher.place().unwrap_or(from);
            watcher = tenant.watch(Begin::At(place), PROBE_EVERY, SILENCE_MAX);
        }
    }
}

#[tokio::test]
async fn a_watcher_hears_every_revocation_once_and_in_order_over_kills_and_restarts() -> Result<()>
{
    let mut world = World::new(&[]).await?;
    let tenant = world.tenant()?;
    let mut first = tenant.watch(Begin::Now, PROBE_EVERY, SILENCE_MAX);
    let Notice::Fresh { place, .. } = timeout(PATIENCE, first.next()).await? else {
        bail!("nothing was revoked yet");
    };
    let (stop, stopped) = watch::channel(false);
    let (last, until) = watch::channel(None);
    let hearing: Vec<_> = [7, 50, 1_000_000]
        .map(|every| tokio::spawn(hear(tenant.clone(), place, every, until.clone())))
        .into();
    let revoking = tokio::spawn(revoke(tenant.clone(), stopped));
    for round in 0..4 {
        let node = match round {
            0 | 2 => world.cluster.leader(PATIENCE).await?,
            _ => round % 3,
        };
        world.cluster.kill(node).await?;
        world.cluster.leader(PATIENCE).await?;
        world.cluster.restart(node)?;
        world.cluster.wait_ready(COME_UP).await?;
    }
    stop.send_replace(true);
    let told = timeout(PATIENCE, revoking).await???;
    ensure!(told.len() > 50, "only {} revocations", told.len());
    last.send_replace(told.last().map(|(position, _)| *position));
    for heard in hearing {
        let heard = timeout(PATIENCE, heard).await???;
        ensure!(heard == told, "heard {} of {}, or in another order", heard.len(), told.len());
    }
    world.cluster.stop_all(PATIENCE).await
}

/// What an access token says that was made from a reply.
fn of(subject: &str, position: Position) -> Claims<'_> {
    let (subject, client, position) = (Some(subject), Some(CLIENT), Some(position));
    Claims { subject, client, position, ..Claims::default() }
}

#[tokio::test]
async fn a_view_denies_soon_after_the_commit() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let tenant = world.tenant()?;
    let view = tenant.view(ViewOptions::default())?;
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        let subject = format!("user-{round}");
        let family = world.families(&subject, 1).await?.remove(0);
        view.fresh(family.position, PATIENCE).await?;
        let claims = of(&subject, family.position);
        let of_family = Claims { family: Some(family.family), ..Claims::default() };
        ensure!(view.check(&claims).allows() && view.check(&of_family).allows());
        // By the subject, or by a spent token that comes back.
        let revoked = if round % 2 == 0 {
            tenant.revoke_where(Cut::of_subject(subject.as_str()), PATIENCE).await?;
            claims
        } else {
            let rotate = || tenant.rotate(&family.token, RotateContext::new(CLIENT), PATIENCE);
            ensure!(matches!(rotate().await?, Rotation::Rotated(_)));
            tenant.revoke_family(family.family, None, PATIENCE).await?;
            of_family
        };
        let committed = Instant::now();
        while !matches!(view.check(&revoked), Verdict::Denied(_)) {
            ensure!(committed.elapsed() < PATIENCE, "still active");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        slowest = slowest.max(committed.elapsed());
    }
    // A figure, and no assertion: the promise is a second, and this machine may be busy.
    println!("a view denied within {slowest:?} of the answer to the revocation");
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn a_view_that_is_cut_off_fails_closed_and_comes_back_by_itself() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let tenant = world.tenant()?;
    let options = ViewOptions { max_staleness: Duration::from_secs(2), ..ViewOptions::default() };
    let view = tenant.view(options)?;
    let family = world.families("alice", 1).await?.remove(0);
    view.fresh(family.position, PATIENCE).await?;
    let claims = of("alice", family.position);
    ensure!(view.check(&claims).allows());
    // Whichever node serves it: it stands still, or has no quorum.
    let leader = world.cluster.leader(PATIENCE).await?;
    for node in [leader, (leader + 1) % 3] {
        world.cluster.process(node).freeze()?;
    }
    let frozen = Instant::now();
    while view.check(&claims).allows() {
        ensure!(frozen.elapsed() < PATIENCE, "a view without a quorum looks fresh");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("a view without a quorum called nothing active after {:?}", frozen.elapsed());
    let Verdict::Stale(Some(first)) = view.check(&claims) else {
        bail!("{:?}", view.check(&claims));
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let later = view.staleness();
    ensure!(later >= Some(first + Duration::from_millis(200)), "{first:?}, then {later:?}");
    for node in [leader, (leader + 1) % 3] {
        world.cluster.process(node).thaw()?;
    }
    let until = Instant::now() + PATIENCE;
    while !view.check(&claims).allows() {
        ensure!(Instant::now() < until, "it does not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // One node alone that stands still is left for another.
    let leader = world.cluster.leader(PATIENCE).await?;
    let follower = (leader + 1) % 3;
    world.cluster.process(follower).freeze()?;
    let cut = world.tenant_on(leader)?.revoke_where(Cut::of_subject("alice"), PATIENCE).await?;
    view.fresh(cut, PATIENCE).await?;
    ensure!(matches!(view.check(&claims), Verdict::Denied(_)));
    world.cluster.process(follower).thaw()?;
    world.cluster.stop_all(PATIENCE).await
}
