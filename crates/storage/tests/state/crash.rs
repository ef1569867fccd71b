//! The power fails after each single call to the disk and to the rows, also while the state
//! recovers from the failure before.

use std::path::Path;

use jeton_storage::disk::Disk;
use jeton_storage::state::{State, StateError};

use crate::world::{Log, World, synced};

/// How a life of the state ended.
struct Ended {
    /// The log is purged up to here.
    purged: u64,
    /// A checkpoint up to here was acknowledged.
    durable: u64,
    result: Result<(), StateError>,
}

/// Two checkpoints, a base, one more checkpoint, the base of another node, and a checkpoint.
fn live(world: &World, state: &State, log: &Log, received: &[u8]) -> Ended {
    let mut ended = Ended { purged: 0, durable: 0, result: Ok(()) };
    ended.result = live_on(world, state, log, received, &mut ended);
    ended
}

fn live_on(
    world: &World,
    state: &State,
    log: &Log,
    received: &[u8],
    ended: &mut Ended,
) -> Result<(), StateError> {
    for index in 1..=6 {
        log.apply(state, index)?;
        if index % 2 == 0 {
            ended.durable = state.checkpoint(&synced)?.unwrap().index;
        }
        if index == 4 {
            ended.purged = state.build_base()?.unwrap().marker.index;
        }
    }
    log.apply(state, 7)?;
    let file = state.incoming_path(10);
    if crate::model::receive(world, received, &file).is_err() {
        return Err(StateError::Stopped("receiving failed".into()));
    }
    let installed = state.install(&file)?;
    assert_eq!(installed, log.marker(10));
    (ended.purged, ended.durable) = (10, 10);
    log.apply(state, 11)?;
    ended.durable = state.checkpoint(&synced)?.unwrap().index;
    Ok(())
}

fn history() -> (Log, Vec<u8>) {
    let mut log = Log::default();
    let key = |first: u8, number: u64| vec![first, u8::try_from(number % 4).unwrap()];
    let entry = |number: u64| {
        vec![
            (key(0x10, number), Some(vec![1; 10])),
            (key(0x50, number), Some(number.to_be_bytes().to_vec())),
            (key(0x50, number + 2), None),
            (b"\x60large".to_vec(), Some(vec![u8::try_from(number).unwrap(); 20_000])),
        ]
    };
    for number in 1..=10 {
        log.push(entry(number));
    }
    let received = crate::model::base_of(&log);
    log.push(entry(11));
    (log, received)
}

/// Stops `world` after `calls`, by whichever of its parts.
type Stop = fn(&World, u64);

/// What a crash takes is drawn by many seeds at each place.
fn crash_everywhere(stop: Stop, again: Stop) {
    let (log, received) = history();
    let lives: u32 = (0..8).map(|seed| crash_at_each(stop, again, seed, &log, &received)).sum();
    assert!(lives > 500, "{lives} crashes are too few to mean something");
}

fn crash_at_each(stop: Stop, again: Stop, seed: u64, log: &Log, received: &[u8]) -> u32 {
    let mut lives = 0;
    for calls in 0.. {
        let mut all = false;
        for second in 0.. {
            let world = World::default();
            let (state, _) = world.open().unwrap();
            stop(&world, calls);
            let ended = live(&world, &state, log, received);
            drop(state);
            all = ended.result.is_ok();
            world.crash(seed << 32 | (calls * 1_000 + second));
            // The recovery is interrupted as well, at each of its own steps.
            again(&world, second);
            let interrupted = world.open();
            let recovered_whole = interrupted.is_ok();
            drop(interrupted);
            world.crash(seed << 33 | (calls * 7_777 + second));

            let (state, report) = world.open().unwrap();
            let applied = report.applied.as_ref().map_or(0, |marker| marker.index);
            assert!(
                applied >= ended.purged && applied >= ended.durable,
                "crash at {calls} and {second}: {report:?}"
            );
            let base = state.base().map_or(0, |base| base.marker.index);
            assert!(base <= applied, "a base ahead of the state is installed");
            // This node never had the entries before an installed base.
            assert!(applied < 10 || base >= 10, "crash at {calls} and {second}: {report:?}");
            log.compare(&state);
            log.replay(&state).unwrap();
            log.compare(&state);
            state.checkpoint(&synced).unwrap();
            drop(state);
            world.crash(0);
            let (state, report) = world.open().unwrap();
            assert_eq!(report.applied, Some(log.marker(11)));
            assert!(!report.rebuilt, "crash at {calls} and {second}: {report:?}");
            log.compare(&state);
            lives += 1;
            if recovered_whole {
                break;
            }
        }
        if all {
            break;
        }
    }
    lives
}

