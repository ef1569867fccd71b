//! Tenants: their settings, their keys, and which cutoffs they use.
//!
//! A tenant is two pinned rows: what every rotation looks at, and the keys, which only nodes read
//! when they check or make macs. Both change in one entry or not at all.

use serde::{Deserialize, Serialize};

use crate::admission;
use crate::codec::{decode_row, encode};
use crate::command::{
    CreateTenant, KeyMaterial, MarkKeyCompromised, RotateTenantKey, SetTenant, TenantSettings,
};
use crate::ids::{Kid, Position, RecordKind, TenantId, UnixMs};
use crate::keys;
use crate::limits;
use crate::mac::TenantKeys;
use crate::reply::{Done, EventKind, Refusal, Replies, RevocationCause, RevokedBy, TenantView};
use crate::revocation::predicate::{self, Predicate};
use crate::tables::{ReadTables, Tables, TablesError};
use crate::turn::Turn;

/// The first key of a tenant. Not 0, so that a field left out can't name one.
const FIRST_KID: Kid = Kid(1);

/// What is kept of a tenant, but for its keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tenant {
    pub(crate) settings: TenantSettings,
    /// Counts changes of the settings.
    pub(crate) version: u64,
    /// The key that new tokens are made with.
    pub(crate) kid: Kid,
    /// Keys that may be in the wrong hands. Ascending.
    pub(crate) compromised: Vec<Kid>,
    /// Which kinds of cutoffs were ever made: bit *m* is set if one with mask *m* was. A rotation
    /// looks up only those.
    pub(crate) cutoff_masks: u16,
    /// Whether any subject ever had to authenticate anew.
    pub(crate) reauthentications: bool,
    /// Which kinds of roots were ever suspended, as bits: see `suspension`.
    pub(crate) suspensions: u8,
    /// How many predicates are active. See `revocation/predicate.rs`.
    pub(crate) predicates: u16,
    pub(crate) created_at: UnixMs,
    /// The newest restore from a backup, if there was one.
    pub(crate) restored: Option<Restored>,
    /// They, oldest first: rows of their own.
    #[serde(skip)]
    pub(crate) active: Vec<Predicate>,
}

/// What a restore from a backup left behind in a tenant: see [`crate::backup`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// Everything that came out of the backup is older.
    pub(crate) position: Position,
    pub(crate) at: UnixMs,
    /// The operator has accepted that what was revoked or consumed behind the backup lives again.
    pub(crate) kept: bool,
    /// A proof that ends by then may have been seen before the restore.
    pub(crate) proofs_until: UnixMs,
    /// Kinds of records that are consumed; `None`: all are taken for such.
    pub(crate) one_time: Option<Vec<RecordKind>>,
}

impl Restored {
    /// Whether something as old as this came from the backup, and may have ended behind it.
    pub(crate) fn cuts(&self, origin: Position) -> bool {
        !self.kept && origin < self.position
    }

    /// What killed it then.
    pub(crate) fn by(&self) -> RevokedBy {
        RevokedBy {
            cause: RevocationCause::Cutoff,
            position: self.position,
            at: self.at,
            reason: Some("restored from a backup".into()),
        }
    }

    /// Whether records of a kind are consumed.
    pub(crate) fn is_one_time(&self, kind: &RecordKind) -> bool {
        self.one_time.as_ref().is_none_or(|kinds| kinds.contains(kind))
    }
}

/// A tenant's keys, newest last.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeysRow {
    keys: Vec<KeyRow>,
}

#[derive(Serialize, Deserialize)]
struct KeyRow {
    kid: Kid,
    material: KeyMaterial,
    /// When a newer one took its place.
    retired_at: Option<UnixMs>,
}

impl Tenant {
    pub(crate) fn load(
        tables: &impl ReadTables,
        id: &TenantId,
    ) -> Result<Option<Self>, TablesError> {
        let Some(row) = tables.get(&keys::tenant(id))? else { return Ok(None) };
        Self::decode(tables, id, &row).map(Some)
    }

    /// What `row` says, and the predicates that belong to it.
    pub(crate) fn decode(
        tables: &impl ReadTables,
        id: &TenantId,
        row: &[u8],
    ) -> Result<Self, TablesError> {
        let mut tenant: Self = decode_row(row)?;
        if tenant.predicates > 0 {
            tenant.active = predicate::active(tables, id)?;
            let found = tenant.active.len();
            assert_eq!(found, usize::from(tenant.predicates), "active predicates are counted");
        }
        Ok(tenant)
    }

    pub(crate) fn is_compromised(&self, kid: Kid) -> bool {
        self.compromised.binary_search(&kid).is_ok()
    }

    pub(crate) fn view(self, tenant: TenantId) -> TenantView {
        TenantView {
            tenant,
            settings: self.settings,
            version: self.version,
            kid: self.kid,
            compromised: self.compromised,
            created_at: self.created_at,
        }
    }
}

