//! Refresh tokens as their holders have them.

use std::str::FromStr;
use std::sync::Arc;

use jeton_core::ids::{FamilyId, Generation, Position, TenantId, UnixMs};
use jeton_core::token::{NativeToken, Secret, TokenError, TokenText, tenant_tag};
use jeton_wire::answer;

/// A refresh token: whoever has it can go on with the authorization that it stands for.
///
/// It can't be printed; [`RefreshToken::expose`] gives its text to whoever hands it to the client
/// that it is for. Comparing takes the same time whatever differs. It is erased from memory when
/// the last clone is dropped.
///
/// ```
/// # use jeton_client::RefreshToken;
/// assert!("jrt_far-too-short".parse::<RefreshToken>().is_err());
/// ```
///
/// ```compile_fail
/// # use jeton_client::RefreshToken;
/// fn print(token: &RefreshToken) {
///     println!("{token}"); // it has no text of its own
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(Arc<NativeToken>);

impl RefreshToken {
    /// Takes a token apart. Only its form is checked here: the cluster judges the rest.
    ///
    /// # Errors
    /// [`TokenError`] if it is no native token (`jrt_…`). Never repeats any of it.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        NativeToken::parse(text).map(|native| Self(Arc::new(native)))
    }

    /// Its text. Hand it to the client that it is for, and keep it nowhere else.
    #[must_use]
    pub fn expose(&self) -> TokenText {
        self.0.format()
    }

    /// The family that it belongs to.
    #[must_use]
    pub fn family(&self) -> FamilyId {
        self.0.family
    }

    /// Its place in the chain of its family: 0 for the first.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.0.generation
    }

    pub(crate) fn native(&self) -> &NativeToken {
        &self.0
    }
}

impl FromStr for RefreshToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        Self::parse(text)
    }
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshToken(…)")
    }
}

/// A token that was issued, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Issued<T = RefreshToken> {
    /// The token. It is nowhere else: lose it, and it is lost.
    pub token: T,
    /// Its family.
    pub family: FamilyId,
    /// Its place in the chain: 0 for the first.
    pub generation: Generation,
    /// Where in the order of everything it was issued: for `AtLeast` reads, and for the claim
    /// `jpos` of access tokens that are made from it.
    pub position: Position,
    /// When the family ends, whatever happens.
    pub expires_at: UnixMs,
    /// When it ends if it isn't rotated before.
    pub idle_expires_at: UnixMs,
    /// With a new family: those that its cap revoked to make room, oldest first.
    pub evicted: Vec<FamilyId>,
    /// With a new family: the tenant keeps more rows of families than its soft quota.
    pub over_soft_quota: bool,
}

impl Issued {
    /// Makes a native token of its secret and of what the cluster adds to it. `None` if it adds no
    /// mac.
    pub(crate) fn new(
        tenant: &TenantId,
        secret: Secret,
        issued: &answer::Issued,
        position: Position,
    ) -> Option<Self> {
        let key = issued.key?;
        let native = NativeToken {
            kid: key.kid,
            tenant_tag: tenant_tag(tenant),
            family: issued.family,
            generation: issued.generation,
            secret,
            mac: key.mac,
        };
        Some(Self::of(RefreshToken(Arc::new(native)), issued, position))
    }
}

impl<T> Issued<T> {
    /// A token, and what the cluster says of it.
    pub(crate) fn of(token: T, issued: &answer::Issued, position: Position) -> Self {
        Self {
            token,
            family: issued.family,
            generation: issued.generation,
            position,
            expires_at: issued.expires_at,
            idle_expires_at: issued.idle_expires_at,
            evicted: Vec::new(),
            over_soft_quota: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::ids::{Kid, Mac};

    use super::*;

    fn issued(secret: [u8; 32]) -> Issued {
        let added = answer::Issued {
            family: FamilyId([5; 16]),
            generation: Generation(3),
            key: Some(answer::MacKey { kid: Kid(1), mac: Mac([7; 16]) }),
            expires_at: UnixMs(2),
            idle_expires_at: UnixMs(1),
        };
        let tenant = TenantId::new("acme").unwrap();
        Issued::new(&tenant, Secret::new(secret), &added, Position(9)).unwrap()
    }

    #[test]
    fn a_token_survives_its_text() {
        let issued = issued([6; 32]);
        let text = issued.token.expose();
        let parsed: RefreshToken = text.expose().parse().unwrap();
        assert_eq!(parsed, issued.token);
        assert_eq!(parsed.family(), FamilyId([5; 16]));
        assert_eq!(parsed.generation(), Generation(3));
    }

    #[test]
    fn tokens_differ_by_their_secret() {
        assert_ne!(issued([6; 32]).token, issued([7; 32]).token);
    }

    #[test]
    fn debugging_shows_nothing_of_a_token() {
        let issued = issued([6; 32]);
        let shown = format!("{issued:?} {:?} {:?}", issued.token, issued.token.expose());
        let text = issued.token.expose();
        assert!(!shown.contains("jrt_"));
        // Not a piece of the secret's text, wherever it may begin.
        let secret = &text.expose()[45..80];
        assert!(secret.as_bytes().windows(6).all(|w| !shown.contains(str::from_utf8(w).unwrap())));
    }

    #[test]
    fn what_is_wrong_with_a_text_is_told_without_repeating_it() {
        let text = issued([6; 32]).token.expose();
        let cut = &text.expose()[..90];
        let error = RefreshToken::parse(cut).unwrap_err().to_string();
        assert!(!error.contains(&cut[4..10]));
        assert!(RefreshToken::parse("Bearer x").is_err());
    }
}
