//! Bytes that change behind the log's back, and writes that a crash cut short.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use jeton_storage::disk::{Disk, Loss, MemDisk};
use jeton_storage::log::{LogError, LogOptions, LogState, RaftLog};

use super::{all, append, dir, entries, entry, open, open_with, segments, small, wait};

/// A log of a few segments with every kind of record; its last batch has three entries.
fn varied(disk: &MemDisk) -> RaftLog {
    let (log, _) = open(disk);
    wait(|done| log.save_vote(Bytes::from("term 1"), done)).unwrap();
    append(&log, 0, &entries(0, 12)).unwrap();
    wait(|done| log.truncate_from(9, done)).unwrap();
    append(&log, 9, &[entry(9, 1, 1200)]).unwrap();
    log.save_committed(Bytes::from("8"));
    append(&log, 10, &entries(10, 15)).unwrap();
    wait(|done| log.purge(3, Bytes::from("id 3"), done)).unwrap();
    wait(|done| log.save_vote(Bytes::from("term 2"), done)).unwrap();
    append(&log, 25, &entries(25, 3)).unwrap();
    assert_eq!(segments(disk).len(), 2);
    log
}

type Observed = (LogState, Vec<(u64, Bytes)>);

fn observe(log: &RaftLog) -> Observed {
    (log.state(), all(log))
}

