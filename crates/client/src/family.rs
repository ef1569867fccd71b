//! What callers say about families: new ones, rotations, changes, cuts.
//!
//! Everything is built up by chaining. What can't be right is found when the call is made, all of
//! it at once, before anything is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jeton_core::command::{Binding, FamilyCap, Losers, Origin};
use jeton_core::ids::{
    ClientId, DeviceId, DurationMs, FamilyId, Position, RequestId, SessionId, SubjectId,
};
use jeton_wire::Violation;
use jeton_wire::decode::Consistency;

use crate::error::Error;
use crate::id::IntoId;
use crate::record::Consumption;

/// Collects what is wrong until there is somebody to tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks(pub(crate) Vec<Violation>);

impl Checks {
    pub(crate) fn id<T>(&mut self, field: &str, id: impl IntoId<T>) -> Option<T> {
        id.into_id().map_err(|error| self.0.push(Violation::new(field, error.to_string()))).ok()
    }

    /// `checked` if nothing was wrong.
    pub(crate) fn done<T>(&self, checked: Option<T>) -> Result<T, Error> {
        match checked {
            Some(checked) if self.0.is_empty() => Ok(checked),
            _ => Err(Error::InvalidArgument { violations: self.0.clone() }),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> DurationMs {
    DurationMs(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A family to be: the refresh tokens of one authorization.
#[derive(Debug, Clone)]
pub struct NewFamily {
    checks: Checks,
    named: Option<(SubjectId, ClientId)>,
    pub(crate) rest: FamilyRest,
}

/// All of a new family that has a default.
#[derive(Debug, Clone, Default)]
pub(crate) struct FamilyRest {
    pub family: Option<FamilyId>,
    pub device: Option<DeviceId>,
    pub binding: Binding,
    pub ip: Option<Arc<str>>,
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    pub payload: Bytes,
    pub lifetime: Option<DurationMs>,
    pub idle: Option<DurationMs>,
    pub grace: Option<DurationMs>,
    pub authenticated_at: Option<Position>,
    pub cap: Option<FamilyCap>,
    pub code: Option<Consumption>,
    pub session: Option<SessionId>,
}

impl NewFamily {
    /// The authorization that `subject` gave to `client`.
    pub fn new(subject: impl IntoId<SubjectId>, client: impl IntoId<ClientId>) -> Self {
        let mut checks = Checks::default();
        let subject = checks.id("subject", subject);
        let client = checks.id("client", client);
        Self { checks, named: subject.zip(client), rest: FamilyRest::default() }
    }

    /// Its id, 16 random bytes that were never used before. Default: drawn by this client.
    #[must_use]
    pub fn family(mut self, family: FamilyId) -> Self {
        self.rest.family = Some(family);
        self
    }

    /// The device that it is given to.
    #[must_use]
    pub fn device(mut self, device: impl IntoId<DeviceId>) -> Self {
        self.rest.device = self.checks.id("device", device);
        self
    }

    /// Binds its tokens to a DPoP key: its JWK thumbprint, base64url (RFC 9449 §6.1).
    #[must_use]
    pub fn jkt(mut self, thumbprint: &str) -> Self {
        self.rest.binding.jkt = Some(thumbprint.into());
        self
    }

    /// Binds its tokens to a client certificate: its thumbprint, base64url (RFC 8705 §3.1).
    #[must_use]
    pub fn x5t_s256(mut self, thumbprint: &str) -> Self {
        self.rest.binding.x5t_s256 = Some(thumbprint.into());
        self
    }

    /// The address that the request came from.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Self {
        self.rest.ip = Some(ip.into());
        self
    }

    /// An attribute of your own: at most 16, names of at most 64 and values of at most 256 bytes.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.rest.attributes.push((name.into(), value.into()));
        self
    }

    /// Bytes of your own, at most 64 KiB: the store doesn't look into them.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.rest.payload = payload.into();
        self
    }

    /// How long it lives, whatever happens. Default and most: the tenant's maximum.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.rest.lifetime = Some(millis(lifetime));
        self
    }

    /// How long it lives without a rotation. Default: the tenant's.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.rest.idle = Some(millis(idle));
        self
    }

    /// How long a spent token is still answered with its successor: at most one hour. Within it a
    /// thief can't be told from a sibling. Default: the tenant's.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.rest.grace = Some(millis(grace));
        self
    }

    /// A position that was read when the user's credentials were checked: whatever was revoked
    /// since then stays revoked.
    #[must_use]
    pub fn authenticated_at(mut self, position: Position) -> Self {
        self.rest.authenticated_at = Some(position);
        self
    }

    /// How many families may live at once, this one included: judged in the creation itself.
    #[must_use]
    pub fn cap(mut self, cap: FamilyCap) -> Self {
        self.rest.cap = Some(cap);
        self
    }

    /// Binds it to a session of its subject: it ends with that at the latest. Default: none, it
    /// outlives every session ("offline access").
    #[must_use]
    pub fn session(mut self, session: impl IntoId<SessionId>) -> Self {
        self.rest.session = self.checks.id("session", session);
        self
    }

    /// The code that it is made from: consumed in the same command, or no family is made.
    #[must_use]
    pub fn code(mut self, code: Consumption) -> Self {
        self.rest.code = Some(code);
        self
    }

    pub(crate) fn checked(&self) -> Result<(SubjectId, ClientId), Error> {
        self.checks.done(self.named.clone())
    }
}

