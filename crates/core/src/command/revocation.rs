//! What may be asked about revocations of all that matches.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, DeviceId, FamilyId, Position, SessionId, SubjectId, TenantId, UnixMs};
use crate::ip::IpRange;

/// See [`super::Operation::RevokeWhere`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeWhere {
    /// What dies.
    pub matching: Criteria,
    /// What doesn't, although it matches.
    pub except: Except,
    /// Told to those whom it hits; free text.
    pub reason: Option<Arc<str>>,
}

/// What a revocation means: everything that matches *all* of what is named. Nothing named means
/// the whole tenant.
///
/// Subject, client, device and session are *exact keys*: if nothing else is named, the revocation
/// is a cutoff, which also kills what is made later from something older. Else it is a *predicate*:
/// it kills the families and sessions that match where it was made, and what hangs on them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criteria {
    /// Families and sessions of this subject.
    pub subject: Option<SubjectId>,
    /// Families of this client. Sessions have none.
    pub client: Option<ClientId>,
    /// Families and sessions on this device.
    pub device: Option<DeviceId>,
    /// This session, and families bound to it.
    pub session: Option<SessionId>,
    /// Whose attribute `region` is this.
    pub region: Option<Arc<str>>,
    /// Last seen at an address in this range; for what was seen at none, the attribute `ip` counts.
    pub ip: Option<IpRange>,
    /// With these attributes. At most [`crate::limits::ATTRIBUTES_MAX`]; sorted by name, names
    /// unique.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    /// Created before this time, which is not in the future.
    pub created_before: Option<UnixMs>,
}

impl Criteria {
    /// Whether anything is named at all.
    #[must_use]
    pub fn names_any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether nothing but exact keys is named.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let Self { region, ip, attributes, created_before, .. } = self;
        region.is_none() && ip.is_none() && attributes.is_empty() && created_before.is_none()
    }

    /// The exact keys, in the order of the masks of cutoffs.
    pub(crate) fn keys(&self) -> [Option<&str>; 4] {
        [
            self.subject.as_ref().map(SubjectId::as_str),
            self.client.as_ref().map(ClientId::as_str),
            self.device.as_ref().map(DeviceId::as_str),
            self.session.as_ref().map(SessionId::as_str),
        ]
    }
}

/// What a revocation leaves alone. Only what is alive where the revocation is made is kept: nothing
/// comes back. Together at most [`crate::limits::EXCEPTIONS_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Except {
    /// These families. One that is bound to a session lives no longer than that.
    pub families: Vec<FamilyId>,
    /// These sessions, and what is bound to them.
    pub sessions: Vec<SessionId>,
}

/// See [`super::Operation::SweepRevocation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRevocation {
    /// Whose revocation.
    pub tenant: TenantId,
    /// Which: the oldest of the tenant that is active; else nothing is done.
    pub revocation: Position,
    /// Rows it may look at, at most [`crate::limits::SWEEP_ROWS_MAX`].
    pub rows_max: u32,
}
