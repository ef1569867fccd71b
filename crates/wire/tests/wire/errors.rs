//! Failures keep their details on the way, and refusals become the errors that the table says.

use std::time::Duration;

use bytes::Bytes;
use jeton_core::ids::DurationMs;
use jeton_core::reply::Refusal;
use jeton_wire::failure::{LEADER, reason};
use jeton_wire::pb::v1;
use jeton_wire::{Failure, Violation, codec, refusal};
use tonic::{Code, Status};

fn rich() -> Failure {
    let mut failure = Failure::new(Code::Unavailable, reason::NOT_PROPOSED, "no leader: wait")
        .not_executed()
        .retry_after(Duration::from_millis(150))
        .leader(Some("10.0.0.2:7401".to_owned()));
    failure.violations.push(Violation::new("token.mac", "has 3 bytes"));
    failure
}

#[test]
fn a_failure_survives_the_status_and_the_pipeline() {
    let failure = rich();
    assert_eq!(Failure::from(Status::from(failure.clone())), failure);
    assert_eq!(Failure::from(v1::Failure::from(failure.clone())), failure);
    assert_eq!(failure.metadata[LEADER], "10.0.0.2:7401");
}

#[test]
fn plain_failures_survive_too() {
    let failure = Failure::new(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, "late");
    let arrived = Failure::from(Status::from(failure.clone()));
    assert_eq!(arrived, failure);
    assert!(!arrived.not_executed);
}

#[test]
fn a_status_of_somebody_else_claims_nothing() {
    let transport = Failure::from(Status::unavailable("connection reset"));
    assert_eq!((transport.code, &*transport.reason), (Code::Unavailable, "TRANSPORT"));
    assert!(!transport.not_executed, "whether it was executed is unknown");

    let garbage = Status::with_details(Code::Aborted, "odd", Bytes::from_static(b"\xff\xff\xff"));
    assert_eq!(&*Failure::from(garbage).reason, "TRANSPORT");
}

#[test]
fn long_messages_are_cut_in_the_header_and_whole_in_the_details() {
    let words = "é".repeat(2_000);
    let status = Status::from(Failure::new(Code::Internal, reason::INTERNAL, words.clone()));
    assert!(status.message().len() <= 1_024);
    assert_eq!(Failure::from(status).message, words);
}

#[test]
fn retries_are_never_told_to_come_early() {
    let failure = Failure::new(Code::Unavailable, reason::NOT_PROPOSED, "wait")
        .retry_after(Duration::from_micros(1_500));
    assert_eq!(v1::Failure::from(failure).retry_after_ms, Some(2));
}

#[test]
fn rate_limits_and_bad_values_are_errors_and_the_rest_is_data() {
    let limited = Refusal::RateLimited { retry_after: DurationMs(750) };
    let failure = refusal::encode(limited).expect_err("an error");
    assert_eq!((failure.code, failure.not_executed), (Code::ResourceExhausted, true));
    assert_eq!(failure.retry_after, Some(Duration::from_millis(750)));

    let crowded = Refusal::SweepsPending { retry_after: DurationMs(250) };
    let failure = refusal::encode(crowded).expect_err("an error");
    assert_eq!((failure.code, &*failure.reason), (Code::ResourceExhausted, "SWEEPS_PENDING"));
    assert_eq!(
        (failure.not_executed, failure.retry_after),
        (true, Some(Duration::from_millis(250)))
    );

    let field = "grace_ms".into();
    let invalid = Refusal::Invalid { field, problem: "is above the tenant's".into() };
    let failure = refusal::encode(invalid).expect_err("an error");
    assert_eq!((failure.code, failure.not_executed), (Code::InvalidArgument, true));
    assert_eq!(failure.violations, [Violation::new("grace_ms", "is above the tenant's")]);

    assert!(refusal::encode(Refusal::NotFound).is_ok());
}

#[test]
fn admin_calls_answer_refusals_as_the_table_says() {
    let table = [
        (Refusal::TenantUnknown, Code::NotFound, reason::NOT_FOUND),
        (Refusal::NotFound, Code::NotFound, reason::NOT_FOUND),
        (Refusal::AlreadyExists, Code::AlreadyExists, reason::ALREADY_EXISTS),
        (Refusal::VersionMismatch { version: 3 }, Code::Aborted, reason::VERSION_MISMATCH),
        (Refusal::StaleRequest, Code::FailedPrecondition, reason::STALE_REQUEST),
        (Refusal::NameReused, Code::FailedPrecondition, reason::NAME_REUSED),
        (
            Refusal::LimitReached { limit: "TENANTS_MAX".into(), max: 4_096 },
            Code::FailedPrecondition,
            reason::LIMIT_REACHED,
        ),
        (Refusal::ClientMismatch, Code::FailedPrecondition, reason::REFUSED),
    ];
    for (refused, code, reason) in table {
        let failure = refusal::failure(refused.clone());
        assert_eq!((failure.code, &*failure.reason), (code, reason), "{refused:?}");
        assert!(failure.not_executed && !failure.message.is_empty(), "{refused:?}");
    }
}

#[test]
fn text_that_is_not_utf8_is_the_callers_fault_and_named() {
    // Field 1 (tenant), 2 bytes, not UTF-8.
    let bytes = Bytes::from_static(b"\x0a\x02\xff\xfe");
    let failure = codec::decode_message::<v1::RotateRequest>(bytes).expect_err("not UTF-8");
    assert_eq!(failure.code, Code::InvalidArgument);
    assert_eq!(failure.reason, reason::UNDECODABLE_MESSAGE);
    assert!(failure.not_executed);
    assert!(failure.message.contains("RotateRequest.tenant"), "{failure}");
    assert!(failure.message.contains("UTF-8"), "{failure}");
}

#[test]
fn an_undecodable_answer_is_not_blamed_on_the_caller() {
    let failure = codec::decode_message::<v1::RotateResponse>(Bytes::from_static(b"\xff"))
        .expect_err("garbage");
    assert_eq!((failure.code, failure.not_executed), (Code::Internal, false));
}

#[test]
fn messages_with_secrets_print_without_them() {
    let planted = || Bytes::from_static(b"planted-secret!!");
    let token = v1::PresentedToken {
        opaque_digest: planted(),
        kid: 1,
        family_id: Bytes::from_static(&[7; 16]),
        generation: 2,
        secret_digest: planted(),
        mac: planted(),
    };
    let successor = v1::Successor { secret_digest: planted(), seal: planted() };
    let request = v1::RotateRequest {
        token: Some(token),
        successor: Some(successor),
        ..v1::RotateRequest::default()
    };
    let create = v1::CreateFamilyRequest {
        payload: planted(),
        secret_digest: planted(),
        ..v1::CreateFamilyRequest::default()
    };
    let family = v1::Family { payload: planted(), ..v1::Family::default() };
    let printed = format!("{request:?} {create:?} {family:?}");
    assert!(printed.contains("generation: 2"));
    assert!(!printed.contains("planted"), "{printed}");
}
