//! The lock and the stamp of a data directory.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::path::Path;
use std::sync::Arc;

use jeton_core::ids::ClusterId;
use jeton_storage::data_dir::{DataDir, DataDirError, Expect, Incarnation, Stamp};
use jeton_storage::disk::{Disk, Loss, MemDisk, RealDisk};

const OURS: ClusterId = ClusterId([7; 16]);
const OTHER: ClusterId = ClusterId([8; 16]);
const ANY: Expect = Expect { cluster: None, node: None };

fn open(disk: &MemDisk, expect: Expect) -> Result<DataDir, DataDirError> {
    DataDir::open(Arc::new(disk.clone()), dir(), expect)
}

fn ours(node: u64) -> Stamp {
    Stamp { cluster: OURS, node, incarnation: None }
}

fn dir() -> &'static Path {
    Path::new("/srv/jeton")
}

fn stamped_disk() -> MemDisk {
    let disk = MemDisk::new();
    open(&disk, ANY).unwrap().stamp(OURS, 3).unwrap();
    disk
}

#[test]
fn stamp_is_kept_and_can_be_repeated_but_not_changed() {
    let disk = stamped_disk();
    disk.crash(Loss::Unsynced);
    let data = open(&disk, Expect { cluster: Some(OURS), node: Some(3) }).unwrap();
    assert_eq!(data.stamped(), Some(ours(3)));
    data.stamp(OURS, 3).unwrap();
    assert!(matches!(data.stamp(OURS, 4), Err(DataDirError::OtherNode { found: 3, .. })));
    assert!(matches!(data.stamp(OTHER, 3), Err(DataDirError::OtherCluster { .. })));
    assert_eq!(data.stamped(), Some(ours(3)));
}

#[test]
fn others_are_refused_with_words() {
    let disk = stamped_disk();
    let error = open(&disk, Expect { cluster: Some(OTHER), node: None }).unwrap_err();
    assert!(matches!(error, DataDirError::OtherCluster { found: OURS, expected: OTHER, .. }));
    assert!(error.to_string().contains(&OURS.to_string()), "{error}");
    let error = open(&disk, Expect { cluster: Some(OURS), node: Some(9) }).unwrap_err();
    assert!(matches!(error, DataDirError::OtherNode { found: 3, expected: 9, .. }));
    assert!(error.to_string().contains("belongs to node 3, not to node 9"), "{error}");
}

#[test]
fn second_opener_is_refused_until_the_first_is_gone() {
    let disk = stamped_disk();
    let first = open(&disk, ANY).unwrap();
    assert!(matches!(open(&disk, ANY), Err(DataDirError::InUse { .. })));
    drop(first);
    open(&disk, ANY).unwrap();
}

#[test]
fn second_opener_is_refused_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let real = || Arc::new(RealDisk);
    let first = DataDir::open(real(), &path, ANY).unwrap();
    first.stamp(OURS, 1).unwrap();
    let error = DataDir::open(real(), &path, ANY).unwrap_err();
    assert!(matches!(error, DataDirError::InUse { .. }), "{error}");
    drop(first);
    let again = DataDir::open(real(), &path, ANY).unwrap();
    assert_eq!(again.stamped(), Some(ours(1)));
}

#[test]
fn foreign_directory_is_refused_and_left_alone() {
    let disk = MemDisk::new();
    disk.create_dir_all(dir()).unwrap();
    disk.create_new(&dir().join("thesis.tex")).unwrap();
    let error = open(&disk, ANY).unwrap_err();
    assert!(matches!(&error, DataDirError::NotJeton { example, .. } if example == "thesis.tex"));
    assert_eq!(disk.list(dir()).unwrap(), ["thesis.tex"]);
}

