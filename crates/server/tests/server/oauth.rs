//! `/oauth2/revoke` (RFC 7009) and `/oauth2/introspect` (RFC 7662), as OAuth clients call them.

use jeton_core::ids::{FamilyId, Generation, Kid, Mac};
use jeton_core::token::{NativeToken, Secret, tenant_tag};
use jeton_server::Config;
use jeton_server::config::Layers;
use jeton_wire::pb::v1;
use serde_json::json;

use crate::rig::{CLIENT, Holder, Rig, TENANT, config, refused, rotated, soon, tenant};
use crate::web::{Answer, request, send};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
pub const REVOKE: &str = "/oauth2/revoke";
pub const INTROSPECT: &str = "/oauth2/introspect";

/// `base64("web:web-secret-0123456789abcdef")`: may revoke and introspect its own.
pub const WEB: &str = "Basic d2ViOndlYi1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg==";
/// `base64("api:api-secret-0123456789abcdef")`: may introspect any.
pub const API: &str = "Basic YXBpOmFwaS1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg==";
/// `base64("ops:ops-secret-0123456789abcdef")`: may revoke any.
pub const OPS: &str = "Basic b3BzOm9wcy1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg==";
/// `base64("app:web-secret-0123456789abcdef")`: may revoke and introspect its own, and has none.
pub const APP: &str = "Basic YXBwOndlYi1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg==";

