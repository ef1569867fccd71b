//! Servers that think in transactions, on three nodes: an exchange is one entry, what is refused
//! half-way leaves nothing, and what a lock guards takes no write that comes late, whoever dies.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::{join_all, try_join_all};
use jeton_client::{
    Acquisition, Check, Consistency, Consumption, Error, Families, FamilyUpdate, Fence, Issued,
    LeaseName, NewFamily, NewLease, NewRecord, Performed, Refusal, RequestId, Rotation, Step,
    StoppedBy, Tenant, Transacted, Validation, When, digest,
};

use crate::world::{CLIENT, COME_UP, PATIENCE, TENANT, World, own};

const MINUTE: Duration = Duration::from_secs(60);
const FRESH: Consistency = Consistency::Linearizable;

fn tenants(world: &World) -> Result<Vec<Tenant>> {
    Ok(world.clients.iter().map(|client| client.tenant(TENANT)).collect::<Result<_, _>>()?)
}

async fn put_code(tenant: &Tenant, code: &str) -> Result<()> {
    let new = NewRecord::new("code", digest(code)).create_only().lifetime(MINUTE);
    tenant.put_record(new.value("grant").precondition("client", CLIENT), PATIENCE).await?;
    Ok(())
}

/// The value of a record, and its version; `None` if there is none.
async fn value(tenant: &Tenant, kind: &str, key: &str) -> Result<Option<(String, u64)>> {
    match tenant.get_record(kind, digest(key), FRESH, PATIENCE).await {
        Ok(read) => {
            let text = String::from_utf8(read.value.value.to_vec())?;
            Ok(Some((text, read.value.version)))
        }
        Err(Error::Refused(Refusal::NotFound)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn consent(value: &str) -> NewRecord {
    NewRecord::new("consent", digest("alice")).value(value.to_owned())
}

fn created(done: &Transacted) -> Result<Issued> {
    let performed = done.outcome.as_ref().ok().context("it was done")?;
    let issued = performed.iter().find_map(|it| match it {
        Performed::FamilyCreated(issued) => Some((**issued).clone()),
        _ => None,
    });
    issued.context("a family was made")
}

async fn is_active(tenant: &Tenant, issued: &Issued) -> Result<bool> {
    let seen = tenant.validate(&issued.token, Check::new().client(CLIENT), PATIENCE).await?;
    Ok(matches!(seen, Validation::Active(_)))
}

/// A code is exchanged for a family and the consent is written, in one entry.
async fn exchange(tenant: &Tenant, code: &str) -> Result<Transacted, Error> {
    let shown = Consumption::new("code", digest(code)).precondition("client", CLIENT);
    tenant
        .transact()
        .then(Step::consume(shown))
        .then(Step::create_family(NewFamily::new("alice", CLIENT)))
        .then(Step::put_record(consent(code).create_only()))
        .send(PATIENCE)
        .await
}

#[tokio::test]
async fn an_exchange_is_one_entry_and_half_of_one_is_none() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = tenants(&world)?;
    put_code(&tenants[0], "first").await?;
    let done = exchange(&tenants[0], "first").await?;
    ensure!(done.unmet.is_none(), "nothing was compared");
    let issued = created(&done)?;
    ensure!(issued.position == done.position, "all of it stands at one position");
    let record = tenants[1].get_record("consent", digest("alice"), FRESH, PATIENCE).await?.value;
    ensure!(record.created == done.position, "all of it stands at one position");
    let family = tenants[2].get_family(issued.family, FRESH, PATIENCE).await?.value;
    ensure!(family.created == done.position, "all of it stands at one position");
    ensure!(is_active(&tenants[1], &issued).await?, "the token is good");

    // The consent is there: the exchange of another code stops at it, and nothing of it is left.
    put_code(&tenants[0], "second").await?;
    let half = exchange(&tenants[1], "second").await?;
    let Err(stopped) = &half.outcome else { bail!("{half:?}") };
    ensure!(stopped.operation == 2, "{stopped:?}");
    ensure!(stopped.why == StoppedBy::Refused(Refusal::AlreadyExists), "{stopped:?}");
    ensure!(value(&tenants[2], "code", "second").await? == Some(("grant".into(), 1)));
    ensure!(value(&tenants[2], "consent", "alice").await? == Some(("first".into(), 1)));
    let families = Families::of_subject("alice");
    ensure!(tenants[0].count_families(&families, PATIENCE).await?.value.families == 1);

    // With a condition, the other branch says what to do then.
    let done = tenants[2]
        .transact()
        .when(When::record_absent("consent", digest("alice")))
        .when(When::family_alive(issued.family))
        .then(Step::put_record(consent("never")))
        .otherwise(Step::put_record(consent("renewed").at_version(1)))
        .otherwise(Step::touch(&issued.token))
        .send(PATIENCE)
        .await?;
    ensure!(done.unmet == Some(0), "{done:?}");
    let performed = vec![Performed::RecordPut { version: 2 }, Performed::Touched];
    ensure!(done.outcome == Ok(performed), "{done:?}");
    Ok(())
}

#[tokio::test]
async fn a_stolen_token_kills_its_family_and_nothing_else_of_its_transaction_happens() -> Result<()>
{
    let world = World::new(&[]).await?;
    let tenants = tenants(&world)?;
    let first = tenants[0].create_family(NewFamily::new("alice", CLIENT), PATIENCE).await?;
    let Rotation::Rotated(second) = tenants[0].rotate(&first.token, own(), PATIENCE).await? else {
        bail!("the head rotates")
    };
    let no_grace = FamilyUpdate::new(1).grace(Duration::ZERO);
    tenants[0].update_family(first.family, no_grace, PATIENCE).await?;
    let done = tenants[1]
        .transact()
        .then(Step::put_record(consent("stolen")))
        .then(Step::create_family(NewFamily::new("mallory", CLIENT)))
        .then(Step::rotate(&first.token, own()))
        .send(PATIENCE)
        .await?;
    let Err(stopped) = done.outcome else { bail!("a spent token is none: {done:?}") };
    ensure!(stopped.operation == 2, "{stopped:?}");
    let StoppedBy::Refused(Refusal::Reused(reuse)) = stopped.why else { bail!("{stopped:?}") };
    ensure!(reuse.revoked, "{reuse:?}");
    for tenant in &tenants {
        ensure!(!is_active(tenant, &second).await?, "the family is dead");
        ensure!(value(tenant, "consent", "alice").await?.is_none(), "nothing was put");
        let families = Families::of_subject("mallory");
        ensure!(tenant.count_families(&families, PATIENCE).await?.value.families == 0);
    }
    Ok(())
}

/// Many transactions present one token at once, through three nodes, while the leader dies. All get
/// the identical successor, and each writes its own record.
#[tokio::test]
async fn siblings_share_a_rotation_inside_their_transactions_and_none_is_half_done() -> Result<()> {
    const SIBLINGS: usize = 60;
    let mut world = World::new(&[]).await?;
    let tenants = tenants(&world)?;
    let first = tenants[0].create_family(NewFamily::new("alice", CLIENT), PATIENCE).await?;
    let leader = world.cluster.leader(PATIENCE).await?;
    let calls = (0..SIBLINGS).map(|nth| {
        let (tenant, token) = (tenants[nth % tenants.len()].clone(), first.token.clone());
        tokio::spawn(async move {
            let own_record = NewRecord::new("sibling", digest(nth.to_string())).create_only();
            tenant
                .transact()
                .then(Step::put_record(own_record))
                .then(Step::rotate(&token, own()))
                .send(PATIENCE)
                .await
        })
    });
    let calls: Vec<_> = calls.collect();
    world.cluster.kill(leader).await?;
    let mut successors = Vec::new();
    let mut rotated = 0;
    for call in calls {
        let done = call.await??;
        let Ok(performed) = done.outcome else { bail!("{done:?}") };
        ensure!(performed[0] == Performed::RecordPut { version: 1 }, "{performed:?}");
        let Performed::Rotated(rotation) = &performed[1] else { bail!("{performed:?}") };
        match &**rotation {
            Rotation::Rotated(issued) => {
                rotated += 1;
                successors.push(issued.token.clone());
            }
            Rotation::Replayed(issued) => successors.push(issued.token.clone()),
            other => bail!("{other:?}"),
        }
    }
    ensure!(rotated == 1, "{rotated} have rotated");
    ensure!(successors.iter().all(|token| *token == successors[0]), "one successor for all");
    world.cluster.restart(leader)?;
    world.cluster.wait_ready(COME_UP).await?;
    let records = (0..SIBLINGS).map(|nth| {
        let tenant = &tenants[nth % tenants.len()];
        async move { value(tenant, "sibling", &nth.to_string()).await }
    });
    ensure!(try_join_all(records).await?.iter().all(Option::is_some), "each wrote its record");
    Ok(())
}

#[tokio::test]
async fn a_transaction_has_one_name() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = tenants(&world)?;
    let ask = |nth: usize, value: &'static str| {
        let put = Step::put_record(consent(value).create_only());
        tenants[nth].transact().then(put).request_id(RequestId([7; 16])).send(PATIENCE)
    };
    let first = ask(0, "one").await?;
    ensure!(ask(1, "one").await? == first, "a retry is answered alike");
    let other = ask(2, "two").await;
    ensure!(matches!(other, Err(Error::Refused(Refusal::NameReused))), "{other:?}");
    let named = consent("three").request_id(RequestId([8; 16]));
    let error = tenants[0].transact().then(Step::put_record(named)).send(PATIENCE).await;
    let Err(Error::InvalidArgument { violations }) = error else { bail!("{error:?}") };
    ensure!(violations[0].field == "then[0].request_id", "{violations:?}");
    Ok(())
}

