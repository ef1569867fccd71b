//! One server and what a test says to it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use jeton_core::ids::TenantId;
use jeton_core::token::Secret;
use jeton_server::config::Layers;
use jeton_server::{App, Config, RunError};
use jeton_wire::pb::admin_v1 as admin;
use jeton_wire::pb::admin_v1::cluster_service_client::ClusterServiceClient;
use jeton_wire::pb::admin_v1::tenant_service_client::TenantServiceClient;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::pipeline_service_client::PipelineServiceClient;
use jeton_wire::pb::v1::revocation_service_client::RevocationServiceClient;
use jeton_wire::pb::v1::token_service_client::TokenServiceClient;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

pub const TENANT: &str = "acme";
pub const CLIENT: &str = "web";
/// Nothing here takes as long; a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration for a node alone, on free ports, without background entries in its log.
pub fn config(dir: &Path) -> Config {
    let dir = dir.display().to_string();
    let flags = [
        ("data-dir", dir.as_str()),
        ("client-listen", "127.0.0.1:0"),
        ("peer-listen", "127.0.0.1:0"),
        ("digest-every-ms", "0"),
        ("sweep-every-ms", "0"),
        ("log-segment-bytes", "1048576"),
    ];
    let flags = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Layers { flags, ..Layers::default() }.load().expect("a good configuration")
}

/// A running server.
pub struct Rig {
    pub addr: SocketAddr,
    pub channel: Channel,
    pub dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), RunError>>,
}

impl Rig {
    /// A server that serves, with a tenant.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let rig = Self::start_in(dir).await;
        rig.create_tenant().await;
        rig
    }

    /// Makes [`TENANT`].
    pub async fn create_tenant(&self) {
        let request = admin::CreateTenantRequest {
            tenant: TENANT.to_owned(),
            request_id: id(250),
            settings: None,
            age_ms: 0,
        };
        self.tenants().create_tenant(soon(request)).await.expect("a new tenant");
    }

    /// The same without a tenant, over whatever the directory holds.
    pub async fn start_in(dir: TempDir) -> Self {
        let config = config(dir.path());
        Self::start_with(dir, config).await
    }

    /// The same with a configuration of the test's own.
    pub async fn start_with(dir: TempDir, config: Config) -> Self {
        let app = App::build(config).await.expect("a server");
        let addr = app.client_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async move {
            // A dropped sender means the same.
            let _ = stopped.await;
        }));
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).expect("a good address");
        let channel = endpoint.connect().await.expect("a connection");
        let rig = Self { addr, channel, dir, stop: Some(stop), running };
        rig.ready().await;
        rig
    }

    async fn ready(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.status().await.ready {
            assert!(Instant::now() < until, "the node never became ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Another connection.
    pub async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.addr));
        endpoint.expect("a good address").connect().await.expect("a connection")
    }

    pub async fn status(&self) -> admin::GetStatusResponse {
        let mut cluster = ClusterServiceClient::new(self.channel.clone());
        let status = cluster.get_status(soon(admin::GetStatusRequest {})).await;
        status.expect("a status").into_inner()
    }

    pub fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub fn revocations(&self) -> RevocationServiceClient<Channel> {
        RevocationServiceClient::new(self.channel.clone())
    }

    pub fn tenants(&self) -> TenantServiceClient<Channel> {
        TenantServiceClient::new(self.channel.clone())
    }

    pub fn pipelines(&self) -> PipelineServiceClient<Channel> {
        PipelineServiceClient::new(self.channel.clone())
    }

    /// A family of [`TENANT`] with its first token.
    pub async fn family(&self, number: u8) -> Holder {
        let holder = Holder::first(number);
        let request = create(number, &holder);
        let created = self.tokens().create_family(soon(request)).await.expect("an answer");
        match created.into_inner().outcome {
            Some(v1::create_family_response::Outcome::Created(token)) => holder.with(&token),
            other => panic!("the family was not created: {other:?}"),
        }
    }

    /// Tells the server to stop, without waiting.
    pub fn tell_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Stops the server; gives back its directory.
    pub async fn stop(mut self) -> TempDir {
        self.tell_to_stop();
        let ended = tokio::time::timeout(PATIENCE, self.running).await;
        ended.expect("it stops in time").expect("no panic").expect("it stops cleanly");
        self.dir
    }
}