fn used(content: &[u8]) -> usize {
    content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Every bit of what is in use, and some of the zeros behind it.
fn bits(content: &[u8]) -> impl Iterator<Item = u64> {
    let used = used(content) as u64 * 8;
    (0..used).chain((used..content.len() as u64 * 8).step_by(61))
}

fn files(disk: &MemDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = segments(disk).into_iter();
    files.map(|path| (path.clone(), disk.content(&path).unwrap())).collect()
}

/// Opens after a flip. A refusal must name the file and an offset before it, and change nothing.
fn open_damaged(disk: &MemDisk, file: &PathBuf, bit: u64) -> Option<(RaftLog, bool)> {
    let before = files(disk);
    match open_with(disk, small()) {
        Ok((log, report)) => Some((log, report.torn.is_some())),
        Err(LogError::Damaged { file: named, offset, .. }) => {
            assert!(named <= *file, "flip in {}, error in {}", file.display(), named.display());
            assert!(named < *file || offset <= bit / 8, "flip at {}, error at {offset}", bit / 8);
            assert_eq!(files(disk), before, "a refused log was changed");
            None
        }
        Err(other) => panic!("bit {bit} of {}: {other}", file.display()),
    }
}

#[test]
fn every_flipped_bit_is_refused_or_costs_nothing() {
    let original = MemDisk::new();
    let before = observe(&varied(&original));
    original.crash(Loss::Nothing);
    let (mut refused, mut cut) = (0, 0);
    for file in segments(&original) {
        for bit in bits(&original.content(&file).unwrap()) {
            let disk = original.fork();
            disk.flip_bit(&file, bit);
            let Some((log, torn)) = open_damaged(&disk, &file, bit) else {
                refused += 1;
                continue;
            };
            assert_eq!(observe(&log), before, "bit {bit} of {}", file.display());
            cut += u32::from(torn);
        }
    }
    assert!(refused > 30_000, "only {refused} flips were refused");
    assert!(cut > 200, "only {cut} flips were cut off and reported");
}

#[test]
fn without_the_note_of_the_sync_only_the_last_batch_can_be_cut_and_that_is_reported() {
    let original = MemDisk::new();
    let log = varied(&original);
    let before = observe(&log);
    // The power goes before the log could be shut down.
    original.crash(Loss::Unsynced);
    drop(log);
    let report = open(&original.fork()).1;
    assert!(!report.marked && report.torn.is_none());
    let last_batch = 25;
    let (mut refused, mut cut) = (0, 0);
    // The segments before have one in use behind them, whatever the note says.
    for file in segments(&original).split_off(1) {
        for bit in bits(&original.content(&file).unwrap()) {
            let disk = original.fork();
            disk.flip_bit(&file, bit);
            let Some((log, torn)) = open_damaged(&disk, &file, bit) else {
                refused += 1;
                continue;
            };
            let after = observe(&log);
            let same = before.1.starts_with(&after.1) && before.0.vote == after.0.vote;
            assert!(same, "bit {bit} of {} changed something", file.display());
            assert!(after.0.last >= Some(last_batch - 1), "more than a batch is gone");
            assert!(torn || after == before, "bit {bit} of {} is not told", file.display());
            cut += u32::from(after != before);
        }
    }
    assert!(refused > 5000 && cut > 2000, "{refused} refused, {cut} cut");
}

#[test]
fn torn_tail_of_every_length_is_cut_and_everything_before_it_kept() {
    let original = MemDisk::new();
    drop(varied(&original));
    original.crash(Loss::Unsynced);
    let file = segments(&original).pop().unwrap();
    let start = used(&original.content(&file).unwrap());
    let (log, _) = open(&original);
    let synced = observe(&log);
    append(&log, 28, &entries(28, 4)).unwrap();
    let whole = observe(&log);
    drop(log);
    original.crash(Loss::Unsynced);
    let content = original.content(&file).unwrap();
    let end = used(&content);
    let mut torn = 0;
    for len in start..=end {
        // Cut, and the same with a sector of something else behind the cut.
        for garbage in [0, 0xa5] {
            let disk = original.fork();
            disk.damage(&file, |bytes| {
                let behind = (len + 16).min(bytes.len());
                bytes[len..].fill(0);
                bytes[len..behind].fill(garbage);
            });
            let (log, report) = open(&disk);
            let found = observe(&log);
            assert!(found.1.starts_with(&synced.1) && whole.1.starts_with(&found.1), "{len}");
            assert_eq!(found.1.len() as u64, report.entries);
            if let Some(cut) = &report.torn {
                assert_eq!(cut.file, file);
                torn += 1;
            }
            // The log goes on from there, and the next start has nothing left to cut.
            let next = found.0.last.unwrap() + 1;
            append(&log, next, &[entry(next, 5, 10)]).unwrap();
            drop(log);
            let (log, report) = open(&disk);
            assert_eq!((log.state().last, report.torn), (Some(next), None));
        }
    }
    assert!(torn > (end - start) * 3 / 2, "{torn} of {}", end - start);
}

#[test]
fn lost_files_are_noticed() {
    let original = MemDisk::new();
    let (log, _) = open(&original);
    append(&log, 0, &entries(0, 150)).unwrap();
    drop(log);
    let files = segments(&original);
    assert!(files.len() > 4);
    for lost in &files {
        let disk = original.fork();
        disk.remove(lost).unwrap();
        let error = open_with(&disk, small()).unwrap_err();
        assert!(
            matches!(&error, LogError::Missing { file, .. } if file == lost),
            "{}: {error}",
            lost.display()
        );
    }
}

#[test]
fn shortened_swapped_and_emptied_files_are_noticed() {
    let original = MemDisk::new();
    let (log, _) = open(&original);
    append(&log, 0, &entries(0, 150)).unwrap();
    drop(log);
    let files = segments(&original);
    let refused = |change: &dyn Fn(&MemDisk)| {
        let disk = original.fork();
        change(&disk);
        matches!(open_with(&disk, small()), Err(LogError::Damaged { .. }))
    };
    for file in &files {
        for len in [0, 63, 64, 100, 4095] {
            assert!(refused(&|disk| disk.damage(file, |bytes| bytes.truncate(len))));
        }
        assert!(refused(&|disk| disk.damage(file, |bytes| bytes.push(0))));
        assert!(refused(&|disk| disk.damage(file, |bytes| bytes.fill(0))));
    }
    let other = original.content(&files[1]).unwrap();
    assert!(refused(&|disk| disk.damage(&files[2], |bytes| bytes.clone_from(&other))));
}

#[test]
fn segment_of_another_log_is_noticed_even_if_it_is_whole() {
    let (ours, theirs) = (MemDisk::new(), MemDisk::new());
    for (disk, time) in [(&ours, 1), (&theirs, 2)] {
        let (log, _) = open(disk);
        let entries: Vec<_> = (0..150).map(|index| entry(index, time, 100)).collect();
        append(&log, 0, &entries).unwrap();
    }
    let file = &segments(&ours)[2];
    let foreign = theirs.content(file).unwrap();
    ours.damage(file, |bytes| bytes.clone_from(&foreign));
    let error = open_with(&ours, small()).unwrap_err();
    assert!(matches!(&error, LogError::Damaged { file: named, offset: 64, .. } if named == file));
    assert!(error.to_string().contains("does not follow"), "{error}");
}

#[test]
fn newer_format_is_told_from_damage() {
    let disk = MemDisk::new();
    drop(open(&disk));
    disk.damage(&segments(&disk)[0], |bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
    });
    let error = open_with(&disk, small()).unwrap_err();
    assert!(matches!(error, LogError::NewerFormat { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn damage_under_a_running_log_is_an_error_of_the_read() {
    let disk = MemDisk::new();
    let (log, _) = open_with(&disk, LogOptions { cache_bytes: 0, ..small() }).unwrap();
    append(&log, 0, &entries(0, 10)).unwrap();
    let file = dir().join("log-0000000000000001");
    let content = disk.content(&file).unwrap();
    let place = content.windows(7).position(|bytes| bytes == b"entry 4").unwrap();
    disk.flip_bit(&file, place as u64 * 8);
    assert_eq!(log.read(0, 4, usize::MAX).unwrap().len(), 4);
    let error = log.read(4, 5, usize::MAX).unwrap_err();
    let expected = place as u64 - 32;
    assert!(
        matches!(&error, LogError::Damaged { file: named, offset, .. }
            if *named == file && *offset == expected),
        "{error}"
    );
}

#[test]
fn first_released_format_still_opens() {
    let disk = MemDisk::new();
    disk.create_dir_all(dir()).unwrap();
    let file = disk.create_new(&dir().join("log-0000000000000001")).unwrap();
    let golden = include_str!("format-1.hex");
    let digits: Vec<_> = golden.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    file.write_at(&bytes, 0).unwrap();
    file.set_len(4096).unwrap();
    let (log, report) = open(&disk);
    assert!(report.marked);
    assert_eq!(log.state().vote.as_deref(), Some(&b"term 9"[..]));
    assert_eq!(log.state().committed.as_deref(), Some(&b"6"[..]));
    assert_eq!(log.state().purged, Some((5, Bytes::from("id 5"))));
    assert_eq!(all(&log), [(6, Bytes::from("six")), (7, Bytes::from("seven"))]);
}

#[test]
fn first_format_is_what_is_written_today() {
    let golden = include_str!("format-1.hex");
    let today = MemDisk::new();
    let (log, _) = open(&today);
    wait(|done| log.save_vote(Bytes::from("term 9"), done)).unwrap();
    append(&log, 5, &["five", "six", "7"].map(Bytes::from)).unwrap();
    wait(|done| log.truncate_from(7, done)).unwrap();
    log.save_committed(Bytes::from("6"));
    append(&log, 7, &[Bytes::from("seven")]).unwrap();
    wait(|done| log.purge(5, Bytes::from("id 5"), done)).unwrap();
    log.shutdown();
    let written = today.content(&segments(&today)[0]).unwrap();
    let hex: Vec<_> = written[..used(&written)]
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        .collect();
    assert_eq!(hex.join("\n"), golden.trim(), "bytes that outlive the process have changed");
}
