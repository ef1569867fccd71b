//! Records on the wire: every request arrives as it was meant, answers arrive, and what is beyond a
//! bound is refused with the field that is wrong.

use bytes::Bytes;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::limits;
use jeton_core::reply::{ConsumedRecord, Done, RecordPage, RecordView, Refusal, Reply};
use jeton_wire::answer::{self, Answer};
use jeton_wire::decode::{self, Asked, Consistency, Query, Read, Write};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::record::{self, RecordsAsked};
use jeton_wire::reply::{self, Kind};
use jeton_wire::{Violation, admin, encode};

use crate::samples;

fn kind() -> RecordKind {
    RecordKind::new("code").expect("a good name")
}

fn precondition(name: &str) -> Precondition {
    Precondition { name: name.into(), digest: KeyDigest([7; 16]) }
}

fn consume() -> Consume {
    Consume {
        kind: kind(),
        key: KeyDigest([1; 16]),
        preconditions: vec![precondition("a"), precondition("b")],
        guesser: Some(KeyDigest([2; 16])),
        family: Some(FamilyId([3; 16])),
        revoke_on_replay: true,
    }
}

fn put() -> PutRecord {
    PutRecord {
        kind: kind(),
        key: KeyDigest([1; 16]),
        when: PutWhen::Version(4),
        value: Bytes::from_static(b"value"),
        lifetime: Some(DurationMs(60_000)),
        index: vec![KeyDigest([8; 16]), KeyDigest([9; 16])],
        roots: RecordRoots {
            subject: Some(samples::subject()),
            client: Some(samples::client()),
            session: SessionId::new("sid").ok(),
            device: Some(samples::device()),
            family: Some(FamilyId([4; 16])),
        },
        family: Some(FamilyId([5; 16])),
        preconditions: vec![precondition("client")],
        authenticated_at: Some(Position(6)),
    }
}

fn write(operation: Operation) -> Asked {
    let request = RequestName { id: RequestId([1; 16]), age: DurationMs(5) };
    let command = Command { tenant: Some(samples::tenant()), request: Some(request), operation };
    Asked::Write(Write { command, mac: None, part_macs: Vec::new() })
}

fn asked(by: RecordName, after: Option<KeyDigest>, records_max: u32) -> RecordsAsked {
    RecordsAsked { kind: kind(), by, after, records_max }
}

/// One of each operation.
pub fn all() -> Vec<Asked> {
    let (key, guesser) = (KeyDigest([1; 16]), KeyDigest([2; 16]));
    let read = |query| {
        let tenant = samples::tenant();
        Asked::Read(Read { tenant, query, consistency: Consistency::AtLeast(Position(9)) })
    };
    let look_up = |by| LookUpRecord { kind: kind(), by, guesser };
    let issuer = IssuerId::new("issuer").expect("a good id");
    let expires_at = UnixMs(77);
    vec![
        write(Operation::PutRecord(Box::new(put()))),
        write(Operation::PutRecord(Box::new(PutRecord { when: PutWhen::Absent, ..put() }))),
        write(Operation::PutRecord(Box::new(PutRecord { when: PutWhen::Always, ..put() }))),
        write(Operation::LookUpRecord(look_up(RecordName::Key(key)))),
        write(Operation::LookUpRecord(look_up(RecordName::Index(key)))),
        write(Operation::DeleteRecord(DeleteRecord { kind: kind(), key, version: Some(3) })),
        write(Operation::DeleteRecords(DeleteRecords { kind: kind(), index: key })),
        write(Operation::CollectExpired(CollectExpired {
            kind: kind(),
            before: UnixMs(5),
            rows_max: 7,
        })),
        write(Operation::Consume(Box::new(consume()))),
        write(Operation::SeenOnce(SeenOnce { kind: kind(), issuer, key, expires_at })),
        read(Query::Record(asked(RecordName::Key(key), None, 1))),
        read(Query::Records(asked(RecordName::Index(key), Some(KeyDigest([3; 16])), 10))),
    ]
}

