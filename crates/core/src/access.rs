//! Whether an access token may still be used: `CheckAccess`, here and in a client's local view.
//!
//! Access tokens are not kept. What is known of one are its claims, and what is in force are marks:
//! denials, deaths of families, cutoffs. [`judge`] compares them, in one order for everyone:
//!
//! ```text
//!  jti ─▶ suspensions ─▶ session, family: their own ─▶ cutoffs by position ─▶ roots ─▶ by `iat`
//!                                                                      (only where rows are)
//! ```
//!
//! The position claim is exact, since it is a place in the same order as the cutoffs. A family is
//! exact where its row can be read, since it knows its origin. Seconds are not: with nothing but
//! `iat` a token counts as older than a cutoff if it was issued up to [`limits::ACCESS_SKEW`] after
//! it. A claim that is missing matches nothing, so name subject and client always.
//!
//! A token can't say when its user was authenticated. So a call to authenticate anew ends all
//! access tokens of the subject that are older, as a cutoff does; a family that it spares makes a
//! new one.

use crate::family;
use crate::ids::{
    ClientId, DeviceId, FamilyId, Jti, Position, SessionId, SubjectId, TenantId, UnixMs,
};
use crate::limits;
use crate::reply::{RevocationCause, RevokedBy};
use crate::revocation::{self, MASKS};
use crate::session;
use crate::suspension::{self, Suspended};
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;
use crate::{denial, keys};

/// What an access token says of itself, checked. See [`Claims`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessClaims {
    /// `jti` (RFC 7519 §4.1.7). Compared together with the client.
    pub jti: Option<Jti>,
    /// `sub`.
    pub subject: Option<SubjectId>,
    /// `client_id` (RFC 9068 §2.2).
    pub client: Option<ClientId>,
    /// The device that it was issued to.
    pub device: Option<DeviceId>,
    /// `sid`: the session that it was issued in.
    pub session: Option<SessionId>,
    /// The family of refresh tokens that it was issued with.
    pub family: Option<FamilyId>,
    /// `jpos`: position of the reply that it was made from.
    pub position: Option<Position>,
    /// `iat`, in Unix milliseconds.
    pub issued_at: Option<UnixMs>,
}

impl AccessClaims {
    /// The same, borrowed.
    #[must_use]
    pub fn as_claims(&self) -> Claims<'_> {
        Claims {
            jti: self.jti.as_ref().map(Jti::as_str),
            subject: self.subject.as_ref().map(SubjectId::as_str),
            client: self.client.as_ref().map(ClientId::as_str),
            device: self.device.as_ref().map(DeviceId::as_str),
            session: self.session.as_ref().map(SessionId::as_str),
            family: self.family,
            position: self.position,
            issued_at: self.issued_at,
        }
    }
}

/// What an access token says of itself. What is `None` matches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claims<'a> {
    /// `jti`. Compared together with the client.
    pub jti: Option<&'a str>,
    /// `sub`.
    pub subject: Option<&'a str>,
    /// `client_id`.
    pub client: Option<&'a str>,
    /// The device that it was issued to.
    pub device: Option<&'a str>,
    /// `sid`: the session that it was issued in.
    pub session: Option<&'a str>,
    /// The family of refresh tokens that it was issued with.
    pub family: Option<FamilyId>,
    /// `jpos`: position of the reply that it was made from.
    pub position: Option<Position>,
    /// `iat`, in Unix milliseconds.
    pub issued_at: Option<UnixMs>,
}

impl<'a> Claims<'a> {
    /// The names that cutoffs may name, in the order of their masks.
    fn names(&self) -> [Option<&'a str>; 4] {
        [self.subject, self.client, self.device, self.session]
    }
}

/// Whether an access token may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing that is in force stands in its way. Its signature and expiry are the caller's.
    Active,
    /// It must not be used.
    Denied(Denied),
}

/// Why an access token must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// Which claim it was judged by.
    pub basis: Basis,
    /// Which root is dead.
    pub cause: RevocationCause,
    /// Position of the revocation.
    pub position: Position,
    /// When it was revoked.
    pub at: UnixMs,
}

/// Which claim an access token was judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Basis {
    /// Its own name. Exact.
    Jti,
    /// Its subject, client or tenant is suspended. Exact.
    Suspension,
    /// Its session was ended. Exact.
    Session,
    /// Its family is dead. Exact.
    Family,
    /// Its position is before a cutoff. Exact.
    Position,
    /// It was issued before a cutoff, or up to [`limits::ACCESS_SKEW`] after it. Weaker: clocks
    /// decide.
    IssuedAt,
}

/// A revocation that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What it was.
    pub cause: RevocationCause,
    /// Where.
    pub position: Position,
    /// When.
    pub at: UnixMs,
}

