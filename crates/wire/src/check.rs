//! Checks of single fields. Each error names the field's path in the request, what was wrong with
//! it, and what to do; it never repeats the value.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::command::{Binding, CapPolicy, CapScope, FamilyCap, Origin};
use jeton_core::ids::{
    ClientId, DeviceId, DurationMs, FamilyId, HolderId, IdError, KeyDigest, LockName, Mac,
    RequestId, SecretDigest, SessionId, SubjectId, TenantId,
};
use jeton_core::limits;

use crate::pb::v1;

/// A field that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {description}")]
pub struct Violation {
    /// Its path, as in the request message: `token.family_id`.
    pub field: String,
    /// What was wrong and what to do.
    pub description: String,
}

impl Violation {
    /// A violation of the field at `field`.
    #[must_use]
    pub fn new(field: &str, description: impl Into<String>) -> Self {
        Self { field: field.to_owned(), description: description.into() }
    }

    fn id(field: &str, error: &IdError) -> Self {
        Self::new(field, error.to_string())
    }
}

/// A tenant's name.
///
/// # Errors
/// [`Violation`] of `tenant`.
pub fn tenant(text: &str) -> Result<TenantId, Violation> {
    TenantId::new(text).map_err(|e| Violation::id("tenant", &e))
}

/// A client that must be named.
///
/// # Errors
/// [`Violation`] of `client`.
pub fn client(text: &str) -> Result<ClientId, Violation> {
    ClientId::new(text).map_err(|e| Violation::id("client", &e))
}

/// A client that may be empty.
///
/// # Errors
/// [`Violation`] of `client`.
pub fn client_opt(text: &str) -> Result<Option<ClientId>, Violation> {
    if text.is_empty() { Ok(None) } else { client(text).map(Some) }
}

/// A subject that must be named.
///
/// # Errors
/// [`Violation`] of `subject`.
pub fn subject(text: &str) -> Result<SubjectId, Violation> {
    SubjectId::new(text).map_err(|e| Violation::id("subject", &e))
}

/// A subject that may be empty.
///
/// # Errors
/// [`Violation`] of `subject`.
pub fn subject_opt(text: &str) -> Result<Option<SubjectId>, Violation> {
    if text.is_empty() { Ok(None) } else { subject(text).map(Some) }
}

/// A device that may be empty.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn device_opt(field: &str, text: &str) -> Result<Option<DeviceId>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    DeviceId::new(text).map(Some).map_err(|e| Violation::id(field, &e))
}

/// A session that must be named.
///
/// # Errors
/// [`Violation`] of `session`.
pub fn session(text: &str) -> Result<SessionId, Violation> {
    SessionId::new(text).map_err(|e| Violation::id("session", &e))
}

/// A session that may be empty.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn session_opt(field: &str, text: &str) -> Result<Option<SessionId>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    SessionId::new(text).map(Some).map_err(|e| Violation::id(field, &e))
}

/// A lock's name.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn lock(field: &str, text: &str) -> Result<LockName, Violation> {
    LockName::new(text).map_err(|e| Violation::id(field, &e))
}

/// Who holds a lock, or wants to.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn holder(field: &str, text: &str) -> Result<HolderId, Violation> {
    HolderId::new(text).map_err(|e| Violation::id(field, &e))
}

/// A family's id.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn family(field: &str, bytes: &[u8]) -> Result<FamilyId, Violation> {
    FamilyId::from_slice(bytes).map_err(|e| Violation::id(field, &e))
}

/// A family's id that may be empty.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn family_opt(field: &str, bytes: &[u8]) -> Result<Option<FamilyId>, Violation> {
    if bytes.is_empty() { Ok(None) } else { family(field, bytes).map(Some) }
}

/// The digest of something that names a record, or is compared.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn key_digest(field: &str, bytes: &[u8]) -> Result<KeyDigest, Violation> {
    sixteen(field, "digest", bytes).map(KeyDigest)
}

/// A request's id.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn request_id(field: &str, bytes: &[u8]) -> Result<RequestId, Violation> {
    RequestId::from_slice(bytes).map_err(|e| Violation::id(field, &e))
}

fn sixteen(field: &str, what: &str, bytes: &[u8]) -> Result<[u8; 16], Violation> {
    <[u8; 16]>::try_from(bytes).map_err(|_| {
        Violation::new(field, format!("{what} has {} bytes: it must have exactly 16", bytes.len()))
    })
}

/// The digest of a secret.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn digest(field: &str, bytes: &[u8]) -> Result<SecretDigest, Violation> {
    sixteen(field, "secret digest", bytes).map(SecretDigest)
}

/// The mac of a token.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn mac(field: &str, bytes: &[u8]) -> Result<Mac, Violation> {
    sixteen(field, "mac", bytes).map(Mac)
}

/// Bytes of at most `max`.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn bytes_max(field: &str, bytes: Bytes, max: usize) -> Result<Bytes, Violation> {
    if bytes.len() > max {
        let len = bytes.len();
        return Err(Violation::new(field, format!("has {len} bytes: the limit is {max}")));
    }
    Ok(bytes)
}

/// Text of at most `max` bytes without control characters; empty means none.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn text_opt(field: &str, text: &str, max: usize) -> Result<Option<Arc<str>>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > max {
        let len = text.len();
        return Err(Violation::new(field, format!("has {len} bytes: the limit is {max}")));
    }
    if let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
        let problem = format!("holds a control character at byte {at}: remove it");
        return Err(Violation::new(field, problem));
    }
    Ok(Some(Arc::from(text)))
}

