//! The receiving end of a base file.
//!
//! ```text
//!  begin ──► <incoming>/<file id>.part, its length is where to go on
//!  chunk ──► appended                          crash: the part file stays, the transfer resumes
//!  end   ──► synced, verified by the state     crash: the same; verified again
//!        ──► handed to openraft, installed     crash: storage finishes or undoes it at open
//!        ──► removed, if storage left it there
//! ```
//!
//! A part file that fails its verification is removed, and the next transfer starts over: so bytes
//! that a power cut took from the middle cost time, not correctness. Part files of other transfers
//! are removed at begin. Only one transfer runs at a time; another one is refused meanwhile.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use jeton_storage::disk::{Disk, DiskFile};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};
use tonic::Status;

use super::convert::{snapshot_begin_from_pb, vote_to_pb};
use super::handler::PeerHandler;
use super::pb;
use super::pb::snapshot_request::Step;
use super::pb::snapshot_response::Progress;
use super::raft_door::RaftDoor;
use super::transfer::STALL_TIMEOUT;
use crate::snapshot::SnapshotFile;
use crate::types::{SnapshotMeta, Vote};
use crate::worker;

/// Bytes collected for one visit to the disk.
const WRITE_BYTES: usize = 4 * 1024 * 1024;
/// The sender hears at least this often how far it has got, while anything comes.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// How often the sender hears that an install goes on.
const INSTALLING_INTERVAL: Duration = Duration::from_secs(1);

/// Answers on their way to the sender.
pub(super) type Answers = mpsc::Sender<Result<pb::SnapshotResponse, Status>>;

/// Receives one base file and installs it. Everything that the sender must know goes to `answers`.
pub(super) async fn receive<H: PeerHandler>(
    handler: Arc<H>,
    raft: Arc<dyn RaftDoor>,
    requests: impl Stream<Item = Result<pb::SnapshotRequest, Status>> + Unpin,
    answers: Answers,
) {
    let last = match transfer(handler, raft, requests, &answers).await {
        Ok(vote) => Ok(say(Progress::Done(vote_to_pb(&vote)))),
        Err(Fault::Refused(why)) => {
            tracing::warn!(why, "a base file was refused");
            Ok(say(Progress::Refused(why)))
        }
        Err(Fault::Broken(status)) => Err(status),
    };
    // The sender may be gone, then nobody wants to know.
    let _ = answers.send(last).await;
}

enum Fault {
    /// The peer's message or connection was broken.
    Broken(Status),
    /// This node does not want the file, or can't keep it.
    Refused(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Refused(format!("the received file can't be written: {error}"))
    }
}

fn say(progress: Progress) -> pb::SnapshotResponse {
    pb::SnapshotResponse { progress: Some(progress) }
}

async fn transfer<H: PeerHandler>(
    handler: Arc<H>,
    raft: Arc<dyn RaftDoor>,
    mut requests: impl Stream<Item = Result<pb::SnapshotRequest, Status>> + Unpin,
    answers: &Answers,
) -> Result<Vote, Fault> {
    let Step::Begin(begin) = next(&mut requests).await? else {
        return Err(broken("a transfer without a beginning"));
    };
    let (vote, meta, file_id, bytes_total) =
        snapshot_begin_from_pb(begin).map_err(|b| Fault::Broken(b.into()))?;
    let mut part = Part::open(handler.as_ref(), &file_id, bytes_total).await?;
    let collected = collect(&mut part, &mut requests, answers).await;
    // Also what came before a break: a slow transfer must get on from one attempt to the next.
    part.write().await?;
    collected?;
    let file = part.complete().await?;
    let disk = handler.disk();
    let path = file.path.clone();
    let install = verify_and_install(handler, raft, vote, meta, file);
    let result = with_signs_of_life(install, answers).await;
    // Installed, it was moved or copied; refused, it is rubbish.
    let removed = worker::run("base-remove", move || remove(disk.as_ref(), &path)).await;
    if let Err(error) = removed.and_then(|result| result) {
        tracing::warn!(%error, "a received base file can't be removed");
    }
    result
}

