//! Revocations by more than exact keys, on real nodes: who was hit stays hit and nobody else is,
//! whatever moves and dies while the sweep goes on.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use jeton_client::{
    Check, Consistency, Cut, Issued, NewFamily, Position, RevocationCause, Rotation, SweepProgress,
    Tenant, Validation,
};
use jeton_core::reply::Refusal;
use tokio::time::Instant;

use crate::world::{CLIENT, COME_UP, PATIENCE, World, own};

/// Families at the office, and as many at home.
const FAMILIES: usize = 2_000;
/// Rows of a step of the sweep, of 4,000.
const STEP_ROWS: &str = "10";
/// How long a node that stands still is waited for.
const SHORT: Duration = Duration::from_secs(3);

async fn families(world: &World, subject: &str, network: &str) -> Result<Vec<Issued>> {
    let tenant = world.tenant()?;
    let mut made = Vec::new();
    for thousand in 0..FAMILIES / 1_000 {
        let calls = (0..1_000).map(|n| {
            let ip = format!("{network}.{thousand}.{}", n % 250 + 1);
            tenant.create_family(NewFamily::new(subject, CLIENT).ip(&ip), PATIENCE)
        });
        for issued in join_all(calls).await {
            made.push(issued?);
        }
    }
    Ok(made)
}

async fn progress(tenant: &Tenant, revocation: Position) -> Result<SweepProgress> {
    let seen = tenant.revocation(revocation, Consistency::Linearizable, PATIENCE).await?;
    seen.value.sweep.context("it has no sweep")
}

fn hit(refusal: &Refusal, position: Position) -> Result<()> {
    match refusal {
        Refusal::Revoked(by) => {
            ensure!(by.position == position && by.cause == RevocationCause::Predicate, "{by:?}");
            Ok(())
        }
        other => bail!("what was hit reads {other:?}"),
    }
}

#[tokio::test]
async fn nobody_is_saved_or_pulled_in_while_a_sweep_survives_its_leader() -> Result<()> {
    // Steps are so short that the sweep takes hundreds of them.
    let mut world = World::new(&["--revocation-step-rows", STEP_ROWS]).await?;
    let office = families(&world, "clerk", "10.1").await?;
    let home = families(&world, "clerk", "192.168").await?;
    let cut = || Cut::of_whole_tenant().ip("10.0.0.0/8").reason("breach");
    let tenant = world.tenant()?;
    let would = tenant.count_matching(&cut(), PATIENCE).await?;
    ensure!((would.families, would.exact) == (FAMILIES as u64, true), "{would:?}");
    let made = tenant.revoke_matching(cut(), PATIENCE).await?;
    let position = made.revocation;
    ensure!(made.predicate && made.matched == Some(would), "{made:?}");

    // At once: some leave the office, some come in.
    let fled = office[..200]
        .iter()
        .map(async |family| tenant.rotate(&family.token, own().ip("192.168.9.9"), PATIENCE).await);
    for fled in join_all(fled).await {
        match fled? {
            Rotation::Refused(refusal) => hit(&refusal, position)?,
            other => bail!("who was hit rotates: {other:?}"),
        }
    }
    let moved = home[..200]
        .iter()
        .map(async |family| tenant.rotate(&family.token, own().ip("10.1.9.9"), PATIENCE).await);
    let mut moved_in = Vec::new();
    for moved in join_all(moved).await {
        match moved? {
            Rotation::Rotated(issued) | Rotation::Replayed(issued) => moved_in.push(issued),
            other => bail!("who was not hit doesn't rotate: {other:?}"),
        }
    }

    // The leader dies as soon as something is marked.
    let leader = world.cluster.leader(PATIENCE).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sweep = progress(&tenant, position).await?;
        if sweep.looked > 0 {
            break;
        }
        ensure!(Instant::now() < deadline, "nothing is swept: {sweep:?}");
    }
    world.cluster.kill(leader).await?;
    // What every acknowledged step has left, as a survivor tells it: the sweep was not through.
    let rows = 2 * FAMILIES as u64;
    let survivor = world.tenant_on((leader + 1) % 3)?;
    let taken_over = progress(&survivor, position).await?;
    ensure!(taken_over.done_at.is_none() && taken_over.looked < rows, "{taken_over:?}");
    let deadline = Instant::now() + COME_UP;
    let mut sweep = taken_over;
    while sweep.done_at.is_none() {
        ensure!(Instant::now() < deadline, "the sweep has stopped: {sweep:?}");
        let before = sweep;
        sweep = progress(&survivor, position).await?;
        ensure!(sweep.looked >= before.looked, "it goes on where it was: {before:?}, {sweep:?}");
    }
    ensure!(sweep.families == FAMILIES as u64 && sweep.looked >= rows, "{sweep:?}");

    world.cluster.restart(leader)?;
    world.cluster.wait_ready(COME_UP).await?;
    for node in 0..3 {
        let tenant = world.tenant_on(node)?;
        let check =
            async |family: &Issued| tenant.validate(&family.token, Check::new(), PATIENCE).await;
        for told in join_all(office.iter().map(check)).await {
            match told? {
                Validation::Refused(refusal) => hit(&refusal, position)?,
                other => bail!("who was at the office is {other:?}"),
            }
        }
        for told in join_all(home[200..].iter().chain(&moved_in).map(check)).await {
            let told = told?;
            ensure!(matches!(told, Validation::Active(_)), "who was at home is {told:?}");
        }
    }
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn who_waits_for_all_is_told_who_stands_still() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let leader = world.cluster.leader(PATIENCE).await?;
    let (frozen, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    let tenant = world.tenant_on(asked)?;
    let admin = world.cluster.client(asked)?.admin();
    let all = tenant.revoke_where(Cut::of_subject("alice"), PATIENCE).await?;
    ensure!(admin.wait_for_all(all, PATIENCE).await?.is_none(), "all three run");

    let id = world.cluster.status(frozen).await?.node_id;
    world.cluster.process(frozen).freeze()?;
    let two = tenant.revoke_where(Cut::of_subject("alice"), PATIENCE).await?;
    let pending = admin.wait_for_all(two, SHORT).await?;
    world.cluster.process(frozen).thaw()?;
    let Some(pending) = pending else { bail!("a node that stands still has applied something") };
    let nodes: Vec<u64> = pending.nodes.iter().map(|(node, _)| *node).collect();
    ensure!(nodes == [id], "{pending:?}, and {id} stood still");
    ensure!(pending.bounded_reads_safe_after == Duration::from_secs(60), "{pending:?}");
    // It goes on, and then it has.
    ensure!(admin.wait_for_all(two, PATIENCE).await?.is_none(), "it goes on");
    world.cluster.stop_all(PATIENCE).await
}
