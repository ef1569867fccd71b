//! Watching revocations: on one node after the other, without a gap, a repetition or a change of
//! order.
//!
//! ```text
//!  snapshot ─▶ watch from its place ─▶ events …, echoes …  ─▶ (broken, silent) ─▶ another node,
//!                   ▲──────────────────────── from the place that was heard last ────────────┘
//! ```
//!
//! Probes leave as long as the stream is open. An echo proves that the node had applied everything
//! that was committed when the probe left: so the watcher's freshness is its own monotonic time
//! since then, and a node that is cut off, or a watcher that was paused, can't look fresh.

use std::collections::VecDeque;
use std::time::Duration;

use jeton_core::feed::FeedEntry;
use jeton_wire::Failure;
use jeton_wire::failure::reason;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::watch_service_client::WatchServiceClient;
use jeton_wire::watch::{self as wire, FeedPlace};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use v1::watch_response::Response;

use crate::tenant::Tenant;
use crate::transport::node;

/// Pause after a node that could not be watched.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a whole snapshot may take.
const SNAPSHOT_TIME: Duration = Duration::from_secs(60);
/// Probes that may be unanswered: beyond it none leaves.
const PROBES_MAX: usize = 32;

/// Where a watcher begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With all that is in force.
    Snapshot,
    /// With what happens from now on.
    Now,
    /// Behind what was heard before.
    At(FeedPlace),
}

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// All that is in force at a place: whatever was heard before is replaced by it. Comes first
    /// with [`Begin::Snapshot`], and again whenever the place that was heard last is no longer
    /// known (longer than 24 hours away), or is one of another cluster.
    Snapshot {
        /// In the order in which it must be taken in.
        entries: Vec<FeedEntry>,
        /// What it reflects.
        place: FeedPlace,
    },
    /// What one command changed.
    Changed(FeedEntry),
    /// Everything that was committed when a probe left has been heard.
    Fresh {
        /// When the probe left, by this process' monotonic clock.
        sent: Instant,
        /// Where to go on from.
        place: FeedPlace,
    },
}

/// Hears every revocation of a tenant once, in order. See [`Tenant::watch`].
pub struct Watcher {
    tenant: Tenant,
    /// Where to go on; `None`: with a snapshot, or with now.
    place: Option<FeedPlace>,
    snapshot: bool,
    probe_every: Duration,
    silence_max: Duration,
    /// The endpoint to try next.
    next: usize,
    open: Option<Open>,
    why: Option<String>,
}

struct Open {
    says: mpsc::Sender<v1::WatchRequest>,
    hears: Streaming<v1::WatchResponse>,
    /// Probes that were not echoed yet.
    sent: VecDeque<(u64, Instant)>,
    nonce: u64,
    probe_at: Instant,
    /// A sign of life since then.
    heard_at: Instant,
}

impl Tenant {
    /// Watches revocations from `begin` on. A probe leaves every `probe_every`; a node that gives
    /// no sign of life for `silence_max` is left for another one.
    #[must_use]
    pub fn watch(&self, begin: Begin, probe_every: Duration, silence_max: Duration) -> Watcher {
        let place = match begin {
            Begin::At(place) => Some(place),
            Begin::Snapshot | Begin::Now => None,
        };
        Watcher {
            tenant: self.clone(),
            place,
            snapshot: begin == Begin::Snapshot,
            probe_every,
            silence_max,
            next: 0,
            open: None,
            why: None,
        }
    }
}

impl Watcher {
    /// Where the watcher is: to begin there another time.
    #[must_use]
    pub fn place(&self) -> Option<FeedPlace> {
        self.place
    }

    /// Why the last node was left, if one was.
    #[must_use]
    pub fn why_left(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// What comes next. It never gives up: while no node can be watched it tries one after the
    /// other. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Notice {
        loop {
            if self.open.is_none()
                && let Some(notice) = self.reopen().await
            {
                return notice;
            }
            match self.listen().await {
                Ok(Some(notice)) => return notice,
                Ok(None) => {}
                Err(why) => self.leave(why),
            }
        }
    }

    fn leave(&mut self, why: String) {
        tracing::debug!(%why, "the node that was watched is left");
        self.open = None;
        self.why = Some(why);
    }

