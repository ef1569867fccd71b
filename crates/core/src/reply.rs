//! What the state machine answers, and the events that it raises.
//!
//! A [`Refusal`] is an answer, not a fault: the command was judged and changed nothing but what its
//! rule says. Variants are only ever appended: remembered replies are rows.

mod lease;
mod record;
mod revocation;
mod rotation;
mod session;
mod transact;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Binding, Criteria, Except, Suspendable, TenantSettings};
use crate::ids::{
    ClientId, DeviceId, DurationMs, FamilyId, Generation, HolderId, Jti, Kid, LeaseMs, Position,
    RecordKind, SessionId, SubjectId, TenantId, UnixMs,
};

pub use lease::{Flight, Granted, HeldView, LeaseNotice, LockView};
pub use record::{CodeRefusal, ConsumedRecord, RecordPage, RecordView};
pub use revocation::{MatchCount, RevocationView, RevokedWhere, SweepProgress};
pub use rotation::{Adopted, FamilyCreated, Replayed, Rotated, Whence};
pub use session::{SessionCreated, SessionEnded, SessionTouched, SessionView};
pub use transact::{Ran, Transacted};

/// The answer to one command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Position of the command that decided it: a replayed answer names the original's.
    pub position: Position,
    /// The machine's clock when it was decided.
    pub at: UnixMs,
    /// The answer itself.
    pub outcome: Result<Done, Refusal>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Done {
    /// The tenant exists now.
    TenantCreated,
    /// The settings are in force, at this version.
    TenantSet {
        /// Version of the settings for the next change.
        version: u64,
    },
    /// The new key is the tenant's current one.
    TenantKeyRotated {
        /// Its number.
        kid: Kid,
    },
    /// The key is marked.
    KeyMarkedCompromised,
    /// The family lives; its first token has generation 0.
    FamilyCreated(FamilyCreated),
    /// The successor is the head now.
    Rotated(Rotated),
    /// The identical successor of an earlier rotation.
    Replayed(Replayed),
    /// A sibling of the presented token holds a newer one: try again with that.
    Superseded {
        /// The head's generation.
        head: Generation,
    },
    /// The presented head is confirmed as arrived.
    Touched,
    /// The family has this version now.
    FamilyUpdated {
        /// Version for the next change.
        version: u64,
    },
    /// Dead from this reply's position on. `already` if it was dead before.
    Revoked {
        /// It was dead before: nothing changed.
        already: bool,
    },
    /// Revoking what was never known is success (RFC 7009 §2.2), told apart.
    NothingToRevoke,
    /// The cutoff is in force from this reply's position on.
    Cut,
    /// Rows that the sweep visited and reclaimed.
    Swept {
        /// Rows looked at.
        visited: u32,
        /// Rows removed.
        reclaimed: u32,
        /// Whether more is due already.
        more: bool,
    },
    /// The digest of the whole state just after this position.
    Digest(StateDigest),
    /// The lock is the caller's.
    Granted(Granted),
    /// The caller has a place in the queue: the reply's position. The answer comes as a
    /// [`LeaseNotice::Settled`] of that place.
    Queued {
        /// Where it was asked last.
        asked: Position,
    },
    /// Every lease last for another while, but those that were lost.
    Renewed {
        /// Their places in the request, ascending.
        lost: Vec<u32>,
    },
    /// The lock is free, or the next one's.
    Released,
    /// The result is there for whoever waits.
    Published,
    /// Neither a place nor a grant of that request is left.
    Withdrawn,
    /// The session lives.
    SessionCreated(SessionCreated),
    /// The session was used: its idle lifetime begins anew.
    SessionTouched(SessionTouched),
    /// The session is dead from this reply's position on.
    SessionEnded(SessionEnded),
    /// Suspended from this reply's position on. `already` if it was before.
    Suspended {
        /// It was suspended before: nothing changed.
        already: bool,
    },
    /// No longer suspended. `already` if it was not.
    Resumed {
        /// It was not suspended: nothing changed.
        already: bool,
    },
    /// The kind has these settings now.
    RecordKindSet,
    /// The record is there.
    RecordPut {
        /// Version for the next change.
        version: u64,
    },
    /// The record that was looked up.
    RecordFound(Box<RecordView>),
    /// The record is gone.
    RecordDeleted {
        /// Whether there was one.
        existed: bool,
    },
    /// Records that were kept after they expired are gone.
    Collected {
        /// How many.
        count: u32,
        /// Whether there are more.
        more: bool,
    },
    /// The record is the caller's, and nobody else's ever.
    Consumed(Box<ConsumedRecord>),
    /// The proof was never shown before.
    Fresh,
    /// The caller's own successor stands for that of an earlier rotation.
    Adopted(Adopted),
    /// A transaction was judged: its operations took effect, or one of them was refused.
    Transacted(Box<Transacted>),
    /// All that matches is dead from this reply's position on.
    RevokedWhere(Box<RevokedWhere>),
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// No such thing, or it is past its retention.
    NotFound,
    /// It is dead.
    Revoked(RevokedBy),
    /// It is past its lifetime.
    Expired {
        /// Its absolute end.
        absolute: UnixMs,
        /// The end of its idle lifetime.
        idle: UnixMs,
    },
    /// Another client's token was presented.
    ClientMismatch,
    /// The key that the token is bound to was not proved.
    BindingMismatch,
    /// A genuine token that this store has not issued yet: it went back in time or forked.
    Integrity {
        /// The head's generation here.
        head: Generation,
    },
    /// A spent token came back. The family is dead, but in shadow mode or under a compromised key.
    Reused(Reuse),
    /// The request is older than [`crate::limits::REQUEST_TTL`].
    StaleRequest,
    /// This request id names another request.
    NameReused,
    /// Faster than the tenant's rotation limit.
    RateLimited {
        /// When it may be tried again.
        retry_after: DurationMs,
    },
    /// It exists already.
    AlreadyExists,
    /// It changed since it was read.
    VersionMismatch {
        /// The version it has now.
        version: u64,
    },
    /// The tenant does not exist.
    TenantUnknown,
    /// A limit is reached.
    LimitReached {
        /// Which one, as its constant is called.
        limit: Arc<str>,
        /// Its value.
        max: u64,
    },
    /// A value is out of its range.
    Invalid {
        /// The field, as in the API.
        field: Arc<str>,
        /// What was wrong and what to do.
        problem: Arc<str>,
    },
    /// The token was rotated away: only the head of its family validates. No verdict of theft.
    Spent {
        /// The head's generation.
        head: Generation,
    },
    /// Another one holds the lock.
    Held {
        /// Who.
        holder: HolderId,
        /// Lease time until that hold ends, if it isn't renewed.
        remaining: DurationMs,
    },
    /// The lease has ended, and perhaps another one has begun: whoever held it must stop.
    Lost,
    /// A token with this digest is known in the tenant: it can't be another one's successor.
    DigestInUse,
    /// As many families live as the cap allows.
    CapReached {
        /// How many that is.
        max: u32,
    },
    /// The session to bind to is dead, or there is none.
    SessionDead {
        /// What ended it; `None` if there is no such session, or it is past its retention.
        by: Option<RevokedBy>,
    },
    /// Nothing is made for what is suspended.
    Suspended(RevokedBy),
    /// Something else was shown than the record asks for. Tells nothing of it.
    PreconditionFailed,
    /// The record was consumed before.
    Already {
        /// When.
        at: UnixMs,
        /// What was made from it.
        family: Option<FamilyId>,
    },
    /// Too many look-ups have missed.
    AttemptsExceeded {
        /// When it may be tried again.
        retry_after: DurationMs,
    },
    /// The proof was shown before.
    Replay,
    /// The code that was to be consumed made no family.
    Code(CodeRefusal),
    /// As many predicates are active as a tenant may have: the oldest is swept to its end first. It
    /// may come again under its name.
    SweepsPending {
        /// When it may be tried again.
        retry_after: DurationMs,
    },
}

