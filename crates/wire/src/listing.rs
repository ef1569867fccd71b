//! Listings and counts of families, both ways, and the token that leads from page to page.
//!
//! A page token names the last family that was looked at and the listing that it belongs to. It is
//! no secret and gives nobody anything: whoever may list may begin anywhere.

use std::sync::Arc;

use bytes::Bytes;
use jeton_core::ids::{DurationMs, FamilyId, Position, TenantId};
use jeton_core::limits;
use jeton_core::read::{FamilyCursor, FamilyQuery};
use jeton_core::reply::{FamilyView, Refusal};

use crate::answer::{Seen, seen};
use crate::check::{self, Violation};
use crate::decode::{Query, Read, consistency};
use crate::failure::Failure;
use crate::pb::v1;
use crate::pb::v1::operation_result::Response;
use crate::{encode, refusal, view};

/// Families of a page when no size is asked for.
pub const PAGE_DEFAULT: u32 = 100;

/// A page of a listing that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PageAsked {
    /// Which families.
    pub query: FamilyQuery,
    /// Behind which; `None` for the first page.
    pub after: Option<FamilyCursor>,
    /// At most so many: 1 to [`limits::PAGE_ROWS_MAX`].
    pub families_max: u32,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In the order of creation, without payloads.
    pub families: Vec<FamilyView>,
    /// For the next page; `None` if that was all.
    pub next: Option<String>,
}

/// How many families there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Exact, unless `at_least`.
    pub families: u64,
    /// There are at least so many: counting stopped.
    pub at_least: bool,
}

pub(crate) fn list(r: v1::ListFamiliesRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let query = filter(r.filter)?;
    let families_max = match r.page_size {
        0 => PAGE_DEFAULT,
        size if size > limits::PAGE_ROWS_MAX => {
            let max = limits::PAGE_ROWS_MAX;
            return Err(Violation::new("page_size", format!("is {size}: the limit is {max}")));
        }
        size => size,
    };
    let after = match r.page_token.as_str() {
        "" => None,
        text => Some(cursor(text, &tenant, &query).ok_or_else(|| {
            let problem = "is none of this listing: send the last page's next_page_token, with the \
                           same tenant and filter";
            Violation::new("page_token", problem)
        })?),
    };
    let query = Query::Families(PageAsked { query, after, families_max });
    Ok(Read { tenant, query, consistency: consistency(r.consistency)? })
}

pub(crate) fn count(r: v1::CountFamiliesRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let query = Query::FamilyCount(filter(r.filter)?);
    Ok(Read { tenant, query, consistency: consistency(r.consistency)? })
}

fn filter(filter: Option<v1::FamilyFilter>) -> Result<FamilyQuery, Violation> {
    let filter = check::required("filter", filter)?;
    let query = FamilyQuery {
        subject: inside(check::subject_opt(&filter.subject))?,
        client: inside(check::client_opt(&filter.client))?,
        device: check::device_opt("filter.device", &filter.device)?,
        session: check::session_opt("filter.session", &filter.session)?,
        attributes: check::attributes("filter.attributes", filter.attributes)?,
        include_dead: filter.include_dead,
    };
    let roots = query.subject.is_some() || query.client.is_some() || query.device.is_some();
    if !roots && query.session.is_none() {
        let problem = "names no root: name a subject, client, device or session";
        return Err(Violation::new("filter", problem));
    }
    Ok(query)
}

/// The same violation, of a field of the filter.
fn inside<T>(checked: Result<T, Violation>) -> Result<T, Violation> {
    checked.map_err(|v| Violation::new(&format!("filter.{}", v.field), v.description))
}

/// The request of a page.
#[must_use]
pub fn list_request(
    tenant: &TenantId,
    query: &FamilyQuery,
    families_max: u32,
    page_token: &str,
) -> v1::ListFamiliesRequest {
    v1::ListFamiliesRequest {
        tenant: tenant.as_str().to_owned(),
        filter: Some(filter_of(query)),
        page_size: families_max,
        page_token: page_token.to_owned(),
        consistency: None,
    }
}

pub(crate) fn page_request(tenant: &TenantId, asked: &PageAsked) -> v1::ListFamiliesRequest {
    let token = asked.after.map(|after| token(tenant, &asked.query, after)).unwrap_or_default();
    list_request(tenant, &asked.query, asked.families_max, &token)
}

