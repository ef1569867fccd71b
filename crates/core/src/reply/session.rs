//! What is answered about sessions.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::ids::{ClientId, DeviceId, Position, SessionId, SubjectId, UnixMs};

/// A new session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionCreated {
    /// When it ends, whatever happens.
    pub expires_at: UnixMs,
    /// When it ends if it isn't touched before.
    pub idle_expires_at: UnixMs,
}

/// A session that was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionTouched {
    /// Version for the next change.
    pub version: u64,
    /// When it ends if it isn't touched before.
    pub idle_expires_at: UnixMs,
}

/// A session that was ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionEnded {
    /// It was dead before: nothing changed.
    pub already: bool,
    /// Whom to notify (OpenID Connect Back-Channel Logout): clients that families were bound for,
    /// in the order of their names' lengths and bytes, at most
    /// [`crate::limits::NOTIFIED_CLIENTS_MAX`].
    pub clients: Vec<ClientId>,
    /// Whether there are more: list them behind the last one.
    pub more: bool,
}

/// What `GetSession` shows of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionView {
    /// Which.
    pub session: SessionId,
    /// Whose.
    pub subject: SubjectId,
    /// On which device.
    pub device: Option<DeviceId>,
    /// Sorted by name.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    /// Opaque to the store. Listings leave it out.
    pub payload: Bytes,
    /// Version for `TouchSession`.
    pub version: u64,
    /// Distinct clients that families were bound for.
    pub clients: u32,
    /// Position of its creation.
    pub created: Position,
    /// Time of its creation.
    pub created_at: UnixMs,
    /// When the user's credentials were checked: what cutoffs compare with, and calls for
    /// authentication anew.
    pub authenticated_at: Position,
    /// Time of the last touch, or of creation.
    pub touched_at: UnixMs,
    /// Absolute end.
    pub expires_at: UnixMs,
    /// End if it isn't touched before.
    pub idle_expires_at: UnixMs,
    /// `None` while it lives.
    pub dead: Option<Refusal>,
}
