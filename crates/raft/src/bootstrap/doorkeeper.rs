//! Who answers at the peer port before, and beside, the node itself: probes and offers.
//!
//! Offers are decided one after the other, and an accepted one is durable before it is answered.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jeton_core::ids::ClusterId;
use jeton_storage::data_dir::{DataDir, DataDirError};
use jeton_storage::init_plan::InitPlan;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::BootstrapError;
use crate::peer::handler::{Identity, Known};
use crate::types::{Member, NodeId};
use crate::worker;

/// What a node says to those who knock.
#[derive(Debug, Clone)]
pub struct Visit {
    /// `None`: its directory belongs to no cluster yet.
    pub identity: Option<Identity>,
    /// It has a log or a vote: its cluster was formed.
    pub formed: bool,
    /// Where it wants to be reached.
    pub own: Member,
    /// The members that it knows of.
    pub members: Vec<(NodeId, Member)>,
    /// The leader that it knows of.
    pub leader: Option<NodeId>,
    /// Another one at each start of its process.
    pub boot_id: u64,
}

/// A place in a cluster.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Why.
    pub purpose: Purpose,
    /// Which place.
    pub identity: Identity,
    /// Peer address of who offers.
    pub caller: String,
    /// Peer address of whom it is offered to.
    pub address: String,
    /// Boot id of whom it is offered to.
    pub boot_id: u64,
}

/// Why a place is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A new cluster of exactly these addresses, sorted.
    Bootstrap {
        /// All first members.
        expected: Vec<String>,
    },
    /// One more node for a cluster that exists.
    Join,
}

/// How an offer was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferAnswer {
    /// The directory is stamped, durably.
    Accepted,
    /// Not decided, and why: to be repeated with a new probe.
    Later(String),
    /// Never, and why.
    Refused(String),
}

/// Why an offer was refused. Read by the operator of the other node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferRefused {
    /// Meant for another address.
    #[error("the offer was meant for {meant}, this node is {own}: check the advertised addresses")]
    OtherAddress {
        /// The offer's.
        meant: String,
        /// This node's.
        own: String,
    },
    /// It was restarted since it was asked.
    #[error("this node was restarted meanwhile: repeat the offer")]
    Restarted,
    /// It has only just started.
    #[error("this node does not know its flags yet: repeat the offer")]
    Starting,
    /// It is a member of that cluster.
    #[error("this node is node {} of that cluster already", .0.node)]
    Member(Identity),
    /// It has another place.
    #[error(
        "its data directory is stamped as node {} of cluster {}: if that cluster was never \
         formed, empty the directory; nothing was stored in it yet", .0.node, .0.cluster
    )]
    Taken(Identity),
    /// It was started with other flags.
    #[error("it was started to form a cluster of {own:?}, not of {offered:?}: use the same flags")]
    OtherFlags {
        /// Its own list.
        own: Vec<String>,
        /// The offered one.
        offered: Vec<String>,
    },
    /// Somebody else is to form the cluster.
    #[error("{0} is not the one to form this cluster: only the first address of the list may")]
    NotInitiator(String),
    /// The list is no list of members with its initiator.
    #[error("{0} is not among the first members that it names, or they are not in order")]
    NotListed(String),
    /// The node id isn't the place in the list.
    #[error("node id {0} is not this node's place in the list of addresses")]
    WrongPlace(NodeId),
    /// There is a cluster among the first members already.
    #[error("it has found cluster {cluster} at {address}: a second one must not be formed")]
    ClusterExists {
        /// Which.
        cluster: ClusterId,
        /// Where.
        address: String,
    },
    /// The directory can't be stamped.
    #[error("its data directory can't be stamped: {0}")]
    Stamp(DataDirError),
    /// No thread could be started.
    #[error("its data directory can't be stamped: {0}")]
    Worker(io::Error),
}

impl OfferRefused {
    /// Whether the same offer may be accepted a moment later.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Restarted | Self::Starting)
    }
}

