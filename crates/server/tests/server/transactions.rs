//! Transactions through the client port: tokens are issued in them, and what they are refused for
//! is told.

use bytes::Bytes;
use jeton_wire::Failure;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::refusal::Code;
use jeton_wire::pb::v1::transact_answer::Answer;
use jeton_wire::pb::v1::transact_operation::Operation;
use jeton_wire::pb::v1::transact_response::Outcome;
use jeton_wire::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;
use tonic::{Code as Grpc, Status};

use crate::rig::{Holder, Rig, TENANT, create, id, name, rotated, soon};
use crate::web::{call, get};

fn asked(number: u8, then: Vec<Operation>) -> v1::TransactRequest {
    v1::TransactRequest {
        tenant: TENANT.into(),
        request: name(number),
        compare: Vec::new(),
        then: operations(then),
        otherwise: Vec::new(),
    }
}

fn operations(all: Vec<Operation>) -> Vec<v1::TransactOperation> {
    all.into_iter().map(|one| v1::TransactOperation { operation: Some(one) }).collect()
}

async fn transact(rig: &Rig, request: v1::TransactRequest) -> Result<v1::TransactResponse, Status> {
    let mut transactions = TransactionServiceClient::new(rig.channel.clone());
    transactions.transact(soon(request)).await.map(tonic::Response::into_inner)
}

fn done(response: v1::TransactResponse) -> Vec<Answer> {
    match response.outcome {
        Some(Outcome::Done(done)) => {
            done.answers.into_iter().map(|it| it.answer.expect("an answer")).collect()
        }
        other => panic!("not done: {other:?}"),
    }
}

fn rotate(holder: &Holder) -> Operation {
    let request = v1::RotateRequest { tenant: String::new(), request: None, ..holder.rotate(0) };
    Operation::Rotate(request)
}

fn begin(holder: &Holder) -> Operation {
    let request = create(0, holder);
    let request = v1::CreateFamilyRequest { tenant: String::new(), request: None, ..request };
    Operation::CreateFamily(request)
}

fn put(key: u8, value: &'static [u8]) -> Operation {
    Operation::PutRecord(v1::PutRecordRequest {
        kind: "consent".into(),
        key: id(key),
        value: Bytes::from_static(value),
        ..v1::PutRecordRequest::default()
    })
}

fn key(key: u8) -> v1::RecordKey {
    v1::RecordKey { kind: "consent".into(), key: id(key) }
}

fn absent(at: u8) -> v1::Comparison {
    v1::Comparison { holds: Some(v1::comparison::Holds::RecordAbsent(key(at))) }
}

