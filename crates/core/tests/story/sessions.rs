//! Words about sessions and suspensions, and how they are answered.

use std::fmt::Write as _;

use bytes::Bytes;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::reply::*;
use jeton_core::{limits, read};

use super::words::{self, Words};
use super::{Store, Story};

pub fn session(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

/// `session s subject=alice …`
pub fn create(words: &Words) -> CreateSession {
    CreateSession {
        session: session(words.noun()),
        subject: SubjectId::new(words.get("subject").unwrap_or("alice")).unwrap(),
        device: words.get("device").map(|name| DeviceId::new(name).unwrap()),
        attributes: words.attributes().unwrap_or_default(),
        payload: Bytes::from(words.get("payload").unwrap_or_default().to_owned()),
        lifetime: words.get("lifetime").map(words::span),
        idle: words.get("idle").map(words::span),
        authenticated_at: words.get("authenticated").map(words::position),
    }
}

/// `touch-session s version=1 payload=…`
pub fn touch(words: &Words) -> TouchSession {
    TouchSession {
        session: session(words.noun()),
        version: words.number("version"),
        attributes: words.attributes(),
        payload: words.get("payload").map(|text| Bytes::from(text.to_owned())),
    }
}

/// `suspend subject=alice`, `resume client=web`, `suspend family=f`, `suspend tenant`
pub fn suspendable(words: &Words) -> Suspendable {
    if let Some(subject) = words.get("subject") {
        return Suspendable::Subject(SubjectId::new(subject).unwrap());
    }
    if let Some(client) = words.get("client") {
        return Suspendable::Client(ClientId::new(client).unwrap());
    }
    if let Some(family) = words.get("family") {
        return Suspendable::Family(FamilyId(super::named(family)));
    }
    assert_eq!(words.noun(), "tenant", "subject=, client=, family= or tenant");
    Suspendable::Tenant
}

impl<S: Store> Story<S> {
    pub(super) fn look_at_sessions(&mut self, words: &Words, out: &mut String) {
        let (store, now, tenant) = (&self.store, self.now, &self.tenant);
        let rows_max = words.number("max").map_or(limits::PAGE_ROWS_MAX, |max| max as u32);
        match words.verb() {
            "show-session" => {
                let view = read::session(store, now, tenant, &session(words.noun())).unwrap();
                self.shown.read("GetSession", "SessionView", &view);
                match view {
                    Ok(view) => show(out, &view),
                    Err(refusal) => words::refusal(out, &refusal),
                }
            }
            "sessions" => {
                let subject = SubjectId::new(words.noun()).unwrap();
                let (after, ended) =
                    (words.get("after").map(session), words.get("ended").is_some());
                let after = after.as_ref();
                let page = read::sessions(store, now, tenant, &subject, after, rows_max, ended);
                let page = page.unwrap();
                self.shown.read("ListSessions", "Page", &page);
                match page {
                    Ok(page) => {
                        page.rows.iter().for_each(|view| show(out, view));
                        writeln!(out, "{}", next(page.next)).unwrap();
                    }
                    Err(refusal) => words::refusal(out, &refusal),
                }
            }
            _ => {
                let after = words.get("after").map(|name| ClientId::new(name).unwrap());
                let (session, after) = (session(words.noun()), after.as_ref());
                let page = read::session_clients(store, now, tenant, &session, after, rows_max);
                let page = page.unwrap();
                self.shown.read("ListSessionClients", "Page", &page);
                match page {
                    Ok(page) => {
                        let names: Vec<_> = page.rows.iter().map(ClientId::as_str).collect();
                        writeln!(out, "{}; {}", names.join(" "), next(page.next)).unwrap();
                    }
                    Err(refusal) => words::refusal(out, &refusal),
                }
            }
        }
    }
}

fn next(next: Option<impl std::fmt::Display>) -> String {
    next.map_or("end".to_owned(), |next| format!("next {next}"))
}

fn show(out: &mut String, view: &SessionView) {
    write!(out, "{} of {}", view.session, view.subject).unwrap();
    if let Some(device) = &view.device {
        write!(out, " on {device}").unwrap();
    }
    let (created, read) = (words::place(view.created), words::place(view.authenticated_at));
    write!(out, ", version {}, created {created}, authenticated {read}", view.version).unwrap();
    let (idle, ends) = (words::instant(view.idle_expires_at), words::instant(view.expires_at));
    write!(out, ", idle {idle}, ends {ends}, clients {}", view.clients).unwrap();
    for (name, value) in &view.attributes {
        write!(out, ", {name}: {value}").unwrap();
    }
    if !view.payload.is_empty() {
        write!(out, ", payload {}", String::from_utf8_lossy(&view.payload)).unwrap();
    }
    match &view.dead {
        None => writeln!(out, ", alive").unwrap(),
        Some(cause) => {
            write!(out, ", dead: ").unwrap();
            words::refusal(out, cause);
        }
    }
}

/// The answer to a word about sessions or suspensions; `None` if it is to another one.
pub fn done(done: &Done) -> Option<String> {
    Some(match done {
        Done::SessionCreated(created) => {
            let (ends, idle) =
                (words::instant(created.expires_at), words::instant(created.idle_expires_at));
            format!("session created, ends {ends}, idle {idle}")
        }
        Done::SessionTouched(touched) => {
            let idle = words::instant(touched.idle_expires_at);
            format!("session touched, version {}, idle {idle}", touched.version)
        }
        Done::SessionEnded(ended) => {
            let how = if ended.already { "was dead already" } else { "session ended" };
            let names: Vec<_> = ended.clients.iter().map(ClientId::as_str).collect();
            let more = if ended.more { " and more" } else { "" };
            let names = if names.is_empty() { "nobody".to_owned() } else { names.join(" ") };
            format!("{how}: notify {names}{more}")
        }
        Done::Suspended { already: false } => "suspended".to_owned(),
        Done::Suspended { already: true } => "was suspended already".to_owned(),
        Done::Resumed { already: false } => "resumed".to_owned(),
        Done::Resumed { already: true } => "was not suspended".to_owned(),
        _ => return None,
    })
}

/// How an event about sessions or suspensions reads; `None` if it is about something else.
pub fn event(kind: &EventKind) -> Option<String> {
    let named = |what: &Suspendable| match what {
        Suspendable::Subject(subject) => format!("subject {subject}"),
        Suspendable::Client(client) => format!("client {client}"),
        Suspendable::Family(_) => "the family".to_owned(),
        Suspendable::Tenant => "the tenant".to_owned(),
    };
    Some(match kind {
        EventKind::SessionEnded { session, subject } => {
            format!("session {session} of {subject} ended")
        }
        EventKind::Suspended { what } => format!("{} suspended", named(what)),
        EventKind::Resumed { what } => format!("{} resumed", named(what)),
        _ => return None,
    })
}
