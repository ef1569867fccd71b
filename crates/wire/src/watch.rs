//! The feed of revocations on the wire, both ways.

use bytes::Bytes;
use jeton_core::command::Suspendable;
use jeton_core::feed::{Change, FeedEntry};
use jeton_core::ids::{ClusterId, Jti, Position, UnixMs};

use crate::check::{self, Violation};
use crate::encode;
use crate::pb::v1;
use crate::{refusal, revocation};

/// A place in a cluster's feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedPlace {
    /// Positions of another cluster mean nothing here.
    pub cluster: ClusterId,
    /// Everything up to here was heard.
    pub position: Position,
    /// When that was, by the cluster's clock.
    pub at: UnixMs,
}

/// A place for the wire.
#[must_use]
pub fn place(place: &FeedPlace) -> v1::FeedPosition {
    v1::FeedPosition {
        cluster_id: Bytes::copy_from_slice(&place.cluster.0),
        position: place.position.0,
        at_unix_ms: place.at.0,
    }
}

/// A place from the wire.
///
/// # Errors
/// [`Violation`] of `cluster_id`.
pub fn place_from(field: &str, pb: &v1::FeedPosition) -> Result<FeedPlace, Violation> {
    let cluster = ClusterId::from_slice(&pb.cluster_id)
        .map_err(|error| Violation::new(&format!("{field}.cluster_id"), error.to_string()))?;
    Ok(FeedPlace { cluster, position: Position(pb.position), at: UnixMs(pb.at_unix_ms) })
}

/// An entry for the wire.
#[must_use]
pub fn event(cluster: ClusterId, entry: &FeedEntry) -> v1::RevocationEvent {
    let at = FeedPlace { cluster, position: entry.position, at: entry.at };
    v1::RevocationEvent {
        at: Some(place(&at)),
        until_unix_ms: (entry.until != UnixMs(u64::MAX)).then_some(entry.until.0),
        changes: entry.changes.iter().map(change).collect(),
    }
}

fn change(change: &Change) -> v1::RevocationChange {
    use v1::revocation_change::Change as Pb;
    let pb = match change {
        Change::FamilyRevoked { family, cause } => Some(Pb::FamilyRevoked(v1::FamilyRevoked {
            family_id: Bytes::copy_from_slice(&family.0),
            cause: refusal::cause(*cause).into(),
        })),
        Change::SessionEnded { session } => Some(Pb::SessionEnded(session.as_str().to_owned())),
        Change::Cutoff { subject, client, device, session, except } => {
            Some(Pb::Cutoff(v1::CutoffMade {
                subject: encode::text(subject.as_ref().map(|id| id.as_str())),
                client: encode::text(client.as_ref().map(|id| id.as_str())),
                device: encode::text(device.as_ref().map(|id| id.as_str())),
                session: encode::text(session.as_ref().map(|id| id.as_str())),
                except_family_ids: revocation::excepted(except).0,
                except_sessions: revocation::excepted(except).1,
            }))
        }
        Change::Reauthentication { subject } => {
            Some(Pb::ReauthenticationOf(subject.as_str().to_owned()))
        }
        Change::AccessTokenRevoked { jti, client } => {
            Some(Pb::AccessTokenRevoked(v1::AccessTokenRevoked {
                jti: jti.as_str().to_owned(),
                client: client.as_str().to_owned(),
            }))
        }
        Change::Suspended { what } => Some(Pb::Suspended(root(what))),
        Change::Resumed { what } => Some(Pb::Resumed(root(what))),
        // Newer than this page: whoever can't read it must not go on as if nothing had happened.
        _ => None,
    };
    v1::RevocationChange { change: pb }
}

fn root(what: &Suspendable) -> v1::SuspendedRoot {
    use v1::suspended_root::Root;
    let root = match what {
        Suspendable::Subject(subject) => Root::Subject(subject.as_str().to_owned()),
        Suspendable::Client(client) => Root::Client(client.as_str().to_owned()),
        Suspendable::Family(family) => Root::FamilyId(Bytes::copy_from_slice(&family.0)),
        Suspendable::Tenant => Root::WholeTenant(true),
    };
    v1::SuspendedRoot { root: Some(root) }
}

/// An entry from the wire, and the cluster that it is of.
///
/// # Errors
/// [`Violation`] if it breaks the protocol, or is of a newer one.
pub fn event_from(pb: v1::RevocationEvent) -> Result<(ClusterId, FeedEntry), Violation> {
    let at = place_from("at", &check::required("at", pb.at)?)?;
    let changes = pb.changes.into_iter().map(change_from).collect::<Result<_, _>>()?;
    let until = UnixMs(pb.until_unix_ms.unwrap_or(u64::MAX));
    Ok((at.cluster, FeedEntry { position: at.position, at: at.at, until, changes }))
}

