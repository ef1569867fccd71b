//! What calls answer.

use std::time::Duration;

use jeton_core::ids::{Generation, Position};
use jeton_core::reply::{FamilyView, Refusal};
pub use jeton_wire::answer::Revocation;

use crate::token::Issued;

/// What became of a presented token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// This call rotated: its successor is the head now.
    Rotated(Issued),
    /// Another call with the same token rotated: this is the identical successor.
    Replayed(Issued),
    /// A sibling holds a newer token already: use that one. Nothing is lost, nobody is suspected.
    Superseded {
        /// Generation of the newest token.
        head: Generation,
        /// Where that was decided.
        position: Position,
    },
    /// The token buys nothing. An answer, not a fault: don't retry.
    Refused(Refusal),
}

/// Whether a presented token is the live head of its family.
#[derive(Debug, Clone, PartialEq)]
pub enum Validation {
    /// It is, and this is the family.
    Active(Box<Read<FamilyView>>),
    /// It isn't, and this is why.
    Refused(Refusal),
}

/// What was read, and how fresh it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Read<T> {
    /// What was read.
    pub value: T,
    /// Everything up to here is in it.
    pub position: Position,
    /// How old it may be, by monotonic clocks; `None` if that is not known.
    pub age: Option<Duration>,
}

/// A family that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Updated {
    /// Where the change stands in the order of everything.
    pub position: Position,
    /// For the next change.
    pub version: u64,
}

/// What a revocation did, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// In force from here on.
    pub position: Position,
    /// What it did. All of it is success.
    pub outcome: Revocation,
}
