//! Damage is never silent: what was altered is found, and rebuilt or refused.

use std::path::{Path, PathBuf};

use jeton_storage::disk::{Disk, RealDisk};
use jeton_storage::state::{BaseReader, Finding, State, StateError, StateOptions};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::kill::{History, open, options};
use crate::world::{DIR, Log, World, synced};

fn log() -> Log {
    let mut log = Log::default();
    for number in 0..4_u8 {
        log.push(vec![
            (b"\x10pinned".to_vec(), Some(vec![number])),
            (vec![0x50, number], Some(vec![number; 5])),
            (b"\x60gone".to_vec(), (number == 0).then(Vec::new)),
        ]);
    }
    log
}

/// Checkpoints at 1, 2 and 3, a base at 2.
fn world(log: &Log) -> (World, State) {
    let world = World::default();
    let (state, _) = world.open().unwrap();
    for index in 1..=3 {
        log.apply(&state, index).unwrap();
        state.checkpoint(&synced).unwrap();
        if index == 2 {
            state.build_base().unwrap().unwrap();
        }
    }
    (world, state)
}

fn file(world: &World, prefix: &str) -> PathBuf {
    let names = world.files();
    let name = names.iter().find(|name| name.starts_with(prefix)).unwrap();
    Path::new(DIR).join(name)
}

fn rebuilt_from_base(world: &World, log: &Log) {
    let (state, report) = world.open().unwrap();
    assert!(report.rebuilt);
    assert!(matches!(report.findings[0], Finding::RowsDamaged { .. }), "{report:?}");
    assert_eq!(report.applied, Some(log.marker(2)));
    log.replay(&state).unwrap();
    log.compare(&state);
    state.checkpoint(&synced).unwrap();
    drop(state);
    let (state, report) = world.open().unwrap();
    assert_eq!((report.rebuilt, report.findings), (false, Vec::new()));
    log.compare(&state);
}

#[test]
fn a_silently_lost_row_is_noticed_and_the_rows_are_rebuilt() {
    for lost in [b"\x10pinned".as_slice(), &[0x50, 1]] {
        let log = log();
        let (world, state) = world(&log);
        drop(state);
        world.store.lose(lost);
        rebuilt_from_base(&world, &log);
    }
}

#[test]
fn rows_that_do_not_open_are_rebuilt() {
    let log = log();
    let (world, state) = world(&log);
    drop(state);
    world.store.break_all();
    rebuilt_from_base(&world, &log);
}

#[test]
fn the_redo_is_used_for_rebuilding_where_it_builds_on_the_base() {
    let log = log();
    let world = World::default();
    let (state, _) = world.open().unwrap();
    for index in 1..=2 {
        log.apply(&state, index).unwrap();
    }
    state.checkpoint(&synced).unwrap();
    state.build_base().unwrap().unwrap();
    log.apply(&state, 3).unwrap();
    world.store.fail_after(1);
    assert!(state.checkpoint(&synced).is_err());
    drop(state);
    world.crash(1);
    world.store.break_all();
    let (state, report) = world.open().unwrap();
    assert!(report.rebuilt);
    assert_eq!(report.applied, Some(log.marker(3)));
    log.compare(&state);
}

#[test]
fn a_redo_that_builds_on_a_later_state_than_the_base_is_left_out() {
    let log = log();
    let (world, state) = world(&log);
    log.apply(&state, 4).unwrap();
    world.store.fail_after(1);
    assert!(state.checkpoint(&synced).is_err());
    drop(state);
    world.crash(1);
    world.store.break_all();
    let (state, report) = world.open().unwrap();
    assert_eq!(report.applied, Some(log.marker(2)));
    assert_eq!(report.findings.len(), 1, "only the rows are damaged: {report:?}");
    assert!(world.files().iter().all(|name| !name.starts_with("redo")));
    log.replay(&state).unwrap();
    log.compare(&state);
}

#[test]
fn without_a_base_damaged_rows_begin_anew() {
    let log = log();
    let world = World::default();
    let (state, _) = world.open().unwrap();
    log.apply(&state, 1).unwrap();
    state.checkpoint(&synced).unwrap();
    drop(state);
    world.store.lose(b"\x10pinned");
    let (state, report) = world.open().unwrap();
    assert!(report.rebuilt);
    assert_eq!((report.applied, report.rows), (None, Some(0)));
    log.replay(&state).unwrap();
    log.compare(&state);
}

