//! Caps and listings while everything else goes on, through three nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use futures::future::join_all;
use jeton_client::{
    CapPolicy, CapScope, Check, Families, FamilyCap, FamilyId, Issued, NewFamily, Tenant,
    Validation,
};
use jeton_core::reply::Refusal;

use crate::world::{CLIENT, PATIENCE, World, own};

const LOGINS: usize = 1_000;
const MAX: u32 = 3;

fn login(subject: &str, policy: CapPolicy) -> NewFamily {
    let cap = FamilyCap { max: MAX, scope: CapScope::Subject, policy };
    NewFamily::new(subject, CLIENT).cap(cap)
}

async fn logins(
    tenants: &[Tenant],
    subject: &str,
    policy: CapPolicy,
) -> Vec<Result<Issued, jeton_client::Error>> {
    let calls = (0..LOGINS).map(|n| {
        let tenant = tenants[n % tenants.len()].clone();
        let new = login(subject, policy);
        tokio::spawn(async move { tenant.create_family(new, PATIENCE).await })
    });
    let answers = join_all(calls).await;
    answers.into_iter().map(|answer| answer.expect("no caller panics")).collect()
}

/// Counts on every node until told to stop: whatever it sees, it is never more than the cap.
fn watch(tenants: &[Tenant], subject: &str, stop: &Arc<AtomicBool>) -> Vec<Watcher> {
    let watcher = |tenant: &Tenant| {
        let (tenant, stop) = (tenant.clone(), Arc::clone(stop));
        let families = Families::of_subject(subject);
        tokio::spawn(async move {
            let mut looks = 0_usize;
            while !stop.load(Ordering::SeqCst) {
                let page = tenant.list_families(&families, None, PATIENCE).await?.value;
                assert!(page.families.len() <= MAX as usize, "{} live", page.families.len());
                looks += 1;
            }
            Ok(looks)
        })
    };
    tenants.iter().map(watcher).collect()
}

type Watcher = tokio::task::JoinHandle<Result<usize, jeton_client::Error>>;

#[tokio::test]
async fn a_thousand_parallel_logins_never_leave_more_than_the_cap() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    let stop = Arc::new(AtomicBool::new(false));
    let watchers = watch(&tenants, "alice", &stop);
    let answers = logins(&tenants, "alice", CapPolicy::EvictOldest).await;
    stop.store(true, Ordering::SeqCst);
    for watcher in watchers {
        assert!(watcher.await?? > 0, "nobody looked");
    }

    let mut made: Vec<Issued> = answers.into_iter().collect::<Result<_, _>>()?;
    made.sort_by_key(|issued| issued.position);
    // In the order of everything: each login beyond the third evicts the oldest that lives.
    let mut live: Vec<FamilyId> = Vec::new();
    for issued in &made {
        let expected: Vec<FamilyId> =
            if live.len() < MAX as usize { Vec::new() } else { vec![live.remove(0)] };
        assert_eq!(issued.evicted, expected);
        live.push(issued.family);
    }
    for tenant in &tenants {
        let page = tenant.list_families(&Families::of_subject("alice"), None, PATIENCE).await?;
        let listed: Vec<FamilyId> = page.value.families.iter().map(|view| view.family).collect();
        assert_eq!(listed, live, "the newest three, in the order of creation");
    }
    for issued in made.iter().step_by(37).chain(made.iter().rev().take(3)) {
        let validation = tenants[0].validate(&issued.token, Check::new(), PATIENCE).await?;
        let lives = matches!(validation, Validation::Active(_));
        assert_eq!(lives, live.contains(&issued.family), "{validation:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_cap_that_denies_lets_exactly_so_many_in() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    let mut admitted = Vec::new();
    for answer in logins(&tenants, "bob", CapPolicy::Deny).await {
        match answer {
            Ok(issued) => admitted.push(issued),
            Err(error) => match error.refusal() {
                Some(Refusal::CapReached { max }) => assert_eq!(*max, MAX),
                _ => return Err(error.into()),
            },
        }
    }
    assert_eq!(admitted.len(), MAX as usize);
    // One leaves, one may come.
    tenants[1].revoke_family(admitted[0].family, None, PATIENCE).await?;
    tenants[2].create_family(login("bob", CapPolicy::Deny), PATIENCE).await?;
    let Err(full) = tenants[0].create_family(login("bob", CapPolicy::Deny), PATIENCE).await else {
        bail!("a fourth was let in")
    };
    assert!(matches!(full.refusal(), Some(Refusal::CapReached { .. })), "{full}");
    let count = tenants[0].count_families(&Families::of_subject("bob"), PATIENCE).await?;
    assert_eq!((count.value.families, count.value.at_least), (u64::from(MAX), false));
    Ok(())
}

/// All pages of a listing, and how often each family appeared.
async fn walk(tenant: &Tenant, families: &Families) -> Result<BTreeMap<FamilyId, usize>> {
    let (mut page, mut met) = (None::<String>, BTreeMap::new());
    loop {
        let read = tenant.list_families(families, page.as_deref(), PATIENCE).await?.value;
        for view in read.families {
            assert!(view.payload.is_empty());
            *met.entry(view.family).or_insert(0) += 1;
        }
        page = read.next;
        if page.is_none() {
            return Ok(met);
        }
    }
}

#[tokio::test]
async fn what_matches_all_the_while_is_listed_exactly_once() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    let staying = world.families("carol", 200).await?;
    let ids: BTreeSet<FamilyId> = staying.iter().map(|issued| issued.family).collect();

    // Families come, rotate and go while others walk through them.
    let stop = Arc::new(AtomicBool::new(false));
    let (tenant, told) = (tenants[0].clone(), Arc::clone(&stop));
    let mut token = staying[100].token.clone();
    let churn = tokio::spawn(async move {
        while !told.load(Ordering::SeqCst) {
            let passing = tenant.create_family(NewFamily::new("carol", CLIENT), PATIENCE).await?;
            match tenant.rotate(&token, own(), PATIENCE).await? {
                jeton_client::Rotation::Rotated(issued) => token = issued.token,
                other => panic!("{other:?}"),
            }
            tenant.revoke_family(passing.family, None, PATIENCE).await?;
        }
        Ok::<_, jeton_client::Error>(())
    });
    let walks = (0..12).map(|n| {
        let families = Families::of_subject("carol").client(CLIENT).page_size(7 + n);
        let tenant = tenants[n as usize % 3].clone();
        async move { walk(&tenant, &families).await }
    });
    let walks = join_all(walks).await;
    stop.store(true, Ordering::SeqCst);
    churn.await??;
    for met in walks {
        let met = met?;
        assert!(met.values().all(|times| *times == 1), "something appeared twice");
        assert!(ids.iter().all(|family| met.contains_key(family)), "something was passed over");
    }
    Ok(())
}

#[tokio::test]
async fn a_count_is_exact_to_ten_thousand_and_says_when_it_is_not() -> Result<()> {
    let world = World::new(&["--digest-every-ms", "0", "--sweep-every-ms", "0"]).await?;
    let tenant = world.tenant_on(1)?;
    let of_dave = Families::of_subject("dave");
    for (more, expected) in [(10_000, (10_000, false)), (1, (10_000, true))] {
        world.families("dave", more).await?;
        let count = tenant.count_families(&of_dave, PATIENCE).await?.value;
        assert_eq!((count.families, count.at_least), expected);
    }
    Ok(())
}
