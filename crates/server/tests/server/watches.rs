//! Who watches hears everything, once, in order, and knows how fresh it is.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use jeton_wire::Failure;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::watch_service_client::WatchServiceClient;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use v1::watch_response::Response;

use crate::rig::{PATIENCE, Rig, TENANT, name, soon};
use crate::web::get;

struct Watching {
    says: mpsc::Sender<v1::WatchRequest>,
    hears: Streaming<v1::WatchResponse>,
    started: v1::FeedPosition,
}

async fn try_watch(rig: &Rig, from: Option<v1::FeedPosition>) -> Result<Watching, Status> {
    try_watch_over(rig.channel.clone(), TENANT, from).await
}

async fn try_watch_over(
    channel: Channel,
    tenant: &str,
    from: Option<v1::FeedPosition>,
) -> Result<Watching, Status> {
    let mut client = WatchServiceClient::new(channel);
    let (says, said) = mpsc::channel(64);
    let start = v1::WatchStart { tenant: tenant.to_owned(), from };
    let start = v1::watch_request::Request::Start(start);
    says.send(v1::WatchRequest { request: Some(start) }).await.expect("open");
    let mut hears = client.watch(ReceiverStream::new(said)).await?.into_inner();
    let first = timeout(PATIENCE, hears.message()).await.expect("in time")?;
    match first.and_then(|message| message.response) {
        Some(Response::Started(started)) => Ok(Watching { says, hears, started }),
        other => panic!("not started: {other:?}"),
    }
}

impl Watching {
    async fn next(&mut self) -> Response {
        let message = timeout(PATIENCE, self.hears.message()).await.expect("in time");
        message.expect("no error").expect("not ended").response.expect("a response")
    }

    async fn event(&mut self) -> v1::RevocationEvent {
        match self.next().await {
            Response::Event(event) => event,
            other => panic!("not an event: {other:?}"),
        }
    }

    async fn probe(&mut self, nonce: u64) {
        let probe = v1::watch_request::Request::Probe(v1::WatchProbe { nonce });
        self.says.send(v1::WatchRequest { request: Some(probe) }).await.expect("open");
    }
}

async fn cut(rig: &Rig, subject: &str, number: u8) -> u64 {
    let cut = v1::RevokeWhereRequest {
        tenant: TENANT.to_owned(),
        request: name(number),
        subject: subject.to_owned(),
        ..v1::RevokeWhereRequest::default()
    };
    let told = rig.revocations().revoke_where(soon(cut)).await.expect("told");
    told.into_inner().position
}

