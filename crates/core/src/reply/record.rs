//! Answers about records.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::RecordRoots;
use crate::ids::{FamilyId, KeyDigest, Position, RecordKind, UnixMs};

/// A record that was consumed, as its one winner gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumedRecord {
    /// What was put.
    pub value: Bytes,
    /// When it was created.
    pub created_at: UnixMs,
    /// What cutoffs compare with what is made from it.
    pub origin: Position,
    /// The position that was read when the user's credentials were checked.
    pub authenticated_at: Option<Position>,
    /// When it would have ended by itself.
    pub expires_at: Option<UnixMs>,
}

/// A record as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordView {
    /// Of which kind.
    pub kind: RecordKind,
    /// Its key.
    pub key: KeyDigest,
    /// What was put. Empty once it was consumed.
    pub value: Bytes,
    /// For the next change.
    pub version: u64,
    /// Position of its creation.
    pub created: Position,
    /// Time of its creation.
    pub created_at: UnixMs,
    /// What cutoffs compare with.
    pub origin: Position,
    /// When it ends by itself; `None`: never.
    pub expires_at: Option<UnixMs>,
    /// Whether that is past. Only shown of kinds that keep what has expired.
    pub expired: bool,
    /// When it was consumed.
    pub consumed_at: Option<UnixMs>,
    /// Its index keys, ascending.
    pub index: Vec<KeyDigest>,
    /// What it hangs on.
    pub roots: RecordRoots,
    /// The family that it is about, or that was made from it.
    pub family: Option<FamilyId>,
}

/// A page of records that have one index key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordPage {
    /// In the order of their keys.
    pub records: Vec<RecordView>,
    /// Where the next page begins: behind this key. `None`: that was all.
    pub next: Option<KeyDigest>,
}

/// Why a code made no family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeRefusal {
    /// There is none, or a root of it is dead.
    NotFound,
    /// Something else was shown than it asks for.
    PreconditionFailed,
    /// It was consumed before.
    Already {
        /// When.
        at: UnixMs,
        /// What was made from it.
        family: Option<FamilyId>,
    },
    /// It ended by itself.
    Expired {
        /// When.
        at: UnixMs,
    },
}
