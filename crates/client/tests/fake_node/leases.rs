//! What a holder knows of its lease, whatever the cluster does.

use std::sync::Arc;
use std::time::Duration;

use jeton_client::{Acquisition, Error, Lease, NewLease, Refusal};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::node::{Act, FakeNode};

/// Far beyond what any of this takes.
const SOON: Duration = Duration::from_secs(20);

fn grant(fence: u64, ttl_ms: u64, waited: bool) -> Act {
    let granted = v1::LockGrant { fence, ttl_ms, waited };
    let outcome = Some(v1::acquire_response::Outcome::Granted(granted));
    Act::Answer(Response::Acquire(v1::AcquireResponse { position: fence, outcome }))
}

fn renewed(lost: Vec<u32>) -> Act {
    Act::Answer(Response::Renew(v1::RenewResponse { position: 9, lost, refusal: None }))
}

fn rest(operation: &v1::Operation) -> Act {
    match operation.request.as_ref().unwrap() {
        Request::Release(_) => {
            Act::Answer(Response::Release(v1::ReleaseResponse { position: 9, refusal: None }))
        }
        Request::Withdraw(_) => {
            Act::Answer(Response::Withdraw(v1::WithdrawResponse { position: 9, refusal: None }))
        }
        other => panic!("not expected: {other:?}"),
    }
}

async fn held(node: &FakeNode, ttl: Duration) -> Lease {
    let acquired = node.acme().await.acquire(NewLease::new("l").ttl(ttl), SOON).await.unwrap();
    let Acquisition::Granted(lease) = acquired else { panic!("{acquired:?}") };
    lease
}

