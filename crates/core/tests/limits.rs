//! Every limit: what is at it is taken, one more is refused with words that name it.
//!
//! The last test reads the constants from the source: a new one is in a table here, or among those
//! that only bound work inside.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod fixture;

use std::sync::Arc;

use bytes::Bytes;
use jeton_core::codec;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::limits::*;
use jeton_core::reply::*;

use fixture::{State, T0, family, tenant};

fn text(len: usize) -> Arc<str> {
    Arc::from("x".repeat(len))
}

fn bytes(len: usize) -> Bytes {
    Bytes::from(vec![0; len])
}

fn longer(span: DurationMs) -> DurationMs {
    DurationMs(span.0 + 1)
}

fn rotate(change: impl FnOnce(&mut Rotate)) -> Operation {
    let token = PresentedToken {
        kid: Kid(1),
        family: FamilyId([0xfa; 16]),
        generation: Generation(0),
        digest: SecretDigest([0; 16]),
    };
    let mut rotate = Rotate {
        token: token.into(),
        successor: SecretDigest([1; 16]),
        seal: bytes(1),
        losers: Losers::Replay,
        client: ClientId::new("web").unwrap(),
        binding: Binding::default(),
        origin: Origin::default(),
    };
    change(&mut rotate);
    Operation::Rotate(Box::new(rotate))
}

fn attributes(len: usize) -> Vec<(Arc<str>, Arc<str>)> {
    (0..len).map(|n| (Arc::from(format!("name {n:03}")), Arc::from("value"))).collect()
}

fn settings(changes: SettingsChange) -> Operation {
    Operation::SetTenant(SetTenant { changes, version: None })
}

fn record(change: impl FnOnce(&mut PutRecord)) -> Operation {
    let mut put = PutRecord {
        kind: RecordKind::new("code").unwrap(),
        key: KeyDigest([0xc0; 16]),
        when: PutWhen::Always,
        value: Bytes::new(),
        lifetime: Some(DurationMs(60_000)),
        index: Vec::new(),
        roots: RecordRoots::default(),
        family: None,
        preconditions: Vec::new(),
        authenticated_at: None,
    };
    change(&mut put);
    Operation::PutRecord(Box::new(put))
}

fn preconditions(count: usize, name: usize) -> Vec<Precondition> {
    let names = (0..count).map(|n| Arc::from(format!("{n:0name$}")));
    names.map(|name| Precondition { name, digest: KeyDigest([1; 16]) }).collect()
}

fn kind(name: &str, attempts: Option<AttemptLimits>) -> Operation {
    let settings = RecordKindSettings { attempts, ..RecordKindSettings::default() };
    Operation::SetRecordKind(SetRecordKind { kind: RecordKind::new(name).unwrap(), settings })
}

fn attempts(misses: u32, window: DurationMs) -> Operation {
    let limits = AttemptLimits { misses_per_guesser: 1, misses_per_tenant: misses, window };
    kind("user_code", Some(limits))
}

fn seen(until: DurationMs) -> Operation {
    Operation::SeenOnce(SeenOnce {
        kind: RecordKind::new("jti").unwrap(),
        issuer: IssuerId::new("rp").unwrap(),
        key: KeyDigest([9; 16]),
        expires_at: T0.plus(until),
    })
}

fn acquire(lock: &str, holder: &str, ttl: DurationMs, wait: DurationMs) -> Operation {
    let (lock, holder) = (LockName::new(lock).unwrap(), HolderId::new(holder).unwrap());
    Operation::Acquire(Acquire { lock, holder, ttl, wait })
}

fn lease() -> LeaseName {
    let lock = LockName::new("l").unwrap();
    LeaseName { lock, holder: HolderId::new("a").unwrap(), fence: Position(1).into() }
}

fn publish(len: usize, ttl: DurationMs) -> Operation {
    Operation::Publish(Publish { lease: lease(), sealed: bytes(len), ttl, release: false })
}

