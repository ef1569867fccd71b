//! Native tokens as text, as clients hold them.
//!
//! ```text
//!  jrt_ base64url( version │ kid │ tenant tag │ family │ generation │ secret │ mac )
//!                     1       2       4          16         8          32      16   = 79 bytes
//! ```
//!
//! Integers are big endian; base64url (RFC 4648 §5) without padding, in its one canonical spelling.
//! The store never sees the text: clients take it apart and send the secret's digest.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::command::PresentedToken;
use crate::ids::{FamilyId, Generation, Kid, Mac, SecretDigest, TenantId};

/// What every native token begins with: secret scanners can know it.
pub const PREFIX: &str = "jrt_";
/// The version of the layout, its first byte.
pub const VERSION: u8 = 1;
/// Bytes of a token before base64url.
pub const TOKEN_BYTES: usize = 79;
/// Characters of a token as text.
pub const TEXT_CHARS: usize = PREFIX.len() + TOKEN_BYTES.div_ceil(3) * 4 - 2;

/// Fewest bytes of an opaque token's text: 128 bits in base64url.
pub const OPAQUE_BYTES_MIN: usize = 22;
/// Most bytes of an opaque token's text.
pub const OPAQUE_BYTES_MAX: usize = 4_096;

/// What the store knows an opaque token by: the first 16 bytes of the SHA-256 of its text. `None`
/// if the text is too short or too long to be one.
#[must_use]
pub fn opaque_digest(text: &str) -> Option<SecretDigest> {
    let fits = (OPAQUE_BYTES_MIN..=OPAQUE_BYTES_MAX).contains(&text.len());
    fits.then(|| SecretDigest(first(&Sha256::digest(text.as_bytes()))))
}

/// Why a text is no native token. Never repeats any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Something else than a native token.
    #[error("not a native token: it does not begin with {PREFIX}")]
    Prefix,
    /// Cut off, or with something behind it.
    #[error("a native token has {TEXT_CHARS} characters, this text has {chars}")]
    Length {
        /// How many it has.
        chars: usize,
    },
    /// Not canonical base64url.
    #[error("not base64url without padding")]
    Encoding,
    /// Made by a later release.
    #[error("token version {found} is not known: this release reads {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
}

/// The secret part of a token: 32 random bytes. Erased when dropped, can't be printed, compared in
/// constant time.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Wraps 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for deriving keys. Keep them nowhere.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// First 16 bytes of its SHA-256: what the store knows it by.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest(first(&Sha256::digest(self.0)))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0[..].ct_eq(&other.0[..]).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A token as text. Erased when dropped, can't be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(Zeroizing<String>);

impl TokenText {
    /// The text, to hand it to the client that it is for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// A native refresh token, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeToken {
    /// Key that its mac was made with.
    pub kid: Kid,
    /// [`tenant_tag`] of its tenant: a token shown to another tenant is told without a look-up.
    pub tenant_tag: [u8; 4],
    /// The family it belongs to.
    pub family: FamilyId,
    /// Its place in the chain.
    pub generation: Generation,
    /// What only its holder knows.
    pub secret: Secret,
    /// Made by the cluster over all of it but the secret itself.
    pub mac: Mac,
}

impl NativeToken {
    /// Takes a token apart. Says nothing of whether its mac is right.
    ///
    /// # Errors
    /// [`TokenError`] if it isn't the one canonical text of a native token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let body = text.strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if text.len() != TEXT_CHARS {
            return Err(TokenError::Length { chars: text.chars().count() });
        }
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        let len =
            URL_SAFE_NO_PAD.decode_slice(body, &mut bytes[..]).map_err(|_| TokenError::Encoding)?;
        if len != TOKEN_BYTES {
            return Err(TokenError::Encoding);
        }
        if bytes[0] != VERSION {
            return Err(TokenError::Version { found: bytes[0] });
        }
        Ok(Self {
            kid: Kid(u16::from_be_bytes(first(&bytes[1..]))),
            tenant_tag: first(&bytes[3..]),
            family: FamilyId(first(&bytes[7..])),
            generation: Generation(u64::from_be_bytes(first(&bytes[23..]))),
            secret: Secret(first(&bytes[31..])),
            mac: Mac(first(&bytes[63..])),
        })
    }

    /// The token's text.
    #[must_use]
    pub fn format(&self) -> TokenText {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        bytes[0] = VERSION;
        bytes[1..3].copy_from_slice(&self.kid.0.to_be_bytes());
        bytes[3..7].copy_from_slice(&self.tenant_tag);
        bytes[7..23].copy_from_slice(&self.family.0);
        bytes[23..31].copy_from_slice(&self.generation.0.to_be_bytes());
        bytes[31..63].copy_from_slice(&self.secret.0);
        bytes[63..].copy_from_slice(&self.mac.0);
        // Room for all of it: growing would leave pieces of the secret behind in freed memory.
        let mut text = Zeroizing::new(String::with_capacity(TEXT_CHARS));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&bytes[..], &mut text);
        TokenText(text)
    }

    /// What the store is shown: everything but the secret.
    #[must_use]
    pub fn presented(&self) -> (PresentedToken, Mac) {
        let token = PresentedToken {
            kid: self.kid,
            family: self.family,
            generation: self.generation,
            digest: self.secret.digest(),
        };
        (token, self.mac)
    }
}

/// Four bytes that name a tenant inside its tokens: the start of a SHA-256. Not secret, not unique.
#[must_use]
pub fn tenant_tag(tenant: &TenantId) -> [u8; 4] {
    let hash = Sha256::new().chain_update(b"jeton/tenant-tag/1").chain_update(tenant.as_str());
    first(&hash.finalize())
}

/// The first `N` bytes of a longer slice.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}
