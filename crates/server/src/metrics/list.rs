//! Every metric of a node, in one list: name, type, labels, unit and meaning.
//!
//! The reference in `docs/reference/metrics.md` is made from it, and a test keeps them equal. Names
//! follow Prometheus' conventions: a prefix, base units, `_total` on counters. Labels have few
//! values, known beforehand or bounded by the number of members; never a tenant, client or subject.

/// Whether a metric may go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Only goes up, and starts at 0 with the process.
    Counter,
    /// A value of this moment.
    Gauge,
}

impl Type {
    /// As the exposition spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// As it is scraped.
    pub name: &'static str,
    /// Whether it may go down.
    pub kind: Type,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts or measures.
    pub unit: &'static str,
    /// Its meaning, in lines.
    pub help: &'static [&'static str],
}

impl Metric {
    /// Its meaning as one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        self.help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

macro_rules! metrics {
    ($( $(#[doc = $help:literal])+ $kind:ident $id:ident = $name:literal,
        [$($label:literal),*], $unit:literal; )*) => {
        $(
            $(#[doc = $help])+
            pub(crate) const $id: Metric = Metric {
                name: $name,
                kind: Type::$kind,
                labels: &[$($label),*],
                unit: $unit,
                help: &[$($help),+],
            };
        )*

        /// All of them, in the order of the page.
        pub const METRICS: &[Metric] = &[$($id),*];
    };
}

metrics! {
    /// Always 1; the label names the version of the binary.
    Gauge BUILD_INFO = "jeton_build_info", ["version"], "none";
    /// When this process started, by this node's clock.
    Gauge START_TIME = "jeton_start_time_seconds", [], "seconds since 1970";
    /// Whether this node serves: 1, or 0. What /readyz says.
    Gauge READY = "jeton_ready", [], "none";

    /// Operations answered by this node, by kind. The outcome is `ok` or the refusal's code.
    /// Failures are not among them: jeton_failures_total.
    Counter OPERATIONS = "jeton_operations_total", ["operation", "outcome"], "operations";
    /// Rotations that gave a token or named a newer one: `rotated`, `replayed` (the identical
    /// successor of an earlier rotation), `adopted` (the caller's own stands for it) or
    /// `superseded`.
    Counter ROTATIONS = "jeton_rotations_total", ["outcome"], "rotations";
    /// Operations that failed at this node, by reason: docs/reference/requests.md explains each.
    Counter FAILURES = "jeton_failures_total", ["reason"], "operations";
    /// Operations that wait for their answer here.
    Gauge OUTSTANDING = "jeton_operations_outstanding", [], "operations";
    /// Requests of the HTTP interface answered, by the class of their status: `2xx` to `5xx`.
    Counter HTTP_RESPONSES = "jeton_http_responses_total", ["class"], "responses";
    /// Client connections that are open.
    Gauge CONNECTIONS = "jeton_client_connections", [], "connections";
    /// Client connections accepted.
    Counter CONNECTIONS_ACCEPTED = "jeton_client_connections_accepted_total", [], "connections";
    /// Who watches revocations at this node, over gRPC or HTTP.
    Gauge WATCHERS = "jeton_watchers", [], "watchers";
    /// Watchers that were cut off because they took nothing. They go on from their place.
    Counter WATCHERS_CUT_OFF = "jeton_watchers_cut_off_total", [], "watchers";
    /// Looks at the rows of feeds. The watchers of a tenant share one, but for who is behind.
    Counter FEED_READS = "jeton_feed_reads_total", [], "looks";
    /// Security events of the entries that this node applied, by kind. Every node counts every
    /// event: take the largest over the nodes, not the sum.
    Counter EVENTS = "jeton_events_total", ["event"], "events";

    /// Number of this node.
    Gauge NODE = "jeton_raft_node_id", [], "none";
    /// Number of the leader, as far as this node knows; 0: none.
    Gauge LEADER = "jeton_raft_leader_id", [], "none";
    /// Whether this node leads: 1, or 0.
    Gauge IS_LEADER = "jeton_raft_is_leader", [], "none";
    /// Raft's term. One that grows all the time is a cluster that can't keep a leader.
    Gauge TERM = "jeton_raft_term", [], "none";
    /// Index of the last entry in this node's log.
    Gauge LAST_LOG = "jeton_raft_last_log_index", [], "entries";
    /// Index of the last entry known to be on a majority.
    Gauge COMMITTED = "jeton_raft_committed_index", [], "entries";
    /// Index of the last entry applied here.
    Gauge APPLIED = "jeton_raft_applied_index", [], "entries";
    /// Voters.
    Gauge VOTERS = "jeton_raft_voters", [], "members";
    /// Learners.
    Gauge LEARNERS = "jeton_raft_learners", [], "members";
    /// Entries that a member lacks. Only on the leader.
    Gauge LAG = "jeton_raft_member_lag_entries", ["member"], "entries";
    /// Whether a member was heard of lately: 1, or 0. Only on the leader.
    Gauge REACHABLE = "jeton_raft_member_reachable", ["member"], "none";
    /// This node's clock against the median of the voters'; ahead is positive. Missing if unknown.
    Gauge CLOCK_SKEW = "jeton_clock_skew_seconds", [], "seconds";

    /// Batches that this node proposed as leader: one is one log entry.
    Counter BATCHES = "jeton_batches_proposed_total", [], "entries";
    /// Commands in those batches: divided by them, commands per entry.
    Counter COMMANDS = "jeton_commands_proposed_total", [], "commands";
    /// Commands applied here, whoever proposed them.
    Counter COMMANDS_APPLIED = "jeton_commands_applied_total", [], "commands";
    /// Commands that wait here to be proposed or forwarded.
    Gauge WAITING = "jeton_commands_waiting", [], "commands";
    /// Rotations answered together with an equal one, without a command of their own.
    Counter COLLAPSED = "jeton_rotations_collapsed_total", [], "rotations";
    /// Rounds that confirmed a read index, each for all reads that waited.
    Counter READ_ROUNDS = "jeton_read_rounds_total", [], "rounds";

    /// Syncs of the log's segments.
    Counter LOG_SYNCS = "jeton_log_syncs_total", [], "syncs";
    /// Entries written to the log and synced: divided by the syncs, entries per sync.
    Counter LOG_ENTRIES = "jeton_log_entries_total", [], "entries";
    /// Bytes written to the log.
    Counter LOG_BYTES = "jeton_log_written_bytes_total", [], "bytes";
    /// Segment files of the log.
    Gauge LOG_SEGMENTS = "jeton_log_segments", [], "files";
    /// Entries of the log that are held in memory.
    Gauge LOG_CACHE = "jeton_log_cache_bytes", [], "bytes";
    /// Whether the disk has no room for the next segment: 1, or 0. Alert on 1.
    Gauge LOG_FULL = "jeton_log_disk_full", [], "none";
    /// Changes that only the log and memory hold. Writes wait at overlay_bytes_max.
    Gauge OVERLAY = "jeton_overlay_bytes", [], "bytes";
    /// Log index that the rows on disk stand at; 0 before the first checkpoint. What lies between
    /// it and jeton_raft_applied_index is applied again at the next start.
    Gauge CHECKPOINT = "jeton_checkpoint_index", [], "entries";
    /// Log index of the newest base file; 0: none.
    Gauge BASE_INDEX = "jeton_base_index", [], "entries";
    /// Length of the newest base file; 0: none.
    Gauge BASE_BYTES = "jeton_base_bytes", [], "bytes";
    /// Base files built.
    Counter BASES = "jeton_base_builds_total", [], "files";
    /// Time that building them took: divided by them, how long one takes.
    Counter BASE_TIME = "jeton_base_build_seconds_total", [], "seconds";
}

/// The reference of all metrics, `docs/reference/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `GET /metrics` on the client port, in Prometheus' text format. Made from \
         `crates/server/src/metrics/list.rs` by\n\
         `cargo run -p jeton-server --example reference -- metrics`; a test keeps them equal.\n\n\
         Counters start at 0 with the process. No label names a tenant, client or subject.\n\n\
         | metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        page.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            metric.name,
            metric.kind.as_str(),
            metric.unit,
            labels.join(", "),
            metric.sentence(),
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_and_are_used_once() {
        let mut seen = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("jeton_"), "{name}");
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(word), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Type::Counter, "{name}");
            let base = name.trim_end_matches("_total");
            for (unit, suffix) in [("bytes", "_bytes"), ("seconds", "_seconds")] {
                assert_eq!(metric.unit.starts_with(unit), base.ends_with(suffix), "{name}");
            }
            let sentence = metric.sentence();
            assert!(sentence.ends_with('.') && !sentence.contains('|'), "{name}: {sentence}");
            assert!(!sentence.contains('\\'), "the exposition would need escapes: {name}");
        }
    }
}
