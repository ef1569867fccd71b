//! Sessions and suspensions in the small world: what may be asked, and what must hold then.

use std::collections::{BTreeMap, BTreeSet};

use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::read;
use jeton_core::reply::*;

use super::{Known, Step, World, name, tenant_id};

/// What the world knows of a session that lives or lived.
pub struct KnownSession {
    subject: String,
    device: Option<String>,
    origin: Position,
    /// Whatever killed it, the clock left out.
    dead: bool,
}

/// All that is known of sessions and suspensions.
#[derive(Default)]
pub struct Sessions {
    known: BTreeMap<(u8, SessionId), KnownSession>,
    suspended: BTreeSet<(u8, String)>,
}

/// Two sessions a subject.
pub fn session_id(step: &Step) -> SessionId {
    SessionId::new(&format!("s{}-{}", (step.who >> 1) % 2, step.family)).unwrap()
}

fn suspendable(step: &Step, family: FamilyId) -> Suspendable {
    match step.back % 8 {
        7 => Suspendable::Tenant,
        5 | 6 => Suspendable::Client(ClientId::new(&name("client", step.who, 0)).unwrap()),
        0 | 3 | 4 => Suspendable::Family(family),
        _ => Suspendable::Subject(SubjectId::new(&name("subject", step.who, 1)).unwrap()),
    }
}

/// What can be asked about sessions.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    Create,
    Touch,
    End,
    Suspend,
    Resume,
    Reauthenticate,
}

pub fn operation(ask: Ask, step: &Step, family: FamilyId) -> Operation {
    let session = session_id(step);
    let subject = SubjectId::new(&name("subject", step.who, 1)).unwrap();
    match ask {
        Ask::Create => Operation::CreateSession(Box::new(CreateSession {
            session,
            subject,
            device: (step.who & 32 != 0)
                .then(|| DeviceId::new(&name("device", step.who, 2)).unwrap()),
            attributes: vec![("acr".into(), "2".into())],
            payload: vec![step.back; 3].into(),
            lifetime: Some(DurationMs::from_secs(9_600 * (1 + u64::from(step.back)))),
            idle: Some(DurationMs::from_secs(900 * (1 + u64::from(step.back)))),
            authenticated_at: (step.who & 64 != 0)
                .then(|| Position::new(0, LogIndex(u64::from(step.who)), 0)),
        })),
        Ask::Touch => Operation::TouchSession(Box::new(TouchSession {
            session,
            version: (step.back & 1 != 0).then_some(1 + u64::from(step.back % 4)),
            attributes: None,
            payload: (step.back & 3 == 3).then(|| vec![step.who; 2].into()),
        })),
        Ask::End => Operation::EndSession(EndSession { session, reason: None }),
        Ask::Suspend => {
            Operation::Suspend(Suspend { what: suspendable(step, family), reason: None })
        }
        Ask::Resume => Operation::Resume(Resume { what: suspendable(step, family) }),
        Ask::Reauthenticate => {
            Operation::RequireReauthentication(RequireReauthentication { subject, reason: None })
        }
    }
}

fn suspension(what: &Suspendable) -> String {
    format!("{what:?}")
}

impl World {
    /// The promises about sessions and suspensions, from what was said and nothing else.
    pub(super) fn check_sessions(&mut self, step: &Step, command: &Command, reply: &Reply) {
        let (tenant, position) = (step.tenant, self.machine.meta().position);
        let fresh = reply.position == position;
        match (&command.operation, &reply.outcome) {
            (Operation::CreateSession(wish), Ok(_)) if fresh => {
                let origin = wish.authenticated_at.unwrap_or(position);
                let device = wish.device.as_ref().map(ToString::to_string);
                let subject = wish.subject.to_string();
                let known = KnownSession { subject, device, origin, dead: false };
                self.sessions.known.insert((tenant, wish.session.clone()), known);
            }
            (Operation::TouchSession(wish), Ok(_)) => {
                let known = &self.sessions.known[&(tenant, wish.session.clone())];
                assert!(!known.dead, "nothing succeeds after a revocation");
            }
            (Operation::EndSession(wish), Ok(Done::SessionEnded(ended)))
                if fresh && !ended.already =>
            {
                self.end_session(tenant, &wish.session, position);
            }
            (Operation::RequireReauthentication(wish), Ok(_)) if fresh => {
                self.reauthenticate(tenant, wish.subject.as_str(), position);
            }
            (Operation::Suspend(wish), Ok(_)) if fresh => {
                self.sessions.suspended.insert((tenant, suspension(&wish.what)));
            }
            (Operation::Resume(wish), Ok(_)) if fresh => {
                self.sessions.suspended.remove(&(tenant, suspension(&wish.what)));
            }
            // Made anew after the first one was forgotten: nobody has suspended this one.
            (Operation::CreateFamily(wish), Ok(_)) if fresh => {
                let what = Suspendable::Family(wish.family);
                self.sessions.suspended.remove(&(tenant, suspension(&what)));
            }
            _ => {}
        }
        self.nothing_dead_is_shown_alive(tenant);
    }

