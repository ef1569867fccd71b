//! Revocations by more than exact keys, against a model that lists what matches where each was
//! made; and that a sweep changes no answer.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::access::{Access, AccessClaims};
use jeton_core::command::*;
use jeton_core::digest::row_digest;
use jeton_core::ids::*;
use jeton_core::limits;
use jeton_core::machine::Machine;
use jeton_core::read::{self, FamilyQuery};
use jeton_core::reply::*;
use jeton_core::tables::MemTables;
use proptest::prelude::*;

const T0: UnixMs = UnixMs(1_800_000_000_000);

#[derive(Default)]
struct Answers(Vec<Reply>, Vec<Event>);

impl Replies for Answers {
    fn wanted(&self) -> bool {
        true
    }
    fn reply(&mut self, _: usize, reply: Reply) {
        self.0.push(reply);
    }
    fn event(&mut self, event: Event) {
        self.1.push(event);
    }
}

/// What is compared of a family or session, as the model keeps it.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    subject: u8,
    device: u8,
    /// The session that a family is bound to; a session's own.
    session: Option<u8>,
    ip: Option<u8>,
    region: u8,
    created: Position,
    created_at: UnixMs,
    dead: Option<Position>,
}

#[derive(Debug, Clone)]
enum Step {
    Session { name: u8, subject: u8, region: u8 },
    Create { name: u8, subject: u8, session: Option<u8>, ip: u8, region: u8 },
    Rotate { name: u8, ip: u8 },
    Touch { name: u8 },
    Update { name: u8, region: u8 },
    TouchSession { name: u8, region: Option<u8> },
    Suspend { name: u8, on: bool },
    Revoke { wish: Wish, again: bool },
    Sweep { rows: u32 },
    Pause { ms: u64 },
}