/// Who rotates, and from where.
#[derive(Debug, Clone)]
pub struct RotateContext {
    checks: Checks,
    client: Option<ClientId>,
    pub(crate) binding: Binding,
    pub(crate) origin: Origin,
    pub(crate) request: Option<RequestId>,
    pub(crate) losers: Losers,
}

impl RotateContext {
    /// The client that presents the token.
    pub fn new(client: impl IntoId<ClientId>) -> Self {
        let mut checks = Checks::default();
        let client = checks.id("client", client);
        Self {
            checks,
            client,
            binding: Binding::default(),
            origin: Origin::default(),
            request: None,
            losers: Losers::Replay,
        }
    }

    /// If another call rotates first, the successor that this one brings is to stand for the
    /// winner's. For opaque tokens only, of frameworks that have minted before the store answers.
    #[must_use]
    pub fn adopt(mut self) -> Self {
        self.losers = Losers::Adopt;
        self
    }

    /// The DPoP key that the client proved: its JWK thumbprint, base64url (RFC 9449 §6.1).
    #[must_use]
    pub fn jkt(mut self, thumbprint: &str) -> Self {
        self.binding.jkt = Some(thumbprint.into());
        self
    }

    /// The certificate that the client proved: its thumbprint, base64url (RFC 8705 §3.1).
    #[must_use]
    pub fn x5t_s256(mut self, thumbprint: &str) -> Self {
        self.binding.x5t_s256 = Some(thumbprint.into());
        self
    }

    /// The device that presents it. For events; it never decides.
    #[must_use]
    pub fn device(mut self, device: impl IntoId<DeviceId>) -> Self {
        self.origin.device = self.checks.id("origin.device", device);
        self
    }

    /// The address that it comes from. For events; it never decides.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Self {
        self.origin.ip = Some(ip.into());
        self
    }

    /// The name of this rotation: give the same to a call that continues one whose outcome is
    /// unknown, for example after a crash. Default: drawn by this client, kept for its own retries.
    #[must_use]
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.request = Some(id);
        self
    }

    pub(crate) fn checked(&self) -> Result<&ClientId, Error> {
        self.checks.done(self.client.as_ref())
    }
}

/// What a token must prove to be valid, and how fresh the answer must be.
#[derive(Debug, Clone, Default)]
pub struct Check {
    checks: Checks,
    pub(crate) client: Option<ClientId>,
    pub(crate) binding: Binding,
    pub(crate) consistency: Consistency,
}

impl Check {
    /// Linearizable, for any client. Keys that the token is bound to must always be proved.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only valid if it is this client's.
    #[must_use]
    pub fn client(mut self, client: impl IntoId<ClientId>) -> Self {
        self.client = self.checks.id("client", client);
        self
    }

    /// The DPoP key that the client proved: its JWK thumbprint, base64url (RFC 9449 §6.1).
    #[must_use]
    pub fn jkt(mut self, thumbprint: &str) -> Self {
        self.binding.jkt = Some(thumbprint.into());
        self
    }

    /// The certificate that the client proved: its thumbprint, base64url (RFC 8705 §3.1).
    #[must_use]
    pub fn x5t_s256(mut self, thumbprint: &str) -> Self {
        self.binding.x5t_s256 = Some(thumbprint.into());
        self
    }

    /// How fresh the answer must be.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    pub(crate) fn checked(&self) -> Result<(), Error> {
        self.checks.done(Some(()))
    }
}

/// A change to a family that was read at `version`. What isn't named stays.
#[derive(Debug, Clone)]
pub struct FamilyUpdate {
    pub(crate) version: u64,
    pub(crate) attributes: Option<Vec<(Arc<str>, Arc<str>)>>,
    pub(crate) payload: Option<Bytes>,
    pub(crate) grace: Option<DurationMs>,
    pub(crate) request: Option<RequestId>,
}

impl FamilyUpdate {
    /// Applies only if the family is still at `version`.
    #[must_use]
    pub fn new(version: u64) -> Self {
        Self { version, attributes: None, payload: None, grace: None, request: None }
    }

    /// All attributes, instead of those that it has.
    #[must_use]
    pub fn attributes<'a>(
        mut self,
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let attributes = attributes.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.attributes = Some(attributes.collect());
        self
    }

    /// The payload, instead of the one that it has; at most 64 KiB.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// The grace window; at most one hour.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(millis(grace));
        self
    }

    /// The name of this change. Default: drawn by this client, kept for its own retries.
    #[must_use]
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.request = Some(id);
        self
    }
}
