//! One attempt at an operation: its clock, and what may come instead of an answer.

use std::sync::Arc;

use jeton_wire::Failure;
use jeton_wire::pb::v1::RequestName;
use jeton_wire::pb::v1::operation::Request;
use tokio::time::Instant;

/// When an operation was first tried, and when this attempt at it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// Start of the first attempt; age counts from it.
    pub first: Instant,
    /// End of this attempt.
    pub deadline: Instant,
}

impl Attempt {
    /// Age in milliseconds at `now`.
    pub fn age_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.first).as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes the age into the request, if it has a name. Says how many milliseconds are left for
    /// it, at least one; nothing if its time is over.
    pub fn stamp(&self, request: &mut Request, now: Instant) -> Option<u64> {
        if now >= self.deadline {
            return None;
        }
        if let Some(name) = name_of(request) {
            name.age_ms = self.age_ms(now);
        }
        let left = self.deadline.saturating_duration_since(now).as_millis();
        Some(u64::try_from(left).unwrap_or(u64::MAX).max(1))
    }
}

/// What came instead of an answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// It never left.
    NotSent(Arc<str>),
    /// It left, and its connection broke.
    Lost(Arc<str>),
    /// The attempt's time is over.
    TimedOut {
        /// Whether it had left.
        sent: bool,
    },
    /// Too much is outstanding to send it.
    Full {
        /// The limit.
        max: usize,
    },
    /// The cluster says that it failed.
    Failed(Failure),
    /// The answer makes no sense.
    Garbled(String),
}

fn name_of(request: &mut Request) -> Option<&mut RequestName> {
    match request {
        Request::Rotate(r) => r.request.as_mut(),
        Request::CreateFamily(r) => r.request.as_mut(),
        Request::Touch(r) => r.request.as_mut(),
        Request::UpdateFamily(r) => r.request.as_mut(),
        Request::RevokeToken(r) => r.request.as_mut(),
        Request::RevokeFamily(r) => r.request.as_mut(),
        Request::RevokeWhere(r) => r.request.as_mut(),
        Request::RevokeAccessToken(r) => r.request.as_mut(),
        Request::CreateSession(r) => r.request.as_mut(),
        Request::TouchSession(r) => r.request.as_mut(),
        Request::EndSession(r) => r.request.as_mut(),
        Request::Suspend(r) => r.request.as_mut(),
        Request::Resume(r) => r.request.as_mut(),
        Request::RequireReauthentication(r) => r.request.as_mut(),
        Request::Acquire(r) => r.request.as_mut(),
        Request::Renew(r) => r.request.as_mut(),
        Request::Release(r) => r.request.as_mut(),
        Request::Withdraw(r) => r.request.as_mut(),
        Request::Publish(r) => r.request.as_mut(),
        Request::PutRecord(r) => r.request.as_mut(),
        Request::LookUpRecord(r) => r.request.as_mut(),
        Request::DeleteRecord(r) => r.request.as_mut(),
        Request::DeleteRecords(r) => r.request.as_mut(),
        Request::CollectExpired(r) => r.request.as_mut(),
        Request::Consume(r) => r.request.as_mut(),
        Request::SeenOnce(r) => r.request.as_mut(),
        Request::Transact(r) => r.request.as_mut(),
        Request::Validate(_)
        | Request::GetSession(_)
        | Request::ListSessions(_)
        | Request::ListSessionClients(_)
        | Request::GetFamily(_)
        | Request::ListFamilies(_)
        | Request::CountFamilies(_)
        | Request::CheckAccess(_)
        | Request::GetRevocation(_)
        | Request::Await(_)
        | Request::GetLock(_)
        | Request::GetRecord(_)
        | Request::FindRecords(_) => None,
    }
}
