//! Random histories of one tenant, what they must tell those who watch, and the access tokens that
//! were made meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::access::AccessClaims;
use jeton_core::command::*;
use jeton_core::feed::Change;
use jeton_core::ids::*;
use jeton_core::machine::Machine;
use jeton_core::reply::{Done, Event, Refusal, Replies, Reply, RevocationCause, StateDigest};
use jeton_core::tables::MemTables;

/// When every history begins.
const T0: UnixMs = UnixMs(1_800_000_000_000);
/// How long access tokens live here.
const ACCESS_TTL: DurationMs = DurationMs::from_secs(60 * 60);

pub(super) fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

/// One thing that is asked. Numbers are reduced to what there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    pub(super) what: u8,
    /// Subject, client, device, and whether they are named.
    pub(super) who: u8,
    /// Which session, family or token.
    pub(super) pick: u8,
}

/// An access token, where it was made, and when it is dead anyway.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) claims: AccessClaims,
    pub(super) made_at: Position,
    pub(super) ends_at: UnixMs,
}

#[derive(Clone)]
struct Session {
    id: SessionId,
    subject: SubjectId,
    device: Option<DeviceId>,
}

struct Family {
    id: FamilyId,
    subject: SubjectId,
    client: ClientId,
    device: Option<DeviceId>,
    session: Option<SessionId>,
    /// Of every generation.
    digests: Vec<SecretDigest>,
}

/// A machine that applies what the others have applied, up to somewhere.
#[derive(Default)]
pub(super) struct Replica {
    pub(super) machine: Machine,
    pub(super) tables: MemTables,
    applied: usize,
}

impl Replica {
    /// Applies what is committed, up to `entries_max` of it.
    pub(super) fn apply(&mut self, committed: &[Entry], entries_max: usize) {
        for entry in committed.iter().skip(self.applied).take(entries_max) {
            self.applied += 1;
            let index = LogIndex(self.applied as u64);
            self.machine.apply(&mut self.tables, index, entry, &mut Heard::default()).unwrap();
        }
    }
}

#[derive(Default)]
struct Heard(Vec<Reply>);

impl Replies for Heard {
    fn wanted(&self) -> bool {
        true
    }
    fn reply(&mut self, _: usize, reply: Reply) {
        self.0.push(reply);
    }
    fn event(&mut self, _: Event) {}
    fn digest(&mut self, _: Position, _: StateDigest) {}
}

/// What happened.
#[derive(Default)]
pub(super) struct History {
    pub(super) committed: Vec<Entry>,
    /// What every watcher must hear, in order. Not taken from the feed, but from the replies.
    pub(super) told: Vec<(Position, Change)>,
    pub(super) tokens: Vec<Token>,
    machine: Machine,
    tables: MemTables,
    clock: DurationMs,
    sessions: Vec<Session>,
    families: Vec<Family>,
    /// Access tokens that were revoked, and until when.
    denied: BTreeMap<(Jti, ClientId), UnixMs>,
    names: u64,
}

impl History {
    pub(super) fn new() -> Self {
        let mut history = Self::default();
        let settings = TenantSettings {
            access_ttl_max: ACCESS_TTL,
            rotations_per_s: 0,
            ..TenantSettings::default()
        };
        let key = KeyMaterial([7; 32]);
        let operation = Operation::CreateTenant(CreateTenant { settings, key });
        let replies = history.enter(vec![operation]);
        assert!(replies[0].outcome.is_ok());
        history
    }

    /// Several things in one entry, after a pause.
    pub(super) fn step(&mut self, acts: &[Act], pause: DurationMs) {
        self.clock = DurationMs(self.clock.0 + pause.0);
        let operations: Vec<_> = acts.iter().map(|act| self.operation(*act)).collect();
        let replies = self.enter(operations.clone());
        for (operation, reply) in operations.into_iter().zip(replies) {
            self.learn(operation, &reply);
        }
    }

    fn enter(&mut self, operations: Vec<Operation>) -> Vec<Reply> {
        let commands = operations.into_iter().map(|operation| {
            let maintenance = matches!(operation, Operation::Sweep(_));
            self.names += 1;
            let mut id = [0; 16];
            id[..8].copy_from_slice(&self.names.to_le_bytes());
            let request = RequestName { id: RequestId(id), age: DurationMs(0) };
            let (tenant, request) = match maintenance {
                true => (None, None),
                false => (Some(tenant()), Some(request)),
            };
            Arc::new(Command { tenant, request, operation })
        });
        let commands = commands.collect();
        let stamp = T0.plus(self.clock);
        let entry = Entry { stamp, lease_advance: DurationMs(0), commands };
        let index = LogIndex(self.committed.len() as u64 + 1);
        let mut heard = Heard::default();
        self.machine.apply(&mut self.tables, index, &entry, &mut heard).unwrap();
        self.committed.push(entry);
        heard.0
    }

    fn secret(&mut self) -> SecretDigest {
        self.names += 1;
        let mut digest = [0xd1; 16];
        digest[..8].copy_from_slice(&self.names.to_le_bytes());
        SecretDigest(digest)
    }

