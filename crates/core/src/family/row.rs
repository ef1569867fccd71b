//! The row of a family. The same size however often it rotates.
//!
//! ```text
//!   head (generation g) ◄── ring[0] (g−1) ◄── ring[1] (g−2) ◄── ring[2] ◄── ring[3] (g−4)
//!    └ seal: the head's token, for whoever holds ring[0]
//! ```
//!
//! Generations of the ring are not stored: they follow from the head's. Only the direct
//! predecessor can be answered with its successor, so there is one seal. When a token was used by
//! rotation is when its successor was made; only the head's confirmation needs a field.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::codec::plain::{plain, rare};
use crate::codec::{decode_plain, encode_plain};
use crate::command::{Binding, PresentedToken};
use crate::ids::{
    ClientId, DeviceId, DurationMs, FamilyId, Generation, Kid, Position, RequestId, SecretDigest,
    SessionId, SubjectId, UnixMs,
};
use crate::limits;
use crate::reply::RevokedBy;
use crate::revocation::predicate::Facts;
use crate::roots::{Itself, Roots};
use crate::suspension::Suspended;
use crate::tables::TablesError;

/// What is kept of a family.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FamilyRow {
    pub(crate) head: Head,
    /// Predecessors of the head, newest first, at most [`limits::RING_LEN`].
    pub(crate) ring: Vec<Spent>,
    /// End if it isn't rotated before; never after `expires_at`.
    pub(crate) idle_expires_at: UnixMs,
    /// Theoretical arrival time of the rotation limit (GCRA, ITU-T I.371).
    pub(crate) arrival: UnixMs,
    /// Address last seen.
    pub(crate) ip: Option<Arc<str>>,
    /// Its own death; cutoffs are looked up.
    pub(crate) dead: Option<RevokedBy>,
    /// Its own suspension; those of its roots are looked up.
    pub(crate) suspended: Option<Suspended>,
    /// What only a family of opaque tokens has.
    pub(crate) opaque: Option<Chain>,
    /// Counts updates, not rotations.
    pub(crate) version: u64,
    /// Where it was created or last updated. Rotations are the head's.
    pub(crate) updated: Position,
    pub(crate) subject: SubjectId,
    pub(crate) client: ClientId,
    pub(crate) device: Option<DeviceId>,
    /// The session that it is bound to: it ends with it at the latest.
    pub(crate) session: Option<SessionId>,
    pub(crate) binding: Binding,
    pub(crate) created: Position,
    pub(crate) created_at: UnixMs,
    /// What cutoffs compare with: never after `created`.
    pub(crate) origin: Position,
    /// When the user's credentials were checked, if the caller or the session said so.
    pub(crate) authenticated_at: Option<Position>,
    pub(crate) expires_at: UnixMs,
    pub(crate) idle: DurationMs,
    pub(crate) grace: DurationMs,
    pub(crate) attributes: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) payload: Bytes,
}

/// How much of a chain of opaque tokens is known beside the head and the ring.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Chain {
    /// Generations behind the head. The tenant's when the family was created.
    pub(crate) ancestors_max: u32,
    /// Tokens that stand for the head beside its own.
    pub(crate) aliases: u16,
    /// Those that stood for its predecessor.
    pub(crate) spent_aliases: u16,
}

/// The newest token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Head {
    pub(crate) generation: Generation,
    pub(crate) digest: SecretDigest,
    /// Key of its mac; [`super::opaque::NO_KEY`] if it has none.
    pub(crate) kid: Kid,
    /// Position that made it.
    pub(crate) position: Position,
    /// When it was made.
    pub(crate) made_at: UnixMs,
    /// When `Touch` confirmed that it arrived.
    pub(crate) confirmed_at: Option<UnixMs>,
    /// Itself, sealed for the holder of the token that was rotated; empty if the caller gave no
    /// seal. Erased when it can't be asked for.
    pub(crate) seal: Option<Bytes>,
}

/// A predecessor of the head.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Spent {
    /// Of the token that was presented: an alias, perhaps, of its generation.
    pub(crate) digest: SecretDigest,
    /// The request that rotated it away.
    pub(crate) request: RequestId,
    pub(crate) rotated_at: UnixMs,
}

plain!(FamilyRow {
    head,
    ring,
    idle_expires_at,
    arrival,
    ip,
    dead,
    suspended,
    opaque,
    version,
    updated,
    subject,
    client,
    device,
    session,
    binding,
    created,
    created_at,
    origin,
    authenticated_at,
    expires_at,
    idle,
    grace,
    attributes,
    payload,
});
plain!(Head { generation, digest, kid, position, made_at, confirmed_at, seal });
plain!(Spent { digest, request, rotated_at });
plain!(Binding { jkt, x5t_s256 });
plain!(Chain { ancestors_max, aliases, spent_aliases });
rare!(RevokedBy, Suspended);

/// Where in the chain a presented token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Newer than the head, or with another secret than the one known there.
    Foreign,
    /// The head itself.
    Head,
    /// In the ring, at this index.
    Ring(usize),
    /// Older than the ring: genuine by its mac only.
    Older,
}

