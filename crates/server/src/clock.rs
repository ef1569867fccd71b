//! Which wall clock a server goes by: the machine's, unless a chaos test wants it wrong.
//!
//! The offset is in a file and not in a call, so that a test can change it while the node runs, and
//! that a node which is killed comes back with the clock that it had.

use std::path::PathBuf;
use std::sync::Arc;

use jeton_core::ids::UnixMs;
use jeton_raft::{Clock, SystemClock};
use tracing::warn;

use crate::config::Config;

/// The clock that the configuration asks for.
pub(crate) fn of(config: &Config) -> Arc<dyn Clock> {
    if config.chaos_clock_offset_file.as_os_str().is_empty() {
        return Arc::new(SystemClock);
    }
    let file = config.chaos_clock_offset_file.clone();
    warn!(file = %file.display(), "this node's wall clock can be put wrong: this is a chaos test");
    Arc::new(OffsetClock { file })
}

/// The machine's clock, and what a file says that it is off by.
struct OffsetClock {
    file: PathBuf,
}

impl OffsetClock {
    fn offset_ms(&self) -> i64 {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}

impl Clock for OffsetClock {
    fn wall(&self) -> UnixMs {
        UnixMs(SystemClock.wall().0.saturating_add_signed(self.offset_ms()))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the file is the test's own
mod tests {
    use super::*;

    /// Whether a clock with this content in its file is off by so much.
    fn is_off_by(offset_ms: i64, content: Option<&str>) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clock");
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let clock = of(&Config { chaos_clock_offset_file: file, ..Config::default() });
        let off = |at: UnixMs| UnixMs(at.0.saturating_add_signed(offset_ms));
        let before = off(SystemClock.wall());
        let seen = clock.wall();
        (before..=off(SystemClock.wall())).contains(&seen)
    }

    #[test]
    fn a_clock_is_off_by_what_the_file_says() {
        assert!(is_off_by(600_000, Some("600000\n")));
        assert!(is_off_by(-5_000, Some("-5000")));
    }

    #[test]
    fn without_a_number_a_clock_is_right() {
        assert!(is_off_by(0, None));
        assert!(is_off_by(0, Some("soon")));
    }
}