fn position(event: &v1::RevocationEvent) -> u64 {
    event.at.as_ref().expect("a place").position
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_as_they_happen_and_an_echo_comes_after_them() {
    let rig = Rig::start().await;
    let mut watching = try_watch(&rig, None).await.expect("watching");
    let mut other = try_watch(&rig, None).await.expect("watching");
    let first = cut(&rig, "alice", 20).await;
    assert_eq!(position(&watching.event().await), first, "without being asked");
    let second = cut(&rig, "bob", 21).await;
    watching.probe(7).await;
    assert_eq!(position(&watching.event().await), second);
    let Response::Echo(echo) = watching.next().await else { panic!("not an echo") };
    assert!(echo.nonce == 7 && echo.at.expect("a place").position >= second);
    for want in [first, second] {
        assert_eq!(position(&other.event().await), want, "everyone hears everything");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_goes_on_where_it_was_and_only_there() {
    let rig = Rig::start().await;
    let watching = try_watch(&rig, None).await.expect("watching");
    let place = watching.started.clone();
    drop(watching);
    let mut told = Vec::new();
    for (number, subject) in (20..).zip(["a", "b", "c"]) {
        told.push(cut(&rig, subject, number).await);
    }
    let mut again = try_watch(&rig, Some(place.clone())).await.expect("known");
    let first = again.event().await;
    assert_eq!(position(&first), told[0]);
    let mut later = try_watch(&rig, first.at).await.expect("known");
    assert_eq!(position(&later.event().await), told[1], "what was heard is not told again");

    let reason = |status: Status| Failure::from(&status).reason.into_owned();
    let refused = |from| {
        let rig = &rig;
        async move { try_watch(rig, Some(from)).await.err().expect("refused") }
    };
    let elsewhere = v1::FeedPosition { cluster_id: Bytes::from(vec![9; 16]), ..place.clone() };
    assert_eq!(reason(refused(elsewhere).await), "WRONG_CLUSTER");
    let old = v1::FeedPosition { at_unix_ms: place.at_unix_ms - 24 * 60 * 60 * 1_000, ..place };
    assert_eq!(reason(refused(old.clone()).await), "COMPACTED");
    let beyond = v1::FeedPosition { position: u64::MAX, at_unix_ms: u64::MAX / 2, ..old };
    assert_eq!(reason(refused(beyond).await), "INVALID_REQUEST");
    rig.stop().await;
}

/// One start that is wrong in all ways at once, and is put right one by one.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_faults_of_a_start_the_first_of_the_page_is_told() {
    let rig = Rig::start().await;
    let place = try_watch(&rig, None).await.expect("watching").started;
    let elsewhere = v1::FeedPosition {
        cluster_id: Bytes::from(vec![9; 16]),
        position: u64::MAX,
        at_unix_ms: 1,
    };
    let here = v1::FeedPosition { cluster_id: place.cluster_id.clone(), ..elsewhere.clone() };
    let known = v1::FeedPosition { position: place.position, ..here.clone() };
    let faults = [
        ("", elsewhere.clone(), "INVALID_REQUEST"),
        ("nobody", elsewhere, "WRONG_CLUSTER"),
        ("nobody", here.clone(), "NOT_FOUND"),
        (TENANT, here, "INVALID_REQUEST"),
        (TENANT, known, "COMPACTED"),
    ];
    for (tenant, from, reason) in faults {
        let refused = try_watch_over(rig.channel.clone(), tenant, Some(from)).await;
        let failure = Failure::from(&refused.err().expect(reason));
        assert_eq!(failure.reason, reason, "{tenant:?}: {failure}");
    }
    assert!(try_watch(&rig, Some(place)).await.is_ok());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_what_is_in_force_and_where_to_go_on() {
    let rig = Rig::start().await;
    // More than one part holds.
    let mut told = Vec::new();
    for number in 0..130_u8 {
        told.push(cut(&rig, &format!("subject {number}"), number + 10).await);
    }
    let mut client = WatchServiceClient::new(rig.channel.clone());
    let request = v1::SnapshotRevocationsRequest { tenant: TENANT.to_owned() };
    let mut parts = client.snapshot_revocations(request).await.expect("told").into_inner();
    let (mut heard, mut complete) = (Vec::new(), None);
    while let Some(part) = parts.message().await.expect("no error") {
        assert!(complete.is_none(), "the last part is the last");
        heard.extend(part.events.iter().map(position));
        complete = part.complete_at;
    }
    assert_eq!(heard, told);
    let mut watching = try_watch(&rig, complete).await.expect("known");
    let next = cut(&rig, "later", 200).await;
    assert_eq!(position(&watching.event().await), next);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_tells_its_watchers() {
    let mut rig = Rig::start().await;
    let mut watching = try_watch(&rig, None).await.expect("watching");
    rig.tell_to_stop();
    let ended = timeout(PATIENCE, watching.hears.message()).await.expect("in time");
    let failure = Failure::from(&ended.expect_err("told why"));
    assert_eq!(failure.reason, "SHUTTING_DOWN");
    drop(watching);
    rig.stop().await;
}

/// Many revocations at once, with names as long as they may be.
async fn cut_many(rig: &Rig, many: usize) -> Vec<u64> {
    let cuts = (0..many).map(|number| async move {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let request = v1::RequestName { id: Bytes::copy_from_slice(&id), age_ms: 0 };
        let cut = v1::RevokeWhereRequest {
            tenant: TENANT.to_owned(),
            request: Some(request),
            subject: format!("{number:0>256}"),
            client: format!("{number:0>256}"),
            ..v1::RevokeWhereRequest::default()
        };
        let told = rig.revocations().revoke_where(soon(cut)).await.expect("told");
        told.into_inner().position
    });
    let mut told: Vec<u64> = stream::iter(cuts).buffer_unordered(256).collect().await;
    told.sort_unstable();
    told
}

/// The value of a metric that has no labels.
async fn metric(rig: &Rig, name: &str) -> u64 {
    let page = get(rig.addr, "/metrics").await.body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no {name}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_takes_nothing_is_cut_off_and_loses_nothing() {
    let rig = Rig::start().await;
    // A connection of its own, so that nobody else waits for the room that it takes up.
    let channel = rig.connect().await;
    let mut idle = try_watch_over(channel, TENANT, None).await.expect("watching");
    let place = idle.started.clone();
    let mut eager = try_watch(&rig, None).await.expect("watching");
    // Far more than what fits into buffers between it and the node.
    let told = cut_many(&rig, 6_000).await;
    for want in &told {
        assert_eq!(position(&eager.event().await), *want, "others are not held up");
    }
    let until = Instant::now() + 2 * PATIENCE;
    while metric(&rig, "jeton_watchers_cut_off_total").await == 0 {
        assert!(Instant::now() < until, "it was never cut off");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(metric(&rig, "jeton_watchers").await, 1);
    // What had been sent comes in order, without a gap; then it is told why that is all.
    let mut heard = Vec::new();
    let mut last = place;
    let cut_off = loop {
        match timeout(PATIENCE, idle.hears.message()).await.expect("in time") {
            Ok(Some(message)) => match message.response {
                Some(Response::Event(event)) => {
                    heard.push(position(&event));
                    last = event.at.expect("a place");
                }
                other => panic!("not an event: {other:?}"),
            },
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break Failure::from(&status),
        }
    };
    assert_eq!(cut_off.reason, "SLOW_CONSUMER");
    assert!(!heard.is_empty() && heard.len() < told.len(), "{} of {}", heard.len(), told.len());
    assert_eq!(heard[..], told[..heard.len()]);
    // And the rest, from the place that it heard last.
    let mut again = try_watch(&rig, Some(last)).await.expect("known");
    for want in &told[heard.len()..] {
        assert_eq!(position(&again.event().await), *want);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watchers_hear_one_revocation_for_one_look() {
    const WATCHERS: usize = 1_000;
    let rig = Rig::start().await;
    let mut watchers = Vec::new();
    for _ in 0..10 {
        let channel = rig.connect().await;
        let hundred = (0..WATCHERS / 10).map(|_| try_watch_over(channel.clone(), TENANT, None));
        for watching in futures::future::join_all(hundred).await {
            watchers.push(watching.expect("watching"));
        }
    }
    assert_eq!(metric(&rig, "jeton_watchers").await, WATCHERS as u64);
    let before = metric(&rig, "jeton_feed_reads_total").await;
    let position_of = |event: v1::RevocationEvent| position(&event);
    let want = cut(&rig, "alice", 20).await;
    for watching in &mut watchers {
        assert_eq!(position_of(watching.event().await), want);
    }
    // One look shows it to all of them. A second one comes if it fell in between.
    let looks = metric(&rig, "jeton_feed_reads_total").await - before;
    assert!((1..=2).contains(&looks), "{looks} looks at the rows");
    drop(watchers);
    let until = Instant::now() + PATIENCE;
    while metric(&rig, "jeton_watchers").await > 0 {
        assert!(Instant::now() < until, "watchers that have gone are still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.stop().await;
}
