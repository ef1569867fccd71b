//! Revocations as server-sent events: what a browser's `EventSource`, or `curl -N`, hears.

use jeton_wire::pb::v1;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, TENANT, name, soon};
use crate::web::{call, get, request};

const PATH: &str = "/v1/WatchService/Watch";

/// A stream that is open.
struct EventSource {
    stream: BufReader<TcpStream>,
    text: String,
}

/// What was told.
#[derive(Debug, Default, PartialEq)]
struct Event {
    id: Option<String>,
    event: String,
    data: Value,
}

impl EventSource {
    async fn open(rig: &Rig, query: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(rig.addr).await.expect("a connection");
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head = format!(
            "GET {PATH}?{query} HTTP/1.1\r\nHost: node\r\nAccept: text/event-stream\r\n{last}\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut stream = BufReader::new(stream);
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.trim().is_empty()) {
            let mut line = String::new();
            timeout(PATIENCE, stream.read_line(&mut line)).await.expect("in time").expect("a line");
            lines.push(line.to_ascii_lowercase());
        }
        assert!(lines[0].contains(" 200 "), "{lines:?}");
        for header in ["content-type: text/event-stream\r\n", "cache-control: no-store\r\n"] {
            assert!(lines.iter().any(|line| line == header), "{lines:?}");
        }
        Self { stream, text: String::new() }
    }

