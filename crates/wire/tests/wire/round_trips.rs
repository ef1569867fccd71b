//! What one end says is what the other end hears.

use std::time::Duration;

use bytes::Bytes;
use jeton_core::access::{Access, Basis, Denied};
use jeton_core::command::{Criteria, Except, TenantSettings};
use jeton_core::ids::{DurationMs, FamilyId, Generation, Kid, Mac, Position, UnixMs};
use jeton_core::reply::{
    Adopted, CodeRefusal, Done, FamilyCreated, FamilyView, MatchCount, Refusal, Replayed, Reply,
    Reuse, ReuseClass, RevocationCause, RevocationView, RevokedBy, RevokedWhere, Rotated,
    SweepProgress, TenantView, Whence,
};
use jeton_wire::answer::{self, Answer, Issued, MacKey, Revocation, RotateOutcome};
use jeton_wire::decode::{self, Asked};
use jeton_wire::pb::v1;
use jeton_wire::reply::{self, Kind};
use jeton_wire::revocation::{self, Hit};
use jeton_wire::{Failure, admin, codec, encode};
use prost::Message;

use crate::samples;

fn through_bytes<M: Message + prost::Name + Default>(message: &M) -> M {
    codec::decode_message(Bytes::from(message.encode_to_vec())).expect("own bytes decode")
}

#[test]
fn what_became_of_a_revocation_arrives_as_it_was_seen() {
    let sweep = SweepProgress {
        looked: 1,
        rows_estimate: 2,
        families: 3,
        sessions: 4,
        done_at: Some(UnixMs(5)),
    };
    let view = RevocationView {
        revocation: Position(9),
        at: UnixMs(8),
        matching: Criteria { region: Some("eu".into()), ..Criteria::default() },
        kept: Except { families: vec![FamilyId([7; 16])], sessions: Vec::new() },
        reason: Some("breach".into()),
        sweep: Some(sweep),
    };
    for view in [view.clone(), RevocationView { sweep: None, ..view }] {
        let response = revocation::got(Position(10), None, Ok(view.clone())).expect("worded");
        let result = v1::OperationResult { tag: 1, response: Some(response) };
        let Answer::GetRevocation(seen) = answer::operation(through_bytes(&result)).expect("read")
        else {
            panic!("a question is answered as one")
        };
        assert_eq!((seen.position, seen.outcome), (Position(10), Ok(view)));
    }
    let count = MatchCount { families: 12, sessions: 3, exact: false };
    let response = revocation::would_hit(Position(10), Ok(count)).expect("worded");
    let result = v1::OperationResult { tag: 1, response: Some(response) };
    let Answer::RevokeWhere(told) = answer::operation(through_bytes(&result)).expect("read") else {
        panic!("a dry run is answered as what it would be")
    };
    assert_eq!(told.outcome.expect("no refusal").matched, Some(count));
}

#[test]
fn every_request_arrives_as_it_was_meant() {
    for asked in samples::all() {
        let request = encode::operation(&asked).expect("clients can send it");
        let operation = v1::Operation { tag: 1, deadline_ms: 5, request: Some(request) };
        let arrived = decode::operation(through_bytes(&operation).request).expect("valid");
        assert_eq!(arrived, asked);
    }
}

#[test]
fn what_clients_may_not_send_has_no_request() {
    let mut asked = samples::rotate();
    if let Asked::Write(write) = &mut asked {
        write.command.request = None;
    }
    assert!(encode::operation(&asked).is_none());
}

fn by(cause: RevocationCause) -> RevokedBy {
    RevokedBy { cause, position: Position(40), at: UnixMs(4), reason: Some("stolen".into()) }
}

fn revoked() -> Refusal {
    Refusal::Revoked(by(RevocationCause::Cutoff))
}

fn reused() -> Refusal {
    Refusal::Reused(Reuse {
        class: ReuseClass::Ancestor,
        age: Some(DurationMs(9)),
        generation_gap: 12,
        same_device: Some(false),
        same_ip: None,
        revoked: true,
    })
}

