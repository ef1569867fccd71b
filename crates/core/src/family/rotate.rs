//! What happens when a refresh token is presented for its successor: the contract's table, in its
//! order.
//!
//! [`judge`] decides, and changes nothing: apply and the read side share it. Grace, expiry and "was
//! it the head" are judged at the time when the token was first presented (the clock less the
//! request's age), so that waiting in a queue makes nobody a thief; retention and the rotation
//! limit go by the clock itself.
//!
//! Within grace a thief is not told from a sibling: that is what grace means (RFC 9700 §4.14.2
//! allows it for clients that lose answers). From then on the first spent token that comes back
//! ends the family, whoever holds the head.
//!
//! Native and opaque tokens obey the same table. What differs is how one is found (`opaque`), that
//! an opaque successor must not be known already, and that a loser may have its own adopted.

use bytes::Bytes;

use crate::admission;
use crate::command::{Binding, Losers, PresentedToken, RequestName, Rotate};
use crate::ids::{DurationMs, Generation, Position, TenantId, UnixMs};
use crate::limits;
use crate::reply::{
    Adopted, Done, EventKind, Refusal, Replayed, Replies, Reply, Reuse, ReuseClass,
    RevocationCause, RevokedBy, Rotated, Whence,
};
use crate::request::REMEMBERED;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::Tenant;
use crate::turn::Turn;

use super::Loaded;
use super::opaque::{self, Ancestor};
use super::row::{Place, Spent};

/// A token as it was presented, and when.
pub(crate) struct Presentation<'a> {
    pub(crate) wish: &'a Rotate,
    pub(crate) request: RequestName,
    /// The clock.
    pub(crate) now: UnixMs,
}

impl Presentation<'_> {
    /// When the token was first presented.
    fn at(&self) -> UnixMs {
        self.now.minus(self.request.age)
    }
}

/// A presentation, and all that was read for it.
pub(crate) struct Case {
    pub(crate) loaded: Loaded,
    /// What was presented, in its place of the chain.
    pub(crate) token: PresentedToken,
    /// What the successor's digest is known as already. Only opaque ones are looked up.
    taken: Option<Ancestor>,
}

impl Case {
    /// Where the presentation came from.
    fn whence(&self, shown: &Presentation<'_>) -> Whence {
        let (row, origin) = (&self.loaded.row, &shown.wish.origin);
        let device = row.device.as_ref().zip(origin.device.as_ref());
        let ip = row.ip.as_ref().zip(origin.ip.as_ref());
        Whence {
            same_device: device.map(|(known, from)| known == from),
            same_ip: ip.map(|(known, from)| known == from),
        }
    }

    /// Whether the token is the very one that `spent` was rotated with. One that stood for it is of
    /// the same generation, but can't open its seal.
    fn is(&self, spent: &Spent) -> bool {
        spent.digest == self.token.digest
    }
}

/// What is decided about a presentation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Rows 1 to 3, and what was wrong with the request itself.
    Refused(Refusal),
    /// Row 4.
    ClientMismatch,
    /// Row 4.
    BindingMismatch,
    /// Row 5.
    Integrity,
    /// Row 6, but too fast.
    RateLimited { retry_after: DurationMs },
    /// Row 6.
    Rotate,
    /// Rows 7 and 8: the identical reply, with this seal.
    Replay(Bytes, Whence),
    /// Row 8, and the loser wants its own successor to stand for the winner's.
    Adopt(Whence),
    /// The same once more: it has stood for it since then.
    Adopted { since: Position, at: UnixMs, whence: Whence },
    /// Rows 7 and 9.
    Superseded { older_than_ring: bool },
    /// Row 10.
    Reuse(Reuse),
}

