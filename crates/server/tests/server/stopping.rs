//! A server that is told to stop: what is outstanding is answered, and nothing new is taken.

use std::time::Duration;

use jeton_wire::Failure;
use jeton_wire::pb::v1::operation_result::Response as Answer;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::pipelines::{Pipeline, create, never};
use crate::rig::{PATIENCE, Rig, creation, soon};

#[tokio::test(flavor = "multi_thread")]
async fn health_says_serving_for_every_service() {
    let rig = Rig::start().await;
    let mut health = HealthClient::new(rig.channel.clone());
    for service in ["", "jeton.v1.TokenService", "jeton.v1.PipelineService"] {
        let until = Instant::now() + PATIENCE;
        loop {
            let request = HealthCheckRequest { service: service.to_owned() };
            let checked = health.check(soon(request)).await.expect("a known service");
            if checked.into_inner().status() == ServingStatus::Serving {
                break;
            }
            assert!(Instant::now() < until, "{service} never served");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let unknown = HealthCheckRequest { service: "jeton.v9.Oracle".to_owned() };
    let status = health.check(soon(unknown)).await.expect_err("no such service");
    assert_eq!(status.code(), Code::NotFound);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_the_stop_is_answered_and_the_stream_ends() {
    let mut rig = Rig::start().await;
    let mut pipeline = Pipeline::open(&rig).await;
    pipeline.send((1..=100).map(create).collect()).await;
    let answers = pipeline.answers(100).await;
    assert!(answers.values().all(|answer| matches!(answer, Answer::CreateFamily(_))));

    rig.tell_to_stop();
    // The stream ends by itself; what is sent meanwhile is refused, not lost.
    let ended = timeout(PATIENCE, async { while let Ok(Some(_)) = pipeline.message().await {} });
    ended.await.expect("the stream ends");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_refuses_what_is_new_and_answers_what_is_old() {
    let mut rig = Rig::start().await;
    let mut pipeline = Pipeline::open(&rig).await;
    // Keeps the server draining: a read that must wait for its deadline.
    pipeline.send(vec![never(1_000, 1_500)]).await;
    pipeline.send(vec![create(1)]).await;
    pipeline.answers(1).await;
    rig.tell_to_stop();
    for tag in 2.. {
        pipeline.send(vec![create(tag)]).await;
        match pipeline.answers(1).await.remove(&tag) {
            Some(Answer::CreateFamily(_)) => {}
            Some(Answer::Failure(failure)) => {
                assert_eq!(failure.reason, "SHUTTING_DOWN");
                assert!(failure.not_executed && failure.retry_after_ms.is_some());
                break;
            }
            other => panic!("not an answer to {tag}: {other:?}"),
        }
    }
    let old = pipeline.answers(1).await;
    assert!(matches!(&old[&1_000], Answer::Failure(f) if f.code == Code::DeadlineExceeded as i32));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_refuses_connections_and_frees_port_and_directory() {
    let rig = Rig::start().await;
    let (addr, channel) = (rig.addr, rig.channel.clone());
    let dir = rig.stop().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "nobody listens");
    let mut tokens = jeton_wire::pb::v1::token_service_client::TokenServiceClient::new(channel);
    let status = tokens.create_family(soon(creation(1))).await.expect_err("nobody answers");
    let failure = Failure::from(&status);
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!failure.not_executed, "a broken connection claims nothing");
    Rig::start_in(dir).await.stop().await;
}
