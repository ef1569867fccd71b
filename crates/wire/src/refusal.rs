//! Refusals on the wire, and the table of those that are gRPC errors.
//!
//! | refusal | on token and revocation calls | on admin calls |
//! |---|---|---|
//! | `RateLimited`, `SweepsPending` | `RESOURCE_EXHAUSTED`, `RetryInfo` | the same |
//! | `Invalid` | `INVALID_ARGUMENT`, `BadRequest` | the same |
//! | `NotFound`, `TenantUnknown` | data | `NOT_FOUND` |
//! | `AlreadyExists` | data | `ALREADY_EXISTS` |
//! | `VersionMismatch` | data | `ABORTED`: read it again |
//! | `LimitReached`, `StaleRequest`, `NameReused`, and all others | data | `FAILED_PRECONDITION` |
//!
//! None of them changed anything that a retry could do twice: all are `not_executed`.

use std::time::Duration;

use bytes::Bytes;
use jeton_core::ids::{DurationMs, FamilyId, Generation, Position, UnixMs};
use jeton_core::limits;
use jeton_core::reply::{CodeRefusal, Refusal, Reuse, ReuseClass, RevocationCause, RevokedBy};
use tonic::Code;

use crate::check::{self, Violation};
use crate::encode::text;
use crate::failure::{Failure, reason};
use crate::pb::v1;
use v1::refusal::Code as Pb;

/// A refusal as data, or as the failure that the table makes of it.
///
/// # Errors
/// [`Failure`] for what may come again by itself, and for invalid values.
pub fn encode(refusal: Refusal) -> Result<v1::Refusal, Failure> {
    match refusal {
        Refusal::RateLimited { .. } | Refusal::SweepsPending { .. } | Refusal::Invalid { .. } => {
            Err(failure(refusal))
        }
        refusal => Ok(data(refusal)),
    }
}

fn data(refusal: Refusal) -> v1::Refusal {
    let mut pb = v1::Refusal { message: message(&refusal), ..v1::Refusal::default() };
    let code = match refusal {
        Refusal::Revoked(by) => {
            pb.revoked = Some(revoked(&by));
            Pb::Revoked
        }
        Refusal::Expired { absolute, idle } => {
            pb.expired = Some(v1::Expired { absolute_unix_ms: absolute.0, idle_unix_ms: idle.0 });
            Pb::Expired
        }
        Refusal::ClientMismatch => Pb::ClientMismatch,
        Refusal::BindingMismatch => Pb::BindingMismatch,
        Refusal::Integrity { head } => {
            pb.head_generation = head.0;
            Pb::Integrity
        }
        Refusal::Reused(reuse) => {
            pb.reused = Some(reused(&reuse));
            Pb::Reused
        }
        Refusal::StaleRequest => Pb::StaleRequest,
        Refusal::NameReused => Pb::NameReused,
        Refusal::AlreadyExists => Pb::AlreadyExists,
        Refusal::VersionMismatch { version } => {
            pb.current_version = version;
            Pb::VersionMismatch
        }
        Refusal::TenantUnknown => Pb::TenantUnknown,
        Refusal::LimitReached { limit, max } => {
            pb.limit = limit.to_string();
            pb.limit_max = max;
            Pb::LimitReached
        }
        Refusal::NotFound => Pb::NotFound,
        Refusal::SessionDead { by } => {
            pb.revoked = by.as_ref().map(revoked);
            Pb::SessionDead
        }
        Refusal::Suspended(by) => {
            pb.revoked = Some(revoked(&by));
            Pb::Suspended
        }
        Refusal::Spent { head } => {
            pb.head_generation = head.0;
            Pb::Spent
        }
        Refusal::DigestInUse => Pb::DigestInUse,
        Refusal::CapReached { max } => {
            pb.limit_max = u64::from(max);
            Pb::CapReached
        }
        Refusal::Held { holder, remaining } => {
            let holder = holder.as_str().to_owned();
            pb.held = Some(v1::Held { holder, remaining_ms: remaining.0 });
            Pb::Held
        }
        Refusal::Lost => Pb::Lost,
        Refusal::PreconditionFailed => Pb::PreconditionFailed,
        Refusal::Already { at, family } => {
            pb.already = Some(already(at, family));
            Pb::Already
        }
        Refusal::AttemptsExceeded { retry_after } => {
            pb.retry_after_ms = retry_after.0;
            Pb::AttemptsExceeded
        }
        Refusal::Replay => Pb::Replay,
        Refusal::Code(code) => self::code(&mut pb, code),
        // `encode` made failures of these; a refusal that this version can't name is told in words.
        _ => Pb::Unspecified,
    };
    pb.code = code.into();
    pb
}