/// The table. Rows are numbered as in the contract.
pub(crate) fn judge(case: &Case, tenant: &Tenant, shown: &Presentation<'_>) -> Verdict {
    let (row, wish, at) = (&case.loaded.row, shown.wish, shown.at());

    // 1, 2, 3: forgotten, dead, expired.
    if let Some(refusal) = case.loaded.standing(shown.now, at).refusal() {
        return Verdict::Refused(refusal);
    }
    // 4: a mismatch is no kill switch.
    if wish.client != row.client {
        return Verdict::ClientMismatch;
    }
    if !proves(&row.binding, &wish.binding) {
        return Verdict::BindingMismatch;
    }
    // 5: never revokes. The store went back in time or forked, and killing helps nobody.
    let place = row.place(&case.token);
    if place == Place::Foreign {
        return Verdict::Integrity;
    }
    if names_another_request(case, place, shown) {
        return Verdict::Refused(Refusal::NameReused);
    }
    let ring = match place {
        Place::Ring(index) => Some((index, &row.ring[index])),
        // 6: the head. The limit comes first, and changes nothing.
        Place::Head => {
            return match allowance(row.arrival, tenant, shown.now) {
                Ok(_) if case.taken.is_some() => Verdict::Refused(Refusal::DigestInUse),
                Ok(_) => Verdict::Rotate,
                Err(retry_after) => Verdict::RateLimited { retry_after },
            };
        }
        Place::Older | Place::Foreign => None,
    };
    if let Some((index, spent)) = ring {
        let seal = row.answerable_seal(shown.now).filter(|_| index == 0);
        // 7: a retry, also after the grace window.
        if is_retry(spent, shown) {
            return match seal {
                Some(seal) => Verdict::Replay(seal.clone(), case.whence(shown)),
                None => Verdict::Superseded { older_than_ring: false },
            };
        }
        let within_grace = !spent.rotated_at.passed(row.grace, at);
        let settled = row.head.confirmed_at.is_some_and(|used| used.passed(limits::SETTLE, at));
        // 8: a sibling's presentation, answered with what the first one got.
        if let (Some(seal), true, false) = (seal, within_grace, settled)
            && let Some(verdict) = share(case, shown, spent, seal)
        {
            return verdict;
        }
        // 9: a sibling holds a newer token.
        if within_grace {
            return Verdict::Superseded { older_than_ring: false };
        }
    } else if row.ring.last().is_some_and(|oldest| !oldest.rotated_at.passed(row.grace, at)) {
        // 9: too fast for the ring to tell.
        return Verdict::Superseded { older_than_ring: true };
    }
    // 10: any other authenticated ancestor.
    Verdict::Reuse(reuse(case, tenant, shown, ring))
}

/// Row 8: how a sibling shares in a rotation. `None` if it can't, since nobody sealed the successor
/// for the token that it holds.
fn share(case: &Case, shown: &Presentation<'_>, spent: &Spent, seal: &Bytes) -> Option<Verdict> {
    let (row, whence) = (&case.loaded.row, case.whence(shown));
    if let (Losers::Adopt, Some(chain)) = (shown.wish.losers, &row.opaque) {
        match &case.taken {
            Some(own) if own.is_head_of(case.token.family, row) => {
                return Some(Verdict::Adopted { since: own.position, at: own.at, whence });
            }
            Some(_) => return Some(Verdict::Refused(Refusal::DigestInUse)),
            None if chain.aliases < limits::ALIASES_MAX => return Some(Verdict::Adopt(whence)),
            None => {}
        }
    }
    (case.is(spent) && !seal.is_empty()).then(|| Verdict::Replay(seal.clone(), whence))
}

/// Whether all that the family is bound to was proved. What it isn't bound to is no matter.
pub(crate) fn proves(bound: &Binding, proved: &Binding) -> bool {
    let jkt = bound.jkt.is_none() || bound.jkt == proved.jkt;
    jkt && (bound.x5t_s256.is_none() || bound.x5t_s256 == proved.x5t_s256)
}

/// Whether this request is the one that rotated `spent` away. Remembered as long as any reply: a
/// captured request that comes back later is judged like any other.
fn is_retry(spent: &Spent, shown: &Presentation<'_>) -> bool {
    spent.request == shown.request.id && !spent.rotated_at.passed(REMEMBERED, shown.now)
}

/// Whether this request's name belongs to the rotation of another token of the family.
fn names_another_request(case: &Case, place: Place, shown: &Presentation<'_>) -> bool {
    let ring = case.loaded.row.ring.iter().enumerate();
    let mut named = ring.filter(|(_, spent)| is_retry(spent, shown));
    named.any(|(index, spent)| place != Place::Ring(index) || !case.is(spent))
}

fn reuse(
    case: &Case,
    tenant: &Tenant,
    shown: &Presentation<'_>,
    ring: Option<(usize, &Spent)>,
) -> Reuse {
    let spared = tenant.settings.shadow || tenant.is_compromised(case.token.kid);
    let head = case.loaded.row.head.generation;
    let Whence { same_device, same_ip } = case.whence(shown);
    Reuse {
        class: match ring {
            Some((0, _)) => ReuseClass::Predecessor,
            Some(_) => ReuseClass::Recent,
            None => ReuseClass::Ancestor,
        },
        age: ring.map(|(_, spent)| shown.at().since(spent.rotated_at)),
        generation_gap: head.0 - case.token.generation.0,
        same_device,
        same_ip,
        revoked: !spared,
    }
}

