//! Revocations as server-sent events (WHATWG HTML, "Server-sent events"): the watch for those who
//! have no gRPC.
//!
//! ```text
//!  GET /v1/WatchService/Watch?tenant=acme ─▶ WatchService, in-process ─▶ text/event-stream
//! ```
//!
//! The `id` of an event is its place in the feed. So whoever comes back with `Last-Event-ID`, as
//! browsers do by themselves, goes on there, at any node. Nothing is kept here: what the caller
//! does not take is not asked for, and the service behind it cuts off who takes nothing.
//!
//! A caller of this can't send probes: the node probes itself, once a second. So a caller hears how
//! old the node's knowledge was, and not how long the words took. It learns that from a read of its
//! own, whose position it waits for: see `docs/reference/http.md`.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use jeton_core::ids::ClusterId;
use jeton_wire::failure::reason;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::watch_service_client::WatchServiceClient;
use jeton_wire::{DESCRIPTORS, Failure, Violation};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use v1::watch_response::Response as Told;

use super::json::{self, Loopback};
use super::oauth::form::Form;
use super::problem::Problem;
use super::web::Shared;

/// Where it is served.
pub(super) const PATH: &str = "/v1/WatchService/Watch";
/// How often the node proves that it is fresh, or else says that it is there.
const FRESH_EVERY: Duration = Duration::from_secs(1);
/// How long a caller that lost its stream should wait before it comes back, in milliseconds.
const RETRY_MS: u64 = 1_000;
/// Header: where a caller that comes back was.
const LAST_EVENT_ID: &str = "last-event-id";
/// Probes on their way to the service. Each is answered or dropped within seconds.
const PROBES_WAITING: usize = 4;

/// What an event's data is made by.
static EVENT: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the build wrote these descriptors");
    pool.get_message_by_name("jeton.v1.RevocationEvent").expect("it is part of the API")
});

/// What is asked for.
struct Wish {
    tenant: String,
    snapshot: bool,
    from: Option<v1::FeedPosition>,
}

/// `GET /v1/WatchService/Watch`.
pub(super) async fn watch(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let wish = Wish::of(request.uri().query().unwrap_or_default(), request.headers());
    let begun = async { begin(shared.grpc.clone(), wish?).await };
    match begun.await {
        Ok((first, telling)) => {
            let rest = stream::unfold(telling, |mut telling| async move {
                telling.next().await.map(|text| (text, telling))
            });
            let texts = futures::StreamExt::chain(stream::iter([first]), rest);
            let body = futures::StreamExt::map(texts, |text| Ok::<_, Status>(Bytes::from(text)));
            let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
            (headers, Body::from_stream(body)).into_response()
        }
        Err(failure) => Problem::from(failure).into_response(),
    }
}

/// The first text; or why there is none.
async fn begin(services: Loopback, wish: Wish) -> Result<(String, Telling), Failure> {
    let mut telling = Telling {
        client: WatchServiceClient::new(services),
        tenant: wish.tenant,
        stage: Stage::Over,
    };
    let begun = match (wish.snapshot, wish.from) {
        (true, None) => telling.begin_snapshot().await,
        (_, from) => telling.begin_watch(from).await.map(|place| {
            let data = json!({ "position": place.position.to_string() });
            message("started", Some(&id(&place)), &data.to_string())
        }),
    };
    let first = match begun {
        Ok(first) => first,
        // Told as an event: a browser that hears of an error comes back no more.
        Err(status) if must_begin_anew(&Failure::from(&status)) => telling.end(&status),
        Err(status) => return Err(Failure::from(&status)),
    };
    Ok((format!("retry: {RETRY_MS}\n{first}"), telling))
}

impl Wish {
    fn of(query: &str, headers: &HeaderMap) -> Result<Self, Failure> {
        let broken = |_| Violation::new("query", "is malformed, or names a parameter twice");
        let form = Form::parse(query.as_bytes()).map_err(broken)?;
        if let Some(name) = form.other_than(&["tenant", "snapshot", "from"]) {
            // It may be anything: it is not repeated.
            let problem = format!("has an unknown parameter of {} bytes", name.len());
            return Err(Violation::new("query", problem).into());
        }
        let Some(tenant) = form.get("tenant") else {
            return Err(Violation::new("tenant", "is missing: give it in the query").into());
        };
        let snapshot = match form.get("snapshot") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Violation::new("snapshot", "must be true or false").into()),
        };
        // Who comes back sends both, and the header is where it was last.
        let last = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty());
        let from = match last {
            Some(last) => Some(("Last-Event-ID", last.to_str().unwrap_or_default())),
            None => form.get("from").map(|from| ("from", from)),
        };
        let from = from.map(|(field, text)| {
            let problem = "must be the id of an event of this stream, as it was told";
            place_of(text).ok_or_else(|| Violation::new(field, problem))
        });
        Ok(Self { tenant: tenant.to_owned(), snapshot, from: from.transpose()? })
    }
}

