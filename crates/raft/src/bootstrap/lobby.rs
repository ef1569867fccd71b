//! A node that has no cluster yet, as its operator sees it: what it waits for, and the order to
//! form a cluster.

use std::sync::Arc;

use jeton_core::ids::ClusterId;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::{BootstrapError, Flags, list_of};
use crate::peer::handler::Identity;

/// What a node that does not serve yet is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// It opens what is in its directory.
    #[default]
    Opening,
    /// It has no cluster, or its cluster is not formed yet.
    Waiting,
    /// It has its place, and applies what was committed.
    Recovering,
    /// It runs.
    Started(ClusterId),
}

/// What a node that does not serve yet knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scene {
    /// What it is doing.
    pub phase: Phase,
    /// Which node of which cluster it is to be, if that is settled.
    pub identity: Option<Identity>,
    /// Peer addresses of the cluster that it was told to form.
    pub forming: Option<Vec<String>>,
    /// Peer addresses that it asked and that do not answer.
    pub missing: Vec<String>,
    /// A formed cluster that does not know this node, and who told of it.
    pub foreign: Option<(ClusterId, String)>,
    /// What stands in the way, in words for the operator.
    pub refusal: Option<String>,
    /// How often something stood in the way.
    pub refusals: u64,
}

/// Why a cluster was not formed when an operator asked for it. Repeating the call is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The list of members can't be one.
    #[error("{0}")]
    Members(String),
    /// Something stands in the way.
    #[error("{0}")]
    Refused(String),
    /// The node has started as a member of a cluster that this call did not form.
    #[error("the node has started meanwhile, in a cluster that it was not told to form: ask again")]
    Started,
    /// The deadline passed.
    #[error("the deadline passed, and the cluster is not formed: {0}")]
    DeadlineExceeded(String),
}

/// See the module. Shared by the bootstrap and whoever asks.
#[derive(Debug)]
pub struct Lobby {
    own: String,
    flags: Flags,
    order: Mutex<Order>,
    ordered: Notify,
    scene: watch::Sender<Scene>,
}

/// What an operator asked for.
#[derive(Debug, Default)]
struct Order {
    members: Option<Vec<String>>,
    /// Calls that wait for it. When the last one gives up before the node is stamped, it is off.
    waiting: usize,
    /// Who did not answer when the members were last asked, and which those were. It outlasts the
    /// order: a call that is repeated may end before they are asked again.
    absent: (Vec<String>, Vec<String>),
    /// The node is being stamped for it: it can't be taken back.
    settled: bool,
}

impl Lobby {
    /// Of the node at the peer address `own`.
    #[must_use]
    pub fn new(own: String, flags: Flags) -> Arc<Self> {
        let scene = watch::Sender::new(Scene::default());
        Arc::new(Self { own, flags, order: Mutex::default(), ordered: Notify::new(), scene })
    }

    /// What the node is doing and what it waits for.
    #[must_use]
    pub fn scene(&self) -> Scene {
        self.scene.borrow().clone()
    }

    /// Why the node does not serve, and what to do.
    #[must_use]
    pub fn why(&self) -> String {
        let scene = self.scene();
        let own = &self.own;
        match (scene.phase, &scene.identity) {
            (Phase::Opening, _) => "it opens its data directory".to_owned(),
            (Phase::Recovering | Phase::Started(_), _) => {
                "it applies what was committed before it stopped".to_owned()
            }
            (Phase::Waiting, place) => {
                let mut words = match place {
                    Some(Identity { cluster, node }) => {
                        format!("it waits, as node {node}, for cluster {cluster} to be formed")
                    }
                    None if self.flags.expect > 0 => {
                        format!("it waits for the {} first members", self.flags.expect)
                    }
                    None => "it waits to be added to a cluster (jeton cluster add), or to be told \
                             to form one (jeton cluster init)"
                        .to_owned(),
                };
                if !scene.missing.is_empty() {
                    words = format!("{words}; no answer from {}", scene.missing.join(", "));
                }
                if let Some((cluster, at)) = &scene.foreign {
                    words = format!(
                        "{words}; cluster {cluster} at {at} does not know it: jeton cluster add \
                         {own}"
                    );
                }
                match &scene.refusal {
                    Some(refusal) => format!("{words}; {refusal}"),
                    None => words,
                }
            }
        }
    }

    /// Has the node form a cluster of these members, its own address among them; an empty list
    /// stands for the one it was started with, or for the node alone. Returns when the node runs,
    /// and which cluster it is in.
    ///
    /// Nothing is written before all members have answered, and the order is off if they don't
    /// before the deadline. From then on it goes on by itself, also over restarts; the same call
    /// again waits for it.
    ///
    /// # Errors
    /// [`InitError`]; repeating the call is safe.
    pub async fn init(
        &self,
        members: &[String],
        deadline: Instant,
    ) -> Result<ClusterId, InitError> {
        let members = self.named(members)?;
        let mut scenes = self.scene.subscribe();
        let known = scenes.wait_for(|scene| scene.phase != Phase::Opening);
        if timeout_at(deadline, known).await.is_err() {
            return Err(InitError::DeadlineExceeded(self.why()));
        }
        // Read first: what is refused from here on may be this very order.
        let before = scenes.borrow_and_update().refusals;
        let _waiting = self.order(&members)?;
        loop {
            let now = scenes.borrow_and_update().clone();
            if let (Phase::Started(cluster), Some(forming)) = (now.phase, &now.forming)
                && *forming == members
            {
                return Ok(cluster);
            }
            if let Phase::Started(_) = now.phase {
                return Err(InitError::Started);
            }
            if let Some(words) = now.refusal.filter(|_| now.refusals > before) {
                return Err(InitError::Refused(words));
            }
            if timeout_at(deadline, scenes.changed()).await.is_err() {
                return Err(InitError::DeadlineExceeded(self.why_not_formed(&members)));
            }
        }
    }

