//! Sessions on the wire, both ways, and the tokens that lead from page to page of their listings.
//!
//! A page token names the last session or client of the page before, in hexadecimal. It is no
//! secret and gives nobody anything: whoever may list may begin anywhere.

use std::fmt::Write as _;

use jeton_core::command::{CreateSession, EndSession, Operation, RequestName, TouchSession};
use jeton_core::ids::{ClientId, DurationMs, Position, SessionId, SubjectId, TenantId, UnixMs};
use jeton_core::limits;
use jeton_core::reply::{Done, Refusal, SessionCreated, SessionEnded, SessionTouched, SessionView};

use crate::answer::{Answered, Revocation, Seen, revocation, seen};
use crate::check::{self, Violation};
use crate::decode::{self, Read, Write, consistency, name, write};
use crate::encode::{self, request_name, text};
use crate::failure::Failure;
use crate::listing::{PAGE_DEFAULT, mark};
use crate::pb::v1;
use crate::pb::v1::operation::Request;
use crate::pb::v1::operation_result::Response;
use crate::{refusal, reply};

/// What a read asks of sessions.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// One, dead or alive.
    One(SessionId),
    /// A page of a subject's.
    Of {
        /// Whose.
        subject: SubjectId,
        /// Dead ones too.
        ended: bool,
        /// Behind which; `None` for the first page.
        after: Option<SessionId>,
        /// At most so many: 1 to [`limits::PAGE_ROWS_MAX`].
        rows_max: u32,
    },
    /// A page of the clients of one.
    Clients {
        /// Of which.
        session: SessionId,
        /// Behind which; `None` for the first page.
        after: Option<ClientId>,
        /// At most so many: 1 to [`limits::PAGE_ROWS_MAX`].
        rows_max: u32,
    },
}

/// Which response a request about sessions is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `CreateSessionResponse`
    Create,
    /// `TouchSessionResponse`
    Touch,
    /// `EndSessionResponse`
    End,
    /// `GetSessionResponse`
    Get,
    /// `ListSessionsResponse`
    List,
    /// `ListSessionClientsResponse`
    Clients,
}

impl Query {
    /// Which response it is answered with.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::One(_) => Kind::Get,
            Self::Of { .. } => Kind::List,
            Self::Clients { .. } => Kind::Clients,
        }
    }
}

/// What a read about sessions found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// The session.
    One(Box<SessionView>),
    /// A page of sessions.
    Sessions(Vec<SessionView>, Option<SessionId>),
    /// A page of clients.
    Clients(Vec<ClientId>, Option<ClientId>),
}

/// A page of something, and the token of the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// May be fewer than asked for, or none, although more follow.
    pub rows: Vec<T>,
    /// For the next page; `None` if that was all.
    pub next: Option<String>,
}

/// What the end of a session did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Dead from here on, dead before, or never known.
    pub revocation: Revocation,
    /// Clients to notify.
    pub clients: Vec<ClientId>,
    /// With which the rest of them is listed; `None` if that was all.
    pub next: Option<String>,
}

/// The answer to an operation about sessions.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To `CreateSession`.
    Created(Answered<SessionCreated>),
    /// To `TouchSession`.
    Touched(Answered<SessionTouched>),
    /// To `EndSession`.
    Ended(Answered<Ended>),
    /// To `GetSession`.
    One(Seen<SessionView>),
    /// To `ListSessions`.
    Sessions(Seen<Page<SessionView>>),
    /// To `ListSessionClients`.
    Clients(Seen<Page<ClientId>>),
}

pub(crate) fn decode_create(r: v1::CreateSessionRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let lifetime_max = limits::FAMILY_LIFETIME_MAX;
    let create = CreateSession {
        session: check::session(&r.session)?,
        subject: check::subject(&r.subject)?,
        device: check::device_opt("device", &r.device)?,
        attributes: check::attributes("attributes", r.attributes)?,
        payload: check::bytes_max("payload", r.payload, limits::PAYLOAD_BYTES_MAX)?,
        lifetime: check::duration_opt("lifetime_ms", r.lifetime_ms, lifetime_max)?,
        idle: check::duration_opt("idle_ms", r.idle_ms, lifetime_max)?,
        authenticated_at: r.authenticated_at_position.map(Position),
    };
    Ok(write(tenant, request, Operation::CreateSession(Box::new(create)), None))
}

pub(crate) fn decode_touch(r: v1::TouchSessionRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    if r.version.is_none() && (r.attributes.is_some() || r.payload.is_some()) {
        let problem = "is missing: send the version at which attributes and payload were read";
        return Err(Violation::new("version", problem));
    }
    let values = r.attributes.map(|a| check::attributes("attributes.values", a.values));
    let payload = r.payload.map(|p| check::bytes_max("payload", p, limits::PAYLOAD_BYTES_MAX));
    let touch = TouchSession {
        session: check::session(&r.session)?,
        version: r.version,
        attributes: values.transpose()?,
        payload: payload.transpose()?,
    };
    Ok(write(tenant, request, Operation::TouchSession(Box::new(touch)), None))
}

