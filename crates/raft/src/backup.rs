//! A backup of this node's state: a base file at one position, without what must not leave, as a
//! stream. Applying goes on meanwhile: a base is made beside it.
//!
//! What a crash leaves stands in `jeton_storage::state`'s module of backups.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jeton_core::backup::{self, Header};
use jeton_core::ids::UnixMs;
use jeton_storage::disk::DiskFile;
use jeton_storage::state::{Marker, StateError, write_backup};
use tokio::sync::mpsc;

use crate::engine::Engine;
use crate::state_machine::MarkerForm;
use crate::worker;

/// Bytes handed on at once.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait for whoever takes them.
const PIECES_WAITING: usize = 4;
/// Names of files that two backups make at once.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A backup that is ready to be taken.
pub struct Backup {
    /// What it holds.
    pub header: Header,
    /// Its length.
    pub bytes: u64,
    file: Arc<dyn DiskFile>,
}

impl Backup {
    /// The bytes of the file, in order. An error is the last.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn stream(self) -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
        let (pieces, taken) = mpsc::channel(PIECES_WAITING);
        worker::start("jeton-backup-send", move || {
            let mut at = 0;
            while at < self.bytes {
                let left = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
                let mut piece = vec![0; left.min(PIECE_BYTES)];
                let read = self.file.read_exact_at(&mut piece, at);
                at += piece.len() as u64;
                let failed = read.is_err();
                // Whoever took them may have gone.
                if pieces.blocking_send(read.map(|()| piece.into())).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(taken)
    }
}

impl Engine {
    /// Makes a backup of what is applied here.
    pub(crate) async fn backup(&self) -> io::Result<Backup> {
        if !self.machine.build_base().await? {
            let words = "too much changed while the base file was made: try again";
            return Err(io::Error::other(words));
        }
        let base = self.state.base().ok_or_else(|| io::Error::other("there is no base file"))?;
        let (cluster, node, made_at) = (self.cluster, self.id, self.clock.wall());
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("outgoing-{nth}.tmp");
        let path = self.config.data_dir.join("state").join(name);
        let disk = Arc::clone(&self.disk);
        let work = move || {
            let header = |marker: &Marker, rows: u64| {
                header(marker, rows, made_at).map(|it| Header { cluster, node, ..it }.encode())
            };
            let disk = disk.as_ref();
            let (file, bytes) = write_backup(disk, &base.path, &path, &backup::strip, &header)?;
            let mut head = self::header(&base.marker, 0, made_at)?;
            (head.cluster, head.node) = (cluster, node);
            Ok::<_, StateError>(Backup { header: head, bytes, file })
        };
        worker::run("jeton-backup", work).await?.map_err(io::Error::other)
    }
}

fn header(marker: &Marker, rows: u64, made_at: UnixMs) -> Result<Header, StateError> {
    let form = MarkerForm::decode(&marker.opaque)
        .map_err(|error| StateError::Damaged { path: "base".into(), why: error.to_string() })?;
    Ok(Header {
        cluster: jeton_core::ids::ClusterId([0; 16]),
        node: 0,
        meta: form.meta().clone(),
        made_at,
        rows,
        release: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
