//! Locks on the wire, both ways.

use bytes::Bytes;
use jeton_core::command::{
    Acquire, LeaseName, Operation, Publish, Release, Renew, RequestName, Withdraw,
};
use jeton_core::ids::{DurationMs, Fence, LockName, Position, TenantId};
use jeton_core::limits;
use jeton_core::reply::{Done, Flight, Granted, HeldView, LockView, Refusal};

use crate::answer::{Answered, Seen, seen, unless_refused};
use crate::check::{self, Violation};
use crate::decode::{Query, Read, Write, consistency, name, write};
use crate::encode::request_name;
use crate::failure::Failure;
use crate::pb::v1;
use crate::pb::v1::operation_result::Response;
use crate::refusal;
use crate::reply::{Kind, bug};

/// A result of a single flight that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlightAsked {
    /// Which lock the flight is under.
    pub lock: LockName,
    /// Only the result of a later grant.
    pub after: Fence,
    /// How long to wait while somebody is at it.
    pub wait: DurationMs,
}

fn between(
    field: &str,
    ms: u64,
    min: DurationMs,
    max: DurationMs,
) -> Result<DurationMs, Violation> {
    if ms < min.0 || ms > max.0 {
        let problem = format!("is {ms} ms: give {} to {} ms", min.0, max.0);
        return Err(Violation::new(field, problem));
    }
    Ok(DurationMs(ms))
}

fn wait(ms: u64) -> Result<DurationMs, Violation> {
    between("wait_ms", ms, DurationMs(0), limits::LOCK_WAIT_MAX)
}

fn lease(field: &str, lease: Option<v1::LeaseName>) -> Result<LeaseName, Violation> {
    let lease = check::required(field, lease)?;
    Ok(LeaseName {
        lock: check::lock(&format!("{field}.lock"), &lease.lock)?,
        holder: check::holder(&format!("{field}.holder"), &lease.holder)?,
        fence: Fence(lease.fence),
    })
}

pub(crate) fn acquire(r: v1::AcquireRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let acquire = Acquire {
        lock: check::lock("lock", &r.lock)?,
        holder: check::holder("holder", &r.holder)?,
        ttl: between("ttl_ms", r.ttl_ms, limits::LEASE_TTL_MIN, limits::LEASE_TTL_MAX)?,
        wait: wait(r.wait_ms)?,
    };
    Ok(write(tenant, request, Operation::Acquire(acquire), None))
}

pub(crate) fn renew(r: v1::RenewRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    if r.leases.is_empty() || r.leases.len() > limits::RENEW_LEASES_MAX {
        let (len, max) = (r.leases.len(), limits::RENEW_LEASES_MAX);
        return Err(Violation::new("leases", format!("has {len} entries: give 1 to {max}")));
    }
    let leases = r.leases.into_iter().enumerate();
    let leases = leases.map(|(place, name)| lease(&format!("leases[{place}]"), Some(name)));
    let renew = Renew { leases: leases.collect::<Result<_, _>>()? };
    Ok(write(tenant, request, Operation::Renew(renew), None))
}

pub(crate) fn release(r: v1::ReleaseRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let release = Release { lease: lease("lease", r.lease)? };
    Ok(write(tenant, request, Operation::Release(release), None))
}

pub(crate) fn withdraw(r: v1::WithdrawRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let withdraw = Withdraw {
        lock: check::lock("lock", &r.lock)?,
        acquire: check::request_id("acquire_id", &r.acquire_id)?,
        asked: None,
    };
    Ok(write(tenant, request, Operation::Withdraw(withdraw), None))
}

pub(crate) fn publish(r: v1::PublishRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let publish = Publish {
        lease: lease("lease", r.lease)?,
        sealed: check::bytes_max("sealed_result", r.sealed_result, limits::RESULT_BYTES_MAX)?,
        ttl: between("ttl_ms", r.ttl_ms, DurationMs(1), limits::RESULT_TTL_MAX)?,
        release: r.release,
    };
    Ok(write(tenant, request, Operation::Publish(publish), None))
}

pub(crate) fn flight(r: v1::AwaitRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let query = Query::Flight(FlightAsked {
        lock: check::lock("lock", &r.lock)?,
        after: Fence(r.after_fence),
        wait: wait(r.wait_ms)?,
    });
    Ok(Read { tenant, query, consistency: consistency(r.consistency)? })
}