    fn nothing_dead_is_shown_alive(&self, tenant: u8) {
        let id = tenant_id(tenant);
        for ((_, session), known) in self.sessions.known.iter().filter(|(key, _)| key.0 == tenant) {
            let view = read::session(&self.tables, self.now, &id, session).unwrap();
            let alive = view.is_ok_and(|view| view.dead.is_none());
            let (subject, dead) = (Some(known.subject.as_str()), known.dead);
            let suspended = self.is_suspended(tenant, subject, None, None);
            assert!(!(alive && (dead || suspended)), "what was ended stays so");
        }
        for ((_, family), known) in self.known.iter().filter(|(key, _)| key.0 == tenant) {
            let view = read::family(&self.tables, self.now, &id, *family).unwrap();
            let alive = view.is_ok_and(|view| view.dead.is_none());
            assert!(!(alive && self.holds(tenant, *family, known)), "what is suspended is dead");
            let Some(session) = &known.session else { continue };
            let view = read::session(&self.tables, self.now, &id, session).unwrap();
            let bound = view.is_ok_and(|view| view.dead.is_none());
            assert!(!alive || bound, "nothing that is bound outlives its session");
        }
    }

    /// Whether something suspends a family.
    fn holds(&self, tenant: u8, family: FamilyId, known: &Known) -> bool {
        let (subject, client, _) = &known.who;
        self.is_suspended(tenant, Some(subject), Some(client), Some(family))
    }

    fn is_suspended(
        &self,
        tenant: u8,
        subject: Option<&str>,
        client: Option<&str>,
        family: Option<FamilyId>,
    ) -> bool {
        let roots = [
            Some(Suspendable::Tenant),
            subject.map(|name| Suspendable::Subject(SubjectId::new(name).unwrap())),
            client.map(|name| Suspendable::Client(ClientId::new(name).unwrap())),
            family.map(Suspendable::Family),
        ];
        let mut roots = roots.into_iter().flatten();
        roots.any(|what| self.sessions.suspended.contains(&(tenant, suspension(&what))))
    }

    /// The origin that a family bound to `session` has at most.
    pub(super) fn origin_of(&self, tenant: u8, session: Option<&SessionId>) -> Option<Position> {
        let known = &self.sessions.known[&(tenant, session?.clone())];
        assert!(!known.dead, "nothing is made from a dead session");
        Some(known.origin)
    }

    fn end_session(&mut self, tenant: u8, session: &SessionId, position: Position) {
        let known = self.sessions.known.get_mut(&(tenant, session.clone())).unwrap();
        assert!(!known.dead, "a session dies once");
        known.dead = true;
        self.kill_bound(tenant, session, position);
    }

    fn kill_bound(&mut self, tenant: u8, session: &SessionId, position: Position) {
        for ((of, _), known) in &mut self.known {
            if *of == tenant && known.session.as_ref() == Some(session) {
                known.dead = known.dead.or(Some(position));
            }
        }
    }

    fn reauthenticate(&mut self, tenant: u8, subject: &str, position: Position) {
        self.cut_sessions(tenant, position, |known| known.subject == subject);
        for ((of, _), known) in &mut self.known {
            let older = known.authenticated_at.is_some_and(|read| read < position);
            if *of == tenant && known.who.0 == subject && older {
                known.dead = known.dead.or(Some(position));
            }
        }
    }

    /// Kills older sessions that match, and what is bound to them.
    fn cut_sessions(&mut self, of: u8, position: Position, hit: impl Fn(&KnownSession) -> bool) {
        let mut cut = Vec::new();
        for ((tenant, session), known) in &mut self.sessions.known {
            if *tenant == of && hit(known) && known.origin < position {
                known.dead = true;
                cut.push(session.clone());
            }
        }
        cut.iter().for_each(|session| self.kill_bound(of, session, position));
    }

    /// What a cutoff kills of sessions.
    pub(super) fn cut_where(&mut self, tenant: u8, wish: &Criteria, position: Position) {
        if wish.client.is_some() || wish.session.is_some() {
            return;
        }
        self.cut_sessions(tenant, position, |known| {
            wish.subject.as_ref().is_none_or(|name| name.as_str() == known.subject)
                && wish
                    .device
                    .as_ref()
                    .is_none_or(|name| Some(name.as_str()) == known.device.as_deref())
        });
    }

    /// All that reads show of sessions, page by page.
    pub fn session_views(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for (tenant, session) in self.sessions.known.keys() {
            let (tables, now, id) = (&self.tables, self.now, tenant_id(*tenant));
            seen.push(format!("{:?}", read::session(tables, now, &id, session).unwrap()));
            let clients = read::session_clients(tables, now, &id, session, None, 1).unwrap();
            seen.push(format!("{clients:?}"));
        }
        for subject in ["subject0", "subject1"] {
            let (subject, mut after) = (SubjectId::new(subject).unwrap(), None);
            for ended in [false, true] {
                loop {
                    let page = read::sessions(
                        &self.tables,
                        self.now,
                        &tenant_id(0),
                        &subject,
                        after.as_ref(),
                        1,
                        ended,
                    );
                    let page = page.unwrap().unwrap();
                    assert!(page.rows.len() <= 1, "a page is as long as was asked for");
                    seen.push(format!("{page:?}"));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        seen
    }
}