/// Takes the lock, and lets go of it without giving it back: it is never renewed.
async fn take(tenant: &Tenant, ttl: Duration) -> Result<LeaseName> {
    let wanted = NewLease::new("plan").ttl(ttl).wait(PATIENCE);
    match tenant.acquire(wanted, PATIENCE).await? {
        Acquisition::Granted(lease) => Ok(lease.into_name()),
        held @ Acquisition::Held { .. } => bail!("the wait was long enough: {held:?}"),
    }
}

/// Overwrites whatever the lock guards, if the lock is held with this fence.
async fn write(tenant: &Tenant, fence: Fence) -> Result<Option<u64>> {
    let plan = NewRecord::new("plan", digest("p")).value(fence.0.to_string());
    let asked = tenant.transact().when(When::lock_held("plan", fence));
    let done = asked.then(Step::put_record(plan)).send(PATIENCE).await?;
    Ok(match done.outcome {
        Ok(performed) if done.unmet.is_none() => match performed[..] {
            [Performed::RecordPut { version }] => Some(version),
            _ => bail!("{performed:?}"),
        },
        Ok(_) => None,
        Err(stopped) => bail!("nothing refuses it: {stopped:?}"),
    })
}

#[tokio::test]
async fn a_guarded_record_accepts_no_stale_fence() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let tenants = tenants(&world)?;
    let ttl = Duration::from_millis(500);
    let first = take(&tenants[0], ttl).await?;
    ensure!(write(&tenants[0], first.fence).await?.is_some(), "its holder writes");
    // The lock changes hands: the next one waits until lease time has overtaken the first.
    let second = take(&tenants[1], MINUTE).await?;
    ensure!(second.fence > first.fence, "fences grow");
    ensure!(write(&tenants[0], first.fence).await?.is_none(), "the first one comes late");
    ensure!(write(&tenants[1], second.fence).await? == Some(2), "the second one holds it");
    for tenant in &tenants {
        ensure!(write(tenant, first.fence).await?.is_none(), "late by way of every node");
    }
    // And under another leader: a failover gives the lock back to nobody, and takes it from none.
    let leader = world.cluster.leader(PATIENCE).await?;
    world.cluster.kill(leader).await?;
    ensure!(write(&tenants[2], first.fence).await?.is_none(), "late after a failover");
    ensure!(write(&tenants[2], second.fence).await? == Some(3), "held after a failover");
    world.cluster.restart(leader)?;
    world.cluster.wait_ready(COME_UP).await?;
    let last = value(&tenants[0], "plan", "p").await?;
    ensure!(last == Some((second.fence.0.to_string(), 3)), "{last:?}");
    Ok(())
}

