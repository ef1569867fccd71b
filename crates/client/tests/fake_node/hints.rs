//! Failures that say where the leader is.

use std::net::SocketAddr;
use std::time::Duration;

use jeton_client::{Client, Config, Error, Reach, RotateContext, Rotation};
use jeton_wire::failure::reason;
use tonic::Code;

use super::node::{Act, FakeNode, config, failure, port, rotated, rotation, token};

const SOON: Duration = Duration::from_secs(20);
/// A pause that nobody waits for: what is asked for again all the same was not paused for.
const FOR_EVER: Duration = Duration::from_secs(3_600);

async fn leader() -> FakeNode {
    FakeNode::start(|operation| Act::Answer(rotated(operation))).await
}

/// A node that proposes nothing, asks for a long pause, and says that the leader is elsewhere.
async fn follower_of(leader: impl ToString) -> FakeNode {
    let leader = leader.to_string();
    FakeNode::start(move |_| {
        let failure = failure(Code::Unavailable, reason::NOT_PROPOSED).not_executed();
        Act::Fail(failure.retry_after(FOR_EVER).leader(Some(leader.clone())))
    })
    .await
}

/// An address at which nobody listens.
fn dead() -> SocketAddr {
    port().local_addr().unwrap()
}

async fn rotate(client: &Client) -> Result<Rotation, Error> {
    let acme = client.tenant("acme").unwrap();
    acme.rotate(&token(4), RotateContext::new("web"), SOON).await
}

/// A client whose first attempt goes to `first`; it is configured with `others`, too.
async fn beginning_at(first: &FakeNode, others: &[&FakeNode]) -> Client {
    // Which endpoint is tried first is drawn from the seed.
    for seed in 0..64 {
        let config = config([first].into_iter().chain(others.iter().copied()))
            .entropy(std::sync::Arc::new(jeton_client::SeededEntropy::new(seed)));
        let client = Client::connect(config).await.unwrap();
        if client.admin().status(SOON).await.is_ok() && first.admin.asked() > 0 {
            return client;
        }
    }
    panic!("no seed begins at the first endpoint");
}

#[tokio::test]
async fn the_next_attempt_goes_to_the_leader_at_once_under_the_same_name() {
    let leader = leader().await;
    let follower = follower_of(leader.address).await;
    let client = beginning_at(&follower, &[&leader]).await;
    assert!(matches!(rotate(&client).await, Ok(Rotation::Rotated(_))));

    let (first, second) = (follower.operations(), leader.operations());
    assert_eq!((first.len(), second.len()), (1, 1));
    let (first, second) = (rotation(&first[0]), rotation(&second[0]));
    let name = |rotate: &jeton_wire::pb::v1::RotateRequest| rotate.request.clone().unwrap();
    assert_eq!(name(first).id, name(second).id);
    assert!(name(second).age_ms >= name(first).age_ms);
    assert_eq!(first.successor, second.successor);
}

#[tokio::test]
async fn a_leader_that_the_status_names_is_gone_to_though_nobody_configured_it() {
    let leader = leader().await;
    let follower = follower_of(leader.address).await;
    follower.admin.names_leader(&leader);
    let client = follower.client().await;
    assert!(matches!(rotate(&client).await, Ok(Rotation::Rotated(_))));
    assert_eq!((follower.operations().len(), leader.operations().len()), (1, 1));
    assert_eq!(follower.admin.asked(), 1);
}

#[tokio::test]
async fn a_foreign_address_is_not_gone_to() {
    let (foreign, member) = (leader().await, leader().await);
    let follower = follower_of(foreign.address).await;
    follower.admin.names_leader(&member);
    let error = rotate(&follower.client().await).await.unwrap_err();
    assert!(!error.outcome_unknown(), "{error}");
    assert_eq!(follower.admin.asked(), 1, "nobody vouches for it");
    assert!(foreign.operations().is_empty());
}

#[tokio::test]
async fn a_member_is_not_gone_to_either_if_only_configured_addresses_may_be() {
    let leader = leader().await;
    let follower = follower_of(leader.address).await;
    follower.admin.names_leader(&leader);
    let config = config([&follower]).reach(Reach::Configured);
    let client = Client::connect(config).await.unwrap();
    let error = rotate(&client).await.unwrap_err();
    assert!(!error.outcome_unknown(), "{error}");
    assert_eq!(follower.admin.asked(), 0);
    assert!(leader.operations().is_empty());
}

#[tokio::test]
async fn what_is_no_address_and_the_node_s_own_are_passed_over() {
    for named in ["", "nonsense", "https://10.0.0.1:7401", "10.0.0.1"] {
        let follower = follower_of(named).await;
        rotate(&follower.client().await).await.unwrap_err();
        assert_eq!(follower.operations().len(), 1, "{named}");
        assert_eq!(follower.admin.asked(), 0, "{named}");
    }
    let itself = FakeNode::start_with(|own, _| {
        let failure = failure(Code::Unavailable, reason::NOT_PROPOSED).not_executed();
        Act::Fail(failure.retry_after(FOR_EVER).leader(Some(own.to_string())))
    })
    .await;
    rotate(&itself.client().await).await.unwrap_err();
    assert_eq!(itself.operations().len(), 1, "its pause is kept");
}

