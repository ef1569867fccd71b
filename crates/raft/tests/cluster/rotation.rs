//! Rotations through every node, and many at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use jeton_core::command::{Operation, RevokeFamily};
use jeton_core::ids::Generation;
use jeton_core::reply::{Done, Event, Refusal, Reply};
use jeton_raft::{Consistency, EventSink, ProposeError, ReplySink};
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::harness::{
    Cluster, WAIT, command, deadline, done, family, new_family, read, single, single_seamed,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_rotations_and_every_node_sees_them() {
    let cluster = Cluster::start(3).await;
    let mut family = family(&cluster.nodes[0]).await;
    for turn in 0..9 {
        let (rotate, next) = family.rotate();
        let reply = done(&cluster.nodes[turn % 3], rotate).await;
        assert!(matches!(reply.outcome, Ok(Done::Rotated(_))), "{reply:?}");
        family.head = next;
        let other = &cluster.nodes[(turn + 1) % 3];
        let view = read(other, &family, Consistency::Linearizable).await.unwrap();
        assert_eq!(view.generation, next.generation, "a linearizable read is never stale");
    }
    cluster.stop().await;
}

/// Presents one token `callers` times at once, spread over the nodes.
async fn stampede(nodes: &[jeton_raft::Node], callers: usize) {
    let family = family(&nodes[0]).await;
    let commands = |nodes: &[jeton_raft::Node]| -> u64 {
        nodes.iter().map(|node| node.status().commands).sum()
    };
    let before = commands(nodes);
    let calls = (0..callers).map(|i| {
        let node = nodes[i % nodes.len()].clone();
        let (rotate, _) = family.rotate();
        tokio::spawn(async move { node.propose(rotate, deadline()).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut rotated = 0;
    let mut successors = BTreeSet::new();
    for call in calls {
        let reply = call.await.unwrap().unwrap();
        match reply.outcome {
            Ok(Done::Rotated(new)) => {
                rotated += 1;
                assert_eq!(new.generation, Generation(1));
            }
            Ok(Done::Replayed(old)) => {
                assert_eq!(old.rotated.generation, Generation(1));
                successors.insert(old.successor.0);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rotated, 1, "exactly one caller rotates");
    assert_eq!(successors.len(), 1, "all others are given its successor");
    let proposed = commands(nodes) - before;
    assert!(proposed < callers as u64 / 10, "{proposed} commands for {callers} callers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_with_one_token_cost_few_commands_on_one_node() {
    let (_place, node) = single().await;
    stampede(std::slice::from_ref(&node), 1_000).await;
    node.shutdown().await;
}

/// Holds apply at the first event after it was shut.
#[derive(Default)]
struct Barrier {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl EventSink for Barrier {
    fn event(&self, _: Event) {
        let mut shut = self.shut.lock();
        while *shut {
            self.opened.wait(&mut shut);
        }
    }
}

/// Passes answers on to a test.
struct Answers(mpsc::UnboundedSender<Result<Reply, ProposeError>>);

impl ReplySink for Answers {
    fn reply(&self, _: u64, result: Result<Reply, ProposeError>) {
        // The test may have ended.
        let _ = self.0.send(result);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_come_before_the_first_is_applied_share_its_command() {
    const CALLERS: u64 = 1_000;
    let barrier = Arc::new(Barrier::default());
    let (_place, node) =
        single_seamed(|seams| seams.events = Some(Arc::clone(&barrier) as _)).await;
    let family = family(&node).await;
    let bystander = new_family(&node).await;
    let before = node.status();

    *barrier.shut.lock() = true;
    let (sender, mut answers) = mpsc::unbounded_channel();
    let sink: Arc<dyn ReplySink> = Arc::new(Answers(sender));
    let revoke = RevokeFamily { family: bystander.id, reason: None };
    let revoke = command(Operation::RevokeFamily(revoke));
    node.submit(revoke, Instant::now(), deadline(), 0, Arc::clone(&sink));
    // Nothing after the revocation is applied until all of these have come in.
    for tag in 1..=CALLERS {
        node.submit(family.rotate().0, Instant::now(), deadline(), tag, Arc::clone(&sink));
    }
    *barrier.shut.lock() = false;
    barrier.opened.notify_all();

    let (mut rotated, mut replayed) = (0, 0);
    for _ in 0..=CALLERS {
        let answer = tokio::time::timeout(WAIT, answers.recv()).await.expect("an answer in time");
        match answer.unwrap().unwrap().outcome {
            Ok(Done::Rotated(_)) => rotated += 1,
            Ok(Done::Replayed(_)) => replayed += 1,
            Ok(Done::Revoked { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((rotated, replayed), (1, CALLERS - 1));
    let after = node.status();
    assert_eq!(after.collapsed - before.collapsed, CALLERS - 1);
    assert_eq!(after.commands - before.commands, 2, "the revocation and one rotation");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_with_one_token_cost_few_commands_on_three() {
    let cluster = Cluster::start(3).await;
    stampede(&cluster.nodes, 1_000).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_acknowledged_anywhere_is_obeyed_everywhere() {
    let cluster = Cluster::start(3).await;
    family(&cluster.nodes[0]).await;
    for turn in 0..6 {
        let family = new_family(&cluster.nodes[turn % 3]).await;
        let revoke = RevokeFamily { family: family.id, reason: None };
        let revoke = command(Operation::RevokeFamily(revoke));
        done(&cluster.nodes[(turn + 1) % 3], revoke).await;
        let (rotate, _) = family.rotate();
        let node = &cluster.nodes[(turn + 2) % 3];
        let reply = node.propose(rotate, deadline()).await.unwrap();
        assert!(matches!(reply.outcome, Err(Refusal::Revoked(_))), "{reply:?}");
    }
    cluster.stop().await;
}
