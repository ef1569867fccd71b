//! Answers about revocations of all that matches.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::{Criteria, Except};
use crate::ids::{Position, UnixMs};

/// The answer to [`crate::command::Operation::RevokeWhere`]. Its reply's position is the
/// revocation's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedWhere {
    /// It is a predicate: in force already, and a sweep will mark what it hit. Else it is a cutoff.
    pub predicate: bool,
    /// The exceptions that were alive, and are kept.
    pub kept: Except,
}

/// A revocation of all that matches, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationView {
    /// Its position, and its name.
    pub revocation: Position,
    /// When it was made.
    pub at: UnixMs,
    /// What it kills.
    pub matching: Criteria,
    /// What it leaves alone.
    pub kept: Except,
    /// As given with it. Of a cutoff only until the next one on the same keys.
    pub reason: Option<Arc<str>>,
    /// How far its sweep has come; `None` for a cutoff, which needs none.
    pub sweep: Option<SweepProgress>,
}

/// How far the sweep of a predicate has come. Answers don't depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepProgress {
    /// Rows that were looked at.
    pub looked: u64,
    /// About how many there were to look at when it was made; 0 if they are found by an index, and
    /// nobody counted them.
    pub rows_estimate: u64,
    /// Families that were marked as revoked.
    pub families: u64,
    /// Sessions that were marked as ended.
    pub sessions: u64,
    /// When it was through.
    pub done_at: Option<UnixMs>,
}

/// How much a revocation hits, or would hit: what matches by itself. What dies with a session that
/// it is bound to is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MatchCount {
    /// Families.
    pub families: u64,
    /// Sessions.
    pub sessions: u64,
    /// Everything was looked at. Else families are an estimate, and sessions are at least so many.
    pub exact: bool,
}
