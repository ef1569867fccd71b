//! Tokens that are opaque texts at OAuth's endpoints: reference access tokens, which are records,
//! and refresh tokens that an authorization server minted.

use bytes::Bytes;
use jeton_core::token::opaque_digest;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::record_service_client::RecordServiceClient;
use serde_json::{Value, json};

use crate::oauth::{
    API, APP, INTROSPECT, OPS, REVOKE, WEB, error, inactive, post, start, succeeded,
};
use crate::rig::{CLIENT, Rig, TENANT, creation, name, soon};

/// Texts that nobody can guess.
const FIRST: &str = "at-3f1c8a52b7d94e60a1c5d2e8";
const SECOND: &str = "at-77f0c1d2e3b4a5968778695a";

fn digest(text: &str) -> Bytes {
    Bytes::copy_from_slice(&opaque_digest(text).expect("long enough").0)
}

/// Keeps an access token of `alice`, as an authorization server would.
async fn keep(rig: &Rig, number: u8, text: &str, value: &[u8]) {
    let put = v1::PutRecordRequest {
        tenant: TENANT.to_owned(),
        request: name(number),
        kind: "at".to_owned(),
        key: digest(text),
        value: Bytes::copy_from_slice(value),
        lifetime_ms: Some(600_000),
        roots: Some(v1::RecordRoots {
            subject: "alice".to_owned(),
            client: CLIENT.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut records = RecordServiceClient::new(rig.channel.clone());
    let put = records.put_record(soon(put)).await.expect("told").into_inner();
    assert_eq!(put.refusal, None);
}

fn of_alice() -> Value {
    json!({ "client_id": CLIENT, "sub": "alice", "scope": "read write", "aud": ["api"] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_token_is_described_by_its_record() {
    let rig = start().await;
    keep(&rig, 20, FIRST, of_alice().to_string().as_bytes()).await;
    let form = format!("token={FIRST}&token_type_hint=access_token");
    let told = post(&rig, INTROSPECT, API, &form).await.json();
    for (member, value) in of_alice().as_object().expect("members") {
        assert_eq!(&told[member], value, "{told}");
    }
    assert_eq!((&told["active"], &told["token_type"]), (&json!(true), &json!("Bearer")));
    let (issued, ends) = (told["iat"].as_u64(), told["exp"].as_u64());
    assert!(issued.zip(ends).is_some_and(|(issued, ends)| (599..=600).contains(&(ends - issued))));
    assert_eq!(post(&rig, INTROSPECT, WEB, &form).await.json()["active"], true, "its own");
    inactive(&post(&rig, INTROSPECT, APP, &form).await);
    inactive(&post(&rig, INTROSPECT, API, &format!("token={SECOND}")).await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_token_ends_with_its_roots_and_by_revocation_of_its_own_client() {
    let rig = start().await;
    keep(&rig, 20, FIRST, of_alice().to_string().as_bytes()).await;
    keep(&rig, 21, SECOND, of_alice().to_string().as_bytes()).await;
    let (first, second) = (format!("token={FIRST}"), format!("token={SECOND}"));
    error(&post(&rig, REVOKE, APP, &first).await, 400, "invalid_grant");
    assert_eq!(post(&rig, INTROSPECT, API, &first).await.json()["active"], true);
    succeeded(&post(&rig, REVOKE, WEB, &first).await);
    inactive(&post(&rig, INTROSPECT, API, &first).await);
    succeeded(&post(&rig, REVOKE, WEB, &first).await);
    assert_eq!(post(&rig, INTROSPECT, API, &second).await.json()["active"], true);
    let cut = v1::RevokeWhereRequest {
        tenant: TENANT.to_owned(),
        request: name(22),
        subject: "alice".to_owned(),
        ..Default::default()
    };
    rig.revocations().revoke_where(soon(cut)).await.expect("told");
    inactive(&post(&rig, INTROSPECT, API, &second).await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_describes_no_token_is_none() {
    let rig = start().await;
    let past = json!({ "client_id": CLIENT, "exp": 1_700_000_000 }).to_string();
    let nobody = json!({ "sub": "alice" }).to_string();
    let sealed: &[u8] = b"\x01\x01\xff";
    let values = [past.as_bytes(), nobody.as_bytes(), b"[]", b"", sealed];
    for (number, value) in (20..).zip(values) {
        let text = format!("at-{number:0>30}");
        keep(&rig, number, &text, value).await;
        inactive(&post(&rig, INTROSPECT, API, &format!("token={text}")).await);
        succeeded(&post(&rig, REVOKE, WEB, &format!("token={text}")).await);
    }
    // Who may not ask about any keeps none: the text is looked for among refresh tokens only.
    keep(&rig, 40, FIRST, of_alice().to_string().as_bytes()).await;
    succeeded(&post(&rig, REVOKE, OPS, &format!("token={FIRST}")).await);
    let form = format!("token={FIRST}");
    assert_eq!(post(&rig, INTROSPECT, API, &form).await.json()["active"], true);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_refresh_token_is_known_and_revoked_by_its_text() {
    let rig = start().await;
    let text = "rt-5d0c7e2f9a8b4c3d1e6f";
    let created =
        v1::CreateFamilyRequest { opaque: true, secret_digest: digest(text), ..creation(1) };
    let created = rig.tokens().create_family(soon(created)).await.expect("told").into_inner();
    use v1::create_family_response::Outcome;
    assert!(matches!(created.outcome, Some(Outcome::Created(_))), "{created:?}");
    let form = format!("token={text}");
    for client in [API, WEB] {
        let told = post(&rig, INTROSPECT, client, &form).await.json();
        assert_eq!((&told["active"], &told["sub"]), (&json!(true), &json!("alice")), "{told}");
        assert_eq!(told["token_type"], "refresh_token");
    }
    inactive(&post(&rig, INTROSPECT, APP, &form).await);
    error(&post(&rig, REVOKE, APP, &form).await, 400, "invalid_grant");
    succeeded(&post(&rig, REVOKE, WEB, &form).await);
    inactive(&post(&rig, INTROSPECT, API, &form).await);
    rig.stop().await;
}
