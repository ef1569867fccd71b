//! `WatchService`: the feed of revocations, as a stream. One task a watcher, asleep until there is
//! something to tell.
//!
//! Events are never dropped: they stand in the rows. A watcher that takes none for
//! [`SLOW_CONSUMER`] is cut off with words, and goes on from its place when it comes back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream, FuturesUnordered};
use jeton_core::feed as core_feed;
use jeton_core::ids::{Position, TenantId, UnixMs};
use jeton_core::read;
use jeton_raft::{Consistency, ReadError, ReadPoint};
use jeton_wire::failure::reason;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::watch_service_server::WatchService;
use jeton_wire::watch::{self as wire, FeedPlace};
use jeton_wire::{Failure, Violation, check};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming, async_trait};

use crate::desk::{Desk, unreadable};
use crate::failures;
use crate::feed::{Feed, Next};

/// Messages that wait for the transport.
const MESSAGES_WAITING: usize = 64;
/// A watcher that takes nothing for so long is cut off.
const SLOW_CONSUMER: Duration = Duration::from_secs(10);
/// Probes of one watcher that may be unanswered at once.
const PROBES_MAX: usize = 64;
/// A probe that can't be answered by then is not answered.
const PROBE_TIME: Duration = Duration::from_secs(5);
/// How long the first barrier may take.
const START_TIME: Duration = Duration::from_secs(10);
/// Rows of one part of a snapshot.
const ROWS_A_LOOK: usize = 64;

/// See the module.
pub(crate) struct Watches {
    pub(crate) desk: Arc<Desk>,
    /// Turns true when streams must end.
    pub(crate) closing: watch::Receiver<bool>,
}

type Told<T> = BoxStream<'static, Result<T, Status>>;

#[async_trait]
impl WatchService for Watches {
    type WatchStream = Told<v1::WatchResponse>;
    type SnapshotRevocationsStream = Told<v1::SnapshotRevocationsResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let incoming = request.into_inner();
        let (desk, closing) = (self.desk.clone(), self.closing.clone());
        Ok(Response::new(told(move |out| async move {
            Watcher::run(desk, incoming, closing, out).await
        })))
    }

    async fn snapshot_revocations(
        &self,
        request: Request<v1::SnapshotRevocationsRequest>,
    ) -> Result<Response<Self::SnapshotRevocationsStream>, Status> {
        let tenant = check::tenant(&request.get_ref().tenant).map_err(Failure::from)?;
        let (desk, mut closing) = (self.desk.clone(), self.closing.clone());
        Ok(Response::new(told(move |out| async move {
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => Err(failures::shutting_down()),
                ended = snapshot(&desk, &tenant, &out) => ended,
            }
        })))
    }
}

/// The stream of what a task tells; the failure that it ends with comes last, however full the
/// stream was.
fn told<T, F, W>(work: W) -> Told<T>
where
    T: Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
    W: FnOnce(Out<T>) -> F + Send + 'static,
{
    let (messages, waiting) = mpsc::channel(MESSAGES_WAITING);
    let (last_words, end) = oneshot::channel();
    let work = work(Out(messages));
    tokio::spawn(async move {
        if let Err(failure) = work.await {
            // The caller may have gone.
            let _ = last_words.send(Status::from(failure));
        }
    });
    let end = stream::once(end).filter_map(|end| async move { end.ok().map(Err) });
    ReceiverStream::new(waiting).map(Ok).chain(end).boxed()
}

/// The way to a caller.
struct Out<T>(mpsc::Sender<T>);

impl<T> Out<T> {
    /// Sends, unless the caller takes nothing; `false` if it has gone.
    async fn send(&self, message: T) -> Result<bool, Failure> {
        match self.0.send_timeout(message, SLOW_CONSUMER).await {
            Ok(()) => Ok(true),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Ok(false),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                let words = format!(
                    "no event was taken for {} s: this watcher is cut off; watch on from the place \
                     that was heard last, and take events faster",
                    SLOW_CONSUMER.as_secs()
                );
                Err(Failure::new(Code::ResourceExhausted, reason::SLOW_CONSUMER, words))
            }
        }
    }
}

/// A barrier: what is read behind it is as fresh as can be.
async fn barrier(desk: &Desk, time: Duration) -> Result<ReadPoint, Failure> {
    let point = desk.node.read_point(Consistency::Linearizable, Instant::now() + time).await;
    point.map_err(|error| failures::of_read(&error, desk.leader()))
}

