//! How a successor travels through the store without the store being able to read it.
//!
//! Whoever rotates seals the successor's secret under a key that only a holder of the *presented*
//! token can derive, and leaves the seal with the store. A sibling that presents the same token
//! gets the seal back, opens it, and holds the identical successor. The store never could.
//!
//! ```text
//! context = u16 len(tenant) ‖ tenant ‖ family (16) ‖ u64 generation      of the presented token
//! key     = HKDF-SHA256(ikm = presented secret (32), salt = context, info = "jeton/seal/1") (32)
//! aad     = context ‖ u16 len(client) ‖ client
//! seal    = 0x01 ‖ nonce (24) ‖ XChaCha20-Poly1305(key, nonce, aad, successor's secret (32))
//! ```
//!
//! An opaque token's successor travels in the same way, but as text of any length, and in a place
//! that is named by the presented token's digest alone: whoever rotates it knows neither family
//! nor generation.
//!
//! ```text
//! context = u16 len(tenant) ‖ tenant ‖ first 16 bytes of SHA-256(presented text)
//! key     = HKDF-SHA256(ikm = presented text, salt = context, info = "jeton/seal/2") (32)
//! aad     = context ‖ u16 len(client) ‖ client
//! seal    = 0x02 ‖ nonce (24) ‖ XChaCha20-Poly1305(key, nonce, aad, successor's text)
//! ```
//!
//! Numbers are big endian; lengths are in bytes. `docs/reference/seal.md` has a test vector.
//!
//! This module must never see a nonce twice under one key: nonces are 24 random bytes, and a key
//! belongs to one token of one family.

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use jeton_core::ids::{ClientId, FamilyId, Generation, SecretDigest, TenantId};
use jeton_core::token::Secret;
use sha2::Sha256;
use zeroize::Zeroizing;

/// First byte of every seal of this layout.
const VERSION: u8 = 1;
/// Names the purpose and the layout to HKDF.
const INFO: &[u8] = b"jeton/seal/1";
/// The same for the seals of opaque tokens.
const TEXT_VERSION: u8 = 2;
const TEXT_INFO: &[u8] = b"jeton/seal/2";
/// Bytes of a secret.
pub(crate) const SECRET_BYTES: usize = 32;
/// Bytes of the nonce of XChaCha20-Poly1305.
pub(crate) const NONCE_BYTES: usize = 24;
/// Bytes of Poly1305's tag.
const TAG_BYTES: usize = 16;
/// Bytes of a whole seal.
const SEAL_BYTES: usize = 1 + NONCE_BYTES + SECRET_BYTES + TAG_BYTES;

/// What a seal is bound to besides the presented secret: it opens in no other place.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Tenant of the family.
    pub tenant: &'a TenantId,
    /// Family of the presented token.
    pub family: FamilyId,
    /// Generation of the presented token, not of the successor.
    pub generation: Generation,
    /// The client that rotates.
    pub client: &'a ClientId,
}

/// Why a seal could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Not as long as a seal of this version.
    #[error("the seal has {len} bytes instead of {SEAL_BYTES}")]
    Length {
        /// Its length in bytes.
        len: usize,
    },
    /// Sealed by a newer client.
    #[error("the seal has version {version}, this client knows {VERSION}: upgrade it")]
    Version {
        /// Its version.
        version: u8,
    },
    /// Changed on its way, or sealed for another token, family, tenant or client.
    #[error("the seal does not open with the presented token: it was changed or is another's")]
    Authentication,
}

/// Seals `successor` for whoever holds `presented`.
pub(crate) fn seal(
    presented: &Secret,
    place: Place<'_>,
    successor: &Secret,
    nonce: &[u8; NONCE_BYTES],
) -> Bytes {
    let (cipher, aad) = cipher_and_aad(presented, place);
    let sealed = cipher
        .encrypt(XNonce::from_slice(nonce), Payload { msg: successor.expose(), aad: &aad })
        .expect("only messages of 256 GiB are too long to seal");
    let mut seal = Vec::with_capacity(SEAL_BYTES);
    seal.push(VERSION);
    seal.extend_from_slice(nonce);
    seal.extend_from_slice(&sealed);
    debug_assert_eq!(seal.len(), SEAL_BYTES);
    Bytes::from(seal)
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`SealError`] if it isn't a seal for this token in this place.
pub(crate) fn open(presented: &Secret, place: Place<'_>, seal: &[u8]) -> Result<Secret, SealError> {
    match seal.first() {
        Some(&VERSION) if seal.len() == SEAL_BYTES => {}
        Some(&version) if version != VERSION => return Err(SealError::Version { version }),
        _ => return Err(SealError::Length { len: seal.len() }),
    }
    let (nonce, sealed) = seal[1..].split_at(NONCE_BYTES);
    let (cipher, aad) = cipher_and_aad(presented, place);
    let opened = cipher
        .decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| SealError::Authentication)?;
    let mut successor = Zeroizing::new([0; SECRET_BYTES]);
    successor.copy_from_slice(&opened);
    Ok(Secret::new(*successor))
}

