//! Nodes that join, vote and leave.

use jeton_core::ids::Generation;
use jeton_raft::{Consistency, Member, Node};

use crate::harness::{Cluster, Place, deadline, done, family, insist, pause, read};

/// Starts an empty node that waits to be added.
async fn waiting_node() -> (Place, tokio::task::JoinHandle<Node>) {
    let (place, listener) = Place::new().await;
    let mut config = place.config();
    config.bootstrap_expect = 0;
    let seams = place.seams(Some(listener));
    let starting = tokio::spawn(async move { Node::start(config, seams).await.unwrap() });
    (place, starting)
}

async fn add(cluster: &Cluster, place: &Place) -> u64 {
    let leader = &cluster.nodes[cluster.leader().await];
    let member = Member { peer_addr: place.addr.clone(), client_addr: String::new() };
    let until = deadline();
    loop {
        match leader.add_learner(member.clone(), deadline()).await {
            Ok(id) => return id,
            // It may not listen yet.
            Err(jeton_raft::MembersError::Refused(_)) => pause(until).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_is_fed_a_base_file_when_the_log_is_gone_and_then_votes() {
    let mut cluster = Cluster::start(3).await;
    let mut family = family(&cluster.nodes[0]).await;
    for _ in 0..20 {
        let (rotate, next) = family.rotate();
        done(&cluster.nodes[0], rotate).await;
        family.head = next;
    }
    let leader = cluster.leader().await;
    cluster.nodes[leader].rebase().await.unwrap();
    assert!(cluster.nodes[leader].status().base.is_some());
    let until = deadline();
    while cluster.nodes[leader].status().first_log <= 1 {
        pause(until).await;
    }
    let (place, starting) = waiting_node().await;
    let id = add(&cluster, &place).await;
    let node = starting.await.unwrap();
    assert_eq!(node.id(), id);
    let view = read(&node, &family, Consistency::Linearizable).await.unwrap();
    assert_eq!(view.generation, Generation(20));
    assert!(node.status().base.is_some(), "it was sent a base file");
    let until = deadline();
    while cluster.nodes[leader].promote(id, deadline()).await.is_err() {
        pause(until).await;
    }
    let is_voter = |node: &Node| node.status().members.iter().any(|m| m.id == id && m.voter);
    let until = deadline();
    while !is_voter(&node) {
        pause(until).await;
    }
    cluster.places.push(place);
    cluster.nodes.push(node);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_gone_and_the_others_go_on() {
    let mut cluster = Cluster::start(3).await;
    let family = family(&cluster.nodes[0]).await;
    let leader = cluster.leader().await;
    let gone = (leader + 1) % 3;
    let id = cluster.nodes[gone].id();
    cluster.nodes[leader].remove(id, deadline()).await.unwrap();
    cluster.nodes[gone].shutdown().await;
    let node = cluster.nodes[leader].clone();
    assert!(node.status().members.iter().all(|member| member.id != id));
    let (rotate, _) = family.rotate();
    insist(&node, rotate).await;
    cluster.nodes.remove(gone);
    cluster.stop().await;
}