fn place(desk: &Desk, position: Position, at: UnixMs) -> FeedPlace {
    FeedPlace { cluster: desk.node.cluster(), position, at }
}

/// That there is such a tenant, behind a barrier.
fn known(desk: &Desk, tenant: &TenantId) -> Result<(), Failure> {
    let found = desk.node.view(|tables, _| read::tenant(tables, tenant));
    match found.map_err(|error| unreadable(&error))? {
        Some(_) => Ok(()),
        None => Err(Failure::new(Code::NotFound, reason::NOT_FOUND, "there is no such tenant")),
    }
}

/// All that is in force, in parts; the last one says where.
async fn snapshot(
    desk: &Desk,
    tenant: &TenantId,
    out: &Out<v1::SnapshotRevocationsResponse>,
) -> Result<(), Failure> {
    barrier(desk, START_TIME).await?;
    known(desk, tenant)?;
    let cluster = desk.node.cluster();
    let mut snapshot = core_feed::Snapshot::default();
    loop {
        let looked = desk.node.view(|tables, meta| {
            let part = snapshot.part(tables, meta, tenant, ROWS_A_LOOK)?;
            Ok((part, meta.position, meta.clock))
        });
        let ((found, last), position, clock) = looked.map_err(|error| unreadable(&error))?;
        if found.is_empty() && !last {
            continue;
        }
        let events = found.iter().map(|entry| wire::event(cluster, entry)).collect();
        let complete_at = last.then(|| wire::place(&place(desk, position, clock)));
        let part = v1::SnapshotRevocationsResponse { events, complete_at };
        if !out.send(part).await? || last {
            return Ok(());
        }
    }
}

/// One who watches.
struct Watcher {
    desk: Arc<Desk>,
    feed: Arc<Feed>,
    out: Out<v1::WatchResponse>,
    /// Everything up to here was told, when it was this late.
    at: (Position, UnixMs),
}

