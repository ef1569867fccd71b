//! What is dead for a while, and who must log in anew.

use jeton_core::command::{RequireReauthentication, Resume, Suspend, Suspendable};
use jeton_core::ids::{Position, SubjectId};
use jeton_wire::suspension;

use crate::client::Deadline;
use crate::error::Error;
use crate::id::IntoId;
use crate::tenant::{Tenant, decoded, positioned, unless_refused};
use crate::transport::retry::Repeat;

/// What a suspension, or its end, did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// From here on it is so, on every node.
    pub position: Position,
    /// It was so before: nothing changed.
    pub already: bool,
}

impl Tenant {
    /// Makes all that hangs on a root dead for a while. Lifetimes go on meanwhile. The reason, at
    /// most 256 bytes, is told to those whom it hits.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NotFound`, `Revoked` or `Expired` of a family, and whatever any
    /// call may fail with.
    pub async fn suspend(
        &self,
        what: Suspendable,
        reason: Option<&str>,
        deadline: impl Into<Deadline>,
    ) -> Result<Held, Error> {
        let suspend = Suspend { what, reason: reason.map(Into::into) };
        let name = self.name(None)?;
        let make = || suspension::suspend(self.id(), name, &suspend);
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, Suspend, suspension::suspended)?;
        let position = answered.position;
        unless_refused(answered).map(|already| Held { position, already })
    }

    /// Ends a suspension: what was not killed otherwise lives again.
    ///
    /// # Errors
    /// As [`Tenant::suspend`].
    pub async fn resume(
        &self,
        what: Suspendable,
        deadline: impl Into<Deadline>,
    ) -> Result<Held, Error> {
        let resume = Resume { what };
        let name = self.name(None)?;
        let make = || suspension::resume(self.id(), name, &resume);
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, Resume, suspension::resumed)?;
        let position = answered.position;
        unless_refused(answered).map(|already| Held { position, already })
    }

    /// Kills what was made from an earlier authentication of a subject: sessions, families bound to
    /// them, and families that say when their user was authenticated. Answers the position that an
    /// authentication must not be older than.
    ///
    /// # Errors
    /// Whatever any call may fail with.
    pub async fn require_reauthentication(
        &self,
        subject: impl IntoId<SubjectId>,
        reason: Option<&str>,
        deadline: impl Into<Deadline>,
    ) -> Result<Position, Error> {
        let subject =
            subject.into_id().map_err(|error| Error::violation("subject", error.to_string()))?;
        let require = RequireReauthentication { subject, reason: reason.map(Into::into) };
        let name = self.name(None)?;
        let make = || suspension::reauthenticate(self.id(), name, &require);
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        positioned(decoded!(response, RequireReauthentication, suspension::reauthenticated)?)
    }
}
