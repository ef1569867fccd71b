//! What may be repeated, when, and what to say in the end.
//!
//! | what came | again? | may it have happened? |
//! |---|---|---|
//! | never left, or the cluster says `not_executed` | yes | no |
//! | connection broke, or the attempt's time is over | if it has a name or is a read | yes |
//! | `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `CANCELLED` | the same | yes |
//! | the family's rotation limit | after an attempt that may have happened | – |
//! | anything else | no | as before; yes if it is `INTERNAL` |
//!
//! Once an attempt may have happened, no later failure takes that back: the first one may still be
//! on its way. Only an answer settles it.
//!
//! Pauses are random below a bound that doubles, so that many clients of one failed node don't come
//! back together. Where the cluster names a pause (`RetryInfo`), it is kept.

use std::time::Duration;

use jeton_wire::Failure;
use jeton_wire::failure::reason;
use tokio::time::Instant;
use tonic::Code;

use super::call::CallError;
use crate::config::Config;
use crate::entropy;
use crate::error::Error;

/// How an operation may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing.
    Read,
    /// The cluster knows a repetition by its name.
    Named,
    /// A repetition would be another operation.
    Never,
}

/// What to do after an attempt that gave no answer.
#[derive(Debug)]
pub(crate) enum Next {
    /// Try again.
    Again {
        /// After this long.
        pause: Duration,
        /// On another node, if there is one.
        elsewhere: bool,
    },
    /// Give up with this.
    Stop(Error),
}

/// The attempts at one operation so far.
pub(crate) struct Retry<'a> {
    config: &'a Config,
    repeat: Repeat,
    deadline: Instant,
    attempts: u32,
    /// Whether any attempt found a node.
    reached: bool,
    /// Whether any attempt may have happened.
    unknown: bool,
}

impl<'a> Retry<'a> {
    /// No attempt yet.
    pub fn new(config: &'a Config, repeat: Repeat, deadline: Instant) -> Self {
        Self { config, repeat, deadline, attempts: 0, reached: false, unknown: false }
    }

    /// Begins an attempt; says when it ends.
    pub fn begin(&mut self, now: Instant) -> Instant {
        let doubled = self.config.attempt_timeout.saturating_mul(1 << self.attempts.min(16));
        self.attempts += 1;
        now.checked_add(doubled).map_or(self.deadline, |end| end.min(self.deadline))
    }

    /// Judges what came instead of an answer.
    pub fn judge(&mut self, error: CallError, now: Instant) -> Next {
        match error {
            CallError::NotSent(why) => self.again(None, true, why.to_string(), now),
            CallError::Lost(why) => {
                self.may_have_happened();
                self.again(None, true, why.to_string(), now)
            }
            CallError::TimedOut { sent } => {
                self.reached = true;
                if sent {
                    self.may_have_happened();
                }
                self.again(None, true, "no answer in time".to_owned(), now)
            }
            CallError::Full { max } if !self.unknown => {
                Next::Stop(Error::TooManyOutstanding { max })
            }
            CallError::Full { max } => {
                self.again(None, false, format!("{max} operations are outstanding"), now)
            }
            CallError::Garbled(what) => Next::Stop(Error::Protocol { what }),
            CallError::Failed(failure) => self.judge_failure(failure, now),
        }
    }

    fn judge_failure(&mut self, failure: Failure, now: Instant) -> Next {
        self.reached = true;
        let overloaded =
            failure.code == Code::ResourceExhausted && failure.reason != reason::RATE_LIMITED;
        let passing =
            matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled);
        if !failure.not_executed && (passing || overloaded || failure.code == Code::Internal) {
            self.may_have_happened();
        }
        let limited = failure.reason == reason::RATE_LIMITED;
        if passing || overloaded || (limited && self.unknown) {
            // Another node may have what this one lacks; a limit is the same everywhere.
            return self.again(failure.retry_after, passing, failure.message.into_owned(), now);
        }
        Next::Stop(self.error_of(failure))
    }

    fn again(
        &self,
        at_least: Option<Duration>,
        elsewhere: bool,
        why: String,
        now: Instant,
    ) -> Next {
        if self.repeat == Repeat::Never && self.unknown {
            return Next::Stop(self.give_up(Some(why)));
        }
        let pause = self.pause(at_least);
        match now.checked_add(pause) {
            Some(next) if next < self.deadline => Next::Again { pause, elsewhere },
            _ => Next::Stop(self.give_up(Some(why))),
        }
    }

    fn pause(&self, at_least: Option<Duration>) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(16);
        let bound =
            self.config.backoff_first.saturating_mul(1 << doublings).min(self.config.backoff_max);
        let bound = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(entropy::below(&*self.config.entropy, bound));
        at_least.unwrap_or_default().saturating_add(jitter)
    }

    fn may_have_happened(&mut self) {
        self.reached = true;
        self.unknown |= self.repeat != Repeat::Read;
    }

    /// The error of an operation that got no answer in its time.
    fn give_up(&self, last: Option<String>) -> Error {
        if !self.reached {
            return Error::Unavailable { why: last.unwrap_or_default() };
        }
        Error::DeadlineExceeded { outcome_unknown: self.unknown, attempts: self.attempts, last }
    }

    fn error_of(&self, failure: Failure) -> Error {
        let message = failure.message.into_owned();
        let code = failure.code;
        match code {
            // What an earlier attempt did is not known: a plain "nothing happened" would lie.
            _ if self.unknown => {}
            Code::InvalidArgument if !failure.violations.is_empty() => {
                return Error::InvalidArgument { violations: failure.violations };
            }
            Code::ResourceExhausted => {
                return Error::RateLimited { retry_after: failure.retry_after, message };
            }
            Code::PermissionDenied | Code::Unauthenticated => return Error::Denied { message },
            _ => {}
        }
        Error::Failed {
            code: name_of(code),
            reason: failure.reason.into_owned(),
            message,
            outcome_unknown: self.unknown,
        }
    }
}

/// A code as it is called in all gRPC documentation.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
