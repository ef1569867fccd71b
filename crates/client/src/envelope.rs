//! How a record's value is kept by a store that can't read it.
//!
//! A random data key seals the value, and is wrapped once for each key that must open it: the
//! record's own key, or the plain text of an index key. Whoever holds one of them opens the value;
//! the cluster has digests only.
//!
//! ```text
//! context = u16 len(tenant) ‖ tenant ‖ u16 len(kind) ‖ kind ‖ key digest (16)
//! lock    = HKDF-SHA256(ikm = secret, salt = context, info = "jeton/record/1") (32)
//! wrap    = nonce (24) ‖ XChaCha20-Poly1305(lock, nonce, aad = context, data key (32))    72 bytes
//! value   = 0x01 ‖ u8 count ‖ wrap × count
//!           ‖ nonce (24) ‖ XChaCha20-Poly1305(data key, nonce, aad = context, plain value)
//! ```
//!
//! The secret of a key that nobody can guess is the key; that of one that could be guessed is its
//! HMAC under a pepper, so that a dump can't be searched for it. Nonces and data keys are random,
//! and a data key seals one value.

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use jeton_core::ids::{KeyDigest, RecordKind, TenantId};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::record::Pepper;
use crate::seal::NONCE_BYTES;
use crate::tenant::Tenant;

/// First byte of every value of this layout.
const VERSION: u8 = 1;
/// Names the purpose and the layout to HKDF.
const INFO: &[u8] = b"jeton/record/1";
/// Bytes of a data key.
const KEY_BYTES: usize = 32;
/// Bytes of Poly1305's tag.
const TAG_BYTES: usize = 16;
/// Bytes of one wrap.
const WRAP_BYTES: usize = NONCE_BYTES + KEY_BYTES + TAG_BYTES;
/// A record's own key and its index keys.
const OPENERS_MAX: usize = 9;

/// What opens a sealed value. It can't be printed, and is erased from memory when dropped.
#[derive(Clone)]
pub struct RecordSecret(Zeroizing<Vec<u8>>);

impl RecordSecret {
    /// A key that nobody can guess: 128 random bits or more.
    #[must_use]
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self(Zeroizing::new(key.as_ref().to_vec()))
    }

    /// A key that could be guessed, like the `user_code` of a device.
    #[must_use]
    pub fn peppered(pepper: &Pepper, key: impl AsRef<[u8]>) -> Self {
        // Not the digest's own bytes, half of which the cluster holds.
        let mac = pepper.mac(&[b"open:", key.as_ref()].concat());
        Self(Zeroizing::new(mac.to_vec()))
    }
}

impl std::fmt::Debug for RecordSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordSecret(…)")
    }
}

/// Why a value could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordSealError {
    /// Too short for what it claims to be.
    #[error("this is no sealed value: it has {len} bytes")]
    Length {
        /// Its length in bytes.
        len: usize,
    },
    /// Sealed by a newer client, or not at all.
    #[error("the value has version {version}, this client knows {VERSION}")]
    Version {
        /// Its version.
        version: u8,
    },
    /// Changed on its way, or sealed for other keys, or another record.
    #[error("the value does not open with this key: it was changed or is sealed for others")]
    Authentication,
}

/// Where a value is kept: it opens in no other place.
fn context(tenant: &TenantId, kind: &RecordKind, key: &KeyDigest) -> Vec<u8> {
    let mut context = Vec::new();
    for text in [tenant.as_str(), kind.as_str()] {
        let len = u16::try_from(text.len()).expect("identifiers have at most 256 bytes");
        context.extend_from_slice(&len.to_be_bytes());
        context.extend_from_slice(text.as_bytes());
    }
    context.extend_from_slice(&key.0);
    context
}

