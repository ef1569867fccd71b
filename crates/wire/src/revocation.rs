//! Revocations of all that matches: `RevokeWhere`, `GetRevocation` and `WaitForAll`.

use bytes::Bytes;
use jeton_core::command::{Criteria, Except, Operation, RequestName, RevokeWhere};
use jeton_core::ids::{DurationMs, Position, TenantId, UnixMs};
use jeton_core::ip::IpRange;
use jeton_core::limits;
use jeton_core::reply::{MatchCount, Refusal, RevocationView, RevokedWhere, SweepProgress};

use crate::answer::{Answered, Seen, seen, unless_refused};
use crate::check::{self, Violation};
use crate::decode::{Asked, Query, Read, consistency, name, write};
use crate::encode::{attributes, request_name, text};
use crate::failure::Failure;
use crate::listing::mark;
use crate::pb::v1;
use crate::pb::v1::operation_result::Response;
use crate::refusal;

/// What a revocation did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// What it is, and what it leaves alone. Nothing of a dry run.
    pub revoked: RevokedWhere,
    /// How much it hits; `None` if nobody could count.
    pub matched: Option<MatchCount>,
}

/// See [`Operation::RevokeWhere`]; a dry run is a read.
pub(crate) fn decode_where(r: v1::RevokeWhereRequest) -> Result<Asked, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = if r.dry_run { None } else { Some(name(r.request.clone())?) };
    let reason = check::text_opt("reason", &r.reason, limits::REASON_BYTES_MAX)?;
    let except = except(&r.except_family_ids, &r.except_sessions, "except_family_ids")?;
    let whole_tenant = r.whole_tenant;
    let matching = criteria(r)?;
    match (matching.names_any(), whole_tenant) {
        (false, false) => {
            return Err(Violation::new(
                "whole_tenant",
                "is false and nothing is named: name a subject, client, device or session, or \
                 something else that must match, or set it to revoke everything of the tenant",
            ));
        }
        (true, true) => {
            return Err(Violation::new(
                "whole_tenant",
                "is true although something is named that must match: leave one of them out",
            ));
        }
        _ => {}
    }
    Ok(match request {
        Some(request) => {
            let revoke = Box::new(RevokeWhere { matching, except, reason });
            Asked::Write(write(tenant, request, Operation::RevokeWhere(revoke), None))
        }
        None => {
            let query = Query::Matching(Box::new((matching, except)));
            Asked::Read(Read { tenant, query, consistency: consistency(None)? })
        }
    })
}

fn criteria(r: v1::RevokeWhereRequest) -> Result<Criteria, Violation> {
    let ip = |text: &str| {
        text.parse::<IpRange>().map_err(|error| Violation::new("ip", error.to_string()))
    };
    Ok(Criteria {
        subject: check::subject_opt(&r.subject)?,
        client: check::client_opt(&r.client)?,
        device: check::device_opt("device", &r.device)?,
        session: check::session_opt("session", &r.session)?,
        region: check::text_opt("region", &r.region, limits::ATTRIBUTE_VALUE_BYTES_MAX)?,
        ip: if r.ip.is_empty() { None } else { Some(ip(&r.ip)?) },
        attributes: check::attributes("attributes", r.attributes)?,
        created_before: r.created_before_unix_ms.map(UnixMs),
    })
}

fn except(families: &[Bytes], sessions: &[String], field: &str) -> Result<Except, Violation> {
    let count = families.len() + sessions.len();
    if count > limits::EXCEPTIONS_MAX {
        let max = limits::EXCEPTIONS_MAX;
        let problem = format!("has {count} entries with the sessions: the limit is {max}");
        return Err(Violation::new(field, problem));
    }
    let families = families.iter().map(|family| check::family(field, family));
    let sessions = sessions.iter().map(|session| check::session(session));
    Ok(Except {
        families: families.collect::<Result<_, _>>()?,
        sessions: sessions.collect::<Result<_, _>>()?,
    })
}

/// Families and sessions that are left alone, on the wire.
pub(crate) fn excepted(except: &Except) -> (Vec<Bytes>, Vec<String>) {
    let families = except.families.iter().map(|family| Bytes::copy_from_slice(&family.0));
    let sessions = except.sessions.iter().map(|session| session.as_str().to_owned());
    (families.collect(), sessions.collect())
}

/// The same from the wire.
pub(crate) fn excepted_from(families: &[Bytes], sessions: &[String]) -> Result<Except, Violation> {
    except(families, sessions, "kept_family_ids")
}

fn encode_criteria(matching: &Criteria) -> v1::RevokeWhereRequest {
    v1::RevokeWhereRequest {
        subject: text(matching.subject.as_ref().map(|id| id.as_str())),
        client: text(matching.client.as_ref().map(|id| id.as_str())),
        device: text(matching.device.as_ref().map(|id| id.as_str())),
        session: text(matching.session.as_ref().map(|id| id.as_str())),
        whole_tenant: !matching.names_any(),
        region: text(matching.region.as_deref()),
        ip: matching.ip.map(|range| range.to_string()).unwrap_or_default(),
        attributes: attributes(&matching.attributes),
        created_before_unix_ms: matching.created_before.map(|before| before.0),
        ..v1::RevokeWhereRequest::default()
    }
}

