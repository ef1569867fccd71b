//! Log and state are those that the node has kept all along, or the node does not go on.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use jeton_core::ids::ClusterId;
use jeton_storage::data_dir::{DataDir, Expect, Incarnation};
use jeton_storage::disk::{Disk, Loss, MemDisk};
use jeton_storage::log::{LogError, LogOptions, RaftLog};
use jeton_storage::ownership::{OwnershipError, Parts};

const CLUSTER: ClusterId = ClusterId([7; 16]);

fn dir() -> &'static Path {
    Path::new("/srv/jeton")
}

fn log_dir() -> PathBuf {
    dir().join("log")
}

fn state_dir() -> PathBuf {
    dir().join("state")
}

/// A node, as far as it is about what belongs to it.
struct Node {
    data: DataDir,
    log: RaftLog,
}

impl Node {
    /// What a start does before consensus: stamp, open, check, claim. `holds`: the state has rows.
    fn start(disk: &MemDisk, fresh: u8, holds: bool) -> Result<Self, OwnershipError> {
        let shared = || -> Arc<dyn Disk> { Arc::new(disk.clone()) };
        let data = DataDir::open(shared(), dir(), Expect::default())?;
        data.stamp(CLUSTER, 3)?;
        let (log_dir, state_dir) = (log_dir(), state_dir());
        let parts = Parts { dir: &data, log: &log_dir, state: &state_dir };
        parts.check_log_exists()?;
        let source =
            |source| OwnershipError::Io { what: "create", path: state_dir.clone(), source };
        disk.create_dir_all(&state_dir).map_err(source)?;
        let options = LogOptions { segment_bytes: 4096, inline: true, ..LogOptions::default() };
        let (log, _) = RaftLog::open(shared(), &log_dir, options)?;
        parts.check(&log, holds)?;
        parts.claim(&log, Incarnation([fresh; 16]))?;
        Ok(Self { data, log })
    }

    fn vote(&self, term: u8) -> Result<(), LogError> {
        let (sender, receiver) = mpsc::channel();
        let vote = Bytes::copy_from_slice(&[term]);
        self.log.save_vote(vote, Box::new(move |saved| sender.send(saved).unwrap()));
        receiver.recv().unwrap()
    }

    fn term(&self) -> Option<u8> {
        self.log.state().vote.map(|vote| vote[0])
    }
}

/// A node that has voted in term 1, stopped.
fn voted() -> MemDisk {
    let disk = MemDisk::new();
    Node::start(&disk, 1, false).unwrap().vote(1).unwrap();
    disk
}

fn remove(disk: &MemDisk, part: &Path) {
    disk.remove_dir_all(part).unwrap();
}

fn refused(disk: &MemDisk, holds: bool) -> OwnershipError {
    match Node::start(disk, 9, holds) {
        Ok(node) => panic!("it goes on, at term {:?}", node.term()),
        Err(error) => error,
    }
}

#[test]
fn a_node_goes_on_with_its_own() {
    let disk = voted();
    for holds in [false, true] {
        let node = Node::start(&disk, 2, holds).unwrap();
        assert_eq!(node.term(), Some(1));
        assert_eq!(node.data.stamped().unwrap().incarnation, Some(Incarnation([1; 16])));
    }
}

