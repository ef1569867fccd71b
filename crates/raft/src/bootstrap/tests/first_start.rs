//! The first start of a cluster.

use std::collections::BTreeSet;

use super::*;
use crate::bootstrap::marked;

/// Whoever starts first, one node forms the cluster, with all of them, each in its place.
async fn starts_in_order(order: [usize; 3]) {
    let addresses = addresses(3).await;
    let mut nodes = Vec::new();
    let mut forming = Vec::new();
    for place in order {
        let node = Node::start(&addresses[place], &MemDisk::new(), false).await;
        forming.push((place, node.form(flags(&addresses))));
        nodes.push(node);
    }
    let mut clusters = BTreeSet::new();
    for (place, forming) in forming {
        let formed = formed(forming).await;
        assert_eq!(formed.identity.node, place as NodeId + 1);
        clusters.insert(formed.identity.cluster);
        let Some(members) = formed.first_members else {
            assert_ne!(place, 0, "the first address forms the cluster");
            continue;
        };
        assert_eq!(place, 0, "only the first address forms a cluster");
        let expected = addresses.iter().enumerate().map(|(i, a)| (i as NodeId + 1, member(a)));
        assert_eq!(members, expected.collect());
    }
    assert_eq!(clusters.len(), 1);
}

#[tokio::test]
async fn three_nodes_find_their_places_whoever_starts_first() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2]] {
        starts_in_order(order).await;
    }
}

#[tokio::test]
async fn three_nodes_find_their_places_when_the_initiator_comes_last() {
    for order in [[1, 2, 0], [2, 1, 0], [2, 0, 1]] {
        starts_in_order(order).await;
    }
}

#[tokio::test]
async fn a_single_node_needs_no_list() {
    let addresses = addresses(1).await;
    let disk = MemDisk::new();
    let node = Node::start(&addresses[0], &disk, false).await;
    let formed = formed(node.form(Flags { expect: 1, join: vec![] })).await;
    assert_eq!(formed.identity.node, 1);
    assert_eq!(formed.first_members.unwrap().len(), 1);
    node.crash(None).await;
    assert_eq!(stamp_of(&disk), Some(formed.identity), "stamped before it is formed");
}

/// Step 1: nothing is written before all are there.
#[tokio::test]
async fn an_initiator_that_still_waits_has_written_nothing() {
    let addresses = addresses(3).await;
    let disks = [MemDisk::new(), MemDisk::new(), MemDisk::new()];
    let first = Node::start(&addresses[0], &disks[0], false).await;
    let second = Node::start(&addresses[1], &disks[1], false).await;
    let (one, two) = (first.form(flags(&addresses)), second.form(flags(&addresses)));
    // The third one's address is knocked at, and nobody answers.
    let third = TcpListener::bind(&addresses[2]).await.unwrap();
    timeout(PATIENCE, third.accept()).await.unwrap().unwrap();
    drop(third);
    assert!(!one.is_finished() && !two.is_finished());
    first.crash(Some(one)).await;
    second.crash(Some(two)).await;
    assert_eq!((stamp_of(&disks[0]), stamp_of(&disks[1])), (None, None));
    // And all goes well once the third is there.
    let mut nodes = Vec::new();
    for (address, disk) in addresses.iter().zip(&disks) {
        nodes.push(Node::start(address, disk, false).await);
    }
    let forming: Vec<_> = nodes.iter().map(|node| node.form(flags(&addresses))).collect();
    for forming in forming {
        formed(forming).await;
    }
}

/// Steps 2 and 3, for each number of nodes that had accepted when the initiator crashed.
#[tokio::test]
async fn an_attempt_that_was_interrupted_goes_on_with_the_same_cluster() {
    for accepted in 1..=3 {
        let addresses = addresses(3).await;
        let cluster = marked(ClusterId([9; 16]), &addresses);
        let disks: Vec<_> = (0..3)
            .map(|place| match place < accepted {
                true => stamped(Identity { cluster, node: place + 1 }),
                false => MemDisk::new(),
            })
            .collect();
        let mut nodes = Vec::new();
        for (address, disk) in addresses.iter().zip(&disks) {
            nodes.push(Node::start(address, disk, false).await);
        }
        let forming: Vec<_> = nodes.iter().map(|node| node.form(flags(&addresses))).collect();
        for (place, forming) in forming.into_iter().enumerate() {
            let formed = formed(forming).await;
            assert_eq!(formed.identity, Identity { cluster, node: place as NodeId + 1 });
            assert_eq!(formed.first_members.is_some(), place == 0);
        }
    }
}

