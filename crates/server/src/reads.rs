//! Reads of one message: those that ask for the same freshness share one barrier, and are answered
//! from this node's own rows behind it.

use std::sync::Arc;

use jeton_core::access::{Access, AccessClaims};
use jeton_core::command::{Binding, Presented};
use jeton_core::ids::{DurationMs, Mac, TenantId};
use jeton_core::read;
use jeton_core::reply::{FamilyView, Refusal};
use jeton_core::tables::TablesError;
use jeton_raft::{Consistency, ReadPoint};
use jeton_wire::Failure;
use jeton_wire::decode::{self, Query, Read};
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::reply::{self, Kind};
use jeton_wire::revocation;
use tokio::time::Instant;

use crate::desk::{Desk, unreadable};
use crate::failures;
use crate::keys::Verdict;
use crate::outbox::{Outbox, Slot};
use crate::{listing, locks, records};

/// Access tokens that one look at the rows is about: each takes a handful of rows.
const CHECKS_A_LOOK: usize = 8;

/// A read that waits for its barrier.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) read: Read,
    pub(crate) kind: Kind,
    pub(crate) slot: Slot,
    pub(crate) deadline: Instant,
}

/// Answers all reads of a message.
pub(crate) async fn answer(desk: &Arc<Desk>, mut asking: Vec<Asking>, outbox: &Arc<Outbox>) {
    let mut groups = Vec::new();
    while let Some(first) = asking.last() {
        let consistency = first.read.consistency;
        let (group, rest): (Vec<_>, Vec<_>) =
            asking.into_iter().partition(|asking| asking.read.consistency == consistency);
        asking = rest;
        groups.push(answer_group(desk, consistency, group, outbox));
    }
    futures::future::join_all(groups).await;
}

async fn answer_group(
    desk: &Desk,
    consistency: decode::Consistency,
    group: Vec<Asking>,
    outbox: &Arc<Outbox>,
) {
    let consistency = match consistency {
        decode::Consistency::Linearizable => Consistency::Linearizable,
        decode::Consistency::AtLeast(position) => Consistency::AtLeast(position),
        decode::Consistency::Bounded(age) => Consistency::Bounded(age),
    };
    let Some(deadline) = group.iter().map(|asking| asking.deadline).max() else { return };
    match desk.node.read_point(consistency, deadline).await {
        Ok(point) => {
            let (listings, short): (Vec<_>, Vec<_>) =
                group.into_iter().partition(|asking| listing::is_one(&asking.read.query));
            let (of_locks, short): (Vec<_>, Vec<_>) =
                short.into_iter().partition(|asking| locks::is_one(&asking.read.query));
            for asking in of_locks {
                locks::answer(desk, &asking, &point, outbox);
            }
            for asking in short {
                let answer = answer_one(desk, &asking, &point);
                outbox.complete(asking.slot, answer);
            }
            let listings = listings.iter().map(async |asking| {
                let answer = listing::answer(desk, asking, &point).await;
                outbox.complete(asking.slot, answer);
            });
            futures::future::join_all(listings).await;
        }
        Err(error) => {
            let failure = failures::of_read(&error, desk.leader());
            for asking in group {
                outbox.complete(asking.slot, Err(failure.clone()));
            }
        }
    }
}

fn answer_one(desk: &Desk, asking: &Asking, point: &ReadPoint) -> Result<Response, Failure> {
    if asking.deadline <= Instant::now() {
        return Err(failures::overdue().not_executed());
    }
    let tenant = &asking.read.tenant;
    let outcome = match &asking.read.query {
        Query::Access(tokens) => {
            let outcome = check_access(desk, tenant, point, tokens);
            let outcome = outcome.map_err(|error| unreadable(&error))?;
            return reply::check_access(point.position, age_of(point), outcome);
        }
        Query::Family(family) => desk
            .node
            .view(|tables, _| read::family(tables, point.now, tenant, *family))
            .map_err(|error| unreadable(&error))?,
        Query::FamilyOf { token, mac } => match genuine(desk, tenant, token, mac.as_ref())? {
            Ok(()) => desk
                .node
                .view(|tables, _| read::family_of(tables, point.now, tenant, token))
                .map_err(|error| unreadable(&error))?,
            Err(refusal) => Err(refusal),
        },
        Query::Validate { .. } => validate(desk, asking, point)?,
        Query::Revocation(at) => {
            let looked = desk
                .node
                .view(|tables, _| read::revocation(tables, point.now, tenant, *at))
                .map_err(|error| unreadable(&error))?;
            return revocation::got(point.position, age_of(point), looked);
        }
        Query::Record(asked) => return records::one(desk, asking, point, asked),
        _ => {
            return Err(reply::bug("listings and locks are answered elsewhere"));
        }
    };
    reply::read(asking.kind, point.position, age_of(point), outcome)
}

/// How old an answer at this point may be, in the protocol's unit.
pub(crate) fn age_of(point: &ReadPoint) -> Option<DurationMs> {
    point.age.map(|age| DurationMs(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
}

/// Access tokens are looked at a few at a time: applying waits meanwhile. What is told of later
/// ones may be newer than the point, never older.
fn check_access(
    desk: &Desk,
    tenant: &TenantId,
    point: &ReadPoint,
    tokens: &[AccessClaims],
) -> Result<Result<Vec<Access>, Refusal>, TablesError> {
    let mut answers = Vec::with_capacity(tokens.len());
    for tokens in tokens.chunks(CHECKS_A_LOOK) {
        let looked =
            desk.node.view(|tables, _| read::check_access(tables, point.now, tenant, tokens))?;
        match looked {
            Ok(more) => answers.extend(more),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    Ok(Ok(answers))
}

/// A token is judged by its mac first: nobody probes families without a genuine one.
fn validate(
    desk: &Desk,
    asking: &Asking,
    point: &ReadPoint,
) -> Result<Result<FamilyView, Refusal>, Failure> {
    let tenant = &asking.read.tenant;
    let Query::Validate { token, mac, client, binding } = &asking.read.query else {
        return Err(reply::bug("only a Validate is validated"));
    };
    if let Err(refusal) = genuine(desk, tenant, token, mac.as_ref())? {
        return Ok(Err(refusal));
    }
    // A resource server that saw no proof names no key.
    let binding = (*binding != Binding::default()).then_some(binding);
    desk.node
        .view(|tables, _| {
            read::validate(tables, point.now, tenant, token, client.as_ref(), binding)
        })
        .map_err(|error: TablesError| unreadable(&error))
}

/// Whether a token may be asked about. The barrier that was asked for is behind us: this is what it
/// shows.
fn genuine(
    desk: &Desk,
    tenant: &TenantId,
    token: &Presented,
    mac: Option<&Mac>,
) -> Result<Result<(), Refusal>, Failure> {
    let verdict = desk.keys.verify(&desk.node, tenant, token, mac);
    match verdict.map_err(|error| unreadable(&error))? {
        Verdict::Genuine => Ok(Ok(())),
        Verdict::Forged => Ok(Err(Refusal::NotFound)),
        Verdict::Unknown => desk.unknown_tenant_or_key(tenant).map(Err),
    }
}
