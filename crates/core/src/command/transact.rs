//! Several operations in one command: all of them, or none.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Consume, CreateFamily, CreateSession, DeleteRecord, DeleteRecords, EndSession, Operation,
    Presented, PutRecord, RevokeFamily, Rotate, SeenOnce, Touch, TouchSession, UpdateFamily,
};
use crate::ids::{FamilyId, Fence, KeyDigest, LockName, RecordKind};
use crate::limits;
use crate::reply::Refusal;

/// See [`Operation::Transact`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transact {
    /// Judged in order before anything is changed; at most
    /// [`limits::TRANSACTION_COMPARISONS_MAX`]. Without any, all of them hold.
    pub compare: Vec<Comparison>,
    /// What is done if all of them hold, in order; at most [`limits::TRANSACTION_OPERATIONS_MAX`].
    pub then: Vec<Part>,
    /// What is done if one of them doesn't; as many at most.
    pub otherwise: Vec<Part>,
}

/// Something that must hold before a transaction does what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// A read shows the record, at this version.
    RecordVersion {
        /// Of which kind.
        kind: RecordKind,
        /// Under which key.
        key: KeyDigest,
        /// As it was read.
        version: u64,
    },
    /// A read shows the record.
    RecordExists {
        /// Of which kind.
        kind: RecordKind,
        /// Under which key.
        key: KeyDigest,
    },
    /// A read doesn't show the record.
    RecordAbsent {
        /// Of which kind.
        kind: RecordKind,
        /// Under which key.
        key: KeyDigest,
    },
    /// The family lives: neither dead, nor suspended, nor expired when the request was made.
    FamilyAlive {
        /// Which.
        family: FamilyId,
    },
    /// This very grant of the lock is held, by lease time.
    LockHeld {
        /// Which lock.
        lock: LockName,
        /// The grant's.
        fence: Fence,
    },
}

/// One operation of a transaction. It has neither a name nor an age of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// See [`Operation::PutRecord`].
    PutRecord(Box<PutRecord>),
    /// See [`Operation::DeleteRecord`].
    DeleteRecord(DeleteRecord),
    /// See [`Operation::DeleteRecords`].
    DeleteRecords(DeleteRecords),
    /// See [`Operation::Consume`].
    Consume(Box<Consume>),
    /// See [`Operation::SeenOnce`].
    SeenOnce(SeenOnce),
    /// See [`Operation::CreateFamily`].
    CreateFamily(Box<CreateFamily>),
    /// See [`Operation::Rotate`]. At most one for each family.
    Rotate(Box<Rotate>),
    /// See [`Operation::Touch`].
    Touch(Touch),
    /// See [`Operation::UpdateFamily`].
    UpdateFamily(Box<UpdateFamily>),
    /// See [`Operation::RevokeFamily`].
    RevokeFamily(RevokeFamily),
    /// See [`Operation::CreateSession`].
    CreateSession(Box<CreateSession>),
    /// See [`Operation::TouchSession`].
    TouchSession(Box<TouchSession>),
    /// See [`Operation::EndSession`].
    EndSession(EndSession),
}

impl Transact {
    /// The operations that run: those of `then` if all comparisons held.
    #[must_use]
    pub fn branch(&self, held: bool) -> &[Part] {
        if held { &self.then } else { &self.otherwise }
    }

    /// All operations: those of `then`, and behind them those of `otherwise`.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.then.iter().chain(&self.otherwise)
    }

    /// What can be said of a transaction without looking at any row. Nodes ask before they propose,
    /// and apply asks again.
    ///
    /// # Errors
    /// [`Refusal::Invalid`]: nothing to do, too much of it, a family rotated twice, or a record put
    /// before the deletion that names its index key.
    pub fn check(&self) -> Result<(), Refusal> {
        most("compare", self.compare.len(), limits::TRANSACTION_COMPARISONS_MAX)?;
        if self.then.is_empty() && self.otherwise.is_empty() {
            return Err(Refusal::invalid("then", "is empty, like otherwise: name an operation"));
        }
        for (name, parts) in [(THEN, &self.then), (OTHERWISE, &self.otherwise)] {
            most(name, parts.len(), limits::TRANSACTION_OPERATIONS_MAX)?;
            check(name, parts)?;
        }
        Ok(())
    }
}

/// Name of the branch that runs if all comparisons hold, as in the API.
const THEN: &str = "then";
/// Name of the other one.
const OTHERWISE: &str = "otherwise";

fn most(field: &str, len: usize, max: usize) -> Result<(), Refusal> {
    if len > max {
        return Err(Refusal::invalid(field, &format!("has {len} entries: the limit is {max}")));
    }
    Ok(())
}

