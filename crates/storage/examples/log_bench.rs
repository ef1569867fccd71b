//! What the Raft log costs on this disk, next to a bare write and sync of the same bytes.
//!
//! `cargo run --release -p jeton-storage --example log_bench -- <empty directory>`

#![allow(clippy::disallowed_types, reason = "a measurement needs the real clock")]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use bytes::Bytes;
use jeton_storage::disk::{Disk, DiskFile, RealDisk};
use jeton_storage::log::{LogOptions, RaftLog};

type Failure = Box<dyn std::error::Error>;

const ENTRY_BYTES: usize = 200;
const ROUNDS: usize = 3000;

fn main() -> Result<(), Failure> {
    let dir = std::env::args_os().nth(1).ok_or("give an empty directory on the disk to measure")?;
    let dir = Path::new(&dir);
    println!("entries of {ENTRY_BYTES} bytes; microseconds\n");
    println!("one caller that waits      |    log p50    p99 |    raw p50    p99");
    for batch in [1, 8, 64, 512] {
        let (log, raw) = (waiting(dir, batch)?, bare(dir, batch)?);
        println!(
            "{batch:4} entries an append      | {:10.0} {:6.0} | {:10.0} {:6.0}",
            log.0, log.1, raw.0, raw.1
        );
    }
    println!("\nappends of one entry       |  entries/s | entries/sync | µs a sync | MB/s");
    for window in [1, 8, 64, 512] {
        pipelined(dir, window)?;
    }
    println!("\nreading back               |  entries/s");
    reading(dir)
}

fn open(dir: &Path) -> Result<RaftLog, Failure> {
    let dir = dir.join("log");
    if RealDisk.exists(&dir)? {
        RealDisk.remove_dir_all(&dir)?;
    }
    Ok(RaftLog::open(Arc::new(RealDisk), &dir, LogOptions::default())?.0)
}

fn entries(count: usize) -> Vec<Bytes> {
    (0..count).map(|n| Bytes::from(vec![n as u8; ENTRY_BYTES])).collect()
}

/// Median and 99th percentile.
fn percentiles(mut micros: Vec<f64>) -> (f64, f64) {
    micros.sort_by(f64::total_cmp);
    (micros[micros.len() / 2], micros[micros.len() * 99 / 100])
}

fn waiting(dir: &Path, batch: usize) -> Result<(f64, f64), Failure> {
    let log = open(dir)?;
    let (sender, receiver) = mpsc::channel();
    let mut micros = Vec::new();
    for round in 0..ROUNDS {
        let (new, sender, start) = (entries(batch), sender.clone(), Instant::now());
        let done = move |outcome: Result<_, _>| drop(sender.send(outcome));
        log.append((round * batch) as u64, new, Box::new(done));
        receiver.recv()??;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(percentiles(micros))
}

fn bare(dir: &Path, batch: usize) -> Result<(f64, f64), Failure> {
    let path = dir.join("bare");
    let file: Arc<dyn DiskFile> = RealDisk.create_new(&path)?;
    let bytes = vec![7; batch * ENTRY_BYTES];
    file.preallocate((bytes.len() * ROUNDS) as u64)?;
    file.sync()?;
    let mut micros = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        file.write_at(&bytes, (round * bytes.len()) as u64)?;
        file.sync()?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    RealDisk.remove(&path)?;
    Ok(percentiles(micros))
}

fn pipelined(dir: &Path, window: usize) -> Result<(), Failure> {
    let log = open(dir)?;
    let total = ROUNDS * window.min(128);
    let (sender, receiver) = mpsc::channel();
    let start = Instant::now();
    for index in 0..total + window {
        if index >= window {
            receiver.recv()??;
        }
        if index < total {
            let sender = sender.clone();
            let done = move |outcome: Result<_, _>| drop(sender.send(outcome));
            log.append(index as u64, entries(1), Box::new(done));
        }
    }
    let (seconds, stats) = (start.elapsed().as_secs_f64(), log.stats());
    println!(
        "{window:4} outstanding           | {:10.0} | {:12.1} | {:9.0} | {:4.0}",
        total as f64 / seconds,
        total as f64 / stats.syncs as f64,
        seconds * 1e6 / stats.syncs as f64,
        stats.bytes as f64 / seconds / 1e6
    );
    Ok(())
}

fn reading(dir: &Path) -> Result<(), Failure> {
    let log = open(dir)?;
    let total = 400_000;
    for first in (0..total).step_by(1000) {
        log.append(first, entries(1000), Box::new(|_| {}));
    }
    log.wait_synced(total - 1)?;
    log.shutdown();
    drop(log);
    let start = Instant::now();
    let options = LogOptions::default();
    let (log, report) = RaftLog::open(Arc::new(RealDisk), &dir.join("log"), options)?;
    let opened = start.elapsed().as_secs_f64();
    let (mut next, start) = (0, Instant::now());
    while next < total {
        next += log.read(next, total, 1 << 20)?.len() as u64;
    }
    let rate = total as f64 / start.elapsed().as_secs_f64();
    println!("in pieces of 1 MiB         | {rate:10.0}");
    println!("opening {} segments took {:.0} ms", report.segments, opened * 1e3);
    Ok(())
}
