//! Locks: contenders that stand in a queue for few of them, hold them for a moment, or for longer
//! than a lease lasts, and give them back or leave that to the drop. Each writes what its lock
//! guards, and now and then comes with the fence of its hold before.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jeton_client::{
    Acquisition, Lease, NewLease, NewRecord, Performed, Step, Tenant, Transacted, When, digest,
};
use jeton_core::ids::{Fence, LockName};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use super::Workload;
use super::plan::PATIENCE;
use crate::history::{Guarded, GuardedWrite, Hold};

const CONTENDERS: usize = 6;
const LOCKS: usize = 2;
/// Longer than an election, so that most holds outlive one.
const TTL: Duration = Duration::from_secs(2);
/// How long a contender stands in the queue.
const WAIT: Duration = Duration::from_secs(5);
/// Longest hold, in milliseconds, but for the long ones.
const HOLD_MS_MAX: u64 = 40;
/// One hold in so many lasts beyond its lease, which is renewed meanwhile.
const LONG_ONE_IN: u32 = 50;
/// One hold in so many begins with a write that comes with the fence of the hold before.
const STALE_ONE_IN: u32 = 4;
/// The kind of the records that locks guard.
const KIND: &str = "guarded";
/// Time between two looks at whether it still is held.
const LOOK: Duration = Duration::from_millis(5);

/// Until the workload stops.
pub(crate) async fn run(workload: Arc<Workload>) {
    let contenders = (0..CONTENDERS).map(|number| contend(&workload, number));
    join_all(contenders).await;
}

async fn contend(workload: &Workload, number: usize) {
    let mut rng = StdRng::seed_from_u64(workload.plan.seed ^ 0x6c6f_636b ^ (number as u64) << 32);
    let client = &workload.clients[number % workload.clients.len()];
    let Ok(tenant) = client.tenant(&workload.tenants[0]) else { return };
    let Ok(lock) = LockName::new(&format!("upstream-{}", number % LOCKS)) else { return };
    let mut spent = None;
    while !workload.stopped() {
        sleep(LOOK).await;
        let new = NewLease::new(&lock).ttl(TTL).wait(WAIT);
        // A failure is the cluster's, which is being killed: the next turn tries again.
        let Ok(Acquisition::Granted(lease)) = tenant.acquire(new, PATIENCE).await else { continue };
        if let Some(spent) = spent.replace(lease.fence())
            && rng.random_ratio(1, STALE_ONE_IN)
        {
            write(workload, &tenant, &lock, spent).await;
        }
        write(workload, &tenant, &lock, lease.fence()).await;
        let work = if rng.random_ratio(1, LONG_ONE_IN) {
            TTL * 3 / 2
        } else {
            Duration::from_millis(rng.random_range(1..HOLD_MS_MAX))
        };
        workload.recorder.hold(hold(&lock, &lease, work).await);
        // One in three leaves it to the drop.
        if !rng.random_ratio(1, 3) {
            // It ends by itself, too.
            drop(lease.release(PATIENCE).await);
        }
    }
}

/// Writes what the lock guards, if the store says that it is held with this fence.
async fn write(workload: &Workload, tenant: &Tenant, lock: &LockName, fence: Fence) {
    let record = NewRecord::new(KIND, digest(lock.as_str())).value(fence.0.to_string());
    let asked = tenant.transact().when(When::lock_held(lock, fence));
    // Of what has failed nobody knows whether it happened.
    let Ok(done) = asked.then(Step::put_record(record)).send(PATIENCE).await else { return };
    workload.recorder.guarded(GuardedWrite { lock: lock.clone(), fence, made: made(&done) });
}

fn made(done: &Transacted) -> Option<Guarded> {
    match done.outcome.as_deref() {
        Ok([Performed::RecordPut { version }]) => {
            Some(Guarded { version: *version, position: done.position })
        }
        _ => None,
    }
}

/// Acts on it for that long, or as long as it is held.
async fn hold(lock: &LockName, lease: &Lease, work: Duration) -> Hold {
    let from = Instant::now();
    let mut until = from;
    while until < from + work {
        // Read first: what is held afterwards was held then.
        let now = Instant::now();
        if !lease.is_held() {
            break;
        }
        until = now;
        sleep(LOOK).await;
    }
    Hold { lock: lock.clone(), fence: lease.fence(), from, until }
}
