//! Replicas that have lost something.

use jeton_core::ids::Generation;
use jeton_core::tables::ReadTables;
use jeton_raft::{Consistency, Health, ReadError};

use crate::harness::{Cluster, Family, deadline, done, family, insist, pause, read};

/// The key of the row that holds the family itself.
fn family_key(cluster: &Cluster, at: usize, family: &Family) -> Vec<u8> {
    let holds = |key: &[u8]| key.windows(16).any(|part| part == family.id.0);
    let rows = cluster.nodes[at].view(|view, _| view.scan(&[0x00], &[0xff], 64)).unwrap();
    let found = rows.iter().filter(|(key, _)| holds(key)).max_by_key(|(_, value)| value.len());
    found.expect("the family has a row").0.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lost_a_row_fences_itself_and_the_others_go_on() {
    let cluster = Cluster::start(3).await;
    let family = family(&cluster.nodes[0]).await;
    let victim = (cluster.leader().await + 1) % 3;
    read(&cluster.nodes[victim], &family, Consistency::Linearizable).await.unwrap();
    // From memory into the rows, and then out of them.
    cluster.nodes[victim].rebase().await.unwrap();
    let key = family_key(&cluster, victim, &family);
    cluster.places[victim].rows.lose(&key);
    let other = (victim + 1) % 3;
    let (rotate, _) = family.rotate();
    insist(&cluster.nodes[other], rotate).await;
    let until = deadline();
    while !matches!(cluster.nodes[victim].status().health, Health::Fenced(_)) {
        pause(until).await;
    }
    let refused = cluster.nodes[victim].read_point(Consistency::Linearizable, deadline()).await;
    assert!(matches!(refused, Err(ReadError::NotServing { .. })), "{refused:?}");
    let view = read(&cluster.nodes[other], &family, Consistency::Linearizable).await.unwrap();
    assert_eq!(view.generation, Generation(1));
    assert_eq!(cluster.nodes[other].status().health, Health::Serving);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_is_kept_for_a_follower_that_is_away_for_a_while() {
    let mut cluster = Cluster::start(3).await;
    let mut family = family(&cluster.nodes[0]).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.nodes[away].shutdown().await;
    for _ in 0..10 {
        let (rotate, next) = family.rotate();
        insist(&cluster.nodes[leader], rotate).await;
        family.head = next;
    }
    let lagging = cluster.nodes[leader].status().members.iter().filter_map(|m| m.lag).max();
    assert!(lagging.unwrap() > 0);
    cluster.nodes[leader].rebase().await.unwrap();
    cluster.restart(away).await;
    let view = read(&cluster.nodes[away], &family, Consistency::Linearizable).await.unwrap();
    assert_eq!(view.generation, Generation(10));
    assert!(cluster.nodes[away].status().base.is_none(), "it was sent the log, not a base file");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_stop_and_start_and_everything_is_there() {
    let mut cluster = Cluster::start(3).await;
    let mut family = family(&cluster.nodes[0]).await;
    for _ in 0..10 {
        let (rotate, next) = family.rotate();
        done(&cluster.nodes[0], rotate).await;
        family.head = next;
    }
    let id = cluster.nodes[0].cluster();
    for node in &cluster.nodes {
        node.shutdown().await;
    }
    for at in 0..3 {
        cluster.restart(at).await;
    }
    for node in &cluster.nodes {
        assert_eq!(node.cluster(), id);
        let view = read(node, &family, Consistency::Linearizable).await.unwrap();
        assert_eq!(view.generation, Generation(10));
    }
    let (rotate, _) = family.rotate();
    insist(&cluster.nodes[1], rotate).await;
    cluster.stop().await;
}
