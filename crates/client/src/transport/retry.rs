//! What may be repeated, when, and what to say in the end.
//!
//! | what came | again? | may it have happened? |
//! |---|---|---|
//! | never left, or the cluster says `not_executed` | yes | no |
//! | connection broke, or the attempt's time is over | if it has a name or is a read | yes |
//! | `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `CANCELLED` | the same | yes |
//! | the family's rotation limit | after an attempt that may have happened | – |
//! | one of these, and it names a leader | at once, there (see below) | the same |
//! | anything else | no | as before; yes if it is `INTERNAL` |
//!
//! Once an attempt may have happened, no later failure takes that back: the first one may still be
//! on its way. Only an answer settles it.
//!
//! Pauses are random below a bound that doubles, so that many clients of one failed node don't come
//! back together. Where the cluster names a pause (`RetryInfo`), it is kept.
//!
//! A failure may name the leader. Then the next attempt goes there without a pause, since a pause
//! is meant for whoever asks the same node again. Leaders change, so the one that was named may
//! name another one: before those further hops the ordinary pause is kept, and after [`HOPS_MAX`]
//! of them the endpoints are tried in turn again. Two nodes that name each other thus make no tight
//! loop.

use std::time::Duration;

use jeton_wire::Failure;
use jeton_wire::failure::{LEADER, reason};
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

/// How often one operation goes where a failure pointed.
pub(crate) const HOPS_MAX: u32 = 3;

/// What to do after an attempt that gave no answer.
#[derive(Debug)]
pub(crate) struct Judged {
    /// Where to try again, if one may go there.
    pub hop: Option<Hop>,
    /// What to do otherwise.
    pub next: Next,
}

/// The leader is elsewhere.
#[derive(Debug)]
pub(crate) struct Hop {
    /// Its client address, as the failure names it.
    pub address: String,
    /// What to wait for first.
    pub pause: Duration,
    /// Whether the node that failed is of no use for other operations either.
    pub leave: bool,
}

/// What to do after an attempt that gave no answer, if nobody is known who could do better.
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
    /// How long the first attempt may take.
    pace: Duration,
    attempts: u32,
    /// How often it went where a failure pointed.
    hops: u32,
    /// Whether any attempt found a node.
    reached: bool,
    /// Whether any attempt may have happened.
    unknown: bool,
    /// The latest that the cluster said itself.
    said: Option<String>,
}

impl<'a> Retry<'a> {
    /// No attempt yet.
    pub fn new(config: &'a Config, repeat: Repeat, deadline: Instant) -> Self {
        let pace = config.attempt_timeout;
        let (attempts, hops, reached, unknown, said) = (0, 0, false, false, None);
        Self { config, repeat, deadline, pace, attempts, hops, reached, unknown, said }
    }

    /// How long the first attempt may take, if not as long as the configuration says.
    pub fn paced(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Begins an attempt; says when it ends.
    pub fn begin(&mut self, now: Instant) -> Instant {
        let doubled = self.pace.saturating_mul(1 << self.attempts.min(16));
        self.attempts += 1;
        now.checked_add(doubled).map_or(self.deadline, |end| end.min(self.deadline))
    }

    /// The next attempt goes where the failure pointed.
    pub fn followed(&mut self) {
        self.hops += 1;
    }

    /// Judges what came instead of an answer.
    pub fn judge(&mut self, error: CallError, now: Instant) -> Judged {
        let next = match error {
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
            CallError::Failed(failure) => return self.judge_failure(failure, now),
        };
        Judged { hop: None, next }
    }

    fn judge_failure(&mut self, mut failure: Failure, now: Instant) -> Judged {
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
            let leader = failure.metadata.remove(LEADER).filter(|_| passing);
            let leave = failure.reason != reason::NOT_LEADER;
            // Another node may have what this one lacks; a limit is the same everywhere.
            let words = failure.message.into_owned();
            self.said = Some(words.clone());
            let next = self.again(failure.retry_after, passing, words, now);
            let hop = leader.and_then(|address| self.hop(address, leave, &next, now));
            return Judged { hop, next };
        }
        Judged { hop: None, next: Next::Stop(self.error_of(failure)) }
    }

    /// How to go to the leader, if that is allowed and there is time for it.
    fn hop(&self, address: String, leave: bool, next: &Next, now: Instant) -> Option<Hop> {
        let repeatable = self.repeat != Repeat::Never || !self.unknown;
        if !repeatable || self.hops >= HOPS_MAX || now >= self.deadline {
            return None;
        }
        let pause = match next {
            _ if self.hops == 0 => Duration::ZERO,
            Next::Again { pause, .. } => *pause,
            Next::Stop(_) => return None,
        };
        Some(Hop { address, pause, leave })
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
            _ => Next::Stop(self.give_up(Some(self.with_before(why)))),
        }
    }

    /// A last attempt that was too short for an answer hides none that came before.
    fn with_before(&self, why: String) -> String {
        match &self.said {
            Some(said) if *said != why => format!("{why}; before it: {said}"),
            _ => why,
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