impl Refusal {
    /// A value is out of its range: which field, and what to do about it.
    pub(crate) fn invalid(field: &str, problem: &str) -> Self {
        Self::Invalid { field: Arc::from(field), problem: Arc::from(problem) }
    }

    /// A limit is reached: the name of its constant, and its value.
    pub(crate) fn limit(limit: &str, max: usize) -> Self {
        Self::LimitReached { limit: Arc::from(limit), max: max as u64 }
    }
}

/// What killed a thing, where and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedBy {
    /// Which root.
    pub cause: RevocationCause,
    /// Position of the revocation; 0 if a root ended by the clock.
    pub position: Position,
    /// When it was revoked.
    pub at: UnixMs,
    /// As given by whoever revoked it.
    pub reason: Option<Arc<str>>,
}

impl RevokedBy {
    /// Whether it is a death. A suspension may end.
    pub(crate) fn is_for_ever(&self) -> bool {
        self.cause != RevocationCause::Suspension
    }
}

/// Which root is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RevocationCause {
    /// The family itself, by `RevokeFamily`.
    Family,
    /// The family itself, by `RevokeToken`.
    Token,
    /// The family itself: one of its spent tokens came back.
    Reuse,
    /// A cutoff (`RevokeWhere`).
    Cutoff,
    /// The user has to authenticate anew (`RequireReauthentication`).
    Reauthentication,
    /// The family itself: a newer one took its place under a cap.
    Evicted,
    /// The session, by `EndSession` or, for what is bound to it, however it ended.
    Session,
    /// Not dead for ever: it or one of its roots is suspended (`Suspend`).
    Suspension,
    /// The code that the family was made from came back.
    CodeReplay,
    /// The access token itself, by `RevokeAccessToken`.
    AccessToken,
    /// A predicate (`RevokeWhere` by more than exact keys).
    Predicate,
}

