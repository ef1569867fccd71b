//! How a cluster comes into being, and how a node gets its place in one.
//!
//! All nodes are started with identical flags: how many nodes the first cluster has (`expect`), and
//! their peer addresses (`join`, the node's own among them). The node whose address sorts first is
//! the **initiator**; nobody else ever forms a cluster.
//!
//! ```text
//!  initiator                                            every other node (empty directory)
//!  1 probe all, until all answer and none is in a       answers probes, probes the others
//!    cluster
//!  2 stamp own directory: new cluster id, node 1
//!  3 offer (cluster id, node i) ───────────────────────► same flags? no cluster seen? own stamp
//!    i = place in the sorted list                        empty, or this very one?
//!                               ◄──────── accepted ───── stamp own directory, durably
//!  4 all accepted: raft.initialize(all)                  start consensus, wait for the leader
//! ```
//!
//! A directory is stamped once, and a cluster needs the stamps of all its first members before it
//! starts. So two clusters never share a member, whatever the flags, the network and the order of
//! starts: **two attempts can stop each other, but they can't fork**. Nobody takes a stamp back; an
//! operator whose attempt is stuck empties the directories, in which nothing was stored yet.
//!
//! What a crash leaves behind:
//!
//! | after | on disk | at the next start |
//! |---|---|---|
//! | 1 | nothing | from the beginning |
//! | 2 | initiator stamped (C, 1), log empty | goes on with C at 3: it draws no new id |
//! | 3, some accepted | those stamped (C, i) | offered again, they accept again: same stamp |
//! | 3, an acceptor lost its disk | it is empty | offered again, with its new boot id |
//! | 3, the initiator lost its disk | others stamped (C, i) | it draws C′, they refuse with words |
//! | 3, flags changed | (C, 1), C holds a digest of the old list | refuses to go on, with words |
//! | 4, before `initialize` is durable | all stamped, all logs empty | as after 3 |
//! | 4, after it | the initiator has a log | it is a member like any other |
//! | behind 4, and the log is lost | a stamp with an incarnation, no log | refuses, with words |
//!
//! Between 3 and 4 each node marks its log and its stamp as having taken part in consensus, which
//! tells the last row from those before it: see [`jeton_storage::ownership`]. A log that is empty
//! here is therefore new.
//!
//! **By an operator's order.** Nodes started with `expect` 0 form nothing by themselves. An
//! operator may tell one of them to, and with which others (`cluster init`): then that node is the
//! initiator, whatever its place in the list, and the others accept whoever is in the list that
//! they are offered, with themselves in it. Steps and argument are the same; before step 2 the
//! initiator writes its plan ([`jeton_storage::init_plan`]), which tells it after a crash that it
//! goes on:
//!
//! | after | on disk | at the next start |
//! |---|---|---|
//! | 1 | nothing | waits for an order |
//! | the plan | a plan without a stamp, or an older one | waits for an order, which overwrites it |
//! | 2, 3 | plan and stamp of C | goes on with C at 3; other orders are refused |
//! | 4 | the same, and a log | the plan says nothing any more |
//!
//! Two nodes that are told at once both need the stamps of both, and each stamps its own first: at
//! most one gets them all. Who is refused stays up and tries again, so that its operator can read
//! why; who was overtaken before it stamped itself takes the other's place.
//!
//! An offer quotes the boot id that its receiver answered to a probe, so one that was delayed until
//! the receiver had lost its disk does not stamp the new one.
//!
//! **An empty directory at a remembered address.** Whoever finds a formed cluster that knows its
//! address as a member's has lost its disk, and with it votes that it gave: it stops with words.
//! The operator removes that member and adds the node as a new one. A node that finds a cluster
//! which doesn't know it waits to be added; so does one that finds a cluster without a leader,
//! which may remember what is no longer so. Waiting is always safe: an empty node votes for nobody.
//!
//! **Node ids.** First members have 1 to [`FIRST_MEMBERS_MAX`]. A node that is added gets
//! [`FIRST_MEMBERS_MAX`] + the index of an entry that the leader commits for this purpose only
//! ([`node_id_at`]). No two committed entries share an index, in the whole life of a cluster: ids
//! are never given twice, and nothing has to remember which were. The order when a node is added:
//!
//! | step | a crash behind it leaves | the operator repeats `cluster add`, and |
//! |---|---|---|
//! | probe: empty, or stamped by this cluster and never heard of | nothing | from the beginning |
//! | commit an entry, its index is the id | an id that nobody has | another id is drawn |
//! | offer: the node stamps (C, id) | a stamped node that is no member | its id is used again |
//! | `add_learner(id)` | a learner | told that it is a member already |

