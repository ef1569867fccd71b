//! Bytes that outlive the process: entries, rows and tokens, as every release so far wrote them.
//!
//! A line of a golden file is a name and its bytes in hexadecimal. Nothing here may change for a
//! format version that was released. Before that, or with a new version, write them anew:
//!
//! ```text
//! JETON_GOLDEN=write cargo test -p jeton-core --test golden
//! ```

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::codec::{self, DecodeError};
use jeton_core::command::*;
use jeton_core::digest::row_digest;
use jeton_core::ids::*;
use jeton_core::machine::{Machine, Meta};
use jeton_core::reply::*;
use jeton_core::tables::{MemTables, Tables as _};
use jeton_core::token::{NativeToken, Secret, TokenError, tenant_tag};
use jeton_core::{mac, read};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Compares with the golden file, or writes it.
fn golden(name: &str, lines: &[(String, String)]) -> Vec<(String, String)> {
    if std::env::var("JETON_GOLDEN").is_ok_and(|how| how == "write") {
        let text: String = lines.iter().map(|(name, text)| format!("{name} {text}\n")).collect();
        std::fs::write(path(name), text).unwrap();
    }
    let text = std::fs::read_to_string(path(name)).unwrap();
    let kept = text.lines().map(|line| line.rsplit_once(' ').unwrap());
    let kept: Vec<_> = kept.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    assert_eq!(kept, lines, "{name} changed: that breaks what is on disks");
    kept
}

struct Ignored(Vec<Reply>);

impl Replies for Ignored {
    fn wanted(&self) -> bool {
        true
    }
    fn reply(&mut self, _: usize, reply: Reply) {
        self.0.push(reply);
    }
    fn event(&mut self, _: Event) {}
}

const STAMP: UnixMs = UnixMs(1_800_000_000_000);

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn token(generation: u64) -> PresentedToken {
    PresentedToken {
        kid: Kid(1),
        family: FamilyId([0xfa; 16]),
        generation: Generation(generation),
        digest: SecretDigest([generation as u8; 16]),
    }
}

fn create() -> CreateFamily {
    CreateFamily {
        family: FamilyId([0xfa; 16]),
        digest: SecretDigest([0; 16]),
        opaque: false,
        subject: SubjectId::new("alice").unwrap(),
        client: ClientId::new("web").unwrap(),
        device: Some(DeviceId::new("phone").unwrap()),
        binding: Binding { jkt: Some(Arc::from("thumbprint")), x5t_s256: None },
        ip: Some(Arc::from("10.0.0.1")),
        attributes: vec![(Arc::from("region"), Arc::from("eu"))],
        payload: Bytes::from_static(b"payload"),
        lifetime: Some(DurationMs::from_secs(86_400)),
        idle: None,
        grace: None,
        authenticated_at: Some(Position(2_048)),
        cap: Some(FamilyCap {
            max: 3,
            scope: CapScope::SubjectClient,
            policy: CapPolicy::EvictOldest,
        }),
        session: None,
        code: None,
    }
}

fn rotate(generation: u64) -> Rotate {
    Rotate {
        token: token(generation).into(),
        successor: token(generation + 1).digest,
        seal: Bytes::from_static(b"sealed successor"),
        losers: Losers::Replay,
        client: ClientId::new("web").unwrap(),
        binding: Binding { jkt: Some(Arc::from("thumbprint")), x5t_s256: None },
        origin: Origin { device: None, ip: Some(Arc::from("10.0.0.2")) },
    }
}

fn acquire(holder: &str, wait: u64) -> Acquire {
    Acquire {
        lock: LockName::new("refresh").unwrap(),
        holder: HolderId::new(holder).unwrap(),
        ttl: DurationMs(10_000),
        wait: DurationMs(wait),
    }
}

fn lease(index: u64) -> LeaseName {
    let Acquire { lock, holder, .. } = acquire("a", 0);
    LeaseName { lock, holder, fence: Position::new(0, LogIndex(index), 0).into() }
}

fn publish(index: u64) -> Publish {
    let sealed = Bytes::from_static(b"sealed result");
    Publish { lease: lease(index), sealed, ttl: DurationMs(30_000), release: false }
}

