//! Responses as outcomes: the client's side.

use std::time::Duration;

use bytes::Bytes;
use jeton_core::access::Access;
use jeton_core::ids::{FamilyId, Generation, Kid, Mac, Position, UnixMs};
use jeton_core::reply::{
    ConsumedRecord, FamilyView, Flight, Granted, LockView, RecordView, Refusal, RevocationView,
};

use crate::check::{self, Violation};
use crate::failure::Failure;
use crate::pb::v1;
use crate::pb::v1::operation_result::Response;
use crate::transact::{self, Transacted};
use crate::{access, listing, lock, record, refusal, revocation, session, suspension, view};

/// The outcome of a mutation.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered<T> {
    /// Position of the command that decided it.
    pub position: Position,
    /// What was done, or why not.
    pub outcome: Result<T, Refusal>,
}

/// The outcome of a read.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen<T = FamilyView> {
    /// Everything up to here is in the answer.
    pub position: Position,
    /// How old the answer may be, by monotonic clocks; `None` if that is not known.
    pub age: Option<Duration>,
    /// What was asked for, or why it is not shown.
    pub outcome: Result<T, Refusal>,
}

/// What the store adds to a secret to make a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    /// Its family.
    pub family: FamilyId,
    /// Its place in the chain.
    pub generation: Generation,
    /// What makes it a native token; `None` if it is opaque.
    pub key: Option<MacKey>,
    /// When the family ends, whatever happens.
    pub expires_at: UnixMs,
    /// When it ends if it isn't rotated before.
    pub idle_expires_at: UnixMs,
}

/// The mac of a native token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacKey {
    /// Key of the mac.
    pub kid: Kid,
    /// Over tenant, family, generation and the secret's digest.
    pub mac: Mac,
}

/// A family that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its first token.
    pub token: Issued,
    /// Families that its cap revoked to make room, oldest first.
    pub evicted: Vec<FamilyId>,
    /// The tenant keeps more rows of families than its soft quota.
    pub over_soft_quota: bool,
}

/// What a rotation did.
#[derive(Clone, PartialEq)]
pub enum RotateOutcome {
    /// The caller's successor is the head now.
    Rotated(Issued),
    /// An earlier caller's successor: unseal it with the presented token.
    Replayed {
        /// What the winner was given.
        token: Issued,
        /// As the winner sealed it.
        seal: Bytes,
    },
    /// A sibling holds a newer token.
    Superseded {
        /// Generation of the newest token.
        head: Generation,
    },
    /// The caller's own successor is as good as the winner's.
    Adopted(Issued),
}

impl std::fmt::Debug for RotateOutcome {
    /// Without the seal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rotated(token) => f.debug_tuple("Rotated").field(token).finish(),
            Self::Adopted(token) => f.debug_tuple("Adopted").field(token).finish(),
            Self::Replayed { token, .. } => {
                f.debug_struct("Replayed").field("token", token).finish_non_exhaustive()
            }
            Self::Superseded { head } => f.debug_struct("Superseded").field("head", head).finish(),
        }
    }
}

/// What a revocation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// Dead from the answer's position on.
    Revoked,
    /// It was dead before.
    Already,
    /// It was never known: success, too (RFC 7009 §2.2).
    Unknown,
}

/// The answer to any operation of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To `Rotate`.
    Rotate(Answered<RotateOutcome>),
    /// To `CreateFamily`.
    CreateFamily(Answered<Created>),
    /// To `Validate`.
    Validate(Seen),
    /// To `Touch`.
    Touch(Answered<()>),
    /// To `UpdateFamily`: the new version.
    UpdateFamily(Answered<u64>),
    /// To `GetFamily`.
    GetFamily(Seen),
    /// To `RevokeToken`.
    RevokeToken(Answered<Revocation>),
    /// To `RevokeFamily`.
    RevokeFamily(Answered<Revocation>),
    /// To `RevokeWhere`.
    RevokeWhere(Answered<revocation::Hit>),
    /// To `GetRevocation`.
    GetRevocation(Seen<RevocationView>),
    /// To something about sessions.
    Session(session::Answer),
    /// To `Suspend`: whether it was suspended already.
    Suspend(Answered<bool>),
    /// To `Resume`: whether it was not suspended.
    Resume(Answered<bool>),
    /// To `RequireReauthentication`.
    RequireReauthentication(Answered<()>),
    /// To `ListFamilies`.
    ListFamilies(Seen<listing::Page>),
    /// To `CountFamilies`.
    CountFamilies(Seen<listing::Count>),
    /// To `RevokeAccessToken`.
    RevokeAccessToken(Answered<Revocation>),
    /// To `CheckAccess`.
    CheckAccess(Seen<Vec<Access>>),
    /// To `Acquire`.
    Acquire(Answered<Granted>),
    /// To `Renew`: the places of those that were lost.
    Renew(Answered<Vec<u32>>),
    /// To `Release`.
    Release(Answered<()>),
    /// To `Withdraw`.
    Withdraw(Answered<()>),
    /// To `Publish`.
    Publish(Answered<()>),
    /// To `Await`.
    Await(Seen<Flight>),
    /// To `GetLock`.
    GetLock(Seen<LockView>),
    /// To `PutRecord`: the new version.
    PutRecord(Answered<u64>),
    /// To `GetRecord`.
    GetRecord(Seen<RecordView>),
    /// To `FindRecords`.
    FindRecords(Seen<record::Page>),
    /// To `LookUpRecord`.
    LookUpRecord(Answered<RecordView>),
    /// To `DeleteRecord`: whether there was one.
    DeleteRecord(Answered<bool>),
    /// To `DeleteRecords`.
    DeleteRecords(Answered<()>),
    /// To `CollectExpired`.
    CollectExpired(Answered<record::Collected>),
    /// To `Consume`.
    Consume(Answered<ConsumedRecord>),
    /// To `SeenOnce`.
    SeenOnce(Answered<()>),
    /// To `Transact`.
    Transact(Answered<Transacted>),
}

