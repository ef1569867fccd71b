//! Keeps all leases of a client alive: one command for each tenant and interval, for as many as 256
//! of them.
//!
//! One task, while there is anything to keep. It holds leases weakly: one that is dropped is not
//! renewed any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jeton_core::ids::TenantId;
use jeton_core::limits;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::Deadline;
use crate::lease::Hold;

/// What is due within this part of its lease is renewed along with what is due now.
const ALONG_PART: u32 = 6;
/// One node may take this part of the shortest lease before another one is asked.
const PACE_PART: u32 = 6;
/// A renewal that failed is tried again after this part of the lease.
const AGAIN_PART: u32 = 30;

#[derive(Default)]
struct Kept {
    holds: Vec<Weak<Hold>>,
    running: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Keeper {
    kept: Mutex<Kept>,
    more: Notify,
}

impl Keeper {
    /// Keeps one more. Needs a runtime.
    pub(crate) fn take_in(self: &Arc<Self>, hold: &Arc<Hold>) {
        let mut kept = self.kept.lock();
        kept.holds.push(Arc::downgrade(hold));
        if !std::mem::replace(&mut kept.running, true) {
            tokio::spawn(Arc::clone(self).run());
        }
        drop(kept);
        self.more.notify_one();
    }

    async fn run(self: Arc<Self>) {
        while let Some(next) = self.renew_due() {
            tokio::select! {
                biased;
                () = self.more.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Sends off what is due, and says when to look again; `None` when nothing is left to keep.
    fn renew_due(self: &Arc<Self>) -> Option<Instant> {
        let now = Instant::now();
        let held: Vec<Arc<Hold>> = {
            let mut kept = self.kept.lock();
            kept.holds.retain(|hold| hold.upgrade().is_some_and(|hold| hold.until() > now));
            kept.running = !kept.holds.is_empty();
            kept.holds.iter().filter_map(Weak::upgrade).collect()
        };
        let next = held.iter().map(|hold| hold.due()).min()?;
        if next > now {
            return Some(next);
        }
        let mut due: BTreeMap<TenantId, Vec<Arc<Hold>>> = BTreeMap::new();
        for hold in held.into_iter().filter(|hold| hold.due() <= now + hold.ttl / ALONG_PART) {
            // Not again before this renewal has come back, or its lease is over.
            hold.set_due(hold.until());
            due.entry(hold.tenant.id().clone()).or_default().push(hold);
        }
        for holds in due.into_values() {
            for batch in holds.chunks(limits::RENEW_LEASES_MAX) {
                let (keeper, batch) = (Arc::clone(self), batch.to_vec());
                tokio::spawn(async move {
                    renew(&batch).await;
                    keeper.more.notify_one();
                });
            }
        }
        Some(now)
    }
}

/// Renews leases of one tenant.
async fn renew(batch: &[Arc<Hold>]) {
    let (Some(first), sent) = (batch.first(), Instant::now()) else { return };
    let shortest = batch.iter().map(|hold| hold.ttl).min().unwrap_or(Duration::ZERO);
    let until = batch.iter().map(|hold| hold.until()).min().unwrap_or(sent);
    let names: Vec<_> = batch.iter().map(|hold| hold.name.clone()).collect();
    let pace = shortest / PACE_PART;
    match first.tenant.renew_paced(&names, pace, Deadline::from(until)).await {
        Ok(lost) => {
            for (place, hold) in batch.iter().enumerate() {
                if lost.contains(&place) {
                    hold.lose();
                } else {
                    hold.renewed(sent);
                }
            }
        }
        Err(error) => {
            tracing::debug!(%error, "leases were not renewed");
            let now = Instant::now();
            for hold in batch {
                hold.set_due(now + hold.ttl / AGAIN_PART);
            }
        }
    }
}
