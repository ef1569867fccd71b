//! Every bad input, the field that is blamed for it, and what its sender is told.

use std::collections::BTreeMap;

use bytes::Bytes;
use jeton_wire::check::Violation;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::{admin, decode, encode};

use crate::samples;

fn change<R>(request: &mut R, spoil: impl FnOnce(&mut R)) {
    spoil(request);
}

/// A good request, spoilt.
macro_rules! case {
    ($kind:ident, $good:expr, $spoil:expr) => {{
        let request = encode::operation(&$good).expect("clients can send it");
        let Request::$kind(mut r) = request else { panic!("the sample is of another kind") };
        change(&mut r, $spoil);
        decode::operation(Some(Request::$kind(r))).expect_err("it was spoilt")
    }};
}

#[track_caller]
fn told(violation: &Violation, field: &str, words: &str) {
    assert_eq!(violation.field, field, "{violation}");
    assert!(violation.description.contains(words), "{violation} does not say: {words}");
}

macro_rules! table {
    (
        $name:ident: $kind:ident of $good:expr;
        $($spoil:expr => $field:literal, $words:literal;)+
    ) => {
        #[test]
        fn $name() {
            $( told(&case!($kind, $good, $spoil), $field, $words); )+
        }
    };
}

fn long(len: usize) -> String {
    "x".repeat(len)
}

fn zeros(len: usize) -> Bytes {
    Bytes::from(vec![0; len])
}

fn token(r: &mut v1::RotateRequest) -> &mut v1::PresentedToken {
    r.token.as_mut().expect("the sample has one")
}

fn successor(r: &mut v1::RotateRequest) -> &mut v1::Successor {
    r.successor.as_mut().expect("the sample has one")
}

table! { a_bad_rotation_is_told_which_field: Rotate of samples::rotate();
    |r| r.tenant.clear() => "tenant", "is empty: give 1 to 256 bytes";
    |r| r.tenant = long(257) => "tenant", "257 bytes: the limit is 256";
    |r| r.tenant = "a\nb".into() => "tenant", "control character at byte 1";
    |r| r.request = None => "request", "missing";
    |r| r.request = Some(v1::RequestName::default())
        => "request.id", "0 bytes: it must have exactly 16";
    |r| r.token = None => "token", "missing";
    |r| token(r).kid = 65_536 => "token.kid", "up to 65535";
    |r| token(r).family_id = zeros(15)
        => "token.family_id", "15 bytes: it must have exactly 16";
    |r| token(r).secret_digest = zeros(32)
        => "token.secret_digest", "32 bytes: it must have exactly 16";
    |r| token(r).mac = zeros(0)
        => "token.mac", "0 bytes: it must have exactly 16";
    |r| r.successor = None => "successor", "missing";
    |r| successor(r).secret_digest = zeros(17)
        => "successor.secret_digest", "17 bytes";
    |r| successor(r).seal = zeros(0) => "successor.seal", "is empty";
    |r| successor(r).seal = zeros(16 * 1024 + 1)
        => "successor.seal", "16385 bytes: the limit is 16384";
    |r| r.client.clear() => "client", "is empty";
    |r| r.binding = Some(v1::Binding { jkt: long(65), ..v1::Binding::default() })
        => "binding.jkt", "65 bytes: the limit is 64";
    |r| r.binding = Some(v1::Binding { x5t_s256: "a=b".into(), ..v1::Binding::default() })
        => "binding.x5t_s256", "not base64url";
    |r| r.origin = Some(v1::Origin { device: long(257), ..v1::Origin::default() })
        => "origin.device", "257 bytes";
    |r| r.origin = Some(v1::Origin { ip: long(65), ..v1::Origin::default() })
        => "origin.ip", "65 bytes: the limit is 64";
}

table! { a_bad_denial_is_told_which_field: RevokeAccessToken of samples::revoke_access_token();
    |r| r.tenant.clear() => "tenant", "is empty";
    |r| r.request = None => "request", "missing";
    |r| r.jti.clear() => "jti", "is empty";
    |r| r.jti = long(257) => "jti", "257 bytes: the limit is 256";
    |r| r.client.clear() => "client", "is empty";
}

