//! What a command may carry: names, ages, sizes. Looked at before any rule.
//!
//! Nodes refuse the same with an error before they propose; here it is the last line, and the
//! words are the same.

use std::sync::Arc;

use crate::command::{
    Acquire, Binding, CreateFamily, CreateSession, Losers, Presented, Publish, Renew, RequestName,
    Rotate, TenantSettings, TouchSession, UpdateFamily,
};
use crate::ids::{DurationMs, Position};
use crate::limits;
use crate::reply::Refusal;

/// Every mutation has a name, and is not too old to be told from a repetition.
pub(crate) fn request(name: Option<&RequestName>) -> Result<RequestName, Refusal> {
    let Some(name) = name else {
        return Err(Refusal::invalid("request_id", "missing: give 16 random bytes"));
    };
    if name.age > limits::REQUEST_TTL {
        return Err(Refusal::StaleRequest);
    }
    Ok(*name)
}

pub(crate) fn rotate(wish: &Rotate) -> Result<(), Refusal> {
    if wish.seal.len() > limits::SEAL_BYTES_MAX {
        return Err(Refusal::limit("SEAL_BYTES_MAX", limits::SEAL_BYTES_MAX));
    }
    if wish.losers == Losers::Adopt && matches!(wish.token, Presented::Native(_)) {
        let problem = "native tokens are answered with the winner's successor: ask for replay";
        return Err(Refusal::invalid("losers", problem));
    }
    ip(wish.origin.ip.as_ref())?;
    binding(&wish.binding)
}

pub(crate) fn create_family(wish: &CreateFamily, tenant: &TenantSettings) -> Result<(), Refusal> {
    ip(wish.ip.as_ref())?;
    binding(&wish.binding)?;
    attributes(&wish.attributes)?;
    payload(wish.payload.len())?;
    lifetimes(wish.lifetime, wish.idle, tenant)?;
    if let Some(cap) = wish.cap
        && !(1..=limits::CAP_FAMILIES_MAX).contains(&cap.max)
    {
        let problem = format!("give 1 to {}", limits::CAP_FAMILIES_MAX);
        return Err(Refusal::invalid("cap.max", &problem));
    }
    wish.grace.map_or(Ok(()), |span| grace("grace", span))
}

pub(crate) fn create_session(wish: &CreateSession, tenant: &TenantSettings) -> Result<(), Refusal> {
    attributes(&wish.attributes)?;
    payload(wish.payload.len())?;
    lifetimes(wish.lifetime, wish.idle, tenant)
}

pub(crate) fn touch_session(wish: &TouchSession) -> Result<(), Refusal> {
    attributes(wish.attributes.as_deref().unwrap_or_default())?;
    payload(wish.payload.as_ref().map_or(0, |payload| payload.len()))?;
    if wish.version.is_none() && (wish.attributes.is_some() || wish.payload.is_some()) {
        let problem = "missing: give the version at which attributes and payload were read";
        return Err(Refusal::invalid("version", problem));
    }
    Ok(())
}

/// What was read when credentials were checked can't lie ahead.
pub(crate) fn authenticated_at(read: Option<Position>, now: Position) -> Result<(), Refusal> {
    if read.is_some_and(|read| read > now) {
        let problem = "beyond the present: give the position that was read at authentication";
        return Err(Refusal::invalid("authenticated_at", problem));
    }
    Ok(())
}

fn lifetimes(
    lifetime: Option<DurationMs>,
    idle: Option<DurationMs>,
    tenant: &TenantSettings,
) -> Result<(), Refusal> {
    if lifetime.is_some_and(|span| span.0 == 0 || span > tenant.family_lifetime_max) {
        let problem = "give 1 ms up to the tenant's family_lifetime_max";
        return Err(Refusal::invalid("lifetime", problem));
    }
    if idle == Some(DurationMs(0)) {
        return Err(Refusal::invalid("idle_lifetime", "give at least 1 ms"));
    }
    Ok(())
}

pub(crate) fn update_family(wish: &UpdateFamily) -> Result<(), Refusal> {
    attributes(wish.attributes.as_deref().unwrap_or_default())?;
    payload(wish.payload.as_ref().map_or(0, |payload| payload.len()))?;
    wish.grace.map_or(Ok(()), |span| grace("grace", span))
}

pub(crate) fn settings(wish: &TenantSettings) -> Result<(), Refusal> {
    grace("grace_default", wish.grace_default)?;
    let spans = [
        ("family_lifetime_max", wish.family_lifetime_max, limits::FAMILY_LIFETIME_MAX),
        ("idle_default", wish.idle_default, limits::FAMILY_LIFETIME_MAX),
        ("access_ttl_max", wish.access_ttl_max, limits::ACCESS_TTL_MAX),
    ];
    for (field, span, max) in spans {
        if span.0 == 0 || span > max {
            return Err(Refusal::invalid(field, &format!("give 1 to {} ms", max.0)));
        }
    }
    if wish.rotation_burst == 0 || wish.rotation_burst > limits::ROTATION_BURST_MAX {
        let problem = format!("give 1 to {}", limits::ROTATION_BURST_MAX);
        return Err(Refusal::invalid("rotation_burst", &problem));
    }
    if !(limits::ANCESTORS_MIN..=limits::ANCESTORS_MAX).contains(&wish.ancestors_max) {
        let problem = format!("give {} to {}", limits::ANCESTORS_MIN, limits::ANCESTORS_MAX);
        return Err(Refusal::invalid("ancestors_max", &problem));
    }
    if wish.rotations_per_s > limits::ROTATIONS_PER_S_MAX {
        let problem = format!("give 1 to {}, or 0 for no limit", limits::ROTATIONS_PER_S_MAX);
        return Err(Refusal::invalid("rotations_per_s", &problem));
    }
    Ok(())
}

