//! The Raft log against an in-memory model, power cuts, kill -9, flipped bits and failing disks.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod basics;
mod crash;
mod damage;
mod faults;
mod kill;
mod model;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use jeton_storage::disk::MemDisk;
use jeton_storage::log::{Done, LogError, LogOptions, LogReport, RaftLog};

/// Small segments, so that a few entries need several; no threads.
fn small() -> LogOptions {
    LogOptions { segment_bytes: 4096, cache_bytes: 512, inline: true, ..LogOptions::default() }
}

/// The same with the flusher on its thread.
fn threaded() -> LogOptions {
    LogOptions { inline: false, ..small() }
}

fn dir() -> &'static Path {
    Path::new("/node/log")
}

fn open_with(disk: &MemDisk, options: LogOptions) -> Result<(RaftLog, LogReport), LogError> {
    RaftLog::open(Arc::new(disk.clone()), dir(), options)
}

fn open(disk: &MemDisk) -> (RaftLog, LogReport) {
    open_with(disk, small()).unwrap()
}

/// Calls `write` with a callback and waits for what the callback is given.
fn wait(write: impl FnOnce(Done)) -> Result<(), LogError> {
    let (sender, receiver) = mpsc::channel();
    write(Box::new(move |outcome| sender.send(outcome).unwrap()));
    receiver.recv().expect("every callback is called")
}

fn append(log: &RaftLog, first: u64, entries: &[Bytes]) -> Result<(), LogError> {
    wait(|done| log.append(first, entries.to_vec(), done))
}

/// An entry that can be told from all others: of this index, written at this time.
fn entry(index: u64, time: u64, len: usize) -> Bytes {
    let text = format!("entry {index} of {time} ");
    text.bytes().cycle().take(len.max(text.len())).collect()
}

fn entries(first: u64, count: u64) -> Vec<Bytes> {
    (first..first + count).map(|index| entry(index, 0, 100)).collect()
}

/// All entries, read in small pieces.
fn all(log: &RaftLog) -> Vec<(u64, Bytes)> {
    let state = log.state();
    let Some((first, last)) = state.first.zip(state.last) else { return Vec::new() };
    let (mut found, mut next) = (Vec::new(), first);
    while next <= last {
        let piece = log.read(next, last + 1, 300).unwrap();
        next = piece.last().expect("a range with entries gives one at least").0 + 1;
        found.extend(piece);
    }
    found
}

/// The segment files, oldest first.
fn segments(disk: &MemDisk) -> Vec<std::path::PathBuf> {
    use jeton_storage::disk::Disk;
    let names = disk.list(dir()).unwrap();
    names.iter().filter(|name| name.starts_with("log-")).map(|name| dir().join(name)).collect()
}
