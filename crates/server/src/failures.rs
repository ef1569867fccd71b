//! What the node says when there is no answer, as gRPC failures.
//!
//! | node | code | reason | not executed |
//! |---|---|---|---|
//! | not proposed | `UNAVAILABLE`, `RetryInfo` | `NOT_PROPOSED` | yes |
//! | unknown | `UNAVAILABLE` | `OUTCOME_UNKNOWN` | no: repeat under the same name |
//! | deadline passed | `DEADLINE_EXCEEDED` | `DEADLINE_EXCEEDED` | if it was not sent |
//! | overloaded | `RESOURCE_EXHAUSTED`, `RetryInfo` | `OVERLOADED` | yes |
//! | too large | `INVALID_ARGUMENT` | `TOO_LARGE` | yes |
//! | not started | `UNAVAILABLE`, `RetryInfo` | `NOT_STARTED` | yes |
//! | stopping | `UNAVAILABLE` | `SHUTTING_DOWN` | yes |
//! | does not lead | `UNAVAILABLE` | `NOT_LEADER` | yes |
//! | does not serve | `UNAVAILABLE` | `STORAGE_FAILED` | no |
//!
//! All that another node might do better names the leader, if this node knows one that is not
//! itself: `ErrorInfo.metadata["leader"]`, its client address.

use std::time::Duration;

use jeton_raft::bootstrap::Lobby;
use jeton_raft::{MembersError, ProposeError, ReadError};
use jeton_wire::Failure;
use jeton_wire::failure::reason;
use tonic::Code;

/// When to try again if there is no leader: about as long as an election takes.
const NO_LEADER_PAUSE: Duration = Duration::from_millis(100);

/// Why a command has no reply. `leader` is the client address of the leader, if it is known.
pub(crate) fn of_proposal(error: &ProposeError, leader: Option<String>) -> Failure {
    let words = error.to_string();
    match error {
        ProposeError::NotProposed { retry_after } => {
            Failure::new(Code::Unavailable, reason::NOT_PROPOSED, words)
                .not_executed()
                .retry_after(*retry_after)
                .leader(leader)
        }
        ProposeError::Unknown { .. } => {
            Failure::new(Code::Unavailable, reason::OUTCOME_UNKNOWN, words).leader(leader)
        }
        ProposeError::DeadlineExceeded { sent } => {
            let failure = Failure::new(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, words)
                .leader(leader);
            if *sent { failure } else { failure.not_executed() }
        }
        ProposeError::Overloaded { retry_after } => {
            Failure::new(Code::ResourceExhausted, reason::OVERLOADED, words)
                .not_executed()
                .retry_after(*retry_after)
        }
        ProposeError::TooLarge { .. } => {
            let words = format!("{words}: send a smaller payload");
            Failure::new(Code::InvalidArgument, reason::TOO_LARGE, words).not_executed()
        }
        ProposeError::Shutdown => shutting_down().leader(leader),
        ProposeError::NotServing { .. } => {
            let words = format!("{words}; ask another node");
            Failure::new(Code::Unavailable, reason::STORAGE_FAILED, words).leader(leader)
        }
        // A kind that is newer than this page: nothing is claimed about it.
        _ => Failure::new(Code::Unavailable, reason::OUTCOME_UNKNOWN, words).leader(leader),
    }
}

/// Why there is no point to read at. A read changes nothing, so none of them was executed.
pub(crate) fn of_read(error: &ReadError, leader: Option<String>) -> Failure {
    let words = error.to_string();
    match error {
        ReadError::DeadlineExceeded { .. } => {
            let words = format!("{words}; ask another node, or for less freshness");
            Failure::new(Code::DeadlineExceeded, reason::NOT_FRESH_ENOUGH, words)
        }
        ReadError::Shutdown => shutting_down(),
        _ => {
            let words = format!("{words}; ask another node");
            Failure::new(Code::Unavailable, reason::STORAGE_FAILED, words)
        }
    }
    .not_executed()
    .leader(leader)
}

/// Why the membership did not change.
pub(crate) fn of_members(error: &MembersError) -> Failure {
    let words = error.to_string();
    match error {
        MembersError::NotLeader { leader } => {
            let failure = Failure::new(Code::Unavailable, reason::NOT_LEADER, words).not_executed();
            match leader {
                Some(_) => failure.leader(leader.clone()),
                None => failure.retry_after(NO_LEADER_PAUSE),
            }
        }
        MembersError::Unknown(_) => {
            Failure::new(Code::NotFound, reason::NOT_FOUND, words).not_executed()
        }
        MembersError::InDoubt => Failure::new(Code::Unavailable, reason::OUTCOME_UNKNOWN, words),
        MembersError::DeadlineExceeded => {
            Failure::new(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, words)
        }
        _ => Failure::new(Code::FailedPrecondition, reason::NOT_POSSIBLE_NOW, words).not_executed(),
    }
}

/// This node takes nothing yet.
pub(crate) fn not_started(lobby: &Lobby) -> Failure {
    let words = format!("this node has not started: {}; it was not executed", lobby.why());
    Failure::new(Code::Unavailable, reason::NOT_STARTED, words)
        .not_executed()
        .retry_after(Duration::from_millis(100))
}

/// This node takes nothing new.
pub(crate) fn shutting_down() -> Failure {
    let words =
        "this node is stopping and takes nothing new; it was not executed: ask another node";
    Failure::new(Code::Unavailable, reason::SHUTTING_DOWN, words)
        .not_executed()
        .retry_after(Duration::from_millis(100))
}

/// The store below failed: the node stops by itself.
pub(crate) fn storage() -> Failure {
    let words = "this node could not read its state; ask another node, and look at its log";
    Failure::new(Code::Unavailable, reason::STORAGE_FAILED, words).not_executed()
}

/// A mutation took effect, and this node can't show what became of it.
pub(crate) fn unshown(why: &Failure) -> Failure {
    if why.code == Code::DeadlineExceeded {
        return overdue();
    }
    let words = "it took effect, but this node can't show the result: repeat it under the same \
                 request id, at another node";
    Failure::new(Code::Unavailable, reason::OUTCOME_UNKNOWN, words)
}

/// Nobody answered by the deadline. Whether it was executed is unknown.
pub(crate) fn overdue() -> Failure {
    Failure::new(
        Code::DeadlineExceeded,
        reason::DEADLINE_EXCEEDED,
        "there was no answer by the deadline; a write may have taken effect: repeat it under the \
         same request id",
    )
}
