//! Liveness roots: what a thing hangs on, and what killed it first.
//!
//! ```text
//!   tenant ── subject, client, device ──► cutoffs, compared with the thing's origin
//!                 └──────────────────────► re-authentication, compared with authenticated_at
//!   session, family ─────────────────────► their own rows, and so their own roots
//! ```
//!
//! A family, a session and a record name the roots that they have. [`dead_by`] is the one rule that
//! judges all of them: who revokes writes one row, and nobody enumerates children. A death is for
//! ever; a suspension is not, and starts no retention.
//!
//! An **origin** is the oldest position among what a thing was made from: the code or record that
//! was consumed, the session it is bound to, the position that was read when the user's credentials
//! were checked; else its own creation. So a thief who holds a session or a code from before a
//! revocation can make nothing that outlives it.
//!
//! A tenant's row says which kinds of revocations were ever made there: only those are looked up,
//! in memory.

use crate::family;
use crate::ids::{ClientId, DeviceId, FamilyId, Position, SessionId, SubjectId, TenantId, UnixMs};
use crate::reply::{Refusal, RevocationCause, RevokedBy};
use crate::revocation;
use crate::session;
use crate::suspension;
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;

/// What a thing hangs on. What it doesn't name can't kill it; its tenant always can.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Roots<'a> {
    /// What it is.
    pub(crate) itself: Itself,
    pub(crate) subject: Option<&'a SubjectId>,
    pub(crate) client: Option<&'a ClientId>,
    pub(crate) device: Option<&'a DeviceId>,
    /// The session that it is bound to.
    pub(crate) session: Option<&'a SessionId>,
    /// The family that it was made by or for. A family doesn't name itself here.
    pub(crate) family: Option<FamilyId>,
    /// What cutoffs compare with: the oldest of what it was made from.
    pub(crate) origin: Position,
    /// Its own creation: a session or family of that name which was made later is another one.
    pub(crate) created: Position,
    /// When the user's credentials were checked, as a position, if the thing knows: what
    /// re-authentication compares with.
    pub(crate) authenticated_at: Option<Position>,
    /// Whether a restore from a backup cuts it: families and sessions, not records.
    pub(crate) cut_by_restore: bool,
}

/// What hangs on roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Itself {
    Family(FamilyId),
    /// The one that its roots name.
    Session,
    Record,
}

/// The first of two causes. Deaths come before suspensions, which end; else the clock orders as
/// positions do, for it never runs back, and what ended by the clock has no position.
pub(crate) fn first(one: Option<RevokedBy>, other: Option<RevokedBy>) -> Option<RevokedBy> {
    let causes = one.into_iter().chain(other);
    causes.min_by_key(|by| (!by.is_for_ever(), by.at, by.position))
}

/// What killed a thing with these roots: the first of all causes in the order of positions; else
/// what suspends it. `None` if it lives.
pub(crate) fn dead_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    roots: &Roots<'_>,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    let mut dead = revocation::cut_by(tables, id, tenant, roots, now)?;
    if let Some(session) = roots.session {
        let ended = session::ended(tables, id, tenant, session, roots.created, now)?;
        dead = first(dead, ended);
    }
    if let Some(family) = roots.family {
        dead = first(dead, family_dead(tables, id, tenant, family, roots.created, now)?);
    }
    Ok(first(dead, suspended_by(tables, id, tenant, roots)?))
}

/// What suspends a thing with these roots by their names, the first of all. A session is suspended
/// only through its subject or tenant, which are those of what is bound to it.
pub(crate) fn suspended_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    roots: &Roots<'_>,
) -> Result<Option<RevokedBy>, TablesError> {
    let (subject, client) =
        (roots.subject.map(SubjectId::as_str), roots.client.map(ClientId::as_str));
    suspension::suspended_by(tables, id, tenant, subject, client)
}

/// Why a family doesn't live, for what hangs on it: killed, suspended, expired or forgotten.
fn family_dead(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    family: FamilyId,
    bound_at: Position,
    now: UnixMs,
) -> Result<Option<RevokedBy>, TablesError> {
    let by_itself = |at| RevokedBy {
        cause: RevocationCause::Family,
        position: Position::default(),
        at,
        reason: None,
    };
    let loaded = family::load(tables, id, tenant, family, now)?;
    let Some(loaded) = loaded.filter(|loaded| loaded.row.created <= bound_at) else {
        return Ok(Some(by_itself(UnixMs::default())));
    };
    Ok(match loaded.standing(now, now).refusal() {
        None => None,
        Some(Refusal::Revoked(by)) => Some(by),
        Some(Refusal::Expired { idle, .. }) => Some(by_itself(idle)),
        Some(_) => Some(by_itself(UnixMs::default())),
    })
}