fn already(at: UnixMs, family: Option<FamilyId>) -> v1::Already {
    let family = family.map(|family| Bytes::copy_from_slice(&family.0));
    v1::Already { at_unix_ms: at.0, family_id: family.unwrap_or_default() }
}

fn code(pb: &mut v1::Refusal, code: CodeRefusal) -> Pb {
    match code {
        CodeRefusal::NotFound => Pb::CodeNotFound,
        CodeRefusal::PreconditionFailed => Pb::CodePreconditionFailed,
        CodeRefusal::Already { at, family } => {
            pb.already = Some(already(at, family));
            Pb::CodeAlready
        }
        CodeRefusal::Expired { at } => {
            pb.expired = Some(v1::Expired { absolute_unix_ms: at.0, idle_unix_ms: at.0 });
            Pb::CodeExpired
        }
    }
}

fn revoked(by: &RevokedBy) -> v1::Revoked {
    v1::Revoked {
        cause: cause(by.cause).into(),
        position: by.position.0,
        at_unix_ms: by.at.0,
        reason: text(by.reason.as_deref()),
    }
}

pub(crate) fn cause(cause: RevocationCause) -> v1::revoked::Cause {
    use v1::revoked::Cause;
    match cause {
        RevocationCause::Family => Cause::Family,
        RevocationCause::Token => Cause::Token,
        RevocationCause::Reuse => Cause::Reuse,
        RevocationCause::Cutoff => Cause::Cutoff,
        RevocationCause::Reauthentication => Cause::Reauthentication,
        RevocationCause::Evicted => Cause::Evicted,
        RevocationCause::Session => Cause::Session,
        RevocationCause::CodeReplay => Cause::CodeReplay,
        RevocationCause::Suspension => Cause::Suspension,
        RevocationCause::AccessToken => Cause::AccessToken,
        RevocationCause::Predicate => Cause::Predicate,
        _ => Cause::Unspecified,
    }
}

fn reused(reuse: &Reuse) -> v1::Reused {
    use v1::reused::Class;
    let class = match reuse.class {
        ReuseClass::Predecessor => Class::Predecessor,
        ReuseClass::Recent => Class::Recent,
        ReuseClass::Ancestor => Class::Ancestor,
    };
    v1::Reused {
        class: class.into(),
        age_ms: reuse.age.map(|age| age.0),
        generation_gap: reuse.generation_gap,
        same_device: reuse.same_device,
        same_ip: reuse.same_ip,
        revoked: reuse.revoked,
    }
}

