//! Plain types ↔ protobuf. Dull on purpose: each function moves one type, and says which field was
//! missing where a message is broken.

use bytes::Bytes;
use jeton_core::ids::{ClusterId, Position};
use jeton_core::reply::StateDigest;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::handler::{Identity, NotLeader};
use super::pb;
use crate::bootstrap::{Offer, Purpose, Visit};
use crate::types::{
    Entry, LogId, Member, NodeId, SnapshotMeta, StoredMembership, TypeConfig, Vote,
    decode_membership, decode_payload, encode_membership, encode_payload, log_id,
};

/// A message that can't be understood. Its stream ends with it.
#[derive(Debug, thiserror::Error)]
#[error("a peer sent a broken message: {what}")]
pub(crate) struct Broken {
    what: String,
}

impl Broken {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl From<Broken> for tonic::Status {
    fn from(broken: Broken) -> Self {
        Self::invalid_argument(broken.to_string())
    }
}

pub(crate) fn vote_to_pb(vote: &Vote) -> pb::Vote {
    let leader = vote.leader_id();
    pb::Vote { term: leader.term, node_id: leader.node_id, committed: vote.is_committed() }
}

pub(crate) fn vote_from_pb(vote: Option<pb::Vote>) -> Result<Vote, Broken> {
    let vote = vote.ok_or_else(|| Broken::new("it has no vote"))?;
    Ok(match vote.committed {
        true => Vote::new_committed(vote.term, vote.node_id),
        false => Vote::new(vote.term, vote.node_id),
    })
}

pub(crate) fn log_id_to_pb(id: &LogId) -> pb::LogId {
    let leader = id.committed_leader_id();
    pb::LogId { term: leader.term, node_id: leader.node_id, index: id.index }
}

pub(crate) fn log_id_from_pb(id: pb::LogId) -> LogId {
    log_id(id.term, id.node_id, id.index)
}

fn entry_to_pb(entry: &Entry) -> pb::LogEntry {
    let (kind, payload) = encode_payload(&entry.payload);
    pb::LogEntry { log_id: Some(log_id_to_pb(&entry.log_id)), kind: u32::from(kind), payload }
}

fn entry_from_pb(entry: pb::LogEntry) -> Result<Entry, Broken> {
    let id = entry.log_id.ok_or_else(|| Broken::new("an entry has no log id"))?;
    let kind = u8::try_from(entry.kind).map_err(|_| Broken::new("an entry of no known kind"))?;
    let payload = decode_payload(kind, entry.payload).map_err(|e| Broken::new(e.to_string()))?;
    Ok(Entry { log_id: log_id_from_pb(id), payload })
}

pub(crate) fn append_to_pb(request: &AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote_to_pb(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_pb),
        entries: request.entries.iter().map(entry_to_pb).collect(),
        committed: request.leader_commit.as_ref().map(log_id_to_pb),
    }
}

/// Checks that the entries follow each other: a gap would be a hole in the receiver's log.
pub(crate) fn append_from_pb(
    request: pb::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Broken> {
    let previous = request.previous.map(log_id_from_pb);
    let first = previous.as_ref().map_or(0, |id| id.index.saturating_add(1));
    let mut entries = Vec::with_capacity(request.entries.len());
    for (next, entry) in (first..).zip(request.entries) {
        let entry = entry_from_pb(entry)?;
        if entry.log_id.index != next {
            let found = entry.log_id.index;
            return Err(Broken::new(format!("entry {found} stands where {next} belongs")));
        }
        entries.push(entry);
    }
    Ok(AppendEntriesRequest {
        vote: vote_from_pb(request.vote)?,
        prev_log_id: previous,
        entries,
        leader_commit: request.committed.map(log_id_from_pb),
    })
}

pub(crate) fn append_result_to_pb(result: &StreamAppendResult<TypeConfig>) -> pb::AppendResponse {
    use pb::append_response::Result as Case;
    let case = match result {
        Ok(last) => Case::Matched(pb::AppendMatched { last: last.as_ref().map(log_id_to_pb) }),
        Err(StreamAppendError::Conflict(id)) => Case::Conflict(log_id_to_pb(id)),
        Err(StreamAppendError::HigherVote(vote)) => Case::HigherVote(vote_to_pb(vote)),
    };
    pb::AppendResponse { result: Some(case) }
}

pub(crate) fn append_result_from_pb(
    response: pb::AppendResponse,
) -> Result<StreamAppendResult<TypeConfig>, Broken> {
    use pb::append_response::Result as Case;
    Ok(match response.result.ok_or_else(|| Broken::new("an append answer without a result"))? {
        Case::Matched(matched) => Ok(matched.last.map(log_id_from_pb)),
        Case::Conflict(id) => Err(StreamAppendError::Conflict(log_id_from_pb(id))),
        Case::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_from_pb(Some(vote))?)),
    })
}

