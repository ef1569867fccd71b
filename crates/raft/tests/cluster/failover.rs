//! Leaders that go, followers that come back.

use jeton_core::ids::Generation;
use jeton_core::reply::Done;
use jeton_raft::Consistency;

use crate::harness::{Cluster, deadline, family, insist, pause, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_vanishes_is_replaced_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let mut family = family(&cluster.nodes[0]).await;
    let old = cluster.leader().await;
    // Dropped, not shut down: nothing is handed over.
    drop(cluster.nodes.remove(old));
    for turn in 0..10 {
        let (rotate, next) = family.rotate();
        let reply = insist(&cluster.nodes[turn % 2], rotate).await;
        assert!(matches!(reply.outcome, Ok(Done::Rotated(_) | Done::Replayed(_))), "{reply:?}");
        family.head = next;
    }
    for node in &cluster.nodes {
        let view = read(node, &family, Consistency::Linearizable).await.unwrap();
        assert_eq!(view.generation, Generation(10));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_catches_up_before_it_answers() {
    let mut cluster = Cluster::start(3).await;
    let mut family = family(&cluster.nodes[0]).await;
    let away = (cluster.leader().await + 1) % 3;
    cluster.nodes[away].shutdown().await;
    let stays = (away + 1) % 3;
    for _ in 0..20 {
        let (rotate, next) = family.rotate();
        insist(&cluster.nodes[stays], rotate).await;
        family.head = next;
    }
    cluster.restart(away).await;
    let view = read(&cluster.nodes[away], &family, Consistency::Linearizable).await.unwrap();
    assert_eq!(view.generation, Generation(20));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_hands_leadership_over_first() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    let left = cluster.nodes[old].id();
    cluster.nodes.remove(old).shutdown().await;
    let until = deadline();
    loop {
        let leaders: Vec<_> =
            cluster.nodes.iter().filter_map(|node| node.status().leader).collect();
        if leaders.len() == 2 && leaders.iter().all(|leader| *leader != left) {
            break;
        }
        pause(until).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_where_it_is_sent() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let heir = &cluster.nodes[(leader + 1) % 3];
    cluster.nodes[leader].transfer_leader(heir.id(), deadline()).await.unwrap();
    let family = family(heir).await;
    assert_eq!(heir.status().leader, Some(heir.id()));
    let view = read(&cluster.nodes[leader], &family, Consistency::Linearizable).await.unwrap();
    assert_eq!(view.generation, Generation(0));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_agree_on_their_digests() {
    let cluster = Cluster::start(3).await;
    family(&cluster.nodes[0]).await;
    let until = deadline();
    loop {
        let digests: Vec<_> = cluster.nodes.iter().map(|node| node.status().digests).collect();
        let shared = digests[0].iter().find(|(at, _)| {
            digests.iter().all(|other| other.iter().any(|(position, _)| position == at))
        });
        if let Some((at, digest)) = shared {
            for other in &digests {
                assert!(other.contains(&(*at, *digest)), "a replica differs at {at}");
            }
            break;
        }
        pause(until).await;
    }
    for node in &cluster.nodes {
        assert_eq!(node.status().health, jeton_raft::Health::Serving);
    }
    cluster.stop().await;
}