/// All refusals that travel as data.
fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::NotFound,
        revoked(),
        Refusal::Expired { absolute: UnixMs(5), idle: UnixMs(4) },
        Refusal::ClientMismatch,
        Refusal::BindingMismatch,
        Refusal::Integrity { head: Generation(3) },
        reused(),
        Refusal::StaleRequest,
        Refusal::NameReused,
        Refusal::AlreadyExists,
        Refusal::VersionMismatch { version: 6 },
        Refusal::TenantUnknown,
        Refusal::LimitReached { limit: "TENANTS_MAX".into(), max: 4_096 },
        Refusal::Spent { head: Generation(8) },
        Refusal::PreconditionFailed,
        Refusal::Already { at: UnixMs(4), family: Some(FamilyId([2; 16])) },
        Refusal::AttemptsExceeded { retry_after: DurationMs(900) },
        Refusal::Replay,
        Refusal::Code(CodeRefusal::NotFound),
        Refusal::Code(CodeRefusal::PreconditionFailed),
        Refusal::Code(CodeRefusal::Already { at: UnixMs(4), family: None }),
        Refusal::Code(CodeRefusal::Expired { at: UnixMs(5) }),
        Refusal::CapReached { max: 3 },
        Refusal::SessionDead { by: None },
        Refusal::SessionDead { by: Some(by(RevocationCause::Session)) },
        Refusal::Revoked(by(RevocationCause::Reauthentication)),
        Refusal::Suspended(by(RevocationCause::Suspension)),
        Refusal::DigestInUse,
        Refusal::Lost,
    ]
}

fn answered(kind: Kind, outcome: Result<Done, Refusal>, mac: Option<&Mac>) -> Answer {
    let reply = Reply { position: Position(99), at: UnixMs(1), outcome };
    let response = reply::mutation(kind, reply, mac).expect("a response");
    let result = v1::OperationResult { tag: 1, response: Some(response) };
    answer::operation(through_bytes(&result)).expect("well formed")
}

#[test]
fn every_refusal_arrives_on_every_operation() {
    for refusal in refusals() {
        for kind in [
            Kind::Rotate,
            Kind::CreateFamily,
            Kind::Touch,
            Kind::UpdateFamily,
            Kind::RevokeToken,
            Kind::RevokeFamily,
            Kind::RevokeWhere,
            Kind::RevokeAccessToken,
        ] {
            let (position, arrived) = match answered(kind, Err(refusal.clone()), None) {
                Answer::Rotate(a) => (a.position, a.outcome.err()),
                Answer::CreateFamily(a) => (a.position, a.outcome.err()),
                Answer::Touch(a) => (a.position, a.outcome.err()),
                Answer::RevokeWhere(a) => (a.position, a.outcome.err()),
                Answer::UpdateFamily(a) => (a.position, a.outcome.err()),
                Answer::RevokeToken(a) | Answer::RevokeFamily(a) | Answer::RevokeAccessToken(a) => {
                    (a.position, a.outcome.err())
                }
                read => panic!("a read was answered: {read:?}"),
            };
            assert_eq!((position, arrived), (Position(99), Some(refusal.clone())), "{kind:?}");
        }
    }
}

#[test]
fn rotations_arrive_with_mac_and_seal() {
    let mac = Mac([5; 16]);
    let family = FamilyId([7; 16]);
    let rotated = Rotated {
        family,
        generation: Generation(42),
        kid: Some(Kid(3)),
        expires_at: UnixMs(1_000),
        idle_expires_at: UnixMs(900),
    };
    let token = Issued {
        family,
        generation: Generation(42),
        key: Some(MacKey { kid: Kid(3), mac }),
        expires_at: UnixMs(1_000),
        idle_expires_at: UnixMs(900),
    };
    let Answer::Rotate(first) =
        answered(Kind::Rotate, Ok(Done::Rotated(rotated.clone())), Some(&mac))
    else {
        panic!("a rotation is answered as one")
    };
    assert_eq!(first.outcome, Ok(RotateOutcome::Rotated(token)));

    let seal = Bytes::from_static(b"sealed");
    let successor = jeton_core::ids::SecretDigest([1; 16]);
    let whence = Whence::default();
    let replayed = Replayed { rotated: rotated.clone(), successor, seal: seal.clone(), whence };
    let replayed = Done::Replayed(replayed);
    let Answer::Rotate(again) = answered(Kind::Rotate, Ok(replayed), Some(&mac)) else {
        panic!("a rotation is answered as one")
    };
    assert_eq!(again.outcome, Ok(RotateOutcome::Replayed { token, seal }));
    assert!(!format!("{again:?}").contains("sealed"), "seals are never printed");

    // An opaque token has no mac, and must not be given one.
    let opaque = Rotated { kid: None, ..rotated };
    let adopted = Adopted { rotated: opaque.clone(), whence };
    let Answer::Rotate(lost) = answered(Kind::Rotate, Ok(Done::Adopted(adopted)), None) else {
        panic!("a rotation is answered as one")
    };
    assert_eq!(lost.outcome, Ok(RotateOutcome::Adopted(Issued { key: None, ..token })));
    let outcome = Ok(Done::Rotated(opaque));
    let reply = Reply { position: Position(99), at: UnixMs(1), outcome };
    assert!(reply::mutation(Kind::Rotate, reply, Some(&mac)).is_err());

    let superseded = Done::Superseded { head: Generation(50) };
    let Answer::Rotate(late) = answered(Kind::Rotate, Ok(superseded), None) else {
        panic!("a rotation is answered as one")
    };
    assert_eq!(late.outcome, Ok(RotateOutcome::Superseded { head: Generation(50) }));
}

