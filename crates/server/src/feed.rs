//! The feeds that are watched on this node: entries are read and decoded once for all watchers of
//! a tenant, and watchers sleep until there are some.
//!
//! ```text
//!  apply ─ event ─▶ touched ─ visible ─▶ wake ─▶ any watcher: refresh ─▶ tail (shared) ─▶ all
//! ```
//!
//! Nothing is kept that the rows don't hold: a watcher that is behind the tail reads rows.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use jeton_core::feed::{self, Change, FeedEntry};
use jeton_core::ids::{Position, TenantId, UnixMs};
use jeton_core::reply::{Event, LeaseNotice};
use jeton_core::tables::TablesError;
use jeton_raft::{EventSink, Node};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::metrics::Watching;
use crate::waits::LeaseEvents;

/// Entries that the watchers of a tenant share; older ones are read from the rows.
const TAIL_MAX: usize = 4_096;
/// Rows that one look reads: applying waits meanwhile.
const ROWS_A_LOOK: usize = 64;

/// All feeds that are watched here.
#[derive(Default)]
pub(crate) struct Feeds {
    feeds: Mutex<HashMap<TenantId, Weak<Feed>>>,
    /// Tenants whose feed has grown, but not yet to readers' eyes.
    touched: Mutex<Vec<TenantId>>,
}

/// The feed of one tenant, as its watchers share it.
pub(crate) struct Feed {
    tenant: TenantId,
    /// Counts how often there was something new.
    wakes: watch::Sender<u64>,
    tail: Mutex<Tail>,
    counts: Arc<Watching>,
}

struct Tail {
    entries: VecDeque<Arc<FeedEntry>>,
    /// Everything behind this, up to `read_to`, is in `entries`.
    from: Position,
    read_to: Position,
    /// The clock at `read_to`.
    clock: UnixMs,
    /// The wake that was answered last.
    woken: u64,
}

/// What comes next for a watcher.
pub(crate) enum Next {
    /// These, in order.
    Entries(Vec<Arc<FeedEntry>>),
    /// Nothing, up to what this node has applied: its position and clock.
    Nothing(Position, UnixMs),
    /// Its place is no longer known.
    Compacted,
}

impl Feeds {
    /// The feed of a tenant, shared with whoever watches it.
    pub(crate) fn of(
        &self,
        node: &Node,
        tenant: &TenantId,
        counts: &Arc<Watching>,
    ) -> Result<Arc<Feed>, TablesError> {
        let mut feeds = self.feeds.lock();
        if let Some(feed) = feeds.get(tenant).and_then(Weak::upgrade) {
            return Ok(feed);
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let (from, clock) = node.view(|_, meta| Ok((meta.position, meta.clock)))?;
        let tail = Tail { entries: VecDeque::new(), from, read_to: from, clock, woken: 0 };
        let (tenant, wakes) = (tenant.clone(), watch::Sender::new(0));
        let counts = Arc::clone(counts);
        let feed = Arc::new(Feed { tenant, wakes, tail: Mutex::new(tail), counts });
        feeds.insert(feed.tenant.clone(), Arc::downgrade(&feed));
        Ok(feed)
    }

    fn wake(&self, tenant: &TenantId) {
        if let Some(feed) = self.feeds.lock().get(tenant).and_then(Weak::upgrade) {
            feed.wakes.send_modify(|wakes| *wakes += 1);
        }
    }
}

impl Feed {
    /// Told whenever there is something new.
    pub(crate) fn wakes(&self) -> watch::Receiver<u64> {
        self.wakes.subscribe()
    }

    /// What a watcher that has heard everything up to `after`, at `at`, hears next. It reflects at
    /// least `seen`.
    pub(crate) fn next(
        &self,
        node: &Node,
        after: Position,
        at: UnixMs,
        seen: Position,
    ) -> Result<Next, TablesError> {
        let mut tail = self.tail.lock();
        let wake = *self.wakes.borrow();
        if tail.woken < wake || tail.read_to < seen {
            self.refresh(node, &mut tail)?;
            tail.woken = wake;
        }
        if after >= tail.from {
            let behind = tail.entries.partition_point(|entry| entry.position <= after);
            let found: Vec<_> = tail.entries.range(behind..).take(ROWS_A_LOOK).cloned().collect();
            if !found.is_empty() {
                return Ok(Next::Entries(found));
            }
            return Ok(Next::Nothing(tail.read_to.max(after), tail.clock));
        }
        drop(tail);
        self.read(node, after, at)
    }

    /// Reads rows for one who is behind what the others share.
    fn read(&self, node: &Node, after: Position, at: UnixMs) -> Result<Next, TablesError> {
        self.counts.read();
        let (found, position, clock) = node.view(|tables, meta| {
            let found = feed::entries(tables, &self.tenant, after, ROWS_A_LOOK)?;
            Ok((found, meta.position, meta.clock))
        })?;
        // Judged after the look: what it missed would be missing for good.
        if !feed::reaches_back_to(at, clock) {
            return Ok(Next::Compacted);
        }
        if found.is_empty() {
            return Ok(Next::Nothing(position.max(after), clock));
        }
        Ok(Next::Entries(found.into_iter().map(Arc::new).collect()))
    }

    fn refresh(&self, node: &Node, tail: &mut Tail) -> Result<(), TablesError> {
        loop {
            let after = tail.read_to;
            self.counts.read();
            let (found, position, clock) = node.view(|tables, meta| {
                let found = feed::entries(tables, &self.tenant, after, ROWS_A_LOOK)?;
                Ok((found, meta.position, meta.clock))
            })?;
            let more = found.len() == ROWS_A_LOOK;
            (tail.read_to, tail.clock) = match found.last() {
                Some(last) if more => (last.position, last.at),
                _ => (position.max(after), clock),
            };
            tail.entries.extend(found.into_iter().map(Arc::new));
            while tail.entries.len() > TAIL_MAX {
                if let Some(oldest) = tail.entries.pop_front() {
                    tail.from = oldest.position;
                }
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// Where a node's events go: into the log, and to those who watch.
pub(crate) struct NodeEvents {
    pub(crate) leases: LeaseEvents,
    pub(crate) feeds: Arc<Feeds>,
}

impl EventSink for NodeEvents {
    fn event(&self, event: Event) {
        if Change::is_in(event.family, &event.kind) {
            let mut touched = self.feeds.touched.lock();
            if !touched.contains(&event.tenant) {
                touched.push(event.tenant.clone());
            }
        }
        self.leases.event(event);
    }

    fn visible(&self) {
        let touched = std::mem::take(&mut *self.feeds.touched.lock());
        touched.iter().for_each(|tenant| self.feeds.wake(tenant));
        self.leases.visible();
    }

    fn lease(&self, notice: LeaseNotice) {
        self.leases.lease(notice);
    }

    fn jumped(&self) {
        let all: Vec<TenantId> = self.feeds.feeds.lock().keys().cloned().collect();
        all.iter().for_each(|tenant| self.feeds.wake(tenant));
        self.leases.jumped();
    }
}
