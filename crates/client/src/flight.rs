//! Single flight across processes: of all who want the same thing at once, one does the work, and
//! all get its result.
//!
//! ```text
//! key  = HKDF-SHA256(ikm = secret, salt = context, info = "jeton/flight/1") (32)
//! aad  = context ‖ u64 fence          context = u16 len(tenant) ‖ tenant ‖ u16 len(lock) ‖ lock
//! seal = 0x01 ‖ nonce (24) ‖ XChaCha20-Poly1305(key, nonce, aad, result)
//! ```
//!
//! The cluster hands the result over and can't read it: the key comes from a secret that only those
//! know who may have the result, the expired token that all of them hold, for example.

use std::time::Duration;

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use jeton_core::ids::{Fence, LockName, TenantId};
use sha2::Sha256;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::client::Deadline;
use crate::error::Error;
use crate::id::IntoId;
use crate::lease::Lease;
use crate::lock::{Acquisition, Awaited, NewLease};
use crate::seal::{NONCE_BYTES, SealError};
use crate::tenant::Tenant;

const VERSION: u8 = 1;
const INFO: &[u8] = b"jeton/flight/1";
/// Version, nonce and tag.
const OVERHEAD_BYTES: usize = 1 + NONCE_BYTES + 16;

/// How a single flight is flown.
#[derive(Clone)]
pub struct SingleFlight {
    lease: NewLease,
    lock: Result<LockName, jeton_core::ids::IdError>,
    secret: Zeroizing<Vec<u8>>,
    result_ttl: Duration,
    after: Fence,
}

impl std::fmt::Debug for SingleFlight {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SingleFlight")
            .field("lease", &self.lease)
            .field("result_ttl", &self.result_ttl)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl SingleFlight {
    /// A flight under this lock. `secret` is what those know who may have the result, and nobody
    /// else: at least 128 bits that can't be guessed.
    pub fn new(lock: impl IntoId<LockName>, secret: &[u8]) -> Self {
        let lock = lock.into_id();
        let lease = match &lock {
            Ok(lock) => NewLease::new(lock),
            Err(_) => NewLease::new(""),
        };
        Self {
            lease,
            lock,
            secret: Zeroizing::new(secret.to_vec()),
            result_ttl: Duration::from_secs(30),
            after: Fence(0),
        }
    }

    /// How long the others wait for one that has died at it: its lease. Default 15 s.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lease = self.lease.ttl(ttl);
        self
    }

    /// How long the result is handed out, 1 ms to 1 h: whoever asks within it does no work. Default
    /// 30 s.
    #[must_use]
    pub fn result_ttl(mut self, ttl: Duration) -> Self {
        self.result_ttl = ttl;
        self
    }

    /// Only a result of a later flight than this one: whoever has the result of a flight, and finds
    /// it stale, wants a newer one. Default: any that is handed out still.
    #[must_use]
    pub fn after(mut self, fence: Fence) -> Self {
        self.after = fence;
        self
    }
}

/// The result of a single flight.
#[derive(Clone, PartialEq, Eq)]
pub struct Landed {
    /// What the work gave.
    pub result: Zeroizing<Vec<u8>>,
    /// Which flight it was of: for [`SingleFlight::after`], when it has become stale.
    pub fence: Fence,
    /// Whether another one did the work.
    pub shared: bool,
}

