//! Requests from outside, checked and turned into commands and reads of the core.
//!
//! The first field that is wrong is named by a [`Violation`]. Nothing here panics, whatever the
//! bytes are.

use std::time::Duration;

use jeton_core::access::AccessClaims;
use jeton_core::command::{
    Binding, Command, CreateFamily, Criteria, Except, Losers, Operation, Part, Presented,
    PresentedToken, RequestName, RevokeFamily, RevokeToken, Rotate, Touch, UpdateFamily,
};
use jeton_core::ids::{
    ClientId, DurationMs, FamilyId, Generation, Kid, LockName, Mac, Position, TenantId,
};
use jeton_core::limits;
use jeton_core::read::FamilyQuery;

use crate::access;
use crate::check::{self, Violation};
use crate::listing::{self, PageAsked};
use crate::lock::{self, FlightAsked};
use crate::pb::v1;
use crate::record::{self, RecordsAsked};
use crate::{revocation, session, suspension, transact};

/// A checked request.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Changes something: goes through the log.
    Write(Write),
    /// Changes nothing.
    Read(Read),
}

/// A mutation, and the mac of the token that it presents, if it presents one.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// What to propose.
    pub command: Command,
    /// To be verified before it is proposed.
    pub mac: Option<Mac>,
    /// Of a transaction: the mac of the native token that each of its operations presents, in the
    /// order of [`jeton_core::command::Transact::parts`]. Empty for everything else.
    pub part_macs: Vec<Option<Mac>>,
}

impl Write {
    /// The tokens that it presents, with the macs of native ones. Of a transaction only those: the
    /// opaque ones may become known in it.
    pub fn presented(&self) -> impl Iterator<Item = (&Presented, Option<&Mac>)> {
        let (token, parts) = match &self.command.operation {
            Operation::Rotate(rotate) => (Some(&rotate.token), None),
            Operation::Touch(touch) => (Some(&touch.token), None),
            Operation::RevokeToken(revoke) => (Some(&revoke.token), None),
            Operation::Transact(wish) => (None, Some(wish.parts().zip(&self.part_macs))),
            _ => (None, None),
        };
        let inside = parts.into_iter().flatten().filter_map(|(part, mac)| {
            let token = match part {
                Part::Rotate(rotate) => &rotate.token,
                Part::Touch(touch) => &touch.token,
                _ => return None,
            };
            matches!(token, Presented::Native(_)).then_some((token, mac.as_ref()))
        });
        token.map(|token| (token, self.mac.as_ref())).into_iter().chain(inside)
    }
}

/// A read, and how fresh it must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// In which tenant.
    pub tenant: TenantId,
    /// What is asked.
    pub query: Query,
    /// How fresh.
    pub consistency: Consistency,
}

/// What a read asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// Whether a token is the live head of its family.
    Validate {
        /// The token.
        token: Presented,
        /// Of a native one: to be verified first.
        mac: Option<Mac>,
        /// Checked if named.
        client: Option<ClientId>,
        /// Checked against the family's.
        binding: Binding,
    },
    /// A family, dead or alive.
    Family(FamilyId),
    /// The family of a token.
    FamilyOf {
        /// The token, the newest or an old one.
        token: Presented,
        /// Of a native one: to be verified first.
        mac: Option<Mac>,
    },
    /// A page of families.
    Families(PageAsked),
    /// How many families match.
    FamilyCount(FamilyQuery),
    /// Whether access tokens may still be used.
    Access(Vec<AccessClaims>),
    /// Something about sessions.
    Session(session::Query),
    /// The result of a single flight.
    Flight(FlightAsked),
    /// Who holds a lock.
    Lock(LockName),
    /// How much a revocation would hit, but for what.
    Matching(Box<(Criteria, Except)>),
    /// What became of a revocation.
    Revocation(Position),
    /// A record, by its key.
    Record(RecordsAsked),
    /// Records by an index key, a page of them.
    Records(RecordsAsked),
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// Sees all that was acknowledged anywhere before the call.
    #[default]
    Linearizable,
    /// Sees at least this position.
    AtLeast(Position),
    /// May be this old, by monotonic clocks.
    Bounded(Duration),
}

