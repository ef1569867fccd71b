//! Access tokens: denying one, and asking whether they may still be used.

use jeton_core::access::{Access, AccessClaims, Claims};
use jeton_core::command::RevokeAccessToken;
use jeton_core::ids::{ClientId, Jti, UnixMs};
use jeton_core::limits;
use jeton_wire::decode::{Consistency, Query};
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::{access, answer};

use crate::answer::{Read, Revoked};
use crate::client::Deadline;
use crate::error::{Error, Violation};
use crate::id::IntoId;
use crate::tenant::{Tenant, decoded, revoked};
use crate::transport::retry::Repeat;

impl Tenant {
    /// Revokes an access token (RFC 7009) by its `jti`, together with the client that it was issued
    /// to: another client's token of that name is not hit. It is denied until `expires_at`, its
    /// `exp` claim, and five seconds more; until the tenant's `access_ttl_max` has passed if none
    /// is given. One that has expired is success, told apart as `Unknown`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if `expires_at` is further ahead than `access_ttl_max`, and whatever any
    /// call may fail with.
    pub async fn revoke_access_token(
        &self,
        jti: impl IntoId<Jti>,
        client: impl IntoId<ClientId>,
        expires_at: Option<UnixMs>,
        deadline: impl Into<Deadline>,
    ) -> Result<Revoked, Error> {
        let jti = jti.into_id().map_err(|error| Error::violation("jti", error.to_string()))?;
        let client =
            client.into_id().map_err(|error| Error::violation("client", error.to_string()))?;
        let revoke = RevokeAccessToken { jti, client, expires_at };
        let name = self.name(None)?;
        let make = || Request::RevokeAccessToken(access::revoke(&self.tenant, name, &revoke));
        let response = self.client.call(Repeat::Named, deadline.into(), make).await?;
        revoked(decoded!(response, RevokeAccessToken, answer::revoke_access_token)?)
    }

    /// Whether access tokens may still be used, by what they say of themselves: one answer for
    /// each, in their order. 1 to 256 of them. Their signature and expiry are the caller's to
    /// check.
    ///
    /// # Errors
    /// [`Error::Refused`] with `TenantUnknown`, [`Error::InvalidArgument`], and whatever any read
    /// may fail with.
    pub async fn check_access(
        &self,
        tokens: &[Claims<'_>],
        consistency: Consistency,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<Vec<Access>>, Error> {
        if tokens.is_empty() || tokens.len() > limits::ACCESS_CHECKS_MAX {
            let (len, max) = (tokens.len(), limits::ACCESS_CHECKS_MAX);
            return Err(Error::violation("tokens", format!("has {len} entries: give 1 to {max}")));
        }
        let owned = tokens.iter().enumerate().map(|(place, claims)| owned(place, claims));
        let query = Query::Access(owned.collect::<Result<_, _>>()?);
        let response = self.read(query, consistency, deadline.into()).await?;
        let seen = decoded!(response, CheckAccess, answer::check_access)?;
        let value = seen.outcome.map_err(Error::Refused)?;
        if value.len() != tokens.len() {
            return Err(Error::protocol("there is not one answer for each access token"));
        }
        Ok(Read { value, position: seen.position, age: seen.age })
    }
}

fn owned(place: usize, claims: &Claims<'_>) -> Result<AccessClaims, Error> {
    let mut violations = Vec::new();
    let owned = AccessClaims {
        jti: id(claims.jti, "jti", place, &mut violations),
        subject: id(claims.subject, "subject", place, &mut violations),
        client: id(claims.client, "client", place, &mut violations),
        device: id(claims.device, "device", place, &mut violations),
        session: id(claims.session, "session", place, &mut violations),
        family: claims.family,
        position: claims.position,
        issued_at: claims.issued_at,
    };
    if violations.is_empty() { Ok(owned) } else { Err(Error::InvalidArgument { violations }) }
}

fn id<'a, T>(
    text: Option<&'a str>,
    field: &str,
    place: usize,
    violations: &mut Vec<Violation>,
) -> Option<T>
where
    &'a str: IntoId<T>,
{
    match text?.into_id() {
        Ok(id) => Some(id),
        Err(error) => {
            violations.push(Violation::new(&format!("tokens[{place}].{field}"), error.to_string()));
            None
        }
    }
}
