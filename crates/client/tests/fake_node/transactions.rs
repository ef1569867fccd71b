//! Transactions against a node that breaks, and one whose answers don't fit.

use std::time::Duration;

use jeton_client::{Error, NewFamily, NewRecord, RotateContext, Step, When, digest};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::pb::v1::transact_answer::Answer;
use jeton_wire::pb::v1::transact_response::Outcome;

use super::node::{Act, FakeNode, issued, token};

const SOON: Duration = Duration::from_secs(20);

fn asked(operation: &v1::Operation) -> &v1::TransactRequest {
    match &operation.request {
        Some(Request::Transact(request)) => request,
        other => panic!("not a transaction: {other:?}"),
    }
}

fn done(answers: Vec<Answer>) -> Act {
    let answers = answers.into_iter().map(|it| v1::TransactAnswer { answer: Some(it) }).collect();
    let outcome = Some(Outcome::Done(v1::Transacted { answers }));
    Act::Answer(Response::Transact(v1::TransactResponse { position: 4096, unmet: None, outcome }))
}

fn put() -> Answer {
    Answer::PutRecord(v1::PutRecordResponse { position: 4096, version: 1, refusal: None })
}

fn rotated(generation: u64) -> Answer {
    let outcome = Some(v1::rotate_response::Outcome::Rotated(issued(generation)));
    Answer::Rotate(v1::RotateResponse { position: 4096, outcome })
}

fn record() -> Step {
    Step::put_record(NewRecord::new("consent", digest("alice")))
}

#[tokio::test]
async fn after_a_broken_stream_the_identical_transaction_is_sent_again() {
    let mut sent = 0;
    let node = FakeNode::start(move |_| {
        sent += 1;
        if sent < 3 { Act::Break } else { done(vec![put(), rotated(5)]) }
    })
    .await;
    let asked_for = node.acme().await.transact().when(When::record_absent("code", digest("c")));
    let step = Step::rotate(&token(4), RotateContext::new("web"));
    let transacted = asked_for.then(record()).then(step).send(SOON).await.unwrap();
    assert_eq!(transacted.outcome.unwrap().len(), 2);
    let mut operations = node.operations();
    assert_eq!(operations.len(), 3);
    for operation in &mut operations {
        if let Some(Request::Transact(request)) = &mut operation.request {
            request.request.as_mut().unwrap().age_ms = 0;
        }
    }
    let first = asked(&operations[0]);
    assert!(first.request.as_ref().is_some_and(|name| name.id.len() == 16));
    assert!(operations.iter().all(|operation| asked(operation) == first), "minted once");
    let Some(v1::transact_operation::Operation::Rotate(rotate)) = &first.then[1].operation else {
        panic!("the second step is a rotation")
    };
    assert!(rotate.tenant.is_empty() && rotate.request.is_none(), "the transaction's are meant");
    assert!(!rotate.successor.as_ref().unwrap().seal.is_empty(), "sealed for siblings");
}

#[tokio::test]
async fn answers_that_do_not_fit_their_steps_are_an_error_and_no_tokens() {
    let lies: [fn() -> Act; 6] = [
        || done(vec![put()]),
        || done(vec![put(), put()]),
        || done(vec![rotated(5), put()]),
        || done(vec![put(), rotated(6)]),
        || {
            let superseded = v1::Superseded { head_generation: 9 };
            let outcome = Some(v1::rotate_response::Outcome::Superseded(superseded));
            done(vec![put(), Answer::Rotate(v1::RotateResponse { position: 4096, outcome })])
        },
        || {
            let refused = v1::Refusal { code: 1, ..v1::Refusal::default() };
            let refused = v1::PutRecordResponse { refusal: Some(refused), ..Default::default() };
            done(vec![Answer::PutRecord(refused), rotated(5)])
        },
    ];
    for (nth, lie) in lies.into_iter().enumerate() {
        let node = FakeNode::start(move |_| lie()).await;
        let step = Step::rotate(&token(4), RotateContext::new("web"));
        let told = node.acme().await.transact().then(record()).then(step).send(SOON).await;
        assert!(told.is_err(), "{nth}: {told:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_way_there_before_anything_is_sent() {
    let node = FakeNode::start(|_| panic!("nothing is to be sent")).await;
    let acme = node.acme().await;
    let rotate = || Step::rotate(&token(4), RotateContext::new("web"));
    let wrong = [
        (acme.transact(), "then"),
        (acme.transact().when(When::record_exists("", digest("k"))), "compare[0].kind"),
        (acme.transact().then(record()).then(rotate()).then(rotate()), "then[2].rotate.token"),
        (
            acme.transact().otherwise(Step::create_family(NewFamily::new("", "web"))),
            "otherwise[0].subject",
        ),
        ((0..33).fold(acme.transact(), |all, _| all.then(record())), "then"),
    ];
    for (transaction, field) in wrong {
        match transaction.send(SOON).await {
            Err(Error::InvalidArgument { violations }) => assert_eq!(violations[0].field, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let shown = format!("{:?}", acme.transact().then(rotate()));
    assert!(!shown.contains("jrt_"), "{shown}");
}