/// An operation of a pipeline.
///
/// # Errors
/// [`Violation`] names the field, relative to the operation's own request.
pub fn operation(request: Option<v1::operation::Request>) -> Result<Asked, Violation> {
    use v1::operation::Request;
    match check::required("request", request)? {
        Request::Rotate(r) => rotate(r).map(Asked::Write),
        Request::CreateFamily(r) => create_family(r).map(Asked::Write),
        Request::Validate(r) => validate(r).map(Asked::Read),
        Request::Touch(r) => touch(r).map(Asked::Write),
        Request::UpdateFamily(r) => update_family(r).map(Asked::Write),
        Request::GetFamily(r) => get_family(&r).map(Asked::Read),
        Request::RevokeToken(r) => revoke_token(r).map(Asked::Write),
        Request::RevokeFamily(r) => revoke_family(&r).map(Asked::Write),
        Request::RevokeWhere(r) => revocation::decode_where(r),
        Request::GetRevocation(r) => revocation::decode_get(r).map(Asked::Read),
        Request::CreateSession(r) => session::decode_create(r).map(Asked::Write),
        Request::TouchSession(r) => session::decode_touch(r).map(Asked::Write),
        Request::EndSession(r) => session::decode_end(&r).map(Asked::Write),
        Request::GetSession(r) => session::decode_get(&r).map(Asked::Read),
        Request::ListSessions(r) => session::decode_list(&r).map(Asked::Read),
        Request::ListSessionClients(r) => session::decode_clients(&r).map(Asked::Read),
        Request::Suspend(r) => suspension::decode_suspend(r).map(Asked::Write),
        Request::Resume(r) => suspension::decode_resume(r).map(Asked::Write),
        Request::RequireReauthentication(r) => {
            suspension::decode_reauthenticate(r).map(Asked::Write)
        }
        Request::ListFamilies(r) => listing::list(r).map(Asked::Read),
        Request::CountFamilies(r) => listing::count(r).map(Asked::Read),
        Request::RevokeAccessToken(r) => access::revoke_request(&r).map(Asked::Write),
        Request::CheckAccess(r) => access::check_request(r).map(Asked::Read),
        Request::Acquire(r) => lock::acquire(r).map(Asked::Write),
        Request::Renew(r) => lock::renew(r).map(Asked::Write),
        Request::Release(r) => lock::release(r).map(Asked::Write),
        Request::Withdraw(r) => lock::withdraw(r).map(Asked::Write),
        Request::Publish(r) => lock::publish(r).map(Asked::Write),
        Request::Await(r) => lock::flight(r).map(Asked::Read),
        Request::GetLock(r) => lock::get(r).map(Asked::Read),
        Request::PutRecord(r) => record::put(r).map(Asked::Write),
        Request::GetRecord(r) => record::get(r).map(Asked::Read),
        Request::FindRecords(r) => record::find(r).map(Asked::Read),
        Request::LookUpRecord(r) => record::look_up(r).map(Asked::Write),
        Request::DeleteRecord(r) => record::delete(r).map(Asked::Write),
        Request::DeleteRecords(r) => record::delete_all(r).map(Asked::Write),
        Request::CollectExpired(r) => record::collect(r).map(Asked::Write),
        Request::Consume(r) => record::asked_consume(r).map(Asked::Write),
        Request::SeenOnce(r) => record::seen(r).map(Asked::Write),
        Request::Transact(r) => transact::decode(r).map(Asked::Write),
    }
}

