//! Locks: what arrives, and every bound with one beyond it.

use std::time::Duration;

use bytes::Bytes;
use jeton_core::command::{
    Acquire, Command, LeaseName, Operation, Publish, Release, Renew, RequestName, Withdraw,
};
use jeton_core::ids::{DurationMs, Fence, HolderId, LockName, Position, RequestId, UnixMs};
use jeton_core::limits;
use jeton_core::reply::{Done, Flight, Granted, HeldView, LockView, Refusal, Reply};
use jeton_wire::answer::{self, Answer, Answered};
use jeton_wire::check::Violation;
use jeton_wire::decode::{self, Asked, Consistency, Query, Read, Write};
use jeton_wire::lock::{self, FlightAsked};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::reply::{self, Kind};
use jeton_wire::{codec, encode};
use prost::Message;

use crate::samples;

fn lock_name() -> LockName {
    LockName::new("refresh/upstream").expect("a good id")
}

fn holder() -> HolderId {
    HolderId::new("host-1/17").expect("a good id")
}

fn lease(fence: u64) -> LeaseName {
    LeaseName { lock: lock_name(), holder: holder(), fence: Fence(fence) }
}

fn write(operation: Operation) -> Asked {
    let request = RequestName { id: RequestId([1; 16]), age: DurationMs(250) };
    let command = Command { tenant: Some(samples::tenant()), request: Some(request), operation };
    Asked::Write(Write { command, mac: None, part_macs: Vec::new() })
}

fn read(query: Query) -> Asked {
    Asked::Read(Read { tenant: samples::tenant(), query, consistency: Consistency::Linearizable })
}

/// One of each.
pub fn all() -> Vec<Asked> {
    let (lock, holder) = (lock_name(), holder());
    let acquire = Acquire { lock, holder, ttl: DurationMs(15_000), wait: DurationMs(60_000) };
    let withdraw = Withdraw { lock: lock_name(), acquire: RequestId([2; 16]), asked: None };
    let publish = Publish {
        lease: lease(3),
        sealed: Bytes::from_static(b"sealed"),
        ttl: DurationMs(30_000),
        release: true,
    };
    let flight = FlightAsked { lock: lock_name(), after: Fence(9), wait: DurationMs(5_000) };
    vec![
        write(Operation::Acquire(acquire)),
        write(Operation::Renew(Renew { leases: vec![lease(1), lease(2)] })),
        write(Operation::Release(Release { lease: lease(1) })),
        write(Operation::Withdraw(withdraw)),
        write(Operation::Publish(publish)),
        read(Query::Flight(flight)),
        read(Query::Lock(lock_name())),
    ]
}

/// Of which field a good request is refused, once it is spoilt.
macro_rules! blamed {
    ($kind:ident, $spoil:expr) => {{
        let all = all().into_iter().filter_map(|asked| encode::operation(&asked));
        let mut kinds = all.filter_map(|request| match request {
            Request::$kind(request) => Some(request),
            _ => None,
        });
        let mut request = kinds.next().expect("a sample of this kind");
        samples::spoil(&mut request, $spoil);
        decode::operation(Some(Request::$kind(request))).map_err(|Violation { field, .. }| field)
    }};
}

fn refused(field: &str) -> Result<Asked, String> {
    Err(field.to_owned())
}

#[test]
fn what_is_wrong_with_a_request_is_named() {
    let long = || "x".repeat(257);
    assert_eq!(blamed!(Acquire, |r| r.tenant.clear()), refused("tenant"));
    assert_eq!(blamed!(Acquire, |r| r.request = None), refused("request"));
    assert_eq!(blamed!(Acquire, |r| r.lock.clear()), refused("lock"));
    assert_eq!(blamed!(Acquire, |r| r.lock = long()), refused("lock"));
    assert_eq!(blamed!(Acquire, |r| r.holder = "a\n".into()), refused("holder"));
    assert_eq!(blamed!(Renew, |r| r.leases.clear()), refused("leases"));
    assert_eq!(blamed!(Renew, |r| r.leases[1].lock = long()), refused("leases[1].lock"));
    assert_eq!(blamed!(Renew, |r| r.leases[0].holder.clear()), refused("leases[0].holder"));
    assert_eq!(blamed!(Release, |r| r.lease = None), refused("lease"));
    assert_eq!(blamed!(Withdraw, |r| r.acquire_id = vec![1; 15].into()), refused("acquire_id"));
    assert_eq!(blamed!(Withdraw, |r| r.lock.clear()), refused("lock"));
    assert_eq!(blamed!(Publish, |r| r.lease = None), refused("lease"));
    assert_eq!(blamed!(Await, |r| r.lock = long()), refused("lock"));
    assert_eq!(blamed!(GetLock, |r| r.tenant = long()), refused("tenant"));
}