    fn operation(&mut self, act: Act) -> Operation {
        let Act { what, who, pick } = act;
        let subject = SubjectId::new(["alice", "bob"][usize::from(who & 1)]).unwrap();
        let client = ClientId::new(["web", "app"][usize::from(who >> 1 & 1)]).unwrap();
        let device = DeviceId::new(["phone", "desk"][usize::from(who >> 2 & 1)]).unwrap();
        let family = self.families.get(usize::from(pick) % self.families.len().max(1));
        let family_id = family.map_or(FamilyId([0xff; 16]), |family| family.id);
        let session = self.sessions.get(usize::from(pick) % self.sessions.len().max(1)).cloned();
        let session_id =
            session.as_ref().map_or(SessionId::new("none").unwrap(), |session| session.id.clone());
        let root = match pick % 8 {
            0 => Suspendable::Tenant,
            1 | 2 => Suspendable::Subject(subject.clone()),
            3 | 4 => Suspendable::Client(client.clone()),
            _ => Suspendable::Family(family_id),
        };
        match what % 20 {
            0 | 1 => Operation::CreateSession(Box::new(CreateSession {
                session: SessionId::new(&format!("session {}", self.names)).unwrap(),
                subject,
                device: (who & 8 != 0).then_some(device),
                attributes: Vec::new(),
                payload: Bytes::new(),
                lifetime: None,
                idle: None,
                authenticated_at: None,
            })),
            2..=6 => {
                let session = session.filter(|_| who & 16 != 0);
                let of_session = session.as_ref().map(|session| session.device.clone());
                let named = (who & 8 != 0).then_some(device);
                // A session's device is its families', too.
                let device = of_session.map_or(named.clone(), |device| device.and(named));
                let mut id = [1; 16];
                id[..8].copy_from_slice(&self.names.to_le_bytes());
                let cap = FamilyCap {
                    max: 3,
                    scope: CapScope::SubjectClient,
                    policy: CapPolicy::EvictOldest,
                };
                Operation::CreateFamily(Box::new(CreateFamily {
                    family: FamilyId(id),
                    digest: self.secret(),
                    opaque: false,
                    subject: session.as_ref().map_or(subject, |session| session.subject.clone()),
                    client,
                    device: match &session {
                        Some(session) => device.and(session.device.clone()),
                        None => device,
                    },
                    binding: Binding::default(),
                    ip: None,
                    attributes: Vec::new(),
                    payload: Bytes::new(),
                    lifetime: None,
                    idle: None,
                    grace: Some(DurationMs(0)),
                    authenticated_at: None,
                    cap: (who & 32 != 0).then_some(cap),
                    session: session.map(|session| session.id),
                    code: None,
                }))
            }
            7..=9 => {
                let successor = self.secret();
                let family = self.families.get(usize::from(pick) % self.families.len().max(1));
                let Some(family) = family else { return self.operation(Act { what: 2, ..act }) };
                // A spent one comes back once in a while.
                let back = if what % 20 == 9 && who & 192 == 0 { 1 } else { 0 };
                let generation = (family.digests.len() - 1).saturating_sub(back);
                let token = PresentedToken {
                    kid: Kid(1),
                    family: family.id,
                    generation: Generation(generation as u64),
                    digest: family.digests[generation],
                };
                Operation::Rotate(Box::new(Rotate {
                    token: token.into(),
                    successor,
                    seal: Bytes::new(),
                    losers: Losers::Replay,
                    client: family.client.clone(),
                    binding: Binding::default(),
                    origin: Origin::default(),
                }))
            }
            10 => Operation::RevokeFamily(RevokeFamily { family: family_id, reason: None }),
            11 => Operation::EndSession(EndSession { session: session_id, reason: None }),
            12 | 13 => Operation::RevokeWhere(Box::new(RevokeWhere {
                matching: Criteria {
                    subject: (pick & 1 != 0).then_some(subject),
                    client: (pick & 2 != 0).then_some(client),
                    device: (pick & 4 != 0).then_some(device),
                    session: (pick & 8 != 0).then(|| session_id.clone()),
                    ..Criteria::default()
                },
                except: Except {
                    families: (pick & 16 != 0).then_some(family_id).into_iter().collect(),
                    sessions: (pick & 48 == 32).then_some(session_id).into_iter().collect(),
                },
                reason: None,
            })),
            14 => Operation::RequireReauthentication(RequireReauthentication {
                subject,
                reason: None,
            }),
            15 | 16 => {
                let token = self.tokens.get(usize::from(pick) % self.tokens.len().max(1));
                let Some(token) = token else { return self.operation(Act { what: 2, ..act }) };
                // Who names another client hits nothing.
                let theirs = token.claims.client.clone().unwrap();
                Operation::RevokeAccessToken(RevokeAccessToken {
                    jti: token.claims.jti.clone().unwrap(),
                    client: if who & 192 == 0 { client } else { theirs },
                    expires_at: (who & 8 != 0).then_some(token.ends_at),
                })
            }
            17 => Operation::Suspend(Suspend { what: root, reason: None }),
            18 => Operation::Resume(Resume { what: root }),
            _ => Operation::Sweep(Sweep { rows_max: 100 }),
        }
    }

