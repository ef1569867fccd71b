//! A workload: callers that use a cluster as authorization servers do, on good days and bad ones,
//! and write down what they saw.
//!
//! ```text
//!  plan ─▶ setup: tenants, users, families
//!            │
//!            ├─ callers (many): rotate, stampede, lose replies, are robbed      ┐
//!            ├─ revoker: logs users out; a resource server hears of it          │
//!            ├─ codes: redeemed by many at once, stolen, tried by strangers     ├─▶ recorder
//!            ├─ locks: contended for, held beyond their leases                  │
//!            └─ drill: SIGKILL to the leader, restart                           ┘
//! ```
//!
//! Each family is owned by one caller, so that there is a truth to compare with. Thieves and
//! stampedes are scenes that its owner plays.

mod caller;
mod codes;
mod drill;
mod family;
mod locks;
mod plan;
mod present;
mod resource;
mod revoker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use futures::StreamExt;
use jeton_client::{Client, RefreshToken};
use jeton_core::ids::{ClientId, DeviceId, SubjectId, TenantId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;

use crate::history::{FamilyKey, Roots};
use crate::recorder::Recorder;

pub use drill::{Drill, Moment};
pub use plan::{Kill, Plan, SHORT_GRACE, TENANTS, TenantPlan};

use caller::Caller;
use family::Held;
use resource::Resource;

/// Families that are created at the same time during setup.
const SETUP_CONCURRENCY: usize = 64;
/// Stampedes at the same time.
const STAMPEDES: usize = 2;

/// A user of the workload.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// Which of [`TENANTS`].
    tenant: usize,
    subject: SubjectId,
}

/// What all parts of a workload share.
pub struct Workload {
    plan: Plan,
    /// Each knows all nodes.
    clients: Vec<Client>,
    /// Each knows one node only: stampedes come through all of them.
    pinned: Vec<Client>,
    tenants: Vec<TenantId>,
    users: Vec<User>,
    recorder: Recorder,
    stop: AtomicBool,
    stampedes: Semaphore,
}

impl Workload {
    /// A workload over these clients: callers are spread over `clients`, stampedes over `pinned`.
    pub fn new(
        plan: Plan,
        clients: Vec<Client>,
        pinned: Vec<Client>,
        recorder: Recorder,
    ) -> Result<Arc<Self>> {
        let tenants = TENANTS
            .iter()
            .map(|tenant| TenantId::new(tenant.name))
            .collect::<Result<Vec<_>, _>>()?;
        let users = (0..plan.users)
            .map(|n| {
                let subject = SubjectId::new(&format!("user-{n:04}"))?;
                Ok(User { tenant: n % TENANTS.len(), subject })
            })
            .collect::<Result<Vec<_>>>()?;
        let stampedes = Semaphore::new(STAMPEDES);
        let stop = AtomicBool::new(false);
        Ok(Arc::new(Self { plan, clients, pinned, tenants, users, recorder, stop, stampedes }))
    }

    /// Makes the tenants and the families. Returns what each caller owns.
    pub async fn setup(self: &Arc<Self>) -> Result<Vec<Vec<Held>>> {
        for tenant in &TENANTS {
            present::create_tenant(&self.clients[0], tenant).await?;
        }
        let mut rng = StdRng::seed_from_u64(self.plan.seed);
        let wanted: Vec<(usize, Roots)> = (0..self.plan.families)
            .map(|n| self.roots(&self.users[n % self.users.len()], &mut rng))
            .collect::<Result<_>>()?;
        let make = |(place, (tenant, roots)): (usize, (usize, Roots))| async move {
            let client = &self.clients[place % self.clients.len()];
            let held = self.create(client, tenant, roots).await;
            held.with_context(|| format!("family {place} could not be created"))
        };
        let made: Vec<Result<Held>> = futures::stream::iter(wanted.into_iter().enumerate())
            .map(make)
            .buffer_unordered(SETUP_CONCURRENCY)
            .collect()
            .await;
        let mut shares: Vec<Vec<Held>> = (0..self.plan.callers).map(|_| Vec::new()).collect();
        for (place, held) in made.into_iter().enumerate() {
            shares[place % self.plan.callers].push(held?);
        }
        Ok(shares)
    }

    /// Runs callers and all the others until [`Workload::stop`]. Returns the newest token of each
    /// family that its owner takes for alive.
    pub async fn run(
        self: &Arc<Self>,
        shares: Vec<Vec<Held>>,
    ) -> Result<HashMap<FamilyKey, RefreshToken>> {
        let resource = Resource::new(self)?;
        let others = [
            tokio::spawn(revoker::run(Arc::clone(self), resource)),
            tokio::spawn(codes::run(Arc::clone(self))),
            tokio::spawn(locks::run(Arc::clone(self))),
        ];
        let callers: Vec<_> = shares
            .into_iter()
            .enumerate()
            .map(|(number, share)| tokio::spawn(Caller::new(Arc::clone(self), number, share).run()))
            .collect();
        let mut newest = HashMap::new();
        for caller in callers {
            let held = caller.await.context("a caller panicked")?;
            newest.extend(held.into_iter().map(|held| (held.key, held.token)));
        }
        for other in others {
            other.await.context("revoker, codes or locks panicked")?;
        }
        Ok(newest)
    }

    /// Ends the run: callers finish the scene that they are in.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// New roots for a family of this user.
    fn roots(&self, user: &User, rng: &mut StdRng) -> Result<(usize, Roots)> {
        let client = ClientId::new(["web", "mobile", "tv"][rng.random_range(0..3)])?;
        let device = DeviceId::new(["phone", "laptop"][rng.random_range(0..2)])?;
        Ok((user.tenant, Roots { subject: user.subject.clone(), client, device: Some(device) }))
    }

    /// Creates a family and records it. `None` inside the error: nobody knows whether it exists.
    async fn create(&self, client: &Client, tenant: usize, roots: Roots) -> Result<Held> {
        let invoked = self.recorder.invoke();
        let tenant_id = &self.tenants[tenant];
        let (token, position) = present::create_family(client, tenant_id, &roots).await?;
        let key = FamilyKey { tenant: tenant_id.clone(), family: token.family() };
        self.recorder.created(invoked, key.clone(), roots.clone(), position);
        Ok(Held::new(tenant, key, roots, token))
    }
}