    fn why_not_formed(&self, members: &[String]) -> String {
        let words = self.why();
        let order = self.order.lock();
        let (asked, absent) = &order.absent;
        if asked != members || absent.is_empty() || !self.scene.borrow().missing.is_empty() {
            return words;
        }
        format!("{words}; no answer from {}", absent.join(", "))
    }

    /// Who of the members that were asked did not answer.
    pub(super) fn asked(&self, members: &[String], absent: Vec<String>) {
        self.order.lock().absent = (members.to_vec(), absent);
    }

    /// Sorted, checked; see [`Lobby::init`].
    fn named(&self, members: &[String]) -> Result<Vec<String>, InitError> {
        let named = if members.is_empty() { &self.flags.join } else { members };
        let named = if named.is_empty() { std::slice::from_ref(&self.own) } else { named };
        let flags = Flags { expect: 0, join: named.to_vec() };
        let list = list_of(&flags, &self.own);
        let wrong = |words: String| Err(InitError::Members(words));
        if list.len() as u64 > super::FIRST_MEMBERS_MAX {
            return wrong(format!("at most {} nodes begin a cluster", super::FIRST_MEMBERS_MAX));
        }
        if list.iter().any(|address| !address.contains(':') || address.contains(char::is_control)) {
            return wrong("a member is not host:port: name the peer addresses".to_owned());
        }
        if !list.contains(&self.own) {
            let (own, list) = (&self.own, list.join(", "));
            return wrong(format!(
                "this node, {own}, is not among the members {list}: name it too"
            ));
        }
        Ok(list)
    }

    fn order(&self, members: &[String]) -> Result<Ordered<'_>, InitError> {
        let refused = |words: String| Err(InitError::Refused(words));
        let mut order = self.order.lock();
        let scene = self.scene();
        let forming = scene.forming.as_deref().or(order.members.as_deref());
        match (forming, scene.identity) {
            _ if matches!(scene.phase, Phase::Started(_) | Phase::Recovering) => {}
            (Some(forming), _) if forming != members => {
                return refused(format!(
                    "this node already forms a cluster of {}: repeat the call with the same \
                     members, or empty the data directories of all of them and begin again",
                    forming.join(", ")
                ));
            }
            (None, _) if self.flags.expect > 0 => {
                return refused(format!(
                    "this node was started with --bootstrap-expect {}, and forms its cluster by \
                     itself: jeton cluster status says what it waits for",
                    self.flags.expect
                ));
            }
            (None, Some(Identity { cluster, node })) => return refused(taken(cluster, node)),
            _ => {}
        }
        if order.members.is_none() {
            order.members = Some(members.to_vec());
            // What stood in the way of another order says nothing about this one.
            self.change(|scene| scene.refusal = None);
        }
        order.waiting += 1;
        drop(order);
        self.ordered.notify_one();
        Ok(Ordered(self))
    }

    /// What is to be formed.
    pub(super) fn ordered(&self) -> Option<Vec<String>> {
        self.order.lock().members.clone()
    }

    /// Waits for an order.
    pub(super) async fn next_order(&self) {
        self.ordered.notified().await;
    }

    /// From now on the order can't be taken back. Returns whether it still stands.
    pub(super) fn settle(&self, members: &[String]) -> bool {
        let mut order = self.order.lock();
        let stands = order.members.as_deref() == Some(members);
        order.settled = stands;
        stands
    }

    /// The order can't be carried out: it is off, if it was not settled.
    pub(super) fn refuse(&self, words: String) {
        let mut order = self.order.lock();
        if !order.settled {
            order.members = None;
        }
        drop(order);
        if self.scene.borrow().refusal.as_ref() != Some(&words) {
            tracing::warn!(why = words, "the cluster can't be formed yet");
        }
        self.change(|scene| {
            scene.refusal = Some(words);
            scene.refusals += 1;
        });
    }

    /// The node has got another place meanwhile.
    pub(super) fn overtaken(&self, Identity { cluster, node }: Identity) {
        if self.order.lock().members.is_some() {
            self.refuse(taken(cluster, node));
        }
    }

    /// Tells what has changed.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Scene)) {
        self.scene.send_if_modified(|scene| {
            let before = scene.clone();
            change(scene);
            *scene != before
        });
    }

    pub(super) fn check(&self) -> Result<Vec<String>, BootstrapError> {
        super::first_members(&self.flags, &self.own)
    }

    pub(super) fn expect(&self) -> usize {
        self.flags.expect
    }
}

fn taken(cluster: ClusterId, node: u64) -> String {
    format!(
        "another node has given this one its place, node {node} of the new cluster {cluster}: go \
         on there. If that cluster was never formed, empty this node's data directory and start it \
         again"
    )
}

/// A call that waits for an order to be carried out.
struct Ordered<'a>(&'a Lobby);

impl Drop for Ordered<'_> {
    fn drop(&mut self) {
        let mut order = self.0.order.lock();
        order.waiting -= 1;
        if order.waiting == 0 && !order.settled {
            order.members = None;
        }
    }
}
