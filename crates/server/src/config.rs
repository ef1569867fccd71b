//! The server's settings: one struct, each field with its meaning, unit, default and bounds.
//!
//! ```text
//!  defaults ◀ file (TOML) ◀ environment (JETON_…) ◀ flags          the later one wins
//! ```
//!
//! A key is written the same everywhere: `data_dir` in the file, `JETON_DATA_DIR` in the
//! environment, `--data-dir` as a flag. Unknown keys are errors. Everything is checked before
//! anything is opened, and all faults are told at once.

mod check;
mod gateway;
mod layers;
mod setting;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use check::Fault;
pub use gateway::{GatewayClient, Reach, SecretHash};
pub use layers::{ConfigError, Layers};
pub use setting::{LogFormat, Setting, SettingError};

/// A key of the configuration, for references and `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As in the file.
    pub name: &'static str,
    /// Meaning, unit, default, bounds; one line per source line.
    pub doc: &'static [&'static str],
}

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $name:ident : $type:ty = $default:expr; )*) => {
        /// Settings of a server.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct Config {
            $( $(#[doc = $doc])+ pub $name: $type, )*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $( $name: $default, )* }
            }
        }

        /// All keys, in the order of the file.
        pub const KEYS: &[Key] = &[
            $( Key { name: stringify!($name), doc: &[$($doc),+] }, )*
        ];

        impl Config {
            /// Sets a key from a value of a TOML file. `None` if there is no such key.
            fn set_toml(
                &mut self,
                key: &str,
                value: &toml::Value,
            ) -> Option<Result<(), SettingError>> {
                Some(match key {
                    $( stringify!($name) => {
                        Setting::from_toml(value).map(|value| self.$name = value)
                    } )*
                    _ => return None,
                })
            }

            /// Sets a key from text: environment or flag. `None` if there is no such key.
            fn set_text(&mut self, key: &str, text: &str) -> Option<Result<(), SettingError>> {
                Some(match key {
                    $( stringify!($name) => {
                        Setting::from_text(text).map(|value| self.$name = value)
                    } )*
                    _ => return None,
                })
            }

            /// A key's value as it is written in the file. `None` if there is no such key.
            #[must_use]
            pub fn shown(&self, key: &str) -> Option<String> {
                Some(match key {
                    $( stringify!($name) => Setting::to_toml(&self.$name), )*
                    _ => return None,
                })
            }
        }
    };
}

const MIB: u64 = 1024 * 1024;

