//! `jeton token list` and `count`: which families there are. Never a secret, digest or payload.

use clap::Args;
use jeton_client::{Families, FamilyCount, FamilyPage, Position, Read, Tenant};
use serde::Serialize;

use crate::duration;
use crate::exit::{Exit, Usage};
use crate::family::FamilyReport;
use crate::output::{Format, Report, Table, as_text, or_dash};
use crate::token::attribute;

/// Which families are meant: all that is named must match.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Of this subject.
    #[arg(long, value_name = "ID")]
    pub subject: Option<String>,
    /// Of this client.
    #[arg(long, value_name = "ID")]
    pub client: Option<String>,
    /// On this device.
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// Bound to this session.
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Only with this attribute; may be repeated.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
    /// Dead, expired and suspended ones too, for the 24 hours in which answers name their cause.
    #[arg(long)]
    pub dead: bool,
}

/// See [`crate::token::TokenCommand::List`].
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which families.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// At most so many, 1 to 1,000.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
    /// Go on where a listing with the same filter ended.
    #[arg(long, value_name = "TOKEN")]
    pub page: Option<String>,
}

impl FilterArgs {
    fn families(&self) -> anyhow::Result<Families> {
        let mut families = match (&self.subject, &self.client, &self.device, &self.session) {
            (Some(subject), ..) => Families::of_subject(subject),
            (None, Some(client), ..) => Families::of_client(client),
            (None, None, Some(device), _) => Families::on_device(device),
            (None, None, None, Some(session)) => Families::of_session(session),
            (None, None, None, None) => {
                return Err(Usage::error("name a subject, client, device or session"));
            }
        };
        if let Some(session) = &self.session {
            families = families.session(session);
        }
        if let Some(client) = &self.client {
            families = families.client(client);
        }
        if let Some(device) = &self.device {
            families = families.device(device);
        }
        if self.dead {
            families = families.include_dead();
        }
        let pairs = self.attributes.iter();
        Ok(pairs.fold(families, |families, (name, value)| families.attribute(name, value)))
    }
}

/// Prints one page; goes on by itself where a page came out short.
pub async fn list(
    args: &ListArgs,
    tenant: impl AsyncFnOnce() -> anyhow::Result<Tenant>,
    timeout: std::time::Duration,
    format: Format,
) -> anyhow::Result<Exit> {
    let wanted = args.limit;
    let families = args.filter.families()?;
    let tenant = tenant().await?;
    let mut report = FamiliesReport {
        families: Vec::new(),
        next_page: args.page.clone(),
        position: Position(0),
    };
    loop {
        let left = wanted - u32::try_from(report.families.len()).unwrap_or(wanted);
        let asked = families.clone().page_size(left);
        let read = tenant.list_families(&asked, report.next_page.as_deref(), timeout).await?;
        let Read { value: FamilyPage { families, next }, position, .. } = read;
        report.families.extend(families.into_iter().map(FamilyReport::of));
        report.next_page = next;
        report.position = position;
        if report.next_page.is_none() || report.families.len() >= wanted as usize {
            format.print(&report)?;
            return Ok(Exit::Ok);
        }
    }
}

/// Prints how many there are.
pub async fn count(
    args: &FilterArgs,
    tenant: impl AsyncFnOnce() -> anyhow::Result<Tenant>,
    timeout: std::time::Duration,
    format: Format,
) -> anyhow::Result<Exit> {
    let families = args.families()?;
    let read = tenant().await?.count_families(&families, timeout).await?;
    let FamilyCount { families, at_least } = read.value;
    format.print(&CountReport { families, at_least, position: read.position })?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct FamiliesReport {
    families: Vec<FamilyReport>,
    next_page: Option<String>,
    #[serde(serialize_with = "as_text")]
    position: Position,
}

impl Report for FamiliesReport {
    fn table(&self) -> Table {
        let mut table =
            Table::new(["FAMILY", "SUBJECT", "CLIENT", "DEVICE", "STATE", "GENERATION", "IDLE"]);
        for family in &self.families {
            table.row([
                family.family.clone(),
                family.subject.clone(),
                family.client.clone(),
                or_dash(family.device.as_ref()),
                family.state.to_owned(),
                family.generation.to_string(),
                duration::show(family.idle_ms()),
            ]);
        }
        if let Some(next) = &self.next_page {
            table.note(format!("There are more: --page {next}"));
        }
        table
    }
}

#[derive(Serialize)]
struct CountReport {
    families: u64,
    at_least: bool,
    #[serde(serialize_with = "as_text")]
    position: Position,
}

impl Report for CountReport {
    fn table(&self) -> Table {
        let least = if self.at_least { "at least " } else { "" };
        Table::facts([("families", format!("{least}{}", self.families))])
    }
}
