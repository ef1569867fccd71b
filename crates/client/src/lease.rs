//! A lock that is held: kept by itself, and known to be lost before anybody else can have it.
//!
//! ```text
//!  sent ──────────────── ttl × (1 − 2ε) ─────────────▶ own deadline: lost() fires
//!    └─▶ cluster: granted or renewed ─────────── ttl ───────────────▶ the next one may have it
//! ```
//!
//! The holder counts from the moment it *sent* what was granted, by its own monotonic clock, a
//! little short: ε = 2 % for its clock and ε for the leader's. The cluster counts from a later
//! moment, by lease time, which is never faster than real time. So whatever happens to messages,
//! nodes and wall clocks, the holder's deadline comes first. A holder that was paused finds on
//! waking that its deadline has passed: look at [`Lease::is_held`] just before what must not happen
//! twice, and send the fence along, so that what is guarded can refuse whoever comes late all the
//! same.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::command::LeaseName;
use jeton_core::ids::Fence;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::Deadline;
use crate::error::Error;
use crate::tenant::Tenant;

/// Largest error of the rate of a monotonic clock, in percent.
const RATE_ERROR_PERCENT: u32 = 2;
/// A lease is renewed when this part of it is over.
const RENEW_PART: u32 = 3;
/// Giving a lock back that was dropped may take this long.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// The lease was lost before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost: another holder may have the lock")]
pub struct LeaseLost;

/// What is known of a lease, shared with whoever keeps it.
pub(crate) struct Hold {
    pub(crate) tenant: Tenant,
    pub(crate) name: LeaseName,
    pub(crate) ttl: Duration,
    /// The holder's own deadline.
    until: watch::Sender<Instant>,
    /// When it is to be renewed next.
    due: Mutex<Instant>,
}

impl Hold {
    /// When it is to be renewed next.
    pub(crate) fn due(&self) -> Instant {
        *self.due.lock()
    }

    pub(crate) fn set_due(&self, due: Instant) {
        *self.due.lock() = due;
    }

    /// Until when it may be acted on.
    pub(crate) fn until(&self) -> Instant {
        *self.until.borrow()
    }

    /// The cluster has granted or renewed it, on what was sent at `sent`. A lease that was lost
    /// meanwhile stays so.
    pub(crate) fn renewed(&self, sent: Instant) {
        let now = Instant::now();
        self.until.send_if_modified(|until| {
            let later = own_deadline(sent, self.ttl);
            let extends = now < *until && later > *until;
            if extends {
                *until = later;
            }
            extends
        });
        self.set_due(sent + self.ttl / RENEW_PART);
    }

    /// It is over, whatever its deadline was.
    pub(crate) fn lose(&self) {
        let now = Instant::now();
        self.until.send_if_modified(|until| {
            let earlier = *until > now;
            if earlier {
                *until = now;
            }
            earlier
        });
    }
}

/// When a holder must stop that sent its request at `sent`.
fn own_deadline(sent: Instant, ttl: Duration) -> Instant {
    sent + ttl * (100 - 2 * RATE_ERROR_PERCENT) / 100
}

/// A lock that is held. It is renewed by itself while this lives, together with all other leases of
/// the client, and given back when this is dropped; [`Lease::release`] does the same and says
/// whether it went well.
pub struct Lease {
    hold: Arc<Hold>,
    /// Whether dropping it gives the lock back.
    releases: AtomicBool,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LeaseName { lock, holder, fence } = &self.hold.name;
        let left = self.hold.until().saturating_duration_since(Instant::now());
        f.debug_struct("Lease")
            .field("lock", lock)
            .field("holder", holder)
            .field("fence", fence)
            .field("left", &left)
            .finish()
    }
}

impl Lease {
    /// A grant that was asked for at `sent`. Nobody renews it before [`Lease::keep`].
    pub(crate) fn new(tenant: Tenant, name: LeaseName, ttl: Duration, sent: Instant) -> Self {
        let hold = Hold {
            tenant,
            name,
            ttl,
            until: watch::Sender::new(own_deadline(sent, ttl)),
            due: Mutex::new(sent + ttl / RENEW_PART),
        };
        Self { hold: Arc::new(hold), releases: AtomicBool::new(true) }
    }

