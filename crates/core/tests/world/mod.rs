//! A small world for properties: two tenants, few families, everything that can be asked of them.

mod access;
mod listing;
mod locks;
mod promises;
mod records;
mod sessions;
mod steps;
mod transact;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::codec;
use jeton_core::command::*;
use jeton_core::digest::row_digest;
use jeton_core::ids::*;
use jeton_core::limits;
use jeton_core::machine::Machine;
use jeton_core::read::{self, Judged, Tenants};
use jeton_core::reply::*;
use jeton_core::tables::MemTables;
use sessions::{Ask, Sessions};
use steps::What;
pub use steps::{Step, lock_steps, part_steps, record_steps, steps};

/// When every world begins.
pub const T0: UnixMs = UnixMs(1_800_000_000_000);

/// What entries answered.
#[derive(Default)]
pub struct Answers {
    pub replies: Vec<Reply>,
    pub events: Vec<Event>,
    pub notices: Vec<LeaseNotice>,
}

impl Replies for Answers {
    fn wanted(&self) -> bool {
        true
    }
    fn reply(&mut self, _: usize, reply: Reply) {
        self.replies.push(reply);
    }
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
    fn lease(&mut self, notice: LeaseNotice) {
        self.notices.push(notice);
    }
}

/// What a reply says, without where and when.
pub fn kind(reply: &Reply) -> String {
    let text = format!("{:?}", reply.outcome);
    let mut words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.by_ref().take(2).collect::<Vec<_>>().join(" ")
}

/// A reply without what tells native tokens from opaque ones.
pub fn kindless(mut reply: Reply) -> Reply {
    match &mut reply.outcome {
        Ok(Done::FamilyCreated(created)) => created.first.kid = None,
        Ok(Done::Rotated(rotated)) => rotated.kid = None,
        Ok(Done::Replayed(replayed)) => replayed.rotated.kid = None,
        _ => {}
    }
    reply
}

/// The digest of all rows, computed anew.
pub fn digest(tables: &MemTables) -> u128 {
    tables.rows().map(|(key, value)| row_digest(key, value)).fold(0, u128::wrapping_add)
}

/// What the world knows of a family that lives or lived.
#[derive(Default, Clone)]
struct Known {
    origin: Position,
    /// Roots, as indexes into few names.
    who: (String, String, Option<String>),
    /// Digest of each generation handed out.
    tokens: Vec<SecretDigest>,
    /// Position of the newest of them: what an access token would name.
    minted: Position,
    opaque: bool,
    /// Digests that were adopted, with their generation, newest last.
    aliases: Vec<(u64, SecretDigest)>,
    /// Position of whatever killed it first.
    dead: Option<Position>,
    /// The session that it is bound to.
    session: Option<SessionId>,
    authenticated_at: Option<Position>,
}

pub struct World {
    pub machine: Machine,
    pub tables: MemTables,
    /// Every entry, as bytes.
    pub log: Vec<(u64, Bytes)>,
    /// All that was ever answered.
    pub said: Answers,
    now: UnixMs,
    known: BTreeMap<(u8, FamilyId), Known>,
    /// Whether all families are of one kind, and only tokens that were handed out are shown.
    all_opaque: Option<bool>,
    requests: u64,
    /// Lease time that has passed since the last entry.
    leased: DurationMs,
    locks: locks::Locks,
    records: records::Records,
    /// How often a family was made anew.
    lives: BTreeMap<(u8, u8), u8>,
    sessions: Sessions,
}

impl Default for World {
    fn default() -> Self {
        let mut world = Self {
            machine: Machine::new(),
            tables: MemTables::new(),
            log: Vec::new(),
            said: Answers::default(),
            now: T0,
            known: BTreeMap::new(),
            all_opaque: None,
            requests: 0,
            leased: DurationMs(0),
            locks: locks::Locks::default(),
            records: records::Records::default(),
            lives: BTreeMap::new(),
            sessions: Sessions::default(),
        };
        for tenant in 0..2 {
            let settings = TenantSettings { rotations_per_s: 0, ..settings() };
            let key = KeyMaterial([tenant; 32]);
            let operation = Operation::CreateTenant(CreateTenant { settings, key });
            let command = world.command(&Step { tenant, ..Step::calm() }, operation);
            world.enter(vec![Arc::new(command)]);
        }
        world
    }
}