fn withdraw() -> Withdraw {
    let lock = acquire("a", 0).lock;
    Withdraw { lock, acquire: RequestId([9; 16]), asked: Some(Position(4_096)) }
}

fn put_record(lifetime: Option<DurationMs>) -> PutRecord {
    PutRecord {
        kind: RecordKind::new("code").unwrap(),
        key: KeyDigest([0xc0; 16]),
        when: PutWhen::Absent,
        value: Bytes::from_static(b"sealed grant"),
        lifetime,
        index: vec![KeyDigest([0xc1; 16])],
        roots: RecordRoots {
            subject: lifetime.and(SubjectId::new("alice").ok()),
            ..RecordRoots::default()
        },
        family: None,
        preconditions: consume().preconditions,
        authenticated_at: None,
    }
}

fn consume() -> Consume {
    let digest = KeyDigest([0xc2; 16]);
    Consume {
        kind: RecordKind::new("code").unwrap(),
        key: KeyDigest([0xc0; 16]),
        preconditions: vec![Precondition { name: Arc::from("client"), digest }],
        guesser: Some(KeyDigest([0xc3; 16])),
        family: Some(FamilyId([0xfa; 16])),
        revoke_on_replay: true,
    }
}

/// Operations on records, in the order of their numbers.
fn record_operations() -> Vec<(&'static str, Operation)> {
    let Consume { kind, key, .. } = consume();
    let guesser = KeyDigest([0xc3; 16]);
    let attempts =
        AttemptLimits { misses_per_guesser: 3, misses_per_tenant: 100, window: DurationMs(60_000) };
    let settings = RecordKindSettings { on_expiry: OnExpiry::Keep, attempts: Some(attempts) };
    let by = RecordName::Index(KeyDigest([0xc1; 16]));
    let issuer = IssuerId::new("https://client.example").unwrap();
    let expires_at = STAMP.plus(DurationMs(60_000));
    let set = SetRecordKind { kind: kind.clone(), settings };
    let look_up = LookUpRecord { kind: kind.clone(), by, guesser };
    let delete = DeleteRecord { kind: kind.clone(), key, version: Some(1) };
    let cut = DeleteRecords { kind: kind.clone(), index: KeyDigest([0xc1; 16]) };
    let collect = CollectExpired { kind: kind.clone(), before: STAMP, rows_max: 10 };
    vec![
        ("set record kind", Operation::SetRecordKind(set)),
        ("put record", Operation::PutRecord(Box::new(put_record(Some(DurationMs::from_secs(60)))))),
        ("look up record", Operation::LookUpRecord(look_up)),
        ("delete record", Operation::DeleteRecord(delete)),
        ("delete records", Operation::DeleteRecords(cut)),
        ("collect expired", Operation::CollectExpired(collect)),
        ("consume", Operation::Consume(Box::new(consume()))),
        ("seen once", Operation::SeenOnce(SeenOnce { kind, issuer, key, expires_at })),
    ]
}

fn deny() -> RevokeAccessToken {
    let (jti, client) = (Jti::new("jti-1").unwrap(), ClientId::new("web").unwrap());
    RevokeAccessToken { jti, client, expires_at: Some(STAMP.plus(DurationMs::from_secs(60))) }
}