pub(crate) fn decode_end(r: &v1::EndSessionRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request.clone())?;
    let end = EndSession {
        session: check::session(&r.session)?,
        reason: check::text_opt("reason", &r.reason, limits::REASON_BYTES_MAX)?,
    };
    Ok(write(tenant, request, Operation::EndSession(end), None))
}

pub(crate) fn decode_get(r: &v1::GetSessionRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    read(tenant, Query::One(check::session(&r.session)?), r.consistency)
}

pub(crate) fn decode_list(r: &v1::ListSessionsRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let query = Query::Of {
        subject: check::subject(&r.subject)?,
        ended: r.include_ended,
        after: after(&r.page_token, SessionId::new)?,
        rows_max: page_size(r.page_size)?,
    };
    read(tenant, query, r.consistency)
}

pub(crate) fn decode_clients(r: &v1::ListSessionClientsRequest) -> Result<Read, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let query = Query::Clients {
        session: check::session(&r.session)?,
        after: after(&r.page_token, ClientId::new)?,
        rows_max: page_size(r.page_size)?,
    };
    read(tenant, query, r.consistency)
}

fn read(tenant: TenantId, query: Query, fresh: Option<v1::Consistency>) -> Result<Read, Violation> {
    let query = decode::Query::Session(query);
    Ok(Read { tenant, query, consistency: consistency(fresh)? })
}

fn page_size(asked: u32) -> Result<u32, Violation> {
    match asked {
        0 => Ok(PAGE_DEFAULT),
        size if size > limits::PAGE_ROWS_MAX => {
            let max = limits::PAGE_ROWS_MAX;
            Err(Violation::new("page_size", format!("is {size}: the limit is {max}")))
        }
        size => Ok(size),
    }
}

/// The token of the page behind `last`.
#[must_use]
pub fn token(last: &str) -> String {
    last.bytes().fold(String::new(), |mut out, byte| {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn after<T, E>(token: &str, id: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, Violation> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || Violation::new("page_token", "is none: send the last page's next_page_token");
    if token.len() > 2 * limits::ID_BYTES_MAX || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let pairs = token.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    let bytes = pairs.collect::<Option<Vec<u8>>>().ok_or_else(wrong)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    id(&text).map(Some).map_err(|_| wrong())
}

/// See [`CreateSession`].
#[must_use]
pub fn create(tenant: &TenantId, name: RequestName, wish: &CreateSession) -> Request {
    Request::CreateSession(v1::CreateSessionRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        session: wish.session.as_str().to_owned(),
        subject: wish.subject.as_str().to_owned(),
        device: text(wish.device.as_ref().map(|d| d.as_str())),
        attributes: encode::attributes(&wish.attributes),
        payload: wish.payload.clone(),
        lifetime_ms: wish.lifetime.map(|d| d.0),
        idle_ms: wish.idle.map(|d| d.0),
        authenticated_at_position: wish.authenticated_at.map(|p| p.0),
    })
}

/// See [`TouchSession`].
#[must_use]
pub fn touch(tenant: &TenantId, name: RequestName, wish: &TouchSession) -> Request {
    let values = wish.attributes.as_deref().map(encode::attributes);
    Request::TouchSession(v1::TouchSessionRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        session: wish.session.as_str().to_owned(),
        version: wish.version,
        attributes: values.map(|values| v1::Attributes { values }),
        payload: wish.payload.clone(),
    })
}

/// See [`EndSession`].
#[must_use]
pub fn end(tenant: &TenantId, name: RequestName, wish: &EndSession) -> Request {
    Request::EndSession(v1::EndSessionRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        session: wish.session.as_str().to_owned(),
        reason: text(wish.reason.as_deref()),
    })
}

pub(crate) fn query(
    tenant: String,
    query: &Query,
    consistency: Option<v1::Consistency>,
) -> Request {
    match query {
        Query::One(session) => {
            let session = session.as_str().to_owned();
            Request::GetSession(v1::GetSessionRequest { tenant, session, consistency })
        }
        Query::Of { subject, ended, after, rows_max } => {
            Request::ListSessions(v1::ListSessionsRequest {
                tenant,
                subject: subject.as_str().to_owned(),
                include_ended: *ended,
                page_size: *rows_max,
                page_token: after.as_ref().map(|id| token(id.as_str())).unwrap_or_default(),
                consistency,
            })
        }
        Query::Clients { session, after, rows_max } => {
            Request::ListSessionClients(v1::ListSessionClientsRequest {
                tenant,
                session: session.as_str().to_owned(),
                page_size: *rows_max,
                page_token: after.as_ref().map(|id| token(id.as_str())).unwrap_or_default(),
                consistency,
            })
        }
    }
}

