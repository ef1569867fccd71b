//! Which families there are: listings, page by page, and counts.

use jeton_core::ids::{ClientId, DeviceId, SessionId, SubjectId};
use jeton_core::read::FamilyQuery;
use jeton_core::reply::FamilyView;
use jeton_wire::answer::Seen;
use jeton_wire::decode::Consistency;
use jeton_wire::listing::{self, Count};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::{Violation, encode};

use crate::answer::Read;
use crate::client::Deadline;
use crate::error::Error;
use crate::family::Checks;
use crate::id::IntoId;
use crate::tenant::{Tenant, decoded};
use crate::transport::retry::Repeat;

/// Families that match *all* that is named. Only what lives, unless [`Families::include_dead`].
#[derive(Debug, Clone)]
pub struct Families {
    checks: Checks,
    query: FamilyQuery,
    page_size: u32,
    consistency: Consistency,
}

impl Families {
    fn new() -> Self {
        Self {
            checks: Checks::default(),
            query: FamilyQuery::default(),
            page_size: listing::PAGE_DEFAULT,
            consistency: Consistency::Linearizable,
        }
    }

    /// Those of a subject.
    pub fn of_subject(subject: impl IntoId<SubjectId>) -> Self {
        Self::new().subject(subject)
    }

    /// Those of a client.
    pub fn of_client(client: impl IntoId<ClientId>) -> Self {
        Self::new().client(client)
    }

    /// Those on a device.
    pub fn on_device(device: impl IntoId<DeviceId>) -> Self {
        Self::new().device(device)
    }

    /// Those that are bound to a session.
    pub fn of_session(session: impl IntoId<SessionId>) -> Self {
        Self::new().session(session)
    }

    /// Only this subject's.
    #[must_use]
    pub fn subject(mut self, subject: impl IntoId<SubjectId>) -> Self {
        self.query.subject = self.checks.id("filter.subject", subject);
        self
    }

    /// Only this client's.
    #[must_use]
    pub fn client(mut self, client: impl IntoId<ClientId>) -> Self {
        self.query.client = self.checks.id("filter.client", client);
        self
    }

    /// Only what is on this device.
    #[must_use]
    pub fn device(mut self, device: impl IntoId<DeviceId>) -> Self {
        self.query.device = self.checks.id("filter.device", device);
        self
    }

    /// Only those that are bound to this session.
    #[must_use]
    pub fn session(mut self, session: impl IntoId<SessionId>) -> Self {
        self.query.session = self.checks.id("filter.session", session);
        self
    }

    /// Only those whose attribute has exactly this value. May be repeated, up to 16 times.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.query.attributes.push((name.into(), value.into()));
        self.query.attributes.sort();
        self
    }

    /// Dead, expired and suspended ones too, as long as answers name their cause: 24 hours.
    #[must_use]
    pub fn include_dead(mut self) -> Self {
        self.query.include_dead = true;
        self
    }

    /// At most so many a page, 1 to 1,000. Default 100.
    #[must_use]
    pub fn page_size(mut self, families: u32) -> Self {
        self.page_size = families;
        self
    }

    /// How fresh the answer must be. Default: linearizable.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }
}

/// A page of families, in the order of their creation.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyPage {
    /// May be fewer than asked for, or none, although more follow. Their payloads are left out.
    pub families: Vec<FamilyView>,
    /// For the next page; `None` if that was all.
    pub next: Option<String>,
}

/// How many families there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyCount {
    /// Exact up to 10,000, unless `at_least`.
    pub families: u64,
    /// There are at least so many: counting stopped.
    pub at_least: bool,
}

impl Tenant {
    /// A page of the families that match: the first, or the one behind `page` (see
    /// [`FamilyPage::next`]). A family that matches during the whole listing appears exactly once,
    /// others may.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if nothing is named or `page` belongs to another listing,
    /// [`Error::Refused`] with `TenantUnknown`, and whatever any read may fail with.
    pub async fn list_families(
        &self,
        families: &Families,
        page: Option<&str>,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<FamilyPage>, Error> {
        families.checks.done(Some(()))?;
        let page = page.unwrap_or_default();
        if families.page_size == 0 {
            let wrong = Violation::new("page_size", "is 0: ask for 1 to 1,000 families");
            return Err(Error::InvalidArgument { violations: vec![wrong] });
        }
        let make = || {
            let asked = listing::list_request(self.id(), &families.query, families.page_size, page);
            let consistency = encode::consistency(families.consistency);
            Request::ListFamilies(v1::ListFamiliesRequest { consistency, ..asked })
        };
        let response = self.client().call(Repeat::Read, deadline.into(), make).await?;
        read(decoded!(response, ListFamilies, listing::list_families)?, |page| FamilyPage {
            families: page.families,
            next: page.next,
        })
    }

    /// How many families match. Each is looked at once, while others come and go.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if nothing is named, [`Error::Refused`] with `TenantUnknown`, and
    /// whatever any read may fail with.
    pub async fn count_families(
        &self,
        families: &Families,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<FamilyCount>, Error> {
        families.checks.done(Some(()))?;
        let make = || {
            let asked = listing::count_request(self.id(), &families.query);
            let consistency = encode::consistency(families.consistency);
            Request::CountFamilies(v1::CountFamiliesRequest { consistency, ..asked })
        };
        let response = self.client().call(Repeat::Read, deadline.into(), make).await?;
        let seen = decoded!(response, CountFamilies, listing::count_families)?;
        read(seen, |Count { families, at_least }| FamilyCount { families, at_least })
    }
}

fn read<T, U>(seen: Seen<T>, show: impl FnOnce(T) -> U) -> Result<Read<U>, Error> {
    let value = seen.outcome.map(show).map_err(Error::Refused)?;
    Ok(Read { value, position: seen.position, age: seen.age })
}
