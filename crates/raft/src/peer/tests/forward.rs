//! Forwarded commands: exactly what is certain about each is said.

use jeton_core::reply::{Done, Reply};

use super::*;
use crate::peer::handler::{ForwardAnswers, ForwardOutcome, PeerLinks};
use crate::peer::{ForwardLink, LinkBroken};

#[derive(Debug)]
enum Heard {
    Reply(u64, ForwardOutcome),
    Broken(bool),
}

struct Ear(mpsc::UnboundedSender<Heard>);

impl ForwardAnswers for Ear {
    fn reply(&self, tag: u64, outcome: ForwardOutcome) {
        let _ = self.0.send(Heard::Reply(tag, outcome));
    }

    fn broken(&self, sent_anything: bool) {
        let _ = self.0.send(Heard::Broken(sent_anything));
    }
}

fn link(peers: &Peers, member: &Member) -> (ForwardLink, mpsc::UnboundedReceiver<Heard>) {
    let (sender, heard) = mpsc::unbounded_channel();
    (peers.forward(SERVER, member, Arc::new(Ear(sender))), heard)
}

async fn hear(heard: &mut mpsc::UnboundedReceiver<Heard>) -> Option<Heard> {
    timeout(PATIENCE, heard.recv()).await.unwrap()
}

fn command(tag: u64, bytes: usize) -> Forwarded {
    let command = Bytes::from(vec![tag as u8; bytes]);
    // Long enough not to be eaten up on the way.
    Forwarded { tag, command, timeout_ms: (tag + 1) * 60_000, held_ms: 0 }
}

#[tokio::test]
async fn commands_arrive_in_order_and_every_kind_of_outcome_comes_back() {
    let mut served = Served::running(0).await;
    let (link, mut heard) = link(&peers(), &served.member());
    link.send(vec![command(1, 10), command(2, 10)]).await.unwrap();
    link.send((3..=6).map(|tag| command(tag, 10)).collect()).await.unwrap();

    let mut arrived = Vec::new();
    let mut replies = None;
    while arrived.len() < 6 {
        let (from, commands, to) = served.next_batch().await;
        assert_eq!(from, CLIENT);
        arrived.extend(commands);
        replies = Some(to);
    }
    let seen: Vec<_> = arrived
        .iter()
        .map(|c| (c.tag, (c.timeout_ms + c.held_ms) / 60_000, c.command.len()))
        .collect();
    assert_eq!(seen, (1..=6).map(|tag| (tag, tag + 1, 10)).collect::<Vec<_>>());

    let replies = replies.unwrap();
    let outcome = Ok(Done::Digest(StateDigest(42)));
    let digest = Reply { position: Position(9), at: UnixMs(7), outcome };
    replies.reply(6, ForwardOutcome::Replied(Box::new(digest.clone())));
    replies.reply(2, ForwardOutcome::NotProposed);
    replies.reply(3, ForwardOutcome::Unknown);
    replies.reply(4, ForwardOutcome::Overloaded { retry_after_ms: 9 });
    replies.reply(5, ForwardOutcome::DeadlineExceeded { sent: true });
    replies.reply(1, ForwardOutcome::Rejected("too large".into()));
    for _ in 0..6 {
        match hear(&mut heard).await.unwrap() {
            Heard::Reply(6, ForwardOutcome::Replied(reply)) => assert_eq!(*reply, digest),
            Heard::Reply(2, ForwardOutcome::NotProposed)
            | Heard::Reply(3, ForwardOutcome::Unknown)
            | Heard::Reply(4, ForwardOutcome::Overloaded { retry_after_ms: 9 })
            | Heard::Reply(5, ForwardOutcome::DeadlineExceeded { sent: true }) => {}
            Heard::Reply(1, ForwardOutcome::Rejected(why)) => assert_eq!(&*why, "too large"),
            other => panic!("{other:?}"),
        }
    }
    // Closed in peace: the end is still told, once.
    drop(link);
    assert!(matches!(hear(&mut heard).await, Some(Heard::Broken(true))));
    assert!(hear(&mut heard).await.is_none());
}