table! { a_bad_check_is_told_which_field: CheckAccess of samples::check_access();
    |r| r.tenant = long(257) => "tenant", "257 bytes";
    |r| r.tokens.clear() => "tokens", "has 0 entries: send 1 to 256";
    |r| r.tokens = vec![v1::AccessClaims::default(); 257] => "tokens", "has 257 entries";
    |r| r.tokens[0].client.clear() => "tokens[0].client", "a jti is denied together with";
    |r| r.tokens[0].jti = "a\nb".into() => "tokens[0].jti", "control character at byte 1";
    |r| r.tokens[0].family_id = zeros(15) => "tokens[0].family_id", "15 bytes";
    |r| r.tokens[1].subject = long(257) => "tokens[1].subject", "257 bytes";
    |r| r.tokens[1].session = long(257) => "tokens[1].session", "257 bytes";
    |r| r.tokens[1].device = long(257) => "tokens[1].device", "257 bytes";
    |r| r.consistency = Some(v1::Consistency {
        level: Some(v1::consistency::Level::Linearizable(false)),
    }) => "consistency.linearizable", "is false";
}

#[test]
fn as_many_checks_as_the_limit_allows_are_taken() {
    let request = encode::operation(&samples::check_access()).expect("clients can send it");
    let Request::CheckAccess(mut r) = request else { panic!("the sample is of another kind") };
    r.tokens = vec![v1::AccessClaims::default(); 256];
    assert!(decode::operation(Some(Request::CheckAccess(r))).is_ok());
}

fn attributes(entries: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    entries.into_iter().collect()
}

table! { a_bad_creation_is_told_which_field: CreateFamily of samples::create_family();
    |r| r.family_id = zeros(8) => "family_id", "8 bytes";
    |r| r.secret_digest = zeros(15) => "secret_digest", "15 bytes";
    |r| r.subject.clear() => "subject", "is empty";
    |r| r.client = long(1_000) => "client", "1000 bytes";
    |r| r.device = "\u{7f}".into() => "device", "control character";
    |r| r.session = long(257) => "session", "257 bytes: the limit is 256";
    |r| r.ip = "10.0.0.1\0".into() => "ip", "control character";
    |r| r.payload = zeros(64 * 1024 + 1)
        => "payload", "65537 bytes: the limit is 65536";
    |r| r.lifetime_ms = Some(0) => "lifetime_ms", "is 0";
    |r| r.lifetime_ms = Some(u64::MAX) => "lifetime_ms", "the limit is";
    |r| r.idle_ms = Some(0) => "idle_ms", "is 0";
    |r| r.grace_ms = Some(3_600_001) => "grace_ms", "the limit is 3600000 ms";
    |r| {
        r.attributes = attributes((0..17).map(|i| (i.to_string(), String::new())));
    } => "attributes", "17 entries: the limit is 16";
    |r| {
        r.attributes = attributes([(String::new(), "v".into())]);
    } => "attributes[0]", "empty name";
    |r| {
        r.attributes = attributes([("a".into(), String::new()), (long(65), "v".into())]);
    } => "attributes[1]", "65 bytes: the limit is 64";
    |r| {
        r.attributes = attributes([("a".into(), long(257))]);
    } => "attributes[0]", "257 bytes: the limit is 256";
}

table! { a_bad_update_is_told_which_field: UpdateFamily of samples::update_family();
    |r| r.family_id.clear() => "family_id", "0 bytes";
    |r| r.payload = Some(zeros(65_537)) => "payload", "65537 bytes";
    |r| r.grace_ms = Some(u64::MAX) => "grace_ms", "the limit is";
    |r| { r.attributes = None; r.grace_ms = None; }
        => "attributes", "nothing is to be changed";
}

table! { a_bad_validation_is_told_which_field: Validate of samples::validate();
    |r| r.token = None => "token", "missing";
    |r| r.client = long(257) => "client", "257 bytes";
    |r| {
        let level = Some(v1::consistency::Level::Linearizable(false));
        r.consistency = Some(v1::Consistency { level });
    } => "consistency.linearizable", "set it to true";
    |r| {
        let level = Some(v1::consistency::Level::BoundedMaxAgeMs(60_001));
        r.consistency = Some(v1::Consistency { level });
    } => "consistency.bounded_max_age_ms", "is 60001: the limit is 60000";
}

