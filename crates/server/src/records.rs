//! Reads of records. A page is put together from many short looks, since applying waits while rows
//! are looked at: a record that has the index key all the while is met exactly once, for the index
//! is in the order of keys, which never change.

use jeton_core::command::RecordName;
use jeton_core::ids::KeyDigest;
use jeton_core::limits;
use jeton_core::read;
use jeton_core::reply::{RecordPage, Refusal};
use jeton_raft::ReadPoint;
use jeton_wire::Failure;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::record::{self, RecordsAsked};
use tokio::time::Instant;

use crate::desk::{Desk, unreadable};
use crate::failures;
use crate::reads::{Asking, age_of};

/// Looks that a page is made of when little of what it looks at is there.
const LOOKS_A_PAGE: usize = 300;
/// Records of one look.
const RECORDS_A_LOOK: u32 = 32;

/// Answers a read of one record behind its barrier.
pub(crate) fn one(
    desk: &Desk,
    asking: &Asking,
    point: &ReadPoint,
    asked: &RecordsAsked,
) -> Result<Response, Failure> {
    let (tenant, kind) = (&asking.read.tenant, &asked.kind);
    let (RecordName::Key(key) | RecordName::Index(key)) = &asked.by;
    let found = desk.node.view(|tables, _| read::record(tables, point.now, tenant, kind, key));
    record::shown(point.position, age_of(point), found.map_err(|error| unreadable(&error))?)
}

/// Answers a read of a page behind its barrier.
pub(crate) async fn page(
    desk: &Desk,
    asking: &Asking,
    point: &ReadPoint,
    asked: &RecordsAsked,
) -> Result<Response, Failure> {
    let outcome = walk(desk, asking, point, asked).await?;
    record::found(point.position, age_of(point), outcome)
}

async fn walk(
    desk: &Desk,
    asking: &Asking,
    point: &ReadPoint,
    asked: &RecordsAsked,
) -> Result<Result<RecordPage, Refusal>, Failure> {
    let (tenant, kind) = (&asking.read.tenant, &asked.kind);
    let (RecordName::Key(index) | RecordName::Index(index)) = &asked.by;
    let mut page = RecordPage { records: Vec::new(), next: asked.after };
    let (mut bytes, mut after): (usize, Option<KeyDigest>) = (0, asked.after);
    for _ in 0..LOOKS_A_PAGE {
        // Others on this thread, and whoever applies, have their turn between two looks.
        tokio::task::yield_now().await;
        if asking.deadline <= Instant::now() {
            return Err(failures::overdue().not_executed());
        }
        let left = asked.records_max - page.records.len() as u32;
        let rows_max = left.min(RECORDS_A_LOOK);
        let found = desk.node.view(|tables, _| {
            read::records(tables, point.now, tenant, kind, index, after.as_ref(), rows_max)
        });
        let found = match found.map_err(|error| unreadable(&error))? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        bytes += found.records.iter().map(|record| record.value.len()).sum::<usize>();
        if bytes > limits::PAGE_BYTES_MAX && !page.records.is_empty() {
            // What does not fit is looked at again, on the next page.
            return Ok(Ok(page));
        }
        page.records.extend(found.records);
        (page.next, after) = (found.next, found.next);
        if page.next.is_none() || page.records.len() as u32 >= asked.records_max {
            break;
        }
    }
    Ok(Ok(page))
}
