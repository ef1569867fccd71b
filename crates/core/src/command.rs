//! What may be asked of the state machine. Every write of the system is a [`Command`] in an
//! [`Entry`].
//!
//! Variants are only ever appended (bincode numbers them), and golden files pin their bytes.

mod lease;
mod name;
mod record;
mod revocation;
mod session;
mod transact;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use crate::ids::{
    ClientId, DeviceId, DurationMs, FamilyId, Generation, Jti, Kid, Position, RequestId,
    SecretDigest, SessionId, SubjectId, TenantId, UnixMs,
};

pub use lease::{Acquire, LeaseName, Publish, Release, Renew, Withdraw};
pub use record::{
    AttemptLimits, CollectExpired, Consume, DeleteRecord, DeleteRecords, LookUpRecord, OnExpiry,
    Precondition, PutRecord, PutWhen, RecordKindSettings, RecordName, RecordRoots, SeenOnce,
    SetRecordKind,
};
pub use revocation::{Criteria, Except, RevokeWhere, SweepRevocation};
pub use session::{CreateSession, EndSession, Resume, Suspend, Suspendable, TouchSession};
pub(crate) use transact::ROTATED_TWICE;
pub use transact::{Comparison, NoPart, Part, Transact};

/// One entry of the Raft log: many commands under one stamp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Median of the wall clocks that a majority of voters reported to the leader.
    pub stamp: UnixMs,
    /// Milliseconds of the leader's monotonic clock since its own previous entry; 0 at a change of
    /// leader. Advances lease time.
    pub lease_advance: DurationMs,
    /// At most [`crate::limits::BATCH_COMMANDS_MAX`].
    pub commands: Vec<Arc<Command>>,
}

/// One mutation: its tenant, its name and age, and what it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The tenant that it acts in. Maintenance names none.
    pub tenant: Option<TenantId>,
    /// The same on every retry; maintenance has none.
    pub request: Option<RequestName>,
    /// What to do.
    pub operation: Operation,
}

impl Command {
    /// Adds time that a node held it to its age.
    pub fn grow_older(&mut self, held: DurationMs) {
        if let Some(request) = &mut self.request {
            request.age = DurationMs(request.age.0.saturating_add(held.0));
        }
    }
}

/// The name of a mutation and how old it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestName {
    /// 16 random bytes chosen by the caller.
    pub id: RequestId,
    /// Time since its first attempt, by monotonic clocks: the client's, plus that of every node
    /// that held it.
    pub age: DurationMs,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Operation {
    /// Makes a tenant with its first key.
    CreateTenant(CreateTenant),
    /// Changes a tenant's settings, as far as they are named.
    SetTenant(SetTenant),
    /// Makes a new key; old ones still verify.
    RotateTenantKey(RotateTenantKey),
    /// Marks a key: tokens under it no longer revoke families when they are replayed.
    MarkKeyCompromised(MarkKeyCompromised),
    /// Starts a family of refresh tokens.
    CreateFamily(Box<CreateFamily>),
    /// Exchanges the head of a family for its successor.
    Rotate(Box<Rotate>),
    /// Confirms that the presented token arrived at its client ("used", without rotating).
    Touch(Touch),
    /// Changes a family's attributes, payload or grace, if it is still at `version`.
    UpdateFamily(Box<UpdateFamily>),
    /// Kills one family.
    RevokeFamily(RevokeFamily),
    /// RFC 7009 revocation by a presented refresh token.
    RevokeToken(RevokeToken),
    /// Kills all that matches, in one row.
    RevokeWhere(Box<RevokeWhere>),
    /// Reclaims what no answer depends on any more. Changes no answer.
    Sweep(Sweep),
    /// Asks every replica to remember its digest at this position.
    DigestAt,
    /// Kills what was made from an earlier authentication of a subject.
    RequireReauthentication(RequireReauthentication),
    /// Asks for a lock, or for a place among those who wait for it.
    Acquire(Acquire),
    /// Makes leases last for another while, counted from now.
    Renew(Renew),
    /// Gives a lock back.
    Release(Release),
    /// Hands the result of a single flight to those who wait for it.
    Publish(Publish),
    /// Takes an [`Operation::Acquire`] back: its place, or what it was granted.
    Withdraw(Withdraw),
    /// Ends the leases and waits that lease time has overtaken.
    ExpireLeases(Sweep),
    /// Starts a single sign-on session.
    CreateSession(Box<CreateSession>),
    /// Keeps a session from ending idle, and may change its attributes and payload.
    TouchSession(Box<TouchSession>),
    /// Kills a session and all that is bound to it, and tells which clients to notify.
    EndSession(EndSession),
    /// Makes a root dead for a while.
    Suspend(Suspend),
    /// Ends that while.
    Resume(Resume),
    /// Says what holds for all records of a kind.
    SetRecordKind(SetRecordKind),
    /// Creates or replaces a record.
    PutRecord(Box<PutRecord>),
    /// Looks up a record in a kind that counts misses.
    LookUpRecord(LookUpRecord),
    /// Deletes a record. That it was consumed is still known.
    DeleteRecord(DeleteRecord),
    /// Deletes all records that have an index key, in one row.
    DeleteRecords(DeleteRecords),
    /// Deletes records that were kept after they expired.
    CollectExpired(CollectExpired),
    /// Takes a record's value, once in the world.
    Consume(Box<Consume>),
    /// Says whether a proof is shown for the first time.
    SeenOnce(SeenOnce),
    /// RFC 7009 revocation of an access token, by its `jti`.
    RevokeAccessToken(RevokeAccessToken),
    /// Performs several operations if comparisons hold: all of them, or none.
    Transact(Box<Transact>),
    /// Marks what a predicate has hit. Changes no answer.
    SweepRevocation(SweepRevocation),
}

