//! Which client asks: `client_secret_basic` and `client_secret_post` (RFC 6749 §2.3.1).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::error::OAuthError;
use super::form::{self, Form};
use crate::config::{GatewayClient, SecretHash};

/// Longest credentials in a header, before base64.
const BASIC_BYTES_MAX: usize = 2_048;

/// The clients that are configured.
#[derive(Debug, Default)]
pub(crate) struct Clients(Vec<GatewayClient>);

/// What a caller claims.
struct Claim {
    id: Zeroizing<String>,
    secret: Zeroizing<String>,
}

impl Clients {
    pub(crate) fn new(clients: Vec<GatewayClient>) -> Self {
        Self(clients)
    }

    /// The client that sent a request, if it proves it. `tenant` is the one of the path.
    pub(super) fn authenticate(
        &self,
        tenant: Option<&str>,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<&GatewayClient, OAuthError> {
        let claim = claim(headers, form)?;
        let shown = SecretHash(Sha256::digest(claim.secret.as_bytes()).into());
        // All are compared, whoever is named: the time tells nobody which ids there are.
        let mut found = None;
        for client in &self.0 {
            let named =
                client.id == *claim.id && tenant.is_none_or(|tenant| client.tenant == tenant);
            let proved = client.secret_sha256 == shown;
            if named & proved {
                found = Some(client);
            }
        }
        found.ok_or_else(OAuthError::invalid_client)
    }
}

fn claim(headers: &HeaderMap, form: &Form) -> Result<Claim, OAuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (header, another) = (values.next(), values.next());
    if another.is_some() {
        return Err(OAuthError::two_methods());
    }
    let (id, secret) = (form.get("client_id"), form.get("client_secret"));
    let Some(header) = header else {
        let (Some(id), Some(secret)) = (id, secret) else {
            return Err(OAuthError::invalid_client());
        };
        let owned = |text: &str| Zeroizing::new(text.to_owned());
        return Ok(Claim { id: owned(id), secret: owned(secret) });
    };
    if secret.is_some() {
        return Err(OAuthError::two_methods());
    }
    let claim = basic(header.as_bytes()).ok_or_else(OAuthError::invalid_client)?;
    // Some clients name themselves in the form as well.
    if id.is_some_and(|id| id != claim.id.as_str()) {
        return Err(OAuthError::two_methods());
    }
    Ok(claim)
}

/// Id and secret are form-encoded each, joined by a colon, and then base64.
fn basic(header: &[u8]) -> Option<Claim> {
    let at = header.iter().position(|b| *b == b' ')?;
    let (scheme, text) = header.split_at(at);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let text = text.trim_ascii();
    if text.len() > BASIC_BYTES_MAX / 3 * 4 {
        return None;
    }
    let mut decoded = Zeroizing::new([0; BASIC_BYTES_MAX]);
    let len = STANDARD.decode_slice(text, &mut decoded[..]).ok()?;
    let decoded = &decoded[..len];
    let colon = decoded.iter().position(|b| *b == b':')?;
    let claim = Claim {
        id: form::decode(&decoded[..colon])?,
        secret: form::decode(&decoded[colon + 1..])?,
    };
    (!claim.id.is_empty() && !claim.secret.is_empty()).then_some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reach;

    fn client(id: &str, tenant: &str, secret: &str) -> GatewayClient {
        GatewayClient {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            secret_sha256: SecretHash(Sha256::digest(secret).into()),
            revoke: Reach::Own,
            introspect: Reach::None,
            access_token_kind: None,
        }
    }

    fn clients() -> Clients {
        Clients::new(vec![
            client("web", "acme", "s1"),
            client("web", "other", "s2"),
            client("a:b+c é", "acme", "p%q s"),
        ])
    }

    /// The tenant of who was authenticated, else the error's name.
    fn who(tenant: Option<&str>, basic: Option<&str>, form: &str) -> String {
        let mut headers = HeaderMap::new();
        if let Some(text) = basic {
            let value = format!("Basic {}", STANDARD.encode(text));
            headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
        }
        let form = Form::parse(form.as_bytes()).expect("a good form");
        match clients().authenticate(tenant, &headers, &form) {
            Ok(client) => client.tenant.clone(),
            Err(error) => format!("{error:?}").split('"').nth(1).unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn both_ways_prove_who_asks() {
        assert_eq!(who(None, Some("web:s1"), ""), "acme");
        assert_eq!(who(None, Some("web:s2"), "client_id=web"), "other");
        assert_eq!(who(None, None, "client_id=web&client_secret=s1"), "acme");
        assert_eq!(who(Some("acme"), Some("web:s1"), ""), "acme");
        assert_eq!(who(None, Some("a%3Ab%2Bc+%C3%A9:p%25q+s"), ""), "acme");
    }

    #[test]
    fn a_wrong_or_missing_proof_is_no_client() {
        for (tenant, basic, form) in [
            (None, None, ""),
            (None, None, "client_id=web"),
            (None, None, "client_secret=s1"),
            (None, None, "client_id=web&client_secret="),
            (None, None, "client_id=web&client_secret=s3"),
            (None, Some("web:s3"), ""),
            (None, Some("nobody:s1"), ""),
            (None, Some("web"), ""),
            (None, Some(":s1"), ""),
            (None, Some("web:"), ""),
            (None, Some("web:%zz"), ""),
            (Some("other"), Some("web:s1"), ""),
            (Some("acme"), Some("web:s2"), ""),
        ] {
            assert_eq!(who(tenant, basic, form), "invalid_client", "{tenant:?} {basic:?} {form}");
        }
    }

    #[test]
    fn two_ways_at_once_are_refused() {
        assert_eq!(who(None, Some("web:s1"), "client_id=web&client_secret=s1"), "invalid_request");
        assert_eq!(who(None, Some("web:s1"), "client_id=other"), "invalid_request");
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(AUTHORIZATION, "Basic d2ViOnMx".parse().expect("a header value"));
        }
        assert!(clients().authenticate(None, &headers, &Form::default()).is_err());
    }

    #[test]
    fn a_header_that_is_no_basic_is_no_client() {
        for header in ["Bearer jrt_x", "Basic", "Basic ", "Basic !!!", "", "basic d2ViOnMx\u{ff}"] {
            let mut headers = HeaderMap::new();
            let value = axum::http::HeaderValue::from_bytes(header.as_bytes()).expect("a value");
            headers.insert(AUTHORIZATION, value);
            assert!(clients().authenticate(None, &headers, &Form::default()).is_err(), "{header}");
        }
        assert!(basic(b"basic d2ViOnMx").is_some(), "the scheme's case doesn't matter");
        let long = format!("Basic {}", "A".repeat(100_000));
        assert!(basic(long.as_bytes()).is_none());
    }
}