/// A spent token came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reuse {
    /// How old the token is in its chain.
    pub class: ReuseClass,
    /// Time since it was rotated away, where the row still knows.
    pub age: Option<DurationMs>,
    /// Generations between it and the head.
    pub generation_gap: u64,
    /// Whether it came from the device that the family knows; `None` if either names none.
    pub same_device: Option<bool>,
    /// Whether it came from the address that was last seen; `None` if either names none.
    pub same_ip: Option<bool>,
    /// Whether the family was revoked for it: not in shadow mode or under a compromised key.
    pub revoked: bool,
}

/// How old a reused token is in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReuseClass {
    /// The head's direct predecessor, after its grace.
    Predecessor,
    /// One that the row's ring still names.
    Recent,
    /// Older than the ring.
    Ancestor,
}

/// Digest of all rows and of the machine's own counters, 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateDigest(pub u128);

impl std::fmt::Display for StateDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Where answers and events of an entry go while it is applied.
///
/// On followers nobody waits for replies: [`Replies::wanted`] says so, and none are built.
pub trait Replies {
    /// Whether replies are wanted at all.
    fn wanted(&self) -> bool;

    /// The answer to command number `place` of the entry. Called once for each, in order, if
    /// [`Replies::wanted`].
    fn reply(&mut self, place: usize, reply: Reply);

    /// The digest that [`crate::command::Operation::DigestAt`] asked for. Called whether or not
    /// replies are wanted, so that followers can compare theirs.
    fn digest(&mut self, position: Position, digest: StateDigest) {
        let _ = (position, digest);
    }

    /// Something that security people want to know. Called whether or not replies are wanted.
    fn event(&mut self, event: Event);

    /// What became of those who wait for locks. Called whether or not replies are wanted: they
    /// wait on any node.
    fn lease(&mut self, notice: LeaseNotice) {
        let _ = notice;
    }

    /// Something ends when lease time reaches `due`: an
    /// [`crate::command::Operation::ExpireLeases`] is to be proposed then.
    fn lease_due(&mut self, due: LeaseMs) {
        let _ = due;
    }
}

