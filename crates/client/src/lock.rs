//! Locks, one call at a time: asking for one, keeping it, giving it back. [`crate::Lease`] does the
//! keeping by itself.

use std::time::Duration;

use bytes::Bytes;
use jeton_core::command::{Acquire, LeaseName, Publish, Release, Renew, Withdraw};
use jeton_core::ids::{DurationMs, Fence, HolderId, LockName, RequestId};
use jeton_core::reply::{Flight, LockView, Refusal};
use jeton_wire::answer::Answered;
use jeton_wire::decode::{Consistency, Query};
use jeton_wire::lock::{self, FlightAsked};
use jeton_wire::pb::v1::operation::Request;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::answer::Read;
use crate::client::Deadline;
use crate::error::{Error, Violation};
use crate::family::Checks;
use crate::id::IntoId;
use crate::lease::Lease;
use crate::tenant::{Tenant, decoded, unless_refused};
use crate::transport::retry::Repeat;

/// How long a lease lasts that says nothing else.
const TTL_DEFAULT: Duration = Duration::from_secs(15);
/// Taking back what nobody waits for any more is given this long.
const WITHDRAW_DEADLINE: Duration = Duration::from_secs(5);
/// A grant that took longer than this part of its lease is renewed before it is used.
const OLD_PART: u32 = 10;

/// A lock to be acquired.
#[derive(Debug, Clone)]
pub struct NewLease {
    checks: Checks,
    lock: Option<LockName>,
    holder: Option<HolderId>,
    ttl: Duration,
    wait: Duration,
}

impl NewLease {
    /// Of this lock: 1 to 256 bytes, whatever the callers agree on.
    pub fn new(lock: impl IntoId<LockName>) -> Self {
        let mut checks = Checks::default();
        let lock = checks.id("lock", lock);
        Self { checks, lock, holder: None, ttl: TTL_DEFAULT, wait: Duration::ZERO }
    }

    /// Who asks, for those who look at the lock: a host and a process, say. Default: drawn at
    /// random. A lock is not reentrant, whatever its holder is called.
    #[must_use]
    pub fn holder(mut self, holder: impl IntoId<HolderId>) -> Self {
        self.holder = self.checks.id("holder", holder);
        self
    }

    /// How long the lease lasts unless it is renewed, 100 ms to 1 h: how long the lock stays taken
    /// when its holder dies. Default 15 s.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long to wait while others hold it, at most 10 min. Default: not at all.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// What became of a lock that was asked for.
#[derive(Debug)]
pub enum Acquisition {
    /// It is the caller's, as long as the lease is kept.
    Granted(Lease),
    /// Another one holds it, and the wait is over.
    Held {
        /// Who.
        holder: HolderId,
        /// Until that ends, if it isn't renewed.
        remaining: Duration,
    },
}

/// A result of a single flight, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// It is there.
    Landed {
        /// The grant that it was made under.
        fence: Fence,
        /// As the winner sealed it.
        sealed: Bytes,
    },
    /// Somebody is at it still, and the wait is over.
    Flying {
        /// Who.
        holder: HolderId,
    },
    /// Nobody is at it: acquire the lock.
    Grounded,
}

/// Takes an acquisition back when nobody waits for it any more.
struct Withdrawal {
    armed: Option<(Tenant, LockName, RequestId)>,
}

impl Drop for Withdrawal {
    /// Best effort: its wait or its lease ends by itself.
    fn drop(&mut self) {
        let (Some((tenant, lock, acquire)), Ok(runtime)) =
            (self.armed.take(), Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            if let Err(error) = tenant.withdraw(lock, acquire, WITHDRAW_DEADLINE).await {
                tracing::debug!(%error, "an acquisition was not taken back");
            }
        });
    }
}

