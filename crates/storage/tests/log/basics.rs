//! What callers see while nothing goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jeton_storage::disk::{Disk, Loss, MemDisk, RealDisk};
use jeton_storage::log::{LogError, LogOptions, RaftLog};

use super::{all, append, entries, entry, open, open_with, segments, small, threaded, wait};

#[test]
fn new_log_is_empty() {
    let (log, report) = open(&MemDisk::new());
    assert_eq!(log.state(), Default::default());
    assert_eq!((report.entries, report.torn), (0, None));
    assert!(log.read(0, 10, 1000).unwrap().is_empty());
}

#[test]
fn everything_is_there_after_a_restart() {
    let disk = MemDisk::new();
    let (log, _) = open(&disk);
    append(&log, 0, &entries(0, 100)).unwrap();
    wait(|done| log.save_vote(Bytes::from("term 3"), done)).unwrap();
    log.save_committed(Bytes::from("90"));
    wait(|done| log.purge(49, Bytes::from("id 49"), done)).unwrap();
    let before = (log.state(), all(&log));
    assert_eq!((before.0.first, before.0.last), (Some(50), Some(99)));
    drop(log);
    disk.crash(Loss::Unsynced);
    let (log, report) = open(&disk);
    assert_eq!((log.state(), all(&log)), before);
    assert_eq!(report.entries, 50);
    assert!(report.marked && report.torn.is_none(), "{report:?}");
    assert_eq!(before.0.vote.as_deref(), Some(&b"term 3"[..]));
    assert_eq!(before.0.committed.as_deref(), Some(&b"90"[..]));
}

#[test]
fn first_entry_of_a_new_log_may_have_any_index() {
    let disk = MemDisk::new();
    let (log, _) = open(&disk);
    append(&log, 7, &entries(7, 2)).unwrap();
    drop(log);
    assert_eq!(open(&disk).0.state().first, Some(7));
}

#[test]
fn gaps_and_overlaps_are_refused_without_harm() {
    let (log, _) = open(&MemDisk::new());
    append(&log, 0, &entries(0, 3)).unwrap();
    for wrong in [2, 4] {
        let refused = append(&log, wrong, &entries(wrong, 1));
        assert!(matches!(refused, Err(LogError::Gap { expected: 3, got }) if got == wrong));
    }
    append(&log, 3, &entries(3, 1)).unwrap();
    assert_eq!(all(&log).len(), 4);
}

#[test]
fn entry_that_fits_no_segment_is_refused_without_harm() {
    let (log, _) = open(&MemDisk::new());
    let refused = append(&log, 0, &[Bytes::from(vec![1; 4096])]);
    assert!(matches!(refused, Err(LogError::TooLarge { bytes: 4096, bytes_max: 2944 })));
    for index in 0..4 {
        append(&log, index, &[Bytes::from(vec![1; 2944])]).unwrap();
    }
    assert_eq!(all(&log).len(), 4);
}

#[test]
fn ranges_are_clipped_and_inverted_ones_are_empty() {
    let (log, _) = open(&MemDisk::new());
    append(&log, 0, &entries(0, 60)).unwrap();
    wait(|done| log.purge(9, Bytes::new(), done)).unwrap();
    let indexes = |from, to| {
        let found = log.read(from, to, usize::MAX).unwrap();
        found.into_iter().map(|(index, _)| index).collect::<Vec<_>>()
    };
    assert_eq!(indexes(0, 12), [10, 11]);
    assert_eq!(indexes(58, u64::MAX), [58, 59]);
    assert_eq!(indexes(10, 60), (10..60).collect::<Vec<_>>());
    for (from, to) in [(20, 20), (30, 20), (60, 70), (u64::MAX, 0), (0, 10)] {
        assert_eq!(indexes(from, to), [0; 0], "{from}..{to}");
    }
}