/// A limit, what is at it, and what is one beyond.
type Case = (&'static str, Operation, Operation);

/// Limits on what a request carries. The refusal names the constant, or the field.
fn cases() -> Vec<Case> {
    let (minute, none) = (DurationMs(60_000), SettingsChange::default());
    let life = |n| settings(SettingsChange { family_lifetime_max: Some(n), ..none.clone() });
    let access = |n| settings(SettingsChange { access_ttl_max: Some(n), ..none.clone() });
    let burst = |n| settings(SettingsChange { rotation_burst: Some(n), ..none.clone() });
    let rate = |n| settings(SettingsChange { rotations_per_s: Some(n), ..none.clone() });
    let kept = |n| settings(SettingsChange { ancestors_max: Some(n), ..none.clone() });
    let payload = |n| family(|f| f.payload = bytes(n));
    let ip = |n| family(|f| f.ip = Some(text(n)));
    let thumb = |n| family(|f| f.binding.jkt = Some(text(n)));
    let many = |n| family(|f| f.attributes = attributes(n));
    let name = |n| family(|f| f.attributes = vec![(text(n), text(1))]);
    let value = |n| family(|f| f.attributes = vec![(text(1), text(n))]);
    let grace = |n| family(|f| f.grace = Some(n));
    let (scope, policy) = (CapScope::Subject, CapPolicy::EvictOldest);
    let cap = |max| family(|f| f.cap = Some(FamilyCap { max, scope, policy }));
    let seal = |n| rotate(|r| r.seal = bytes(n));
    let reason = |n| {
        let reason = Some(text(n));
        Operation::RevokeFamily(RevokeFamily { family: FamilyId([0xfa; 16]), reason })
    };
    let except = |n| {
        let except = Except { families: vec![FamilyId([7; 16]); n], sessions: Vec::new() };
        Operation::RevokeWhere(Box::new(RevokeWhere { except, ..RevokeWhere::default() }))
    };
    let stored = |n| record(|r| r.value = bytes(n));
    let index = |n: usize| record(|r| r.index = (0..n).map(|n| KeyDigest([n as u8; 16])).collect());
    let asked = |n| record(|r| r.preconditions = preconditions(n, 4));
    let named = |n| record(|r| r.preconditions = preconditions(1, n));
    let lasting = |n| record(|r| r.lifetime = Some(n));
    let ttl = |n| acquire("l", "a", n, DurationMs(0));
    let wait = |n| acquire("l", "a", minute, n);
    let renew = |n| Operation::Renew(Renew { leases: vec![lease(); n] });
    vec![
        ("family_lifetime_max", life(FAMILY_LIFETIME_MAX), life(longer(FAMILY_LIFETIME_MAX))),
        ("access_ttl_max", access(ACCESS_TTL_MAX), access(longer(ACCESS_TTL_MAX))),
        ("rotation_burst", burst(ROTATION_BURST_MAX), burst(ROTATION_BURST_MAX + 1)),
        ("rotations_per_s", rate(ROTATIONS_PER_S_MAX), rate(ROTATIONS_PER_S_MAX + 1)),
        ("ancestors_max", kept(ANCESTORS_MAX), kept(ANCESTORS_MAX + 1)),
        ("ancestors_max", kept(ANCESTORS_MIN), kept(ANCESTORS_MIN - 1)),
        ("PAYLOAD_BYTES_MAX", payload(PAYLOAD_BYTES_MAX), payload(PAYLOAD_BYTES_MAX + 1)),
        ("IP_BYTES_MAX", ip(IP_BYTES_MAX), ip(IP_BYTES_MAX + 1)),
        ("THUMBPRINT_BYTES_MAX", thumb(THUMBPRINT_BYTES_MAX), thumb(THUMBPRINT_BYTES_MAX + 1)),
        ("ATTRIBUTES_MAX", many(ATTRIBUTES_MAX), many(ATTRIBUTES_MAX + 1)),
        (
            "ATTRIBUTE_NAME_BYTES_MAX",
            name(ATTRIBUTE_NAME_BYTES_MAX),
            name(ATTRIBUTE_NAME_BYTES_MAX + 1),
        ),
        (
            "ATTRIBUTE_VALUE_BYTES_MAX",
            value(ATTRIBUTE_VALUE_BYTES_MAX),
            value(ATTRIBUTE_VALUE_BYTES_MAX + 1),
        ),
        ("grace", grace(GRACE_MAX), grace(longer(GRACE_MAX))),
        ("cap.max", cap(CAP_FAMILIES_MAX), cap(CAP_FAMILIES_MAX + 1)),
        ("SEAL_BYTES_MAX", seal(SEAL_BYTES_MAX), seal(SEAL_BYTES_MAX + 1)),
        ("REASON_BYTES_MAX", reason(REASON_BYTES_MAX), reason(REASON_BYTES_MAX + 1)),
        ("EXCEPTIONS_MAX", except(EXCEPTIONS_MAX), except(EXCEPTIONS_MAX + 1)),
        ("RECORD_VALUE_BYTES_MAX", stored(RECORD_VALUE_BYTES_MAX), stored(65_537)),
        ("INDEX_KEYS_MAX", index(INDEX_KEYS_MAX), index(INDEX_KEYS_MAX + 1)),
        ("PRECONDITIONS_MAX", asked(PRECONDITIONS_MAX), asked(PRECONDITIONS_MAX + 1)),
        ("preconditions", named(PRECONDITION_NAME_BYTES_MAX), named(65)),
        ("lifetime", lasting(RECORD_LIFETIME_MAX), lasting(longer(RECORD_LIFETIME_MAX))),
        (
            "misses_per_guesser",
            attempts(ATTEMPTS_MISSES_MAX, minute),
            attempts(ATTEMPTS_MISSES_MAX + 1, minute),
        ),
        ("window", attempts(1, ATTEMPTS_WINDOW_MAX), attempts(1, longer(ATTEMPTS_WINDOW_MAX))),
        ("expires_at", seen(SEEN_LIFETIME_MAX), seen(longer(SEEN_LIFETIME_MAX))),
        ("ttl", ttl(LEASE_TTL_MAX), ttl(longer(LEASE_TTL_MAX))),
        ("ttl", ttl(LEASE_TTL_MIN), ttl(DurationMs(LEASE_TTL_MIN.0 - 1))),
        ("wait", wait(LOCK_WAIT_MAX), wait(longer(LOCK_WAIT_MAX))),
        ("RENEW_LEASES_MAX", renew(RENEW_LEASES_MAX), renew(RENEW_LEASES_MAX + 1)),
        ("RESULT_BYTES_MAX", publish(RESULT_BYTES_MAX, minute), publish(65_537, minute)),
        ("ttl", publish(1, RESULT_TTL_MAX), publish(1, longer(RESULT_TTL_MAX))),
    ]
}

/// What a refusal blames, if it blames the request.
fn blamed(outcome: &Result<Done, Refusal>) -> Option<&str> {
    match outcome {
        Err(Refusal::LimitReached { limit, .. }) => Some(limit),
        Err(Refusal::Invalid { field, .. }) => Some(field),
        _ => None,
    }
}

#[test]
fn what_is_at_a_limit_is_taken_and_one_more_is_refused_by_its_name() {
    for (limit, within, beyond) in cases() {
        assert_eq!(blamed(&State::new().ask(within)), None, "{limit}: at the limit");
        assert_eq!(blamed(&State::new().ask(beyond)), Some(limit), "{limit}: beyond it");
    }
}

#[test]
fn a_name_has_at_most_256_bytes() {
    assert!(SubjectId::new(&text(ID_BYTES_MAX)).is_ok());
    let error = SubjectId::new(&text(ID_BYTES_MAX + 1)).unwrap_err();
    assert!(error.to_string().contains("257 bytes: the limit is 256"), "{error}");
}

#[test]
fn a_request_is_known_for_ten_minutes() {
    let ask = |age| State::new().ask_as("acme", family(|_| {}), age);
    assert!(ask(REQUEST_TTL).is_ok());
    assert!(matches!(ask(longer(REQUEST_TTL)), Err(Refusal::StaleRequest)));
}

#[test]
fn a_cluster_has_4096_tenants() {
    let mut state = State::new();
    for n in 1..TENANTS_MAX {
        state.ask_as(&format!("tenant {n}"), tenant(), DurationMs(0)).unwrap();
    }
    let refused = state.ask_as("one more", tenant(), DurationMs(0));
    assert_eq!(blamed(&refused), Some("TENANTS_MAX"));
}

#[test]
fn a_tenant_has_64_keys() {
    let mut state = State::new();
    let key = || Operation::RotateTenantKey(RotateTenantKey { key: KeyMaterial([8; 32]) });
    for _ in 1..TENANT_KEYS_MAX {
        state.ask(key()).unwrap();
    }
    assert_eq!(blamed(&state.ask(key())), Some("TENANT_KEYS_MAX"));
}

#[test]
fn a_tenant_has_256_kinds_with_settings_which_can_still_be_changed() {
    let mut state = State::new();
    for n in 0..RECORD_KINDS_MAX {
        state.ask(kind(&format!("kind {n}"), None)).unwrap();
    }
    assert_eq!(blamed(&state.ask(kind("one more", None))), Some("RECORD_KINDS_MAX"));
    state.ask(kind("kind 7", None)).unwrap();
}

#[test]
fn ten_thousand_wait_for_a_lock() {
    let (hour, minute) = (LEASE_TTL_MAX, DurationMs(60_000));
    let mut state = State::new();
    state.ask(acquire("l", "holder", hour, DurationMs(0))).unwrap();
    for n in 0..LOCK_WAITERS_MAX {
        let queued = state.ask(acquire("l", &n.to_string(), hour, minute));
        assert!(matches!(queued, Ok(Done::Queued { .. })), "{n}: {queued:?}");
    }
    let refused = state.ask(acquire("l", "one more", hour, minute));
    assert_eq!(blamed(&refused), Some("LOCK_WAITERS_MAX"));
}

#[test]
fn an_entry_holds_1024_commands() {
    let mut state = State::new();
    let mut commands: Vec<_> = (0..BATCH_COMMANDS_MAX)
        .map(|_| state.command("acme", Operation::DigestAt, DurationMs(0)))
        .collect();
    assert_eq!(commands.len(), BATCH_COMMANDS_MAX);
    let entry = |commands: &[Arc<Command>]| {
        let commands = commands.to_vec();
        codec::encode_entry(&Entry { stamp: T0, lease_advance: DurationMs(0), commands })
    };
    assert!(codec::decode_entry(&entry(&commands)).is_ok());
    commands.push(state.command("acme", Operation::DigestAt, DurationMs(0)));
    let error = codec::decode_entry(&entry(&commands)).unwrap_err();
    assert!(error.to_string().contains("1025 commands"), "{error}");
    let replies = state.enter(commands);
    assert!(blamed(&replies[BATCH_COMMANDS_MAX].outcome).is_some(), "the last one is refused");
    assert!(blamed(&replies[BATCH_COMMANDS_MAX - 1].outcome).is_none());
}

/// Tested where their stories are: `predicates.rs`, `properties.rs`, `roster_limits.rs`,
/// `session_pages.rs`, the transcripts, and the tests of the public API.
const ELSEWHERE: &[&str] = &[
    "ALIASES_MAX",
    "ROSTER_MEMBERS_MAX",
    "ROSTER_SEARCH_MAX",
    "SESSION_CLIENTS_MAX",
    "NOTIFIED_CLIENTS_MAX",
    "COUNT_EXACT_MAX",
    "PREDICATES_MAX",
    "BOUNDED_AGE_MAX",
    "PAGE_ROWS_MAX",
    "ACCESS_CHECKS_MAX",
    "BATCH_BYTES_MAX",
    "ENTRY_BYTES_MAX",
    "TRANSACTION_COMPARISONS_MAX",
    "TRANSACTION_OPERATIONS_MAX",
    "TRANSACTION_REPLY_BYTES_MAX",
];

/// They bound work, time or space inside, and nobody is refused for them.
const INSIDE: &[&str] = &[
    "RING_LEN",
    "SWEEP_ROWS_MAX",
    "ROW_BYTES_MAX",
    "ANCESTORS_RECLAIMED",
    "PAGE_BYTES_MAX",
    "SETTLE",
    "RETENTION",
    "ROSTER_VISIT_EVERY",
    "ACCESS_SKEW",
    "FEED_KEPT",
    "SEAL_VISIT_EVERY",
    "RECORD_KEPT_MAX",
    "COLLECT_ROWS_MAX",
    "CUT_ROWS_MAX",
    "FIND_ROWS_MAX",
    "PREDICATES_CROWD",
    "PREDICATE_PAUSE",
];

#[test]
fn no_limit_is_forgotten() {
    let here = include_str!("limits.rs");
    let tested = here.split("const ELSEWHERE").next().unwrap();
    let source = include_str!("../src/limits.rs");
    let constants = source.lines().filter_map(|line| line.strip_prefix("pub const "));
    let names: Vec<&str> = constants.filter_map(|line| line.split(':').next()).collect();
    assert!(names.len() > 50, "{names:?}");
    for name in &names {
        let places = [tested.contains(name), ELSEWHERE.contains(name), INSIDE.contains(name)];
        let count = places.into_iter().filter(|there| *there).count();
        assert!(count > 0, "{name} is a limit without a test: put it into a table here");
    }
    for listed in ELSEWHERE.iter().chain(INSIDE) {
        assert!(names.contains(listed), "{listed} is no limit any more");
    }
}