#[test]
fn every_request_arrives_as_it_was_meant() {
    for asked in all() {
        let request = encode::operation(&asked).expect("clients can send it");
        assert_eq!(decode::operation(Some(request)).expect("valid"), asked);
    }
}

fn view() -> RecordView {
    RecordView {
        kind: kind(),
        key: KeyDigest([1; 16]),
        value: Bytes::from_static(b"value"),
        version: 2,
        created: Position(3),
        created_at: UnixMs(4),
        origin: Position(2),
        expires_at: Some(UnixMs(9)),
        expired: true,
        consumed_at: Some(UnixMs(8)),
        index: put().index,
        roots: put().roots,
        family: Some(FamilyId([5; 16])),
    }
}

fn answered(kind: Kind, outcome: Result<Done, Refusal>) -> Answer {
    let reply = Reply { position: Position(99), at: UnixMs(1), outcome };
    let response = reply::mutation(kind, reply, None).expect("a response");
    let result = v1::OperationResult { tag: 1, response: Some(response) };
    answer::operation(result).expect("well formed")
}

#[test]
fn answers_arrive() {
    let consumed = ConsumedRecord {
        value: Bytes::from_static(b"value"),
        created_at: UnixMs(1),
        origin: Position(2),
        authenticated_at: Some(Position(1)),
        expires_at: None,
    };
    let done = |kind, done| answered(kind, Ok(done));
    assert!(matches!(done(Kind::PutRecord, Done::RecordPut { version: 4 }),
        Answer::PutRecord(a) if a.outcome == Ok(4)));
    assert!(matches!(done(Kind::LookUpRecord, Done::RecordFound(Box::new(view()))),
        Answer::LookUpRecord(a) if a.outcome == Ok(view())));
    assert!(matches!(done(Kind::DeleteRecord, Done::RecordDeleted { existed: true }),
        Answer::DeleteRecord(a) if a.outcome == Ok(true)));
    assert!(matches!(done(Kind::DeleteRecords, Done::Cut),
        Answer::DeleteRecords(a) if a.outcome == Ok(())));
    assert!(matches!(done(Kind::CollectExpired, Done::Collected { count: 3, more: true }),
        Answer::CollectExpired(a)
            if a.outcome == Ok(record::Collected { count: 3, more: true })));
    assert!(matches!(done(Kind::Consume, Done::Consumed(Box::new(consumed.clone()))),
        Answer::Consume(a) if a.outcome == Ok(consumed.clone())));
    assert!(matches!(done(Kind::SeenOnce, Done::Fresh),
        Answer::SeenOnce(a) if a.outcome == Ok(())));
    for kind in [
        Kind::PutRecord,
        Kind::LookUpRecord,
        Kind::DeleteRecord,
        Kind::DeleteRecords,
        Kind::CollectExpired,
        Kind::Consume,
        Kind::SeenOnce,
    ] {
        let heard = format!("{:?}", answered(kind, Err(Refusal::PreconditionFailed)));
        assert!(heard.contains("PreconditionFailed"), "{kind:?}: {heard}");
    }
}

#[test]
fn reads_arrive_and_pages_lead_on() {
    let through = |response| {
        let result = v1::OperationResult { tag: 1, response: Some(response) };
        answer::operation(result).expect("well formed")
    };
    let shown = record::shown(Position(5), None, Ok(view())).expect("told");
    assert!(matches!(through(shown), Answer::GetRecord(seen) if seen.outcome == Ok(view())));
    let next = Some(KeyDigest([0x1f; 16]));
    let page = RecordPage { records: vec![view()], next };
    let found = record::found(Position(5), None, Ok(page)).expect("told");
    let Answer::FindRecords(seen) = through(found) else { panic!("not a page") };
    let page = seen.outcome.expect("a page");
    assert_eq!(page.records, [view()]);
    let asked = asked(RecordName::Index(KeyDigest([1; 16])), None, 10);
    let token = page.next.as_deref();
    let request =
        record::find_request(&samples::tenant(), &asked, token, Consistency::Linearizable);
    let Ok(Asked::Read(read)) = decode::operation(Some(Request::FindRecords(request))) else {
        panic!("a token of ours is taken")
    };
    assert!(matches!(read.query, Query::Records(asked) if asked.after == next));
}

