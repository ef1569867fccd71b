//! How large a workload is, and what happens in it.

use std::time::Duration;

/// Settings of a workload. The same seed gives the same choices; the interleaving is the machine's.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seeds every choice.
    pub seed: u64,
    /// How long callers call.
    pub duration: Duration,
    /// Users, half of them in each tenant.
    pub users: usize,
    /// Families, spread over the users.
    pub families: usize,
    /// Concurrent callers; each owns its share of the families.
    pub callers: usize,
    /// Pause of a caller between two scenes.
    pub pause: Duration,
    /// Callers of a stampede on one token.
    pub stampede: usize,
    /// Time between two users being revoked.
    pub revoke_every: Duration,
    /// Time between two codes being redeemed.
    pub code_every: Duration,
    /// Time until nodes are killed, again and again. `None`: never.
    pub kill_every: Option<Duration>,
    /// Which nodes are killed.
    pub kill: Kill,
    /// How long a killed node stays down.
    pub down: Duration,
}

/// Which nodes get SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// The leader; the others elect another one.
    Leader,
    /// All at once: what was acknowledged must be on their disks.
    All,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            duration: Duration::from_secs(20),
            users: 400,
            families: 3_000,
            callers: 64,
            pause: Duration::from_millis(4),
            stampede: 100,
            revoke_every: Duration::from_millis(200),
            code_every: Duration::from_millis(100),
            kill_every: Some(Duration::from_secs(8)),
            kill: Kill::Leader,
            down: Duration::from_secs(2),
        }
    }
}

/// Grace of the tenant whose spent tokens are stolen: short, so that a theft is certain soon.
pub const SHORT_GRACE: Duration = Duration::from_millis(250);
/// Grace of the other tenant: long, so that a stampede is never taken for a theft.
pub const LONG_GRACE: Duration = Duration::from_secs(30);
/// How long a family rests before a thief presents one of its spent tokens: beyond its grace, and
/// beyond whatever the nodes' clocks may differ.
pub const REST: Duration = Duration::from_millis(2_500);
/// How long callers go on asking for the outcome of an operation.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A tenant of the workload.
#[derive(Debug, Clone, Copy)]
pub struct TenantPlan {
    /// Its name.
    pub name: &'static str,
    /// Grace of its families.
    pub grace: Duration,
    /// Whether its spent tokens are stolen; if not, stampedes happen.
    pub thieves: bool,
}

/// The two tenants.
pub const TENANTS: [TenantPlan; 2] = [
    TenantPlan { name: "acme", grace: LONG_GRACE, thieves: false },
    TenantPlan { name: "globex", grace: SHORT_GRACE, thieves: true },
];
