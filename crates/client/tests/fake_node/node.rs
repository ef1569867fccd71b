//! A node in this process that keeps a record of what it was sent, and does with it as it is told.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use jeton_client::{Client, Config, RefreshToken, SeededEntropy, Tenant};
use jeton_core::ids::{FamilyId, Generation, Kid, Mac, TenantId};
use jeton_core::token::{NativeToken, Secret, tenant_tag};
use jeton_wire::Failure;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::pb::v1::pipeline_service_server::{PipelineService, PipelineServiceServer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Status, Streaming};

use super::admin::FakeAdmin;

/// What to do with an operation.
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
pub enum Act {
    Answer(Response),
    Fail(Failure),
    /// Never answer it.
    Swallow,
    /// Break the stream instead of answering.
    Break,
}

type Script = Box<dyn FnMut(&v1::Operation) -> Act + Send>;

struct Shared {
    script: Mutex<Script>,
    operations: Mutex<Vec<v1::Operation>>,
    messages: Mutex<Vec<usize>>,
    refusing: AtomicBool,
    down: watch::Sender<bool>,
}

/// A node on a port of this machine, gone with its runtime.
#[derive(Clone)]
pub struct FakeNode {
    pub address: SocketAddr,
    pub admin: FakeAdmin,
    shared: Arc<Shared>,
}

impl FakeNode {
    /// A node that does what `script` says for each operation.
    pub async fn start(script: impl FnMut(&v1::Operation) -> Act + Send + 'static) -> Self {
        Self::listening(port(), script).await
    }

    /// A node whose script knows the node's own address.
    pub async fn start_with(
        script: impl Fn(SocketAddr, &v1::Operation) -> Act + Send + 'static,
    ) -> Self {
        let port = port();
        let own = port.local_addr().unwrap();
        Self::listening(port, move |operation| script(own, operation)).await
    }

    /// A node at a port that was opened before, so that others could be told of it.
    pub async fn listening(
        port: std::net::TcpListener,
        script: impl FnMut(&v1::Operation) -> Act + Send + 'static,
    ) -> Self {
        port.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(port).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            operations: Mutex::default(),
            messages: Mutex::default(),
            refusing: AtomicBool::new(false),
            down: watch::channel(false).0,
        });
        let node = Self { address, admin: FakeAdmin::default(), shared };
        let server = tonic::transport::Server::builder()
            .add_service(PipelineServiceServer::new(node.clone()))
            .add_service(super::unary::service(node.clone()))
            .add_service(node.admin.clusters())
            .add_service(node.admin.tenants())
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        node
    }

    /// A client of this node alone, with randomness that is the same in every run.
    pub async fn client(&self) -> Client {
        Client::connect(config([self])).await.unwrap()
    }

    /// The tenant `acme` through a client of this node alone.
    pub async fn acme(&self) -> Tenant {
        self.client().await.tenant("acme").unwrap()
    }

    /// Breaks every stream, and takes no more.
    pub fn go_down(&self) {
        self.shared.refusing.store(true, Ordering::SeqCst);
        self.shared.down.send_replace(true);
    }

    /// Everything that it was sent.
    pub fn operations(&self) -> Vec<v1::Operation> {
        self.shared.operations.lock().clone()
    }

    /// How many operations each message held.
    pub fn messages(&self) -> Vec<usize> {
        self.shared.messages.lock().clone()
    }

    /// Judges one operation by the script.
    pub fn act(&self, operation: v1::Operation) -> Act {
        let act = (self.shared.script.lock())(&operation);
        self.shared.operations.lock().push(operation);
        act
    }

    /// Answers a message; `None` breaks the stream.
    fn answer(&self, message: v1::PipelineRequest) -> Option<v1::PipelineResponse> {
        self.shared.messages.lock().push(message.operations.len());
        let mut results = Vec::new();
        let mut broken = false;
        for operation in message.operations {
            let tag = operation.tag;
            let response = match self.act(operation) {
                Act::Answer(response) => response,
                Act::Fail(failure) => Response::Failure(failure.into()),
                Act::Swallow => continue,
                Act::Break => {
                    broken = true;
                    continue;
                }
            };
            results.push(v1::OperationResult { tag, response: Some(response) });
        }
        (!broken).then_some(v1::PipelineResponse { results })
    }
}

/// A free port of this machine.
pub fn port() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A client's configuration for some nodes, with randomness that is the same in every run.
pub fn config<'a>(nodes: impl IntoIterator<Item = &'a FakeNode>) -> Config {
    Config::new(nodes.into_iter().map(|node| node.address.to_string()))
        .entropy(Arc::new(SeededEntropy::new(1)))
        .backoff(Duration::from_millis(1), Duration::from_millis(4))
        .connect_timeout(Duration::from_secs(10))
        .attempt_timeout(Duration::from_secs(60))
}

#[tonic::async_trait]
impl PipelineService for FakeNode {
    type PipelineStream =
        Pin<Box<dyn Stream<Item = Result<v1::PipelineResponse, Status>> + Send + 'static>>;

    async fn pipeline(
        &self,
        request: tonic::Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<tonic::Response<Self::PipelineStream>, Status> {
        if self.shared.refusing.load(Ordering::SeqCst) {
            return Err(Status::unavailable("this node is down"));
        }
        let (answers, outbound) = mpsc::channel(16);
        let node = self.clone();
        let mut down = self.shared.down.subscribe();
        let mut inbound = request.into_inner();
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    biased;
                    _ = down.wait_for(|down| *down) => break,
                    message = inbound.next() => message,
                };
                let Some(Ok(message)) = message else { break };
                match node.answer(message) {
                    Some(response) if response.results.is_empty() => {}
                    Some(response) => answers.send(Ok(response)).await.unwrap_or_default(),
                    None => break,
                }
            }
            let broken = Err(Status::unavailable("the stream breaks"));
            answers.send(broken).await.unwrap_or_default();
        });
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(outbound))))
    }
}

/// A token of `acme` as it might have been issued.
pub fn token(generation: u64) -> RefreshToken {
    let native = NativeToken {
        kid: Kid(1),
        tenant_tag: tenant_tag(&TenantId::new("acme").unwrap()),
        family: FamilyId([3; 16]),
        generation: Generation(generation),
        secret: Secret::new([generation as u8; 32]),
        mac: Mac([9; 16]),
    };
    native.format().expose().parse().unwrap()
}

/// What a cluster adds to a secret.
pub fn issued(generation: u64) -> v1::IssuedToken {
    v1::IssuedToken {
        family_id: Bytes::from_static(&[3; 16]),
        generation,
        kid: 1,
        mac: Bytes::from_static(&[8; 16]),
        expires_at_unix_ms: 2_000,
        idle_expires_at_unix_ms: 1_000,
    }
}

/// The rotation in an operation.
pub fn rotation(operation: &v1::Operation) -> &v1::RotateRequest {
    match &operation.request {
        Some(Request::Rotate(rotate)) => rotate,
        _ => panic!("not a rotation"),
    }
}

/// The answer of a node that rotates whatever it is shown.
pub fn rotated(operation: &v1::Operation) -> Response {
    let presented = rotation(operation).token.as_ref().unwrap().generation;
    rotate_response(v1::rotate_response::Outcome::Rotated(issued(presented + 1)))
}

/// An answer to a rotation.
pub fn rotate_response(outcome: v1::rotate_response::Outcome) -> Response {
    Response::Rotate(v1::RotateResponse { position: 4096, outcome: Some(outcome) })
}

/// A failure with this code.
pub fn failure(code: Code, reason: &'static str) -> Failure {
    Failure::new(code, reason, "as the test wants it")
}