impl std::fmt::Debug for Landed {
    /// Without the result.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Landed")
            .field("fence", &self.fence)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// Why a single flight has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlightError<E> {
    /// The work failed. The others try in turn.
    #[error("the work failed")]
    Work(#[source] E),
    /// The lease was lost before the work was done: another one may be at it.
    #[error("the lease was lost before the work was done")]
    Lost,
    /// Nobody was done by the deadline.
    #[error("nobody was done by the deadline")]
    DeadlineExceeded,
    /// A call failed, or the result that another one left can't be opened.
    #[error(transparent)]
    Call(#[from] Error),
}

impl Tenant {
    /// Of all who call this at once under the same lock, on any node and in any process, one does
    /// the work, and all get its result. The work should stop when the lease it is given is lost;
    /// it is dropped then.
    ///
    /// # Errors
    /// [`FlightError`].
    pub async fn single_flight<E>(
        &self,
        flight: &SingleFlight,
        deadline: impl Into<Deadline>,
        work: impl AsyncFnOnce(&Lease) -> Result<Vec<u8>, E>,
    ) -> Result<Landed, FlightError<E>> {
        let deadline = deadline.into();
        let lock = flight.lock.as_ref();
        let lock = lock.map_err(|error| Error::violation("lock", error.to_string()))?;
        loop {
            match self.acquire(flight.lease.clone(), deadline).await? {
                Acquisition::Granted(lease) => {
                    // Another flight may have landed between the asking and the grant.
                    let seen = self.await_result(lock, flight.after, Duration::ZERO, deadline);
                    if let Awaited::Landed { fence, sealed } = seen.await? {
                        // Given back in the background: the result is what matters.
                        drop(lease);
                        return Ok(self.open(lock, flight, fence, &sealed)?);
                    }
                    return self.fly(lock, flight, lease, deadline, work).await;
                }
                Acquisition::Held { .. } => {
                    let left = deadline.at().saturating_duration_since(Instant::now());
                    // The rest is for the way there and back.
                    let wait = left - left / 10;
                    let now = Deadline::after(left - wait);
                    match self.await_result(lock, flight.after, wait, now).await? {
                        Awaited::Landed { fence, sealed } => {
                            return Ok(self.open(lock, flight, fence, &sealed)?);
                        }
                        Awaited::Grounded if Instant::now() < deadline.at() => {}
                        Awaited::Grounded | Awaited::Flying { .. } => {
                            return Err(FlightError::DeadlineExceeded);
                        }
                    }
                }
            }
        }
    }

    /// Does the work, and hands its result to the others.
    async fn fly<E>(
        &self,
        lock: &LockName,
        flight: &SingleFlight,
        lease: Lease,
        deadline: Deadline,
        work: impl AsyncFnOnce(&Lease) -> Result<Vec<u8>, E>,
    ) -> Result<Landed, FlightError<E>> {
        let done = match lease.while_held(work(&lease)).await {
            Ok(Ok(result)) => Zeroizing::new(result),
            Ok(Err(error)) => return Err(FlightError::Work(error)),
            Err(_) => return Err(FlightError::Lost),
        };
        let fence = lease.fence();
        let mut nonce = [0; NONCE_BYTES];
        self.client().fill(&mut nonce)?;
        let sealed = seal(&flight.secret, self.id(), lock, fence, &done, &nonce);
        let name = lease.name().clone();
        let published = self.publish_result(name, sealed, flight.result_ttl, true, deadline).await;
        match published {
            Ok(true) => drop(lease.into_name()),
            // The work is done, and its result is good; only the others did not hear of it.
            Ok(false) => tracing::debug!("the lease had ended before the result was published"),
            Err(error) => tracing::debug!(%error, "the result was not published"),
        }
        Ok(Landed { result: done, fence, shared: false })
    }

    fn open(
        &self,
        lock: &LockName,
        flight: &SingleFlight,
        fence: Fence,
        sealed: &[u8],
    ) -> Result<Landed, Error> {
        let result = open(&flight.secret, self.id(), lock, fence, sealed)?;
        Ok(Landed { result, fence, shared: true })
    }
}

fn seal(
    secret: &[u8],
    tenant: &TenantId,
    lock: &LockName,
    fence: Fence,
    result: &[u8],
    nonce: &[u8; NONCE_BYTES],
) -> Bytes {
    let (cipher, aad) = cipher_and_aad(secret, tenant, lock, fence);
    let sealed = cipher
        .encrypt(XNonce::from_slice(nonce), Payload { msg: result, aad: &aad })
        .expect("only messages of 256 GiB are too long to seal");
    let mut seal = Vec::with_capacity(result.len() + OVERHEAD_BYTES);
    seal.push(VERSION);
    seal.extend_from_slice(nonce);
    seal.extend_from_slice(&sealed);
    Bytes::from(seal)
}

fn open(
    secret: &[u8],
    tenant: &TenantId,
    lock: &LockName,
    fence: Fence,
    seal: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    match seal.first() {
        Some(&VERSION) if seal.len() >= OVERHEAD_BYTES => {}
        Some(&version) if version != VERSION => return Err(SealError::Version { version }),
        _ => return Err(SealError::Length { len: seal.len() }),
    }
    let (nonce, sealed) = seal[1..].split_at(NONCE_BYTES);
    let (cipher, aad) = cipher_and_aad(secret, tenant, lock, fence);
    cipher
        .decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| SealError::Authentication)
}

fn cipher_and_aad(
    secret: &[u8],
    tenant: &TenantId,
    lock: &LockName,
    fence: Fence,
) -> (XChaCha20Poly1305, Vec<u8>) {
    let mut aad = Vec::with_capacity(4 + 512 + 8);
    for text in [tenant.as_str(), lock.as_str()] {
        let len = u16::try_from(text.len()).expect("identifiers have at most 256 bytes");
        aad.extend_from_slice(&len.to_be_bytes());
        aad.extend_from_slice(text.as_bytes());
    }
    // So far it is the context, which salts the key.
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(&aad), secret)
        .expand(INFO, &mut key[..])
        .expect("32 bytes are below HKDF's limit of 8,160");
    aad.extend_from_slice(&fence.0.to_be_bytes());
    (XChaCha20Poly1305::new(Key::from_slice(&key[..])), aad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_opens_only_for_those_who_know_the_secret_and_in_its_place() {
        let tenant = |name| TenantId::new(name).unwrap();
        let lock = |name| LockName::new(name).unwrap();
        let (acme, refresh, fence) = (tenant("acme"), lock("refresh"), Fence(7));
        let sealed = seal(b"secret", &acme, &refresh, fence, b"result", &[9; NONCE_BYTES]);
        assert_eq!(sealed.len(), b"result".len() + OVERHEAD_BYTES);
        let opened = open(b"secret", &acme, &refresh, fence, &sealed).unwrap();
        assert_eq!(&opened[..], b"result");
        let others = [
            open(b"secreT", &acme, &refresh, fence, &sealed),
            open(b"secret", &tenant("acm"), &lock("erefresh"), fence, &sealed),
            open(b"secret", &acme, &lock("refres"), fence, &sealed),
            open(b"secret", &acme, &refresh, Fence(8), &sealed),
            open(b"secret", &acme, &refresh, fence, &[&sealed[..], &[0]].concat()),
        ];
        assert!(others.iter().all(|other| *other == Err(SealError::Authentication)), "{others:?}");
        let newer = [&[2][..], &sealed[1..]].concat();
        let newer = open(b"secret", &acme, &refresh, fence, &newer);
        assert_eq!(newer, Err(SealError::Version { version: 2 }));
        for short in [&sealed[..0], &sealed[..40]] {
            let short = open(b"secret", &acme, &refresh, fence, short);
            assert!(matches!(short, Err(SealError::Length { .. })));
        }
    }

    #[test]
    fn secrets_and_results_are_never_printed() {
        let flight = SingleFlight::new("refresh", b"the secret");
        let result = Zeroizing::new(b"the result".to_vec());
        let landed = Landed { result, fence: Fence(7), shared: true };
        let printed = format!("{flight:?} {landed:?}");
        assert!(!printed.contains("the") && !printed.contains("116, 104"), "{printed}");
    }
}