#[test]
fn the_other_mutations_arrive() {
    let created = FamilyCreated {
        first: Rotated {
            family: FamilyId([9; 16]),
            generation: Generation(0),
            kid: Some(Kid(1)),
            expires_at: UnixMs(8),
            idle_expires_at: UnixMs(7),
        },
        evicted: vec![FamilyId([3; 16]), FamilyId([2; 16])],
        over_soft_quota: true,
    };
    let mac = Mac([6; 16]);
    let Answer::CreateFamily(a) =
        answered(Kind::CreateFamily, Ok(Done::FamilyCreated(created)), Some(&mac))
    else {
        panic!("a creation is answered as one")
    };
    let created = a.outcome.expect("created");
    assert_eq!(created.evicted, [FamilyId([3; 16]), FamilyId([2; 16])]);
    assert!(created.over_soft_quota);
    let token = created.token;
    let key = Some(MacKey { kid: Kid(1), mac });
    let family = FamilyId([9; 16]);
    assert_eq!((token.family, token.generation, token.key), (family, Generation(0), key));

    let done = |kind, done| answered(kind, Ok(done), None);
    let kept = Except { families: vec![FamilyId([7; 16])], sessions: vec![samples::session()] };
    let revoked = RevokedWhere { predicate: true, kept };
    assert!(matches!(done(Kind::Touch, Done::Touched), Answer::Touch(a) if a.outcome == Ok(())));
    assert!(matches!(
        done(Kind::UpdateFamily, Done::FamilyUpdated { version: 4 }),
        Answer::UpdateFamily(a) if a.outcome == Ok(4)
    ));
    assert!(matches!(
        done(Kind::RevokeWhere, Done::RevokedWhere(Box::new(revoked.clone()))),
        Answer::RevokeWhere(a) if a.outcome == Ok(Hit { revoked: revoked.clone(), matched: None })
    ));
    for (told, heard) in [
        (Done::Revoked { already: false }, Revocation::Revoked),
        (Done::Revoked { already: true }, Revocation::Already),
        (Done::NothingToRevoke, Revocation::Unknown),
    ] {
        assert!(matches!(
            done(Kind::RevokeToken, told.clone()),
            Answer::RevokeToken(a) if a.outcome == Ok(heard)
        ));
        assert!(matches!(
            done(Kind::RevokeFamily, told.clone()),
            Answer::RevokeFamily(a) if a.outcome == Ok(heard)
        ));
        assert!(matches!(
            done(Kind::RevokeAccessToken, told),
            Answer::RevokeAccessToken(a) if a.outcome == Ok(heard)
        ));
    }
}

#[test]
fn an_issued_token_without_its_mac_is_a_bug_not_a_token() {
    let rotated = Rotated {
        family: FamilyId([1; 16]),
        generation: Generation(1),
        kid: Some(Kid(0)),
        expires_at: UnixMs(1),
        idle_expires_at: UnixMs(1),
    };
    let outcome = Ok(Done::Rotated(rotated));
    let reply = Reply { position: Position(1), at: UnixMs(1), outcome };
    let failure = reply::mutation(Kind::Rotate, reply, None).expect_err("no mac");
    assert_eq!(failure.reason, "INTERNAL");
}