mod doorkeeper;
mod join;
mod lobby;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::ids::ClusterId;
use jeton_storage::data_dir::DataDirError;
use jeton_storage::init_plan::InitPlan;
use tokio::time::{sleep, timeout};

pub use doorkeeper::{Doorkeeper, Offer, OfferAnswer, OfferRefused, Purpose, Visit};
pub use join::{JoinError, Place, offer_place};
pub use lobby::{InitError, Lobby, Phase, Scene};

use crate::peer::handler::Identity;
use crate::peer::{Connector, DoorCalls};
use crate::types::{Member, NodeId};

/// A cluster starts with at most so many nodes, and ids up to this are theirs.
pub const FIRST_MEMBERS_MAX: u64 = 100;

/// How often nodes that wait look around.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long one look may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a node may take to stamp its directory.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);

/// The id of a node for which the entry at `index` was committed. See the module's documentation.
#[must_use]
pub fn node_id_at(index: u64) -> NodeId {
    FIRST_MEMBERS_MAX + index
}

/// What the flags say, the same on every node.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// How many nodes form the cluster. 0: form none unasked; wait to be added, or for an order.
    pub expect: usize,
    /// Their peer addresses, this node's too.
    pub join: Vec<String>,
}

/// A node that has its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formed {
    /// Which.
    pub identity: Identity,
    /// `Some` on the initiator: consensus is to be initialised with these members, its own node
    /// among them. `None`: start consensus, and wait for the others.
    pub first_members: Option<BTreeMap<NodeId, Member>>,
}

/// Finds a node's place, and waits until it has one. Repeatable after a crash: see the module's
/// documentation. The doorkeeper must already be answering on the peer port.
///
/// # Errors
/// [`BootstrapError`]: only an operator can help.
pub async fn form(
    door: &Arc<Doorkeeper>,
    connector: Arc<dyn Connector>,
    lobby: &Arc<Lobby>,
) -> Result<Formed, BootstrapError> {
    let (expect, first_members) = (lobby.expect(), lobby.check()?);
    door.expect(expect, first_members.clone());
    let (calls, door) = (DoorCalls::new(connector), Arc::clone(door));
    let plan = match door.formed() {
        true => None,
        false => Arc::clone(&door).plan().await?,
    };
    let (identity, forming) = (door.identity(), plan.as_ref().map(|plan| plan.members.clone()));
    // A member never waits, not for a moment: who waits is told to empty its directory.
    let phase = if door.formed() { Phase::Recovering } else { Phase::Waiting };
    lobby.change(|scene| {
        (scene.phase, scene.identity, scene.forming) = (phase, identity, forming);
    });
    let lobby = Arc::clone(lobby);
    Bootstrap { expect, first_members, plan, door, calls, lobby }.run().await
}

/// Finds what contradicts itself in the flags, before anything is opened.
///
/// # Errors
/// [`BootstrapError::Config`].
pub fn check_flags(flags: &Flags, own: &str) -> Result<(), BootstrapError> {
    first_members(flags, own).map(drop)
}