impl FamilyRow {
    /// As it is stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode_plain(self)
    }

    /// As it was stored.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, TablesError> {
        decode_plain(bytes)
    }

    /// What always holds of a row.
    pub(crate) fn check(&self) {
        let spent = usize::try_from(self.head.generation.0).unwrap_or(usize::MAX);
        assert_eq!(self.ring.len(), spent.min(limits::RING_LEN), "the ring lost a predecessor");
        assert!(self.ring.first().is_none_or(|s| s.rotated_at == self.head.made_at));
        assert!(self.ring.is_sorted_by(|new, old| new.rotated_at >= old.rotated_at));
        assert!(self.idle_expires_at <= self.expires_at, "idle outlives the family");
        assert!(self.created <= self.updated, "it was created before it was updated");
        assert!(self.origin <= self.created, "an origin can't come after what it made");
        assert!(self.authenticated_at.is_none_or(|at| self.origin <= at), "an origin is oldest");
        assert!(self.head.seal.is_none() || !self.ring.is_empty(), "a seal for nobody");
        let aliases = self.opaque.as_ref().map_or(0, |chain| chain.aliases);
        assert!(aliases <= limits::ALIASES_MAX, "more aliases than may be");
    }

    /// What it hangs on.
    pub(crate) fn roots(&self, itself: FamilyId) -> Roots<'_> {
        Roots {
            itself: Itself::Family(itself),
            subject: Some(&self.subject),
            client: Some(&self.client),
            device: self.device.as_ref(),
            session: self.session.as_ref(),
            family: None,
            origin: self.origin,
            created: self.created,
            authenticated_at: self.authenticated_at,
            cut_by_restore: true,
        }
    }

    /// What revocations compare. A rotation writes the address, an update the attributes.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            subject: &self.subject,
            client: Some(&self.client),
            device: self.device.as_ref(),
            session: self.session.as_ref(),
            ip: self.ip.as_deref(),
            attributes: &self.attributes,
            created_at: self.created_at,
            written: self.updated.max(self.head.position),
        }
    }

    /// Where `token` is in the chain. Digests are compared in constant time. An opaque token was
    /// found by its digest, which is one of its generation's.
    pub(crate) fn place(&self, token: &PresentedToken) -> Place {
        let known = self.opaque.is_some();
        let Some(gap) = self.head.generation.0.checked_sub(token.generation.0) else {
            return Place::Foreign;
        };
        let Some(behind) = gap.checked_sub(1) else {
            let genuine = known || token.digest == self.head.digest;
            return if genuine { Place::Head } else { Place::Foreign };
        };
        match usize::try_from(behind).ok().and_then(|at| Some((at, self.ring.get(at)?))) {
            None => Place::Older,
            Some((at, spent)) if known || spent.digest == token.digest => Place::Ring(at),
            Some(_) => Place::Foreign,
        }
    }

    /// The head's seal, as long as someone may be answered with it.
    pub(crate) fn answerable_seal(&self, now: UnixMs) -> Option<&Bytes> {
        self.head.seal.as_ref().filter(|_| now < self.seal_ends_at())
    }

    /// From when on nobody may be answered with the head's seal. A request that waited longer
    /// than the window is told to use the newer token instead.
    fn seal_ends_at(&self) -> UnixMs {
        let window = self.grace.max(limits::REQUEST_TTL).0.saturating_add(1);
        let window = self.head.made_at.plus(DurationMs(window));
        match self.head.confirmed_at {
            Some(confirmed_at) => window.min(confirmed_at.plus(limits::SETTLE)),
            None => window,
        }
    }

    /// Erases a seal that nobody may be answered with. Whether there was one.
    pub(crate) fn erase_old_seal(&mut self, now: UnixMs) -> bool {
        let old = self.head.seal.is_some() && now >= self.seal_ends_at();
        if old {
            self.head.seal = None;
        }
        old
    }

    /// Kills the family; its seal goes with it.
    pub(crate) fn die(&mut self, by: RevokedBy) {
        assert!(self.dead.is_none(), "a family dies once");
        self.dead = Some(by);
        self.head.seal = None;
    }

    /// From when on there is nothing left of it, not even the name: the id may be taken again.
    pub(crate) fn forgotten_at(&self) -> UnixMs {
        self.expires_at.plus(limits::RETENTION)
    }

    /// When it ended or will end by itself; cutoffs, which can move, are left out.
    pub(crate) fn ends_at(&self) -> UnixMs {
        self.dead.as_ref().map_or(self.idle_expires_at, |by| by.at.min(self.idle_expires_at))
    }
}

/// Gives up what no answer shows any more. Whether anything was given up.
pub(crate) fn tidy(row: &mut FamilyRow, now: UnixMs) -> bool {
    let mut changed = row.erase_old_seal(now);
    if row.ends_at().passed(limits::RETENTION, now) {
        changed |= row.head.seal.take().is_some();
        changed |= !row.payload.is_empty() || !row.attributes.is_empty();
        row.payload = Bytes::new();
        row.attributes = Vec::new();
    }
    changed
}

/// When the sweep should look at the family again. Always later than `now`.
pub(crate) fn next_visit(row: &FamilyRow, now: UnixMs) -> UnixMs {
    let mut due = row.forgotten_at();
    let ended = row.ends_at() <= now;
    if row.head.seal.is_some() {
        due = due.min(row.seal_ends_at());
    } else if !ended {
        // It may be rotated at any time, which makes a seal and no entry in the index.
        due = due.min(now.plus(limits::SEAL_VISIT_EVERY));
    }
    if ended && !row.ends_at().passed(limits::RETENTION, now) {
        due = due.min(row.ends_at().plus(limits::RETENTION));
    }
    due
}
