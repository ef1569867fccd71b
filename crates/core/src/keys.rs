//! Keys of rows.
//!
//! ```text
//!  kind (1) │ length of tenant (2, big endian) │ tenant │ rest
//! ```
//!
//! Kinds never share a namespace, and neither do tenants: the length in front makes every key
//! unambiguous. Kinds below [`crate::tables::PINNED_END`] are kept in memory by the store. Rows
//! that belong to no tenant carry the length 0, which no tenant has.

pub(crate) mod record;
pub(crate) mod revocation;

use crate::ids::{
    FamilyId, Generation, LeaseMs, LockName, Position, RequestId, SecretDigest, SessionId,
    TenantId, UnixMs,
};
use crate::tables::PINNED_END;

/// Kinds of rows: the first byte of their keys. Numbers are never used again.
pub(crate) mod kind {
    /// A tenant's settings. Pinned.
    pub(crate) const TENANT: u8 = 0x01;
    /// A tenant's keys. Pinned.
    pub(crate) const TENANT_KEYS: u8 = 0x02;
    /// A cutoff. Pinned.
    pub(crate) const CUTOFF: u8 = 0x03;
    /// The suspension of a subject, client or tenant. Pinned.
    pub(crate) const SUSPENSION: u8 = 0x04;
    /// The newest call for authentication anew, of a subject. Pinned.
    pub(crate) const REAUTHENTICATION: u8 = 0x05;
    /// A cut on an index key of records, until the sweep has seen to it. Pinned.
    pub(crate) const RECORD_CUT: u8 = 0x08;
    /// The settings of a kind of records. Pinned.
    pub(crate) const RECORD_KIND: u8 = 0x09;
    /// A predicate that is active. Pinned.
    pub(crate) const PREDICATE: u8 = 0x0a;
    /// A family of refresh tokens.
    pub(crate) const FAMILY: u8 = 0x40;
    /// A remembered reply.
    pub(crate) const REPLY: u8 = 0x41;
    /// An entry of the expiry index.
    pub(crate) const EXPIRY: u8 = 0x42;
    /// A record.
    pub(crate) const RECORD: u8 = 0x47;
    /// An entry of an index of records.
    pub(crate) const RECORD_INDEX: u8 = 0x48;
    /// Look-ups that missed.
    pub(crate) const ATTEMPTS: u8 = 0x49;
    /// A proof that was seen.
    pub(crate) const SEEN: u8 = 0x4a;
    /// A lock that is held or waited for.
    pub(crate) const LOCK: u8 = 0x4b;
    /// One who waits for a lock.
    pub(crate) const LOCK_WAITER: u8 = 0x4c;
    /// What a single flight has published.
    pub(crate) const LOCK_RESULT: u8 = 0x4d;
    /// An entry of the index of what lease time ends.
    pub(crate) const LEASE_DUE: u8 = 0x50;
    /// Digests of opaque tokens, and which of them each family has had.
    pub(crate) const ANCESTOR: u8 = 0x45;
    /// Where families are found by their roots, rosters of caps, and how many rows there are.
    pub(crate) const FAMILY_INDEX: u8 = 0x44;
    /// A session.
    pub(crate) const SESSION: u8 = 0x43;
    /// An entry of a session's indexes: by subject, and its clients.
    pub(crate) const SESSION_INDEX: u8 = 0x46;
    /// An access token that is denied.
    pub(crate) const DENIED: u8 = 0x4e;
    /// What a command revoked, for those who watch.
    pub(crate) const FEED: u8 = 0x4f;
    /// A predicate whose sweep is through.
    pub(crate) const REVOCATION: u8 = 0x51;
}

const _: () = assert!(kind::PREDICATE < PINNED_END && kind::FAMILY >= PINNED_END);

fn start(kind: u8, tenant: &TenantId, more: usize) -> Vec<u8> {
    let tenant = tenant.as_str().as_bytes();
    let mut key = Vec::with_capacity(3 + tenant.len() + more);
    key.push(kind);
    push_text(&mut key, tenant);
    key
}

