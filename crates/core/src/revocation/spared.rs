//! Exceptions: what a revocation leaves alone, although it matches.
//!
//! Only what is alive where the revocation is made is kept, as it is known there: a family or
//! session of the same name that is made later is another one. A newer cutoff of the same keys
//! replaces the list together with the position: whatever an earlier one killed is dead where the
//! newer one is made, and so is never on its list.

use serde::{Deserialize, Serialize};

use crate::access::Claims;
use crate::command::{Criteria, Except};
use crate::family;
use crate::ids::{FamilyId, Position, SessionId, TenantId, UnixMs};
use crate::roots::{Itself, Roots};
use crate::session;
use crate::standing::Standing;
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;

/// Families and sessions, each with where it was created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spared {
    families: Vec<(FamilyId, Position)>,
    sessions: Vec<(SessionId, Position)>,
}

impl Spared {
    /// Those of `except` that are alive. A family whose session `matching` would end is not kept:
    /// it dies with that.
    pub(crate) fn alive(
        tables: &impl ReadTables,
        id: &TenantId,
        tenant: &Tenant,
        matching: &Criteria,
        except: &Except,
        now: UnixMs,
    ) -> Result<Self, TablesError> {
        let mut spared = Self::default();
        for name in &except.sessions {
            let Some(loaded) = session::load(tables, id, tenant, name, now)? else { continue };
            if loaded.ended(now).is_none() && !spared.has_session(name) {
                spared.sessions.push((name.clone(), loaded.row.created));
            }
        }
        for family in &except.families {
            let Some(loaded) = family::load(tables, id, tenant, *family, now)? else { continue };
            let loaded = loaded.without_suspension();
            if loaded.standing(now, now) != Standing::Alive || spared.has_family(*family) {
                continue;
            }
            if let Some(bound) = &loaded.row.session
                && !spared.has_session(bound)
                && let Some(session) = session::load(tables, id, tenant, bound, now)?
                && matching.matches(&session.row.facts(bound))
            {
                continue;
            }
            spared.families.push((*family, loaded.row.created));
        }
        Ok(spared)
    }

    /// Whether what hangs on these roots is left alone.
    pub(crate) fn spares(&self, roots: &Roots<'_>) -> bool {
        let family = |wanted: FamilyId, fits: &dyn Fn(Position) -> bool| {
            self.families.iter().any(|(family, life)| *family == wanted && fits(*life))
        };
        let session = |fits: &dyn Fn(Position) -> bool| {
            let named = |name: &SessionId| Some(name) == roots.session;
            self.sessions.iter().any(|(session, life)| named(session) && fits(*life))
        };
        let (same, since) = (|life| life == roots.created, |life: Position| life <= roots.created);
        match roots.itself {
            Itself::Session => session(&same),
            Itself::Family(own) => family(own, &same) || session(&since),
            Itself::Record => {
                roots.family.is_some_and(|bound| family(bound, &since)) || session(&since)
            }
        }
    }

    /// Whether an access token says that it belongs to what is left alone.
    pub(crate) fn spares_claims(&self, claims: &Claims<'_>) -> bool {
        claims.family.is_some_and(|family| self.has_family(family))
            || claims.session.is_some_and(|session| {
                self.sessions.iter().any(|(spared, _)| spared.as_str() == session)
            })
    }

    fn has_family(&self, family: FamilyId) -> bool {
        self.families.iter().any(|(spared, _)| *spared == family)
    }

    fn has_session(&self, session: &SessionId) -> bool {
        self.sessions.iter().any(|(spared, _)| spared == session)
    }

    /// As it is told.
    pub(crate) fn names(&self) -> Except {
        Except {
            families: self.families.iter().map(|(family, _)| *family).collect(),
            sessions: self.sessions.iter().map(|(session, _)| session.clone()).collect(),
        }
    }
}
