//! Which endpoint to use, and when to leave it.
//!
//! One node is *current*, and everything goes there, so that one stream carries it all. When it
//! breaks or says that it can't serve, the next endpoint becomes current; connections that still
//! work are kept for coming back. With `prefer_leader`, a scout asks once a second who leads, and
//! makes that node current.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jeton_wire::pb::admin_v1::GetStatusRequest;
use jeton_wire::pb::admin_v1::cluster_service_client::ClusterServiceClient;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::node::Node;
use crate::config::{Config, ENDPOINTS_MAX, uri};
use crate::entropy;

/// How often the scout asks who leads.
const SCOUT_INTERVAL: Duration = Duration::from_secs(1);

/// The endpoints of one cluster, and the connections to them.
pub(crate) struct Router {
    config: Config,
    current: RwLock<Option<Arc<Node>>>,
    /// Held while a connection is made: one does it for all who wait.
    pool: Mutex<Pool>,
}

struct Pool {
    endpoints: Vec<Endpoint>,
    /// The endpoint to try next.
    next: usize,
}

struct Endpoint {
    uri: Arc<str>,
    node: Option<Arc<Node>>,
}

impl Router {
    /// Connects to the first endpoint that answers, beginning with a random one.
    ///
    /// # Errors
    /// In words, what each endpoint said.
    pub async fn connect(config: Config) -> Result<Arc<Self>, String> {
        let endpoints: Vec<_> = config
            .endpoints
            .iter()
            .map(|uri| Endpoint { uri: uri.as_str().into(), node: None })
            .collect();
        let next = usize::try_from(entropy::below(&*config.entropy, endpoints.len() as u64))
            .unwrap_or_default();
        let pool = Mutex::new(Pool { endpoints, next });
        let router = Arc::new(Self { config, current: RwLock::new(None), pool });
        router.switch().await?;
        if router.config.prefer_leader {
            tokio::spawn(scout(Arc::downgrade(&router)));
        }
        Ok(router)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The node to use now, connecting to one if need be.
    ///
    /// # Errors
    /// In words, what each endpoint said, or that the deadline came first.
    pub async fn node(&self, deadline: Instant) -> Result<Arc<Node>, String> {
        if let Some(node) = self.open_current() {
            return Ok(node);
        }
        match tokio::time::timeout_at(deadline, self.switch()).await {
            Ok(switched) => switched,
            Err(_) => Err("no endpoint answered in time".to_owned()),
        }
    }

    /// Goes on with another node, if `node` is still the current one.
    pub fn leave(&self, node: &Arc<Node>) {
        let mut current = self.current.write();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, node)) {
            *current = None;
        }
    }

    fn open_current(&self) -> Option<Arc<Node>> {
        self.current.read().as_ref().filter(|node| node.is_open()).cloned()
    }

    /// Makes the next endpoint that answers the current one.
    async fn switch(&self) -> Result<Arc<Node>, String> {
        let mut pool = self.pool.lock().await;
        // Whoever held the lock before may have done it.
        if let Some(node) = self.open_current() {
            return Ok(node);
        }
        let mut whys = Vec::new();
        for _ in 0..pool.endpoints.len() {
            let place = pool.next % pool.endpoints.len();
            pool.next = place + 1;
            match pool.endpoints[place].open(&self.config).await {
                Ok(node) => {
                    *self.current.write() = Some(Arc::clone(&node));
                    return Ok(node);
                }
                Err(why) => whys.push(format!("{}: {why}", pool.endpoints[place].uri)),
            }
        }
        Err(whys.join("; "))
    }

    /// Makes the endpoint at `uri` the current one, if it answers.
    async fn prefer(&self, uri: &str) {
        let mut pool = self.pool.lock().await;
        let place = match pool.endpoints.iter().position(|endpoint| *endpoint.uri == *uri) {
            Some(place) => place,
            None if pool.endpoints.len() < ENDPOINTS_MAX => {
                pool.endpoints.push(Endpoint { uri: uri.into(), node: None });
                pool.endpoints.len() - 1
            }
            None => return,
        };
        // If it doesn't answer, all goes on as it was, and the next round tries again.
        if let Ok(node) = pool.endpoints[place].open(&self.config).await {
            pool.next = place + 1;
            *self.current.write() = Some(node);
        }
    }

    /// Asks the current node who leads, and goes there.
    async fn seek_leader(&self) {
        let Some(node) = self.open_current() else { return };
        let mut cluster = ClusterServiceClient::new(node.channel.clone());
        let status = cluster.get_status(GetStatusRequest {});
        let timeout = self.config.connect_timeout;
        let Ok(Ok(status)) = tokio::time::timeout(timeout, status).await else { return };
        let status = status.into_inner();
        if status.leader_id == 0 || status.leader_id == status.node_id {
            return;
        }
        let leader = status.members.iter().find(|member| member.node_id == status.leader_id);
        if let Some(uri) = leader.and_then(|leader| uri(&leader.client_address).ok())
            && *node.uri != *uri
        {
            tracing::debug!(%uri, "following the leader");
            self.prefer(&uri).await;
        }
    }
}

impl Endpoint {
    /// The connection to it, made if need be.
    async fn open(&mut self, config: &Config) -> Result<Arc<Node>, String> {
        if let Some(node) = self.node.as_ref().filter(|node| node.is_open()) {
            return Ok(Arc::clone(node));
        }
        self.node = None;
        let node = Arc::new(Node::connect(&self.uri, config).await?);
        self.node = Some(Arc::clone(&node));
        Ok(node)
    }
}

/// Follows the leader until the client is gone.
async fn scout(router: Weak<Router>) {
    loop {
        match router.upgrade() {
            Some(router) => router.seek_leader().await,
            None => return,
        }
        tokio::time::sleep(SCOUT_INTERVAL).await;
    }
}