pub(crate) fn reason(reason: Option<&Arc<str>>) -> Result<(), Refusal> {
    match reason {
        Some(text) if text.len() > limits::REASON_BYTES_MAX => {
            Err(Refusal::limit("REASON_BYTES_MAX", limits::REASON_BYTES_MAX))
        }
        _ => Ok(()),
    }
}

pub(crate) fn acquire(wish: &Acquire) -> Result<(), Refusal> {
    let (min, max) = (limits::LEASE_TTL_MIN, limits::LEASE_TTL_MAX);
    if wish.ttl < min || wish.ttl > max {
        return Err(Refusal::invalid("ttl", &format!("give {} to {} ms", min.0, max.0)));
    }
    if wish.wait > limits::LOCK_WAIT_MAX {
        let problem = format!("give 0 to {} ms", limits::LOCK_WAIT_MAX.0);
        return Err(Refusal::invalid("wait", &problem));
    }
    Ok(())
}

pub(crate) fn renew(wish: &Renew) -> Result<(), Refusal> {
    if wish.leases.len() > limits::RENEW_LEASES_MAX {
        return Err(Refusal::limit("RENEW_LEASES_MAX", limits::RENEW_LEASES_MAX));
    }
    Ok(())
}

pub(crate) fn publish(wish: &Publish) -> Result<(), Refusal> {
    if wish.sealed.len() > limits::RESULT_BYTES_MAX {
        return Err(Refusal::limit("RESULT_BYTES_MAX", limits::RESULT_BYTES_MAX));
    }
    if wish.ttl.0 == 0 || wish.ttl > limits::RESULT_TTL_MAX {
        let problem = format!("give 1 to {} ms", limits::RESULT_TTL_MAX.0);
        return Err(Refusal::invalid("ttl", &problem));
    }
    Ok(())
}

fn grace(field: &str, span: DurationMs) -> Result<(), Refusal> {
    if span > limits::GRACE_MAX {
        let problem = format!("give 0 to {} ms", limits::GRACE_MAX.0);
        return Err(Refusal::invalid(field, &problem));
    }
    Ok(())
}

fn ip(ip: Option<&Arc<str>>) -> Result<(), Refusal> {
    match ip {
        Some(text) if text.len() > limits::IP_BYTES_MAX => {
            Err(Refusal::limit("IP_BYTES_MAX", limits::IP_BYTES_MAX))
        }
        _ => Ok(()),
    }
}

fn binding(binding: &Binding) -> Result<(), Refusal> {
    let thumbprints = [&binding.jkt, &binding.x5t_s256];
    if thumbprints.into_iter().flatten().any(|text| text.len() > limits::THUMBPRINT_BYTES_MAX) {
        return Err(Refusal::limit("THUMBPRINT_BYTES_MAX", limits::THUMBPRINT_BYTES_MAX));
    }
    Ok(())
}

fn payload(len: usize) -> Result<(), Refusal> {
    if len > limits::PAYLOAD_BYTES_MAX {
        return Err(Refusal::limit("PAYLOAD_BYTES_MAX", limits::PAYLOAD_BYTES_MAX));
    }
    Ok(())
}

pub(crate) fn attributes(attributes: &[(Arc<str>, Arc<str>)]) -> Result<(), Refusal> {
    if attributes.len() > limits::ATTRIBUTES_MAX {
        return Err(Refusal::limit("ATTRIBUTES_MAX", limits::ATTRIBUTES_MAX));
    }
    for (name, value) in attributes {
        if name.is_empty() {
            return Err(Refusal::invalid("attributes", "a name is empty: give each one a name"));
        }
        if name.len() > limits::ATTRIBUTE_NAME_BYTES_MAX {
            let max = limits::ATTRIBUTE_NAME_BYTES_MAX;
            return Err(Refusal::limit("ATTRIBUTE_NAME_BYTES_MAX", max));
        }
        if value.len() > limits::ATTRIBUTE_VALUE_BYTES_MAX {
            let max = limits::ATTRIBUTE_VALUE_BYTES_MAX;
            return Err(Refusal::limit("ATTRIBUTE_VALUE_BYTES_MAX", max));
        }
    }
    if attributes.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        let problem = "sort them by name, and give each name once";
        return Err(Refusal::invalid("attributes", problem));
    }
    Ok(())
}
