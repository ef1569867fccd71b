//! Base files on their way.

use openraft::errors::{ReplicationClosed, StreamingError};
use openraft::raft::SnapshotResponse;
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::peer::connect::Lane;
use crate::peer::convert::snapshot_begin_to_pb;
use crate::peer::pb::snapshot_request::Step;
use crate::peer::pb::snapshot_response::Progress;
use crate::peer::{pb, transfer};
use crate::types::{Snapshot, StoredMembership};

const FILE_BYTES: usize = 9 * 1024 * 1024 + 17;

/// A base file on a disk, and a snapshot that names it.
fn base(disk: &MemDisk) -> (Snapshot, Vec<u8>) {
    let path = PathBuf::from("/sender/base-41");
    disk.create_dir_all(Path::new("/sender")).unwrap();
    let content: Vec<u8> = (0..FILE_BYTES).map(|i| (i * 31 % 251) as u8).collect();
    disk.create_new(&path).unwrap().write_at(&content, 0).unwrap();
    let last_log_id = Some(log_id(3, CLIENT, 41));
    let last_membership = StoredMembership::new(Some(log_id(1, 1, 7)), membership());
    let meta = SnapshotMeta { last_log_id, last_membership };
    (Snapshot { meta, snapshot: SnapshotFile { path, bytes: FILE_BYTES as u64 } }, content)
}

async fn send(
    served: &Served,
    disk: &MemDisk,
    snapshot: &Snapshot,
) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
    let mut network = peers_of(CLUSTER, disk).new_snapshot_client(SERVER, &served.member()).await;
    let snapshot = Snapshot { meta: snapshot.meta.clone(), snapshot: snapshot.snapshot.clone() };
    let cancel = std::future::pending::<ReplicationClosed>();
    let sent = network.full_snapshot(leader_vote(), snapshot, cancel, option());
    timeout(PATIENCE, sent).await.expect("a transfer must end")
}

fn part(snapshot: &Snapshot) -> PathBuf {
    incoming().join(format!("{}.part", transfer::name(snapshot, CLIENT)))
}

#[tokio::test]
async fn a_file_arrives_whole_is_verified_installed_and_cleaned_up() {
    let served = Served::running(0).await;
    let disk = MemDisk::new();
    let (snapshot, content) = base(&disk);
    let rubbish = incoming().join("of-another-transfer.part");
    served.handler.disk.create_new(&rubbish).unwrap();
    let response = send(&served, &disk, &snapshot).await.unwrap();
    assert_eq!(response.vote, leader_vote());
    let installed = served.raft.installed.lock();
    let (meta, received) = installed.first().unwrap();
    assert_eq!(*meta, snapshot.meta);
    assert!(*received == content, "the file must arrive as it was sent");
    assert!(served.handler.disk.list(&incoming()).unwrap().is_empty());
}

/// What is there already is not sent again. The part that is there differs from the sender's, so
/// the installed file shows where each byte came from.
#[tokio::test]
async fn a_transfer_goes_on_where_it_broke_off() {
    const THERE: usize = 5 * 1024 * 1024 + 3;
    let served = Served::running(0).await;
    let disk = MemDisk::new();
    let (snapshot, content) = base(&disk);
    let file = served.handler.disk.create_new(&part(&snapshot)).unwrap();
    file.write_at(&vec![0xEE; THERE], 0).unwrap();
    send(&served, &disk, &snapshot).await.unwrap();
    let installed = served.raft.installed.lock();
    let received = &installed.first().unwrap().1;
    assert_eq!(received.len(), FILE_BYTES);
    assert!(received[..THERE].iter().all(|byte| *byte == 0xEE), "sent again from the start");
    assert!(received[THERE..] == content[THERE..], "the rest must be the sender's");
}