pub(crate) fn millis(duration: Duration) -> DurationMs {
    DurationMs(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl Tenant {
    /// Gets a lock, or waits for it as long as `new` says; those who wait stand in a queue, first
    /// come, first served. `deadline` is what the call may take beyond that wait.
    ///
    /// The lease is kept by itself until it is released or dropped. Dropping the call's future
    /// gives up the place in the queue.
    ///
    /// # Errors
    /// [`Error::Refused`] with `TenantUnknown`, `LimitReached` (10,000 wait already) or `Lost` (it
    /// was granted, and the answer took longer than the lease), and whatever any call may fail
    /// with.
    pub async fn acquire(
        &self,
        new: NewLease,
        deadline: impl Into<Deadline>,
    ) -> Result<Acquisition, Error> {
        let lock = new.checks.done(new.lock)?;
        let holder = match new.holder {
            Some(holder) => holder,
            None => self.random_holder()?,
        };
        let ends = Instant::now() + new.wait;
        let deadline = Deadline::from(deadline.into().at() + new.wait);
        loop {
            let asked = Instant::now();
            let wait = ends.saturating_duration_since(asked);
            let acquire = Acquire {
                lock: lock.clone(),
                holder: holder.clone(),
                ttl: millis(new.ttl),
                wait: millis(wait),
            };
            let answered = self.ask_for_lock(&acquire, wait, deadline).await?;
            let granted = match answered.outcome {
                Ok(granted) => granted,
                Err(Refusal::Held { holder, remaining }) => {
                    let remaining = Duration::from_millis(remaining.0);
                    return Ok(Acquisition::Held { holder, remaining });
                }
                Err(Refusal::Lost) if Instant::now() < ends => continue,
                Err(refusal) => return Err(Error::Refused(refusal)),
            };
            let name =
                LeaseName { lock: lock.clone(), holder: holder.clone(), fence: granted.fence };
            let ttl = Duration::from_millis(granted.ttl.0);
            let lease = Lease::new(self.clone(), name, ttl, asked);
            // After a wait nobody knows how much of the lease is left.
            let old = granted.waited || asked.elapsed() > ttl / OLD_PART;
            if !old || lease.renew(deadline).await? {
                lease.keep();
                return Ok(Acquisition::Granted(lease));
            }
            if Instant::now() >= ends {
                return Err(Error::Refused(Refusal::Lost));
            }
        }
    }

    async fn ask_for_lock(
        &self,
        acquire: &Acquire,
        wait: Duration,
        deadline: Deadline,
    ) -> Result<Answered<jeton_core::reply::Granted>, Error> {
        let name = self.name(None)?;
        let armed = Some((self.clone(), acquire.lock.clone(), name.id));
        let mut withdrawal = Withdrawal { armed };
        let make = || Request::Acquire(lock::acquire_request(self.id(), name, acquire));
        // An attempt lasts as long as the wait: asking again would only find the same place.
        let pace = wait + self.client().attempt_timeout();
        let response = self.client().call_paced(Repeat::Named, pace, deadline, make).await;
        if response.as_ref().is_ok() || response.as_ref().is_err_and(|e| !e.outcome_unknown()) {
            withdrawal.armed = None;
        }
        decoded!(response?, Acquire, lock::acquired)
    }

    fn random_holder(&self) -> Result<HolderId, Error> {
        let id = self.client().new_request_id()?;
        HolderId::new(&id.to_string()).map_err(|error| Error::protocol(error.to_string()))
    }

    /// Makes leases last for another while, counted from now; says which of them, by their places,
    /// were lost. At most 256 at once.
    ///
    /// # Errors
    /// Whatever any call may fail with.
    pub async fn renew_leases(
        &self,
        leases: &[LeaseName],
        deadline: impl Into<Deadline>,
    ) -> Result<Vec<usize>, Error> {
        let pace = self.client().attempt_timeout();
        self.renew_paced(leases, pace, deadline.into()).await
    }

    /// The same, where one node may take `pace` before another one is asked.
    pub(crate) async fn renew_paced(
        &self,
        leases: &[LeaseName],
        pace: Duration,
        deadline: Deadline,
    ) -> Result<Vec<usize>, Error> {
        let renew = Renew { leases: leases.to_vec() };
        let name = self.name(None)?;
        let make = || Request::Renew(lock::renew_request(self.id(), name, &renew));
        let response = self.client().call_paced(Repeat::Named, pace, deadline, make).await?;
        let lost = unless_refused(decoded!(response, Renew, lock::renewed)?)?;
        Ok(lost.into_iter().map(|place| place as usize).collect())
    }

    /// Gives a lock back. `false`: its lease had ended before, and nothing changed.
    ///
    /// # Errors
    /// Whatever any call may fail with.
    pub async fn release_lease(
        &self,
        lease: LeaseName,
        deadline: impl Into<Deadline>,
    ) -> Result<bool, Error> {
        let release = Release { lease };
        let name = self.name(None)?;
        let make = || Request::Release(lock::release_request(self.id(), name, &release));
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        unless_lost(decoded!(response, Release, lock::released)?)
    }

    /// Takes an acquisition back by the name of its request.
    async fn withdraw(
        &self,
        lock: LockName,
        acquire: RequestId,
        deadline: impl Into<Deadline>,
    ) -> Result<(), Error> {
        let withdraw = Withdraw { lock, acquire, asked: None };
        let name = self.name(None)?;
        let make = || {
            let request = lock::withdraw_request(self.id(), name, &withdraw);
            Request::Withdraw(request.expect("it names no place"))
        };
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        unless_refused(decoded!(response, Withdraw, lock::withdrawn)?)
    }

    /// Hands a sealed result, at most 64 KiB, to those who wait for it, for `ttl` (at most 1 h);
    /// with `release` the lock is given back in the same step. `false`: the lease had ended before,
    /// and nothing changed.
    ///
    /// # Errors
    /// Whatever any call may fail with.
    pub async fn publish_result(
        &self,
        lease: LeaseName,
        sealed: Bytes,
        ttl: Duration,
        release: bool,
        deadline: impl Into<Deadline>,
    ) -> Result<bool, Error> {
        let publish = Publish { lease, sealed, ttl: millis(ttl), release };
        let name = self.name(None)?;
        let make = || Request::Publish(lock::publish_request(self.id(), name, &publish));
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        unless_lost(decoded!(response, Publish, lock::published)?)
    }

    /// Waits up to `wait` for the result of a grant later than `after`, as long as somebody holds
    /// the lock. `deadline` is what the call may take beyond that wait.
    ///
    /// # Errors
    /// [`Error::Refused`] with `TenantUnknown`, and whatever any read may fail with.
    pub async fn await_result(
        &self,
        lock: impl IntoId<LockName>,
        after: Fence,
        wait: Duration,
        deadline: impl Into<Deadline>,
    ) -> Result<Awaited, Error> {
        let mut checks = Checks::default();
        let lock = checks.id("lock", lock);
        let lock = checks.done(lock)?;
        let ends = Instant::now() + wait;
        let deadline = Deadline::from(deadline.into().at() + wait);
        let make = || {
            let wait = millis(ends.saturating_duration_since(Instant::now()));
            let asked = FlightAsked { lock: lock.clone(), after, wait };
            self.read_request(Query::Flight(asked), Consistency::Linearizable)
        };
        let pace = wait + self.client().attempt_timeout();
        let response = self.client().call_paced(Repeat::Read, pace, deadline, make).await?;
        let seen = decoded!(response, Await, lock::flown)?;
        Ok(match seen.outcome.map_err(Error::Refused)? {
            Flight::Landed { fence, sealed } => Awaited::Landed { fence, sealed },
            Flight::Flying(held) => Awaited::Flying { holder: held.holder },
            Flight::Grounded => Awaited::Grounded,
        })
    }

    /// Who holds a lock, and how many wait for it.
    ///
    /// # Errors
    /// [`Error::Refused`] with `TenantUnknown`, and whatever any read may fail with.
    pub async fn get_lock(
        &self,
        lock: impl IntoId<LockName>,
        consistency: Consistency,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<LockView>, Error> {
        let lock = lock.into_id().map_err(|error| Error::InvalidArgument {
            violations: vec![Violation::new("lock", error.to_string())],
        })?;
        let make = || self.read_request(Query::Lock(lock.clone()), consistency);
        let response = self.client().call(Repeat::Read, deadline.into(), make).await?;
        let seen = decoded!(response, GetLock, lock::got)?;
        let value = seen.outcome.map_err(Error::Refused)?;
        Ok(Read { value, position: seen.position, age: seen.age })
    }
}

/// `false` if the lease had ended before.
fn unless_lost(answered: Answered<()>) -> Result<bool, Error> {
    match answered.outcome {
        Ok(()) => Ok(true),
        Err(Refusal::Lost) => Ok(false),
        Err(refusal) => Err(Error::Refused(refusal)),
    }
}
