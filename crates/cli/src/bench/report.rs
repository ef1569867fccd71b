//! The results of the benchmarks.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::check::Times;
use crate::output::{Report, Table};

/// What was counted while the clock ran.
#[derive(Debug)]
pub struct Counted {
    /// How long it ran.
    pub time: Duration,
    /// Latencies in microseconds.
    pub latencies: Histogram<u64>,
    /// CPU time of all nodes.
    pub server_cpu: Duration,
    /// Syncs of all nodes' logs.
    pub log_syncs: u64,
    /// Entries of one node's log.
    pub entries: u64,
    /// Commands that one node applied.
    pub commands: u64,
    /// What an answer was worth.
    pub durability: String,
}

/// What is printed.
#[derive(Debug, Serialize)]
pub struct RotateReport {
    /// Rotations a second.
    pub ops_per_s: f64,
    /// Half of the answers came within.
    pub p50_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1,000.
    pub p999_us: u64,
    /// CPU seconds of all nodes for 1,000 rotations.
    pub server_cpu_s_per_1k: f64,
    /// Syncs of all nodes' logs while the clock ran.
    pub log_syncs: u64,
    /// How many commands shared a log entry.
    pub commands_per_entry: f64,
    /// What an answer was worth.
    pub durability: String,
}

impl RotateReport {
    /// Sums a run up.
    pub fn of(counted: &Counted) -> Self {
        let operations = as_f64(counted.latencies.len());
        let per = |amount: f64, of: f64| if of > 0.0 { rounded(amount / of) } else { 0.0 };
        let cpu_s = counted.server_cpu.as_secs_f64();
        Self {
            ops_per_s: per(operations, counted.time.as_secs_f64()),
            p50_us: counted.latencies.value_at_quantile(0.5),
            p99_us: counted.latencies.value_at_quantile(0.99),
            p999_us: counted.latencies.value_at_quantile(0.999),
            server_cpu_s_per_1k: per(cpu_s * 1_000.0, operations),
            log_syncs: counted.log_syncs,
            commands_per_entry: per(as_f64(counted.commands), as_f64(counted.entries)),
            durability: counted.durability.clone(),
        }
    }
}

/// What `jeton bench check` prints.
#[derive(Debug, Serialize)]
pub struct CheckReport {
    /// Revocations that the view held.
    pub entries: u64,
    /// Seconds until it was fresh, from nothing.
    pub snapshot_s: f64,
    /// Memory of the view's tables for each of them.
    pub bytes_per_entry: f64,
    /// What the process grew by for each, with all that taking the snapshot left behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes_per_entry: Option<f64>,
    /// A check of a token with all claims that is active.
    pub active_ns: f64,
    /// Of this, reading the clock to know how old the view is.
    pub staleness_ns: f64,
    /// A check of a token with all claims that was revoked by name.
    pub denied_ns: f64,
    /// A check of a token with nothing but its name, which was revoked.
    pub one_look_ns: f64,
    /// The same names looked up in a plain hash map.
    pub hash_map_ns: f64,
    /// How often the one goes into the other.
    pub one_look_per_hash_map: f64,
}

impl CheckReport {
    /// Sums a run up.
    pub fn of(
        times: &Times,
        entries: u64,
        bytes: u64,
        resident: Option<u64>,
        loaded: Duration,
    ) -> Self {
        let each = |bytes: u64| ratio(u128::from(bytes), u128::from(entries));
        let one_decimal = |value: f64| (value * 10.0).round() / 10.0;
        Self {
            entries,
            snapshot_s: rounded(loaded.as_secs_f64()),
            bytes_per_entry: one_decimal(each(bytes)),
            resident_bytes_per_entry: resident.map(|bytes| one_decimal(each(bytes))),
            active_ns: one_decimal(times.active_ns),
            staleness_ns: one_decimal(times.staleness_ns),
            denied_ns: one_decimal(times.denied_ns),
            one_look_ns: one_decimal(times.one_look_ns),
            hash_map_ns: one_decimal(times.hash_map_ns),
            one_look_per_hash_map: rounded(times.one_look_ns / times.hash_map_ns),
        }
    }
}

impl Report for CheckReport {
    fn table(&self) -> Table {
        let ns = |time: f64| format!("{time:.1} ns");
        Table::facts([
            ("entries", self.entries.to_string()),
            ("snapshot", format!("{:.2} s", self.snapshot_s)),
            ("tables, per entry", format!("{:.0} B", self.bytes_per_entry)),
            ("active token, all claims", ns(self.active_ns)),
            ("of this, the clock", ns(self.staleness_ns)),
            ("revoked token, all claims", ns(self.denied_ns)),
            ("revoked token, one look", ns(self.one_look_ns)),
            ("plain hash map, one look", ns(self.hash_map_ns)),
        ])
    }
}

/// What one of many is.
#[allow(clippy::cast_precision_loss)]
pub fn ratio(amount: u128, of: u128) -> f64 {
    amount as f64 / of as f64
}

/// Counts here are far below 2^52.
#[allow(clippy::cast_precision_loss)]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// To four decimals: more would be noise.
pub fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

impl Report for RotateReport {
    fn table(&self) -> Table {
        Table::facts([
            ("rotations/s", format!("{:.0}", self.ops_per_s)),
            ("p50", format!("{} µs", self.p50_us)),
            ("p99", format!("{} µs", self.p99_us)),
            ("p99.9", format!("{} µs", self.p999_us)),
            ("nodes' CPU per 1,000", format!("{:.4} s", self.server_cpu_s_per_1k)),
            ("log syncs, all nodes", self.log_syncs.to_string()),
            ("commands per entry", format!("{:.1}", self.commands_per_entry)),
            ("durability", self.durability.clone()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_second_per_thousand_and_per_entry() {
        let mut latencies = Histogram::new(3).unwrap();
        for latency in 1..=1_000 {
            latencies.record(latency).unwrap();
        }
        let counted = Counted {
            time: Duration::from_millis(500),
            latencies,
            server_cpu: Duration::from_millis(60),
            log_syncs: 30,
            entries: 10,
            commands: 1_005,
            durability: "synced".into(),
        };
        let report = RotateReport::of(&counted);
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            "{\"ops_per_s\":2000.0,\"p50_us\":500,\"p99_us\":990,\"p999_us\":999,\
             \"server_cpu_s_per_1k\":0.06,\"log_syncs\":30,\"commands_per_entry\":100.5,\
             \"durability\":\"synced\"}"
        );
    }

    #[test]
    fn memory_is_per_entry_and_a_check_is_compared_with_a_hash_map() {
        let times = Times {
            active_ns: 123.44,
            denied_ns: 80.0,
            one_look_ns: 75.0,
            staleness_ns: 20.06,
            hash_map_ns: 100.0,
        };
        let report = CheckReport::of(&times, 10, 1_000, None, Duration::from_millis(1_500));
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            "{\"entries\":10,\"snapshot_s\":1.5,\"bytes_per_entry\":100.0,\"active_ns\":123.4,\
             \"staleness_ns\":20.1,\"denied_ns\":80.0,\"one_look_ns\":75.0,\
             \"hash_map_ns\":100.0,\"one_look_per_hash_map\":0.75}"
        );
    }
}
