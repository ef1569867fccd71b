//! Locks on three nodes: who waits keeps its place over failovers, and one flight serves all who
//! wait for it. What holds under contention and faults is in `contended.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use jeton_client::{Acquisition, Awaited, Fence, NewLease, SingleFlight};
use tokio::time::{Instant, timeout};

use crate::world::{COME_UP, PATIENCE, TENANT, World};

#[tokio::test]
async fn who_waits_keeps_its_place_when_its_node_and_the_leader_die() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let lock = "queue";
    let long = |wait: u64| {
        NewLease::new(lock).ttl(Duration::from_secs(60)).wait(Duration::from_secs(wait))
    };
    let Acquisition::Granted(first) = world.tenant()?.acquire(long(0), PATIENCE).await? else {
        bail!("a free lock is granted")
    };
    let mut waiting = Vec::new();
    for place in 1..=3_u32 {
        let tenant = world.clients[place as usize % 3].tenant(TENANT)?;
        let acquire = long(120);
        waiting.push(tokio::spawn(async move { tenant.acquire(acquire, PATIENCE).await }));
        let until = Instant::now() + PATIENCE;
        while world.tenant()?.get_lock(lock, Default::default(), PATIENCE).await?.value.waiters
            < place
        {
            ensure!(Instant::now() < until, "nobody took place {place}");
        }
    }
    // Every node is down once; two of the three deaths are a leader's.
    for _ in 0..2 {
        let leader = world.cluster.leader(PATIENCE).await?;
        world.cluster.kill(leader).await?;
        world.cluster.restart(leader)?;
        world.cluster.wait_node_ready(leader, Instant::now() + COME_UP).await?;
    }
    let follower = (world.cluster.leader(PATIENCE).await? + 1) % 3;
    world.cluster.kill(follower).await?;
    world.cluster.restart(follower)?;
    world.cluster.wait_node_ready(follower, Instant::now() + COME_UP).await?;

    let mut fence = first.fence();
    ensure!(first.release(PATIENCE).await?, "a minute's lease is kept over failovers");
    for (place, waiting) in waiting.into_iter().enumerate() {
        let granted = timeout(PATIENCE * 2, waiting).await.context("a grant in time")???;
        let Acquisition::Granted(lease) = granted else { bail!("place {place}: {granted:?}") };
        ensure!(lease.fence() > fence, "first come, first served");
        fence = lease.fence();
        ensure!(lease.release(PATIENCE).await?, "it was held");
    }
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn a_hundred_callers_on_three_nodes_share_one_flight() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    let work = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut after = Fence(0);
    for round in 0..3 {
        let callers = (0..100).map(|n| {
            let (tenant, work) = (tenants[n % 3].clone(), work.clone());
            let flight = SingleFlight::new("flight", b"what all callers know").after(after);
            tokio::spawn(async move {
                let once = async |_: &jeton_client::Lease| {
                    let nth = work.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    Ok::<_, std::io::Error>(nth.to_string().into_bytes())
                };
                tenant.single_flight(&flight, PATIENCE, once).await
            })
        });
        let mut results = BTreeSet::new();
        for caller in join_all(callers).await {
            let landed = caller??;
            results.insert((landed.fence, landed.result.to_vec()));
        }
        ensure!(results.len() == 1, "one result for all: {results:?}");
        let done = work.load(std::sync::atomic::Ordering::SeqCst);
        ensure!(done == round + 1, "{done} times in round {round}");
        // It has become stale: the next ones want a newer one.
        after = results.first().context("a result")?.0;
    }
    let none = tenants[1].await_result("flight", after, Duration::ZERO, PATIENCE).await?;
    ensure!(none == Awaited::Grounded, "{none:?}");
    Ok(())
}
