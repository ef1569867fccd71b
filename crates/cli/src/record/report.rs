//! Records as they are printed.

use jeton_client::{Collected, ConsumedRecord, Position, RecordPage, RecordView, Seen, Updated};
use serde::Serialize;

use crate::output::{Report, Table, as_text, or_dash};

/// Bytes as text, or as hexadecimal digits if they are none.
pub fn text_of(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("hex:{}", hex(value)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Serialize)]
pub struct PutReport {
    result: &'static str,
    version: u64,
    #[serde(serialize_with = "as_text")]
    position: Position,
}

impl PutReport {
    pub fn new(put: Updated) -> Self {
        Self { result: "PUT", version: put.version, position: put.position }
    }
}

impl Report for PutReport {
    fn table(&self) -> Table {
        Table::facts([
            ("result", self.result.to_owned()),
            ("version", self.version.to_string()),
            ("position", self.position.to_string()),
        ])
    }
}

/// A record: its digests as hexadecimal digits, for whoever may read them.
#[derive(Serialize)]
pub struct RecordReport {
    kind: String,
    key_digest: String,
    value: String,
    version: u64,
    created_at_unix_ms: u64,
    expires_at_unix_ms: Option<u64>,
    expired: bool,
    consumed_at_unix_ms: Option<u64>,
    family: Option<String>,
}

impl RecordReport {
    pub fn new(view: RecordView) -> Self {
        Self {
            kind: view.kind.as_str().to_owned(),
            key_digest: hex(&view.key.0),
            value: text_of(&view.value),
            version: view.version,
            created_at_unix_ms: view.created_at.0,
            expires_at_unix_ms: view.expires_at.map(|at| at.0),
            expired: view.expired,
            consumed_at_unix_ms: view.consumed_at.map(|at| at.0),
            family: view.family.map(|family| family.to_string()),
        }
    }

    fn state(&self) -> &'static str {
        match (self.consumed_at_unix_ms, self.expired) {
            (Some(_), _) => "consumed",
            (None, true) => "expired",
            (None, false) => "live",
        }
    }
}

impl Report for RecordReport {
    fn table(&self) -> Table {
        Table::facts([
            ("kind", self.kind.clone()),
            ("key digest", self.key_digest.clone()),
            ("state", self.state().to_owned()),
            ("value", self.value.clone()),
            ("version", self.version.to_string()),
            ("expires at", or_dash(self.expires_at_unix_ms)),
            ("family", or_dash(self.family.clone())),
        ])
    }
}

#[derive(Serialize)]
pub struct PageReport {
    records: Vec<RecordReport>,
    next_page: Option<String>,
}

impl PageReport {
    pub fn new(page: RecordPage) -> Self {
        let records = page.records.into_iter().map(RecordReport::new).collect();
        Self { records, next_page: page.next }
    }
}

impl Report for PageReport {
    fn table(&self) -> Table {
        let mut table = Table::new(["KEY DIGEST", "STATE", "VERSION", "VALUE"]);
        for record in &self.records {
            table.row([
                record.key_digest.clone(),
                record.state().to_owned(),
                record.version.to_string(),
                record.value.clone(),
            ]);
        }
        if let Some(next) = &self.next_page {
            table.note(format!("More: --page {next}"));
        }
        table
    }
}

#[derive(Serialize)]
pub struct DeletedReport {
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
}

impl DeletedReport {
    pub fn one(existed: bool) -> Self {
        Self { result: if existed { "DELETED" } else { "UNKNOWN" }, position: None }
    }

    pub fn all(position: Position) -> Self {
        Self { result: "DELETED", position: Some(position.to_string()) }
    }
}

impl Report for DeletedReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([("result", self.result.to_owned())]);
        if let Some(position) = &self.position {
            table.note(format!("What had the index key before position {position} is gone."));
        }
        table
    }
}

#[derive(Serialize)]
pub struct ConsumedReport {
    result: &'static str,
    value: String,
    created_at_unix_ms: u64,
    #[serde(serialize_with = "as_text")]
    origin: Position,
    #[serde(serialize_with = "as_text")]
    position: Position,
}

impl ConsumedReport {
    pub fn new(record: ConsumedRecord, position: Position) -> Self {
        Self {
            result: "FIRST",
            value: text_of(&record.value),
            created_at_unix_ms: record.created_at.0,
            origin: record.origin,
            position,
        }
    }
}

impl Report for ConsumedReport {
    fn table(&self) -> Table {
        Table::facts([
            ("result", self.result.to_owned()),
            ("value", self.value.clone()),
            ("origin", self.origin.to_string()),
            ("position", self.position.to_string()),
        ])
    }
}

#[derive(Serialize)]
pub struct SeenReport {
    result: &'static str,
}

impl SeenReport {
    pub fn new(seen: Seen) -> Self {
        let result = match seen {
            Seen::Fresh => "FRESH",
            Seen::Replay => "REPLAY",
            Seen::Expired => "EXPIRED",
        };
        Self { result }
    }
}

impl Report for SeenReport {
    fn table(&self) -> Table {
        Table::facts([("result", self.result.to_owned())])
    }
}

#[derive(Serialize)]
pub struct CollectedReport {
    result: &'static str,
    count: u64,
    more: bool,
}

impl CollectedReport {
    pub fn new(collected: Collected) -> Self {
        Self { result: "COLLECTED", count: collected.count, more: collected.more }
    }
}

impl Report for CollectedReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([("collected", self.count.to_string())]);
        if self.more {
            table.note("The time was over before all were collected: run it again.");
        }
        table
    }
}