/// One of every operation, in the order of their numbers.
fn operations() -> Vec<(&'static str, Operation)> {
    let settings = TenantSettings::default();
    let key = KeyMaterial([7; 32]);
    let update = UpdateFamily {
        family: FamilyId([0xfa; 16]),
        version: 1,
        attributes: Some(Vec::new()),
        payload: None,
        grace: Some(DurationMs::from_secs(60)),
    };
    let revoke = RevokeFamily { family: FamilyId([0xfb; 16]), reason: Some(Arc::from("why")) };
    let matching =
        Criteria { subject: Some(SubjectId::new("bob").unwrap()), ..Criteria::default() };
    let cut = Box::new(RevokeWhere { matching, ..RevokeWhere::default() });
    let client = ClientId::new("web").unwrap();
    let subject = SubjectId::new("carol").unwrap();
    let reauthenticate = RequireReauthentication { subject, reason: Some(Arc::from("risk")) };
    let tenant = CreateTenant { settings, key };
    let changes = SettingsChange {
        grace_default: Some(DurationMs::from_secs(20)),
        family_lifetime_max: Some(DurationMs::from_secs(10 * 24 * 60 * 60)),
        idle_default: None,
        access_ttl_max: Some(DurationMs::from_secs(60)),
        rotation_burst: Some(4),
        rotations_per_s: Some(0),
        shadow: Some(true),
        families_max_soft: Some(1_000),
        ancestors_max: Some(100),
    };
    let session = SessionId::new("sid-1").unwrap();
    let touch_session = TouchSession {
        session: session.clone(),
        version: Some(1),
        attributes: Some(Vec::new()),
        payload: Some(Bytes::from_static(b"more")),
    };
    let what = Suspendable::Client(ClientId::new("tv").unwrap());
    let suspend = Suspend { what, reason: Some(Arc::from("abuse")) };
    let family = FamilyId([0xfc; 16]);
    let bound = CreateFamily { family, session: Some(session.clone()), ..create() };
    let mut operations = vec![
        ("create tenant", Operation::CreateTenant(tenant)),
        ("set tenant", Operation::SetTenant(SetTenant { changes, version: Some(1) })),
        (
            "rotate tenant key",
            Operation::RotateTenantKey(RotateTenantKey { key: KeyMaterial([8; 32]) }),
        ),
        ("mark key compromised", Operation::MarkKeyCompromised(MarkKeyCompromised { kid: Kid(1) })),
        ("create family", Operation::CreateFamily(Box::new(create()))),
        ("rotate", Operation::Rotate(Box::new(rotate(0)))),
        ("touch", Operation::Touch(Touch { token: token(1).into() })),
        ("update family", Operation::UpdateFamily(Box::new(update))),
        ("revoke family", Operation::RevokeFamily(revoke)),
        ("revoke token", Operation::RevokeToken(RevokeToken { token: token(9).into(), client })),
        ("revoke where", Operation::RevokeWhere(cut)),
        ("sweep", Operation::Sweep(Sweep { rows_max: 10 })),
        ("digest", Operation::DigestAt),
        ("require reauthentication", Operation::RequireReauthentication(reauthenticate)),
        ("acquire", Operation::Acquire(acquire("a", 0))),
        ("renew", Operation::Renew(Renew { leases: vec![lease(1)] })),
        ("release", Operation::Release(Release { lease: lease(1) })),
        ("publish", Operation::Publish(publish(1))),
        ("withdraw", Operation::Withdraw(withdraw())),
        ("expire leases", Operation::ExpireLeases(Sweep { rows_max: 10 })),
        ("create session", Operation::CreateSession(Box::new(create_session()))),
        ("touch session", Operation::TouchSession(Box::new(touch_session))),
        ("end session", Operation::EndSession(EndSession { session, reason: None })),
        ("suspend", Operation::Suspend(suspend)),
        ("resume", Operation::Resume(Resume { what: Suspendable::Tenant })),
        ("create bound family", Operation::CreateFamily(Box::new(bound))),
    ];
    operations.extend(record_operations());
    operations.push(("revoke access token", Operation::RevokeAccessToken(deny())));
    operations.push(("transact", Operation::Transact(Box::new(transact()))));
    operations
}

/// Every comparison, and every operation that can be part of a transaction.
fn transact() -> Transact {
    let Consume { kind, key, .. } = consume();
    let others = record_operations().into_iter().map(|(_, operation)| operation);
    let session = create_session();
    let mut then: Vec<_> = others.filter_map(|other| Part::try_from(other).ok()).collect();
    let touch = TouchSession {
        session: session.session.clone(),
        version: None,
        attributes: None,
        payload: None,
    };
    let update = UpdateFamily {
        family: FamilyId([0xfa; 16]),
        version: 1,
        attributes: None,
        payload: Some(Bytes::new()),
        grace: None,
    };
    let end = EndSession { session: session.session.clone(), reason: None };
    then.extend([
        Part::CreateFamily(Box::new(create())),
        Part::Rotate(Box::new(rotate(0))),
        Part::Touch(Touch { token: token(1).into() }),
        Part::UpdateFamily(Box::new(update)),
        Part::RevokeFamily(RevokeFamily { family: FamilyId([0xfa; 16]), reason: None }),
        Part::CreateSession(Box::new(session)),
        Part::TouchSession(Box::new(touch)),
        Part::EndSession(end),
    ]);
    let LeaseName { lock, fence, .. } = lease(1);
    let compare = vec![
        Comparison::RecordVersion { kind: kind.clone(), key, version: 1 },
        Comparison::RecordExists { kind: kind.clone(), key },
        Comparison::RecordAbsent { kind, key },
        Comparison::FamilyAlive { family: FamilyId([0xfa; 16]) },
        Comparison::LockHeld { lock, fence },
    ];
    let otherwise = vec![Part::Touch(Touch { token: token(1).into() })];
    Transact { compare, then, otherwise }
}

