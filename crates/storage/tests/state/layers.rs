//! Reads through own writes, active and frozen overlay, and rows.

use std::collections::BTreeMap;

use bytes::Bytes;
use jeton_core::tables::{ReadTables, Tables};
use proptest::prelude::*;

use crate::world::{Entry, Log, World, synced};

fn rows(found: Vec<(Bytes, Bytes)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    found.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn model_scan(
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    from: &[u8],
    to: &[u8],
    rows_max: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let inside = model.iter().filter(|(key, _)| from <= key.as_slice() && key.as_slice() < to);
    inside.take(rows_max).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn small_key() -> impl Strategy<Value = Vec<u8>> {
    (0x3e_u8..0x43, proptest::option::of(0_u8..12)).prop_map(|(first, second)| {
        let mut key = vec![first];
        key.extend(second);
        key
    })
}

fn small_entry(most: usize) -> impl Strategy<Value = Entry> {
    let value = prop_oneof![Just(None), any::<[u8; 2]>().prop_map(|v| Some(v.to_vec()))];
    proptest::collection::vec((small_key(), value), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_scan_merges_all_layers_in_order(
        in_rows in small_entry(60),
        frozen in small_entry(30),
        active in small_entry(30),
        own in small_entry(30),
        scans in proptest::collection::vec((small_key(), small_key(), 0_usize..40), 1..8),
    ) {
        let world = World::default();
        let (state, _) = world.open().unwrap();
        let mut log = Log::default();
        let first = log.push(in_rows);
        log.apply(&state, first).unwrap();
        state.checkpoint(&synced).unwrap();
        let second = log.push(frozen);
        log.apply(&state, second).unwrap();
        // A checkpoint that fails on its first write leaves its overlay frozen.
        world.disk.limit(Some(world.disk.used()));
        prop_assert!(state.checkpoint(&synced).unwrap_err().is_disk_full());
        let third = log.push(active);
        log.apply(&state, third).unwrap();

        let mut changes = state.begin().unwrap();
        let mut with_own = log.rows(third);
        for (key, value) in &own {
            match value {
                Some(value) => {
                    changes.put(key.clone(), value.clone());
                    with_own.insert(key.clone(), value.clone());
                }
                None => {
                    changes.delete(key);
                    with_own.remove(key);
                }
            }
        }
        // Twice: gaps found by the first pass are used by the second.
        for (from, to, rows_max) in scans.iter().chain(&scans) {
            let seen = rows(changes.scan(from, to, *rows_max).unwrap());
            prop_assert_eq!(seen, model_scan(&with_own, from, to, *rows_max));
            let seen = rows(state.view().scan(from, to, *rows_max).unwrap());
            prop_assert_eq!(seen, model_scan(&log.rows(third), from, to, *rows_max));
        }
        for (key, _) in &own {
            let seen = changes.get(key).unwrap().map(|value| value.to_vec());
            prop_assert_eq!(seen.as_ref(), with_own.get(key));
        }
        drop(changes);
        log.compare(&state);
        world.disk.limit(None);
        state.checkpoint(&synced).unwrap();
        log.compare(&state);
    }
}

#[test]
fn changes_that_are_dropped_never_were() {
    let (state, _) = World::default().open().unwrap();
    let mut changes = state.begin().unwrap();
    changes.put(b"\x50a".to_vec(), b"1".to_vec());
    assert_eq!(changes.get(b"\x50a").unwrap().unwrap(), "1");
    drop(changes);
    assert_eq!(state.view().get(b"\x50a").unwrap(), None);
    assert_eq!(state.marker(), None);
}

#[test]
fn removals_at_the_head_of_a_range_are_passed_once() {
    let (state, _) = World::default().open().unwrap();
    let mut log = Log::default();
    let key = |number: u32| [b"\x60".as_slice(), &number.to_be_bytes()].concat();
    let index = log.push((0..2_000).map(|number| (key(number), Some(vec![1]))).collect());
    log.apply(&state, index).unwrap();
    state.checkpoint(&synced).unwrap();
    for batch in 0..19 {
        let swept = batch * 100..(batch + 1) * 100;
        let index = log.push(swept.map(|number| (key(number), None)).collect());
        log.apply(&state, index).unwrap();
        let next = state.view().scan(b"\x60", b"\x61", 3).unwrap();
        assert_eq!(next[0].0, key((batch + 1) * 100));
    }
    // A row written into the gap is found again.
    let index = log.push(vec![(key(7), Some(vec![2])), (key(1_500), Some(vec![3]))]);
    log.apply(&state, index).unwrap();
    let next = rows(state.view().scan(b"\x60", b"\x61", 3).unwrap());
    let expected = vec![(key(7), vec![2]), (key(1_500), vec![3]), (key(1_900), vec![1])];
    assert_eq!(next, expected);
    log.compare(&state);
}

#[test]
#[should_panic(expected = "one writer")]
fn two_entries_at_once_are_a_bug() {
    let (state, _) = World::default().open().unwrap();
    let _first = state.begin().unwrap();
    let _second = state.begin();
}
