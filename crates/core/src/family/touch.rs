//! `Touch`: the client's word that its newest token arrived. Its predecessor is answered for a
//! moment longer ([`limits::SETTLE`]), and then no more.
//!
//! Only the first confirmation of a token is kept, so a repetition changes nothing and needs no
//! memory of its own.

use crate::command::{RequestName, Touch};
use crate::ids::TenantId;
#[cfg(doc)]
use crate::limits;
use crate::reply::{Done, EventKind, Refusal, Replies};
use crate::tables::{Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::{Place, opaque};

pub(crate) fn touch<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    request: RequestName,
    wish: &Touch,
) -> Result<Result<Done, Refusal>, TablesError> {
    let found = opaque::resolve(turn.tables, id, tenant, &wish.token, turn.now)?;
    let Some((token, mut loaded)) = found else { return Ok(Err(Refusal::NotFound)) };
    let at = turn.now.minus(request.age);
    if let Some(refusal) = loaded.standing(turn.now, at).refusal() {
        return Ok(Err(refusal));
    }
    let head = loaded.row.head.generation;
    match loaded.row.place(&token) {
        Place::Foreign => {
            let presented = token.generation;
            turn.event(id, Some(token.family), EventKind::Integrity { presented, head });
            Ok(Err(Refusal::Integrity { head }))
        }
        Place::Ring(_) | Place::Older => Ok(Ok(Done::Superseded { head })),
        Place::Head => {
            if loaded.row.head.confirmed_at.is_none() {
                loaded.row.head.confirmed_at = Some(turn.now);
                loaded.row.erase_old_seal(turn.now);
                turn.put(loaded.key, Some(&loaded.bytes), loaded.row.encode());
            }
            Ok(Ok(Done::Touched))
        }
    }
}