impl Watcher {
    async fn run(
        desk: Arc<Desk>,
        mut incoming: Streaming<v1::WatchRequest>,
        mut closing: watch::Receiver<bool>,
        out: Out<v1::WatchResponse>,
    ) -> Result<(), Failure> {
        let start = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => return Err(failures::shutting_down()),
            start = started(&mut incoming) => start?,
        };
        let Some(start) = start else { return Ok(()) };
        let watching = desk.metrics.watching.clone();
        let mut watcher = Self::start(desk, &start, out).await?;
        let _open = watching.open();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Err(failures::shutting_down()),
            ended = watcher.follow(incoming) => {
                if ended.as_ref().is_err_and(|failure| failure.reason == reason::SLOW_CONSUMER) {
                    watching.cut_off();
                }
                ended
            }
        }
    }

    async fn start(
        desk: Arc<Desk>,
        start: &v1::WatchStart,
        out: Out<v1::WatchResponse>,
    ) -> Result<Self, Failure> {
        let tenant = check::tenant(&start.tenant)?;
        let from = start.from.as_ref().map(|from| wire::place_from("start.from", from));
        let from = from.transpose()?;
        if from.is_some_and(|from| from.cluster != desk.node.cluster()) {
            let words = "the place is one of another cluster: positions mean nothing here; take a \
                         snapshot, and watch from that";
            return Err(Failure::new(Code::FailedPrecondition, reason::WRONG_CLUSTER, words));
        }
        barrier(&desk, START_TIME).await?;
        known(&desk, &tenant)?;
        let feed = desk.feeds.of(&desk.node, &tenant, &desk.metrics.watching);
        let feed = feed.map_err(|error| unreadable(&error))?;
        let seen = desk.node.view(|_, meta| Ok((meta.position, meta.clock)));
        let (position, clock) = seen.map_err(|error| unreadable(&error))?;
        let at = from.map_or((position, clock), |from| (from.position, from.at));
        if at.0 > position {
            let problem = "is beyond the present: it was never told by this cluster";
            return Err(Violation::new("start.from.position", problem).into());
        }
        if !core_feed::reaches_back_to(at.1, clock) {
            return Err(compacted());
        }
        let told = wire::place(&place(&desk, at.0, at.1));
        let watcher = Self { desk, feed, out, at };
        watcher.tell(v1::watch_response::Response::Started(told)).await?;
        Ok(watcher)
    }

    /// Tells what comes, and answers probes, until the caller goes.
    async fn follow(&mut self, mut incoming: Streaming<v1::WatchRequest>) -> Result<(), Failure> {
        let mut wakes = self.feed.wakes();
        let mut probes = FuturesUnordered::new();
        if !self.catch_up(Position::default()).await? {
            return Ok(());
        }
        loop {
            let (desk, gone) = (self.desk.clone(), self.out.0.clone());
            tokio::select! {
                () = gone.closed() => return Ok(()),
                // The feed is held here, so the sender of wakes lives.
                _ = wakes.changed() => {
                    if !self.catch_up(Position::default()).await? {
                        return Ok(());
                    }
                }
                message = incoming.message() => match message {
                    Ok(Some(message)) => {
                        let nonce = probe(&message)?;
                        if probes.len() >= PROBES_MAX {
                            let problem = format!("{PROBES_MAX} are unanswered: wait for echoes");
                            return Err(Violation::new("probe", problem).into());
                        }
                        probes.push(async move {
                            let until = Instant::now() + PROBE_TIME;
                            (nonce, desk.node.read_point(Consistency::Linearizable, until).await)
                        });
                    }
                    // It says no more, and may listen on.
                    Ok(None) => return self.listen_on(wakes).await,
                    Err(_) => return Ok(()),
                },
                Some((nonce, point)) = probes.next(), if !probes.is_empty() => {
                    if !self.echo(nonce, point).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn listen_on(&mut self, mut wakes: watch::Receiver<u64>) -> Result<(), Failure> {
        let gone = self.out.0.clone();
        loop {
            tokio::select! {
                () = gone.closed() => return Ok(()),
                _ = wakes.changed() => {
                    if !self.catch_up(Position::default()).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Answers a probe, after everything that its barrier shows.
    async fn echo(
        &mut self,
        nonce: u64,
        point: Result<ReadPoint, ReadError>,
    ) -> Result<bool, Failure> {
        // Without a quorum there is no answer: whoever asked grows stale, and knows it.
        let Ok(point) = point else { return Ok(true) };
        if !self.catch_up(point.position).await? {
            return Ok(false);
        }
        let at = wire::place(&place(&self.desk, self.at.0, self.at.1));
        self.tell(v1::watch_response::Response::Echo(v1::WatchEcho { nonce, at: Some(at) })).await
    }

    /// Tells everything up to what this node has applied, at least `seen`.
    async fn catch_up(&mut self, seen: Position) -> Result<bool, Failure> {
        loop {
            let next = self.feed.next(&self.desk.node, self.at.0, self.at.1, seen);
            match next.map_err(|error| unreadable(&error))? {
                Next::Entries(entries) => {
                    for entry in entries {
                        let event = wire::event(self.desk.node.cluster(), &entry);
                        self.at = (entry.position, entry.at);
                        if !self.tell(v1::watch_response::Response::Event(event)).await? {
                            return Ok(false);
                        }
                    }
                }
                Next::Nothing(position, clock) => {
                    self.at = (position, clock.max(self.at.1));
                    return Ok(true);
                }
                Next::Compacted => return Err(compacted()),
            }
        }
    }

    async fn tell(&self, response: v1::watch_response::Response) -> Result<bool, Failure> {
        self.out.send(v1::WatchResponse { response: Some(response) }).await
    }
}

/// The first message of a watcher; `None` if it went without one.
async fn started(
    incoming: &mut Streaming<v1::WatchRequest>,
) -> Result<Option<v1::WatchStart>, Failure> {
    let Ok(Some(message)) = incoming.message().await else { return Ok(None) };
    match message.request {
        Some(v1::watch_request::Request::Start(start)) => Ok(Some(start)),
        _ => Err(Violation::new("start", "is missing: it must come first").into()),
    }
}

fn probe(message: &v1::WatchRequest) -> Result<u64, Failure> {
    match &message.request {
        Some(v1::watch_request::Request::Probe(probe)) => Ok(probe.nonce),
        _ => Err(Violation::new("probe", "is missing: only probes come after the start").into()),
    }
}

fn compacted() -> Failure {
    let words = "the place is no longer known (they are for 24 hours): take a snapshot, and watch \
                 from that";
    Failure::new(Code::OutOfRange, reason::COMPACTED, words)
}