/// Appends a text behind its length. Identifiers have at most 256 bytes, so it fits.
fn push_text(key: &mut Vec<u8>, text: &[u8]) {
    key.extend_from_slice(&(text.len() as u16).to_be_bytes());
    key.extend_from_slice(text);
}

pub(crate) fn tenant(tenant: &TenantId) -> Vec<u8> {
    start(kind::TENANT, tenant, 0)
}

pub(crate) fn tenant_keys(tenant: &TenantId) -> Vec<u8> {
    start(kind::TENANT_KEYS, tenant, 0)
}

/// The key of a cutoff: which roots it names, and their names.
pub(crate) fn cutoff(tenant: &TenantId, mask: u8, names: [Option<&str>; 4]) -> Vec<u8> {
    let mut key = start(kind::CUTOFF, tenant, 64);
    key.push(mask);
    for name in names.into_iter().flatten() {
        push_text(&mut key, name.as_bytes());
    }
    key
}

/// The key of a suspension: which kind of root, and its name.
pub(crate) fn suspension(tenant: &TenantId, what: u8, name: &str) -> Vec<u8> {
    let mut key = start(kind::SUSPENSION, tenant, 64);
    key.push(what);
    push_text(&mut key, name.as_bytes());
    key
}

pub(crate) fn reauthentication(tenant: &TenantId, subject: &str) -> Vec<u8> {
    let mut key = start(kind::REAUTHENTICATION, tenant, 64);
    push_text(&mut key, subject.as_bytes());
    key
}

pub(crate) fn family(tenant: &TenantId, family: FamilyId) -> Vec<u8> {
    let mut key = start(kind::FAMILY, tenant, 16);
    key.extend_from_slice(&family.0);
    key
}

/// The tenant and the family that a key of kind [`kind::FAMILY`] is about.
pub(crate) fn family_of(key: &[u8]) -> Option<(TenantId, FamilyId)> {
    let (tenant, rest) = split_tenant(key)?;
    Some((tenant, FamilyId::from_slice(rest).ok()?))
}

/// From where to where a tenant's families are.
pub(crate) fn all_families(tenant: &TenantId) -> (Vec<u8>, Vec<u8>) {
    all_of(kind::FAMILY, tenant, 17)
}

/// From where to where a tenant's sessions are.
pub(crate) fn all_sessions(tenant: &TenantId) -> (Vec<u8>, Vec<u8>) {
    all_of(kind::SESSION, tenant, 2)
}

fn all_of(kind: u8, tenant: &TenantId, tail: usize) -> (Vec<u8>, Vec<u8>) {
    let from = start(kind, tenant, tail);
    let to = [&from[..], &vec![0xff; tail]].concat();
    (from, to)
}

/// The session that a key of kind [`kind::SESSION`] is about.
pub(crate) fn session_of(key: &[u8]) -> Option<SessionId> {
    let (_, rest) = split_tenant(key)?;
    SessionId::new(std::str::from_utf8(rest.get(2..)?).ok()?).ok()
}

