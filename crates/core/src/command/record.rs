//! Commands about one-time and keyed records.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::command::Operation;
use crate::ids::{
    ClientId, DeviceId, DurationMs, FamilyId, IssuerId, KeyDigest, Position, RecordKind, SessionId,
    SubjectId, UnixMs,
};

/// See [`Operation::SetRecordKind`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRecordKind {
    /// Which kind.
    pub kind: RecordKind,
    /// All of its settings.
    pub settings: RecordKindSettings,
}

/// What holds for all records of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecordKindSettings {
    /// What expiry means to reads, for records that are put from now on.
    pub on_expiry: OnExpiry,
    /// If set, look-ups name who guesses, and misses are counted.
    pub attempts: Option<AttemptLimits>,
}

/// What expiry means to reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnExpiry {
    /// Expired records are gone.
    #[default]
    Hide,
    /// They are readable, marked as expired, until they are collected.
    Keep,
}

/// How many look-ups may miss within a window, which begins with the first miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLimits {
    /// Of one guesser. At least 1.
    pub misses_per_guesser: u32,
    /// Of all guessers of the tenant together. At least as many; also bounds the rows.
    pub misses_per_tenant: u32,
    /// 1 s to [`crate::limits::ATTEMPTS_WINDOW_MAX`].
    pub window: DurationMs,
}

/// See [`Operation::PutRecord`]. A replacement is whole: nothing of the old record stays but its
/// creation, its origin, and since when it has the index keys that it keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PutRecord {
    /// Of which kind.
    pub kind: RecordKind,
    /// Under which key.
    pub key: KeyDigest,
    /// What must be there before.
    pub when: PutWhen,
    /// At most [`crate::limits::RECORD_VALUE_BYTES_MAX`]; opaque, and best sealed by the caller.
    pub value: Bytes,
    /// How long it lives, at most [`crate::limits::RECORD_LIFETIME_MAX`]; for ever if `None`, which
    /// only records without roots may.
    pub lifetime: Option<DurationMs>,
    /// Under which keys it is found besides, at most [`crate::limits::INDEX_KEYS_MAX`]. Ascending,
    /// each once.
    pub index: Vec<KeyDigest>,
    /// What it hangs on.
    pub roots: RecordRoots,
    /// The family that it is about.
    pub family: Option<FamilyId>,
    /// What who consumes it must show, at most [`crate::limits::PRECONDITIONS_MAX`]. Sorted by
    /// name, names unique.
    pub preconditions: Vec<Precondition>,
    /// Position that the caller read when the user's credentials were checked.
    pub authenticated_at: Option<Position>,
}

/// What must be there before a record is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PutWhen {
    /// Nothing.
    Absent,
    /// A record at this version.
    Version(u64),
    /// Whatever there is.
    Always,
}

/// What a record hangs on: if one of them is dead, it reads as gone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecordRoots {
    /// A user.
    pub subject: Option<SubjectId>,
    /// An OAuth client.
    pub client: Option<ClientId>,
    /// A session.
    pub session: Option<SessionId>,
    /// A device.
    pub device: Option<DeviceId>,
    /// A family.
    pub family: Option<FamilyId>,
}

impl RecordRoots {
    /// Whether it hangs on nothing but its tenant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Something that was fixed when a record was made, and must be shown by who consumes it: the
/// client, the redirect URI, the PKCE challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precondition {
    /// 1 to [`crate::limits::PRECONDITION_NAME_BYTES_MAX`] bytes.
    pub name: Arc<str>,
    /// Digest of its value.
    pub digest: KeyDigest,
}

/// See [`Operation::DeleteRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRecord {
    /// Of which kind.
    pub kind: RecordKind,
    /// Under which key.
    pub key: KeyDigest,
    /// Only if it is still at this version.
    pub version: Option<u64>,
}

/// See [`Operation::DeleteRecords`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRecords {
    /// Of which kind.
    pub kind: RecordKind,
    /// What has this index key already is gone.
    pub index: KeyDigest,
}

/// See [`Operation::CollectExpired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectExpired {
    /// Of which kind.
    pub kind: RecordKind,
    /// What expired before this instant, and not later than now.
    pub before: UnixMs,
    /// At most so many, and at most [`crate::limits::COLLECT_ROWS_MAX`].
    pub rows_max: u32,
}

/// See [`Operation::Consume`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consume {
    /// Of which kind.
    pub kind: RecordKind,
    /// Under which key.
    pub key: KeyDigest,
    /// All that the record asks for, and nothing else. Sorted by name, names unique.
    pub preconditions: Vec<Precondition>,
    /// Who asks, in kinds that count misses: digest of a session or an address.
    pub guesser: Option<KeyDigest>,
    /// What will be made from it: kept with the fact that it was consumed.
    pub family: Option<FamilyId>,
    /// If it was consumed before, the family that was made from it dies in this same command.
    pub revoke_on_replay: bool,
}

/// See [`Operation::SeenOnce`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenOnce {
    /// What kind of proof: client assertion, DPoP, …
    pub kind: RecordKind,
    /// Whose ids these are (`iss`).
    pub issuer: IssuerId,
    /// Digest of its id (`jti`).
    pub key: KeyDigest,
    /// When the proof ends by itself (`exp`).
    pub expires_at: UnixMs,
}

/// See [`Operation::LookUpRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookUpRecord {
    /// Of which kind.
    pub kind: RecordKind,
    /// Under which key.
    pub by: RecordName,
    /// Who asks: digest of a session or an address.
    pub guesser: KeyDigest,
}

/// What a record is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordName {
    /// Its own key.
    Key(KeyDigest),
    /// One of its index keys: the first record that has it, in the order of keys.
    Index(KeyDigest),
}
