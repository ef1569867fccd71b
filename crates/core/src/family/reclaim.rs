//! The sweep's look at a family: gives back what no answer shows any more.

use bytes::Bytes;

use crate::expiry::Fate;
use crate::keys;
use crate::limits;
use crate::reply::Replies;
use crate::tables::{Tables, TablesError};
use crate::turn::Turn;

use super::{FamilyRow, index, next_visit, tidy};

pub(crate) fn visit<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    key: &[u8],
    bytes: &Bytes,
) -> Result<Fate, TablesError> {
    let mut row = FamilyRow::decode(bytes)?;
    let (id, family) = keys::family_of(key).expect("only keys of families are of their kind");
    let forgotten = turn.now >= row.forgotten_at();
    if forgotten || row.ends_at().passed(limits::RETENTION, turn.now) {
        index::remove(turn, &id, family, &row)?;
    }
    if forgotten {
        index::count_gone(turn, &id)?;
        return Ok(Fate::Remove);
    }
    let changed = tidy(&mut row, turn.now).then(|| row.encode());
    Ok(Fate::Later(next_visit(&row, turn.now), changed))
}
