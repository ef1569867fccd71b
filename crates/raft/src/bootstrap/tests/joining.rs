//! Nodes and clusters that exist already.

use super::*;
use crate::bootstrap::{
    FIRST_MEMBERS_MAX, JoinError, Offer, OfferRefused, Place, Purpose, node_id_at, offer_place,
};

const CLUSTER: ClusterId = ClusterId([5; 16]);

/// A member of a formed cluster that remembers these, and waits at `address`.
async fn formed_member(address: &str, members: &[(NodeId, String)]) -> Node {
    let disk = stamped(Identity { cluster: CLUSTER, node: members[0].0 });
    let node = Node::start(address, &disk, true).await;
    node.run(members);
    node
}

fn place(members: &[(NodeId, String)]) -> Place {
    Place {
        cluster: CLUSTER,
        leader_address: members[0].1.clone(),
        members: members.iter().map(|(id, address)| (*id, member(address))).collect(),
    }
}

async fn offer(place: &Place, address: &str, index: u64) -> Result<(NodeId, Member), JoinError> {
    let connector = Arc::new(TcpConnector);
    let fresh_id = || async move { Ok(node_id_at(index)) };
    timeout(PATIENCE, offer_place(connector, place, address, fresh_id)).await.unwrap()
}

#[tokio::test]
async fn an_empty_disk_at_a_remembered_address_is_refused_in_words() {
    let addresses = addresses(3).await;
    let members: Vec<_> = addresses.iter().cloned().enumerate().collect();
    let members: Vec<_> = members.into_iter().map(|(i, a)| (i as NodeId + 1, a)).collect();
    let _second = formed_member(&addresses[1], &members[1..]).await;
    _second.run(&members);
    // Whether it would be the initiator or not.
    for lost in [0, 2] {
        let disk = MemDisk::new();
        let node = Node::start(&addresses[lost], &disk, false).await;
        let error = failed(node.form(flags(&addresses))).await;
        let BootstrapError::Remembered { cluster, node: id, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((*cluster, *id), (CLUSTER, lost as NodeId + 1));
        assert!(error.to_string().contains("jeton cluster remove"), "{error}");
        node.crash(None).await;
        assert_eq!(stamp_of(&disk), None);
    }
}

/// The first address of the list was replaced: it must not form a second cluster, but wait.
#[tokio::test]
async fn a_node_that_finds_a_cluster_which_does_not_know_it_waits_to_be_added() {
    let addresses = addresses(3).await;
    let members = [(2, addresses[1].clone()), (3, addresses[2].clone())];
    let _second = formed_member(&addresses[1], &members).await;
    let _third = formed_member(&addresses[2], &members).await;
    let node = Node::start(&addresses[0], &MemDisk::new(), false).await;
    let forming = node.form(flags(&addresses));
    until("the cluster was seen", || node.door.foreign() == Some(CLUSTER)).await;
    assert_eq!(node.door.identity(), None);

    let (id, added) = offer(&place(&members), &addresses[0], 57).await.unwrap();
    assert_eq!((id, added), (FIRST_MEMBERS_MAX + 57, member(&addresses[0])));
    let formed = formed(forming).await;
    let identity = Identity { cluster: CLUSTER, node: id };
    assert_eq!(formed, Formed { identity, first_members: None });
}

/// Between the stamp and the membership: the same node gets the same id.
#[tokio::test]
async fn an_addition_that_was_interrupted_can_be_repeated() {
    let addresses = addresses(2).await;
    let mut members = vec![(2, addresses[0].clone())];
    let node = Node::start(&addresses[1], &MemDisk::new(), false).await;
    let (first, _) = offer(&place(&members), &addresses[1], 57).await.unwrap();
    let (again, _) = offer(&place(&members), &addresses[1], 58).await.unwrap();
    assert_eq!((first, again), (node_id_at(57), node_id_at(57)));
    members.push((first, addresses[1].clone()));
    let error = offer(&place(&members), &addresses[1], 59).await.unwrap_err();
    assert!(matches!(error, JoinError::AlreadyMember { node, .. } if node == first), "{error}");
    assert_eq!(node.door.identity(), Some(Identity { cluster: CLUSTER, node: first }));
}

#[tokio::test]
async fn nobody_gets_an_id_that_somebody_had() {
    let addresses = addresses(3).await;
    let members = [(2, addresses[0].clone()), (3, addresses[1].clone())];
    // Remembered, and its disk is empty now.
    let _lost = Node::start(&addresses[1], &MemDisk::new(), false).await;
    let error = offer(&place(&members), &addresses[1], 60).await.unwrap_err();
    assert!(matches!(error, JoinError::LostDisk { node: 3, .. }), "{error}");
    // Removed, and its disk is still there.
    let disk = stamped(Identity { cluster: CLUSTER, node: 4 });
    let _removed = Node::start(&addresses[2], &disk, true).await;
    let error = offer(&place(&members), &addresses[2], 60).await.unwrap_err();
    assert!(matches!(error, JoinError::WasMember { node: 4, .. }), "{error}");
}

#[tokio::test]
async fn a_node_of_another_cluster_is_not_added() {
    let addresses = addresses(2).await;
    let members = [(2, addresses[0].clone())];
    let other = ClusterId([6; 16]);
    let disk = stamped(Identity { cluster: other, node: 1 });
    let _node = Node::start(&addresses[1], &disk, false).await;
    let error = offer(&place(&members), &addresses[1], 60).await.unwrap_err();
    assert!(matches!(error, JoinError::OtherCluster { cluster, .. } if cluster == other));
}

#[tokio::test]
async fn a_node_is_added_under_the_address_that_it_advertises() {
    let addresses = addresses(2).await;
    let members = [(2, addresses[0].clone())];
    let _node = Node::start(&addresses[1], &MemDisk::new(), false).await;
    let alias = addresses[1].replace("127.0.0.1", "localhost");
    let error = offer(&place(&members), &alias, 60).await.unwrap_err();
    assert!(
        matches!(&error, JoinError::OtherAddress { advertised, .. }
        if *advertised == addresses[1]),
        "{error}"
    );
}

fn bootstrap_offer(addresses: &[String], node: NodeId, boot_id: u64) -> Offer {
    Offer {
        purpose: Purpose::Bootstrap { expected: addresses.to_vec() },
        identity: Identity { cluster: CLUSTER, node },
        caller: addresses[0].clone(),
        address: addresses[1].clone(),
        boot_id,
    }
}

/// An offer that was on its way when its receiver lost its disk must not stamp the new one.
#[tokio::test]
async fn an_offer_to_a_process_that_is_gone_is_refused() {
    let addresses = addresses(2).await;
    let node = Node::start(&addresses[1], &MemDisk::new(), false).await;
    let _forming = node.form(flags(&addresses));
    until("the node knows its flags", || node.door.expects().is_some()).await;
    let delayed = bootstrap_offer(&addresses, 2, node.door.visit().boot_id + 1_000_000);
    let refused = node.door.clone().offer(delayed).await.unwrap_err();
    assert!(matches!(refused, OfferRefused::Restarted), "{refused}");
    assert_eq!(node.door.identity(), None);
}

#[tokio::test]
async fn an_offer_from_anyone_but_the_first_address_or_for_another_place_is_refused() {
    let addresses = addresses(2).await;
    let node = Node::start(&addresses[1], &MemDisk::new(), false).await;
    let _forming = node.form(flags(&addresses));
    until("the node knows its flags", || node.door.expects().is_some()).await;
    let boot_id = node.door.visit().boot_id;
    let good = bootstrap_offer(&addresses, 2, boot_id);
    let stranger = Offer { caller: addresses[1].clone(), ..good.clone() };
    let refused = node.door.clone().offer(stranger).await.unwrap_err();
    assert!(matches!(refused, OfferRefused::NotInitiator(_)), "{refused}");
    let misplaced = bootstrap_offer(&addresses, 3, boot_id);
    let refused = node.door.clone().offer(misplaced).await.unwrap_err();
    assert!(matches!(refused, OfferRefused::WrongPlace(3)), "{refused}");
    node.door.see(ClusterId([6; 16]), "elsewhere");
    let refused = node.door.clone().offer(good).await.unwrap_err();
    assert!(matches!(refused, OfferRefused::ClusterExists { .. }), "{refused}");
    assert_eq!(node.door.identity(), None);
}

/// Accepted means durable: a disk that can't write gives no acceptance.
#[tokio::test]
async fn an_offer_that_can_not_be_made_durable_is_refused() {
    let addresses = addresses(2).await;
    let members = [(2, addresses[0].clone())];
    let disk = MemDisk::new();
    let node = Node::start(&addresses[1], &disk, false).await;
    disk.fail_syncs(true);
    let error = offer(&place(&members), &addresses[1], 60).await.unwrap_err();
    assert!(matches!(error, JoinError::Refused { .. }), "{error}");
    assert_eq!(node.door.identity(), None);
    // Repeated when the disk is well again.
    disk.fail_syncs(false);
    let (id, _) = offer(&place(&members), &addresses[1], 61).await.unwrap();
    node.crash(None).await;
    disk.crash(jeton_storage::disk::Loss::Unsynced);
    assert_eq!(stamp_of(&disk), Some(Identity { cluster: CLUSTER, node: id }));
}

/// A node without a leader may have been removed, and remember what is no longer so.
#[tokio::test]
async fn a_cluster_without_a_leader_is_waited_for() {
    let addresses = addresses(2).await;
    let members = vec![(1, addresses[0].clone()), (2, addresses[1].clone())];
    let disk = stamped(Identity { cluster: CLUSTER, node: 2 });
    let second = Node::start(&addresses[1], &disk, true).await;
    let leaderless = Known {
        members: members.iter().map(|(id, address)| (*id, member(address))).collect(),
        leader: None,
    };
    second.door.opened(Arc::new(move || leaderless.clone()));
    let node = Node::start(&addresses[0], &MemDisk::new(), false).await;
    let forming = node.form(flags(&addresses));
    until("the cluster was seen", || node.door.foreign() == Some(CLUSTER)).await;
    assert!(!forming.is_finished());
    assert_eq!(node.door.identity(), None);
    // With a leader it is believed.
    second.run(&members);
    assert!(matches!(failed(forming).await, BootstrapError::Remembered { node: 1, .. }));
}