/// A stream that is told.
struct Telling {
    client: WatchServiceClient<Loopback>,
    tenant: String,
    stage: Stage,
}

enum Stage {
    /// All that is in force.
    Snapshot(Streaming<v1::SnapshotRevocationsResponse>),
    /// What happens.
    Watch(Watching),
    /// Nothing more.
    Over,
}

struct Watching {
    says: mpsc::Sender<v1::WatchRequest>,
    hears: Streaming<v1::WatchResponse>,
    /// When the stream began. A probe's nonce is how many milliseconds later it left.
    begun: Instant,
    probe_at: Instant,
    /// Something was told since the last probe left.
    told: bool,
}

impl Telling {
    async fn begin_snapshot(&mut self) -> Result<String, Status> {
        let request = v1::SnapshotRevocationsRequest { tenant: self.tenant.clone() };
        let mut parts = self.client.snapshot_revocations(request).await?.into_inner();
        let Some(part) = parts.message().await? else { return Err(broken_off()) };
        self.stage = Stage::Snapshot(parts);
        let first = message("snapshot", None, "{}");
        Ok(first + &self.part(part).await?)
    }

    async fn begin_watch(
        &mut self,
        from: Option<v1::FeedPosition>,
    ) -> Result<v1::FeedPosition, Status> {
        let (says, said) = mpsc::channel(PROBES_WAITING);
        let start = v1::WatchStart { tenant: self.tenant.clone(), from };
        let start = v1::watch_request::Request::Start(start);
        // There is room for it, and its receiver is here.
        let _ = says.try_send(v1::WatchRequest { request: Some(start) });
        let mut hears = self.client.watch(ReceiverStream::new(said)).await?.into_inner();
        let first = hears.message().await?.and_then(|message| message.response);
        let Some(Told::Started(place)) = first else { return Err(broken_off()) };
        let begun = Instant::now();
        let probe_at = begun + FRESH_EVERY;
        self.stage = Stage::Watch(Watching { says, hears, begun, probe_at, told: false });
        Ok(place)
    }

    /// A part of a snapshot; the watch begins behind the last one.
    async fn part(&mut self, part: v1::SnapshotRevocationsResponse) -> Result<String, Status> {
        let mut text = String::new();
        for event in &part.events {
            // Without an id: nobody can go on in the middle of it.
            text += &message("revocation", None, &data(event)?);
        }
        if let Some(place) = part.complete_at {
            let data = json!({ "position": place.position.to_string() });
            text += &message("complete", Some(&id(&place)), &data.to_string());
            self.begin_watch(Some(place)).await?;
        }
        Ok(text)
    }

    /// What is told next; `None` when all was.
    async fn next(&mut self) -> Option<String> {
        let next = match &mut self.stage {
            Stage::Over => return None,
            Stage::Watch(watching) => watching.next().await,
            Stage::Snapshot(parts) => match parts.message().await {
                Ok(Some(part)) => self.part(part).await,
                Ok(None) => Err(broken_off()),
                Err(status) => Err(status),
            },
        };
        Some(next.unwrap_or_else(|status| self.end(&status)))
    }

    /// The last words. Whoever can't go on from where it was is told to forget where that is.
    fn end(&mut self, status: &Status) -> String {
        self.stage = Stage::Over;
        let failure = Failure::from(status);
        let data = json!({ "reason": failure.reason, "detail": failure.message }).to_string();
        if must_begin_anew(&failure) {
            return message("compacted", Some(""), &data);
        }
        message("end", None, &data)
    }
}

