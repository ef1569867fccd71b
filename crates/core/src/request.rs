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
use crate::command::{Operation, Part, RequestName};
use crate::digest::bytes_digest;
use crate::expiry;
use crate::family;
use crate::ids::{
    DurationMs, FamilyId, KeyDigest, RecordKind, RequestId, SessionId, TenantId, UnixMs,
};
use crate::keys;
use crate::limits;
use crate::record;
use crate::reply::{Done, Ran, Refusal, Replies, Reply, RevokedBy};
use crate::session;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

/// How long a reply is remembered.
pub(crate) const REMEMBERED: DurationMs = DurationMs(2 * limits::REQUEST_TTL.0);

/// A remembered reply.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// Digest of the request that it answered.
    request: u128,
    /// What a success told to be alive.
    alive: Vec<Alive>,
    reply: Reply,
}

/// What a success may have told to be alive.
#[derive(Debug, Serialize, Deserialize)]
enum Alive {
    Family(FamilyId),
    Session(SessionId),
    Record(RecordKind, KeyDigest),
}

impl Alive {
    /// What an operation of a transaction told to be alive.
    fn told_by(part: &Part, answer: &Reply) -> Option<Self> {
        Some(match (part, &answer.outcome) {
            (Part::CreateFamily(wish), _) => Self::Family(wish.family),
            (Part::UpdateFamily(wish), _) => Self::Family(wish.family),
            (_, Ok(Done::Rotated(it))) => Self::Family(it.family),
            (_, Ok(Done::Replayed(it))) => Self::Family(it.rotated.family),
            (_, Ok(Done::Adopted(it))) => Self::Family(it.rotated.family),
            (Part::CreateSession(wish), _) => Self::Session(wish.session.clone()),
            (Part::TouchSession(wish), _) => Self::Session(wish.session.clone()),
            (Part::PutRecord(wish), _) => Self::Record(wish.kind.clone(), wish.key),
            (Part::Consume(wish), _) => Self::Record(wish.kind.clone(), wish.key),
            _ => return None,
        })
    }

    /// What killed or suspends it, if something does.
    fn dead_by(
        &self,
        tables: &impl ReadTables,
        id: &TenantId,
        tenant: &Tenant,
        now: UnixMs,
    ) -> Result<Option<RevokedBy>, TablesError> {
        match self {
            Self::Family(family) => family::dead_by(tables, id, tenant, *family, now),
            Self::Session(session) => session::dead_by(tables, id, tenant, session, now),
            Self::Record(kind, key) => record::dead_by(tables, id, tenant, kind, key, now),
        }
    }
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
    if let (false, Some(tenant)) = (remembered.alive.is_empty(), turn.tenant(id)?) {
        for alive in &remembered.alive {
            if let Some(by) = alive.dead_by(turn.tables, id, &tenant, turn.now)? {
                return Ok(Some(turn.reply(Err(Refusal::Revoked(by)))));
            }
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
    let alive = told_alive(turn, id, operation, reply)?;
    let remembered = Remembered { request, alive, reply: reply.clone() };
    let key = keys::reply(id, name.id);
    let old = turn.tables.get(&key)?;
    expiry::schedule_new(turn, &key, old.as_ref(), remembered.forgotten_at());
    turn.put(key, old.as_ref(), encode(&remembered));
    Ok(())
}

/// What the answer to an operation told to be alive.
fn told_alive<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    operation: &Operation,
    reply: &Reply,
) -> Result<Vec<Alive>, TablesError> {
    let Ok(done) = &reply.outcome else { return Ok(Vec::new()) };
    Ok(match (operation, done) {
        (Operation::CreateFamily(wish), _) => vec![Alive::Family(wish.family)],
        (Operation::UpdateFamily(wish), _) => vec![Alive::Family(wish.family)],
        (Operation::CreateSession(wish), _) => vec![Alive::Session(wish.session.clone())],
        (Operation::TouchSession(wish), _) => vec![Alive::Session(wish.session.clone())],
        (Operation::PutRecord(wish), _) => vec![Alive::Record(wish.kind.clone(), wish.key)],
        (Operation::Consume(wish), _) => vec![Alive::Record(wish.kind.clone(), wish.key)],
        (Operation::Transact(wish), Done::Transacted(it)) => {
            let (Ran::Through(answers), Some(tenant)) = (&it.ran, turn.tenant(id)?) else {
                return Ok(Vec::new());
            };
            let parts = wish.branch(it.unmet.is_none()).iter().zip(answers);
            let mut told = Vec::new();
            for alive in parts.filter_map(|(part, answer)| Alive::told_by(part, answer)) {
                // What a later operation of the same transaction killed was not told to be alive.
                if alive.dead_by(turn.tables, id, &tenant, turn.now)?.is_none() {
                    told.push(alive);
                }
            }
            told
        }
        _ => Vec::new(),
    })
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
