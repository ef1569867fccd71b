//! Replies of the core as responses: the server's side.

use bytes::Bytes;
use jeton_core::access::Access;
use jeton_core::command::Operation;
use jeton_core::ids::{DurationMs, Mac, Position};
use jeton_core::reply::{Done, FamilyView, Refusal, Reply, Rotated};
use tonic::Code;

use crate::failure::{Failure, reason};
use crate::pb::v1;
use crate::pb::v1::operation_result::Response;
use crate::{access, listing, lock, record, refusal, revocation, session, transact, view};

/// Which response a request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `RotateResponse`
    Rotate,
    /// `CreateFamilyResponse`
    CreateFamily,
    /// `ValidateResponse`
    Validate,
    /// `TouchResponse`
    Touch,
    /// `UpdateFamilyResponse`
    UpdateFamily,
    /// `GetFamilyResponse`
    GetFamily,
    /// `RevokeTokenResponse`
    RevokeToken,
    /// `RevokeFamilyResponse`
    RevokeFamily,
    /// `RevokeWhereResponse`
    RevokeWhere,
    /// `GetRevocationResponse`
    GetRevocation,
    /// `ListFamiliesResponse`
    ListFamilies,
    /// `CountFamiliesResponse`
    CountFamilies,
    /// `RevokeAccessTokenResponse`
    RevokeAccessToken,
    /// `CheckAccessResponse`
    CheckAccess,
    /// One about sessions.
    Session(session::Kind),
    /// `SuspendResponse`
    Suspend,
    /// `ResumeResponse`
    Resume,
    /// `RequireReauthenticationResponse`
    RequireReauthentication,
    /// `AcquireResponse`
    Acquire,
    /// `RenewResponse`
    Renew,
    /// `ReleaseResponse`
    Release,
    /// `WithdrawResponse`
    Withdraw,
    /// `PublishResponse`
    Publish,
    /// `AwaitResponse`
    Await,
    /// `GetLockResponse`
    GetLock,
    /// `PutRecordResponse`
    PutRecord,
    /// `GetRecordResponse`
    GetRecord,
    /// `FindRecordsResponse`
    FindRecords,
    /// `LookUpRecordResponse`
    LookUpRecord,
    /// `DeleteRecordResponse`
    DeleteRecord,
    /// `DeleteRecordsResponse`
    DeleteRecords,
    /// `CollectExpiredResponse`
    CollectExpired,
    /// `ConsumeResponse`
    Consume,
    /// `SeenOnceResponse`
    SeenOnce,
    /// `TransactResponse`: see [`transact::performed`].
    Transact,
}

impl Kind {
    /// Whether it is about locks.
    fn is_of_lock(self) -> bool {
        matches!(
            self,
            Self::Acquire
                | Self::Renew
                | Self::Release
                | Self::Withdraw
                | Self::Publish
                | Self::Await
                | Self::GetLock
        )
    }

    /// The kind of a mutation; `None` if clients can't ask for it.
    #[must_use]
    pub fn of(operation: &Operation) -> Option<Self> {
        Some(match operation {
            Operation::Rotate(_) => Self::Rotate,
            Operation::CreateFamily(_) => Self::CreateFamily,
            Operation::Touch(_) => Self::Touch,
            Operation::UpdateFamily(_) => Self::UpdateFamily,
            Operation::RevokeToken(_) => Self::RevokeToken,
            Operation::RevokeFamily(_) => Self::RevokeFamily,
            Operation::RevokeWhere(_) => Self::RevokeWhere,
            Operation::RevokeAccessToken(_) => Self::RevokeAccessToken,
            Operation::CreateSession(_) => Self::Session(session::Kind::Create),
            Operation::TouchSession(_) => Self::Session(session::Kind::Touch),
            Operation::EndSession(_) => Self::Session(session::Kind::End),
            Operation::Suspend(_) => Self::Suspend,
            Operation::Resume(_) => Self::Resume,
            Operation::RequireReauthentication(_) => Self::RequireReauthentication,
            Operation::Acquire(_) => Self::Acquire,
            Operation::Renew(_) => Self::Renew,
            Operation::Release(_) => Self::Release,
            Operation::Withdraw(_) => Self::Withdraw,
            Operation::Publish(_) => Self::Publish,
            Operation::PutRecord(_) => Self::PutRecord,
            Operation::LookUpRecord(_) => Self::LookUpRecord,
            Operation::DeleteRecord(_) => Self::DeleteRecord,
            Operation::DeleteRecords(_) => Self::DeleteRecords,
            Operation::CollectExpired(_) => Self::CollectExpired,
            Operation::Consume(_) => Self::Consume,
            Operation::SeenOnce(_) => Self::SeenOnce,
            Operation::Transact(_) => Self::Transact,
            _ => return None,
        })
    }
}