pub(crate) fn performed(kind: Kind, position: u64, done: Done) -> Result<Response, Failure> {
    Ok(match (kind, done) {
        (Kind::Create, Done::SessionCreated(it)) => {
            let created = v1::CreatedSession {
                expires_at_unix_ms: it.expires_at.0,
                idle_expires_at_unix_ms: it.idle_expires_at.0,
            };
            let outcome = Some(v1::create_session_response::Outcome::Created(created));
            Response::CreateSession(v1::CreateSessionResponse { position, outcome })
        }
        (Kind::Touch, Done::SessionTouched(it)) => {
            let touched = v1::TouchedSession {
                version: it.version,
                idle_expires_at_unix_ms: it.idle_expires_at.0,
            };
            let outcome = Some(v1::touch_session_response::Outcome::Touched(touched));
            Response::TouchSession(v1::TouchSessionResponse { position, outcome })
        }
        (Kind::End, Done::SessionEnded(it)) => ended(position, it),
        (Kind::End, Done::NothingToRevoke) => {
            let result = v1::RevocationResult::Unknown.into();
            end_response(position, v1::EndedSession { result, ..v1::EndedSession::default() })
        }
        _ => return Err(reply::bug("the reply does not fit the request")),
    })
}

fn ended(position: u64, it: SessionEnded) -> Response {
    let result = match it.already {
        true => v1::RevocationResult::Already,
        false => v1::RevocationResult::Revoked,
    };
    let last = it.clients.last().filter(|_| it.more);
    let next_page_token = last.map(|client| token(client.as_str())).unwrap_or_default();
    let clients = it.clients.iter().map(|client| client.as_str().to_owned()).collect();
    end_response(position, v1::EndedSession { result: result.into(), clients, next_page_token })
}

fn end_response(position: u64, ended: v1::EndedSession) -> Response {
    let outcome = Some(v1::end_session_response::Outcome::Ended(ended));
    Response::EndSession(v1::EndSessionResponse { position, outcome })
}

pub(crate) fn refused(
    kind: Kind,
    position: u64,
    refusal: v1::Refusal,
) -> Result<Response, Failure> {
    Ok(match kind {
        Kind::Create => {
            let outcome = Some(v1::create_session_response::Outcome::Refusal(refusal));
            Response::CreateSession(v1::CreateSessionResponse { position, outcome })
        }
        Kind::Touch => {
            let outcome = Some(v1::touch_session_response::Outcome::Refusal(refusal));
            Response::TouchSession(v1::TouchSessionResponse { position, outcome })
        }
        Kind::End => {
            let outcome = Some(v1::end_session_response::Outcome::Refusal(refusal));
            Response::EndSession(v1::EndSessionResponse { position, outcome })
        }
        Kind::Get | Kind::List | Kind::Clients => {
            return Err(reply::bug("a read was answered as a mutation"));
        }
    })
}

/// The response to a read.
///
/// # Errors
/// [`Failure`] for refusals that are errors, and if `kind` is no read, which is a bug.
pub fn response(
    kind: Kind,
    position: Position,
    age: Option<DurationMs>,
    outcome: Result<Found, Refusal>,
) -> Result<Response, Failure> {
    use v1::{
        get_session_response as get, list_session_clients_response as clients,
        list_sessions_response as list,
    };
    let read = mark(position, age);
    let outcome = match outcome {
        Ok(found) => Ok(found),
        Err(refusal) => Err(refusal::encode(refusal)?),
    };
    Ok(match (kind, outcome) {
        (Kind::Get, Ok(Found::One(it))) => {
            let outcome = Some(get::Outcome::Session(view(*it)?.into()));
            Response::GetSession(v1::GetSessionResponse { read, outcome })
        }
        (Kind::Get, Err(refusal)) => {
            let outcome = Some(get::Outcome::Refusal(refusal));
            Response::GetSession(v1::GetSessionResponse { read, outcome })
        }
        (Kind::List, Ok(Found::Sessions(rows, next))) => {
            let sessions = rows.into_iter().map(view).collect::<Result<_, _>>()?;
            let next_page_token = next.map(|id| token(id.as_str())).unwrap_or_default();
            let page = v1::SessionPage { sessions, next_page_token };
            let outcome = Some(list::Outcome::Page(page));
            Response::ListSessions(v1::ListSessionsResponse { read, outcome })
        }
        (Kind::List, Err(refusal)) => {
            let outcome = Some(list::Outcome::Refusal(refusal));
            Response::ListSessions(v1::ListSessionsResponse { read, outcome })
        }
        (Kind::Clients, Ok(Found::Clients(rows, next))) => {
            let clients = rows.iter().map(|client| client.as_str().to_owned()).collect();
            let next_page_token = next.map(|id| token(id.as_str())).unwrap_or_default();
            let page = v1::ClientPage { clients, next_page_token };
            let outcome = Some(clients::Outcome::Page(page));
            Response::ListSessionClients(v1::ListSessionClientsResponse { read, outcome })
        }
        (Kind::Clients, Err(refusal)) => {
            let outcome = Some(clients::Outcome::Refusal(refusal));
            Response::ListSessionClients(v1::ListSessionClientsResponse { read, outcome })
        }
        _ => return Err(reply::bug("the answer does not fit the question")),
    })
}