/// A good put, spoilt.
fn spoilt(spoil: impl FnOnce(&mut v1::PutRecordRequest)) -> Result<Asked, Violation> {
    let request = encode::operation(&write(Operation::PutRecord(Box::new(put()))));
    let Some(Request::PutRecord(mut r)) = request else { panic!("the sample is a put") };
    spoil(&mut r);
    decode::operation(Some(Request::PutRecord(r)))
}

fn many(count: usize) -> Vec<Bytes> {
    (0..count).map(|nth| Bytes::from(vec![nth as u8; 16])).collect()
}

fn named(count: usize) -> Vec<v1::Precondition> {
    let digest = Bytes::from(vec![1; 16]);
    (0..count)
        .map(|nth| v1::Precondition { name: format!("p{nth}"), digest: digest.clone() })
        .collect()
}

#[test]
fn each_bound_is_kept_and_one_above_is_refused() {
    let max = limits::RECORD_VALUE_BYTES_MAX;
    let day = 24 * 60 * 60 * 1_000;
    for good in [
        spoilt(|r| r.value = Bytes::from(vec![0; max])),
        spoilt(|r| r.index_keys = many(limits::INDEX_KEYS_MAX)),
        spoilt(|r| r.preconditions = named(limits::PRECONDITIONS_MAX)),
        spoilt(|r| r.preconditions[0].name = "x".repeat(64)),
        spoilt(|r| r.lifetime_ms = Some(400 * day)),
        spoilt(|r| (r.lifetime_ms, r.roots) = (None, None)),
    ] {
        assert!(good.is_ok(), "{good:?}");
    }
    for (bad, field) in [
        (spoilt(|r| r.value = Bytes::from(vec![0; max + 1])), "value"),
        (spoilt(|r| r.index_keys = many(limits::INDEX_KEYS_MAX + 1)), "index_keys"),
        (spoilt(|r| r.index_keys = vec![Bytes::from(vec![1; 15])]), "index_keys[0]"),
        (spoilt(|r| r.index_keys = [many(1), many(1)].concat()), "index_keys"),
        (spoilt(|r| r.preconditions = named(limits::PRECONDITIONS_MAX + 1)), "preconditions"),
        (spoilt(|r| r.preconditions = [named(1), named(1)].concat()), "preconditions"),
        (spoilt(|r| r.preconditions[0].name = "x".repeat(65)), "preconditions[0].name"),
        (spoilt(|r| r.preconditions[0].name.clear()), "preconditions[0]"),
        (spoilt(|r| r.lifetime_ms = Some(400 * day + 1)), "lifetime_ms"),
        (spoilt(|r| r.lifetime_ms = Some(0)), "lifetime_ms"),
        (spoilt(|r| r.lifetime_ms = None), "lifetime_ms"),
        (spoilt(|r| r.kind.clear()), "kind"),
        (spoilt(|r| r.key = Bytes::new()), "key"),
        (spoilt(|r| r.family_id = Bytes::from(vec![1; 17])), "family_id"),
        (spoilt(|r| r.request = None), "request"),
        (spoilt(|r| r.when = Some(v1::put_record_request::When::Absent(false))), "absent"),
    ] {
        let violation = bad.expect_err(field);
        assert!(violation.field.starts_with(field), "{violation} is told of {field}");
    }
}

#[test]
fn digests_and_values_are_never_printed() {
    let request = encode::operation(&write(Operation::PutRecord(Box::new(put()))));
    let printed = format!("{request:?}");
    assert!(!printed.contains("value") && !printed.contains("\\x07"), "{printed}");
}

#[test]
fn settings_of_a_kind_arrive() {
    let attempts =
        AttemptLimits { misses_per_guesser: 3, misses_per_tenant: 9, window: DurationMs(60_000) };
    let settings = RecordKindSettings { on_expiry: OnExpiry::Keep, attempts: Some(attempts) };
    let pb = admin::record_kind(&kind(), &settings);
    assert_eq!(admin::record_kind_from(&pb), Ok((kind(), settings)));
}
