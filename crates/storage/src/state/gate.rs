//! Back-pressure: how large the overlays are, who waits for that, and whether the store stopped.

use parking_lot::{Condvar, Mutex};
use std::time::Duration;

use super::error::StateError;

#[derive(Debug, Default)]
struct Now {
    /// Memory of both overlays.
    bytes: usize,
    /// The error that stopped the store.
    stopped: Option<String>,
    /// Somebody asks the checkpointer to work at once, or to end.
    nudged: bool,
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    now: Mutex<Now>,
    changed: Condvar,
}

impl Gate {
    pub(super) fn bytes(&self) -> usize {
        self.now.lock().bytes
    }

    /// Notes the overlays' size, and wakes whoever waits for the change.
    pub(super) fn set_bytes(&self, bytes: usize, wake_at: usize) {
        let mut now = self.now.lock();
        let shrunk = bytes < now.bytes;
        now.bytes = bytes;
        if shrunk || bytes >= wake_at {
            self.changed.notify_all();
        }
    }

    /// Nothing may be written any more.
    pub(super) fn stop(&self, why: &StateError) {
        let mut text = why.to_string();
        let mut source = std::error::Error::source(why);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        let mut now = self.now.lock();
        now.stopped.get_or_insert(text);
        self.changed.notify_all();
    }

    pub(super) fn check(&self) -> Result<(), StateError> {
        match &self.now.lock().stopped {
            None => Ok(()),
            Some(why) => Err(StateError::Stopped(why.clone())),
        }
    }

    /// Blocks until the overlays take less than `bytes_max`.
    pub(super) fn wait_below(&self, bytes_max: usize) -> Result<(), StateError> {
        let mut now = self.now.lock();
        while now.bytes >= bytes_max && now.stopped.is_none() {
            self.changed.wait(&mut now);
        }
        match &now.stopped {
            None => Ok(()),
            Some(why) => Err(StateError::Stopped(why.clone())),
        }
    }

    /// Blocks until the overlays take at least `bytes`, somebody nudged, the store stopped, or
    /// `at_most` has passed.
    pub(super) fn wait_work(&self, bytes: usize, at_most: Duration) {
        let mut now = self.now.lock();
        if now.bytes < bytes && !now.nudged && now.stopped.is_none() {
            self.changed.wait_for(&mut now, at_most);
        }
        now.nudged = false;
    }

    /// Wakes [`Gate::wait_work`].
    pub(super) fn nudge(&self) {
        self.now.lock().nudged = true;
        self.changed.notify_all();
    }
}
