//! What a repetition keeps, and what it changes.

use std::time::Duration;

use bytes::Bytes;
use jeton_client::{Consistency, Cut, FamilyId, NewFamily, RotateContext, Rotation};
use jeton_wire::failure::reason;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use tonic::Code;

use super::node::{Act, FakeNode, failure, issued, rotated, rotation, token};

/// Far beyond what any of this takes.
const SOON: Duration = Duration::from_secs(20);

/// Does `first` to the first operation, and lets `then` answer the others.
fn first_then(
    first: impl Fn() -> Act + Send + 'static,
    then: impl Fn(&v1::Operation) -> Response + Send + 'static,
) -> impl FnMut(&v1::Operation) -> Act + Send + 'static {
    let mut calls = 0;
    move |operation| {
        calls += 1;
        if calls == 1 { first() } else { Act::Answer(then(operation)) }
    }
}

fn name(operation: &v1::Operation) -> &v1::RequestName {
    rotation(operation).request.as_ref().unwrap()
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_under_the_same_name_with_the_same_successor() {
    let node = FakeNode::start(first_then(|| Act::Break, rotated)).await;
    let answer =
        node.acme().await.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap();
    let Rotation::Rotated(issued) = answer else { panic!("{answer:?}") };
    assert_eq!(issued.generation.0, 5);

    let sent = node.operations();
    assert_eq!(sent.len(), 2);
    assert_eq!(name(&sent[0]).id, name(&sent[1]).id);
    assert_eq!(rotation(&sent[0]).successor, rotation(&sent[1]).successor);
    assert_eq!(rotation(&sent[0]).token, rotation(&sent[1]).token);
}

#[tokio::test]
async fn age_grows_by_the_time_between_attempts_and_the_time_left_shrinks() {
    const PAUSE: Duration = Duration::from_millis(40);
    let busy = || {
        let failure = failure(Code::Unavailable, reason::NOT_PROPOSED);
        Act::Fail(failure.retry_after(PAUSE).not_executed())
    };
    let node = FakeNode::start(first_then(busy, rotated)).await;
    let acme = node.acme().await;
    acme.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap();

    let sent = node.operations();
    let pause_ms = PAUSE.as_millis() as u64;
    assert!(name(&sent[1]).age_ms >= name(&sent[0]).age_ms + pause_ms, "the pause is kept");
    assert!(sent[1].deadline_ms + pause_ms <= sent[0].deadline_ms);
    assert!(sent[0].deadline_ms <= 20_000 && sent[1].deadline_ms > 0);
}

#[tokio::test]
async fn a_family_is_created_once_however_often_it_is_sent() {
    let created = |_: &v1::Operation| {
        Response::CreateFamily(v1::CreateFamilyResponse {
            position: 4096,
            outcome: Some(v1::create_family_response::Outcome::Created(issued(0))),
            ..Default::default()
        })
    };
    let node = FakeNode::start(first_then(|| Act::Break, created)).await;
    let new = NewFamily::new("alice", "web")
        .family(FamilyId([3; 16]))
        .device("laptop")
        .attribute("region", "eu");
    let issued = node.acme().await.create_family(new, SOON).await.unwrap();
    assert_eq!((issued.generation.0, issued.position.0), (0, 4096));

    let requests: Vec<_> = node
        .operations()
        .into_iter()
        .map(|operation| match operation.request {
            Some(Request::CreateFamily(create)) => create,
            _ => panic!("not a creation"),
        })
        .collect();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].family_id, requests[1].family_id);
    assert_eq!(requests[0].family_id, Bytes::copy_from_slice(&issued.family.0));
    assert_eq!(requests[0].secret_digest, requests[1].secret_digest);
    let id = |create: &v1::CreateFamilyRequest| create.request.as_ref().unwrap().id.clone();
    assert_eq!(id(&requests[0]), id(&requests[1]));
    assert_eq!(requests[0].attributes["region"], "eu");
}

#[tokio::test]
async fn two_calls_have_two_names_and_two_successors() {
    let node = FakeNode::start(|operation| Act::Answer(rotated(operation))).await;
    let acme = node.acme().await;
    for _ in 0..2 {
        acme.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap();
    }
    let sent = node.operations();
    assert_ne!(name(&sent[0]).id, name(&sent[1]).id);
    let successor = |place: usize| rotation(&sent[place]).successor.clone().unwrap();
    assert_ne!(successor(0).secret_digest, successor(1).secret_digest);
    assert_ne!(successor(0).seal, successor(1).seal);
}

#[tokio::test]
async fn reads_and_revocations_are_repeated_too() {
    let mut calls = 0;
    let node = FakeNode::start(move |operation| {
        calls += 1;
        if calls % 2 == 1 {
            return Act::Fail(failure(Code::Unavailable, reason::OUTCOME_UNKNOWN));
        }
        Act::Answer(match &operation.request {
            Some(Request::RevokeWhere(_)) => {
                Response::RevokeWhere(v1::RevokeWhereResponse { position: 7, ..Default::default() })
            }
            Some(Request::RevokeFamily(_)) => Response::RevokeFamily(v1::RevokeFamilyResponse {
                position: 8,
                outcome: Some(v1::revoke_family_response::Outcome::Result(1)),
            }),
            Some(Request::GetFamily(_)) => Response::GetFamily(v1::GetFamilyResponse {
                read: Some(v1::ReadMark { position: 9, age_ms: Some(0) }),
                outcome: Some(v1::get_family_response::Outcome::Refusal(v1::Refusal {
                    code: v1::refusal::Code::NotFound.into(),
                    ..v1::Refusal::default()
                })),
            }),
            other => panic!("not asked for: {other:?}"),
        })
    })
    .await;
    let acme = node.acme().await;
    let position = acme.revoke_where(Cut::of_subject("alice"), SOON).await.unwrap();
    assert_eq!(position.0, 7);
    let revoked = acme.revoke_family(FamilyId([3; 16]), Some("stolen"), SOON).await.unwrap();
    assert_eq!(revoked.position.0, 8);
    let error = acme.get_family(FamilyId([3; 16]), Consistency::Linearizable, SOON).await;
    assert_eq!(error.unwrap_err().refusal(), Some(&jeton_client::Refusal::NotFound));
    assert_eq!(node.operations().len(), 6);
}

#[tokio::test]
async fn a_revocation_that_must_wait_for_room_comes_again_under_its_name() {
    let mut calls = 0;
    let node = FakeNode::start(move |_| {
        calls += 1;
        if calls < 3 {
            let pause = Duration::from_millis(20);
            let full = failure(Code::ResourceExhausted, reason::SWEEPS_PENDING);
            return Act::Fail(full.retry_after(pause).not_executed());
        }
        let made = v1::RevokeWhereResponse { position: 7, ..Default::default() };
        Act::Answer(Response::RevokeWhere(made))
    })
    .await;
    let cut = Cut::of_whole_tenant().ip("10.0.0.0/8");
    let made = node.acme().await.revoke_where(cut, SOON).await.unwrap();
    assert_eq!(made.0, 7);
    let named = node.operations().into_iter().map(|operation| match operation.request {
        Some(Request::RevokeWhere(asked)) => asked.request.unwrap().id,
        other => panic!("not asked for: {other:?}"),
    });
    let names: Vec<_> = named.collect();
    assert_eq!(names, vec![names[0].clone(); 3]);
}
