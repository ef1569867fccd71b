//! A state goes into a backup without what could be handed out again, and comes out of it with
//! nothing alive that may have ended behind it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::backup::{self, Header, Plan, RestoreError, Survey};
use jeton_core::command::{
    Acquire, Command, CreateSession, CreateTenant, Entry, KeyMaterial, Operation, RequestName,
    SeenOnce, TenantSettings, TouchSession,
};
use jeton_core::ids::{
    ClusterId, DurationMs, HolderId, IssuerId, KeyDigest, LockName, LogIndex, Position, RecordKind,
    RequestId, SessionId, SubjectId, TenantId, UnixMs,
};
use jeton_core::machine::Machine;
use jeton_core::reply::{Done, Event, Refusal, Replies, Reply};
use jeton_core::tables::{MemTables, Tables};

#[derive(Default)]
struct Kept(Vec<Reply>);

impl Replies for Kept {
    fn wanted(&self) -> bool {
        true
    }
    fn reply(&mut self, _: usize, reply: Reply) {
        self.0.push(reply);
    }
    fn event(&mut self, _: Event) {}
}

struct World {
    machine: Machine,
    tables: MemTables,
    index: u64,
    now: UnixMs,
}

const NOW: UnixMs = UnixMs(1_800_000_000_000);

impl World {
    fn new() -> Self {
        let mut world =
            Self { machine: Machine::new(), tables: MemTables::new(), index: 0, now: NOW };
        let key = KeyMaterial([7; 32]);
        let create = CreateTenant { settings: TenantSettings::default(), key };
        world.ask(1, 0, Operation::CreateTenant(create)).unwrap();
        world
    }

    fn ask(&mut self, name: u8, age: u64, operation: Operation) -> Result<Done, Refusal> {
        self.index += 1;
        self.now = self.now.plus(DurationMs(1_000));
        let request = RequestName { id: RequestId([name; 16]), age: DurationMs(age) };
        let (tenant, request) = (Some(tenant()), Some(request));
        let commands = vec![Arc::new(Command { tenant, request, operation })];
        let entry = Entry { stamp: self.now, lease_advance: DurationMs(1), commands };
        let mut replies = Kept::default();
        let index = LogIndex(self.index);
        self.machine.apply(&mut self.tables, index, &entry, &mut replies).unwrap();
        replies.0.remove(0).outcome
    }

    fn seen(&mut self, name: u8, age: u64, ends: UnixMs) -> Result<Done, Refusal> {
        let (kind, issuer) = (RecordKind::new("dpop").unwrap(), IssuerId::new("web").unwrap());
        let wish = SeenOnce { kind, issuer, key: KeyDigest([name; 16]), expires_at: ends };
        self.ask(name, age, Operation::SeenOnce(wish))
    }

    fn fence(&mut self, name: u8) -> u64 {
        let (lock, holder) = (LockName::new("l").unwrap(), HolderId::new("h").unwrap());
        let wish = Acquire { lock, holder, ttl: DurationMs(60_000), wait: DurationMs(0) };
        match self.ask(name, 0, Operation::Acquire(wish)) {
            Ok(Done::Granted(granted)) => granted.fence.0,
            other => panic!("{other:?}"),
        }
    }

    fn back_up(&self) -> (Header, Survey, MemTables) {
        let (mut survey, mut tables) = (Survey::default(), MemTables::new());
        for (key, value) in self.tables.rows() {
            if let Some(value) = backup::strip(key, value).unwrap() {
                survey.add(key, &value).unwrap();
                tables.put(key.to_vec(), value.to_vec());
            }
        }
        let header = Header {
            cluster: ClusterId([1; 16]),
            node: 1,
            meta: self.machine.meta().clone(),
            made_at: self.now,
            rows: survey.rows,
            release: "test".to_owned(),
        };
        assert_eq!(Header::decode(&header.encode()).unwrap(), header);
        (header, survey, tables)
    }

    fn restore(&self, keep: bool) -> Self {
        let (header, survey, mut tables) = self.back_up();
        let now = self.now.plus(DurationMs(60_000));
        let plan = plan(now, keep);
        let meta = backup::restore(&mut tables, &header, &survey, &plan).unwrap();
        let mut sum = Survey::default();
        tables.rows().for_each(|(key, value)| sum.add(key, value).unwrap());
        assert_eq!(sum.digest, meta.rows, "the digest follows what a restore writes");
        Self { machine: Machine::restore(&meta), tables, index: 2, now }
    }
}

