//! Three servers: any of them takes any call.

use std::net::TcpListener;

use jeton_server::Config;
use jeton_wire::pb::v1;

use crate::rig::{Rig, config, rotated, soon};

/// Addresses that were free a moment ago. All are held until all are chosen, so they differ.
fn free_addresses(count: usize) -> Vec<String> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|l| l.local_addr().expect("its address").to_string()).collect()
}

async fn three() -> Vec<Rig> {
    three_with(|config| config).await
}

/// The same, each with its configuration changed.
pub async fn three_with(change: fn(Config) -> Config) -> Vec<Rig> {
    let peers = free_addresses(3);
    let starting: Vec<_> = peers
        .iter()
        .map(|own| {
            let dir = tempfile::tempdir().expect("a directory");
            let mut config = config(dir.path());
            config.peer_listen = own.parse().expect("an address");
            config.bootstrap_expect = 3;
            config.join = peers.clone();
            tokio::spawn(Rig::start_with(dir, change(config)))
        })
        .collect();
    let mut rigs = Vec::new();
    for start in starting {
        rigs.push(start.await.expect("it starts"));
    }
    rigs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_on_one_node_rotated_on_another_and_seen_on_the_third() {
    let rigs = three().await;
    let leader = rigs[0].status().await.leader_id;
    let mut followers = Vec::new();
    for rig in &rigs {
        if rig.status().await.node_id != leader {
            followers.push(rig);
        }
    }
    let (one, two) = (followers[0], followers[1]);
    // The second follower may not know tenant, key or family yet when it is asked: it must find
    // out.
    one.create_tenant().await;
    let first = two.family(1).await;
    let answer = one.tokens().rotate(soon(first.rotate(10))).await.expect("an answer");
    let second = first.next(&rotated(answer.into_inner()));
    for rig in &rigs {
        let seen = rig.tokens().validate(soon(second.validate())).await.expect("an answer");
        let outcome = seen.into_inner().outcome;
        assert!(matches!(outcome, Some(v1::validate_response::Outcome::Active(_))), "{outcome:?}");
        let again = rig.tokens().rotate(soon(first.rotate(10))).await.expect("an answer");
        let outcome = again.into_inner().outcome;
        let Some(v1::rotate_response::Outcome::Replayed(replayed)) = outcome else {
            panic!("not replayed: {outcome:?}")
        };
        assert_eq!(replayed.token.map(|t| t.mac), Some(second.token.mac.clone()));
    }
    for rig in rigs {
        rig.stop().await;
    }
}