impl From<&RevokedBy> for Mark {
    fn from(by: &RevokedBy) -> Self {
        Self { cause: by.cause, position: by.position, at: by.at }
    }
}

impl Mark {
    fn denies(self, basis: Basis) -> Access {
        let Self { cause, position, at } = self;
        Access::Denied(Denied { basis, cause, position, at })
    }
}

/// What a place knows of the roots of a token's family, or else of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lineage {
    /// Nothing: their rows are not here.
    Unknown,
    /// They are alive, as seen from the family's origin.
    Alive,
    /// One of them is dead.
    Dead(Basis, Mark),
}

/// What is in force, as [`judge`] asks for it.
pub trait Facts {
    /// What may go wrong when looking.
    type Error;

    /// The denial of an access token of this client.
    ///
    /// # Errors
    /// If the place can't be looked into.
    fn denial(&self, jti: &str, client: &str) -> Result<Option<Mark>, Self::Error>;

    /// The first suspension of a subject, a client or the tenant.
    ///
    /// # Errors
    /// If the place can't be looked into.
    fn suspension(
        &self,
        subject: Option<&str>,
        client: Option<&str>,
    ) -> Result<Option<Mark>, Self::Error>;

    /// That a session was ended, whatever became of its roots.
    ///
    /// # Errors
    /// If the place can't be looked into.
    fn session(&self, session: &str) -> Result<Option<Mark>, Self::Error>;

    /// A family's own death, or else its own suspension, whatever became of its roots.
    ///
    /// # Errors
    /// If the place can't be looked into.
    fn family(&self, family: FamilyId) -> Result<Option<Mark>, Self::Error>;

    /// What became of the roots of a token's family, or of its session if no family is named.
    ///
    /// # Errors
    /// If the place can't be looked into.
    fn lineage(&self, claims: &Claims<'_>) -> Result<Lineage, Self::Error>;

    /// Which kinds of cutoffs there are: bit *m* stands for mask *m*.
    fn cutoff_masks(&self) -> u16;

    /// The newest cutoff that names exactly these, in the order subject, client, device, session;
    /// unless it leaves alone what the claims say that the token belongs to.
    ///
    /// # Errors
    /// If the place can't be looked into.
    fn cutoff(
        &self,
        mask: u8,
        names: [Option<&str>; 4],
        claims: &Claims<'_>,
    ) -> Result<Option<Mark>, Self::Error>;

    /// The newest call for a subject to authenticate anew.
    ///
    /// # Errors
    /// If the place can't be looked into.
    fn reauthentication(&self, subject: &str) -> Result<Option<Mark>, Self::Error>;
}

/// Judges an access token by its claims.
///
/// # Errors
/// What the place says if it can't be looked into.
pub fn judge<F: Facts>(facts: &F, claims: &Claims<'_>) -> Result<Access, F::Error> {
    if let (Some(jti), Some(client)) = (claims.jti, claims.client)
        && let Some(mark) = facts.denial(jti, client)?
    {
        return Ok(mark.denies(Basis::Jti));
    }
    if let Some(mark) = facts.suspension(claims.subject, claims.client)? {
        return Ok(mark.denies(Basis::Suspension));
    }
    if let Some(session) = claims.session
        && let Some(mark) = facts.session(session)?
    {
        return Ok(mark.denies(Basis::Session));
    }
    if let Some(family) = claims.family
        && let Some(mark) = facts.family(family)?
    {
        return Ok(mark.denies(Basis::Family));
    }
    if let Some(position) = claims.position
        && let Some(mark) = first_cutoff(facts, claims, |cut| position < cut.position)?
    {
        return Ok(mark.denies(Basis::Position));
    }
    match facts.lineage(claims)? {
        Lineage::Dead(basis, mark) => return Ok(mark.denies(basis)),
        // Its roots were looked at, and are fresher than any claim.
        Lineage::Alive => return Ok(Access::Active),
        Lineage::Unknown => {}
    }
    if claims.position.is_some() {
        return Ok(Access::Active);
    }
    // One that does not even say when it was issued may be older than anything.
    let issued_at = claims.issued_at.unwrap_or(UnixMs(0));
    let older = |cut: &Mark| issued_at <= cut.at.plus(limits::ACCESS_SKEW);
    let first = first_cutoff(facts, claims, older)?;
    Ok(first.map_or(Access::Active, |mark| mark.denies(Basis::IssuedAt)))
}

/// The first of the cutoffs that match what is named, and hit.
fn first_cutoff<F: Facts>(
    facts: &F,
    claims: &Claims<'_>,
    hits: impl Fn(&Mark) -> bool,
) -> Result<Option<Mark>, F::Error> {
    let masks = facts.cutoff_masks();
    let mut first: Option<Mark> = None;
    if let Some(subject) = claims.subject {
        first = facts.reauthentication(subject)?.filter(&hits);
    }
    for mask in (0..MASKS).filter(|mask| masks & (1 << mask) != 0) {
        let Some(names) = revocation::masked(claims.names(), mask) else { continue };
        let Some(mark) = facts.cutoff(mask, names, claims)? else { continue };
        if hits(&mark) && first.is_none_or(|first| mark.position < first.position) {
            first = Some(mark);
        }
    }
    Ok(first)
}

/// What is in force in a tenant, in its rows.
pub(crate) struct RowFacts<'a, T> {
    pub(crate) tables: &'a T,
    pub(crate) id: &'a TenantId,
    pub(crate) tenant: &'a Tenant,
    pub(crate) now: UnixMs,
}

