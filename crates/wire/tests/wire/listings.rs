//! Listings, counts and caps: what arrives, and every bound with one above it.

use jeton_core::ids::{FamilyId, Position, TenantId};
use jeton_core::limits;
use jeton_core::read::{FamilyCursor, FamilyQuery};
use jeton_core::reply::Refusal;
use jeton_wire::check::Violation;
use jeton_wire::decode::{self, Asked, Query};
use jeton_wire::listing::{self, Count, Page};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::{answer, encode};

use crate::samples;

fn list() -> v1::ListFamiliesRequest {
    let Some(Request::ListFamilies(request)) = encode::operation(&samples::list_families()) else {
        panic!("the sample is of another kind")
    };
    request
}

fn spoilt(spoil: impl FnOnce(&mut v1::ListFamiliesRequest)) -> Result<Asked, Violation> {
    let mut request = list();
    spoil(&mut request);
    decode::operation(Some(Request::ListFamilies(request)))
}

fn filter(r: &mut v1::ListFamiliesRequest) -> &mut v1::FamilyFilter {
    r.filter.as_mut().expect("the sample has one")
}

#[test]
fn what_is_wrong_with_a_listing_is_named() {
    let fields = |spoil: fn(&mut v1::ListFamiliesRequest)| spoilt(spoil).unwrap_err().field;
    assert_eq!(fields(|r| r.tenant.clear()), "tenant");
    assert_eq!(fields(|r| r.filter = None), "filter");
    assert_eq!(fields(|r| filter(r).subject = "x".repeat(257)), "filter.subject");
    assert_eq!(fields(|r| filter(r).client = "\n".into()), "filter.client");
    assert_eq!(fields(|r| filter(r).session = "x".repeat(257)), "filter.session");
    assert_eq!(fields(|r| filter(r).device = "x".repeat(257)), "filter.device");
    assert_eq!(fields(|r| r.page_size = limits::PAGE_ROWS_MAX + 1), "page_size");
    let nothing = fields(|r| {
        filter(r).subject.clear();
        filter(r).client.clear();
        filter(r).session.clear();
    });
    assert_eq!(nothing, "filter");
    let crowded = fields(|r| {
        let names = (0..=limits::ATTRIBUTES_MAX).map(|n| (n.to_string(), String::new()));
        filter(r).attributes = names.collect();
    });
    assert_eq!(crowded, "filter.attributes");
}

#[test]
fn a_page_holds_a_hundred_unless_asked_and_a_thousand_at_most() {
    for (asked, given) in [(0, 100), (1, 1), (limits::PAGE_ROWS_MAX, limits::PAGE_ROWS_MAX)] {
        let Ok(Asked::Read(read)) = spoilt(|r| r.page_size = asked) else { panic!("{asked}") };
        let Query::Families(page) = read.query else { panic!("another query") };
        assert_eq!(page.families_max, given);
    }
}

#[test]
fn a_page_token_belongs_to_its_listing() {
    assert!(spoilt(|_| {}).is_ok());
    assert!(spoilt(|r| r.page_token.clear()).is_ok(), "the first page needs none");
    let spoils: [fn(&mut v1::ListFamiliesRequest); 8] = [
        |r| r.page_token.push('0'),
        |r| r.page_token.truncate(79),
        |r| r.page_token.make_ascii_uppercase(),
        |r| r.page_token = format!("{}é", &r.page_token[..78]),
        |r| r.tenant = "other".into(),
        |r| filter(r).subject = "bob".into(),
        |r| filter(r).include_dead = false,
        |r| filter(r).attributes.clear(),
    ];
    for (at, spoil) in spoils.into_iter().enumerate() {
        assert_eq!(spoilt(spoil).unwrap_err().field, "page_token", "spoil {at}");
    }
    let (tenant, query) = (TenantId::new("acme").unwrap(), FamilyQuery::default());
    let after = FamilyCursor { created: Position(0), family: FamilyId([0; 16]) };
    let tokens = [listing::token(&tenant, &query, after), list().page_token];
    assert!(tokens.iter().all(|token| token.len() == 80 && token.is_ascii()));
}

#[test]
fn pages_and_counts_arrive() {
    let page = Page { families: vec![crate::round_trips::view(None)], next: Some("ab".into()) };
    let response = listing::page(Position(9), None, Ok(page.clone())).unwrap();
    let Response::ListFamilies(response) = response else { panic!("another answer") };
    let seen = listing::list_families(response).unwrap();
    assert_eq!((seen.position, seen.outcome), (Position(9), Ok(page)));

    for count in [
        Count { families: 0, at_least: false },
        Count { families: limits::COUNT_EXACT_MAX, at_least: true },
    ] {
        let response = listing::counted(Position(9), None, Ok(count)).unwrap();
        let result = v1::OperationResult { tag: 1, response: Some(response) };
        let answer::Answer::CountFamilies(seen) = answer::operation(result).unwrap() else {
            panic!("another answer")
        };
        assert_eq!(seen.outcome, Ok(count));
    }

    let refused = listing::page(Position(9), None, Err(Refusal::TenantUnknown)).unwrap();
    let Response::ListFamilies(refused) = refused else { panic!("another answer") };
    let seen = listing::list_families(refused).unwrap();
    assert_eq!(seen.outcome, Err(Refusal::TenantUnknown));
}

#[test]
fn a_cap_is_checked_at_its_bounds() {
    let capped = |spoil: &dyn Fn(&mut v1::FamilyCap)| {
        let Some(Request::CreateFamily(mut r)) = encode::operation(&samples::create_family())
        else {
            panic!("the sample is of another kind")
        };
        spoil(r.cap.as_mut().expect("the sample has one"));
        let decoded = decode::operation(Some(Request::CreateFamily(r)));
        decoded.map(drop).map_err(|violation| violation.field)
    };
    for max in [1, limits::CAP_FAMILIES_MAX] {
        assert_eq!(capped(&|cap| cap.max = max), Ok(()));
    }
    for max in [0, limits::CAP_FAMILIES_MAX + 1] {
        assert_eq!(capped(&|cap| cap.max = max), Err("cap.max".to_owned()));
    }
    for unknown in [0, 3, -1] {
        assert_eq!(capped(&|cap| cap.scope = unknown), Err("cap.scope".to_owned()));
        assert_eq!(capped(&|cap| cap.policy = unknown), Err("cap.policy".to_owned()));
    }
}