fn thumbprint(field: &str, text: &str) -> Result<Option<Arc<str>>, Violation> {
    let text = text_opt(field, text, limits::THUMBPRINT_BYTES_MAX)?;
    let fits = |t: &str| t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    match text {
        Some(text) if !fits(&text) => Err(Violation::new(
            field,
            "is not base64url: send the SHA-256 thumbprint in base64url without padding",
        )),
        text => Ok(text),
    }
}

/// Keys that something is bound to; unset means none.
///
/// # Errors
/// [`Violation`] of `binding.jkt` or `binding.x5t_s256`.
pub fn binding(binding: Option<v1::Binding>) -> Result<Binding, Violation> {
    let Some(binding) = binding else { return Ok(Binding::default()) };
    Ok(Binding {
        jkt: thumbprint("binding.jkt", &binding.jkt)?,
        x5t_s256: thumbprint("binding.x5t_s256", &binding.x5t_s256)?,
    })
}

/// Where a request came from; unset means unknown.
///
/// # Errors
/// [`Violation`] of `origin.device` or `origin.ip`.
pub fn origin(origin: Option<v1::Origin>) -> Result<Origin, Violation> {
    let Some(origin) = origin else { return Ok(Origin::default()) };
    Ok(Origin {
        device: device_opt("origin.device", &origin.device)?,
        ip: text_opt("origin.ip", &origin.ip, limits::IP_BYTES_MAX)?,
    })
}

/// Names and values, sorted by name.
pub type Attributes = Vec<(Arc<str>, Arc<str>)>;

/// Attributes, sorted by name.
///
/// # Errors
/// [`Violation`] of `field`: too many, or a name or value out of bounds.
pub fn attributes(
    field: &str,
    attributes: BTreeMap<String, String>,
) -> Result<Attributes, Violation> {
    if attributes.len() > limits::ATTRIBUTES_MAX {
        let (len, max) = (attributes.len(), limits::ATTRIBUTES_MAX);
        return Err(Violation::new(field, format!("has {len} entries: the limit is {max}")));
    }
    let mut checked = Vec::with_capacity(attributes.len());
    for (place, (name, value)) in attributes.into_iter().enumerate() {
        let at = || format!("{field}[{place}]");
        let name = text_opt(&at(), &name, limits::ATTRIBUTE_NAME_BYTES_MAX)?
            .ok_or_else(|| Violation::new(&at(), "has an empty name: name the attribute"))?;
        if value.len() > limits::ATTRIBUTE_VALUE_BYTES_MAX {
            let (len, max) = (value.len(), limits::ATTRIBUTE_VALUE_BYTES_MAX);
            let problem = format!("its value has {len} bytes: the limit is {max}");
            return Err(Violation::new(&at(), problem));
        }
        checked.push((name, Arc::from(value)));
    }
    Ok(checked)
}

/// A duration above zero; unset means the default.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn duration_opt(
    field: &str,
    ms: Option<u64>,
    max: DurationMs,
) -> Result<Option<DurationMs>, Violation> {
    if ms == Some(0) {
        let problem = "is 0: leave it unset for the default, or send milliseconds above 0";
        return Err(Violation::new(field, problem));
    }
    duration_or_zero_opt(field, ms, max)
}

/// A duration that may be zero; unset means the default.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn duration_or_zero_opt(
    field: &str,
    ms: Option<u64>,
    max: DurationMs,
) -> Result<Option<DurationMs>, Violation> {
    match ms {
        Some(ms) if ms > max.0 => {
            Err(Violation::new(field, format!("is {ms} ms: the limit is {} ms", max.0)))
        }
        ms => Ok(ms.map(DurationMs)),
    }
}

/// A cap on families.
///
/// # Errors
/// [`Violation`] of `cap.max`, `cap.scope` or `cap.policy`.
pub fn cap(cap: &v1::FamilyCap) -> Result<FamilyCap, Violation> {
    use v1::family_cap::{Policy, Scope};
    if !(1..=limits::CAP_FAMILIES_MAX).contains(&cap.max) {
        let problem = format!("is {}: give 1 to {}", cap.max, limits::CAP_FAMILIES_MAX);
        return Err(Violation::new("cap.max", problem));
    }
    let scope = match Scope::try_from(cap.scope) {
        Ok(Scope::Subject) => CapScope::Subject,
        Ok(Scope::SubjectClient) => CapScope::SubjectClient,
        _ => return Err(Violation::new("cap.scope", "is missing or unknown: name one")),
    };
    let policy = match Policy::try_from(cap.policy) {
        Ok(Policy::EvictOldest) => CapPolicy::EvictOldest,
        Ok(Policy::Deny) => CapPolicy::Deny,
        _ => return Err(Violation::new("cap.policy", "is missing or unknown: name one")),
    };
    Ok(FamilyCap { max: cap.max, scope, policy })
}

/// A part of the request that must be there.
///
/// # Errors
/// [`Violation`] of `field`.
pub fn required<T>(field: &str, value: Option<T>) -> Result<T, Violation> {
    value.ok_or_else(|| Violation::new(field, "is missing: it is required"))
}
