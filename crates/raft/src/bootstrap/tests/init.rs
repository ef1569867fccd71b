//! A cluster that an operator begins: all nodes wait, and one is told to.

use jeton_storage::disk::Loss;

use super::*;
use crate::bootstrap::{InitError, Phase};

type Forming = JoinHandle<Result<Formed, BootstrapError>>;

/// A node that forms nothing by itself, and does not even know the others.
async fn waiting(address: &str, disk: &MemDisk) -> (Node, Arc<Lobby>, Forming) {
    let node = Node::start(address, disk, false).await;
    let (lobby, forming) = node.form_told(Flags::default());
    (node, lobby, forming)
}

/// Gives the order, in the background.
fn order(
    lobby: &Arc<Lobby>,
    members: &[String],
    patience: Duration,
) -> JoinHandle<Result<ClusterId, InitError>> {
    let (lobby, members) = (lobby.clone(), members.to_vec());
    tokio::spawn(async move { lobby.init(&members, Instant::now() + patience).await })
}

async fn refused(told: JoinHandle<Result<ClusterId, InitError>>) -> String {
    match timeout(PATIENCE, told).await.unwrap().unwrap() {
        Err(InitError::Refused(words)) => words,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn whoever_is_told_forms_the_cluster_and_each_has_its_place() {
    for told in 0..3 {
        let addresses = addresses(3).await;
        let disks = [MemDisk::new(), MemDisk::new(), MemDisk::new()];
        let (mut nodes, mut lobbies, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (address, disk) in addresses.iter().zip(&disks) {
            let (node, lobby, forming) = waiting(address, disk).await;
            nodes.push(node);
            lobbies.push(lobby);
            all.push(forming);
        }
        let call = order(&lobbies[told], &addresses, PATIENCE);
        let mut clusters = std::collections::BTreeSet::new();
        for (place, forming) in all.into_iter().enumerate() {
            let formed = formed(forming).await;
            assert_eq!(formed.identity.node, place as NodeId + 1);
            clusters.insert(formed.identity.cluster);
            let members = formed.first_members.map(|members| {
                members.into_iter().map(|(id, m)| (id, m.peer_addr)).collect::<Vec<_>>()
            });
            let listed = (1..).zip(addresses.clone()).collect::<Vec<_>>();
            assert_eq!(members, (place == told).then_some(listed));
        }
        assert_eq!(clusters.len(), 1);
        let cluster = *clusters.first().unwrap();
        lobbies[told].change(|scene| scene.phase = Phase::Started(cluster));
        assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap().unwrap(), cluster);
    }
}

#[tokio::test]
async fn nothing_is_written_while_a_member_is_missing_and_the_order_is_off_after_its_deadline() {
    let addresses = addresses(2).await;
    let disk = MemDisk::new();
    let (node, lobby, forming) = waiting(&addresses[0], &disk).await;
    let call = order(&lobby, &addresses, Duration::from_secs(3));
    let Err(InitError::DeadlineExceeded(words)) = timeout(PATIENCE, call).await.unwrap().unwrap()
    else {
        panic!("it went on without a member")
    };
    assert!(words.contains(&format!("no answer from {}", addresses[1])), "{words}");
    assert_eq!(lobby.ordered(), None);
    // With other members, as if nothing had been said.
    let alone = order(&lobby, &addresses[..1], PATIENCE);
    assert_eq!(formed(forming).await.first_members.unwrap().len(), 1);
    alone.abort();
    node.crash(None).await;
    assert!(stamp_of(&disk).is_some());
}

#[tokio::test]
async fn lists_that_are_none_are_refused_with_words() {
    let addresses = addresses(2).await;
    let (_node, lobby, _forming) = waiting(&addresses[0], &MemDisk::new()).await;
    let many: Vec<String> = (0..101).map(|port| format!("127.0.0.1:{port}")).collect();
    for (list, words) in [
        (&addresses[1..], "is not among the members"),
        (&many[..], "at most 100"),
        (&["nowhere".to_owned()][..], "not host:port"),
    ] {
        let told = lobby.init(list, Instant::now() + PATIENCE).await;
        let Err(InitError::Members(found)) = told else { panic!("{told:?}") };
        assert!(found.contains(words), "{found}");
    }
    assert_eq!(lobby.ordered(), None);
}

#[tokio::test]
async fn a_node_that_forms_its_cluster_by_itself_takes_no_orders() {
    let addresses = addresses(2).await;
    let node = Node::start(&addresses[0], &MemDisk::new(), false).await;
    let (lobby, _forming) = node.form_told(flags(&addresses));
    let words = refused(order(&lobby, &addresses, PATIENCE)).await;
    assert!(words.contains("--bootstrap-expect 2"), "{words}");
}

/// Whatever is written when the power fails, the node goes on by itself or can be told again; and
/// with other members it is refused once it is stamped.
#[tokio::test]
async fn a_crash_at_any_call_to_the_disk_leaves_an_order_that_goes_on_or_never_was() {
    let (mut went_on, mut told_again) = (0, 0);
    for calls in 0..16 {
        let addresses = addresses(2).await;
        let disks = [MemDisk::new(), MemDisk::new()];
        disks.iter().for_each(|disk| drop(open(disk)));
        let (first, lobby, one) = waiting(&addresses[0], &disks[0]).await;
        let (second, _, two) = waiting(&addresses[1], &disks[1]).await;
        disks[0].stop_after(calls);
        let call = order(&lobby, &addresses, PATIENCE);
        // Formed, or unable to write.
        let _ = timeout(PATIENCE, one).await.unwrap().unwrap();
        call.abort();
        let _ = call.await;
        first.crash(None).await;
        second.crash(Some(two)).await;
        disks.iter().for_each(|disk| disk.crash(Loss::Unsynced));
        let before = stamp_of(&disks[0]);

        let (first, lobby, one) = waiting(&addresses[0], &disks[0]).await;
        let (second, _, two) = waiting(&addresses[1], &disks[1]).await;
        let call = match before {
            Some(_) => {
                went_on += 1;
                until("it goes on", || lobby.scene().forming.is_some()).await;
                let words = refused(order(&lobby, &addresses[..1], PATIENCE)).await;
                assert!(words.contains("with the same members"), "{words}");
                None
            }
            None => {
                told_again += 1;
                Some(order(&lobby, &addresses, PATIENCE))
            }
        };
        let (one, two) = (formed(one).await, formed(two).await);
        assert!(one.first_members.is_some() && two.first_members.is_none());
        assert_eq!(one.identity.cluster, two.identity.cluster);
        assert!(before.is_none_or(|before| before == one.identity), "a stamp was taken back");
        call.inspect(|call| call.abort());
        drop((first, second));
    }
    assert!(went_on > 1 && told_again > 1, "{went_on} went on, {told_again} were told again");
}

/// Both are told at once to form one cluster of all three.
#[tokio::test]
async fn two_orders_at_once_stop_each_other_or_one_wins_and_they_never_fork() {
    for _ in 0..4 {
        let addresses = addresses(3).await;
        let disks = [MemDisk::new(), MemDisk::new(), MemDisk::new()];
        let (one, first, mut forming_first) = waiting(&addresses[0], &disks[0]).await;
        let (two, second, mut forming_second) = waiting(&addresses[1], &disks[1]).await;
        let (three, _, third) = waiting(&addresses[2], &disks[2]).await;
        let calls = [order(&first, &addresses, PATIENCE), order(&second, &addresses, PATIENCE)];
        let said = |lobby: &Arc<Lobby>| lobby.scene().refusal;
        // One of them wins, or both have said why they don't.
        let deadline = Instant::now() + PATIENCE;
        while !(forming_first.is_finished() || forming_second.is_finished())
            && (said(&first).is_none() || said(&second).is_none())
        {
            assert!(Instant::now() < deadline, "nobody wins, and nobody says why");
            tokio::task::yield_now().await;
        }
        let mut initiators = 0;
        for forming in [&mut forming_first, &mut forming_second] {
            if forming.is_finished() {
                let formed = forming.await.unwrap().unwrap();
                initiators += usize::from(formed.first_members.is_some());
            } else {
                forming.abort();
            }
        }
        assert!(initiators <= 1, "both formed a cluster");
        calls.iter().for_each(|call| call.abort());
        third.abort();
        drop((one, two, three));
    }
}

#[tokio::test]
async fn a_member_of_another_cluster_is_named_and_nothing_is_written() {
    let addresses = addresses(2).await;
    let other = Identity { cluster: ClusterId([5; 16]), node: 7 };
    let second = Node::start(&addresses[1], &stamped(other), false).await;
    let disk = MemDisk::new();
    let (node, lobby, forming) = waiting(&addresses[0], &disk).await;
    let words = refused(order(&lobby, &addresses, PATIENCE)).await;
    assert!(words.contains(&addresses[1]) && words.contains("node 7"), "{words}");
    node.crash(Some(forming)).await;
    assert_eq!(stamp_of(&disk), None);
    drop(second);
}

#[tokio::test]
async fn a_list_with_a_wrong_node_in_it_does_not_spoil_the_right_one() {
    let addresses = addresses(3).await;
    let other = Identity { cluster: ClusterId([5; 16]), node: 7 };
    let foreign = Node::start(&addresses[2], &stamped(other), true).await;
    let (first_disk, second_disk) = (MemDisk::new(), MemDisk::new());
    let (_first, lobby, forming) = waiting(&addresses[0], &first_disk).await;
    let (_second, _, joining) = waiting(&addresses[1], &second_disk).await;
    let wrong = [addresses[0].clone(), addresses[2].clone()];
    let words = refused(order(&lobby, &wrong, PATIENCE)).await;
    assert!(words.contains(&addresses[2]) && words.contains("node 7"), "{words}");
    assert_eq!(lobby.scene().identity, None);

    let right = order(&lobby, &addresses[..2], PATIENCE);
    assert_eq!(formed(forming).await.first_members.expect("it forms the cluster").len(), 2);
    assert_eq!(formed(joining).await.identity.node, 2);
    assert_eq!(lobby.scene().refusal, None);
    right.abort();
    drop(foreign);
}

#[tokio::test]
async fn a_call_that_finds_the_node_recovering_does_not_say_that_it_formed_the_cluster() {
    let lobby = Lobby::new("a:1".to_owned(), Flags::default());
    lobby.change(|scene| scene.phase = Phase::Recovering);
    let call = order(&lobby, &[], PATIENCE);
    until("it waits", || lobby.ordered().is_some()).await;
    lobby.change(|scene| scene.phase = Phase::Started(ClusterId([5; 16])));
    let told = timeout(PATIENCE, call).await.unwrap().unwrap();
    assert!(matches!(told, Err(InitError::Started)), "{told:?}");
}