/// Waits until the node was sent what is looked for.
async fn sent(node: &FakeNode, found: impl Fn(&[v1::Operation]) -> bool) {
    let until = Instant::now() + SOON;
    while !found(&node.operations()) {
        assert!(Instant::now() < until, "it was never sent");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn renewals(operations: &[v1::Operation]) -> Vec<&v1::RenewRequest> {
    let requests = operations.iter().filter_map(|operation| operation.request.as_ref());
    let renewals = requests.filter_map(|request| match request {
        Request::Renew(renewal) => Some(renewal),
        _ => None,
    });
    renewals.collect()
}

#[tokio::test]
async fn a_lease_is_over_for_its_holder_before_it_is_for_the_cluster() {
    let ttl = Duration::from_millis(600);
    // When the cluster knew of it at the earliest, and nothing of it afterwards.
    let arrived = Arc::new(Mutex::new(None));
    let known = Arc::clone(&arrived);
    let node = FakeNode::start(move |operation| match operation.request.as_ref().unwrap() {
        Request::Acquire(_) => {
            *known.lock() = Some(Instant::now());
            grant(7, 600, false)
        }
        Request::Renew(_) => Act::Swallow,
        _ => rest(operation),
    })
    .await;
    let before = Instant::now();
    let lease = held(&node, ttl).await;
    let arrived = arrived.lock().unwrap();
    let short = ttl * 96 / 100;
    assert!(lease.until() >= before + short && lease.until() <= arrived + short);
    let mut watch = lease.watch();
    timeout(SOON, lease.lost()).await.unwrap();
    timeout(SOON, watch.lost()).await.unwrap();
    assert!(Instant::now() >= lease.until() && !lease.is_held() && !watch.is_held());
    assert!(!renewals(&node.operations()).is_empty(), "it was tried");
    let late = lease.while_held(std::future::ready(())).await;
    assert!(late.is_err(), "nothing is begun under a lease that is over");
}

#[tokio::test]
async fn all_leases_of_a_client_are_renewed_together() {
    let mut fence = 0;
    let node = FakeNode::start(move |operation| match operation.request.as_ref().unwrap() {
        Request::Acquire(_) => {
            fence += 1;
            grant(fence, 3_000, false)
        }
        Request::Renew(_) => renewed(Vec::new()),
        _ => rest(operation),
    })
    .await;
    let acme = node.acme().await;
    let ttl = Duration::from_secs(3);
    let asked = (0..20).map(|n| acme.acquire(NewLease::new(format!("l{n}")).ttl(ttl), SOON));
    let leases: Vec<Lease> = futures::future::join_all(asked)
        .await
        .into_iter()
        .map(|acquired| match acquired.unwrap() {
            Acquisition::Granted(lease) => lease,
            other => panic!("{other:?}"),
        })
        .collect();
    let first: Vec<Instant> = leases.iter().map(Lease::until).collect();
    sent(&node, |operations| renewals(operations).len() == 1).await;
    assert_eq!(renewals(&node.operations())[0].leases.len(), 20, "one command for all");
    let until = Instant::now() + SOON;
    while leases.iter().zip(&first).any(|(lease, first)| lease.until() <= *first) {
        assert!(Instant::now() < until, "each has moved on");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(leases.iter().all(Lease::is_held));
}

#[tokio::test]
async fn a_lease_that_the_cluster_calls_lost_is_lost_at_once() {
    let node = FakeNode::start(|operation| match operation.request.as_ref().unwrap() {
        Request::Acquire(_) => grant(7, 3_000, false),
        Request::Renew(_) => renewed(vec![0]),
        _ => rest(operation),
    })
    .await;
    let lease = held(&node, Duration::from_secs(3)).await;
    let own = lease.until();
    timeout(SOON, lease.lost()).await.unwrap();
    assert!(lease.until() < own, "not only by its own deadline");
    assert_eq!(renewals(&node.operations()).len(), 1);
}

#[tokio::test]
async fn after_a_wait_a_lease_is_renewed_before_it_is_used() {
    for lost in [false, true] {
        let node = FakeNode::start(move |operation| match operation.request.as_ref().unwrap() {
            Request::Acquire(_) => grant(7, 60_000, true),
            Request::Renew(_) => renewed(if lost { vec![0] } else { Vec::new() }),
            _ => rest(operation),
        })
        .await;
        let acquired = node.acme().await.acquire(NewLease::new("l"), SOON).await;
        assert_eq!(renewals(&node.operations()).len(), 1);
        match acquired {
            Ok(Acquisition::Granted(lease)) if !lost => assert!(lease.is_held()),
            Err(Error::Refused(Refusal::Lost)) if lost => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_stops_waiting_gives_up_the_place() {
    let node = FakeNode::start(|operation| match operation.request.as_ref().unwrap() {
        Request::Acquire(_) => Act::Swallow,
        _ => rest(operation),
    })
    .await;
    let acme = node.acme().await;
    let waiting = tokio::spawn(async move {
        let wait = Duration::from_secs(60);
        acme.acquire(NewLease::new("l").wait(wait), SOON).await.map(drop)
    });
    sent(&node, |operations| !operations.is_empty()).await;
    waiting.abort();
    sent(&node, |operations| operations.len() == 2).await;
    let operations = node.operations();
    let [Some(Request::Acquire(acquire)), Some(Request::Withdraw(withdraw))] =
        [&operations[0].request, &operations[1].request]
    else {
        panic!("{operations:?}")
    };
    assert_eq!(withdraw.acquire_id, acquire.request.as_ref().unwrap().id);
    assert_eq!(&*withdraw.lock, "l");
    assert!((30_000..=60_000).contains(&acquire.wait_ms), "what is left of the wait");
}

#[tokio::test]
async fn a_lease_is_given_back_when_it_is_dropped_and_kept_when_it_is_let_go_of_by_name() {
    let node = FakeNode::start(|operation| match operation.request.as_ref().unwrap() {
        Request::Acquire(_) => grant(7, 60_000, false),
        _ => rest(operation),
    })
    .await;
    let name = held(&node, Duration::from_secs(60)).await.into_name();
    assert_eq!((name.lock.as_str(), name.fence.0), ("l", 7));
    drop(held(&node, Duration::from_secs(60)).await);
    sent(&node, |operations| operations.len() == 3).await;
    let operations = node.operations();
    assert!(matches!(operations[2].request, Some(Request::Release(_))), "{operations:?}");
    assert!(held(&node, Duration::from_secs(60)).await.release(SOON).await.unwrap());
    assert_eq!(node.operations().len(), 5, "once");
}
