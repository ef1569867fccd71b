//! How fresh reads are.

use std::time::Duration;

use jeton_core::ids::Generation;
use jeton_raft::{Consistency, ReadError};
use tokio::time::Instant;

use crate::harness::{Cluster, deadline, done, family, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_what_was_acknowledged_before_it_began_on_any_node() {
    let cluster = Cluster::start(3).await;
    let mut family = family(&cluster.nodes[0]).await;
    for turn in 1..=30_u64 {
        let (rotate, next) = family.rotate();
        let writer = &cluster.nodes[turn as usize % 3];
        let position = done(writer, rotate).await.position;
        family.head = next;
        for node in &cluster.nodes {
            let fresh = read(node, &family, Consistency::Linearizable).await.unwrap();
            assert_eq!(fresh.generation, Generation(turn));
            let own = read(node, &family, Consistency::AtLeast(position)).await.unwrap();
            assert!(own.generation >= Generation(turn));
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_quorum_serves_no_linearizable_read_and_keeps_its_bound() {
    let cluster = Cluster::start(3).await;
    let family = family(&cluster.nodes[0]).await;
    read(&cluster.nodes[0], &family, Consistency::Linearizable).await.unwrap();
    for node in &cluster.nodes[1..] {
        node.shutdown().await;
    }
    let alone = &cluster.nodes[0];
    let soon = || Instant::now() + Duration::from_millis(500);
    let refused = alone.read_point(Consistency::Linearizable, soon()).await;
    assert!(matches!(refused, Err(ReadError::DeadlineExceeded { .. })), "{refused:?}");
    let old = alone.read_point(Consistency::Bounded(Duration::from_secs(3600)), deadline()).await;
    let age = old.unwrap().age.unwrap();
    let refused = alone.read_point(Consistency::Bounded(age / 2), soon()).await;
    assert!(matches!(refused, Err(ReadError::DeadlineExceeded { .. })), "{refused:?}");
    alone.shutdown().await;
}
