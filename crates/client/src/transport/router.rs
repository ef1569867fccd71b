//! Which endpoint to use, and when to leave it.
//!
//! One node is *current*, and everything goes there, so that one stream carries it all. When it
//! breaks or says that it can't serve, the next endpoint becomes current; connections that still
//! work are kept for coming back. With `prefer_leader`, a scout asks once a second who leads, and
//! makes that node current; so does a failure that names the leader.
//!
//! Without it, an operation whose failure names the leader goes there alone: clients that are
//! spread over all nodes stay so.
//!
//! An endpoint that was learned is kept while the newest status names a member there.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jeton_wire::pb::admin_v1::cluster_service_client::ClusterServiceClient;
use jeton_wire::pb::admin_v1::{GetStatusRequest, GetStatusResponse};
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::hints::{Hints, Verdict};
use super::node::Node;
use crate::config::{Config, ENDPOINTS_MAX, uri};
use crate::entropy;

/// How often the scout asks who leads.
const SCOUT_INTERVAL: Duration = Duration::from_secs(1);

/// Where the first attempt at an operation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toward {
    /// To the current node.
    Any,
    /// To the leader, if it is known: others refuse it.
    Leader,
}

/// The endpoints of one cluster, and the connections to them.
pub(crate) struct Router {
    config: Config,
    hints: Hints,
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
        let hints = Hints::new(&config);
        let router = Arc::new(Self { config, hints, current: RwLock::new(None), pool });
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

    /// Where the leader is, if the first attempt is to go there and that is known.
    pub fn first(&self, toward: Toward) -> Option<Arc<str>> {
        match toward {
            Toward::Any => None,
            Toward::Leader => self.hints.leader(Instant::now()),
        }
    }

    /// The node at `leader`; if nobody answers there, the one to use otherwise. A node that can't
    /// be reached costs half of the time that is left, at most.
    ///
    /// # Errors
    /// As [`Router::node`].
    pub async fn node_at(&self, leader: &Arc<str>, deadline: Instant) -> Result<Arc<Node>, String> {
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        match tokio::time::timeout_at(half, self.open_leader(leader)).await {
            Ok(Some(node)) => return Ok(node),
            Ok(None) => {}
            // Too little time says nothing about the leader: real failures are noted by the pool.
            Err(_) => {}
        }
        self.node(deadline).await
    }

    /// Whether to go where a failure of `from` says that the leader is: its URI then.
    pub async fn follow(&self, address: &str, from: &Node, deadline: Instant) -> Option<Arc<str>> {
        let leader: Arc<str> = uri(address).ok()?.into();
        // A node that names itself may be about to step down: asking it again needs a pause.
        if leader == from.uri {
            return None;
        }
        let mut verdict = self.hints.judge(&leader, Instant::now());
        if verdict == Verdict::Ask {
            self.status_of(from, deadline).await?;
            verdict = self.hints.judge(&leader, Instant::now());
        }
        if verdict != Verdict::Follow {
            tracing::debug!(%leader, from = %from.uri, "not going there: see Config::reach");
            return None;
        }
        tracing::debug!(%leader, from = %from.uri, "going to the leader");
        self.hints.learn(&leader, Instant::now());
        Some(leader)
    }