table! { a_bad_question_is_told_which_field: GetFamily of samples::get_family();
    |r| r.family_id = zeros(17) => "family_id", "17 bytes";
    |r| r.tenant.clear() => "tenant", "is empty";
}

table! { a_bad_revocation_is_told_which_field: RevokeWhere of samples::revoke_where(false);
    |r| { r.subject.clear(); r.device.clear(); r.session.clear(); }
        => "whole_tenant", "nothing is named";
    |r| r.whole_tenant = true => "whole_tenant", "leave one of them out";
    |r| r.reason = long(257) => "reason", "257 bytes: the limit is 256";
    |r| r.reason = "a\tb".into() => "reason", "control character";
}

table! { a_bad_predicate_is_told_which_field: RevokeWhere of samples::revoke_by_predicate();
    |r| r.ip = "10.0.0.1/8".into() => "ip", "write 10.0.0.0/8 if you mean that";
    |r| r.ip = "office".into() => "ip", "no address";
    |r| r.region = long(257) => "region", "257 bytes: the limit is 256";
    |r| {
        r.attributes = attributes((0..17).map(|i| (i.to_string(), String::new())));
    } => "attributes", "17 entries: the limit is 16";
    |r| r.except_family_ids = vec![zeros(15)] => "except_family_ids", "15 bytes";
    |r| r.except_family_ids = vec![zeros(16); 16]
        => "except_family_ids", "17 entries with the sessions: the limit is 16";
    |r| r.request = None => "request", "missing";
}

table! { a_bad_session_is_told_which_field: CreateSession of samples::create_session();
    |r| r.session.clear() => "session", "is empty: give 1 to 256 bytes";
    |r| r.session = long(257) => "session", "257 bytes: the limit is 256";
    |r| r.subject.clear() => "subject", "is empty";
    |r| r.device = long(257) => "device", "257 bytes";
    |r| r.payload = zeros(65_537) => "payload", "65537 bytes: the limit is 65536";
    |r| r.lifetime_ms = Some(0) => "lifetime_ms", "is 0";
    |r| r.idle_ms = Some(u64::MAX) => "idle_ms", "the limit is";
    |r| r.request = None => "request", "missing";
    |r| {
        r.attributes = attributes((0..17).map(|i| (i.to_string(), String::new())));
    } => "attributes", "17 entries: the limit is 16";
}

table! { a_bad_touch_is_told_which_field: TouchSession of samples::touch_session();
    |r| r.session.clear() => "session", "is empty";
    |r| r.version = None => "version", "is missing: send the version";
    |r| r.payload = Some(zeros(65_537)) => "payload", "65537 bytes";
    |r| {
        let values = attributes([("a".into(), long(257))]);
        r.attributes = Some(v1::Attributes { values });
    } => "attributes.values[0]", "257 bytes: the limit is 256";
}

table! { a_bad_end_is_told_which_field: EndSession of samples::end_session();
    |r| r.session = "a\0".into() => "session", "control character";
    |r| r.reason = long(257) => "reason", "257 bytes: the limit is 256";
}

table! { a_bad_listing_of_sessions_is_told_which_field: ListSessions of samples::list_sessions();
    |r| r.subject.clear() => "subject", "is empty";
    |r| r.page_size = 1_001 => "page_size", "is 1001: the limit is 1000";
    |r| r.page_token = "xyz".into() => "page_token", "is none";
    |r| r.page_token = "abc".into() => "page_token", "is none";
    |r| r.page_token = "ff".into() => "page_token", "is none";
    |r| r.page_token = "00".into() => "page_token", "is none";
    |r| r.page_token = long(513) => "page_token", "is none";
}

table! { a_bad_listing_of_clients_is_told_which_field:
    ListSessionClients of samples::list_session_clients();
    |r| r.session.clear() => "session", "is empty";
    |r| r.page_size = u32::MAX => "page_size", "the limit is 1000";
}

