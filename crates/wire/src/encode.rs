//! Commands and reads as requests: the client's side.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::command::{
    Binding, CapPolicy, CapScope, Command, CreateFamily, FamilyCap, Losers, Operation, Origin,
    Presented, RequestName, RevokeFamily, RevokeToken, Rotate, Touch, UpdateFamily,
};
use jeton_core::ids::{Mac, TenantId};

use crate::access;
use crate::decode::{Asked, Consistency, Query, Read, Write};
use crate::pb::v1;
use crate::pb::v1::operation::Request;
use crate::{listing, lock, record, revocation, session, suspension, transact};

/// The request of a pipeline operation; `None` for commands that clients don't send.
#[must_use]
pub fn operation(asked: &Asked) -> Option<Request> {
    match asked {
        Asked::Write(write) => command(write),
        Asked::Read(read) => Some(query(read)),
    }
}

fn command(Write { command, mac, part_macs }: &Write) -> Option<Request> {
    let Command { tenant: Some(tenant), request: Some(name), operation } = command else {
        return None;
    };
    let mac = mac.as_ref();
    Some(match operation {
        Operation::Rotate(r) => Request::Rotate(rotate(tenant, *name, r, mac)),
        Operation::CreateFamily(c) => Request::CreateFamily(create_family(tenant, *name, c)),
        Operation::Touch(t) => Request::Touch(touch(tenant, *name, t, mac)),
        Operation::UpdateFamily(u) => Request::UpdateFamily(update_family(tenant, *name, u)),
        Operation::RevokeToken(r) => Request::RevokeToken(revoke_token(tenant, *name, r, mac)),
        Operation::RevokeFamily(r) => Request::RevokeFamily(revoke_family(tenant, *name, r)),
        Operation::RevokeWhere(r) => {
            Request::RevokeWhere(revocation::revoke_where(tenant, *name, r))
        }
        Operation::RevokeAccessToken(r) => {
            Request::RevokeAccessToken(access::revoke(tenant, *name, r))
        }
        Operation::CreateSession(c) => session::create(tenant, *name, c),
        Operation::TouchSession(t) => session::touch(tenant, *name, t),
        Operation::EndSession(e) => session::end(tenant, *name, e),
        Operation::Suspend(s) => suspension::suspend(tenant, *name, s),
        Operation::Resume(r) => suspension::resume(tenant, *name, r),
        Operation::RequireReauthentication(r) => suspension::reauthenticate(tenant, *name, r),
        Operation::Acquire(a) => Request::Acquire(lock::acquire_request(tenant, *name, a)),
        Operation::Renew(r) => Request::Renew(lock::renew_request(tenant, *name, r)),
        Operation::Release(r) => Request::Release(lock::release_request(tenant, *name, r)),
        Operation::Withdraw(w) => Request::Withdraw(lock::withdraw_request(tenant, *name, w)?),
        Operation::Publish(p) => Request::Publish(lock::publish_request(tenant, *name, p)),
        Operation::PutRecord(p) => Request::PutRecord(record::put_request(tenant, *name, p)),
        Operation::LookUpRecord(l) => {
            Request::LookUpRecord(record::look_up_request(tenant, *name, l))
        }
        Operation::DeleteRecord(d) => {
            Request::DeleteRecord(record::delete_request(tenant, *name, d))
        }
        Operation::DeleteRecords(d) => {
            Request::DeleteRecords(record::delete_all_request(tenant, *name, d))
        }
        Operation::CollectExpired(c) => {
            Request::CollectExpired(record::collect_request(tenant, *name, c))
        }
        Operation::Consume(c) => Request::Consume(record::consume_request(tenant, *name, c)),
        Operation::SeenOnce(s) => Request::SeenOnce(record::seen_request(tenant, *name, s)),
        Operation::Transact(t) => {
            Request::Transact(transact::request(tenant, *name, t, part_macs)?)
        }
        _ => return None,
    })
}