/// The tenant of a key, and what is behind it.
pub(crate) fn split_tenant(key: &[u8]) -> Option<(TenantId, &[u8])> {
    let (len, rest) = key.get(1..)?.split_first_chunk::<2>()?;
    let (tenant, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some((TenantId::new(std::str::from_utf8(tenant).ok()?).ok()?, rest))
}

/// What a row of kind [`kind::FAMILY_INDEX`] is. Behind it stand names, and for an index what it
/// leads to.
pub(crate) mod index {
    /// How many rows of families the tenant keeps.
    pub(crate) const KEPT: u8 = 0;
    pub(crate) const SUBJECT: u8 = 1;
    pub(crate) const CLIENT: u8 = 2;
    pub(crate) const SUBJECT_CLIENT: u8 = 3;
    pub(crate) const DEVICE: u8 = 4;
    pub(crate) const SESSION: u8 = 5;
    /// Who may live, under caps of a subject.
    pub(crate) const ROSTER: u8 = 0x10;
    /// Who may live, under caps of a subject and a client.
    pub(crate) const ROSTER_CLIENT: u8 = 0x11;
}

/// Which of them a key belongs to.
pub(crate) fn family_index_of(key: &[u8]) -> Option<u8> {
    split_tenant(key)?.1.first().copied()
}

/// What all keys of one index, or the only one of a roster, begin with.
pub(crate) fn family_index(tenant: &TenantId, what: u8, names: &[&str]) -> Vec<u8> {
    let more = names.iter().map(|name| 2 + name.len()).sum::<usize>();
    let mut key = start(kind::FAMILY_INDEX, tenant, 1 + more + INDEX_TAIL);
    key.push(what);
    names.iter().for_each(|name| push_text(&mut key, name.as_bytes()));
    key
}

/// Bytes behind the names in a key of an index: created, family.
const INDEX_TAIL: usize = 24;

/// The index entry of a family, in the order of creation.
pub(crate) fn index_entry(mut index: Vec<u8>, created: Position, family: FamilyId) -> Vec<u8> {
    index.extend_from_slice(&created.0.to_be_bytes());
    index.extend_from_slice(&family.0);
    index
}

/// Where the entries of an index end.
pub(crate) fn index_end(index: &[u8]) -> Vec<u8> {
    [index, &[0xff; INDEX_TAIL + 1]].concat()
}

/// The family that an index entry leads to, and where it was created.
pub(crate) fn index_target(entry: &[u8]) -> Option<(Position, FamilyId)> {
    let tail = entry.get(entry.len().checked_sub(INDEX_TAIL)?..)?;
    let (created, family) = tail.split_first_chunk::<8>()?;
    Some((Position(u64::from_be_bytes(*created)), FamilyId::from_slice(family).ok()?))
}

pub(crate) fn session(tenant: &TenantId, session: &SessionId) -> Vec<u8> {
    let mut key = start(kind::SESSION, tenant, 64);
    push_text(&mut key, session.as_str().as_bytes());
    key
}

/// Which index of sessions a key belongs to.
#[derive(Clone, Copy)]
pub(crate) enum SessionIndex {
    /// Sessions of a subject.
    OfSubject = 1,
    /// Clients of a session.
    Clients = 2,
}

/// What the entries under one name of a session index begin with.
pub(crate) fn session_index(tenant: &TenantId, index: SessionIndex, name: &str) -> Vec<u8> {
    let mut key = start(kind::SESSION_INDEX, tenant, 128);
    key.push(index as u8);
    push_text(&mut key, name.as_bytes());
    key
}

/// An entry of a session index: `entry` is a session, or a client.
pub(crate) fn session_entry(mut prefix: Vec<u8>, entry: &str) -> Vec<u8> {
    push_text(&mut prefix, entry.as_bytes());
    prefix
}

/// The session or client that an entry under `prefix` is about.
pub(crate) fn session_entry_of<'a>(prefix: &[u8], key: &'a [u8]) -> Option<&'a str> {
    let text = key.strip_prefix(prefix)?.get(2..)?;
    std::str::from_utf8(text).ok()
}

/// Where keys that begin with `prefix` end: entries carry their length, which is never 0xffff.
pub(crate) fn session_entries_end(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[0xff, 0xff]].concat()
}

/// What a row of kind [`kind::ANCESTOR`] is.
mod ancestor {
    /// From a digest to its family and generation.
    pub(super) const BY_DIGEST: u8 = 0;
    /// From a family and generation to a digest, for forgetting it.
    pub(super) const OF_FAMILY: u8 = 1;
    /// What the sweep visits for the sake of all of a family's rows.
    pub(super) const CHAIN: u8 = 2;
}

/// What an opaque token leads to.
pub(crate) fn ancestor(tenant: &TenantId, digest: SecretDigest) -> Vec<u8> {
    let mut key = start(kind::ANCESTOR, tenant, 17);
    key.push(ancestor::BY_DIGEST);
    key.extend_from_slice(&digest.0);
    key
}

/// Whether a key of kind [`kind::ANCESTOR`] is one of [`ancestor`].
pub(crate) fn is_ancestor(key: &[u8]) -> bool {
    split_tenant(key).is_some_and(|(_, rest)| rest.first() == Some(&ancestor::BY_DIGEST))
}

