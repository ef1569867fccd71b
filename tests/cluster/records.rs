//! Codes that many want at once, through three nodes, while the leader dies: one gets the value.
//! Records that many change at once: no change is lost.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use jeton_client::{
    Consistency, Consumed, Consumption, Error, NewFamily, NewRecord, Refusal, RequestId, Seen,
    Tenant, UnixMs, digest,
};
use tokio::sync::Barrier;

use crate::world::{CLIENT, COME_UP, PATIENCE, TENANT, World};

const CODE: &str = "code";
const MINUTE: Duration = Duration::from_secs(60);

fn tenants(world: &World) -> Result<Vec<Tenant>> {
    Ok(world.clients.iter().map(|client| client.tenant(TENANT)).collect::<Result<_, _>>()?)
}

async fn put_code(tenant: &Tenant, code: &str) -> Result<()> {
    let new = NewRecord::new(CODE, digest(code)).create_only().lifetime(MINUTE);
    let new = new.value("grant").precondition("client", CLIENT);
    tenant.put_record(new, PATIENCE).await?;
    Ok(())
}

fn own(code: &str) -> Consumption {
    Consumption::new(CODE, digest(code)).precondition("client", CLIENT)
}

/// This many callers with names of their own want one code at once; the leader is killed while they
/// wait, if that is asked for. The names of those who got it.
async fn stampede(
    world: &mut World,
    code: &str,
    callers: usize,
    kill: bool,
) -> Result<Vec<RequestId>> {
    let tenants = tenants(world)?;
    let leader = world.cluster.leader(PATIENCE).await?;
    let start = Arc::new(Barrier::new(callers + 1));
    let calls: Vec<_> = (0..callers)
        .map(|nth| {
            let (tenant, start) = (tenants[nth % tenants.len()].clone(), Arc::clone(&start));
            let mut name = [0; 16];
            name[..8].copy_from_slice(&(nth as u64 + 1).to_be_bytes());
            name[8..].copy_from_slice(&digest(code).0[..8]);
            let (name, consumption) = (RequestId(name), own(code));
            tokio::spawn(async move {
                start.wait().await;
                (name, tenant.consume(consumption.request_id(name), PATIENCE).await)
            })
        })
        .collect();
    start.wait().await;
    if kill {
        world.cluster.kill(leader).await?;
    }
    let mut winners = Vec::new();
    for call in calls {
        match call.await? {
            (name, Ok(Consumed::First { record, .. })) => {
                ensure!(record.value == "grant", "the winner gets the value");
                winners.push(name);
            }
            (_, Ok(Consumed::Refused(Refusal::Already { .. }))) => {}
            (_, other) => bail!("a caller got {other:?}"),
        }
    }
    if kill {
        world.cluster.restart(leader)?;
        world.cluster.wait_ready(COME_UP).await?;
    }
    Ok(winners)
}

#[tokio::test]
async fn a_code_has_one_winner_however_many_want_it_and_whoever_dies() -> Result<()> {
    let mut world = World::new(&[]).await?;
    for (callers, kill) in [(100, false), (100, true), (1_000, true)] {
        let code = format!("code {callers} {kill}");
        put_code(&world.tenant()?, &code).await?;
        // The wrong client burns nothing.
        let wrong = Consumption::new(CODE, digest(&code)).precondition("client", "evil");
        let refused = world.tenant()?.consume(wrong.clone(), PATIENCE).await?;
        ensure!(refused == Consumed::Refused(Refusal::PreconditionFailed), "{refused:?}");

        let winners = stampede(&mut world, &code, callers, kill).await?;
        ensure!(winners.len() == 1, "{} of {callers} were first", winners.len());

        // The winner asks again by way of every node, and gets the same.
        for tenant in tenants(&world)? {
            let again = tenant.consume(own(&code).request_id(winners[0]), PATIENCE).await?;
            let Consumed::First { record, .. } = again else { bail!("the winner got {again:?}") };
            ensure!(record.value == "grant", "with the value");
        }
        // And the wrong client doesn't learn that it was used.
        let refused = world.tenant()?.consume(wrong, PATIENCE).await?;
        ensure!(refused == Consumed::Refused(Refusal::PreconditionFailed), "{refused:?}");
    }
    Ok(())
}

