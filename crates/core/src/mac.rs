//! The code by which a tenant's own tokens are recognised for ever, in constant space.
//!
//! HMAC-SHA256 (RFC 2104) under the tenant's key over tenant, family, generation and the digest of
//! the token's secret, cut to 16 bytes. Computed by nodes, before a command is proposed and after
//! it was applied; never inside the state machine.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::command::{KeyMaterial, PresentedToken};
use crate::ids::{FamilyId, Generation, Kid, Mac, SecretDigest, TenantId};

/// Keeps these codes apart from everything else that may ever be made with a tenant's key.
const DOMAIN: &[u8] = b"jeton/mac/1";

/// The mac of one token under one key.
#[must_use]
pub fn compute(
    key: &KeyMaterial,
    tenant: &TenantId,
    family: FamilyId,
    generation: Generation,
    digest: SecretDigest,
) -> Mac {
    let mut hmac = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes keys of any length");
    let tenant = tenant.as_str().as_bytes();
    hmac.update(DOMAIN);
    // Identifiers have at most 256 bytes, so the length fits.
    hmac.update(&(tenant.len() as u16).to_be_bytes());
    hmac.update(tenant);
    hmac.update(&family.0);
    hmac.update(&generation.0.to_be_bytes());
    hmac.update(&digest.0);
    let full: [u8; 32] = hmac.finalize().into_bytes().into();
    let mut mac = [0; 16];
    mac.copy_from_slice(&full[..16]);
    Mac(mac)
}

/// A tenant's keys, for nodes that check and make macs. Its keys can't be printed.
#[derive(Debug, Clone)]
pub struct TenantKeys {
    tenant: TenantId,
    current: Kid,
    keys: Vec<(Kid, KeyMaterial)>,
}

impl TenantKeys {
    pub(crate) fn new(tenant: TenantId, current: Kid, keys: Vec<(Kid, KeyMaterial)>) -> Self {
        Self { tenant, current, keys }
    }

    /// The key that new tokens are made with.
    #[must_use]
    pub fn current(&self) -> Kid {
        self.current
    }

    /// Whether the tenant's own key made `mac` for this token. False if the key isn't known.
    /// Takes the same time whatever the bytes are.
    #[must_use]
    pub fn verify(&self, token: &PresentedToken, mac: &Mac) -> bool {
        self.mac(token.kid, token.family, token.generation, token.digest)
            .is_some_and(|own| own == *mac)
    }

    /// The mac of a token under key `kid`; `None` if the tenant has no such key.
    #[must_use]
    pub fn mac(
        &self,
        kid: Kid,
        family: FamilyId,
        generation: Generation,
        digest: SecretDigest,
    ) -> Option<Mac> {
        let (_, key) = self.keys.iter().find(|(have, _)| *have == kid)?;
        Some(compute(key, &self.tenant, family, generation, digest))
    }
}
