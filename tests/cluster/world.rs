//! A cluster, a tenant, and ways to ask it things.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::join_all;
use jeton_client::admin::SettingsChange;
use jeton_client::{Client, Issued, NewFamily, RotateContext, Tenant};
use jeton_harness::cluster::{Cluster, ClusterSpec};

/// The client that all families of these tests belong to.
pub const CLIENT: &str = "web";
/// The tenant that all of them live in.
pub const TENANT: &str = "acme";
/// How long one call may take, over elections too.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long nodes may take to come up, on a busy machine.
pub const COME_UP: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe().context("this test's own path")?;
    let folder = test.ancestors().nth(2).context("the build folder")?;
    let binary = folder.join("jeton");
    if !binary.exists() {
        bail!("{} does not exist: run `cargo build --workspace` first", binary.display());
    }
    Ok(binary)
}

/// Three nodes and a tenant without a rotation limit.
pub struct World {
    pub cluster: Cluster,
    /// Clients that know all nodes.
    pub clients: Vec<Client>,
}

impl World {
    pub async fn new(flags: &[&str]) -> Result<Self> {
        let mut spec = ClusterSpec::new(binary()?, 3);
        spec.flags = flags.iter().map(Into::into).collect();
        Self::start(spec).await
    }

    /// The same, with nodes whose clocks can be put wrong.
    pub async fn with_wrong_clocks() -> Result<Self> {
        Self::start(ClusterSpec { wrong_clocks: true, ..ClusterSpec::new(binary()?, 3) }).await
    }

    async fn start(spec: ClusterSpec) -> Result<Self> {
        let mut cluster = Cluster::start(spec)?;
        cluster.wait_ready(COME_UP).await?;
        let clients = cluster.callers().await?;
        let no_limit = SettingsChange::new().rotations_per_s(0);
        clients[0].admin().create_tenant(TENANT, no_limit, PATIENCE).await?;
        Ok(Self { cluster, clients })
    }

    /// The tenant, by way of any node.
    pub fn tenant(&self) -> Result<Tenant> {
        Ok(self.clients[0].tenant(TENANT)?)
    }

    /// The tenant, by way of this node alone.
    pub fn tenant_on(&self, node: usize) -> Result<Tenant> {
        Ok(self.cluster.client(node)?.tenant(TENANT)?)
    }

    /// This many new families of one subject.
    pub async fn families(&self, subject: &str, count: usize) -> Result<Vec<Issued>> {
        let tenant = self.tenant()?;
        let mut made = Vec::with_capacity(count);
        while made.len() < count {
            let some = (count - made.len()).min(2_000);
            let calls =
                (0..some).map(|_| tenant.create_family(NewFamily::new(subject, CLIENT), PATIENCE));
            for issued in join_all(calls).await {
                made.push(issued?);
            }
        }
        Ok(made)
    }

    /// Commands that the leader has applied since it started.
    pub async fn commands(&self, leader: usize) -> Result<u64> {
        Ok(self.cluster.status(leader).await?.commands_applied)
    }
}

/// Rotates as the families' own client.
pub fn own() -> RotateContext {
    RotateContext::new(CLIENT)
}