/// The response to a mutation. `mac` is that of the token which the reply issues: of generation 0
/// for a new family, of the successor for a rotation or a replay.
///
/// # Errors
/// [`Failure`] for refusals that the table in [`refusal`] makes errors of, and for a reply that
/// does not fit `kind`, which is a bug.
pub fn mutation(kind: Kind, reply: Reply, mac: Option<&Mac>) -> Result<Response, Failure> {
    let position = reply.position.0;
    if kind.is_of_lock() {
        return lock::mutation(kind, position, reply.outcome);
    }
    match reply.outcome {
        Ok(done) => performed(kind, position, done, mac),
        Err(refusal) => refused(kind, position, refusal::encode(refusal)?),
    }
}

fn performed(
    kind: Kind,
    position: u64,
    done: Done,
    mac: Option<&Mac>,
) -> Result<Response, Failure> {
    use v1::{create_family_response as create, rotate_response as rotate};
    let rotated =
        |outcome| Response::Rotate(v1::RotateResponse { position, outcome: Some(outcome) });
    Ok(match (kind, done) {
        (Kind::Rotate, Done::Rotated(it)) => rotated(rotate::Outcome::Rotated(issued(&it, mac)?)),
        (Kind::Rotate, Done::Replayed(it)) => {
            let token = Some(issued(&it.rotated, mac)?);
            rotated(rotate::Outcome::Replayed(v1::ReplayedToken { token, seal: it.seal }))
        }
        (Kind::Rotate, Done::Adopted(it)) => {
            rotated(rotate::Outcome::Adopted(issued(&it.rotated, mac)?))
        }
        (Kind::Rotate, Done::Superseded { head }) => {
            rotated(rotate::Outcome::Superseded(v1::Superseded { head_generation: head.0 }))
        }
        (Kind::CreateFamily, Done::FamilyCreated(it)) => {
            let token = issued(&it.first, mac)?;
            Response::CreateFamily(v1::CreateFamilyResponse {
                position,
                outcome: Some(create::Outcome::Created(token)),
                evicted_family_ids: listing::evicted(&it.evicted),
                over_soft_quota: it.over_soft_quota,
            })
        }
        (Kind::Touch, Done::Touched) => {
            Response::Touch(v1::TouchResponse { position, refusal: None })
        }
        // Nothing to confirm: a newer token did arrive.
        (Kind::Touch, Done::Superseded { head }) => {
            refused(kind, position, refusal::encode(Refusal::Spent { head })?)?
        }
        (Kind::UpdateFamily, Done::FamilyUpdated { version }) => {
            Response::UpdateFamily(v1::UpdateFamilyResponse { position, version, refusal: None })
        }
        (Kind::RevokeWhere, Done::RevokedWhere(it)) => revocation::revoked(position, &it, None),
        (Kind::Session(kind), done) => session::performed(kind, position, done)?,
        (Kind::Suspend, Done::Suspended { already }) => {
            Response::Suspend(v1::SuspendResponse { position, already, refusal: None })
        }
        (Kind::Resume, Done::Resumed { already }) => {
            Response::Resume(v1::ResumeResponse { position, already, refusal: None })
        }
        (Kind::RequireReauthentication, Done::Cut) => {
            Response::RequireReauthentication(v1::RequireReauthenticationResponse {
                position,
                refusal: None,
            })
        }
        (Kind::RevokeToken | Kind::RevokeFamily | Kind::RevokeAccessToken, done) => {
            revocation(kind, position, &done)?
        }
        (kind, done) => record::performed(kind, position, done)?,
    })
}

fn revocation(kind: Kind, position: u64, done: &Done) -> Result<Response, Failure> {
    use v1::{
        revoke_access_token_response as access, revoke_family_response as family,
        revoke_token_response as token,
    };
    let result = match done {
        Done::Revoked { already: false } => v1::RevocationResult::Revoked,
        Done::Revoked { already: true } => v1::RevocationResult::Already,
        Done::NothingToRevoke => v1::RevocationResult::Unknown,
        _ => return Err(bug("the reply does not fit the request")),
    };
    match kind {
        Kind::RevokeToken => {
            let outcome = Some(token::Outcome::Result(result.into()));
            Ok(Response::RevokeToken(v1::RevokeTokenResponse { position, outcome }))
        }
        Kind::RevokeFamily => {
            let outcome = Some(family::Outcome::Result(result.into()));
            Ok(Response::RevokeFamily(v1::RevokeFamilyResponse { position, outcome }))
        }
        Kind::RevokeAccessToken => {
            let outcome = Some(access::Outcome::Result(result.into()));
            Ok(Response::RevokeAccessToken(v1::RevokeAccessTokenResponse { position, outcome }))
        }
        _ => Err(bug("the reply does not fit the request")),
    }
}

