//! Tenants for operators: settings and views, both ways.

use jeton_core::command::{
    AttemptLimits, Command, CreateTenant, KeyMaterial, MarkKeyCompromised, OnExpiry, Operation,
    RecordKindSettings, RequestName, RotateTenantKey, SetRecordKind, SetTenant, SettingsChange,
    TenantSettings,
};
use jeton_core::ids::{DurationMs, Kid, RecordKind, RequestId, TenantId, UnixMs};
use jeton_core::limits;
use jeton_core::reply::TenantView;

use crate::check::{self, Violation};
use crate::pb::admin_v1 as pb;

/// The command of `CreateTenant`. `key` is 32 random bytes of the node that took the request.
///
/// # Errors
/// [`Violation`] names the field.
pub fn create_tenant(r: &pb::CreateTenantRequest, key: KeyMaterial) -> Result<Command, Violation> {
    let settings = match &r.settings {
        Some(changes) => settings(changes)?,
        None => TenantSettings::default(),
    };
    let operation = Operation::CreateTenant(CreateTenant { settings, key });
    command(&r.tenant, &r.request_id, r.age_ms, operation)
}

/// The command of `SetTenant`.
///
/// # Errors
/// [`Violation`] names the field.
pub fn set_tenant(r: &pb::SetTenantRequest) -> Result<Command, Violation> {
    let changes = settings_change(check::required("settings", r.settings.as_ref())?)?;
    let operation = Operation::SetTenant(SetTenant { changes, version: r.version });
    command(&r.tenant, &r.request_id, r.age_ms, operation)
}

/// The command of `RotateTenantKey`. `key` is 32 random bytes of the node that took the request.
///
/// # Errors
/// [`Violation`] names the field.
pub fn rotate_tenant_key(
    r: &pb::RotateTenantKeyRequest,
    key: KeyMaterial,
) -> Result<Command, Violation> {
    let operation = Operation::RotateTenantKey(RotateTenantKey { key });
    command(&r.tenant, &r.request_id, r.age_ms, operation)
}

/// The command of `MarkKeyCompromised`.
///
/// # Errors
/// [`Violation`] names the field.
pub fn mark_key_compromised(r: &pb::MarkKeyCompromisedRequest) -> Result<Command, Violation> {
    let kid = u16::try_from(r.kid).map_err(|_| {
        Violation::new("kid", format!("is {}: keys have numbers up to 65535", r.kid))
    })?;
    let operation = Operation::MarkKeyCompromised(MarkKeyCompromised { kid: Kid(kid) });
    command(&r.tenant, &r.request_id, r.age_ms, operation)
}

/// The command of `SetRecordKind`.
///
/// # Errors
/// [`Violation`] names the field.
pub fn set_record_kind(r: &pb::SetRecordKindRequest) -> Result<Command, Violation> {
    let pb = check::required("kind", r.kind.as_ref())?;
    let (kind, settings) = record_kind_from(pb)?;
    let operation = Operation::SetRecordKind(SetRecordKind { kind, settings });
    command(&r.tenant, &r.request_id, r.age_ms, operation)
}

/// What holds for a kind of records, for the wire.
#[must_use]
pub fn record_kind(kind: &RecordKind, settings: &RecordKindSettings) -> pb::RecordKind {
    pb::RecordKind {
        kind: kind.as_str().to_owned(),
        keep_expired: settings.on_expiry == OnExpiry::Keep,
        attempts: settings.attempts.map(|it| pb::AttemptLimits {
            misses_per_guesser: it.misses_per_guesser,
            misses_per_tenant: it.misses_per_tenant,
            window_ms: it.window.0,
        }),
    }
}

/// What holds for a kind of records, from the wire.
///
/// # Errors
/// [`Violation`] names the field.
pub fn record_kind_from(
    pb: &pb::RecordKind,
) -> Result<(RecordKind, RecordKindSettings), Violation> {
    let kind = RecordKind::new(&pb.kind);
    let kind = kind.map_err(|error| Violation::new("kind.kind", error.to_string()))?;
    let attempts = pb.attempts.as_ref().map(|it| AttemptLimits {
        misses_per_guesser: it.misses_per_guesser,
        misses_per_tenant: it.misses_per_tenant,
        window: DurationMs(it.window_ms),
    });
    let on_expiry = if pb.keep_expired { OnExpiry::Keep } else { OnExpiry::Hide };
    Ok((kind, RecordKindSettings { on_expiry, attempts }))
}

fn command(
    tenant: &str,
    request_id: &[u8],
    age_ms: u64,
    operation: Operation,
) -> Result<Command, Violation> {
    let tenant = check::tenant(tenant)?;
    let id: RequestId = check::request_id("request_id", request_id)?;
    let name = RequestName { id, age: DurationMs(age_ms) };
    Ok(Command { tenant: Some(tenant), request: Some(name), operation })
}

