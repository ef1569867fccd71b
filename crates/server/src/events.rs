//! Security events as structured log lines, at target `jeton::events`.
//!
//! Every node that applies an entry raises its events, so each event is logged once per node. A line
//! names tenant, family and position; never a token, digest or payload.

use jeton_core::reply::{Event, EventKind, Reuse};
use jeton_raft::EventSink;
use tracing::{error, info, warn};

/// Logs each event.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoggedEvents;

/// Target of the lines, for filters.
pub const TARGET: &str = "jeton::events";

macro_rules! line {
    ($level:ident, $event:expr, $kind:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        let event: &Event = $event;
        let family = event.family.map(|family| family.to_string());
        $level!(
            target: TARGET,
            event = $kind,
            position = event.position.0,
            at_unix_ms = event.at.0,
            tenant = event.tenant.as_str(),
            family = family.as_deref(),
            $($name = $value,)*
        );
    }};
}

impl EventSink for LoggedEvents {
    fn event(&self, event: Event) {
        match &event.kind {
            EventKind::Reuse(reuse) => reused(&event, reuse),
            EventKind::ClientMismatch { presented } => {
                line!(warn, &event, "client_mismatch", presented = presented.as_str());
            }
            EventKind::BindingMismatch => line!(warn, &event, "binding_mismatch"),
            EventKind::Integrity { presented, head } => line!(
                error,
                &event,
                "integrity",
                presented_generation = presented.0,
                head_generation = head.0,
            ),
            EventKind::OldTokenInGrace => line!(warn, &event, "old_token_in_grace"),
            EventKind::FamilyRevoked { cause } => {
                line!(info, &event, "family_revoked", cause = format!("{cause:?}"));
            }
            EventKind::Cutoff { subject, client, device } => line!(
                info,
                &event,
                "cutoff",
                subject = subject.as_ref().map(|s| s.as_str()),
                client = client.as_ref().map(|c| c.as_str()),
                device = device.as_ref().map(|d| d.as_str()),
            ),
            EventKind::KeyCompromised { kid } => {
                line!(warn, &event, "key_compromised", kid = kid.0);
            }
            // An event that is newer than this page is told by its name alone.
            other => line!(info, &event, "other", what = format!("{other:?}")),
        }
    }
}

fn reused(event: &Event, reuse: &Reuse) {
    line!(
        warn,
        event,
        "reuse",
        class = format!("{:?}", reuse.class),
        age_ms = reuse.age.map(|age| age.0),
        generation_gap = reuse.generation_gap,
        same_device = reuse.same_device,
        same_ip = reuse.same_ip,
        revoked = reuse.revoked,
    );
}