table! { a_bad_suspension_is_told_which_field:
    Suspend of samples::suspend(jeton_core::command::Suspendable::Tenant);
    |r| r.what = None => "what", "missing";
    |r| r.what = Some(v1::Suspendable::default()) => "what.root", "missing";
    |r| r.what = root(v1::suspendable::Root::Subject(String::new()))
        => "what.subject", "is empty";
    |r| r.what = root(v1::suspendable::Root::Client(long(257))) => "what.client", "257 bytes";
    |r| r.what = root(v1::suspendable::Root::FamilyId(zeros(15)))
        => "what.family_id", "15 bytes: it must have exactly 16";
    |r| r.what = root(v1::suspendable::Root::WholeTenant(false))
        => "what.whole_tenant", "set it to true";
    |r| r.reason = long(257) => "reason", "257 bytes";
}

table! { a_bad_call_to_log_in_is_told_which_field:
    RequireReauthentication of samples::reauthenticate();
    |r| r.subject.clear() => "subject", "is empty";
    |r| r.reason = long(257) => "reason", "257 bytes";
}

fn root(root: v1::suspendable::Root) -> Option<v1::Suspendable> {
    Some(v1::Suspendable { root: Some(root) })
}

#[test]
fn what_is_at_a_limit_is_taken() {
    let Request::CreateSession(mut r) =
        encode::operation(&samples::create_session()).expect("clients can send it")
    else {
        panic!("the sample is of another kind")
    };
    r.session = long(256);
    r.payload = zeros(65_536);
    r.attributes = attributes((0..16).map(|i| (format!("{i:064}"), long(256))));
    r.lifetime_ms = Some(jeton_core::limits::FAMILY_LIFETIME_MAX.0);
    decode::operation(Some(Request::CreateSession(r))).expect("at the limits");
    let Request::ListSessions(mut r) =
        encode::operation(&samples::list_sessions()).expect("clients can send it")
    else {
        panic!("the sample is of another kind")
    };
    (r.page_size, r.page_token) = (1_000, "61".repeat(256));
    decode::operation(Some(Request::ListSessions(r))).expect("at the limits");
}

#[test]
fn an_operation_must_be_one_and_have_time() {
    told(&decode::operation(None).expect_err("nothing"), "request", "missing");
    told(&decode::deadline(0).expect_err("no time"), "deadline_ms", "is 0");
    assert_eq!(
        decode::deadline(u64::MAX).expect("cut").as_millis(),
        u128::from(decode::DEADLINE_MS_MAX)
    );
}

#[test]
fn bad_tenants_are_told_which_setting() {
    use jeton_core::command::KeyMaterial;
    use jeton_wire::pb::admin_v1::{CreateTenantRequest, TenantSettings};
    let bad = |changes: TenantSettings| admin::settings_change(&changes).expect_err("out of range");
    let none = TenantSettings::default();
    let grace = TenantSettings { grace_default_ms: Some(3_600_001), ..none };
    told(&bad(grace), "settings.grace_default_ms", "the limit is 3600000 ms");
    let lifetime = TenantSettings { family_lifetime_max_ms: Some(0), ..none };
    told(&bad(lifetime), "settings.family_lifetime_max_ms", "is 0");
    let idle = TenantSettings { idle_default_ms: Some(u64::MAX), ..none };
    told(&bad(idle), "settings.idle_default_ms", "the limit is");
    let ttl = TenantSettings { access_ttl_max_ms: Some(0), ..none };
    told(&bad(ttl), "settings.access_ttl_max_ms", "is 0");
    let burst = TenantSettings { rotation_burst: Some(0), ..none };
    told(&bad(burst), "settings.rotation_burst", "allow at least one");
    let rate = TenantSettings { rotations_per_s: Some(1_001), ..none };
    told(&bad(rate), "settings.rotations_per_s", "the limit is 1000");

    let request = CreateTenantRequest { tenant: "acme".into(), ..CreateTenantRequest::default() };
    let failed = admin::create_tenant(&request, KeyMaterial([0; 32])).expect_err("no request id");
    told(&failed, "request_id", "0 bytes: it must have exactly 16");
}

#[test]
fn words_about_a_bad_value_never_repeat_it() {
    let violation = case!(Rotate, samples::rotate(), |r| {
        token(r).secret_digest = Bytes::from_static(b"planted-secret");
    });
    assert!(!violation.to_string().contains("planted"));
}
