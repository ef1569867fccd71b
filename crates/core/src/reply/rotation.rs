//! What makes tokens answers: a creation, a rotation, and what siblings get of it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{FamilyId, Generation, Kid, SecretDigest, UnixMs};

/// A new family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FamilyCreated {
    /// Its first token, as a rotation would answer it. Of generation 0.
    pub first: Rotated,
    /// Families that its cap killed to make room, oldest first.
    pub evicted: Vec<FamilyId>,
    /// The tenant keeps more rows of families than its soft quota.
    pub over_soft_quota: bool,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rotated {
    /// Its family.
    pub family: FamilyId,
    /// Its generation, now the head's.
    pub generation: Generation,
    /// The key to make its mac with; `None` if it is opaque.
    pub kid: Option<Kid>,
    /// When the family ends, whatever happens.
    pub expires_at: UnixMs,
    /// When it ends if it isn't rotated before.
    pub idle_expires_at: UnixMs,
}

/// An earlier rotation, answered again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// What it answered.
    pub rotated: Rotated,
    /// Digest of the successor's secret: the mac is made over it.
    pub successor: SecretDigest,
    /// The successor, sealed for whoever holds the presented token.
    pub seal: Bytes,
    /// Where it was presented from, compared with what the family knows.
    pub whence: Whence,
}

/// A successor of one's own that stands for that of an earlier rotation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adopted {
    /// What the earlier rotation answered. One's own token is of the same generation.
    pub rotated: Rotated,
    /// Where the token was presented from, compared with what the family knows.
    pub whence: Whence,
}

/// Whether a presentation came from where the family is known to be. `None` if either side names
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Whence {
    /// From the family's device.
    pub same_device: Option<bool>,
    /// From the address that was last seen.
    pub same_ip: Option<bool>,
}

impl Whence {
    /// Whether it certainly came from another device or address.
    #[must_use]
    pub fn is_elsewhere(self) -> bool {
        self.same_device == Some(false) || self.same_ip == Some(false)
    }
}