/// Adds one to a number in a record, as often as it takes to do it once.
async fn add_one(tenant: &Tenant) -> Result<u64> {
    let key = digest("counter");
    loop {
        let read = tenant.get_record("counter", key, Consistency::Linearizable, PATIENCE).await?;
        let text = String::from_utf8(read.value.value.to_vec())?;
        let next = text.parse::<u64>()? + 1;
        let new = NewRecord::new("counter", key).at_version(read.value.version);
        match tenant.put_record(new.value(next.to_string()), PATIENCE).await {
            Ok(_) => return Ok(next),
            Err(Error::Refused(Refusal::VersionMismatch { .. })) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

#[tokio::test]
async fn a_hundred_changes_at_once_are_all_made() -> Result<()> {
    let world = World::new(&[]).await?;
    let new = NewRecord::new("counter", digest("counter")).create_only().value("0");
    world.tenant()?.put_record(new, PATIENCE).await?;
    let tenants = tenants(&world)?;
    let calls = (0..100).map(|nth| {
        let tenant = tenants[nth % tenants.len()].clone();
        async move { add_one(&tenant).await }
    });
    let mut numbers = join_all(calls).await.into_iter().collect::<Result<Vec<_>>>()?;
    numbers.sort_unstable();
    ensure!(numbers.into_iter().eq(1..=100), "1 to 100 without a gap");
    let record = tenants[0]
        .get_record("counter", digest("counter"), Consistency::Linearizable, PATIENCE)
        .await?;
    ensure!(record.value.version == 101 && record.value.value == "100", "{:?}", record.value);
    Ok(())
}

#[tokio::test]
async fn a_code_makes_one_family_and_ends_it_when_it_comes_back() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = tenants(&world)?;
    put_code(&tenants[0], "redeemed").await?;
    let calls = (0..30).map(|nth| {
        let tenant = tenants[nth % tenants.len()].clone();
        let new = NewFamily::new("alice", CLIENT).code(own("redeemed"));
        async move { tenant.create_family(new, PATIENCE).await }
    });
    let mut made = Vec::new();
    for answer in join_all(calls).await {
        match answer {
            Ok(issued) => made.push(issued),
            Err(Error::Refused(Refusal::Code(_))) => {}
            Err(other) => return Err(other.into()),
        }
    }
    ensure!(made.len() == 1, "{} families of one code", made.len());
    let family = made[0].family;
    let new = NewFamily::new("alice", CLIENT).code(own("redeemed").revoke_on_replay());
    let refused = tenants[1].create_family(new, PATIENCE).await;
    ensure!(matches!(refused, Err(Error::Refused(Refusal::Code(_)))), "{refused:?}");
    let view = tenants[2].get_family(family, Consistency::Linearizable, PATIENCE).await?;
    ensure!(matches!(view.value.dead, Some(Refusal::Revoked(_))), "{:?}", view.value.dead);
    Ok(())
}

#[tokio::test]
async fn a_proof_is_fresh_once_and_pages_show_what_is_there() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = tenants(&world)?;
    // The cluster's own clock: that of a record's creation.
    put_code(&tenants[0], "clock").await?;
    let seen = tenants[0].get_record(CODE, digest("clock"), Consistency::Linearizable, PATIENCE);
    let later = UnixMs(seen.await?.value.created_at.0 + 60_000);
    let calls = (0..60).map(|nth| {
        let tenant = tenants[nth % tenants.len()].clone();
        async move { tenant.seen_once("dpop", CLIENT, "jti-1", later, PATIENCE).await }
    });
    let seen = join_all(calls).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    ensure!(seen.iter().filter(|seen| **seen == Seen::Fresh).count() == 1, "{seen:?}");
    let past = tenants[0].seen_once("dpop", CLIENT, "jti-2", UnixMs(1), PATIENCE).await?;
    ensure!(past == Seen::Expired, "{past:?}");

    let puts = (0..50).map(|nth| {
        let new = NewRecord::new("consent", digest(format!("consent {nth}")));
        let tenant = tenants[nth % tenants.len()].clone();
        async move { tenant.put_record(new.index_key(digest("alice")), PATIENCE).await }
    });
    join_all(puts).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (mut page, mut met) = (None, 0);
    loop {
        let tenant = &tenants[met % tenants.len()];
        let key = digest("alice");
        let found = tenant.find_records("consent", key, page.as_deref(), 7, PATIENCE).await?;
        met += found.value.records.len();
        page = found.value.next;
        if page.is_none() {
            break;
        }
    }
    ensure!(met == 50, "each is met once: {met}");
    let position = tenants[0].delete_records("consent", digest("alice"), PATIENCE).await?;
    let found = tenants[1].find_records("consent", digest("alice"), None, 7, PATIENCE).await?;
    ensure!(found.value.records.is_empty() && found.position >= position, "gone at once");
    let name = tenants.first().context("there are nodes")?;
    let gone = name.get_record("consent", digest("consent 1"), Consistency::Linearizable, PATIENCE);
    ensure!(matches!(gone.await, Err(Error::Refused(Refusal::NotFound))), "by its key, too");
    Ok(())
}
