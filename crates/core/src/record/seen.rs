//! `SeenOnce`: whether a proof (a client assertion, RFC 7523; a DPoP proof, RFC 9449 §11.1) is
//! shown for the first time.

use serde::{Deserialize, Serialize};

use crate::codec::{decode_row, encode};
use crate::command::SeenOnce;
use crate::expiry;
use crate::ids::{TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::reply::{Done, Refusal, Replies};
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

/// A proof that was shown, until it ends by itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) expires_at: UnixMs,
}

pub(crate) fn seen_once<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &SeenOnce,
) -> Result<Result<Done, Refusal>, TablesError> {
    let expires_at = wish.expires_at;
    if turn.now >= expires_at {
        return Ok(Err(Refusal::Expired { absolute: expires_at, idle: expires_at }));
    }
    if expires_at > turn.now.plus(limits::SEEN_LIFETIME_MAX) {
        let problem = format!("give at most {} ms from now", limits::SEEN_LIFETIME_MAX.0);
        return Ok(Err(Refusal::invalid("expires_at", &problem)));
    }
    let key = keys::record::seen(id, &wish.kind, &wish.issuer, &wish.key);
    let old = turn.tables.get(&key)?;
    let known = old.as_ref().map(|row| decode_row::<Seen>(row)).transpose()?;
    let known = known.map_or(UnixMs(0), |seen| seen.expires_at);
    if expires_at > known {
        // Also of a replay: told once that it is one, it stays one.
        expiry::schedule_new(turn, &key, old.as_ref(), expires_at);
        turn.put(key, old.as_ref(), encode(&Seen { expires_at }));
    }
    // It may have been shown between a backup and the restore from it.
    let restored = tenant.restored.as_ref().filter(|restored| !restored.kept);
    let uncertain = restored.is_some_and(|restored| expires_at <= restored.proofs_until);
    Ok(if uncertain || turn.now < known { Err(Refusal::Replay) } else { Ok(Done::Fresh) })
}
