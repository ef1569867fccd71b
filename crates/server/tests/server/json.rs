//! The API as JSON: the same answers as over gRPC, and callers that break the rules.

use jeton_wire::pb::v1;
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::codegen::http;

use crate::rig::{CLIENT, Rig, TENANT, soon};
use crate::web::{Answer, call, get, request, send};

const GET_FAMILY: &str = "/v1/TokenService/GetFamily";
const REVOKE_WHERE: &str = "/v1/RevocationService/RevokeWhere";
const ONES: &str = "AQEBAQEBAQEBAQEBAQEBAQ==";

fn get_family() -> Value {
    json!({ "tenant": TENANT, "familyId": ONES })
}

fn problem(answer: &Answer, status: u16, reason: &str, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["status"], &body["reason"]), (&json!(status), &json!(reason)), "{body}");
    assert!(body["detail"].as_str().is_some_and(|text| text.contains(words)), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_grpc_show_the_same_family() {
    let rig = Rig::start().await;
    rig.family(1).await;
    let answer = call(rig.addr, GET_FAMILY, &get_family()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    let grpc = v1::GetFamilyRequest {
        tenant: TENANT.to_owned(),
        family_id: vec![1; 16].into(),
        ..Default::default()
    };
    let grpc = rig.tokens().get_family(soon(grpc)).await.expect("an answer").into_inner();
    let Some(v1::get_family_response::Outcome::Family(family)) = grpc.outcome else {
        panic!("no family: {grpc:?}")
    };
    let shown = &answer.json()["family"];
    assert_eq!(shown["familyId"], ONES);
    assert_eq!((&shown["subject"], &shown["client"]), (&json!("alice"), &json!(CLIENT)));
    assert_eq!(shown["createdPosition"], family.created_position.to_string(), "a string");
    assert_eq!(shown["generation"], "0", "what is 0 is not left out");
    assert_eq!(shown["payload"], "b3BhcXVl", "bytes are base64");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_answer_and_a_failure_is_a_problem() {
    let rig = Rig::start().await;
    let unknown = call(rig.addr, GET_FAMILY, &get_family()).await;
    assert_eq!(unknown.status, 200, "{unknown:?}");
    assert_eq!(unknown.json()["refusal"]["code"], "CODE_NOT_FOUND");

    let short = json!({ "tenant": TENANT, "familyId": "AQE=" });
    let short = call(rig.addr, GET_FAMILY, &short).await;
    problem(&short, 400, "INVALID_REQUEST", "exactly 16");
    let violation = &short.json()["violations"][0];
    assert_eq!(violation["field"], "family_id");
    assert_eq!(short.json()["notExecuted"], true);

    let tenant = json!({ "tenant": "nobody" });
    let missing = call(rig.addr, "/admin/v1/TenantService/GetTenant", &tenant).await;
    problem(&missing, 404, "NOT_FOUND", "no such tenant");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_in_json_is_in_force_over_grpc() {
    let rig = Rig::start().await;
    let holder = rig.family(1).await;
    let revoke = json!({
        "tenant": TENANT, "request": { "id": "CQkJCQkJCQkJCQkJCQkJCQ==" }, "subject": "alice",
    });
    let first = call(rig.addr, REVOKE_WHERE, &revoke).await;
    assert_eq!(first.status, 200, "{first:?}");
    let position = first.json()["position"].clone();
    assert!(position.as_str().is_some_and(|text| text.parse::<u64>().is_ok_and(|p| p > 0)));
    let again = call(rig.addr, REVOKE_WHERE, &revoke).await;
    assert_eq!(again.json()["position"], position, "a retry changes nothing");
    let rotated = rig.tokens().rotate(soon(holder.rotate(2))).await.expect("an answer");
    let refusal = crate::rig::refused(rotated.into_inner());
    assert_eq!(refusal.code, i32::from(v1::refusal::Code::Revoked));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_grpc_is_served_on_the_same_connection() {
    let rig = Rig::start().await;
    let mut channel = rig.channel.clone();
    let request = http::Request::get("/livez").body(Body::empty()).expect("a request");
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.expect("a connection");
    let response = channel.call(request).await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.version(), http::Version::HTTP_2);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_paths_and_methods_are_problems() {
    let rig = Rig::start().await;
    for path in [
        "/",
        "/v1",
        "/v1/TokenService/Nothing",
        "/v1/tokenservice/rotate",
        "/v1/PipelineService/Pipeline",
        "/jeton.v1.TokenService/Rotate",
        "/v1/%ff%fe/Rotate",
        "/v1/TokenService/Rotate/",
        "/../../etc/passwd",
    ] {
        let answer = request(rig.addr, "POST", path, &[], b"").await;
        problem(&answer, 404, "NOT_FOUND", "nothing is served at");
    }
    for (method, path, allowed) in [
        ("GET", GET_FAMILY, "POST"),
        ("OPTIONS", GET_FAMILY, "POST"),
        ("DELETE", REVOKE_WHERE, "POST"),
        ("POST", "/livez", "GET,HEAD"),
    ] {
        let answer = request(rig.addr, method, path, &[], b"").await;
        problem(&answer, 405, "INVALID_REQUEST", method);
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_none_are_told_what_is_wrong() {
    let rig = Rig::start().await;
    let json = ("Content-Type", "application/json");
    let post = async |headers: &[(&str, &str)], body: &[u8]| {
        request(rig.addr, "POST", GET_FAMILY, headers, body).await
    };
    let good = get_family().to_string();

    for headers in [&[][..], &[("Content-Type", "text/plain")], &[("Content-Type", "é")]] {
        let answer = post(headers, good.as_bytes()).await;
        problem(&answer, 415, "INVALID_REQUEST", "application/json");
    }
    problem(&post(&[json], b"").await, 400, "UNDECODABLE_MESSAGE", "no JSON");
    problem(&post(&[json], b"{\"tenant\":\"\xff\"}").await, 400, "UNDECODABLE_MESSAGE", "line 1");
    problem(&post(&[json], b"[1]").await, 400, "UNDECODABLE_MESSAGE", "jeton.v1.GetFamilyRequest");
    let wrong = post(&[json], br#"{"familyId":"jrt_secret!"}"#).await;
    problem(&wrong, 400, "UNDECODABLE_MESSAGE", "wrong type");
    assert!(!wrong.body.contains("secret"), "{wrong:?}");

    let late = post(&[json, ("Jeton-Deadline-Ms", "soon")], good.as_bytes()).await;
    problem(&late, 400, "INVALID_REQUEST", "Jeton-Deadline-Ms");
    let huge = vec![b' '; 4 * 1024 * 1024 + 1];
    problem(&post(&[json], &huge).await, 413, "TOO_LARGE", "4194304");
    let good = post(&[json, ("Jeton-Deadline-Ms", "30000")], good.as_bytes()).await;
    assert_eq!(good.status, 200, "{good:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_is_given_up_at_the_deadline() {
    let rig = Rig::start().await;
    let head = format!(
        "POST {GET_FAMILY} HTTP/1.1\r\nHost: n\r\nConnection: close\r\nJeton-Deadline-Ms: 50\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"tenant\""
    );
    let answer = send(rig.addr, head.as_bytes()).await;
    problem(&answer, 504, "DEADLINE_EXCEEDED", "did not come in time");
    assert_eq!(get(rig.addr, "/livez").await.status, 200);
    rig.stop().await;
}
