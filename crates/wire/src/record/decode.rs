//! Requests about records, checked.

use jeton_core::command::{
    CollectExpired, Consume, DeleteRecord, DeleteRecords, LookUpRecord, Operation, Precondition,
    PutRecord, PutWhen, RecordName, RecordRoots, SeenOnce,
};
use jeton_core::ids::{IssuerId, KeyDigest, Position, RecordKind, UnixMs};
use jeton_core::limits;

use super::{PAGE_DEFAULT, RecordsAsked};
use crate::check::{self, Violation};
use crate::decode::{Query, Read, Write, consistency, name, write};
use crate::pb::v1;

fn kind(field: &str, text: &str) -> Result<RecordKind, Violation> {
    RecordKind::new(text).map_err(|error| Violation::new(field, error.to_string()))
}

fn digest(field: &str, bytes: &[u8]) -> Result<KeyDigest, Violation> {
    check::key_digest(field, bytes)
}

fn index(keys: &[bytes::Bytes]) -> Result<Vec<KeyDigest>, Violation> {
    let (len, max) = (keys.len(), limits::INDEX_KEYS_MAX);
    if len > max {
        return Err(Violation::new("index_keys", format!("has {len} keys: the limit is {max}")));
    }
    let keys = keys.iter().enumerate();
    let mut index = keys
        .map(|(at, key)| digest(&format!("index_keys[{at}]"), key))
        .collect::<Result<Vec<_>, _>>()?;
    index.sort();
    if !index.is_sorted_by(|a, b| a < b) {
        return Err(Violation::new("index_keys", "names a key twice: name each once"));
    }
    Ok(index)
}

fn preconditions(field: &str, all: &[v1::Precondition]) -> Result<Vec<Precondition>, Violation> {
    let (len, max) = (all.len(), limits::PRECONDITIONS_MAX);
    if len > max {
        return Err(Violation::new(field, format!("has {len} entries: the limit is {max}")));
    }
    let mut checked = Vec::with_capacity(len);
    for (at, one) in all.iter().enumerate() {
        let field = format!("{field}[{at}]");
        let max = limits::PRECONDITION_NAME_BYTES_MAX;
        let name = check::text_opt(&format!("{field}.name"), &one.name, max)?;
        let name = name.ok_or_else(|| Violation::new(&field, "has no name: give it one"))?;
        checked
            .push(Precondition { name, digest: digest(&format!("{field}.digest"), &one.digest)? });
    }
    checked.sort_by(|a, b| a.name.cmp(&b.name));
    if !checked.is_sorted_by(|a, b| a.name < b.name) {
        return Err(Violation::new(field, "names one twice: name each once"));
    }
    Ok(checked)
}

fn roots(roots: Option<v1::RecordRoots>) -> Result<RecordRoots, Violation> {
    let Some(roots) = roots else { return Ok(RecordRoots::default()) };
    let inside =
        |v: Violation| Violation::new(&format!("roots.{}", v.field), v.description.as_str());
    Ok(RecordRoots {
        subject: check::subject_opt(&roots.subject).map_err(inside)?,
        client: check::client_opt(&roots.client).map_err(inside)?,
        session: check::session_opt("roots.session", &roots.session)?,
        device: check::device_opt("roots.device", &roots.device)?,
        family: check::family_opt("roots.family_id", &roots.family_id)?,
    })
}

pub(crate) fn put(r: v1::PutRecordRequest) -> Result<Write, Violation> {
    use v1::put_record_request::When;
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let when = match r.when {
        None => PutWhen::Always,
        Some(When::Absent(true)) => PutWhen::Absent,
        Some(When::Absent(false)) => {
            return Err(Violation::new("absent", "is false: set it to true, or leave it out"));
        }
        Some(When::Version(version)) => PutWhen::Version(version),
    };
    let roots = roots(r.roots)?;
    let lifetime_max = limits::RECORD_LIFETIME_MAX;
    let lifetime = check::duration_opt("lifetime_ms", r.lifetime_ms, lifetime_max)?;
    if lifetime.is_none() && !roots.is_empty() {
        let problem = "is missing: a record with roots must end, within 400 days";
        return Err(Violation::new("lifetime_ms", problem));
    }
    let put = PutRecord {
        kind: kind("kind", &r.kind)?,
        key: digest("key", &r.key)?,
        when,
        value: check::bytes_max("value", r.value, limits::RECORD_VALUE_BYTES_MAX)?,
        lifetime,
        index: index(&r.index_keys)?,
        roots,
        family: check::family_opt("family_id", &r.family_id)?,
        preconditions: preconditions("preconditions", &r.preconditions)?,
        authenticated_at: r.authenticated_at_position.map(Position),
    };
    Ok(write(tenant, request, Operation::PutRecord(Box::new(put)), None))
}