fn refused(kind: Kind, position: u64, refusal: v1::Refusal) -> Result<Response, Failure> {
    use v1::{
        create_family_response as create, revoke_access_token_response as access,
        revoke_family_response as family, revoke_token_response as token,
        rotate_response as rotate,
    };
    Ok(match kind {
        Kind::Rotate => {
            let outcome = Some(rotate::Outcome::Refusal(refusal));
            Response::Rotate(v1::RotateResponse { position, outcome })
        }
        Kind::CreateFamily => {
            let outcome = Some(create::Outcome::Refusal(refusal));
            let nothing = v1::CreateFamilyResponse::default();
            Response::CreateFamily(v1::CreateFamilyResponse { position, outcome, ..nothing })
        }
        Kind::RevokeToken => {
            let outcome = Some(token::Outcome::Refusal(refusal));
            Response::RevokeToken(v1::RevokeTokenResponse { position, outcome })
        }
        Kind::RevokeFamily => {
            let outcome = Some(family::Outcome::Refusal(refusal));
            Response::RevokeFamily(v1::RevokeFamilyResponse { position, outcome })
        }
        Kind::RevokeAccessToken => {
            let outcome = Some(access::Outcome::Refusal(refusal));
            Response::RevokeAccessToken(v1::RevokeAccessTokenResponse { position, outcome })
        }
        Kind::Touch => Response::Touch(v1::TouchResponse { position, refusal: Some(refusal) }),
        Kind::UpdateFamily => Response::UpdateFamily(v1::UpdateFamilyResponse {
            position,
            version: 0,
            refusal: Some(refusal),
        }),
        Kind::RevokeWhere => {
            let refusal = Some(refusal);
            let response = v1::RevokeWhereResponse { position, refusal, ..Default::default() };
            Response::RevokeWhere(response)
        }
        Kind::Session(kind) => session::refused(kind, position, refusal)?,
        Kind::Transact => transact::refused(position, refusal),
        Kind::Suspend => {
            let (already, refusal) = (false, Some(refusal));
            Response::Suspend(v1::SuspendResponse { position, already, refusal })
        }
        Kind::Resume => {
            let (already, refusal) = (false, Some(refusal));
            Response::Resume(v1::ResumeResponse { position, already, refusal })
        }
        Kind::RequireReauthentication => {
            let refusal = Some(refusal);
            let response = v1::RequireReauthenticationResponse { position, refusal };
            Response::RequireReauthentication(response)
        }
        kind => {
            return record::refused(kind, position, refusal)
                .ok_or_else(|| bug("a read was answered as a mutation"));
        }
    })
}

fn issued(rotated: &Rotated, mac: Option<&Mac>) -> Result<v1::IssuedToken, Failure> {
    let (kid, mac) = match (rotated.kid, mac) {
        (Some(kid), Some(mac)) => (kid.0, Bytes::copy_from_slice(&mac.0)),
        (None, None) => (0, Bytes::new()),
        (Some(_), None) => return Err(bug("an issued token has no mac")),
        (None, Some(_)) => return Err(bug("an opaque token has a mac")),
    };
    Ok(v1::IssuedToken {
        family_id: Bytes::copy_from_slice(&rotated.family.0),
        generation: rotated.generation.0,
        kid: u32::from(kid),
        mac,
        expires_at_unix_ms: rotated.expires_at.0,
        idle_expires_at_unix_ms: rotated.idle_expires_at.0,
    })
}

/// The response to a read.
///
/// # Errors
/// [`Failure`] for refusals that are errors, and if `kind` is no read, which is a bug.
pub fn read(
    kind: Kind,
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<FamilyView, Refusal>,
) -> Result<Response, Failure> {
    use v1::{get_family_response as get, validate_response as validate};
    let read = Some(v1::ReadMark { position: position.0, age_ms: age.map(|age| age.0) });
    let outcome = match outcome {
        Ok(family) => Ok(view::encode(family)?),
        Err(refusal) => Err(refusal::encode(refusal)?),
    };
    match kind {
        Kind::Validate => {
            let outcome = match outcome {
                Ok(family) => validate::Outcome::Active(family.into()),
                Err(refusal) => validate::Outcome::Refusal(refusal),
            };
            Ok(Response::Validate(v1::ValidateResponse { read, outcome: Some(outcome) }))
        }
        Kind::GetFamily => {
            let outcome = match outcome {
                Ok(family) => get::Outcome::Family(family.into()),
                Err(refusal) => get::Outcome::Refusal(refusal),
            };
            Ok(Response::GetFamily(v1::GetFamilyResponse { read, outcome: Some(outcome) }))
        }
        _ => Err(bug("a mutation was answered as a read")),
    }
}

/// The response to `CheckAccess`.
///
/// # Errors
/// [`Failure`] for refusals that are errors.
pub fn check_access(
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<Vec<Access>, Refusal>,
) -> Result<Response, Failure> {
    let read = Some(v1::ReadMark { position: position.0, age_ms: age.map(|age| age.0) });
    let (answers, refusal) = match outcome {
        Ok(answers) => (answers.into_iter().map(access::access).collect(), None),
        Err(refusal) => (Vec::new(), Some(refusal::encode(refusal)?)),
    };
    Ok(Response::CheckAccess(v1::CheckAccessResponse { read, answers, refusal }))
}

/// A failure that no input may cause.
#[must_use]
pub fn bug(what: &'static str) -> Failure {
    Failure::new(Code::Internal, reason::INTERNAL, what)
}
