//! A resource server's own view of what is revoked: `check` asks nobody and waits for nobody.
//!
//! A task keeps the view by a [`crate::Watcher`]: a snapshot, then every event. The view is as
//! fresh as its newest echoed probe is old, by this process' monotonic clock: beyond
//! [`ViewOptions::max_staleness`] it calls nothing active any more, unless it is told to.

mod marks;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jeton_core::access::{self, Access, Claims, Denied};
use jeton_core::ids::Position;
use jeton_wire::decode::Consistency;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::client::Deadline;
use crate::error::Error;
use crate::tenant::Tenant;
use crate::watch::{Begin, Notice};

use marks::Marks;

/// How often marks are looked through for those that no longer matter.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// What a view does when it is older than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStale {
    /// Calls nothing active.
    #[default]
    Deny,
    /// The same, but [`RevocationView::check_or_ask`] asks the cluster.
    Ask,
    /// Goes on with what it knows: who is cut off lets revoked tokens in.
    Allow,
}

/// How a view is kept.
#[derive(Debug, Clone, Copy)]
pub struct ViewOptions {
    /// How old the view may be. Default 3 s.
    pub max_staleness: Duration,
    /// What happens beyond that. Default [`OnStale::Deny`].
    pub on_stale: OnStale,
    /// How often a probe leaves. Default 200 ms.
    pub probe_every: Duration,
    /// A node that gives no sign of life for this long is left for another. Default 1 s.
    pub silence_max: Duration,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            max_staleness: Duration::from_secs(3),
            on_stale: OnStale::Deny,
            probe_every: Duration::from_millis(200),
            silence_max: Duration::from_secs(1),
        }
    }
}

/// Whether an access token may be used, as far as a view can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that is in force stands in its way. Its signature and expiry are the caller's.
    Active,
    /// It must not be used.
    Denied(Denied),
    /// The view is too old to call it active: it must not be used without asking. How old;
    /// `None` before the first snapshot.
    Stale(Option<Duration>),
}

impl Verdict {
    /// Whether the token may be used.
    #[must_use]
    pub fn allows(self) -> bool {
        self == Self::Active
    }
}

/// What is revoked in a tenant, in memory. Dropping it ends the watch. See [`Tenant::view`].
pub struct RevocationView {
    shared: Arc<Shared>,
    tenant: Tenant,
    options: ViewOptions,
    task: AbortHandle,
}

struct Shared {
    marks: ArcSwap<Marks>,
    began: Instant,
    /// Nanoseconds from `began` to when the newest echoed probe left, and one; 0: none was.
    fresh: AtomicU64,
    heard: watch::Sender<Position>,
}

impl Shared {
    /// When the newest echoed probe left: whatever was acknowledged before then is in the marks.
    fn confirmed(&self) -> Option<Instant> {
        let fresh = self.fresh.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.began + Duration::from_nanos(fresh))
    }
}

impl Tenant {
    /// Starts a view of this tenant's revocations. It is stale until its first snapshot is there:
    /// see [`RevocationView::fresh`].
    ///
    /// # Errors
    /// [`Error::Randomness`](crate::Error) if no key for it can be drawn.
    pub fn view(&self, options: ViewOptions) -> Result<RevocationView, Error> {
        let mut seed = [0; 8];
        self.client.fill(&mut seed)?;
        let seed = u64::from_le_bytes(seed);
        let shared = Arc::new(Shared {
            marks: ArcSwap::from_pointee(Marks::new(seed)),
            began: Instant::now(),
            fresh: AtomicU64::new(0),
            heard: watch::Sender::new(Position(0)),
        });
        let keeping = keep(self.clone(), Arc::clone(&shared), options, seed);
        let task = tokio::spawn(keeping).abort_handle();
        Ok(RevocationView { shared, tenant: self.clone(), options, task })
    }
}

