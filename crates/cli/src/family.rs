//! `jeton family`: what the store knows of a family. Never a secret, digest or seal.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use jeton_client::{Consistency, FamilyId, FamilyView};
use serde::Serialize;

use crate::args::{Connection, TenantFlag};
use crate::exit::Exit;
use crate::output::{Format, Report, Table, or_dash};
use crate::refused::Refused;
use crate::{connect, duration};

/// See [`crate::args::Command::Family`].
#[derive(Debug, Args)]
pub struct FamilyArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// What to do.
    #[command(subcommand)]
    pub command: FamilyCommand,
}

/// What to do with a family.
#[derive(Debug, Subcommand)]
pub enum FamilyCommand {
    /// Show a family, dead or alive.
    Get {
        /// Its id: 32 hexadecimal digits, as printed when it was created.
        #[arg(value_name = "FAMILY", value_parser = family_id)]
        family: FamilyId,
    },
}

/// Reads a family's id: 32 hexadecimal digits.
pub fn family_id(text: &str) -> Result<FamilyId, String> {
    let wrong = || "a family's id has 32 hexadecimal digits".to_owned();
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
    Ok(FamilyId(number.to_be_bytes()))
}

/// Runs it.
pub async fn run(args: FamilyArgs, format: Format) -> anyhow::Result<Exit> {
    let tenant = connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?;
    let FamilyCommand::Get { family } = args.command;
    let timeout = args.connection.timeout;
    let read = tenant.get_family(family, Consistency::Linearizable, timeout).await?;
    format.print(&FamilyReport::of(read.value))?;
    Ok(Exit::Ok)
}

/// A family as it is printed.
#[derive(Debug, Serialize)]
pub struct FamilyReport {
    pub(crate) family: String,
    pub(crate) subject: String,
    pub(crate) client: String,
    pub(crate) device: Option<String>,
    session: Option<String>,
    pub(crate) state: &'static str,
    opaque: bool,
    dead: Option<Refused>,
    pub(crate) generation: u64,
    version: u64,
    created_position: String,
    created_at_unix_ms: u64,
    origin_position: String,
    rotated_at_unix_ms: u64,
    expires_at_unix_ms: u64,
    idle_expires_at_unix_ms: u64,
    grace_ms: u64,
    jkt: Option<String>,
    x5t_s256: Option<String>,
    ip: Option<String>,
    attributes: BTreeMap<String, String>,
    payload_bytes: usize,
}

impl FamilyReport {
    /// As read.
    pub fn of(view: FamilyView) -> Self {
        let text = |value: Option<std::sync::Arc<str>>| value.map(|value| value.to_string());
        Self {
            family: view.family.to_string(),
            subject: view.subject.to_string(),
            client: view.client.to_string(),
            device: view.device.map(|device| device.to_string()),
            session: view.session.map(|session| session.to_string()),
            opaque: view.opaque,
            state: if view.dead.is_some() { "DEAD" } else { "ACTIVE" },
            dead: view.dead.map(Refused::new),
            generation: view.generation.0,
            version: view.version,
            created_position: view.created.to_string(),
            created_at_unix_ms: view.created_at.0,
            origin_position: view.origin.to_string(),
            rotated_at_unix_ms: view.rotated_at.0,
            expires_at_unix_ms: view.expires_at.0,
            idle_expires_at_unix_ms: view.idle_expires_at.0,
            grace_ms: view.grace.0,
            jkt: text(view.binding.jkt),
            x5t_s256: text(view.binding.x5t_s256),
            ip: text(view.ip),
            attributes: view
                .attributes
                .into_iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            payload_bytes: view.payload.len(),
        }
    }
}

impl FamilyReport {
    /// How long it lives without a rotation, counted from its last one.
    pub fn idle_ms(&self) -> u64 {
        self.idle_expires_at_unix_ms.saturating_sub(self.rotated_at_unix_ms)
    }
}

impl Report for FamilyReport {
    fn table(&self) -> Table {
        let attributes: Vec<String> =
            self.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut table = Table::facts([
            ("family", self.family.clone()),
            ("state", self.state.to_owned()),
            ("tokens", if self.opaque { "opaque" } else { "native" }.to_owned()),
            ("subject", self.subject.clone()),
            ("client", self.client.clone()),
            ("device", or_dash(self.device.as_ref())),
            ("session", or_dash(self.session.as_ref())),
            ("generation", self.generation.to_string()),
            ("created at position", self.created_position.clone()),
            ("grace", duration::show(self.grace_ms)),
            ("attributes", or_dash((!attributes.is_empty()).then(|| attributes.join(", ")))),
        ]);
        if let Some(dead) = &self.dead {
            table.note(format!("Dead: {}.", dead.message));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_printed() {
        let text = "00112233445566778899aabbccddeeff";
        assert_eq!(family_id(text).unwrap().to_string(), text);
        for wrong in ["", "0011", "+0112233445566778899aabbccddeeff", "g".repeat(32).as_str()] {
            assert!(family_id(wrong).is_err(), "{wrong}");
        }
    }
}
