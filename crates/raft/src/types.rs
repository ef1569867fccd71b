//! openraft's generics, spelled once; and the bytes that they have in the log, in markers and on
//! the wire between peers.
//!
//! openraft changes its own serialized forms with every alpha, so nothing of it is stored: every
//! byte that outlives the process is written here, with a version in front.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use jeton_core::codec;
use jeton_core::command::Entry as CoreEntry;
use jeton_core::reply::Reply;
use openraft::vote::RaftLeaderId;
use serde::{Deserialize, Serialize};

use crate::state_machine::StateMachine;

/// Number of a node, from 1. Never reused with another data directory.
pub type NodeId = u64;

/// Everything that openraft is generic over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Applied;
    type NodeId = NodeId;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// The consensus module.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;
/// Who leads, in which term.
pub type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, NodeId>;
/// Name of a log entry: leader and index.
pub type LogId = openraft::LogId<LeaderId>;
/// A vote, given or asked for.
pub type Vote = openraft::Vote<LeaderId>;
/// What a log entry carries.
pub type Payload = openraft::EntryPayload<Proposal, NodeId, Member>;
/// An entry of the log as openraft sees it.
pub type Entry = openraft::Entry<LeaderId, Payload>;
/// Voters and learners.
pub type Membership = openraft::Membership<NodeId, Member>;
/// A membership with the log entry that set it.
pub type StoredMembership = openraft::StoredMembership<LeaderId, NodeId, Member>;
/// Where a snapshot stands.
pub type SnapshotMeta = openraft::SnapshotMeta<LeaderId, NodeId, Member>;
/// A snapshot: a base file and where it stands.
pub type Snapshot = openraft::Snapshot<LeaderId, NodeId, Member, crate::snapshot::SnapshotFile>;

/// What the cluster knows of a member beside its number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// Where its peers reach it, `host:port`.
    pub peer_addr: String,
    /// Where clients reach it, `host:port`.
    pub client_addr: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer_addr)
    }
}

/// Application data of a log entry: a core entry, encoded once. The leader keeps it decoded too, so
/// that its own apply doesn't decode what it has just encoded.
#[derive(Clone)]
pub struct Proposal {
    /// As `jeton_core::codec::encode_entry` wrote it.
    pub bytes: Bytes,
    /// The same, decoded; `None` where it came from disk or from a peer.
    pub entry: Option<Arc<CoreEntry>>,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.bytes.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

/// What applying an entry gave: one reply for each command, where anyone waits.
#[derive(Debug, Default)]
pub struct Applied {
    /// In the order of the commands.
    pub replies: Vec<Reply>,
}

/// Where openraft puts the outcome of a write: a closure, called on the thread that applies.
/// Dropped without a call when the outcome will never be known.
pub struct Callback<T>(pub Box<dyn FnOnce(T) + Send>);

impl<T: openraft::OptionalSend + 'static> openraft::raft::responder::Responder<TypeConfig, T>
    for Callback<T>
{
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// Bytes that could not be decoded. They passed a checksum, so another program version wrote them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// Shorter than its fixed part.
    #[error("{what} is cut short at {len} bytes")]
    Short {
        /// What should have been there.
        what: &'static str,
        /// Bytes that there are.
        len: usize,
    },
    /// A version or kind that this program does not know.
    #[error("{what} has the unknown number {found}: a newer version wrote it")]
    Unknown {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u8,
    },
    /// The inner value does not decode.
    #[error("{what} does not decode")]
    Decode {
        /// What was being decoded.
        what: &'static str,
        /// Why not.
        #[source]
        source: codec::DecodeError,
    },
    /// A membership that contradicts itself.
    #[error("a membership without nodes for all of its voters")]
    Membership,
}

/// A log id as bytes: term, leader's node id, index; big endian.
pub const LOG_ID_BYTES: usize = 24;

/// Writes a log id.
#[must_use]
pub fn encode_log_id(id: &LogId) -> Bytes {
    let mut out = BytesMut::with_capacity(LOG_ID_BYTES);
    out.put_u64(id.committed_leader_id().term);
    out.put_u64(id.committed_leader_id().node_id);
    out.put_u64(id.index());
    out.freeze()
}

/// Reads a log id.
///
/// # Errors
/// [`FormError::Short`] if bytes are missing.
pub fn decode_log_id(mut bytes: &[u8]) -> Result<LogId, FormError> {
    if bytes.len() < LOG_ID_BYTES {
        return Err(FormError::Short { what: "a log id", len: bytes.len() });
    }
    let (term, node) = (bytes.get_u64(), bytes.get_u64());
    Ok(log_id(term, node, bytes.get_u64()))
}

/// A log id from its parts.
#[must_use]
pub fn log_id(term: u64, node: NodeId, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, node), index)
}