/// The answer inside a pipeline's result.
///
/// # Errors
/// [`Failure`]: the one that the server sent, or `MALFORMED_RESPONSE`.
pub fn operation(result: v1::OperationResult) -> Result<Answer, Failure> {
    match result.response {
        Some(Response::Failure(failure)) => Err(failure.into()),
        found => check::required("response", found)
            .and_then(response)
            .map_err(Failure::malformed_response),
    }
}

/// The answer in a response that is no failure.
pub(crate) fn response(response: Response) -> Result<Answer, Violation> {
    match response {
        Response::Failure(_) => Err(Violation::new("response", "is a failure, not an answer")),
        Response::Rotate(r) => rotate(r).map(Answer::Rotate),
        Response::CreateFamily(r) => create_family(r).map(Answer::CreateFamily),
        Response::Validate(r) => validate(r).map(Answer::Validate),
        Response::Touch(r) => touch(r).map(Answer::Touch),
        Response::UpdateFamily(r) => update_family(r).map(Answer::UpdateFamily),
        Response::GetFamily(r) => get_family(r).map(Answer::GetFamily),
        Response::RevokeToken(r) => revoke_token(r).map(Answer::RevokeToken),
        Response::RevokeFamily(r) => revoke_family(r).map(Answer::RevokeFamily),
        Response::RevokeWhere(r) => revocation::hit(r).map(Answer::RevokeWhere),
        Response::GetRevocation(r) => revocation::revocation(r).map(Answer::GetRevocation),
        Response::CreateSession(r) => about(session::created(r), session::Answer::Created),
        Response::TouchSession(r) => about(session::touched(r), session::Answer::Touched),
        Response::EndSession(r) => about(session::ended_from(r), session::Answer::Ended),
        Response::GetSession(r) => about(session::got(r), session::Answer::One),
        Response::ListSessions(r) => about(session::listed(r), session::Answer::Sessions),
        Response::ListSessionClients(r) => about(session::clients(r), session::Answer::Clients),
        Response::Suspend(r) => suspension::suspended(r).map(Answer::Suspend),
        Response::Resume(r) => suspension::resumed(r).map(Answer::Resume),
        Response::RequireReauthentication(r) => {
            suspension::reauthenticated(r).map(Answer::RequireReauthentication)
        }
        Response::ListFamilies(r) => listing::list_families(r).map(Answer::ListFamilies),
        Response::CountFamilies(r) => listing::count_families(r).map(Answer::CountFamilies),
        Response::RevokeAccessToken(r) => revoke_access_token(r).map(Answer::RevokeAccessToken),
        Response::CheckAccess(r) => check_access(r).map(Answer::CheckAccess),
        Response::Acquire(r) => lock::acquired(r).map(Answer::Acquire),
        Response::Renew(r) => lock::renewed(r).map(Answer::Renew),
        Response::Release(r) => lock::released(r).map(Answer::Release),
        Response::Withdraw(r) => lock::withdrawn(r).map(Answer::Withdraw),
        Response::Publish(r) => lock::published(r).map(Answer::Publish),
        Response::Await(r) => lock::flown(r).map(Answer::Await),
        Response::GetLock(r) => lock::got(r).map(Answer::GetLock),
        Response::PutRecord(r) => record::put_record(r).map(Answer::PutRecord),
        Response::GetRecord(r) => record::get_record(r).map(Answer::GetRecord),
        Response::FindRecords(r) => record::find_records(r).map(Answer::FindRecords),
        Response::LookUpRecord(r) => record::look_up_record(r).map(Answer::LookUpRecord),
        Response::DeleteRecord(r) => record::delete_record(r).map(Answer::DeleteRecord),
        Response::DeleteRecords(r) => record::delete_records(r).map(Answer::DeleteRecords),
        Response::CollectExpired(r) => record::collect_expired(r).map(Answer::CollectExpired),
        Response::Consume(r) => record::consume(r).map(Answer::Consume),
        Response::SeenOnce(r) => record::seen_once(r).map(Answer::SeenOnce),
        Response::Transact(r) => transact::transacted(r).map(Answer::Transact),
    }
}

fn about<T>(
    decoded: Result<T, Violation>,
    answer: fn(T) -> session::Answer,
) -> Result<Answer, Violation> {
    decoded.map(|it| Answer::Session(answer(it)))
}

