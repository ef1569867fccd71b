//! What callers saw: every operation with when it was called, when it was answered, and how.
//!
//! "When" is a tick of one counter that all callers share: if one call returned before another was
//! made, its tick is smaller. Answers carry positions, which say what the cluster's order was.

mod codes;
mod locks;
mod looks;

use std::collections::{BTreeMap, HashMap};

use jeton_core::ids::{
    ClientId, DeviceId, FamilyId, Generation, Position, SecretDigest, SubjectId, TenantId,
};
use jeton_core::reply::RevocationCause;

pub use codes::{CodeHistory, Redeemed, Redeemer, Redemption};
pub use locks::{Guarded, GuardedWrite, Hold};
pub use looks::Look;

/// A family, named across tenants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FamilyKey {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id there.
    pub family: FamilyId,
}

/// An instant in the order of events that callers saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tick(pub u64);

/// When a call was made and when its answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Before the first attempt.
    pub invoked: Tick,
    /// After the answer, or after giving up.
    pub returned: Tick,
}

/// Who presented a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The one that the newest token was given to, presenting it (or its retry).
    Owner,
    /// Somebody with a spent token, after the grace window.
    Thief,
}

/// The roots that a family was created under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Whose it is.
    pub subject: SubjectId,
    /// For which client.
    pub client: ClientId,
    /// On which device.
    pub device: Option<DeviceId>,
}

/// An acknowledged creation.
#[derive(Debug, Clone)]
pub struct Creation {
    /// What it may be revoked by.
    pub roots: Roots,
    /// Where it happened.
    pub position: Position,
    /// When it was called and answered.
    pub call: Call,
}

/// One presentation of a token to `Rotate`, with all its retries under one name.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Generation of the token that was presented.
    pub presented: Generation,
    /// By whom.
    pub caller: Caller,
    /// When it was called and answered.
    pub call: Call,
    /// The answer.
    pub seen: RotationSeen,
}

/// What came back from a rotation.
#[derive(Debug, Clone, PartialEq)]
pub enum RotationSeen {
    /// This call's own successor became the head.
    Rotated(Successor),
    /// An earlier call's successor.
    Replayed(Successor),
    /// A sibling holds a newer token.
    Superseded {
        /// The head's generation at that time.
        head: Generation,
    },
    /// The token was judged as stolen.
    Reused {
        /// Whether its family was revoked for it.
        revoked: bool,
    },
    /// The family is dead.
    Revoked {
        /// Which root is.
        cause: RevocationCause,
        /// Where it died.
        position: Position,
    },
    /// Any other refusal, in words. A healthy cluster gives none to these workloads.
    Refused(String),
    /// Nobody knows whether it happened.
    Unknown,
}

/// The successor that a rotation handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Successor {
    /// Its generation.
    pub generation: Generation,
    /// Digest of its secret: tells successors apart.
    pub digest: SecretDigest,
    /// Position of the rotation that made it.
    pub position: Position,
}

/// What a revocation was aimed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One family, by its id.
    Family(FamilyKey),
    /// One family, by one of its tokens.
    Token(FamilyKey),
    /// Whatever matches all that is named.
    Where {
        /// In this tenant.
        tenant: TenantId,
        /// Of this subject.
        subject: Option<SubjectId>,
        /// Of this client.
        client: Option<ClientId>,
        /// On this device.
        device: Option<DeviceId>,
    },
}

impl Target {
    /// Whether a family with these roots is hit, if it is old enough.
    pub fn covers(&self, key: &FamilyKey, roots: &Roots) -> bool {
        match self {
            Self::Family(hit) | Self::Token(hit) => hit == key,
            Self::Where { .. } => self.covers_all_of(&key.tenant, roots),
        }
    }

    /// Whether whatever was made with these roots before is hit.
    pub fn covers_all_of(&self, within: &TenantId, roots: &Roots) -> bool {
        match self {
            Self::Family(_) | Self::Token(_) => false,
            Self::Where { tenant, subject, client, device } => {
                tenant == within
                    && subject.as_ref().is_none_or(|s| *s == roots.subject)
                    && client.as_ref().is_none_or(|c| *c == roots.client)
                    && (device.is_none() || *device == roots.device)
            }
        }
    }

    /// The cause that a family hit by it names.
    pub fn cause(&self) -> RevocationCause {
        match self {
            Self::Family(_) => RevocationCause::Family,
            Self::Token(_) => RevocationCause::Token,
            Self::Where { .. } => RevocationCause::Cutoff,
        }
    }
}

/// One revocation with all its retries under one name.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// What it was aimed at.
    pub target: Target,
    /// When it was called and answered.
    pub call: Call,
    /// Where it took effect; `None` if nobody knows whether it did.
    pub acknowledged: Option<Position>,
}

/// All that callers saw of one family.
#[derive(Debug, Clone, Default)]
pub struct FamilyHistory {
    /// `None` if its creation was never acknowledged.
    pub creation: Option<Creation>,
    /// In the order in which the answers came.
    pub rotations: Vec<Rotation>,
}

/// All that callers saw.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By family, in order of their names.
    pub families: BTreeMap<FamilyKey, FamilyHistory>,
    /// In the order in which the answers came.
    pub revocations: Vec<Revocation>,
    /// Codes, in the order in which their stories ended.
    pub codes: Vec<CodeHistory>,
    /// Holds of locks, in the order in which they ended.
    pub holds: Vec<Hold>,
    /// Writes of what locks guard, in the order in which the answers came.
    pub guarded: Vec<GuardedWrite>,
    /// What local views made of acknowledged revocations.
    pub looks: Vec<Look>,
}

/// What one node says about one family after the run.
#[derive(Debug, Clone, PartialEq)]
pub enum FamilySeen {
    /// It doesn't know it.
    Missing,
    /// It shows it.
    Present {
        /// The head's generation.
        head: Generation,
        /// What killed it, if it is dead.
        dead: Option<DeadBy>,
        /// Whether the newest token that its owner holds is the live head here; `None` if it was
        /// not asked (dead families).
        newest_valid: Option<bool>,
    },
}

/// Why a node says that a family is dead.
#[derive(Debug, Clone, PartialEq)]
pub enum DeadBy {
    /// A dead root.
    Revoked {
        /// Which.
        cause: RevocationCause,
        /// Since where.
        position: Position,
    },
    /// Anything else, in words.
    Other(String),
}

/// What one node says after the run.
#[derive(Debug, Clone, Default)]
pub struct NodeView {
    /// Its name in messages.
    pub node: String,
    /// Every family of the history.
    pub families: HashMap<FamilyKey, FamilySeen>,
    /// Digests of its state by position, as hexadecimal.
    pub digests: BTreeMap<Position, String>,
}