/// The request of a count.
#[must_use]
pub fn count_request(tenant: &TenantId, query: &FamilyQuery) -> v1::CountFamiliesRequest {
    let tenant = tenant.as_str().to_owned();
    v1::CountFamiliesRequest { tenant, filter: Some(filter_of(query)), consistency: None }
}

fn filter_of(query: &FamilyQuery) -> v1::FamilyFilter {
    v1::FamilyFilter {
        subject: encode::text(query.subject.as_ref().map(|s| s.as_str())),
        client: encode::text(query.client.as_ref().map(|c| c.as_str())),
        device: encode::text(query.device.as_ref().map(|d| d.as_str())),
        session: encode::text(query.session.as_ref().map(|s| s.as_str())),
        attributes: encode::attributes(&query.attributes),
        include_dead: query.include_dead,
    }
}

/// The token of the page behind `after`.
#[must_use]
pub fn token(tenant: &TenantId, query: &FamilyQuery, after: FamilyCursor) -> String {
    let (listing, created) = (query.digest(tenant), after.created.0);
    format!("{listing:032x}{created:016x}{}", after.family)
}

fn cursor(text: &str, tenant: &TenantId, query: &FamilyQuery) -> Option<FamilyCursor> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 80 || !text.bytes().all(lower) {
        return None;
    }
    let listing = u128::from_str_radix(&text[..32], 16).ok()?;
    let created = u64::from_str_radix(&text[32..48], 16).ok()?;
    let family = u128::from_str_radix(&text[48..], 16).ok()?;
    let cursor =
        FamilyCursor { created: Position(created), family: FamilyId(family.to_be_bytes()) };
    (listing == query.digest(tenant)).then_some(cursor)
}

pub(crate) fn mark(position: Position, age: Option<DurationMs>) -> Option<v1::ReadMark> {
    Some(v1::ReadMark { position: position.0, age_ms: age.map(|age| age.0) })
}

/// The response to a listing.
///
/// # Errors
/// [`Failure`] for refusals that are errors.
pub fn page(
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<Page, Refusal>,
) -> Result<Response, Failure> {
    use v1::list_families_response::Outcome;
    let outcome = match outcome {
        Ok(page) => Outcome::Page(v1::FamilyPage {
            families: page.families.into_iter().map(view::encode).collect::<Result<_, _>>()?,
            next_page_token: page.next.unwrap_or_default(),
        }),
        Err(refusal) => Outcome::Refusal(refusal::encode(refusal)?),
    };
    let read = mark(position, age);
    Ok(Response::ListFamilies(v1::ListFamiliesResponse { read, outcome: Some(outcome) }))
}

/// The response to a count.
///
/// # Errors
/// [`Failure`] for refusals that are errors.
pub fn counted(
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<Count, Refusal>,
) -> Result<Response, Failure> {
    use v1::count_families_response::Outcome;
    let outcome = match outcome {
        Ok(Count { families, at_least }) => Outcome::Count(v1::FamilyCount { families, at_least }),
        Err(refusal) => Outcome::Refusal(refusal::encode(refusal)?),
    };
    let read = mark(position, age);
    Ok(Response::CountFamilies(v1::CountFamiliesResponse { read, outcome: Some(outcome) }))
}

/// A page from the wire.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn list_families(r: v1::ListFamiliesResponse) -> Result<Seen<Page>, Violation> {
    use v1::list_families_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Page(page) => Ok(Page {
            families: page.families.into_iter().map(view::decode).collect::<Result<_, _>>()?,
            next: Some(page.next_page_token).filter(|token| !token.is_empty()),
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

/// A count from the wire.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn count_families(r: v1::CountFamiliesResponse) -> Result<Seen<Count>, Violation> {
    use v1::count_families_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Count(v1::FamilyCount { families, at_least }) => Ok(Count { families, at_least }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

/// About the bytes of a family on the wire: pages are held below a message's limit by it.
#[must_use]
pub fn size(view: &FamilyView) -> usize {
    let pairs = |pairs: &[(Arc<str>, Arc<str>)]| {
        pairs.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>()
    };
    let device = view.device.as_ref().map_or(0, |device| device.as_str().len());
    256 + view.subject.as_str().len()
        + view.client.as_str().len()
        + device
        + pairs(&view.attributes)
}

pub(crate) fn evicted(families: &[FamilyId]) -> Vec<Bytes> {
    families.iter().map(|family| Bytes::copy_from_slice(&family.0)).collect()
}