settings! {
    /// Directory of everything that this node keeps; made if it does not exist.
    /// Default "data". One process at a time.
    data_dir: PathBuf = PathBuf::from("data");

    /// Address and port where clients are served. Default 127.0.0.1:7401.
    client_listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 7401));

    /// host:port at which clients reach this node; other nodes tell it to their clients.
    /// Default "": the address that is listened on, which then must not be a wildcard.
    client_advertise: String = String::new();

    /// Address and port where the other nodes are served. Default 127.0.0.1:7402.
    peer_listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 7402));

    /// host:port at which the other nodes reach this one. It names the node in a bootstrap.
    /// Default "": the address that is listened on, which then must not be a wildcard.
    peer_advertise: String = String::new();

    /// How many nodes a new cluster waits for before it begins. Default 1: this node alone.
    /// 0: begin none unasked; wait to be added, or for `jeton cluster init`. At most 9.
    bootstrap_expect: usize = 1;

    /// Peer addresses (host:port) of the cluster, this node's own included, the same on all nodes.
    /// Default []. With bootstrap_expect above 1 it must name that many.
    join: Vec<String> = Vec::new();

    /// How often the leader says that it is there, in milliseconds. Default 80, 10 to 10000.
    heartbeat_ms: u64 = 80;

    /// A node stands for election after the leader was silent for election_max_ms and a time drawn
    /// between this and election_max_ms, in milliseconds. Default 250, at least three heartbeats.
    /// Between distant regions: at least ten round trips.
    election_min_ms: u64 = 250;

    /// See election_min_ms, in milliseconds. Default 400, above election_min_ms.
    election_max_ms: u64 = 400;

    /// How far this node's clock may be from the median of all, in milliseconds, before it stops
    /// serving. Default 2000, 100 to 60000.
    clock_skew_max_ms: u64 = 2_000;

    /// Bytes of changes in memory from which a checkpoint is written.
    /// Default 67108864 (64 MiB), at least 1048576.
    checkpoint_bytes: u64 = 64 * MIB;

    /// Bytes of changes in memory at which writes wait for the checkpoint.
    /// Default 268435456 (256 MiB), at least twice checkpoint_bytes.
    overlay_bytes_max: u64 = 256 * MIB;

    /// Bytes of log since the last base file from which a new one is written.
    /// Default 268435456 (256 MiB), at least 1048576.
    base_bytes_min: u64 = 256 * MIB;

    /// Length of a log segment in bytes. Default 67108864 (64 MiB), 1048576 to 1073741824.
    log_segment_bytes: u64 = 64 * MIB;

    /// How often the leader has all replicas note the digest of their state, in milliseconds.
    /// Default 1000; 0 turns it off.
    digest_every_ms: u64 = 1_000;

    /// How often the leader reclaims what has expired, in milliseconds. Default 1000; 0: never.
    sweep_every_ms: u64 = 1_000;

    /// Rows that one step of a revocation's sweep looks at. Default 250, 1 to 1000. More end the
    /// sweep sooner, fewer let those who rotate meanwhile wait for less.
    revocation_step_rows: u32 = 250;

    /// Threads that consensus and peers have for themselves. Default 2, 1 to 64.
    consensus_threads: usize = 2;

    /// Client connections at once; more wait to be accepted. Default 4096, at least 1.
    connections_max: usize = 4_096;

    /// Calls at once on one connection; more wait. Default 1024, at least 1.
    calls_per_connection_max: u32 = 1_024;

    /// Operations outstanding on one pipeline; more are not read until answers have left.
    /// Default 8192, 1 to 1000000.
    pipeline_outstanding_max: usize = 8_192;

    /// Largest message from a client, in bytes. Default 4194304 (4 MiB), at least 131072.
    message_bytes_max: usize = 4 * 1024 * 1024;

    /// How long a stopping node waits for what is outstanding, in milliseconds.
    /// Default 5000, at most 600000.
    drain_ms: u64 = 5_000;

    /// Clients of POST /oauth2/revoke and /oauth2/introspect: { id = "web", tenant = "acme",
    /// secret_sha256 = "64 hexadecimal digits", revoke = "own", introspect = "any",
    /// access_token_kind = "access_token" }.
    /// Default []. "own": tokens issued to it; "any": all of its tenant; "none" if left out.
    /// Secrets are random, 128 bits or more: only their SHA-256 stands here. At most 1000.
    /// access_token_kind: where the tenant keeps reference access tokens; none if left out.
    gateway_clients: Vec<GatewayClient> = Vec::new();

    /// Serve gRPC server reflection, so that tools find services and messages by themselves.
    /// Default false; `jeton dev` turns it on.
    reflection: bool = false;

    /// What is logged: levels, by target if you like ("info,jeton_raft=debug"). Default "info".
    /// What openraft says, but for warnings, comes only if it is named ("info,openraft=info").
    log_filter: String = "info".to_owned();

    /// Form of log lines, "text" or "json". Default "text".
    log_format: LogFormat = LogFormat::Text;

    /// For chaos tests only, never in production: a file with a whole number of milliseconds that
    /// this node's wall clock is put wrong by, ahead or (negative) behind. It is read at every look
    /// at the clock; a file that is missing or holds anything else means 0.
    /// Default "": the clock is the machine's.
    chaos_clock_offset_file: PathBuf = PathBuf::new();
}

impl Config {
    /// The documented file with all defaults, as `jeton config default` prints it.
    #[must_use]
    pub fn default_file() -> String {
        let defaults = Self::default();
        let mut file = String::from(
            "# Settings of a Jeton server. Every key is optional; these are the defaults.\n\
             # JETON_<KEY> in the environment wins over this file, and a flag over both.\n",
        );
        for key in KEYS {
            file.push('\n');
            for line in key.doc {
                file.push_str(&format!("#{line}\n"));
            }
            let value = defaults.shown(key.name).unwrap_or_default();
            file.push_str(&format!("{} = {value}\n", key.name));
        }
        file
    }

    /// Name of a key's environment variable.
    #[must_use]
    pub fn env_name(key: &str) -> String {
        format!("JETON_{}", key.to_ascii_uppercase())
    }
}