/// What was wrong and what to do, for people.
#[must_use]
pub fn message(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotFound => {
            "there is no such thing, its token is not genuine, or it is past its retention: the \
             user must sign in again"
                .to_owned()
        }
        Refusal::Revoked(by) if by.cause == RevocationCause::Suspension => {
            "it is suspended: it lives again when that ends".to_owned()
        }
        Refusal::Revoked(_) => "it was revoked: the user must sign in again".to_owned(),
        Refusal::SessionDead { .. } => {
            "the session is over, or there is none: the user must sign in again".to_owned()
        }
        Refusal::Suspended(_) => {
            "its subject, client or tenant is suspended: nothing is made until that ends".to_owned()
        }
        Refusal::Expired { .. } => "it has expired: the user must sign in again".to_owned(),
        Refusal::ClientMismatch => "the token belongs to another client".to_owned(),
        Refusal::BindingMismatch => {
            "the token is bound to a key that was not proved: prove it, and send its thumbprint"
                .to_owned()
        }
        Refusal::Integrity { .. } => {
            "the token is genuine but newer than this store: the store went back in time or \
             forked; call its operator"
                .to_owned()
        }
        Refusal::Reused(reuse) if reuse.revoked => {
            "a spent token came back: the family was revoked, the user must sign in again"
                .to_owned()
        }
        Refusal::Reused(_) => {
            "a spent token came back: the family was not revoked (shadow mode or compromised key)"
                .to_owned()
        }
        Refusal::StaleRequest => format!(
            "the request is older than {} s: its outcome is no longer remembered; make a new one",
            limits::REQUEST_TTL.0 / 1_000
        ),
        Refusal::NameReused => {
            "this request id already names another request: choose 16 fresh random bytes".to_owned()
        }
        Refusal::RateLimited { retry_after } => format!(
            "this family rotates faster than its tenant allows: try again after {} ms",
            retry_after.0
        ),
        Refusal::SweepsPending { retry_after } => format!(
            "{} revocations by more than exact keys are being swept: the oldest is through first; \
             try again after {} ms",
            limits::PREDICATES_MAX,
            retry_after.0
        ),
        Refusal::AlreadyExists => "it exists already: choose another id".to_owned(),
        Refusal::VersionMismatch { version } => {
            format!("it changed since it was read and has version {version} now: read it again")
        }
        Refusal::TenantUnknown => "there is no such tenant: create it first".to_owned(),
        Refusal::LimitReached { limit, max } => format!("the limit {limit} of {max} is reached"),
        Refusal::Invalid { field, problem } => format!("{field}: {problem}"),
        Refusal::Spent { .. } => {
            "the token was rotated away: use the newest one of its family".to_owned()
        }
        Refusal::DigestInUse => {
            "a token with this digest is known already: mint another one".to_owned()
        }
        Refusal::CapReached { max } => {
            format!("as many families live as the cap of {max} allows: end one of them first")
        }
        Refusal::Held { holder, remaining } => format!(
            "{holder} holds the lock, for {} ms unless it is renewed: wait for it, or come back",
            remaining.0
        ),
        Refusal::Lost => {
            "the lease has ended, and another one may have begun: stop, and acquire the lock anew"
                .to_owned()
        }
        Refusal::PreconditionFailed => {
            "something else was shown than the record asks for: it was not consumed".to_owned()
        }
        Refusal::Already { .. } => "it was consumed before: nothing gives it back".to_owned(),
        Refusal::AttemptsExceeded { retry_after } => {
            format!("too many look-ups have missed: try again after {} ms", retry_after.0)
        }
        Refusal::Replay => "the proof was shown before: make a new one".to_owned(),
        Refusal::Code(code) => match code {
            CodeRefusal::NotFound => "there is no such code, or a root of it is dead",
            CodeRefusal::PreconditionFailed => "something else was shown than the code asks for",
            CodeRefusal::Already { .. } => "the code was consumed before",
            CodeRefusal::Expired { .. } => "the code has expired",
        }
        .to_owned(),
        _ => "refused by a rule that is newer than this node: update it".to_owned(),
    }
}

