//! What the disk in memory loses, and that both disks agree on the rest.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jeton_storage::disk::{self, Disk, Loss, MemDisk, RealDisk};

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn mem() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk
}

#[test]
fn power_cut_takes_what_was_not_synced() {
    let disk = mem();
    let file = disk.create_new(&path("a")).unwrap();
    file.write_at(b"first", 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(b"FIRST and more", 0).unwrap();
    let nameless = disk.create_new(&path("b")).unwrap();
    nameless.write_at(b"x", 0).unwrap();
    nameless.sync().unwrap();
    disk.crash(Loss::Unsynced);
    assert_eq!(disk.content(&path("a")).unwrap(), b"first");
    assert_eq!(disk.list(Path::new("/d")).unwrap(), ["a"]);
    assert!(file.write_at(b"late", 0).is_err(), "handles die with the machine");
}

#[test]
fn killed_process_loses_nothing_until_the_power_goes() {
    let disk = mem();
    disk.create_new(&path("a")).unwrap().write_at(b"text", 0).unwrap();
    disk.crash(Loss::Nothing);
    assert_eq!(disk.content(&path("a")).unwrap(), b"text");
    disk.crash(Loss::Unsynced);
    assert_eq!(disk.content(&path("a")), None);
}

#[test]
fn power_cut_may_keep_any_sectors() {
    let (mut kept_all, mut kept_some) = (0, 0);
    for seed in 0..100 {
        let disk = mem();
        let file = disk.create_new(&path("a")).unwrap();
        file.preallocate(2048).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(&[1; 1536], 256).unwrap();
        disk.crash(Loss::Some(seed));
        let content = disk.content(&path("a")).unwrap();
        let sectors: Vec<_> = content[256..1792].chunks(256).map(|half| half[0]).collect();
        assert!(content[256..1792].chunks(256).all(|half| half.iter().all(|b| *b == half[0])));
        assert_eq!((sectors[1], sectors[3]), (sectors[2], sectors[4]), "sectors are whole");
        kept_all += u32::from(sectors.iter().all(|byte| *byte == 1));
        kept_some += u32::from(sectors.contains(&0) && sectors.contains(&1));
    }
    assert!(kept_all > 0 && kept_some > 50, "{kept_all} whole, {kept_some} in parts");
}

#[test]
fn sync_after_a_failed_one_proves_nothing() {
    let disk = mem();
    let file = disk.create_new(&path("a")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(b"text", 0).unwrap();
    disk.fail_syncs(true);
    assert!(file.sync().is_err());
    disk.fail_syncs(false);
    file.sync().unwrap();
    disk.crash(Loss::Unsynced);
    assert_eq!(disk.content(&path("a")).unwrap(), b"");
}

#[test]
fn both_disks_agree() {
    let real = tempfile::tempdir().unwrap();
    let disks: [(&dyn Disk, PathBuf); 2] =
        [(&RealDisk, real.path().join("x/y")), (&MemDisk::new(), PathBuf::from("/x/y"))];
    for (disk, dir) in disks {
        let kind = |answer: std::io::Result<()>| answer.unwrap_err().kind();
        let file = |name: &str| dir.join(name);
        assert_eq!(kind(disk.list(&dir).map(drop)), ErrorKind::NotFound);
        disk.create_dir_all(&dir).unwrap();
        disk.create_dir_all(&dir).unwrap();
        assert_eq!(kind(disk.open(&file("a")).map(drop)), ErrorKind::NotFound);
        let a = disk.create_new(&file("a")).unwrap();
        assert_eq!(kind(disk.create_new(&file("a")).map(drop)), ErrorKind::AlreadyExists);
        assert!(a.is_empty().unwrap());
        a.write_at(b"tail", 6).unwrap();
        assert_eq!(a.read_all().unwrap(), b"\0\0\0\0\0\0tail");
        a.set_len(8).unwrap();
        a.preallocate(12).unwrap();
        assert_eq!(a.read_all().unwrap(), b"\0\0\0\0\0\0ta\0\0\0\0");
        let mut buffer = [0; 8];
        assert_eq!(a.read_at(&mut buffer, 10).unwrap(), 2);
        assert_eq!(a.read_at(&mut buffer, 99).unwrap(), 0);
        assert_eq!(kind(a.read_exact_at(&mut buffer, 10)), ErrorKind::UnexpectedEof);
        a.sync().unwrap();
        disk::replace(disk, &file("b"), b"one").unwrap();
        disk::replace(disk, &file("b"), b"2").unwrap();
        assert_eq!(disk.open(&file("b")).unwrap().read_all().unwrap(), b"2");
        disk.rename(&file("a"), &file("b")).unwrap();
        disk.sync_dir(&dir).unwrap();
        assert_eq!(disk.list(&dir).unwrap(), ["b"]);
        assert_eq!(disk.open_or_create(&file("b")).unwrap().len().unwrap(), 12);
        let lock = disk.lock(&file("LOCK")).unwrap();
        assert!(lock.is_some() && disk.lock(&file("LOCK")).unwrap().is_none());
        drop(lock);
        assert!(disk.lock(&file("LOCK")).unwrap().is_some());
        disk.remove(&file("b")).unwrap();
        assert_eq!(kind(disk.remove(&file("b"))), ErrorKind::NotFound);
        assert!(!disk.exists(&file("b")).unwrap());
        disk.remove_dir_all(&dir).unwrap();
        assert!(!disk.exists(&dir).unwrap());
    }
}
