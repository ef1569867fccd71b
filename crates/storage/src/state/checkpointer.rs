//! Runs checkpoints when the overlay has grown enough: on a thread of its own, or, where there
//! are no threads (simulation), on the writer's.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::State;
use super::error::StateError;

/// How long a full disk is left alone before the checkpoint is tried again.
const DISK_FULL_PAUSE: Duration = Duration::from_secs(1);
/// The longest the thread sleeps: nothing depends on it, it is woken for work.
const IDLE: Duration = Duration::from_secs(3600);

/// Answers once the log is durable up to an index.
pub type SyncLog = Arc<dyn Fn(u64) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync>;

/// Checkpoints on the writer's thread.
#[derive(Clone)]
pub(super) struct Inline {
    sync_log: SyncLog,
}

/// Whoever holds it has checkpoints running; dropping it ends them.
pub struct Checkpointer {
    state: State,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpointer {
    /// Starts a thread that checkpoints whenever the overlay reaches
    /// [`StateOptions::checkpoint_bytes`](super::StateOptions).
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(state: &State, sync_log: SyncLog) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (state, stop) = (state.clone(), Arc::clone(&stop));
            std::thread::Builder::new()
                .name("checkpointer".to_owned())
                .spawn(move || run(&state, &sync_log, &stop))?
        };
        Ok(Self { state: state.clone(), stop, thread: Mutex::new(Some(thread)) })
    }

    /// Checkpoints on the writer's own thread, before an entry, from now on.
    #[must_use]
    pub fn inline(state: &State, sync_log: SyncLog) -> Self {
        *state.inner.inline.lock() = Some(Inline { sync_log });
        let stop = Arc::new(AtomicBool::new(false));
        Self { state: state.clone(), stop, thread: Mutex::new(None) }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        *self.state.inner.inline.lock() = None;
        self.stop.store(true, Ordering::Release);
        self.state.inner.gate.nudge();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpointer panicked");
        }
    }
}

impl State {
    /// The inline checkpointer's work, if there is one.
    pub(super) fn run_inline(&self) -> Result<(), StateError> {
        let Some(inline) = self.inner.inline.lock().clone() else { return Ok(()) };
        if self.overlay_bytes() < self.inner.options.checkpoint_bytes {
            return Ok(());
        }
        match self.checkpoint(inline.sync_log.as_ref()) {
            // There is still room in memory, and perhaps on the disk before that ends.
            Err(error)
                if error.is_disk_full()
                    && self.overlay_bytes() < self.inner.options.overlay_bytes_max =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

/// Stops the store if the thread ends by a panic, so that no writer waits for ever.
struct Guard<'s>(&'s State);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = StateError::Stopped("the checkpointer panicked".to_owned());
            self.0.inner.gate.stop(&why);
        }
    }
}

fn run(state: &State, sync_log: &SyncLog, stop: &AtomicBool) {
    let _guard = Guard(state);
    let gate = &state.inner.gate;
    let wanted = state.inner.options.checkpoint_bytes;
    loop {
        gate.wait_work(wanted, IDLE);
        if stop.load(Ordering::Acquire) || gate.check().is_err() {
            return;
        }
        if gate.bytes() < wanted {
            continue;
        }
        match state.checkpoint(sync_log.as_ref()) {
            Ok(_) => {}
            Err(error) if error.is_disk_full() => {
                tracing::warn!(%error, "the disk is full: the checkpoint is tried again");
                gate.wait_work(usize::MAX, DISK_FULL_PAUSE);
            }
            Err(error) => {
                let cause: &dyn Error = &error;
                tracing::error!(cause, "the checkpoint failed: nothing more is written");
                return;
            }
        }
    }
}
