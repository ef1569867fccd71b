//! `jeton check`: whether an access token may still be used.

use std::time::Duration;

use clap::Args;
use jeton_client::{Access, Basis, Claims, Consistency, FamilyId, Position, UnixMs};
use serde::Serialize;

use crate::args::{Connection, TenantFlag};
use crate::exit::Exit;
use crate::family::family_id;
use crate::output::{Format, Report, Table, as_text};
use crate::refused::cause;
use crate::{connect, duration};

const EXAMPLES: &str = "\
Examples:
  jeton check --tenant acme --jti 7f3a --client web
  jeton check --tenant acme --subject alice --client web --position 8192
  jeton check --tenant acme --family 00112233445566778899aabbccddeeff
  jeton check --tenant acme --subject alice --client web --issued-at 1800000000

Exit code 0 if it is active, 1 if it is denied. Signature and expiry are not looked at.";

/// See [`crate::args::Command::Check`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// In which tenant.
    #[command(flatten)]
    pub tenant: TenantFlag,
    /// The answer may be this old, at most 1m; without it, it sees all that was acknowledged
    /// before.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub max_age: Option<Duration>,
    /// What the access token says of itself.
    #[command(flatten)]
    pub claims: ClaimArgs,
}

/// What the access token says of itself; the more, the better.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct ClaimArgs {
    /// Its `jti` claim; needs the client.
    #[arg(long, requires = "client")]
    pub jti: Option<String>,
    /// Its `sub` claim.
    #[arg(long, value_name = "ID")]
    pub subject: Option<String>,
    /// Its `client_id` claim.
    #[arg(long, value_name = "ID")]
    pub client: Option<String>,
    /// The device that it was issued to.
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// Its `sid` claim: the session that it was issued in.
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Its family: 32 hexadecimal digits.
    #[arg(long, value_name = "FAMILY", value_parser = family_id)]
    pub family: Option<FamilyId>,
    /// Its `jpos` claim: position of the reply that it was made from.
    #[arg(long)]
    pub position: Option<u64>,
    /// Its `iat` claim, in Unix seconds.
    #[arg(long, value_name = "SECONDS")]
    pub issued_at: Option<u64>,
}

impl ClaimArgs {
    fn as_claims(&self) -> Claims<'_> {
        Claims {
            jti: self.jti.as_deref(),
            subject: self.subject.as_deref(),
            client: self.client.as_deref(),
            device: self.device.as_deref(),
            session: self.session.as_deref(),
            family: self.family,
            position: self.position.map(Position),
            issued_at: self.issued_at.map(|seconds| UnixMs(seconds.saturating_mul(1_000))),
        }
    }
}

/// Runs it.
pub async fn run(args: CheckArgs, format: Format) -> anyhow::Result<Exit> {
    let tenant = connect::client(&args.connection).await?.tenant(&args.tenant.tenant)?;
    let consistency = args.max_age.map_or(Consistency::Linearizable, Consistency::Bounded);
    let claims = [args.claims.as_claims()];
    let read = tenant.check_access(&claims, consistency, args.connection.timeout).await?;
    let access = read.value.first().copied().unwrap_or(Access::Active);
    format.print(&AccessReport::of(access, read.position))?;
    Ok(if access == Access::Active { Exit::Ok } else { Exit::Refused })
}

/// An answer as it is printed.
#[derive(Debug, Serialize)]
pub struct AccessReport {
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at_unix_ms: Option<u64>,
    #[serde(serialize_with = "as_text")]
    position: Position,
}

impl AccessReport {
    /// As answered.
    pub fn of(access: Access, position: Position) -> Self {
        let Access::Denied(denied) = access else {
            return Self {
                result: "ACTIVE",
                basis: None,
                cause: None,
                revoked_position: None,
                revoked_at_unix_ms: None,
                position,
            };
        };
        Self {
            result: "DENIED",
            basis: Some(basis(denied.basis)),
            cause: Some(cause(denied.cause)),
            revoked_position: Some(denied.position.to_string()),
            revoked_at_unix_ms: Some(denied.at.0),
            position,
        }
    }
}

/// A basis' name in the API.
fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Jti => "JTI",
        Basis::Suspension => "SUSPENSION",
        Basis::Session => "SESSION",
        Basis::Family => "FAMILY",
        Basis::Position => "POSITION",
        Basis::IssuedAt => "IAT",
        _ => "OTHER",
    }
}

impl Report for AccessReport {
    fn table(&self) -> Table {
        let mut table = Table::facts([
            ("result", self.result.to_owned()),
            ("as of position", self.position.to_string()),
        ]);
        if let (Some(basis), Some(cause), Some(at)) =
            (self.basis, self.cause, &self.revoked_position)
        {
            table.note(format!("Judged by {basis}: revoked ({cause}) at position {at}."));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use jeton_client::{Denied, RevocationCause};

    use super::*;

    #[test]
    fn a_denial_names_its_basis_and_its_position_as_a_string() {
        let denied = Denied {
            basis: Basis::IssuedAt,
            cause: RevocationCause::Cutoff,
            position: Position(1 << 60),
            at: UnixMs(5),
        };
        let report = AccessReport::of(Access::Denied(denied), Position(9));
        let json = serde_json::to_value(report).unwrap();
        assert_eq!(json["result"], "DENIED");
        assert_eq!((&json["basis"], &json["cause"]), (&"IAT".into(), &"CUTOFF".into()));
        assert_eq!(json["revoked_position"], "1152921504606846976");
        let json = serde_json::to_value(AccessReport::of(Access::Active, Position(9))).unwrap();
        assert_eq!((json["result"].as_str(), json.get("basis")), (Some("ACTIVE"), None));
    }
}