async fn is_active(rig: &Rig, holder: &Holder) -> bool {
    let seen = rig.tokens().validate(soon(holder.validate())).await.expect("an answer");
    matches!(seen.into_inner().outcome, Some(v1::validate_response::Outcome::Active(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_that_a_transaction_issues_has_its_own_mac() {
    let rig = Rig::start().await;
    let old = rig.family(1).await;
    let (two, three) = (Holder::first(2), Holder::first(3));
    let request = asked(10, vec![begin(&two), put(1, b"yes"), rotate(&old), begin(&three)]);
    let first = transact(&rig, request.clone()).await.expect("an answer");
    let mut holders = Vec::new();
    for (answer, holder) in done(first.clone()).into_iter().zip([&two, &old, &old, &three]) {
        match answer {
            Answer::CreateFamily(it) => match it.outcome {
                Some(v1::create_family_response::Outcome::Created(token)) => {
                    holders.push(holder.clone().with(&token));
                }
                other => panic!("not created: {other:?}"),
            },
            Answer::Rotate(it) => holders.push(old.next(&rotated(it))),
            Answer::PutRecord(it) => assert_eq!(it.version, 1),
            other => panic!("nobody asked for it: {other:?}"),
        }
    }
    assert_eq!(holders.len(), 3);
    for holder in &holders {
        assert!(is_active(&rig, holder).await, "family {}", holder.family);
    }
    assert!(!is_active(&rig, &old).await, "it was rotated away");
    // A retry gets the identical tokens, macs and all.
    assert_eq!(transact(&rig, request).await.expect("an answer"), first);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_stops_it_before_the_log_and_hurts_nobody() {
    let rig = Rig::start().await;
    let holder = rig.family(1).await;
    let before = rig.status().await.last_log_index;
    let mut forged = holder.clone();
    forged.token.mac = id(0);
    let mut other_key = holder.clone();
    other_key.token.kid = 77;
    for (number, bad) in [(10, forged), (11, other_key)] {
        let mut hidden = asked(number, vec![put(1, b"yes")]);
        hidden.otherwise = operations(vec![rotate(&bad)]);
        for request in [asked(number + 20, vec![put(1, b"yes"), rotate(&bad)]), hidden] {
            let refused = transact(&rig, request).await.expect("an answer");
            let Some(Outcome::Refusal(refusal)) = refused.outcome else {
                panic!("not refused: {refused:?}")
            };
            assert_eq!(refusal.code(), Code::NotFound);
        }
    }
    assert_eq!(rig.status().await.last_log_index, before, "no forgery entered the log");
    assert!(is_active(&rig, &holder).await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_kills_its_family_and_nothing_else_of_it_happens() {
    let rig = Rig::start().await;
    let first = rig.family(1).await;
    let second =
        rotated(rig.tokens().rotate(soon(first.rotate(10))).await.expect("one").into_inner());
    let second = first.next(&second);
    let update = v1::UpdateFamilyRequest {
        tenant: TENANT.into(),
        request: name(11),
        family_id: id(1),
        version: 1,
        grace_ms: Some(0),
        ..v1::UpdateFamilyRequest::default()
    };
    rig.tokens().update_family(soon(update)).await.expect("an answer");
    let mut stolen = asked(12, vec![put(1, b"stolen"), rotate(&first)]);
    stolen.compare = vec![absent(9)];
    let response = transact(&rig, stolen).await.expect("an answer");
    assert_eq!(response.unmet, None);
    let Some(Outcome::Stopped(stopped)) = response.outcome else {
        panic!("not stopped: {response:?}")
    };
    assert_eq!(stopped.operation, 1);
    let Some(Answer::Rotate(answer)) = stopped.answer.and_then(|it| it.answer) else {
        panic!("no answer")
    };
    assert_eq!(crate::rig::refused(answer).code(), Code::Reused);
    assert!(!is_active(&rig, &second).await, "the family is dead");
    // Nothing was put: it is absent still.
    let mut after = asked(13, vec![put(1, b"good")]);
    after.compare = vec![absent(1)];
    let after = transact(&rig, after).await.expect("an answer");
    assert_eq!((after.unmet, done(after).len()), (None, 1));
    let metrics = get(rig.addr, "/metrics").await.body;
    for line in [
        "jeton_operations_total{operation=\"transact\",outcome=\"ok\"} 1",
        "jeton_operations_total{operation=\"transact\",outcome=\"reused\"} 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_share_a_rotation_that_a_transaction_did() {
    let rig = Rig::start().await;
    let first = rig.family(1).await;
    let won = transact(&rig, asked(10, vec![rotate(&first), put(1, b"one")])).await;
    let won = done(won.expect("an answer"));
    let Answer::Rotate(won) = won[0].clone() else { panic!("a rotation came first") };
    let won = rotated(won);
    let mut sibling = first.rotate_to(0, 99);
    (sibling.tenant, sibling.request) = (String::new(), None);
    let shared = transact(&rig, asked(11, vec![Operation::Rotate(sibling), put(2, b"two")])).await;
    let shared = done(shared.expect("an answer"));
    let Answer::Rotate(shared) = shared[0].clone() else { panic!("a rotation came first") };
    let Some(v1::rotate_response::Outcome::Replayed(replayed)) = shared.outcome else {
        panic!("not replayed: {shared:?}")
    };
    assert_eq!(replayed.token, Some(won.clone()));
    assert_eq!(&replayed.seal[..], b"sealed 1");
    assert!(is_active(&rig, &first.next(&won)).await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_speaks_json() {
    let rig = Rig::start().await;
    const PATH: &str = "/v1/TransactionService/Transact";
    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQ==";
    let request = json!({
        "tenant": TENANT,
        "request": { "id": "CQkJCQkJCQkJCQkJCQkJCQ==" },
        "compare": [{ "recordAbsent": { "kind": "consent", "key": KEY } }],
        "then": [{ "putRecord": { "kind": "consent", "key": KEY, "value": "eWVz" } }],
        "otherwise": [{ "deleteRecord": { "kind": "consent", "key": KEY } }],
    });
    let first = call(rig.addr, PATH, &request).await;
    assert_eq!(first.status, 200, "{first:?}");
    let body = first.json();
    assert_eq!(body["done"]["answers"][0]["putRecord"]["version"], "1", "{body}");
    assert!(body.get("unmet").is_none_or(serde_json::Value::is_null), "{body}");
    assert_eq!(call(rig.addr, PATH, &request).await.json(), body, "a retry is answered alike");

    let mut other = request.clone();
    other["request"] = json!({ "id": "CgoKCgoKCgoKCgoKCgoKCg==" });
    let body = call(rig.addr, PATH, &other).await.json();
    assert_eq!(body["unmet"], 0, "{body}");
    assert_eq!(body["done"]["answers"][0]["deleteRecord"]["existed"], true, "{body}");

    let mut wrong = request.clone();
    wrong["then"][0]["putRecord"]["tenant"] = json!("other");
    let wrong = call(rig.addr, PATH, &wrong).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    assert_eq!(wrong.json()["violations"][0]["field"], "then[0].put_record.tenant");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_an_entry_is_told_so() {
    const VALUE: &[u8] = &[7; 64 * 1024];
    let rig = Rig::start().await;
    let large = (1..5).map(|key| put(key, VALUE)).collect();
    let failure = Failure::from(transact(&rig, asked(10, large)).await.expect_err("too large"));
    assert_eq!((failure.code, &*failure.reason), (Grpc::InvalidArgument, "TOO_LARGE"));
    assert!(failure.not_executed);
    let fits = (1..4).map(|key| put(key, VALUE)).collect();
    let fits = transact(&rig, asked(11, fits)).await.expect("an answer");
    assert_eq!(done(fits).len(), 3);
    rig.stop().await;
}