/// Step 4 was done: nobody is asked again.
#[tokio::test]
async fn a_formed_initiator_is_a_member_like_any_other() {
    let addresses = addresses(3).await;
    let identity = Identity { cluster: marked(ClusterId([9; 16]), &addresses), node: 1 };
    let node = Node::start(&addresses[0], &stamped(identity), true).await;
    let formed = formed(node.form(flags(&addresses))).await;
    assert_eq!(formed, Formed { identity, first_members: None });
}

#[tokio::test]
async fn an_acceptor_that_lost_its_disk_is_offered_its_place_again() {
    let addresses = addresses(2).await;
    let cluster = marked(ClusterId([9; 16]), &addresses);
    let first = Node::start(&addresses[0], &stamped(Identity { cluster, node: 1 }), false).await;
    let second = Node::start(&addresses[1], &MemDisk::new(), false).await;
    let (one, two) = (first.form(flags(&addresses)), second.form(flags(&addresses)));
    assert_eq!(formed(two).await.identity, Identity { cluster, node: 2 });
    assert_eq!(formed(one).await.identity, Identity { cluster, node: 1 });
}

/// The initiator drew another cluster id: those who were stamped before refuse, and say what to do.
#[tokio::test]
async fn an_initiator_that_lost_its_disk_is_refused_by_those_it_had_won() {
    let addresses = addresses(2).await;
    let before = Identity { cluster: marked(ClusterId([9; 16]), &addresses), node: 2 };
    let first = Node::start(&addresses[0], &MemDisk::new(), false).await;
    let second = Node::start(&addresses[1], &stamped(before), false).await;
    let two = second.form(flags(&addresses));
    let error = failed(first.form(flags(&addresses))).await;
    assert!(matches!(error, BootstrapError::Refused { node: 2, .. }), "{error}");
    assert!(error.to_string().contains("empty the directory"), "{error}");
    assert_eq!(formed(two).await.identity, before);
}

/// Two lists that overlap: node b is first in its own list and second in a's.
#[tokio::test]
async fn two_attempts_stop_each_other_and_never_fork() {
    let addresses = addresses(3).await;
    let all = flags(&addresses);
    let some = flags(&addresses[1..]);
    let disks = [MemDisk::new(), MemDisk::new(), MemDisk::new()];
    let mut nodes = Vec::new();
    for (address, disk) in addresses.iter().zip(&disks) {
        nodes.push(Node::start(address, disk, false).await);
    }
    let (a, b, c) = (nodes[0].form(all.clone()), nodes[1].form(some), nodes[2].form(all));
    let outcomes = [timeout(PATIENCE, a).await, timeout(PATIENCE, b).await];
    c.abort();
    let clusters: Vec<BTreeSet<String>> = outcomes
        .into_iter()
        .filter_map(|outcome| outcome.unwrap().unwrap().ok()?.first_members)
        .map(|members| members.into_values().map(|member| member.peer_addr).collect())
        .collect();
    assert!(clusters.len() <= 1, "both were formed: {clusters:?}");
}

#[tokio::test]
async fn flags_that_differ_are_named_on_both_sides() {
    let addresses = addresses(3).await;
    let first = Node::start(&addresses[0], &MemDisk::new(), false).await;
    let second = Node::start(&addresses[1], &MemDisk::new(), false).await;
    let _two = second.form(flags(&addresses));
    until("the second node knows its flags", || second.door.expects().is_some()).await;
    let error = failed(first.form(flags(&addresses[..2]))).await;
    let words = error.to_string();
    assert!(words.contains("use the same flags") && words.contains(&addresses[2]), "{words}");
}

#[tokio::test]
async fn flags_that_changed_while_a_cluster_was_formed_are_refused() {
    let addresses = addresses(3).await;
    let cluster = marked(ClusterId([9; 16]), &addresses[..2]);
    let disk = stamped(Identity { cluster, node: 1 });
    let node = Node::start(&addresses[0], &disk, false).await;
    let error = failed(node.form(flags(&addresses))).await;
    assert!(matches!(error, BootstrapError::FlagsChanged { cluster: c } if c == cluster));
}