#[tokio::test]
async fn two_nodes_that_name_each_other_are_not_asked_in_a_loop() {
    let port = port();
    let there = port.local_addr().unwrap();
    let one = follower_of(there).await;
    let back = one.address.to_string();
    let other = FakeNode::listening(port, move |_| {
        let failure = failure(Code::Unavailable, reason::NOT_PROPOSED).not_executed();
        Act::Fail(failure.retry_after(FOR_EVER).leader(Some(back.clone())))
    })
    .await;
    let client = beginning_at(&one, &[&other]).await;
    let error = rotate(&client).await.unwrap_err();
    let Error::DeadlineExceeded { attempts, outcome_unknown, .. } = error else {
        panic!("{error}")
    };
    // The second hop keeps the pause that was asked for, which is longer than there is time.
    assert_eq!((attempts, outcome_unknown), (2, false));
    assert_eq!((one.operations().len(), other.operations().len()), (1, 1));
}

#[tokio::test]
async fn a_third_node_is_found_behind_two_that_name_each_other() {
    let ports = [port(), port()];
    let there = ports.each_ref().map(|port| port.local_addr().unwrap());
    let mut nodes = Vec::new();
    for (port, other) in ports.into_iter().zip([there[1], there[0]]) {
        let script = move |_: &_| {
            let failure = failure(Code::Unavailable, reason::NOT_PROPOSED).not_executed();
            Act::Fail(failure.leader(Some(other.to_string())))
        };
        nodes.push(FakeNode::listening(port, script).await);
    }
    let good = leader().await;
    let client = beginning_at(&nodes[0], &[&nodes[1], &good]).await;
    assert!(matches!(rotate(&client).await, Ok(Rotation::Rotated(_))));
    let asked = nodes[0].operations().len() + nodes[1].operations().len();
    // One attempt, three hops, and each once more at most when the endpoints are tried in turn.
    assert!((4..=6).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_costs_nothing_but_the_try() {
    let dead = dead();
    let mut calls = 0;
    let follower = FakeNode::start(move |operation| {
        calls += 1;
        if calls % 2 == 0 {
            return Act::Answer(rotated(operation));
        }
        let failure = failure(Code::Unavailable, reason::NOT_PROPOSED).not_executed();
        Act::Fail(failure.leader(Some(dead.to_string())))
    })
    .await;
    let endpoints = [follower.address.to_string(), dead.to_string()];
    let client = Client::connect(Config::new(endpoints)).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(rotate(&client).await, Ok(Rotation::Rotated(_))));
    }
    assert_eq!(follower.operations().len(), 4);
}

#[tokio::test]
async fn a_change_of_members_finds_the_leader_and_the_next_one_goes_there() {
    let (follower, leader) = (leader().await, leader().await);
    follower.admin.follows(leader.address);
    follower.admin.names_leader(&leader);
    let admin = follower.client().await.admin();
    for _ in 0..3 {
        assert_eq!(admin.add_member("10.0.0.4:7402", false, SOON).await, Ok(4));
    }
    assert_eq!((follower.admin.changes(), leader.admin.changes()), (1, 3));
    admin.status(SOON).await.unwrap();
    assert_eq!((follower.admin.asked(), leader.admin.asked()), (2, 0), "others stay");
}

#[tokio::test]
async fn a_hint_that_has_expired_is_not_used() {
    let (follower, leader) = (leader().await, leader().await);
    follower.admin.follows(leader.address);
    follower.admin.names_leader(&leader);
    let config = config([&follower]).hint_lifetime(Duration::ZERO);
    let admin = Client::connect(config).await.unwrap().admin();
    for _ in 0..3 {
        assert_eq!(admin.add_member("10.0.0.4:7402", false, SOON).await, Ok(4));
    }
    assert_eq!((follower.admin.changes(), leader.admin.changes()), (3, 3));
}

#[tokio::test]
async fn a_leader_that_stepped_down_is_not_gone_to_for_ever() {
    let (follower, former, new) = (leader().await, leader().await, leader().await);
    follower.admin.follows(former.address);
    let client = beginning_at(&follower, &[&former, &new]).await;
    let admin = client.admin();
    assert_eq!(admin.add_member("10.0.0.4:7402", false, SOON).await, Ok(4));
    former.admin.follows(new.address);
    for _ in 0..2 {
        assert_eq!(admin.add_member("10.0.0.5:7402", false, SOON).await, Ok(4));
    }
    assert_eq!(follower.admin.changes(), 1, "the former leader is asked, then the new one");
    assert_eq!((former.admin.changes(), new.admin.changes()), (2, 2));
}

#[tokio::test]
async fn who_prefers_the_leader_stays_where_a_failure_pointed() {
    let leader = leader().await;
    let follower = follower_of(leader.address).await;
    let endpoints = config([&follower]).prefer_leader(true);
    follower.admin.names_leader(&leader);
    let client = Client::connect(endpoints).await.unwrap();
    for _ in 0..4 {
        assert!(matches!(rotate(&client).await, Ok(Rotation::Rotated(_))));
    }
    assert!(follower.operations().len() <= 1, "the scout may have been there first");
    assert_eq!(leader.operations().len(), 4);
}
