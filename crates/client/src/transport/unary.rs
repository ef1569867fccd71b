//! Operations as calls of their own, for comparison with the pipe and for proxies that break
//! streams.

use jeton_wire::Failure;
use jeton_wire::failure::reason;
use jeton_wire::pb::v1::lock_service_client::LockServiceClient;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::pb::v1::record_service_client::RecordServiceClient;
use jeton_wire::pb::v1::revocation_service_client::RevocationServiceClient;
use jeton_wire::pb::v1::session_service_client::SessionServiceClient;
use jeton_wire::pb::v1::token_service_client::TokenServiceClient;
use jeton_wire::pb::v1::transaction_service_client::TransactionServiceClient;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::call::{Attempt, CallError};

/// Calls one operation.
///
/// # Errors
/// [`CallError`]: what came instead of an answer. A call that was given to the channel counts as
/// sent, since nobody can tell whether it was.
pub(crate) async fn call(
    channel: Channel,
    mut request: Request,
    attempt: Attempt,
) -> Result<Response, CallError> {
    let Some(left_ms) = attempt.stamp(&mut request, Instant::now()) else {
        return Err(CallError::TimedOut { sent: false });
    };
    let left = std::time::Duration::from_millis(left_ms);
    let call = dispatch(channel, request, left);
    match tokio::time::timeout_at(attempt.deadline, call).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(status)) => Err(error_of(&status)),
        Err(_) => Err(CallError::TimedOut { sent: true }),
    }
}

macro_rules! one {
    ($client:expr, $method:ident, $request:expr, $left:expr, $variant:ident) => {{
        let mut request = tonic::Request::new($request);
        request.set_timeout($left);
        $client.$method(request).await.map(|answer| Response::$variant(answer.into_inner()))
    }};
}

async fn dispatch(
    channel: Channel,
    request: Request,
    left: std::time::Duration,
) -> Result<Response, Status> {
    let mut tokens = TokenServiceClient::new(channel.clone());
    let mut records = RecordServiceClient::new(channel.clone());
    let mut revocation = RevocationServiceClient::new(channel.clone());
    let mut sessions = SessionServiceClient::new(channel.clone());
    let mut locks = LockServiceClient::new(channel.clone());
    let mut transactions = TransactionServiceClient::new(channel);
    match request {
        Request::Rotate(r) => one!(tokens, rotate, r, left, Rotate),
        Request::CreateFamily(r) => one!(tokens, create_family, r, left, CreateFamily),
        Request::Validate(r) => one!(tokens, validate, r, left, Validate),
        Request::Touch(r) => one!(tokens, touch, r, left, Touch),
        Request::UpdateFamily(r) => one!(tokens, update_family, r, left, UpdateFamily),
        Request::GetFamily(r) => one!(tokens, get_family, r, left, GetFamily),
        Request::ListFamilies(r) => one!(tokens, list_families, r, left, ListFamilies),
        Request::CountFamilies(r) => one!(tokens, count_families, r, left, CountFamilies),
        Request::PutRecord(r) => one!(records, put_record, r, left, PutRecord),
        Request::GetRecord(r) => one!(records, get_record, r, left, GetRecord),
        Request::FindRecords(r) => one!(records, find_records, r, left, FindRecords),
        Request::LookUpRecord(r) => one!(records, look_up_record, r, left, LookUpRecord),
        Request::DeleteRecord(r) => one!(records, delete_record, r, left, DeleteRecord),
        Request::DeleteRecords(r) => one!(records, delete_records, r, left, DeleteRecords),
        Request::CollectExpired(r) => one!(records, collect_expired, r, left, CollectExpired),
        Request::Consume(r) => one!(records, consume, r, left, Consume),
        Request::SeenOnce(r) => one!(records, seen_once, r, left, SeenOnce),
        Request::Transact(r) => one!(transactions, transact, r, left, Transact),
        Request::RevokeToken(r) => one!(revocation, revoke_token, r, left, RevokeToken),
        Request::RevokeFamily(r) => one!(revocation, revoke_family, r, left, RevokeFamily),
        Request::RevokeWhere(r) => one!(revocation, revoke_where, r, left, RevokeWhere),
        Request::GetRevocation(r) => one!(revocation, get_revocation, r, left, GetRevocation),
        Request::RevokeAccessToken(r) => {
            one!(revocation, revoke_access_token, r, left, RevokeAccessToken)
        }
        Request::CheckAccess(r) => one!(revocation, check_access, r, left, CheckAccess),
        Request::Suspend(r) => one!(revocation, suspend, r, left, Suspend),
        Request::Resume(r) => one!(revocation, resume, r, left, Resume),
        Request::RequireReauthentication(r) => {
            one!(revocation, require_reauthentication, r, left, RequireReauthentication)
        }
        Request::CreateSession(r) => one!(sessions, create_session, r, left, CreateSession),
        Request::TouchSession(r) => one!(sessions, touch_session, r, left, TouchSession),
        Request::EndSession(r) => one!(sessions, end_session, r, left, EndSession),
        Request::GetSession(r) => one!(sessions, get_session, r, left, GetSession),
        Request::ListSessions(r) => one!(sessions, list_sessions, r, left, ListSessions),
        Request::ListSessionClients(r) => {
            one!(sessions, list_session_clients, r, left, ListSessionClients)
        }
        Request::Acquire(r) => one!(locks, acquire, r, left, Acquire),
        Request::Renew(r) => one!(locks, renew, r, left, Renew),
        Request::Release(r) => one!(locks, release, r, left, Release),
        Request::Withdraw(r) => one!(locks, withdraw, r, left, Withdraw),
        Request::Publish(r) => one!(locks, publish, r, left, Publish),
        Request::Await(r) => one!(locks, r#await, r, left, Await),
        Request::GetLock(r) => one!(locks, get_lock, r, left, GetLock),
    }
}

/// What a status stands for: the cluster's own words, or a connection that broke.
pub(crate) fn error_of(status: &Status) -> CallError {
    let failure = Failure::from(status);
    let broken = matches!(
        failure.code,
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal
    );
    // The cluster's own statuses carry a reason; those without were made up on the way.
    if broken && failure.reason == reason::TRANSPORT {
        return CallError::Lost(status.message().into());
    }
    CallError::Failed(failure)
}
