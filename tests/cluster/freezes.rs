//! A leader that stands still for longer than an election takes, and then goes on as if no time
//! had passed: it must not answer from what it knew.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::future::join_all;
use jeton_client::{Check, Cut, Validation};
use jeton_core::reply::Refusal;

use crate::load::Load;
use crate::world::{COME_UP, PATIENCE, World};

/// Reads that wait at the frozen node when it wakes up.
const READS: usize = 200;

#[tokio::test]
async fn a_leader_that_was_frozen_reads_nothing_from_before_a_revocation() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let load = Load::start(&world, 16).await?;
    for round in 0..3 {
        let subject = format!("mallory-{round}");
        let families = world.families(&subject, 10).await?;
        load.go_on(100).await?;
        let frozen = world.cluster.leader(PATIENCE).await?;
        let tenant = world.tenant_on(frozen)?;
        // So that its connection stands.
        let before = tenant.validate(&families[0].token, Check::new(), PATIENCE).await?;
        ensure!(matches!(before, Validation::Active(_)), "{before:?}");

        world.cluster.process(frozen).freeze()?;
        let other = world.tenant_on((frozen + 1) % 3)?;
        // Acknowledged: so another one leads, and the frozen one knows nothing of it.
        let cut = other.revoke_where(Cut::of_subject(subject.as_str()), PATIENCE).await?;
        let reads: Vec<_> = (0..READS)
            .map(|n| {
                let (tenant, token) = (tenant.clone(), families[n % 10].token.clone());
                tokio::spawn(async move { tenant.validate(&token, Check::new(), PATIENCE).await })
            })
            .collect();
        // The fault lasts until they lie in the frozen node's socket.
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.cluster.process(frozen).thaw()?;
        for read in join_all(reads).await {
            match read?? {
                Validation::Refused(Refusal::Revoked(by)) => ensure!(by.position == cut),
                other => bail!("round {round}: a revoked family reads {other:?}"),
            }
        }
    }
    let rotations = load.stop().await?;
    println!("{rotations} rotations");
    world.cluster.wait_ready(COME_UP).await?;
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn a_follower_that_was_frozen_catches_up_before_it_reads() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let load = Load::start(&world, 16).await?;
    for round in 0..3 {
        let subject = format!("mallory-{round}");
        let families = world.families(&subject, 10).await?;
        let frozen = (world.cluster.leader(PATIENCE).await? + 1) % 3;
        let tenant = world.tenant_on(frozen)?;
        let before = tenant.validate(&families[0].token, Check::new(), PATIENCE).await?;
        ensure!(matches!(before, Validation::Active(_)), "{before:?}");
        world.cluster.process(frozen).freeze()?;
        let other = world.tenant_on((frozen + 1) % 3)?;
        load.go_on(500).await?;
        let cut = other.revoke_where(Cut::of_subject(subject.as_str()), PATIENCE).await?;
        let term = world.cluster.status((frozen + 1) % 3).await?.term;
        world.cluster.process(frozen).thaw()?;
        let reads =
            families.iter().map(|family| tenant.validate(&family.token, Check::new(), PATIENCE));
        for read in join_all(reads).await {
            match read? {
                Validation::Refused(Refusal::Revoked(by)) => ensure!(by.position == cut),
                other => bail!("round {round}: a revoked family reads {other:?}"),
            }
        }
        load.go_on(500).await?;
        let after = world.cluster.status(frozen).await?.term;
        ensure!(after == term, "a follower that was away deposed the leader: term {term}, {after}");
    }
    load.stop().await?;
    world.cluster.stop_all(PATIENCE).await
}
