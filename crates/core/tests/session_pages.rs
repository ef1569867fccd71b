//! How much a session tells at once: at each bound, and one above.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod fixture;

use bytes::Bytes;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::limits;
use jeton_core::read;
use jeton_core::reply::*;

use fixture::{State, T0, acme, family, number};

fn sid(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn alice() -> SubjectId {
    SubjectId::new("alice").unwrap()
}

/// A tenant with a session `s` of alice.
struct Store(State);

impl Store {
    fn new() -> Self {
        let mut store = Self(State::new());
        store.session("s").unwrap();
        store
    }

    fn session(&mut self, name: &str) -> Result<Done, Refusal> {
        self.0.ask(Operation::CreateSession(Box::new(CreateSession {
            session: sid(name),
            subject: alice(),
            device: None,
            attributes: Vec::new(),
            payload: Bytes::from_static(b"payload"),
            lifetime: None,
            idle: None,
            authenticated_at: None,
        })))
    }

    /// A family for client number `client`, bound to `s`.
    fn bind(&mut self, client: usize) -> Result<Done, Refusal> {
        let id = FamilyId(number(self.0.index));
        self.0.ask(family(|new| {
            new.family = id;
            new.client = ClientId::new(&format!("client{client:04}")).unwrap();
            new.session = Some(sid("s"));
        }))
    }

    fn end(&mut self) -> SessionEnded {
        match self.0.ask(Operation::EndSession(EndSession { session: sid("s"), reason: None })) {
            Ok(Done::SessionEnded(ended)) => ended,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_end_of_a_session_names_as_many_clients_as_it_may() {
    for (clients, more) in [(limits::NOTIFIED_CLIENTS_MAX, false), (129, true)] {
        let mut store = Store::new();
        for client in 0..clients {
            store.bind(client).unwrap();
        }
        let ended = store.end();
        assert_eq!((ended.clients.len(), ended.more), (limits::NOTIFIED_CLIENTS_MAX, more));
        // The rest is listed behind the last one, also when it is dead.
        let last = ended.clients.last();
        let rest = read::session_clients(&store.0.tables, T0, &acme(), &sid("s"), last, 10);
        let rest = rest.unwrap().unwrap();
        assert_eq!(rest.rows.len(), clients - limits::NOTIFIED_CLIENTS_MAX);
        assert_eq!(rest.next, None);
    }
}

#[test]
fn a_session_has_no_more_clients_than_can_be_told() {
    let mut store = Store::new();
    for client in 0..limits::SESSION_CLIENTS_MAX {
        store.bind(client).unwrap();
    }
    let (before, rows) = (store.0.tables.clone(), store.0.tables.rows().count());
    let refusal = store.bind(limits::SESSION_CLIENTS_MAX).unwrap_err();
    assert!(matches!(refusal, Refusal::LimitReached { max: 1_024, .. }), "{refusal:?}");
    // Nothing but the memory of the refusal was added: its reply, and when that is forgotten.
    assert_eq!(store.0.tables.rows().count(), rows + 2);
    assert!(before.rows().all(|(key, value)| store.0.tables.rows().any(|row| row == (key, value))));
    store.bind(7).unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let (tables, s) = (&store.0.tables, sid("s"));
        let page = read::session_clients(tables, T0, &acme(), &s, after.as_ref(), 1_000);
        let page = page.unwrap().unwrap();
        seen.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), limits::SESSION_CLIENTS_MAX);
    assert!(seen.is_sorted_by(|a, b| a < b), "each once, in order");
}

#[test]
fn a_page_of_sessions_looks_at_a_bounded_number() {
    let mut store = Store::new();
    for session in 0..300 {
        store.session(&format!("t{session:03}")).unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = read::sessions(&store.0.tables, T0, &acme(), &alice(), after.as_ref(), 50, true);
        let page = page.unwrap().unwrap();
        assert!(page.rows.len() <= 50);
        assert!(page.rows.iter().all(|view| view.payload.is_empty()), "no payloads in listings");
        seen.extend(page.rows.into_iter().map(|view| view.session));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 301);
    seen.dedup();
    assert_eq!(seen.len(), 301, "each once");
    // No page is empty for its limit on rows.
    let page = read::sessions(&store.0.tables, T0, &acme(), &alice(), None, 0, true);
    assert_eq!(page.unwrap().unwrap().rows.len(), 1);
}
