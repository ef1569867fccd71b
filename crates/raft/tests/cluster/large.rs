//! Many large commands at once: no entry may become larger than what a replica reads.

use bytes::Bytes;
use jeton_core::command::{Command, Operation, PutRecord, PutWhen, RecordRoots};
use jeton_core::ids::{DurationMs, KeyDigest, RecordKind};
use jeton_core::limits;

use crate::harness::{Cluster, command, create_tenant, deadline, done};

fn put(number: u16) -> Command {
    let mut key = [0; 16];
    key[..2].copy_from_slice(&number.to_be_bytes());
    command(Operation::PutRecord(Box::new(PutRecord {
        kind: RecordKind::new("par").unwrap(),
        key: KeyDigest(key),
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
    let last = done(&cluster.nodes[0], put(300)).await.position;
    for at in 0..3 {
        cluster.nodes[at].shutdown().await;
        cluster.restart(at).await;
        let point = jeton_raft::Consistency::AtLeast(last);
        cluster.nodes[at].read_point(point, deadline()).await.unwrap();
    }
    cluster.stop().await;
}