pub(crate) fn get(r: v1::GetRecordRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let asked = RecordsAsked {
        kind: kind("kind", &r.kind)?,
        by: RecordName::Key(digest("key", &r.key)?),
        after: None,
        records_max: 1,
    };
    Ok(Read { tenant, query: Query::Record(asked), consistency: consistency(r.consistency)? })
}

pub(crate) fn find(r: v1::FindRecordsRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let records_max = match r.page_size {
        0 => PAGE_DEFAULT,
        size if size > limits::PAGE_ROWS_MAX => {
            let max = limits::PAGE_ROWS_MAX;
            return Err(Violation::new("page_size", format!("is {size}: the limit is {max}")));
        }
        size => size,
    };
    let after = match r.page_token.as_str() {
        "" => None,
        text => Some(super::encode::cursor(text).ok_or_else(|| {
            Violation::new("page_token", "is none: send the last page's next_page_token")
        })?),
    };
    let asked = RecordsAsked {
        kind: kind("kind", &r.kind)?,
        by: RecordName::Index(digest("index_key", &r.index_key)?),
        after,
        records_max,
    };
    Ok(Read { tenant, query: Query::Records(asked), consistency: consistency(r.consistency)? })
}

pub(crate) fn look_up(r: v1::LookUpRecordRequest) -> Result<Write, Violation> {
    use v1::look_up_record_request::By;
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let by = match r.by {
        Some(By::Key(key)) => RecordName::Key(digest("key", &key)?),
        Some(By::IndexKey(key)) => RecordName::Index(digest("index_key", &key)?),
        None => return Err(Violation::new("key", "is missing: name a key or an index_key")),
    };
    let look_up =
        LookUpRecord { kind: kind("kind", &r.kind)?, by, guesser: digest("guesser", &r.guesser)? };
    Ok(write(tenant, request, Operation::LookUpRecord(look_up), None))
}

pub(crate) fn delete(r: v1::DeleteRecordRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let delete = DeleteRecord {
        kind: kind("kind", &r.kind)?,
        key: digest("key", &r.key)?,
        version: r.version,
    };
    Ok(write(tenant, request, Operation::DeleteRecord(delete), None))
}

pub(crate) fn delete_all(r: v1::DeleteRecordsRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let delete =
        DeleteRecords { kind: kind("kind", &r.kind)?, index: digest("index_key", &r.index_key)? };
    Ok(write(tenant, request, Operation::DeleteRecords(delete), None))
}

pub(crate) fn collect(r: v1::CollectExpiredRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let max = limits::COLLECT_ROWS_MAX;
    let rows_max = match r.records_max {
        0 => max,
        some if some > max => {
            let problem = format!("is {some}: the limit is {max}; call again for more");
            return Err(Violation::new("records_max", problem));
        }
        some => some,
    };
    let before = UnixMs(r.before_unix_ms);
    let collect = CollectExpired { kind: kind("kind", &r.kind)?, before, rows_max };
    Ok(write(tenant, request, Operation::CollectExpired(collect), None))
}

pub(crate) fn consume(r: v1::ConsumeRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let mut consume = consumption("record", check::required("record", r.record)?)?;
    consume.family = check::family_opt("family_id", &r.family_id)?;
    Ok(write(tenant, request, Operation::Consume(Box::new(consume)), None))
}

/// A record to be consumed, under `field` of a request.
pub(crate) fn consumption(field: &str, r: v1::Consumption) -> Result<Consume, Violation> {
    let at = |name: &str| format!("{field}.{name}");
    let guesser = match r.guesser.len() {
        0 => None,
        _ => Some(digest(&at("guesser"), &r.guesser)?),
    };
    Ok(Consume {
        kind: kind(&at("kind"), &r.kind)?,
        key: digest(&at("key"), &r.key)?,
        preconditions: preconditions(&at("preconditions"), &r.preconditions)?,
        guesser,
        family: None,
        revoke_on_replay: r.revoke_on_replay,
    })
}

pub(crate) fn seen(r: v1::SeenOnceRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let issuer = IssuerId::new(&r.issuer);
    let seen = SeenOnce {
        kind: kind("kind", &r.kind)?,
        issuer: issuer.map_err(|error| Violation::new("issuer", error.to_string()))?,
        key: digest("key", &r.key)?,
        expires_at: UnixMs(r.expires_at_unix_ms),
    };
    Ok(write(tenant, request, Operation::SeenOnce(seen), None))
}