/// A revocation, in small numbers: 0 names nothing.
#[derive(Debug, Clone)]
struct Wish {
    subject: u8,
    device: u8,
    session: u8,
    ip: u8,
    region: u8,
    before: u8,
    client: bool,
    families: Vec<u8>,
    sessions: Vec<u8>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let few = prop::collection::vec(0_u8..6, 0..3);
    let names = (0_u8..3, 0_u8..4, 0_u8..6, any::<bool>());
    (names, 0_u8..4, 0_u8..4, 0_u8..4, few.clone(), few).prop_map(
        |((subject, device, session, client), ip, region, before, families, sessions)| Wish {
            subject,
            device: device.saturating_sub(1),
            session: session.saturating_sub(3),
            ip,
            region,
            before,
            client,
            families,
            sessions,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0_u8..6;
    prop_oneof![
        2 => (0_u8..3, 1_u8..3, 1_u8..4)
            .prop_map(|(name, subject, region)| Step::Session { name, subject, region }),
        6 => (name.clone(), 1_u8..3, prop::option::of(0_u8..3), 0_u8..4, 1_u8..4).prop_map(
            |(name, subject, session, ip, region)|
                Step::Create { name, subject, session, ip, region }),
        8 => (name.clone(), 0_u8..4).prop_map(|(name, ip)| Step::Rotate { name, ip }),
        1 => name.clone().prop_map(|name| Step::Touch { name }),
        5 => (name.clone(), 1_u8..4).prop_map(|(name, region)| Step::Update { name, region }),
        3 => (0_u8..3, prop::option::of(1_u8..4))
            .prop_map(|(name, region)| Step::TouchSession { name, region }),
        1 => (name, any::<bool>()).prop_map(|(name, on)| Step::Suspend { name, on }),
        5 => (wish(), any::<bool>()).prop_map(|(wish, again)| Step::Revoke { wish, again }),
        4 => (1_u32..5).prop_map(|rows| Step::Sweep { rows }),
        3 => (1_u64..3_000).prop_map(|ms| Step::Pause { ms }),
    ]
}

fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn session_id(name: u8) -> SessionId {
    SessionId::new(&format!("s{name}")).unwrap()
}

fn region(region: u8) -> Vec<(Arc<str>, Arc<str>)> {
    vec![(Arc::from("region"), Arc::from(format!("r{region}")))]
}

fn address(ip: u8) -> Option<Arc<str>> {
    (ip > 0).then(|| Arc::from(format!("10.{ip}.0.1")))
}

struct World {
    machine: Machine,
    tables: MemTables,
    index: u64,
    now: UnixMs,
    /// Whether sweeps are done at all.
    swept: bool,
    families: BTreeMap<u8, Known>,
    sessions: BTreeMap<u8, Known>,
    lives: BTreeMap<u8, u8>,
    heads: BTreeMap<u8, (u64, SecretDigest)>,
}

impl World {
    fn new(swept: bool) -> Self {
        let mut world = Self {
            machine: Machine::new(),
            tables: MemTables::new(),
            index: 0,
            now: T0,
            swept,
            families: BTreeMap::new(),
            sessions: BTreeMap::new(),
            lives: BTreeMap::new(),
            heads: BTreeMap::new(),
        };
        let settings = TenantSettings { rotations_per_s: 0, ..TenantSettings::default() };
        let key = KeyMaterial([7; 32]);
        world.does(Operation::CreateTenant(CreateTenant { settings, key }), None);
        world
    }

    fn does(&mut self, operation: Operation, id: Option<u64>) -> (Reply, Vec<Event>) {
        self.index += 1;
        let own = matches!(operation, Operation::SweepRevocation(_) | Operation::DigestAt);
        let mut name = [0; 16];
        name[..8].copy_from_slice(&id.unwrap_or(self.index).to_be_bytes());
        let request = RequestName { id: RequestId(name), age: DurationMs(0) };
        let command =
            Command { tenant: (!own).then(tenant), request: (!own).then_some(request), operation };
        let commands = vec![Arc::new(command)];
        let entry = Entry { stamp: self.now, lease_advance: DurationMs(0), commands };
        let mut answers = Answers::default();
        let index = LogIndex(self.index);
        self.machine.apply(&mut self.tables, index, &entry, &mut answers).unwrap();
        let rows = self.tables.rows().map(|(key, value)| row_digest(key, value));
        let digest = rows.fold(0_u128, u128::wrapping_add);
        assert_eq!(self.machine.meta().rows, digest, "the digest follows the rows");
        (answers.0.remove(0), answers.1)
    }

    fn family_id(&self, name: u8) -> FamilyId {
        let mut id = [0; 16];
        (id[0], id[1]) = (name + 1, self.lives.get(&name).copied().unwrap_or_default());
        FamilyId(id)
    }

    fn digest(&self) -> SecretDigest {
        let mut digest = [1; 16];
        digest[..8].copy_from_slice(&self.index.to_be_bytes());
        SecretDigest(digest)
    }

    fn head(&self, name: u8) -> Presented {
        let (generation, digest) = self.heads.get(&name).copied().unwrap_or((0, self.digest()));
        let (kid, family) = (Kid(1), self.family_id(name));
        let generation = Generation(generation);
        Presented::Native(PresentedToken { kid, family, generation, digest })
    }

    /// Does a step, and says what was answered.
    fn step(&mut self, step: &Step) -> Option<Reply> {
        let (subject, digest) =
            (|of: u8| SubjectId::new(&format!("u{of}")).unwrap(), self.digest());
        let (operation, id) = match step {
            Step::Pause { ms } => {
                self.now = self.now.plus(DurationMs(*ms));
                return None;
            }
            Step::Sweep { rows } => {
                let next = read::next_revocation_sweep(&self.tables, None).unwrap();
                let wish = next.filter(|_| self.swept).map(|due| SweepRevocation {
                    tenant: due.tenant,
                    revocation: due.revocation,
                    rows_max: *rows,
                });
                self.does(wish.map_or(Operation::DigestAt, Operation::SweepRevocation), None);
                return None;
            }
            Step::Session { name, subject: of, region: at } => (
                Operation::CreateSession(Box::new(CreateSession {
                    session: session_id(*name),
                    subject: subject(*of),
                    device: Some(DeviceId::new("d1").unwrap()),
                    attributes: region(*at),
                    payload: Bytes::new(),
                    lifetime: None,
                    idle: None,
                    authenticated_at: None,
                })),
                None,
            ),
            Step::Create { name, subject: of, session, ip, region: at } => {
                if self.families.get(name).is_some_and(|known| known.dead.is_some()) {
                    *self.lives.entry(*name).or_default() += 1;
                }
                (
                    Operation::CreateFamily(Box::new(CreateFamily {
                        family: self.family_id(*name),
                        digest,
                        opaque: false,
                        subject: subject(*of),
                        client: ClientId::new("web").unwrap(),
                        device: Some(DeviceId::new("d2").unwrap()),
                        binding: Binding::default(),
                        ip: address(*ip),
                        attributes: region(*at),
                        payload: Bytes::new(),
                        lifetime: None,
                        idle: None,
                        grace: None,
                        authenticated_at: None,
                        cap: None,
                        session: session.map(session_id),
                        code: None,
                    })),
                    None,
                )
            }
            Step::Rotate { name, ip } => (
                Operation::Rotate(Box::new(Rotate {
                    token: self.head(*name),
                    successor: digest,
                    seal: Bytes::new(),
                    losers: Losers::Replay,
                    client: ClientId::new("web").unwrap(),
                    binding: Binding::default(),
                    origin: Origin { device: None, ip: address(*ip) },
                })),
                None,
            ),
            Step::Touch { name } => (Operation::Touch(Touch { token: self.head(*name) }), None),
            Step::Update { name, region: at } => {
                let family = self.family_id(*name);
                let view = read::family(&self.tables, self.now, &tenant(), family).unwrap();
                (
                    Operation::UpdateFamily(Box::new(UpdateFamily {
                        family,
                        version: view.map_or(1, |view| view.version),
                        attributes: Some(region(*at)),
                        payload: None,
                        grace: None,
                    })),
                    None,
                )
            }
            Step::TouchSession { name, region: at } => {
                let session = session_id(*name);
                let view = read::session(&self.tables, self.now, &tenant(), &session).unwrap();
                (
                    Operation::TouchSession(Box::new(TouchSession {
                        session,
                        version: Some(view.map_or(1, |view| view.version)),
                        attributes: at.map(region),
                        payload: None,
                    })),
                    None,
                )
            }
            Step::Suspend { name, on } => {
                let what = Suspendable::Family(self.family_id(*name));
                let operation = match on {
                    true => Operation::Suspend(Suspend { what, reason: None }),
                    false => Operation::Resume(Resume { what }),
                };
                (operation, None)
            }
            Step::Revoke { wish, again } => {
                (Operation::RevokeWhere(Box::new(self.wish(wish))), again.then_some(1 << 40))
            }
        };
        let (reply, _) = self.does(operation.clone(), id);
        if reply.position == Position::new(0, LogIndex(self.index), 0) {
            self.learn(step, &operation, &reply);
        }
        Some(reply)
    }

    fn wish(&self, wish: &Wish) -> RevokeWhere {
        let named = |number: u8, name: &str| (number > 0).then(|| format!("{name}{number}"));
        let before = [None, Some(T0), Some(self.now), Some(self.now.minus(DurationMs(2_000)))];
        RevokeWhere {
            matching: Criteria {
                subject: named(wish.subject, "u").map(|name| SubjectId::new(&name).unwrap()),
                client: wish.client.then(|| ClientId::new("web").unwrap()),
                device: named(wish.device, "d").map(|name| DeviceId::new(&name).unwrap()),
                session: (wish.session > 0).then(|| session_id(wish.session)),
                region: named(wish.region, "r").map(Arc::from),
                ip: (wish.ip > 0).then(|| format!("10.{}.0.0/16", wish.ip).parse().unwrap()),
                attributes: Vec::new(),
                created_before: before[usize::from(wish.before)],
            },
            except: Except {
                families: wish.families.iter().map(|name| self.family_id(*name)).collect(),
                sessions: wish.sessions.iter().map(|name| session_id(*name)).collect(),
            },
            reason: None,
        }
    }

    /// What the step means, as the contract says it.
    fn learn(&mut self, step: &Step, operation: &Operation, reply: &Reply) {
        let (created, created_at) = (reply.position, reply.at);
        let Ok(done) = &reply.outcome else { return };
        match (step, operation) {
            (Step::Session { name, subject, region }, _) => {
                let (subject, region, session) = (*subject, *region, Some(*name));
                let known = Known {
                    subject,
                    device: 1,
                    session,
                    ip: None,
                    region,
                    created,
                    created_at,
                    dead: None,
                };
                self.sessions.insert(*name, known);
            }
            (
                Step::Create { name, subject, session, ip, region },
                Operation::CreateFamily(wish),
            ) => {
                let (subject, region, session) = (*subject, *region, *session);
                let ip = (*ip > 0).then_some(*ip);
                let known = Known {
                    subject,
                    device: 2,
                    session,
                    ip,
                    region,
                    created,
                    created_at,
                    dead: None,
                };
                self.families.insert(*name, known);
                self.heads.insert(*name, (0, wish.digest));
            }
            (Step::Rotate { name, ip }, Operation::Rotate(wish)) => {
                let Done::Rotated(rotated) = done else { return };
                let known = self.families.get_mut(name).unwrap();
                assert_eq!(known.dead, None, "nothing succeeds after a revocation");
                known.ip = (*ip > 0).then_some(*ip).or(known.ip);
                self.heads.insert(*name, (rotated.generation.0, wish.successor));
            }
            (Step::Update { name, region }, _) => {
                let known = self.families.get_mut(name).unwrap();
                assert_eq!(known.dead, None, "nothing succeeds after a revocation");
                known.region = *region;
            }
            (Step::TouchSession { name, region }, _) => {
                let known = self.sessions.get_mut(name).unwrap();
                assert_eq!(known.dead, None, "nothing succeeds after a revocation");
                known.region = region.unwrap_or(known.region);
            }
            (Step::Revoke { wish, .. }, Operation::RevokeWhere(made)) => {
                self.revoke(wish, made, reply);
            }
            _ => {}
        }
    }

    /// Lists what matches here, and kills it.
    fn revoke(&mut self, wish: &Wish, made: &RevokeWhere, reply: &Reply) {
        let position = reply.position;
        let hits = |known: &Known, is_session: bool| {
            (wish.subject == 0 || wish.subject == known.subject)
                && (wish.device == 0 || wish.device == known.device)
                && (wish.session == 0 || known.session == Some(wish.session))
                && (wish.ip == 0 || known.ip == Some(wish.ip))
                && (wish.region == 0 || wish.region == known.region)
                && !(wish.client && is_session)
                && made.matching.created_before.is_none_or(|before| known.created_at < before)
                && known.dead.is_none()
        };
        let spared = |name: Option<u8>| name.is_some_and(|name| wish.sessions.contains(&name));
        let mut killed = Vec::new();
        for (name, known) in &mut self.sessions {
            if hits(known, true) && !spared(Some(*name)) {
                known.dead = Some(position);
                killed.push(*name);
            }
        }
        for (name, known) in &mut self.families {
            let excepted = wish.families.contains(name) || spared(known.session);
            let bound = known.session.is_some_and(|session| killed.contains(&session));
            if (hits(known, false) && !excepted) || (bound && known.dead.is_none()) {
                known.dead = Some(position);
            }
        }
        let Ok(Done::RevokedWhere(told)) = &reply.outcome else { panic!("{reply:?}") };
        for family in &told.kept.families {
            let view = read::family(&self.tables, self.now, &tenant(), *family).unwrap().unwrap();
            let lives = matches!(view.dead, None | Some(Refusal::Revoked(_)));
            assert!(lives, "what is kept lives, or is suspended: {view:?}");
        }
    }

    /// What reads say is what the model says.
    fn check(&self) {
        let id = tenant();
        for (name, known) in &self.families {
            let family = self.family_id(*name);
            let Ok(view) = read::family(&self.tables, self.now, &id, family).unwrap() else {
                continue;
            };
            if view.created != known.created {
                continue;
            }
            let told = match &view.dead {
                Some(Refusal::Revoked(by)) if by.cause != RevocationCause::Suspension => {
                    Some(by.position)
                }
                _ => None,
            };
            assert_eq!(told, known.dead, "family {name} of {known:?}: {view:?}");
        }
        for (name, known) in &self.sessions {
            let view = read::session(&self.tables, self.now, &id, &session_id(*name));
            let view = view.unwrap().unwrap();
            let told = match &view.dead {
                Some(Refusal::Revoked(by)) => Some(by.position),
                _ => None,
            };
            assert_eq!(told, known.dead, "session {name} of {known:?}: {view:?}");
        }
    }

    /// All that can be read.
    fn seen(&self) -> Vec<String> {
        let (tables, id, now) = (&self.tables, tenant(), self.now);
        let mut seen = Vec::new();
        for name in 0..6 {
            let family = self.family_id(name);
            seen.push(format!("{:?}", read::family(tables, now, &id, family).unwrap()));
            let valid = read::validate(tables, now, &id, &self.head(name), None, None);
            seen.push(format!("{:?}", valid.unwrap()));
            let claims = AccessClaims { family: Some(family), ..AccessClaims::default() };
            seen.push(format!("{:?}", read::check_access(tables, now, &id, &[claims]).unwrap()));
            let session = session_id(name);
            seen.push(format!("{:?}", read::session(tables, now, &id, &session).unwrap()));
            let claims = AccessClaims { session: Some(session), ..AccessClaims::default() };
            let access = read::check_access(tables, now, &id, &[claims]).unwrap().unwrap();
            seen.push(format!("{:?}", access.iter().map(|told: &Access| told).collect::<Vec<_>>()));
        }
        for subject in ["u1", "u2"] {
            let subject = Some(SubjectId::new(subject).unwrap());
            let query = FamilyQuery { subject, ..FamilyQuery::default() };
            let slice = read::families(tables, now, &id, &query, None, 100).unwrap().unwrap();
            seen.push(format!("{:?}", slice.families));
        }
        seen
    }
}

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let default = ProptestConfig::default();
    let cases = if asked { default.cases } else { 128 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    /// What matched where a revocation was made is dead from then on, and nothing else is: with
    /// sweeps, updates and rotations between.
    #[test]
    fn a_revocation_hits_what_matches_where_it_is_made(
        steps in prop::collection::vec(step(), 1..90),
    ) {
        let mut world = World::new(true);
        for step in &steps {
            world.step(step);
            world.check();
        }
    }

    /// The sweep marks rows, and nobody can tell.
    #[test]
    fn a_sweep_of_revocations_changes_no_answer(steps in prop::collection::vec(step(), 1..90)) {
        let (mut swept, mut unswept) = (World::new(true), World::new(false));
        for step in &steps {
            prop_assert_eq!(swept.step(step), unswept.step(step), "step {:?}", step);
            prop_assert_eq!(swept.seen(), unswept.seen(), "step {:?}", step);
        }
    }
}

/// With as many active as may be, one more comes again under its name until the oldest is swept.
/// None of its tries sweeps anything, or changes anything at all.
#[test]
fn one_more_revocation_than_may_be_waits_for_the_oldest_sweep() {
    let mut world = World::new(true);
    for name in 0..6 {
        world.step(&Step::Create { name, subject: 1, session: None, ip: name % 4, region: 1 });
    }
    let wish = |region: u8, ip: u8| Wish {
        subject: 0,
        device: 0,
        session: 0,
        ip,
        region,
        before: 0,
        client: false,
        families: Vec::new(),
        sessions: Vec::new(),
    };
    let mut made = Vec::new();
    for at in 0..limits::PREDICATES_MAX {
        let due = read::next_revocation_sweep(&world.tables, None).unwrap();
        assert_eq!(due.is_some_and(|due| due.crowded), at >= limits::PREDICATES_CROWD);
        // The first hits something, the others don't.
        let wish = if at == 0 { wish(0, 1) } else { wish(200, 3) };
        let reply = world.step(&Step::Revoke { wish, again: false }).unwrap();
        assert!(reply.outcome.is_ok(), "{reply:?}");
        made.push(reply.position);
    }
    let one_more = Step::Revoke { wish: wish(0, 2), again: true };
    for _ in 0..3 {
        let before = world.tables.clone();
        let refused = world.step(&one_more).unwrap();
        let retry_after = limits::PREDICATE_PAUSE;
        assert_eq!(refused.outcome, Err(Refusal::SweepsPending { retry_after }));
        assert_eq!(world.tables, before, "it has changed nothing");
        world.check();
    }
    let exact = Wish { subject: 2, ..wish(0, 0) };
    let cutoff = world.step(&Step::Revoke { wish: exact, again: false }).unwrap();
    assert!(cutoff.outcome.is_ok(), "exact keys need no sweep: {cutoff:?}");

    let sweep = |world: &World, at: Position| {
        let seen = read::revocation(&world.tables, T0, &tenant(), at).unwrap().unwrap();
        seen.sweep.unwrap()
    };
    while sweep(&world, made[0]).done_at.is_none() {
        let waits = world.step(&one_more).unwrap();
        assert!(matches!(waits.outcome, Err(Refusal::SweepsPending { .. })), "{waits:?}");
        world.step(&Step::Sweep { rows: 2 });
    }
    assert_eq!(sweep(&world, made[0]).families, 2);
    let through = made.iter().all(|at| sweep(&world, *at).done_at.is_some());
    assert!(through, "one walk is for all that were active when it began");
    let taken = world.step(&one_more).unwrap();
    assert!(taken.outcome.is_ok() && taken.position > cutoff.position, "{taken:?}");
    world.check();
    assert_eq!(world.step(&one_more), Some(taken), "and now it is remembered");
}
