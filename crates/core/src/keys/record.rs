//! Keys of rows about records.
//!
//! ```text
//!  RECORD        │ tenant │ kind │ key (16)
//!  RECORD_INDEX  │ tenant │ kind │ 0 │ index key (16) │ key (16)
//!                                │ 1 │ expires at (8) │ key (16)      what is kept for collection
//!  RECORD_CUT    │ tenant │ kind │ index key (16)
//!  RECORD_KIND   │ tenant │ kind
//!  ATTEMPTS      │ tenant │ kind │ guesser (16), or nothing for all of the tenant
//!  SEEN          │ tenant │ kind │ issuer │ key (16)
//! ```

use crate::ids::{IssuerId, KeyDigest, RecordKind, TenantId, UnixMs};

use super::{kind as row, push_text, start, take_text};

const BY_INDEX_KEY: u8 = 0;
const BY_EXPIRY: u8 = 1;

fn of_kind(row: u8, tenant: &TenantId, kind: &RecordKind) -> Vec<u8> {
    let mut key = start(row, tenant, 2 + kind.as_str().len() + 40);
    push_text(&mut key, kind.as_str().as_bytes());
    key
}

fn with(mut key: Vec<u8>, digest: &KeyDigest) -> Vec<u8> {
    key.extend_from_slice(&digest.0);
    key
}

pub(crate) fn record(tenant: &TenantId, kind: &RecordKind, key: &KeyDigest) -> Vec<u8> {
    with(of_kind(row::RECORD, tenant, kind), key)
}

/// Where the records of an index key begin.
pub(crate) fn index_of(tenant: &TenantId, kind: &RecordKind, index: &KeyDigest) -> Vec<u8> {
    let mut key = of_kind(row::RECORD_INDEX, tenant, kind);
    key.push(BY_INDEX_KEY);
    with(key, index)
}

pub(crate) fn indexed(
    tenant: &TenantId,
    kind: &RecordKind,
    index: &KeyDigest,
    key: &KeyDigest,
) -> Vec<u8> {
    with(index_of(tenant, kind, index), key)
}

/// Where the kept records that expire at `at` or later begin.
pub(crate) fn kept_from(tenant: &TenantId, kind: &RecordKind, at: UnixMs) -> Vec<u8> {
    let mut key = of_kind(row::RECORD_INDEX, tenant, kind);
    key.push(BY_EXPIRY);
    key.extend_from_slice(&at.0.to_be_bytes());
    key
}

pub(crate) fn kept(tenant: &TenantId, kind: &RecordKind, at: UnixMs, key: &KeyDigest) -> Vec<u8> {
    with(kept_from(tenant, kind, at), key)
}

/// The record that an entry of either index is about: its last 16 bytes.
pub(crate) fn indexed_key(entry: &[u8]) -> Option<KeyDigest> {
    entry.last_chunk::<16>().map(|key| KeyDigest(*key))
}

pub(crate) fn cut(tenant: &TenantId, kind: &RecordKind, index: &KeyDigest) -> Vec<u8> {
    with(of_kind(row::RECORD_CUT, tenant, kind), index)
}

pub(crate) fn settings(tenant: &TenantId, kind: &RecordKind) -> Vec<u8> {
    of_kind(row::RECORD_KIND, tenant, kind)
}

/// From where to where all kinds of a tenant are.
pub(crate) fn all_settings(tenant: &TenantId) -> (Vec<u8>, Vec<u8>) {
    let from = start(row::RECORD_KIND, tenant, 0);
    let mut to = from.clone();
    // A kind's name has at most 256 bytes, so its length never begins with this.
    to.push(0xff);
    (from, to)
}

/// The kind that a key of [`settings`] is about.
pub(crate) fn kind_of(tenant: &TenantId, key: &[u8]) -> Option<RecordKind> {
    let text = key.get(3 + tenant.as_str().len() + 2..)?;
    RecordKind::new(std::str::from_utf8(text).ok()?).ok()
}

/// Misses of a guesser; of all of the tenant for `None`.
pub(crate) fn attempts(
    tenant: &TenantId,
    kind: &RecordKind,
    guesser: Option<&KeyDigest>,
) -> Vec<u8> {
    let key = of_kind(row::ATTEMPTS, tenant, kind);
    match guesser {
        Some(guesser) => with(key, guesser),
        None => key,
    }
}

pub(crate) fn seen(
    tenant: &TenantId,
    kind: &RecordKind,
    issuer: &IssuerId,
    key: &KeyDigest,
) -> Vec<u8> {
    let mut start = of_kind(row::SEEN, tenant, kind);
    push_text(&mut start, issuer.as_str().as_bytes());
    with(start, key)
}

/// The tenant, the kind and the key of a record, from its row's key; likewise of a cut.
pub(crate) fn record_of(key: &[u8]) -> Option<(TenantId, RecordKind, KeyDigest)> {
    let (tenant, rest) = take_text(key.get(1..)?)?;
    let (kind, rest) = take_text(rest)?;
    let digest = <[u8; 16]>::try_from(rest).ok()?;
    Some((TenantId::new(tenant).ok()?, RecordKind::new(kind).ok()?, KeyDigest(digest)))
}
