//! "No" as a result: what the cluster judged, for people and for programs.

use jeton_client::{CodeRefusal, Refusal, ReuseClass, RevocationCause};
use serde::Serialize;

use crate::output::{Report, Table};

/// A refusal as it is printed.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// Always `REFUSED`.
    pub result: &'static str,
    /// The rule, as in the API: `REVOKED`, `EXPIRED`, `REUSED`, …
    pub reason: &'static str,
    /// The same in words, with what to do.
    pub message: String,
    /// With `REVOKED`, `SUSPENDED` and `SESSION_DEAD`: which root is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// With these, too: since where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// With `REUSED`: how old the token is in its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// With `REUSED`: whether the family was revoked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_revoked: Option<bool>,
}

impl Refused {
    /// Puts a refusal into words.
    pub fn new(refusal: Refusal) -> Self {
        let mut refused = Self {
            result: "REFUSED",
            reason: reason(&refusal),
            message: jeton_wire::refusal::message(&refusal),
            cause: None,
            position: None,
            class: None,
            family_revoked: None,
        };
        match refusal {
            Refusal::Revoked(by)
            | Refusal::Suspended(by)
            | Refusal::SessionDead { by: Some(by) } => {
                refused.cause = Some(cause(by.cause));
                refused.position = Some(by.position.to_string());
            }
            Refusal::Reused(reuse) => {
                refused.class = Some(match reuse.class {
                    ReuseClass::Predecessor => "PREDECESSOR",
                    ReuseClass::Recent => "RECENT",
                    ReuseClass::Ancestor => "ANCESTOR",
                });
                refused.family_revoked = Some(reuse.revoked);
            }
            _ => {}
        }
        refused
    }
}

impl Report for Refused {
    fn table(&self) -> Table {
        Table::facts([
            ("result", format!("{} ({})", self.result, self.reason)),
            ("why", self.message.clone()),
        ])
    }
}

/// A refusal's name in the API.
pub fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotFound => "NOT_FOUND",
        Refusal::Revoked(_) => "REVOKED",
        Refusal::Expired { .. } => "EXPIRED",
        Refusal::ClientMismatch => "CLIENT_MISMATCH",
        Refusal::BindingMismatch => "BINDING_MISMATCH",
        Refusal::Integrity { .. } => "INTEGRITY",
        Refusal::Reused(_) => "REUSED",
        Refusal::StaleRequest => "STALE_REQUEST",
        Refusal::NameReused => "NAME_REUSED",
        Refusal::RateLimited { .. } => "RATE_LIMITED",
        Refusal::AlreadyExists => "ALREADY_EXISTS",
        Refusal::VersionMismatch { .. } => "VERSION_MISMATCH",
        Refusal::TenantUnknown => "TENANT_UNKNOWN",
        Refusal::LimitReached { .. } => "LIMIT_REACHED",
        Refusal::Invalid { .. } => "INVALID",
        Refusal::Spent { .. } => "SPENT",
        Refusal::DigestInUse => "DIGEST_IN_USE",
        Refusal::Held { .. } => "HELD",
        Refusal::Lost => "LOST",
        Refusal::CapReached { .. } => "CAP_REACHED",
        Refusal::SessionDead { .. } => "SESSION_DEAD",
        Refusal::Suspended(_) => "SUSPENDED",
        Refusal::PreconditionFailed => "PRECONDITION_FAILED",
        Refusal::Already { .. } => "ALREADY",
        Refusal::AttemptsExceeded { .. } => "ATTEMPTS_EXCEEDED",
        Refusal::Replay => "REPLAY",
        Refusal::Code(code) => match code {
            CodeRefusal::NotFound => "CODE_NOT_FOUND",
            CodeRefusal::PreconditionFailed => "CODE_PRECONDITION_FAILED",
            CodeRefusal::Already { .. } => "CODE_ALREADY",
            CodeRefusal::Expired { .. } => "CODE_EXPIRED",
        },
        Refusal::SweepsPending { .. } => "SWEEPS_PENDING",
        _ => "OTHER",
    }
}

/// A cause's name in the API.
pub fn cause(cause: RevocationCause) -> &'static str {
    match cause {
        RevocationCause::Family => "FAMILY",
        RevocationCause::Token => "TOKEN",
        RevocationCause::Reuse => "REUSE",
        RevocationCause::Cutoff => "CUTOFF",
        RevocationCause::Reauthentication => "REAUTHENTICATION",
        RevocationCause::CodeReplay => "CODE_REPLAY",
        RevocationCause::Evicted => "EVICTED",
        RevocationCause::Session => "SESSION",
        RevocationCause::Suspension => "SUSPENSION",
        RevocationCause::AccessToken => "ACCESS_TOKEN",
        RevocationCause::Predicate => "PREDICATE",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use jeton_client::{Position, RevokedBy, UnixMs};

    use super::*;

    #[test]
    fn a_revocation_names_its_cause_and_its_position_as_a_string() {
        let by = RevokedBy {
            cause: RevocationCause::Cutoff,
            position: Position(1 << 60),
            at: UnixMs(5),
            reason: None,
        };
        let json = serde_json::to_value(Refused::new(Refusal::Revoked(by))).unwrap();
        assert_eq!(json["result"], "REFUSED");
        assert_eq!(json["reason"], "REVOKED");
        assert_eq!(json["cause"], "CUTOFF");
        assert_eq!(json["position"], "1152921504606846976");
        assert!(json.get("class").is_none());
    }
}