#[test]
fn every_flipped_bit_and_every_length_of_the_stamp_is_noticed() {
    let disk = stamped_disk();
    let file = dir().join("STAMP");
    let bytes = disk.content(&file).unwrap();
    for bit in 0..bytes.len() as u64 * 8 {
        disk.flip_bit(&file, bit);
        let error = open(&disk, ANY).unwrap_err();
        assert!(matches!(error, DataDirError::DamagedStamp { .. }), "bit {bit}: {error}");
        disk.flip_bit(&file, bit);
    }
    for len in 0..bytes.len() {
        disk.damage(&file, |content| content.truncate(len));
        assert!(matches!(open(&disk, ANY), Err(DataDirError::DamagedStamp { .. })), "{len} bytes");
        disk.damage(&file, |content| content.clone_from(&bytes));
    }
    open(&disk, ANY).unwrap();
}

#[test]
fn newer_format_is_told_from_damage() {
    let disk = stamped_disk();
    disk.damage(&dir().join("STAMP"), |bytes| {
        bytes[8] = 3;
        bytes.insert(20, 0);
        sum_up(bytes);
    });
    assert!(matches!(open(&disk, ANY), Err(DataDirError::NewerFormat { found: 3, .. })));
}

/// The last four bytes are the checksum of the others.
fn sum_up(bytes: &mut [u8]) {
    let body = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..body]).to_le_bytes();
    bytes[body..].copy_from_slice(&crc);
}

#[test]
fn directory_of_the_former_format_is_refused_with_words_and_not_taken_for_new() {
    let disk = stamped_disk();
    let file = dir().join("STAMP");
    disk.damage(&file, |bytes| {
        bytes[8] = 1;
        bytes.drain(36..52);
        sum_up(bytes);
    });
    let before = disk.content(&file);
    let error = open(&disk, ANY).unwrap_err();
    assert!(matches!(error, DataDirError::OlderFormat { found: 1, .. }), "{error}");
    let words = error.to_string();
    assert!(words.contains("format 1") && words.contains("replace the node"), "{words}");
    assert_eq!(disk.content(&file), before);
}

#[test]
fn incarnation_is_kept_and_can_be_repeated_but_not_changed() {
    let disk = MemDisk::new();
    let data = open(&disk, ANY).unwrap();
    let incarnation = Incarnation([5; 16]);
    assert!(matches!(data.begin(incarnation), Err(DataDirError::Unstamped { .. })));
    data.stamp(OURS, 3).unwrap();
    data.begin(incarnation).unwrap();
    drop(data);
    disk.crash(Loss::Unsynced);
    let data = open(&disk, ANY).unwrap();
    let whole = Stamp { incarnation: Some(incarnation), ..ours(3) };
    assert_eq!(data.stamped(), Some(whole));
    data.begin(incarnation).unwrap();
    data.stamp(OURS, 3).unwrap();
    let other = data.begin(Incarnation([6; 16]));
    assert!(matches!(other, Err(DataDirError::OtherIncarnation { .. })));
    assert_eq!(data.stamped(), Some(whole));
}

#[test]
fn crash_anywhere_while_stamping_leaves_nothing_or_the_whole_stamp() {
    let mut calls = 0;
    loop {
        let mut outcomes = Vec::new();
        let mut finished = false;
        for seed in 0..8 {
            let disk = MemDisk::new();
            disk.stop_after(calls);
            let mut done = open(&disk, ANY).and_then(|data| data.stamp(OURS, 3)).is_ok();
            finished = !disk.stopped();
            if seed % 2 == 1 {
                // Only killed, and started again: what that start says must outlast a power cut.
                disk.crash(Loss::Nothing);
                done |= open(&disk, ANY).unwrap().stamped().is_some();
            }
            disk.crash(Loss::Some(seed));
            let data = open(&disk, ANY).unwrap();
            assert!(!done || data.stamped().is_some(), "a stamp that was acknowledged is gone");
            outcomes.push(data.stamped());
            data.stamp(OURS, 3).unwrap();
            assert_eq!(data.stamped(), Some(ours(3)));
        }
        let whole = Some(ours(3));
        assert!(outcomes.iter().all(|stamp| stamp.is_none() || *stamp == whole));
        if finished {
            assert!(calls > 5, "the fault never struck");
            return;
        }
        calls += 1;
    }
}