/// What the seal of an opaque token's successor is bound to: it opens in no other place.
#[derive(Clone, Copy)]
pub(crate) struct TextPlace<'a> {
    /// Tenant of the family.
    pub tenant: &'a TenantId,
    /// The presented token's text.
    pub presented: &'a [u8],
    /// What the cluster knows that by.
    pub digest: SecretDigest,
    /// The client that rotates.
    pub client: &'a ClientId,
}

impl TextPlace<'_> {
    fn cipher_and_aad(&self) -> (XChaCha20Poly1305, Vec<u8>) {
        let mut aad = Vec::with_capacity(64);
        push_text(&mut aad, self.tenant.as_str());
        aad.extend_from_slice(&self.digest.0);
        let cipher = cipher(self.presented, &aad, TEXT_INFO);
        push_text(&mut aad, self.client.as_str());
        (cipher, aad)
    }
}

/// Seals an opaque successor's text for whoever holds the presented one.
pub(crate) fn seal_text(place: TextPlace<'_>, text: &[u8], nonce: &[u8; NONCE_BYTES]) -> Bytes {
    let (cipher, aad) = place.cipher_and_aad();
    let sealed = cipher
        .encrypt(XNonce::from_slice(nonce), Payload { msg: text, aad: &aad })
        .expect("only messages of 256 GiB are too long to seal");
    [&[TEXT_VERSION], &nonce[..], &sealed].concat().into()
}

/// Opens what [`seal_text`] made.
///
/// # Errors
/// [`SealError`] if it isn't a seal for this token in this place.
pub(crate) fn open_text(place: TextPlace<'_>, seal: &[u8]) -> Result<Zeroizing<String>, SealError> {
    let (nonce, sealed) = match seal.split_first() {
        Some((&TEXT_VERSION, rest)) if rest.len() >= NONCE_BYTES + TAG_BYTES => {
            rest.split_at(NONCE_BYTES)
        }
        Some((&version, _)) if version != TEXT_VERSION => {
            return Err(SealError::Version { version });
        }
        _ => return Err(SealError::Authentication),
    };
    let (cipher, aad) = place.cipher_and_aad();
    let opened = cipher
        .decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| SealError::Authentication)?;
    let text = std::str::from_utf8(&opened).map_err(|_| SealError::Authentication)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The cipher under a key that only a holder of `presented` can derive.
fn cipher(presented: &[u8], context: &[u8], info: &[u8]) -> XChaCha20Poly1305 {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(context), presented)
        .expand(info, &mut key[..])
        .expect("32 bytes are below HKDF's limit of 8,160");
    XChaCha20Poly1305::new(Key::from_slice(&key[..]))
}