#[test]
fn a_base_damage_that_the_digest_notices_keeps_no_base() {
    let log = log();
    let (world, state) = world(&log);
    world.store.lose(&[0x50, 1]);
    assert!(matches!(state.build_base(), Err(StateError::Digest { index: 3, .. })));
    assert!(matches!(state.begin(), Err(StateError::Stopped(_))));
    let bases: Vec<_> = world.files().into_iter().filter(|name| name.starts_with("base")).collect();
    assert_eq!(bases, ["base-00000000000000000002"], "the old one is kept, no new one");
    drop(state);
    rebuilt_from_base(&world, &log);
}

#[test]
fn rows_can_be_verified_after_a_quick_opening() {
    let log = log();
    let (world, state) = world(&log);
    drop(state);
    let quick = StateOptions { verify_at_open: false, ..StateOptions::default() };
    let (state, report) = world.open_with(quick.clone()).unwrap();
    assert_eq!((report.applied, report.rows), (Some(log.marker(3)), None));
    log.compare(&state);
    log.apply(&state, 4).unwrap();
    assert_eq!(state.verify().unwrap(), Some(log.rows(3).len() as u64));
    state.checkpoint(&synced).unwrap();
    assert_eq!(state.verify().unwrap(), Some(log.rows(4).len() as u64));
    drop(state);

    world.store.lose(&[0x50, 1]);
    let (state, report) = world.open_with(quick.clone()).unwrap();
    assert!(!report.rebuilt, "damage outside of the pinned rows is not seen at once");
    assert!(matches!(state.verify(), Err(StateError::Digest { index: 4, .. })));
    assert!(matches!(state.begin(), Err(StateError::Stopped(_))));
    drop(state);
    world.crash(0);
    // What was found is remembered: the next opening rebuilds, however quick it is to be.
    let (state, report) = world.open_with(quick).unwrap();
    assert!(report.rebuilt);
    assert_eq!(report.applied, Some(log.marker(2)));
    log.replay(&state).unwrap();
    log.compare(&state);
}

#[test]
fn every_flipped_bit_of_a_base_is_noticed() {
    let log = log();
    let (sound, state) = world(&log);
    drop(state);
    let path = file(&sound, "base-");
    let bits = sound.disk.content(&path).unwrap().len() as u64 * 8;
    for bit in 0..bits {
        let (world, state) = world(&log);
        drop(state);
        world.disk.flip_bit(&path, bit);
        assert!(BaseReader::verify(&world.disk, &path).is_err(), "bit {bit}");
        // The rows are sound: the node goes on, and can make a new base.
        let (state, report) = world.open().unwrap();
        assert!(!report.rebuilt);
        assert_eq!(report.applied, Some(log.marker(3)));
        assert_eq!(state.build_base().unwrap().unwrap().marker.index, 3);
        drop(state);
        // The rows are damaged too: there is nothing left to rebuild from.
        world.store.break_all();
        world.disk.flip_bit(&file(&world, "base-"), bit % (bits - 64));
        let Err(lost) = world.open() else { panic!("bit {bit} was not noticed") };
        assert!(matches!(lost, StateError::Lost { .. }), "bit {bit}: {lost}");
        assert!(lost.to_string().contains("add it again as a new node"), "{lost}");
    }
}

#[test]
fn a_damaged_base_is_not_installed() {
    let log = log();
    let (other, state) = world(&log);
    log.apply(&state, 4).unwrap();
    state.checkpoint(&synced).unwrap();
    let base = other.disk.content(&state.build_base().unwrap().unwrap().path).unwrap();
    let damages = (0..base.len() * 8)
        .map(|bit| {
            let mut damaged = base.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            damaged
        })
        .chain((0..base.len()).map(|len| base[..len].to_vec()))
        .chain([[base.as_slice(), &[0]].concat(), [base.as_slice(), &base].concat()]);
    let (world, state) = world(&log);
    for damaged in damages {
        let file = state.incoming_path(4);
        crate::model::receive(&world, &damaged, &file).unwrap();
        assert!(state.install(&file).is_err());
        assert_eq!(state.marker(), Some(log.marker(3)));
    }
    log.compare(&state);
    log.apply(&state, 4).unwrap();
    state.checkpoint(&synced).unwrap();
    drop(state);
    let (state, report) = world.open().unwrap();
    assert_eq!((report.rebuilt, report.findings), (false, Vec::new()));
    log.compare(&state);
}

