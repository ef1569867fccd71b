//! Commands and reads about records as requests.

use bytes::Bytes;
use jeton_core::command::{
    CollectExpired, Consume, DeleteRecord, DeleteRecords, LookUpRecord, Precondition, PutRecord,
    PutWhen, RecordName, RecordRoots, RequestName, SeenOnce,
};
use jeton_core::ids::{FamilyId, KeyDigest, TenantId};

use super::RecordsAsked;
use crate::decode::Consistency;
use crate::encode::{self, request_name, text};
use crate::pb::v1;

pub(super) fn digest(digest: &KeyDigest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

pub(super) fn family(family: Option<FamilyId>) -> Bytes {
    family.map_or_else(Bytes::new, |family| Bytes::copy_from_slice(&family.0))
}

/// The token of the page behind `after`.
pub(super) fn token(after: &KeyDigest) -> String {
    format!("{:032x}", u128::from_be_bytes(after.0))
}

pub(super) fn cursor(text: &str) -> Option<KeyDigest> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 32 || !text.bytes().all(lower) {
        return None;
    }
    Some(KeyDigest(u128::from_str_radix(text, 16).ok()?.to_be_bytes()))
}

fn preconditions(all: &[Precondition]) -> Vec<v1::Precondition> {
    let one = |it: &Precondition| v1::Precondition {
        name: it.name.to_string(),
        digest: digest(&it.digest),
    };
    all.iter().map(one).collect()
}

pub(super) fn roots(roots: &RecordRoots) -> Option<v1::RecordRoots> {
    if roots.is_empty() {
        return None;
    }
    Some(v1::RecordRoots {
        subject: text(roots.subject.as_ref().map(|it| it.as_str())),
        client: text(roots.client.as_ref().map(|it| it.as_str())),
        session: text(roots.session.as_ref().map(|it| it.as_str())),
        device: text(roots.device.as_ref().map(|it| it.as_str())),
        family_id: family(roots.family),
    })
}

/// See [`PutRecord`].
#[must_use]
pub fn put_request(tenant: &TenantId, name: RequestName, put: &PutRecord) -> v1::PutRecordRequest {
    use v1::put_record_request::When;
    v1::PutRecordRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        kind: put.kind.as_str().to_owned(),
        key: digest(&put.key),
        when: match put.when {
            PutWhen::Absent => Some(When::Absent(true)),
            PutWhen::Version(version) => Some(When::Version(version)),
            PutWhen::Always => None,
        },
        value: put.value.clone(),
        lifetime_ms: put.lifetime.map(|it| it.0),
        index_keys: put.index.iter().map(digest).collect(),
        roots: roots(&put.roots),
        family_id: family(put.family),
        preconditions: preconditions(&put.preconditions),
        authenticated_at_position: put.authenticated_at.map(|it| it.0),
    }
}

pub(crate) fn get_request(
    tenant: &TenantId,
    asked: &RecordsAsked,
    consistency: Consistency,
) -> v1::GetRecordRequest {
    let (RecordName::Key(key) | RecordName::Index(key)) = &asked.by;
    v1::GetRecordRequest {
        tenant: tenant.as_str().to_owned(),
        kind: asked.kind.as_str().to_owned(),
        key: digest(key),
        consistency: encode::consistency(consistency),
    }
}

/// The request of a page; `page_token` is empty for the first one.
#[must_use]
pub fn find_request(
    tenant: &TenantId,
    asked: &RecordsAsked,
    page_token: Option<&str>,
    consistency: Consistency,
) -> v1::FindRecordsRequest {
    let (RecordName::Key(key) | RecordName::Index(key)) = &asked.by;
    let after = asked.after.as_ref().map(token).unwrap_or_default();
    v1::FindRecordsRequest {
        tenant: tenant.as_str().to_owned(),
        kind: asked.kind.as_str().to_owned(),
        index_key: digest(key),
        page_size: asked.records_max,
        page_token: page_token.map_or(after, ToOwned::to_owned),
        consistency: encode::consistency(consistency),
    }
}

/// See [`LookUpRecord`].
#[must_use]
pub fn look_up_request(
    tenant: &TenantId,
    name: RequestName,
    look_up: &LookUpRecord,
) -> v1::LookUpRecordRequest {
    use v1::look_up_record_request::By;
    v1::LookUpRecordRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        kind: look_up.kind.as_str().to_owned(),
        by: Some(match &look_up.by {
            RecordName::Key(key) => By::Key(digest(key)),
            RecordName::Index(key) => By::IndexKey(digest(key)),
        }),
        guesser: digest(&look_up.guesser),
    }
}

/// See [`DeleteRecord`].
#[must_use]
pub fn delete_request(
    tenant: &TenantId,
    name: RequestName,
    delete: &DeleteRecord,
) -> v1::DeleteRecordRequest {
    v1::DeleteRecordRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        kind: delete.kind.as_str().to_owned(),
        key: digest(&delete.key),
        version: delete.version,
    }
}

/// See [`DeleteRecords`].
#[must_use]
pub fn delete_all_request(
    tenant: &TenantId,
    name: RequestName,
    delete: &DeleteRecords,
) -> v1::DeleteRecordsRequest {
    v1::DeleteRecordsRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        kind: delete.kind.as_str().to_owned(),
        index_key: digest(&delete.index),
    }
}

/// See [`CollectExpired`].
#[must_use]
pub fn collect_request(
    tenant: &TenantId,
    name: RequestName,
    collect: &CollectExpired,
) -> v1::CollectExpiredRequest {
    v1::CollectExpiredRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        kind: collect.kind.as_str().to_owned(),
        before_unix_ms: collect.before.0,
        records_max: collect.rows_max,
    }
}

/// See [`Consume`].
#[must_use]
pub fn consume_request(
    tenant: &TenantId,
    name: RequestName,
    consume: &Consume,
) -> v1::ConsumeRequest {
    v1::ConsumeRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        record: Some(consumption(consume)),
        family_id: family(consume.family),
    }
}

pub(crate) fn consumption(consume: &Consume) -> v1::Consumption {
    v1::Consumption {
        kind: consume.kind.as_str().to_owned(),
        key: digest(&consume.key),
        preconditions: preconditions(&consume.preconditions),
        guesser: consume.guesser.as_ref().map(digest).unwrap_or_default(),
        revoke_on_replay: consume.revoke_on_replay,
    }
}

/// See [`SeenOnce`].
#[must_use]
pub fn seen_request(tenant: &TenantId, name: RequestName, seen: &SeenOnce) -> v1::SeenOnceRequest {
    v1::SeenOnceRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        kind: seen.kind.as_str().to_owned(),
        issuer: seen.issuer.as_str().to_owned(),
        key: digest(&seen.key),
        expires_at_unix_ms: seen.expires_at.0,
    }
}
