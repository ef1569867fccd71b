//! Access tokens: revoked by name, and checked by what they say of themselves.

use jeton_wire::pb::v1;
use v1::access::Verdict;
use v1::access_denied::Basis;
use v1::consistency::Level;
use v1::revoke_access_token_response::Outcome;

use crate::rig::{CLIENT, Rig, TENANT, id, name, soon};

fn deny(jti: &str, number: u8) -> v1::RevokeAccessTokenRequest {
    v1::RevokeAccessTokenRequest {
        tenant: TENANT.to_owned(),
        request: name(number),
        jti: jti.to_owned(),
        client: CLIENT.to_owned(),
        expires_at_unix_ms: None,
    }
}

fn of_client() -> v1::AccessClaims {
    v1::AccessClaims { client: CLIENT.to_owned(), ..v1::AccessClaims::default() }
}

async fn check(rig: &Rig, tokens: Vec<v1::AccessClaims>) -> v1::CheckAccessResponse {
    let request = v1::CheckAccessRequest { tenant: TENANT.to_owned(), tokens, consistency: None };
    rig.revocations().check_access(soon(request)).await.expect("an answer").into_inner()
}

fn bases(response: v1::CheckAccessResponse) -> Vec<Option<Basis>> {
    let verdicts = response.answers.into_iter().map(|access| access.verdict.expect("a verdict"));
    verdicts
        .map(|verdict| match verdict {
            Verdict::Active(active) => {
                assert!(active, "what is not active is denied");
                None
            }
            Verdict::Denied(denied) => Some(denied.basis()),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_access_tokens_are_judged_in_one_call_each_on_its_own_basis() {
    let rig = Rig::start().await;
    let family = rig.family(1).await;
    let named = |jti: &str| v1::AccessClaims { jti: jti.to_owned(), ..of_client() };
    let of_alice = |position| v1::AccessClaims {
        subject: "alice".to_owned(),
        position,
        issued_at_unix_ms: Some(0),
        ..of_client()
    };
    let of_family = v1::AccessClaims { family_id: id(family.family), ..of_client() };
    let asked = |before| {
        vec![named("a"), named("b"), of_alice(Some(before)), of_alice(None), of_family.clone()]
    };
    let told = check(&rig, asked(0)).await;
    let before = told.read.expect("a mark").position;
    assert_eq!(bases(told), [None; 5]);

    let denied = rig.revocations().revoke_access_token(soon(deny("a", 20))).await.expect("told");
    let revoked = Outcome::Result(v1::RevocationResult::Revoked.into());
    assert_eq!(denied.into_inner().outcome, Some(revoked));
    let cut = v1::RevokeWhereRequest {
        tenant: TENANT.to_owned(),
        request: name(21),
        subject: "alice".to_owned(),
        ..v1::RevokeWhereRequest::default()
    };
    rig.revocations().revoke_where(soon(cut)).await.expect("told");
    let told = bases(check(&rig, asked(before)).await);
    let want = [Basis::Jti, Basis::Unspecified, Basis::Position, Basis::Iat, Basis::Family];
    let want = want.map(|basis| (basis != Basis::Unspecified).then_some(basis));
    assert_eq!(told, want);
    // As many as one call may ask about.
    let many = bases(check(&rig, vec![named("a"); 256]).await);
    assert_eq!(many, vec![Some(Basis::Jti); 256]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_checked_as_fresh_as_it_was_asked_and_says_how_fresh() {
    let rig = Rig::start().await;
    let position = check(&rig, vec![of_client()]).await.read.expect("a mark").position;
    for level in [Level::BoundedMaxAgeMs(60_000), Level::AtLeastPosition(position)] {
        let request = v1::CheckAccessRequest {
            tenant: TENANT.to_owned(),
            tokens: vec![of_client()],
            consistency: Some(v1::Consistency { level: Some(level) }),
        };
        let told = rig.revocations().check_access(soon(request)).await.expect("told").into_inner();
        let read = told.read.expect("a mark");
        assert!(read.position >= position);
        assert!(read.age_ms.is_some_and(|age| age <= 60_000), "{read:?}");
    }
    let request = v1::CheckAccessRequest {
        tenant: "nobody".to_owned(),
        tokens: vec![of_client()],
        consistency: None,
    };
    let told = rig.revocations().check_access(soon(request)).await.expect("told").into_inner();
    let refusal = told.refusal.expect("there is no such tenant");
    assert_eq!((refusal.code(), told.answers.len()), (v1::refusal::Code::TenantUnknown, 0));
    rig.stop().await;
}
