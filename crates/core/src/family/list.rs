//! Which families there are: by subject, client, both, device or session, narrowed by attributes.
//!
//! A listing walks an index in the order of creation, which nothing changes: so a family that
//! matches during the whole walk is met exactly once, however many reads the walk takes. What
//! answers no longer name, because it ended longer than [`limits::RETENTION`] ago, is not listed,
//! whether or not the sweep came by.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::codec::encode;
use crate::digest::bytes_digest;
use crate::ids::{ClientId, DeviceId, FamilyId, Position, SessionId, SubjectId, TenantId, UnixMs};
use crate::keys;
#[cfg(doc)]
use crate::limits;
use crate::reply::{FamilyView, Refusal};
use crate::standing::Standing;
use crate::tables::{ReadTables, TablesError};
use crate::tenant::Tenant;

use super::FamilyRow;
use super::index::{self, Found};

/// Which families are asked for: all that is named must match.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FamilyQuery {
    /// Of this subject.
    pub subject: Option<SubjectId>,
    /// Of this client.
    pub client: Option<ClientId>,
    /// On this device.
    pub device: Option<DeviceId>,
    /// Bound to this session.
    pub session: Option<SessionId>,
    /// With these attributes. At most [`limits::ATTRIBUTES_MAX`].
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    /// Dead, expired and suspended ones too, as long as answers name them.
    pub include_dead: bool,
}

impl FamilyQuery {
    /// Tells queries apart: a page's successor can't be asked for with another query.
    #[must_use]
    pub fn digest(&self, tenant: &TenantId) -> u128 {
        bytes_digest(&encode(&(tenant, self)))
    }

    /// The index with the fewest rows that hold all matches. `None` if no root is named.
    fn index(&self, id: &TenantId) -> Option<Vec<u8>> {
        use keys::index::{CLIENT, DEVICE, SESSION, SUBJECT, SUBJECT_CLIENT};
        let subject = self.subject.as_ref().map(SubjectId::as_str);
        let client = self.client.as_ref().map(ClientId::as_str);
        let device = self.device.as_ref().map(DeviceId::as_str);
        if let Some(session) = &self.session {
            return Some(keys::family_index(id, SESSION, &[session.as_str()]));
        }
        Some(match (subject, client, device) {
            (Some(subject), Some(client), _) => {
                keys::family_index(id, SUBJECT_CLIENT, &[subject, client])
            }
            (_, _, Some(device)) => keys::family_index(id, DEVICE, &[device]),
            (Some(subject), ..) => keys::family_index(id, SUBJECT, &[subject]),
            (_, Some(client), _) => keys::family_index(id, CLIENT, &[client]),
            (None, None, None) => return None,
        })
    }

    fn matches(&self, row: &FamilyRow) -> bool {
        let asked = |pair| row.attributes.contains(pair);
        self.subject.as_ref().is_none_or(|subject| *subject == row.subject)
            && self.client.as_ref().is_none_or(|client| *client == row.client)
            && self.device.as_ref().is_none_or(|device| Some(device) == row.device.as_ref())
            && self.session.as_ref().is_none_or(|session| Some(session) == row.session.as_ref())
            && self.attributes.iter().all(asked)
    }
}

/// How far a listing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyCursor {
    /// Where the last family that was looked at was created.
    pub created: Position,
    /// Which that was.
    pub family: FamilyId,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilySlice {
    /// Those that match, in the order of creation. Their payloads are left out.
    pub families: Vec<FamilyView>,
    /// Where to go on; `None` if that was all.
    pub next: Option<FamilyCursor>,
}

pub(crate) fn list(
    tables: &impl ReadTables,
    now: UnixMs,
    id: &TenantId,
    query: &FamilyQuery,
    after: Option<FamilyCursor>,
    rows_max: usize,
) -> Result<Result<FamilySlice, Refusal>, TablesError> {
    let Some(tenant) = Tenant::load(tables, id)? else { return Ok(Err(Refusal::TenantUnknown)) };
    let Some(index) = query.index(id) else {
        return Ok(Err(Refusal::invalid("subject", "name a subject, client, device or session")));
    };
    let after = after.map(|FamilyCursor { created, family }| Found { created, family });
    let found = index::scan(tables, &index, after, rows_max)?;
    let more = found.len() == rows_max;
    let last = found.last().filter(|_| more);
    let next = last.map(|&Found { created, family }| FamilyCursor { created, family });
    let mut families = Vec::new();
    for Found { created, family } in found {
        let Some(mut loaded) = super::load(tables, id, &tenant, family, now)? else { continue };
        // Its id may have been taken again: that family stands elsewhere in the index.
        if loaded.row.created != created {
            continue;
        }
        let shown = match loaded.standing(now, now) {
            Standing::Gone => false,
            Standing::Alive => true,
            _ => query.include_dead,
        };
        if shown && query.matches(&loaded.row) {
            loaded.row.payload = Bytes::new();
            families.push(super::view(family, loaded, now));
        }
    }
    Ok(Ok(FamilySlice { families, next }))
}