/// So that chains of opaque tokens come to their end.
fn settings() -> TenantSettings {
    TenantSettings { ancestors_max: limits::ANCESTORS_MIN, ..TenantSettings::default() }
}

fn tenant_id(tenant: u8) -> TenantId {
    TenantId::new(["acme", "other"][usize::from(tenant % 2)]).unwrap()
}

fn name(prefix: &str, who: u8, shift: u32) -> String {
    format!("{prefix}{}", (who >> shift) % 2)
}

fn ahead(token: &mut Presented, generation: u64) {
    let Presented::Native(token) = token else { return };
    token.generation = Generation(generation);
}

impl World {
    /// A world whose families all have tokens of one kind, and where nobody forges any.
    pub fn of_kind(opaque: bool) -> Self {
        Self { all_opaque: Some(opaque), ..Self::default() }
    }

    fn command(&mut self, step: &Step, operation: Operation) -> Command {
        self.requests += 1;
        let mut id = [0; 16];
        match step.name {
            Some(few) => id[0] = few + 1,
            None => id[8..].copy_from_slice(&self.requests.to_be_bytes()),
        }
        let request = Some(RequestName { id: RequestId(id), age: DurationMs(step.age) });
        Command { tenant: Some(tenant_id(step.tenant)), request, operation }
    }

    /// An id out of few.
    fn family_id(&self, step: &Step) -> FamilyId {
        let mut id = [step.family; 16];
        id[0] = self.lives.get(&(step.tenant, step.family)).copied().unwrap_or_default();
        FamilyId(id)
    }

    /// Mostly something that lives is asked for: what is dead or was never made is made anew,
    /// sometimes under its old id.
    fn revive(&mut self, step: &Step) -> What {
        let family = self.family_id(step);
        let view = read::family(&self.tables, self.now, &tenant_id(step.tenant), family).unwrap();
        let alive = view.is_ok_and(|view| view.dead.is_none());
        match step.what {
            What::Create if !alive && step.who & 1 == 0 => {
                let life = self.lives.entry((step.tenant, step.family)).or_default();
                *life = life.wrapping_add(1);
                What::Create
            }
            What::Rotate if !self.known.contains_key(&(step.tenant, family)) => What::Create,
            What::Create if alive && step.who & 1 == 0 => What::Rotate,
            what => what,
        }
    }

    /// The session that a new family is bound to: one that lives, mostly.
    fn bound(&self, step: &Step) -> Option<SessionId> {
        let session = sessions::session_id(step);
        let view = read::session(&self.tables, self.now, &tenant_id(step.tenant), &session);
        let alive = view.unwrap().is_ok_and(|view| view.dead.is_none());
        (alive || step.back % 16 == 15).then_some(session)
    }

    fn token(&self, step: &Step) -> Presented {
        let family = self.family_id(step);
        let known = self.known.get(&(step.tenant, family));
        let tokens = known.map_or(&[][..], |known| &known.tokens);
        // 0 back is the head; as many as there are is one beyond it.
        let len = tokens.len() as u64;
        let mut generation = (2 * len - u64::from(step.back) % (len + 1)) % (len + 1);
        if self.all_opaque.is_some() {
            generation = generation.min(len.saturating_sub(1));
        }
        let at = generation as usize;
        let mut digest = tokens.get(at).copied().unwrap_or(SecretDigest([0xee; 16]));
        let alias = known.and_then(|known| known.aliases.last());
        if let (0, Some((of, alias)), None) = (step.back % 3, alias, self.all_opaque) {
            (generation, digest) = (*of, *alias);
        }
        if step.who == 0xff && self.all_opaque.is_none() {
            digest.0[0] ^= 1;
        }
        if known.map_or(self.all_opaque == Some(true), |known| known.opaque) {
            return Presented::Opaque(digest);
        }
        let generation = Generation(generation);
        Presented::Native(PresentedToken { kid: Kid(1), family, generation, digest })
    }

