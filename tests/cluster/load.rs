//! Callers that rotate without pause, while something happens to the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Result, bail, ensure};
use jeton_client::Rotation;
use tokio::task::JoinHandle;

use crate::world::{PATIENCE, World, own};

/// Running callers, each with a family of its own.
pub struct Load {
    stop: Arc<AtomicBool>,
    rotations: Arc<AtomicU64>,
    callers: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts this many. Their clients know all nodes, and go on when one of them is gone.
    pub async fn start(world: &World, callers: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let rotations = Arc::new(AtomicU64::new(0));
        let mut handles = Vec::new();
        for (n, family) in world.families("busy", callers).await?.into_iter().enumerate() {
            let tenant = world.clients[n % world.clients.len()].tenant(crate::world::TENANT)?;
            let (stop, rotations) = (Arc::clone(&stop), Arc::clone(&rotations));
            handles.push(tokio::spawn(async move {
                let mut token = family.token;
                while !stop.load(Ordering::Relaxed) {
                    // Whatever became of earlier attempts: the chain has one head, and we hold it.
                    token = match tenant.rotate(&token, own(), PATIENCE).await? {
                        Rotation::Rotated(issued) | Rotation::Replayed(issued) => issued.token,
                        other => bail!("the only holder of a family is told {other:?}"),
                    };
                    rotations.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        Ok(Self { stop, rotations, callers: handles })
    }

    /// How many rotations succeeded so far.
    pub fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Relaxed)
    }

    /// Waits until this many more have succeeded.
    pub async fn go_on(&self, more: u64) -> Result<()> {
        let wanted = self.rotations() + more;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.rotations() < wanted {
            ensure!(tokio::time::Instant::now() < deadline, "{} rotations", self.rotations());
            ensure!(!self.callers.iter().all(JoinHandle::is_finished), "all callers have failed");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Stops them. An error if any of them was refused anything, or not answered in time.
    pub async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await??;
        }
        Ok(self.rotations.load(Ordering::Relaxed))
    }
}