fn query(read: &Read) -> Request {
    let tenant = read.tenant.as_str().to_owned();
    let consistency = consistency(read.consistency);
    match &read.query {
        Query::Validate { token, mac, client, binding } => Request::Validate(v1::ValidateRequest {
            tenant,
            token: Some(presented(token, mac.as_ref())),
            client: text(client.as_ref().map(|c| c.as_str())),
            binding: self::binding(binding),
            consistency,
        }),
        Query::Family(family) => Request::GetFamily(v1::GetFamilyRequest {
            tenant,
            family_id: Bytes::copy_from_slice(&family.0),
            token: None,
            consistency,
        }),
        Query::FamilyOf { token, mac } => Request::GetFamily(v1::GetFamilyRequest {
            tenant,
            family_id: Bytes::new(),
            token: Some(presented(token, mac.as_ref())),
            consistency,
        }),
        Query::Session(query) => session::query(tenant, query, consistency),
        Query::Families(asked) => Request::ListFamilies(v1::ListFamiliesRequest {
            consistency,
            ..listing::page_request(&read.tenant, asked)
        }),
        Query::Flight(asked) => Request::Await(v1::AwaitRequest {
            consistency,
            ..lock::await_request(&read.tenant, asked)
        }),
        Query::Lock(lock) => {
            let lock = lock.as_str().to_owned();
            Request::GetLock(v1::GetLockRequest { tenant, lock, consistency })
        }
        Query::FamilyCount(query) => Request::CountFamilies(v1::CountFamiliesRequest {
            consistency,
            ..listing::count_request(&read.tenant, query)
        }),
        Query::Access(tokens) => Request::CheckAccess(v1::CheckAccessRequest {
            tenant,
            tokens: tokens.iter().map(access::claims).collect(),
            consistency,
        }),
        Query::Matching(asked) => {
            Request::RevokeWhere(revocation::dry_run(&read.tenant, &asked.0, &asked.1))
        }
        Query::Revocation(at) => {
            let revocation = at.0;
            Request::GetRevocation(v1::GetRevocationRequest { tenant, revocation, consistency })
        }
        Query::Record(asked) => {
            Request::GetRecord(record::get_request(&read.tenant, asked, read.consistency))
        }
        Query::Records(asked) => {
            Request::FindRecords(record::find_request(&read.tenant, asked, None, read.consistency))
        }
    }
}

/// See [`Rotate`].
#[must_use]
pub fn rotate(
    tenant: &TenantId,
    name: RequestName,
    rotate: &Rotate,
    mac: Option<&Mac>,
) -> v1::RotateRequest {
    v1::RotateRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        token: Some(presented(&rotate.token, mac)),
        successor: Some(v1::Successor {
            secret_digest: Bytes::copy_from_slice(&rotate.successor.0),
            seal: rotate.seal.clone(),
        }),
        client: rotate.client.as_str().to_owned(),
        binding: binding(&rotate.binding),
        origin: origin(&rotate.origin),
        losers: match rotate.losers {
            Losers::Replay => v1::Losers::Unspecified.into(),
            Losers::Adopt => v1::Losers::Adopt.into(),
        },
    }
}

/// See [`CreateFamily`].
#[must_use]
pub fn create_family(
    tenant: &TenantId,
    name: RequestName,
    create: &CreateFamily,
) -> v1::CreateFamilyRequest {
    v1::CreateFamilyRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        family_id: Bytes::copy_from_slice(&create.family.0),
        secret_digest: Bytes::copy_from_slice(&create.digest.0),
        subject: create.subject.as_str().to_owned(),
        client: create.client.as_str().to_owned(),
        device: text(create.device.as_ref().map(|d| d.as_str())),
        binding: binding(&create.binding),
        ip: text(create.ip.as_deref()),
        attributes: attributes(&create.attributes),
        payload: create.payload.clone(),
        lifetime_ms: create.lifetime.map(|d| d.0),
        idle_ms: create.idle.map(|d| d.0),
        grace_ms: create.grace.map(|d| d.0),
        authenticated_at_position: create.authenticated_at.map(|p| p.0),
        cap: create.cap.map(cap),
        code: create.code.as_deref().map(record::shown_consumption),
        session: text(create.session.as_ref().map(|s| s.as_str())),
        opaque: create.opaque,
    }
}

fn cap(cap: FamilyCap) -> v1::FamilyCap {
    use v1::family_cap::{Policy, Scope};
    let scope = match cap.scope {
        CapScope::Subject => Scope::Subject,
        CapScope::SubjectClient => Scope::SubjectClient,
    };
    let policy = match cap.policy {
        CapPolicy::EvictOldest => Policy::EvictOldest,
        CapPolicy::Deny => Policy::Deny,
    };
    v1::FamilyCap { max: cap.max, scope: scope.into(), policy: policy.into() }
}

