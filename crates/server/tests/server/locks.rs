//! Calls that wait: for a lock, or for a result.

use std::time::Duration;

use jeton_wire::Failure;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::acquire_response::Outcome as Acquired;
use jeton_wire::pb::v1::await_response::Outcome as Awaited;
use jeton_wire::pb::v1::lock_service_client::LockServiceClient;
use jeton_wire::pb::v1::operation::Request as Ask;
use jeton_wire::pb::v1::operation_result::Response as Answer;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::pipelines::{Pipeline, create, operation};
use crate::rig::{PATIENCE, Rig, TENANT, id, name, soon};

const HOUR_MS: u64 = 60 * 60 * 1_000;

fn locks(rig: &Rig) -> LockServiceClient<Channel> {
    LockServiceClient::new(rig.channel.clone())
}

fn asking(number: u8, wait_ms: u64) -> v1::AcquireRequest {
    v1::AcquireRequest {
        tenant: TENANT.into(),
        request: name(number),
        lock: "l".into(),
        holder: format!("holder {number}"),
        ttl_ms: HOUR_MS,
        wait_ms,
    }
}

async fn acquire(rig: &Rig, number: u8, wait_ms: u64) -> Result<v1::AcquireResponse, Status> {
    locks(rig).acquire(soon(asking(number, wait_ms))).await.map(tonic::Response::into_inner)
}

fn granted(response: v1::AcquireResponse) -> v1::LockGrant {
    match response.outcome {
        Some(Acquired::Granted(granted)) => granted,
        other => panic!("not granted: {other:?}"),
    }
}

/// Asks, and waits until its place is in the queue.
async fn waits(
    rig: &Rig,
    number: u8,
    waiters: u32,
) -> JoinHandle<Result<v1::AcquireResponse, Status>> {
    let mut locks = locks(rig);
    let asked = soon(asking(number, 15_000));
    let waiting =
        tokio::spawn(async move { locks.acquire(asked).await.map(tonic::Response::into_inner) });
    queue(rig, waiters).await;
    waiting
}

