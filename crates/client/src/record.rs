//! What callers say about records, and what they are told.
//!
//! Keys, index keys, preconditions and guessers reach the cluster as digests only. [`digest`] is
//! for what nobody can guess (128 random bits or more); what could be guessed, like the `user_code`
//! of a device, goes through [`Pepper::digest`].

use std::time::Duration;

use bytes::Bytes;
use hkdf::Hkdf;
use jeton_core::command::{Consume, Precondition, PutRecord, PutWhen, RecordRoots};
use jeton_core::ids::{
    ClientId, DeviceId, FamilyId, KeyDigest, Position, RecordKind, RequestId, SessionId, SubjectId,
    UnixMs,
};
use jeton_core::reply::{ConsumedRecord, RecordView, Refusal};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::family::{Checks, millis};
use crate::id::IntoId;

/// The digest of a key that nobody can guess: the first 16 bytes of its SHA-256.
#[must_use]
pub fn digest(key: impl AsRef<[u8]>) -> KeyDigest {
    first_half(&Sha256::digest(key))
}

fn first_half(bytes: &[u8]) -> KeyDigest {
    let half = bytes.first_chunk::<16>().expect("a SHA-256 has 32 bytes");
    KeyDigest(*half)
}

/// A secret of the authorization servers that the cluster never sees. Digests of what could be
/// guessed are made with it, so that a dump of the store can't be searched for them.
#[derive(Clone)]
pub struct Pepper(Zeroizing<Vec<u8>>);

impl Pepper {
    /// At least 16 random bytes; all servers of a tenant use the same.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is shorter.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        let secret = secret.as_ref();
        if secret.len() < 16 {
            let problem = format!("has {} bytes: give at least 16 random ones", secret.len());
            return Err(Error::violation("pepper", problem));
        }
        Ok(Self(Zeroizing::new(secret.to_vec())))
    }

    /// The digest of a key that could be guessed: the first 16 bytes of its HMAC-SHA-256.
    #[must_use]
    pub fn digest(&self, key: impl AsRef<[u8]>) -> KeyDigest {
        first_half(&self.mac(key.as_ref())[..])
    }

    /// HMAC-SHA-256 of `key` (RFC 5869 §2.2: what HKDF extracts is that).
    pub(crate) fn mac(&self, key: &[u8]) -> Zeroizing<[u8; 32]> {
        let (mac, _) = Hkdf::<Sha256>::extract(Some(&self.0), key);
        Zeroizing::new(mac.into())
    }
}

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pepper(…)")
    }
}

/// A record to be put: whatever is there is replaced, unless [`NewRecord::create_only`] or
/// [`NewRecord::at_version`].
#[derive(Debug, Clone)]
pub struct NewRecord {
    checks: Checks,
    kind: Option<RecordKind>,
    put: Parts,
    pub(crate) request: Option<RequestId>,
}

#[derive(Debug, Clone)]
struct Parts {
    key: KeyDigest,
    when: PutWhen,
    value: Bytes,
    lifetime: Option<Duration>,
    index: Vec<KeyDigest>,
    roots: RecordRoots,
    family: Option<FamilyId>,
    preconditions: Vec<Precondition>,
    authenticated_at: Option<Position>,
}

impl NewRecord {
    /// A record of this kind under this key.
    pub fn new(kind: impl IntoId<RecordKind>, key: KeyDigest) -> Self {
        let mut checks = Checks::default();
        let kind = checks.id("kind", kind);
        let put = Parts {
            key,
            when: PutWhen::Always,
            value: Bytes::new(),
            lifetime: None,
            index: Vec::new(),
            roots: RecordRoots::default(),
            family: None,
            preconditions: Vec::new(),
            authenticated_at: None,
        };
        Self { checks, kind, put, request: None }
    }

    /// Only if there is none.
    #[must_use]
    pub fn create_only(mut self) -> Self {
        self.put.when = PutWhen::Absent;
        self
    }

    /// Only if it is still at the version that was read.
    #[must_use]
    pub fn at_version(mut self, version: u64) -> Self {
        self.put.when = PutWhen::Version(version);
        self
    }

