//! What `jeton bench revoke` prints.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Ran;
use super::load::Sample;
use crate::bench::report::{as_f64, rounded};
use crate::output::{Report, Table};

/// How many wrong answers are told one by one.
const TOLD_MAX: usize = 10;

/// When what happened, since the run began.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// The clock began to run.
    pub clock: Duration,
    /// The revocation was asked for.
    pub asked: Duration,
    /// It was answered.
    pub answered: Duration,
    /// Its sweep was seen to be through.
    pub swept: Duration,
    /// The clock stopped.
    pub end: Duration,
}

/// What was wrong.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Answers that said where a family was revoked.
    pub refused: u64,
    /// Families from outside that rotated from inside afterwards.
    pub moved_in: u64,
    /// Families from inside that were ever rotated, or validated, afterwards.
    wrongly_saved: u64,
    /// Families from outside that were ever refused, or are dead.
    wrongly_killed: u64,
    /// The first of them, in words, and what else was wrong.
    pub wrong: Vec<String>,
    others: u64,
}

impl Verdict {
    /// Takes down a family from inside.
    pub fn saved(&mut self, wrong: Option<String>) {
        self.wrongly_saved += u64::from(wrong.is_some());
        self.tell(wrong);
    }

    /// Takes down a family from outside.
    pub fn killed(&mut self, wrong: Option<String>) {
        self.wrongly_killed += u64::from(wrong.is_some());
        self.tell(wrong);
    }

    /// Takes down anything else that was wrong.
    pub fn wrong(&mut self, wrong: String) {
        self.others += 1;
        self.tell(Some(wrong));
    }

    fn tell(&mut self, wrong: Option<String>) {
        if self.wrong.len() < TOLD_MAX {
            self.wrong.extend(wrong);
        }
    }

    /// Whether nothing was.
    pub fn is_right(&self) -> bool {
        self.wrongly_saved + self.wrongly_killed + self.others == 0
    }
}

/// Rotations between two moments.
#[derive(Debug, Serialize)]
struct Window {
    seconds: f64,
    rotations_per_s: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    /// The longest time without a successful rotation.
    longest_gap_ms: f64,
}

impl Window {
    /// `samples` are in the order in which they were answered.
    fn of(samples: &[Sample], from: Duration, to: Duration) -> Result<Self> {
        let first = samples.partition_point(|sample| sample.at < from);
        let last = samples.partition_point(|sample| sample.at < to);
        let samples = &samples[first..last];
        let mut latencies = Histogram::<u64>::new(3)?;
        let (mut gap, mut before) = (Duration::ZERO, from);
        for sample in samples {
            latencies.record(u64::try_from(sample.took.as_micros())?.max(1))?;
            gap = gap.max(sample.at - before);
            before = sample.at;
        }
        let seconds = (to - from).as_secs_f64();
        Ok(Self {
            seconds: rounded(seconds),
            rotations_per_s: per(as_f64(latencies.len()), seconds),
            p50_us: latencies.value_at_quantile(0.5),
            p99_us: latencies.value_at_quantile(0.99),
            max_us: latencies.max(),
            longest_gap_ms: rounded(gap.max(to - before).as_secs_f64() * 1_000.0),
        })
    }

    fn row(&self, name: &str) -> [String; 7] {
        [
            name.to_owned(),
            format!("{:.1}", self.seconds),
            format!("{:.0}", self.rotations_per_s),
            format!("{} µs", self.p50_us),
            format!("{} µs", self.p99_us),
            format!("{} µs", self.max_us),
            format!("{:.1} ms", self.longest_gap_ms),
        ]
    }
}

fn per(amount: f64, of: f64) -> f64 {
    if of > 0.0 { rounded(amount / of) } else { 0.0 }
}

/// What is printed.
#[derive(Debug, Serialize)]
pub struct RevokeReport {
    families: u64,
    /// Of these, how many were revoked.
    revoked: u64,
    before: Window,
    /// From when the revocation was asked for until its sweep was through.
    during: Window,
    after: Window,
    during_per_before: f64,
    after_per_before: f64,
    /// The call itself.
    revoke_ms: f64,
    /// By the cluster's clock.
    sweep_s: f64,
    swept_families_per_s: f64,
    refused: u64,
    moved_in: u64,
    wrongly_saved: u64,
    wrongly_killed: u64,
    /// What an answer was worth.
    durability: String,
}

