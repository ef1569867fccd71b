//! The memory of requests: why a retry is never judged twice.
//!
//! A judged reply is kept in a row under (tenant, request id), with a digest of the request, for
//! twice [`limits::REQUEST_TTL`]: no request that is young enough to be admitted can be older than
//! what remembers it. Refusals too: a late copy of what was refused must not succeed. The reply's
//! row, its entry in the expiry index and what the command did are one change: a crash keeps all
//! of it or nothing.
//!
//! Not here: rotations are remembered in their family's row, `Touch` can be repeated as it is, and
//! `Renew` is judged anew each time. An `Acquire` that waits is here, and its row is changed when
//! it is granted.
//! So that a rotation stays one read and one write, its name is told from others of its family
//! only, not from those of other kinds of requests.

use serde::{Deserialize, Serialize};

use crate::codec::{decode_row, encode};
use crate::command::{Operation, RequestName};
use crate::digest::bytes_digest;
use crate::expiry;
use crate::family;
use crate::ids::{
    DurationMs, FamilyId, KeyDigest, RecordKind, RequestId, SessionId, TenantId, UnixMs,
};
use crate::keys;
use crate::limits;
use crate::record;
use crate::reply::{Refusal, Replies, Reply};
use crate::session;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::turn::Turn;

/// How long a reply is remembered.
pub(crate) const REMEMBERED: DurationMs = DurationMs(2 * limits::REQUEST_TTL.0);

/// A remembered reply.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// Digest of the request that it answered.
    request: u128,
    /// What a success told to be alive.
    alive: Option<Alive>,
    reply: Reply,
}

/// What a success may have told to be alive.
#[derive(Debug, Serialize, Deserialize)]
enum Alive {
    Family(FamilyId),
    Session(SessionId),
    Record(RecordKind, KeyDigest),
}

impl Remembered {
    pub(crate) fn forgotten_at(&self) -> UnixMs {
        self.reply.at.plus(REMEMBERED)
    }
}

/// Digest of what a request asks for: not of its age, and not of randomness that the node adds.
pub(crate) fn digest(operation: &Operation) -> u128 {
    let bytes = match operation {
        Operation::CreateTenant(wish) => encode(&("CreateTenant", &wish.settings)),
        Operation::RotateTenantKey(_) => encode(&"RotateTenantKey"),
        other => encode(other),
    };
    bytes_digest(&bytes)
}

/// The reply to an earlier attempt of this request, or the refusal of another under its name.
pub(crate) fn recall<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    name: RequestName,
    request: u128,
) -> Result<Option<Reply>, TablesError> {
    let Some(row) = turn.tables.get(&keys::reply(id, name.id))? else { return Ok(None) };
    let remembered: Remembered = decode_row(&row)?;
    if turn.now >= remembered.forgotten_at() {
        return Ok(None);
    }
    if remembered.request != request {
        return Ok(Some(turn.reply(Err(Refusal::NameReused))));
    }
    if let (Some(alive), Some(tenant)) = (&remembered.alive, turn.tenant(id)?) {
        let dead = match alive {
            Alive::Family(family) => family::dead_by(turn.tables, id, &tenant, *family, turn.now)?,
            Alive::Session(session) => {
                session::dead_by(turn.tables, id, &tenant, session, turn.now)?
            }
            Alive::Record(kind, key) => {
                record::dead_by(turn.tables, id, &tenant, kind, key, turn.now)?
            }
        };
        if let Some(by) = dead {
            return Ok(Some(turn.reply(Err(Refusal::Revoked(by)))));
        }
    }
    Ok(Some(remembered.reply))
}

/// Keeps the reply to this request.
pub(crate) fn remember<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    name: RequestName,
    request: u128,
    operation: &Operation,
    reply: &Reply,
) -> Result<(), TablesError> {
    let alive = match operation {
        Operation::CreateFamily(wish) => Some(Alive::Family(wish.family)),
        Operation::UpdateFamily(wish) => Some(Alive::Family(wish.family)),
        Operation::CreateSession(wish) => Some(Alive::Session(wish.session.clone())),
        Operation::TouchSession(wish) => Some(Alive::Session(wish.session.clone())),
        Operation::PutRecord(wish) => Some(Alive::Record(wish.kind.clone(), wish.key)),
        Operation::Consume(wish) => Some(Alive::Record(wish.kind.clone(), wish.key)),
        _ => None,
    };
    let alive = alive.filter(|_| reply.outcome.is_ok());
    let remembered = Remembered { request, alive, reply: reply.clone() };
    let key = keys::reply(id, name.id);
    let old = turn.tables.get(&key)?;
    expiry::schedule_new(turn, &key, old.as_ref(), remembered.forgotten_at());
    turn.put(key, old.as_ref(), encode(&remembered));
    Ok(())
}

/// The reply that is remembered under a name, whatever was asked; past its time or not.
pub(crate) fn remembered(
    tables: &impl ReadTables,
    id: &TenantId,
    request: RequestId,
) -> Result<Option<Reply>, TablesError> {
    let Some(row) = tables.get(&keys::reply(id, request))? else { return Ok(None) };
    Ok(Some(decode_row::<Remembered>(&row)?.reply))
}

/// Replaces what is remembered by what came of it later: a wait that has ended with a grant.
pub(crate) fn amend<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    request: RequestId,
    reply: &Reply,
) -> Result<(), TablesError> {
    let key = keys::reply(id, request);
    let Some(row) = turn.tables.get(&key)? else { return Ok(()) };
    let mut remembered: Remembered = decode_row(&row)?;
    remembered.reply = reply.clone();
    turn.put(key, Some(&row), encode(&remembered));
    Ok(())
}
