//! Log and state of a node: opened, compared with each other and with the directory's stamp, and
//! marked as this node's before consensus is put over them.
//!
//! What a crash leaves at each step stands in [`jeton_storage::ownership`].

use std::path::PathBuf;
use std::sync::Arc;

use jeton_storage::data_dir::{DataDir, Incarnation};
use jeton_storage::log::{LogOptions, LogState, RaftLog};
use jeton_storage::ownership::Parts;
use jeton_storage::state::{State, StateOptions};

use crate::config::{NodeConfig, Seams};
use crate::errors::StartError;
use crate::peer_seam::INCOMING_DIR;
use crate::start::boxed;
use crate::worker;

/// Log and state, open.
pub(crate) struct Stores {
    pub(crate) log: RaftLog,
    pub(crate) state: State,
}

/// Opens both, and refuses them if they are not what this node has kept.
pub(crate) async fn open(
    config: &NodeConfig,
    seams: &Seams,
    dir: &Arc<DataDir>,
) -> Result<Stores, StartError> {
    let (disk, rows, config) = (Arc::clone(&seams.disk), seams.rows.clone(), config.clone());
    let dir = Arc::clone(dir);
    let open = move || {
        let (log_dir, state_dir) = (log_dir(&config), state_dir(&config));
        let parts = Parts { dir: &dir, log: &log_dir, state: &state_dir };
        parts.check_log_exists().map_err(boxed(StartError::Ownership))?;
        for dir in [&log_dir, &state_dir, &config.data_dir.join(INCOMING_DIR)] {
            disk.create_dir_all(dir).map_err(boxed(StartError::State))?;
        }
        let log_options =
            LogOptions { segment_bytes: config.segment_bytes, ..LogOptions::default() };
        let (log, _) = RaftLog::open(Arc::clone(&disk), &log_dir, log_options)
            .map_err(boxed(StartError::Log))?;
        let options = StateOptions {
            overlay_bytes_max: config.overlay_bytes_max,
            checkpoint_bytes: config.checkpoint_bytes,
            ..StateOptions::default()
        };
        let (state, report) = match rows {
            Some(rows) => State::open_on(disk, rows, &state_dir, options),
            None => State::open(disk, &state_dir, options),
        }
        .map_err(boxed(StartError::State))?;
        if report.rebuilt || !report.findings.is_empty() {
            tracing::warn!(rebuilt = report.rebuilt, findings = ?report.findings, "state repaired");
        }
        let base = state.base().map(|base| base.marker.index);
        let applied = report.applied.as_ref().map(|marker| marker.index);
        let holds = applied.is_some() || base.is_some();
        parts.check(&log, holds).map_err(boxed(StartError::Ownership))?;
        meet(&log.state(), applied, base)?;
        Ok(Stores { log, state })
    };
    worker::run("jeton-open", open).await.map_err(StartError::Thread)?
}

impl Stores {
    /// Marks them as this node's, durably. It may vote from then on, and not before.
    pub(crate) async fn claim(
        &self,
        config: &NodeConfig,
        dir: &Arc<DataDir>,
    ) -> Result<(), StartError> {
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh)
            .map_err(|error| StartError::Thread(std::io::Error::other(error)))?;
        let (log, dir) = (self.log.clone(), Arc::clone(dir));
        let (log_dir, state_dir) = (log_dir(config), state_dir(config));
        let claim = move || {
            let parts = Parts { dir: &dir, log: &log_dir, state: &state_dir };
            parts.claim(&log, Incarnation(fresh)).map_err(boxed(StartError::Ownership))
        };
        worker::run("jeton-claim", claim).await.map_err(StartError::Thread)?
    }
}

fn log_dir(config: &NodeConfig) -> PathBuf {
    config.data_dir.join("log")
}

fn state_dir(config: &NodeConfig) -> PathBuf {
    config.data_dir.join("state")
}

/// Raft never repairs a state: the log must still have all that the state lacks. Nor can a log be
/// made again from a state: it was ahead of it once, and held votes.
pub(crate) fn meet(
    log: &LogState,
    applied: Option<u64>,
    base: Option<u64>,
) -> Result<(), StartError> {
    let purged = log.purged.as_ref().map(|(index, _)| *index);
    if purged > applied {
        return Err(StartError::StateLost { applied, purged: purged.unwrap_or(0) });
    }
    // A received base is durable before the log is told to begin behind it: a crash between the
    // two leaves the state ahead, at that base, and the vote for who sent it.
    let installed = log.vote.is_some() && applied == base;
    match applied {
        Some(applied) if Some(applied) > log.last.max(purged) && !installed => {
            Err(StartError::LogLost { applied, last: log.last })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn log(last: Option<u64>, purged: Option<u64>, vote: bool) -> LogState {
        LogState {
            first: None,
            last,
            purged: purged.map(|index| (index, Bytes::new())),
            vote: vote.then(Bytes::new),
            committed: None,
            owner: None,
        }
    }

    #[test]
    fn a_log_that_the_state_is_ahead_of_was_lost() {
        let gone = log(None, None, false);
        assert!(matches!(meet(&gone, Some(7), None), Err(StartError::LogLost { .. })));
        assert!(matches!(meet(&gone, Some(7), Some(7)), Err(StartError::LogLost { .. })));
        assert!(matches!(meet(&gone, Some(0), None), Err(StartError::LogLost { .. })));
        let cut = log(Some(6), Some(2), true);
        assert!(matches!(meet(&cut, Some(7), Some(2)), Err(StartError::LogLost { .. })));
        assert!(meet(&gone, None, None).is_ok(), "nothing was there");
        assert!(meet(&log(Some(7), Some(2), true), Some(7), Some(2)).is_ok());
        assert!(meet(&log(None, Some(7), true), Some(7), Some(7)).is_ok(), "purged to its end");
        assert!(meet(&log(Some(3), None, true), Some(7), Some(7)).is_ok(), "installed, not purged");
    }

    #[test]
    fn a_state_that_the_log_does_not_reach_was_lost() {
        let purged = log(Some(9), Some(4), true);
        assert!(matches!(meet(&purged, None, None), Err(StartError::StateLost { .. })));
        assert!(matches!(meet(&purged, Some(3), None), Err(StartError::StateLost { .. })));
        assert!(meet(&purged, Some(4), None).is_ok());
    }
}