/// See [`Operation::CreateTenant`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateTenant {
    /// Limits and defaults.
    pub settings: TenantSettings,
    /// 32 random bytes for the first key, drawn by the node that took the request.
    pub key: KeyMaterial,
}

/// See [`Operation::SetTenant`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetTenant {
    /// What changes. What it doesn't name stays as it is when this is judged, so that a retry is
    /// the same request, whatever others changed meanwhile.
    pub changes: SettingsChange,
    /// Version that the settings must still be at, if one was named.
    pub version: Option<u64>,
}

/// See [`Operation::RotateTenantKey`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RotateTenantKey {
    /// 32 random bytes.
    pub key: KeyMaterial,
}

/// See [`Operation::MarkKeyCompromised`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkKeyCompromised {
    /// Which key.
    pub kid: Kid,
}

/// Randomness for a tenant's key. It can't be printed, and is erased from memory when dropped.
#[derive(Clone, PartialEq, Eq, Deserialize, zeroize::ZeroizeOnDrop)]
pub struct KeyMaterial(pub [u8; 32]);

impl Serialize for KeyMaterial {
    /// The bytes; where people read, nothing of them.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.serialize_str("(32 bytes)");
        }
        self.0.serialize(to)
    }
}

impl std::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMaterial(…)")
    }
}

/// Limits and defaults of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantSettings {
    /// Grace of families that name none. Default 30 s, at most [`crate::limits::GRACE_MAX`].
    pub grace_default: DurationMs,
    /// Longest absolute lifetime that a family may ask for; also the default. Default 400 days.
    pub family_lifetime_max: DurationMs,
    /// Idle lifetime of families that name none. Default 30 days.
    pub idle_default: DurationMs,
    /// Longest access token that this tenant issues. Default 24 h.
    pub access_ttl_max: DurationMs,
    /// How many rotations of one family may come at once. Default 16, at least 1.
    pub rotation_burst: u32,
    /// How many rotations of one family a second are sustained. Default 1; 0 means no limit.
    pub rotations_per_s: u32,
    /// Shadow mode: reuse raises its event, and revokes nothing. Default off.
    pub shadow: bool,
    /// Soft quota: beyond this many rows of families the tenant is told, and nothing is refused.
    /// Default 0: none.
    pub families_max_soft: u64,
    /// How many generations behind the head a new family of opaque tokens remembers. Default 4,096;
    /// [`crate::limits::ANCESTORS_MIN`] to [`crate::limits::ANCESTORS_MAX`].
    pub ancestors_max: u32,
}

