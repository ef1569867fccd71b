//! What a node asks of its peers: openraft's network factory, the leader's services, and the door.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::ids::{Position, UnixMs};
use jeton_storage::disk::Disk;
use openraft::RaftNetworkFactory;
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::connect::{Connections, Connector, Lane, PeerCallError};
use super::convert::{
    digests_from_pb, digests_to_pb, not_leader_from_pb, offer_to_pb, visit_from_pb,
};
use super::forward::{self, ForwardLink};
use super::handler::{
    CallError, ClockReport, ClockVerdict, ConfirmedIndex, ForwardAnswers, Identity, PeerLinks,
};
use super::headers::addressed;
use super::network::PeerNetwork;
use super::pb::door_service_client::DoorServiceClient;
use super::pb::leader_service_client::LeaderServiceClient;
use super::pb::raft_service_client::RaftServiceClient;
use super::{MESSAGE_BYTES_MAX, pb};
use crate::bootstrap::{Offer, OfferAnswer, Visit};
use crate::types::{Member, NodeId, TypeConfig};

/// A report that takes longer tells nothing about the clock.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// A node's way to all of its peers. Cheap to clone: connections are shared.
#[derive(Clone)]
pub struct Peers {
    connections: Arc<Connections>,
    identity: Identity,
    disk: Arc<dyn Disk>,
}

impl Peers {
    /// Connects on behalf of the node that `identity` names. Base files that are sent are read
    /// from `disk`.
    #[must_use]
    pub fn new(connector: Arc<dyn Connector>, identity: Identity, disk: Arc<dyn Disk>) -> Self {
        Self { connections: Arc::new(Connections::new(connector)), identity, disk }
    }

