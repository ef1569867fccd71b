//! What every member has applied.

use std::time::Duration;

use jeton_core::ids::Position;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::revocation_service_client::RevocationServiceClient;
use tokio::time::Instant;

use super::{Admin, Stamp};
use crate::client::Deadline;
use crate::error::Error;
use crate::transport::retry::Repeat;

/// What an attempt leaves for its answer's way back.
const WAY_BACK: Duration = Duration::from_millis(250);
/// Too little to ask once more.
const LAST_ROUND: Duration = Duration::from_millis(500);
/// Longest wait of one call.
const WAIT_MAX_MS: u64 = 60_000;

/// Members that did not say in time that they have applied a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Their ids, and where clients reach them.
    pub nodes: Vec<(u64, String)>,
    /// From so long after the answer on, none of them serves a bounded read from before it.
    pub bounded_reads_safe_after: Duration,
}

impl Admin {
    /// Waits until every member, learners too, has applied a position. `None`: all have. Else the
    /// deadline came first: whatever the position names is done all the same.
    ///
    /// # Errors
    /// Whatever any read may fail with.
    pub async fn wait_for_all(
        &self,
        position: Position,
        deadline: impl Into<Deadline>,
    ) -> Result<Option<Pending>, Error> {
        let deadline = deadline.into();
        loop {
            let call = |channel, stamp: Stamp| async move {
                let wait = stamp.left.saturating_sub(WAY_BACK).max(stamp.left / 2).as_millis();
                let wait_ms = u64::try_from(wait).unwrap_or(u64::MAX).clamp(1, WAIT_MAX_MS);
                let asked = v1::WaitForAllRequest { position: position.0, wait_ms };
                RevocationServiceClient::new(channel).wait_for_all(stamp.request(asked)).await
            };
            let answer = self.call(Repeat::Read, deadline, call).await?;
            if answer.pending.is_empty() {
                return Ok(None);
            }
            if Instant::now() + LAST_ROUND >= deadline.at() {
                let nodes = answer.pending.into_iter();
                let safe_after = Duration::from_millis(answer.bounded_reads_safe_after_ms);
                return Ok(Some(Pending {
                    nodes: nodes.map(|member| (member.node, member.client_addr)).collect(),
                    bounded_reads_safe_after: safe_after,
                }));
            }
        }
    }
}
