//! Many large commands and answers at once: no entry may become larger than what a replica reads,
//! and no message larger than what a peer takes.

use bytes::Bytes;
use jeton_core::command::{Command, Consume, Operation, PutRecord, PutWhen, RecordRoots};
use jeton_core::ids::{DurationMs, KeyDigest, RecordKind};
use jeton_core::limits;
use jeton_core::reply::Done;

use crate::harness::{Cluster, command, create_tenant, deadline, done};

fn key(number: u16) -> KeyDigest {
    let mut key = [0; 16];
    key[..2].copy_from_slice(&number.to_be_bytes());
    KeyDigest(key)
}

fn kind() -> RecordKind {
    RecordKind::new("par").unwrap()
}

fn consume(number: u16) -> Command {
    command(Operation::Consume(Box::new(Consume {
        kind: kind(),
        key: key(number),
        preconditions: Vec::new(),
        guesser: None,
        family: None,
        revoke_on_replay: false,
    })))
}

fn put(number: u16) -> Command {
    command(Operation::PutRecord(Box::new(PutRecord {
        kind: kind(),
        key: key(number),
        when: PutWhen::Absent,
        value: Bytes::from(vec![7; limits::RECORD_VALUE_BYTES_MAX]),
        lifetime: Some(DurationMs(60_000)),
        index: Vec::new(),
        roots: RecordRoots::default(),
        family: None,
        preconditions: Vec::new(),
        authenticated_at: None,
    })))
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_the_largest_records_at_once_are_taken_and_survive_a_restart() {
    let mut cluster = Cluster::start(3).await;
    done(&cluster.nodes[0], create_tenant(0)).await;
    let puts = (0..300).map(|number| {
        let node = cluster.nodes[usize::from(number % 3)].clone();
        tokio::spawn(async move { node.propose(put(number), deadline()).await })
    });
    for put in puts.collect::<Vec<_>>() {
        let reply = put.await.unwrap().unwrap();
        assert!(reply.outcome.is_ok(), "{:?}", reply.outcome);
    }
    // All through one follower: what they are answered with leaves the leader on one stream.
    let leader = cluster.leader().await;
    let follower = &cluster.nodes[(leader + 1) % 3];
    let taken = (0..300).map(|number| done(follower, consume(number)));
    for reply in futures::future::join_all(taken).await {
        let Ok(Done::Consumed(record)) = reply.outcome else { panic!("{:?}", reply.outcome) };
        assert_eq!(record.value.len(), limits::RECORD_VALUE_BYTES_MAX);
    }
    let last = done(&cluster.nodes[0], put(300)).await.position;
    for at in 0..3 {
        cluster.nodes[at].shutdown().await;
        cluster.restart(at).await;
        let point = jeton_raft::Consistency::AtLeast(last);
        cluster.nodes[at].read_point(point, deadline()).await.unwrap();
    }
    cluster.stop().await;
}
