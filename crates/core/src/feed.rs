//! The feed: what a resource server's view of revocations needs, in order and without gaps.
//!
//! ```text
//!  FEED ‖ tenant ‖ position  ──►  when, how long it matters, what changed
//! ```
//!
//! Every command that revokes writes one row under its own position, together with what it did;
//! rotations write none. So the feed is part of the replicated state: whoever knows how far it has
//! read goes on at any node. A row is kept for [`limits::FEED_KEPT`], and as long as an access
//! token may be alive that was issued before: a snapshot of all that is in force is the rows that
//! are kept, and the suspensions.
//!
//! Whether a place in the feed is still known is judged by the clock, from when it was: a sweep
//! changes no answer.

use serde::{Deserialize, Serialize};

use crate::codec::{decode_row, encode};
use crate::command::{Except, Suspendable};
use crate::expiry;
use crate::ids::{
    ClientId, DeviceId, FamilyId, Jti, Position, SessionId, SubjectId, TenantId, UnixMs,
};
use crate::keys;
use crate::limits;
use crate::machine::Meta;
use crate::reply::{EventKind, Replies, RevocationCause};
use crate::suspension::{self, Suspended};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::turn::Turn;

/// What one command revoked or gave back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEntry {
    /// Its position; entries come in this order, each once.
    pub position: Position,
    /// When.
    pub at: UnixMs,
    /// From then on no access token that it could matter to is alive.
    pub until: UnixMs,
    /// What changed, in order.
    pub changes: Vec<Change>,
}

/// A change to what is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Change {
    /// A family was killed.
    FamilyRevoked {
        /// Which.
        family: FamilyId,
        /// By what.
        cause: RevocationCause,
    },
    /// A session was ended.
    SessionEnded {
        /// Which.
        session: SessionId,
    },
    /// All that matches and is older is dead.
    Cutoff {
        /// The subject, if named.
        subject: Option<SubjectId>,
        /// The client, if named.
        client: Option<ClientId>,
        /// The device, if named.
        device: Option<DeviceId>,
        /// The session, if named.
        session: Option<SessionId>,
        /// What is left alone.
        except: Except,
    },
    /// A subject has to authenticate anew.
    Reauthentication {
        /// Who.
        subject: SubjectId,
    },
    /// An access token was revoked.
    AccessTokenRevoked {
        /// Its name.
        jti: Jti,
        /// The client that it was issued to.
        client: ClientId,
    },
    /// A root was suspended.
    Suspended {
        /// Which.
        what: Suspendable,
    },
    /// A root is no longer suspended.
    Resumed {
        /// Which.
        what: Suspendable,
    },
}

impl FeedEntry {
    /// How long it is kept.
    pub(crate) fn ends_at(&self) -> UnixMs {
        kept_until(self.at, self.until)
    }
}

fn kept_until(at: UnixMs, until: UnixMs) -> UnixMs {
    until.max(at.plus(limits::FEED_KEPT))
}

impl Change {
    /// What an event means to those who look at access tokens, if anything.
    pub(crate) fn of(family: Option<FamilyId>, kind: &EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::FamilyRevoked { cause } => {
                Self::FamilyRevoked { family: family?, cause: *cause }
            }
            EventKind::SessionEnded { session, .. } => {
                Self::SessionEnded { session: session.clone() }
            }
            EventKind::Cutoff { subject, client, device, session, except } => Self::Cutoff {
                subject: subject.clone(),
                client: client.clone(),
                device: device.clone(),
                session: session.clone(),
                except: except.clone(),
            },
            EventKind::Reauthentication { subject } => {
                Self::Reauthentication { subject: subject.clone() }
            }
            EventKind::AccessTokenRevoked { jti, client, .. } => {
                Self::AccessTokenRevoked { jti: jti.clone(), client: client.clone() }
            }
            EventKind::Suspended { what } => Self::Suspended { what: what.clone() },
            EventKind::Resumed { what } => Self::Resumed { what: what.clone() },
            _ => return None,
        })
    }

    /// Whether an event is part of the feed.
    #[must_use]
    pub fn is_in(family: Option<FamilyId>, kind: &EventKind) -> bool {
        Self::of(family, kind).is_some()
    }
}

/// The value of a row: the position is in its key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FeedRow {
    at: UnixMs,
    until: UnixMs,
    changes: Vec<Change>,
}

impl FeedRow {
    pub(crate) fn new(at: UnixMs, until: UnixMs, changes: Vec<Change>) -> Self {
        Self { at, until, changes }
    }

    pub(crate) fn ends_at(&self) -> UnixMs {
        kept_until(self.at, self.until)
    }
}

