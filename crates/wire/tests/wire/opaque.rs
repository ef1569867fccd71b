//! Opaque tokens: what is wrong with how one is shown, or with what is asked of it.

use bytes::Bytes;
use jeton_core::command::Operation;
use jeton_core::limits;
use jeton_wire::check::Violation;
use jeton_wire::decode;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::{admin, encode};

use crate::samples;

fn spoilt(
    asked: &decode::Asked,
    spoil: impl FnOnce(&mut v1::RotateRequest),
) -> Result<(), Violation> {
    let Some(Request::Rotate(mut request)) = encode::operation(asked) else {
        panic!("the sample is of another kind")
    };
    spoil(&mut request);
    decode::operation(Some(Request::Rotate(request))).map(drop)
}

fn token(r: &mut v1::RotateRequest) -> &mut v1::PresentedToken {
    r.token.as_mut().expect("the sample has one")
}

#[test]
fn an_opaque_token_is_shown_by_its_digest_alone() {
    let field = |spoil: fn(&mut v1::RotateRequest)| {
        spoilt(&samples::adopt(), spoil).map_err(|violation| violation.field)
    };
    assert_eq!(field(|_| {}), Ok(()));
    let mixed = Err("token.opaque_digest".to_owned());
    assert_eq!(field(|r| token(r).kid = 1), mixed);
    assert_eq!(field(|r| token(r).generation = 1), mixed);
    assert_eq!(field(|r| token(r).mac = Bytes::from_static(&[0; 16])), mixed);
    assert_eq!(field(|r| token(r).family_id = Bytes::from_static(&[0; 16])), mixed);
    assert_eq!(field(|r| token(r).opaque_digest = Bytes::from_static(&[0; 15])), mixed);
    assert_eq!(field(|r| token(r).opaque_digest = Bytes::from_static(&[0; 17])), mixed);
    // Nothing at all is a native token that lacks everything.
    assert_eq!(field(|r| token(r).opaque_digest.clear()), Err("token.family_id".to_owned()));
}

#[test]
fn only_opaque_tokens_are_adopted_or_go_without_a_seal() {
    let field = |asked, spoil: fn(&mut v1::RotateRequest)| {
        spoilt(&asked, spoil).map_err(|violation| violation.field)
    };
    let adopt = |r: &mut v1::RotateRequest| r.losers = v1::Losers::Adopt.into();
    assert_eq!(field(samples::rotate(), adopt), Err("losers".to_owned()));
    assert_eq!(field(samples::adopt(), |r| r.losers = 2), Err("losers".to_owned()));
    let bare = |r: &mut v1::RotateRequest| r.successor.as_mut().expect("one").seal.clear();
    assert_eq!(field(samples::rotate(), bare), Err("successor.seal".to_owned()));
    assert_eq!(field(samples::adopt(), bare), Ok(()));
    let max = limits::SEAL_BYTES_MAX;
    for (len, verdict) in [(max, Ok(())), (max + 1, Err("successor.seal".to_owned()))] {
        let sealed = |r: &mut v1::RotateRequest| {
            r.successor.as_mut().expect("one").seal = Bytes::from(vec![0; len]);
        };
        let told = spoilt(&samples::adopt(), sealed).map_err(|violation| violation.field);
        assert_eq!(told, verdict);
    }
}

#[test]
fn a_family_is_named_or_shown_by_a_token_but_not_both() {
    let Some(Request::GetFamily(named)) = encode::operation(&samples::get_family()) else {
        panic!("the sample is of another kind")
    };
    let shown = encode::presented(&samples::opaque(), None);
    let both = v1::GetFamilyRequest { token: Some(shown), ..named.clone() };
    let violation = decode::operation(Some(Request::GetFamily(both.clone()))).unwrap_err();
    assert_eq!(violation.field, "family_id");
    let neither = v1::GetFamilyRequest { family_id: Bytes::new(), ..named };
    let violation = decode::operation(Some(Request::GetFamily(neither))).unwrap_err();
    assert_eq!(violation.field, "family_id");
    let token = v1::GetFamilyRequest { family_id: Bytes::new(), ..both };
    assert!(decode::operation(Some(Request::GetFamily(token))).is_ok());
}

#[test]
fn how_much_is_remembered_has_bounds() {
    let settings = |ancestors_max| {
        let settings = jeton_wire::pb::admin_v1::TenantSettings {
            ancestors_max: Some(ancestors_max),
            ..Default::default()
        };
        let request = jeton_wire::pb::admin_v1::CreateTenantRequest {
            tenant: "acme".into(),
            request_id: Bytes::from_static(&[1; 16]),
            settings: Some(settings),
            ..Default::default()
        };
        let made = admin::create_tenant(&request, jeton_core::command::KeyMaterial([7; 32]));
        made.map(|command| match command.operation {
            Operation::CreateTenant(wish) => wish.settings.ancestors_max,
            other => panic!("another operation: {other:?}"),
        })
        .map_err(|violation| violation.field)
    };
    for good in [limits::ANCESTORS_MIN, limits::ANCESTORS_MAX] {
        assert_eq!(settings(good), Ok(good));
    }
    for bad in [limits::ANCESTORS_MIN - 1, limits::ANCESTORS_MAX + 1] {
        assert_eq!(settings(bad), Err("settings.ancestors_max".to_owned()));
    }
}