    fn operation(&mut self, step: &Step) -> Operation {
        let what = match self.revive(step) {
            // Some revoke an access token instead of the family.
            What::Revoke if step.back & 1 == 1 => What::Deny,
            what => what,
        };
        let family = self.family_id(step);
        let client = ClientId::new(&name("client", step.who, 0)).unwrap();
        let subject = SubjectId::new(&name("subject", step.who, 1)).unwrap();
        let device = DeviceId::new(&name("device", step.who, 2)).unwrap();
        let binding =
            Binding { jkt: (step.who & 8 != 0).then(|| Arc::from("jkt")), x5t_s256: None };
        let ip = (step.who & 16 != 0).then(|| Arc::from("10.0.0.1"));
        let mut fresh = [0; 16];
        fresh[..8].copy_from_slice(&(self.requests + 1).to_be_bytes());
        let digest = SecretDigest(fresh);
        match what {
            What::Tenant | What::Settings => {
                let key = KeyMaterial([step.who; 32]);
                let changes = SettingsChange {
                    rotations_per_s: Some(u32::from(step.back & 1)),
                    rotation_burst: Some(1),
                    shadow: (step.back & 2 == 0).then_some(step.who & 2 != 0),
                    ..SettingsChange::default()
                };
                let settings = changes.over(&settings());
                let known = read::tenant(&self.tables, &tenant_id(step.tenant)).unwrap().unwrap();
                let version = (step.back & 4 == 0).then_some(known.version);
                match step.what {
                    What::Tenant => Operation::CreateTenant(CreateTenant { settings, key }),
                    _ => Operation::SetTenant(SetTenant { changes, version }),
                }
            }
            What::Key => {
                Operation::RotateTenantKey(RotateTenantKey { key: KeyMaterial([step.who; 32]) })
            }
            What::Compromise => Operation::MarkKeyCompromised(MarkKeyCompromised {
                kid: Kid(1 + u16::from(step.who & 1)),
            }),
            What::Create => Operation::CreateFamily(Box::new(CreateFamily {
                family,
                digest,
                opaque: self.all_opaque.unwrap_or(step.back & 8 != 0),
                subject,
                client,
                device: (step.who & 32 != 0).then_some(device),
                binding,
                ip,
                attributes: vec![(Arc::from("region"), Arc::from("eu"))],
                payload: Bytes::from_static(b"payload"),
                lifetime: Some(DurationMs::from_secs(7_200 * (1 + u64::from(step.back)))),
                idle: Some(DurationMs::from_secs(600 * (1 + u64::from(step.back)))),
                grace: Some(DurationMs::from_secs(u64::from(step.back % 60) + 5)),
                authenticated_at: (step.who & 64 != 0)
                    .then(|| Position::new(0, LogIndex(u64::from(step.who)), 0)),
                cap: listing::cap(step),
                session: self.bound(step),
                code: (step.who & 160 == 32).then(|| Box::new(records::consume(step, None))),
            })),
            What::Rotate => Operation::Rotate(Box::new(Rotate {
                token: self.token(step),
                successor: digest,
                seal: Bytes::from(fresh.to_vec()),
                losers: match self.token(step) {
                    Presented::Opaque(_) if step.pause % 2 == 1 && self.all_opaque.is_none() => {
                        Losers::Adopt
                    }
                    _ => Losers::Replay,
                },
                client,
                binding,
                origin: Origin { device: Some(device), ip },
            })),
            What::Touch => Operation::Touch(Touch { token: self.token(step) }),
            What::Update => Operation::UpdateFamily(Box::new(UpdateFamily {
                family,
                version: 1 + u64::from(step.back % 4),
                attributes: None,
                payload: Some(Bytes::from_static(b"changed")),
                grace: Some(DurationMs::from_secs(u64::from(step.who))),
            })),
            What::Revoke => Operation::RevokeFamily(RevokeFamily { family, reason: None }),
            What::RevokeToken => {
                Operation::RevokeToken(RevokeToken { token: self.token(step), client })
            }
            What::Deny => Operation::RevokeAccessToken(RevokeAccessToken {
                jti: Jti::new(&name("jti", step.who, 3)).unwrap(),
                client,
                expires_at: (step.back & 1 == 0)
                    .then(|| self.now.plus(DurationMs::from_secs(u64::from(step.back) * 400))),
            }),
            What::Cut => Operation::RevokeWhere(Box::new(RevokeWhere {
                matching: Criteria {
                    subject: (step.back & 1 == 0).then_some(subject),
                    client: (step.back & 2 != 0).then_some(client),
                    device: (step.back & 4 != 0).then_some(device),
                    session: (step.back & 24 == 24).then(|| sessions::session_id(step)),
                    ..Criteria::default()
                },
                ..RevokeWhere::default()
            })),
            What::Record(which) => self.record_operation(step, which),
            What::Acquire
            | What::Renew
            | What::Release
            | What::Publish
            | What::Withdraw
            | What::ExpireLeases => self.lock_operation(step, what),
            What::Session(ask) => sessions::operation(ask, step, family),
        }
    }