/// Waits until so many wait.
async fn queue(rig: &Rig, waiters: u32) {
    let until = Instant::now() + PATIENCE;
    while look(rig).await.waiters != waiters {
        assert!(Instant::now() < until, "there were never {waiters} who wait");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn look(rig: &Rig) -> v1::Lock {
    let request = v1::GetLockRequest { tenant: TENANT.into(), lock: "l".into(), consistency: None };
    let seen = locks(rig).get_lock(soon(request)).await.expect("an answer").into_inner();
    match seen.outcome {
        Some(v1::get_lock_response::Outcome::Lock(lock)) => lock,
        other => panic!("no lock: {other:?}"),
    }
}

fn lease(holder: u8, fence: u64) -> Option<v1::LeaseName> {
    Some(v1::LeaseName { lock: "l".into(), holder: format!("holder {holder}"), fence })
}

async fn release(rig: &Rig, number: u8, holder: u8, fence: u64) -> Option<v1::Refusal> {
    let lease = lease(holder, fence);
    let request = v1::ReleaseRequest { tenant: TENANT.into(), request: name(number), lease };
    locks(rig).release(soon(request)).await.expect("an answer").into_inner().refusal
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_answered_when_the_lock_is_its_own() {
    let rig = Rig::start().await;
    let first = granted(acquire(&rig, 1, 0).await.expect("an answer"));
    assert!(!first.waited);
    let second = waits(&rig, 2, 1).await;
    let third = waits(&rig, 3, 2).await;
    assert_eq!(release(&rig, 10, 1, first.fence).await, None);
    let second = granted(second.await.expect("no panic").expect("an answer"));
    assert!(second.waited && second.fence > first.fence, "{second:?}");
    assert!(!third.is_finished(), "one at a time");
    let late = release(&rig, 11, 1, first.fence).await.expect("it is not the first's any more");
    assert_eq!(late.code(), v1::refusal::Code::Lost);
    assert_eq!(release(&rig, 12, 2, second.fence).await, None);
    let third = granted(third.await.expect("no panic").expect("an answer"));
    assert!(third.fence > second.fence);
    // The same request is answered the same, and the queue is empty.
    let again = granted(acquire(&rig, 3, 15_000).await.expect("an answer"));
    assert_eq!(again, third);
    assert_eq!(look(&rig).await.waiters, 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_one_who_holds_the_lock() {
    let rig = Rig::start().await;
    granted(acquire(&rig, 1, 0).await.expect("an answer"));
    for (number, wait_ms) in [(2, 0), (3, 150)] {
        let began = Instant::now();
        let response = acquire(&rig, number, wait_ms).await.expect("an answer");
        let Some(Acquired::Refusal(refusal)) = response.outcome else { panic!("{response:?}") };
        assert_eq!(refusal.code(), v1::refusal::Code::Held);
        let held = refusal.held.expect("who holds it");
        assert_eq!(held.holder, "holder 1");
        assert!(held.remaining_ms > HOUR_MS / 2);
        assert!(began.elapsed() >= Duration::from_millis(wait_ms), "it did not wait");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_has_gone_is_skipped_and_one_that_came_back_keeps_its_place() {
    let rig = Rig::start().await;
    let first = granted(acquire(&rig, 1, 0).await.expect("an answer"));
    let gone = waits(&rig, 2, 1).await;
    let back = waits(&rig, 3, 2).await;
    let last = waits(&rig, 4, 3).await;
    gone.abort();
    back.abort();
    // It asks again at once, under its name.
    let mut locks = locks(&rig);
    let back = tokio::spawn(async move { locks.acquire(soon(asking(3, 15_000))).await });
    // The place of the one that has gone is taken back after a moment.
    queue(&rig, 2).await;
    assert_eq!(release(&rig, 10, 1, first.fence).await, None);
    let back = granted(back.await.expect("no panic").expect("an answer").into_inner());
    assert!(!last.is_finished());
    assert_eq!(release(&rig, 11, 3, back.fence).await, None);
    granted(last.await.expect("no panic").expect("an answer"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_a_caller_that_has_gone_is_the_next_ones() {
    let rig = Rig::start().await;
    let first = granted(acquire(&rig, 1, 0).await.expect("an answer"));
    let gone = waits(&rig, 2, 1).await;
    let next = waits(&rig, 3, 2).await;
    gone.abort();
    assert_eq!(release(&rig, 10, 1, first.fence).await, None);
    // The lease is an hour long: it is not by its end that the next one gets it.
    let next = granted(next.await.expect("no panic").expect("an answer"));
    assert!(next.fence > first.fence);
    assert_eq!(look(&rig).await.held.expect("it is held").holder, "holder 3");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_holds_up_nothing_else_on_its_stream() {
    let rig = Rig::start().await;
    let first = granted(acquire(&rig, 1, 0).await.expect("an answer"));
    let mut pipeline = Pipeline::open(&rig).await;
    pipeline.send(vec![operation(7, Ask::Acquire(asking(2, 15_000))), create(8)]).await;
    let answers = pipeline.answers(1).await;
    assert!(matches!(answers[&8], Answer::CreateFamily(_)), "{answers:?}");
    queue(&rig, 1).await;
    let released = v1::ReleaseRequest {
        tenant: TENANT.into(),
        request: name(9),
        lease: lease(1, first.fence),
    };
    pipeline.send(vec![operation(9, Ask::Release(released))]).await;
    let mut answers = pipeline.answers(2).await;
    let Some(Answer::Acquire(response)) = answers.remove(&7) else { panic!("{answers:?}") };
    granted(response);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_are_sent_elsewhere_by_a_server_that_stops() {
    let mut rig = Rig::start().await;
    granted(acquire(&rig, 1, 0).await.expect("an answer"));
    let waiting = waits(&rig, 2, 1).await;
    rig.tell_to_stop();
    let status = waiting.await.expect("no panic").expect_err("nobody waits here any more");
    let failure = Failure::from(status);
    assert_eq!((failure.code, &*failure.reason), (Code::Unavailable, "SHUTTING_DOWN"));
    rig.stop().await;
}

fn awaiting(after_fence: u64, wait_ms: u64) -> v1::AwaitRequest {
    let (tenant, lock) = (TENANT.into(), "l".into());
    v1::AwaitRequest { tenant, lock, after_fence, wait_ms, consistency: None }
}

async fn wait_for_result(rig: &Rig, after: u64, wait_ms: u64) -> Awaited {
    let answer = locks(rig).r#await(soon(awaiting(after, wait_ms))).await;
    answer.expect("an answer").into_inner().outcome.expect("an outcome")
}

async fn publish(rig: &Rig, number: u8, fence: u64, release: bool) -> Option<v1::Refusal> {
    let request = v1::PublishRequest {
        tenant: TENANT.into(),
        request: name(number),
        lease: lease(1, fence),
        sealed_result: id(number),
        ttl_ms: HOUR_MS,
        release,
    };
    locks(rig).publish(soon(request)).await.expect("an answer").into_inner().refusal
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_reaches_all_who_wait_for_it() {
    let rig = Rig::start().await;
    assert_eq!(wait_for_result(&rig, 0, 15_000).await, Awaited::Grounded(true));
    let first = granted(acquire(&rig, 1, 0).await.expect("an answer"));
    let flying = wait_for_result(&rig, 0, 100).await;
    assert!(matches!(&flying, Awaited::Flying(held) if held.fence == first.fence), "{flying:?}");

    let mut pipeline = Pipeline::open(&rig).await;
    let all = (1..=100).map(|tag| operation(tag, Ask::Await(awaiting(0, 15_000))));
    // Something that is answered behind them tells that they are waiting.
    pipeline.send(all.chain([create(200)]).collect()).await;
    pipeline.answers(1).await;
    assert_eq!(publish(&rig, 9, first.fence, true).await, None);
    for (tag, answer) in pipeline.answers(100).await {
        let Answer::Await(response) = answer else { panic!("{tag}: {answer:?}") };
        let Some(Awaited::Landed(result)) = response.outcome else { panic!("{tag}: no result") };
        assert_eq!((result.fence, result.sealed_result), (first.fence, id(9)));
    }
    // A newer one is not there, and nobody is at it.
    assert_eq!(wait_for_result(&rig, first.fence, 15_000).await, Awaited::Grounded(true));
    let late = publish(&rig, 10, first.fence, false).await.expect("it was given back");
    assert_eq!(late.code(), v1::refusal::Code::Lost);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flight_that_fails_frees_those_who_wait_to_try_themselves() {
    let rig = Rig::start().await;
    let first = granted(acquire(&rig, 1, 0).await.expect("an answer"));
    let mut pipeline = Pipeline::open(&rig).await;
    pipeline.send(vec![operation(1, Ask::Await(awaiting(0, 15_000))), create(2)]).await;
    pipeline.answers(1).await;
    assert_eq!(release(&rig, 10, 1, first.fence).await, None);
    let answers = pipeline.answers(1).await;
    let Answer::Await(response) = &answers[&1] else { panic!("{answers:?}") };
    assert_eq!(response.outcome, Some(Awaited::Grounded(true)));
    rig.stop().await;
}
