//! Every call reaches only the node that it was meant for.

use openraft::{RaftNetworkFactory, RaftNetworkV2};

use super::*;
use crate::peer::connect::PeerCallError;
use crate::peer::forward::LinkBroken;
use crate::peer::handler::{CallError, ForwardAnswers, ForwardOutcome, PeerLinks};

/// Calls everything, and returns what each call was told.
async fn call_everything(peers: &Peers, target: NodeId, member: &Member) -> Vec<(String, String)> {
    let mut told = Vec::new();
    let mut tell = |call: &str, error: String| told.push((call.to_owned(), error));
    let mut network = peers.clone().new_client(target, member).await;
    let vote = VoteRequest::new(Vote::new(9, CLIENT), None);
    tell("vote", network.vote(vote.clone(), option()).await.unwrap_err().to_string());
    tell("pre-vote", network.pre_vote(vote, option()).await.unwrap_err().to_string());
    let beat = network.append_entries(append(0, 1), option()).await;
    tell("heartbeat", beat.unwrap_err().to_string());
    let pipeline = network.stream_append(futures::stream::iter([append(0, 1)]), option()).await;
    tell("append", pipeline.err().unwrap().to_string());
    let transfer = TransferLeaderRequest::new(leader_vote(), target, None);
    tell("transfer", network.transfer_leader(transfer, option()).await.unwrap_err().to_string());
    let deadline = Instant::now() + PATIENCE;
    let index = peers.read_index(target, member, deadline).await;
    tell("read index", index.unwrap_err().to_string());
    let report = peers.report(target, member, report(5)).await;
    tell("report", report.unwrap_err().to_string());
    told
}

fn report(wall: u64) -> ClockReport {
    let digests = vec![(Position(8), StateDigest(9))];
    ClockReport { node: CLIENT, wall: UnixMs(wall), applied: 6, digests }
}

struct Silent(mpsc::UnboundedSender<bool>);

impl ForwardAnswers for Silent {
    fn reply(&self, tag: u64, outcome: ForwardOutcome) {
        panic!("command {tag} was answered: {outcome:?}");
    }

    fn broken(&self, sent_anything: bool) {
        self.0.send(sent_anything).unwrap();
    }
}

#[tokio::test]
async fn another_cluster_is_refused_by_every_call_in_words() {
    let mut served = Served::running(0).await;
    let stranger = peers_of(ClusterId([8; 16]), &MemDisk::new());
    for (call, error) in call_everything(&stranger, SERVER, &served.member()).await {
        assert!(error.contains("this node belongs to cluster 0707"), "{call}: {error}");
        assert!(error.contains("two clusters are mixed up"), "{call}: {error}");
    }
    let (sender, mut broken) = mpsc::unbounded_channel();
    let link = stranger.forward(SERVER, &served.member(), Arc::new(Silent(sender)));
    timeout(PATIENCE, broken.recv()).await.unwrap().unwrap();
    assert_eq!(link.send(vec![]).await, Err(LinkBroken));
    assert!(served.batches.try_recv().is_err(), "nothing of it reached the node");
    assert!(served.raft.appended.borrow().is_empty());
}

#[tokio::test]
async fn a_call_that_was_meant_for_another_node_is_refused() {
    let served = Served::running(0).await;
    for (call, error) in call_everything(&peers(), 3, &served.member()).await {
        assert!(error.contains("this is node 2, the call was meant for node 3"), "{call}: {error}");
    }
}

#[tokio::test]
async fn a_node_that_does_not_run_yet_says_so_and_answers_later() {
    let served = Served::starting(0).await;
    for (call, error) in call_everything(&peers(), SERVER, &served.member()).await {
        assert!(error.contains("the node is starting"), "{call}: {error}");
    }
    served.server.run(Running::with_raft(served.handler.clone(), served.raft.clone()));
    let deadline = Instant::now() + PATIENCE;
    peers().read_index(SERVER, &served.member(), deadline).await.unwrap();
}

#[tokio::test]
async fn read_index_and_reports_come_back_as_they_were_answered() {
    let served = Served::running(0).await;
    let (peers, member) = (peers(), served.member());
    let deadline = Instant::now() + PATIENCE;
    let confirmed = peers.read_index(SERVER, &member, deadline).await.unwrap();
    assert_eq!((confirmed.index, confirmed.stamp), (77, UnixMs(1234)));

    let verdict = peers.report(SERVER, &member, report(5)).await.unwrap();
    assert_eq!(verdict.median, Some(UnixMs(5)));
    // The node's number is the connection's, not what the report claims.
    let agreed =
        vec![(Position(8), StateDigest(9)), (Position(6), StateDigest(u128::from(CLIENT)))];
    assert_eq!(verdict.agreed, agreed);

    let error = peers.report(SERVER, &member, report(0)).await.unwrap_err();
    let CallError::NotLeader(not) = error else { panic!("{error:?}") };
    let (id, leader) = not.leader.unwrap();
    assert_eq!(
        (id, leader.peer_addr.as_str(), leader.client_addr.as_str()),
        (3, "third:1", "third:2")
    );
}

#[tokio::test]
async fn an_address_that_can_not_exist_is_named() {
    let door = crate::peer::DoorCalls::new(Arc::new(TcpConnector));
    let error = door.probe("no address", PATIENCE).await.unwrap_err();
    assert!(matches!(&error, PeerCallError::Address { address } if address == "no address"));
}