/// Writes what this turn changed, if anything.
pub(crate) fn record<T: Tables, R: Replies>(turn: &mut Turn<'_, T, R>) -> Result<(), TablesError> {
    let mut changed = std::mem::take(&mut turn.changes);
    while let Some((id, _)) = changed.first() {
        let id = id.clone();
        let (here, rest): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(of, _)| *of == id);
        changed = rest;
        let Some(tenant) = turn.tenant(&id)? else { continue };
        let until = turn.now.plus(tenant.settings.access_ttl_max).plus(limits::ACCESS_SKEW);
        let changes = here.into_iter().map(|(_, change)| change).collect();
        let row = FeedRow { at: turn.now, until, changes };
        let key = keys::feed(&id, turn.position);
        expiry::schedule_new(turn, &key, None, row.ends_at());
        turn.put(key, None, encode(&row));
    }
    Ok(())
}

/// Whether whatever came behind a place in the feed, passed at `at`, is still known.
#[must_use]
pub fn reaches_back_to(at: UnixMs, clock: UnixMs) -> bool {
    !at.passed(limits::FEED_KEPT, clock)
}

/// Up to `rows_max` entries behind `after`, in order.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn entries<T: ReadTables>(
    tables: &T,
    tenant: &TenantId,
    after: Position,
    rows_max: usize,
) -> Result<Vec<FeedEntry>, TablesError> {
    let from = keys::feed(tenant, Position(after.0.saturating_add(1)));
    let to = keys::feed_end(tenant);
    let mut found = Vec::new();
    for (key, row) in tables.scan(&from, &to, rows_max)? {
        let Some(position) = keys::feed_position(&key) else { continue };
        let FeedRow { at, until, changes } = decode_row(&row)?;
        found.push(FeedEntry { position, at, until, changes });
    }
    Ok(found)
}

/// All that is in force, part by part, while other commands go on: suspensions first, then what the
/// feed keeps, in order. What changes meanwhile is at its end, so that the whole is what was in
/// force at one position: where the last part was looked at.
///
/// It must be complete within [`limits::FEED_KEPT`].
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Where and when the first part was looked at. All parts are judged by this one clock: else
    /// what was suspended could be told, and that it was resumed left out.
    began: Option<(Position, UnixMs)>,
    /// Where to go on with suspensions.
    cursor: Option<Vec<u8>>,
    suspensions_done: bool,
    after: Position,
}

impl Snapshot {
    /// The next part, and whether it is the last one. Looks at up to `rows_max` rows, so a part may
    /// hold nothing.
    ///
    /// # Errors
    /// [`TablesError`] if the store below failed.
    pub fn part<T: ReadTables>(
        &mut self,
        tables: &T,
        meta: &Meta,
        tenant: &TenantId,
        rows_max: usize,
    ) -> Result<(Vec<FeedEntry>, bool), TablesError> {
        let (began, clock) = *self.began.get_or_insert((meta.position, meta.clock));
        if !self.suspensions_done {
            let (found, next) = suspensions(tables, tenant, self.cursor.as_deref(), rows_max)?;
            self.suspensions_done = next.is_none();
            self.cursor = next;
            return Ok((found, false));
        }
        let mut found = entries(tables, tenant, self.after, rows_max)?;
        let last = found.len() < rows_max;
        self.after = found.last().map_or(self.after, |entry| entry.position);
        // What takes back may matter less long than what it takes back, if settings have changed.
        let takes_back = |change: &Change| matches!(change, Change::Resumed { .. });
        found.retain(|entry| {
            let matters = entry.position > began || clock < entry.until;
            matters || entry.changes.iter().any(takes_back)
        });
        Ok((found, last))
    }
}

/// Subjects, clients and the tenant, as far as they are suspended: up to `rows_max` of them behind
/// `after`, and the cursor to go on from.
///
/// # Errors
/// [`TablesError`] if the store below failed.
pub fn suspensions<T: ReadTables>(
    tables: &T,
    tenant: &TenantId,
    after: Option<&[u8]>,
    rows_max: usize,
) -> Result<(Vec<FeedEntry>, Option<Vec<u8>>), TablesError> {
    let (mut from, to) = keys::all_suspensions(tenant);
    if let Some(after) = after {
        from = [after, &[0]].concat();
    }
    let rows = tables.scan(&from, &to, rows_max)?;
    let next = (rows.len() == rows_max).then(|| rows.last().map(|(key, _)| key.to_vec())).flatten();
    let mut found = Vec::new();
    for (key, row) in rows {
        let Some(what) =
            keys::suspended(tenant, &key).and_then(|(kind, name)| suspension::what(kind, name))
        else {
            continue;
        };
        let by = decode_row::<Suspended>(&row)?.by();
        let changes = vec![Change::Suspended { what }];
        let until = UnixMs(u64::MAX);
        found.push(FeedEntry { position: by.position, at: by.at, until, changes });
    }
    Ok((found, next))
}