fn create_session() -> CreateSession {
    CreateSession {
        session: SessionId::new("sid-1").unwrap(),
        subject: SubjectId::new("alice").unwrap(),
        device: Some(DeviceId::new("laptop").unwrap()),
        attributes: vec![(Arc::from("acr"), Arc::from("2"))],
        payload: Bytes::from_static(b"payload"),
        lifetime: Some(DurationMs::from_secs(86_400)),
        idle: Some(DurationMs::from_secs(3_600)),
        authenticated_at: None,
    }
}

fn entry(place: usize, operation: Operation) -> Entry {
    let name = RequestName { id: RequestId([place as u8; 16]), age: DurationMs(5) };
    let command = Command { tenant: Some(acme()), request: Some(name), operation };
    Entry { stamp: STAMP, lease_advance: DurationMs(2), commands: vec![Arc::new(command)] }
}

#[test]
fn entries_keep_their_bytes() {
    let entries = operations().into_iter().enumerate();
    let entries: Vec<_> = entries.map(|(at, (name, what))| (name, entry(at, what))).collect();
    let lines: Vec<_> = entries
        .iter()
        .map(|(name, entry)| ((*name).to_owned(), hex(&codec::encode_entry(entry))))
        .collect();
    let kept = golden("entries-1.txt", &lines);
    for ((_, entry), (name, bytes)) in entries.iter().zip(kept) {
        assert_eq!(codec::decode_entry(&unhex(&bytes)).unwrap(), *entry, "{name}");
    }
}

/// Every kind of row: a tenant, its keys, cutoffs, a suspension, a session with its indexes,
/// families, one with a full ring, replies, a lock with one who waits and a result, the indexes.
fn history() -> (Machine, MemTables) {
    let (mut machine, mut tables) = (Machine::new(), MemTables::new());
    let order = [0, 2, 3, 4, 5, 5, 5, 5, 5, 5, 7, 10, 13, 20, 21, 25, 22, 23];
    let mut replies = Ignored(Vec::new());
    for (at, operation) in order.into_iter().enumerate() {
        let what = match operation {
            5 => Operation::Rotate(Box::new(rotate(at as u64 - 4))),
            other => operations().swap_remove(other).1,
        };
        let index = LogIndex(at as u64 + 1);
        machine.apply(&mut tables, index, &entry(at, what), &mut replies).unwrap();
    }
    // A lock that is held, waited for, and has a result; an access token that is denied.
    let at = order.len() as u64 + 1;
    let rest = [
        Operation::Acquire(acquire("a", 0)),
        Operation::Acquire(acquire("b", 60_000)),
        Operation::Publish(publish(at)),
        Operation::RevokeAccessToken(deny()),
    ];
    for (more, what) in (0..).zip(rest) {
        let entry = entry(40 + more, what);
        let index = LogIndex(at + more as u64);
        machine.apply(&mut tables, index, &entry, &mut replies).unwrap();
    }
    assert!(replies.0.iter().all(|reply| reply.outcome.is_ok()), "{:?}", replies.0);
    // A kind, a record, a miss, a proof, a cut.
    let records = record_operations();
    let records = [0, 1, 2, 7, 4].map(|at| records[at].1.clone());
    for (more, what) in (0..).zip(records) {
        let index = LogIndex(at + 10 + more as u64);
        let mut what = what;
        if let Operation::LookUpRecord(wish) = &mut what {
            wish.by = RecordName::Key(KeyDigest([0; 16]));
        }
        machine.apply(&mut tables, index, &entry(50 + more, what), &mut replies).unwrap();
    }
    (machine, tables)
}

