//! Sessions: single sign-on at the authorization server, which families may be bound to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jeton_core::command::{CreateSession, EndSession, TouchSession};
use jeton_core::ids::{
    ClientId, DeviceId, DurationMs, Position, RequestId, SessionId, SubjectId, UnixMs,
};
use jeton_core::reply::{SessionCreated, SessionTouched, SessionView};
use jeton_wire::answer::{Answered, Seen};
use jeton_wire::decode::{Consistency, Query};
use jeton_wire::listing::PAGE_DEFAULT;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::session::{self, Query as SessionQuery};
use jeton_wire::{Violation, encode};

use crate::answer::{Read, Revocation};
use crate::client::Deadline;
use crate::error::Error;
use crate::family::{Checks, millis};
use crate::id::IntoId;
use crate::tenant::{Tenant, decoded, unless_refused};
use crate::transport::retry::Repeat;

/// A session to be.
#[derive(Debug, Clone)]
pub struct NewSession {
    checks: Checks,
    named: Option<(SessionId, SubjectId)>,
    device: Option<DeviceId>,
    attributes: Vec<(Arc<str>, Arc<str>)>,
    payload: Bytes,
    lifetime: Option<DurationMs>,
    idle: Option<DurationMs>,
    authenticated_at: Option<Position>,
    pub(crate) request: Option<RequestId>,
}

impl NewSession {
    /// `subject` signed in. The session's name (`sid`) is the caller's choice: nobody may be able
    /// to guess it, and it is taken until the session's absolute end and a day.
    pub fn new(session: impl IntoId<SessionId>, subject: impl IntoId<SubjectId>) -> Self {
        let mut checks = Checks::default();
        let session = checks.id("session", session);
        let subject = checks.id("subject", subject);
        Self {
            checks,
            named: session.zip(subject),
            device: None,
            attributes: Vec::new(),
            payload: Bytes::new(),
            lifetime: None,
            idle: None,
            authenticated_at: None,
            request: None,
        }
    }

    /// The device that it is on.
    #[must_use]
    pub fn device(mut self, device: impl IntoId<DeviceId>) -> Self {
        self.device = self.checks.id("device", device);
        self
    }

    /// An attribute of your own: at most 16, names of at most 64 and values of at most 256 bytes.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Bytes of your own, at most 64 KiB: the store doesn't look into them.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// How long it lives, whatever happens. Default and most: the tenant's maximum for families.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(millis(lifetime));
        self
    }

    /// How long it lives without a touch. Default: the tenant's.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(millis(idle));
        self
    }

    /// A position that was read when the user's credentials were checked: whatever was revoked
    /// since then stays revoked. Default: the session's own creation.
    #[must_use]
    pub fn authenticated_at(mut self, position: Position) -> Self {
        self.authenticated_at = Some(position);
        self
    }

    /// The name of this creation. Default: drawn by this client, kept for its own retries.
    #[must_use]
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.request = Some(id);
        self
    }
}

impl NewSession {
    pub(crate) fn checked(self) -> Result<CreateSession, Error> {
        let (session, subject) = self.checks.done(self.named)?;
        Ok(CreateSession {
            session,
            subject,
            device: self.device,
            attributes: self.attributes,
            payload: self.payload,
            lifetime: self.lifetime,
            idle: self.idle,
            authenticated_at: self.authenticated_at,
        })
    }
}

/// What a touch may change, if the session is still at the version that was read.
#[derive(Debug, Clone, Default)]
pub struct SessionChange {
    version: Option<u64>,
    attributes: Option<Vec<(Arc<str>, Arc<str>)>>,
    payload: Option<Bytes>,
    pub(crate) request: Option<RequestId>,
}

impl SessionChange {
    /// Nothing: the session was used.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Applies only if the session is still at `version`.
    #[must_use]
    pub fn at_version(version: u64) -> Self {
        Self { version: Some(version), ..Self::default() }
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

    /// The name of this touch. Default: drawn by this client, kept for its own retries.
    #[must_use]
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.request = Some(id);
        self
    }
}

impl SessionChange {
    pub(crate) fn of(self, session: SessionId) -> TouchSession {
        let Self { version, attributes, payload, request: _ } = self;
        TouchSession { session, version, attributes, payload }
    }
}

