//! Responses about records as outcomes: the client's side.

use jeton_core::ids::Position;
use jeton_core::reply::{ConsumedRecord, RecordView};

use super::{Collected, Page, view};
use crate::answer::{Answered, Seen, seen, unless_refused};
use crate::check::{self, Violation};
use crate::pb::v1;
use crate::refusal;

/// The version that was put.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn put_record(r: v1::PutRecordResponse) -> Result<Answered<u64>, Violation> {
    unless_refused(r.position, r.refusal, r.version)
}

/// The record.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn get_record(r: v1::GetRecordResponse) -> Result<Seen<RecordView>, Violation> {
    use v1::get_record_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Record(record) => Ok(view::decode(*record)?),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

/// A page of records.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn find_records(r: v1::FindRecordsResponse) -> Result<Seen<Page>, Violation> {
    use v1::find_records_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Page(page) => Ok(Page {
            records: page.records.into_iter().map(view::decode).collect::<Result<_, _>>()?,
            next: Some(page.next_page_token).filter(|token| !token.is_empty()),
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

/// The record that was looked up.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn look_up_record(r: v1::LookUpRecordResponse) -> Result<Answered<RecordView>, Violation> {
    use v1::look_up_record_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Record(record) => Ok(view::decode(record)?),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// Whether there was a record.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn delete_record(r: v1::DeleteRecordResponse) -> Result<Answered<bool>, Violation> {
    unless_refused(r.position, r.refusal, r.existed)
}

/// From where on they are gone.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn delete_records(r: v1::DeleteRecordsResponse) -> Result<Answered<()>, Violation> {
    unless_refused(r.position, r.refusal, ())
}

/// How many were collected.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn collect_expired(r: v1::CollectExpiredResponse) -> Result<Answered<Collected>, Violation> {
    let collected = Collected { count: r.count, more: r.more };
    unless_refused(r.position, r.refusal, collected)
}

/// What the winner gets.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn consume(r: v1::ConsumeResponse) -> Result<Answered<ConsumedRecord>, Violation> {
    use v1::consume_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::First(it) => Ok(view::consumed_from(it)),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// Whether it was fresh.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn seen_once(r: v1::SeenOnceResponse) -> Result<Answered<()>, Violation> {
    unless_refused(r.position, r.refusal, ())
}