    /// What a reply says about what watchers must hear, and which access tokens there are now.
    fn learn(&mut self, operation: Operation, reply: &Reply) {
        let killed = |family, cause| Change::FamilyRevoked { family, cause };
        let change = match (operation, &reply.outcome) {
            (Operation::CreateSession(wish), Ok(_)) => {
                let (id, subject, device) = (wish.session, wish.subject, wish.device);
                self.sessions.push(Session { id, subject, device });
                let session = self.sessions.len() - 1;
                return self.issue_in(session, reply);
            }
            (Operation::CreateFamily(wish), Ok(Done::FamilyCreated(created))) => {
                let evicted = created.evicted.iter();
                let dead = evicted.map(|family| killed(*family, RevocationCause::Evicted));
                self.told.extend(dead.map(|change| (reply.position, change)));
                self.families.push(Family {
                    id: wish.family,
                    subject: wish.subject,
                    client: wish.client,
                    device: wish.device,
                    session: wish.session,
                    digests: vec![wish.digest],
                });
                return self.issue(self.families.len() - 1, reply);
            }
            (Operation::Rotate(wish), outcome) => {
                let Presented::Native(token) = wish.token else { unreachable!("all are native") };
                match outcome {
                    Ok(Done::Rotated(_)) => {
                        let family = self.families.iter().position(|it| it.id == token.family);
                        let family = family.unwrap();
                        self.families[family].digests.push(wish.successor);
                        return self.issue(family, reply);
                    }
                    Err(Refusal::Reused(_)) => killed(token.family, RevocationCause::Reuse),
                    _ => return,
                }
            }
            (Operation::RevokeFamily(wish), Ok(Done::Revoked { already: false })) => {
                killed(wish.family, RevocationCause::Family)
            }
            (Operation::EndSession(wish), Ok(Done::SessionEnded(ended))) if !ended.already => {
                Change::SessionEnded { session: wish.session }
            }
            (Operation::RevokeWhere(wish), Ok(Done::RevokedWhere(told))) => {
                let Criteria { subject, client, device, session, .. } = wish.matching;
                let except = told.kept.clone();
                Change::Cutoff { subject, client, device, session, except }
            }
            (Operation::RequireReauthentication(wish), Ok(Done::Cut)) => {
                Change::Reauthentication { subject: wish.subject }
            }
            (Operation::RevokeAccessToken(wish), Ok(Done::Revoked { .. })) => {
                let until = wish.expires_at.unwrap_or(reply.at.plus(ACCESS_TTL));
                let name = (wish.jti, wish.client);
                // One that is denied as long already is not news; one whose end moves is.
                let known = self.denied.get(&name).filter(|known| until <= **known);
                if known.is_some() {
                    return;
                }
                self.denied.insert(name.clone(), until);
                Change::AccessTokenRevoked { jti: name.0, client: name.1 }
            }
            (Operation::Suspend(wish), Ok(Done::Suspended { already: false })) => {
                Change::Suspended { what: wish.what }
            }
            (Operation::Resume(wish), Ok(Done::Resumed { already: false })) => {
                Change::Resumed { what: wish.what }
            }
            _ => return,
        };
        self.told.push((reply.position, change));
    }

    /// An access token as the documents tell to make one, with a family.
    fn issue(&mut self, family: usize, reply: &Reply) {
        let family = &self.families[family];
        let session = self.sessions.iter().find(|it| Some(&it.id) == family.session.as_ref());
        let of_session = session.and_then(|session| session.device.clone());
        let claims = AccessClaims {
            subject: Some(family.subject.clone()),
            client: Some(family.client.clone()),
            device: family.device.clone().or(of_session),
            session: family.session.clone(),
            family: Some(family.id),
            ..AccessClaims::default()
        };
        self.keep(claims, reply);
    }

    /// One without a family, from a sign-on alone.
    fn issue_in(&mut self, session: usize, reply: &Reply) {
        let session = &self.sessions[session];
        let claims = AccessClaims {
            subject: Some(session.subject.clone()),
            client: Some(ClientId::new("web").unwrap()),
            device: session.device.clone(),
            session: Some(session.id.clone()),
            ..AccessClaims::default()
        };
        self.keep(claims, reply);
    }

    fn keep(&mut self, claims: AccessClaims, reply: &Reply) {
        let jti = Jti::new(&format!("jti {}", self.tokens.len())).unwrap();
        let claims = AccessClaims {
            jti: Some(jti),
            position: Some(reply.position),
            issued_at: Some(reply.at),
            ..claims
        };
        let (made_at, ends_at) = (reply.position, reply.at.plus(ACCESS_TTL));
        self.tokens.push(Token { claims, made_at, ends_at });
    }
}
