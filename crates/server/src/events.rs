//! Security events as structured log lines, at target `jeton::events`.
//!
//! Every node that applies an entry raises its events, so each event is logged once per node. A
//! line names tenant, family and position; never a token, digest or payload.

use std::sync::Arc;

use jeton_core::ids::TenantId;
use jeton_core::reply::{Done, Event, EventKind, Reply, Reuse};
use jeton_raft::EventSink;
use tracing::{error, info, warn};

use crate::metrics::Tally;

/// Logs and counts each event.
#[derive(Debug, Default)]
pub(crate) struct LoggedEvents(pub(crate) Arc<Tally>);

/// Target of the lines, for filters.
pub const TARGET: &str = "jeton::events";

/// Writes the line, and gives the event's name back.
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
        $kind
    }};
}

impl EventSink for LoggedEvents {
    fn event(&self, event: Event) {
        let kind = match &event.kind {
            EventKind::Reuse(reuse) => reused(&event, reuse),
            EventKind::ClientMismatch { presented } => {
                line!(warn, &event, "client_mismatch", presented = presented.as_str())
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
                line!(info, &event, "family_revoked", cause = format!("{cause:?}"))
            }
            EventKind::Cutoff { subject, client, device, session, except } => line!(
                info,
                &event,
                "cutoff",
                subject = subject.as_ref().map(|s| s.as_str()),
                client = client.as_ref().map(|c| c.as_str()),
                device = device.as_ref().map(|d| d.as_str()),
                session = session.as_ref().map(|s| s.as_str()),
                exceptions = except.families.len() + except.sessions.len(),
            ),
            EventKind::Predicate { matching } => line!(
                info,
                &event,
                "predicate",
                subject = matching.subject.as_ref().map(|s| s.as_str()),
                client = matching.client.as_ref().map(|c| c.as_str()),
                device = matching.device.as_ref().map(|d| d.as_str()),
                session = matching.session.as_ref().map(|s| s.as_str()),
                region = matching.region.as_deref(),
                ip = matching.ip.map(|range| range.to_string()),
                attributes = matching.attributes.len(),
                created_before_unix_ms = matching.created_before.map(|at| at.0),
            ),
            EventKind::PredicateSwept { revocation, progress } => line!(
                info,
                &event,
                "predicate_swept",
                revocation = revocation.0,
                families = progress.families,
                sessions = progress.sessions,
            ),
            EventKind::Reauthentication { subject } => {
                line!(info, &event, "reauthentication", subject = subject.as_str())
            }
            EventKind::SessionEnded { session, subject } => line!(
                info,
                &event,
                "session_ended",
                session = session.as_str(),
                subject = subject.as_str(),
            ),
            EventKind::Suspended { what } => {
                line!(info, &event, "suspended", what = format!("{what:?}"))
            }
            EventKind::Resumed { what } => {
                line!(info, &event, "resumed", what = format!("{what:?}"))
            }
            EventKind::KeyCompromised { kid } => {
                line!(warn, &event, "key_compromised", kid = kid.0)
            }
            EventKind::SoftQuota { kept } => line!(warn, &event, "soft_quota", kept = *kept),
            EventKind::AccessTokenRevoked { jti, client, until } => line!(
                info,
                &event,
                "access_token_revoked",
                jti = jti.as_str(),
                client = client.as_str(),
                until_unix_ms = until.0,
            ),
            EventKind::RecordReplayed { kind } => {
                line!(warn, &event, "record_replayed", kind = kind.as_str())
            }
            // An event that is newer than this page is told by its name alone.
            other => line!(info, &event, "other", what = format!("{other:?}")),
        };
        self.0.add(kind);
    }
}

/// An audit line of the node that answers: within grace a token was answered with its successor, or
/// a successor adopted, for someone at another device or address than the family is known at. Such
/// an answer changes nothing that all replicas share, so it is told once, here.
pub(crate) fn answered(tenant: &TenantId, reply: &Reply) {
    let (rotated, whence, adopted) = match &reply.outcome {
        Ok(Done::Replayed(it)) => (&it.rotated, it.whence, false),
        Ok(Done::Adopted(it)) => (&it.rotated, it.whence, true),
        _ => return,
    };
    if !whence.is_elsewhere() {
        return;
    }
    let family = rotated.family.to_string();
    warn!(
        target: TARGET,
        event = "replayed_elsewhere",
        position = reply.position.0,
        at_unix_ms = reply.at.0,
        tenant = tenant.as_str(),
        family,
        generation = rotated.generation.0,
        same_device = whence.same_device,
        same_ip = whence.same_ip,
        adopted,
    );
}

fn reused(event: &Event, reuse: &Reuse) -> &'static str {
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
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use jeton_core::ids::{DurationMs, FamilyId, Position, TenantId, UnixMs};
    use jeton_core::reply::ReuseClass;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic before").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reuse_is_one_line_with_family_tenant_and_circumstances() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        let reuse = Reuse {
            class: ReuseClass::Ancestor,
            age: Some(DurationMs(40)),
            generation_gap: 7,
            same_device: None,
            same_ip: Some(false),
            revoked: true,
        };
        let event = Event {
            position: Position(99),
            at: UnixMs(5),
            tenant: TenantId::new("acme").expect("a good id"),
            family: Some(FamilyId([0xab; 16])),
            kind: EventKind::Reuse(reuse),
        };
        tracing::subscriber::with_default(subscriber, || LoggedEvents::default().event(event));
        let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in [
            "\"target\":\"jeton::events\"",
            "\"event\":\"reuse\"",
            "\"tenant\":\"acme\"",
            "\"family\":\"abababababababababababababababab\"",
            "\"position\":99",
            "\"class\":\"Ancestor\"",
            "\"generation_gap\":7",
            "\"same_ip\":false",
            "\"revoked\":true",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("same_device"), "what is unknown is left out: {text}");
    }
}