fn plan(now: UnixMs, keep: bool) -> Plan {
    Plan {
        base: now.0 * 1_000,
        index: LogIndex(2),
        now,
        proofs_until: now.plus(DurationMs(600_000)),
        keep: keep.then(tenant).into_iter().collect::<BTreeSet<_>>(),
    }
}

fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

#[test]
fn answers_and_leases_stay_out_and_fences_grow() {
    let mut world = World::new();
    let old = world.fence(2);
    let (_, survey, _) = world.back_up();
    for kind in ["reply", "lock", "lease_due"] {
        assert!(!survey.kinds.contains_key(kind), "{kind} is in the backup");
    }
    assert!(survey.tenants.contains(&tenant()));
    let mut restored = world.restore(false);
    let new = restored.fence(3);
    assert!(new > old, "{new} is not above {old}");
}

#[test]
fn a_proof_that_may_have_been_seen_is_a_replay() {
    let mut world = World::new();
    let ends = |world: &World, ms| world.now.plus(DurationMs(ms));
    let known = ends(&world, 700_000);
    assert_eq!(world.seen(2, 0, known), Ok(Done::Fresh));
    let mut restored = world.restore(false);
    let (early, late) = (ends(&restored, 600_000), ends(&restored, 600_001));
    assert_eq!(restored.seen(3, 0, early), Err(Refusal::Replay));
    assert_eq!(restored.seen(4, 0, late), Ok(Done::Fresh));
    // Waived: only what the backup knows.
    let mut kept = world.restore(true);
    assert_eq!(kept.seen(3, 0, early), Ok(Done::Fresh));
    assert_eq!(kept.seen(2, 0, known), Err(Refusal::Replay));
}

#[test]
fn sessions_out_of_a_backup_are_dead_unless_they_are_kept() {
    let mut world = World::new();
    let session = |name: &str, authenticated_at| {
        Operation::CreateSession(Box::new(CreateSession {
            session: SessionId::new(name).unwrap(),
            subject: SubjectId::new("alice").unwrap(),
            device: None,
            attributes: Vec::new(),
            payload: Bytes::new(),
            lifetime: None,
            idle: None,
            authenticated_at,
        }))
    };
    let touch = || {
        let session = SessionId::new("s").unwrap();
        let wish = TouchSession { session, version: None, attributes: None, payload: None };
        Operation::TouchSession(Box::new(wish))
    };
    let before = Position::new(0, LogIndex(world.index + 1), 0);
    world.ask(2, 0, session("s", None)).unwrap();
    let mut restored = world.restore(false);
    for (name, wish) in [(3, touch()), (4, session("made of an old one", Some(before)))] {
        let refused = restored.ask(name, 0, wish);
        let Err(Refusal::Revoked(by)) = refused else { panic!("{refused:?}") };
        assert_eq!(by.reason.as_deref(), Some("restored from a backup"));
    }
    let read = jeton_core::read::session(
        &restored.tables,
        restored.now,
        &tenant(),
        &SessionId::new("s").unwrap(),
    );
    assert!(matches!(read.unwrap().unwrap().dead, Some(Refusal::Revoked(_))));
    restored.ask(5, 0, session("new", None)).unwrap();
    world.restore(true).ask(6, 0, touch()).unwrap();
}

#[test]
fn a_request_from_before_a_restore_is_not_judged_once_more() {
    let world = World::new();
    for keep in [false, true] {
        let mut restored = world.restore(keep);
        let late = restored.now.plus(DurationMs(700_000));
        assert_eq!(restored.seen(2, 1_001, late), Err(Refusal::StaleRequest), "keep: {keep}");
        assert_eq!(restored.seen(3, 10, late), Ok(Done::Fresh), "keep: {keep}");
    }
}

#[test]
fn a_clock_that_is_behind_and_a_tenant_that_is_not_there_are_refused() {
    let world = World::new();
    let (header, survey, mut tables) = world.back_up();
    let behind = plan(UnixMs(world.now.0 - 60_000), false);
    let refused = backup::restore(&mut tables, &header, &survey, &behind);
    assert!(matches!(refused, Err(RestoreError::ClockBehind { behind_ms: 60_000 })));
    let low = Plan { base: 0, ..plan(world.now, false) };
    let refused = backup::restore(&mut tables, &header, &survey, &low);
    assert!(matches!(refused, Err(RestoreError::NotAbove { .. })));
    let mut foreign = plan(world.now, false);
    foreign.keep.insert(TenantId::new("nobody").unwrap());
    let refused = backup::restore(&mut tables, &header, &survey, &foreign);
    assert!(matches!(refused, Err(RestoreError::NoTenant(_))));
    assert!(header.meta.position < Position::new(plan(world.now, false).base, LogIndex(2), 0));
}