/// The rotation limit: the generic cell rate algorithm (ITU-T I.371) in whole milliseconds. The
/// next arrival time if a rotation is allowed now, else how long to wait.
fn allowance(arrival: UnixMs, tenant: &Tenant, now: UnixMs) -> Result<UnixMs, DurationMs> {
    let settings = &tenant.settings;
    let Some(interval) = 1_000_u64.checked_div(u64::from(settings.rotations_per_s)) else {
        return Ok(arrival);
    };
    let slack = DurationMs(interval * u64::from(settings.rotation_burst.saturating_sub(1)));
    let early = arrival.since(now.plus(slack));
    match early {
        DurationMs(0) => Ok(arrival.max(now).plus(DurationMs(interval))),
        early => Err(early),
    }
}

/// Reads what a rotation is about, and judges it. `None` if there is no such family.
pub(crate) fn decide(
    tables: &impl ReadTables,
    id: &TenantId,
    tenant: &Tenant,
    shown: &Presentation<'_>,
) -> Result<(Option<Case>, Verdict), TablesError> {
    if let Err(refusal) = admission::rotate(shown.wish) {
        return Ok((None, Verdict::Refused(refusal)));
    }
    let found = opaque::resolve(tables, id, tenant, &shown.wish.token, shown.now)?;
    let Some((token, loaded)) = found else {
        return Ok((None, Verdict::Refused(Refusal::NotFound)));
    };
    let taken = match loaded.row.opaque {
        Some(_) => opaque::find(tables, id, tenant, shown.wish.successor, shown.now)?,
        None => None,
    };
    let case = Case { loaded, token, taken: taken.map(|(ancestor, _)| ancestor) };
    let verdict = judge(&case, tenant, shown);
    Ok((Some(case), verdict))
}

/// The answer to a verdict that changes nothing; `plain` makes a reply at the reader's position.
pub(crate) fn answer(
    case: Option<&Case>,
    verdict: Verdict,
    plain: impl FnOnce(Result<Done, Refusal>) -> Reply,
) -> Reply {
    let row = case.map(|case| &case.loaded.row);
    let head = row.map_or(Generation(0), |row| row.head.generation);
    let outcome = match verdict {
        Verdict::Refused(refusal) => Err(refusal),
        Verdict::ClientMismatch => Err(Refusal::ClientMismatch),
        Verdict::BindingMismatch => Err(Refusal::BindingMismatch),
        Verdict::Integrity => Err(Refusal::Integrity { head }),
        Verdict::RateLimited { retry_after } => Err(Refusal::RateLimited { retry_after }),
        Verdict::Superseded { .. } => Ok(Done::Superseded { head }),
        Verdict::Reuse(reuse) => Err(Refusal::Reused(reuse)),
        Verdict::Rotate | Verdict::Replay(..) | Verdict::Adopt(_) | Verdict::Adopted { .. } => {
            let case = case.expect("only a family that was read is rotated");
            let (head, rotated) = (&case.loaded.row.head, rotated(case));
            let (position, at, done) = match verdict {
                Verdict::Replay(seal, whence) => {
                    let successor = head.digest;
                    let replayed = Replayed { rotated, successor, seal, whence };
                    (head.position, head.made_at, Done::Replayed(replayed))
                }
                Verdict::Adopt(whence) => {
                    return plain(Ok(Done::Adopted(Adopted { rotated, whence })));
                }
                Verdict::Adopted { since, at, whence } => {
                    (since, at, Done::Adopted(Adopted { rotated, whence }))
                }
                _ => (head.position, head.made_at, Done::Rotated(rotated)),
            };
            return Reply { position, at, outcome: Ok(done) };
        }
    };
    plain(outcome)
}

/// What the rotation that made the head answered.
fn rotated(case: &Case) -> Rotated {
    let row = &case.loaded.row;
    Rotated {
        family: case.token.family,
        generation: row.head.generation,
        kid: row.opaque.is_none().then_some(row.head.kid),
        expires_at: row.expires_at,
        idle_expires_at: row.idle_expires_at,
    }
}

/// `Rotate`, inside an entry.
pub(crate) fn rotate<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    request: RequestName,
    wish: &Rotate,
) -> Result<Reply, TablesError> {
    let shown = Presentation { wish, request, now: turn.now };
    let (mut case, verdict) = decide(turn.tables, id, tenant, &shown)?;
    if let Some(case) = &mut case {
        carry_out(turn, id, tenant, &shown, case, &verdict)?;
    }
    Ok(answer(case.as_ref(), verdict, |outcome| turn.reply(outcome)))
}

