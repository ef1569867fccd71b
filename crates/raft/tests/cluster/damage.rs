//! Replicas that have lost something.

use std::sync::Arc;

use jeton_core::ids::{ClusterId, Generation};
use jeton_core::tables::ReadTables;
use jeton_raft::{Consistency, Health, Node, NodeConfig, ReadError, StartError};
use jeton_storage::data_dir::{DataDir, Expect, Incarnation};
use jeton_storage::disk::{Disk, RealDisk};
use jeton_storage::log::{LogOptions, RaftLog};
use jeton_storage::ownership::Parts;

use crate::harness::{
    Cluster, Family, Place, WAIT, deadline, done, family, insist, pause, read, single,
};

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

/// What a node says that can't start in its place, with all its causes.
async fn refusal(place: &Place, join: &[String]) -> String {
    let until = deadline();
    let error = loop {
        let config = NodeConfig {
            bootstrap_expect: join.len().max(1),
            join: join.to_vec(),
            ..place.config()
        };
        let started = tokio::time::timeout(WAIT, Node::start(config, place.seams(None))).await;
        match started.expect("it is refused at once") {
            Ok(_) => panic!("it goes on"),
            // Connections to the one that was stopped hold the directory for a moment longer.
            Err(StartError::InUse(_)) => pause(until).await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StartError::Ownership(_)), "{error}");
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// The vote that it gave in this term is not in its log any more: it must not give another.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_log_and_state_does_not_start_as_the_same_node() {
    let mut cluster = Cluster::start(3).await;
    let family = family(&cluster.nodes[0]).await;
    let lost = (cluster.leader().await + 1) % 3;
    let id = cluster.nodes[lost].id();
    cluster.nodes[lost].shutdown().await;
    let data = cluster.places[lost].dir.path().join("data");
    for part in ["log", "state"] {
        std::fs::remove_dir_all(data.join(part)).unwrap();
    }
    cluster.places[lost].rows = Arc::default();
    for _ in 0..2 {
        let words = refusal(&cluster.places[lost], &cluster.join()).await;
        for word in ["the log in", &format!("cluster remove {id}"), "cluster add"] {
            assert!(words.contains(word), "{word}: {words}");
        }
    }
    let other = (lost + 1) % 3;
    let (rotate, _) = family.rotate();
    insist(&cluster.nodes[other], rotate).await;
    cluster.stop().await;
}

/// A single node is its own initiator: it must not form its cluster a second time either.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_that_lost_its_log_before_its_first_checkpoint_is_refused() {
    let (mut place, node) = single().await;
    node.shutdown().await;
    drop(node);
    std::fs::remove_dir_all(place.dir.path().join("data/log")).unwrap();
    // Rows that were never written are as good as lost.
    place.rows = Arc::default();
    let words = refusal(&place, &[]).await;
    assert!(words.contains("the log in"), "{words}");
}

/// Both were put into the same place of different clusters, so that only the incarnation differs
/// from what the stamp alone could tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_node_is_refused() {
    let ((one, first), (other, second)) = (single().await, single().await);
    first.shutdown().await;
    second.shutdown().await;
    drop((first, second));
    let log = one.dir.path().join("data/log");
    std::fs::remove_dir_all(&log).unwrap();
    RealDisk.rename(&other.dir.path().join("data/log"), &log).unwrap();
    let words = refusal(&one, &[]).await;
    assert!(words.contains("comes from another directory"), "{words}");
}

/// Killed between all the steps of its first start: nothing was promised, so it simply starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_is_marked_but_empty_starts() {
    let (place, listener) = Place::new().await;
    let data = place.dir.path().join("data");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let dir = DataDir::open(disk.clone(), &data, Expect::default()).unwrap();
    // As a single node stamps itself, with the digest of its list of addresses.
    let hash = place
        .addr
        .bytes()
        .chain([0])
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut cluster = [9; 16];
    cluster[12..].copy_from_slice(&hash.to_be_bytes());
    dir.stamp(ClusterId(cluster), 1).unwrap();
    let (log_dir, state_dir) = (data.join("log"), data.join("state"));
    disk.create_dir_all(&state_dir).unwrap();
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() };
    let (log, _) = RaftLog::open(disk, &log_dir, options).unwrap();
    let parts = Parts { dir: &dir, log: &log_dir, state: &state_dir };
    parts.claim(&log, Incarnation([3; 16])).unwrap();
    drop((dir, log));
    let node = Node::start(place.config(), place.seams(Some(listener))).await.unwrap();
    node.wait_ready(deadline()).await.unwrap();
    assert_eq!(node.cluster(), ClusterId(cluster));
    node.shutdown().await;
}