impl Watching {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn next(&mut self) -> Result<String, Status> {
        loop {
            let heard = tokio::select! {
                biased;
                heard = self.hears.message() => heard?,
                () = sleep_until(self.probe_at) => {
                    self.probe_at = Instant::now() + FRESH_EVERY;
                    let probe = v1::WatchProbe { nonce: self.elapsed_ms() };
                    let probe = v1::watch_request::Request::Probe(probe);
                    // If it is full, enough are on their way.
                    let _ = self.says.try_send(v1::WatchRequest { request: Some(probe) });
                    if !std::mem::take(&mut self.told) {
                        return Ok(": keep-alive\n\n".to_owned());
                    }
                    continue;
                }
            };
            self.told = true;
            let text = match heard.and_then(|message| message.response) {
                Some(Told::Event(event)) => {
                    let place = event.at.as_ref().ok_or_else(broken_off)?;
                    message("revocation", Some(&id(place)), &data(&event)?)
                }
                Some(Told::Echo(echo)) => {
                    let place = echo.at.as_ref().ok_or_else(broken_off)?;
                    let age_ms = self.elapsed_ms().saturating_sub(echo.nonce).to_string();
                    let position = place.position.to_string();
                    let data = json!({ "position": position, "ageMs": age_ms });
                    message("fresh", Some(&id(place)), &data.to_string())
                }
                Some(Told::Started(_)) | None => return Err(broken_off()),
            };
            return Ok(text);
        }
    }
}

/// Whether the caller's place is of no use any more.
fn must_begin_anew(failure: &Failure) -> bool {
    failure.reason == reason::COMPACTED || failure.reason == reason::WRONG_CLUSTER
}

fn broken_off() -> Status {
    Status::unavailable("the stream broke off: go on from the place that was heard last")
}

/// An event as it is sent. `data` is one line.
fn message(event: &str, id: Option<&str>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {event}\ndata: {data}\n\n")
}

fn data(event: &v1::RevocationEvent) -> Result<String, Status> {
    let unwritable = || Status::internal("an event can't be JSON");
    let mut message = DynamicMessage::new(EVENT.clone());
    message.transcode_from(event).map_err(|_| unwritable())?;
    let bytes = json::to_json(&message).map_err(|_| unwritable())?;
    String::from_utf8(bytes).map_err(|_| unwritable())
}

/// A place as text: cluster, position and time.
fn id(place: &v1::FeedPosition) -> String {
    let cluster: String = place.cluster_id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{cluster}.{}.{}", place.position, place.at_unix_ms)
}

fn place_of(text: &str) -> Option<v1::FeedPosition> {
    let mut parts = text.split('.');
    let (cluster, position, at) = (parts.next()?, parts.next()?, parts.next()?);
    let is_plain = parts.next().is_none()
        && cluster.len() == 2 * size_of::<ClusterId>()
        && cluster.bytes().all(|b| b.is_ascii_hexdigit())
        && [position, at].iter().all(|number| number.bytes().all(|b| b.is_ascii_digit()));
    if !is_plain {
        return None;
    }
    let pairs =
        (0..cluster.len()).step_by(2).map(|at| u8::from_str_radix(&cluster[at..at + 2], 16));
    Some(v1::FeedPosition {
        cluster_id: pairs.collect::<Result<Vec<_>, _>>().ok()?.into(),
        position: position.parse().ok()?,
        at_unix_ms: at.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_place_and_nothing_else_is_one() {
        let cluster_id = Bytes::from_static(&[0xab; 16]);
        let place = v1::FeedPosition { cluster_id, position: u64::MAX, at_unix_ms: 7 };
        assert_eq!(place_of(&id(&place)), Some(place.clone()));
        let good = id(&place);
        for bad in ["", "..", "1.2.3", &good[2..], &format!("{good}.1"), &format!("{good}0x")] {
            assert_eq!(place_of(bad), None, "{bad}");
        }
        let signed = good.replace(".7", ".+7");
        assert_eq!(place_of(&signed), None);
        assert_eq!(place_of(&good.replace("ab", "é")), None);
    }

    #[test]
    fn a_query_is_read_strictly_and_the_header_says_where_one_was_last() {
        let of = |query: &str, last: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(last) = last {
                headers.insert(LAST_EVENT_ID, last.parse().expect("a header value"));
            }
            Wish::of(query, &headers)
        };
        let place = |position| format!("{}.{position}.7", "ab".repeat(16));
        let both = of(&format!("tenant=acme&from={}", place(1)), Some(&place(2))).expect("good");
        assert_eq!(both.from.map(|place| place.position), Some(2));
        let again = of("tenant=acme&snapshot=true", Some("")).expect("good");
        assert!(again.snapshot && again.from.is_none());
        for bad in ["", "tenant=", "tenant=a&tenant=b", "tenant=a&x=1", "tenant=a&snapshot=1"] {
            assert_eq!(of(bad, None).err().expect(bad).reason, "INVALID_REQUEST", "{bad}");
        }
        assert!(of("tenant=a&from=1", None).is_err() && of("tenant=a", Some("1")).is_err());
    }
}