/// What a verdict changes, and tells those who watch.
fn carry_out<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    shown: &Presentation<'_>,
    case: &mut Case,
    verdict: &Verdict,
) -> Result<(), TablesError> {
    let (family, presented) = (Some(case.token.family), case.token.generation);
    match verdict {
        Verdict::Rotate => advance(turn, id, tenant, shown, case)?,
        Verdict::Adopt(_) => adopt(turn, id, shown, case)?,
        Verdict::ClientMismatch => {
            let presented = shown.wish.client.clone();
            turn.event(id, family, EventKind::ClientMismatch { presented });
        }
        Verdict::BindingMismatch => turn.event(id, family, EventKind::BindingMismatch),
        Verdict::Integrity => {
            let head = case.loaded.row.head.generation;
            turn.event(id, family, EventKind::Integrity { presented, head });
        }
        Verdict::Superseded { older_than_ring: true } => {
            turn.event(id, family, EventKind::OldTokenInGrace);
        }
        Verdict::Reuse(reuse) => {
            turn.event(id, family, EventKind::Reuse(reuse.clone()));
            if reuse.revoked {
                let by = RevokedBy {
                    cause: RevocationCause::Reuse,
                    position: turn.position,
                    at: turn.now,
                    reason: None,
                };
                super::revoke::kill(turn, id, case.token.family, &mut case.loaded, by);
            }
        }
        Verdict::Refused(_)
        | Verdict::RateLimited { .. }
        | Verdict::Replay(..)
        | Verdict::Adopted { .. }
        | Verdict::Superseded { older_than_ring: false } => {}
    }
    Ok(())
}

/// Row 6: the head becomes the newest predecessor, and the successor the head.
fn advance<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    shown: &Presentation<'_>,
    case: &mut Case,
) -> Result<(), TablesError> {
    let Case { loaded, token, .. } = case;
    let (row, now) = (&mut loaded.row, turn.now);
    assert_eq!(loaded.revoked, None, "a dead family can't rotate");
    let before = row.head.generation;
    if let Ok(arrival) = allowance(row.arrival, tenant, now) {
        row.arrival = arrival;
    }
    let request = shown.request.id;
    row.ring.truncate(limits::RING_LEN - 1);
    row.ring.insert(0, Spent { digest: token.digest, request, rotated_at: now });
    row.head = super::row::Head {
        generation: before.next(),
        digest: shown.wish.successor,
        kid: if row.opaque.is_some() { opaque::NO_KEY } else { tenant.kid },
        position: turn.position,
        made_at: now,
        confirmed_at: None,
        seal: Some(shown.wish.seal.clone()),
    };
    row.idle_expires_at = now.plus(row.idle).min(row.expires_at);
    if shown.wish.origin.ip.is_some() {
        row.ip = shown.wish.origin.ip.clone();
    }
    assert!(row.head.generation > before, "generations only grow");
    if row.opaque.is_some() {
        opaque::follow(turn, id, token.family, row)?;
    }
    row.check();
    let key = std::mem::take(&mut loaded.key);
    turn.put(key, Some(&loaded.bytes), row.encode());
    Ok(())
}

/// Row 8: the loser's own successor stands for the head, until the head is rotated.
fn adopt<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    shown: &Presentation<'_>,
    case: &mut Case,
) -> Result<(), TablesError> {
    let Case { loaded, token, .. } = case;
    assert_eq!(loaded.revoked, None, "nothing of a dead family is adopted");
    let (family, head) = (token.family, loaded.row.head.generation);
    opaque::remember(turn, id, family, loaded.row.created, head, shown.wish.successor)?;
    let chain = loaded.row.opaque.as_mut().expect("native tokens are never adopted");
    chain.aliases += 1;
    loaded.row.check();
    let key = std::mem::take(&mut loaded.key);
    turn.put(key, Some(&loaded.bytes), loaded.row.encode());
    Ok(())
}

/// Whether a verdict must be decided again by an entry of the log: it changes rows or is told to
/// those who watch.
pub(crate) fn needs_entry(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::ClientMismatch
        | Verdict::BindingMismatch
        | Verdict::Integrity
        | Verdict::Rotate
        | Verdict::Adopt(_)
        | Verdict::Superseded { older_than_ring: true }
        | Verdict::Reuse(_) => true,
        Verdict::Refused(_)
        | Verdict::RateLimited { .. }
        | Verdict::Replay(..)
        | Verdict::Adopted { .. }
        | Verdict::Superseded { older_than_ring: false } => false,
    }
}