/// See [`Answer::Rotate`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn rotate(r: v1::RotateResponse) -> Result<Answered<RotateOutcome>, Violation> {
    use v1::rotate_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Rotated(token) => Ok(RotateOutcome::Rotated(issued("rotated", &token)?)),
        Outcome::Adopted(token) => Ok(RotateOutcome::Adopted(issued("adopted", &token)?)),
        Outcome::Replayed(replayed) => Ok(RotateOutcome::Replayed {
            token: issued("replayed.token", &check::required("replayed.token", replayed.token)?)?,
            seal: replayed.seal,
        }),
        Outcome::Superseded(it) => {
            Ok(RotateOutcome::Superseded { head: Generation(it.head_generation) })
        }
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// See [`Answer::CreateFamily`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn create_family(r: v1::CreateFamilyResponse) -> Result<Answered<Created>, Violation> {
    use v1::create_family_response::Outcome;
    let evicted = r.evicted_family_ids.iter();
    let evicted = evicted.map(|family| check::family("evicted_family_ids", family));
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Created(token) => Ok(Created {
            token: issued("created", &token)?,
            evicted: evicted.collect::<Result<_, _>>()?,
            over_soft_quota: r.over_soft_quota,
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// See [`Answer::Validate`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn validate(r: v1::ValidateResponse) -> Result<Seen, Violation> {
    use v1::validate_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Active(family) => Ok(view::decode(*family)?),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

/// See [`Answer::GetFamily`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn get_family(r: v1::GetFamilyResponse) -> Result<Seen, Violation> {
    use v1::get_family_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Family(family) => Ok(view::decode(*family)?),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

/// See [`Answer::Touch`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn touch(r: v1::TouchResponse) -> Result<Answered<()>, Violation> {
    unless_refused(r.position, r.refusal, ())
}

/// See [`Answer::UpdateFamily`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn update_family(r: v1::UpdateFamilyResponse) -> Result<Answered<u64>, Violation> {
    unless_refused(r.position, r.refusal, r.version)
}

/// See [`Answer::RevokeToken`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn revoke_token(r: v1::RevokeTokenResponse) -> Result<Answered<Revocation>, Violation> {
    use v1::revoke_token_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Result(result) => Ok(revocation(result)?),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// See [`Answer::RevokeFamily`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn revoke_family(r: v1::RevokeFamilyResponse) -> Result<Answered<Revocation>, Violation> {
    use v1::revoke_family_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Result(result) => Ok(revocation(result)?),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// See [`Answer::RevokeAccessToken`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn revoke_access_token(
    r: v1::RevokeAccessTokenResponse,
) -> Result<Answered<Revocation>, Violation> {
    use v1::revoke_access_token_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Result(result) => Ok(revocation(result)?),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// See [`Answer::CheckAccess`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn check_access(r: v1::CheckAccessResponse) -> Result<Seen<Vec<Access>>, Violation> {
    let outcome = match r.refusal {
        Some(pb) => Err(refusal::decode(pb)?),
        None => Ok(r.answers.into_iter().map(access::answer).collect::<Result<_, _>>()?),
    };
    seen(r.read, outcome)
}

fn issued(field: &str, token: &v1::IssuedToken) -> Result<Issued, Violation> {
    let kid = u16::try_from(token.kid)
        .map_err(|_| Violation::new(&format!("{field}.kid"), "is above 65535"))?;
    // Key 0 is nobody's.
    let key = match kid {
        0 => None,
        kid => {
            let mac = check::mac(&format!("{field}.mac"), &token.mac)?;
            Some(MacKey { kid: Kid(kid), mac })
        }
    };
    Ok(Issued {
        family: check::family(&format!("{field}.family_id"), &token.family_id)?,
        generation: Generation(token.generation),
        key,
        expires_at: UnixMs(token.expires_at_unix_ms),
        idle_expires_at: UnixMs(token.idle_expires_at_unix_ms),
    })
}

pub(crate) fn revocation(result: i32) -> Result<Revocation, Violation> {
    match v1::RevocationResult::try_from(result) {
        Ok(v1::RevocationResult::Revoked) => Ok(Revocation::Revoked),
        Ok(v1::RevocationResult::Already) => Ok(Revocation::Already),
        Ok(v1::RevocationResult::Unknown) => Ok(Revocation::Unknown),
        Ok(v1::RevocationResult::Unspecified) | Err(_) => {
            Err(Violation::new("result", format!("{result} is unknown to this client")))
        }
    }
}

pub(crate) fn unless_refused<T>(
    position: u64,
    refusal: Option<v1::Refusal>,
    done: T,
) -> Result<Answered<T>, Violation> {
    let outcome = match refusal {
        None => Ok(done),
        Some(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(position), outcome })
}

pub(crate) fn seen<T>(
    read: Option<v1::ReadMark>,
    outcome: Result<T, Refusal>,
) -> Result<Seen<T>, Violation> {
    let read = check::required("read", read)?;
    let age = read.age_ms.map(Duration::from_millis);
    Ok(Seen { position: Position(read.position), age, outcome })
}