#[test]
fn each_bound_is_the_last_that_is_taken() {
    let (ttl_min, ttl_max) = (limits::LEASE_TTL_MIN.0, limits::LEASE_TTL_MAX.0);
    assert!(blamed!(Acquire, |r| r.ttl_ms = ttl_min).is_ok());
    assert_eq!(blamed!(Acquire, |r| r.ttl_ms = ttl_min - 1), refused("ttl_ms"));
    assert!(blamed!(Acquire, |r| r.ttl_ms = ttl_max).is_ok());
    assert_eq!(blamed!(Acquire, |r| r.ttl_ms = ttl_max + 1), refused("ttl_ms"));
    let wait = limits::LOCK_WAIT_MAX.0;
    assert!(blamed!(Acquire, |r| r.wait_ms = wait).is_ok());
    assert_eq!(blamed!(Acquire, |r| r.wait_ms = wait + 1), refused("wait_ms"));
    assert!(blamed!(Await, |r| r.wait_ms = wait).is_ok());
    assert_eq!(blamed!(Await, |r| r.wait_ms = u64::MAX), refused("wait_ms"));
    let many = |count: usize| {
        move |r: &mut v1::RenewRequest| {
            let lease = r.leases[0].clone();
            r.leases = vec![lease; count];
        }
    };
    assert!(blamed!(Renew, many(limits::RENEW_LEASES_MAX)).is_ok());
    assert_eq!(blamed!(Renew, many(limits::RENEW_LEASES_MAX + 1)), refused("leases"));
    let sealed = |len: usize| {
        move |r: &mut v1::PublishRequest| {
            r.sealed_result = vec![0; len].into();
        }
    };
    assert!(blamed!(Publish, sealed(limits::RESULT_BYTES_MAX)).is_ok());
    assert_eq!(blamed!(Publish, sealed(limits::RESULT_BYTES_MAX + 1)), refused("sealed_result"));
    let result_ttl = limits::RESULT_TTL_MAX.0;
    assert!(blamed!(Publish, |r| r.ttl_ms = result_ttl).is_ok());
    assert_eq!(blamed!(Publish, |r| r.ttl_ms = result_ttl + 1), refused("ttl_ms"));
    assert_eq!(blamed!(Publish, |r| r.ttl_ms = 0), refused("ttl_ms"));
}

fn through_bytes(response: v1::operation_result::Response) -> Answer {
    let result = v1::OperationResult { tag: 1, response: Some(response) };
    let bytes = Bytes::from(result.encode_to_vec());
    let result = codec::decode_message(bytes).expect("own bytes decode");
    answer::operation(result).expect("well formed")
}

fn answered(kind: Kind, outcome: Result<Done, Refusal>) -> Answer {
    let reply = Reply { position: Position(99), at: UnixMs(1), outcome };
    through_bytes(reply::mutation(kind, reply, None).expect("a response"))
}

#[test]
fn what_was_done_arrives() {
    let granted = Granted { fence: Fence(1 << 60), ttl: DurationMs(15_000), waited: true };
    let position = Position(99);
    let want = Answer::Acquire(Answered { position, outcome: Ok(granted) });
    assert_eq!(answered(Kind::Acquire, Ok(Done::Granted(granted))), want);
    let want = Answer::Renew(Answered { position, outcome: Ok(vec![0, 2]) });
    assert_eq!(answered(Kind::Renew, Ok(Done::Renewed { lost: vec![0, 2] })), want);
    let nothing = || Answered { position, outcome: Ok(()) };
    let released = answered(Kind::Release, Ok(Done::Released));
    assert_eq!(released, Answer::Release(nothing()));
    let withdrawn = answered(Kind::Withdraw, Ok(Done::Withdrawn));
    assert_eq!(withdrawn, Answer::Withdraw(nothing()));
    let published = answered(Kind::Publish, Ok(Done::Published));
    assert_eq!(published, Answer::Publish(nothing()));
}

#[test]
fn every_no_arrives_on_every_operation() {
    let held = Refusal::Held { holder: holder(), remaining: DurationMs(7) };
    let limit = Refusal::LimitReached { limit: "LOCK_WAITERS_MAX".into(), max: 10_000 };
    for refusal in [held, Refusal::Lost, limit, Refusal::TenantUnknown, Refusal::StaleRequest] {
        let no = || Err(refusal.clone());
        for kind in [Kind::Acquire, Kind::Renew, Kind::Release, Kind::Withdraw, Kind::Publish] {
            let arrived = match answered(kind, no()) {
                Answer::Acquire(a) => a.outcome.err(),
                Answer::Renew(a) => a.outcome.err(),
                Answer::Release(a) | Answer::Withdraw(a) | Answer::Publish(a) => a.outcome.err(),
                other => panic!("{kind:?} is answered by {other:?}"),
            };
            assert_eq!(arrived, Some(refusal.clone()), "{kind:?}");
        }
    }
}

#[test]
fn a_place_in_the_queue_is_no_answer() {
    let outcome = Ok(Done::Queued { asked: Position(3) });
    let reply = Reply { position: Position(3), at: UnixMs(1), outcome };
    let failure = reply::mutation(Kind::Acquire, reply, None).expect_err("it waits");
    assert_eq!(failure.reason, "INTERNAL");
}

#[test]
fn what_was_read_arrives_and_a_result_is_never_printed() {
    let held = HeldView {
        holder: holder(),
        fence: Fence(4),
        ttl: DurationMs(15_000),
        remaining: DurationMs(900),
    };
    let landed = Flight::Landed { fence: Fence(5), sealed: Bytes::from_static(b"the result") };
    let outcomes =
        [Ok(landed), Ok(Flight::Flying(held.clone())), Ok(Flight::Grounded), Err(Refusal::Lost)];
    let age = Some(DurationMs(15));
    for outcome in outcomes {
        let response = lock::flight_response(Position(12), age, outcome.clone()).expect("told");
        assert!(!format!("{response:?}").contains("the result"));
        let Answer::Await(seen) = through_bytes(response) else { panic!("another answer") };
        assert_eq!((seen.position, seen.age), (Position(12), Some(Duration::from_millis(15))));
        assert!(!format!("{seen:?}").contains("the result"));
        assert_eq!(seen.outcome, outcome);
    }
    for held in [None, Some(held)] {
        let outcome = Ok(LockView { held, waiters: 3 });
        let response = lock::lock_response(Position(12), None, outcome.clone()).expect("told");
        let Answer::GetLock(seen) = through_bytes(response) else { panic!("another answer") };
        assert_eq!(seen.outcome, outcome);
    }
}
