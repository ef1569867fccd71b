//! A thousand callers present one token, through three nodes: one rotation, one successor.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use jeton_client::{RefreshToken, Rotation, Tenant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::world::{PATIENCE, World, own};

const CALLERS: usize = 1_000;
/// No maintenance among the counted commands.
const QUIET: &[&str] = &["--digest-every-ms", "0", "--sweep-every-ms", "0"];

/// How many callers have their answer.
#[derive(Default)]
struct Answered {
    count: AtomicUsize,
    more: Notify,
}

impl Answered {
    async fn reach(&self, count: usize) {
        loop {
            let more = self.more.notified();
            if self.count.load(Ordering::SeqCst) >= count {
                return;
            }
            more.await;
        }
    }
}

type Callers = Vec<JoinHandle<Result<Rotation, jeton_client::Error>>>;

fn stampede(tenants: &[Tenant], token: &RefreshToken, answered: &Arc<Answered>) -> Callers {
    (0..CALLERS)
        .map(|n| {
            let (tenant, token) = (tenants[n % tenants.len()].clone(), token.clone());
            let answered = Arc::clone(answered);
            tokio::spawn(async move {
                let rotation = tenant.rotate(&token, own(), PATIENCE).await;
                answered.count.fetch_add(1, Ordering::SeqCst);
                answered.more.notify_waiters();
                rotation
            })
        })
        .collect()
}

/// How many rotated, and the successors that all of them hold.
async fn outcome(callers: Callers) -> Result<(usize, BTreeSet<String>, RefreshToken)> {
    let mut rotated = 0;
    let mut successors = BTreeSet::new();
    let mut token = None;
    for caller in callers {
        let issued = match caller.await?? {
            Rotation::Rotated(issued) => {
                rotated += 1;
                issued
            }
            Rotation::Replayed(issued) => issued,
            other => bail!("a sibling got {other:?}"),
        };
        successors.insert(issued.token.expose().expose().to_owned());
        token = Some(issued.token);
    }
    Ok((rotated, successors, token.context("nobody called")?))
}

#[tokio::test]
async fn a_thousand_callers_get_one_rotation_one_successor_and_a_handful_of_commands() -> Result<()>
{
    let world = World::new(QUIET).await?;
    let leader = world.cluster.leader(PATIENCE).await?;
    let family = world.families("alice", 1).await?.remove(0);
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];

    let before = world.commands(leader).await?;
    let answered = Arc::new(Answered::default());
    let callers = stampede(&tenants, &family.token, &answered);
    let (rotated, successors, _) = outcome(callers).await?;
    let commands = world.commands(leader).await? - before;

    assert_eq!(rotated, 1, "exactly one rotation");
    assert_eq!(successors.len(), 1, "one successor for all");
    assert!(commands <= 5, "{commands} commands entered the log for one rotation");
    Ok(())
}

#[tokio::test]
async fn a_stampede_survives_its_leader() -> Result<()> {
    let mut world = World::new(QUIET).await?;
    let mut token = world.families("bob", 1).await?.remove(0).token;
    // The leader dies at once, after the first answer, and among the answers.
    for killed_after in [0, 1, CALLERS / 3] {
        let leader = world.cluster.leader(PATIENCE).await?;
        let tenants: Vec<Tenant> = world
            .clients
            .iter()
            .map(|client| client.tenant(crate::world::TENANT))
            .collect::<Result<_, _>>()?;
        let answered = Arc::new(Answered::default());
        let callers = stampede(&tenants, &token, &answered);
        answered.reach(killed_after).await;
        world.cluster.kill(leader).await?;
        let (rotated, successors, successor) = outcome(callers).await?;

        assert_eq!(rotated, 1, "exactly one rotation, killed after {killed_after} answers");
        assert_eq!(successors.len(), 1, "one successor, killed after {killed_after} answers");
        token = successor;
        let survivor = world.cluster.leader(PATIENCE).await?;
        let commands = world.commands(survivor).await?;
        assert!(commands <= 40, "{commands} commands for a handful of operations");
        world.cluster.restart(leader)?;
        world.cluster.wait_ready(crate::world::COME_UP).await?;
    }
    Ok(())
}
