//! `CreateFamily`: a new chain, with generation 0 as its head.
//!
//! Its origin is the oldest of what it is made from: the session that it is bound to, and the
//! position that was read when the user's credentials were checked. What was revoked since then
//! kills it before it is born.

use crate::admission;

use crate::command::CreateFamily;
use crate::expiry;
use crate::ids::{Generation, TenantId};
use crate::keys;
use crate::record::consume;
use crate::reply::{Done, FamilyCreated, Refusal, Replies, Rotated};
use crate::roots;
use crate::session::{self, SessionRow};
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::row::{Chain, FamilyRow, Head, next_visit};
use super::{cap, index, opaque};

pub(crate) fn create<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &CreateFamily,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::create_family(wish, &tenant.settings) {
        return Ok(Err(refusal));
    }
    if let Err(refusal) = admission::authenticated_at(wish.authenticated_at, turn.position) {
        return Ok(Err(refusal));
    }
    let code = match &wish.code {
        Some(code) => match consume::judge(turn, id, tenant, code)? {
            Ok(loaded) => Some((code, loaded)),
            Err(refusal) => return Ok(Err(consume::of_code(refusal))),
        },
        None => None,
    };
    let session = match &wish.session {
        None => None,
        Some(name) => {
            let (subject, now) = (&wish.subject, turn.now);
            match session::to_bind(turn.tables, id, tenant, name, subject, now)? {
                Ok(loaded) => Some((name, loaded)),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
    };
    let mut row = new_row(turn, tenant, wish, session.as_ref().map(|(_, loaded)| &loaded.row));
    if let Some((_, code)) = &code {
        // What was revoked since the code was made stays revoked.
        row.origin = row.origin.min(code.row.origin);
        let known = row.authenticated_at.into_iter().chain(code.row.authenticated_at);
        row.authenticated_at = known.min();
    }
    row.check();
    if let Some(by) = roots::suspended_by(turn.tables, id, tenant, &row.roots(wish.family))? {
        return Ok(Err(Refusal::Suspended(by)));
    }
    if let Some(by) = roots::dead_by(turn.tables, id, tenant, &row.roots(wish.family), turn.now)? {
        return Ok(Err(Refusal::Revoked(by)));
    }
    if super::load(turn.tables, id, tenant, wish.family, turn.now)?.is_some() {
        return Ok(Err(Refusal::AlreadyExists));
    }
    if wish.opaque && opaque::find(turn.tables, id, tenant, wish.digest, turn.now)?.is_some() {
        return Ok(Err(Refusal::DigestInUse));
    }
    let room = match cap::judge(turn, id, tenant, wish)? {
        Ok(room) => room,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // The last rule that may refuse: from here on rows change.
    if let Some((name, loaded)) = session
        && let Err(refusal) = session::bind(turn, id, name, loaded, &wish.client)?
    {
        return Ok(Err(refusal));
    }
    if let Some((code, loaded)) = code {
        consume::spend(turn, id, code, loaded, Some(wish.family));
    }
    let key = keys::family(id, wish.family);
    // A forgotten row may still be there, if no sweep came by.
    let old = turn.tables.get(&key)?;
    let evicted = room.take(turn, id, wish.family);
    if let Some(old) = &old {
        index::remove(turn, id, wish.family, &FamilyRow::decode(old)?)?;
        index::count_gone(turn, id)?;
    }
    expiry::schedule_new(turn, &key, old.as_ref(), next_visit(&row, turn.now));
    turn.put(key, old.as_ref(), row.encode());
    index::insert(turn, id, wish.family, &row);
    if wish.opaque {
        opaque::begin(turn, id, wish.family, &row)?;
    }
    let over_soft_quota = index::count_new(turn, id, &tenant.settings)?;
    Ok(Ok(Done::FamilyCreated(FamilyCreated {
        first: Rotated {
            family: wish.family,
            generation: row.head.generation,
            kid: (!wish.opaque).then_some(row.head.kid),
            expires_at: row.expires_at,
            idle_expires_at: row.idle_expires_at,
        },
        evicted,
        over_soft_quota,
    })))
}

fn new_row<T: Tables, R: Replies>(
    turn: &Turn<'_, T, R>,
    tenant: &Tenant,
    wish: &CreateFamily,
    session: Option<&SessionRow>,
) -> FamilyRow {
    let (now, settings) = (turn.now, &tenant.settings);
    // The tenant's maximum may have been lowered below a default, never below a wish: those were
    // refused.
    let expires_at = now.plus(wish.lifetime.unwrap_or(settings.family_lifetime_max));
    // With its session at the latest: so the session is known as long as the family is.
    let expires_at = session.map_or(expires_at, |session| expires_at.min(session.expires_at));
    let authenticated_at = match (wish.authenticated_at, session) {
        (Some(read), Some(session)) => Some(read.min(session.authenticated_at)),
        (read, session) => read.or(session.map(|session| session.authenticated_at)),
    };
    let idle = wish.idle.unwrap_or(settings.idle_default);
    FamilyRow {
        head: Head {
            generation: Generation(0),
            digest: wish.digest,
            kid: if wish.opaque { opaque::NO_KEY } else { tenant.kid },
            position: turn.position,
            made_at: now,
            confirmed_at: None,
            seal: None,
        },
        ring: Vec::new(),
        idle_expires_at: now.plus(idle).min(expires_at),
        arrival: now,
        ip: wish.ip.clone(),
        dead: None,
        suspended: None,
        opaque: wish.opaque.then_some(Chain {
            ancestors_max: settings.ancestors_max,
            aliases: 0,
            spent_aliases: 0,
        }),
        version: 1,
        updated: turn.position,
        subject: wish.subject.clone(),
        client: wish.client.clone(),
        device: wish.device.clone(),
        session: wish.session.clone(),
        binding: wish.binding.clone(),
        created: turn.position,
        created_at: now,
        origin: authenticated_at.unwrap_or(turn.position),
        authenticated_at,
        expires_at,
        idle,
        grace: wish.grace.unwrap_or(settings.grace_default),
        attributes: wish.attributes.clone(),
        payload: wish.payload.clone(),
    }
}
