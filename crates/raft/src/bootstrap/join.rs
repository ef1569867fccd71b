//! The leader's part when a node is added: find it empty, give it an id, have it stamped.

use std::sync::Arc;

use jeton_core::ids::ClusterId;

use super::{OFFER_TIMEOUT, Offer, OfferAnswer, PROBE_TIMEOUT, Purpose, Visit};
use crate::peer::handler::Identity;
use crate::peer::{Connector, DoorCalls, PeerCallError};
use crate::types::{Member, NodeId};

/// Who adds, and what it knows.
#[derive(Debug, Clone)]
pub struct Place {
    /// The cluster.
    pub cluster: ClusterId,
    /// Peer address of the leader.
    pub leader_address: String,
    /// All members at present.
    pub members: Vec<(NodeId, Member)>,
}

/// Why a node was not added. For the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It is one.
    #[error("{address} is node {node} of this cluster already")]
    AlreadyMember {
        /// Its address.
        address: String,
        /// Its id.
        node: NodeId,
    },
    /// It lost its disk.
    #[error(
        "{address} is remembered as node {node}, but its data directory is empty: its data is \
         lost. Remove that member (jeton cluster remove {node}), then add it again as a new node"
    )]
    LostDisk {
        /// Its address.
        address: String,
        /// Its former id.
        node: NodeId,
    },
    /// It belongs elsewhere.
    #[error("{address} belongs to cluster {cluster}: give it an empty data directory first")]
    OtherCluster {
        /// Its address.
        address: String,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// It was removed from this cluster.
    #[error(
        "{address} was node {node} of this cluster and was removed: ids are never used again. \
         Empty its data directory, then add it as a new node"
    )]
    WasMember {
        /// Its address.
        address: String,
        /// Its former id.
        node: NodeId,
    },
    /// It calls itself something else.
    #[error("the node at {address} advertises {advertised}: add it under that address")]
    OtherAddress {
        /// As it was named.
        address: String,
        /// As it calls itself.
        advertised: String,
    },
    /// It refused.
    #[error("{address} refused: {why}")]
    Refused {
        /// Its address.
        address: String,
        /// In its words.
        why: String,
    },
    /// No id could be committed.
    #[error("no node id could be given out: {0}")]
    NoId(String),
    /// It can't be reached.
    #[error(transparent)]
    Call(#[from] PeerCallError),
}

/// Offers the node at `address` a place in the cluster. When this returns, its directory is stamped
/// and it may be added as a learner. `fresh_id` commits an entry and returns [`super::node_id_at`]
/// its index.
///
/// # Errors
/// [`JoinError`]; repeating the call is safe.
pub async fn offer_place<F>(
    connector: Arc<dyn Connector>,
    place: &Place,
    address: &str,
    fresh_id: impl FnOnce() -> F,
) -> Result<(NodeId, Member), JoinError>
where
    F: Future<Output = Result<NodeId, String>>,
{
    let calls = DoorCalls::new(connector);
    let visit = calls.probe(address, PROBE_TIMEOUT).await?;
    let node = match judge(place, address, &visit)? {
        Some(node) => node,
        None => fresh_id().await.map_err(JoinError::NoId)?,
    };
    let offer = Offer {
        purpose: Purpose::Join,
        identity: Identity { cluster: place.cluster, node },
        caller: place.leader_address.clone(),
        address: address.to_owned(),
        boot_id: visit.boot_id,
    };
    match calls.offer(&offer, OFFER_TIMEOUT).await? {
        OfferAnswer::Accepted => Ok((node, visit.own)),
        OfferAnswer::Refused(why) | OfferAnswer::Later(why) => {
            Err(JoinError::Refused { address: address.to_owned(), why })
        }
    }
}

/// Whether the node may be added; `Some` if an earlier attempt has given it an id.
fn judge(place: &Place, address: &str, visit: &Visit) -> Result<Option<NodeId>, JoinError> {
    let address = address.to_owned();
    if visit.own.peer_addr != address {
        let advertised = visit.own.peer_addr.clone();
        return Err(JoinError::OtherAddress { address, advertised });
    }
    let member = place.members.iter().find(|(_, member)| member.peer_addr == address);
    match (visit.identity, member) {
        (None, None) => Ok(None),
        (None, Some((node, _))) => Err(JoinError::LostDisk { address, node: *node }),
        (Some(found), _) if found.cluster != place.cluster => {
            Err(JoinError::OtherCluster { address, cluster: found.cluster })
        }
        (Some(found), Some((node, _))) if found.node == *node => {
            Err(JoinError::AlreadyMember { address, node: *node })
        }
        (Some(found), _) if visit.formed => Err(JoinError::WasMember { address, node: found.node }),
        (Some(found), _) => Ok(Some(found.node)),
    }
}