pub const CLIENTS: &str = "[
  { id = \"web\", tenant = \"acme\", revoke = \"own\", introspect = \"own\", \
    access_token_kind = \"at\", secret_sha256 = \
     \"c96d2e36ea6e85281f3a009aca5fb1de0efeda42381c9068f4dbc9528e0541d7\" },
  { id = \"app\", tenant = \"acme\", revoke = \"own\", introspect = \"own\", \
    access_token_kind = \"at\", secret_sha256 = \
     \"c96d2e36ea6e85281f3a009aca5fb1de0efeda42381c9068f4dbc9528e0541d7\" },
  { id = \"api\", tenant = \"acme\", introspect = \"any\", \
    access_token_kind = \"at\", secret_sha256 = \
     \"cc259d867cdffeb074b841cc391beebae80e30a8a03e51a310c3dfb53181d753\" },
  { id = \"ops\", tenant = \"acme\", revoke = \"any\", secret_sha256 = \
     \"89e1fa8725570a68730f193a5e77f446dbc0ce0b4c4789b531d457513ba6321d\" },
]";

/// A configuration with these clients.
fn with_clients(mut config: Config) -> Config {
    let flags = vec![("gateway-clients".to_owned(), CLIENTS.to_owned())];
    let clients = Layers { flags, ..Layers::default() }.load().expect("good clients");
    config.gateway_clients = clients.gateway_clients;
    config
}

pub async fn start() -> Rig {
    let dir = tempfile::tempdir().expect("a directory");
    let config = with_clients(config(dir.path()));
    let rig = Rig::start_with(dir, config).await;
    rig.create_tenant().await;
    rig
}

/// The token's text, as its holder has it.
fn text(holder: &Holder) -> String {
    let mut secret = [holder.family; 32];
    secret[31] = holder.secret;
    let token = NativeToken {
        kid: Kid(u16::try_from(holder.token.kid).expect("small")),
        tenant_tag: tenant_tag(&tenant()),
        family: FamilyId([holder.family; 16]),
        generation: Generation(holder.token.generation),
        secret: Secret::new(secret),
        mac: Mac(holder.token.mac[..].try_into().expect("16 bytes")),
    };
    token.format().expose().to_owned()
}

pub async fn post(rig: &Rig, path: &str, client: &str, form: &str) -> Answer {
    let headers = [FORM, ("Authorization", client)];
    let answer = request(rig.addr, "POST", path, &headers, form.as_bytes()).await;
    assert!(!answer.body.contains("jrt_"), "a token is repeated: {answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert_eq!(answer.header("pragma"), Some("no-cache"), "{answer:?}");
    answer
}

pub fn error(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status, &answer.json()["error"]), (status, &json!(error)), "{answer:?}");
    assert!(answer.json()["error_description"].is_string(), "{answer:?}");
}

pub fn succeeded(answer: &Answer) {
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
}

pub fn inactive(answer: &Answer) {
    let told = (answer.status, answer.body.as_str());
    assert_eq!(told, (200, "{\"active\":false}"), "{answer:?}");
}

/// Whether the head still rotates.
async fn is_alive(rig: &Rig, head: &Holder) -> bool {
    let seen = rig.tokens().validate(soon(head.validate())).await.expect("an answer").into_inner();
    matches!(seen.outcome, Some(v1::validate_response::Outcome::Active(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_revokes_its_own_token_and_a_retry_succeeds() {
    let rig = start().await;
    let first = rig.family(1).await;
    let answer = rig.tokens().rotate(soon(first.rotate(10))).await.expect("an answer");
    let head = first.next(&rotated(answer.into_inner()));
    // A spent token revokes as the head does, and hints don't matter.
    let form = format!("token={}&token_type_hint=access_token", text(&first));
    succeeded(&post(&rig, REVOKE, WEB, &form).await);
    let answer = rig.tokens().rotate(soon(head.rotate(11))).await.expect("an answer");
    assert_eq!(refused(answer.into_inner()).code(), v1::refusal::Code::Revoked);
    succeeded(&post(&rig, REVOKE, WEB, &form).await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clients_token_is_refused_unless_the_client_may_revoke_any() {
    let rig = start().await;
    let head = rig.family(1).await;
    let form = format!("token={}", text(&head));
    error(&post(&rig, REVOKE, APP, &form).await, 400, "invalid_grant");
    error(&post(&rig, REVOKE, API, &form).await, 403, "unauthorized_client");
    assert!(is_alive(&rig, &head).await, "nothing changed");
    succeeded(&post(&rig, REVOKE, OPS, &form).await);
    assert!(!is_alive(&rig, &head).await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_no_token_here_is_revoked_already_and_inactive() {
    let rig = start().await;
    let head = rig.family(1).await;
    let good = text(&head);
    let mut forged = head.clone();
    forged.token.mac = vec![0; 16].into();
    let mut unknown = head.clone();
    unknown.family = 77;
    let mut other_tenant = NativeToken::parse(&good).expect("a token");
    other_tenant.tenant_tag = [0; 4];
    for token in [
        "nonsense".to_owned(),
        "jrt_".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        "%C3%A9".repeat(200),
        text(&forged),
        text(&unknown),
        other_tenant.format().expose().to_owned(),
    ] {
        let form = format!("token={token}");
        for client in [WEB, OPS] {
            succeeded(&post(&rig, REVOKE, client, &form).await);
        }
        for client in [WEB, API] {
            inactive(&post(&rig, INTROSPECT, client, &form).await);
        }
    }
    assert!(is_alive(&rig, &head).await, "nobody was hurt");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_token_is_described_and_others_are_not() {
    let rig = start().await;
    let first = rig.family(1).await;
    let answer = rig.tokens().rotate(soon(first.rotate(10))).await.expect("an answer");
    let issued = rotated(answer.into_inner());
    let head = first.next(&issued);
    let form = format!("token={}", text(&head));
    let told = post(&rig, INTROSPECT, API, &form).await;
    assert_eq!(told.header("content-type"), Some("application/json"));
    let told = told.json();
    let family = "01".repeat(16);
    for (member, value) in [
        ("active", json!(true)),
        ("client_id", json!(CLIENT)),
        ("sub", json!("alice")),
        ("token_type", json!("refresh_token")),
        ("exp", json!(issued.idle_expires_at_unix_ms / 1_000)),
        ("jeton_family_exp", json!(issued.expires_at_unix_ms / 1_000)),
        ("jeton_tenant", json!(TENANT)),
        ("jeton_family", json!(family)),
        ("jeton_generation", json!("1")),
    ] {
        assert_eq!(told[member], value, "{member} of {told}");
    }
    assert!(told["iat"].as_u64() <= told["exp"].as_u64());
    assert!(told["jeton_position"].as_str().is_some_and(|text| text.parse::<u64>().is_ok()));

    assert_eq!(post(&rig, INTROSPECT, WEB, &form).await.json()["active"], true);
    inactive(&post(&rig, INTROSPECT, APP, &form).await);
    error(&post(&rig, INTROSPECT, OPS, &form).await, 403, "unauthorized_client");
    inactive(&post(&rig, INTROSPECT, API, &format!("token={}", text(&first))).await);
    succeeded(&post(&rig, REVOKE, WEB, &form).await);
    inactive(&post(&rig, INTROSPECT, API, &form).await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_prove_who_they_are_in_one_way() {
    let rig = start().await;
    let token = text(&rig.family(1).await);
    let send = async |path: &str, headers: &[(&str, &str)], form: &str| {
        request(rig.addr, "POST", path, headers, form.as_bytes()).await
    };
    let secret = "client_id=web&client_secret=web-secret-0123456789abcdef";
    let token = format!("token={token}");
    let posted = send(INTROSPECT, &[FORM], &format!("{token}&{secret}")).await;
    assert_eq!(posted.json()["active"], true, "{posted:?}");
    for (path, status) in [("/t/acme/oauth2/introspect", 200), ("/t/%61cme/oauth2/introspect", 200)]
    {
        let answer = send(path, &[FORM, ("Authorization", WEB)], &token).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    for (path, headers, form) in [
        (REVOKE, &[FORM][..], token.clone()),
        (REVOKE, &[FORM], format!("{token}&client_id=web&client_secret=wrong")),
        (REVOKE, &[FORM, ("Authorization", "Basic d2ViOndyb25n")], token.clone()),
        (REVOKE, &[FORM, ("Authorization", "Bearer jrt_x")], token.clone()),
        ("/t/other/oauth2/revoke", &[FORM, ("Authorization", WEB)], token.clone()),
        ("/t//oauth2/revoke", &[FORM, ("Authorization", WEB)], token.clone()),
    ] {
        let answer = send(path, headers, &form).await;
        if answer.status == 404 {
            assert!(path.starts_with("/t//"), "{answer:?}");
            continue;
        }
        error(&answer, 401, "invalid_client");
        let asked = answer.header("www-authenticate");
        assert!(asked.is_some_and(|text| text.starts_with("Basic realm=")), "{answer:?}");
    }
    let both = [FORM, ("Authorization", WEB)];
    let both = send(INTROSPECT, &both, &format!("{token}&{secret}")).await;
    error(&both, 400, "invalid_request");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_that_are_none_are_refused() {
    let rig = start().await;
    let auth = ("Authorization", WEB);
    let send_form = async |headers: &[(&str, &str)], form: &[u8]| {
        request(rig.addr, "POST", REVOKE, headers, form).await
    };
    let json = ("Content-Type", "application/json");
    error(&send_form(&[auth, json], b"token=a").await, 415, "invalid_request");
    error(&send_form(&[auth], b"token=a").await, 415, "invalid_request");
    for form in [&b""[..], b"token=", b"token", b"token=a&token=b", b"token=\xff", b"token=%f"] {
        error(&send_form(&[auth, FORM], form).await, 400, "invalid_request");
    }
    let doubled = b"token=a&foo=1&foo=2";
    error(&send_form(&[auth, FORM], doubled).await, 400, "invalid_request");
    let large = [&b"token="[..], &[b'a'; 16 * 1024 - 6]].concat();
    succeeded(&send_form(&[auth, FORM], &large).await);
    let larger = [&large[..], b"a"].concat();
    error(&send_form(&[auth, FORM], &larger).await, 413, "invalid_request");
    let late = ("Jeton-Deadline-Ms", "never");
    error(&send_form(&[auth, FORM, late], b"token=a").await, 400, "invalid_request");
    for path in [REVOKE, INTROSPECT] {
        let answer = request(rig.addr, "GET", path, &[auth], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{answer:?}");
    }
    let head = format!(
        "POST {REVOKE} HTTP/1.1\r\nHost: n\r\nConnection: close\r\nJeton-Deadline-Ms: 50\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\ntoken="
    );
    error(&send(rig.addr, head.as_bytes()).await, 400, "invalid_request");
    let alive = rig.family(1).await;
    assert!(is_alive(&rig, &alive).await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_a_client_is_told_to_come_back() {
    let mut rigs = crate::clusters::three_with(with_clients).await;
    rigs[0].create_tenant().await;
    let token = text(&rigs[0].family(1).await);
    let last = rigs.pop().expect("three nodes");
    for rig in rigs {
        rig.stop().await;
    }
    let headers = [FORM, ("Authorization", WEB), ("Jeton-Deadline-Ms", "300")];
    for path in [REVOKE, INTROSPECT] {
        let form = format!("token={token}");
        let answer = request(last.addr, "POST", path, &headers, form.as_bytes()).await;
        error(&answer, 503, "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    assert_eq!(crate::web::get(last.addr, "/livez").await.status, 200);
    crate::probes::says_not_ready(&last).await;
    last.stop().await;
}