#[test]
fn a_command_says_how_many_bytes_it_takes_in_an_entry() {
    for (name, operation) in operations() {
        let one = entry(0, operation);
        let none = Entry { commands: Vec::new(), ..one.clone() };
        let taken = codec::encode_entry(&one).len() - codec::encode_entry(&none).len();
        assert_eq!(codec::command_bytes(&one.commands[0]), taken, "{name}");
    }
}

#[test]
fn rows_keep_their_bytes_and_still_decode() {
    let (machine, tables) = history();
    let mut lines: Vec<_> = tables.rows().map(|(key, value)| (hex(key), hex(value))).collect();
    lines.push(("meta".to_owned(), hex(&codec::encode(machine.meta()))));
    let mut kept = golden("rows-1.txt", &lines);
    let (_, meta) = kept.pop().unwrap();
    let meta: Meta = codec::decode(&unhex(&meta), 1_024).unwrap();

    // What was kept is a state that goes on.
    let mut tables = MemTables::new();
    kept.iter().for_each(|(key, value)| tables.put(unhex(key), unhex(value)));
    let rows = tables.rows().map(|(key, value)| row_digest(key, value));
    assert_eq!(rows.fold(0, u128::wrapping_add), meta.rows);
    assert_eq!(meta.digest().to_string(), machine.meta().digest().to_string());
    let family = FamilyId([0xfa; 16]);
    let view = read::family(&tables, STAMP, &acme(), family).unwrap().unwrap();
    assert_eq!((view.generation, view.version), (Generation(6), 2));
    let mut replies = Ignored(Vec::new());
    let next = entry(99, Operation::Rotate(Box::new(rotate(6))));
    Machine::restore(&meta).apply(&mut tables, LogIndex(100), &next, &mut replies).unwrap();
    assert!(matches!(&replies.0[0].outcome, Ok(Done::Rotated(_))));
}

#[test]
fn tokens_keep_their_text() {
    let key = KeyMaterial(std::array::from_fn(|at| at as u8));
    let secret = Secret::new([0x5e; 32]);
    let (family, generation) = (FamilyId([0xfa; 16]), Generation(258));
    let tenant_tag = tenant_tag(&acme());
    let mac = mac::compute(&key, &acme(), family, generation, secret.digest());
    let token = NativeToken { kid: Kid(3), tenant_tag, family, generation, secret, mac };
    let text = token.format();
    let lines = [
        ("tenant tag".to_owned(), hex(&tenant_tag)),
        ("digest".to_owned(), hex(&token.secret.digest().0)),
        ("mac".to_owned(), hex(&mac.0)),
        ("token".to_owned(), text.expose().to_owned()),
    ];
    let kept = golden("token-1.txt", &lines);
    assert_eq!(NativeToken::parse(&kept[3].1).unwrap(), token);
}

#[test]
fn only_the_one_spelling_of_a_token_is_taken() {
    let kept = std::fs::read_to_string(path("token-1.txt")).unwrap();
    let text = kept.lines().last().unwrap().rsplit_once(' ').unwrap().1;
    assert!(NativeToken::parse(text).is_ok());
    assert_eq!(NativeToken::parse(&text[4..]), Err(TokenError::Prefix));
    assert_eq!(NativeToken::parse(""), Err(TokenError::Prefix));
    assert!(matches!(NativeToken::parse(&text[..90]), Err(TokenError::Length { .. })));
    assert!(matches!(NativeToken::parse(&format!("{text}=")), Err(TokenError::Length { .. })));
    let newer = text.replacen("jrt_A", "jrt_B", 1);
    assert!(matches!(NativeToken::parse(&newer), Err(TokenError::Version { .. })));
    // 79 bytes leave four bits over in the last character: only zeros are canonical.
    let last = text.len() - 1;
    let others =
        ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_', '+', '/', '.', 'é']);
    let others = others.filter(|other| !text.ends_with(*other));
    let taken =
        others.filter(|other| NativeToken::parse(&format!("{}{other}", &text[..last])).is_ok());
    assert_eq!(taken.count(), 3, "four of 64 characters carry two bits each");
}