/// Why a node can't get its place. All of it is for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// Flags that contradict themselves.
    #[error("{0}")]
    Config(String),
    /// This node lost its disk.
    #[error(
        "the data directory is empty, but cluster {cluster} remembers {address} as node {node}: \
         its data and votes are lost. Remove that member (jeton cluster remove {node}), then add \
         this node as a new one (jeton cluster add {address})"
    )]
    Remembered {
        /// The cluster that remembers it.
        cluster: ClusterId,
        /// As what.
        node: NodeId,
        /// This node's peer address.
        address: String,
    },
    /// The log of the initiator is gone, but its stamp is there, without the mark that it had.
    #[error(
        "cluster {cluster} runs at {address}, and this node formed it, but its log is empty: its \
         data was lost. Empty the data directory, remove node 1 from the cluster and add this \
         node as a new one"
    )]
    LostLog {
        /// The cluster.
        cluster: ClusterId,
        /// Who is in it.
        address: String,
    },
    /// A node refused its place.
    #[error("{address} refused to be node {node} of the new cluster {cluster}: {why}")]
    Refused {
        /// Which.
        address: String,
        /// What it should have become.
        node: NodeId,
        /// Of which cluster.
        cluster: ClusterId,
        /// In its words.
        why: String,
    },
    /// The flags changed while a cluster was being formed.
    #[error(
        "cluster {cluster} was begun with other addresses in --join: start all nodes with the \
         flags that it was begun with, or empty all their data directories and begin again"
    )]
    FlagsChanged {
        /// The cluster that was begun.
        cluster: ClusterId,
    },
    /// The plan of `cluster init` can't be read or written.
    #[error("the plan of the cluster to form can't be read or written")]
    Plan(#[source] io::Error),
    /// The directory can't be stamped.
    #[error("the data directory can't be stamped")]
    Stamp(#[source] DataDirError),
    /// No thread could be started, or no random number drawn.
    #[error("the operating system refused a thread or a random number")]
    Worker(#[source] io::Error),
}

struct Bootstrap {
    expect: usize,
    /// Sorted, without duplicates.
    first_members: Vec<String>,
    /// What an operator's order has begun.
    plan: Option<InitPlan>,
    door: Arc<Doorkeeper>,
    calls: DoorCalls,
    lobby: Arc<Lobby>,
}

impl Bootstrap {
    async fn run(&self) -> Result<Formed, BootstrapError> {
        if let Some(identity) = self.door.identity() {
            if self.door.formed() {
                return Ok(Formed { identity, first_members: None });
            }
            if let Some(plan) = &self.plan {
                return self.go_on(identity, plan).await;
            }
            if !self.initiates() || identity.node != 1 {
                return Ok(Formed { identity, first_members: None });
            }
            self.check_flags(identity.cluster, &self.first_members)?;
            return self.win_all(identity, &self.first_members).await;
        }
        if !self.initiates() {
            return self.wait_for_place().await;
        }
        if let Some(identity) = self.survey().await? {
            return Ok(Formed { identity, first_members: None });
        }
        let cluster = marked(random_cluster()?, &self.first_members);
        let identity = Arc::clone(&self.door).stamp_own(Identity { cluster, node: 1 }).await?;
        // A cluster that exists may have been faster with its offer.
        if identity.cluster != cluster {
            return Ok(Formed { identity, first_members: None });
        }
        self.win_all(identity, &self.first_members).await
    }

    fn initiates(&self) -> bool {
        self.expect > 0 && self.first_members.first() == Some(&self.door.own().peer_addr)
    }

    fn others<'a>(&self, list: &'a [String]) -> impl Iterator<Item = &'a String> {
        let own = self.door.own().peer_addr.clone();
        list.iter().filter(move |address| **address != own)
    }

    fn check_flags(&self, cluster: ClusterId, members: &[String]) -> Result<(), BootstrapError> {
        if marked(cluster, members) == cluster {
            return Ok(());
        }
        Err(BootstrapError::FlagsChanged { cluster })
    }

    /// What `cluster init` began before a crash.
    async fn go_on(&self, identity: Identity, plan: &InitPlan) -> Result<Formed, BootstrapError> {
        self.check_flags(identity.cluster, &plan.members)?;
        if self.expect > 0 && self.first_members != plan.members {
            return Err(BootstrapError::FlagsChanged { cluster: identity.cluster });
        }
        self.win_all(identity, &plan.members).await
    }

    /// One attempt at what the operator ordered; `None` if it can't be carried out now.
    async fn carry_out(&self, members: &[String]) -> Result<Option<Formed>, BootstrapError> {
        if !self.survey_of(members).await? || !self.lobby.settle(members) {
            return Ok(None);
        }
        let cluster = marked(random_cluster()?, members);
        let plan = InitPlan { cluster, members: members.to_vec() };
        Arc::clone(&self.door).save_plan(plan).await?;
        let node = place_of(members, &self.door.own().peer_addr);
        let identity = Arc::clone(&self.door).stamp_own(Identity { cluster, node }).await?;
        self.lobby.change(|scene| scene.identity = Some(identity));
        if identity.cluster != cluster {
            self.lobby.overtaken(identity);
            return Ok(Some(Formed { identity, first_members: None }));
        }
        self.lobby.change(|scene| scene.forming = Some(members.to_vec()));
        self.win_all(identity, members).await.map(Some)
    }

    /// Whether all members answer and none has a place yet. If one has, the order is off, and what
    /// it showed is forgotten with it: another list may be right.
    async fn survey_of(&self, members: &[String]) -> Result<bool, BootstrapError> {
        let visits = self.probe_all(members).await;
        self.lobby.asked(members, self.lobby.scene().missing);
        for visit in visits.iter().filter_map(|(_, visit)| visit.as_ref()) {
            self.check_not_remembered(visit)?;
        }
        let refusal = match self.door.foreign() {
            Some(cluster) => Some(format!("cluster {cluster} exists already")),
            None => visits.iter().find_map(|(address, visit)| occupied(address, visit.as_ref()?)),
        };
        let refused = refusal.is_some();
        if let Some(words) = refusal {
            self.lobby.refuse(words);
        }
        Ok(!refused && visits.iter().all(|(_, visit)| visit.is_some()))
    }

    /// Step 1: until all others answer and none is in a cluster; or until this node was added to
    /// one, then as whom.
    async fn survey(&self) -> Result<Option<Identity>, BootstrapError> {
        loop {
            let visits = self.look_around(&self.first_members).await?;
            if visits == self.others(&self.first_members).count() && self.door.foreign().is_none() {
                return Ok(None);
            }
            if let Some(identity) = self.stamped_soon().await {
                return Ok(Some(identity));
            }
        }
    }

    /// What every node does that is not an initiator by its flags.
    async fn wait_for_place(&self) -> Result<Formed, BootstrapError> {
        loop {
            let stamped = tokio::select! {
                biased;
                stamped = self.stamped_soon() => stamped,
                () = self.lobby.next_order() => None,
            };
            if let Some(identity) = stamped {
                self.lobby.overtaken(identity);
                return Ok(Formed { identity, first_members: None });
            }
            match self.lobby.ordered() {
                Some(members) => {
                    if let Some(formed) = self.carry_out(&members).await? {
                        return Ok(formed);
                    }
                }
                None => drop(self.look_around(&self.first_members).await?),
            }
        }
    }

    async fn stamped_soon(&self) -> Option<Identity> {
        timeout(LOOK_INTERVAL, self.door.stamped()).await.ok()
    }

    /// Probes all others once. Returns how many answered; a cluster that was seen is remembered at
    /// the door.
    async fn look_around(&self, list: &[String]) -> Result<usize, BootstrapError> {
        let mut answered = 0;
        for visit in self.probe_all(list).await.iter().filter_map(|(_, visit)| visit.as_ref()) {
            answered += 1;
            self.consider(visit)?;
        }
        Ok(answered)
    }

    /// Probes all others at once, and notes who does not answer.
    async fn probe_all<'a>(&self, list: &'a [String]) -> Vec<(&'a String, Option<Visit>)> {
        let probes = self.others(list).map(|address| async move {
            let visit = self.calls.probe(address, PROBE_TIMEOUT).await;
            let visit = visit.inspect_err(
                |error| tracing::debug!(%error, "a node can't be asked for its cluster yet"),
            );
            (address, visit.ok())
        });
        let visits = futures::future::join_all(probes).await;
        let missing = visits.iter().filter(|(_, visit)| visit.is_none());
        let missing = missing.map(|(address, _)| (*address).clone()).collect();
        self.lobby.change(|scene| scene.missing = missing);
        visits
    }

    /// A formed cluster that knows this node's address, while its directory is empty: it was lost.
    fn check_not_remembered(&self, visit: &Visit) -> Result<(), BootstrapError> {
        let (Some(identity), true) = (visit.identity, visit.formed) else { return Ok(()) };
        // An offer may have come meanwhile: then it is no stranger that the cluster remembers.
        if self.door.identity().is_some() {
            return Ok(());
        }
        let own = &self.door.own().peer_addr;
        // Who has no leader may have been removed, and remember what is no longer so.
        let remembered = visit.members.iter().find(|(_, member)| member.peer_addr == *own);
        let remembered = remembered.filter(|_| visit.leader.is_some());
        if let Some((node, _)) = remembered {
            return Err(BootstrapError::Remembered {
                cluster: identity.cluster,
                node: *node,
                address: own.clone(),
            });
        }
        Ok(())
    }

    /// A formed cluster either remembers this node, or must be waited for.
    fn consider(&self, visit: &Visit) -> Result<(), BootstrapError> {
        self.check_not_remembered(visit)?;
        let (Some(identity), true) = (visit.identity, visit.formed) else { return Ok(()) };
        if self.door.identity().is_some() {
            return Ok(());
        }
        let own = &self.door.own().peer_addr;
        let foreign = (identity.cluster, visit.own.peer_addr.clone());
        self.lobby.change(|scene| scene.foreign = Some(foreign));
        if self.door.see(identity.cluster, &visit.own.peer_addr) {
            tracing::info!(
                cluster = %identity.cluster,
                at = visit.own.peer_addr,
                "a cluster exists and does not know this node: waiting for jeton cluster add {own}"
            );
        }
        Ok(())
    }

    /// Steps 3 and 4.
    async fn win_all(&self, identity: Identity, list: &[String]) -> Result<Formed, BootstrapError> {
        let mut members = BTreeMap::from([(identity.node, self.door.own().clone())]);
        for address in self.others(list) {
            let node = place_of(list, address);
            let place = Identity { cluster: identity.cluster, node };
            let member = loop {
                match self.offer(place, address, list).await {
                    Ok(Some(member)) => break member,
                    Ok(None) => {}
                    // Who was told to form a cluster stays, so that its operator can ask why.
                    Err(error @ BootstrapError::Refused { .. }) if self.ordered() => {
                        self.lobby.refuse(error.to_string());
                    }
                    Err(error) => return Err(error),
                }
                sleep(LOOK_INTERVAL).await;
            };
            self.lobby.change(|scene| scene.missing.retain(|missing| missing != address));
            members.insert(node, member);
        }
        Ok(Formed { identity, first_members: Some(members) })
    }

    /// Whether an operator's order is carried out.
    fn ordered(&self) -> bool {
        self.lobby.scene().forming.is_some()
    }

    /// One attempt to win one node; `None` if it can't be reached.
    async fn offer(
        &self,
        place: Identity,
        address: &str,
        list: &[String],
    ) -> Result<Option<Member>, BootstrapError> {
        let visit = match self.calls.probe(address, PROBE_TIMEOUT).await {
            Ok(visit) => visit,
            Err(error) => {
                tracing::info!(%error, "waiting for all first members");
                self.lobby.change(|scene| scene.missing = vec![address.to_owned()]);
                return Ok(None);
            }
        };
        if visit.formed && visit.identity.is_some_and(|found| found.cluster == place.cluster) {
            let (cluster, address) = (place.cluster, address.to_owned());
            return Err(BootstrapError::LostLog { cluster, address });
        }
        let offer = Offer {
            purpose: Purpose::Bootstrap { expected: list.to_vec() },
            identity: place,
            caller: self.door.own().peer_addr.clone(),
            address: address.to_owned(),
            boot_id: visit.boot_id,
        };
        match self.calls.offer(&offer, OFFER_TIMEOUT).await {
            Ok(OfferAnswer::Accepted) => Ok(Some(visit.own)),
            Ok(OfferAnswer::Refused(why)) => Err(BootstrapError::Refused {
                address: address.to_owned(),
                node: place.node,
                cluster: place.cluster,
                why,
            }),
            Ok(OfferAnswer::Later(why)) => {
                tracing::info!(address, why, "an offer will be repeated");
                Ok(None)
            }
            Err(error) => {
                tracing::info!(%error, "an offer was not answered, it will be repeated");
                Ok(None)
            }
        }
    }
}

