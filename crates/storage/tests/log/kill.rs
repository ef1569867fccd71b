//! kill -9 of a process that writes: whatever it was told is durable must be there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jeton_core::ids::ClusterId;
use jeton_storage::data_dir::{DataDir, Expect};
use jeton_storage::disk::RealDisk;
use jeton_storage::log::{LogError, LogOptions, RaftLog};

use super::{all, entry};

const DIR: &str = "JETON_TEST_KILL_DIR";
const ROUND: &str = "JETON_TEST_KILL_ROUND";

fn open(dir: &Path) -> (DataDir, RaftLog) {
    let data = DataDir::open(Arc::new(RealDisk), dir, Expect::default()).unwrap();
    data.stamp(ClusterId([1; 16]), 1).unwrap();
    let options =
        LogOptions { segment_bytes: 32 << 10, cache_bytes: 4096, ..LogOptions::default() };
    let (log, _) = RaftLog::open(Arc::new(RealDisk), &dir.join("log"), options).unwrap();
    (data, log)
}

/// Not a test of its own: the process that is killed. It writes until then.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let (_data, log) = open(&PathBuf::from(dir));
    let say = |line: String| {
        // One write each: a killed process leaves no half lines but the last.
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    };
    let waiting = Arc::new(AtomicU64::new(0));
    let told = |line: String| {
        let waiting = Arc::clone(&waiting);
        waiting.fetch_add(1, Ordering::SeqCst);
        Box::new(move |outcome: Result<(), LogError>| {
            outcome.unwrap();
            std::io::stdout().write_all(line.as_bytes()).unwrap();
            waiting.fetch_sub(1, Ordering::SeqCst);
        })
    };
    let state = log.state();
    let mut next = state.last.or(state.purged.map(|(index, _)| index)).map_or(0, |last| last + 1);
    for step in 0u64.. {
        // What drops entries is announced first, when no promise about them is still to come.
        let drops = matches!(step % 37, 11 | 31);
        while waiting.load(Ordering::SeqCst) > if drops { 0 } else { 20 } {
            std::thread::yield_now();
        }
        let time = round << 32 | step;
        match step % 37 {
            5 => log.save_vote(Bytes::from(time.to_string()), told(format!("\nvote {time}\n"))),
            11 => {
                let from = next.saturating_sub(3).max(log.state().first.unwrap_or(next));
                say(format!("\ncut {from}\n"));
                log.truncate_from(from, told(String::new()));
                next = from;
            }
            31 if next > 100 => {
                say(format!("\npurge {}\n", next - 100));
                log.purge(next - 100, Bytes::from("id"), told(String::new()));
            }
            more => {
                let count = more % 5 + 1;
                let entries = (next..next + count).map(|index| entry(index, time, 150));
                let line = format!("\nentries {next} {count} {time}\n");
                log.append(next, entries.collect(), told(line));
                next += count;
            }
        }
    }
}

/// What the child was told.
#[derive(Default)]
struct Promised {
    entries: BTreeMap<u64, u64>,
    vote: u64,
}

impl Promised {
    fn take(&mut self, line: &str) -> bool {
        let words: Vec<_> = line.split(' ').collect();
        let numbers: Option<Vec<u64>> =
            words.iter().skip(1).map(|word| word.parse().ok()).collect();
        match (words.first(), numbers.as_deref()) {
            (Some(&"entries"), Some(&[first, count, time])) => {
                self.entries.extend((first..first + count).map(|index| (index, time)));
            }
            (Some(&"vote"), Some(&[time])) => self.vote = time,
            (Some(&"cut"), Some(&[from])) => drop(self.entries.split_off(&from)),
            (Some(&"purge"), Some(&[upto])) => {
                self.entries = self.entries.split_off(&(upto + 1));
            }
            _ => return false,
        }
        true
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut promised = Promised::default();
    let mut total = 0;
    for round in 1..=12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--nocapture"])
            .env(DIR, dir.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        // Different every round; the exact moment is up to the scheduler.
        while heard < 17 * round * round % 401 + round {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            heard += u64::from(promised.take(&line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            heard += u64::from(promised.take(&line.unwrap()));
        }
        total += heard;
        let (_data, log) = open(dir.path());
        let found: BTreeMap<_, _> = all(&log).into_iter().collect();
        for (index, time) in &promised.entries {
            assert_eq!(found.get(index), Some(&entry(*index, *time, 150)), "round {round}");
        }
        let vote = log.state().vote.map(|vote| String::from_utf8(vote.to_vec()).unwrap());
        let vote: u64 = vote.map_or(0, |vote| vote.parse().unwrap());
        assert!(vote >= promised.vote, "round {round}: vote {vote}, not {}", promised.vote);
    }
    assert!(total > 1000, "only {total} acknowledgements");
}
