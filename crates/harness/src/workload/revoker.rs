//! The revoker: logs users out everywhere, or on one device, while their families rotate; and has a
//! resource server look whether it hears of it.

use std::sync::Arc;

use jeton_core::ids::DeviceId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::resource::Resource;
use super::{Workload, present};
use crate::history::Target;

/// Until the workload stops, and the resource server has heard of everything.
pub(crate) async fn run(workload: Arc<Workload>, resource: Arc<Resource>) {
    let mut looks = JoinSet::new();
    let mut rng = StdRng::seed_from_u64(workload.plan.seed ^ 0x7265_766f_6b65);
    while !workload.stopped() {
        sleep(workload.plan.revoke_every).await;
        let user = workload.users[rng.random_range(0..workload.users.len())].clone();
        let device = if rng.random_bool(0.25) { DeviceId::new("phone").ok() } else { None };
        let target = Target::Where {
            tenant: workload.tenants[user.tenant].clone(),
            subject: Some(user.subject.clone()),
            client: None,
            device: device.clone(),
        };
        let client = &workload.clients[rng.random_range(0..workload.clients.len())];
        let invoked = workload.recorder.invoke();
        let at = present::revoke_where(client, &target).await;
        workload.recorder.revocation(invoked, target, at);
        if let (Some(at), None) = (at, device) {
            let (workload, resource) = (Arc::clone(&workload), Arc::clone(&resource));
            looks.spawn(async move {
                let look = resource.look(&workload, user.tenant, user.subject, at).await;
                workload.recorder.look(look);
            });
        }
    }
    while looks.join_next().await.is_some() {}
}
