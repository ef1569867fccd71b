//! Failures as gRPC statuses and back. Details travel in the trailer `grpc-status-details-bin` as
//! `google.rpc.Status`, so that any client's library for rich errors reads them.

use std::borrow::Cow;
use std::time::Duration;

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use crate::check::Violation;
use crate::failure::{DOMAIN, Failure, reason};
use crate::pb::rpc;

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
/// [`Failure::not_executed`] inside `ErrorInfo.metadata`, where Google's model has no field for it.
const NOT_EXECUTED: &str = "not_executed";
/// Longest text that goes into the header `grpc-message`; details hold the whole.
const MESSAGE_BYTES_MAX: usize = 1_024;

fn any(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut metadata = failure.metadata;
        metadata.insert(NOT_EXECUTED.to_owned(), failure.not_executed.to_string());
        let info = rpc::ErrorInfo {
            reason: failure.reason.into_owned(),
            domain: DOMAIN.to_owned(),
            metadata,
        };
        let mut details = vec![any(ERROR_INFO, &info)];
        if let Some(after) = failure.retry_after {
            let retry_delay = prost_types::Duration::try_from(after).ok();
            details.push(any(RETRY_INFO, &rpc::RetryInfo { retry_delay }));
        }
        if !failure.violations.is_empty() {
            let field_violations = failure
                .violations
                .into_iter()
                .map(|v| rpc::bad_request::FieldViolation {
                    field: v.field,
                    description: v.description,
                })
                .collect();
            details.push(any(BAD_REQUEST, &rpc::BadRequest { field_violations }));
        }
        let code = failure.code;
        let message = failure.message.into_owned();
        let status = rpc::Status { code: code as i32, message: message.clone(), details };
        Status::with_details(code, shorten(message), status.encode_to_vec().into())
    }
}

fn shorten(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut at = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(at) {
            at -= 1;
        }
        message.truncate(at);
    }
    message
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

impl From<&Status> for Failure {
    /// Reads the details. A status without them came from the transport or from another server:
    /// its outcome is unknown.
    fn from(status: &Status) -> Self {
        let mut failure = Self::new(status.code(), reason::TRANSPORT, status.message().to_owned());
        let details = match rpc::Status::decode(status.details()) {
            Ok(details) if details.code == status.code() as i32 => details,
            _ => return failure,
        };
        if !details.message.is_empty() {
            failure.message = Cow::Owned(details.message);
        }
        for detail in details.details {
            detail_into(&mut failure, &detail);
        }
        failure
    }
}

/// Takes what it understands; details of unknown types are somebody else's.
fn detail_into(failure: &mut Failure, detail: &Any) {
    match detail.type_url.as_str() {
        ERROR_INFO => {
            let Ok(mut info) = rpc::ErrorInfo::decode(&*detail.value) else { return };
            if info.domain == DOMAIN {
                failure.not_executed =
                    info.metadata.remove(NOT_EXECUTED).is_some_and(|text| text == "true");
                failure.reason = Cow::Owned(info.reason);
                failure.metadata = info.metadata;
            }
        }
        RETRY_INFO => {
            let Ok(info) = rpc::RetryInfo::decode(&*detail.value) else { return };
            failure.retry_after = info.retry_delay.and_then(|d| Duration::try_from(d).ok());
        }
        BAD_REQUEST => {
            let Ok(bad) = rpc::BadRequest::decode(&*detail.value) else { return };
            failure.violations = bad
                .field_violations
                .into_iter()
                .map(|v| Violation { field: v.field, description: v.description })
                .collect();
        }
        _ => {}
    }
}

/// Whether a caller may repeat the call, under the same name.
#[must_use]
pub fn retryable(failure: &Failure) -> bool {
    match failure.code {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => true,
        Code::ResourceExhausted => failure.retry_after.is_some(),
        _ => false,
    }
}
