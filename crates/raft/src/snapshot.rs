//! A snapshot is a base file of the storage: built there, sent by peers as a file, verified and
//! installed there. openraft only learns where it stands.
//!
//! Building is never openraft's idea (policy `Never`): the node builds a base first and then lets
//! openraft look at it. So a build that gives up (too much changed meanwhile) is no error, and
//! openraft never meets the `Err` that it would treat as fatal.
//!
//! ```text
//!  build:   state.build_base() durable ──► trigger().snapshot() ──► purge_log(upto)
//!  crash:   before: nothing            between: base newer than the log's start, harmless
//!  install: received file verified ──► install_full_snapshot ──► state.install() ──► log purged
//!  crash:   before install: file is rubbish, removed at start; during: storage finishes or undoes
//!           it at open; before the purge: openraft cleans the hole at start
//! ```

use std::io;
use std::path::PathBuf;

use openraft::storage::RaftSnapshotBuilder;

use crate::state_machine::{MarkerForm, StateMachine};
use crate::types::{Snapshot, SnapshotMeta, TypeConfig};

/// A base file: one of ours to be sent, or a received and verified one to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The current base as a snapshot, if there is one.
pub(crate) fn current(state: &jeton_storage::state::State) -> io::Result<Option<Snapshot>> {
    let Some(base) = state.base() else { return Ok(None) };
    let form = MarkerForm::decode(&base.marker.opaque).map_err(io::Error::other)?;
    let meta = SnapshotMeta {
        last_log_id: form.applied(),
        last_membership: form.membership().map_err(io::Error::other)?,
    };
    Ok(Some(Snapshot { meta, snapshot: SnapshotFile { path: base.path, bytes: base.bytes } }))
}

/// Hands openraft the base that was built before it asked; builds one only if it insists.
pub struct SnapshotBuilder {
    pub(crate) machine: StateMachine,
    /// openraft insists: logs are purged and it found no snapshot.
    pub(crate) force: bool,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        if self.machine.state().marker().is_none() {
            // Nothing was ever applied, so there is nothing to send. A node whose log was purged
            // and whose state is empty is refused before it gets here.
            let nothing = SnapshotFile { path: PathBuf::new(), bytes: 0 };
            return Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: nothing });
        }
        if self.force {
            self.machine.build_base().await?;
        }
        current(self.machine.state())?
            .ok_or_else(|| io::Error::other("the state gave no base: too much changed meanwhile"))
    }
}