pub(crate) fn get(r: v1::GetLockRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let query = Query::Lock(check::lock("lock", &r.lock)?);
    Ok(Read { tenant, query, consistency: consistency(r.consistency)? })
}

fn lease_of(lease: &LeaseName) -> v1::LeaseName {
    v1::LeaseName {
        lock: lease.lock.as_str().to_owned(),
        holder: lease.holder.as_str().to_owned(),
        fence: lease.fence.0,
    }
}

/// See [`Acquire`].
#[must_use]
pub fn acquire_request(
    tenant: &TenantId,
    name: RequestName,
    acquire: &Acquire,
) -> v1::AcquireRequest {
    v1::AcquireRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        lock: acquire.lock.as_str().to_owned(),
        holder: acquire.holder.as_str().to_owned(),
        ttl_ms: acquire.ttl.0,
        wait_ms: acquire.wait.0,
    }
}

/// See [`Renew`].
#[must_use]
pub fn renew_request(tenant: &TenantId, name: RequestName, renew: &Renew) -> v1::RenewRequest {
    v1::RenewRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        leases: renew.leases.iter().map(lease_of).collect(),
    }
}

/// See [`Release`].
#[must_use]
pub fn release_request(
    tenant: &TenantId,
    name: RequestName,
    release: &Release,
) -> v1::ReleaseRequest {
    v1::ReleaseRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        lease: Some(lease_of(&release.lease)),
    }
}

/// See [`Withdraw`]; `None` for a node's own.
#[must_use]
pub fn withdraw_request(
    tenant: &TenantId,
    name: RequestName,
    withdraw: &Withdraw,
) -> Option<v1::WithdrawRequest> {
    withdraw.asked.is_none().then(|| v1::WithdrawRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        lock: withdraw.lock.as_str().to_owned(),
        acquire_id: Bytes::copy_from_slice(&withdraw.acquire.0),
    })
}

/// See [`Publish`].
#[must_use]
pub fn publish_request(
    tenant: &TenantId,
    name: RequestName,
    publish: &Publish,
) -> v1::PublishRequest {
    v1::PublishRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        lease: Some(lease_of(&publish.lease)),
        sealed_result: publish.sealed.clone(),
        ttl_ms: publish.ttl.0,
        release: publish.release,
    }
}

pub(crate) fn await_request(tenant: &TenantId, asked: &FlightAsked) -> v1::AwaitRequest {
    v1::AwaitRequest {
        tenant: tenant.as_str().to_owned(),
        lock: asked.lock.as_str().to_owned(),
        after_fence: asked.after.0,
        wait_ms: asked.wait.0,
        consistency: None,
    }
}

/// The response to a mutation of a lock.
///
/// # Errors
/// [`Failure`] for refusals that are errors, and for a reply that does not fit `kind`, which is a
/// bug.
pub(crate) fn mutation(
    kind: Kind,
    position: u64,
    outcome: Result<Done, Refusal>,
) -> Result<Response, Failure> {
    use v1::acquire_response::Outcome;
    let (done, refusal) = match outcome {
        Ok(done) => (Some(done), None),
        Err(refusal) => (None, Some(refusal::encode(refusal)?)),
    };
    Ok(match (kind, done) {
        (Kind::Acquire, Some(Done::Granted(granted))) => {
            let Granted { fence, ttl, waited } = granted;
            let granted = v1::LockGrant { fence: fence.0, ttl_ms: ttl.0, waited };
            let outcome = Some(Outcome::Granted(granted));
            Response::Acquire(v1::AcquireResponse { position, outcome })
        }
        (Kind::Acquire, None) => {
            let outcome = refusal.map(Outcome::Refusal);
            Response::Acquire(v1::AcquireResponse { position, outcome })
        }
        (Kind::Renew, Some(Done::Renewed { lost })) => {
            Response::Renew(v1::RenewResponse { position, lost, refusal: None })
        }
        (Kind::Renew, None) => {
            Response::Renew(v1::RenewResponse { position, lost: Vec::new(), refusal })
        }
        (Kind::Release, Some(Done::Released) | None) => {
            Response::Release(v1::ReleaseResponse { position, refusal })
        }
        (Kind::Withdraw, Some(Done::Withdrawn) | None) => {
            Response::Withdraw(v1::WithdrawResponse { position, refusal })
        }
        (Kind::Publish, Some(Done::Published) | None) => {
            Response::Publish(v1::PublishResponse { position, refusal })
        }
        _ => return Err(bug("the reply does not fit the request")),
    })
}

