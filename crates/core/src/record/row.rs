//! The row of a record, and the entries of indexes that follow from it.
//!
//! ```text
//!   record ──► one entry for each index key
//!          ──► one in the expiry index, when there is nothing left of it to know
//!          ──► one under its expiry, if it is kept for collection then
//! ```
//!
//! The entries are a function of the row alone: whoever changes it changes them in the same
//! command, and nothing else ever does.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Precondition, RecordRoots};
use crate::ids::{FamilyId, KeyDigest, Position, RecordKind, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::roots::{Itself, Roots};

/// What is kept of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordRow {
    /// Empty once it was consumed: the winner's answer has it then.
    pub(crate) value: Bytes,
    /// Counts changes.
    pub(crate) version: u64,
    pub(crate) created: Position,
    pub(crate) created_at: UnixMs,
    /// What cutoffs compare with: never after `created`.
    pub(crate) origin: Position,
    pub(crate) authenticated_at: Option<Position>,
    pub(crate) expires_at: Option<UnixMs>,
    /// Whether it is readable after that.
    pub(crate) keep: bool,
    /// Ascending.
    pub(crate) index: Vec<IndexKey>,
    pub(crate) roots: RecordRoots,
    /// Since when it hangs on them: a session or family of that name made later is another one.
    pub(crate) rooted: Position,
    /// What it is about, or what was made from it.
    pub(crate) family: Option<FamilyId>,
    /// Sorted by name.
    pub(crate) preconditions: Vec<Precondition>,
    /// When it was consumed. From then on it is a tombstone.
    pub(crate) consumed_at: Option<UnixMs>,
    /// It was deleted, and is kept only because it was consumed.
    pub(crate) deleted: bool,
}

/// A key under which a record is found besides its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct IndexKey {
    pub(crate) digest: KeyDigest,
    /// Since when it has it: what a cut on that key compares with.
    pub(crate) since: Position,
}

impl RecordRow {
    /// What always holds of a row.
    pub(crate) fn check(&self) {
        assert!(self.origin <= self.created, "an origin can't come after what it made");
        assert!(self.index.len() <= limits::INDEX_KEYS_MAX);
        assert!(self.index.is_sorted_by(|a, b| a.digest < b.digest), "index keys are unique");
        assert!(self.consumed_at.is_none() || self.value.is_empty(), "a value is handed out once");
        assert!(!self.deleted || self.consumed_at.is_some(), "only tombstones are kept deleted");
        let ends = self.roots.is_empty() || self.expires_at.is_some();
        assert!(ends, "cutoffs would be forgotten before it");
    }

    pub(crate) fn roots(&self) -> Roots<'_> {
        Roots {
            itself: Itself::Record,
            subject: self.roots.subject.as_ref(),
            client: self.roots.client.as_ref(),
            device: self.roots.device.as_ref(),
            session: self.roots.session.as_ref(),
            family: self.roots.family,
            origin: self.origin,
            created: self.rooted,
            authenticated_at: self.authenticated_at,
            cut_by_restore: false,
        }
    }

    /// From when on there is nothing left of it; `None`: never by itself.
    ///
    /// That it was consumed is known as long as it would have lived, and a retention more.
    pub(crate) fn forgotten_at(&self) -> Option<UnixMs> {
        let expires_at = self.expires_at;
        match self.consumed_at {
            Some(at) => {
                let life = expires_at.unwrap_or_else(|| at.plus(limits::RECORD_LIFETIME_MAX));
                Some(life.max(at).plus(limits::RETENTION))
            }
            None if !self.keep => expires_at.map(|at| at.plus(limits::RETENTION)),
            None if self.roots.is_empty() => None,
            None => expires_at.map(|at| at.plus(limits::RECORD_KEPT_MAX)),
        }
    }

    pub(crate) fn expired(&self, now: UnixMs) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }

    /// Keys of all entries of indexes that it has.
    pub(crate) fn entries(
        &self,
        id: &TenantId,
        kind: &RecordKind,
        key: &KeyDigest,
    ) -> Vec<Vec<u8>> {
        let index = self.index.iter();
        let mut entries: Vec<_> =
            index.map(|index| keys::record::indexed(id, kind, &index.digest, key)).collect();
        if let Some(at) = self.forgotten_at() {
            entries.push(keys::expiry(at, &keys::record::record(id, kind, key)));
        }
        if let (Some(at), true, None) = (self.expires_at, self.keep, self.consumed_at) {
            entries.push(keys::record::kept(id, kind, at, key));
        }
        entries
    }
}
