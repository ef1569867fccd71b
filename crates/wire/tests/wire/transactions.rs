//! Transactions on the wire: every operation and every comparison arrives as it was meant, answers
//! arrive in their place, and what is wrong is named with its way there.

use bytes::Bytes;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::limits;
use jeton_core::reply::{self, Done, Refusal, Reply, Rotated};
use jeton_wire::answer::{self, Answer, Answered};
use jeton_wire::decode::{self, Asked, Write};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::reply::Kind;
use jeton_wire::transact::{self, Ran, Transacted};
use jeton_wire::{Violation, encode};

use crate::{records, samples};

/// Every operation that can be part of a transaction, and the macs that they present.
fn parts() -> (Vec<Part>, Vec<Option<Mac>>) {
    let all = samples::all().into_iter().chain(records::all());
    let mut rotated = false;
    let all = all.filter_map(|asked| {
        let Asked::Write(write) = asked else { return None };
        let part = Part::try_from(write.command.operation).ok()?;
        // One for each family.
        let again = matches!(&part, Part::Rotate(_)) && std::mem::replace(&mut rotated, true);
        (!again).then_some((part, write.mac))
    });
    all.unzip()
}

fn comparisons() -> Vec<Comparison> {
    let (kind, key) = (RecordKind::new("code").expect("a good name"), KeyDigest([1; 16]));
    vec![
        Comparison::RecordVersion { kind: kind.clone(), key, version: 7 },
        Comparison::RecordExists { kind: kind.clone(), key },
        Comparison::RecordAbsent { kind, key },
        Comparison::FamilyAlive { family: FamilyId([7; 16]) },
        Comparison::LockHeld { lock: LockName::new("l").expect("a good name"), fence: Fence(9) },
    ]
}

pub fn all() -> Asked {
    let (then, part_macs) = parts();
    let otherwise = vec![then[0].clone()];
    let part_macs = part_macs.iter().chain(&part_macs[..1]).copied().collect();
    let wish = Transact { compare: comparisons(), then, otherwise };
    let request = RequestName { id: RequestId([1; 16]), age: DurationMs(250) };
    let operation = Operation::Transact(Box::new(wish));
    let command = Command { tenant: Some(samples::tenant()), request: Some(request), operation };
    Asked::Write(Write { command, mac: None, part_macs })
}

fn request() -> v1::TransactRequest {
    match encode::operation(&all()) {
        Some(Request::Transact(request)) => request,
        other => panic!("clients can send it: {other:?}"),
    }
}

fn judged(request: v1::TransactRequest) -> Result<Asked, Violation> {
    decode::operation(Some(Request::Transact(request)))
}

#[test]
fn every_part_arrives_as_it_was_meant() {
    let names: std::collections::BTreeSet<_> = parts().0.iter().map(Part::name).collect();
    assert_eq!(names.len(), 13, "{names:?}");
    assert_eq!(judged(request()).expect("valid"), all());
}

#[test]
fn only_native_tokens_are_shown_before_they_are_proposed() {
    let Asked::Write(write) = all() else { panic!("a mutation") };
    let shown: Vec<_> = write.presented().collect();
    assert_eq!(shown.len(), 3, "a rotation, a touch, and the rotation of the other branch");
    assert!(shown.iter().all(|(token, mac)| {
        matches!(token, Presented::Native(_)) && **mac.as_ref().expect("a mac") == Mac([13; 16])
    }));
}

#[test]
fn what_is_wrong_is_named_with_its_way_there() {
    use v1::transact_operation::Operation as Op;
    let told = |spoil: fn(&mut v1::TransactRequest)| {
        let mut request = request();
        spoil(&mut request);
        judged(request).expect_err("it was spoilt").field
    };
    fn first(r: &mut v1::TransactRequest, change: fn(&mut v1::RotateRequest)) {
        match &mut r.then[0].operation {
            Some(Op::Rotate(rotate)) => change(rotate),
            other => panic!("the first one is a rotation: {other:?}"),
        }
    }
    fn compare(r: &mut v1::TransactRequest, at: usize, holds: v1::comparison::Holds) {
        r.compare[at].holds = Some(holds);
    }
    use v1::comparison::Holds;
    assert_eq!(told(|r| r.tenant.clear()), "tenant");
    assert_eq!(told(|r| r.request = None), "request");
    assert_eq!(told(|r| r.then[1].operation = None), "then[1].operation");
    assert_eq!(told(|r| r.otherwise[0].operation = None), "otherwise[0].operation");
    assert_eq!(told(|r| r.compare[2].holds = None), "compare[2].holds");
    assert_eq!(told(|r| first(r, |it| it.tenant = "acme".into())), "then[0].rotate.tenant");
    assert_eq!(
        told(|r| first(r, |it| it.request = Some(v1::RequestName::default()))),
        "then[0].rotate.request"
    );
    assert_eq!(
        told(|r| first(r, |it| it.token.as_mut().expect("one").mac.clear())),
        "then[0].rotate.token.mac"
    );
    assert_eq!(
        told(|r| compare(r, 0, Holds::RecordVersion(v1::RecordAtVersion::default()))),
        "compare[0].record_version.kind"
    );
    assert_eq!(
        told(|r| compare(r, 1, Holds::FamilyAlive(Bytes::from_static(b"short")))),
        "compare[1].family_alive"
    );
    assert_eq!(
        told(|r| compare(r, 4, Holds::LockHeld(v1::HeldLock::default()))),
        "compare[4].lock_held.lock"
    );
    assert_eq!(told(|r| r.then.insert(1, r.then[0].clone())), "then[1].rotate.token");
}