const DISK: Stop = |world, calls| world.disk.stop_after(calls);
const ROWS: Stop = |world, calls| world.store.fail_after(calls);

#[test]
fn a_crash_at_any_call_of_the_disk_loses_nothing() {
    crash_everywhere(DISK, DISK);
}

#[test]
fn a_crash_at_any_write_of_the_rows_loses_nothing() {
    crash_everywhere(ROWS, ROWS);
}

#[test]
fn a_crash_at_the_disk_and_then_at_the_rows_loses_nothing() {
    crash_everywhere(DISK, ROWS);
    crash_everywhere(ROWS, DISK);
}

#[test]
fn a_base_received_in_another_directory_is_copied() {
    let (log, received) = history();
    let world = World::default();
    let (state, _) = world.open().unwrap();
    log.apply(&state, 1).unwrap();
    let elsewhere = Path::new("/incoming/base");
    world.disk.create_dir_all(Path::new("/incoming")).unwrap();
    crate::model::receive(&world, &received, elsewhere).unwrap();
    assert_eq!(state.install(elsewhere).unwrap(), log.marker(10));
    log.compare(&state);
    drop(state);
    world.crash(1);
    let (state, report) = world.open().unwrap();
    assert_eq!(report.applied, Some(log.marker(10)));
    assert_eq!(state.base().unwrap().marker, log.marker(10));
    log.compare(&state);
}

#[test]
fn a_failed_sync_stops_the_store() {
    let (log, _) = history();
    let world = World::default();
    let (state, _) = world.open().unwrap();
    log.apply(&state, 1).unwrap();
    world.disk.fail_syncs(true);
    assert!(state.checkpoint(&synced).is_err());
    world.disk.fail_syncs(false);
    assert!(matches!(state.checkpoint(&synced), Err(StateError::Stopped(_))));
    assert!(matches!(state.begin(), Err(StateError::Stopped(_))));
    assert!(matches!(state.build_base(), Err(StateError::Stopped(_))));
}

#[test]
fn rows_are_never_ahead_of_the_log() {
    let (log, _) = history();
    let world = World::default();
    let (state, _) = world.open().unwrap();
    log.apply(&state, 1).unwrap();
    let refused = state.checkpoint(&|index| {
        assert_eq!(index, 1);
        Err("the log's disk is gone".into())
    });
    assert!(matches!(refused, Err(StateError::Log { index: 1, .. })));
    drop(state);
    world.crash(1);
    assert_eq!(world.open().unwrap().1.applied, None);
}

#[test]
fn a_full_disk_is_survived_and_heals() {
    let (log, _) = history();
    let world = World::default();
    let (state, _) = world.open().unwrap();
    log.apply(&state, 1).unwrap();
    let used = world.disk.used();
    world.disk.limit(Some(used + 100));
    assert!(state.checkpoint(&synced).unwrap_err().is_disk_full());
    assert_eq!(world.disk.used(), used, "what could not be finished takes no room");
    log.apply(&state, 2).unwrap();
    log.compare(&state);
    assert!(state.checkpoint(&synced).unwrap_err().is_disk_full());
    world.disk.limit(None);
    assert_eq!(state.checkpoint(&synced).unwrap(), Some(log.marker(1)));
    assert_eq!(state.checkpoint(&synced).unwrap(), Some(log.marker(2)));
    assert_eq!(state.overlay_bytes(), 0);

    world.disk.limit(Some(world.disk.used() + 100));
    assert!(state.build_base().unwrap_err().is_disk_full());
    world.disk.limit(None);
    assert_eq!(state.build_base().unwrap().unwrap().marker, log.marker(2));
    assert!(world.disk.exists(&state.base().unwrap().path).unwrap());
    log.compare(&state);
}
