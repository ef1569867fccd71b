//! Whether a family or a session lives: what comes before every other rule about it.
//!
//! It ended when the first of its causes did: retention counts from there. Only the newest cutoff
//! of a key is kept, so cutting the same once more lets answers name a cause again that they no
//! longer named; nothing ever comes back to life.

use crate::ids::UnixMs;
use crate::limits;
use crate::reply::{Refusal, RevokedBy};

/// What a family or a session is, before anyone asks for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing stands in its way.
    Alive,
    /// It ended so long ago that answers no longer name the cause.
    Gone,
    /// It was ended, or one of its roots is dead.
    Revoked(RevokedBy),
    /// It or one of its roots is suspended: that may end, and starts no retention.
    Suspended(RevokedBy),
    /// It is past its absolute or idle expiry.
    Expired { absolute: UnixMs, idle: UnixMs },
}

impl Standing {
    /// The refusal that a dead one answers with.
    pub(crate) fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Alive => None,
            Self::Gone => Some(Refusal::NotFound),
            Self::Revoked(by) | Self::Suspended(by) => Some(Refusal::Revoked(by)),
            Self::Expired { absolute, idle } => Some(Refusal::Expired { absolute, idle }),
        }
    }
}

/// Judges by absolute and idle expiry and by what was revoked. Retention goes by `now`, expiry by
/// `at`: when the caller first asked.
pub(crate) fn standing(
    (absolute, idle): (UnixMs, UnixMs),
    revoked: Option<&RevokedBy>,
    now: UnixMs,
    at: UnixMs,
) -> Standing {
    let killed = revoked.filter(|by| by.is_for_ever());
    let ended_at = killed.map_or(idle, |by| by.at.min(idle));
    if ended_at.passed(limits::RETENTION, now) {
        Standing::Gone
    } else if let Some(by) = killed {
        Standing::Revoked(by.clone())
    } else if let Some(by) = revoked {
        Standing::Suspended(by.clone())
    } else if at >= idle || at >= absolute {
        Standing::Expired { absolute, idle }
    } else {
        Standing::Alive
    }
}
