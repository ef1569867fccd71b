//! `Suspend` and `Resume`: a root that is dead for a while.
//!
//! A suspension is judged like a revocation, but for three things: it looks at no origin, it starts
//! no retention, and it ends. Lifetimes go on meanwhile. Nothing that was killed otherwise comes
//! back with it.
//!
//! That of a subject, client or tenant is a pinned row, looked up only where the tenant's row says
//! that such a one was ever made. That of a family stands in the family's own row.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::admission;
use crate::codec::{decode_row, encode};
use crate::command::{Resume, Suspend, Suspendable};
use crate::family;
use crate::ids::{ClientId, FamilyId, Position, SubjectId, TenantId, UnixMs};
use crate::keys;
use crate::reply::{Done, EventKind, Refusal, Replies, RevocationCause, RevokedBy};
use crate::roots;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::{self, Tenant};
use crate::turn::Turn;

/// Since when, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suspended {
    position: Position,
    at: UnixMs,
    reason: Option<Arc<str>>,
}

impl Suspended {
    /// As it is answered.
    pub(crate) fn by(self) -> RevokedBy {
        let Self { position, at, reason } = self;
        RevokedBy { cause: RevocationCause::Suspension, position, at, reason }
    }
}

/// Kinds of roots with a row of their own, as bits of the tenant's row.
pub(crate) const SUBJECT: u8 = 1;
pub(crate) const CLIENT: u8 = 2;
pub(crate) const TENANT: u8 = 4;

/// What suspends a thing by the names of its roots, the first of all.
pub(crate) fn suspended_by(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    subject: Option<&str>,
    client: Option<&str>,
) -> Result<Option<RevokedBy>, TablesError> {
    let mut first = None;
    let named = [(SUBJECT, subject), (CLIENT, client), (TENANT, Some(""))];
    for (kind, name) in named {
        let (true, Some(name)) = (tenant.suspensions & kind != 0, name) else { continue };
        if let Some(row) = tables.get(&keys::suspension(id, kind, name))? {
            let suspended: Suspended = decode_row(&row)?;
            first = roots::first(first, Some(suspended.by()));
        }
    }
    Ok(first)
}

/// `Suspend`: one row, effective at its position. The first of several stays.
pub(crate) fn suspend<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &Suspend,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::reason(wish.reason.as_ref()) {
        return Ok(Err(refusal));
    }
    let reason = wish.reason.clone();
    let suspended = Suspended { position: turn.position, at: turn.now, reason };
    let (kind, key) = match &wish.what {
        Suspendable::Family(family) => {
            return change_family(turn, id, tenant, *family, &wish.what, Some(suspended));
        }
        what => named(id, what),
    };
    if turn.tables.get(&key)?.is_some() {
        return Ok(Ok(Done::Suspended { already: true }));
    }
    turn.put(key, None, encode(&suspended));
    if tenant.suspensions & kind == 0 {
        let suspensions = tenant.suspensions | kind;
        tenant::store(turn, id, &Tenant { suspensions, ..tenant.clone() })?;
    }
    turn.event(id, None, EventKind::Suspended { what: wish.what.clone() });
    Ok(Ok(Done::Suspended { already: false }))
}

/// `Resume`: the row goes. What was not killed otherwise lives on.
pub(crate) fn resume<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &Resume,
) -> Result<Result<Done, Refusal>, TablesError> {
    let key = match &wish.what {
        Suspendable::Family(family) => {
            return change_family(turn, id, tenant, *family, &wish.what, None);
        }
        what => named(id, what).1,
    };
    let Some(old) = turn.tables.get(&key)? else {
        return Ok(Ok(Done::Resumed { already: true }));
    };
    turn.delete(&key, &old);
    turn.event(id, None, EventKind::Resumed { what: wish.what.clone() });
    Ok(Ok(Done::Resumed { already: false }))
}

/// The kind and key of a root that has a row of its own.
fn named(id: &TenantId, what: &Suspendable) -> (u8, Vec<u8>) {
    let (kind, name) = match what {
        Suspendable::Subject(subject) => (SUBJECT, subject.as_str()),
        Suspendable::Client(client) => (CLIENT, client.as_str()),
        Suspendable::Tenant => (TENANT, ""),
        Suspendable::Family(_) => unreachable!("a family's suspension stands in its own row"),
    };
    (kind, keys::suspension(id, kind, name))
}

/// The root that a row is about.
pub(crate) fn what(kind: u8, name: &str) -> Option<Suspendable> {
    match kind {
        SUBJECT => SubjectId::new(name).ok().map(Suspendable::Subject),
        CLIENT => ClientId::new(name).ok().map(Suspendable::Client),
        TENANT => Some(Suspendable::Tenant),
        _ => None,
    }
}

/// A family that is dead or expired is neither suspended nor resumed: the answer says what it is.
fn change_family<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    family: FamilyId,
    what: &Suspendable,
    suspended: Option<Suspended>,
) -> Result<Result<Done, Refusal>, TablesError> {
    let loaded = family::load(turn.tables, id, tenant, family, turn.now)?;
    let Some(loaded) = loaded else { return Ok(Err(Refusal::NotFound)) };
    let mut loaded = loaded.without_suspension();
    if let Some(refusal) = loaded.standing(turn.now, turn.now).refusal() {
        return Ok(Err(refusal));
    }
    let (already, suspends) =
        (loaded.row.suspended.is_some() == suspended.is_some(), suspended.is_some());
    if !already {
        loaded.row.suspended = suspended;
        turn.put(loaded.key, Some(&loaded.bytes), loaded.row.encode());
        let what = what.clone();
        let kind =
            if suspends { EventKind::Suspended { what } } else { EventKind::Resumed { what } };
        turn.event(id, Some(family), kind);
    }
    Ok(Ok(if suspends { Done::Suspended { already } } else { Done::Resumed { already } }))
}
