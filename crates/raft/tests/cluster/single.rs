//! One node alone.

use jeton_core::ids::Generation;
use jeton_core::reply::{Done, Refusal};
use jeton_raft::{Consistency, Node, ProposeError};
use tokio::time::Instant;

use crate::harness::{Family, create_tenant, deadline, done, family, read, single};

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_seen_by_the_next_read() {
    let (_place, node) = single().await;
    let family = family(&node).await;
    let (rotate, _) = family.rotate();
    let reply = done(&node, rotate).await;
    assert!(matches!(&reply.outcome, Ok(Done::Rotated(r)) if r.generation == Generation(1)));
    let view = read(&node, &family, Consistency::Linearizable).await.unwrap();
    assert_eq!(view.generation, Generation(1));
    let view = read(&node, &family, Consistency::AtLeast(reply.position)).await.unwrap();
    assert_eq!(view.generation, Generation(1));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_a_restart() {
    let (place, node) = single().await;
    let mut family = family(&node).await;
    for _ in 0..20 {
        let (rotate, next) = family.rotate();
        done(&node, rotate).await;
        family.head = next;
    }
    let before = node.status();
    node.shutdown().await;
    drop(node);
    let node = Node::start(place.config(), place.seams(None)).await.unwrap();
    assert_eq!(node.cluster(), before.cluster);
    let view = read(&node, &family, Consistency::Linearizable).await.unwrap();
    assert_eq!(view.generation, family.head.generation);
    let (rotate, _) = family.rotate();
    done(&node, rotate).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_dropped_without_a_shutdown_loses_nothing() {
    let (place, node) = single().await;
    let family = family(&node).await;
    let (rotate, _) = family.rotate();
    done(&node, rotate).await;
    drop(node);
    let until = deadline();
    let node = loop {
        // The directory's lock goes with the last task of the old node.
        match Node::start(place.config(), place.seams(None)).await {
            Ok(node) => break node,
            Err(error) => assert!(Instant::now() < until, "{error:?}"),
        }
        crate::harness::pause(until).await;
    };
    let view = read(&node, &family, Consistency::Linearizable).await.unwrap();
    assert_eq!(view.generation, Generation(1));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_in_the_past_proposes_nothing() {
    let (_place, node) = single().await;
    let family = Family::new();
    done(&node, create_tenant(0)).await;
    node.shutdown().await;
    let late = node.propose(family.create(), deadline()).await;
    assert_eq!(late, Err(ProposeError::Shutdown));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_without_an_entry() {
    let (_place, node) = single().await;
    done(&node, create_tenant(0)).await;
    let commands = node.status().commands;
    let (rotate, _) = Family::new().rotate();
    let reply = node.propose(rotate, deadline()).await.unwrap();
    assert_eq!(reply.outcome, Err(Refusal::NotFound));
    let own = node.status().commands - commands;
    assert!(own <= 2, "only digests and sweeps were proposed, not {own} commands");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_kept_until_a_base_holds_what_was_in_it() {
    let (place, node) = single().await;
    let mut family = family(&node).await;
    // More entries than openraft keeps behind a snapshot by itself.
    for _ in 0..1_100 {
        let (rotate, next) = family.rotate();
        done(&node, rotate).await;
        family.head = next;
    }
    assert!(node.status().first_log <= 1, "nothing is purged without a base");
    node.rebase().await.unwrap();
    let until = deadline();
    while node.status().first_log < 1_000 {
        crate::harness::pause(until).await;
    }
    node.shutdown().await;
    drop(node);
    let node = Node::start(place.config(), place.seams(None)).await.unwrap();
    let view = read(&node, &family, Consistency::Linearizable).await.unwrap();
    assert_eq!(view.generation, Generation(1_100));
    node.shutdown().await;
}
