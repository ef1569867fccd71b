//! Unary calls whose deadline has passed when they come in: no gRPC client sends them, but a queue
//! on the way may deliver one.

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use jeton_wire::Failure;
use jeton_wire::pb::admin_v1 as admin;
use jeton_wire::pb::v1;
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};

use crate::rig::{PATIENCE, Rig, creation, id, soon};

const CREATE: &str = "jeton.v1.TokenService/CreateFamily";

/// An HTTP/2 connection without a gRPC client.
async fn connect(rig: &Rig) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(rig.addr).await.expect("a connection");
    let (send, connection) = h2::client::handshake(tcp).await.expect("HTTP/2");
    tokio::spawn(async move {
        // It ends with the test's connection or with the server, and the calls say which.
        let _ = connection.await;
    });
    send.ready().await.expect("room for a call")
}

/// Sends a call with this `grpc-timeout`; without a body, its stream stays open.
fn send(
    rig: &Rig,
    http2: &mut SendRequest<Bytes>,
    path: &str,
    time: &str,
    body: Option<&impl Message>,
) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let request = Request::post(format!("http://{}/{path}", rig.addr))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", time)
        .body(())
        .expect("a request");
    let (answer, mut stream) = http2.send_request(request, false).expect("headers sent");
    if let Some(message) = body {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).expect("a small message"));
        message.encode(&mut frame).expect("room");
        // Who answers from the headers alone may have ended the stream by now.
        let _ = stream.send_data(frame.freeze(), true);
    }
    (answer, stream)
}

/// The status that a call ended with, in its headers: there was no message before it.
async fn told(answer: ResponseFuture) -> Failure {
    let answered = timeout(PATIENCE, answer).await.expect("an answer in time");
    let response: Response<_> = answered.expect("an answer and no reset");
    let status = Status::from_header_map(response.headers()).expect("a status and no message");
    Failure::from(&status)
}

fn assert_expired(failure: &Failure, time: &str) {
    assert_eq!(failure.code, Code::DeadlineExceeded, "{time}: {failure:?}");
    assert_eq!(failure.reason, "DEADLINE_EXCEEDED", "{time}");
    assert!(failure.not_executed, "{time}");
    assert!(failure.message.contains("had passed when the request came in"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_that_comes_too_late_is_told_so_and_changes_nothing() {
    let rig = Rig::start().await;
    let mut http2 = connect(&rig).await;
    let before = rig.status().await;
    for (number, time) in (1..).zip(["0S", "0n", "1n", "1u", "999u", "999999n"]) {
        let (answer, _stream) = send(&rig, &mut http2, CREATE, time, Some(&creation(number)));
        assert_expired(&told(answer).await, time);
    }
    let tenant = admin::CreateTenantRequest {
        tenant: "late".into(),
        request_id: id(77),
        ..admin::CreateTenantRequest::default()
    };
    let path = "jeton.admin.v1.TenantService/CreateTenant";
    let (answer, _stream) = send(&rig, &mut http2, path, "1n", Some(&tenant));
    assert_expired(&told(answer).await, "1n");

    let after = rig.status().await;
    assert_eq!(after.commands_applied, before.commands_applied);
    assert_eq!((after.position, after.last_log_index), (before.position, before.last_log_index));
    for number in 1..=6 {
        let family_id = id(number);
        let seen = v1::GetFamilyRequest { tenant: "acme".into(), family_id, ..Default::default() };
        let seen = rig.tokens().get_family(soon(seen)).await.expect("an answer").into_inner();
        assert!(matches!(seen.outcome, Some(v1::get_family_response::Outcome::Refusal(_))));
    }
    // The connection goes on, and the same request in time is judged as if nothing had come.
    let (answer, _stream) = send(&rig, &mut http2, CREATE, "30S", Some(&creation(1)));
    let response = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
    assert!(Status::from_header_map(response.headers()).is_none(), "{response:?}");
    assert_eq!(rig.status().await.commands_applied, before.commands_applied + 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_too_late_is_answered_before_its_body_has_come() {
    let rig = Rig::start().await;
    let mut http2 = connect(&rig).await;
    let (answer, _open) = send(&rig, &mut http2, CREATE, "1n", None::<&v1::CreateFamilyRequest>);
    assert_expired(&told(answer).await, "1n");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_comes_too_late_is_told_so() {
    let rig = Rig::start().await;
    let mut http2 = connect(&rig).await;
    let get =
        v1::GetFamilyRequest { tenant: "acme".into(), family_id: id(1), ..Default::default() };
    let path = "jeton.v1.TokenService/GetFamily";
    let (answer, _stream) = send(&rig, &mut http2, path, "1n", Some(&get));
    assert_expired(&told(answer).await, "1n");
    rig.stop().await;
}