fn lock(secret: &RecordSecret, context: &[u8]) -> XChaCha20Poly1305 {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Hkdf::<Sha256>::new(Some(context), &secret.0)
        .expand(INFO, &mut key[..])
        .expect("32 bytes are below HKDF's limit of 8,160");
    XChaCha20Poly1305::new(Key::from_slice(&key[..]))
}

fn encrypt(cipher: &XChaCha20Poly1305, nonce: &[u8], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    let sealed = cipher.encrypt(XNonce::from_slice(nonce), Payload { msg, aad });
    sealed.expect("only messages of 256 GiB are too long to seal")
}

fn decrypt(cipher: &XChaCha20Poly1305, sealed: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, msg) = sealed.split_at_checked(NONCE_BYTES)?;
    cipher.decrypt(XNonce::from_slice(nonce), Payload { msg, aad }).ok().map(Zeroizing::new)
}

/// Seals a value for whoever holds one of `openers`. `random` has a data key and nonces.
fn seal(context: &[u8], value: &[u8], openers: &[RecordSecret], random: &[u8]) -> Bytes {
    let (data_key, random) = random.split_at(KEY_BYTES);
    let mut nonces = random.chunks_exact(NONCE_BYTES);
    let mut next = || nonces.next().expect("enough randomness was drawn");
    let count = u8::try_from(openers.len()).expect("there are few openers");
    let mut sealed = vec![VERSION, count];
    for opener in openers {
        let nonce = next();
        sealed.extend_from_slice(nonce);
        sealed.extend(encrypt(&lock(opener, context), nonce, context, data_key));
    }
    let nonce = next();
    sealed.extend_from_slice(nonce);
    let cipher = XChaCha20Poly1305::new(Key::from_slice(data_key));
    sealed.extend(encrypt(&cipher, nonce, context, value));
    sealed.into()
}

/// Opens what [`seal`] made.
fn open(
    context: &[u8],
    sealed: &[u8],
    secret: &RecordSecret,
) -> Result<Zeroizing<Vec<u8>>, RecordSealError> {
    let length = RecordSealError::Length { len: sealed.len() };
    let ([version, count], rest) = sealed.split_first_chunk::<2>().ok_or(length)?;
    if *version != VERSION {
        return Err(RecordSealError::Version { version: *version });
    }
    let wraps = usize::from(*count) * WRAP_BYTES;
    let (wraps, value) = rest.split_at_checked(wraps).ok_or(length)?;
    if value.len() < NONCE_BYTES + TAG_BYTES {
        return Err(length);
    }
    let lock = lock(secret, context);
    let data_key = wraps.chunks_exact(WRAP_BYTES).find_map(|wrap| decrypt(&lock, wrap, context));
    let data_key = data_key.ok_or(RecordSealError::Authentication)?;
    let cipher = XChaCha20Poly1305::new(Key::from_slice(&data_key));
    decrypt(&cipher, value, context).ok_or(RecordSealError::Authentication)
}

impl Tenant {
    /// Seals a value for the record of this kind under this key: whoever holds one of `openers`
    /// opens it, and nobody else. It grows by 42 bytes, and 72 for each of them.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for none or more than 9 openers, and [`Error`] if the system
    /// gives no randomness.
    pub fn seal_value(
        &self,
        kind: &RecordKind,
        key: KeyDigest,
        value: impl AsRef<[u8]>,
        openers: &[RecordSecret],
    ) -> Result<Bytes, Error> {
        if openers.is_empty() || openers.len() > OPENERS_MAX {
            let problem = format!("there are {}: give 1 to {OPENERS_MAX}", openers.len());
            return Err(Error::violation("openers", problem));
        }
        let len = KEY_BYTES + (openers.len() + 1) * NONCE_BYTES;
        let mut random = Zeroizing::new(vec![0; len]);
        self.client().fill(&mut random)?;
        Ok(seal(&context(self.id(), kind, &key), value.as_ref(), openers, &random))
    }

