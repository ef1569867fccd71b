//! The one form of a gRPC error: what a unary call answers as its status, and a pipeline inside its
//! results.
//!
//! On a write, `UNAVAILABLE` and `DEADLINE_EXCEEDED` mean that the outcome is *unknown*, unless
//! [`Failure::not_executed`] says otherwise: then a retry is safe under any name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use tonic::Code;

use crate::check::Violation;
use crate::pb::v1;

/// The domain of all reasons, as in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "jeton";

/// Metadata key: client address of the node that leads, if this one knows it and is another.
pub const LEADER: &str = "leader";

/// Reasons, stable: programs may compare them.
pub mod reason {
    /// A field is wrong: see the violations.
    pub const INVALID_REQUEST: &str = "INVALID_REQUEST";
    /// The bytes are no such message, or text in them is not UTF-8.
    pub const UNDECODABLE_MESSAGE: &str = "UNDECODABLE_MESSAGE";
    /// An answer breaks the protocol: server and client are of different versions, or broken.
    pub const MALFORMED_RESPONSE: &str = "MALFORMED_RESPONSE";
    /// The call has no deadline.
    pub const DEADLINE_MISSING: &str = "DEADLINE_MISSING";
    /// The deadline passed.
    pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
    /// It was not proposed: no leader, or a change of leader.
    pub const NOT_PROPOSED: &str = "NOT_PROPOSED";
    /// It was sent, and may or may not happen: repeat it under the same name.
    pub const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";
    /// The node can't read as freshly as was asked.
    pub const NOT_FRESH_ENOUGH: &str = "NOT_FRESH_ENOUGH";
    /// Faster than the tenant's rotation limit.
    pub const RATE_LIMITED: &str = "RATE_LIMITED";
    /// As many revocations are being swept as a tenant may have: the oldest must be through first.
    pub const SWEEPS_PENDING: &str = "SWEEPS_PENDING";
    /// Too much is outstanding.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// More than the store accepts in one command.
    pub const TOO_LARGE: &str = "TOO_LARGE";
    /// The node has not started yet: it waits for its cluster, or recovers.
    pub const NOT_STARTED: &str = "NOT_STARTED";
    /// The node is leaving: ask another one.
    pub const SHUTTING_DOWN: &str = "SHUTTING_DOWN";
    /// The node's storage failed and it has stopped.
    pub const STORAGE_FAILED: &str = "STORAGE_FAILED";
    /// Only the leader does this, and this node does not lead: ask the one in [`super::LEADER`].
    pub const NOT_LEADER: &str = "NOT_LEADER";
    /// The operation does not fit the state of the cluster.
    pub const NOT_POSSIBLE_NOW: &str = "NOT_POSSIBLE_NOW";
    /// No such thing.
    pub const NOT_FOUND: &str = "NOT_FOUND";
    /// It exists already.
    pub const ALREADY_EXISTS: &str = "ALREADY_EXISTS";
    /// It changed since it was read.
    pub const VERSION_MISMATCH: &str = "VERSION_MISMATCH";
    /// The request is older than ten minutes.
    pub const STALE_REQUEST: &str = "STALE_REQUEST";
    /// The request id names another request.
    pub const NAME_REUSED: &str = "NAME_REUSED";
    /// A limit is reached.
    pub const LIMIT_REACHED: &str = "LIMIT_REACHED";
    /// The store judged and refuses.
    pub const REFUSED: &str = "REFUSED";
    /// The place to watch from is no longer known: take a snapshot, and watch from that.
    pub const COMPACTED: &str = "COMPACTED";
    /// The place is one of another cluster.
    pub const WRONG_CLUSTER: &str = "WRONG_CLUSTER";
    /// A watcher took its events too slowly, and was cut off.
    pub const SLOW_CONSUMER: &str = "SLOW_CONSUMER";
    /// A bug of the server.
    pub const INTERNAL: &str = "INTERNAL";
    /// The transport failed, or what answered is no Jeton.
    pub const TRANSPORT: &str = "TRANSPORT";
}

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// One of [`reason`].
    pub reason: Cow<'static, str>,
    /// For people: what was wrong and what to do.
    pub message: Cow<'static, str>,
    /// Try again after this long; `None` says nothing about retries.
    pub retry_after: Option<Duration>,
    /// Fields that were wrong.
    pub violations: Vec<Violation>,
    /// More about this occurrence.
    pub metadata: BTreeMap<String, String>,
    /// Whether it certainly did not happen.
    pub not_executed: bool,
}

impl Failure {
    /// A failure whose outcome is unknown, without details.
    #[must_use]
    pub fn new(
        code: Code,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            retry_after: None,
            violations: Vec::new(),
            metadata: BTreeMap::new(),
            not_executed: false,
        }
    }

    /// It certainly did not happen.
    #[must_use]
    pub fn not_executed(mut self) -> Self {
        self.not_executed = true;
        self
    }

    /// Try again after this long.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds the client address of the leader, if it is known.
    #[must_use]
    pub fn leader(mut self, address: Option<String>) -> Self {
        if let Some(address) = address.filter(|address| !address.is_empty()) {
            self.metadata.insert(LEADER.to_owned(), address);
        }
        self
    }

    /// The server's answer broke the protocol.
    #[must_use]
    pub fn malformed_response(violation: Violation) -> Self {
        let message = format!(
            "the server's answer is malformed: {violation}; use a client of the server's version"
        );
        let mut failure = Self::new(Code::Internal, reason::MALFORMED_RESPONSE, message);
        failure.violations.push(violation);
        failure
    }
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        let message = format!("the request is invalid: {violation}");
        let mut failure = Self::new(Code::InvalidArgument, reason::INVALID_REQUEST, message);
        failure.violations.push(violation);
        failure.not_executed()
    }
}

impl From<Failure> for v1::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code as i32,
            message: failure.message.into_owned(),
            reason: failure.reason.into_owned(),
            retry_after_ms: failure.retry_after.map(millis),
            not_executed: failure.not_executed,
            violations: failure
                .violations
                .into_iter()
                .map(|v| v1::FieldViolation { field: v.field, description: v.description })
                .collect(),
            metadata: failure.metadata,
        }
    }
}

impl From<v1::Failure> for Failure {
    fn from(failure: v1::Failure) -> Self {
        Self {
            code: Code::from_i32(failure.code),
            reason: failure.reason.into(),
            message: failure.message.into(),
            retry_after: failure.retry_after_ms.map(Duration::from_millis),
            violations: failure
                .violations
                .into_iter()
                .map(|v| Violation { field: v.field, description: v.description })
                .collect(),
            metadata: failure.metadata,
            not_executed: failure.not_executed,
        }
    }
}

/// Whole milliseconds, rounded up: a retry must not come early.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}
