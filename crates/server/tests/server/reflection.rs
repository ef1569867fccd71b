//! gRPC server reflection: there if it is wanted, and not otherwise.

use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::rig::{Rig, config};

async fn services(rig: &Rig) -> Result<Vec<String>, tonic::Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(rig.channel.clone());
    let answers = client.server_reflection_info(tokio_stream::iter([request])).await?;
    let answer = answers.into_inner().next().await.expect("an answer")?;
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("no list: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_find_the_services_if_the_operator_wants_it() {
    let rig = Rig::start().await;
    let status = services(&rig).await.expect_err("it is off");
    assert_eq!(status.code(), Code::Unimplemented);
    let dir = rig.stop().await;

    let mut config = config(dir.path());
    config.reflection = true;
    let rig = Rig::start_with(dir, config).await;
    let found = services(&rig).await.expect("it is on");
    for service in ["jeton.v1.TokenService", "jeton.v1.PipelineService", "grpc.health.v1.Health"] {
        assert!(found.iter().any(|name| name == service), "{service} is not among {found:?}");
    }
    rig.family(1).await;
    rig.stop().await;
}