    /// Drops the connections to a peer that was removed, or has another address now.
    pub fn forget(&self, address: &str) {
        self.connections.forget(address);
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn node(&self) -> NodeId {
        self.identity.node
    }

    /// A message with the headers for node `to`.
    pub(super) fn addressed<T>(&self, message: T, to: NodeId) -> Request<T> {
        let Identity { cluster, node } = self.identity;
        addressed(message, cluster, node, to)
    }

    pub(super) fn raft_client(
        &self,
        address: &str,
        lane: Lane,
    ) -> Result<RaftServiceClient<Channel>, PeerCallError> {
        let channel = self.connections.channel(address, lane)?;
        Ok(RaftServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(super) fn leader_client(
        &self,
        address: &str,
        lane: Lane,
    ) -> Result<LeaderServiceClient<Channel>, PeerCallError> {
        let channel = self.connections.channel(address, lane)?;
        Ok(LeaderServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn network(&self, target: NodeId, member: &Member, lane: Lane) -> PeerNetwork {
        PeerNetwork::new(self.clone(), target, member.peer_addr.clone(), lane)
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> PeerNetwork {
        self.network(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Member) -> PeerNetwork {
        self.network(target, node, Lane::Liveness)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, node: &Member) -> PeerNetwork {
        self.network(target, node, Lane::Bulk)
    }
}

impl PeerLinks for Peers {
    async fn read_index(
        &self,
        leader: NodeId,
        member: &Member,
        deadline: Instant,
    ) -> Result<ConfirmedIndex, CallError> {
        use pb::read_index_response::Result as Case;
        let address = &member.peer_addr;
        let left = deadline.saturating_duration_since(Instant::now());
        let mut client = self.leader_client(address, Lane::Log).map_err(named(leader))?;
        let message = pb::ReadIndexRequest { timeout_ms: millis(left) };
        let call = client.read_index(self.addressed(message, leader));
        let response = within(left, address, call).await.map_err(named(leader))?;
        match response.result {
            Some(Case::Confirmed(confirmed)) => Ok(ConfirmedIndex {
                index: confirmed.index,
                stamp: UnixMs(confirmed.stamp_unix_ms),
            }),
            Some(Case::NotLeader(not)) => Err(not_leader_from_pb(not).into()),
            Some(Case::NoQuorum(_)) => Err(refused(leader, "no quorum confirmed it in time")),
            Some(Case::Stopping(_)) => Err(refused(leader, "it is stopping")),
            None => Err(refused(leader, "a read index answer without a result")),
        }
    }

    async fn report(
        &self,
        leader: NodeId,
        member: &Member,
        report: ClockReport,
    ) -> Result<ClockVerdict, CallError> {
        use pb::report_response::Result as Case;
        let address = &member.peer_addr;
        let mut client = self.leader_client(address, Lane::Liveness).map_err(named(leader))?;
        let message = pb::ReportRequest {
            wall_unix_ms: report.wall.0,
            applied_index: report.applied,
            digests: digests_to_pb(&report.digests),
        };
        let call = client.report(self.addressed(message, leader));
        let response = within(REPORT_TIMEOUT, address, call).await.map_err(named(leader))?;
        match response.result {
            Some(Case::Accepted(accepted)) => Ok(ClockVerdict {
                median: accepted.median_unix_ms.map(UnixMs),
                agreed: digests_from_pb(accepted.agreed)
                    .map_err(|broken| refused(leader, &broken.to_string()))?,
            }),
            Some(Case::NotLeader(not)) => Err(not_leader_from_pb(not).into()),
            None => Err(refused(leader, "a report answer without a result")),
        }
    }

    async fn applied(
        &self,
        node: NodeId,
        member: &Member,
        position: Position,
        deadline: Instant,
    ) -> Result<bool, CallError> {
        let address = &member.peer_addr;
        let left = deadline.saturating_duration_since(Instant::now());
        let mut client = self.leader_client(address, Lane::Liveness).map_err(named(node))?;
        let message = pb::AppliedRequest { position: position.0, timeout_ms: millis(left) };
        let call = client.applied(self.addressed(message, node));
        Ok(within(left, address, call).await.map_err(named(node))?.applied)
    }

    fn forward(
        &self,
        leader: NodeId,
        member: &Member,
        answers: Arc<dyn ForwardAnswers>,
    ) -> ForwardLink {
        forward::open(self.clone(), leader, member.peer_addr.clone(), answers)
    }
}

/// The calls that need no cluster: for bootstrap and for adding a node.
#[derive(Clone)]
pub(crate) struct DoorCalls {
    connections: Arc<Connections>,
}

impl DoorCalls {
    pub(crate) fn new(connector: Arc<dyn Connector>) -> Self {
        Self { connections: Arc::new(Connections::new(connector)) }
    }

    fn client(&self, address: &str) -> Result<DoorServiceClient<Channel>, PeerCallError> {
        Ok(DoorServiceClient::new(self.connections.channel(address, Lane::Liveness)?))
    }

    /// Asks a node who it is.
    pub(crate) async fn probe(
        &self,
        address: &str,
        wait: Duration,
    ) -> Result<Visit, PeerCallError> {
        let mut client = self.client(address)?;
        let response = within(wait, address, client.probe(pb::ProbeRequest {})).await?;
        visit_from_pb(response).map_err(|broken| PeerCallError::Broken {
            address: address.to_owned(),
            why: broken.to_string(),
        })
    }

    /// Offers a node its place.
    pub(crate) async fn offer(
        &self,
        offer: &Offer,
        wait: Duration,
    ) -> Result<OfferAnswer, PeerCallError> {
        use pb::offer_response::Result as Case;
        let address = &offer.address;
        let mut client = self.client(address)?;
        let response = within(wait, address, client.offer(offer_to_pb(offer))).await?;
        match response.result {
            Some(Case::Accepted(_)) => Ok(OfferAnswer::Accepted),
            Some(Case::Refused(why)) => Ok(OfferAnswer::Refused(why)),
            Some(Case::Later(why)) => Ok(OfferAnswer::Later(why)),
            None => Err(PeerCallError::Broken {
                address: address.clone(),
                why: "an offer was answered without a result".to_owned(),
            }),
        }
    }
}

/// Waits for the answer to a call, at most so long.
pub(super) async fn within<T>(
    wait: Duration,
    address: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, PeerCallError> {
    match timeout(wait, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(PeerCallError::from_status(address, &status)),
        Err(_) => Err(PeerCallError::timeout(address, wait)),
    }
}

fn named(node: NodeId) -> impl FnOnce(PeerCallError) -> CallError {
    move |error| match error {
        PeerCallError::Unreachable { address: addr, why } => {
            CallError::Unreachable { node, addr, why }
        }
        other => CallError::Refused { node, why: other.to_string() },
    }
}

fn refused(node: NodeId, why: &str) -> CallError {
    CallError::Refused { node, why: why.to_owned() }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