/// A security event. Deterministic: every replica raises the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Where it happened.
    pub position: Position,
    /// When.
    pub at: UnixMs,
    /// In which tenant.
    pub tenant: TenantId,
    /// Of which family, if of one.
    pub family: Option<FamilyId>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EventKind {
    /// A spent token came back.
    Reuse(Reuse),
    /// Another client presented a token.
    ClientMismatch {
        /// The one that did.
        presented: ClientId,
    },
    /// The key that the token is bound to was not proved.
    BindingMismatch,
    /// The store was shown a genuine token that it has not issued yet.
    Integrity {
        /// Generation presented.
        presented: Generation,
        /// Generation known.
        head: Generation,
    },
    /// A token older than the ring came back within grace.
    OldTokenInGrace,
    /// A family was revoked.
    FamilyRevoked {
        /// By what.
        cause: RevocationCause,
    },
    /// A cutoff moved.
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
    /// A tenant's key was marked as compromised.
    KeyCompromised {
        /// Its number.
        kid: Kid,
    },
    /// A subject has to authenticate anew.
    Reauthentication {
        /// Who.
        subject: SubjectId,
    },
    /// The tenant now keeps one more row of a family than its soft quota. Raised when it is
    /// crossed.
    SoftQuota {
        /// Rows kept.
        kept: u64,
    },
    /// A session was ended.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Whose.
        subject: SubjectId,
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
    /// A record that had been consumed was to be consumed once more.
    RecordReplayed {
        /// Of which kind.
        kind: RecordKind,
    },
    /// An access token was revoked.
    AccessTokenRevoked {
        /// Its name.
        jti: Jti,
        /// The client that it was issued to.
        client: ClientId,
        /// How long it is denied: no such token lives longer.
        until: UnixMs,
    },
    /// All that matches was revoked, by more than exact keys. The event's position is its name.
    Predicate {
        /// What it kills.
        matching: Box<Criteria>,
    },
    /// All that a predicate has hit is marked.
    PredicateSwept {
        /// Its name.
        revocation: Position,
        /// What became of it.
        progress: SweepProgress,
    },
}

/// What `GetFamily` shows of a family: never a secret, digest or seal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FamilyView {
    /// Which.
    pub family: FamilyId,
    /// Whose.
    pub subject: SubjectId,
    /// For which client.
    pub client: ClientId,
    /// On which device.
    pub device: Option<DeviceId>,
    /// Bound to which session.
    pub session: Option<SessionId>,
    /// Its tokens are minted by the authorization server, not native.
    pub opaque: bool,
    /// Bound to which keys.
    pub binding: Binding,
    /// Address last seen.
    pub ip: Option<Arc<str>>,
    /// Sorted by name.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    /// Opaque to the store.
    pub payload: Bytes,
    /// Version for `UpdateFamily`.
    pub version: u64,
    /// The head's.
    pub generation: Generation,
    /// Position of its creation.
    pub created: Position,
    /// Time of its creation.
    pub created_at: UnixMs,
    /// What cutoffs compare with.
    pub origin: Position,
    /// What calls for authentication anew compare with, if it is known.
    pub authenticated_at: Option<Position>,
    /// Time of the last rotation, or of creation.
    pub rotated_at: UnixMs,
    /// Absolute end.
    pub expires_at: UnixMs,
    /// End if it isn't rotated before.
    pub idle_expires_at: UnixMs,
    /// Grace window.
    pub grace: DurationMs,
    /// `None` while it lives.
    pub dead: Option<Refusal>,
}

/// One page of a listing. A row that is there during the whole listing is on exactly one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<Row, Key> {
    /// What was found.
    pub rows: Vec<Row>,
    /// Behind which the next page begins; `None` if this is the last one.
    pub next: Option<Key>,
}

/// What an operator may see of a tenant: never its keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TenantView {
    /// Its name.
    pub tenant: TenantId,
    /// Limits and defaults.
    pub settings: TenantSettings,
    /// Version for `SetTenant`.
    pub version: u64,
    /// Key that new tokens are made with.
    pub kid: Kid,
    /// Keys marked as compromised.
    pub compromised: Vec<Kid>,
    /// When it was made.
    pub created_at: UnixMs,
}
