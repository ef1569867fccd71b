//! Reads about sessions. Listings are put together from many short looks, as those of families are:
//! applying waits while rows are looked at.

use jeton_core::ids::{ClientId, SessionId, SubjectId, TenantId};
use jeton_core::limits;
use jeton_core::read;
use jeton_core::reply::{Page, Refusal, SessionView};
use jeton_raft::ReadPoint;
use jeton_wire::Failure;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::session::{self, Found, Query};
use tokio::time::Instant;

use crate::desk::{Desk, unreadable};
use crate::failures;
use crate::reads::{Asking, age_of};

/// Sessions that one look goes through.
const SESSIONS_A_LOOK: u32 = 32;
/// Clients that one look goes through: their rows are small.
const CLIENTS_A_LOOK: u32 = 128;
/// Sessions that a page goes through when few of them live.
const SESSIONS_A_PAGE: u32 = 20_000;

/// Answers a read about sessions behind its barrier.
pub(crate) async fn answer(
    desk: &Desk,
    asking: &Asking,
    query: &Query,
    point: &ReadPoint,
) -> Result<Response, Failure> {
    let walk = Walk { desk, point, tenant: &asking.read.tenant, deadline: asking.deadline };
    let found = match query {
        Query::One(session) => walk.one(session)?,
        Query::Of { subject, ended, after, rows_max } => {
            walk.sessions(subject, *ended, after.clone(), *rows_max).await?
        }
        Query::Clients { session, after, rows_max } => {
            walk.clients(session, after.clone(), *rows_max).await?
        }
    };
    session::response(query.kind(), point.position, age_of(point), found)
}

struct Walk<'a> {
    desk: &'a Desk,
    point: &'a ReadPoint,
    tenant: &'a TenantId,
    deadline: Instant,
}

type Answer = Result<Result<Found, Refusal>, Failure>;

impl Walk<'_> {
    fn one(&self, session: &SessionId) -> Answer {
        self.in_time()?;
        let (now, tenant) = (self.point.now, self.tenant);
        let look = self.desk.node.view(|tables, _| read::session(tables, now, tenant, session));
        let seen = look.map_err(|error| unreadable(&error))?;
        Ok(seen.map(|view| Found::One(Box::new(view))))
    }

    async fn sessions(
        &self,
        subject: &SubjectId,
        ended: bool,
        mut after: Option<SessionId>,
        wanted: u32,
    ) -> Answer {
        let (now, tenant) = (self.point.now, self.tenant);
        let (mut found, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
        loop {
            self.pause().await?;
            // Never more rows than there is room for: what was looked at is not looked at again.
            let room = wanted - found.len() as u32;
            let most = SESSIONS_A_LOOK.min(room);
            let look = self.desk.node.view(|tables, _| {
                read::sessions(tables, now, tenant, subject, after.as_ref(), most, ended)
            });
            let Page { rows, next } = match look.map_err(|error| unreadable(&error))? {
                Ok(page) => page,
                Err(refusal) => return Ok(Err(refusal)),
            };
            bytes += rows.iter().map(size).sum::<usize>();
            looked_at += most;
            found.extend(rows);
            after = next;
            let full = found.len() as u32 >= wanted
                || bytes >= limits::PAGE_BYTES_MAX
                || looked_at >= SESSIONS_A_PAGE;
            if after.is_none() || full {
                return Ok(Ok(Found::Sessions(found, after)));
            }
        }
    }

    async fn clients(
        &self,
        session: &SessionId,
        mut after: Option<ClientId>,
        wanted: u32,
    ) -> Answer {
        let (now, tenant) = (self.point.now, self.tenant);
        let mut found = Vec::new();
        loop {
            self.pause().await?;
            let most = CLIENTS_A_LOOK.min(wanted - found.len() as u32);
            let look = self.desk.node.view(|tables, _| {
                read::session_clients(tables, now, tenant, session, after.as_ref(), most)
            });
            let Page { rows, next } = match look.map_err(|error| unreadable(&error))? {
                Ok(page) => page,
                Err(refusal) => return Ok(Err(refusal)),
            };
            found.extend(rows);
            after = next;
            if after.is_none() || found.len() as u32 >= wanted {
                return Ok(Ok(Found::Clients(found, after)));
            }
        }
    }

    /// Others on this thread, and whoever applies, have their turn between two looks.
    async fn pause(&self) -> Result<(), Failure> {
        tokio::task::yield_now().await;
        self.in_time()
    }

    fn in_time(&self) -> Result<(), Failure> {
        if self.deadline <= Instant::now() {
            return Err(failures::overdue().not_executed());
        }
        Ok(())
    }
}

/// About the bytes of a session on the wire, without its payload.
fn size(view: &SessionView) -> usize {
    let pairs = view.attributes.iter().map(|(name, value)| name.len() + value.len() + 8);
    let device = view.device.as_ref().map_or(0, |device| device.as_str().len());
    let names = view.session.as_str().len() + view.subject.as_str().len() + device;
    256 + names + pairs.sum::<usize>()
}