/// A sender dies in the middle; its successor is told how far it got.
#[tokio::test]
async fn what_a_broken_transfer_has_written_stays() {
    let served = Served::running(0).await;
    let peers = peers();
    let disk = MemDisk::new();
    let (snapshot, content) = base(&disk);
    let mut client = peers.raft_client(&served.address, Lane::Bulk).unwrap();
    let (sender, body) = mpsc::channel(16);
    let name = transfer::name(&snapshot, CLIENT);
    let begin = snapshot_begin_to_pb(&leader_vote(), &snapshot.meta, name, FILE_BYTES as u64);
    let step = |step| pb::SnapshotRequest { step: Some(step) };
    sender.send(step(Step::Begin(begin))).await.unwrap();
    let chunk_bytes = 1024 * 1024;
    for (place, chunk) in content.chunks(chunk_bytes).take(4).enumerate() {
        let (offset, data) = ((place * chunk_bytes) as u64, Bytes::copy_from_slice(chunk));
        sender.send(step(Step::Chunk(pb::SnapshotChunk { offset, data }))).await.unwrap();
    }
    let request = peers.addressed(ReceiverStream::new(body), SERVER);
    let mut answers = client.snapshot(request).await.unwrap().into_inner();
    let mut heard = Vec::new();
    while heard.last() != Some(&(4 * chunk_bytes as u64)) {
        let answer = timeout(PATIENCE, answers.message()).await.unwrap().unwrap().unwrap();
        let Some(Progress::ReceivedBytes(bytes)) = answer.progress else { panic!("{answer:?}") };
        heard.push(bytes);
    }
    assert_eq!(heard.first(), Some(&0));
    drop((sender, answers));
    // The slot is free as soon as the receiver has noticed; until then it says that it is taken.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = send(&served, &disk, &snapshot).await {
        assert!(error.to_string().contains("another base file is arriving"), "{error}");
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert!(served.raft.installed.lock().first().unwrap().1 == content);
}

#[tokio::test]
async fn a_file_that_fails_its_verification_is_thrown_away_and_never_installed() {
    let served = Served::running(0).await;
    let disk = MemDisk::new();
    let (snapshot, content) = base(&disk);
    *served.handler.verdict.lock() = Err("the digest differs".to_owned());
    let error = send(&served, &disk, &snapshot).await.unwrap_err();
    assert!(matches!(error, StreamingError::Unreachable(_)), "openraft must back off");
    assert!(error.to_string().contains("the digest differs"), "{error}");
    assert!(served.raft.installed.lock().is_empty());
    assert!(served.handler.disk.list(&incoming()).unwrap().is_empty());
    // So the next one starts over.
    *served.handler.verdict.lock() = Ok(());
    send(&served, &disk, &snapshot).await.unwrap();
    assert!(served.raft.installed.lock().first().unwrap().1 == content);
}

#[tokio::test]
async fn a_chunk_out_of_place_breaks_the_transfer() {
    let served = Served::running(0).await;
    let peers = peers();
    let (snapshot, _) = base(&MemDisk::new());
    let mut client = peers.raft_client(&served.address, Lane::Bulk).unwrap();
    let begin = |name: &str| {
        let begin = snapshot_begin_to_pb(&leader_vote(), &snapshot.meta, name.to_owned(), 100);
        pb::SnapshotRequest { step: Some(Step::Begin(begin)) }
    };
    let chunk = |offset, bytes: usize| pb::SnapshotRequest {
        step: Some(Step::Chunk(pb::SnapshotChunk { offset, data: Bytes::from(vec![1; bytes]) })),
    };
    let end = || pb::SnapshotRequest { step: Some(Step::End(pb::SnapshotEnd {})) };
    let cases = [
        (vec![begin("a"), chunk(0, 10), chunk(20, 10)], "does not follow"),
        (vec![begin("b"), chunk(0, 101)], "more bytes than were announced"),
        (vec![begin("c"), chunk(0, 10), end()], "before all bytes"),
        (vec![begin("../d"), chunk(0, 10)], "no valid name"),
        (vec![chunk(0, 10)], "without a beginning"),
    ];
    for (messages, words) in cases {
        let deadline = Instant::now() + PATIENCE;
        let error = loop {
            let body = futures::stream::iter(messages.clone());
            let answers = client.snapshot(peers.addressed(body, SERVER)).await;
            let error = match answers {
                Ok(answers) => last_error(answers.into_inner()).await,
                Err(status) => status,
            };
            // The transfer before this one may still be on its way out.
            if !error.message().contains("another base file") {
                break error;
            }
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        };
        assert!(error.message().contains(words), "{words}: {error}");
    }
    assert!(served.raft.installed.lock().is_empty());
}

async fn last_error(mut answers: tonic::Streaming<pb::SnapshotResponse>) -> tonic::Status {
    loop {
        match timeout(PATIENCE, answers.message()).await.unwrap() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the transfer ended in peace"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn a_cancelled_transfer_ends_at_once() {
    let served = Served::running(0).await;
    let disk = MemDisk::new();
    let (snapshot, _) = base(&disk);
    let mut network = peers_of(CLUSTER, &disk).new_snapshot_client(SERVER, &served.member()).await;
    let cancel = std::future::ready(ReplicationClosed::new("the leader was deposed"));
    let sent = network.full_snapshot(leader_vote(), snapshot, cancel, option()).await;
    assert!(matches!(sent, Err(StreamingError::Closed(_))));
}
