//! One real process, started, signalled and measured.
//!
//! Only processes that were started here are ever signalled, by their own id, and none outlives
//! its handle: dropping it kills the process.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How long a killed process may take to be gone when its handle is dropped, and how often that is
/// looked at.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const GONE_POLL: Duration = Duration::from_millis(2);

/// How to start a process, as often as it is needed.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The program.
    pub binary: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Standard output and error are appended to this file.
    pub log: PathBuf,
}

/// A process and its log file.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    child: Option<Child>,
    /// CPU time of earlier lives, read just before they ended.
    cpu_before: Duration,
    starts: u32,
}

impl Process {
    /// Starts it.
    pub fn start(spec: ProcessSpec) -> Result<Self> {
        let mut process = Self { spec, child: None, cpu_before: Duration::ZERO, starts: 0 };
        process.restart()?;
        Ok(process)
    }

    /// Starts it again with the same arguments. It must not be running.
    pub fn restart(&mut self) -> Result<()> {
        if self.is_running() {
            bail!("{} still runs as {:?}", self.spec.binary.display(), self.pid());
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.spec.log)
            .with_context(|| format!("can't open log {}", self.spec.log.display()))?;
        let errors = log.try_clone().context("can't share the log between output and errors")?;
        let mut command = Command::new(&self.spec.binary);
        // What the flags say must be all: the environment configures nodes, too.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("JETON_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(&self.spec.args)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", self.spec.binary.display()))?;
        self.child = Some(child);
        self.starts += 1;
        Ok(())
    }

    /// Its id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Whether it runs. A process that ended by itself does not.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// SIGKILL: no handler runs, nothing is flushed. Returns when the process is gone.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.remember_cpu();
        let mut child = self.child.take().context("the process does not run")?;
        child.start_kill().context("can't send SIGKILL")?;
        child.wait().await.context("can't wait for the killed process")
    }

    /// SIGSTOP: it does nothing any more, but keeps its connections and what it knew.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP).context("can't send SIGSTOP")
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT).context("can't send SIGCONT")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.pid().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = id.context("the process does not run")?;
        kill_process(pid, signal).context("no such process")
    }

    /// SIGTERM, and the time it may take to shut down by itself; beyond that it is killed, which
    /// is an error.
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.remember_cpu();
        let mut child = self.child.take().context("the process does not run")?;
        if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
        {
            kill_process(pid, Signal::TERM).context("can't send SIGTERM")?;
        }
        match tokio::time::timeout(within, child.wait()).await {
            Ok(status) => status.context("can't wait for the stopped process"),
            Err(_) => {
                child.start_kill().context("can't send SIGKILL")?;
                child.wait().await.context("can't wait for the killed process")?;
                bail!("did not stop within {within:?} of SIGTERM; killed; log: {}", self.log_path())
            }
        }
    }

    /// Waits until it ends by itself; if it doesn't within that time it is killed, which is an
    /// error.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the process does not run")?;
        match tokio::time::timeout(within, child.wait()).await {
            Ok(status) => status.context("can't wait for the process"),
            Err(_) => {
                child.start_kill().context("can't send SIGKILL")?;
                child.wait().await.context("can't wait for the killed process")?;
                bail!("did not end by itself within {within:?}; log: {}", self.log_path())
            }
        }
    }

    /// CPU time, user and system, of all its lives so far.
    pub fn cpu_time(&self) -> Duration {
        let now = self.pid().and_then(|pid| cpu_time_of(pid).ok()).unwrap_or_default();
        self.cpu_before + now
    }

    /// The last lines of its log, for messages about what went wrong.
    pub fn log_tail(&self, lines_max: usize) -> String {
        let text = std::fs::read_to_string(&self.spec.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(lines_max)..].join("\n")
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    fn log_path(&self) -> String {
        self.spec.log.display().to_string()
    }

    fn remember_cpu(&mut self) {
        self.cpu_before = self.cpu_time();
    }
}

/// Whether a directory is in memory, so that its syncs promise nothing.
pub fn is_in_memory(dir: &Path) -> Result<bool> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(dir).context("can't ask for the file system")?.f_type;
    // Of another width on other machines.
    #[allow(clippy::useless_conversion)]
    Ok([TMPFS, RAMFS].contains(&i64::from(kind)))
}

impl Drop for Process {
    /// Kills it and waits until it is gone, so that nobody removes its files under its hands.
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // An error means that it has ended already.
        let _ = child.start_kill();
        let mut left = GONE_WITHIN;
        while matches!(child.try_wait(), Ok(None)) && !left.is_zero() {
            std::thread::sleep(GONE_POLL);
            left = left.saturating_sub(GONE_POLL);
        }
    }
}

/// CPU time that a process has used, from `/proc/<pid>/stat`.
fn cpu_time_of(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("no such process")?;
    let ticks = cpu_ticks(&text).context("unexpected format of /proc/<pid>/stat")?;
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

/// Fields 14 and 15 (`utime`, `stime`) of proc_pid_stat(5). The second field is the program's name
/// in parentheses and may hold anything, so counting starts behind the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dir: &Path, script: &str) -> ProcessSpec {
        ProcessSpec {
            binary: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            log: dir.join("log"),
        }
    }

    #[test]
    fn cpu_ticks_survive_a_hostile_program_name() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194560 1 0 0 0 120 34 5 6 20 0 1 0 9 0 0";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("nonsense"), None);
    }

    #[tokio::test]
    async fn a_killed_process_can_be_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(spec(dir.path(), "echo started; exec sleep 600")).unwrap();
        assert!(process.is_running());
        let first = process.pid();
        assert!(process.restart().is_err(), "a running process is not started twice");
        let status = process.kill().await.unwrap();
        assert!(!status.success());
        assert!(!process.is_running());
        process.restart().unwrap();
        assert!(process.is_running());
        assert_ne!(process.pid(), first);
        assert_eq!(process.starts(), 2);
        process.kill().await.unwrap();
    }

    #[tokio::test]
    async fn stop_waits_for_the_handler_of_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap 'kill $!; echo bye; exit 0' TERM; sleep 60 & echo up; wait";
        let mut process =
            Process::start(ProcessSpec { binary: "/bin/bash".into(), ..spec(dir.path(), script) })
                .unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !process.log_tail(1).contains("up") {
            assert!(tokio::time::Instant::now() < deadline, "never came up");
            tokio::task::yield_now().await;
        }
        let status = process.stop(Duration::from_secs(10)).await.unwrap();
        assert!(status.success());
        assert_eq!(process.log_tail(2), "up\nbye");
    }
}