    /// Does a step, and what may follow it.
    pub fn step(&mut self, step: &Step) -> Vec<Reply> {
        self.pass(step.pause);
        let operation = self.operation(step);
        let command = Arc::new(self.command(step, operation));
        let mut replies = vec![self.judge_and_enter(step, &command)];
        if let Some(later) = step.again {
            let before = self.tables.clone();
            self.pass(later);
            let mut command = Command::clone(&command);
            command.request.as_mut().unwrap().age.0 += later;
            let goes_on =
                locks::goes_on(&command.operation) || records::goes_on(&command.operation);
            let again = self.judge_and_enter(step, &Arc::new(command));
            // What a name recalled may be an old step's answer, and forgotten meanwhile.
            let kept = self.now < replies[0].at.plus(DurationMs(2 * limits::REQUEST_TTL.0));
            if (later == 0 || replies[0].outcome.is_ok()) && !goes_on && kept {
                assert_eq!(self.tables, before, "a retry changes nothing: {step:?}");
                assert!(!matches!(again.outcome, Err(Refusal::Reused(ref reuse)) if reuse.revoked));
            }
            replies.push(again);
        }
        replies
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(DurationMs(ms));
        self.leased.0 += ms;
    }

    /// An entry of maintenance.
    pub fn maintain(&mut self, operation: Operation) {
        self.enter(vec![Arc::new(Command { tenant: None, request: None, operation })]);
    }

    /// Rotates the head of a family, a millisecond later.
    pub fn rotate_head(&mut self, family: u8) {
        let step = Step { what: What::Rotate, family, pause: 1, ..Step::calm() };
        let reply = self.step(&step).remove(0);
        assert!(matches!(reply.outcome, Ok(Done::Rotated(_))), "{reply:?}");
    }

    fn judge_and_enter(&mut self, step: &Step, command: &Arc<Command>) -> Reply {
        let judged = self.judged(command);
        let (before, events) = (self.tables.clone(), self.said.events.len());
        self.enter(vec![Arc::clone(command)]);
        let reply = self.said.replies.last().unwrap().clone();
        match judged {
            Some(Judged::Settled(settled)) => {
                assert_eq!(settled.outcome, reply.outcome, "reads agree with apply");
                assert_eq!(self.tables, before);
                assert_eq!(self.said.events.len(), events);
            }
            Some(Judged::Enter) => {
                let silent = self.tables == before && self.said.events.len() == events;
                assert!(!silent, "an entry for nothing: {reply:?}");
            }
            None => {}
        }
        self.check_reply(step, command, &reply);
        self.check_record(command, &reply);
        reply
    }