impl RevokeReport {
    /// Sums a run up.
    pub fn of(ran: &Ran, verdict: &Verdict, durability: String) -> Result<Self> {
        let mut samples = ran.samples.clone();
        samples.sort_unstable_by_key(|sample| sample.at);
        let Moments { clock, asked, answered, swept, end } = ran.moments;
        let before = Window::of(&samples, clock, asked)?;
        let during = Window::of(&samples, asked, swept)?;
        let after = Window::of(&samples, swept, end)?;
        let inside = ran.inside.len() as u64;
        Ok(Self {
            families: inside + ran.outside.len() as u64,
            revoked: inside,
            during_per_before: per(during.rotations_per_s, before.rotations_per_s),
            after_per_before: per(after.rotations_per_s, before.rotations_per_s),
            revoke_ms: rounded((answered - asked).as_secs_f64() * 1_000.0),
            sweep_s: rounded(ran.swept_in.as_secs_f64()),
            swept_families_per_s: per(as_f64(ran.sweep.families), ran.swept_in.as_secs_f64()),
            refused: verdict.refused,
            moved_in: verdict.moved_in,
            wrongly_saved: verdict.wrongly_saved,
            wrongly_killed: verdict.wrongly_killed,
            before,
            during,
            after,
            durability,
        })
    }
}

impl Report for RevokeReport {
    fn table(&self) -> Table {
        let headings = ["", "SECONDS", "ROTATIONS/S", "P50", "P99", "LONGEST", "GAP"];
        let mut table = Table::new(headings);
        table.row(self.before.row("before"));
        table.row(self.during.row("during"));
        table.row(self.after.row("after"));
        table.note(format!(
            "Speed during the sweep: {:.2} of before; after it: {:.2}.",
            self.during_per_before, self.after_per_before
        ));
        table.note(format!(
            "Revoked: {} of {} families, in {:.1} ms; swept in {:.1} s, {:.0} a second.",
            self.revoked, self.families, self.revoke_ms, self.sweep_s, self.swept_families_per_s
        ));
        table.note(format!(
            "{} refusals; {} families moved in later. Wrongly saved: {}, wrongly killed: {}.",
            self.refused, self.moved_in, self.wrongly_saved, self.wrongly_killed
        ));
        table.note(format!("Durability: {}.", self.durability));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_what_was_answered_in_it_and_its_silence() {
        let sample = |at, took| {
            let (at, took) = (Duration::from_millis(at), Duration::from_micros(took));
            Sample { at, took }
        };
        let samples = [sample(5, 9), sample(10, 1), sample(20, 3), sample(60, 2), sample(100, 9)];
        let window =
            Window::of(&samples, Duration::from_millis(10), Duration::from_millis(100)).unwrap();
        assert_eq!(
            serde_json::to_string(&window).unwrap(),
            "{\"seconds\":0.09,\"rotations_per_s\":33.3333,\"p50_us\":2,\"p99_us\":3,\
             \"max_us\":3,\"longest_gap_ms\":40.0}"
        );
        // Silence at its ends counts, too.
        let (from, to) = (Duration::from_millis(61), Duration::from_millis(200));
        assert_eq!(Window::of(&samples, from, to).unwrap().longest_gap_ms, 100.0);
        let empty = Window::of(&[], from, to).unwrap();
        assert_eq!((empty.rotations_per_s, empty.longest_gap_ms), (0.0, 139.0));
    }

    #[test]
    fn a_verdict_counts_all_and_tells_the_first() {
        let mut verdict = Verdict::default();
        verdict.saved(None);
        assert!(verdict.is_right());
        for number in 0..20 {
            verdict.killed(Some(format!("{number}")));
        }
        verdict.saved(Some("saved".to_owned()));
        assert!(!verdict.is_right());
        assert_eq!((verdict.wrongly_saved, verdict.wrongly_killed), (1, 20));
        assert_eq!(verdict.wrong.len(), TOLD_MAX);
    }
}