#[test]
fn byte_cap_is_kept_but_one_entry_always_comes() {
    let disk = MemDisk::new();
    drop(append(&open(&disk).0, 0, &entries(0, 60)));
    for options in [small(), LogOptions { cache_bytes: 1 << 20, ..small() }] {
        // From the files; then all from memory, or half of it.
        let (log, _) = open_with(&disk, options).unwrap();
        let next = log.state().last.unwrap() + 1;
        append(&log, next, &entries(next, 30)).unwrap();
        for from in 0..next + 30 {
            for (bytes_max, most) in [(0, 1), (99, 1), (100, 1), (250, 2), (1000, 10)] {
                let found = log.read(from, u64::MAX, bytes_max).unwrap();
                assert_eq!(found.len(), most.min((next + 30 - from) as usize), "from {from}");
                assert!(found.iter().zip(from..).all(|((index, entry), expected)| {
                    *index == expected && *entry == super::entry(expected, 0, 100)
                }));
            }
        }
    }
}

#[test]
fn replaced_entries_are_the_new_ones_also_after_a_restart() {
    let disk = MemDisk::new();
    let (log, _) = open(&disk);
    append(&log, 0, &entries(0, 80)).unwrap();
    wait(|done| log.truncate_from(20, done)).unwrap();
    assert_eq!(log.state().last, Some(19));
    assert!(log.read(20, 80, 1000).unwrap().is_empty());
    let new: Vec<_> = (20..70).map(|index| entry(index, 1, 90)).collect();
    append(&log, 20, &new).unwrap();
    wait(|done| log.truncate_from(69, done)).unwrap();
    let expected: Vec<_> = entries(0, 20).into_iter().chain(new).take(69).collect();
    let found = |log: &RaftLog| all(log).into_iter().map(|(_, entry)| entry).collect::<Vec<_>>();
    assert_eq!(found(&log), expected);
    drop(log);
    assert_eq!(found(&open(&disk).0), expected);
}

#[test]
fn purge_removes_whole_segments_and_keeps_what_they_said() {
    let disk = MemDisk::new();
    let (log, _) = open(&disk);
    wait(|done| log.save_vote(Bytes::from("term 1"), done)).unwrap();
    append(&log, 0, &entries(0, 200)).unwrap();
    let before = segments(&disk).len();
    assert!(before > 5);
    wait(|done| log.purge(150, Bytes::from("id 150"), done)).unwrap();
    assert!(segments(&disk).len() < before - 3);
    assert_eq!(log.stats().segments, segments(&disk).len());
    drop(log);
    let (log, _) = open(&disk);
    assert_eq!(log.state().vote.as_deref(), Some(&b"term 1"[..]));
    assert_eq!(log.state().purged, Some((150, Bytes::from("id 150"))));
    assert_eq!(all(&log).len(), 49);
}

#[test]
fn purge_beyond_the_end_moves_the_log_there() {
    let disk = MemDisk::new();
    let (log, _) = open(&disk);
    append(&log, 0, &entries(0, 100)).unwrap();
    wait(|done| log.purge(1000, Bytes::from("snapshot"), done)).unwrap();
    assert_eq!((log.state().first, log.state().last), (None, None));
    assert!(matches!(append(&log, 100, &entries(100, 1)), Err(LogError::Gap { .. })));
    append(&log, 1001, &entries(1001, 50)).unwrap();
    // One that comes late changes nothing.
    wait(|done| log.purge(500, Bytes::from("old"), done)).unwrap();
    let before = (log.state(), all(&log));
    assert_eq!(before.0.first, Some(1001));
    assert_eq!(before.0.purged, Some((1000, Bytes::from("snapshot"))));
    drop(log);
    let (log, _) = open(&disk);
    assert_eq!((log.state(), all(&log)), before);
}

#[test]
fn bytes_since_shrinks_towards_the_end() {
    let (log, _) = open(&MemDisk::new());
    append(&log, 0, &entries(0, 100)).unwrap();
    let bytes: Vec<_> = (0..=100).map(|index| log.bytes_since(index)).collect();
    assert!(bytes.windows(2).all(|pair| pair[0] > pair[1]), "{bytes:?}");
    assert!(bytes[0] > 100 * 100 && bytes[100] == 0);
}

