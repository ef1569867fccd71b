//! What may be shown of sessions, one by one and in pages.

use bytes::Bytes;

use crate::ids::{ClientId, SessionId, SubjectId, TenantId, UnixMs};
use crate::limits;
use crate::reply::{Page, Refusal, SessionView};
use crate::standing::Standing;
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;

use super::{Loaded, index};

/// A session as it may be shown, dead ones with the cause.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`], or
/// [`Refusal::NotFound`] if it never was or ended longer than [`limits::RETENTION`] ago.
pub fn session<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    session: &SessionId,
) -> Result<Result<SessionView, Refusal>, TablesError> {
    let loaded = match known(tables, now, tenant, session)? {
        Ok(loaded) => loaded,
        Err(refusal) => return Ok(Err(refusal)),
    };
    Ok(Ok(view(session.clone(), loaded, now)))
}

/// The sessions of a subject, without their payloads: up to `rows_max` are looked at, behind
/// `after`. Those that are dead are shown only if `ended` is asked for, and until their retention
/// is over: so there may be fewer rows, even none, and a next page.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside: [`Refusal::TenantUnknown`].
pub fn sessions<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    subject: &SubjectId,
    after: Option<&SessionId>,
    rows_max: u32,
    ended: bool,
) -> Result<Result<Page<SessionView, SessionId>, Refusal>, TablesError> {
    let Some(known) = Tenant::load(tables, tenant)? else {
        return Ok(Err(Refusal::TenantUnknown));
    };
    let most = rows_max.clamp(1, limits::PAGE_ROWS_MAX) as usize;
    let (names, more) = index::sessions(tables, tenant, subject, after, most, now)?;
    let next = names.last().filter(|_| more).cloned();
    let mut rows = Vec::new();
    for session in names {
        let Some(loaded) = super::load(tables, tenant, &known, &session, now)? else { continue };
        let shown = match loaded.standing(now) {
            Standing::Gone => false,
            Standing::Alive => true,
            _ => ended,
        };
        if shown {
            rows.push(SessionView { payload: Bytes::new(), ..view(session, loaded, now) });
        }
    }
    Ok(Ok(Page { rows, next }))
}

/// The clients that families of a session were bound for, in the order of their names' lengths and
/// bytes: up to `rows_max` of them, behind `after`. Readable as long as the session is.
///
/// # Errors
/// [`TablesError`] if the store below failed. Inside, as for [`session`].
pub fn session_clients<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    session: &SessionId,
    after: Option<&ClientId>,
    rows_max: u32,
) -> Result<Result<Page<ClientId, ClientId>, Refusal>, TablesError> {
    let loaded = match known(tables, now, tenant, session)? {
        Ok(loaded) => loaded,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let most = rows_max.clamp(1, limits::PAGE_ROWS_MAX) as usize;
    let created = loaded.row.created;
    let page = index::clients(tables, tenant, session, created, after, most)?;
    let next = page.clients.last().filter(|_| page.more).cloned();
    Ok(Ok(Page { rows: page.clients, next }))
}

/// A session that answers may still name.
fn known<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    session: &SessionId,
) -> Result<Result<Loaded, Refusal>, TablesError> {
    let Some(known) = Tenant::load(tables, tenant)? else {
        return Ok(Err(Refusal::TenantUnknown));
    };
    let loaded = super::load(tables, tenant, &known, session, now)?;
    let loaded = loaded.filter(|loaded| loaded.standing(now) != Standing::Gone);
    Ok(loaded.ok_or(Refusal::NotFound))
}

fn view(session: SessionId, loaded: Loaded, now: UnixMs) -> SessionView {
    let dead = loaded.standing(now).refusal();
    let row = loaded.row;
    SessionView {
        session,
        subject: row.subject,
        device: row.device,
        attributes: row.attributes,
        payload: row.payload,
        version: row.version,
        clients: row.clients,
        created: row.created,
        created_at: row.created_at,
        authenticated_at: row.authenticated_at,
        touched_at: row.touched_at,
        expires_at: row.expires_at,
        idle_expires_at: row.idle_expires_at,
        dead,
    }
}