pub fn view(dead: Option<Refusal>) -> FamilyView {
    FamilyView {
        family: FamilyId([7; 16]),
        subject: samples::subject(),
        client: samples::client(),
        device: Some(samples::device()),
        session: Some(samples::session()),
        binding: samples::binding(),
        ip: Some("192.0.2.1".into()),
        opaque: true,
        attributes: vec![("a".into(), "1".into()), ("b".into(), "2".into())],
        payload: Bytes::from_static(b"payload"),
        version: 3,
        generation: Generation(4),
        created: Position(5),
        created_at: UnixMs(6),
        origin: Position(4),
        authenticated_at: Some(Position(4)),
        rotated_at: UnixMs(8),
        expires_at: UnixMs(9),
        idle_expires_at: UnixMs(10),
        grace: DurationMs(11),
        dead,
    }
}

#[test]
fn reads_arrive_with_their_mark() {
    let age = Some(DurationMs(15));
    for outcome in [Ok(view(None)), Ok(view(Some(revoked()))), Err(Refusal::NotFound)] {
        for kind in [Kind::Validate, Kind::GetFamily] {
            let response = reply::read(kind, Position(12), age, outcome.clone()).expect("told");
            let result = v1::OperationResult { tag: 1, response: Some(response) };
            let seen = match answer::operation(through_bytes(&result)).expect("well formed") {
                Answer::Validate(seen) | Answer::GetFamily(seen) => seen,
                other => panic!("not a read: {other:?}"),
            };
            assert_eq!(seen.position, Position(12));
            assert_eq!(seen.age, Some(Duration::from_millis(15)));
            assert_eq!(seen.outcome, outcome);
        }
    }
}

#[test]
fn access_arrives_with_its_basis() {
    let denied = |(basis, cause)| {
        Access::Denied(Denied { basis, cause, position: Position(40), at: UnixMs(4) })
    };
    let whys = [
        (Basis::Jti, RevocationCause::AccessToken),
        (Basis::Family, RevocationCause::Reuse),
        (Basis::Position, RevocationCause::Cutoff),
        (Basis::IssuedAt, RevocationCause::Cutoff),
        (Basis::Family, RevocationCause::Family),
        (Basis::Family, RevocationCause::Token),
        (Basis::Suspension, RevocationCause::Suspension),
        (Basis::Session, RevocationCause::Session),
    ];
    let answers: Vec<_> = whys.into_iter().map(denied).chain([Access::Active]).collect();
    for outcome in [Ok(answers), Err(Refusal::TenantUnknown)] {
        let response = reply::check_access(Position(12), None, outcome.clone()).expect("told");
        let result = v1::OperationResult { tag: 1, response: Some(response) };
        let Answer::CheckAccess(seen) = answer::operation(through_bytes(&result)).expect("well")
        else {
            panic!("access is answered as such")
        };
        assert_eq!((seen.position, seen.age, seen.outcome), (Position(12), None, outcome));
    }
}

#[test]
fn access_that_says_nothing_is_an_error_and_never_active() {
    for verdict in [None, Some(v1::access::Verdict::Active(false))] {
        let read = Some(v1::ReadMark::default());
        let answers = vec![v1::Access { verdict }];
        let response = v1::CheckAccessResponse { read, answers, refusal: None };
        assert!(answer::check_access(response).is_err());
    }
}

#[test]
fn a_failed_operation_arrives_as_the_failure_it_was() {
    let failure = Failure::from(jeton_wire::Violation::new("client", "is empty"));
    let response = v1::operation_result::Response::Failure(failure.clone().into());
    let result = v1::OperationResult { tag: 1, response: Some(response) };
    assert_eq!(answer::operation(through_bytes(&result)), Err(failure));
}

#[test]
fn tenants_arrive_and_settings_change_one_by_one() {
    let view = TenantView {
        tenant: samples::tenant(),
        settings: TenantSettings { shadow: true, rotation_burst: 3, ..TenantSettings::default() },
        version: 2,
        kid: Kid(5),
        compromised: vec![Kid(1), Kid(4)],
        created_at: UnixMs(123),
    };
    assert_eq!(admin::tenant_view(&through_bytes(&admin::tenant(&view))), Ok(view.clone()));

    let changes =
        jeton_wire::pb::admin_v1::TenantSettings { rotations_per_s: Some(0), ..Default::default() };
    let changed = admin::settings_change(&changes).expect("valid").over(&view.settings);
    assert_eq!(changed, TenantSettings { rotations_per_s: 0, ..view.settings });
}