/// The keys of a tenant, for nodes.
pub(crate) fn tenant_keys(
    tables: &impl ReadTables,
    id: &TenantId,
) -> Result<Option<TenantKeys>, TablesError> {
    let Some(row) = tables.get(&keys::tenant_keys(id))? else { return Ok(None) };
    let row: KeysRow = decode_row(&row)?;
    let current = row.keys.last().map_or(FIRST_KID, |key| key.kid);
    let keys = row.keys.into_iter().map(|key| (key.kid, key.material)).collect();
    Ok(Some(TenantKeys::new(id.clone(), current, keys)))
}

/// Writes a tenant's row, and forgets its decoded form.
pub(crate) fn store<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
) -> Result<(), TablesError> {
    let key = keys::tenant(id);
    let old = turn.tables.get(&key)?;
    turn.tenants.remove(id);
    turn.put(key, old.as_ref(), encode(tenant));
    Ok(())
}

pub(crate) fn create<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    wish: &CreateTenant,
) -> Result<Result<Done, Refusal>, TablesError> {
    if let Err(refusal) = admission::settings(&wish.settings) {
        return Ok(Err(refusal));
    }
    if turn.tenant(id)?.is_some() {
        return Ok(Err(Refusal::AlreadyExists));
    }
    let (from, to) = keys::all_tenants();
    if turn.tables.scan(&from, &to, limits::TENANTS_MAX)?.len() >= limits::TENANTS_MAX {
        return Ok(Err(Refusal::limit("TENANTS_MAX", limits::TENANTS_MAX)));
    }
    let tenant = Tenant {
        settings: wish.settings.clone(),
        version: 1,
        kid: FIRST_KID,
        compromised: Vec::new(),
        cutoff_masks: 0,
        reauthentications: false,
        suspensions: 0,
        predicates: 0,
        created_at: turn.now,
        restored: None,
        active: Vec::new(),
    };
    let first = KeyRow { kid: FIRST_KID, material: wish.key.clone(), retired_at: None };
    store(turn, id, &tenant)?;
    turn.put(keys::tenant_keys(id), None, encode(&KeysRow { keys: vec![first] }));
    Ok(Ok(Done::TenantCreated))
}

pub(crate) fn set<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &SetTenant,
) -> Result<Result<Done, Refusal>, TablesError> {
    let settings = wish.changes.over(&tenant.settings);
    if let Err(refusal) = admission::settings(&settings) {
        return Ok(Err(refusal));
    }
    if wish.version.is_some_and(|version| version != tenant.version) {
        return Ok(Err(Refusal::VersionMismatch { version: tenant.version }));
    }
    let version = tenant.version + 1;
    let changed = Tenant { settings, version, ..tenant.clone() };
    store(turn, id, &changed)?;
    Ok(Ok(Done::TenantSet { version }))
}

pub(crate) fn rotate_key<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &RotateTenantKey,
) -> Result<Result<Done, Refusal>, TablesError> {
    let key = keys::tenant_keys(id);
    let old = turn.tables.get(&key)?;
    let mut row = match &old {
        Some(row) => decode_row(row)?,
        None => KeysRow { keys: Vec::new() },
    };
    // A token lives no longer than its family may, and its answers a retention more.
    let now = turn.now;
    let useful = limits::FAMILY_LIFETIME_MAX.0 + limits::RETENTION.0;
    let useful = crate::ids::DurationMs(useful);
    row.keys.retain(|key| key.retired_at.is_none_or(|at| !at.passed(useful, now)));
    let Some(kid) = tenant.kid.0.checked_add(1).map(Kid) else {
        return Ok(Err(Refusal::limit("Kid", usize::from(u16::MAX))));
    };
    if row.keys.len() >= limits::TENANT_KEYS_MAX {
        return Ok(Err(Refusal::limit("TENANT_KEYS_MAX", limits::TENANT_KEYS_MAX)));
    }
    if let Some(last) = row.keys.last_mut() {
        assert!(last.kid < kid, "keys are only ever added");
        last.retired_at = Some(now);
    }
    row.keys.push(KeyRow { kid, material: wish.key.clone(), retired_at: None });
    let mut changed = Tenant { kid, ..tenant.clone() };
    changed.compromised.retain(|kid| row.keys.iter().any(|key| key.kid == *kid));
    turn.put(key, old.as_ref(), encode(&row));
    store(turn, id, &changed)?;
    Ok(Ok(Done::TenantKeyRotated { kid }))
}

pub(crate) fn mark_compromised<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: &Tenant,
    wish: &MarkKeyCompromised,
) -> Result<Result<Done, Refusal>, TablesError> {
    let known = turn.tables.get(&keys::tenant_keys(id))?;
    let known: KeysRow = match &known {
        Some(row) => decode_row(row)?,
        None => KeysRow { keys: Vec::new() },
    };
    if known.keys.iter().all(|key| key.kid != wish.kid) {
        return Ok(Err(Refusal::NotFound));
    }
    if let Err(at) = tenant.compromised.binary_search(&wish.kid) {
        let mut changed = tenant.clone();
        changed.compromised.insert(at, wish.kid);
        store(turn, id, &changed)?;
        turn.event(id, None, EventKind::KeyCompromised { kid: wish.kid });
    }
    Ok(Ok(Done::KeyMarkedCompromised))
}
