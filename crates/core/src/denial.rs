//! `RevokeAccessToken` (RFC 7009): access tokens that are dead before their time, by their `jti`.
//!
//! A denial is one row under (jti, client), in force until no such token can be alive: its expiry
//! and the skew of the clocks that look at it. Whoever names another client's token hits nothing.

use serde::{Deserialize, Serialize};

use crate::codec::{decode_row, encode};
use crate::command::RevokeAccessToken;
use crate::expiry;
use crate::ids::{Position, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::reply::{Done, EventKind, Refusal, Replies};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

/// A denied access token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Denial {
    /// The command that denied it, or moved its end.
    pub(crate) position: Position,
    pub(crate) at: UnixMs,
    /// From then on it is dead anyway.
    pub(crate) until: UnixMs,
}

/// The denial that is in force.
pub(crate) fn in_force(
    tables: &impl ReadTables,
    id: &TenantId,
    jti: &str,
    client: &str,
    now: UnixMs,
) -> Result<Option<Denial>, TablesError> {
    let Some(row) = tables.get(&keys::denied(id, jti, client))? else { return Ok(None) };
    let denial: Denial = decode_row(&row)?;
    Ok((now < denial.until).then_some(denial))
}

pub(crate) fn revoke_access_token<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RevokeAccessToken,
) -> Result<Result<Done, Refusal>, TablesError> {
    let last = turn.now.plus(tenant.settings.access_ttl_max);
    let expires_at = wish.expires_at.unwrap_or(last);
    if expires_at > last.plus(limits::ACCESS_SKEW) {
        let problem = "beyond the tenant's access_ttl_max: no access token may live so long; raise \
                       the setting, or correct the expiry";
        return Ok(Err(Refusal::invalid("expires_at", problem)));
    }
    let until = expires_at.plus(limits::ACCESS_SKEW);
    if until <= turn.now {
        return Ok(Ok(Done::NothingToRevoke));
    }
    let key = keys::denied(id, wish.jti.as_str(), wish.client.as_str());
    let old = turn.tables.get(&key)?;
    let known: Option<Denial> = old.as_ref().map(|row| decode_row(row)).transpose()?;
    let known = known.filter(|known| turn.now < known.until);
    if known.as_ref().is_some_and(|known| until <= known.until) {
        return Ok(Ok(Done::Revoked { already: true }));
    }
    let (position, at) = (turn.position, turn.now);
    expiry::schedule_new(turn, &key, old.as_ref(), until);
    turn.put(key, old.as_ref(), encode(&Denial { position, at, until }));
    let (jti, client) = (wish.jti.clone(), wish.client.clone());
    turn.event(id, None, EventKind::AccessTokenRevoked { jti, client, until });
    Ok(Ok(Done::Revoked { already: known.is_some() }))
}