#[test]
fn a_log_that_was_lost_is_told_from_one_that_is_new() {
    let disk = voted();
    remove(&disk, &log_dir());
    remove(&disk, &state_dir());
    let before = disk.list(dir()).unwrap();
    let error = refused(&disk, false);
    assert!(matches!(error, OwnershipError::LogLost { node: 3, cluster: CLUSTER, .. }), "{error}");
    let words = error.to_string();
    for word in ["/srv/jeton/log", "cluster remove 3", "empty /srv/jeton", "cluster add"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    assert_eq!(disk.list(dir()).unwrap(), before, "a refused start makes nothing");
    assert!(matches!(refused(&disk, false), OwnershipError::LogLost { .. }), "again");
}

#[test]
fn a_log_without_its_files_or_its_records_was_lost_too() {
    let disk = voted();
    let segment = log_dir().join("log-0000000000000001");
    let whole = disk.content(&segment).unwrap();
    // All bytes behind the header are zeros: that is what an unused segment looks like.
    disk.damage(&segment, |bytes| bytes[64..].fill(0));
    assert!(matches!(refused(&disk, false), OwnershipError::LogLost { .. }));
    disk.damage(&segment, |bytes| bytes.clone_from(&whole));
    assert_eq!(Node::start(&disk, 2, false).unwrap().term(), Some(1));
    for name in disk.list(&log_dir()).unwrap() {
        disk.remove(&log_dir().join(name)).unwrap();
    }
    assert!(matches!(refused(&disk, false), OwnershipError::LogLost { .. }));
}

#[test]
fn a_state_that_was_lost_is_made_again_from_the_log() {
    let disk = voted();
    remove(&disk, &state_dir());
    Node::start(&disk, 2, false).unwrap();
    Node::start(&disk, 2, true).unwrap();
}

/// Of the same stamp, but from another life of it, or of another node.
#[test]
fn parts_of_another_directory_are_refused() {
    let other = MemDisk::new();
    Node::start(&other, 8, false).unwrap().vote(5).unwrap();
    for (part, name) in [(log_dir(), "log-0000000000000001"), (state_dir(), "OWNER")] {
        let disk = voted();
        let foreign = other.content(&part.join(name)).unwrap();
        disk.damage(&part.join(name), |bytes| bytes.clone_from(&foreign));
        let error = refused(&disk, true);
        assert!(
            matches!(&error, OwnershipError::Exchanged { part: p, .. } if *p == part),
            "{error}"
        );
        assert!(error.to_string().contains("cluster remove 3"), "{error}");
    }
    // Rows that nobody has marked.
    let disk = voted();
    disk.remove(&state_dir().join("OWNER")).unwrap();
    assert!(matches!(refused(&disk, true), OwnershipError::Exchanged { .. }));
}

#[test]
fn a_stamp_from_before_the_first_vote_does_not_make_a_used_log_new() {
    let disk = MemDisk::new();
    let data = DataDir::open(Arc::new(disk.clone()), dir(), Expect::default()).unwrap();
    data.stamp(CLUSTER, 3).unwrap();
    drop(data);
    let before = disk.content(&dir().join("STAMP")).unwrap();
    Node::start(&disk, 1, false).unwrap().vote(1).unwrap();
    disk.damage(&dir().join("STAMP"), |bytes| bytes.clone_from(&before));
    let error = refused(&disk, false);
    assert!(matches!(error, OwnershipError::OldStamp { .. }), "{error}");
}

#[test]
fn every_segment_bears_the_owner() {
    let disk = voted();
    let node = Node::start(&disk, 2, false).unwrap();
    for index in 0..8 {
        let (sender, receiver) = mpsc::channel();
        let entry = vec![Bytes::from(vec![1; 2000])];
        node.log.append(index, entry, Box::new(move |saved| sender.send(saved).unwrap()));
        receiver.recv().unwrap().unwrap();
    }
    let (sender, receiver) = mpsc::channel();
    let log_id = Bytes::from_static(b"id");
    node.log.purge(6, log_id, Box::new(move |saved| sender.send(saved).unwrap()));
    receiver.recv().unwrap().unwrap();
    drop(node);
    assert!(!disk.exists(&log_dir().join("log-0000000000000001")).unwrap(), "it was purged");
    assert_eq!(Node::start(&disk, 3, true).unwrap().term(), Some(1));
}

/// The power fails at every call to the disk. The node is never bricked as long as its parts are
/// there, its vote is kept once it was given, and a log that is taken away then is always missed.
#[test]
fn power_cut_at_every_call_bricks_nothing_and_forgets_no_vote() {
    let losses = [Loss::Nothing, Loss::Unsynced];
    for loss in losses.into_iter().chain((0..6).map(Loss::Some)) {
        let mut calls = 0;
        loop {
            let disk = MemDisk::new();
            disk.stop_after(calls);
            let voted = Node::start(&disk, 1, false).is_ok_and(|node| node.vote(1).is_ok());
            let stopped = disk.stopped();
            disk.crash(loss);
            let told = |error| panic!("{loss:?} at call {calls}: {error}");
            let node = Node::start(&disk, 2, false).unwrap_or_else(told);
            assert!(!voted || node.term() == Some(1), "{loss:?} at call {calls}: it forgot");
            node.vote(2).unwrap();
            drop(node);
            disk.crash(loss);
            remove(&disk, &log_dir());
            remove(&disk, &state_dir());
            assert!(matches!(refused(&disk, false), OwnershipError::LogLost { .. }));
            if !stopped {
                break;
            }
            calls += 1;
        }
        assert!(calls > 20, "only {calls} calls");
    }
}
