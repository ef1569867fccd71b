//! Codes: several copies of a client redeem one at once, another client tries it too, and some are
//! stolen and come back.

use std::sync::Arc;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::{Workload, present};
use crate::history::{CodeHistory, Redeemed, Redeemer, Redemption, Roots};

/// Copies of the client that redeem one code at once.
const COPIES: usize = 6;
/// A client that the code is not for.
const STRANGER: &str = "stranger";
/// One code in so many is stolen.
const STOLEN_ONE_IN: u32 = 4;

/// Until the workload stops.
pub(crate) async fn run(workload: Arc<Workload>) {
    let mut rng = StdRng::seed_from_u64(workload.plan.seed ^ 0x636f_6465);
    let mut number = 0_u64;
    while !workload.stopped() {
        sleep(workload.plan.code_every).await;
        number += 1;
        let user = workload.users[rng.random_range(0..workload.users.len())].clone();
        let Ok((tenant, roots)) = workload.roots(&user, &mut rng) else { continue };
        let code = format!("{}-{number}", workload.plan.seed);
        let stolen = rng.random_ratio(1, STOLEN_ONE_IN);
        one(&workload, tenant, roots, &code, stolen).await;
    }
}

async fn one(workload: &Workload, tenant: usize, roots: Roots, code: &str, stolen: bool) {
    let id = &workload.tenants[tenant];
    if present::put_code(&workload.clients[0], id, code, &roots).await.is_none() {
        return;
    }
    // The stranger goes first, and comes again in the middle of the others.
    let mut redemptions = vec![redeem(workload, 0, tenant, &roots, code, Redeemer::Stranger).await];
    let all = (0..=COPIES).map(|nth| {
        let by = if nth == COPIES / 2 { Redeemer::Stranger } else { Redeemer::Client };
        redeem(workload, nth, tenant, &roots, code, by)
    });
    redemptions.extend(join_all(all).await);
    let redeemed = redemptions.iter().any(|it| matches!(it.seen, Redeemed::First(_)));
    if redeemed && stolen {
        redemptions.push(redeem(workload, 1, tenant, &roots, code, Redeemer::Thief).await);
    }
    workload.recorder.code(CodeHistory { tenant: id.clone(), roots, redemptions });
}

async fn redeem(
    workload: &Workload,
    nth: usize,
    tenant: usize,
    roots: &Roots,
    code: &str,
    by: Redeemer,
) -> Redemption {
    let client = &workload.pinned[nth % workload.pinned.len()];
    let as_client = match by {
        Redeemer::Stranger => STRANGER,
        Redeemer::Client | Redeemer::Thief => roots.client.as_str(),
    };
    let revoke = by == Redeemer::Thief;
    let recorder = &workload.recorder;
    let invoked = recorder.invoke();
    let id = &workload.tenants[tenant];
    let (seen, position) = present::redeem(client, id, code, roots, as_client, revoke).await;
    if let (Redeemed::First(key), Redeemer::Client) = (&seen, by) {
        recorder.created(invoked, key.clone(), roots.clone(), position);
    }
    recorder.redemption(invoked, by, seen)
}