fn check(branch: &str, parts: &[Part]) -> Result<(), Refusal> {
    let mut rotated = BTreeSet::new();
    // What was named by the index key before: by a put, or by a deletion.
    let mut named: BTreeMap<(&RecordKind, KeyDigest), bool> = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Rotate(wish) => {
                if let Presented::Native(token) = &wish.token
                    && !rotated.insert(token.family)
                {
                    return Err(part.invalid(branch, at, "token", ROTATED_TWICE));
                }
            }
            Part::PutRecord(wish) => {
                for key in &wish.index {
                    named.insert((&wish.kind, *key), true);
                }
            }
            Part::DeleteRecords(wish) => {
                let problem = match named.insert((&wish.kind, wish.index), false) {
                    None => continue,
                    Some(true) => "is a key of a record that is put before: delete first, then put",
                    Some(false) => "was named before: name it once",
                };
                return Err(part.invalid(branch, at, "index_key", problem));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Why a family has one rotation in a transaction: its ring remembers the request by one name.
pub(crate) const ROTATED_TWICE: &str =
    "is of a family that is rotated before in the same transaction: rotate it once";

impl Comparison {
    /// Its name, as in the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RecordVersion { .. } => "record_version",
            Self::RecordExists { .. } => "record_exists",
            Self::RecordAbsent { .. } => "record_absent",
            Self::FamilyAlive { .. } => "family_alive",
            Self::LockHeld { .. } => "lock_held",
        }
    }
}

impl Part {
    /// Its name, as in the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PutRecord(_) => "put_record",
            Self::DeleteRecord(_) => "delete_record",
            Self::DeleteRecords(_) => "delete_records",
            Self::Consume(_) => "consume",
            Self::SeenOnce(_) => "seen_once",
            Self::CreateFamily(_) => "create_family",
            Self::Rotate(_) => "rotate",
            Self::Touch(_) => "touch",
            Self::UpdateFamily(_) => "update_family",
            Self::RevokeFamily(_) => "revoke_family",
            Self::CreateSession(_) => "create_session",
            Self::TouchSession(_) => "touch_session",
            Self::EndSession(_) => "end_session",
        }
    }

    /// The refusal of a field of the operation at place `at` of a branch.
    fn invalid(&self, branch: &str, at: usize, field: &str, problem: &str) -> Refusal {
        Refusal::invalid(&format!("{branch}[{at}].{}.{field}", self.name()), problem)
    }

    /// `refusal` as one of a transaction: the field with its way there.
    pub(crate) fn inside(&self, held: bool, at: usize, refusal: Refusal) -> Refusal {
        let branch = if held { THEN } else { OTHERWISE };
        match refusal {
            Refusal::Invalid { field, problem } => self.invalid(branch, at, &field, &problem),
            other => other,
        }
    }
}

impl From<Part> for Operation {
    fn from(part: Part) -> Self {
        match part {
            Part::PutRecord(wish) => Self::PutRecord(wish),
            Part::DeleteRecord(wish) => Self::DeleteRecord(wish),
            Part::DeleteRecords(wish) => Self::DeleteRecords(wish),
            Part::Consume(wish) => Self::Consume(wish),
            Part::SeenOnce(wish) => Self::SeenOnce(wish),
            Part::CreateFamily(wish) => Self::CreateFamily(wish),
            Part::Rotate(wish) => Self::Rotate(wish),
            Part::Touch(wish) => Self::Touch(wish),
            Part::UpdateFamily(wish) => Self::UpdateFamily(wish),
            Part::RevokeFamily(wish) => Self::RevokeFamily(wish),
            Part::CreateSession(wish) => Self::CreateSession(wish),
            Part::TouchSession(wish) => Self::TouchSession(wish),
            Part::EndSession(wish) => Self::EndSession(wish),
        }
    }
}

/// An operation that can't be part of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("can't be part of a transaction: send it as a command of its own")]
pub struct NoPart;

impl TryFrom<Operation> for Part {
    type Error = NoPart;

    fn try_from(operation: Operation) -> Result<Self, NoPart> {
        Ok(match operation {
            Operation::PutRecord(wish) => Self::PutRecord(wish),
            Operation::DeleteRecord(wish) => Self::DeleteRecord(wish),
            Operation::DeleteRecords(wish) => Self::DeleteRecords(wish),
            Operation::Consume(wish) => Self::Consume(wish),
            Operation::SeenOnce(wish) => Self::SeenOnce(wish),
            Operation::CreateFamily(wish) => Self::CreateFamily(wish),
            Operation::Rotate(wish) => Self::Rotate(wish),
            Operation::Touch(wish) => Self::Touch(wish),
            Operation::UpdateFamily(wish) => Self::UpdateFamily(wish),
            Operation::RevokeFamily(wish) => Self::RevokeFamily(wish),
            Operation::CreateSession(wish) => Self::CreateSession(wish),
            Operation::TouchSession(wish) => Self::TouchSession(wish),
            Operation::EndSession(wish) => Self::EndSession(wish),
            _ => return Err(NoPart),
        })
    }
}