pub(crate) fn vote_request_to_pb(request: &VoteRequest<TypeConfig>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to_pb(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_to_pb),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from_pb(
    request: pb::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, Broken> {
    Ok(VoteRequest {
        vote: vote_from_pb(request.vote)?,
        last_log_id: request.last.map(log_id_from_pb),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn vote_response_to_pb(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to_pb(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id_to_pb),
    }
}

pub(crate) fn vote_response_from_pb(
    response: pb::VoteResponse,
) -> Result<VoteResponse<TypeConfig>, Broken> {
    Ok(VoteResponse {
        vote: vote_from_pb(response.vote)?,
        vote_granted: response.granted,
        last_log_id: response.last.map(log_id_from_pb),
    })
}

pub(crate) fn transfer_to_pb(
    request: &TransferLeaderRequest<TypeConfig>,
) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        from_leader: Some(vote_to_pb(request.from_leader())),
        to_node_id: *request.to_node_id(),
        last: request.last_log_id().map(log_id_to_pb),
    }
}

pub(crate) fn transfer_from_pb(
    request: pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Broken> {
    let from = vote_from_pb(request.from_leader)?;
    Ok(TransferLeaderRequest::new(from, request.to_node_id, request.last.map(log_id_from_pb)))
}

pub(crate) fn transfer_result_to_pb(
    result: &TransferLeaderResponse<TypeConfig>,
) -> pb::TransferLeaderResponse {
    use pb::transfer_leader_response::Result as Case;
    let case = match result {
        Ok(()) => Case::Accepted(true),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Case::VoteChanged(pb::VoteChanged {
                expected: Some(vote_to_pb(expected)),
                actual: Some(vote_to_pb(actual)),
            })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            Case::LogNotFlushed(pb::LogNotFlushed {
                expected: expected.as_ref().map(log_id_to_pb),
                actual: actual.as_ref().map(log_id_to_pb),
            })
        }
    };
    pb::TransferLeaderResponse { result: Some(case) }
}

pub(crate) fn transfer_result_from_pb(
    response: pb::TransferLeaderResponse,
) -> Result<TransferLeaderResponse<TypeConfig>, Broken> {
    use pb::transfer_leader_response::Result as Case;
    Ok(match response.result.ok_or_else(|| Broken::new("a transfer answer without a result"))? {
        Case::Accepted(_) => Ok(()),
        Case::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: vote_from_pb(changed.expected)?,
            actual: vote_from_pb(changed.actual)?,
        }),
        Case::LogNotFlushed(behind) => Err(TransferLeaderError::LogNotFlushed {
            expected: behind.expected.map(log_id_from_pb),
            actual: behind.actual.map(log_id_from_pb),
        }),
    })
}

pub(crate) fn snapshot_begin_to_pb(
    vote: &Vote,
    meta: &SnapshotMeta,
    file_id: String,
    bytes_total: u64,
) -> pb::SnapshotBegin {
    let membership = &meta.last_membership;
    pb::SnapshotBegin {
        vote: Some(vote_to_pb(vote)),
        last: meta.last_log_id.as_ref().map(log_id_to_pb),
        membership: Some(pb::StoredMembership {
            log_id: membership.log_id().as_ref().map(log_id_to_pb),
            membership: encode_membership(membership.membership()),
        }),
        file_id,
        bytes_total,
    }
}

pub(crate) fn snapshot_begin_from_pb(
    begin: pb::SnapshotBegin,
) -> Result<(Vote, SnapshotMeta, String, u64), Broken> {
    let stored = begin.membership.ok_or_else(|| Broken::new("a snapshot without membership"))?;
    let membership =
        decode_membership(&stored.membership).map_err(|e| Broken::new(e.to_string()))?;
    let meta = SnapshotMeta {
        last_log_id: begin.last.map(log_id_from_pb),
        last_membership: StoredMembership::new(stored.log_id.map(log_id_from_pb), membership),
    };
    Ok((vote_from_pb(begin.vote)?, meta, begin.file_id, begin.bytes_total))
}

pub(crate) fn member_to_pb(id: NodeId, member: &Member) -> pb::KnownMember {
    pb::KnownMember {
        node_id: id,
        address: member.peer_addr.clone(),
        client_address: member.client_addr.clone(),
    }
}