    /// Renews it now. `false`: it is lost.
    pub(crate) async fn renew(&self, deadline: Deadline) -> Result<bool, Error> {
        let hold = &self.hold;
        let sent = Instant::now();
        let names = std::slice::from_ref(&hold.name);
        let lost = hold.tenant.renew_leases(names, deadline).await?;
        if !lost.is_empty() {
            self.releases.store(false, Ordering::Release);
            hold.lose();
            return Ok(false);
        }
        // How much was left of the grant did not matter: this is what counts.
        let later = own_deadline(sent, hold.ttl);
        hold.until.send_replace(later);
        hold.set_due(sent + hold.ttl / RENEW_PART);
        Ok(self.is_held())
    }

    /// From now on it is renewed by itself.
    pub(crate) fn keep(&self) {
        self.hold.tenant.client().keeper().take_in(&self.hold);
    }

    /// Its name: lock, holder and fence.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        &self.hold.name
    }

    /// Larger than that of every grant of this lock before. Send it along with whatever must not
    /// come late, and have it refused there if a larger one was seen.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.hold.name.fence
    }

    /// Until when it may be acted on, by this process's own clock; each renewal moves it.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.hold.until()
    }

    /// Whether it may be acted on now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Instant::now() < self.hold.until()
    }

    /// Waits until it must not be acted on any more: its deadline has passed, or the cluster says
    /// that it is lost.
    pub async fn lost(&self) {
        self.watch().lost().await;
    }

    /// The same for other tasks.
    #[must_use]
    pub fn watch(&self) -> LeaseWatch {
        LeaseWatch { until: self.hold.until.subscribe() }
    }

    /// Does some work as long as it is held. What the work had begun when the lease was lost is
    /// dropped where it stands.
    ///
    /// # Errors
    /// [`LeaseLost`] if it was lost first.
    pub async fn while_held<T>(&self, work: impl Future<Output = T>) -> Result<T, LeaseLost> {
        tokio::select! {
            biased;
            () = self.lost() => Err(LeaseLost),
            done = work => Ok(done),
        }
    }

    /// Gives the lock back. `false`: the lease had ended before.
    ///
    /// # Errors
    /// Whatever any call may fail with; the lease ends by itself then.
    pub async fn release(self, deadline: impl Into<Deadline>) -> Result<bool, Error> {
        self.releases.store(false, Ordering::Release);
        // From here on nobody may act on it, however long giving it back takes.
        self.hold.lose();
        self.hold.tenant.release_lease(self.hold.name.clone(), deadline).await
    }

    /// Lets go of it without giving the lock back: it is not renewed any more, and ends with its
    /// time. For those who hold it by name from now on.
    #[must_use]
    pub fn into_name(self) -> LeaseName {
        self.releases.store(false, Ordering::Release);
        self.hold.lose();
        self.hold.name.clone()
    }
}

impl Drop for Lease {
    /// Best effort: without a runtime, or without the cluster, the lease ends by itself.
    fn drop(&mut self) {
        self.hold.lose();
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.releases.load(Ordering::Acquire) {
            return;
        }
        let hold = Arc::clone(&self.hold);
        runtime.spawn(async move {
            let released = hold.tenant.release_lease(hold.name.clone(), DROP_DEADLINE).await;
            if let Err(error) = released {
                tracing::debug!(%error, "a dropped lease was not given back");
            }
        });
    }
}

/// Tells when a lease is over. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LeaseWatch {
    until: watch::Receiver<Instant>,
}

impl LeaseWatch {
    /// Whether the lease may be acted on now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Instant::now() < *self.until.borrow()
    }

    /// Waits until it must not be acted on any more.
    pub async fn lost(&mut self) {
        loop {
            let until = *self.until.borrow_and_update();
            tokio::select! {
                biased;
                changed = self.until.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(until) => {
                    // A renewal may have come in the same moment.
                    if !self.is_held() {
                        return;
                    }
                }
            }
        }
    }
}