/// The failure that an admin call makes of a refusal, by the table above.
#[must_use]
pub fn failure(refusal: Refusal) -> Failure {
    let (code, reason) = match &refusal {
        Refusal::RateLimited { .. } => (Code::ResourceExhausted, reason::RATE_LIMITED),
        Refusal::SweepsPending { .. } => (Code::ResourceExhausted, reason::SWEEPS_PENDING),
        Refusal::Invalid { .. } => (Code::InvalidArgument, reason::INVALID_REQUEST),
        Refusal::NotFound | Refusal::TenantUnknown => (Code::NotFound, reason::NOT_FOUND),
        Refusal::AlreadyExists => (Code::AlreadyExists, reason::ALREADY_EXISTS),
        Refusal::VersionMismatch { .. } => (Code::Aborted, reason::VERSION_MISMATCH),
        Refusal::LimitReached { .. } => (Code::FailedPrecondition, reason::LIMIT_REACHED),
        Refusal::StaleRequest => (Code::FailedPrecondition, reason::STALE_REQUEST),
        Refusal::NameReused => (Code::FailedPrecondition, reason::NAME_REUSED),
        _ => (Code::FailedPrecondition, reason::REFUSED),
    };
    let mut failure = Failure::new(code, reason, message(&refusal)).not_executed();
    match refusal {
        Refusal::RateLimited { retry_after } | Refusal::SweepsPending { retry_after } => {
            failure.retry_after = Some(Duration::from_millis(retry_after.0));
        }
        Refusal::Invalid { field, problem } => {
            failure.violations.push(Violation::new(&field, &*problem));
        }
        Refusal::VersionMismatch { version } => {
            failure.metadata.insert("current_version".to_owned(), version.to_string());
        }
        _ => {}
    }
    failure
}

/// A refusal that came from the server.
///
/// # Errors
/// [`Violation`] if it breaks the protocol, or is of a newer one.
pub fn decode(pb: v1::Refusal) -> Result<Refusal, Violation> {
    let missing = |field: &str| Violation::new(field, "is missing in the answer");
    Ok(match Pb::try_from(pb.code) {
        Ok(Pb::NotFound) => Refusal::NotFound,
        Ok(Pb::Revoked) => {
            Refusal::Revoked(revoked_from(&pb.revoked.ok_or_else(|| missing("refusal.revoked"))?)?)
        }
        Ok(Pb::Expired) => {
            let expired = pb.expired.ok_or_else(|| missing("refusal.expired"))?;
            Refusal::Expired {
                absolute: UnixMs(expired.absolute_unix_ms),
                idle: UnixMs(expired.idle_unix_ms),
            }
        }
        Ok(Pb::ClientMismatch) => Refusal::ClientMismatch,
        Ok(Pb::BindingMismatch) => Refusal::BindingMismatch,
        Ok(Pb::Integrity) => Refusal::Integrity { head: Generation(pb.head_generation) },
        Ok(Pb::Reused) => {
            Refusal::Reused(reused_from(&pb.reused.ok_or_else(|| missing("refusal.reused"))?)?)
        }
        Ok(Pb::StaleRequest) => Refusal::StaleRequest,
        Ok(Pb::NameReused) => Refusal::NameReused,
        Ok(Pb::AlreadyExists) => Refusal::AlreadyExists,
        Ok(Pb::VersionMismatch) => Refusal::VersionMismatch { version: pb.current_version },
        Ok(Pb::TenantUnknown) => Refusal::TenantUnknown,
        Ok(Pb::LimitReached) => Refusal::LimitReached { limit: pb.limit.into(), max: pb.limit_max },
        Ok(Pb::Spent) => Refusal::Spent { head: Generation(pb.head_generation) },
        Ok(Pb::DigestInUse) => Refusal::DigestInUse,
        Ok(Pb::CapReached) => {
            let max = u32::try_from(pb.limit_max);
            Refusal::CapReached { max: max.map_err(|_| missing("refusal.limit_max"))? }
        }
        Ok(Pb::SessionDead) => {
            Refusal::SessionDead { by: pb.revoked.as_ref().map(revoked_from).transpose()? }
        }
        Ok(Pb::Suspended) => Refusal::Suspended(revoked_from(
            &pb.revoked.ok_or_else(|| missing("refusal.revoked"))?,
        )?),
        Ok(Pb::Held) => {
            let held = pb.held.ok_or_else(|| missing("refusal.held"))?;
            let remaining = DurationMs(held.remaining_ms);
            Refusal::Held { holder: check::holder("refusal.held.holder", &held.holder)?, remaining }
        }
        Ok(Pb::Lost) => Refusal::Lost,
        Ok(Pb::PreconditionFailed) => Refusal::PreconditionFailed,
        Ok(Pb::Already) => {
            let (at, family) = already_from(pb.already)?;
            Refusal::Already { at, family }
        }
        Ok(Pb::AttemptsExceeded) => {
            Refusal::AttemptsExceeded { retry_after: DurationMs(pb.retry_after_ms) }
        }
        Ok(Pb::Replay) => Refusal::Replay,
        Ok(Pb::CodeNotFound) => Refusal::Code(CodeRefusal::NotFound),
        Ok(Pb::CodePreconditionFailed) => Refusal::Code(CodeRefusal::PreconditionFailed),
        Ok(Pb::CodeAlready) => {
            let (at, family) = already_from(pb.already)?;
            Refusal::Code(CodeRefusal::Already { at, family })
        }
        Ok(Pb::CodeExpired) => {
            let expired = pb.expired.ok_or_else(|| missing("refusal.expired"))?;
            Refusal::Code(CodeRefusal::Expired { at: UnixMs(expired.absolute_unix_ms) })
        }
        Ok(Pb::Unspecified) | Err(_) => {
            let problem = format!("{} is unknown to this client: {}", pb.code, pb.message);
            return Err(Violation::new("refusal.code", problem));
        }
    })
}

