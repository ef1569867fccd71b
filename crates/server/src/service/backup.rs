//! `BackupService`: the state of this node as one file, as a stream.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use jeton_raft::Consistency;
use jeton_wire::Failure;
use jeton_wire::failure::reason;
use jeton_wire::pb::admin_v1 as pb;
use jeton_wire::pb::admin_v1::backup_service_server::BackupService;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, async_trait};
use tracing::{error, info};

use crate::desk::Desk;
use crate::failures;

/// How long the barrier may take, behind which everything acknowledged is applied here.
const BARRIER_TIME: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Backups {
    pub(crate) desk: Arc<Desk>,
    /// Turns true when streams must end.
    pub(crate) closing: watch::Receiver<bool>,
}

type Parts = BoxStream<'static, Result<pb::CreateBackupResponse, Status>>;

impl Backups {
    async fn create(&self) -> Result<Parts, Failure> {
        let deadline = Instant::now() + BARRIER_TIME;
        let point = self.desk.node.read_point(Consistency::Linearizable, deadline).await;
        point.map_err(|error| failures::of_read(&error, self.desk.leader()))?;
        let backup = self.desk.node.backup().await.map_err(|source| failed(&source))?;
        let (total_bytes, position) = (backup.bytes, backup.header.meta.position.0);
        info!(position, bytes = total_bytes, "a backup is sent");
        let pieces = ReceiverStream::new(backup.stream().map_err(|source| failed(&source))?);
        let parts = pieces.map(move |piece| match piece {
            Ok(data) => Ok(pb::CreateBackupResponse { data, total_bytes }),
            Err(source) => Err(failed(&source).into()),
        });
        let mut closing = self.closing.clone();
        let closed = async move {
            // If the sender is gone, so is whoever could tell: end, too.
            let _ = closing.wait_for(|closing| *closing).await;
        };
        Ok(parts.take_until(closed).boxed())
    }
}

fn failed(source: &std::io::Error) -> Failure {
    error!(error = %source, "a backup failed");
    let words = format!("the backup failed: {source}; look at the disk, and try again");
    Failure::new(Code::Unavailable, reason::STORAGE_FAILED, words)
}

#[async_trait]
impl BackupService for Backups {
    type CreateBackupStream = Parts;

    async fn create_backup(
        &self,
        _: Request<pb::CreateBackupRequest>,
    ) -> Result<Response<Parts>, Status> {
        Ok(Response::new(self.create().await?))
    }
}
