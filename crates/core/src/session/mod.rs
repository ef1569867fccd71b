//! Sessions: single sign-on at the authorization server (`sid`), which families may be bound to.
//!
//! ```text
//!   subject, device, tenant ──► session ──► families bound to it
//!                                  └ clients: whom to notify when it ends (`index`)
//! ```
//!
//! A session is a root: ending it writes its own row and nothing else, and whatever is bound to it
//! reads that row. No family bound to a session outlives its absolute end, so that the session is
//! never forgotten while one of them may still be asked about.

pub(crate) mod create;
pub(crate) mod end;
mod index;
pub(crate) mod list;
mod row;
pub(crate) mod touch;

use bytes::Bytes;

use crate::codec::decode_row;
use crate::ids::{Position, SessionId, SubjectId, TenantId, UnixMs};
use crate::keys;
use crate::reply::{Refusal, RevokedBy};
use crate::revocation::{self, predicate};
use crate::roots;
use crate::standing::Standing;
use crate::suspension;
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;

pub(crate) use index::{IndexRow, bind};
use row::ended_by_itself;
pub(crate) use row::{SessionRow, next_visit, tidy};

/// A session as it was read: enough to judge it, and to write it back.
pub(crate) struct Loaded {
    key: Vec<u8>,
    /// The row's bytes before any change.
    bytes: Bytes,
    pub(crate) row: SessionRow,
    /// What killed it, if anything did; else what suspends it.
    pub(crate) revoked: Option<RevokedBy>,
}

impl Loaded {
    fn standing(&self, now: UnixMs) -> Standing {
        self.row.standing(self.revoked.as_ref(), now)
    }

    /// What killed it, for what hangs on it.
    pub(crate) fn ended(&self, now: UnixMs) -> Option<RevokedBy> {
        self.row.ended(self.revoked.as_ref(), now)
    }
}

/// A session's row, as if a sweep had been there: what an active predicate has hit is dead.
pub(crate) fn read(
    tenant: &Tenant,
    session: &SessionId,
    bytes: &Bytes,
) -> Result<SessionRow, TablesError> {
    let mut row: SessionRow = decode_row(bytes)?;
    row.check();
    if row.dead.is_none() && !tenant.active.is_empty() {
        row.dead = predicate::hit_by(tenant, &row.facts(session), &row.roots(session));
    }
    Ok(row)
}

/// Reads a session and what became of its roots. `None` if it was never there, or is forgotten.
pub(crate) fn load(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    session: &SessionId,
    now: UnixMs,
) -> Result<Option<Loaded>, TablesError> {
    let key = keys::session(id, session);
    let Some(bytes) = tables.get(&key)? else { return Ok(None) };
    let row = read(tenant, session, &bytes)?;
    if now >= row.forgotten_at() {
        return Ok(None);
    }
    // By name only: it doesn't hang on itself.
    let cut = revocation::cut_by(tables, id, tenant, &row.roots(session), now)?;
    let suspended = suspension::suspended_by(tables, id, tenant, Some(row.subject.as_str()), None)?;
    let revoked = roots::first(roots::first(row.dead.clone(), cut), suspended);
    Ok(Some(Loaded { key, bytes, row, revoked }))
}

/// How a session ended, for what hangs on it since `bound_at`: ended, killed, expired or forgotten.
/// One that was made later under the same name is another one.
pub(crate) fn ended(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    session: &SessionId,
    bound_at: Position,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    let loaded = load(tables, id, tenant, session, now)?;
    Ok(match loaded.filter(|loaded| loaded.row.created <= bound_at) {
        Some(loaded) => loaded.ended(now),
        None => Some(ended_by_itself(UnixMs::default())),
    })
}

/// What killed or suspends a session, if it was there and something did.
pub(crate) fn dead_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    session: &SessionId,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    let loaded = load(tables, id, tenant, session, now)?;
    Ok(loaded.and_then(|loaded| loaded.revoked))
}

/// The session that something of `subject` is to be bound to, if it lives.
///
/// A suspended one lives: what suspends it suspends the thing to be made, too.
pub(crate) fn to_bind(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    session: &SessionId,
    subject: &SubjectId,
    now: UnixMs,
) -> Result<Result<Loaded, Refusal>, TablesError> {
    let Some(loaded) = load(tables, id, tenant, session, now)? else {
        return Ok(Err(Refusal::SessionDead { by: None }));
    };
    if loaded.standing(now) == Standing::Gone {
        return Ok(Err(Refusal::SessionDead { by: None }));
    }
    if let Some(by) = loaded.ended(now) {
        return Ok(Err(Refusal::SessionDead { by: Some(by) }));
    }
    if loaded.row.subject != *subject {
        let problem = "is another subject's: bind to a session of the family's own subject";
        return Ok(Err(Refusal::invalid("session", problem)));
    }
    Ok(Ok(loaded))
}