/// A request with a deadline.
pub fn soon<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// A request with this `grpc-timeout`, however odd.
pub fn within<T>(message: T, timeout: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().expect("a header value"));
    request
}

/// Sixteen bytes that a test can tell from others.
pub fn id(number: u8) -> Bytes {
    Bytes::from(vec![number; 16])
}

pub fn name(number: u8) -> Option<v1::RequestName> {
    Some(v1::RequestName { id: id(number), age_ms: 0 })
}

/// Who holds a token.
#[derive(Clone)]
pub struct Holder {
    pub family: u8,
    pub secret: u8,
    pub token: v1::PresentedToken,
}

impl Holder {
    /// Who will hold the first token of a family that is yet to be made.
    pub fn first(family: u8) -> Self {
        let token = v1::PresentedToken { family_id: id(family), ..v1::PresentedToken::default() };
        Self { family, secret: 0, token }
    }

    /// The token that the store made of this holder's secret.
    pub fn with(mut self, issued: &v1::IssuedToken) -> Self {
        self.token.kid = issued.kid;
        self.token.generation = issued.generation;
        self.token.mac = issued.mac.clone();
        self.token.secret_digest = digest(self.family, self.secret);
        self
    }

    /// Who holds the successor.
    pub fn next(&self, issued: &v1::IssuedToken) -> Self {
        self.next_of(issued, self.secret + 1)
    }

    /// The same, if the successor's secret is another one.
    pub fn next_of(&self, issued: &v1::IssuedToken, secret: u8) -> Self {
        Self { secret, ..self.clone() }.with(issued)
    }

    /// A rotation under request `number`.
    pub fn rotate(&self, number: u8) -> v1::RotateRequest {
        self.rotate_to(number, self.secret + 1)
    }

    /// A rotation to another secret.
    pub fn rotate_to(&self, number: u8, secret: u8) -> v1::RotateRequest {
        v1::RotateRequest {
            tenant: TENANT.to_owned(),
            request: name(number),
            token: Some(self.token.clone()),
            successor: Some(v1::Successor {
                secret_digest: digest(self.family, secret),
                seal: Bytes::from(format!("sealed {secret}")),
            }),
            client: CLIENT.to_owned(),
            binding: None,
            origin: None,
            ..Default::default()
        }
    }

    pub fn validate(&self) -> v1::ValidateRequest {
        v1::ValidateRequest {
            tenant: TENANT.to_owned(),
            token: Some(self.token.clone()),
            client: CLIENT.to_owned(),
            binding: None,
            consistency: None,
        }
    }
}

/// Digest of secret number `secret` of a family.
fn digest(family: u8, secret: u8) -> Bytes {
    let mut bytes = [family; 32];
    bytes[31] = secret;
    Bytes::copy_from_slice(&Secret::new(bytes).digest().0)
}

/// The creation of a family, under its own number as request.
pub fn create(number: u8, holder: &Holder) -> v1::CreateFamilyRequest {
    v1::CreateFamilyRequest {
        tenant: TENANT.to_owned(),
        request: name(number),
        family_id: id(holder.family),
        secret_digest: digest(holder.family, 0),
        subject: "alice".to_owned(),
        client: CLIENT.to_owned(),
        payload: Bytes::from_static(b"opaque"),
        ..v1::CreateFamilyRequest::default()
    }
}

/// A creation for tests that need no holder.
pub fn creation(number: u8) -> v1::CreateFamilyRequest {
    create(number, &Holder::first(number))
}

/// The refusal of a rotation.
pub fn refused(response: v1::RotateResponse) -> v1::Refusal {
    match response.outcome {
        Some(v1::rotate_response::Outcome::Refusal(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// The token that a rotation issued.
pub fn rotated(response: v1::RotateResponse) -> v1::IssuedToken {
    match response.outcome {
        Some(v1::rotate_response::Outcome::Rotated(token)) => token,
        other => panic!("not rotated: {other:?}"),
    }
}

/// A good tenant's name, checked.
pub fn tenant() -> TenantId {
    TenantId::new(TENANT).expect("a good name")
}