impl<T: ReadTables> Facts for RowFacts<'_, T> {
    type Error = TablesError;

    fn denial(&self, jti: &str, client: &str) -> Result<Option<Mark>, TablesError> {
        let found = denial::in_force(self.tables, self.id, jti, client, self.now)?;
        let mark = |denial: denial::Denial| Mark {
            cause: RevocationCause::AccessToken,
            position: denial.position,
            at: denial.at,
        };
        Ok(found.map(mark))
    }

    fn family(&self, family: FamilyId) -> Result<Option<Mark>, TablesError> {
        let Some(row) = self.tables.get(&keys::family(self.id, family))? else { return Ok(None) };
        let row = family::read(self.tenant, family, &row)?;
        if self.now >= row.forgotten_at() {
            return Ok(None);
        }
        let suspended = row.suspended.clone().map(Suspended::by);
        Ok(row.dead.or(suspended).as_ref().map(Mark::from))
    }

    fn suspension(
        &self,
        subject: Option<&str>,
        client: Option<&str>,
    ) -> Result<Option<Mark>, TablesError> {
        let by = suspension::suspended_by(self.tables, self.id, self.tenant, subject, client)?;
        Ok(by.as_ref().map(Mark::from))
    }

    fn session(&self, session: &str) -> Result<Option<Mark>, TablesError> {
        let Ok(session) = SessionId::new(session) else { return Ok(None) };
        let Some(row) = self.tables.get(&keys::session(self.id, &session))? else {
            return Ok(None);
        };
        let row = session::read(self.tenant, &session, &row)?;
        let known = self.now < row.forgotten_at();
        Ok(row.dead.as_ref().filter(|_| known).map(Mark::from))
    }

    fn lineage(&self, claims: &Claims<'_>) -> Result<Lineage, TablesError> {
        let (tables, id, tenant, now) = (self.tables, self.id, self.tenant, self.now);
        let (basis, revoked) = if let Some(family) = claims.family {
            let Some(loaded) = family::load(tables, id, tenant, family, now)? else {
                return Ok(Lineage::Unknown);
            };
            (Basis::Family, loaded.revoked)
        } else if let Some(session) = claims.session {
            let Ok(session) = SessionId::new(session) else { return Ok(Lineage::Unknown) };
            let Some(loaded) = session::load(tables, id, tenant, &session, now)? else {
                return Ok(Lineage::Unknown);
            };
            (Basis::Session, loaded.revoked)
        } else {
            return Ok(Lineage::Unknown);
        };
        Ok(match &revoked {
            // What ended by the clock was not revoked, and hides what may have been.
            Some(by) if by.position == Position::default() => Lineage::Unknown,
            Some(by) => Lineage::Dead(basis, by.into()),
            None => Lineage::Alive,
        })
    }

    fn cutoff_masks(&self) -> u16 {
        // A restore is a cutoff of the whole tenant's.
        let restored = self.tenant.restored.as_ref().is_some_and(|restored| !restored.kept);
        self.tenant.cutoff_masks | u16::from(restored)
    }

    fn cutoff(
        &self,
        mask: u8,
        names: [Option<&str>; 4],
        claims: &Claims<'_>,
    ) -> Result<Option<Mark>, TablesError> {
        let key = keys::cutoff(self.id, mask, names);
        let cause = RevocationCause::Cutoff;
        let cut = revocation::mark(self.tables, &key, cause, claims, self.now)?;
        let restored = self.tenant.restored.as_ref().filter(|it| mask == 0 && !it.kept);
        let restored = restored.map(|restored| Mark::from(&restored.by()));
        Ok(cut.into_iter().chain(restored).max_by_key(|mark| mark.position))
    }

    fn reauthentication(&self, subject: &str) -> Result<Option<Mark>, TablesError> {
        if !self.tenant.reauthentications {
            return Ok(None);
        }
        let key = keys::reauthentication(self.id, subject);
        let cause = RevocationCause::Reauthentication;
        revocation::mark(self.tables, &key, cause, &Claims::default(), self.now)
    }
}
