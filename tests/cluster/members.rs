//! Nodes come, go, hand over leadership and lose their disks, under load.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jeton_client::admin::ClusterStatus;
use jeton_client::{Check, Client, Config, Cut, Validation};
use jeton_core::reply::Refusal;
use tokio::time::Instant;

use crate::load::Load;
use crate::world::{COME_UP, PATIENCE, World};

/// How often conditions are looked at.
const POLL: Duration = Duration::from_millis(25);

/// What the leader says now.
async fn of_leader(world: &World) -> Result<(usize, ClusterStatus)> {
    let leader = world.cluster.leader(PATIENCE).await?;
    Ok((leader, world.cluster.status(leader).await?))
}

async fn voters(world: &World) -> Result<Vec<u64>> {
    let (_, status) = of_leader(world).await?;
    Ok(status.members.iter().filter(|member| member.voter).map(|member| member.node_id).collect())
}

/// Adds the node and waits until it serves. Answers its number.
async fn add(world: &mut World, node: usize, voter: bool) -> Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    let (leader, _) = of_leader(world).await?;
    let address = world.cluster.peer_address(node);
    let admin = world.cluster.client(leader)?.admin();
    let id = loop {
        match admin.add_member(&address, voter, PATIENCE).await {
            Ok(id) => break id,
            // It may not listen yet.
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    };
    world.cluster.wait_node_ready(node, Instant::now() + COME_UP).await?;
    Ok(id)
}