#[test]
fn memory_for_entries_is_bounded() {
    let (log, _) = open(&MemDisk::new());
    append(&log, 0, &entries(0, 500)).unwrap();
    assert!(log.stats().cache_bytes <= small().cache_bytes);
    assert_eq!(all(&log).len(), 500);
}

#[test]
fn many_writers_share_syncs_and_callbacks_come_in_order() {
    let disk = MemDisk::new();
    let (log, _) = open_with(&disk, threaded()).unwrap();
    let called = Arc::new(AtomicU64::new(0));
    for index in 0..2000 {
        let called = Arc::clone(&called);
        let done = move |outcome: Result<(), LogError>| {
            outcome.unwrap();
            assert_eq!(called.fetch_add(1, Ordering::SeqCst), index);
        };
        log.append(index, vec![entry(index, 0, 20)], Box::new(done));
        assert_eq!(log.read(index, index + 1, 0).unwrap(), [(index, entry(index, 0, 20))]);
    }
    log.wait_synced(1999).unwrap();
    log.shutdown();
    assert_eq!(called.load(Ordering::SeqCst), 2000);
    assert_eq!(log.stats().entries, 2000);
    assert!(log.stats().syncs <= 2000 + log.stats().segments as u64);
    assert!(matches!(append(&log, 2000, &entries(2000, 1)), Err(LogError::Closed)));
    assert!(matches!(log.wait_synced(2000), Err(LogError::Absent { index: 2000 })));
    disk.crash(Loss::Unsynced);
    let (log, report) = open(&disk);
    assert_eq!(all(&log).len(), 2000);
    assert!(report.marked);
}

#[test]
fn one_batch_is_one_sync() {
    let disk = MemDisk::new();
    let options = LogOptions { segment_bytes: 1 << 20, ..small() };
    let (log, _) = open_with(&disk, options).unwrap();
    let before = disk.syncs();
    append(&log, 0, &entries(0, 1000)).unwrap();
    assert_eq!(disk.syncs() - before, 1);
}

#[test]
fn last_clone_may_be_dropped_by_a_callback() {
    let disk = MemDisk::new();
    let (log, _) = open_with(&disk, threaded()).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let (clone, gate) = (log.clone(), Arc::new(std::sync::Barrier::new(2)));
    let inside = Arc::clone(&gate);
    let done = Box::new(move |outcome: Result<(), LogError>| {
        inside.wait();
        drop(clone);
        sender.send(outcome).unwrap();
    });
    log.append(0, entries(0, 1), done);
    drop(log);
    gate.wait();
    receiver.recv().unwrap().unwrap();
}

#[test]
fn works_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let options = LogOptions { segment_bytes: 16 << 10, ..threaded() };
    let (log, _) = RaftLog::open(Arc::new(RealDisk), &path, options.clone()).unwrap();
    append(&log, 0, &entries(0, 1000)).unwrap();
    wait(|done| log.purge(900, Bytes::from("900"), done)).unwrap();
    let before = (log.state(), all(&log));
    log.shutdown();
    let (log, report) = RaftLog::open(Arc::new(RealDisk), &path, options).unwrap();
    assert_eq!((log.state(), all(&log)), before);
    assert!(report.marked && report.segments < 3, "{report:?}");
    // The old ones are gone, and the next one is ready, or in the making.
    log.shutdown();
    assert!(RealDisk.list(&path).unwrap().len() <= 3);
}

#[test]
fn impossible_segment_sizes_are_refused() {
    for segment_bytes in [0, 4095, (1 << 30) + 1] {
        let options = LogOptions { segment_bytes, ..small() };
        let error = open_with(&MemDisk::new(), options).unwrap_err();
        assert!(matches!(error, LogError::SegmentBytes { .. }), "{error}");
    }
}