fn already_from(pb: Option<v1::Already>) -> Result<(UnixMs, Option<FamilyId>), Violation> {
    let pb = check::required("refusal.already", pb)?;
    let family = check::family_opt("refusal.already.family_id", &pb.family_id)?;
    Ok((UnixMs(pb.at_unix_ms), family))
}

pub(crate) fn cause_from(field: &str, cause: i32) -> Result<RevocationCause, Violation> {
    use v1::revoked::Cause;
    Ok(match Cause::try_from(cause) {
        Ok(Cause::Family) => RevocationCause::Family,
        Ok(Cause::Token) => RevocationCause::Token,
        Ok(Cause::Reuse) => RevocationCause::Reuse,
        Ok(Cause::Cutoff) => RevocationCause::Cutoff,
        Ok(Cause::Reauthentication) => RevocationCause::Reauthentication,
        Ok(Cause::Evicted) => RevocationCause::Evicted,
        Ok(Cause::Session) => RevocationCause::Session,
        Ok(Cause::CodeReplay) => RevocationCause::CodeReplay,
        Ok(Cause::Suspension) => RevocationCause::Suspension,
        Ok(Cause::AccessToken) => RevocationCause::AccessToken,
        Ok(Cause::Predicate) => RevocationCause::Predicate,
        Ok(Cause::Unspecified) | Err(_) => {
            return Err(Violation::new(field, format!("{cause} is unknown to this client")));
        }
    })
}

fn revoked_from(pb: &v1::Revoked) -> Result<RevokedBy, Violation> {
    Ok(RevokedBy {
        cause: cause_from("refusal.revoked.cause", pb.cause)?,
        position: Position(pb.position),
        at: UnixMs(pb.at_unix_ms),
        reason: (!pb.reason.is_empty()).then(|| pb.reason.as_str().into()),
    })
}

fn reused_from(pb: &v1::Reused) -> Result<Reuse, Violation> {
    use v1::reused::Class;
    let class = match Class::try_from(pb.class) {
        Ok(Class::Predecessor) => ReuseClass::Predecessor,
        Ok(Class::Recent) => ReuseClass::Recent,
        Ok(Class::Ancestor) => ReuseClass::Ancestor,
        Ok(Class::Unspecified) | Err(_) => {
            let problem = format!("{} is unknown to this client", pb.class);
            return Err(Violation::new("refusal.reused.class", problem));
        }
    };
    Ok(Reuse {
        class,
        age: pb.age_ms.map(DurationMs),
        generation_gap: pb.generation_gap,
        same_device: pb.same_device,
        same_ip: pb.same_ip,
        revoked: pb.revoked,
    })
}