    /// Opens a value that [`Tenant::seal_value`] sealed for this record.
    ///
    /// # Errors
    /// [`RecordSealError`] if it isn't sealed for this secret in this place.
    pub fn open_value(
        &self,
        kind: &RecordKind,
        key: KeyDigest,
        sealed: &[u8],
        secret: &RecordSecret,
    ) -> Result<Zeroizing<Vec<u8>>, RecordSealError> {
        open(&context(self.id(), kind, &key), sealed, secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::digest;

    fn place(tenant: &str, kind: &str, key: &str) -> Vec<u8> {
        let (tenant, kind) = (TenantId::new(tenant).unwrap(), RecordKind::new(kind).unwrap());
        context(&tenant, &kind, &digest(key))
    }

    fn openers() -> [RecordSecret; 2] {
        let pepper = Pepper::new([7; 16]).unwrap();
        [RecordSecret::new("device code"), RecordSecret::peppered(&pepper, "WDJB-MJHT")]
    }

    fn sealed() -> Bytes {
        seal(&place("acme", "device", "d"), b"grant", &openers(), &[5; 32 + 3 * 24])
    }

    #[test]
    fn each_opener_opens_it_and_nobody_else() {
        let place = place("acme", "device", "d");
        for opener in &openers() {
            assert_eq!(open(&place, &sealed(), opener).unwrap()[..], b"grant"[..]);
        }
        let bare = RecordSecret::new("WDJB-MJHT");
        let other_pepper = Pepper::new([8; 16]).unwrap();
        let other = RecordSecret::peppered(&other_pepper, "WDJB-MJHT");
        for wrong in [bare, other, RecordSecret::new("device cod")] {
            assert_eq!(open(&place, &sealed(), &wrong), Err(RecordSealError::Authentication));
        }
        assert!(!sealed().windows(5).any(|part| part == b"grant"), "the value is not in it");
        assert_eq!(sealed().len(), 5 + 42 + 2 * WRAP_BYTES);
    }

    #[test]
    fn it_opens_in_no_other_place() {
        let [opener, _] = openers();
        for place in [
            place("acmf", "device", "d"),
            place("acme", "devicf", "d"),
            place("acme", "device", "e"),
            place("acm", "edevice", "d"),
        ] {
            assert_eq!(open(&place, &sealed(), &opener), Err(RecordSealError::Authentication));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let (place, [opener, _]) = (place("acme", "device", "d"), openers());
        let sealed = sealed();
        // The other opener's wrap is not this one's business.
        let others = (2 + WRAP_BYTES) * 8..(2 + 2 * WRAP_BYTES) * 8;
        for bit in (0..sealed.len() * 8).filter(|bit| !others.contains(bit)) {
            let mut bytes = sealed.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&place, &bytes, &opener).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open(&place, &sealed[..len], &opener).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_pepper_makes_other_digests_and_no_digest_opens_anything() {
        let pepper = Pepper::new([7; 16]).unwrap();
        assert_ne!(pepper.digest("WDJB"), digest("WDJB"));
        assert_ne!(pepper.digest("WDJB").0[..], RecordSecret::peppered(&pepper, "WDJB").0[..16]);
        assert!(Pepper::new([7; 15]).is_err());
    }

    /// The vector of `docs/reference/records.md`, which was made by another program.
    #[test]
    fn the_documented_vector_is_what_is_made() {
        let page = include_str!("../../../docs/reference/records.md");
        let (_, from) = page.split_once("<!-- envelope vector -->").unwrap();
        let block = from.split("```").nth(1).unwrap();
        let hex: String = block.split_whitespace().collect();
        let place = place("acme", "device", "device code");
        let random: Vec<u8> = (0..KEY_BYTES as u8 + 3 * NONCE_BYTES as u8).collect();
        let made = seal(&place, b"grant", &openers(), &random);
        let made_hex: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(made_hex, hex);
        for opener in &openers() {
            assert_eq!(open(&place, &made, opener).unwrap()[..], b"grant"[..]);
        }
    }
}