fn mark(position: Position, age: Option<DurationMs>) -> Option<v1::ReadMark> {
    Some(v1::ReadMark { position: position.0, age_ms: age.map(|age| age.0) })
}

fn hold_of(held: &HeldView) -> v1::LockHold {
    v1::LockHold {
        holder: held.holder.as_str().to_owned(),
        fence: held.fence.0,
        ttl_ms: held.ttl.0,
        remaining_ms: held.remaining.0,
    }
}

fn held(field: &str, hold: &v1::LockHold) -> Result<HeldView, Violation> {
    Ok(HeldView {
        holder: check::holder(&format!("{field}.holder"), &hold.holder)?,
        fence: Fence(hold.fence),
        ttl: DurationMs(hold.ttl_ms),
        remaining: DurationMs(hold.remaining_ms),
    })
}

/// The response to an `Await`.
///
/// # Errors
/// [`Failure`] for refusals that are errors.
pub fn flight_response(
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<Flight, Refusal>,
) -> Result<Response, Failure> {
    use v1::await_response::Outcome;
    let outcome = match outcome {
        Ok(Flight::Landed { fence, sealed }) => {
            Outcome::Landed(v1::FlightResult { fence: fence.0, sealed_result: sealed })
        }
        Ok(Flight::Flying(held)) => Outcome::Flying(hold_of(&held)),
        Ok(Flight::Grounded) => Outcome::Grounded(true),
        Err(refusal) => Outcome::Refusal(refusal::encode(refusal)?),
    };
    let read = mark(position, age);
    Ok(Response::Await(v1::AwaitResponse { read, outcome: Some(outcome) }))
}

/// The response to a `GetLock`.
///
/// # Errors
/// [`Failure`] for refusals that are errors.
pub fn lock_response(
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<LockView, Refusal>,
) -> Result<Response, Failure> {
    use v1::get_lock_response::Outcome;
    let outcome = match outcome {
        Ok(LockView { held, waiters }) => {
            Outcome::Lock(v1::Lock { held: held.as_ref().map(hold_of), waiters })
        }
        Err(refusal) => Outcome::Refusal(refusal::encode(refusal)?),
    };
    let read = mark(position, age);
    Ok(Response::GetLock(v1::GetLockResponse { read, outcome: Some(outcome) }))
}

/// What became of an `Acquire`.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn acquired(r: v1::AcquireResponse) -> Result<Answered<Granted>, Violation> {
    use v1::acquire_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Granted(granted) => Ok(Granted {
            fence: Fence(granted.fence),
            ttl: DurationMs(granted.ttl_ms),
            waited: granted.waited,
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// Which leases a `Renew` has found lost, by their places in the request.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn renewed(r: v1::RenewResponse) -> Result<Answered<Vec<u32>>, Violation> {
    unless_refused(r.position, r.refusal, r.lost)
}

/// What became of a `Release`.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn released(r: v1::ReleaseResponse) -> Result<Answered<()>, Violation> {
    unless_refused(r.position, r.refusal, ())
}

/// What became of a `Withdraw`.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn withdrawn(r: v1::WithdrawResponse) -> Result<Answered<()>, Violation> {
    unless_refused(r.position, r.refusal, ())
}

/// What became of a `Publish`.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn published(r: v1::PublishResponse) -> Result<Answered<()>, Violation> {
    unless_refused(r.position, r.refusal, ())
}

/// What an `Await` has found.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn flown(r: v1::AwaitResponse) -> Result<Seen<Flight>, Violation> {
    use v1::await_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Landed(it) => {
            Ok(Flight::Landed { fence: Fence(it.fence), sealed: it.sealed_result })
        }
        Outcome::Flying(hold) => Ok(Flight::Flying(held("flying", &hold)?)),
        Outcome::Grounded(_) => Ok(Flight::Grounded),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

/// What a `GetLock` has found.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn got(r: v1::GetLockResponse) -> Result<Seen<LockView>, Violation> {
    use v1::get_lock_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Lock(lock) => Ok(LockView {
            held: lock.held.map(|hold| held("lock.held", &hold)).transpose()?,
            waiters: lock.waiters,
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}
