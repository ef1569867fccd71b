//! Predicates: revocations by more than exact keys, in force from their position on.
//!
//! ```text
//!   row last written before P, and matches ──► dead at P     to every read, and to every command
//!                                                            before it writes the row
//!   row written at P or later              ──► not looked at: it was judged when it was written
//! ```
//!
//! So an update can neither save a family that was hit, nor pull in one that was not. *Written*
//! means what is compared here: address and attributes. A row that is hit is read as if it said so
//! itself; the sweep writes just that, and changes no answer.
//!
//! Active ones are pinned rows of their own. A tenant's row counts them, and a tenant that has none
//! looks for none; one that has some reads them with its row, which commands do once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{decode_row, encode};
use crate::command::{Criteria, RevokeWhere};
use crate::family::index;
use crate::ids::{ClientId, DeviceId, Position, SessionId, SubjectId, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::reply::{EventKind, Replies, RevocationCause, RevocationView, RevokedBy, SweepProgress};
use crate::roots::Roots;
use crate::tables::{ReadTables, Tables, TablesError};
use crate::tenant::{self, Tenant};
use crate::turn::Turn;

use super::spared::Spared;
use super::sweep;

/// A predicate, with the progress of its sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Predicate {
    pub(super) position: Position,
    pub(super) at: UnixMs,
    pub(super) matching: Criteria,
    pub(super) spared: Spared,
    pub(super) reason: Option<Arc<str>>,
    pub(super) progress: SweepProgress,
    /// The one that its rows are walked with, once that has begun: itself, or an older one.
    pub(super) walk: Option<Position>,
    /// What that one looks at, and behind which key.
    pub(super) stage: Stage,
    pub(super) after: Option<Vec<u8>>,
}

/// What a sweep looks at: one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    Families,
    Sessions,
    Done,
}

/// What of a family or session is compared.
pub(crate) struct Facts<'a> {
    pub(crate) subject: &'a SubjectId,
    pub(crate) client: Option<&'a ClientId>,
    pub(crate) device: Option<&'a DeviceId>,
    pub(crate) session: Option<&'a SessionId>,
    /// Address last seen.
    pub(crate) ip: Option<&'a str>,
    pub(crate) attributes: &'a [(Arc<str>, Arc<str>)],
    pub(crate) created_at: UnixMs,
    /// Where these facts were last written.
    pub(crate) written: Position,
}

impl Facts<'_> {
    fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| &**known == name);
        found.map(|(_, value)| &**value)
    }
}

impl Criteria {
    /// Whether all that is named fits.
    pub(crate) fn matches(&self, facts: &Facts<'_>) -> bool {
        let fits = |named: &Option<_>, known| named.as_ref().is_none_or(|name| known == Some(name));
        self.subject.as_ref().is_none_or(|subject| subject == facts.subject)
            && self.client.as_ref().is_none_or(|client| facts.client == Some(client))
            && self.device.as_ref().is_none_or(|device| facts.device == Some(device))
            && fits(&self.session, facts.session)
            && self.created_before.is_none_or(|before| facts.created_at < before)
            && self.region.as_deref().is_none_or(|is| facts.attribute("region") == Some(is))
            && self.attributes.iter().all(|pair| facts.attributes.contains(pair))
            && self.ip.is_none_or(|range| {
                facts.ip.or_else(|| facts.attribute("ip")).is_some_and(|ip| range.contains(ip))
            })
    }
}

impl Predicate {
    fn hits(&self, facts: &Facts<'_>, roots: &Roots<'_>) -> bool {
        facts.written < self.position && self.matching.matches(facts) && !self.spared.spares(roots)
    }

    pub(super) fn by(&self) -> RevokedBy {
        RevokedBy {
            cause: RevocationCause::Predicate,
            position: self.position,
            at: self.at,
            reason: self.reason.clone(),
        }
    }

    /// From when on it is not known any more. Only of one whose sweep is through.
    pub(crate) fn forgotten_at(&self) -> UnixMs {
        self.progress.done_at.unwrap_or(self.at).plus(limits::RETENTION)
    }

    pub(super) fn view(self) -> RevocationView {
        RevocationView {
            revocation: self.position,
            at: self.at,
            matching: self.matching,
            kept: self.spared.names(),
            reason: self.reason,
            sweep: Some(self.progress),
        }
    }
}

/// All that are active, oldest first.
pub(crate) fn active(
    tables: &impl ReadTables,
    id: &TenantId,
) -> Result<Vec<Predicate>, TablesError> {
    let (from, to) = keys::revocation::active(id);
    let rows = tables.scan(&from, &to, limits::PREDICATES_MAX)?;
    rows.iter().map(|(_, row)| decode_row(row)).collect()
}

/// The first active predicate that hit what these facts are about.
pub(crate) fn hit_by(tenant: &Tenant, facts: &Facts<'_>, roots: &Roots<'_>) -> Option<RevokedBy> {
    tenant.active.iter().find(|predicate| predicate.hits(facts, roots)).map(Predicate::by)
}

/// Puts a new one in force. There is room for it.
pub(super) fn begin<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RevokeWhere,
    spared: Spared,
) -> Result<(), TablesError> {
    assert!(usize::from(tenant.predicates) < limits::PREDICATES_MAX, "there is room");
    let rows_estimate = match sweep::Source::of_families(id, &wish.matching) {
        sweep::Source::All => index::kept(turn.tables, id)?,
        sweep::Source::Index(_) => 0,
    };
    let predicate = Predicate {
        position: turn.position,
        at: turn.now,
        matching: wish.matching.clone(),
        spared,
        reason: wish.reason.clone(),
        progress: SweepProgress { rows_estimate, ..SweepProgress::default() },
        walk: None,
        stage: Stage::Families,
        after: None,
    };
    turn.put(keys::revocation::of_active(id, turn.position), None, encode(&predicate));
    let predicates = tenant.predicates + 1;
    tenant::store(turn, id, &Tenant { predicates, ..tenant.clone() })?;
    turn.event(id, None, EventKind::Predicate { matching: Box::new(wish.matching.clone()) });
    Ok(())
}