/// See [`RevokeWhere`]. Nothing named means the whole tenant: the wire says so explicitly.
#[must_use]
pub fn revoke_where(
    tenant: &TenantId,
    name: RequestName,
    revoke: &RevokeWhere,
) -> v1::RevokeWhereRequest {
    let asked = dry_run(tenant, &revoke.matching, &revoke.except);
    v1::RevokeWhereRequest {
        request: Some(request_name(name)),
        reason: text(revoke.reason.as_deref()),
        dry_run: false,
        ..asked
    }
}

/// The request that asks how much that would hit.
#[must_use]
pub fn dry_run(tenant: &TenantId, matching: &Criteria, except: &Except) -> v1::RevokeWhereRequest {
    let (except_family_ids, except_sessions) = excepted(except);
    v1::RevokeWhereRequest {
        tenant: tenant.as_str().to_owned(),
        except_family_ids,
        except_sessions,
        dry_run: true,
        ..encode_criteria(matching)
    }
}

/// The response to a revocation that is in force.
#[must_use]
pub fn revoked(position: u64, revoked: &RevokedWhere, matched: Option<MatchCount>) -> Response {
    let (kept_family_ids, kept_sessions) = excepted(&revoked.kept);
    Response::RevokeWhere(v1::RevokeWhereResponse {
        position,
        refusal: None,
        matched: matched.map(count),
        predicate: revoked.predicate,
        kept_family_ids,
        kept_sessions,
    })
}

/// The response to a dry run.
///
/// # Errors
/// [`Failure`] for refusals that are errors.
pub fn would_hit(
    position: Position,
    outcome: Result<MatchCount, Refusal>,
) -> Result<Response, Failure> {
    let (matched, refusal) = match outcome {
        Ok(matched) => (Some(count(matched)), None),
        Err(refusal) => (None, Some(refusal::encode(refusal)?)),
    };
    let position = position.0;
    let response = v1::RevokeWhereResponse { position, refusal, matched, ..Default::default() };
    Ok(Response::RevokeWhere(response))
}

fn count(MatchCount { families, sessions, exact }: MatchCount) -> v1::MatchCount {
    v1::MatchCount { families, sessions, exact }
}

/// The answer to a revocation.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn hit(r: v1::RevokeWhereResponse) -> Result<Answered<Hit>, Violation> {
    let matched = r.matched.map(|v1::MatchCount { families, sessions, exact }| MatchCount {
        families,
        sessions,
        exact,
    });
    let kept = excepted_from(&r.kept_family_ids, &r.kept_sessions)?;
    let revoked = RevokedWhere { predicate: r.predicate, kept };
    unless_refused(r.position, r.refusal, Hit { revoked, matched })
}

pub(crate) fn decode_get(r: v1::GetRevocationRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let query = Query::Revocation(Position(r.revocation));
    Ok(Read { tenant, query, consistency: consistency(r.consistency)? })
}

/// The response to `GetRevocation`.
///
/// # Errors
/// [`Failure`] for refusals that are errors.
pub fn got(
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<RevocationView, Refusal>,
) -> Result<Response, Failure> {
    use v1::get_revocation_response::Outcome;
    let outcome = match outcome {
        Ok(view) => Outcome::Revocation(show(&view)),
        Err(refusal) => Outcome::Refusal(refusal::encode(refusal)?),
    };
    let read = mark(position, age);
    Ok(Response::GetRevocation(v1::GetRevocationResponse { read, outcome: Some(outcome) }))
}

fn show(view: &RevocationView) -> v1::Revocation {
    let (kept_family_ids, kept_sessions) = excepted(&view.kept);
    v1::Revocation {
        revocation: view.revocation.0,
        at_unix_ms: view.at.0,
        reason: text(view.reason.as_deref()),
        criteria: Some(encode_criteria(&view.matching)),
        kept_family_ids,
        kept_sessions,
        sweep: view.sweep.map(|sweep| v1::RevocationSweep {
            rows_looked_at: sweep.looked,
            rows_estimate: sweep.rows_estimate,
            families_marked: sweep.families,
            sessions_marked: sweep.sessions,
            done_at_unix_ms: sweep.done_at.map(|at| at.0),
        }),
    }
}

/// The answer to `GetRevocation`.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn revocation(r: v1::GetRevocationResponse) -> Result<Seen<RevocationView>, Violation> {
    use v1::get_revocation_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Revocation(it) => Ok(view(it)?),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

fn view(it: v1::Revocation) -> Result<RevocationView, Violation> {
    Ok(RevocationView {
        revocation: Position(it.revocation),
        at: UnixMs(it.at_unix_ms),
        matching: criteria(check::required("criteria", it.criteria)?)?,
        kept: excepted_from(&it.kept_family_ids, &it.kept_sessions)?,
        reason: check::text_opt("reason", &it.reason, limits::REASON_BYTES_MAX)?,
        sweep: it.sweep.map(|sweep| SweepProgress {
            looked: sweep.rows_looked_at,
            rows_estimate: sweep.rows_estimate,
            families: sweep.families_marked,
            sessions: sweep.sessions_marked,
            done_at: sweep.done_at_unix_ms.map(UnixMs),
        }),
    })
}
