//! `jeton tenant`: tenants, their settings and keys.

use std::time::Duration;

use clap::{Args, Subcommand};
use jeton_client::admin::{Admin, SettingsChange};
use jeton_client::{Kid, TenantView};
use serde::Serialize;

use crate::args::Connection;
use crate::exit::{Exit, Usage};
use crate::output::{Format, Report, Table};
use crate::{connect, duration};

const PAGE_ROWS: u32 = 500;

const EXAMPLES: &str = "\
Examples:
  jeton tenant create acme --grace 10s
  jeton tenant set acme --rotations-per-s 0      no limit on rotations of one family
  jeton tenant rotate-key acme
  jeton tenant list -o json";

/// See [`crate::args::Command::Tenant`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TenantArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: TenantCommand,
}

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Make a tenant with its first key.
    Create {
        /// Its name: 1 to 256 bytes.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// What differs from the defaults.
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Show one tenant; never its keys.
    Get {
        /// Its name.
        #[arg(value_name = "TENANT")]
        tenant: String,
    },
    /// List all tenants, in order of name.
    List,
    /// Change a tenant's settings. What isn't named stays.
    Set {
        /// Its name.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// Only if its settings are still at this version.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
        /// What changes.
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Make a new key for new tokens; those under old keys stay valid.
    RotateKey {
        /// The tenant's name.
        #[arg(value_name = "TENANT")]
        tenant: String,
    },
    /// Mark a leaked key: replays of tokens under it are reported, and revoke nothing any more.
    CompromiseKey {
        /// The tenant's name.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The key's number.
        #[arg(value_name = "KID")]
        kid: u16,
    },
}

/// Limits and defaults of a tenant.
#[derive(Debug, Default, Args)]
pub struct SettingsFlags {
    /// How long a spent token is answered with its successor, for families that name no grace.
    /// Default 30s, at most 1h.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub grace: Option<Duration>,
    /// Longest absolute lifetime of a family. Default and most 400d.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub lifetime_max: Option<Duration>,
    /// How long a family lives without a rotation, if it names nothing itself. Default 30d.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub idle: Option<Duration>,
    /// Longest access token that this tenant issues. Default 24h, at most 30d.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub access_ttl_max: Option<Duration>,
    /// How many rotations of one family may come at once. Default 16.
    #[arg(long, value_name = "COUNT")]
    pub rotation_burst: Option<u32>,
    /// How many rotations of one family a second are sustained. Default 1; 0: no limit.
    #[arg(long, value_name = "COUNT")]
    pub rotations_per_s: Option<u32>,
    /// Shadow mode: reuse is reported, and revokes nothing. Default false.
    #[arg(long, value_name = "BOOL")]
    pub shadow: Option<bool>,
    /// Soft quota: beyond so many rows of families creations are flagged, none is refused. Default
    /// 0: none.
    #[arg(long, value_name = "COUNT")]
    pub families_max_soft: Option<u64>,
    /// How many generations behind its head a new family of opaque tokens remembers. Default 4096;
    /// 16 to 65536.
    #[arg(long, value_name = "COUNT")]
    pub ancestors_max: Option<u32>,
}

impl SettingsFlags {
    fn change(&self) -> SettingsChange {
        let mut change = SettingsChange::new();
        if let Some(grace) = self.grace {
            change = change.grace_default(grace);
        }
        if let Some(lifetime) = self.lifetime_max {
            change = change.family_lifetime_max(lifetime);
        }
        if let Some(idle) = self.idle {
            change = change.idle_default(idle);
        }
        if let Some(ttl) = self.access_ttl_max {
            change = change.access_ttl_max(ttl);
        }
        if let Some(burst) = self.rotation_burst {
            change = change.rotation_burst(burst);
        }
        if let Some(rotations) = self.rotations_per_s {
            change = change.rotations_per_s(rotations);
        }
        if let Some(shadow) = self.shadow {
            change = change.shadow(shadow);
        }
        if let Some(families) = self.families_max_soft {
            change = change.families_max_soft(families);
        }
        if let Some(ancestors) = self.ancestors_max {
            change = change.ancestors_max(ancestors);
        }
        change
    }
}

/// Runs it.
pub async fn run(args: TenantArgs, format: Format) -> anyhow::Result<Exit> {
    let admin = connect::client(&args.connection).await?.admin();
    let timeout = args.connection.timeout;
    let view = match args.command {
        TenantCommand::List => {
            format.print(&list(&admin, timeout).await?)?;
            return Ok(Exit::Ok);
        }
        TenantCommand::Create { tenant, settings } => {
            admin.create_tenant(&tenant, settings.change(), timeout).await?
        }
        TenantCommand::Get { tenant } => admin.get_tenant(&tenant, timeout).await?,
        TenantCommand::Set { tenant, if_version, settings } => {
            let change = settings.change();
            if change == SettingsChange::new() {
                return Err(Usage::error("nothing to change: name at least one setting"));
            }
            admin.set_tenant(&tenant, if_version, change, timeout).await?
        }
        TenantCommand::RotateKey { tenant } => {
            let kid = admin.rotate_tenant_key(&tenant, timeout).await?;
            format.print(&KeyReport { result: "ROTATED", tenant, kid: kid.0 })?;
            return Ok(Exit::Ok);
        }
        TenantCommand::CompromiseKey { tenant, kid } => {
            admin.mark_key_compromised(&tenant, Kid(kid), timeout).await?;
            format.print(&KeyReport { result: "MARKED", tenant, kid })?;
            return Ok(Exit::Ok);
        }
    };
    format.print(&TenantReport::of(view))?;
    Ok(Exit::Ok)
}

async fn list(admin: &Admin, timeout: Duration) -> anyhow::Result<TenantsReport> {
    let mut tenants = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let page = admin.list_tenants(PAGE_ROWS, next.as_deref(), timeout).await?;
        tenants.extend(page.tenants.into_iter().map(TenantReport::of));
        next = page.next;
        if next.is_none() {
            return Ok(TenantsReport { tenants });
        }
    }
}

