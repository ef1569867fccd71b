//! What is outstanding at once travels together.

use std::time::Duration;

use futures::future::{join_all, select};
use jeton_client::{FamilyId, NewFamily, RotateContext, Rotation};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation_result::Response;

use super::node::{Act, FakeNode, issued, rotated, token};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_hundred_concurrent_rotations_share_a_few_messages() {
    let node = FakeNode::start(|operation| Act::Answer(rotated(operation))).await;
    let acme = node.acme().await;
    // Tasks of their own, as a server's handlers are.
    let calls = (0..100).map(|generation| {
        let acme = acme.clone();
        tokio::spawn(async move {
            acme.rotate(&token(generation), RotateContext::new("web"), SOON).await
        })
    });
    for (generation, answer) in join_all(calls).await.into_iter().enumerate() {
        let Rotation::Rotated(issued) = answer.unwrap().unwrap() else { panic!("not rotated") };
        assert_eq!(issued.generation.0, generation as u64 + 1, "answers find their callers");
    }
    let messages = node.messages();
    assert_eq!(messages.iter().sum::<usize>(), 100);
    assert!(messages.len() <= 3, "{messages:?}");
}

#[tokio::test]
async fn a_message_holds_at_most_what_a_node_takes() {
    let node = FakeNode::start(|operation| Act::Answer(rotated(operation))).await;
    let acme = node.acme().await;
    let token = token(4);
    let calls = (0..1_500).map(|_| acme.rotate(&token, RotateContext::new("web"), SOON));
    join_all(calls).await.into_iter().for_each(|answer| {
        answer.unwrap();
    });
    let messages = node.messages();
    assert_eq!(messages.iter().sum::<usize>(), 1_500);
    assert!(messages.iter().all(|operations| *operations <= 1_024), "{messages:?}");
}

#[tokio::test]
async fn large_payloads_are_spread_over_messages() {
    let node = FakeNode::start(|_| {
        Act::Answer(Response::CreateFamily(v1::CreateFamilyResponse {
            position: 1,
            outcome: Some(v1::create_family_response::Outcome::Created(issued(0))),
            ..Default::default()
        }))
    })
    .await;
    let acme = node.acme().await;
    let payload = bytes::Bytes::from(vec![7; 64 * 1024]);
    let calls = (0..64).map(|_| {
        acme.create_family(
            NewFamily::new("alice", "web").family(FamilyId([3; 16])).payload(payload.clone()),
            SOON,
        )
    });
    join_all(calls).await.into_iter().for_each(|answer| {
        answer.unwrap();
    });
    assert!(node.messages().iter().all(|operations| *operations <= 17), "a megabyte and one more");
}

#[tokio::test]
async fn many_attributes_are_spread_over_messages_too() {
    let node = FakeNode::start(|_| {
        Act::Answer(Response::CreateFamily(v1::CreateFamilyResponse {
            position: 1,
            outcome: Some(v1::create_family_response::Outcome::Created(issued(0))),
            ..Default::default()
        }))
    })
    .await;
    let acme = node.acme().await;
    let value = "v".repeat(256);
    let new = (0..16)
        .fold(NewFamily::new("alice", "web").family(FamilyId([3; 16])), |new, place| {
            new.attribute(&format!("{place:064}"), &value)
        });
    // Together more than any node takes in one message.
    let calls = (0..1_000).map(|_| acme.create_family(new.clone(), SOON));
    join_all(calls).await.into_iter().for_each(|answer| {
        answer.unwrap();
    });
    assert!(node.messages().len() >= 5);
}

#[tokio::test]
async fn a_call_that_is_given_up_disturbs_no_other() {
    // Answers come in pairs, so the first call's answer comes after its caller has gone.
    let mut calls = 0;
    let node = FakeNode::start(move |operation| {
        calls += 1;
        if calls == 1 { Act::Swallow } else { Act::Answer(rotated(operation)) }
    })
    .await;
    let acme = node.acme().await;
    let (given_up, kept) = (token(1), token(2));
    let first = Box::pin(acme.rotate(&given_up, RotateContext::new("web"), SOON));
    let second = Box::pin(acme.rotate(&kept, RotateContext::new("web"), SOON));
    let futures::future::Either::Right((answer, first)) = select(first, second).await else {
        panic!("the first is never answered")
    };
    drop(first);
    assert!(matches!(answer.unwrap(), Rotation::Rotated(_)));
    let third = acme.rotate(&token(3), RotateContext::new("web"), SOON).await.unwrap();
    assert!(matches!(third, Rotation::Rotated(_)));
    assert_eq!(node.operations().len(), 3);
}