/// Takes chunks up to the end. Says how far it has got, however slowly they come.
async fn collect(
    part: &mut Part,
    requests: &mut (impl Stream<Item = Result<pb::SnapshotRequest, Status>> + Unpin),
    answers: &Answers,
) -> Result<(), Fault> {
    tell(answers, Progress::ReceivedBytes(part.written)).await?;
    let mut told = Instant::now();
    loop {
        match next(requests).await? {
            Step::Begin(_) => return Err(broken("a second beginning")),
            Step::Chunk(chunk) => part.take(chunk)?,
            Step::End(_) => return Ok(()),
        }
        let full = part.buffer.len() >= WRITE_BYTES;
        if full {
            part.write().await?;
        }
        if full || told.elapsed() >= TELL_INTERVAL {
            tell(answers, Progress::ReceivedBytes(part.received())).await?;
            told = Instant::now();
        }
    }
}

async fn verify_and_install<H: PeerHandler>(
    handler: Arc<H>,
    raft: Arc<dyn RaftDoor>,
    vote: Vote,
    meta: SnapshotMeta,
    file: SnapshotFile,
) -> Result<Vote, Fault> {
    handler.verify_snapshot(&meta, &file).await.map_err(Fault::Refused)?;
    raft.install(vote, meta, file).await.map_err(|stopped| Fault::Refused(stopped.to_string()))
}

/// Tells the sender once a second that the work goes on.
async fn with_signs_of_life<T>(work: impl Future<Output = T>, answers: &Answers) -> T {
    let mut work = std::pin::pin!(work);
    let mut tick = interval(INSTALLING_INTERVAL);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            // An install that has begun is finished, also for a sender that is gone.
            _ = tick.tick() => { let _ = answers.try_send(Ok(say(Progress::Installing(true)))); }
        }
    }
}

async fn tell(answers: &Answers, progress: Progress) -> Result<(), Fault> {
    let sent = answers.send(Ok(say(progress))).await;
    sent.map_err(|_| Fault::Broken(Status::cancelled("the sender is gone")))
}

async fn next(
    requests: &mut (impl Stream<Item = Result<pb::SnapshotRequest, Status>> + Unpin),
) -> Result<Step, Fault> {
    let request = timeout(STALL_TIMEOUT, requests.next()).await;
    let request = request.map_err(|_| broken("nothing came for too long"))?;
    let request = request.ok_or_else(|| broken("the transfer was broken off"))?;
    let request = request.map_err(Fault::Broken)?;
    request.step.ok_or_else(|| broken("a transfer message without a step"))
}

fn broken(why: &str) -> Fault {
    Fault::Broken(Status::invalid_argument(why.to_owned()))
}

/// A base file that is not complete yet.
struct Part {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    written: u64,
    buffer: BytesMut,
    bytes_total: u64,
}

impl Part {
    async fn open<H: PeerHandler>(
        handler: &H,
        file_id: &str,
        bytes_total: u64,
    ) -> Result<Self, Fault> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if file_id.is_empty() || file_id.len() > 200 || !file_id.chars().all(plain) {
            return Err(broken("a base file of no valid name"));
        }
        let (disk, dir, name) = (handler.disk(), handler.incoming_dir(), format!("{file_id}.part"));
        let path = dir.join(&name);
        let opened_path = path.clone();
        let opened = worker::run("base-open", move || -> io::Result<_> {
            for other in disk.list(&dir)?.into_iter().filter(|other| *other != name) {
                remove(disk.as_ref(), &dir.join(other))?;
            }
            let file = disk.open_or_create(&opened_path)?;
            // Longer than the file that is offered: no part of it.
            if file.len()? > bytes_total {
                file.set_len(0)?;
            }
            let written = file.len()?;
            Ok((file, written))
        });
        let (file, written) = opened.await??;
        Ok(Self { file, path, written, buffer: BytesMut::new(), bytes_total })
    }

    fn received(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn take(&mut self, chunk: pb::SnapshotChunk) -> Result<(), Fault> {
        let here = self.received();
        if chunk.offset != here {
            return Err(broken("a chunk that does not follow the one before"));
        }
        if here + chunk.data.len() as u64 > self.bytes_total {
            return Err(broken("more bytes than were announced"));
        }
        self.buffer.extend_from_slice(&chunk.data);
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Fault> {
        let bytes: Bytes = self.buffer.split().freeze();
        let (file, at, len) = (self.file.clone(), self.written, bytes.len() as u64);
        worker::run("base-write", move || file.write_at(&bytes, at)).await??;
        self.written += len;
        Ok(())
    }

    async fn complete(self) -> Result<SnapshotFile, Fault> {
        if self.written != self.bytes_total {
            return Err(broken("the end came before all bytes"));
        }
        let file = self.file.clone();
        worker::run("base-sync", move || file.sync()).await??;
        Ok(SnapshotFile { path: self.path, bytes: self.bytes_total })
    }
}

fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