/// What is set in `changes`.
///
/// # Errors
/// [`Violation`] names the setting that is out of range.
pub fn settings_change(changes: &pb::TenantSettings) -> Result<SettingsChange, Violation> {
    let lifetime_max = limits::FAMILY_LIFETIME_MAX;
    let ttl_max = limits::ACCESS_TTL_MAX;
    if changes.rotation_burst == Some(0) {
        let problem = "is 0: allow at least one rotation";
        return Err(Violation::new("settings.rotation_burst", problem));
    }
    at_most("settings.rotation_burst", changes.rotation_burst, limits::ROTATION_BURST_MAX)?;
    if changes.ancestors_max.is_some_and(|ancestors| ancestors < limits::ANCESTORS_MIN) {
        let problem = format!("is below {}", limits::ANCESTORS_MIN);
        return Err(Violation::new("settings.ancestors_max", problem));
    }
    at_most("settings.ancestors_max", changes.ancestors_max, limits::ANCESTORS_MAX)?;
    at_most("settings.rotations_per_s", changes.rotations_per_s, limits::ROTATIONS_PER_S_MAX)?;
    Ok(SettingsChange {
        grace_default: check::duration_or_zero_opt(
            "settings.grace_default_ms",
            changes.grace_default_ms,
            limits::GRACE_MAX,
        )?,
        family_lifetime_max: check::duration_opt(
            "settings.family_lifetime_max_ms",
            changes.family_lifetime_max_ms,
            lifetime_max,
        )?,
        idle_default: check::duration_opt(
            "settings.idle_default_ms",
            changes.idle_default_ms,
            lifetime_max,
        )?,
        access_ttl_max: check::duration_opt(
            "settings.access_ttl_max_ms",
            changes.access_ttl_max_ms,
            ttl_max,
        )?,
        rotation_burst: changes.rotation_burst,
        rotations_per_s: changes.rotations_per_s,
        shadow: changes.shadow,
        families_max_soft: changes.families_max_soft,
        ancestors_max: changes.ancestors_max,
    })
}

/// Settings, from those that are set; the others have their defaults.
fn settings(set: &pb::TenantSettings) -> Result<TenantSettings, Violation> {
    Ok(settings_change(set)?.over(&TenantSettings::default()))
}

fn at_most(field: &str, value: Option<u32>, max: u32) -> Result<(), Violation> {
    match value {
        Some(value) if value > max => {
            Err(Violation::new(field, format!("is {value}: the limit is {max}")))
        }
        _ => Ok(()),
    }
}

/// Settings, all of them set.
#[must_use]
pub fn settings_to_pb(settings: &TenantSettings) -> pb::TenantSettings {
    pb::TenantSettings {
        grace_default_ms: Some(settings.grace_default.0),
        family_lifetime_max_ms: Some(settings.family_lifetime_max.0),
        idle_default_ms: Some(settings.idle_default.0),
        access_ttl_max_ms: Some(settings.access_ttl_max.0),
        rotation_burst: Some(settings.rotation_burst),
        rotations_per_s: Some(settings.rotations_per_s),
        shadow: Some(settings.shadow),
        families_max_soft: Some(settings.families_max_soft),
        ancestors_max: Some(settings.ancestors_max),
    }
}

/// A tenant for the wire.
#[must_use]
pub fn tenant(view: &TenantView) -> pb::Tenant {
    pb::Tenant {
        tenant: view.tenant.as_str().to_owned(),
        settings: Some(settings_to_pb(&view.settings)),
        version: view.version,
        kid: u32::from(view.kid.0),
        compromised_kids: view.compromised.iter().map(|kid| u32::from(kid.0)).collect(),
        created_at_unix_ms: view.created_at.0,
    }
}

/// A tenant from the wire.
///
/// # Errors
/// [`Violation`] if it breaks the protocol.
pub fn tenant_view(tenant: &pb::Tenant) -> Result<TenantView, Violation> {
    let kid = |kid: u32| {
        u16::try_from(kid).map(Kid).map_err(|_| Violation::new("tenant.kid", "is above 65535"))
    };
    let shown = check::required("tenant.settings", tenant.settings.as_ref())?;
    Ok(TenantView {
        tenant: TenantId::new(&tenant.tenant)
            .map_err(|e| Violation::new("tenant.tenant", e.to_string()))?,
        settings: settings(shown)?,
        version: tenant.version,
        kid: kid(tenant.kid)?,
        compromised: tenant.compromised_kids.iter().copied().map(kid).collect::<Result<_, _>>()?,
        created_at: UnixMs(tenant.created_at_unix_ms),
    })
}