#[test]
fn secrets_can_not_be_printed() {
    let kept = std::fs::read_to_string(path("token-1.txt")).unwrap();
    let text = kept.lines().last().unwrap().rsplit_once(' ').unwrap().1;
    let token = NativeToken::parse(text).unwrap();
    let (presented, mac) = token.presented();
    let printed =
        format!("{token:?} {:?} {presented:?} {mac:?} {:?}", token.format(), KeyMaterial([7; 32]));
    for secret in [&text[4..20], "94, 94", "5e5e", "7, 7"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn a_mac_knows_every_part() {
    let key = |byte| KeyMaterial([byte; 32]);
    let other = TenantId::new("acm").unwrap();
    let macs = [
        mac::compute(&key(1), &acme(), FamilyId([1; 16]), Generation(1), SecretDigest([1; 16])),
        mac::compute(&key(2), &acme(), FamilyId([1; 16]), Generation(1), SecretDigest([1; 16])),
        mac::compute(&key(1), &other, FamilyId([1; 16]), Generation(1), SecretDigest([1; 16])),
        mac::compute(&key(1), &acme(), FamilyId([2; 16]), Generation(1), SecretDigest([1; 16])),
        mac::compute(&key(1), &acme(), FamilyId([1; 16]), Generation(2), SecretDigest([1; 16])),
        mac::compute(&key(1), &acme(), FamilyId([1; 16]), Generation(1), SecretDigest([2; 16])),
    ];
    for (at, mac) in macs.iter().enumerate() {
        assert!(macs[..at].iter().all(|earlier| earlier != mac));
    }
}

#[test]
fn nodes_verify_with_the_keys_that_the_state_keeps() {
    let (_, tables) = history();
    let keys = read::tenant_keys(&tables, &acme()).unwrap().unwrap();
    let token = token(4);
    let mac = keys.mac(Kid(1), token.family, token.generation, token.digest).unwrap();
    assert_eq!(keys.current(), Kid(2));
    assert!(keys.verify(&token, &mac));
    assert!(!keys.verify(&PresentedToken { kid: Kid(2), ..token }, &mac));
    assert!(!keys.verify(&PresentedToken { kid: Kid(9), ..token }, &mac));
    assert!(!keys.verify(&PresentedToken { generation: Generation(5), ..token }, &mac));
    assert!(read::tenant_keys(&tables, &TenantId::new("nobody").unwrap()).unwrap().is_none());
    let page = read::tenants(&tables, None, 10).unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].compromised, vec![Kid(1)]);
    assert!(read::tenants(&tables, Some(&acme()), 10).unwrap().is_empty());
}

#[test]
fn bytes_that_are_no_value_are_refused_with_the_reason() {
    let good = codec::encode_entry(&entry(1, Operation::DigestAt));
    assert!(matches!(codec::decode_entry(&[]), Err(DecodeError::Empty)));
    assert!(matches!(codec::decode_entry(&[2, 0]), Err(DecodeError::Format { found: 2 })));
    let longer = [&good[..], &[0]].concat();
    assert!(matches!(codec::decode_entry(&longer), Err(DecodeError::Trailing { excess: 1 })));
    let shorter = &good[..good.len() - 1];
    assert!(matches!(codec::decode_entry(shorter), Err(DecodeError::Malformed(_))));
    let max = good.len() - 1;
    assert!(matches!(codec::decode::<Entry>(&good, max), Err(DecodeError::TooLarge { .. })));
    // A length that claims everything there is must not be believed.
    let claims = [&[1][..], &[253], &[0xff; 8]].concat();
    assert!(codec::decode::<Bytes>(&claims, 100).is_err());
    assert!(codec::decode::<String>(&claims, 100).is_err());
    assert!(codec::decode::<Vec<u64>>(&claims, 100).is_err());
    // Identifiers are checked on every way in.
    for bad in ["", "a\nb", &"x".repeat(257)] {
        assert!(codec::decode::<TenantId>(&codec::encode(&bad), 1_000).is_err());
    }
}
