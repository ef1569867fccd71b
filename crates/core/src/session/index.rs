//! The two indexes of sessions: those of a subject, and the clients of each.
//!
//! ```text
//!  OfSubject │ subject │ session      made with the session
//!  Clients   │ session │ client       made with the first family of a client that is bound to it
//! ```
//!
//! An entry is made in the same entry of the log as what it is about, and forgotten with its
//! session. What is past that, or of an earlier session under the same name, is not there to
//! anyone, whether or not a sweep came by. So the end of a session reads a bounded list, and no
//! family.

use serde::{Deserialize, Serialize};

use crate::codec::{decode_row, encode};
use crate::expiry;
use crate::ids::{ClientId, Position, SessionId, SubjectId, TenantId, UnixMs};
use crate::keys::{self, SessionIndex};
use crate::limits;
use crate::reply::{Refusal, Replies};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::turn::Turn;

use super::{Loaded, SessionRow};

/// An entry of an index.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IndexRow {
    /// Creation of its session: another one of that name is not meant.
    pub(super) session: Position,
    /// When its session is forgotten, and it too.
    forgotten_at: UnixMs,
}

impl IndexRow {
    pub(crate) fn forgotten_at(&self) -> UnixMs {
        self.forgotten_at
    }
}

/// The key of a session in the index of its subject.
pub(super) fn of_subject(id: &TenantId, subject: &SubjectId, session: &SessionId) -> Vec<u8> {
    let prefix = keys::session_index(id, SessionIndex::OfSubject, subject.as_str());
    keys::session_entry(prefix, session.as_str())
}

/// Writes an entry of an index about this session. Whether it is new.
pub(super) fn enter<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    key: Vec<u8>,
    session: &SessionRow,
) -> Result<bool, TablesError> {
    // One of an earlier session may still be there, if no sweep came by.
    let old = turn.tables.get(&key)?;
    if let Some(old) = &old
        && decode_row::<IndexRow>(old)?.session == session.created
    {
        return Ok(false);
    }
    let row = IndexRow { session: session.created, forgotten_at: session.forgotten_at() };
    expiry::schedule_new(turn, &key, old.as_ref(), row.forgotten_at);
    turn.put(key, old.as_ref(), encode(&row));
    Ok(true)
}

/// Notes that a family for `client` is bound to a session.
///
/// Refused if that would be one client too many: then nothing was changed.
pub(crate) fn bind<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    session: &SessionId,
    mut loaded: Loaded,
    client: &ClientId,
) -> Result<Result<(), Refusal>, TablesError> {
    let prefix = keys::session_index(id, SessionIndex::Clients, session.as_str());
    let key = keys::session_entry(prefix, client.as_str());
    let known = match turn.tables.get(&key)? {
        Some(row) => decode_row::<IndexRow>(&row)?.session == loaded.row.created,
        None => false,
    };
    if known {
        return Ok(Ok(()));
    }
    if loaded.row.clients as usize >= limits::SESSION_CLIENTS_MAX {
        return Ok(Err(Refusal::limit("SESSION_CLIENTS_MAX", limits::SESSION_CLIENTS_MAX)));
    }
    enter(turn, key, &loaded.row)?;
    loaded.row.clients += 1;
    turn.put(loaded.key, Some(&loaded.bytes), encode(&loaded.row));
    Ok(Ok(()))
}

/// A page of clients, in the order of their names' lengths and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clients {
    pub(super) clients: Vec<ClientId>,
    /// Whether there are more behind the last one.
    pub(super) more: bool,
}

/// Up to `most` clients of the session made at `created`, behind `after`.
pub(super) fn clients(
    tables: &impl ReadTables,
    id: &TenantId,
    session: &SessionId,
    created: Position,
    after: Option<&ClientId>,
    most: usize,
) -> Result<Clients, TablesError> {
    let prefix = keys::session_index(id, SessionIndex::Clients, session.as_str());
    let after = after.map(ClientId::as_str);
    let (names, more) = page(tables, &prefix, after, most, |row| row.session == created)?;
    let clients = names.iter().filter_map(|name| ClientId::new(name).ok()).collect();
    Ok(Clients { clients, more })
}

/// Up to `most` sessions of a subject that are not forgotten, behind `after`; and whether there are
/// more.
pub(super) fn sessions(
    tables: &impl ReadTables,
    id: &TenantId,
    subject: &SubjectId,
    after: Option<&SessionId>,
    most: usize,
    now: UnixMs,
) -> Result<(Vec<SessionId>, bool), TablesError> {
    let prefix = keys::session_index(id, SessionIndex::OfSubject, subject.as_str());
    let after = after.map(SessionId::as_str);
    let (names, more) = page(tables, &prefix, after, most, |row| now < row.forgotten_at)?;
    Ok((names.iter().filter_map(|name| SessionId::new(name).ok()).collect(), more))
}

/// Up to `most` entries under `prefix` that are `there`, behind the one about `after`; and whether
/// there are more. What a sweep has yet to take counts for nothing.
fn page(
    tables: &impl ReadTables,
    prefix: &[u8],
    after: Option<&str>,
    most: usize,
    there: impl Fn(&IndexRow) -> bool,
) -> Result<(Vec<String>, bool), TablesError> {
    let end = keys::session_entries_end(prefix);
    let mut from = prefix.to_vec();
    if let Some(after) = after {
        from = keys::session_entry(from, after);
        // The smallest key behind that one.
        from.push(0);
    }
    let mut names = Vec::new();
    loop {
        let rows = tables.scan(&from, &end, most + 1)?;
        let last = rows.len() <= most;
        for (key, row) in rows {
            if let Some(name) = keys::session_entry_of(prefix, &key)
                && there(&decode_row(&row)?)
            {
                if names.len() == most {
                    return Ok((names, true));
                }
                names.push(name.to_owned());
            }
            from = [&key[..], &[0]].concat();
        }
        if last {
            return Ok((names, false));
        }
    }
}