#[tokio::test]
async fn a_node_fed_by_a_base_file_serves_and_votes() -> Result<()> {
    let mut world = World::new(&["--log-segment-bytes", "1048576"]).await?;
    let load = Load::start(&world, 16).await?;
    let families = world.families("mallory", 2_000).await?;
    load.go_on(500).await?;
    for node in 0..3 {
        let made = world.cluster.client(node)?.admin().checkpoint(true, PATIENCE).await?;
        ensure!(made.base_index.is_some(), "node {node} made no base: {made:?}");
    }
    let new = world.cluster.grow()?;
    let id = add(&mut world, new, false).await?;
    let status = world.cluster.status(new).await?;
    ensure!(status.base_index.is_some(), "it was not fed by a base: {status:?}");
    ensure!(!voters(&world).await?.contains(&id), "it votes already");
    let tenant = world.tenant_on(new)?;
    let read = tenant.validate(&families[0].token, Check::new(), PATIENCE).await?;
    ensure!(matches!(read, Validation::Active(_)), "{read:?}");

    let (leader, _) = of_leader(&world).await?;
    world.cluster.client(leader)?.admin().promote_member(id, PATIENCE).await?;
    ensure!(voters(&world).await?.contains(&id), "it was not promoted");
    world.cluster.client(leader)?.admin().transfer_leader(Some(id), PATIENCE).await?;
    load.go_on(200).await?;
    // A cut by way of a client that knows the new node only, seen by an old one.
    let cut = tenant.revoke_where(Cut::of_subject("mallory"), PATIENCE).await?;
    let read = world.tenant_on(0)?.validate(&families[1].token, Check::new(), PATIENCE).await?;
    let Validation::Refused(Refusal::Revoked(by)) = read else { bail!("{read:?}") };
    ensure!(by.position == cut, "revoked at {:?}, not {cut:?}", by.position);
    println!("{} rotations", load.stop().await?);
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn changes_of_members_sent_to_a_follower_are_made_by_the_leader() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let new = world.cluster.grow()?;
    let address = world.cluster.peer_address(new);
    let (leader, _) = of_leader(&world).await?;
    let follower = world.cluster.endpoints()[(leader + 1) % 3].clone();
    // It is told of the follower alone, and finds the leader by what that says.
    let client = Client::connect(Config::new([&follower])).await?;
    let admin = client.admin();
    let deadline = Instant::now() + PATIENCE;
    let id = loop {
        match admin.add_member(&address, false, PATIENCE).await {
            Ok(id) => break id,
            // It may not listen yet.
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    };
    world.cluster.wait_node_ready(new, Instant::now() + COME_UP).await?;
    admin.promote_member(id, PATIENCE).await?;
    ensure!(voters(&world).await?.contains(&id), "it does not vote");
    // The client remembers who led; after this it is told by the former leader.
    let heir = world.cluster.status((leader + 2) % 3).await?.node_id;
    ensure!(admin.transfer_leader(Some(heir), PATIENCE).await? == heir, "another one leads");
    admin.remove_member(id, PATIENCE).await?;
    ensure!(!voters(&world).await?.contains(&id), "it still votes");
    // Where the client may not go, it says what stands in the way, and nothing has happened.
    let (leader, _) = of_leader(&world).await?;
    let pinned = world.cluster.client((leader + 1) % 3)?.admin();
    let error = pinned.transfer_leader(None, Duration::from_secs(1)).await.unwrap_err();
    ensure!(!error.outcome_unknown(), "{error}");
    ensure!(error.to_string().contains(&world.cluster.endpoints()[leader]), "{error}");
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn leadership_moves_again_and_again_and_nobody_notices() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let load = Load::start(&world, 32).await?;
    for _ in 0..8 {
        load.go_on(100).await?;
        let (leader, status) = of_leader(&world).await?;
        let heir = status.members.iter().map(|member| member.node_id);
        let heir = heir.filter(|id| *id != status.node_id).min().context("nobody else")?;
        let admin = world.cluster.client(leader)?.admin();
        let now = admin.transfer_leader(Some(heir), PATIENCE).await?;
        ensure!(now == heir, "{now} leads, not {heir}");
    }
    println!("{} rotations", load.stop().await?);
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn a_leader_that_is_removed_steps_down_and_disturbs_nobody() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let new = world.cluster.grow()?;
    add(&mut world, new, true).await?;
    let families = world.families("mallory", 2).await?;
    let load = Load::start(&world, 16).await?;
    load.go_on(100).await?;
    let (leader, status) = of_leader(&world).await?;
    let removed = world.tenant_on(leader)?;
    world.cluster.client(leader)?.admin().remove_member(status.node_id, PATIENCE).await?;
    let cut = world
        .tenant_on((leader + 1) % 4)?
        .revoke_where(Cut::of_subject("mallory"), PATIENCE)
        .await?;
    load.go_on(500).await?;
    let (_, after) = of_leader(&world).await?;
    ensure!(after.node_id != status.node_id, "it still leads");
    ensure!(after.members.iter().all(|m| m.node_id != status.node_id), "{:?}", after.members);
    // It may refuse, or take long: it must not answer from before.
    let read = removed.validate(&families[0].token, Check::new(), Duration::from_secs(2)).await;
    match read {
        Ok(Validation::Active(_)) => bail!("a removed node answers from before the cut"),
        Ok(Validation::Refused(Refusal::Revoked(by))) => ensure!(by.position == cut),
        Ok(other) => bail!("{other:?}"),
        Err(error) => println!("the removed node says {error}"),
    }
    // Longer than several elections.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (_, later) = of_leader(&world).await?;
    ensure!(later.term == after.term, "a removed node disturbs: {} {}", after.term, later.term);
    let gone = world.cluster.status(leader).await?;
    println!("the removed node: leader {:?}, {:?}", gone.leader_id, gone.not_ready);
    ensure!(gone.not_ready.is_some(), "a removed node says that it serves");
    println!("{} rotations", load.stop().await?);
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn all_nodes_restart_one_after_the_other_and_nothing_fails() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let load = Load::start(&world, 16).await?;
    for node in 0..3 {
        load.go_on(100).await?;
        world.cluster.stop(node, PATIENCE).await?;
        load.go_on(100).await?;
        world.cluster.restart(node)?;
        world.cluster.wait_node_ready(node, Instant::now() + COME_UP).await?;
    }
    println!("{} rotations", load.stop().await?);
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn a_node_that_lost_its_disk_is_refused_and_can_be_replaced() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let load = Load::start(&world, 16).await?;
    let (leader, status) = of_leader(&world).await?;
    let lost = (leader + 1) % 3;
    let id = world.cluster.status(lost).await?.node_id;
    world.cluster.kill(lost).await?;
    std::fs::remove_dir_all(world.cluster.data_dir(lost))?;
    world.cluster.restart(lost)?;
    let deadline = Instant::now() + PATIENCE;
    while world.cluster.process(lost).is_running() {
        ensure!(Instant::now() < deadline, "it goes on without its votes");
        tokio::time::sleep(POLL).await;
    }
    let words = world.cluster.process(lost).log_tail(10);
    ensure!(words.contains(&format!("jeton cluster remove {id}")), "{words}");
    ensure!(words.contains("jeton cluster add"), "{words}");
    load.go_on(100).await?;

    let admin = world.cluster.client(leader)?.admin();
    admin.remove_member(id, PATIENCE).await?;
    world.cluster.restart(lost)?;
    let new = add(&mut world, lost, true).await?;
    ensure!(new != id, "number {id} was given twice");
    ensure!(voters(&world).await?.contains(&new), "it does not vote");
    load.go_on(100).await?;
    println!("{} rotations, term {}", load.stop().await?, status.term);
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn a_node_that_lost_its_log_alone_does_not_vote_again() -> Result<()> {
    let mut world = World::new(&[]).await?;
    world.families("alice", 100).await?;
    let lost = (world.cluster.leader(PATIENCE).await? + 1) % 3;
    let admin = world.cluster.client(lost)?.admin();
    admin.checkpoint(false, PATIENCE).await?;
    world.cluster.kill(lost).await?;
    std::fs::remove_dir_all(world.cluster.data_dir(lost).join("log"))?;
    world.cluster.restart(lost)?;
    let deadline = Instant::now() + PATIENCE;
    while world.cluster.process(lost).is_running() {
        ensure!(Instant::now() < deadline, "it goes on without its votes");
        tokio::time::sleep(POLL).await;
    }
    let words = world.cluster.process(lost).log_tail(10);
    ensure!(words.contains("data/log is lost"), "{words}");
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn a_node_that_kept_its_stamp_alone_is_refused_and_can_be_replaced() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let load = Load::start(&world, 16).await?;
    load.go_on(100).await?;
    let (leader, _) = of_leader(&world).await?;
    let lost = (leader + 1) % 3;
    let id = world.cluster.status(lost).await?.node_id;
    world.cluster.kill(lost).await?;
    let data = world.cluster.data_dir(lost);
    for part in ["log", "state"] {
        std::fs::remove_dir_all(data.join(part))?;
    }
    // However often it is tried.
    for _ in 0..2 {
        world.cluster.restart(lost)?;
        let status = world.cluster.process(lost).ended(PATIENCE).await?;
        let words = world.cluster.process(lost).log_tail(10);
        ensure!(status.code() == Some(74), "{status}: {words}");
        ensure!(words.contains("the votes it gave"), "{words}");
        ensure!(words.contains(&format!("jeton cluster remove {id}")), "{words}");
        ensure!(words.contains("jeton cluster add"), "{words}");
    }
    load.go_on(100).await?;

    let (leader, _) = of_leader(&world).await?;
    world.cluster.client(leader)?.admin().remove_member(id, PATIENCE).await?;
    std::fs::remove_dir_all(&data)?;
    world.cluster.restart(lost)?;
    let new = add(&mut world, lost, true).await?;
    ensure!(new != id, "number {id} was given twice");
    ensure!(voters(&world).await?.contains(&new), "it does not vote");
    load.go_on(100).await?;
    println!("{} rotations", load.stop().await?);
    world.cluster.stop_all(PATIENCE).await
}

#[tokio::test]
async fn a_leader_that_is_left_alone_says_so_and_a_majority_heals_it() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let leader = world.cluster.leader(PATIENCE).await?;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    world.cluster.kill_together(&others).await?;
    let deadline = Instant::now() + PATIENCE;
    while world.cluster.status(leader).await?.not_ready.is_none() {
        ensure!(Instant::now() < deadline, "it says that it serves, all alone");
        tokio::time::sleep(POLL).await;
    }
    world.cluster.restart(others[0])?;
    world.cluster.wait_node_ready(leader, Instant::now() + COME_UP).await?;
    world.families("alice", 10).await?;
    world.cluster.stop_all(PATIENCE).await
}