#[tokio::test]
async fn a_closed_link_is_still_answered() {
    let mut served = Served::running(0).await;
    let (link, mut heard) = link(&peers(), &served.member());
    link.send(vec![command(1, 10)]).await.unwrap();
    let (_, _, replies) = served.next_batch().await;
    drop(link);
    replies.reply(1, ForwardOutcome::NotProposed);
    assert!(matches!(hear(&mut heard).await, Some(Heard::Reply(1, ForwardOutcome::NotProposed))));
    assert!(matches!(hear(&mut heard).await, Some(Heard::Broken(true))));
}

/// The leader goes down with commands unanswered: they are unknown, and nothing follows.
#[tokio::test]
async fn a_broken_stream_is_told_once_and_takes_nothing_any_more() {
    let mut served = Served::running(0).await;
    let (link, mut heard) = link(&peers(), &served.member());
    link.send(vec![command(1, 10), command(2, 10)]).await.unwrap();
    let (_, _, replies) = served.next_batch().await;
    replies.reply(1, ForwardOutcome::NotProposed);
    assert!(matches!(hear(&mut heard).await, Some(Heard::Reply(1, _))));
    served.stop().await;
    assert!(matches!(hear(&mut heard).await, Some(Heard::Broken(true))));
    assert_eq!(link.send(vec![command(3, 10)]).await, Err(LinkBroken));
    // An answer that comes too late goes nowhere.
    replies.reply(2, ForwardOutcome::NotProposed);
    drop(link);
    assert!(hear(&mut heard).await.is_none(), "nothing is told after broken");
}

/// Nobody listens: then no byte has left, and all is certain not to happen.
#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let mut served = Served::running(0).await;
    served.stop().await;
    let (link, mut heard) = link(&peers(), &served.member());
    // Taken or not: it is not under way.
    let _ = link.send(vec![command(1, 10)]).await;
    assert!(matches!(hear(&mut heard).await, Some(Heard::Broken(false))));
    assert_eq!(link.send(vec![command(2, 10)]).await, Err(LinkBroken));
}

/// The leader answers nothing: what it has accepted is bounded, and the sender waits.
#[tokio::test]
async fn bytes_under_way_are_bounded() {
    const COMMAND_BYTES: usize = 1024 * 1024;
    let mut served = Served::running(0).await;
    let (link, _heard) = link(&peers(), &served.member());
    let mut sent = 0_u64;
    // A wait shows only by its length; the bound is what is asserted.
    while let Ok(result) =
        timeout(Duration::from_secs(2), link.send(vec![command(sent, COMMAND_BYTES)])).await
    {
        result.unwrap();
        sent += 1;
        assert!(sent < 40, "forty megabytes are under way and nobody has answered");
    }
    let mut accepted = 0;
    let mut replies = None;
    while let Ok((_, commands, to)) = served.batches.try_recv() {
        accepted += commands.len();
        replies = Some(to);
    }
    assert!(accepted <= 9, "the leader holds {accepted} megabytes of unanswered commands");
    // Each answer makes room again.
    let replies = replies.unwrap();
    (0..accepted as u64).for_each(|tag| replies.reply(tag, ForwardOutcome::NotProposed));
    timeout(PATIENCE, link.send(vec![command(sent, COMMAND_BYTES)])).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_tag_that_is_in_use_breaks_the_stream() {
    let mut served = Served::running(0).await;
    let (link, mut heard) = link(&peers(), &served.member());
    link.send(vec![command(1, 10)]).await.unwrap();
    link.send(vec![command(1, 10)]).await.unwrap();
    assert!(matches!(hear(&mut heard).await, Some(Heard::Broken(true))));
    let (_, commands, _) = served.next_batch().await;
    assert_eq!(commands.len(), 1);
    assert!(served.batches.try_recv().is_err(), "the second one must not arrive");
}
