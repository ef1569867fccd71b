//! Revocations of all that matches: what is named, how much it hits, and what becomes of it.

use jeton_core::command::{Except, RevokeWhere};
use jeton_core::ids::{
    ClientId, DeviceId, FamilyId, Position, RequestId, SessionId, SubjectId, UnixMs,
};
use jeton_core::ip::IpRangeError;
use jeton_core::reply::{MatchCount, RevocationView as RevocationProgress, RevokedWhere};
use jeton_wire::Violation;
use jeton_wire::decode::{Consistency, Query};
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::revocation::{self, Hit};

use crate::answer::Read;
use crate::client::Deadline;
use crate::error::Error;
use crate::family::Checks;
use crate::id::IntoId;
use crate::tenant::{Tenant, decoded, unless_refused};
use crate::transport::retry::Repeat;

/// Everything that matches *all* that is named, made before the cut. It is in force at once,
/// however much that is.
#[derive(Debug, Clone)]
pub struct Cut {
    checks: Checks,
    pub(crate) revoke: RevokeWhere,
    pub(crate) request: Option<RequestId>,
}

impl Cut {
    fn new() -> Self {
        Self { checks: Checks::default(), revoke: RevokeWhere::default(), request: None }
    }

    /// Everything of a subject: "log out everywhere".
    pub fn of_subject(subject: impl IntoId<SubjectId>) -> Self {
        Self::new().subject(subject)
    }

    /// Everything of a client.
    pub fn of_client(client: impl IntoId<ClientId>) -> Self {
        Self::new().client(client)
    }

    /// Everything on a device.
    pub fn of_device(device: impl IntoId<DeviceId>) -> Self {
        Self::new().device(device)
    }

    /// A session, and everything that is bound to it.
    pub fn of_session(session: impl IntoId<SessionId>) -> Self {
        Self::new().session(session)
    }

    /// Everything of the tenant.
    #[must_use]
    pub fn of_whole_tenant() -> Self {
        Self::new()
    }

    /// Only what is this subject's.
    #[must_use]
    pub fn subject(mut self, subject: impl IntoId<SubjectId>) -> Self {
        self.revoke.matching.subject = self.checks.id("subject", subject);
        self
    }

    /// Only what is this client's.
    #[must_use]
    pub fn client(mut self, client: impl IntoId<ClientId>) -> Self {
        self.revoke.matching.client = self.checks.id("client", client);
        self
    }

    /// Only what is on this device.
    #[must_use]
    pub fn device(mut self, device: impl IntoId<DeviceId>) -> Self {
        self.revoke.matching.device = self.checks.id("device", device);
        self
    }

    /// Only this session, and what is bound to it.
    #[must_use]
    pub fn session(mut self, session: impl IntoId<SessionId>) -> Self {
        self.revoke.matching.session = self.checks.id("session", session);
        self
    }

    /// Only what has this value of the attribute `region`.
    #[must_use]
    pub fn region(mut self, region: &str) -> Self {
        self.revoke.matching.region = Some(region.into());
        self
    }

    /// Only what was last seen at one of these addresses: `10.0.0.0/8`, `2001:db8::/32`, or one
    /// alone.
    #[must_use]
    pub fn ip(mut self, range: &str) -> Self {
        let wrong = |error: IpRangeError| Violation::new("ip", error.to_string());
        match range.parse() {
            Ok(range) => self.revoke.matching.ip = Some(range),
            Err(error) => self.checks.0.push(wrong(error)),
        }
        self
    }

    /// Only what has this attribute, too. At most 16.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        let attributes = &mut self.revoke.matching.attributes;
        match attributes.binary_search_by(|(known, _)| (**known).cmp(name)) {
            Ok(at) => attributes[at].1 = value.into(),
            Err(at) => attributes.insert(at, (name.into(), value.into())),
        }
        self
    }

    /// Only what was created before this time, which is not in the future.
    #[must_use]
    pub fn created_before(mut self, before: UnixMs) -> Self {
        self.revoke.matching.created_before = Some(before);
        self
    }

    /// But for this family, if it is alive. One that is bound to a session dies with that. Families
    /// and sessions together: at most 16.
    #[must_use]
    pub fn except_family(mut self, family: FamilyId) -> Self {
        self.revoke.except.families.push(family);
        self
    }

    /// But for this session, if it is alive, and what is bound to it.
    #[must_use]
    pub fn except_session(mut self, session: impl IntoId<SessionId>) -> Self {
        let session = self.checks.id("except_sessions", session);
        self.revoke.except.sessions.extend(session);
        self
    }

    /// Told to those whom it hits; at most 256 bytes.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.revoke.reason = Some(reason.into());
        self
    }

    /// The name of this cut. Default: drawn by this client, kept for its own retries.
    #[must_use]
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.request = Some(id);
        self
    }

    pub(crate) fn checked(&self) -> Result<(), Error> {
        self.checks.done(Some(()))
    }
}

/// What a revocation of all that matches did. It is in force from its position on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedMatching {
    /// Its position, which is its name.
    pub revocation: Position,
    /// It goes by more than exact keys: a sweep will mark what it hit.
    pub predicate: bool,
    /// The exceptions that were alive, and are kept.
    pub kept: Except,
    /// How much it hit; `None` if nobody could count in time.
    pub matched: Option<MatchCount>,
}

impl Tenant {
    /// As [`Tenant::revoke_where`], and tells how much it hit.
    ///
    /// # Errors
    /// Whatever any call may fail with.
    pub async fn revoke_matching(
        &self,
        cut: Cut,
        deadline: impl Into<Deadline>,
    ) -> Result<RevokedMatching, Error> {
        cut.checked()?;
        let name = self.name(cut.request)?;
        let make =
            || Request::RevokeWhere(revocation::revoke_where(&self.tenant, name, &cut.revoke));
        let response = self.client.call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, RevokeWhere, revocation::hit)?;
        let revocation = answered.position;
        let Hit { revoked, matched } = unless_refused(answered)?;
        let RevokedWhere { predicate, kept } = revoked;
        Ok(RevokedMatching { revocation, predicate, kept, matched })
    }

    /// How much a revocation would hit now. Revokes nothing.
    ///
    /// # Errors
    /// Whatever any read may fail with.
    pub async fn count_matching(
        &self,
        cut: &Cut,
        deadline: impl Into<Deadline>,
    ) -> Result<MatchCount, Error> {
        cut.checked()?;
        let RevokeWhere { matching, except, .. } = &cut.revoke;
        let make = || Request::RevokeWhere(revocation::dry_run(&self.tenant, matching, except));
        let response = self.client.call(Repeat::Read, deadline.into(), make).await?;
        let hit = unless_refused(decoded!(response, RevokeWhere, revocation::hit)?)?;
        hit.matched.ok_or_else(|| Error::protocol("a dry run was answered without a count"))
    }

    /// What became of a revocation, by the position that it was answered with, and how far its
    /// sweep is.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NotFound` also from a day on after its sweep was through, and
    /// whatever any read may fail with.
    pub async fn revocation(
        &self,
        revocation: Position,
        consistency: Consistency,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<RevocationProgress>, Error> {
        let query = Query::Revocation(revocation);
        let response = self.read(query, consistency, deadline.into()).await?;
        let seen = decoded!(response, GetRevocation, revocation::revocation)?;
        let value = seen.outcome.map_err(Error::Refused)?;
        Ok(Read { value, position: seen.position, age: seen.age })
    }
}