/// See [`Touch`].
#[must_use]
pub fn touch(
    tenant: &TenantId,
    name: RequestName,
    touch: &Touch,
    mac: Option<&Mac>,
) -> v1::TouchRequest {
    v1::TouchRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        token: Some(presented(&touch.token, mac)),
    }
}

/// See [`UpdateFamily`].
#[must_use]
pub fn update_family(
    tenant: &TenantId,
    name: RequestName,
    update: &UpdateFamily,
) -> v1::UpdateFamilyRequest {
    let values = update.attributes.as_deref().map(attributes);
    v1::UpdateFamilyRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        family_id: Bytes::copy_from_slice(&update.family.0),
        version: update.version,
        attributes: values.map(|values| v1::Attributes { values }),
        payload: update.payload.clone(),
        grace_ms: update.grace.map(|d| d.0),
    }
}

/// See [`RevokeToken`].
#[must_use]
pub fn revoke_token(
    tenant: &TenantId,
    name: RequestName,
    revoke: &RevokeToken,
    mac: Option<&Mac>,
) -> v1::RevokeTokenRequest {
    v1::RevokeTokenRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        token: Some(presented(&revoke.token, mac)),
        client: revoke.client.as_str().to_owned(),
    }
}

/// See [`RevokeFamily`].
#[must_use]
pub fn revoke_family(
    tenant: &TenantId,
    name: RequestName,
    revoke: &RevokeFamily,
) -> v1::RevokeFamilyRequest {
    v1::RevokeFamilyRequest {
        tenant: tenant.as_str().to_owned(),
        request: Some(request_name(name)),
        family_id: Bytes::copy_from_slice(&revoke.family.0),
        reason: text(revoke.reason.as_deref()),
    }
}

/// The name and age of a mutation.
#[must_use]
pub fn request_name(name: RequestName) -> v1::RequestName {
    v1::RequestName { id: Bytes::copy_from_slice(&name.id.0), age_ms: name.age.0 }
}

/// A token as it is shown to the store, with the mac of a native one.
#[must_use]
pub fn presented(token: &Presented, mac: Option<&Mac>) -> v1::PresentedToken {
    let token = match token {
        Presented::Native(token) => token,
        Presented::Opaque(digest) => {
            let opaque_digest = Bytes::copy_from_slice(&digest.0);
            return v1::PresentedToken { opaque_digest, ..v1::PresentedToken::default() };
        }
    };
    v1::PresentedToken {
        kid: u32::from(token.kid.0),
        family_id: Bytes::copy_from_slice(&token.family.0),
        generation: token.generation.0,
        secret_digest: Bytes::copy_from_slice(&token.digest.0),
        mac: mac.map(|mac| Bytes::copy_from_slice(&mac.0)).unwrap_or_default(),
        opaque_digest: Bytes::new(),
    }
}

/// How fresh a read must be; the default is left unset.
#[must_use]
pub fn consistency(consistency: Consistency) -> Option<v1::Consistency> {
    use v1::consistency::Level;
    let level = match consistency {
        Consistency::Linearizable => return None,
        Consistency::AtLeast(position) => Level::AtLeastPosition(position.0),
        Consistency::Bounded(age) => {
            Level::BoundedMaxAgeMs(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
        }
    };
    Some(v1::Consistency { level: Some(level) })
}

/// Keys that something is bound to; none is left unset.
#[must_use]
pub fn binding(binding: &Binding) -> Option<v1::Binding> {
    if binding.jkt.is_none() && binding.x5t_s256.is_none() {
        return None;
    }
    Some(v1::Binding {
        jkt: text(binding.jkt.as_deref()),
        x5t_s256: text(binding.x5t_s256.as_deref()),
    })
}

fn origin(origin: &Origin) -> Option<v1::Origin> {
    if origin.device.is_none() && origin.ip.is_none() {
        return None;
    }
    Some(v1::Origin {
        device: text(origin.device.as_ref().map(|d| d.as_str())),
        ip: text(origin.ip.as_deref()),
    })
}

pub(crate) fn attributes(attributes: &[(Arc<str>, Arc<str>)]) -> BTreeMap<String, String> {
    attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// What is absent is empty on the wire.
pub(crate) fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}