    fn judged(&self, command: &Command) -> Option<Judged> {
        let Operation::Rotate(wish) = &command.operation else { return None };
        let (tenant, name) = (command.tenant.as_ref().unwrap(), command.request.as_ref().unwrap());
        let meta = self.machine.meta();
        let known = Tenants::default().look(&self.tables, tenant).unwrap();
        let tenant = (tenant, known.as_ref());
        Some(read::judge_rotation(&self.tables, meta, self.now, tenant, name, wish).unwrap())
    }

    fn enter(&mut self, commands: Vec<Arc<Command>>) {
        let index = self.log.last().map_or(1, |(index, _)| index + 1);
        let lease_advance = std::mem::take(&mut self.leased);
        let (replies, notices) = (self.said.replies.len(), self.said.notices.len());
        let entry = Entry { stamp: self.now, lease_advance, commands };
        self.log.push((index, codec::encode_entry(&entry)));
        self.machine.apply(&mut self.tables, LogIndex(index), &entry, &mut self.said).unwrap();
        assert_eq!(self.machine.meta().rows, digest(&self.tables), "the digest follows the rows");
        let said = (&self.said.replies[replies..], &self.said.notices[notices..]);
        let meta = self.machine.meta();
        self.locks.check_entry(&entry, said, meta);
    }

    /// All that reads show.
    pub fn views(&self) -> Vec<Result<FamilyView, Refusal>> {
        let known = self.known.keys();
        let view = |(tenant, family): &(u8, FamilyId)| {
            read::family(&self.tables, self.now, &tenant_id(*tenant), *family).unwrap()
        };
        known.map(view).collect()
    }

    /// One of each command, with a generation of one's own.
    pub fn everything(&mut self, generation: u64) -> Vec<Arc<Command>> {
        let all = [
            What::Tenant,
            What::Settings,
            What::Key,
            What::Compromise,
            What::Create,
            What::Rotate,
            What::Touch,
            What::Update,
            What::Revoke,
            What::RevokeToken,
            What::Cut,
            What::Acquire,
            What::Renew,
            What::Release,
            What::Publish,
            What::Withdraw,
            What::ExpireLeases,
            What::Deny,
            What::Session(Ask::Create),
            What::Session(Ask::Touch),
            What::Session(Ask::End),
            What::Session(Ask::Suspend),
            What::Session(Ask::Resume),
            What::Session(Ask::Reauthenticate),
            What::Record(records::PUT),
        ];
        let mut commands = Vec::new();
        for what in all {
            let step = Step { what, back: generation as u8, ..Step::calm() };
            let mut operation = self.operation(&step);
            match &mut operation {
                Operation::Rotate(wish) => ahead(&mut wish.token, generation),
                Operation::Touch(wish) => ahead(&mut wish.token, generation),
                Operation::CreateFamily(wish) => {
                    wish.lifetime = Some(DurationMs(generation));
                    wish.idle = Some(DurationMs(generation));
                    wish.authenticated_at = Some(Position(generation));
                }
                Operation::Acquire(wish) => wish.wait.0 = generation.min(limits::LOCK_WAIT_MAX.0),
                Operation::Release(wish) => wish.lease.fence = Fence(generation),
                Operation::CreateSession(wish) => {
                    wish.lifetime = Some(DurationMs(generation));
                    wish.idle = Some(DurationMs(generation));
                    wish.authenticated_at = Some(Position(generation));
                }
                Operation::RevokeAccessToken(wish) => wish.expires_at = Some(UnixMs(generation)),
                Operation::SetTenant(wish) => {
                    wish.changes.family_lifetime_max = Some(limits::FAMILY_LIFETIME_MAX);
                    wish.changes.rotation_burst = Some(generation as u32);
                    wish.changes.rotations_per_s = Some(1);
                }
                _ => {}
            }
            commands.push(Arc::new(self.command(&step, operation)));
        }
        let operation = Operation::Sweep(Sweep { rows_max: generation as u32 });
        commands.push(Arc::new(Command { tenant: None, request: None, operation }));
        commands
    }
}
