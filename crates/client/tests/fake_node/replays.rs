//! One successor for all who present the same token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jeton_client::{Client, Error, RotateContext, Rotation, SealError, SeededEntropy};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::rotate_response::Outcome;

use super::node::{Act, FakeNode, config, issued, rotate_response, rotated, rotation, token};

const SOON: Duration = Duration::from_secs(20);

/// A node that rotates each token once, and replays that from then on.
fn replaying() -> impl FnMut(&v1::Operation) -> Act + Send + 'static {
    let mut seals = HashMap::new();
    move |operation| {
        let rotate = rotation(operation);
        let generation = rotate.token.as_ref().unwrap().generation;
        let seal = rotate.successor.as_ref().unwrap().seal.clone();
        if let Some(seal) = seals.get(&generation) {
            let token = Some(issued(generation + 1));
            let replayed = v1::ReplayedToken { token, seal: bytes::Bytes::clone(seal) };
            return Act::Answer(rotate_response(Outcome::Replayed(replayed)));
        }
        seals.insert(generation, seal);
        Act::Answer(rotated(operation))
    }
}

#[tokio::test]
async fn all_callers_get_the_identical_successor_and_one_rotated() {
    let node = FakeNode::start(replaying()).await;
    // Clients that share nothing, least of all their randomness.
    let stranger = config([&node]).entropy(Arc::new(SeededEntropy::new(2)));
    let stranger = Client::connect(stranger).await.unwrap();
    let tenants = [node.acme().await, stranger.tenant("acme").unwrap()];
    let token = token(4);
    let calls = (0..20).map(|place| {
        let acme = &tenants[place % 2];
        acme.rotate(&token, RotateContext::new("web"), SOON)
    });
    let answers = futures::future::try_join_all(calls).await.unwrap();

    let mut rotated = 0;
    let mut successors = Vec::new();
    for answer in answers {
        match answer {
            Rotation::Rotated(issued) => {
                rotated += 1;
                successors.push(issued.token);
            }
            Rotation::Replayed(issued) => successors.push(issued.token),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rotated, 1);
    assert_eq!(successors.len(), 20);
    assert!(successors.iter().all(|successor| *successor == successors[0]));
    assert_ne!(successors[0], token);
}

#[tokio::test]
async fn a_replay_of_this_calls_own_rotation_is_its_rotation() {
    let mut replay = replaying();
    let mut calls = 0;
    let node = FakeNode::start(move |operation| {
        calls += 1;
        let act = replay(operation);
        // It rotates, but the answer is lost.
        if calls == 1 { Act::Break } else { act }
    })
    .await;
    let acme = node.acme().await;
    let mine = acme.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap();
    let Rotation::Rotated(mine) = mine else { panic!("{mine:?}") };
    let other = acme.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap();
    let Rotation::Replayed(other) = other else { panic!("{other:?}") };
    assert_eq!(mine.token, other.token);
}

#[tokio::test]
async fn a_seal_of_another_client_or_a_broken_one_is_an_error_with_words() {
    let node = FakeNode::start(replaying()).await;
    let acme = node.acme().await;
    acme.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap();
    let error = acme.rotate(&token(4), RotateContext::new("app"), SOON).await.unwrap_err();
    assert_eq!(error, Error::Seal(SealError::Authentication));

    let node = FakeNode::start(|operation| {
        let generation = rotation(operation).token.as_ref().unwrap().generation;
        let seal = bytes::Bytes::from_static(b"\x01short");
        let replayed = v1::ReplayedToken { token: Some(issued(generation + 1)), seal };
        Act::Answer(rotate_response(Outcome::Replayed(replayed)))
    })
    .await;
    let error =
        node.acme().await.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap_err();
    assert_eq!(error, Error::Seal(SealError::Length { len: 6 }));
}