/// The cipher for a place, and the data that its tag covers besides the message.
fn cipher_and_aad(presented: &Secret, place: Place<'_>) -> (XChaCha20Poly1305, Vec<u8>) {
    let (tenant, client) = (place.tenant.as_str(), place.client.as_str());
    let mut aad = Vec::with_capacity(2 + tenant.len() + 16 + 8 + 2 + client.len());
    push_text(&mut aad, tenant);
    aad.extend_from_slice(&place.family.0);
    aad.extend_from_slice(&place.generation.0.to_be_bytes());

    // So far it is the context, which salts the key.
    let cipher = cipher(presented.expose(), &aad, INFO);
    push_text(&mut aad, client);
    (cipher, aad)
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("identifiers have at most 256 bytes");
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named {
        tenant: TenantId,
        client: ClientId,
    }

    fn named(tenant: &str, client: &str) -> Named {
        Named { tenant: TenantId::new(tenant).unwrap(), client: ClientId::new(client).unwrap() }
    }

    fn place(names: &Named) -> Place<'_> {
        Place {
            tenant: &names.tenant,
            family: FamilyId(core::array::from_fn(|i| i as u8)),
            generation: Generation(41),
            client: &names.client,
        }
    }

    fn presented() -> Secret {
        Secret::new([0x11; 32])
    }

    fn successor() -> Secret {
        Secret::new([0x22; 32])
    }
    const NONCE: [u8; 24] = [0x33; 24];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn what_was_sealed_opens_with_the_presented_token() {
        let names = named("acme", "web");
        let sealed = seal(&presented(), place(&names), &successor(), &NONCE);
        assert_eq!(open(&presented(), place(&names), &sealed).unwrap(), successor());
    }

    #[test]
    fn bytes_are_those_of_the_reference() {
        let names = named("acme", "web");
        let sealed = seal(&presented(), place(&names), &successor(), &NONCE);
        let reference = include_str!("../../../docs/reference/seal.md");
        let vector: String = reference
            .split("<!-- vector -->")
            .nth(1)
            .and_then(|rest| rest.split("```").nth(1))
            .expect("the reference holds a vector")
            .split_whitespace()
            .collect();
        assert_eq!(hex(&sealed), vector);
    }

    const OPAQUE: &str = "an opaque token of the reference";
    const NEXT: &str = "the opaque token that follows it";

    fn text_place<'a>(names: &'a Named, presented: &'a str) -> TextPlace<'a> {
        let digest = jeton_core::token::opaque_digest(presented).unwrap();
        let presented = presented.as_bytes();
        TextPlace { tenant: &names.tenant, presented, digest, client: &names.client }
    }

    #[test]
    fn bytes_of_a_text_are_those_of_the_reference() {
        let names = named("acme", "web");
        let sealed = seal_text(text_place(&names, OPAQUE), NEXT.as_bytes(), &NONCE);
        let reference = include_str!("../../../docs/reference/seal.md");
        let vector: String = reference
            .split("<!-- text vector -->")
            .nth(1)
            .and_then(|rest| rest.split("```").nth(1))
            .expect("the reference holds a vector")
            .split_whitespace()
            .collect();
        assert_eq!(hex(&sealed), vector);
    }

    #[test]
    fn a_sealed_text_opens_with_the_presented_one_and_nowhere_else() {
        let (names, other_tenant) = (named("acme", "web"), named("acmf", "web"));
        let other_client = named("acme", "app");
        let here = text_place(&names, OPAQUE);
        let sealed = seal_text(here, NEXT.as_bytes(), &NONCE);
        assert_eq!(open_text(here, &sealed).unwrap().as_str(), NEXT);
        let elsewhere = [
            text_place(&other_tenant, OPAQUE),
            text_place(&other_client, OPAQUE),
            text_place(&names, NEXT),
        ];
        for place in elsewhere {
            assert_eq!(open_text(place, &sealed), Err(SealError::Authentication));
        }
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(open_text(here, &bytes).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open_text(here, &sealed[..len]).is_err(), "{len} bytes");
        }
        // Neither layout is taken for the other.
        let native = seal(&presented(), place(&names), &successor(), &NONCE);
        assert_eq!(open_text(here, &native), Err(SealError::Version { version: 1 }));
        let opened = open(&presented(), place(&names), &sealed);
        assert_eq!(opened, Err(SealError::Version { version: 2 }));
    }

    #[test]
    fn a_seal_opens_nowhere_else() {
        let names = named("acme", "web");
        let here = place(&names);
        let sealed = seal(&presented(), here, &successor(), &NONCE);
        let other_tenant = named("acmf", "web");
        let other_client = named("acme", "app");
        // The same bytes with the border between tenant and client moved.
        let moved = named("acm", "eweb");
        let elsewhere = [
            Place { tenant: &other_tenant.tenant, ..here },
            Place { client: &other_client.client, ..here },
            Place { family: FamilyId([9; 16]), ..here },
            Place { generation: Generation(42), ..here },
            place(&moved),
        ];
        for place in elsewhere {
            assert_eq!(open(&presented(), place, &sealed), Err(SealError::Authentication));
        }
        let mut other_secret = [0x11; 32];
        other_secret[31] ^= 1;
        let other_secret = Secret::new(other_secret);
        assert_eq!(open(&other_secret, here, &sealed), Err(SealError::Authentication));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let names = named("acme", "web");
        let sealed = seal(&presented(), place(&names), &successor(), &NONCE);
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let opened = open(&presented(), place(&names), &bytes);
            if bit < 8 {
                assert_eq!(opened, Err(SealError::Version { version: bytes[0] }));
            } else {
                assert_eq!(opened, Err(SealError::Authentication));
            }
        }
    }

    #[test]
    fn every_truncation_is_found() {
        let names = named("acme", "web");
        let sealed = seal(&presented(), place(&names), &successor(), &NONCE);
        for len in 0..sealed.len() {
            let opened = open(&presented(), place(&names), &sealed[..len]);
            assert_eq!(opened, Err(SealError::Length { len }));
        }
        let longer = [&sealed[..], &[0]].concat();
        let opened = open(&presented(), place(&names), &longer);
        assert_eq!(opened, Err(SealError::Length { len: longer.len() }));
    }

    #[test]
    fn the_plain_successor_is_not_in_its_seal() {
        let names = named("acme", "web");
        let sealed = seal(&presented(), place(&names), &successor(), &NONCE);
        assert!(!sealed.windows(4).any(|window| window == [0x22; 4]));
    }
}
