//! What a resource server saw in its local view after a revocation was acknowledged.

use std::time::Duration;

use jeton_core::ids::{Position, SubjectId, TenantId};

/// How one acknowledged revocation came to a local view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Of which tenant the view is.
    pub tenant: TenantId,
    /// Who was revoked.
    pub subject: SubjectId,
    /// Where.
    pub position: Position,
    /// Time from the acknowledgement until the view denied; `None` if it never did.
    pub denied_after: Option<Duration>,
    /// How often the view allowed access although it claimed to be newer than the acknowledgement.
    pub let_in: u64,
    /// Whether the view denied somebody whom nobody revoked.
    pub wrongly_denied: bool,
}
