//! What may be asked about sessions, and about suspensions.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, DeviceId, DurationMs, FamilyId, Position, SessionId, SubjectId};

/// See [`super::Operation::CreateSession`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSession {
    /// Chosen by the caller (`sid`). Taken until its absolute end and
    /// [`crate::limits::RETENTION`].
    pub session: SessionId,
    /// Who signed in.
    pub subject: SubjectId,
    /// The device (user agent) that it is on.
    pub device: Option<DeviceId>,
    /// Free for the caller. Sorted by name, names unique.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    /// Opaque to the store.
    pub payload: Bytes,
    /// Absolute lifetime; the tenant's `family_lifetime_max` if `None`, and never more.
    pub lifetime: Option<DurationMs>,
    /// Idle lifetime; the tenant's `idle_default` if `None`.
    pub idle: Option<DurationMs>,
    /// Position that the caller read when the user's credentials were checked; the session's own
    /// creation if `None`.
    pub authenticated_at: Option<Position>,
}

/// See [`super::Operation::TouchSession`]. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TouchSession {
    /// Which session.
    pub session: SessionId,
    /// The version that it must still have. Required if anything is to be changed.
    pub version: Option<u64>,
    /// New attributes, whole.
    pub attributes: Option<Vec<(Arc<str>, Arc<str>)>>,
    /// New payload, whole.
    pub payload: Option<Bytes>,
}

/// See [`super::Operation::EndSession`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSession {
    /// Which session.
    pub session: SessionId,
    /// Told to those whom it hits; free text.
    pub reason: Option<Arc<str>>,
}

/// What can be suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suspendable {
    /// All that is a subject's, its sessions included.
    Subject(SubjectId),
    /// All that was given to a client.
    Client(ClientId),
    /// One family.
    Family(FamilyId),
    /// Everything of the tenant.
    Tenant,
}

/// See [`super::Operation::Suspend`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspend {
    /// What.
    pub what: Suspendable,
    /// Told to those whom it hits; free text.
    pub reason: Option<Arc<str>>,
}

/// See [`super::Operation::Resume`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// What.
    pub what: Suspendable,
}
