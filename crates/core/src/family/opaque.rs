//! Opaque tokens: minted by an authorization server of its own making, known here by the digest of
//! their text alone.
//!
//! ```text
//!  digest ──► (family, life, generation)        one row a token: who presents one is found by it
//!  (family, life, generation) ──► digest        one row a token: what is to be forgotten is found
//! ```
//!
//! Outside the family's row, which stays as small as a native one's. A native token proves itself
//! by its mac for ever; an opaque one is known as long as its row is kept: the head, the newest
//! `ancestors_max` generations behind it, and the aliases of the head and of its predecessor. Each
//! rotation adds one generation and forgets one.
//!
//! **Aliases** are for frameworks that mint before the store answers and can't hand out the
//! winner's token: within grace a loser's own successor may stand for the winner's. It is of the
//! same generation, so the chain stays a path. At the next rotation aliases are spent with their
//! generation, whichever of them rotated, and at the one after that they are forgotten.
//!
//! The id of a forgotten family may be taken again while the sweep has yet to forget its digests:
//! they belong to a *life* of the id, named by where it was created, and are known no more.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{FORMAT, decode_row, encode};
use crate::command::{Presented, PresentedToken};
use crate::expiry::{self, Fate};
use crate::ids::{DurationMs, FamilyId, Generation, Kid, Position, SecretDigest, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::reply::Replies;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::{FamilyRow, Loaded};

/// The key that opaque tokens have no mac of.
pub(crate) const NO_KEY: Kid = Kid(0);

/// What a digest leads to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ancestor {
    pub(crate) family: FamilyId,
    /// Which life of the family's id.
    created: Position,
    pub(crate) generation: Generation,
    /// Where it became known.
    pub(crate) position: Position,
    /// When it became known.
    pub(crate) at: UnixMs,
}

impl Ancestor {
    /// Whether it is the newest token of this family, or stands for it.
    pub(crate) fn is_head_of(&self, family: FamilyId, row: &FamilyRow) -> bool {
        let head = (family, row.created, row.head.generation);
        (self.family, self.created, self.generation) == head
    }
}

/// The family that a digest belongs to, if it is known. What the sweep could have forgotten is not.
pub(crate) fn find(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    digest: SecretDigest,
    now: UnixMs,
) -> Result<Option<(Ancestor, Loaded)>, TablesError> {
    let Some(row) = tables.get(&keys::ancestor(id, digest))? else { return Ok(None) };
    let ancestor: Ancestor = decode_row(&row)?;
    let Some(loaded) = super::load(tables, id, tenant, ancestor.family, now)? else {
        return Ok(None);
    };
    let row = &loaded.row;
    let same_life = row.created == ancestor.created;
    if !same_life || row.ends_at().passed(limits::RETENTION, now) {
        return Ok(None);
    }
    let chain = row.opaque.as_ref().expect("only families of opaque tokens have digests");
    let Some(gap) = row.head.generation.0.checked_sub(ancestor.generation.0) else {
        panic!("a digest of a generation that never was");
    };
    assert!(gap <= u64::from(chain.ancestors_max), "a rotation forgot to forget");
    Ok(Some((ancestor, loaded)))
}

/// The family of a presented token, and the token as if it was native: its digest is one of the
/// generation that it names. `None` if there is no such token.
pub(crate) fn resolve(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    presented: &Presented,
    now: UnixMs,
) -> Result<Option<(PresentedToken, Loaded)>, TablesError> {
    match *presented {
        Presented::Native(token) => {
            let loaded = super::load(tables, id, tenant, token.family, now)?;
            // Nobody was ever given a native token of a family of opaque ones.
            let loaded = loaded.filter(|loaded| loaded.row.opaque.is_none());
            Ok(loaded.map(|loaded| (token, loaded)))
        }
        Presented::Opaque(digest) => {
            let found = find(tables, id, tenant, digest, now)?;
            Ok(found.map(|(Ancestor { family, generation, .. }, loaded)| {
                (PresentedToken { kid: NO_KEY, family, generation, digest }, loaded)
            }))
        }
    }
}