    /// Tries the next endpoint. A snapshot, if one was needed.
    async fn reopen(&mut self) -> Option<Notice> {
        let config = self.tenant.client.config().clone();
        let uri = config.endpoints[self.next % config.endpoints.len()].clone();
        self.next = (self.next + 1) % config.endpoints.len();
        let opened = async {
            let channel = timeout(config.connect_timeout, node::channel(&uri, &config));
            let channel = channel.await.map_err(|_| "it did not answer in time".to_owned())??;
            let mut client = WatchServiceClient::new(channel);
            let mut notice = None;
            if self.snapshot {
                let (entries, place) = timeout(SNAPSHOT_TIME, self.take_snapshot(&mut client))
                    .await
                    .map_err(|_| "the snapshot did not come in time".to_owned())??;
                (self.place, self.snapshot) = (Some(place), false);
                notice = Some(Notice::Snapshot { entries, place });
            }
            let open = timeout(self.silence_max, self.start(&mut client)).await;
            let open = open.map_err(|_| "it did not begin in time".to_owned())?;
            Ok::<_, String>((notice, open))
        };
        match opened.await {
            Ok((notice, open)) => {
                match open {
                    Ok(open) => self.open = Some(open),
                    Err(status) => self.fail(&status),
                }
                notice
            }
            Err(why) => {
                self.leave(format!("{uri}: {why}"));
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    /// A stream that ended with an error, or never began.
    fn fail(&mut self, status: &Status) {
        let failure = Failure::from(status);
        if failure.reason == reason::COMPACTED || failure.reason == reason::WRONG_CLUSTER {
            self.snapshot = true;
        }
        self.leave(failure.message.into_owned());
    }

    async fn take_snapshot(
        &self,
        client: &mut WatchServiceClient<tonic::transport::Channel>,
    ) -> Result<(Vec<FeedEntry>, FeedPlace), String> {
        let tenant = self.tenant.tenant.as_str().to_owned();
        let request = v1::SnapshotRevocationsRequest { tenant };
        let words = |status: Status| status.message().to_owned();
        let mut parts = client.snapshot_revocations(request).await.map_err(words)?.into_inner();
        let mut entries = Vec::new();
        while let Some(part) = parts.message().await.map_err(words)? {
            for event in part.events {
                let (_, entry) = wire::event_from(event).map_err(|error| error.to_string())?;
                entries.push(entry);
            }
            if let Some(place) = part.complete_at {
                let place = wire::place_from("complete_at", &place);
                return place.map(|place| (entries, place)).map_err(|error| error.to_string());
            }
        }
        Err("the snapshot was cut off".to_owned())
    }

    async fn start(
        &mut self,
        client: &mut WatchServiceClient<tonic::transport::Channel>,
    ) -> Result<Open, Status> {
        let (says, said) = mpsc::channel(PROBES_MAX + 1);
        let tenant = self.tenant.tenant.as_str().to_owned();
        let from = self.place.as_ref().map(wire::place);
        let start = v1::watch_request::Request::Start(v1::WatchStart { tenant, from });
        // There is room for it, and its receiver is here.
        let _ = says.try_send(v1::WatchRequest { request: Some(start) });
        let mut hears = client.watch(ReceiverStream::new(said)).await?.into_inner();
        let garbled = || Status::internal("the node began with something else than a place");
        match hears.message().await?.and_then(|message| message.response) {
            Some(Response::Started(place)) => {
                let place = wire::place_from("started", &place).map_err(|_| garbled())?;
                self.place = Some(place);
            }
            _ => return Err(garbled()),
        }
        let now = Instant::now();
        let sent = VecDeque::new();
        Ok(Open { says, hears, sent, nonce: 0, probe_at: now, heard_at: now })
    }

    /// Waits for the stream, and keeps probes leaving.
    async fn listen(&mut self) -> Result<Option<Notice>, String> {
        let (probe_every, silence_max) = (self.probe_every, self.silence_max);
        let Some(open) = self.open.as_mut() else { return Ok(None) };
        if Instant::now() >= open.probe_at {
            open.probe(probe_every);
        }
        let silent_at = open.heard_at + silence_max;
        let message = tokio::select! {
            biased;
            message = timeout_at(silent_at, open.hears.message()) => message,
            () = sleep_until(open.probe_at) => return Ok(None),
        };
        let response = match message {
            Err(_) => return Err(format!("it gave no sign of life for {silence_max:?}")),
            Ok(Ok(Some(message))) => message.response,
            Ok(Ok(None)) => return Err("it ended the stream".to_owned()),
            Ok(Err(status)) => {
                self.fail(&status);
                return Ok(None);
            }
        };
        let garbled = |error: jeton_wire::Violation| error.to_string();
        match response {
            Some(Response::Event(event)) => {
                let (cluster, entry) = wire::event_from(event).map_err(garbled)?;
                let (position, at) = (entry.position, entry.at);
                open.heard_at = Instant::now();
                self.place = Some(FeedPlace { cluster, position, at });
                Ok(Some(Notice::Changed(entry)))
            }
            Some(Response::Echo(echo)) => {
                let place = echo.at.as_ref().map(|at| wire::place_from("echo.at", at));
                let place = place.ok_or("an echo without a place")?.map_err(garbled)?;
                self.place = Some(place);
                let sent = open.echoed(echo.nonce);
                Ok(sent.map(|sent| Notice::Fresh { sent, place }))
            }
            Some(Response::Started(_)) | None => Err("it said something unknown".to_owned()),
        }
    }
}

impl Open {
    /// Sends a probe, unless too many are unanswered.
    fn probe(&mut self, every: Duration) {
        let now = Instant::now();
        self.probe_at = now + every;
        if self.sent.len() >= PROBES_MAX {
            return;
        }
        self.nonce += 1;
        let probe = v1::watch_request::Request::Probe(v1::WatchProbe { nonce: self.nonce });
        if self.says.try_send(v1::WatchRequest { request: Some(probe) }).is_ok() {
            self.sent.push_back((self.nonce, now));
        }
    }

    /// When the probe left; those before it need no echo any more.
    fn echoed(&mut self, nonce: u64) -> Option<Instant> {
        self.heard_at = Instant::now();
        let found = self.sent.iter().position(|(sent, _)| *sent == nonce)?;
        self.sent.drain(..=found).next_back().map(|(_, at)| at)
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("place", &self.place).finish_non_exhaustive()
    }
}
