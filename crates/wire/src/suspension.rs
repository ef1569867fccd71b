//! Suspensions, and calls for authentication anew, on the wire, both ways.

use bytes::Bytes;
use jeton_core::command::{
    Operation, RequestName, RequireReauthentication, Resume, Suspend, Suspendable,
};
use jeton_core::ids::TenantId;
use jeton_core::limits;

use crate::answer::{Answered, unless_refused};
use crate::check::{self, Violation};
use crate::decode::{Write, name, write};
use crate::encode::{request_name, text};
use crate::pb::v1;
use crate::pb::v1::operation::Request;

pub(crate) fn decode_suspend(r: v1::SuspendRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let suspend = Suspend {
        what: what(r.what)?,
        reason: check::text_opt("reason", &r.reason, limits::REASON_BYTES_MAX)?,
    };
    Ok(write(tenant, request, Operation::Suspend(suspend), None))
}

pub(crate) fn decode_resume(r: v1::ResumeRequest) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    Ok(write(tenant, request, Operation::Resume(Resume { what: what(r.what)? }), None))
}

pub(crate) fn decode_reauthenticate(
    r: v1::RequireReauthenticationRequest,
) -> Result<Write, Violation> {
    let tenant = check::tenant(&r.tenant)?;
    let request = name(r.request)?;
    let require = RequireReauthentication {
        subject: check::subject(&r.subject)?,
        reason: check::text_opt("reason", &r.reason, limits::REASON_BYTES_MAX)?,
    };
    Ok(write(tenant, request, Operation::RequireReauthentication(require), None))
}

fn what(what: Option<v1::Suspendable>) -> Result<Suspendable, Violation> {
    use v1::suspendable::Root;
    let inside = |v: Violation| Violation::new(&format!("what.{}", v.field), v.description);
    let root = check::required("what", what)?.root;
    Ok(match check::required("what.root", root)? {
        Root::Subject(subject) => Suspendable::Subject(check::subject(&subject).map_err(inside)?),
        Root::Client(client) => Suspendable::Client(check::client(&client).map_err(inside)?),
        Root::FamilyId(id) => Suspendable::Family(check::family("what.family_id", &id)?),
        Root::WholeTenant(true) => Suspendable::Tenant,
        Root::WholeTenant(false) => {
            let problem = "is false: set it to true, or name a subject, client or family";
            return Err(Violation::new("what.whole_tenant", problem));
        }
    })
}

fn what_of(what: &Suspendable) -> v1::Suspendable {
    use v1::suspendable::Root;
    let root = match what {
        Suspendable::Subject(subject) => Root::Subject(subject.as_str().to_owned()),
        Suspendable::Client(client) => Root::Client(client.as_str().to_owned()),
        Suspendable::Family(family) => Root::FamilyId(Bytes::copy_from_slice(&family.0)),
        Suspendable::Tenant => Root::WholeTenant(true),
    };
    v1::Suspendable { root: Some(root) }
}

/// See [`Suspend`].
#[must_use]
pub fn suspend(tenant: &TenantId, name: RequestName, wish: &Suspend) -> Request {
    Request::Suspend(v1::SuspendRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        what: Some(what_of(&wish.what)),
        reason: text(wish.reason.as_deref()),
    })
}

/// See [`Resume`].
#[must_use]
pub fn resume(tenant: &TenantId, name: RequestName, wish: &Resume) -> Request {
    Request::Resume(v1::ResumeRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        what: Some(what_of(&wish.what)),
    })
}

/// See [`RequireReauthentication`].
#[must_use]
pub fn reauthenticate(
    tenant: &TenantId,
    name: RequestName,
    wish: &RequireReauthentication,
) -> Request {
    Request::RequireReauthentication(v1::RequireReauthenticationRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        subject: wish.subject.as_str().to_owned(),
        reason: text(wish.reason.as_deref()),
    })
}

/// The answer to `Suspend`: whether it was suspended already.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn suspended(r: v1::SuspendResponse) -> Result<Answered<bool>, Violation> {
    unless_refused(r.position, r.refusal, r.already)
}

/// The answer to `Resume`: whether it was not suspended.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn resumed(r: v1::ResumeResponse) -> Result<Answered<bool>, Violation> {
    unless_refused(r.position, r.refusal, r.already)
}

/// The answer to `RequireReauthentication`.
///
/// # Errors
/// [`Violation`] if the response breaks the protocol.
pub fn reauthenticated(r: v1::RequireReauthenticationResponse) -> Result<Answered<()>, Violation> {
    unless_refused(r.position, r.refusal, ())
}
