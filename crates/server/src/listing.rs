//! Listings and counts of families: many rows, read a few at a time.
//!
//! Applying waits while rows are looked at, so a page is put together from many short looks, each
//! at a later moment than the one before. What may be promised of that: a family that matches all
//! the while is met exactly once, since the index is in the order of creation, which never changes.

use jeton_core::ids::TenantId;
use jeton_core::limits;
use jeton_core::read::{self, FamilyCursor, FamilyQuery, FamilySlice};
use jeton_core::reply::Refusal;
use jeton_raft::ReadPoint;
use jeton_wire::Failure;
use jeton_wire::decode::Query;
use jeton_wire::listing::{self, Count, Page, PageAsked};
use jeton_wire::pb::v1::operation_result::Response;
use tokio::time::Instant;

use crate::desk::{Desk, unreadable};
use crate::failures;
use crate::reads::{Asking, age_of};
use crate::records;
use crate::revocations;
use crate::sessions;

/// Rows of an index that one look goes through.
const ROWS_A_LOOK: usize = 32;
/// Rows of an index that one call goes through: a page ends there, a count says "at least".
const ROWS_A_CALL: usize = 100_000;
/// Rows of an index that a page goes through when few of them match.
const ROWS_A_PAGE: usize = 20_000;
/// About the bytes of a page: what has more goes on the next one.
const PAGE_BYTES: usize = 1024 * 1024;

/// Whether a read is answered here.
pub(crate) fn is_one(query: &Query) -> bool {
    use Query::{Families, FamilyCount, Matching, Records, Session};
    matches!(query, Families(_) | FamilyCount(_) | Matching(_) | Records(_) | Session(_))
}

/// Answers a listing or a count behind its barrier.
pub(crate) async fn answer(
    desk: &Desk,
    asking: &Asking,
    point: &ReadPoint,
) -> Result<Response, Failure> {
    let walk = Walk { desk, point, tenant: &asking.read.tenant, deadline: asking.deadline };
    let age = age_of(point);
    match &asking.read.query {
        Query::Families(asked) => listing::page(point.position, age, walk.page(asked).await?),
        Query::FamilyCount(query) => {
            listing::counted(point.position, age, walk.count(query).await?)
        }
        Query::Session(query) => sessions::answer(desk, asking, query, point).await,
        Query::Matching(_) => revocations::dry_run(desk, asking, point).await,
        Query::Records(asked) => records::page(desk, asking, point, asked).await,
        _ => Err(jeton_wire::reply::bug("only listings are listed")),
    }
}

struct Walk<'a> {
    desk: &'a Desk,
    point: &'a ReadPoint,
    tenant: &'a TenantId,
    deadline: Instant,
}

impl Walk<'_> {
    /// One look.
    async fn look(
        &self,
        query: &FamilyQuery,
        after: Option<FamilyCursor>,
        rows_max: usize,
    ) -> Result<Result<FamilySlice, Refusal>, Failure> {
        // Others on this thread, and whoever applies, have their turn between two looks.
        tokio::task::yield_now().await;
        if self.deadline <= Instant::now() {
            return Err(failures::overdue().not_executed());
        }
        let now = self.point.now;
        let look = self
            .desk
            .node
            .view(|tables, _| read::families(tables, now, self.tenant, query, after, rows_max));
        look.map_err(|error| unreadable(&error))
    }

    async fn page(&self, asked: &PageAsked) -> Result<Result<Page, Refusal>, Failure> {
        let (query, mut after) = (&asked.query, asked.after);
        let wanted = asked.families_max as usize;
        let (mut families, mut bytes, mut rows) = (Vec::new(), 0, 0);
        let next = loop {
            // Never more rows than there is room for: what was looked at is not looked at again.
            let rows_max = ROWS_A_LOOK.min(wanted - families.len());
            let slice = match self.look(query, after, rows_max).await? {
                Ok(slice) => slice,
                Err(refusal) => return Ok(Err(refusal)),
            };
            bytes += slice.families.iter().map(listing::size).sum::<usize>();
            rows += rows_max;
            families.extend(slice.families);
            after = slice.next;
            let full = families.len() >= wanted || bytes >= PAGE_BYTES || rows >= ROWS_A_PAGE;
            if after.is_none() || full {
                break after;
            }
        };
        let next = next.map(|after| listing::token(self.tenant, query, after));
        Ok(Ok(Page { families, next }))
    }

    async fn count(&self, query: &FamilyQuery) -> Result<Result<Count, Refusal>, Failure> {
        let (mut after, mut families, mut rows) = (None, 0, 0);
        loop {
            let slice = match self.look(query, after, ROWS_A_LOOK).await? {
                Ok(slice) => slice,
                Err(refusal) => return Ok(Err(refusal)),
            };
            families += slice.families.len() as u64;
            rows += ROWS_A_LOOK;
            after = slice.next;
            let exact = limits::COUNT_EXACT_MAX;
            if families > exact {
                return Ok(Ok(Count { families: exact, at_least: true }));
            }
            if after.is_none() || rows >= ROWS_A_CALL {
                return Ok(Ok(Count { families, at_least: after.is_some() }));
            }
        }
    }
}