fn rotate(r: v1::RotateRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let (token, mac) = presented(r.token)?;
    let successor = check::required("successor", r.successor)?;
    let digest = check::digest("successor.secret_digest", &successor.secret_digest)?;
    let losers = match v1::Losers::try_from(r.losers) {
        Ok(v1::Losers::Unspecified) => Losers::Replay,
        Ok(v1::Losers::Adopt) if mac.is_none() => Losers::Adopt,
        Ok(v1::Losers::Adopt) => {
            let problem = "is ADOPT, and the token is native: its losers are answered with the \
                           winner's successor";
            return Err(Violation::new("losers", problem));
        }
        Err(_) => return Err(Violation::new("losers", "is unknown: leave it unset, or ADOPT")),
    };
    if successor.seal.is_empty() && mac.is_some() {
        let problem = "is empty: seal the successor under a key of the presented token, so that \
                       a replay can be answered";
        return Err(Violation::new("successor.seal", problem));
    }
    let seal = check::bytes_max("successor.seal", successor.seal, limits::SEAL_BYTES_MAX)?;
    let rotate = Rotate {
        token,
        successor: digest,
        seal,
        losers,
        client: check::client(&r.client)?,
        binding: check::binding(r.binding)?,
        origin: check::origin(r.origin)?,
    };
    Ok(write(tenant, request, Operation::Rotate(Box::new(rotate)), mac))
}

fn create_family(r: v1::CreateFamilyRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let lifetime_max = limits::FAMILY_LIFETIME_MAX;
    let create = CreateFamily {
        family: check::family("family_id", &r.family_id)?,
        digest: check::digest("secret_digest", &r.secret_digest)?,
        opaque: r.opaque,
        subject: check::subject(&r.subject)?,
        client: check::client(&r.client)?,
        device: check::device_opt("device", &r.device)?,
        binding: check::binding(r.binding)?,
        ip: check::text_opt("ip", &r.ip, limits::IP_BYTES_MAX)?,
        attributes: check::attributes("attributes", r.attributes)?,
        payload: check::bytes_max("payload", r.payload, limits::PAYLOAD_BYTES_MAX)?,
        lifetime: check::duration_opt("lifetime_ms", r.lifetime_ms, lifetime_max)?,
        idle: check::duration_opt("idle_ms", r.idle_ms, lifetime_max)?,
        grace: check::duration_or_zero_opt("grace_ms", r.grace_ms, limits::GRACE_MAX)?,
        authenticated_at: r.authenticated_at_position.map(Position),
        cap: r.cap.map(|cap| check::cap(&cap)).transpose()?,
        session: check::session_opt("session", &r.session)?,
        code: r.code.map(|code| record::consumption("code", code).map(Box::new)).transpose()?,
    };
    Ok(write(tenant, request, Operation::CreateFamily(Box::new(create)), None))
}

fn validate(r: v1::ValidateRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let (token, mac) = presented(r.token)?;
    let query = Query::Validate {
        token,
        mac,
        client: check::client_opt(&r.client)?,
        binding: check::binding(r.binding)?,
    };
    Ok(Read { tenant, query, consistency: consistency(r.consistency)? })
}

fn touch(r: v1::TouchRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let (token, mac) = presented(r.token)?;
    Ok(write(tenant, request, Operation::Touch(Touch { token }), mac))
}

fn update_family(r: v1::UpdateFamilyRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    if r.attributes.is_none() && r.payload.is_none() && r.grace_ms.is_none() {
        let problem = "nothing is to be changed: set attributes, payload or grace_ms";
        return Err(Violation::new("attributes", problem));
    }
    let update = UpdateFamily {
        family: check::family("family_id", &r.family_id)?,
        version: r.version,
        attributes: r
            .attributes
            .map(|a| check::attributes("attributes.values", a.values))
            .transpose()?,
        payload: r
            .payload
            .map(|p| check::bytes_max("payload", p, limits::PAYLOAD_BYTES_MAX))
            .transpose()?,
        grace: check::duration_or_zero_opt("grace_ms", r.grace_ms, limits::GRACE_MAX)?,
    };
    Ok(write(tenant, request, Operation::UpdateFamily(Box::new(update)), None))
}

fn get_family(r: &v1::GetFamilyRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let query = match &r.token {
        None => Query::Family(check::family("family_id", &r.family_id)?),
        Some(_) if !r.family_id.is_empty() => {
            let problem = "is set although a token is shown: leave one of them out";
            return Err(Violation::new("family_id", problem));
        }
        Some(_) => {
            let (token, mac) = presented(r.token.clone())?;
            Query::FamilyOf { token, mac }
        }
    };
    Ok(Read { tenant, query, consistency: consistency(r.consistency)? })
}