fn view(it: SessionView) -> Result<v1::Session, Failure> {
    Ok(v1::Session {
        session: it.session.as_str().to_owned(),
        subject: it.subject.as_str().to_owned(),
        device: text(it.device.as_ref().map(|d| d.as_str())),
        attributes: encode::attributes(&it.attributes),
        payload: it.payload,
        version: it.version,
        clients: it.clients,
        created_position: it.created.0,
        created_at_unix_ms: it.created_at.0,
        authenticated_at_position: it.authenticated_at.0,
        touched_at_unix_ms: it.touched_at.0,
        expires_at_unix_ms: it.expires_at.0,
        idle_expires_at_unix_ms: it.idle_expires_at.0,
        dead: it.dead.map(refusal::encode).transpose()?,
    })
}

fn view_from(pb: v1::Session) -> Result<SessionView, Violation> {
    Ok(SessionView {
        session: check::session(&pb.session)?,
        subject: check::subject(&pb.subject)?,
        device: check::device_opt("device", &pb.device)?,
        attributes: pb.attributes.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
        payload: pb.payload,
        version: pb.version,
        clients: pb.clients,
        created: Position(pb.created_position),
        created_at: UnixMs(pb.created_at_unix_ms),
        authenticated_at: Position(pb.authenticated_at_position),
        touched_at: UnixMs(pb.touched_at_unix_ms),
        expires_at: UnixMs(pb.expires_at_unix_ms),
        idle_expires_at: UnixMs(pb.idle_expires_at_unix_ms),
        dead: pb.dead.map(refusal::decode).transpose()?,
    })
}

fn clients_from(names: &[String]) -> Result<Vec<ClientId>, Violation> {
    names.iter().map(|name| check::client(name)).collect()
}

/// See [`Answer::Created`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn created(r: v1::CreateSessionResponse) -> Result<Answered<SessionCreated>, Violation> {
    use v1::create_session_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Created(it) => Ok(SessionCreated {
            expires_at: UnixMs(it.expires_at_unix_ms),
            idle_expires_at: UnixMs(it.idle_expires_at_unix_ms),
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// See [`Answer::Touched`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn touched(r: v1::TouchSessionResponse) -> Result<Answered<SessionTouched>, Violation> {
    use v1::touch_session_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Touched(it) => Ok(SessionTouched {
            version: it.version,
            idle_expires_at: UnixMs(it.idle_expires_at_unix_ms),
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// See [`Answer::Ended`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn ended_from(r: v1::EndSessionResponse) -> Result<Answered<Ended>, Violation> {
    use v1::end_session_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Ended(it) => Ok(Ended {
            revocation: revocation(it.result)?,
            clients: clients_from(&it.clients)?,
            next: Some(it.next_page_token).filter(|token| !token.is_empty()),
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    Ok(Answered { position: Position(r.position), outcome })
}

/// See [`Answer::One`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn got(r: v1::GetSessionResponse) -> Result<Seen<SessionView>, Violation> {
    use v1::get_session_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Session(it) => Ok(view_from(*it)?),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

/// See [`Answer::Sessions`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn listed(r: v1::ListSessionsResponse) -> Result<Seen<Page<SessionView>>, Violation> {
    use v1::list_sessions_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Page(page) => Ok(Page {
            rows: page.sessions.into_iter().map(view_from).collect::<Result<_, _>>()?,
            next: Some(page.next_page_token).filter(|token| !token.is_empty()),
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}

/// See [`Answer::Clients`].
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn clients(r: v1::ListSessionClientsResponse) -> Result<Seen<Page<ClientId>>, Violation> {
    use v1::list_session_clients_response::Outcome;
    let outcome = match check::required("outcome", r.outcome)? {
        Outcome::Page(page) => Ok(Page {
            rows: clients_from(&page.clients)?,
            next: Some(page.next_page_token).filter(|token| !token.is_empty()),
        }),
        Outcome::Refusal(pb) => Err(refusal::decode(pb)?),
    };
    seen(r.read, outcome)
}
