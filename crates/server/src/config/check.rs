//! Bounds of settings, and how they must fit together.

use std::collections::BTreeSet;
use std::fmt;

use super::{Config, ConfigError, MIB};

/// A setting that is out of bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key.
    pub key: &'static str,
    /// What is wrong and what to do.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.problem)
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, key: &'static str, problem: impl Into<String>) {
        self.0.push(Fault { key, problem: problem.into() });
    }

    fn range(&mut self, key: &'static str, value: u64, min: u64, max: u64) {
        if value < min {
            self.add(key, format!("is {value}: it must be at least {min}"));
        } else if value > max {
            self.add(key, format!("is {value}: it must be at most {max}"));
        }
    }
}

impl Config {
    /// Checks everything, before anything is opened.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] lists all faults.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut faults = Faults::default();
        self.check_times(&mut faults);
        self.check_sizes(&mut faults);
        self.check_addresses(&mut faults);
        if self.data_dir.as_os_str().is_empty() {
            faults.add("data_dir", "is empty: name a directory");
        }
        for problem in super::gateway::problems(&self.gateway_clients) {
            faults.add("gateway_clients", problem);
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log_filter) {
            let problem =
                format!("is no filter ({error}): try \"info\" or \"info,jeton_raft=debug\"");
            faults.add("log_filter", problem);
        }
        if faults.0.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { faults: faults.0 }) }
    }

    fn check_times(&self, faults: &mut Faults) {
        faults.range("heartbeat_ms", self.heartbeat_ms, 10, 10_000);
        let min = self.heartbeat_ms.saturating_mul(3);
        if self.election_min_ms < min {
            let problem =
                format!("is {}: it must be at least three heartbeats, {min}", self.election_min_ms);
            faults.add("election_min_ms", problem);
        }
        if self.election_max_ms <= self.election_min_ms {
            let problem = format!(
                "is {}: it must be above election_min_ms, {}",
                self.election_max_ms, self.election_min_ms
            );
            faults.add("election_max_ms", problem);
        }
        faults.range("election_max_ms", self.election_max_ms, 0, 600_000);
        faults.range("clock_skew_max_ms", self.clock_skew_max_ms, 100, 60_000);
        faults.range("digest_every_ms", self.digest_every_ms, 0, 86_400_000);
        faults.range("sweep_every_ms", self.sweep_every_ms, 0, 86_400_000);
        faults.range("revocation_step_rows", self.revocation_step_rows.into(), 1, 1_000);
        faults.range("drain_ms", self.drain_ms, 0, 600_000);
    }

    fn check_sizes(&self, faults: &mut Faults) {
        faults.range("checkpoint_bytes", self.checkpoint_bytes, MIB, u64::MAX);
        let min = self.checkpoint_bytes.saturating_mul(2);
        if self.overlay_bytes_max < min {
            let problem = format!(
                "is {}: it must be at least twice checkpoint_bytes, {min}",
                self.overlay_bytes_max
            );
            faults.add("overlay_bytes_max", problem);
        }
        faults.range("base_bytes_min", self.base_bytes_min, MIB, u64::MAX);
        faults.range("log_segment_bytes", self.log_segment_bytes, MIB, 1024 * MIB);
        faults.range("consensus_threads", self.consensus_threads as u64, 1, 64);
        faults.range("connections_max", self.connections_max as u64, 1, 1_000_000);
        let calls = u64::from(self.calls_per_connection_max);
        faults.range("calls_per_connection_max", calls, 1, 1_000_000);
        let outstanding = self.pipeline_outstanding_max as u64;
        faults.range("pipeline_outstanding_max", outstanding, 1, 1_000_000);
        faults.range("message_bytes_max", self.message_bytes_max as u64, 128 * 1024, 256 * MIB);
    }

    fn check_addresses(&self, faults: &mut Faults) {
        let own = [
            ("client_advertise", &self.client_advertise, self.client_listen),
            ("peer_advertise", &self.peer_advertise, self.peer_listen),
        ];
        for (key, advertised, listened) in own {
            if advertised.is_empty() {
                if listened.ip().is_unspecified() {
                    let problem = format!(
                        "is not set, and {listened} is no address that others can reach: set it \
                         to this node's host:port"
                    );
                    faults.add(key, problem);
                }
            } else if let Some(problem) = address_problem(advertised) {
                faults.add(key, problem);
            }
        }
        if self.client_listen == self.peer_listen && self.client_listen.port() != 0 {
            faults.add("peer_listen", "is the same as client_listen: choose another port");
        }
        self.check_bootstrap(faults);
    }

    fn check_bootstrap(&self, faults: &mut Faults) {
        faults.range("bootstrap_expect", self.bootstrap_expect as u64, 0, 9);
        let mut seen = BTreeSet::new();
        for address in &self.join {
            if let Some(problem) = address_problem(address) {
                faults.add("join", format!("names \"{address}\", which {problem}"));
            }
            if !seen.insert(address) {
                faults.add("join", format!("names \"{address}\" twice: remove one"));
            }
        }
        if self.bootstrap_expect > 1 && seen.len() != self.bootstrap_expect {
            let problem = format!(
                "names {} peers although bootstrap_expect is {}: name all of them, this node too",
                seen.len(),
                self.bootstrap_expect
            );
            faults.add("join", problem);
        }
        let own = if self.peer_advertise.is_empty() {
            self.peer_listen.to_string()
        } else {
            self.peer_advertise.clone()
        };
        if self.bootstrap_expect > 1 && !seen.contains(&own) {
            let problem = format!(
                "does not name this node, {own}: the list must be the same on all nodes, this one \
                 included (or set peer_advertise to the name in it)"
            );
            faults.add("join", problem);
        }
    }
}

/// What is wrong with a `host:port`.
fn address_problem(address: &str) -> Option<&'static str> {
    const FORM: &str = "is no host:port: write it as in \"node1.example.com:7402\"";
    let Some((host, port)) = address.rsplit_once(':') else { return Some(FORM) };
    if host.is_empty() || address.contains(char::is_whitespace) || address.contains('/') {
        return Some(FORM);
    }
    match port.parse::<u16>() {
        Ok(0) => Some("has port 0: others can't reach that"),
        Ok(_) => None,
        Err(_) => Some(FORM),
    }
}