impl SessionMade {
    pub(crate) fn of(answered: Answered<SessionCreated>) -> Result<Self, Error> {
        let position = answered.position;
        let made = unless_refused(answered)?;
        let (expires_at, idle_expires_at) = (made.expires_at, made.idle_expires_at);
        Ok(Self { position, expires_at, idle_expires_at })
    }
}

impl SessionUsed {
    pub(crate) fn of(answered: Answered<SessionTouched>) -> Result<Self, Error> {
        let position = answered.position;
        let used = unless_refused(answered)?;
        let (version, idle_expires_at) = (used.version, used.idle_expires_at);
        Ok(Self { position, version, idle_expires_at })
    }
}

impl SessionOver {
    pub(crate) fn of(answered: Answered<session::Ended>) -> Result<Self, Error> {
        let position = answered.position;
        let session::Ended { revocation, clients, next } = unless_refused(answered)?;
        Ok(Self { position, outcome: revocation, clients, next })
    }
}

/// A session that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionMade {
    /// Of the creation.
    pub position: Position,
    /// When it ends, whatever happens, in Unix milliseconds.
    pub expires_at: UnixMs,
    /// When it ends if it isn't touched before.
    pub idle_expires_at: UnixMs,
}

/// A session that was touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionUsed {
    /// Of the touch.
    pub position: Position,
    /// For the next change.
    pub version: u64,
    /// When it ends if it isn't touched before, in Unix milliseconds.
    pub idle_expires_at: UnixMs,
}

/// What the end of a session did, and whom to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOver {
    /// From here on the session, and all that is bound to it, is dead.
    pub position: Position,
    /// Dead from here on, dead before, or never known.
    pub outcome: Revocation,
    /// Clients to notify (OpenID Connect Back-Channel Logout), at most 128.
    pub clients: Vec<ClientId>,
    /// Lists the rest of them, with [`Tenant::list_session_clients`]; `None` if that was all.
    pub next: Option<String>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// May be fewer than asked for, or none, although more follow.
    pub rows: Vec<T>,
    /// For the next page; `None` if that was all.
    pub next: Option<String>,
}

/// A subject's sessions. Only those that live, unless [`Sessions::include_ended`].
#[derive(Debug, Clone)]
pub struct Sessions {
    checks: Checks,
    subject: Option<SubjectId>,
    ended: bool,
    page_size: u32,
    consistency: Consistency,
}

impl Sessions {
    /// Those of a subject.
    pub fn of_subject(subject: impl IntoId<SubjectId>) -> Self {
        let mut checks = Checks::default();
        let subject = checks.id("subject", subject);
        let (ended, page_size) = (false, PAGE_DEFAULT);
        Self { checks, subject, ended, page_size, consistency: Consistency::Linearizable }
    }

    /// Dead and expired ones too, as long as answers name their cause: 24 hours.
    #[must_use]
    pub fn include_ended(mut self) -> Self {
        self.ended = true;
        self
    }

    /// At most so many a page, 1 to 1,000. Default 100.
    #[must_use]
    pub fn page_size(mut self, sessions: u32) -> Self {
        self.page_size = sessions;
        self
    }

    /// How fresh the answer must be. Default: linearizable.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }
}

pub(crate) fn named(session: impl IntoId<SessionId>) -> Result<SessionId, Error> {
    session.into_id().map_err(|error| Error::violation("session", error.to_string()))
}

fn read<T, U>(seen: Seen<T>, then: impl FnOnce(T) -> U) -> Result<Read<U>, Error> {
    let value = seen.outcome.map(then).map_err(Error::Refused)?;
    Ok(Read { value, position: seen.position, age: seen.age })
}

fn page<T>(page: session::Page<T>) -> Page<T> {
    Page { rows: page.rows, next: page.next }
}