    /// Goes on with another node, if `node` is still the current one.
    pub fn leave(&self, node: &Arc<Node>) {
        self.hints.forget(&node.uri);
        let mut current = self.current.write();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, node)) {
            *current = None;
        }
    }

    fn open_current(&self) -> Option<Arc<Node>> {
        self.current.read().as_ref().filter(|node| node.is_open()).cloned()
    }

    /// Makes the next endpoint that answers the current one. One that waits for its cluster is
    /// used if there is nothing better, and not kept.
    async fn switch(&self) -> Result<Arc<Node>, String> {
        let mut pool = self.pool.lock().await;
        // Whoever held the lock before may have done it.
        if let Some(node) = self.open_current() {
            return Ok(node);
        }
        if self.config.prefer_leader
            && let Some(leader) = self.hints.leader(Instant::now())
            && let Some(node) = self.open_in(&mut pool, &leader).await
        {
            return Ok(node);
        }
        pool.drop_gone(&self.hints);
        let (mut whys, mut waiting) = (Vec::new(), None);
        for _ in 0..pool.endpoints.len() {
            let place = pool.next % pool.endpoints.len();
            pool.next = place + 1;
            match pool.endpoints[place].open(&self.config).await {
                Ok(node) if node.waits() => waiting = Some(node),
                Ok(node) => {
                    *self.current.write() = Some(Arc::clone(&node));
                    return Ok(node);
                }
                Err(why) => whys.push(format!("{}: {why}", pool.endpoints[place].uri)),
            }
        }
        waiting.ok_or_else(|| whys.join("; "))
    }

    /// The node at `leader`, made the current one if leaders are preferred.
    async fn open_leader(&self, leader: &Arc<str>) -> Option<Arc<Node>> {
        let mut pool = self.pool.lock().await;
        // Whoever held the lock before may have found that nobody answers.
        if self.hints.judge(leader, Instant::now()) != Verdict::Follow {
            return None;
        }
        self.open_in(&mut pool, leader).await
    }

    async fn open_in(&self, pool: &mut Pool, leader: &Arc<str>) -> Option<Arc<Node>> {
        pool.drop_gone(&self.hints);
        let opened = pool.open(leader, &self.config).await;
        let node = opened
            .inspect_err(|why| {
                tracing::debug!(%leader, why, "the leader that was named can't be reached");
                self.hints.unreachable(leader, Instant::now());
            })
            .ok()?;
        if self.config.prefer_leader {
            *self.current.write() = Some(Arc::clone(&node));
        }
        Some(node)
    }

    /// Asks a node for its status, and keeps the addresses of the members that it names.
    async fn status_of(&self, node: &Node, deadline: Instant) -> Option<GetStatusResponse> {
        let mut cluster = ClusterServiceClient::new(node.channel.clone());
        let until = deadline.min(Instant::now() + self.config.connect_timeout);
        let mut request = tonic::Request::new(GetStatusRequest {});
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        let answered = tokio::time::timeout_at(until, cluster.get_status(request)).await;
        let status = answered.ok()?.ok()?.into_inner();
        self.hints.name_members(
            status.members.iter().filter_map(|member| uri(&member.client_address).ok()),
        );
        Some(status)
    }

    /// Asks the current node who leads, and goes there.
    async fn seek_leader(&self) {
        let Some(node) = self.open_current() else { return };
        let deadline = Instant::now() + self.config.connect_timeout;
        let Some(status) = self.status_of(&node, deadline).await else { return };
        if status.leader_id == 0 || status.leader_id == status.node_id {
            return;
        }
        let leader = status.members.iter().find(|member| member.node_id == status.leader_id);
        if let Some(leader) = leader
            && let Some(uri) = self.follow(&leader.client_address, &node, deadline).await
        {
            // If it doesn't answer, all goes on as it was.
            self.open_leader(&uri).await;
        }
    }
}

impl Pool {
    /// Drops what was learned and is no member's address any more.
    fn drop_gone(&mut self, hints: &Hints) {
        self.endpoints.retain(|endpoint| hints.knows(&endpoint.uri));
    }

    /// The connection to `uri`, made if need be. An endpoint that was learned is kept for bad times
    /// once it has answered.
    async fn open(&mut self, uri: &Arc<str>, config: &Config) -> Result<Arc<Node>, String> {
        if let Some(known) = self.endpoints.iter_mut().find(|endpoint| endpoint.uri == *uri) {
            return known.open(config).await;
        }
        if self.endpoints.len() >= ENDPOINTS_MAX {
            return Err(format!("{ENDPOINTS_MAX} endpoints are known already"));
        }
        let mut learned = Endpoint { uri: Arc::clone(uri), node: None };
        let node = learned.open(config).await?;
        self.endpoints.push(learned);
        Ok(node)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_of_a_removed_member_is_dropped_and_configured_ones_stay() {
        let hints = Hints::new(&Config::new(["10.0.0.1:7401"]).checked().unwrap());
        let endpoint = |uri: &str| Endpoint { uri: uri.into(), node: None };
        let learned = ["http://10.0.0.1:7401", "http://10.0.0.2:7401", "http://10.0.0.3:7401"];
        let mut pool = Pool { endpoints: learned.map(endpoint).into(), next: 2 };
        hints.name_members(learned[1..].iter().map(|uri| (*uri).to_owned()));
        pool.drop_gone(&hints);
        assert_eq!(pool.endpoints.len(), 3, "they are members");
        hints.name_members(std::iter::once(learned[2].to_owned()));
        pool.drop_gone(&hints);
        let left: Vec<&str> = pool.endpoints.iter().map(|endpoint| &*endpoint.uri).collect();
        assert_eq!(left, [learned[0], learned[2]]);
    }
}