/// What the flags of a node say.
#[derive(Debug, Clone)]
struct Expected {
    /// 0: it is added, or told to form a cluster, or accepts whoever was told to.
    count: usize,
    first_members: Vec<String>,
}

type KnownNow = Arc<dyn Fn() -> Known + Send + Sync>;

/// See the module's documentation.
pub struct Doorkeeper {
    own: Member,
    boot_id: u64,
    dir: Arc<DataDir>,
    formed: AtomicBool,
    /// Held while an offer is decided.
    deciding: Mutex<()>,
    /// `None` until the flags are known.
    expected: Mutex<Option<Expected>>,
    foreign: Mutex<Option<(ClusterId, String)>>,
    known: Mutex<Option<KnownNow>>,
    stamped: watch::Sender<Option<Identity>>,
}

impl Doorkeeper {
    /// `formed`: the node has a log or a vote. `boot_id`: random.
    #[must_use]
    pub fn new(dir: Arc<DataDir>, own: Member, formed: bool, boot_id: u64) -> Self {
        let stamp = dir.stamped().map(|s| Identity { cluster: s.cluster, node: s.node });
        Self {
            own,
            boot_id,
            dir,
            formed: AtomicBool::new(formed),
            deciding: Mutex::new(()),
            expected: Mutex::default(),
            foreign: Mutex::default(),
            known: Mutex::default(),
            stamped: watch::Sender::new(stamp),
        }
    }

    /// Where this node wants to be reached.
    #[must_use]
    pub fn own(&self) -> &Member {
        &self.own
    }

