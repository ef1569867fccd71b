//! The fake node's calls of their own, and the client in unary mode.

use std::time::Duration;

use jeton_client::{Client, Error, RotateContext, Rotation};
use jeton_wire::failure::reason;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::pb::v1::token_service_server::{TokenService, TokenServiceServer};
use tonic::{Code, Status};

use super::node::{Act, FakeNode, config, failure, rotated, rotation, token};

const SOON: Duration = Duration::from_secs(20);

/// The node's service of unary calls.
pub fn service(node: FakeNode) -> TokenServiceServer<FakeNode> {
    TokenServiceServer::new(node)
}

#[tonic::async_trait]
impl TokenService for FakeNode {
    async fn rotate(
        &self,
        request: tonic::Request<v1::RotateRequest>,
    ) -> Result<tonic::Response<v1::RotateResponse>, Status> {
        let has_deadline = request.metadata().contains_key("grpc-timeout");
        let deadline_ms = u64::from(has_deadline);
        let request = Some(Request::Rotate(request.into_inner()));
        match self.act(v1::Operation { tag: 0, deadline_ms, request }) {
            Act::Answer(Response::Rotate(response)) => Ok(tonic::Response::new(response)),
            Act::Fail(failure) => Err(failure.into()),
            Act::Swallow => std::future::pending().await,
            Act::Answer(_) | Act::Break => Err(Status::unknown("h2 protocol error")),
        }
    }

    async fn create_family(
        &self,
        _: tonic::Request<v1::CreateFamilyRequest>,
    ) -> Result<tonic::Response<v1::CreateFamilyResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn validate(
        &self,
        _: tonic::Request<v1::ValidateRequest>,
    ) -> Result<tonic::Response<v1::ValidateResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn touch(
        &self,
        _: tonic::Request<v1::TouchRequest>,
    ) -> Result<tonic::Response<v1::TouchResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn update_family(
        &self,
        _: tonic::Request<v1::UpdateFamilyRequest>,
    ) -> Result<tonic::Response<v1::UpdateFamilyResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_family(
        &self,
        _: tonic::Request<v1::GetFamilyRequest>,
    ) -> Result<tonic::Response<v1::GetFamilyResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_families(
        &self,
        _: tonic::Request<v1::ListFamiliesRequest>,
    ) -> Result<tonic::Response<v1::ListFamiliesResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn count_families(
        &self,
        _: tonic::Request<v1::CountFamiliesRequest>,
    ) -> Result<tonic::Response<v1::CountFamiliesResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tokio::test]
async fn a_unary_call_that_broke_is_repeated_under_its_name() {
    let mut calls = 0;
    let node = FakeNode::start(move |operation| {
        calls += 1;
        if calls == 1 { Act::Break } else { Act::Answer(rotated(operation)) }
    })
    .await;
    let client = Client::connect(config([&node]).unary(true)).await.unwrap();
    let acme = client.tenant("acme").unwrap();
    let rotation_ = acme.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap();
    assert!(matches!(rotation_, Rotation::Rotated(_)));

    let sent = node.operations();
    assert_eq!(sent.len(), 2);
    let (first, second) = (rotation(&sent[0]), rotation(&sent[1]));
    assert_eq!(first.request.as_ref().unwrap().id, second.request.as_ref().unwrap().id);
    assert_eq!(first.successor, second.successor);
    assert!(sent.iter().all(|operation| operation.deadline_ms == 1), "each has a grpc-timeout");
    assert!(node.messages().is_empty(), "nothing went through a pipeline");
}

#[tokio::test]
async fn details_of_a_unary_failure_survive() {
    let node = FakeNode::start(|_| {
        Act::Fail(
            failure(Code::ResourceExhausted, reason::RATE_LIMITED)
                .retry_after(Duration::from_millis(700))
                .not_executed(),
        )
    })
    .await;
    let client = Client::connect(config([&node]).unary(true)).await.unwrap();
    let acme = client.tenant("acme").unwrap();
    let error = acme.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap_err();
    let Error::RateLimited { retry_after, .. } = error else { panic!("{error}") };
    assert_eq!(retry_after, Some(Duration::from_millis(700)));
}
