//! Disks that fail to sync, fill up, or refuse to write.

use std::sync::mpsc;
use std::time::Duration;

use jeton_storage::disk::{Loss, MemDisk};
use jeton_storage::log::{LogError, LogOptions};

use super::{all, append, entries, open, open_with, segments, small, threaded, wait};

/// Waits until something is so, and fails if it takes minutes.
fn until(what: &str, condition: impl Fn() -> bool) {
    let (_sender, never) = mpsc::channel::<()>();
    for _ in 0..60_000 {
        if condition() {
            return;
        }
        let _ = never.recv_timeout(Duration::from_millis(2));
    }
    panic!("waited in vain: {what}");
}

#[test]
fn failed_sync_is_final_and_never_tried_again() {
    for options in [small(), threaded()] {
        let disk = MemDisk::new();
        let (log, _) = open_with(&disk, options.clone()).unwrap();
        // So that only the log's own syncs are counted.
        let prepared = if options.inline { 1 } else { 2 };
        until("the next segment is ready", || segments(&disk).len() == prepared);
        append(&log, 0, &entries(0, 5)).unwrap();
        disk.fail_syncs(true);
        assert!(matches!(append(&log, 5, &entries(5, 5)), Err(LogError::Sync { .. })));
        disk.fail_syncs(false);
        let syncs = disk.syncs();
        let error = append(&log, 10, &entries(10, 1)).unwrap_err();
        assert!(matches!(error, LogError::Sync { .. }), "{error}");
        let vote = wait(|done| log.save_vote("term".into(), done));
        assert!(matches!(vote, Err(LogError::Sync { .. })));
        assert!(matches!(log.wait_synced(7), Err(LogError::Sync { .. })));
        log.wait_synced(4).unwrap();
        log.shutdown();
        assert_eq!(disk.syncs(), syncs);
        disk.crash(Loss::Unsynced);
        let (log, _) = open(&disk);
        assert_eq!(all(&log).len(), 5);
    }
}

#[test]
fn everything_queued_behind_a_failed_sync_fails_in_order() {
    let disk = MemDisk::new();
    // One segment: making the next one fails too, with other words.
    let options = LogOptions { segment_bytes: 64 << 10, ..threaded() };
    let (log, _) = open_with(&disk, options).unwrap();
    disk.fail_syncs(true);
    let (sender, receiver) = mpsc::channel();
    for index in 0..100 {
        let sender = sender.clone();
        let done = move |outcome: Result<(), LogError>| sender.send((index, outcome)).unwrap();
        log.append(index, entries(index, 1), Box::new(done));
    }
    drop(sender);
    let mut outcomes: Vec<_> = receiver.iter().collect();
    assert_eq!(outcomes.len(), 100);
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Err(LogError::Sync { .. }))));
    // Calls after the failure are answered at once, the queued ones by the flusher.
    outcomes.sort_by_key(|(index, _)| *index);
    assert!(outcomes.iter().map(|(index, _)| *index).eq(0..100));
    assert_eq!(log.stats().entries, 0);
}

#[test]
fn sync_that_fails_at_the_start_refuses_the_log() {
    let disk = MemDisk::new();
    drop(open(&disk));
    disk.fail_syncs(true);
    assert!(matches!(open_with(&disk, small()), Err(LogError::Sync { .. })));
}