/// The row that is visited when the chain of a family, in its life since `created`, may be
/// forgotten.
pub(crate) fn chain(tenant: &TenantId, family: FamilyId, created: Position) -> Vec<u8> {
    of_life(ancestor::CHAIN, tenant, family, created)
}

/// The tenant, family and life that a key of [`chain`] is about.
pub(crate) fn chain_of(key: &[u8]) -> Option<(TenantId, FamilyId, Position)> {
    let (tenant, rest) = split_tenant(key)?;
    let (family, created) = rest.get(1..)?.split_at_checked(16)?;
    let created = u64::from_be_bytes(created.try_into().ok()?);
    Some((tenant, FamilyId::from_slice(family).ok()?, Position(created)))
}

fn of_life(what: u8, tenant: &TenantId, family: FamilyId, created: Position) -> Vec<u8> {
    let mut key = start(kind::ANCESTOR, tenant, 49);
    key.push(what);
    key.extend_from_slice(&family.0);
    key.extend_from_slice(&created.0.to_be_bytes());
    key
}

/// All digests that a family has had, in its life since `created`: from where to where.
pub(crate) fn links(tenant: &TenantId, family: FamilyId, created: Position) -> (Vec<u8>, Vec<u8>) {
    let from = of_life(ancestor::OF_FAMILY, tenant, family, created);
    let to = [&from[..], &[0xff; LINK_TAIL + 1]].concat();
    (from, to)
}

/// Those of one generation.
pub(crate) fn links_of(
    tenant: &TenantId,
    family: FamilyId,
    created: Position,
    generation: Generation,
) -> (Vec<u8>, Vec<u8>) {
    let mut from = of_life(ancestor::OF_FAMILY, tenant, family, created);
    from.extend_from_slice(&generation.0.to_be_bytes());
    let to = [&from[..], &[0xff; 17]].concat();
    (from, to)
}

/// Bytes behind the life in a key of a link: generation, digest.
const LINK_TAIL: usize = 24;

/// One of them.
pub(crate) fn link(mut generation: Vec<u8>, digest: SecretDigest) -> Vec<u8> {
    generation.extend_from_slice(&digest.0);
    generation
}

/// The digest that a link leads to.
pub(crate) fn link_target(key: &[u8]) -> Option<SecretDigest> {
    Some(SecretDigest(*key.last_chunk::<16>()?))
}

pub(crate) fn reply(tenant: &TenantId, request: RequestId) -> Vec<u8> {
    let mut key = start(kind::REPLY, tenant, 16);
    key.extend_from_slice(&request.0);
    key
}

/// The key of a denial: an access token, and the client that it was issued to.
pub(crate) fn denied(tenant: &TenantId, jti: &str, client: &str) -> Vec<u8> {
    let mut key = start(kind::DENIED, tenant, 4 + jti.len() + client.len());
    push_text(&mut key, jti.as_bytes());
    push_text(&mut key, client.as_bytes());
    key
}

/// The key of an entry of the feed. In order of position.
pub(crate) fn feed(tenant: &TenantId, position: Position) -> Vec<u8> {
    let mut key = start(kind::FEED, tenant, 8);
    key.extend_from_slice(&position.0.to_be_bytes());
    key
}

/// Behind the last key of a tenant's feed.
pub(crate) fn feed_end(tenant: &TenantId) -> Vec<u8> {
    let mut key = start(kind::FEED, tenant, 9);
    key.extend_from_slice(&[0xff; 9]);
    key
}

/// The position that a key of the feed stands for.
pub(crate) fn feed_position(key: &[u8]) -> Option<Position> {
    let (_, position) = key.split_last_chunk::<8>()?;
    Some(Position(u64::from_be_bytes(*position)))
}

/// From where to where a tenant's suspensions are.
pub(crate) fn all_suspensions(tenant: &TenantId) -> (Vec<u8>, Vec<u8>) {
    let from = start(kind::SUSPENSION, tenant, 1);
    let to = [&from[..], &[0xff]].concat();
    (from, to)
}

/// The kind of root that a suspension is about, and its name.
pub(crate) fn suspended<'a>(tenant: &TenantId, key: &'a [u8]) -> Option<(u8, &'a str)> {
    let rest = key.strip_prefix(&start(kind::SUSPENSION, tenant, 0)[..])?;
    let (kind, name) = rest.split_first()?;
    Some((*kind, std::str::from_utf8(name.get(2..)?).ok()?))
}

