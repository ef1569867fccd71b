//! What this node answers to its peers.

use std::path::PathBuf;
use std::sync::Arc;

use jeton_core::ids::{ClusterId, Position};
use jeton_storage::disk::Disk;
use jeton_storage::state::BaseReader;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::errors::ReadError;
use crate::peer::handler::{
    ClockReport, ClockVerdict, ConfirmedIndex, ForwardReplies, Forwarded, Known, NotLeader,
    PeerHandler, ReadIndexError,
};
use crate::snapshot::SnapshotFile;
use crate::standing::Role;
use crate::state_machine::MarkerForm;
use crate::types::{NodeId, Raft, SnapshotMeta};
use crate::worker;

/// Received base files lie here until they are installed.
pub(crate) const INCOMING_DIR: &str = "incoming";

impl PeerHandler for Engine {
    fn identity(&self) -> (ClusterId, NodeId) {
        (self.cluster, self.id)
    }

    fn raft(&self) -> &Raft {
        &self.raft
    }

    fn forwarded(&self, from: NodeId, commands: Vec<Forwarded>, replies: Arc<dyn ForwardReplies>) {
        self.take_forwarded(from, commands, replies);
    }

    async fn read_index(&self, deadline: Instant) -> Result<ConfirmedIndex, ReadIndexError> {
        let standing = self.standing();
        if !standing.leads() {
            let leader = match standing.role {
                Role::Follower { leader, member } => Some((leader, member)),
                Role::Leader | Role::Nobody => None,
            };
            return Err(NotLeader { leader }.into());
        }
        match self.reads.round(deadline).await {
            Ok(confirmed) => Ok(confirmed.index()),
            Err(ReadError::Shutdown) => Err(ReadIndexError::Stopping),
            Err(_) => Err(ReadIndexError::NoQuorum),
        }
    }

    async fn applied(&self, position: Position, deadline: Instant) -> bool {
        self.has_applied(position, deadline).await
    }

    fn clock_report(&self, report: ClockReport) -> Result<ClockVerdict, NotLeader> {
        self.take_report(report)
    }

    fn incoming_dir(&self) -> PathBuf {
        self.config.data_dir.join(INCOMING_DIR)
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// Reads the whole file, so it takes as long as reading takes: on a thread of its own.
    async fn verify_snapshot(
        &self,
        meta: &SnapshotMeta,
        file: &SnapshotFile,
    ) -> Result<(), String> {
        let (disk, path) = (Arc::clone(&self.disk), file.path.clone());
        let read = worker::run("jeton-verify", move || {
            BaseReader::verify(disk.as_ref(), &path)?;
            Ok(BaseReader::open(disk.as_ref(), &path)?.marker().clone())
        });
        let marker = read
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error: jeton_storage::state::StateError| error.to_string())?;
        let form = MarkerForm::decode(&marker.opaque).map_err(|error| error.to_string())?;
        let membership = form.membership().map_err(|error| error.to_string())?;
        if form.applied() != meta.last_log_id || membership != meta.last_membership {
            return Err("the file stands elsewhere than was announced".to_owned());
        }
        Ok(())
    }

    fn known(&self) -> Known {
        let standing = self.standing();
        Known {
            members: standing.members.as_ref().clone(),
            leader: match standing.role {
                Role::Leader => Some(self.id),
                Role::Follower { leader, .. } => Some(leader),
                Role::Nobody => None,
            },
        }
    }
}