/// Many holders dawdle, some longer than their lease, and write what the lock guards all the same,
/// while leaders die. In the order of the record's versions, fences never go back.
#[tokio::test]
async fn holders_that_dawdle_never_write_over_those_after_them() -> Result<()> {
    const HOLDERS: usize = 6;
    const TURNS: usize = 12;
    let mut world = World::new(&[]).await?;
    let tenants = tenants(&world)?;
    let ttl = Duration::from_millis(200);
    let holders = (0..HOLDERS).map(|nth| {
        let tenant = tenants[nth % tenants.len()].clone();
        tokio::spawn(async move {
            let (mut written, mut late) = (Vec::new(), 0);
            for turn in 0..TURNS {
                let lease = take(&tenant, ttl).await?;
                // What is tested: between no time at all and twice the lease.
                let dawdle = (nth * 7 + turn * 11) % 20;
                tokio::time::sleep(ttl / 10 * dawdle as u32).await;
                match write(&tenant, lease.fence).await? {
                    Some(version) => written.push((version, lease.fence)),
                    None => late += 1,
                }
            }
            anyhow::Ok((written, late))
        })
    });
    let holders: Vec<_> = holders.collect();
    for _ in 0..2 {
        let leader = world.cluster.leader(PATIENCE).await?;
        world.cluster.kill(leader).await?;
        world.cluster.restart(leader)?;
        world.cluster.wait_ready(COME_UP).await?;
    }
    let (mut history, mut late) = (BTreeMap::new(), 0);
    for holder in join_all(holders).await {
        let (written, own_late) = holder??;
        late += own_late;
        for (version, fence) in written {
            ensure!(history.insert(version, fence).is_none(), "version {version} was made twice");
        }
    }
    let fences: Vec<Fence> = history.into_values().collect();
    ensure!(fences.is_sorted(), "a stale fence was accepted: {fences:?}");
    ensure!(fences.len() > HOLDERS && late > HOLDERS, "{} written, {late} late", fences.len());
    Ok(())
}
