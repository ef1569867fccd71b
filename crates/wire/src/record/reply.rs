//! Replies about records as responses: the server's side.

use jeton_core::ids::{DurationMs, Position};
use jeton_core::reply::{Done, RecordPage, RecordView, Refusal};

use super::{encode, view};
use crate::failure::Failure;
use crate::pb::v1;
use crate::pb::v1::operation_result::Response;
use crate::refusal;
use crate::reply::{Kind, bug};

/// The response to a mutation of records that was done.
pub(crate) fn performed(kind: Kind, position: u64, done: Done) -> Result<Response, Failure> {
    use v1::{consume_response as consume, look_up_record_response as look_up};
    Ok(match (kind, done) {
        (Kind::PutRecord, Done::RecordPut { version }) => {
            Response::PutRecord(v1::PutRecordResponse { position, version, refusal: None })
        }
        (Kind::LookUpRecord, Done::RecordFound(found)) => {
            let outcome = Some(look_up::Outcome::Record(view::encode(*found)));
            Response::LookUpRecord(v1::LookUpRecordResponse { position, outcome })
        }
        (Kind::DeleteRecord, Done::RecordDeleted { existed }) => {
            Response::DeleteRecord(v1::DeleteRecordResponse { position, existed, refusal: None })
        }
        (Kind::DeleteRecords, Done::Cut) => {
            Response::DeleteRecords(v1::DeleteRecordsResponse { position, refusal: None })
        }
        (Kind::CollectExpired, Done::Collected { count, more }) => {
            let refusal = None;
            Response::CollectExpired(v1::CollectExpiredResponse { position, count, more, refusal })
        }
        (Kind::Consume, Done::Consumed(it)) => {
            let outcome = Some(consume::Outcome::First(view::consumed(*it)));
            Response::Consume(v1::ConsumeResponse { position, outcome })
        }
        (Kind::SeenOnce, Done::Fresh) => {
            Response::SeenOnce(v1::SeenOnceResponse { position, refusal: None })
        }
        _ => return Err(bug("the reply does not fit the request")),
    })
}

/// The response to a mutation of records that was refused; `None` if `kind` is none of them.
pub(crate) fn refused(kind: Kind, position: u64, refusal: v1::Refusal) -> Option<Response> {
    use v1::{consume_response as consume, look_up_record_response as look_up};
    Some(match kind {
        Kind::PutRecord => Response::PutRecord(v1::PutRecordResponse {
            position,
            version: 0,
            refusal: Some(refusal),
        }),
        Kind::LookUpRecord => {
            let outcome = Some(look_up::Outcome::Refusal(refusal));
            Response::LookUpRecord(v1::LookUpRecordResponse { position, outcome })
        }
        Kind::DeleteRecord => Response::DeleteRecord(v1::DeleteRecordResponse {
            position,
            existed: false,
            refusal: Some(refusal),
        }),
        Kind::DeleteRecords => {
            let refusal = Some(refusal);
            Response::DeleteRecords(v1::DeleteRecordsResponse { position, refusal })
        }
        Kind::CollectExpired => Response::CollectExpired(v1::CollectExpiredResponse {
            position,
            count: 0,
            more: false,
            refusal: Some(refusal),
        }),
        Kind::Consume => {
            let outcome = Some(consume::Outcome::Refusal(refusal));
            Response::Consume(v1::ConsumeResponse { position, outcome })
        }
        Kind::SeenOnce => {
            Response::SeenOnce(v1::SeenOnceResponse { position, refusal: Some(refusal) })
        }
        _ => return None,
    })
}

fn mark(position: Position, age: Option<DurationMs>) -> Option<v1::ReadMark> {
    Some(v1::ReadMark { position: position.0, age_ms: age.map(|age| age.0) })
}

/// The response to `GetRecord`.
///
/// # Errors
/// [`Failure`] for refusals that are errors.
pub fn shown(
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<RecordView, Refusal>,
) -> Result<Response, Failure> {
    use v1::get_record_response::Outcome;
    let outcome = match outcome {
        Ok(found) => Outcome::Record(view::encode(found).into()),
        Err(refusal) => Outcome::Refusal(refusal::encode(refusal)?),
    };
    let read = mark(position, age);
    Ok(Response::GetRecord(v1::GetRecordResponse { read, outcome: Some(outcome) }))
}

/// The response to `FindRecords`.
///
/// # Errors
/// [`Failure`] for refusals that are errors.
pub fn found(
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<RecordPage, Refusal>,
) -> Result<Response, Failure> {
    use v1::find_records_response::Outcome;
    let outcome = match outcome {
        Ok(page) => Outcome::Page(v1::RecordPage {
            records: page.records.into_iter().map(view::encode).collect(),
            next_page_token: page.next.as_ref().map(encode::token).unwrap_or_default(),
        }),
        Err(refusal) => Outcome::Refusal(refusal::encode(refusal)?),
    };
    let read = mark(position, age);
    Ok(Response::FindRecords(v1::FindRecordsResponse { read, outcome: Some(outcome) }))
}
