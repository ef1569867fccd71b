//! Reads of locks and flights. Whoever asks for a result while somebody is at it, and wants to
//! wait, is handed over to those who wait.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::read;
use jeton_core::reply::Flight;
use jeton_raft::ReadPoint;
use jeton_wire::Failure;
use jeton_wire::decode::Query;
use jeton_wire::lock;
use jeton_wire::pb::v1::operation_result::Response;
use tokio::time::Instant;

use crate::desk::{Desk, unreadable};
use crate::failures;
use crate::outbox::Outbox;
use crate::reads::{Asking, age_of};
use crate::waits::Awaiting;

/// Whether a read is answered here.
pub(crate) fn is_one(query: &Query) -> bool {
    matches!(query, Query::Flight(_) | Query::Lock(_))
}

/// Answers it, now or when there is something to tell.
pub(crate) fn answer(desk: &Desk, asking: &Asking, point: &ReadPoint, outbox: &Arc<Outbox>) {
    if let Some(answer) = answer_now(desk, asking, point, outbox) {
        outbox.complete(asking.slot, answer);
    }
}

fn answer_now(
    desk: &Desk,
    asking: &Asking,
    point: &ReadPoint,
    outbox: &Arc<Outbox>,
) -> Option<Result<Response, Failure>> {
    let now = Instant::now();
    if asking.deadline <= now {
        return Some(Err(failures::overdue().not_executed()));
    }
    let tenant = &asking.read.tenant;
    let (position, age) = (point.position, age_of(point));
    let asked = match &asking.read.query {
        Query::Flight(asked) => asked,
        Query::Lock(name) => {
            let seen = desk.node.view(|tables, meta| read::lock(tables, meta, tenant, name));
            let seen = seen.map_err(|error| unreadable(&error));
            return Some(seen.and_then(|seen| lock::lock_response(position, age, seen)));
        }
        _ => return Some(Err(jeton_wire::reply::bug("only locks are looked at here"))),
    };
    let seen =
        desk.node.view(|tables, meta| read::flight(tables, meta, tenant, &asked.lock, asked.after));
    match seen {
        Ok(Ok(Flight::Flying(_))) if asked.wait.0 > 0 => {
            let until = now + Duration::from_millis(asked.wait.0);
            desk.waits.enter_flight(Awaiting {
                tenant: tenant.clone(),
                asked: asked.clone(),
                slot: asking.slot,
                outbox: Arc::downgrade(outbox),
                until: until.min(asking.deadline),
            });
            None
        }
        Ok(flight) => Some(lock::flight_response(position, age, flight)),
        Err(error) => Some(Err(unreadable(&error))),
    }
}
