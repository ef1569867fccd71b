//! How fresh reads are.

use std::time::Duration;

use jeton_core::ids::Generation;
use jeton_raft::{Consistency, ProposeError, ReadError};
use tokio::time::Instant;

use crate::harness::{Cluster, Family, deadline, done, family, read};

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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_holds_is_kept_fresh_while_someone_reads_with_a_bound() {
    let cluster = Cluster::start(3).await;
    let family = family(&cluster.nodes[0]).await;
    let hour = Consistency::Bounded(Duration::from_secs(3_600));
    let reader = &cluster.nodes[2];
    // The first one asks; what comes after is content with that, so others must ask for it.
    reader.read_point(hour, deadline()).await.unwrap();
    let written = done(&cluster.nodes[1], family.rotate().0).await;
    let refreshed = async {
        loop {
            let point = reader.read_point(hour, deadline()).await.unwrap();
            let first = point.age.unwrap();
            if point.position >= written.position && first < Duration::from_millis(100) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout_at(deadline(), refreshed).await.expect("it is asked again by itself");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_hears_of_its_deadline_whoever_waits_longer_beside_it() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes[1..] {
        node.shutdown().await;
    }
    let alone = &cluster.nodes[0];
    // Of families that nobody knows: that needs a confirmed read, and no entry.
    let told = std::sync::Mutex::new(Vec::new());
    let rotate = async |who, within| {
        let answer = alone.propose(Family::new().rotate().0, Instant::now() + within).await;
        assert_eq!(answer, Err(ProposeError::DeadlineExceeded { sent: false }), "{who}");
        told.lock().unwrap().push(who);
    };
    let hasty = async {
        let soon = Duration::from_millis(200);
        rotate("beside it", soon).await;
        // Somebody was told of a deadline, so a read is being confirmed: this one comes behind it.
        rotate("behind it", soon).await;
    };
    tokio::join!(rotate("patient", Duration::from_secs(4)), hasty);
    assert_eq!(told.into_inner().unwrap(), ["beside it", "behind it", "patient"]);
    alone.shutdown().await;
}
