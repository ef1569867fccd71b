//! A backup, as it comes from a node.

use std::time::Duration;

use bytes::Bytes;
use jeton_wire::Failure;
use jeton_wire::pb::admin_v1 as pb;
use pb::backup_service_client::BackupServiceClient;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::admin::Admin;
use crate::error::Error;
use crate::transport::node;

/// The bytes of a backup file, in order. Dropping it ends the transfer.
#[derive(Debug)]
pub struct BackupStream {
    parts: Streaming<pb::CreateBackupResponse>,
    silence_max: Duration,
    total: u64,
    taken: u64,
}

impl Admin {
    /// Has a node make a backup of everything acknowledged so far. The first node that answers
    /// makes it, and sends all of it: a transfer that fails is begun again. `begin` is how long
    /// the making may take, `silence_max` how long the next part.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no node makes one, with the reason of the last.
    pub async fn backup(
        &self,
        begin: Duration,
        silence_max: Duration,
    ) -> Result<BackupStream, Error> {
        let config = self.client.config();
        let mut why = "no endpoint was given".to_owned();
        for uri in &config.endpoints {
            let opened = async {
                let channel = timeout(config.connect_timeout, node::channel(uri, config)).await;
                let channel = channel.map_err(|_| "it did not answer in time".to_owned())??;
                let call = BackupServiceClient::new(channel);
                let call = { call }.create_backup(pb::CreateBackupRequest {}).await;
                call.map_err(|status| words(&status))
            };
            let opened = timeout(begin, opened).await;
            match opened.unwrap_or_else(|_| Err("it did not make one in time".to_owned())) {
                Ok(answer) => {
                    let parts = answer.into_inner();
                    return Ok(BackupStream { parts, silence_max, total: 0, taken: 0 });
                }
                Err(words) => why = format!("{uri}: {words}"),
            }
        }
        Err(Error::Unavailable { why })
    }
}

impl BackupStream {
    /// The next bytes; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the transfer failed, or ended too early.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let unavailable = |why: String| Error::Unavailable { why };
        let part = timeout(self.silence_max, self.parts.message()).await;
        let part = part.map_err(|_| unavailable("the node fell silent".to_owned()))?;
        match part.map_err(|status| unavailable(words(&status)))? {
            Some(part) => {
                self.total = part.total_bytes;
                self.taken += part.data.len() as u64;
                Ok(Some(part.data))
            }
            None if self.taken < self.total || self.total == 0 => {
                let (taken, total) = (self.taken, self.total);
                Err(unavailable(format!("the transfer ended at {taken} of {total} bytes")))
            }
            None => Ok(None),
        }
    }

    /// Length of the whole file; 0 before the first bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

fn words(status: &Status) -> String {
    Failure::from(status).message.into_owned()
}
