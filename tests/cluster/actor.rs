//! Processes of a test's own: its binary once more, told to be somebody by a variable of its
//! environment. They print lines, and can be made to stand still.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// The clock that all processes of this machine share.
#[allow(clippy::disallowed_types)] // it compares processes; nothing here is decided by it
pub fn clock_ns() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

/// A running process. It is killed when this is dropped.
pub struct Actor {
    child: Child,
}

impl Actor {
    /// Runs the test called `role` in a process of its own, with a variable that tells it what to
    /// do. What it prints, as far as `parse` knows it, is told.
    pub fn start<T: Send + 'static>(
        role: &str,
        (name, value): (&str, &str),
        parse: fn(&str) -> Option<T>,
        told: mpsc::UnboundedSender<T>,
    ) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([role, "--exact", "--nocapture", "--test-threads=1"])
            .env(name, value)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().context("its standard output")?;
        tokio::spawn(async move {
            let mut lines = BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(line) = parse(&line) {
                    // The test may have ended.
                    let _ = told.send(line);
                }
            }
        });
        Ok(Self { child })
    }

    /// Makes it stand still (SIGSTOP).
    pub async fn freeze(&self) -> Result<()> {
        self.signal("-STOP").await
    }

    /// Lets it go on (SIGCONT).
    pub async fn thaw(&self) -> Result<()> {
        self.signal("-CONT").await
    }

    /// Sends a signal, to this process only.
    async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().context("the process runs")?.to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await?;
        ensure!(sent.success(), "can't signal a process");
        Ok(())
    }
}
