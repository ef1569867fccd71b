//! Revocations of all that matches: what they hit is counted here, a few rows at a time; and who
//! has yet to apply one is asked.
//!
//! A revocation is in force before anything is counted, and a count that can't be made in time is
//! left out of the answer: it never makes a revocation fail.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::ids::{DurationMs, Position, TenantId};
use jeton_core::limits;
use jeton_core::read::{Counted, MatchWalk};
use jeton_core::reply::{Done, MatchCount, Refusal, Reply};
use jeton_raft::{Consistency, ReadPoint};
use jeton_wire::check::Violation;
use jeton_wire::decode::Query;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::{Failure, reply, revocation};
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::desk::{Desk, unreadable};
use crate::outbox::{Counting, Outbox, Pending};
use crate::reads::Asking;
use crate::{deadline, failures};

/// Rows that one look goes through: applying waits meanwhile.
const ROWS_A_LOOK: usize = 32;
/// Longest that the answer to a revocation waits for its count.
const COUNT_WITHIN: Duration = Duration::from_secs(2);
/// Left of a deadline for the way back.
const WAY_BACK: Duration = Duration::from_millis(100);
/// Longest wait for all members.
const WAIT_MAX_MS: u64 = 60_000;

/// Answers a dry run behind its barrier.
pub(crate) async fn dry_run(
    desk: &Desk,
    asking: &Asking,
    point: &ReadPoint,
) -> Result<Response, Failure> {
    let Query::Matching(asked) = &asking.read.query else {
        return Err(reply::bug("only a dry run is counted here"));
    };
    let walk = MatchWalk::new(asked.0.clone(), Counted::Would(asked.1.clone()));
    let outcome = count(desk, walk, &asking.read.tenant, point, asking.deadline).await?;
    revocation::would_hit(point.position, outcome)
}

async fn count(
    desk: &Desk,
    mut walk: MatchWalk,
    tenant: &TenantId,
    point: &ReadPoint,
    deadline: Instant,
) -> Result<Result<MatchCount, Refusal>, Failure> {
    loop {
        // Others on this thread, and whoever applies, have their turn between two looks.
        tokio::task::yield_now().await;
        if deadline <= Instant::now() {
            return Err(failures::overdue().not_executed());
        }
        let looked = desk.node.view(|tables, _| walk.look(tables, point.now, tenant, ROWS_A_LOOK));
        match looked.map_err(|error| unreadable(&error))? {
            Ok(None) => {}
            Ok(Some(count)) => return Ok(Ok(count)),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
}

/// Counts what a revocation has hit, and answers it.
pub(crate) fn count_later(desk: &Arc<Desk>, pending: &Pending, reply: Reply, outbox: &Arc<Outbox>) {
    let slot = outbox.open(pending.clone());
    let (desk, outbox, pending) = (Arc::clone(desk), Arc::clone(outbox), pending.clone());
    tokio::spawn(async move {
        let matched = match &pending.counting {
            Some(counting) => hits(&desk, counting, reply.position, pending.deadline).await,
            None => None,
        };
        let response = match &reply.outcome {
            Ok(Done::RevokedWhere(it)) => Ok(revocation::revoked(reply.position.0, it, matched)),
            _ => reply::mutation(pending.kind, reply, None),
        };
        outbox.complete(slot, response);
    });
}

/// Asks again for a revocation that found no room, when there may be some. `false` if the caller
/// doesn't wait that long, or the node stops: it is told then.
pub(crate) fn come_again(
    desk: &Arc<Desk>,
    pending: &Pending,
    counting: &Arc<Counting>,
    retry_after: DurationMs,
    outbox: &Arc<Outbox>,
) -> bool {
    let at = Instant::now() + Duration::from_millis(retry_after.0);
    if desk.is_draining() || at + WAY_BACK >= pending.deadline {
        return false;
    }
    let slot = outbox.open(pending.clone());
    let (desk, outbox, counting) = (Arc::clone(desk), Arc::clone(outbox), Arc::clone(counting));
    let deadline = pending.deadline;
    tokio::spawn(async move {
        tokio::time::sleep_until(at).await;
        let Counting { command, received, .. } = &*counting;
        desk.node.submit(command.clone(), *received, deadline, Outbox::tag(slot), outbox);
    });
    true
}

async fn hits(
    desk: &Desk,
    counting: &Counting,
    position: Position,
    deadline: Instant,
) -> Option<MatchCount> {
    let deadline = (Instant::now() + COUNT_WITHIN).min(deadline.checked_sub(WAY_BACK)?);
    let seen = Consistency::AtLeast(position);
    let point = desk.node.read_point(seen, deadline).await.ok()?;
    let walk = MatchWalk::new(counting.matching.clone(), Counted::Has(position));
    count(desk, walk, &counting.tenant, &point, deadline).await.ok()?.ok()
}

/// `WaitForAll`.
pub(crate) async fn wait_for_all(
    desk: &Arc<Desk>,
    request: Request<v1::WaitForAllRequest>,
) -> Result<tonic::Response<v1::WaitForAllResponse>, Status> {
    let received = Instant::now();
    let deadline = deadline::of_unary(request.metadata(), received)?;
    let v1::WaitForAllRequest { position, wait_ms } = request.into_inner();
    if wait_ms == 0 || wait_ms > WAIT_MAX_MS {
        let problem = format!("is {wait_ms}: give 1 to {WAIT_MAX_MS}");
        return Err(Failure::from(Violation::new("wait_ms", problem)).into());
    }
    if desk.is_draining() {
        return Err(failures::shutting_down().leader(desk.leader()).into());
    }
    let wanted = received + Duration::from_millis(wait_ms);
    let until = deadline.checked_sub(WAY_BACK).map_or(wanted, |latest| wanted.min(latest));
    let pending = desk.node.wait_for_all(Position(position), until).await;
    let safe_after = if pending.is_empty() { 0 } else { limits::BOUNDED_AGE_MAX.0 };
    let pending = pending
        .into_iter()
        .map(|(node, member)| v1::PendingNode { node, client_addr: member.client_addr });
    Ok(tonic::Response::new(v1::WaitForAllResponse {
        pending: pending.collect(),
        bounded_reads_safe_after_ms: safe_after,
    }))
}