    /// One block of the stream, comments as well; `None` at its end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.text.find("\n\n") {
                let rest = self.text.split_off(at + 2);
                return Some(std::mem::replace(&mut self.text, rest));
            }
            // A chunk: its length in a line, its bytes, an empty line.
            let mut length = String::new();
            self.stream.read_line(&mut length).await.expect("a length");
            let length = usize::from_str_radix(length.trim(), 16).expect("hexadecimal digits");
            let mut chunk = vec![0; length + 2];
            self.stream.read_exact(&mut chunk).await.expect("a chunk");
            if length == 0 {
                return None;
            }
            self.text += std::str::from_utf8(&chunk[..length]).expect("text");
        }
    }

    /// What comes next, but comments; `None` at the end.
    async fn try_next(&mut self) -> Option<Event> {
        loop {
            let block = timeout(PATIENCE, self.block()).await.expect("in time")?;
            let mut event = Event::default();
            for line in block.lines() {
                match line.split_once(": ").or(line.split_once(':')) {
                    Some(("id", id)) => event.id = Some(id.to_owned()),
                    Some(("event", kind)) => event.event = kind.to_owned(),
                    Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                    Some(("retry" | "", _)) | None => {}
                    other => panic!("unknown: {other:?}"),
                }
            }
            if !event.event.is_empty() {
                return Some(event);
            }
        }
    }

    async fn next(&mut self) -> Event {
        self.try_next().await.expect("not ended")
    }

    /// What comes next, but proofs of freshness.
    async fn news(&mut self) -> Event {
        loop {
            let event = self.next().await;
            if event.event != "fresh" {
                return event;
            }
        }
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

/// That this is the cut of a subject.
fn is_cut(event: &Event, subject: &str, position: u64) {
    assert_eq!(event.event, "revocation", "{event:?}");
    assert_eq!(event.data["changes"][0]["cutoff"]["subject"], subject, "{event:?}");
    assert_eq!(event.data["at"]["position"], position.to_string(), "{event:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_their_place_as_id_and_who_comes_back_goes_on_behind_it() {
    let rig = Rig::start().await;
    let mut source = EventSource::open(&rig, "tenant=acme", None).await;
    let started = source.next().await;
    assert_eq!(started.event, "started");
    let first = cut(&rig, "alice", 20).await;
    let alice = source.news().await;
    is_cut(&alice, "alice", first);
    // The node proves by itself that it is fresh, and that is a place to go on from, too.
    let fresh = source.next().await;
    assert_eq!(fresh.event, "fresh");
    let position: u64 = fresh.data["position"].as_str().expect("text").parse().expect("a number");
    assert!(position >= first && fresh.id.is_some());
    let age_ms = fresh.data["ageMs"].as_str().expect("text").parse::<u64>();
    assert!(age_ms.is_ok(), "how old that knowledge was: {fresh:?}");
    drop(source);
    let second = cut(&rig, "bob", 21).await;

    let mut again = EventSource::open(&rig, "tenant=acme&snapshot=true", alice.id.as_deref()).await;
    assert_eq!(again.next().await.event, "started", "no snapshot: it knows where it was");
    is_cut(&again.news().await, "bob", second);
    let from = format!("tenant=acme&from={}", started.id.expect("an id"));
    let mut third = EventSource::open(&rig, &from, None).await;
    assert_eq!(third.next().await.event, "started");
    is_cut(&third.news().await, "alice", first);
    is_cut(&third.news().await, "bob", second);
    rig.stop().await;
}

/// As `docs/reference/http.md` tells readers to: a read says what was acknowledged before it, and
/// the stream when that was told.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_learns_by_a_read_of_its_own_how_fresh_it_is() {
    let rig = Rig::start().await;
    let mut source = EventSource::open(&rig, "tenant=acme", None).await;
    let revoked = cut(&rig, "alice", 20).await;
    let body = json!({ "tenant": TENANT, "tokens": [{ "subject": "bob", "client": "web" }] });
    let answer = call(rig.addr, "/v1/RevocationService/CheckAccess", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    let text = answer["read"]["position"].as_str().expect("a position");
    let read = text.parse::<u64>().expect("a number");
    assert!(read >= revoked, "what was acknowledged before is at or before it");
    let mut told = Vec::new();
    loop {
        let event = source.next().await;
        let position = event.data["at"]["position"].as_str().or(event.data["position"].as_str());
        told.push(position.expect("each event has a position").parse::<u64>().expect("a number"));
        if told.last() >= Some(&read) {
            break;
        }
    }
    assert!(told.contains(&revoked), "the stream was there before: {told:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_begin_with_all_that_is_in_force() {
    let rig = Rig::start().await;
    let mut told = Vec::new();
    for number in 0..130_u8 {
        told.push(cut(&rig, &format!("subject {number}"), number + 10).await);
    }
    let mut source = EventSource::open(&rig, "tenant=acme&snapshot=true", None).await;
    assert_eq!(source.next().await.event, "snapshot");
    for (number, position) in told.iter().enumerate() {
        let event = source.next().await;
        is_cut(&event, &format!("subject {number}"), *position);
        assert_eq!(event.id, None, "nobody can go on in the middle of it");
    }
    let complete = source.next().await;
    assert_eq!(complete.event, "complete");
    let next = cut(&rig, "later", 200).await;
    is_cut(&source.news().await, "later", next);
    let mut again =
        EventSource::open(&rig, "tenant=acme&snapshot=true", complete.id.as_deref()).await;
    assert_eq!(again.next().await.event, "started");
    is_cut(&again.news().await, "later", next);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_go_on_is_told_to_forget_its_place() {
    let rig = Rig::start().await;
    let mut source = EventSource::open(&rig, "tenant=acme", None).await;
    let id = source.next().await.id.expect("an id");
    let mut parts = id.split('.').map(str::to_owned);
    let mut part = || parts.next().expect("three parts");
    let (cluster, position, at) = (part(), part(), part());
    let long_ago = at.parse::<u64>().expect("a number") - 24 * 60 * 60 * 1_000;
    let old = format!("{cluster}.{position}.{long_ago}");
    let elsewhere = format!("{}.{position}.{at}", "09".repeat(16));
    for (place, reason) in [(old, "COMPACTED"), (elsewhere, "WRONG_CLUSTER")] {
        let mut source = EventSource::open(&rig, "tenant=acme&snapshot=true", Some(&place)).await;
        let told = source.next().await;
        assert_eq!((told.event.as_str(), told.id.as_deref()), ("compacted", Some("")));
        assert_eq!(told.data["reason"], reason);
        assert_eq!(source.try_next().await, None, "and that is the end");
    }
    for (query, status) in [
        ("", 400),
        ("tenant=acme&tenant=acme", 400),
        ("tenant=acme&from=1.2.3", 400),
        ("tenant=acme&nonsense=jrt_secret", 400),
        ("tenant=nobody", 404),
        ("tenant=nobody&snapshot=true", 404),
    ] {
        let answer = get(rig.addr, &format!("{PATH}?{query}")).await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        assert!(!answer.body.contains("secret"), "{answer:?}");
    }
    let answer = request(rig.addr, "POST", PATH, &[], b"").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD")), "{answer:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_so_at_the_end() {
    let mut rig = Rig::start().await;
    let mut source = EventSource::open(&rig, "tenant=acme", None).await;
    assert_eq!(source.next().await.event, "started");
    rig.tell_to_stop();
    let end = source.news().await;
    assert_eq!((end.event.as_str(), &end.data["reason"]), ("end", &"SHUTTING_DOWN".into()));
    assert_eq!(source.try_next().await, None);
    rig.stop().await;
}