fn change_from(pb: v1::RevocationChange) -> Result<Change, Violation> {
    use v1::revocation_change::Change as Pb;
    Ok(match check::required("changes.change", pb.change)? {
        Pb::FamilyRevoked(it) => Change::FamilyRevoked {
            family: check::family("family_id", &it.family_id)?,
            cause: refusal::cause_from("cause", it.cause)?,
        },
        Pb::SessionEnded(session) => Change::SessionEnded { session: check::session(&session)? },
        Pb::Cutoff(it) => Change::Cutoff {
            subject: check::subject_opt(&it.subject)?,
            client: check::client_opt(&it.client)?,
            device: check::device_opt("device", &it.device)?,
            session: check::session_opt("session", &it.session)?,
            except: revocation::excepted_from(&it.except_family_ids, &it.except_sessions)?,
        },
        Pb::ReauthenticationOf(subject) => {
            Change::Reauthentication { subject: check::subject(&subject)? }
        }
        Pb::AccessTokenRevoked(it) => Change::AccessTokenRevoked {
            jti: Jti::new(&it.jti).map_err(|error| Violation::new("jti", error.to_string()))?,
            client: check::client(&it.client)?,
        },
        Pb::Suspended(it) => Change::Suspended { what: root_from(it)? },
        Pb::Resumed(it) => Change::Resumed { what: root_from(it)? },
    })
}

fn root_from(pb: v1::SuspendedRoot) -> Result<Suspendable, Violation> {
    use v1::suspended_root::Root;
    Ok(match check::required("root", pb.root)? {
        Root::Subject(subject) => Suspendable::Subject(check::subject(&subject)?),
        Root::Client(client) => Suspendable::Client(check::client(&client)?),
        Root::FamilyId(family) => Suspendable::Family(check::family("root.family_id", &family)?),
        Root::WholeTenant(_) => Suspendable::Tenant,
    })
}

#[cfg(test)]
mod tests {
    use jeton_core::ids::{ClientId, DeviceId, FamilyId, SessionId, SubjectId};
    use jeton_core::reply::RevocationCause;

    use jeton_core::command::Except;

    use super::*;

    #[test]
    fn every_change_arrives_as_it_was_meant() {
        let subject = SubjectId::new("alice").expect("a good id");
        let client = ClientId::new("web").expect("a good id");
        let session = SessionId::new("sid").expect("a good id");
        let (family, jti) = (FamilyId([7; 16]), Jti::new("t").expect("a good id"));
        let roots = [
            Suspendable::Subject(subject.clone()),
            Suspendable::Client(client.clone()),
            Suspendable::Family(family),
            Suspendable::Tenant,
        ];
        let mut changes = vec![
            Change::FamilyRevoked { family, cause: RevocationCause::Reuse },
            Change::SessionEnded { session: session.clone() },
            Change::Cutoff {
                subject: None,
                client: None,
                device: None,
                session: None,
                except: Except { families: vec![family], sessions: vec![session.clone()] },
            },
            Change::Cutoff {
                subject: Some(subject.clone()),
                client: Some(client.clone()),
                device: Some(DeviceId::new("phone").expect("a good id")),
                session: Some(session),
                except: Except::default(),
            },
            Change::Reauthentication { subject },
            Change::AccessTokenRevoked { jti, client },
        ];
        for what in roots {
            changes.push(Change::Suspended { what: what.clone() });
            changes.push(Change::Resumed { what });
        }
        for until in [UnixMs(9), UnixMs(u64::MAX)] {
            let changes = changes.clone();
            let entry = FeedEntry { position: Position(5), at: UnixMs(4), until, changes };
            let cluster = ClusterId([3; 16]);
            assert_eq!(event_from(event(cluster, &entry)), Ok((cluster, entry)));
        }
    }

    #[test]
    fn a_change_that_can_not_be_read_is_an_error_and_never_skipped() {
        let at = FeedPlace { cluster: ClusterId([3; 16]), position: Position(1), at: UnixMs(1) };
        let unknown = v1::RevocationChange { change: None };
        let changes = vec![unknown];
        let pb = v1::RevocationEvent { at: Some(place(&at)), until_unix_ms: None, changes };
        assert!(event_from(pb).is_err());
    }
}
