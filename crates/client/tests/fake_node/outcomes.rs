//! What callers are told when there is no answer.

use std::time::Duration;

use jeton_client::{Check, Client, Config, Cut, Error, Refusal, RotateContext, Rotation};
use jeton_wire::failure::reason;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::{Failure, Violation};
use tokio::net::TcpListener;
use tonic::Code;

use super::node::{Act, FakeNode, config, failure, rotate_response, rotated, token};

const SOON: Duration = Duration::from_secs(20);
/// For calls that are to end by their deadline.
const SHORT: Duration = Duration::from_millis(500);

async fn rotate(node: &FakeNode, deadline: Duration) -> Result<Rotation, Error> {
    node.acme().await.rotate(&token(4), RotateContext::new("web"), deadline).await
}

#[tokio::test]
async fn no_answer_to_a_mutation_is_an_unknown_outcome() {
    let node = FakeNode::start(|_| Act::Swallow).await;
    let error = rotate(&node, SHORT).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { outcome_unknown: true, .. }), "{error}");
    assert!(error.outcome_unknown());
    assert!(error.to_string().contains("unknown"));
}

#[tokio::test]
async fn no_answer_to_a_read_leaves_nothing_unknown() {
    let node = FakeNode::start(|_| Act::Swallow).await;
    let error = node.acme().await.validate(&token(4), Check::new(), SHORT).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { outcome_unknown: false, .. }), "{error}");
}

/// Fails the way `script` says by the number of the call, from 1 on.
async fn failing(script: impl Fn(u32) -> Act + Send + 'static) -> FakeNode {
    let mut calls = 0;
    FakeNode::start(move |_| {
        calls += 1;
        script(calls)
    })
    .await
}

fn not_executed() -> Failure {
    failure(Code::Unavailable, reason::NOT_PROPOSED).not_executed()
}

/// A pause that ends any call: nobody waits that long.
fn for_ever(failure: Failure) -> Act {
    Act::Fail(failure.retry_after(Duration::from_secs(3_600)))
}

#[tokio::test]
async fn what_was_never_executed_is_not_unknown_however_often_it_was_tried() {
    let node = failing(|call| match call {
        1..=3 => Act::Fail(not_executed()),
        _ => for_ever(not_executed()),
    })
    .await;
    let error = rotate(&node, SOON).await.unwrap_err();
    let Error::DeadlineExceeded { outcome_unknown, attempts, .. } = error else {
        panic!("{error}")
    };
    assert!(!outcome_unknown);
    assert_eq!(attempts, 4);
    assert_eq!(node.operations().len(), 4);
}

#[tokio::test]
async fn an_unknown_attempt_stays_unknown_when_later_ones_were_not_executed() {
    let node = failing(|call| match call {
        1 => Act::Break,
        2 => Act::Fail(not_executed()),
        _ => for_ever(not_executed()),
    })
    .await;
    let error = rotate(&node, SOON).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { outcome_unknown: true, .. }), "{error}");
}

#[tokio::test]
async fn an_unknown_attempt_stays_unknown_when_a_later_one_is_denied() {
    let node = failing(|call| match call {
        1 => Act::Break,
        _ => Act::Fail(failure(Code::PermissionDenied, reason::REFUSED).not_executed()),
    })
    .await;
    let error = rotate(&node, SOON).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(node.operations().len(), 2);
}

#[tokio::test]
async fn a_rotation_limit_after_an_unknown_attempt_is_waited_out() {
    let limited = failure(Code::ResourceExhausted, reason::RATE_LIMITED)
        .retry_after(Duration::from_millis(20))
        .not_executed();
    let mut calls = 0;
    let node = FakeNode::start(move |operation| {
        calls += 1;
        match calls {
            1 => Act::Break,
            2 => Act::Fail(limited.clone()),
            _ => Act::Answer(rotated(operation)),
        }
    })
    .await;
    assert!(matches!(rotate(&node, SOON).await, Ok(Rotation::Rotated(_))));
    assert_eq!(node.operations().len(), 3);
}

#[tokio::test]
async fn a_pause_beyond_the_deadline_ends_the_call_at_once() {
    let node = FakeNode::start(|_| {
        let failure = failure(Code::Unavailable, reason::OVERLOADED);
        Act::Fail(failure.retry_after(Duration::from_secs(3_600)).not_executed())
    })
    .await;
    let error = rotate(&node, Duration::from_secs(600)).await.unwrap_err();
    assert!(!error.outcome_unknown());
    assert_eq!(node.operations().len(), 1);
}

