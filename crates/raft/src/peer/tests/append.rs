//! The append pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use openraft::errors::RPCError;
use openraft::raft::AppendEntriesRequest;
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::peer::connect::Lane;
use crate::peer::convert::append_to_pb;
use crate::peer::network::PeerNetwork;
use crate::peer::{MESSAGE_BYTES_MAX, pb};

async fn network(served: &Served) -> PeerNetwork {
    peers().new_client(SERVER, &served.member()).await
}

fn words(error: &RPCError<TypeConfig>) -> String {
    assert!(matches!(error, RPCError::Unreachable(_)), "openraft must back off: {error:?}");
    error.to_string()
}

/// The server answers nothing until it has seen eight requests: so eight must be under way.
#[tokio::test]
async fn requests_are_pipelined_and_answered_in_order() {
    let served = Served::running(8).await;
    let mut network = network(&served).await;
    let input = futures::stream::iter((0..8).map(|index| append(index, 100)));
    let answers = network.stream_append(input, option()).await.unwrap();
    let answers: Vec<_> = timeout(PATIENCE, answers.collect()).await.unwrap();
    let matched: Vec<_> = answers.into_iter().map(|a| a.unwrap().unwrap().unwrap().index).collect();
    assert_eq!(matched, (0..8).collect::<Vec<_>>());
    assert_eq!(*served.raft.appended.borrow(), (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_entry_above_the_usual_limit_of_4_mib_passes_unchanged() {
    let served = Served::running(0).await;
    let mut network = network(&served).await;
    let input = futures::stream::iter([append(0, 5 * 1024 * 1024)]);
    let mut answers = network.stream_append(input, option()).await.unwrap();
    let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap();
    assert_eq!(answer.unwrap().unwrap().unwrap().index, 0);
    assert!(timeout(PATIENCE, answers.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_request_above_our_own_limit_is_refused_in_words_before_it_is_sent() {
    let served = Served::running(0).await;
    let mut network = network(&served).await;
    let input = futures::stream::iter([append(0, 10), append(1, MESSAGE_BYTES_MAX), append(2, 10)]);
    let answers = network.stream_append(input, option()).await.unwrap();
    let answers: Vec<_> = timeout(PATIENCE, answers.collect()).await.unwrap();
    let error = answers.last().unwrap().as_ref().unwrap_err();
    assert!(words(error).contains("the limit is"), "{error}");
    assert!(!served.raft.appended.borrow().contains(&2), "nothing behind it may arrive");
}

/// A session that ended must not take what belongs to the next one.
#[tokio::test]
async fn a_dropped_session_takes_no_further_request() {
    let served = Served::running(usize::MAX).await;
    let mut network = network(&served).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let counted = taken.clone();
    let input = receiver.inspect(move |_: &AppendEntriesRequest<TypeConfig>| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    sender.unbounded_send(append(0, 10)).unwrap();
    let mut answers = network.stream_append(input, option()).await.unwrap();
    // Polled until the request has arrived; the answer is held.
    let mut appended = served.raft.appended.subscribe();
    tokio::select! {
        biased;
        answer = answers.next() => panic!("answered: {answer:?}"),
        arrived = timeout(PATIENCE, appended.wait_for(|seen| seen.len() == 1)) => {
            arrived.unwrap().unwrap();
        }
    }
    drop(answers);
    assert!(sender.is_closed(), "the session's input must be gone with it");
    assert_eq!(taken.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_broken_message_ends_the_stream_and_nothing_behind_it_arrives() {
    let served = Served::running(0).await;
    let peers = peers();
    let mut client = peers.raft_client(&served.address, Lane::Log).unwrap();
    let mut gap = append_to_pb(&append(1, 10));
    gap.entries[0].log_id.as_mut().unwrap().index = 5;
    let (sender, body) = mpsc::channel::<pb::AppendRequest>(3);
    for message in [append_to_pb(&append(0, 10)), gap, append_to_pb(&append(1, 10))] {
        sender.send(message).await.unwrap();
    }
    let request = peers.addressed(ReceiverStream::new(body), SERVER);
    let mut answers = client.append(request).await.unwrap().into_inner();
    let first = timeout(PATIENCE, answers.message()).await.unwrap().unwrap();
    assert!(first.is_some(), "what came before the broken message is answered");
    let error = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
    assert!(error.message().contains("entry 5 stands where 1 belongs"), "{error}");
    assert_eq!(*served.raft.appended.borrow(), vec![0]);
}

#[tokio::test]
async fn a_peer_that_goes_down_is_unreachable_and_its_server_stops_at_once() {
    let mut served = Served::running(usize::MAX).await;
    let mut network = network(&served).await;
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    sender.unbounded_send(append(0, 10)).unwrap();
    let mut answers = network.stream_append(receiver, option()).await.unwrap();
    let mut appended = served.raft.appended.subscribe();
    tokio::select! {
        biased;
        answer = answers.next() => panic!("answered: {answer:?}"),
        _ = appended.wait_for(|seen| seen.len() == 1) => {}
    }
    // An open pipeline must not keep the server up.
    let ((), answer) = tokio::join!(served.stop(), timeout(PATIENCE, answers.next()));
    words(&answer.unwrap().unwrap().unwrap_err());
    drop(answers);
    let again = network.stream_append(futures::stream::iter([append(0, 10)]), option()).await;
    words(&again.err().expect("nobody listens any more"));
}

/// openraft's backoff delays the first request: as long as it holds it back, nothing is tried.
#[tokio::test]
async fn a_session_connects_only_when_it_has_something_to_send() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let member = Member {
        peer_addr: listener.local_addr().unwrap().to_string(),
        client_addr: String::new(),
    };
    let mut network = peers().new_client(SERVER, &member).await;
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let mut session = network.stream_append(receiver, option());
    assert!(futures::poll!(&mut session).is_pending());
    assert!(futures::poll!(Box::pin(listener.accept())).is_pending());
    sender.unbounded_send(append(0, 10)).unwrap();
    tokio::select! {
        biased;
        _ = &mut session => panic!("nobody answers there"),
        accepted = timeout(PATIENCE, listener.accept()) => drop(accepted.unwrap().unwrap()),
    }
}

#[tokio::test]
async fn a_session_without_requests_ends_in_peace() {
    let served = Served::running(0).await;
    let mut network = network(&served).await;
    let answers = network.stream_append(futures::stream::empty(), option()).await.unwrap();
    assert_eq!(answers.count().await, 0);
}

#[tokio::test]
async fn heartbeats_votes_and_transfers_come_back_as_they_were_answered() {
    let served = Served::running(0).await;
    let mut network = peers().new_heartbeat_client(SERVER, &served.member()).await;
    let beat = AppendEntriesRequest { entries: vec![], ..append(4, 0) };
    let mut answers = network.stream_append(futures::stream::iter([beat]), option()).await.unwrap();
    let matched = answers.next().await.unwrap().unwrap().unwrap();
    assert_eq!(matched, previous(4));
    assert!(answers.next().await.is_none());
    drop(answers);

    let vote = VoteRequest::new(Vote::new(9, CLIENT), previous(4));
    let granted = network.vote(vote.clone(), option()).await.unwrap();
    assert!(
        granted.vote_granted && granted.vote == vote.vote && granted.last_log_id == previous(4)
    );
    let transfer = VoteRequest { leadership_transfer: true, ..vote.clone() };
    assert!(!network.vote(transfer, option()).await.unwrap().vote_granted);
    let pre = network.pre_vote(vote, option()).await.unwrap();
    assert!(!pre.vote_granted && pre.last_log_id.is_none());

    let request = TransferLeaderRequest::new(leader_vote(), SERVER, previous(4));
    let refused = network.transfer_leader(request, option()).await.unwrap().unwrap_err();
    assert!(matches!(
        refused,
        openraft::raft::TransferLeaderError::LogNotFlushed { expected, actual: None }
            if expected == previous(4)
    ));
}
