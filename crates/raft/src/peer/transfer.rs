//! A base file on its way to a peer: begin, chunks from wherever the peer has got to, end.
//!
//! A transfer is never bounded in total, only in the time without progress: an install of ten
//! million rows takes minutes, during which the peer says once a second that it is at it. After a
//! break openraft calls again, and the peer names the offset at which to go on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jeton_storage::disk::DiskFile;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::client::{Peers, within};
use super::connect::{Lane, PeerCallError};
use super::convert::{snapshot_begin_to_pb, vote_from_pb};
use super::pb;
use super::pb::snapshot_request::Step;
use super::pb::snapshot_response::Progress;
use crate::types::{NodeId, Snapshot, Vote};
use crate::worker;

/// Without progress for so long, a transfer is given up.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes in one message.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes that one visit to the disk reads.
const READ_BYTES: usize = 16 * CHUNK_BYTES;
/// Messages that wait for the transport.
const QUEUE_MESSAGES: usize = 2;

/// Why a base file was not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum TransferError {
    /// The peer could not be reached, or broke off.
    #[error(transparent)]
    Call(#[from] PeerCallError),
    /// It did not get on.
    #[error("{address} made no progress for {} s", STALL_TIMEOUT.as_secs())]
    Stalled { address: String },
    /// The peer does not want it.
    #[error("{address} refused the base file: {why}")]
    Refused { address: String, why: String },
    /// The file here can't be read.
    #[error("the base file can't be read")]
    Read(#[source] std::io::Error),
}

/// A name for exactly these bytes: what it holds, its length, and who wrote it.
pub(super) fn name(snapshot: &Snapshot, node: NodeId) -> String {
    let bytes = snapshot.snapshot.bytes;
    match &snapshot.meta.last_log_id {
        Some(id) => {
            let leader = id.committed_leader_id();
            format!("base-{}-{}-{}-{bytes}-from-{node}", leader.term, leader.node_id, id.index)
        }
        None => format!("base-empty-{bytes}-from-{node}"),
    }
}

/// Sends a base file until the peer has installed it. Returns the peer's vote.
pub(super) async fn send(
    peers: &Peers,
    target: NodeId,
    address: &str,
    vote: &Vote,
    snapshot: &Snapshot,
    file_id: String,
) -> Result<Vote, TransferError> {
    let bytes_total = snapshot.snapshot.bytes;
    let (disk, path) = (peers.disk().clone(), snapshot.snapshot.path.clone());
    let opened = worker::run("base-open", move || disk.open(&path)).await;
    let file = opened.and_then(|file| file).map_err(TransferError::Read)?;

    let (requests, body) = mpsc::channel(QUEUE_MESSAGES);
    let begin = snapshot_begin_to_pb(vote, &snapshot.meta, file_id, bytes_total);
    // The queue is empty and open: there is room.
    let _ = requests.try_send(step(Step::Begin(begin)));
    let mut client = peers.raft_client(address, Lane::Bulk)?;
    let call = client.snapshot(peers.addressed(ReceiverStream::new(body), target));
    let answers = within(STALL_TIMEOUT, address, call).await?;
    let address = address.to_owned();
    Sending { address, file, bytes_total, requests: Some(requests), answers }.run().await
}

fn step(step: Step) -> pb::SnapshotRequest {
    pb::SnapshotRequest { step: Some(step) }
}

struct Sending {
    address: String,
    file: Arc<dyn DiskFile>,
    bytes_total: u64,
    /// `None` once the end was sent.
    requests: Option<mpsc::Sender<pb::SnapshotRequest>>,
    answers: Streaming<pb::SnapshotResponse>,
}

enum Event {
    Answer(Option<Progress>),
    Room,
    Stalled,
}

impl Sending {
    async fn run(mut self) -> Result<Vote, TransferError> {
        let mut offset = None;
        let mut received = 0;
        let mut buffer = Bytes::new();
        let mut stalled_at = Instant::now() + STALL_TIMEOUT;
        loop {
            match self.next_event(offset.is_some(), stalled_at).await? {
                Event::Stalled => return Err(TransferError::Stalled { address: self.address }),
                Event::Answer(Some(Progress::Done(vote))) => {
                    return vote_from_pb(Some(vote)).map_err(|b| self.broken(&b.to_string()));
                }
                Event::Answer(Some(Progress::Refused(why))) => {
                    return Err(TransferError::Refused { address: self.address, why });
                }
                Event::Answer(Some(Progress::Installing(_))) => {
                    stalled_at = Instant::now() + STALL_TIMEOUT;
                }
                Event::Answer(Some(Progress::ReceivedBytes(now))) => {
                    if now > received || offset.is_none() {
                        stalled_at = Instant::now() + STALL_TIMEOUT;
                    }
                    received = now;
                    offset.get_or_insert(now.min(self.bytes_total));
                }
                Event::Answer(None) => return Err(self.broken("it says nothing of its progress")),
                Event::Room => {
                    let at = offset.unwrap_or_default();
                    if buffer.is_empty() && at < self.bytes_total {
                        buffer = self.read(at).await?;
                    }
                    offset = Some(at + self.send_chunk(at, &mut buffer));
                }
            }
        }
    }

    /// Waits for an answer, for room to send once the peer has said where from, or for too long.
    async fn next_event(
        &mut self,
        started: bool,
        stalled_at: Instant,
    ) -> Result<Event, TransferError> {
        let room = async {
            match &self.requests {
                // A closed queue has its reason in the answers.
                Some(requests) if started => match requests.reserve().await {
                    Ok(_permit) => {}
                    Err(_) => std::future::pending().await,
                },
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = self.answers.message() => match answer {
                Ok(Some(answer)) => Ok(Event::Answer(answer.progress)),
                Ok(None) => Err(PeerCallError::Unreachable {
                    address: self.address.clone(),
                    why: "it ended the transfer".to_owned(),
                }.into()),
                Err(status) => Err(PeerCallError::from_status(&self.address, &status).into()),
            },
            () = room => Ok(Event::Room),
            () = sleep_until(stalled_at) => Ok(Event::Stalled),
        }
    }

    /// Sends what the buffer holds, at most a chunk, or the end. Returns the bytes sent.
    fn send_chunk(&mut self, offset: u64, buffer: &mut Bytes) -> u64 {
        let Some(requests) = &self.requests else { return 0 };
        if offset >= self.bytes_total {
            // This stream is the only sender, and there was room.
            let _ = requests.try_send(step(Step::End(pb::SnapshotEnd {})));
            self.requests = None;
            return 0;
        }
        let data = buffer.split_to(buffer.len().min(CHUNK_BYTES));
        let bytes = data.len() as u64;
        let _ = requests.try_send(step(Step::Chunk(pb::SnapshotChunk { offset, data })));
        bytes
    }

    async fn read(&self, offset: u64) -> Result<Bytes, TransferError> {
        let file = self.file.clone();
        let left = usize::try_from(self.bytes_total - offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(READ_BYTES)];
        let read = worker::run("base-read", move || {
            file.read_exact_at(&mut bytes, offset).map(|()| Bytes::from(bytes))
        });
        read.await.and_then(|bytes| bytes).map_err(TransferError::Read)
    }

    fn broken(&self, why: &str) -> TransferError {
        let (address, why) = (self.address.clone(), why.to_owned());
        PeerCallError::Broken { address, why }.into()
    }
}