#[test]
fn a_transaction_at_its_limits_is_taken_and_one_beyond_them_is_not() {
    let (most, compared) =
        (limits::TRANSACTION_OPERATIONS_MAX, limits::TRANSACTION_COMPARISONS_MAX);
    let touch = request()
        .then
        .into_iter()
        .find(|it| matches!(it.operation, Some(v1::transact_operation::Operation::Touch(_))));
    let touch = touch.expect("there is one");
    let mut request = request();
    request.compare = vec![request.compare[0].clone(); compared];
    request.then = vec![touch.clone(); most];
    request.otherwise = vec![touch.clone(); most];
    judged(request.clone()).expect("as much as there may be");
    let beyond = |change: &dyn Fn(&mut v1::TransactRequest)| {
        let mut request = request.clone();
        change(&mut request);
        let violation = judged(request).expect_err("one too many");
        assert!(violation.description.contains("33 entries: the limit is 32"), "{violation}");
        violation.field
    };
    assert_eq!(beyond(&|r| r.compare.push(r.compare[0].clone())), "compare");
    assert_eq!(beyond(&|r| r.then.push(touch.clone())), "then");
    assert_eq!(beyond(&|r| r.otherwise.push(touch.clone())), "otherwise");
    let empty = v1::TransactRequest { then: Vec::new(), otherwise: Vec::new(), ..request };
    assert_eq!(judged(empty).expect_err("nothing to do").field, "then");
}

fn reply(position: u64, outcome: Result<Done, Refusal>) -> Reply {
    Reply { position: Position(position), at: UnixMs(1), outcome }
}

fn arrived(done: reply::Transacted, kinds: &[Kind], macs: &[Option<Mac>]) -> Answered<Transacted> {
    let response = transact::performed(Position(99), done, kinds, macs).expect("a response");
    let result = v1::OperationResult { tag: 1, response: Some(response) };
    match answer::operation(result).expect("well formed") {
        Answer::Transact(answered) => answered,
        other => panic!("another answer: {other:?}"),
    }
}

#[test]
fn answers_arrive_in_their_place_with_their_macs() {
    let rotated = Rotated {
        family: FamilyId([7; 16]),
        generation: Generation(3),
        kid: Some(Kid(2)),
        expires_at: UnixMs(9),
        idle_expires_at: UnixMs(8),
    };
    let done = reply::Transacted {
        unmet: Some(4),
        ran: reply::Ran::Through(vec![
            reply(99, Ok(Done::RecordPut { version: 5 })),
            reply(77, Ok(Done::Rotated(rotated))),
        ]),
    };
    let kinds = [Kind::PutRecord, Kind::Rotate];
    let Answered { position, outcome } = arrived(done, &kinds, &[None, Some(Mac([5; 16]))]);
    assert_eq!(position, Position(99));
    let done = outcome.expect("done");
    assert_eq!(done.unmet, Some(4));
    let Ran::Through(answers) = done.ran else { panic!("all of it was done") };
    assert!(matches!(&answers[0], Answer::PutRecord(put) if put.outcome == Ok(5)));
    let Answer::Rotate(Answered { position, outcome }) = &answers[1] else {
        panic!("not a rotation")
    };
    assert_eq!(*position, Position(77), "a replay keeps its own");
    let Ok(answer::RotateOutcome::Rotated(token)) = outcome else { panic!("not rotated") };
    assert_eq!(token.key.expect("native").mac, Mac([5; 16]));
}

#[test]
fn what_stopped_it_arrives_with_its_place() {
    let stopped = |answer| reply::Transacted {
        unmet: None,
        ran: reply::Ran::Stopped { operation: 1, answer: Box::new(answer) },
    };
    let kinds = [Kind::PutRecord, Kind::Rotate];
    for outcome in [Err(Refusal::ClientMismatch), Ok(Done::Superseded { head: Generation(4) })] {
        let done = arrived(stopped(reply(99, outcome.clone())), &kinds, &[]).outcome;
        let Ran::Stopped { operation, answer } = done.expect("it was judged").ran else {
            panic!("it was stopped")
        };
        assert_eq!(operation, 1);
        let Answer::Rotate(rotate) = *answer else { panic!("not a rotation") };
        let expected = match outcome {
            Err(refusal) => Err(refusal),
            Ok(_) => Ok(answer::RotateOutcome::Superseded { head: Generation(4) }),
        };
        assert_eq!(rotate.outcome, expected);
    }
}

#[test]
fn a_refusal_of_the_whole_arrives() {
    let reply = reply(99, Err(Refusal::NameReused));
    let response = jeton_wire::reply::mutation(Kind::Transact, reply, None).expect("a response");
    let result = v1::OperationResult { tag: 1, response: Some(response) };
    let Ok(Answer::Transact(answered)) = answer::operation(result) else { panic!("an answer") };
    assert_eq!(answered.outcome, Err(Refusal::NameReused));
}

#[test]
fn debugging_shows_no_key_of_a_record() {
    let mut request = request();
    request.compare[0] = v1::Comparison {
        holds: Some(v1::comparison::Holds::RecordExists(v1::RecordKey {
            kind: "code".into(),
            key: Bytes::from_static(b"0123456789abcdef"),
        })),
    };
    let shown = format!("{request:?}");
    assert!(shown.contains("code") && !shown.contains("0123456789"), "{shown}");
}
