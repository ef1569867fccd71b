//! Readers see whole entries, while overlays freeze and thaw under them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jeton_core::tables::{ReadTables, Tables};
use jeton_storage::disk::RealDisk;
use jeton_storage::state::{BaseReader, Checkpointer, State, StateOptions};

use crate::world::{Log, synced};

const KEYS: u8 = 40;
const ENTRIES: u64 = 1_500;

/// All rows of an entry carry its index; every third entry removes half of them.
fn history() -> Log {
    let mut log = Log::default();
    for index in 1..=ENTRIES {
        let entry = (0..KEYS).map(|number| {
            let key = vec![if number % 4 == 0 { 0x10 } else { 0x50 }, number];
            let removed = index % 3 == 0 && number % 2 == 0;
            (key, (!removed).then(|| [&index.to_be_bytes(), [0; 100].as_slice()].concat()))
        });
        log.push(entry.collect());
    }
    log
}

fn check(state: &State) -> u64 {
    let view = state.view();
    let index = view.marker().map_or(0, |marker| marker.index);
    let rows = view.scan(&[0], &[0xff], usize::MAX).unwrap();
    let expected = match index {
        0 => 0,
        _ if index.is_multiple_of(3) => usize::from(KEYS) / 2,
        _ => usize::from(KEYS),
    };
    assert_eq!(rows.len(), expected, "at {index}");
    for (key, value) in &rows {
        assert_eq!(value[..8], index.to_be_bytes(), "a row of another entry");
        assert_eq!(view.get(key).unwrap().as_ref(), Some(value));
    }
    index
}

#[test]
fn readers_see_whole_entries_only() {
    let dir = tempfile::tempdir().unwrap();
    let options = StateOptions { checkpoint_bytes: 4_000, ..StateOptions::default() };
    let (state, _) = State::open(Arc::new(RealDisk), dir.path(), options).unwrap();
    let log = history();
    let (done, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    let checkpoints = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&checkpoints);
    let checkpointer = Checkpointer::start(
        &state,
        Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }),
    )
    .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Acquire) {
                    let index = check(&state);
                    assert!(index >= last, "time went backwards");
                    if index > last {
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                    last = index;
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                state.build_base().unwrap();
                std::thread::yield_now();
            }
        });
        for index in 1..=ENTRIES {
            log.apply(&state, index).unwrap();
        }
        // Until every party had its turn.
        while seen.load(Ordering::Relaxed) < 2
            || checkpoints.load(Ordering::Relaxed) < 3
            || state.base().is_none()
        {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Release);
    });
    drop(checkpointer);
    let base = state.base().unwrap();
    let rows = BaseReader::verify(&RealDisk, &base.path).unwrap();
    assert_eq!(rows, log.rows(base.marker.index).len() as u64);
    state.checkpoint(&synced).unwrap();
    assert_eq!(check(&state), ENTRIES);
}

#[test]
fn an_entry_reads_its_own_writes_and_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = State::open(Arc::new(RealDisk), dir.path(), StateOptions::default()).unwrap();
    let mut log = Log::default();
    let index = log.push(vec![(b"\x50a".to_vec(), Some(b"old".to_vec()))]);
    log.apply(&state, index).unwrap();
    let mut changes = state.begin().unwrap();
    changes.put(b"\x50a".to_vec(), b"new".to_vec());
    changes.put(b"\x10p".to_vec(), b"new".to_vec());
    assert_eq!(changes.get(b"\x50a").unwrap().unwrap(), "new");
    assert_eq!(changes.scan(b"\x10", b"\x60", 9).unwrap().len(), 2);
    assert_eq!(state.view().get(b"\x50a").unwrap().unwrap(), "old");
    assert_eq!(state.view().get(b"\x10p").unwrap(), None);
}
