//! The row of a session. It outlives every family bound to it: those end with it at the latest.
//!
//! ```text
//!  created ─────── touched ──► idle end … absolute end ──── + retention: forgotten
//!     └ dead: by EndSession          (cutoffs and suspensions of its roots are looked up)
//! ```

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, DurationMs, Position, SessionId, SubjectId, UnixMs};
use crate::limits;
use crate::reply::{RevocationCause, RevokedBy};
use crate::revocation::predicate::Facts;
use crate::roots::{self, Itself, Roots};
use crate::standing::{Standing, standing};

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionRow {
    /// End if it isn't touched before; never after `expires_at`.
    pub(crate) idle_expires_at: UnixMs,
    pub(crate) touched_at: UnixMs,
    /// Its own death; cutoffs are looked up.
    pub(crate) dead: Option<RevokedBy>,
    /// Counts changes of attributes and payload.
    pub(crate) version: u64,
    /// Distinct clients that families were bound for.
    pub(crate) clients: u32,
    pub(crate) subject: SubjectId,
    pub(crate) device: Option<DeviceId>,
    pub(crate) created: Position,
    pub(crate) created_at: UnixMs,
    /// What cutoffs compare with, and calls for authentication anew: when the user's credentials
    /// were checked, never after `created`.
    pub(crate) authenticated_at: Position,
    pub(crate) expires_at: UnixMs,
    pub(crate) idle: DurationMs,
    /// Where it was created, or its attributes or payload were last changed.
    pub(crate) updated: Position,
    pub(crate) attributes: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) payload: Bytes,
}

impl SessionRow {
    /// What always holds of a row.
    pub(crate) fn check(&self) {
        assert!(self.idle_expires_at <= self.expires_at, "idle outlives the session");
        assert!(self.created <= self.updated, "it was created before it was changed");
        assert!(self.authenticated_at <= self.created, "it was made from what came before it");
    }

    /// What it hangs on.
    pub(crate) fn roots<'a>(&'a self, session: &'a SessionId) -> Roots<'a> {
        Roots {
            itself: Itself::Session,
            subject: Some(&self.subject),
            client: None,
            device: self.device.as_ref(),
            session: Some(session),
            family: None,
            origin: self.authenticated_at,
            created: self.created,
            authenticated_at: Some(self.authenticated_at),
            cut_by_restore: true,
        }
    }

    /// What revocations compare.
    pub(crate) fn facts<'a>(&'a self, session: &'a SessionId) -> Facts<'a> {
        Facts {
            subject: &self.subject,
            client: None,
            device: self.device.as_ref(),
            session: Some(session),
            ip: None,
            attributes: &self.attributes,
            created_at: self.created_at,
            written: self.updated,
        }
    }

    /// From when on there is nothing left of it, not even the name. No family bound to it is
    /// remembered longer.
    pub(crate) fn forgotten_at(&self) -> UnixMs {
        self.expires_at.plus(limits::RETENTION)
    }

    /// When it ended or will end by itself; cutoffs, which can move, are left out.
    fn ends_at(&self) -> UnixMs {
        self.dead.as_ref().map_or(self.idle_expires_at, |by| by.at.min(self.idle_expires_at))
    }

    /// Judges it by the clock: nothing that a read called expired comes back.
    pub(crate) fn standing(&self, revoked: Option<&RevokedBy>, now: UnixMs) -> Standing {
        standing((self.expires_at, self.idle_expires_at), revoked, now, now)
    }

    /// What killed it first, for what hangs on it: always the session, whatever killed that.
    /// A suspension kills nothing.
    pub(crate) fn ended(&self, revoked: Option<&RevokedBy>, now: UnixMs) -> Option<RevokedBy> {
        let killed = revoked.filter(|by| by.is_for_ever()).cloned();
        let expired = (now >= self.idle_expires_at).then(|| ended_by_itself(self.idle_expires_at));
        let by = roots::first(killed, expired)?;
        Some(RevokedBy { cause: RevocationCause::Session, ..by })
    }
}

/// The end of a session by the clock, for what hangs on it. It has no position.
pub(crate) fn ended_by_itself(at: UnixMs) -> RevokedBy {
    let (cause, position) = (RevocationCause::Session, Position::default());
    RevokedBy { cause, position, at, reason: None }
}

/// Gives up what no answer shows any more. Whether anything was given up.
pub(crate) fn tidy(row: &mut SessionRow, now: UnixMs) -> bool {
    let spent = row.ends_at().passed(limits::RETENTION, now);
    let changed = spent && (!row.payload.is_empty() || !row.attributes.is_empty());
    if changed {
        row.payload = Bytes::new();
        row.attributes = Vec::new();
    }
    changed
}

/// When the sweep should look at the session again. Always later than `now`, until it is forgotten.
pub(crate) fn next_visit(row: &SessionRow, now: UnixMs) -> UnixMs {
    let spent_at = row.ends_at().plus(limits::RETENTION);
    if now < spent_at { spent_at.min(row.forgotten_at()) } else { row.forgotten_at() }
}