#[test]
fn full_disk_is_a_clear_error_and_opens_again_without_loss() {
    let disk = MemDisk::new();
    let (log, _) = open(&disk);
    disk.limit(Some(disk.used()));
    let mut acknowledged = 0;
    let error = loop {
        match append(&log, acknowledged, &entries(acknowledged, 1)) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(acknowledged > 20, "a segment's worth of room was there: {acknowledged}");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert!(matches!(append(&log, acknowledged, &entries(0, 1)), Err(LogError::Full { .. })));
    assert_eq!(all(&log)[..acknowledged as usize].len(), acknowledged as usize);
    drop(log);
    // Starting on a full disk works, and reading too.
    let (log, _) = open(&disk);
    assert_eq!(log.state().last, Some(acknowledged - 1));
    assert_eq!(all(&log).len(), acknowledged as usize);
    disk.limit(None);
    append(&log, acknowledged, &entries(acknowledged, 50)).unwrap();
}

#[test]
fn full_disk_makes_writes_wait_and_heals_by_itself() {
    let disk = MemDisk::new();
    let (log, _) = open_with(&disk, threaded()).unwrap();
    until("the next segment is ready", || disk.used() == 2 * 4096);
    disk.limit(Some(disk.used()));
    let (sender, receiver) = mpsc::channel();
    for index in 0..100 {
        let sender = sender.clone();
        let done = move |outcome: Result<(), LogError>| sender.send(outcome).unwrap();
        log.append(index, entries(index, 1), Box::new(done));
    }
    until("the log notices", || log.stats().full);
    assert!(receiver.try_iter().count() < 100);
    assert_eq!(all(&log).len(), 100, "reads go on");
    disk.limit(None);
    log.wait_synced(99).unwrap();
    until("the log notices that, too", || !log.stats().full);
    append(&log, 100, &entries(100, 1)).unwrap();
    drop(log);
    assert_eq!(open(&disk).0.state().last, Some(100));
}

#[test]
fn shutdown_does_not_wait_for_room() {
    let disk = MemDisk::new();
    let (log, _) = open_with(&disk, threaded()).unwrap();
    until("the next segment is ready", || disk.used() == 2 * 4096);
    disk.limit(Some(disk.used()));
    let (sender, receiver) = mpsc::channel();
    let done = move |outcome: Result<(), LogError>| sender.send(outcome).unwrap();
    log.append(0, entries(0, 100), Box::new(done));
    until("the log notices", || log.stats().full);
    log.shutdown();
    assert!(matches!(receiver.recv().unwrap(), Err(LogError::Full { .. })));
}

#[test]
fn write_that_fails_is_final() {
    let disk = MemDisk::new();
    let (log, _) = open(&disk);
    append(&log, 0, &entries(0, 1)).unwrap();
    disk.stop_after(0);
    assert!(matches!(append(&log, 1, &entries(1, 1)), Err(LogError::Io { what: "write", .. })));
    assert!(matches!(append(&log, 2, &entries(2, 1)), Err(LogError::Io { what: "write", .. })));
}

#[test]
fn unwritten_entries_stay_readable_however_small_the_memory() {
    let disk = MemDisk::new();
    let options = LogOptions { cache_bytes: 0, batch_bytes_max: 300, ..threaded() };
    let (log, _) = open_with(&disk, options).unwrap();
    until("the next segment is ready", || disk.used() == 2 * 4096);
    disk.limit(Some(disk.used()));
    for index in 0..200 {
        log.append(index, entries(index, 1), Box::new(|_| {}));
    }
    until("the log waits for room", || log.stats().full && log.stats().room_bytes < 600);
    log.truncate_from(150, Box::new(|_| {}));
    log.append(150, entries(150, 20), Box::new(|_| {}));
    assert_eq!(all(&log).into_iter().map(|(_, entry)| entry).collect::<Vec<_>>(), entries(0, 170));
    disk.limit(None);
    log.wait_synced(169).unwrap();
    until("memory is given back", || log.stats().cache_bytes == 0);
    assert_eq!(all(&log).into_iter().map(|(_, entry)| entry).collect::<Vec<_>>(), entries(0, 170));
}

#[test]
fn callback_that_panics_closes_the_log_and_nobody_hangs() {
    let disk = MemDisk::new();
    let (log, _) = open_with(&disk, threaded()).unwrap();
    log.append(0, entries(0, 1), Box::new(|_| panic!("on purpose")));
    until("the log is closed", || {
        let (sender, receiver) = mpsc::channel();
        let done = move |outcome: Result<(), LogError>| drop(sender.send(outcome));
        log.save_vote("term".into(), Box::new(done));
        // Callbacks of the batch that is unwound are dropped, later ones are called.
        matches!(receiver.recv(), Ok(Err(LogError::Closed)))
    });
    log.shutdown();
}
