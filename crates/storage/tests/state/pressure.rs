//! Back-pressure: writers wait for the checkpoint, and are not left waiting by its failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use jeton_storage::state::{Checkpointer, StateError, StateOptions};

use crate::world::{Log, World};

const BOUND: usize = 64 << 10;
const VALUE: usize = 1_000;

fn options() -> StateOptions {
    StateOptions {
        overlay_bytes_max: BOUND,
        checkpoint_bytes: BOUND / 4,
        ..StateOptions::default()
    }
}

fn log(entries: u64) -> Log {
    let mut log = Log::default();
    for number in 0..entries {
        let key = [b"\x50".as_slice(), &number.to_be_bytes()].concat();
        log.push(vec![(key, Some(vec![0; VALUE]))]);
    }
    log
}

#[test]
fn writers_wait_until_the_checkpoint_made_room() {
    const ENTRIES: u64 = 400;
    let (state, _) = World::default().open_with(options()).unwrap();
    let log = log(ENTRIES);
    let (asked, asks) = mpsc::channel();
    let (grant, grants) = mpsc::channel::<()>();
    let grants = parking_lot::Mutex::new(grants);
    let checkpointer = Checkpointer::start(
        &state,
        Arc::new(move |index| {
            asked.send(index)?;
            grants.lock().recv()?;
            Ok(())
        }),
    )
    .unwrap();
    let largest = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for index in 1..=ENTRIES {
                log.apply(&state, index).unwrap();
                largest.fetch_max(state.overlay_bytes(), Ordering::Relaxed);
            }
        });
        // Nothing was granted yet, so the writer can't be past the bound.
        let first: u64 = asks.recv().unwrap();
        assert!(first < ENTRIES / 2);
        while state.overlay_bytes() < BOUND {
            std::thread::yield_now();
        }
        assert!(!writer.is_finished());
        let at = state.marker().unwrap().index;
        assert!(at < ENTRIES / 2, "the writer is at {at} and should wait");
        grant.send(()).unwrap();
        while !writer.is_finished() {
            if asks.try_recv().is_ok() {
                grant.send(()).unwrap();
            }
            std::thread::yield_now();
        }
    });
    let largest = largest.into_inner();
    assert!(largest <= BOUND + VALUE + 200, "the overlay grew to {largest}");
    log.compare(&state);
    drop(grant);
    drop(asks);
    drop(checkpointer);
}

#[test]
fn a_failed_checkpoint_releases_the_writer_with_an_error() {
    let (state, _) = World::default().open_with(options()).unwrap();
    let log = log(400);
    let failing = Checkpointer::start(&state, Arc::new(|_| Err("no log".into()))).unwrap();
    let stopped = (1..=400).find_map(|index| log.apply(&state, index).err());
    let Some(StateError::Stopped(why)) = stopped else { panic!("{stopped:?}") };
    assert!(why.contains("no log"), "{why}");
    drop(failing);
}

#[test]
fn a_panicking_checkpoint_releases_the_writer_with_an_error() {
    let (state, _) = World::default().open_with(options()).unwrap();
    let log = log(400);
    let panicking = Checkpointer::start(&state, Arc::new(|_| panic!("on purpose"))).unwrap();
    let stopped = (1..=400).find_map(|index| log.apply(&state, index).err());
    assert!(matches!(stopped, Some(StateError::Stopped(_))), "{stopped:?}");
    drop(panicking);
}

#[test]
fn without_threads_the_writer_makes_room_itself() {
    let world = World::default();
    let (state, _) = world.open_with(options()).unwrap();
    let log = log(400);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let inline = Checkpointer::inline(
        &state,
        Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }),
    );
    for index in 1..=400 {
        log.apply(&state, index).unwrap();
        assert!(state.overlay_bytes() < BOUND);
    }
    assert!(asked.load(Ordering::Relaxed) > 10);
    log.compare(&state);
    drop(inline);

    // A full disk is put up with while there is room in memory, and then said.
    let (state, _) = World::default().open_with(options()).unwrap();
    let full = World::default();
    drop(state);
    let (state, _) = full.open_with(options()).unwrap();
    full.disk.limit(Some(0));
    let _inline = Checkpointer::inline(&state, Arc::new(|_| Ok(())));
    let refused = (1..=400).find_map(|index| log.apply(&state, index).err()).unwrap();
    assert!(refused.is_disk_full());
    assert!(state.overlay_bytes() >= BOUND);
    full.disk.limit(None);
    log.replay(&state).unwrap();
    log.compare(&state);
}