fn revoke_token(r: v1::RevokeTokenRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let (token, mac) = presented(r.token)?;
    let client = check::client(&r.client)?;
    Ok(write(tenant, request, Operation::RevokeToken(RevokeToken { token, client }), mac))
}

fn revoke_family(r: &v1::RevokeFamilyRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request.clone())?;
    let revoke = RevokeFamily {
        family: check::family("family_id", &r.family_id)?,
        reason: check::text_opt("reason", &r.reason, limits::REASON_BYTES_MAX)?,
    };
    Ok(write(tenant, request, Operation::RevokeFamily(revoke), None))
}

pub(crate) fn write(
    tenant: TenantId,
    request: RequestName,
    operation: Operation,
    mac: Option<Mac>,
) -> Write {
    let command = Command { tenant: Some(tenant), request: Some(request), operation };
    Write { command, mac, part_macs: Vec::new() }
}

pub(crate) fn name(name: Option<v1::RequestName>) -> Result<RequestName, Violation> {
    let name = check::required("request", name)?;
    let id = check::request_id("request.id", &name.id)?;
    Ok(RequestName { id, age: DurationMs(name.age_ms) })
}

/// A presented token, and its mac if it is native.
///
/// # Errors
/// [`Violation`] of `token` or a field of it.
pub fn presented(token: Option<v1::PresentedToken>) -> Result<(Presented, Option<Mac>), Violation> {
    let token = check::required("token", token)?;
    if !token.opaque_digest.is_empty() {
        let native = token.kid != 0
            || token.generation != 0
            || [&token.family_id, &token.secret_digest, &token.mac].iter().any(|b| !b.is_empty());
        if native {
            let problem = "is set beside fields of a native token: an opaque one has no other";
            return Err(Violation::new("token.opaque_digest", problem));
        }
        let digest = check::digest("token.opaque_digest", &token.opaque_digest)?;
        return Ok((Presented::Opaque(digest), None));
    }
    let kid = u16::try_from(token.kid).map_err(|_| {
        Violation::new("token.kid", format!("is {}: keys have numbers up to 65535", token.kid))
    })?;
    let presented = PresentedToken {
        kid: Kid(kid),
        family: check::family("token.family_id", &token.family_id)?,
        generation: Generation(token.generation),
        digest: check::digest("token.secret_digest", &token.secret_digest)?,
    };
    Ok((presented.into(), Some(check::mac("token.mac", &token.mac)?)))
}

/// How fresh a read must be; unset means linearizable.
///
/// # Errors
/// [`Violation`] of `consistency.linearizable`.
pub fn consistency(consistency: Option<v1::Consistency>) -> Result<Consistency, Violation> {
    use v1::consistency::Level;
    match consistency.and_then(|c| c.level) {
        None | Some(Level::Linearizable(true)) => Ok(Consistency::Linearizable),
        Some(Level::Linearizable(false)) => Err(Violation::new(
            "consistency.linearizable",
            "is false: set it to true, or choose at_least_position or bounded_max_age_ms",
        )),
        Some(Level::AtLeastPosition(position)) => Ok(Consistency::AtLeast(Position(position))),
        Some(Level::BoundedMaxAgeMs(ms)) if ms > limits::BOUNDED_AGE_MAX.0 => {
            let max = limits::BOUNDED_AGE_MAX.0;
            let problem = format!("is {ms}: the limit is {max}");
            Err(Violation::new("consistency.bounded_max_age_ms", problem))
        }
        Some(Level::BoundedMaxAgeMs(ms)) => Ok(Consistency::Bounded(Duration::from_millis(ms))),
    }
}

/// The time that is left for an operation.
///
/// # Errors
/// [`Violation`] of `deadline_ms`.
pub fn deadline(ms: u64) -> Result<Duration, Violation> {
    if ms == 0 {
        let problem = "is 0: send the time that is left for the operation, in milliseconds";
        return Err(Violation::new("deadline_ms", problem));
    }
    Ok(Duration::from_millis(ms.min(DEADLINE_MS_MAX)))
}

/// Longest time that an operation is waited for; a longer deadline is cut to it, silently.
pub const DEADLINE_MS_MAX: u64 = 10 * 60 * 1_000;