    /// Which node of which cluster this is, once its directory is stamped.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        *self.stamped.borrow()
    }

    /// Waits until the directory is stamped.
    pub async fn stamped(&self) -> Identity {
        let mut stamped = self.stamped.subscribe();
        loop {
            if let Some(identity) = *stamped.borrow_and_update() {
                return identity;
            }
            // The sender lives as long as this.
            if stamped.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The node has a log: its cluster was formed.
    #[must_use]
    pub fn formed(&self) -> bool {
        self.formed.load(Ordering::Acquire)
    }

    /// The cluster was formed: said as soon as consensus was initialised or the first leader was
    /// heard of.
    pub fn set_formed(&self) {
        self.formed.store(true, Ordering::Release);
    }

    /// The node runs: from now on it tells what it knows of its cluster.
    pub(crate) fn opened(&self, known: KnownNow) {
        *self.known.lock() = Some(known);
    }

    /// What the flags say: how many first members, and which.
    pub(super) fn expect(&self, count: usize, first_members: Vec<String>) {
        *self.expected.lock() = Some(Expected { count, first_members });
    }

    /// The cluster that this node was told to form, if it was stamped for it.
    pub(super) async fn plan(self: Arc<Self>) -> Result<Option<InitPlan>, BootstrapError> {
        let read = worker::run("plan", move || InitPlan::read(&self.dir)).await;
        read.and_then(|read| read).map_err(BootstrapError::Plan)
    }

    /// Notes, durably, which cluster this node is about to form.
    pub(super) async fn save_plan(self: Arc<Self>, plan: InitPlan) -> Result<(), BootstrapError> {
        let written = worker::run("plan", move || plan.write(&self.dir)).await;
        written.and_then(|written| written).map_err(BootstrapError::Plan)
    }

    #[cfg(test)]
    pub(super) fn expects(&self) -> Option<Vec<String>> {
        self.expected.lock().as_ref().map(|expected| expected.first_members.clone())
    }

    /// Remembers that a cluster exists. Returns whether that is news.
    pub(super) fn see(&self, cluster: ClusterId, address: &str) -> bool {
        let mut foreign = self.foreign.lock();
        let news = foreign.as_ref().is_none_or(|(seen, _)| *seen != cluster);
        *foreign = Some((cluster, address.to_owned()));
        news
    }

    /// The cluster that was seen.
    pub(super) fn foreign(&self) -> Option<ClusterId> {
        self.foreign.lock().as_ref().map(|(cluster, _)| *cluster)
    }

    /// What this node says to those who knock. A node that a leader has told of members is formed,
    /// also if it has just been stamped.
    pub(crate) fn visit(&self) -> Visit {
        let known = self.known.lock().clone();
        let known = known.map(|known| known()).unwrap_or_default();
        Visit {
            identity: self.identity(),
            formed: self.formed() || !known.members.is_empty(),
            own: self.own.clone(),
            members: known.members,
            leader: known.leader,
            boot_id: self.boot_id,
        }
    }

    /// Decides an offer. Accepted means durable.
    pub(crate) async fn offer(self: Arc<Self>, offer: Offer) -> Result<(), OfferRefused> {
        let decided = worker::run("offer", move || self.decide(&offer)).await;
        decided.map_err(OfferRefused::Worker)?
    }

    fn decide(&self, offer: &Offer) -> Result<(), OfferRefused> {
        let _deciding = self.deciding.lock();
        self.check_receiver(offer)?;
        match self.identity() {
            Some(found) if found == offer.identity && !self.visit().formed => return Ok(()),
            Some(found) if found == offer.identity => return Err(OfferRefused::Member(found)),
            Some(found) => return Err(OfferRefused::Taken(found)),
            None => {}
        }
        if let Purpose::Bootstrap { expected } = &offer.purpose {
            self.check_bootstrap(offer, expected)?;
        }
        self.stamp(offer.identity).map_err(OfferRefused::Stamp)
    }

    fn check_receiver(&self, offer: &Offer) -> Result<(), OfferRefused> {
        let own = &self.own.peer_addr;
        if offer.address != *own {
            let (meant, own) = (offer.address.clone(), own.clone());
            return Err(OfferRefused::OtherAddress { meant, own });
        }
        if offer.boot_id != self.boot_id {
            return Err(OfferRefused::Restarted);
        }
        Ok(())
    }

    fn check_bootstrap(&self, offer: &Offer, expected: &[String]) -> Result<(), OfferRefused> {
        let own = self.expected.lock().clone().ok_or(OfferRefused::Starting)?;
        if own.count > 0 {
            let own = own.first_members;
            if own != expected {
                return Err(OfferRefused::OtherFlags { own, offered: expected.to_vec() });
            }
            if expected.first() != Some(&offer.caller) {
                return Err(OfferRefused::NotInitiator(offer.caller.clone()));
            }
        }
        // Without flags, an operator has chosen who forms the cluster.
        if !expected.is_sorted_by(|a, b| a < b) || !expected.contains(&offer.caller) {
            return Err(OfferRefused::NotListed(offer.caller.clone()));
        }
        let place = expected.iter().position(|address| *address == self.own.peer_addr);
        if place.map(|place| place as NodeId + 1) != Some(offer.identity.node) {
            return Err(OfferRefused::WrongPlace(offer.identity.node));
        }
        if let Some((cluster, address)) = self.foreign.lock().clone() {
            return Err(OfferRefused::ClusterExists { cluster, address });
        }
        Ok(())
    }

    /// The initiator takes its own place, unless it was offered another one meanwhile. Returns the
    /// place that it has.
    pub(super) async fn stamp_own(
        self: Arc<Self>,
        identity: Identity,
    ) -> Result<Identity, BootstrapError> {
        let stamped = worker::run("stamp", move || {
            let _deciding = self.deciding.lock();
            match self.identity() {
                Some(found) => Ok(found),
                None => self.stamp(identity).map(|()| identity),
            }
        });
        stamped.await.map_err(BootstrapError::Worker)?.map_err(BootstrapError::Stamp)
    }

    fn stamp(&self, identity: Identity) -> Result<(), DataDirError> {
        self.dir.stamp(identity.cluster, identity.node)?;
        self.stamped.send_replace(Some(identity));
        Ok(())
    }
}