/// Bytes before the target in a key of the expiry index: kind, no tenant, due.
const EXPIRY_HEAD: usize = 11;

/// The entry of the expiry index that has the row under `target` visited at `due`. In order of due.
pub(crate) fn expiry(due: UnixMs, target: &[u8]) -> Vec<u8> {
    let mut key = expiry_from(due);
    key.extend_from_slice(target);
    key
}

/// Where entries due at `due` or later begin.
pub(crate) fn expiry_from(due: UnixMs) -> Vec<u8> {
    let mut key = Vec::with_capacity(EXPIRY_HEAD + 64);
    key.extend_from_slice(&[kind::EXPIRY, 0, 0]);
    key.extend_from_slice(&due.0.to_be_bytes());
    key
}

/// The row that an entry of the expiry index is about.
pub(crate) fn expiry_target(key: &[u8]) -> Option<&[u8]> {
    key.get(EXPIRY_HEAD..).filter(|target| !target.is_empty())
}

fn of_lock(kind: u8, tenant: &TenantId, lock: &LockName, more: usize) -> Vec<u8> {
    let lock = lock.as_str().as_bytes();
    let mut key = start(kind, tenant, 2 + lock.len() + more);
    push_text(&mut key, lock);
    key
}

pub(crate) fn lock(tenant: &TenantId, lock: &LockName) -> Vec<u8> {
    of_lock(kind::LOCK, tenant, lock, 0)
}

pub(crate) fn lock_result(tenant: &TenantId, lock: &LockName) -> Vec<u8> {
    of_lock(kind::LOCK_RESULT, tenant, lock, 0)
}

/// One who waits since `place`. In the order in which they came.
pub(crate) fn lock_waiter(tenant: &TenantId, lock: &LockName, place: Position) -> Vec<u8> {
    let mut key = of_lock(kind::LOCK_WAITER, tenant, lock, 8);
    key.extend_from_slice(&place.0.to_be_bytes());
    key
}

/// The tenant and the lock that a key of any kind of lock row is about, and a waiter's place.
pub(crate) fn lock_of(key: &[u8]) -> Option<(TenantId, LockName, Option<Position>)> {
    let (tenant, rest) = take_text(key.get(1..)?)?;
    let (lock, rest) = take_text(rest)?;
    let place = <[u8; 8]>::try_from(rest).ok().map(|place| Position(u64::from_be_bytes(place)));
    Some((TenantId::new(tenant).ok()?, LockName::new(lock).ok()?, place))
}

fn take_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// The entry of the index that has the row under `target` looked at when lease time reaches `due`.
pub(crate) fn lease_due(due: LeaseMs, target: &[u8]) -> Vec<u8> {
    let mut key = lease_due_from(due);
    key.extend_from_slice(target);
    key
}

/// Where entries due at `due` or later begin.
pub(crate) fn lease_due_from(due: LeaseMs) -> Vec<u8> {
    let mut key = Vec::with_capacity(EXPIRY_HEAD + 64);
    key.extend_from_slice(&[kind::LEASE_DUE, 0, 0]);
    key.extend_from_slice(&due.0.to_be_bytes());
    key
}

/// When an entry of that index is due, and the row that it is about.
pub(crate) fn lease_due_target(key: &[u8]) -> Option<(LeaseMs, &[u8])> {
    let (due, target) = key.get(3..)?.split_first_chunk::<8>()?;
    (!target.is_empty()).then_some((LeaseMs(u64::from_be_bytes(*due)), target))
}

/// From where to where all tenants are.
pub(crate) fn all_tenants() -> (Vec<u8>, Vec<u8>) {
    (vec![kind::TENANT], vec![kind::TENANT + 1])
}

/// The tenant that a key of kind [`kind::TENANT`] is about.
pub(crate) fn tenant_of(key: &[u8]) -> Option<TenantId> {
    let text = std::str::from_utf8(key.get(3..)?).ok()?;
    TenantId::new(text).ok()
}
