//! What a node counts and measures, and the page that Prometheus scrapes.
//!
//! ```text
//!  answers ──▶ operations ─┐
//!  events  ──▶ tally      ─┼─▶ page ──▶ GET /metrics
//!  node    ──▶ status     ─┘
//! ```
//!
//! On the way of an operation there are additions to atomic cells and nothing else; everything
//! that the node knows anyway is asked for when the page is.

pub mod list;
mod operations;
mod page;
mod status;
mod tally;
mod watching;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jeton_core::ids::UnixMs;
use jeton_raft::Status as NodeStatus;

pub(crate) use operations::Operations;
pub(crate) use page::CONTENT_TYPE;
use page::Page;
pub(crate) use tally::Tally;
pub(crate) use watching::Watching;

/// Connections of clients.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    accepted: AtomicU64,
    closed: AtomicU64,
}

/// A connection that is open; dropping it closes it.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<Connections>);

impl Connections {
    /// One more.
    pub(crate) fn open(self: &Arc<Self>) -> OpenConnection {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Responses of the HTTP interface, by class of status.
#[derive(Debug, Default)]
pub(crate) struct HttpResponses([AtomicU64; 4]);

impl HttpResponses {
    const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

    /// One more with this status.
    pub(crate) fn count(&self, status: u16) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.0[class].fetch_add(1, Ordering::Relaxed);
    }

    fn show(&self, page: &mut Page) {
        page.begin(&list::HTTP_RESPONSES);
        for (class, count) in Self::CLASSES.iter().zip(&self.0) {
            page.sample(&list::HTTP_RESPONSES, &[class], count.load(Ordering::Relaxed));
        }
    }
}

/// Everything that a server counts.
#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) operations: Operations,
    pub(crate) connections: Arc<Connections>,
    pub(crate) http: HttpResponses,
    pub(crate) events: Arc<Tally>,
    pub(crate) watching: Arc<Watching>,
}

/// What the page shows beside what was counted.
pub(crate) struct Moment {
    pub(crate) status: NodeStatus,
    pub(crate) ready: bool,
    pub(crate) outstanding: usize,
    /// When this process started.
    pub(crate) started: UnixMs,
}

impl Metrics {
    /// The page as it is now.
    pub(crate) fn page(&self, moment: &Moment) -> String {
        let mut page = Page::default();
        page.begin(&list::BUILD_INFO);
        page.sample(&list::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
        page.one(&list::START_TIME, moment.started.0 as f64 / 1_000.0);
        page.one(&list::READY, u8::from(moment.ready));
        self.operations.show(&mut page);
        page.one(&list::OUTSTANDING, moment.outstanding);
        self.http.show(&mut page);
        let accepted = self.connections.accepted.load(Ordering::Relaxed);
        let closed = self.connections.closed.load(Ordering::Relaxed);
        page.one(&list::CONNECTIONS, accepted.saturating_sub(closed));
        page.one(&list::CONNECTIONS_ACCEPTED, accepted);
        self.watching.show(&mut page);
        self.events.show(&mut page, &list::EVENTS);
        status::show(&mut page, &moment.status);
        page.text()
    }
}
