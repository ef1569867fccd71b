//! Access tokens on the wire, both ways: what they say of themselves, and whether they may be used.

use bytes::Bytes;
use jeton_core::access::{Access, AccessClaims, Basis, Denied};
use jeton_core::command::{Operation, RequestName, RevokeAccessToken};
use jeton_core::ids::{Jti, Position, SessionId, TenantId, UnixMs};
use jeton_core::limits;

use crate::check::{self, Violation};
use crate::decode::{self, Query, Read, Write};
use crate::encode;
use crate::pb::v1;
use crate::refusal;

fn jti(field: &str, text: &str) -> Result<Jti, Violation> {
    Jti::new(text).map_err(|error| Violation::new(field, error.to_string()))
}

fn session(text: &str) -> Result<SessionId, Violation> {
    SessionId::new(text).map_err(|error| Violation::new("session", error.to_string()))
}

pub(crate) fn revoke_request(r: &v1::RevokeAccessTokenRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = decode::name(r.request.clone())?;
    let revoke = RevokeAccessToken {
        jti: jti("jti", &r.jti)?,
        client: check::client(&r.client)?,
        expires_at: r.expires_at_unix_ms.map(UnixMs),
    };
    Ok(decode::write(tenant, request, Operation::RevokeAccessToken(revoke), None))
}

pub(crate) fn check_request(r: v1::CheckAccessRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    if r.tokens.is_empty() || r.tokens.len() > limits::ACCESS_CHECKS_MAX {
        let (len, max) = (r.tokens.len(), limits::ACCESS_CHECKS_MAX);
        return Err(Violation::new("tokens", format!("has {len} entries: send 1 to {max}")));
    }
    let tokens = r.tokens.iter().enumerate().map(|(place, token)| claims_of(place, token));
    let query = Query::Access(tokens.collect::<Result<_, _>>()?);
    Ok(Read { tenant, query, consistency: decode::consistency(r.consistency)? })
}

fn claims_of(place: usize, r: &v1::AccessClaims) -> Result<AccessClaims, Violation> {
    let inside = |error: Violation| {
        let field = format!("tokens[{place}].{}", error.field);
        Violation::new(&field, error.description)
    };
    let claims = claims_from(r).map_err(inside)?;
    if claims.jti.is_some() && claims.client.is_none() {
        let problem = "is empty: a jti is denied together with the client that it was issued to";
        return Err(inside(Violation::new("client", problem)));
    }
    Ok(claims)
}

fn claims_from(r: &v1::AccessClaims) -> Result<AccessClaims, Violation> {
    Ok(AccessClaims {
        jti: if r.jti.is_empty() { None } else { Some(jti("jti", &r.jti)?) },
        subject: check::subject_opt(&r.subject)?,
        client: check::client_opt(&r.client)?,
        device: check::device_opt("device", &r.device)?,
        session: if r.session.is_empty() { None } else { Some(session(&r.session)?) },
        family: match r.family_id.is_empty() {
            true => None,
            false => Some(check::family("family_id", &r.family_id)?),
        },
        position: r.position.map(Position),
        issued_at: r.issued_at_unix_ms.map(UnixMs),
    })
}

/// See [`RevokeAccessToken`].
#[must_use]
pub fn revoke(
    tenant: &TenantId,
    name: RequestName,
    revoke: &RevokeAccessToken,
) -> v1::RevokeAccessTokenRequest {
    v1::RevokeAccessTokenRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(encode::request_name(name)),
        jti: revoke.jti.as_str().to_owned(),
        client: revoke.client.as_str().to_owned(),
        expires_at_unix_ms: revoke.expires_at.map(|at| at.0),
    }
}

/// What an access token says of itself; what is absent is left empty.
#[must_use]
pub fn claims(claims: &AccessClaims) -> v1::AccessClaims {
    let named = claims.as_claims();
    v1::AccessClaims {
        jti: encode::text(named.jti),
        subject: encode::text(named.subject),
        client: encode::text(named.client),
        device: encode::text(named.device),
        session: encode::text(named.session),
        family_id: named.family.map(|id| Bytes::copy_from_slice(&id.0)).unwrap_or_default(),
        position: named.position.map(|position| position.0),
        issued_at_unix_ms: named.issued_at.map(|at| at.0),
    }
}

pub(crate) fn access(access: Access) -> v1::Access {
    use v1::access::Verdict;
    use v1::access_denied::Basis as Pb;
    let verdict = match access {
        Access::Active => Verdict::Active(true),
        Access::Denied(Denied { basis, cause, position, at }) => {
            let basis = match basis {
                Basis::Jti => Pb::Jti,
                Basis::Suspension => Pb::Suspension,
                Basis::Session => Pb::Session,
                Basis::Family => Pb::Family,
                Basis::Position => Pb::Position,
                Basis::IssuedAt => Pb::Iat,
                _ => Pb::Unspecified,
            };
            let (cause, reason) = (refusal::cause(cause).into(), String::new());
            let revoked = v1::Revoked { cause, position: position.0, at_unix_ms: at.0, reason };
            Verdict::Denied(v1::AccessDenied { basis: basis.into(), revoked: Some(revoked) })
        }
    };
    v1::Access { verdict: Some(verdict) }
}

/// An answer of `CheckAccess`.
pub(crate) fn answer(pb: v1::Access) -> Result<Access, Violation> {
    use v1::access::Verdict;
    use v1::access_denied::Basis as Pb;
    let denied = match check::required("answers.verdict", pb.verdict)? {
        Verdict::Active(true) => return Ok(Access::Active),
        Verdict::Active(false) => {
            return Err(Violation::new("answers.active", "is false: nothing says why"));
        }
        Verdict::Denied(denied) => denied,
    };
    let basis = match Pb::try_from(denied.basis) {
        Ok(Pb::Jti) => Basis::Jti,
        Ok(Pb::Suspension) => Basis::Suspension,
        Ok(Pb::Session) => Basis::Session,
        Ok(Pb::Family) => Basis::Family,
        Ok(Pb::Position) => Basis::Position,
        Ok(Pb::Iat) => Basis::IssuedAt,
        Ok(Pb::Unspecified) | Err(_) => {
            let problem = format!("{} is unknown to this client", denied.basis);
            return Err(Violation::new("answers.denied.basis", problem));
        }
    };
    let revoked = check::required("answers.denied.revoked", denied.revoked)?;
    Ok(Access::Denied(Denied {
        basis,
        cause: refusal::cause_from("answers.denied.revoked.cause", revoked.cause)?,
        position: Position(revoked.position),
        at: UnixMs(revoked.at_unix_ms),
    }))
}