/// Makes a digest known, as one of `generation`.
pub(crate) fn remember<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    family: FamilyId,
    created: Position,
    generation: Generation,
    digest: SecretDigest,
) -> Result<(), TablesError> {
    let (position, at) = (turn.position, turn.now);
    let ancestor = Ancestor { family, created, generation, position, at };
    // One that is known no more may be there still, if no sweep came by.
    let key = keys::ancestor(id, digest);
    let old = turn.tables.get(&key)?;
    turn.put(key, old.as_ref(), encode(&ancestor));
    let (links, _) = keys::links_of(id, family, created, generation);
    turn.put(keys::link(links, digest), None, vec![FORMAT]);
    Ok(())
}

/// Makes the first digest of a new family known, and sees to its being forgotten one day.
pub(crate) fn begin<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    family: FamilyId,
    row: &FamilyRow,
) -> Result<(), TablesError> {
    remember(turn, id, family, row.created, row.head.generation, row.head.digest)?;
    let chain = keys::chain(id, family, row.created);
    expiry::schedule_new(turn, &chain, None, row.ends_at().plus(limits::RETENTION));
    turn.put(chain, None, vec![FORMAT]);
    Ok(())
}

/// Follows a rotation that `row` has gone through already: the successor is known, the aliases of
/// the generation before the last are not, and neither is the oldest generation.
pub(crate) fn follow<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    family: FamilyId,
    row: &mut FamilyRow,
) -> Result<(), TablesError> {
    let (created, head) = (row.created, row.head.clone());
    let chain = row.opaque.as_mut().expect("a family of opaque tokens");
    let forgotten_aliases = std::mem::replace(&mut chain.spent_aliases, chain.aliases);
    chain.aliases = 0;
    let oldest = head.generation.0.checked_sub(u64::from(chain.ancestors_max) + 1);
    if forgotten_aliases > 0 {
        // They were of the generation that is in the second place of the ring now.
        let kept = row.ring.get(1).map(|spent| spent.digest);
        let generation = Generation(head.generation.0 - 2);
        forget_generation(turn, id, family, created, generation, kept)?;
    }
    if let Some(oldest) = oldest {
        forget_generation(turn, id, family, created, Generation(oldest), None)?;
    }
    remember(turn, id, family, created, head.generation, head.digest)
}

fn forget_generation<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    family: FamilyId,
    created: Position,
    generation: Generation,
    kept: Option<SecretDigest>,
) -> Result<(), TablesError> {
    let (from, to) = keys::links_of(id, family, created, generation);
    let links = turn.tables.scan(&from, &to, usize::from(limits::ALIASES_MAX) + 1)?;
    for (link, value) in links {
        if keys::link_target(&link) != kept {
            forget(turn, id, (family, created), &link, &value)?;
        }
    }
    Ok(())
}

/// Removes a link and its digest, unless that has become another life's.
fn forget<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    (family, created): (FamilyId, Position),
    link: &[u8],
    value: &Bytes,
) -> Result<(), TablesError> {
    turn.delete(link, value);
    let Some(digest) = keys::link_target(link) else { return Ok(()) };
    let key = keys::ancestor(id, digest);
    if let Some(row) = turn.tables.get(&key)? {
        let ancestor: Ancestor = decode_row(&row)?;
        if (ancestor.family, ancestor.created) == (family, created) {
            turn.delete(&key, &row);
        }
    }
    Ok(())
}

/// The sweep's look at a chain, which may cost `rows_max` more rows: nobody asks for the digests of
/// a family that ended longer than the retention ago.
pub(crate) fn visit<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    key: &[u8],
    rows_max: u32,
) -> Result<Fate, TablesError> {
    let (id, family, created) = keys::chain_of(key).expect("only chains of their kind are due");
    if let Some(row) = turn.tables.get(&keys::family(&id, family))? {
        let row = FamilyRow::decode(&row)?;
        let ends_at = row.ends_at().plus(limits::RETENTION);
        if row.created == created && ends_at > turn.now {
            return Ok(Fate::Later(ends_at, None));
        }
    }
    let (from, to) = keys::links(&id, family, created);
    let links_max = limits::ANCESTORS_RECLAIMED.min(rows_max as usize / 2).max(1);
    let links = turn.tables.scan(&from, &to, links_max)?;
    let rows = 2 * links.len() as u32;
    for (link, value) in &links {
        forget(turn, &id, (family, created), link, value)?;
    }
    let next = (links.len() == links_max).then(|| turn.now.plus(DurationMs(1)));
    Ok(Fate::Bulk { rows, next })
}
