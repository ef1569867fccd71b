//! Callers that break the rules: each is told what was wrong and what to do, and nobody else
//! notices.

use bytes::Bytes;
use jeton_wire::Failure;
use jeton_wire::pb::admin_v1 as admin;
use jeton_wire::pb::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use crate::rig::{PATIENCE, Rig, creation, id, soon, within};

fn told(status: &Status, code: Code, reason: &str, words: &str) {
    let failure = Failure::from(status);
    assert_eq!((status.code(), &*failure.reason), (code, reason), "{status:?}");
    assert!(status.message().contains(words), "{:?} does not say {words:?}", status.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_needs_a_deadline_that_has_not_passed() {
    let rig = Rig::start().await;
    let mut tokens = rig.tokens();

    let none = tokens.create_family(Request::new(creation(1))).await.expect_err("no deadline");
    told(&none, Code::InvalidArgument, "DEADLINE_MISSING", "set one in your gRPC client");
    assert!(Failure::from(&none).not_executed);

    let odd = tokens.create_family(within(creation(1), "soon")).await.expect_err("no timeout");
    told(&odd, Code::InvalidArgument, "INVALID_REQUEST", "grpc-timeout is malformed");

    let get = admin::GetTenantRequest { tenant: "acme".into() };
    let none = rig.tenants().get_tenant(Request::new(get)).await.expect_err("no deadline");
    told(&none, Code::InvalidArgument, "DEADLINE_MISSING", "deadline");

    // Nothing of it was executed.
    let seen =
        v1::GetFamilyRequest { tenant: "acme".into(), family_id: id(1), ..Default::default() };
    let seen = tokens.get_family(soon(seen)).await.expect("an answer").into_inner();
    assert!(matches!(seen.outcome, Some(v1::get_family_response::Outcome::Refusal(_))));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_has_passed_is_told_as_such() {
    use tokio_stream::StreamExt as _;
    let rig = Rig::start().await;
    // tonic's client would not send a unary call that is late already: a pipeline does.
    let operation = v1::Operation {
        tag: 5,
        deadline_ms: 0,
        request: Some(v1::operation::Request::CreateFamily(creation(1))),
    };
    let message = v1::PipelineRequest { operations: vec![operation] };
    let stream = tokio_stream::iter([message]);
    let mut answers = rig.pipelines().pipeline(stream).await.expect("a stream").into_inner();
    let answer = answers.next().await.expect("an answer").expect("no failure of the stream");
    let Some(v1::operation_result::Response::Failure(failure)) = answer.results[0].response.clone()
    else {
        panic!("not failed: {answer:?}")
    };
    assert_eq!((answer.results[0].tag, failure.code), (5, Code::InvalidArgument as i32));
    assert_eq!(failure.violations[0].field, "deadline_ms");
    assert!(failure.not_executed);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_wrong_are_named() {
    let rig = Rig::start().await;
    let mut tokens = rig.tokens();
    type Spoil = fn(&mut v1::CreateFamilyRequest);
    let table: [(&str, &str, Spoil); 6] = [
        ("payload", "65537 bytes: the limit is 65536", |r| r.payload = vec![0; 65_537].into()),
        ("tenant", "is empty", |r| r.tenant.clear()),
        ("subject", "is empty", |r| r.subject.clear()),
        ("family_id", "exactly 16", |r| r.family_id = Bytes::from_static(b"short")),
        ("request", "missing", |r| r.request = None),
        ("secret_digest", "exactly 16", |r| r.secret_digest = vec![0; 32].into()),
    ];
    for (field, words, spoil) in table {
        let mut request = creation(1);
        spoil(&mut request);
        let status = tokens.create_family(soon(request)).await.expect_err("it was spoilt");
        told(&status, Code::InvalidArgument, "INVALID_REQUEST", words);
        assert_eq!(Failure::from(&status).violations[0].field, field);
    }
    rig.stop().await;
}

/// A creation whose text may be any bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct RawCreation {
    #[prost(bytes = "vec", tag = "1")]
    tenant: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8_is_the_callers_fault() {
    let rig = Rig::start().await;
    let mut grpc = tonic::client::Grpc::new(rig.channel.clone());
    grpc.ready().await.expect("a connection");
    let path = PathAndQuery::from_static("/jeton.v1.TokenService/CreateFamily");
    let codec = tonic_prost::ProstCodec::<RawCreation, v1::CreateFamilyResponse>::new();
    let request = soon(RawCreation { tenant: vec![0xff, 0xfe] });
    let status = grpc.unary(request, path, codec).await.expect_err("not UTF-8");
    told(&status, Code::InvalidArgument, "UNDECODABLE_MESSAGE", "CreateFamilyRequest.tenant");
    assert!(status.message().contains("UTF-8"), "{status:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_limit_is_refused_before_it_is_read() {
    let rig = Rig::start().await;
    let mut request = creation(1);
    request.payload = vec![0; 5 * 1024 * 1024].into();
    let status = rig.tokens().create_family(soon(request)).await.expect_err("too large");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(status.message().contains("4194304"), "{status:?}");
    rig.family(1).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_service_is_told_so() {
    let rig = Rig::start().await;
    let mut grpc = tonic::client::Grpc::new(rig.channel.clone());
    grpc.ready().await.expect("a connection");
    let path = PathAndQuery::from_static("/jeton.v9.Oracle/Ask");
    let codec = tonic_prost::ProstCodec::<RawCreation, RawCreation>::new();
    let asked = grpc.unary(soon(RawCreation { tenant: Vec::new() }), path, codec).await;
    let status = asked.expect_err("no such service");
    assert_eq!(status.code(), Code::Unimplemented);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http2_end_their_own_connection_only() {
    let rig = Rig::start().await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x00\x01\x02\x03 not a preface at all", b""] {
        let mut raw = TcpStream::connect(rig.addr).await.expect("a connection");
        raw.write_all(garbage).await.expect("sent");
        raw.shutdown().await.expect("closed");
        let mut answer = Vec::new();
        // Reset or closed, both will do; what matters is that it ends.
        let ended = timeout(PATIENCE, raw.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection was left open");
    }
    rig.family(1).await;
    rig.stop().await;
}
