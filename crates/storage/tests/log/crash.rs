//! Power cuts at every call to the disk, with every kind of loss.

use jeton_storage::disk::{Loss, MemDisk};
use jeton_storage::log::{LogError, LogOptions};
use proptest::prelude::*;

use super::model::{History, Step, step};
use super::{open, open_with, small};

/// Runs the steps until the disk stops, and checks what is left. Says whether it stopped.
fn run(
    disk: &MemDisk,
    history: &mut History,
    steps: &[Step],
    calls: u64,
    loss: Loss,
) -> Result<bool, LogError> {
    disk.stop_after(calls);
    if let Ok((log, _)) = open_with(disk, small()) {
        for step in steps {
            if history.step(&log, step).is_err() {
                break;
            }
            history.check(&log);
        }
        drop(log);
    }
    let stopped = disk.stopped();
    disk.crash(loss);
    let (log, report) = open_with(disk, small())?;
    history.check_recovered(&log);
    drop(log);
    if loss == Loss::Nothing && !stopped {
        assert_eq!(report.torn, None);
    }
    Ok(stopped)
}

/// Everything that the log can do, over several segments.
fn tour() -> Vec<Step> {
    use Step::{Append, Committed, Purge, Truncate, Vote};
    vec![
        Vote,
        Append(3, 100),
        Append(8, 600),
        Committed,
        Append(2, 50),
        Truncate(1),
        Append(9, 700),
        Vote,
        Truncate(8),
        Append(4, 30),
        Committed,
        Purge(8),
        Append(7, 650),
        Purge(30),
        Append(3, 300),
        Vote,
    ]
}

#[test]
fn power_cut_at_every_call_keeps_what_was_acknowledged() {
    let losses = [Loss::Nothing, Loss::Unsynced];
    for loss in losses.into_iter().chain((0..6).map(Loss::Some)) {
        let mut calls = 0;
        loop {
            let (disk, mut history) = (MemDisk::new(), History::default());
            let stopped = run(&disk, &mut history, &tour(), calls, loss)
                .unwrap_or_else(|error| panic!("{loss:?} at call {calls}: {error}"));
            // What was found is as good as any other log: first for a batch that needs one more
            // segment, then for everything.
            let more = [Step::Append(4, 700)];
            run(&disk, &mut history, &more, 1000, Loss::Unsynced).unwrap();
            run(&disk, &mut history, &tour(), 1000, Loss::Unsynced).unwrap();
            if !stopped {
                break;
            }
            calls += 1;
        }
        assert!(calls > 50, "the tour makes only {calls} calls");
    }
}

#[test]
fn power_cut_while_recovering_from_a_power_cut_loses_nothing_more() {
    let options = LogOptions { segment_bytes: 16 << 10, ..small() };
    let mut torn = 0;
    for seed in 0..200 {
        let (disk, mut history) = (MemDisk::new(), History::default());
        let (log, _) = open_with(&disk, options.clone()).unwrap();
        for step in &tour()[..6] {
            history.step(&log, step).unwrap();
        }
        // Cut a large batch between its write and its sync, then each call of the recovery.
        disk.stop_after(1);
        assert!(history.step(&log, &Step::Append(5, 400)).is_err());
        disk.crash(Loss::Some(seed));
        drop(log);
        for calls in 0..8 {
            disk.stop_after(calls);
            let opened = open_with(&disk, options.clone());
            torn += u32::from(opened.is_ok_and(|(_, report)| report.torn.is_some()));
            disk.crash(Loss::Some(seed + calls));
        }
        history.check_recovered(&open(&disk).0);
    }
    assert!(torn > 20, "only {torn} torn tails");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_steps_and_any_power_cuts_keep_what_was_acknowledged(
        rounds in prop::collection::vec(
            (prop::collection::vec(step(), 0..30), 0..60u64, any::<u64>()),
            1..6,
        ),
    ) {
        let (disk, mut history) = (MemDisk::new(), History::default());
        for (steps, calls, seed) in rounds {
            let loss = match seed % 8 {
                0 => Loss::Nothing,
                1 => Loss::Unsynced,
                _ => Loss::Some(seed),
            };
            run(&disk, &mut history, &steps, calls, loss).unwrap();
        }
    }
}
