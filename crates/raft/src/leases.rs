//! The end of leases, and of waits for them: proposed by the leader when lease time has come so
//! far, and judged again by apply.
//!
//! Lease time is what entries make of it. Between two entries the leader counts on with its own
//! monotonic clock, and proposes one when the sum reaches what is due next. Each leader counts from
//! its own first entry: if something is due one day and there is none yet, it makes one, so that
//! the time in which nobody led is nobody's.
//!
//! Nothing is kept: what is due next is looked up when this node begins to lead, and after each
//! proposal; in between, entries tell what they add.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::command::{Operation, Sweep};
use jeton_core::ids::LeaseMs;
use jeton_core::limits;
use jeton_core::read;
use tokio::time::Instant;

use crate::config::millis;
use crate::engine::Engine;

/// Pause after a proposal that failed: leaders change in milliseconds.
const FAILED_PAUSE: Duration = Duration::from_millis(20);

impl Engine {
    /// As leader, proposes the end of what lease time has overtaken.
    pub(crate) async fn run_leases(self: Arc<Self>) {
        let mut standing = self.standing.subscribe();
        let mut leading = None;
        loop {
            let (leads, term) = {
                let now = standing.borrow_and_update();
                (now.leads(), now.term)
            };
            if !leads || self.not_serving().is_some() {
                leading = None;
                if standing.changed().await.is_err() {
                    return;
                }
                continue;
            }
            if leading != Some(term) {
                self.look_for_leases();
                leading = Some(term);
            }
            let left = self.until_lease_due();
            if left == Some(Duration::ZERO) {
                let sweep = Sweep { rows_max: limits::SWEEP_ROWS_MAX };
                if self.propose_own(Operation::ExpireLeases(sweep)).await.is_err() {
                    tokio::time::sleep(FAILED_PAUSE).await;
                }
                self.look_for_leases();
                continue;
            }
            tokio::select! {
                biased;
                changed = standing.changed() => if changed.is_err() { return },
                () = self.progress.lease_due_earlier.notified() => {}
                () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => {}
            }
        }
    }

    /// Looks up what is due next. What entries tell meanwhile is not lost: it only makes it
    /// earlier.
    fn look_for_leases(&self) {
        self.progress.lease_due.store(u64::MAX, Ordering::Release);
        match self.with_view(|view, _| read::next_lease_due(view)) {
            Ok(Ok(Some(due))) => self.progress.note_lease_due(due),
            Ok(Ok(None)) => {}
            Ok(Err(error)) | Err(error) => {
                tracing::error!(%error, "what lease time ends next can't be read");
                // Looked at again then; a state that can't be read is told by others.
                let now = LeaseMs(self.progress.lease_clock.load(Ordering::Acquire));
                self.progress.note_lease_due(now.plus(jeton_core::ids::DurationMs::from_secs(1)));
            }
        }
    }

    /// How long until an entry would end something; `None` if nothing that there is ever ends.
    fn until_lease_due(&self) -> Option<Duration> {
        let due = self.progress.lease_due.load(Ordering::Acquire);
        if due == u64::MAX {
            return None;
        }
        // Read first: an entry that is applied in between makes the sum smaller, never larger.
        let counted = self.progress.lease_clock.load(Ordering::Acquire);
        let uncounted = self.stamps.lease_uncounted(Instant::now());
        // Without an entry of its own a leader counts nothing.
        let Some(uncounted) = uncounted else { return Some(Duration::ZERO) };
        Some(Duration::from_millis(due.saturating_sub(counted.saturating_add(millis(uncounted)))))
    }
}