    /// At most 64 KiB. Seal it: see [`crate::Tenant::seal_value`].
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.put.value = value.into();
        self
    }

    /// How long it lives, at most 400 days. Default: for ever, which only records without roots
    /// may.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.put.lifetime = Some(lifetime);
        self
    }

    /// A key under which it is found besides its own: at most 8 of them.
    #[must_use]
    pub fn index_key(mut self, key: KeyDigest) -> Self {
        self.put.index.push(key);
        self
    }

    /// It is gone when this user's things are revoked.
    #[must_use]
    pub fn subject(mut self, subject: impl IntoId<SubjectId>) -> Self {
        self.put.roots.subject = self.checks.id("roots.subject", subject);
        self
    }

    /// It is gone when this client's things are revoked.
    #[must_use]
    pub fn client(mut self, client: impl IntoId<ClientId>) -> Self {
        self.put.roots.client = self.checks.id("roots.client", client);
        self
    }

    /// It is gone when this session ends.
    #[must_use]
    pub fn session(mut self, session: impl IntoId<SessionId>) -> Self {
        self.put.roots.session = self.checks.id("roots.session", session);
        self
    }

    /// It is gone when this device's things are revoked.
    #[must_use]
    pub fn device(mut self, device: impl IntoId<DeviceId>) -> Self {
        self.put.roots.device = self.checks.id("roots.device", device);
        self
    }

    /// It is gone when this family dies.
    #[must_use]
    pub fn family_root(mut self, family: FamilyId) -> Self {
        self.put.roots.family = Some(family);
        self
    }

    /// The family that it is about.
    #[must_use]
    pub fn family(mut self, family: FamilyId) -> Self {
        self.put.family = Some(family);
        self
    }

    /// What who consumes it must show: the client, the redirect URI, the PKCE challenge. At most 8.
    #[must_use]
    pub fn precondition(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.put.preconditions.push(precondition(name, value.as_ref()));
        self
    }

    /// A position that was read when the user's credentials were checked: whatever was revoked
    /// since then stays revoked.
    #[must_use]
    pub fn authenticated_at(mut self, position: Position) -> Self {
        self.put.authenticated_at = Some(position);
        self
    }

    /// The name of this change. Default: drawn by this client, kept for its own retries.
    #[must_use]
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.request = Some(id);
        self
    }

    pub(crate) fn checked(self) -> Result<PutRecord, Error> {
        let kind = self.checks.done(self.kind)?;
        let mut put = self.put;
        put.index.sort();
        sort(&mut put.preconditions);
        Ok(PutRecord {
            kind,
            key: put.key,
            when: put.when,
            value: put.value,
            lifetime: put.lifetime.map(millis),
            index: put.index,
            roots: put.roots,
            family: put.family,
            preconditions: put.preconditions,
            authenticated_at: put.authenticated_at,
        })
    }
}

fn precondition(name: &str, value: &[u8]) -> Precondition {
    Precondition { name: name.into(), digest: digest(value) }
}

fn sort(preconditions: &mut [Precondition]) {
    preconditions.sort_by(|a, b| a.name.cmp(&b.name));
}

/// A record to be consumed, and what is shown for it.
#[derive(Debug, Clone)]
pub struct Consumption {
    checks: Checks,
    kind: Option<RecordKind>,
    key: KeyDigest,
    preconditions: Vec<Precondition>,
    guesser: Option<KeyDigest>,
    family: Option<FamilyId>,
    revoke_on_replay: bool,
    pub(crate) request: Option<RequestId>,
}

impl Consumption {
    /// The record of this kind under this key.
    pub fn new(kind: impl IntoId<RecordKind>, key: KeyDigest) -> Self {
        let mut checks = Checks::default();
        let kind = checks.id("kind", kind);
        Self {
            checks,
            kind,
            key,
            preconditions: Vec::new(),
            guesser: None,
            family: None,
            revoke_on_replay: false,
            request: None,
        }
    }

    /// Shows what the record asks for. All that it asks for must be shown, and nothing else.
    #[must_use]
    pub fn precondition(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.preconditions.push(precondition(name, value.as_ref()));
        self
    }

    /// Who asks, in kinds that count misses: a session or an address.
    #[must_use]
    pub fn guesser(mut self, guesser: impl AsRef<[u8]>) -> Self {
        self.guesser = Some(digest(guesser));
        self
    }

    /// The family that will be made from it: kept with the fact that it was consumed.
    #[must_use]
    pub fn family(mut self, family: FamilyId) -> Self {
        self.family = Some(family);
        self
    }

    /// If it was consumed before, the family that was made from it dies in this same command.
    #[must_use]
    pub fn revoke_on_replay(mut self) -> Self {
        self.revoke_on_replay = true;
        self
    }

    /// The name of this consumption: give the same to a call that continues one whose outcome is
    /// unknown, and the winner gets the value again. Default: drawn by this client, kept for its
    /// own retries.
    #[must_use]
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.request = Some(id);
        self
    }

    pub(crate) fn checked(self) -> Result<Consume, Error> {
        let kind = self.checks.done(self.kind)?;
        let mut preconditions = self.preconditions;
        sort(&mut preconditions);
        Ok(Consume {
            kind,
            key: self.key,
            preconditions,
            guesser: self.guesser,
            family: self.family,
            revoke_on_replay: self.revoke_on_replay,
        })
    }
}

/// What became of a consumption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consumed {
    /// This call was first: the value is its own, and nobody else's ever.
    First {
        /// What was put.
        record: Box<ConsumedRecord>,
        /// Where that was decided.
        position: Position,
    },
    /// It got nothing. An answer, not a fault: don't retry.
    Refused(Refusal),
}

/// Whether a proof was shown for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was never shown before.
    Fresh,
    /// It was shown before.
    Replay,
    /// It has ended by itself.
    Expired,
}

/// A page of records.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPage {
    /// In the order of their keys. May be empty though another page follows.
    pub records: Vec<RecordView>,
    /// For the next page; `None` if that was all.
    pub next: Option<String>,
}

/// What is there to collect: what expired before this instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// How many records are gone.
    pub count: u64,
    /// Whether the deadline came before all were collected.
    pub more: bool,
}

pub(crate) fn never() -> UnixMs {
    UnixMs(u64::MAX)
}