pub(crate) fn member_from_pb(known: pb::KnownMember) -> (NodeId, Member) {
    (known.node_id, Member { peer_addr: known.address, client_addr: known.client_address })
}

pub(crate) fn not_leader_to_pb(not: &NotLeader) -> pb::NotLeader {
    pb::NotLeader { leader: not.leader.as_ref().map(|(id, member)| member_to_pb(*id, member)) }
}

pub(crate) fn not_leader_from_pb(not: pb::NotLeader) -> NotLeader {
    NotLeader { leader: not.leader.map(member_from_pb) }
}

pub(crate) fn digests_to_pb(digests: &[(Position, StateDigest)]) -> Vec<pb::StateDigest> {
    digests
        .iter()
        .map(|(position, digest)| pb::StateDigest {
            position: position.0,
            digest: Bytes::copy_from_slice(&digest.0.to_be_bytes()),
        })
        .collect()
}

pub(crate) fn digests_from_pb(
    digests: Vec<pb::StateDigest>,
) -> Result<Vec<(Position, StateDigest)>, Broken> {
    digests
        .into_iter()
        .map(|d| {
            let bytes = <[u8; 16]>::try_from(d.digest.as_ref())
                .map_err(|_| Broken::new("a digest that isn't 16 bytes long"))?;
            Ok((Position(d.position), StateDigest(u128::from_be_bytes(bytes))))
        })
        .collect()
}

fn identity_from_pb(cluster: &[u8], node: NodeId) -> Result<Identity, Broken> {
    let cluster = ClusterId::from_slice(cluster).map_err(|e| Broken::new(e.to_string()))?;
    Ok(Identity { cluster, node })
}

pub(crate) fn visit_to_pb(visit: &Visit) -> pb::ProbeResponse {
    let cluster = visit.identity.map(|identity| Bytes::copy_from_slice(&identity.cluster.0));
    pb::ProbeResponse {
        cluster_id: cluster.unwrap_or_default(),
        node_id: visit.identity.map_or(0, |identity| identity.node),
        formed: visit.formed,
        address: visit.own.peer_addr.clone(),
        members: visit.members.iter().map(|(id, member)| member_to_pb(*id, member)).collect(),
        leader_node_id: visit.leader.unwrap_or_default(),
        client_address: visit.own.client_addr.clone(),
        boot_id: visit.boot_id,
    }
}

pub(crate) fn visit_from_pb(probe: pb::ProbeResponse) -> Result<Visit, Broken> {
    let identity = match probe.cluster_id.is_empty() {
        true => None,
        false => Some(identity_from_pb(&probe.cluster_id, probe.node_id)?),
    };
    Ok(Visit {
        identity,
        formed: probe.formed,
        own: Member { peer_addr: probe.address, client_addr: probe.client_address },
        members: probe.members.into_iter().map(member_from_pb).collect(),
        leader: Some(probe.leader_node_id).filter(|leader| *leader != 0),
        boot_id: probe.boot_id,
    })
}

pub(crate) fn offer_to_pb(offer: &Offer) -> pb::OfferRequest {
    let (purpose, expected) = match &offer.purpose {
        Purpose::Bootstrap { expected } => {
            (pb::offer_request::Purpose::Bootstrap, expected.clone())
        }
        Purpose::Join => (pb::offer_request::Purpose::Join, Vec::new()),
    };
    pb::OfferRequest {
        purpose: purpose.into(),
        cluster_id: Bytes::copy_from_slice(&offer.identity.cluster.0),
        node_id: offer.identity.node,
        caller_address: offer.caller.clone(),
        address: offer.address.clone(),
        expected,
        boot_id: offer.boot_id,
    }
}

pub(crate) fn offer_from_pb(offer: pb::OfferRequest) -> Result<Offer, Broken> {
    let purpose = match offer.purpose() {
        pb::offer_request::Purpose::Bootstrap => Purpose::Bootstrap { expected: offer.expected },
        pb::offer_request::Purpose::Join => Purpose::Join,
        pb::offer_request::Purpose::Unspecified => {
            return Err(Broken::new("an offer without a purpose"));
        }
    };
    if offer.node_id == 0 {
        return Err(Broken::new("an offer without a node id"));
    }
    Ok(Offer {
        purpose,
        identity: identity_from_pb(&offer.cluster_id, offer.node_id)?,
        caller: offer.caller_address,
        address: offer.address,
        boot_id: offer.boot_id,
    })
}