#[test]
fn a_base_that_is_not_ahead_is_refused() {
    let log = log();
    let (other, state) = world(&log);
    let base = other.disk.content(&state.build_base().unwrap().unwrap().path).unwrap();
    let (world, state) = world(&log);
    let file = state.incoming_path(3);
    crate::model::receive(&world, &base, &file).unwrap();
    let refused = state.install(&file);
    assert!(matches!(refused, Err(StateError::NotNewer { base: 3, current: 3 })));
    log.compare(&state);
}

#[test]
fn every_flipped_bit_of_a_redo_is_noticed() {
    let log = log();
    let interrupted = || {
        let (world, state) = world(&log);
        log.apply(&state, 4).unwrap();
        world.store.fail_after(0);
        assert!(state.checkpoint(&synced).is_err());
        drop(state);
        world.crash(1);
        world
    };
    let sound = interrupted();
    let path = file(&sound, "redo-");
    let bits = sound.disk.content(&path).unwrap().len() as u64 * 8;
    let (_, report) = sound.open().unwrap();
    assert_eq!(report.applied, Some(log.marker(4)));
    for bit in 0..bits {
        let world = interrupted();
        world.disk.flip_bit(&path, bit);
        match world.open() {
            Ok((state, report)) => {
                assert_eq!(report.applied, Some(log.marker(3)), "bit {bit}");
                let found =
                    report.findings.iter().any(|f| matches!(f, Finding::RedoDamaged { .. }));
                assert!(found, "bit {bit}: {report:?}");
                log.compare(&state);
            }
            Err(refused) => panic!("bit {bit}: {refused}"),
        }
    }
}

/// Copies a directory of files and directories.
fn copy_dir(from: &Path, to: &Path) {
    RealDisk.create_dir_all(to).unwrap();
    for name in RealDisk.list(from).unwrap() {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy_dir(&from, &to);
        } else {
            let bytes = RealDisk.open(&from).unwrap().read_all().unwrap();
            RealDisk.create_new(&to).unwrap().write_at(&bytes, 0).unwrap();
        }
    }
}

/// More flips with `JETON_FLIPS=1000`.
#[test]
fn flipped_bits_in_sled_are_never_silent() {
    let flips: u64 =
        std::env::var("JETON_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let sound = tempfile::tempdir().unwrap();
    let base = {
        let (state, _) = open(sound.path());
        let mut history = History::new();
        while history.index < 600 {
            history.apply_next(&state);
            if history.index == 300 {
                state.checkpoint(&synced).unwrap();
                state.build_base().unwrap().unwrap();
            }
        }
        state.checkpoint(&synced).unwrap();
        state.base().unwrap().marker
    };
    let expected = History::at(600);
    let rows = sound.path().join("rows-000001");
    let files: Vec<_> = RealDisk.list(&rows).unwrap();
    let mut rebuilt = 0;
    for seed in 0..flips {
        let mut random = SmallRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        copy_dir(sound.path(), dir.path());
        // The big file mostly, and each of the small ones.
        let small = files[usize::try_from(seed).unwrap() % files.len()].as_str();
        let name = if seed % 4 == 0 { small } else { "db" };
        let path = dir.path().join("rows-000001").join(name);
        if path.is_dir() {
            continue;
        }
        let damaged = RealDisk.open(&path).unwrap();
        let len = damaged.len().unwrap();
        if len == 0 {
            continue;
        }
        let mut byte = [0];
        let at = random.random_range(0..len);
        damaged.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 1 << random.random_range(0..8);
        damaged.write_at(&byte, at).unwrap();

        let (state, report) =
            State::open(std::sync::Arc::new(RealDisk), dir.path(), options()).unwrap();
        if report.rebuilt {
            rebuilt += 1;
            assert_eq!(report.applied.as_ref(), Some(&base), "seed {seed}");
            assert!(!report.findings.is_empty());
            History::at(300).compare(&state);
        } else {
            // The bit was in space that sled does not use, or sled went back to an earlier whole
            // state that the log leads on from.
            let applied = report.applied.unwrap().index;
            assert!(applied >= 300, "seed {seed}");
            if applied == 600 {
                expected.compare(&state)
            } else {
                History::at(applied).compare(&state)
            }
        }
    }
    assert!(rebuilt > 0, "no flip had an effect");
}