/// Writes a vote: term, node id, whether a quorum granted it.
#[must_use]
pub fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u64(vote.leader_id().term);
    out.put_u64(vote.leader_id().node_id);
    out.put_u8(u8::from(vote.is_committed()));
    out.freeze()
}

/// Reads a vote.
///
/// # Errors
/// [`FormError::Short`] if bytes are missing.
pub fn decode_vote(mut bytes: &[u8]) -> Result<Vote, FormError> {
    if bytes.len() < 17 {
        return Err(FormError::Short { what: "a vote", len: bytes.len() });
    }
    let (term, node) = (bytes.get_u64(), bytes.get_u64());
    Ok(match bytes.get_u8() {
        0 => Vote::new(term, node),
        _ => Vote::new_committed(term, node),
    })
}

/// A membership as stored: plain lists.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct MembershipForm {
    configs: Vec<Vec<NodeId>>,
    nodes: Vec<(NodeId, Member)>,
}

const MEMBERSHIP_BYTES_MAX: usize = 1024 * 1024;

/// Writes a membership.
#[must_use]
pub fn encode_membership(membership: &Membership) -> Bytes {
    let form = MembershipForm {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|config| config.iter().copied().collect())
            .collect(),
        nodes: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
    };
    codec::encode(&form).into()
}

/// Reads a membership.
///
/// # Errors
/// [`FormError`] if it does not decode or contradicts itself.
pub fn decode_membership(bytes: &[u8]) -> Result<Membership, FormError> {
    let form: MembershipForm = codec::decode(bytes, MEMBERSHIP_BYTES_MAX)
        .map_err(|source| FormError::Decode { what: "a membership", source })?;
    let configs: Vec<BTreeSet<NodeId>> =
        form.configs.into_iter().map(|config| config.into_iter().collect()).collect();
    let nodes: BTreeMap<NodeId, Member> = form.nodes.into_iter().collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| FormError::Membership)
}

const KIND_BLANK: u8 = 0;
const KIND_NORMAL: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// A payload as (kind, bytes). A normal one shares its bytes, nothing is copied.
#[must_use]
pub fn encode_payload(payload: &Payload) -> (u8, Bytes) {
    match payload {
        Payload::Blank => (KIND_BLANK, Bytes::new()),
        Payload::Normal(proposal) => (KIND_NORMAL, proposal.bytes.clone()),
        Payload::Membership(membership) => (KIND_MEMBERSHIP, encode_membership(membership)),
    }
}

/// Reads a payload. A normal one keeps `bytes` as they are: the core entry in it is decoded when it
/// is applied.
///
/// # Errors
/// [`FormError`] if the kind is unknown or a membership does not decode.
pub fn decode_payload(kind: u8, bytes: Bytes) -> Result<Payload, FormError> {
    match kind {
        KIND_BLANK => Ok(Payload::Blank),
        KIND_NORMAL => Ok(Payload::Normal(Proposal { bytes, entry: None })),
        KIND_MEMBERSHIP => decode_membership(&bytes).map(Payload::Membership),
        found => Err(FormError::Unknown { what: "a log entry's kind", found }),
    }
}

const RECORD_VERSION: u8 = 1;
const RECORD_HEADER_BYTES: usize = 18;

/// A log record: version, kind, term, leader's node id, payload. The index is the log's own.
#[must_use]
pub fn encode_record(entry: &Entry) -> Bytes {
    let (kind, payload) = encode_payload(&entry.payload);
    let mut out = BytesMut::with_capacity(RECORD_HEADER_BYTES + payload.len());
    out.put_u8(RECORD_VERSION);
    out.put_u8(kind);
    out.put_u64(entry.log_id.committed_leader_id().term);
    out.put_u64(entry.log_id.committed_leader_id().node_id);
    out.put_slice(&payload);
    out.freeze()
}

/// Reads a log record.
///
/// # Errors
/// [`FormError`] if another program version wrote it.
pub fn decode_record(index: u64, mut bytes: Bytes) -> Result<Entry, FormError> {
    let (kind, id) = decode_record_header(index, &bytes)?;
    bytes.advance(RECORD_HEADER_BYTES);
    Ok(Entry { log_id: id, payload: decode_payload(kind, bytes)? })
}

/// Kind and log id of a log record, without looking at its payload.
///
/// # Errors
/// [`FormError`] if another program version wrote it.
pub fn decode_record_header(index: u64, mut bytes: &[u8]) -> Result<(u8, LogId), FormError> {
    if bytes.len() < RECORD_HEADER_BYTES {
        return Err(FormError::Short { what: "a log record", len: bytes.len() });
    }
    match bytes.get_u8() {
        RECORD_VERSION => {}
        found => return Err(FormError::Unknown { what: "a log record's version", found }),
    }
    let kind = bytes.get_u8();
    let (term, node) = (bytes.get_u64(), bytes.get_u64());
    Ok((kind, log_id(term, node, index)))
}
