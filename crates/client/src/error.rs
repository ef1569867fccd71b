//! What can go wrong with a call, by what a caller can do about it.
//!
//! A *refusal* that callers must branch on every day (a spent token, an expired family) is data in
//! the answer of `rotate` and `validate`, not an error. Where it is no everyday answer it is
//! [`Error::Refused`].

use std::time::Duration;

use jeton_core::reply::Refusal;
pub use jeton_wire::Violation;

use crate::entropy::EntropyError;
use crate::seal::SealError;
use crate::words;

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request itself is wrong; nothing happened. Repair it: repeating won't help.
    #[error("the request is invalid: {}", words::list(violations))]
    InvalidArgument {
        /// Every field that was wrong, as far as they were looked at.
        violations: Vec<Violation>,
    },
    /// The cluster judged, and refuses; nothing happened. Repeating won't help.
    #[error("refused: {}", jeton_wire::refusal::message(.0))]
    Refused(Refusal),
    /// The deadline passed before there was an answer.
    #[error(
        "the deadline passed after {attempts} attempts{}; {}",
        words::last(last.as_deref()),
        if *outcome_unknown {
            "whether it happened is unknown: repeat it under the same request id, or read"
        } else {
            "it did not happen"
        }
    )]
    DeadlineExceeded {
        /// Whether the operation may have happened, or may still happen. Never true for a read.
        outcome_unknown: bool,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt ended with.
        last: Option<String>,
    },
    /// No node could be reached; nothing happened.
    #[error("no node can be reached: {why}")]
    Unavailable {
        /// Which were tried, and what each said.
        why: String,
    },
    /// Faster than a limit allows; nothing happened. Come back later.
    #[error("{message}{}", words::retry_after(*retry_after))]
    RateLimited {
        /// When to come back, if the cluster said so.
        retry_after: Option<Duration>,
        /// Which limit.
        message: String,
    },
    /// More operations are outstanding on this client than it holds; nothing happened.
    #[error(
        "{max} operations are outstanding on this client: wait for some, or use another client"
    )]
    TooManyOutstanding {
        /// The limit.
        max: usize,
    },
    /// This client may not do that.
    #[error("denied: {message}")]
    Denied {
        /// What the cluster said.
        message: String,
    },
    /// The cluster understood, and failed or refused for another reason. Repeating won't help by
    /// itself.
    #[error("{message} ({code}{})", words::reason(reason))]
    Failed {
        /// The gRPC code's name: `NOT_FOUND`, `INTERNAL`, …
        code: &'static str,
        /// Machine-readable, upper case; may be empty.
        reason: String,
        /// What the cluster said.
        message: String,
        /// Whether the operation may have happened all the same.
        outcome_unknown: bool,
    },
    /// The answer breaks the protocol: a bug there or here, or different versions.
    #[error("the answer breaks the protocol: {what}")]
    Protocol {
        /// In which way.
        what: String,
    },
    /// The successor that another caller left in the store can't be opened. The presented token is
    /// spent, and its successor exists: only that other caller has it.
    #[error("the successor that the store keeps can't be opened")]
    Seal(#[from] SealError),
    /// No randomness, so nothing could be minted.
    #[error("nothing could be minted")]
    Entropy(#[from] EntropyError),
}

impl Error {
    /// Whether the operation may have happened all the same: repeat it under the same request id,
    /// or read before going on.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::DeadlineExceeded { outcome_unknown, .. }
            | Self::Failed { outcome_unknown, .. } => *outcome_unknown,
            // It was answered, but nobody could read how.
            Self::Protocol { .. } | Self::Seal(_) => true,
            _ => false,
        }
    }

    /// The refusal, if that is what it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }

    pub(crate) fn violation(field: &str, problem: impl Into<String>) -> Self {
        Self::InvalidArgument { violations: vec![Violation::new(field, problem)] }
    }
}