/// The number of who has this address, by its place in the list.
fn place_of(list: &[String], address: &str) -> NodeId {
    list.iter().take_while(|listed| *listed != address).count() as NodeId + 1
}

/// The addresses, sorted, each once.
fn list_of(flags: &Flags, own: &str) -> Vec<String> {
    let mut addresses = flags.join.clone();
    // A single node needs no list.
    if addresses.is_empty() && flags.expect == 1 {
        addresses.push(own.to_owned());
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

fn first_members(flags: &Flags, own: &str) -> Result<Vec<String>, BootstrapError> {
    let addresses = list_of(flags, own);
    let (named, expect) = (addresses.len(), flags.expect);
    if expect as u64 > FIRST_MEMBERS_MAX {
        let words = format!("a cluster starts with at most {FIRST_MEMBERS_MAX} nodes");
        return Err(BootstrapError::Config(words));
    }
    if expect > 0 && named != expect {
        return Err(BootstrapError::Config(format!(
            "--bootstrap-expect is {expect}, but --join names {named} different addresses: name \
             the peer addresses of all {expect} first nodes, this one's too, the same everywhere"
        )));
    }
    if expect > 0 && !addresses.iter().any(|address| address == own) {
        return Err(BootstrapError::Config(format!(
            "--join does not name this node's own peer address {own}: the list must be the same \
             on every node, with every node in it"
        )));
    }
    Ok(addresses)
}

/// Why the node at `address` can't be a first member: it has a place, or another address.
fn occupied(address: &str, visit: &Visit) -> Option<String> {
    let own = &visit.own.peer_addr;
    if own != address {
        return Some(format!("the node at {address} calls itself {own}: use that address"));
    }
    let Identity { cluster, node } = visit.identity?;
    Some(format!(
        "{address} is node {node} of cluster {cluster}: if that cluster was never formed, empty \
         that node's data directory and start it again"
    ))
}

fn random_cluster() -> Result<ClusterId, BootstrapError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| BootstrapError::Worker(io::Error::other(e)))?;
    Ok(ClusterId(bytes))
}

/// Puts a digest of the first members' addresses into the last four bytes of a cluster id: so the
/// stamp of the initiator also says with which flags it began.
fn marked(cluster: ClusterId, first_members: &[String]) -> ClusterId {
    // FNV-1a, 32 bits: it finds changed flags, it defends against nobody.
    let mut hash = 0x811c_9dc5_u32;
    for byte in first_members.iter().flat_map(|a| a.bytes().chain(std::iter::once(0))) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let mut bytes = cluster.0;
    bytes[12..].copy_from_slice(&hash.to_be_bytes());
    ClusterId(bytes)
}
