//! What no descriptor knows of an operation: one table of a service's TOML file.
//!
//! To add an operation, add a table with its name to the file of its service; to add a service, add
//! its file to `FILES`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{FOLDER, Operation, first};

/// Services, and their files.
const FILES: &[(&str, &str)] = &[
    ("BackupService", include_str!("BackupService.toml")),
    ("ClusterService", include_str!("ClusterService.toml")),
    ("LockService", include_str!("LockService.toml")),
    ("PipelineService", include_str!("PipelineService.toml")),
    ("RecordService", include_str!("RecordService.toml")),
    ("RevocationService", include_str!("RevocationService.toml")),
    ("SessionService", include_str!("SessionService.toml")),
    ("TenantService", include_str!("TenantService.toml")),
    ("TokenService", include_str!("TokenService.toml")),
    ("TransactionService", include_str!("TransactionService.toml")),
    ("WatchService", include_str!("WatchService.toml")),
];

/// A reply: what it is, when it comes, what changes, and what transcripts show of it if its name
/// does not say so: see `shown.rs`.
#[derive(Debug, Clone, Deserialize)]
pub struct Replied(pub String, pub String, pub String, #[serde(default)] pub String);

/// A failure that is particular to an operation: its reason, and when it comes.
#[derive(Debug, Clone, Deserialize)]
pub struct Failed(pub String, pub String);

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which replies come before its own: a name of `first.rs`.
    pub first: String,
    /// Of a stream that is served over HTTP as well: how, with a link.
    #[serde(default)]
    pub http: String,
    /// Command line; empty: none.
    #[serde(default)]
    pub cli: String,
    /// Function of the Rust client; empty: none.
    #[serde(default)]
    pub rust: String,
    /// Page that explains it, seen from `docs/reference`.
    pub guide: String,
    /// Transcripts of the contract that tell it, without `.txt`.
    #[serde(default)]
    pub told: Vec<String>,
    /// Its own replies, in order of precedence.
    pub replies: Vec<Replied>,
    /// Failures that are particular to it.
    #[serde(default)]
    pub failures: Vec<Failed>,
    /// What else must be known, a paragraph each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Operations whose examples come before this one's.
    #[serde(default)]
    pub after: Vec<String>,
    /// The example: a request in JSON. `<mac of TokenService.Rotate>` stands for a member of the
    /// last answer to that operation.
    #[serde(default)]
    pub request: String,
    /// Members of the answer that differ each time, beside those that always do.
    #[serde(default)]
    pub differ: Vec<String>,
    /// Of a stream, instead of a request: what is said, in words.
    #[serde(default)]
    pub session: String,
}

/// All entries, by the operations' names.
pub(super) fn all() -> BTreeMap<String, Entry> {
    let mut all = BTreeMap::new();
    for (service, text) in FILES {
        let entries: BTreeMap<String, Entry> =
            toml::from_str(text).unwrap_or_else(|error| panic!("{FOLDER}/{service}.toml: {error}"));
        all.extend(entries.into_iter().map(|(name, it)| (format!("{service}.{name}"), it)));
    }
    all
}

/// What is missing or wrong in an entry.
pub(super) fn faults(operation: &Operation) -> Vec<String> {
    let name = &operation.name;
    let (service, method) = name.split_once('.').unwrap_or((name, ""));
    let file = format!("{FOLDER}/{service}.toml");
    let Some(entry) = &operation.entry else {
        let known = FILES.iter().any(|(known, _)| known == &service);
        let first = match known {
            true => String::new(),
            false => format!(" (a new file: name it in FILES of {FOLDER}/entry.rs)"),
        };
        return vec![format!(
            "{name} has no entry: add a table [{method}] to {file}{first}, as those beside it \
             are, with its replies in order of precedence and an example; then run\n  \
             JETON_EXAMPLES=write cargo test -p jeton-server --test server examples\n  {}",
            super::COMMAND,
        )];
    };
    let mut faults = Vec::new();
    if entry.replies.is_empty() {
        faults.push(format!("[{method}] of {file} has no replies: tell them in order"));
    }
    if first::rows(&entry.first).is_none() {
        faults.push(format!(
            "[{method}] of {file}: first = {:?} is no name of {FOLDER}/first.rs",
            entry.first
        ));
    }
    if operation.path.is_some() && entry.request.is_empty() {
        faults.push(format!("[{method}] of {file} has no request: give an example"));
    }
    if operation.path.is_none() && entry.session.is_empty() {
        faults.push(format!("[{method}] of {file} is a stream: tell a session of it"));
    }
    faults
}