#[tokio::test]
async fn flags_that_contradict_themselves_are_refused_before_anything_happens() {
    let addresses = addresses(3).await;
    let node = Node::start(&addresses[0], &MemDisk::new(), false).await;
    let cases = [
        (Flags { expect: 2, join: addresses.clone() }, "names 3 different addresses"),
        (Flags { expect: 2, join: addresses[1..].to_vec() }, "does not name this node's own"),
        (Flags { expect: 101, join: vec![] }, "at most 100"),
        (Flags { expect: 3, join: vec![] }, "names 0 different addresses"),
    ];
    for (flags, words) in cases {
        let error = failed(node.form(flags)).await;
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    assert_eq!(node.door.identity(), None);
}

/// The initiator's log is gone though its cluster runs: it must not initialise a second time.
#[tokio::test]
async fn an_initiator_whose_log_is_lost_does_not_form_its_cluster_again() {
    let addresses = addresses(2).await;
    let cluster = marked(ClusterId([9; 16]), &addresses);
    let second = Node::start(&addresses[1], &stamped(Identity { cluster, node: 2 }), true).await;
    second.run(&[(1, addresses[0].clone()), (2, addresses[1].clone())]);
    let first = Node::start(&addresses[0], &stamped(Identity { cluster, node: 1 }), false).await;
    let error = failed(first.form(flags(&addresses))).await;
    assert!(matches!(error, BootstrapError::LostLog { .. }), "{error}");
}

/// The disk stops after so many calls, of the initiator or of one that it offers a place; then the
/// power fails. Whatever was on the disk by then, the next start ends with one cluster.
#[tokio::test]
async fn a_crash_at_any_call_to_the_disk_leaves_an_attempt_that_goes_on() {
    for crashing in [0, 1] {
        let (mut interrupted, mut unharmed) = (0, 0);
        for calls in 0..12 {
            let addresses = addresses(2).await;
            let disks = [MemDisk::new(), MemDisk::new()];
            // Empty directories that were opened before.
            disks.iter().for_each(|disk| drop(open(disk)));
            let first = Node::start(&addresses[0], &disks[0], false).await;
            let second = Node::start(&addresses[1], &disks[1], false).await;
            disks[crashing].stop_after(calls);
            let (one, two) = (first.form(flags(&addresses)), second.form(flags(&addresses)));
            // The initiator always comes to an end: formed, refused, or unable to stamp.
            let outcome = timeout(PATIENCE, one).await.unwrap().unwrap();
            first.crash(None).await;
            second.crash(Some(two)).await;
            disks.iter().for_each(|disk| disk.crash(jeton_storage::disk::Loss::Unsynced));
            let before = stamp_of(&disks[0]);
            *(if outcome.is_ok() { &mut unharmed } else { &mut interrupted }) += 1;
            if outcome.is_ok() {
                let stamps = [before, stamp_of(&disks[1])].map(|stamp| stamp.unwrap().cluster);
                assert_eq!(stamps[0], stamps[1], "formed without the stamps of all");
            }

            let first = Node::start(&addresses[0], &disks[0], false).await;
            let second = Node::start(&addresses[1], &disks[1], false).await;
            let (one, two) = (first.form(flags(&addresses)), second.form(flags(&addresses)));
            let (one, two) = (formed(one).await, formed(two).await);
            assert!(one.first_members.is_some() && two.first_members.is_none());
            assert_eq!(one.identity.cluster, two.identity.cluster);
            if let Some(before) = before {
                assert_eq!(one.identity, before, "a stamp was taken back");
            }
        }
        assert!(interrupted > 1 && unharmed > 1, "{interrupted} interrupted, {unharmed} not");
    }
}

/// The port is open before the flags are known: such a node is asked again, not given up.
#[tokio::test]
async fn a_node_that_has_only_just_started_is_asked_again() {
    let addresses = addresses(2).await;
    let first = Node::start(&addresses[0], &MemDisk::new(), false).await;
    let second = Node::start(&addresses[1], &MemDisk::new(), false).await;
    let one = first.form(flags(&addresses));
    until("the initiator offers", || first.door.identity().is_some()).await;
    let two = second.form(flags(&addresses));
    assert!(formed(one).await.first_members.is_some());
    assert_eq!(formed(two).await.identity.node, 2);
}
