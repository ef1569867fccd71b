//! The life of tokens through the client port.

use jeton_wire::Failure;
use jeton_wire::pb::admin_v1 as admin;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::refusal::Code;
use tonic::Code as Grpc;

use crate::rig::{Holder, PATIENCE, Rig, TENANT, id, name, refused, rotated, soon};

async fn rotate(rig: &Rig, request: v1::RotateRequest) -> v1::RotateResponse {
    rig.tokens().rotate(soon(request)).await.expect("an answer").into_inner()
}

async fn validate(rig: &Rig, holder: &Holder) -> Result<v1::Family, v1::Refusal> {
    let response = rig.tokens().validate(soon(holder.validate())).await.expect("an answer");
    match response.into_inner().outcome {
        Some(v1::validate_response::Outcome::Active(family)) => Ok(*family),
        Some(v1::validate_response::Outcome::Refusal(refusal)) => Err(refusal),
        None => panic!("no outcome"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_created_rotated_validated_and_revoked() {
    let rig = Rig::start().await;
    let first = rig.family(1).await;
    assert_eq!(validate(&rig, &first).await.expect("active").subject, "alice");

    let second = first.next(&rotated(rotate(&rig, first.rotate(10)).await));
    assert_eq!(second.token.generation, 1);
    assert_eq!(validate(&rig, &second).await.expect("active").generation, 1);
    let spent = validate(&rig, &first).await.expect_err("rotated away");
    assert_eq!(spent.code(), Code::Spent);

    let revoke = v1::RevokeTokenRequest {
        tenant: TENANT.into(),
        request: name(11),
        token: Some(first.token.clone()),
        client: "web".into(),
    };
    let revoked = rig.revocations().revoke_token(soon(revoke)).await.expect("an answer");
    let outcome = revoked.into_inner().outcome.expect("an outcome");
    let result = v1::RevocationResult::Revoked.into();
    assert_eq!(outcome, v1::revoke_token_response::Outcome::Result(result));
    assert_eq!(validate(&rig, &second).await.expect_err("dead").code(), Code::Revoked);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_and_a_sibling_get_the_identical_successor() {
    let rig = Rig::start().await;
    let first = rig.family(1).await;
    let won = rotate(&rig, first.rotate(10)).await;
    let token = rotated(won.clone());

    for (what, request) in [("retry", first.rotate(10)), ("sibling", first.rotate_to(11, 99))] {
        let again = rotate(&rig, request).await;
        let Some(v1::rotate_response::Outcome::Replayed(replayed)) = again.outcome else {
            panic!("{what}: not replayed: {:?}", again.outcome)
        };
        assert_eq!(replayed.token, Some(token.clone()), "{what}");
        assert_eq!(&replayed.seal[..], b"sealed 1", "{what}: the winner's, not its own");
        assert_eq!(again.position, won.position, "{what}");
    }
    // The mac that was handed out is good for the winner's successor.
    assert!(validate(&rig, &first.next(&token)).await.is_ok());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_is_refused_without_an_entry_and_hurts_nobody() {
    let rig = Rig::start().await;
    let holder = rig.family(1).await;
    let before = rig.status().await.last_log_index;

    let mut forged = holder.clone();
    forged.token.mac = id(0);
    assert_eq!(refused(rotate(&rig, forged.rotate(10)).await).code(), Code::NotFound);
    assert_eq!(validate(&rig, &forged).await.expect_err("forged").code(), Code::NotFound);

    let mut other_key = holder.clone();
    other_key.token.kid = 77;
    assert_eq!(refused(rotate(&rig, other_key.rotate(11)).await).code(), Code::NotFound);

    let mut ahead = holder.clone();
    ahead.token.generation = u64::MAX;
    assert_eq!(refused(rotate(&rig, ahead.rotate(12)).await).code(), Code::NotFound);

    assert_eq!(rig.status().await.last_log_index, before, "no forgery entered the log");
    rotated(rotate(&rig, holder.rotate(13)).await);
    rig.stop().await;
}

/// RFC 7009 §2.2: the purpose of the call is achieved already.
#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_token_that_is_none_is_a_success_that_hurts_nobody() {
    let rig = Rig::start().await;
    let holder = rig.family(1).await;
    let mut forged = holder.token.clone();
    forged.mac = id(0);
    let mut other_key = holder.token.clone();
    other_key.kid = 77;
    for (request, token) in [(10, forged), (11, other_key)] {
        let revoke = v1::RevokeTokenRequest {
            tenant: TENANT.into(),
            request: name(request),
            token: Some(token),
            client: "web".into(),
        };
        let revoked = rig.revocations().revoke_token(soon(revoke)).await.expect("an answer");
        let outcome = revoked.into_inner().outcome.expect("an outcome");
        let unknown = v1::RevocationResult::Unknown.into();
        assert_eq!(outcome, v1::revoke_token_response::Outcome::Result(unknown), "{request}");
    }
    assert!(validate(&rig, &holder).await.is_ok(), "the family is untouched");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_head_can_be_confirmed() {
    let rig = Rig::start().await;
    let first = rig.family(1).await;
    let second = first.next(&rotated(rotate(&rig, first.rotate(10)).await));
    for (request, holder, refusal) in [(11, &second, None), (12, &first, Some(Code::Spent))] {
        let touch = v1::TouchRequest {
            tenant: TENANT.into(),
            request: name(request),
            token: Some(holder.token.clone()),
        };
        let touched = rig.tokens().touch(soon(touch)).await.expect("an answer").into_inner();
        assert_eq!(touched.refusal.map(|refusal| refusal.code()), refusal);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_token_is_unknown_here() {
    let rig = Rig::start().await;
    let other = admin::CreateTenantRequest {
        tenant: "other".into(),
        request_id: id(251),
        ..admin::CreateTenantRequest::default()
    };
    rig.tenants().create_tenant(soon(other)).await.expect("a second tenant");
    let holder = rig.family(1).await;

    let mut elsewhere = holder.rotate(10);
    elsewhere.tenant = "other".into();
    assert_eq!(refused(rotate(&rig, elsewhere).await).code(), Code::NotFound);

    let mut nowhere = holder.rotate(11);
    nowhere.tenant = "nobody".into();
    assert_eq!(refused(rotate(&rig, nowhere).await).code(), Code::TenantUnknown);
    assert!(validate(&rig, &holder).await.is_ok(), "the family is untouched");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_requests_and_reused_names_are_refused_with_words() {
    let rig = Rig::start().await;
    let holder = rig.family(1).await;

    let mut stale = holder.rotate(10);
    stale.request = Some(v1::RequestName { id: id(10), age_ms: 10 * 60 * 1_000 + 1 });
    let refusal = refused(rotate(&rig, stale).await);
    assert_eq!(refusal.code(), Code::StaleRequest);
    assert!(refusal.message.contains("make a new one"), "{}", refusal.message);

    // Request 1 created the family: it names that for ever.
    let mut other = crate::rig::creation(1);
    other.subject = "mallory".into();
    let response = rig.tokens().create_family(soon(other)).await.expect("an answer");
    let Some(v1::create_family_response::Outcome::Refusal(refusal)) = response.into_inner().outcome
    else {
        panic!("not refused")
    };
    assert_eq!(refusal.code(), Code::NameReused);
    assert!(refusal.message.contains("16 fresh random bytes"), "{}", refusal.message);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_beyond_the_tenants_limit_are_told_when_to_come_back() {
    let rig = Rig::start().await;
    let settings = admin::TenantSettings {
        rotation_burst: Some(2),
        rotations_per_s: Some(1),
        ..admin::TenantSettings::default()
    };
    let change = admin::SetTenantRequest {
        tenant: TENANT.into(),
        request_id: id(249),
        settings: Some(settings),
        ..admin::SetTenantRequest::default()
    };
    let set = rig.tenants().set_tenant(soon(change)).await.expect("set").into_inner();
    let settings = set.tenant.and_then(|t| t.settings).expect("settings");
    assert_eq!(settings.rotation_burst, Some(2));
    assert_eq!(settings.grace_default_ms, Some(30_000), "what was unset stays");

    let mut holder = rig.family(1).await;
    let status = loop {
        match rig.tokens().rotate(soon(holder.rotate(20 + holder.secret))).await {
            Ok(response) => holder = holder.next(&rotated(response.into_inner())),
            Err(status) => break status,
        }
        assert!(holder.secret < 20, "the limit was never reached");
    };
    let failure = Failure::from(&status);
    assert_eq!((status.code(), &*failure.reason), (Grpc::ResourceExhausted, "RATE_LIMITED"));
    assert!(failure.retry_after.is_some_and(|after| after <= PATIENCE) && failure.not_executed);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let rig = Rig::start().await;
    let first = rig.family(1).await;
    let second = first.next(&rotated(rotate(&rig, first.rotate(10)).await));
    let dir = rig.stop().await;

    let rig = Rig::start_in(dir).await;
    let family = validate(&rig, &second).await.expect("still active");
    assert_eq!((family.generation, &family.payload[..]), (1, &b"opaque"[..]));
    let third = second.next(&rotated(rotate(&rig, second.rotate(11)).await));
    assert_eq!(third.token.generation, 2);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn families_are_shown_at_the_freshness_that_was_asked_for() {
    let rig = Rig::start().await;
    let holder = rig.family(1).await;
    let position = rotate(&rig, holder.rotate(10)).await.position;
    use v1::consistency::Level;
    for level in [
        None,
        Some(Level::Linearizable(true)),
        Some(Level::AtLeastPosition(position)),
        Some(Level::BoundedMaxAgeMs(10_000)),
    ] {
        let request = v1::GetFamilyRequest {
            tenant: TENANT.into(),
            family_id: id(1),
            consistency: Some(v1::Consistency { level }),
            ..Default::default()
        };
        let response = rig.tokens().get_family(soon(request)).await.expect("an answer");
        let response = response.into_inner();
        let Some(v1::get_family_response::Outcome::Family(family)) = response.outcome else {
            panic!("{level:?}: not shown")
        };
        assert_eq!(family.generation, 1, "{level:?}");
        assert!(response.read.is_some_and(|read| read.position >= position), "{level:?}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_listed_page_by_page_and_their_keys_change() {
    let rig = Rig::start().await;
    for (number, tenant) in ["b", "c", "d"].into_iter().enumerate() {
        let request = admin::CreateTenantRequest {
            tenant: tenant.into(),
            request_id: id(100 + number as u8),
            ..admin::CreateTenantRequest::default()
        };
        rig.tenants().create_tenant(soon(request.clone())).await.expect("created");
        let again = rig.tenants().create_tenant(soon(request)).await.expect("a retry");
        assert_eq!(again.into_inner().tenant.map(|t| t.tenant).as_deref(), Some(tenant));
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = admin::ListTenantsRequest { page_size: 3, page_token };
        let page = rig.tenants().list_tenants(soon(request)).await.expect("a page").into_inner();
        names.extend(page.tenants.into_iter().map(|t| t.tenant));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    names.sort();
    assert_eq!(names, ["acme", "b", "c", "d"]);

    let holder = rig.family(1).await;
    let rotate_key =
        admin::RotateTenantKeyRequest { tenant: TENANT.into(), request_id: id(120), age_ms: 0 };
    let kid = rig.tenants().rotate_tenant_key(soon(rotate_key)).await.expect("a key");
    let kid = kid.into_inner().kid;
    assert_ne!(kid, holder.token.kid);
    let next = rotated(rotate(&rig, holder.rotate(10)).await);
    assert_eq!(next.kid, kid, "new tokens are made with the new key; the old one still verified");
    assert!(validate(&rig, &holder.next(&next)).await.is_ok());

    let missing = admin::GetTenantRequest { tenant: "nobody".into() };
    let status = rig.tenants().get_tenant(soon(missing)).await.expect_err("no such tenant");
    assert_eq!(status.code(), Grpc::NotFound);
    rig.stop().await;
}