#[derive(Debug, Serialize)]
struct KeyReport {
    result: &'static str,
    tenant: String,
    kid: u16,
}

impl Report for KeyReport {
    fn table(&self) -> Table {
        Table::facts([
            ("result", self.result.to_owned()),
            ("tenant", self.tenant.clone()),
            ("key", self.kid.to_string()),
        ])
    }
}

/// A tenant as it is printed.
#[derive(Debug, Serialize)]
struct TenantReport {
    tenant: String,
    version: u64,
    kid: u16,
    compromised_kids: Vec<u16>,
    grace_default_ms: u64,
    family_lifetime_max_ms: u64,
    idle_default_ms: u64,
    access_ttl_max_ms: u64,
    rotation_burst: u32,
    rotations_per_s: u32,
    shadow: bool,
    families_max_soft: u64,
    ancestors_max: u32,
    created_at_unix_ms: u64,
}

impl TenantReport {
    fn of(view: TenantView) -> Self {
        Self {
            tenant: view.tenant.to_string(),
            version: view.version,
            kid: view.kid.0,
            compromised_kids: view.compromised.iter().map(|kid| kid.0).collect(),
            grace_default_ms: view.settings.grace_default.0,
            family_lifetime_max_ms: view.settings.family_lifetime_max.0,
            idle_default_ms: view.settings.idle_default.0,
            access_ttl_max_ms: view.settings.access_ttl_max.0,
            rotation_burst: view.settings.rotation_burst,
            rotations_per_s: view.settings.rotations_per_s,
            shadow: view.settings.shadow,
            families_max_soft: view.settings.families_max_soft,
            ancestors_max: view.settings.ancestors_max,
            created_at_unix_ms: view.created_at.0,
        }
    }

    fn limit(&self) -> String {
        match self.rotations_per_s {
            0 => "no limit".to_owned(),
            rate => format!("{rate}/s, burst {}", self.rotation_burst),
        }
    }
}

impl Report for TenantReport {
    fn table(&self) -> Table {
        Table::facts([
            ("tenant", self.tenant.clone()),
            ("version", self.version.to_string()),
            ("key", self.kid.to_string()),
            ("grace", duration::show(self.grace_default_ms)),
            ("lifetime, most", duration::show(self.family_lifetime_max_ms)),
            ("idle lifetime", duration::show(self.idle_default_ms)),
            ("access token, most", duration::show(self.access_ttl_max_ms)),
            ("rotations of a family", self.limit()),
            ("shadow mode", self.shadow.to_string()),
            ("families, soft quota", self.families_max_soft.to_string()),
            ("opaque ancestors", self.ancestors_max.to_string()),
        ])
    }
}

#[derive(Debug, Serialize)]
struct TenantsReport {
    tenants: Vec<TenantReport>,
}

impl Report for TenantsReport {
    fn table(&self) -> Table {
        let mut table = Table::new(["TENANT", "KEY", "GRACE", "IDLE", "ROTATIONS", "SHADOW"]);
        for tenant in &self.tenants {
            table.row([
                tenant.tenant.clone(),
                tenant.kid.to_string(),
                duration::show(tenant.grace_default_ms),
                duration::show(tenant.idle_default_ms),
                tenant.limit(),
                tenant.shadow.to_string(),
            ]);
        }
        table
    }
}
