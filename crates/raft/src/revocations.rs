//! Revocations that take longer than their entry: sweeps that mark what predicates have hit, and
//! waits until every member has applied one.
//!
//! The leader proposes one small step after the other as long as there is something to mark. Unlike
//! other sweeps these never wait for a quiet moment: watchers hear of a family by its mark. While
//! clients write, a step is followed by a rest that is several times as long, so that they keep
//! their speed; with many predicates at once there is none, so that they don't become too many.
//! A new leader goes on where the rows say that the last one was.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jeton_core::command::{Operation, SweepRevocation};
use jeton_core::ids::{Position, TenantId};
use jeton_core::read::{self, DueSweep};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::peer::handler::PeerLinks;
use crate::reads::Consistency;
use crate::types::{Member, NodeId};

/// While clients write, it rests so many times as long as a step took.
const BUSY_REST_FACTOR: u32 = 4;
/// How often a leader looks for a new predicate.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long it waits after a step that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A member that can't be reached is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl Engine {
    /// As leader, sweeps what predicates have hit, the oldest of each tenant in turn.
    pub(crate) async fn run_revocations(self: Arc<Self>) {
        let (mut last, mut looked_at) = (None, None);
        loop {
            let applied = *self.progress.applied.borrow();
            let leads = self.standing.borrow().leads() && self.not_serving().is_none();
            if !leads || looked_at == Some(applied) {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let pause = match self.sweep_step(&mut last).await {
                Some(pause) => pause,
                None => {
                    looked_at = Some(applied);
                    LOOK_EVERY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One step, and how long to rest after it. `None`: there is nothing to sweep.
    async fn sweep_step(self: &Arc<Self>, last: &mut Option<TenantId>) -> Option<Duration> {
        let next = self.with_view(|rows, _| read::next_revocation_sweep(rows, last.as_ref()));
        let DueSweep { tenant, revocation, crowded } = match next.and_then(|next| next) {
            Ok(next) => next?,
            Err(error) => {
                tracing::error!(%error, "the state could not be read");
                return Some(RETRY_AFTER);
            }
        };
        *last = Some(tenant.clone());
        let began = Instant::now();
        let rows_max = self.config.revocation_step_rows;
        let wish = SweepRevocation { tenant, revocation, rows_max };
        match self.propose_own(Operation::SweepRevocation(wish)).await {
            Ok(_) if crowded => Some(Duration::ZERO),
            Ok(_) if self.clients_write() => Some(began.elapsed() * BUSY_REST_FACTOR),
            Ok(_) => Some(began.elapsed()),
            Err(error) => {
                tracing::debug!(%error, "a step of a sweep was not made");
                Some(RETRY_AFTER)
            }
        }
    }

    /// Whether commands of clients wait, or are on their way.
    pub(crate) fn clients_write(&self) -> bool {
        self.intake.waiting().0 > 0 || !self.flights.is_empty()
    }

    /// Waits until every member has applied a position. Those that did not say so in time.
    pub(crate) async fn wait_for_all(
        self: &Arc<Self>,
        position: Position,
        deadline: Instant,
    ) -> Vec<(NodeId, Member)> {
        let members = Arc::clone(&self.standing.borrow().members);
        let asked = members.iter().map(|(node, member)| async move {
            let applied = self.applied_at(*node, member, position, deadline).await;
            (!applied).then(|| (*node, member.clone()))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn applied_at(
        &self,
        node: NodeId,
        member: &Member,
        position: Position,
        deadline: Instant,
    ) -> bool {
        if node == self.id {
            return self.has_applied(position, deadline).await;
        }
        while Instant::now() < deadline {
            match self.peers.applied(node, member, position, deadline).await {
                Ok(applied) => return applied,
                Err(error) => {
                    tracing::debug!(node, %error, "a member did not say what it has applied");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
        false
    }

    /// Whether this node has applied a position before the deadline.
    pub(crate) async fn has_applied(&self, position: Position, deadline: Instant) -> bool {
        self.read_point(Consistency::AtLeast(position), deadline).await.is_ok()
    }
}