/// Settings of a tenant as far as they are named, each with the limits of [`TenantSettings`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChange {
    /// See [`TenantSettings::grace_default`].
    pub grace_default: Option<DurationMs>,
    /// See [`TenantSettings::family_lifetime_max`].
    pub family_lifetime_max: Option<DurationMs>,
    /// See [`TenantSettings::idle_default`].
    pub idle_default: Option<DurationMs>,
    /// See [`TenantSettings::access_ttl_max`].
    pub access_ttl_max: Option<DurationMs>,
    /// See [`TenantSettings::rotation_burst`].
    pub rotation_burst: Option<u32>,
    /// See [`TenantSettings::rotations_per_s`].
    pub rotations_per_s: Option<u32>,
    /// See [`TenantSettings::shadow`].
    pub shadow: Option<bool>,
    /// See [`TenantSettings::families_max_soft`].
    pub families_max_soft: Option<u64>,
    /// See [`TenantSettings::ancestors_max`].
    pub ancestors_max: Option<u32>,
}

impl SettingsChange {
    /// `base` with what is named here.
    #[must_use]
    pub fn over(&self, base: &TenantSettings) -> TenantSettings {
        // All of them by name: a setting that is added later can't be forgotten here.
        TenantSettings {
            grace_default: self.grace_default.unwrap_or(base.grace_default),
            family_lifetime_max: self.family_lifetime_max.unwrap_or(base.family_lifetime_max),
            idle_default: self.idle_default.unwrap_or(base.idle_default),
            access_ttl_max: self.access_ttl_max.unwrap_or(base.access_ttl_max),
            rotation_burst: self.rotation_burst.unwrap_or(base.rotation_burst),
            rotations_per_s: self.rotations_per_s.unwrap_or(base.rotations_per_s),
            shadow: self.shadow.unwrap_or(base.shadow),
            families_max_soft: self.families_max_soft.unwrap_or(base.families_max_soft),
            ancestors_max: self.ancestors_max.unwrap_or(base.ancestors_max),
        }
    }
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            grace_default: DurationMs::from_secs(30),
            family_lifetime_max: crate::limits::FAMILY_LIFETIME_MAX,
            idle_default: DurationMs::from_secs(30 * 24 * 60 * 60),
            access_ttl_max: DurationMs::from_secs(24 * 60 * 60),
            rotation_burst: 16,
            rotations_per_s: 1,
            shadow: false,
            families_max_soft: 0,
            ancestors_max: 4_096,
        }
    }
}

/// A native token as the store sees it: everything but the secret itself.
///
/// Its mac was verified on the node that took the request, before this was proposed, and is not
/// part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PresentedToken {
    /// The key that its mac was made with.
    pub kid: Kid,
    /// The family it belongs to.
    pub family: FamilyId,
    /// Its place in the chain.
    pub generation: Generation,
    /// Digest of its secret.
    pub digest: SecretDigest,
}

/// A token of either kind, as it was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Presented {
    /// One that the cluster gave its mac.
    Native(PresentedToken),
    /// One that an authorization server minted: the digest of its text says it all.
    Opaque(SecretDigest),
}

impl From<PresentedToken> for Presented {
    fn from(token: PresentedToken) -> Self {
        Self::Native(token)
    }
}

/// What becomes of those who lose the race for a rotation, within grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Losers {
    /// They get the winner's successor, out of its seal.
    #[default]
    Replay,
    /// The successors that they have minted themselves stand for the winner's. Only for opaque
    /// tokens.
    Adopt,
}

/// Keys that a token is bound to (sender constraint).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Binding {
    /// JWK SHA-256 thumbprint of a DPoP key (RFC 9449 §6.1), base64url.
    pub jkt: Option<Arc<str>>,
    /// SHA-256 thumbprint of a client certificate (RFC 8705 §3.1), base64url.
    pub x5t_s256: Option<Arc<str>>,
}

/// Where a request came from, as the authorization server saw it. For events; never decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The device, if known.
    pub device: Option<DeviceId>,
    /// The address, as text.
    pub ip: Option<Arc<str>>,
}

