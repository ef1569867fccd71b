//! Answers about sessions and suspensions arrive as they were meant.

use std::time::Duration;

use bytes::Bytes;
use jeton_core::ids::{DurationMs, Position, UnixMs};
use jeton_core::reply::{
    Done, Refusal, Reply, RevocationCause, RevokedBy, SessionCreated, SessionEnded, SessionTouched,
    SessionView,
};
use jeton_wire::answer::{self, Answer, Revocation};
use jeton_wire::codec;
use jeton_wire::pb::v1;
use jeton_wire::reply::{self, Kind};
use jeton_wire::session::{self, Ended, Found, Kind as About, Page};
use prost::Message;

use crate::samples;

fn through_bytes(response: v1::operation_result::Response) -> Answer {
    let result = v1::OperationResult { tag: 1, response: Some(response) };
    let bytes = Bytes::from(result.encode_to_vec());
    answer::operation(codec::decode_message(bytes).expect("own bytes")).expect("well formed")
}

fn answered(kind: Kind, outcome: Result<Done, Refusal>) -> Answer {
    let reply = Reply { position: Position(99), at: UnixMs(1), outcome };
    through_bytes(reply::mutation(kind, reply, None).expect("a response"))
}

fn revoked() -> Refusal {
    let (cause, position) = (RevocationCause::Session, Position(4));
    Refusal::Revoked(RevokedBy { cause, position, at: UnixMs(5), reason: None })
}

#[test]
fn mutations_of_sessions_arrive() {
    let created = SessionCreated { expires_at: UnixMs(9), idle_expires_at: UnixMs(8) };
    let told = answered(Kind::Session(About::Create), Ok(Done::SessionCreated(created.clone())));
    let Answer::Session(session::Answer::Created(a)) = told else { panic!("{told:?}") };
    assert_eq!((a.position, a.outcome), (Position(99), Ok(created)));

    let touched = SessionTouched { version: 3, idle_expires_at: UnixMs(8) };
    let told = answered(Kind::Session(About::Touch), Ok(Done::SessionTouched(touched.clone())));
    let Answer::Session(session::Answer::Touched(a)) = told else { panic!("{told:?}") };
    assert_eq!(a.outcome, Ok(touched));

    for (already, revocation) in [(false, Revocation::Revoked), (true, Revocation::Already)] {
        for more in [false, true] {
            let ended = SessionEnded { already, clients: vec![samples::client()], more };
            let told = answered(Kind::Session(About::End), Ok(Done::SessionEnded(ended)));
            let Answer::Session(session::Answer::Ended(a)) = told else { panic!("{told:?}") };
            let next = more.then(|| session::token(samples::client().as_str()));
            let clients = vec![samples::client()];
            assert_eq!(a.outcome, Ok(Ended { revocation, clients, next }));
        }
    }
    let told = answered(Kind::Session(About::End), Ok(Done::NothingToRevoke));
    let Answer::Session(session::Answer::Ended(a)) = told else { panic!("{told:?}") };
    assert_eq!(a.outcome.map(|ended| ended.revocation), Ok(Revocation::Unknown));
}

#[test]
fn refusals_about_sessions_and_suspensions_arrive() {
    for kind in [About::Create, About::Touch, About::End] {
        let told = match answered(Kind::Session(kind), Err(revoked())) {
            Answer::Session(session::Answer::Created(a)) => a.outcome.err(),
            Answer::Session(session::Answer::Touched(a)) => a.outcome.err(),
            Answer::Session(session::Answer::Ended(a)) => a.outcome.err(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told, Some(revoked()), "{kind:?}");
    }
    for kind in [Kind::Suspend, Kind::Resume, Kind::RequireReauthentication] {
        let told = match answered(kind, Err(revoked())) {
            Answer::Suspend(a) | Answer::Resume(a) => a.outcome.err(),
            Answer::RequireReauthentication(a) => a.outcome.err(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told, Some(revoked()), "{kind:?}");
    }
}

#[test]
fn suspensions_arrive() {
    for already in [false, true] {
        let told = answered(Kind::Suspend, Ok(Done::Suspended { already }));
        assert!(matches!(told, Answer::Suspend(a) if a.outcome == Ok(already)));
        let told = answered(Kind::Resume, Ok(Done::Resumed { already }));
        assert!(matches!(told, Answer::Resume(a) if a.outcome == Ok(already)));
    }
    let told = answered(Kind::RequireReauthentication, Ok(Done::Cut));
    assert!(matches!(told, Answer::RequireReauthentication(a) if a.outcome == Ok(())));
}

fn view(dead: Option<Refusal>) -> SessionView {
    SessionView {
        session: samples::session(),
        subject: samples::subject(),
        device: Some(samples::device()),
        attributes: vec![("acr".into(), "2".into())],
        payload: Bytes::from_static(b"payload"),
        version: 3,
        clients: 2,
        created: Position(5),
        created_at: UnixMs(6),
        authenticated_at: Position(4),
        touched_at: UnixMs(7),
        expires_at: UnixMs(9),
        idle_expires_at: UnixMs(8),
        dead,
    }
}

#[test]
fn reads_of_sessions_arrive_with_their_mark() {
    let (position, age) = (Position(12), Some(DurationMs(15)));
    let arrive = |kind, found| {
        through_bytes(session::response(kind, position, age, found).expect("a response"))
    };
    for outcome in [Ok(view(None)), Ok(view(Some(revoked()))), Err(Refusal::NotFound)] {
        let found = outcome.clone().map(|view| Found::One(Box::new(view)));
        let Answer::Session(session::Answer::One(seen)) = arrive(About::Get, found) else {
            panic!("a read is answered as one")
        };
        assert_eq!((seen.position, seen.age), (position, Some(Duration::from_millis(15))));
        assert_eq!(seen.outcome, outcome);
    }
    let found = Ok(Found::Sessions(vec![view(None)], Some(samples::session())));
    let Answer::Session(session::Answer::Sessions(seen)) = arrive(About::List, found) else {
        panic!("a listing is answered as one")
    };
    let next = Some(session::token(samples::session().as_str()));
    assert_eq!(seen.outcome, Ok(Page { rows: vec![view(None)], next }));
    let found = Ok(Found::Clients(vec![samples::client()], None));
    let Answer::Session(session::Answer::Clients(seen)) = arrive(About::Clients, found) else {
        panic!("a listing is answered as one")
    };
    assert_eq!(seen.outcome, Ok(Page { rows: vec![samples::client()], next: None }));
}

#[test]
fn payloads_of_sessions_are_not_printed() {
    let response = session::response(
        About::Get,
        Position(1),
        None,
        Ok(Found::One(Box::new(SessionView {
            payload: Bytes::from_static(b"planted"),
            ..view(None)
        }))),
    );
    assert!(!format!("{response:?}").contains("planted"));
}