impl Tenant {
    /// Starts a session.
    ///
    /// # Errors
    /// [`Error::Refused`] with `TenantUnknown`, `Suspended`, `Revoked` (since `authenticated_at`)
    /// or `AlreadyExists`, and whatever any call may fail with.
    pub async fn create_session(
        &self,
        new: NewSession,
        deadline: impl Into<Deadline>,
    ) -> Result<SessionMade, Error> {
        let name = self.name(new.request)?;
        let create = new.checked()?;
        let make = || session::create(self.id(), name, &create);
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, CreateSession, session::created)?;
        SessionMade::of(answered)
    }

    /// Says that a session was used, so that it doesn't end idle, and may change what it carries.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NotFound`, `Revoked`, `Expired` or `VersionMismatch`, and whatever
    /// any call may fail with.
    pub async fn touch_session(
        &self,
        session: impl IntoId<SessionId>,
        change: SessionChange,
        deadline: impl Into<Deadline>,
    ) -> Result<SessionUsed, Error> {
        let name = self.name(change.request)?;
        let touch = change.of(named(session)?);
        let make = || session::touch(self.id(), name, &touch);
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, TouchSession, session::touched)?;
        SessionUsed::of(answered)
    }

    /// Ends a session and all that is bound to it, in one step, and tells which clients to notify.
    /// The reason, at most 256 bytes, is told to those whom it hits.
    ///
    /// # Errors
    /// Whatever any call may fail with. An unknown session is success, told apart.
    pub async fn end_session(
        &self,
        session: impl IntoId<SessionId>,
        reason: Option<&str>,
        deadline: impl Into<Deadline>,
    ) -> Result<SessionOver, Error> {
        let end = EndSession { session: named(session)?, reason: reason.map(Into::into) };
        let name = self.name(None)?;
        let make = || session::end(self.id(), name, &end);
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        let answered: Answered<session::Ended> =
            decoded!(response, EndSession, session::ended_from)?;
        SessionOver::of(answered)
    }

    /// Shows a session, dead or alive.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NotFound` or `TenantUnknown`, and whatever any read may fail with.
    pub async fn get_session(
        &self,
        session: impl IntoId<SessionId>,
        consistency: Consistency,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<SessionView>, Error> {
        let query = Query::Session(SessionQuery::One(named(session)?));
        let response = self.read(query, consistency, deadline.into()).await?;
        read(decoded!(response, GetSession, session::got)?, |view| view)
    }

    /// A page of a subject's sessions: the first, or the one behind `behind` (see [`Page::next`]).
    /// A session that is there during the whole listing appears exactly once. Payloads are left
    /// out.
    ///
    /// # Errors
    /// [`Error::Refused`] with `TenantUnknown`, and whatever any read may fail with.
    pub async fn list_sessions(
        &self,
        sessions: &Sessions,
        behind: Option<&str>,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<Page<SessionView>>, Error> {
        let subject = sessions.checks.done(sessions.subject.clone())?;
        sized(sessions.page_size)?;
        let request = v1::ListSessionsRequest {
            tenant: self.id().as_str().to_owned(),
            subject: subject.as_str().to_owned(),
            include_ended: sessions.ended,
            page_size: sessions.page_size,
            page_token: behind.unwrap_or_default().to_owned(),
            consistency: encode::consistency(sessions.consistency),
        };
        let make = || Request::ListSessions(request.clone());
        let response = self.client().call(Repeat::Read, deadline.into(), make).await?;
        read(decoded!(response, ListSessions, session::listed)?, page)
    }

    /// A page of the clients that families of a session were bound for: the first, or the one
    /// behind `behind` (see [`SessionOver::next`] and [`Page::next`]). Linearizable, at most
    /// 1,000 a page.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NotFound` or `TenantUnknown`, and whatever any read may fail with.
    pub async fn list_session_clients(
        &self,
        session: impl IntoId<SessionId>,
        behind: Option<&str>,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<Page<ClientId>>, Error> {
        let request = v1::ListSessionClientsRequest {
            tenant: self.id().as_str().to_owned(),
            session: named(session)?.as_str().to_owned(),
            page_size: jeton_core::limits::PAGE_ROWS_MAX,
            page_token: behind.unwrap_or_default().to_owned(),
            consistency: None,
        };
        let make = || Request::ListSessionClients(request.clone());
        let response = self.client().call(Repeat::Read, deadline.into(), make).await?;
        read(decoded!(response, ListSessionClients, session::clients)?, page)
    }
}

fn sized(page_size: u32) -> Result<(), Error> {
    if page_size == 0 {
        let wrong = Violation::new("page_size", "is 0: ask for 1 to 1,000 sessions");
        return Err(Error::InvalidArgument { violations: vec![wrong] });
    }
    Ok(())
}