#[tokio::test]
async fn a_rotation_limit_is_told_and_not_hammered() {
    let node = FakeNode::start(|_| {
        let failure = failure(Code::ResourceExhausted, reason::RATE_LIMITED);
        Act::Fail(failure.retry_after(Duration::from_millis(900)).not_executed())
    })
    .await;
    let error = rotate(&node, SOON).await.unwrap_err();
    let Error::RateLimited { retry_after, .. } = &error else { panic!("{error}") };
    assert_eq!(*retry_after, Some(Duration::from_millis(900)));
    assert!(error.to_string().contains("900 ms"));
    assert_eq!(node.operations().len(), 1);
}

#[tokio::test]
async fn fields_that_the_cluster_finds_wrong_are_named() {
    let node =
        FakeNode::start(|_| Act::Fail(Violation::new("binding.jkt", "is not base64url").into()))
            .await;
    let error = rotate(&node, SOON).await.unwrap_err();
    let Error::InvalidArgument { violations } = &error else { panic!("{error}") };
    assert_eq!(violations[0].field, "binding.jkt");
    assert_eq!(node.operations().len(), 1);
}

#[tokio::test]
async fn fields_that_cannot_be_right_never_leave() {
    let node = FakeNode::start(|_| Act::Swallow).await;
    let context = RotateContext::new("").device("x\n");
    let error = node.acme().await.rotate(&token(4), context, SOON).await.unwrap_err();
    let Error::InvalidArgument { violations } = &error else { panic!("{error}") };
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["client", "origin.device"]);
    assert!(node.operations().is_empty());
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_not_repeated() {
    let node = FakeNode::start(|_| {
        let refusal = v1::Refusal {
            code: v1::refusal::Code::ClientMismatch.into(),
            ..v1::Refusal::default()
        };
        Act::Answer(rotate_response(v1::rotate_response::Outcome::Refusal(refusal)))
    })
    .await;
    let answer = rotate(&node, SOON).await.unwrap();
    assert_eq!(answer, Rotation::Refused(Refusal::ClientMismatch));
    assert_eq!(node.operations().len(), 1);
}

#[tokio::test]
async fn a_sibling_that_is_ahead_is_told_with_its_generation() {
    let node = FakeNode::start(|_| {
        let superseded = v1::Superseded { head_generation: 9 };
        Act::Answer(rotate_response(v1::rotate_response::Outcome::Superseded(superseded)))
    })
    .await;
    let answer = rotate(&node, SOON).await.unwrap();
    let Rotation::Superseded { head, position } = answer else { panic!("{answer:?}") };
    assert_eq!((head.0, position.0), (9, 4096));
}

#[tokio::test]
async fn a_servers_bug_is_told_with_its_words() {
    let node = FakeNode::start(|_| Act::Fail(failure(Code::Internal, reason::INTERNAL))).await;
    let error = rotate(&node, SOON).await.unwrap_err();
    assert!(error.outcome_unknown(), "nobody knows how far it got");
    assert!(matches!(error, Error::Failed { code: "INTERNAL", .. }), "{error}");
    assert!(error.to_string().contains("as the test wants it"));
}

#[tokio::test]
async fn an_answer_of_the_wrong_kind_or_generation_is_not_believed() {
    let node = FakeNode::start(|_| {
        Act::Answer(rotate_response(v1::rotate_response::Outcome::Rotated(super::node::issued(9))))
    })
    .await;
    let error = rotate(&node, SOON).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");

    let node = FakeNode::start(|_| {
        let position = 1;
        let cut = v1::RevokeWhereResponse { position, ..Default::default() };
        Act::Answer(Response::RevokeWhere(cut))
    })
    .await;
    let error = rotate(&node, SOON).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    assert!(error.outcome_unknown(), "it did something, but nobody can tell what");
}

#[tokio::test]
async fn where_nobody_listens_nothing_happened() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = port.local_addr().unwrap().to_string();
    drop(port);
    let error = Client::connect(Config::new([&address])).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "it says who was tried: {error}");
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn when_every_node_has_gone_nothing_happened() {
    let node = FakeNode::start(|_| Act::Swallow).await;
    let client = Client::connect(config([&node])).await.unwrap();
    let acme = client.tenant("acme").unwrap();
    node.go_down();
    // At first the stream may still seem open: then an attempt is lost, not unsent.
    let error = tokio::time::timeout(SOON, async {
        loop {
            let cut = Cut::of_subject("alice");
            match acme.revoke_where(cut, SHORT).await.unwrap_err() {
                Error::DeadlineExceeded { .. } => {}
                error => return error,
            }
        }
    });
    let error = error.await.unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(!error.outcome_unknown());
}