impl Drop for RevocationView {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(tenant: Tenant, shared: Arc<Shared>, options: ViewOptions, seed: u64) {
    let mut watcher = tenant.watch(Begin::Snapshot, options.probe_every, options.silence_max);
    let mut forget_at = Instant::now() + FORGET_EVERY;
    loop {
        let position = match watcher.next().await {
            Notice::Snapshot { entries, place } => {
                shared.marks.store(Arc::new(Marks::of(seed, &entries)));
                place.position
            }
            Notice::Changed(entry) => {
                shared.marks.load().take(&entry);
                entry.position
            }
            Notice::Fresh { sent, place } => {
                let since = sent.saturating_duration_since(shared.began).as_nanos();
                let since = u64::try_from(since).unwrap_or(u64::MAX - 1);
                shared.fresh.fetch_max(since + 1, Ordering::Release);
                if Instant::now() >= forget_at {
                    forget_at = Instant::now() + FORGET_EVERY;
                    shared.marks.load().forget(place.at);
                }
                place.position
            }
        };
        // Also if it is the same: those who wait for freshness look again.
        shared.heard.send_replace(position);
    }
}

impl RevocationView {
    /// Whether an access token may be used, from memory: no I/O, no lock that waits, no
    /// allocation. What is known to be revoked is denied however old the view is.
    #[must_use]
    pub fn check(&self, claims: &Claims<'_>) -> Verdict {
        // Read before the marks, and compared with a clock that is read after them. So whoever is
        // stopped on the way finds itself stale, though the view may have caught up by then: what
        // it judged by are the marks of before.
        let confirmed = self.shared.confirmed();
        let Ok(access) = access::judge(&**self.shared.marks.load(), claims);
        if let Access::Denied(denied) = access {
            return Verdict::Denied(denied);
        }
        if self.options.on_stale == OnStale::Allow {
            return Verdict::Active;
        }
        match confirmed.map(|at| Instant::now().saturating_duration_since(at)) {
            Some(age) if age <= self.options.max_staleness => Verdict::Active,
            age => Verdict::Stale(age),
        }
    }

    /// The same, but asks the cluster where the view is stale and was told to
    /// ([`OnStale::Ask`]).
    ///
    /// # Errors
    /// Whatever [`Tenant::check_access`] may fail with: the token must not be used then.
    pub async fn check_or_ask(
        &self,
        claims: &Claims<'_>,
        deadline: impl Into<Deadline>,
    ) -> Result<Verdict, Error> {
        let verdict = self.check(claims);
        if !matches!(verdict, Verdict::Stale(_)) || self.options.on_stale != OnStale::Ask {
            return Ok(verdict);
        }
        let asked = [*claims];
        let read = self.tenant.check_access(&asked, Consistency::Linearizable, deadline).await?;
        Ok(match read.value.first() {
            Some(Access::Active) => Verdict::Active,
            Some(Access::Denied(denied)) => Verdict::Denied(*denied),
            None => verdict,
        })
    }

    /// How long ago what the view knows was certainly everything; `None` before the first snapshot
    /// was confirmed.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        let confirmed = self.shared.confirmed()?;
        Some(Instant::now().saturating_duration_since(confirmed))
    }

    /// Everything up to here was heard.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.shared.heard.borrow()
    }

    /// How many revocations are held.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.marks.load().len()
    }

    /// Memory that they take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.marks.load().bytes()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until the view is fresh, and has heard everything up to `position`.
    ///
    /// # Errors
    /// [`Error::DeadlineExceeded`].
    pub async fn fresh(
        &self,
        position: Position,
        deadline: impl Into<Deadline>,
    ) -> Result<(), Error> {
        let mut heard = self.shared.heard.subscribe();
        let is_fresh = |heard: &Position| {
            let age = self.staleness();
            *heard >= position && age.is_some_and(|age| age <= self.options.max_staleness)
        };
        let waited = tokio::time::timeout_at(deadline.into().at(), heard.wait_for(is_fresh)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            // The sender is held here.
            Ok(Err(_)) | Err(_) => Err(Error::DeadlineExceeded {
                outcome_unknown: false,
                attempts: 1,
                last: Some("the view did not become fresh".to_owned()),
            }),
        }
    }
}

impl std::fmt::Debug for RevocationView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationView").field("len", &self.len()).finish_non_exhaustive()
    }
}
