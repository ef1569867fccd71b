//! What steps of a transaction did.

use jeton_core::reply::ConsumedRecord;
use jeton_wire::answer::{Answer, Revocation, RotateOutcome};
use jeton_wire::session::Answer as SessionAnswer;

use super::StoppedBy;
use super::step::{Expected, Prepared};
use crate::answer::Rotation;
use crate::error::Error;
use crate::opaque::{OpaqueRotation, OpaqueToken};
use crate::session::{SessionMade, SessionOver, SessionUsed};
use crate::tenant::{Tenant, unless_refused};
use crate::token::Issued;

/// What one step did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Performed {
    /// The record is there.
    RecordPut {
        /// For the next change.
        version: u64,
    },
    /// The record is gone.
    RecordDeleted {
        /// Whether there was one.
        existed: bool,
    },
    /// All records that had the index key are gone.
    RecordsDeleted,
    /// The record is the caller's, and nobody else's ever.
    Consumed(Box<ConsumedRecord>),
    /// The proof was never shown before.
    Fresh,
    /// The family lives, and this is its first token.
    FamilyCreated(Box<Issued>),
    /// The family lives; its first token is the one that was brought.
    OpaqueFamilyCreated(Box<Issued<OpaqueToken>>),
    /// [`Rotation::Rotated`] or [`Rotation::Replayed`].
    Rotated(Box<Rotation>),
    /// [`OpaqueRotation::Rotated`], [`OpaqueRotation::Replayed`] or [`OpaqueRotation::Adopted`].
    OpaqueRotated(Box<OpaqueRotation>),
    /// The token is confirmed.
    Touched,
    /// The family was changed.
    FamilyUpdated {
        /// For the next change.
        version: u64,
    },
    /// The family is dead, whatever it was before.
    FamilyRevoked(Revocation),
    /// The session lives.
    SessionCreated(SessionMade),
    /// The session was used.
    SessionTouched(SessionUsed),
    /// The session is dead, and these are to be told.
    SessionEnded(Box<SessionOver>),
}

/// What all steps did.
pub(super) fn all(
    tenant: &Tenant,
    steps: Vec<Prepared>,
    answers: Vec<Answer>,
) -> Result<Vec<Performed>, Error> {
    if steps.len() != answers.len() {
        return Err(Error::protocol("there are not as many answers as steps"));
    }
    let pairs = steps.into_iter().zip(answers);
    pairs.map(|(step, answer)| performed(tenant, step.expected, answer)).collect()
}

fn performed(tenant: &Tenant, expected: Expected, answer: Answer) -> Result<Performed, Error> {
    Ok(match (expected, answer) {
        (Expected::Family(family, secret), Answer::CreateFamily(answered)) => {
            let issued = tenant.first_token(family, secret, answered)?;
            Performed::FamilyCreated(Box::new(issued))
        }
        (Expected::OpaqueFamily(family, first), Answer::CreateFamily(answered)) => {
            let issued = tenant.first_opaque_token(family, &first, answered)?;
            Performed::OpaqueFamilyCreated(Box::new(issued))
        }
        (Expected::Rotation(minted), Answer::Rotate(answered)) => {
            match tenant.rotation(minted, answered)? {
                Rotation::Superseded { .. } | Rotation::Refused(_) => return Err(refused()),
                done => Performed::Rotated(Box::new(done)),
            }
        }
        (Expected::OpaqueRotation(brought), Answer::Rotate(answered)) => {
            match tenant.opaque_rotation(&brought, answered)? {
                OpaqueRotation::Superseded { .. } | OpaqueRotation::Refused(_) => {
                    return Err(refused());
                }
                done => Performed::OpaqueRotated(Box::new(done)),
            }
        }
        (Expected::Plain, answer) => plain(answer)?,
        _ => return Err(Error::protocol("a step was answered with another one's answer")),
    })
}

/// A step that was refused stops its transaction.
fn refused() -> Error {
    Error::protocol("a transaction was done although a step of it was refused")
}

fn plain(answer: Answer) -> Result<Performed, Error> {
    Ok(match answer {
        Answer::PutRecord(it) => Performed::RecordPut { version: unless_refused(it)? },
        Answer::DeleteRecord(it) => Performed::RecordDeleted { existed: unless_refused(it)? },
        Answer::DeleteRecords(it) => {
            unless_refused(it)?;
            Performed::RecordsDeleted
        }
        Answer::Consume(it) => Performed::Consumed(Box::new(unless_refused(it)?)),
        Answer::SeenOnce(it) => {
            unless_refused(it)?;
            Performed::Fresh
        }
        Answer::Touch(it) => {
            unless_refused(it)?;
            Performed::Touched
        }
        Answer::UpdateFamily(it) => Performed::FamilyUpdated { version: unless_refused(it)? },
        Answer::RevokeFamily(it) => Performed::FamilyRevoked(unless_refused(it)?),
        Answer::Session(SessionAnswer::Created(it)) => {
            Performed::SessionCreated(SessionMade::of(it)?)
        }
        Answer::Session(SessionAnswer::Touched(it)) => {
            Performed::SessionTouched(SessionUsed::of(it)?)
        }
        Answer::Session(SessionAnswer::Ended(it)) => {
            Performed::SessionEnded(Box::new(SessionOver::of(it)?))
        }
        _ => return Err(Error::protocol("a step was answered with another one's answer")),
    })
}

/// Why a step stopped its transaction.
pub(super) fn stopped(answer: Answer) -> Result<StoppedBy, Error> {
    let refusal = match answer {
        Answer::Rotate(it) => match it.outcome {
            Ok(RotateOutcome::Superseded { head }) => return Ok(StoppedBy::Superseded { head }),
            outcome => outcome.err(),
        },
        Answer::CreateFamily(it) => it.outcome.err(),
        Answer::PutRecord(it) | Answer::UpdateFamily(it) => it.outcome.err(),
        Answer::DeleteRecord(it) => it.outcome.err(),
        Answer::DeleteRecords(it) | Answer::SeenOnce(it) | Answer::Touch(it) => it.outcome.err(),
        Answer::Consume(it) => it.outcome.err(),
        Answer::RevokeFamily(it) => it.outcome.err(),
        Answer::Session(SessionAnswer::Created(it)) => it.outcome.err(),
        Answer::Session(SessionAnswer::Touched(it)) => it.outcome.err(),
        Answer::Session(SessionAnswer::Ended(it)) => it.outcome.err(),
        _ => None,
    };
    let refusal = refusal.ok_or_else(|| Error::protocol("a step that took effect stopped others"));
    refusal.map(StoppedBy::Refused)
}