/// See [`Operation::CreateFamily`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateFamily {
    /// Chosen by the caller, 16 random bytes.
    pub family: FamilyId,
    /// Digest of the first token's secret; of its whole text, if it is opaque.
    pub digest: SecretDigest,
    /// Its tokens are minted by the authorization server; else they are native. Decided here, once.
    pub opaque: bool,
    /// Whose authorization it is.
    pub subject: SubjectId,
    /// The client that it was given to.
    pub client: ClientId,
    /// The device that it was given to.
    pub device: Option<DeviceId>,
    /// Keys that its tokens are bound to.
    pub binding: Binding,
    /// Where the first request came from.
    pub ip: Option<Arc<str>>,
    /// Free for the caller: region, user agent, … Sorted by name, names unique.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    /// Opaque to the store.
    pub payload: Bytes,
    /// Absolute lifetime; the tenant's maximum if `None`.
    pub lifetime: Option<DurationMs>,
    /// Idle lifetime; the tenant's default if `None`.
    pub idle: Option<DurationMs>,
    /// Grace window; the tenant's default if `None`.
    pub grace: Option<DurationMs>,
    /// Position that the caller read when the user's credentials were checked. Cutoffs between then
    /// and now kill the family before it is born.
    pub authenticated_at: Option<Position>,
    /// How many may live beside it.
    pub cap: Option<FamilyCap>,
    /// The session that it is bound to, and ends with at the latest.
    pub session: Option<SessionId>,
    /// The code that it is made from: consumed in the same command, or no family is made. The
    /// family that is kept with it is this one, whatever [`Consume::family`] says.
    pub code: Option<Box<Consume>>,
}

/// The most families that may live at once, judged when one more is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyCap {
    /// The new one included: 1 to [`crate::limits::CAP_FAMILIES_MAX`].
    pub max: u32,
    /// Which families are counted.
    pub scope: CapScope,
    /// What happens at the cap.
    pub policy: CapPolicy,
}

/// Which families a cap counts, with or without a cap of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapScope {
    /// All of the new family's subject.
    Subject,
    /// Those of the new family's subject that its client holds.
    SubjectClient,
}

/// What happens when one more family would be one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapPolicy {
    /// The oldest die in the same command, so that the new one has room.
    EvictOldest,
    /// The new one is refused.
    Deny,
}

/// See [`Operation::Rotate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rotate {
    /// What was presented.
    pub token: Presented,
    /// Digest of the successor's secret, minted by the caller.
    pub successor: SecretDigest,
    /// The successor, sealed by the caller under a key derived from the presented token. Empty if
    /// it has none to give: then nobody else is answered with it.
    pub seal: Bytes,
    /// What the caller wants if another one rotated.
    pub losers: Losers,
    /// The client that presented it.
    pub client: ClientId,
    /// The keys that the client proved.
    pub binding: Binding,
    /// Where it came from.
    pub origin: Origin,
}

/// See [`Operation::Touch`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Touch {
    /// What was presented. Only the head can be confirmed.
    pub token: Presented,
}

/// See [`Operation::UpdateFamily`]. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateFamily {
    /// Which family.
    pub family: FamilyId,
    /// The version it was read at.
    pub version: u64,
    /// New attributes, whole.
    pub attributes: Option<Vec<(Arc<str>, Arc<str>)>>,
    /// New payload, whole.
    pub payload: Option<Bytes>,
    /// New grace window.
    pub grace: Option<DurationMs>,
}

/// See [`Operation::RevokeFamily`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevokeFamily {
    /// Which family.
    pub family: FamilyId,
    /// Told to those whom it hits; free text.
    pub reason: Option<Arc<str>>,
}

/// See [`Operation::RevokeToken`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevokeToken {
    /// What was presented: any authenticated ancestor revokes as the head does.
    pub token: Presented,
    /// The client that asks. Another client's token is refused (RFC 7009 §2.1).
    pub client: ClientId,
}

/// See [`Operation::RevokeAccessToken`]. Access tokens are not kept here, so nobody can tell whose
/// one is: the denial hits the token of that name *of that client*, and no other (RFC 7009 §2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeAccessToken {
    /// The token's `jti` claim.
    pub jti: Jti,
    /// The client that it was issued to.
    pub client: ClientId,
    /// The token's `exp` claim; as long as the tenant's access tokens may live if `None`.
    pub expires_at: Option<UnixMs>,
}

/// See [`Operation::RequireReauthentication`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequireReauthentication {
    /// Who has to authenticate anew.
    pub subject: SubjectId,
    /// Told to those whom it hits; free text.
    pub reason: Option<Arc<str>>,
}

/// See [`Operation::Sweep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// Rows it may visit, at most [`crate::limits::SWEEP_ROWS_MAX`].
    pub rows_max: u32,
}
