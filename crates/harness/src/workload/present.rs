//! Calls of the client, and what their answers are in the words of the history.
//!
//! Whoever calls here stays patient: an operation is repeated under its own name until its outcome
//! is known, or nobody can be expected to wait any longer.

use std::time::Duration;

use anyhow::{Context, Result};
use jeton_client::admin::SettingsChange;
use jeton_client::{
    Client, CodeRefusal, Consumption, Cut, Error, Issued, NewFamily, NewRecord, RefreshToken,
    Refusal, RotateContext, Rotation, digest,
};
use jeton_core::ids::{Position, RequestId, TenantId};
use jeton_core::token::NativeToken;
use rand::Rng;
use rand::rngs::StdRng;

use super::plan::{PATIENCE, TenantPlan};
use crate::history::{FamilyKey, Redeemed, Roots, RotationSeen, Successor, Target};

/// Calls for one operation, each with all the client's patience, before its outcome counts as
/// unknown.
const CALLS_MAX: u32 = 3;

/// The name of a rotation, the same on every retry.
pub(crate) struct Name(RequestId);

impl Name {
    pub(crate) fn random(rng: &mut StdRng) -> Self {
        Self(RequestId(rng.random()))
    }
}

/// Makes a tenant without a limit on rotations; one that exists already is as good.
pub(crate) async fn create_tenant(client: &Client, plan: &TenantPlan) -> Result<()> {
    let settings = SettingsChange::new().grace_default(plan.grace).rotations_per_s(0);
    match client.admin().create_tenant(plan.name, settings, PATIENCE).await {
        Ok(_) | Err(Error::Failed { code: "ALREADY_EXISTS", .. }) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("can't make tenant {}", plan.name)),
    }
}

/// Starts a family: its first token, and where it was created.
pub(crate) async fn create_family(
    client: &Client,
    tenant: &TenantId,
    roots: &Roots,
) -> Result<(RefreshToken, Position)> {
    let mut new = NewFamily::new(&roots.subject, &roots.client);
    if let Some(device) = &roots.device {
        new = new.device(device);
    }
    let issued = client.tenant(tenant)?.create_family(new, PATIENCE).await?;
    Ok((issued.token, issued.position))
}

/// The kind of the records that codes are.
const CODE_KIND: &str = "code";
/// The name of the condition that a code's client meets.
const CODE_CLIENT: &str = "client_id";
/// How long a code may be redeemed.
const CODE_LIFETIME: Duration = Duration::from_secs(300);

/// Keeps a code that this client may redeem for this subject. `None`: nobody knows.
pub(crate) async fn put_code(
    client: &Client,
    tenant: &TenantId,
    code: &str,
    roots: &Roots,
) -> Option<Position> {
    let new = NewRecord::new(CODE_KIND, digest(code))
        .create_only()
        .lifetime(CODE_LIFETIME)
        .subject(&roots.subject)
        .client(&roots.client)
        .precondition(CODE_CLIENT, roots.client.as_str());
    let put = client.tenant(tenant).ok()?.put_record(new, PATIENCE).await;
    put.ok().map(|put| put.position)
}

/// Makes a family from a code, as the client of that name. With `revoke_on_replay`, a code that was
/// redeemed before ends what was made from it.
pub(crate) async fn redeem(
    client: &Client,
    tenant: &TenantId,
    code: &str,
    roots: &Roots,
    as_client: &str,
    revoke_on_replay: bool,
) -> (Redeemed, Position) {
    let mut code = Consumption::new(CODE_KIND, digest(code)).precondition(CODE_CLIENT, as_client);
    if revoke_on_replay {
        code = code.revoke_on_replay();
    }
    let mut new = NewFamily::new(&roots.subject, as_client).code(code);
    if let Some(device) = &roots.device {
        new = new.device(device);
    }
    let answer = match client.tenant(tenant) {
        Ok(client) => client.create_family(new, PATIENCE).await,
        Err(error) => Err(error),
    };
    let seen = match answer {
        Ok(issued) => {
            let key = FamilyKey { tenant: tenant.clone(), family: issued.family };
            return (Redeemed::First(key), issued.position);
        }
        Err(Error::Refused(Refusal::Code(CodeRefusal::Already { .. }))) => Redeemed::Already,
        Err(Error::Refused(Refusal::Code(CodeRefusal::PreconditionFailed))) => Redeemed::Mismatch,
        Err(Error::Refused(Refusal::Revoked(_) | Refusal::Code(CodeRefusal::NotFound))) => {
            Redeemed::Gone
        }
        Err(Error::Refused(refusal)) => Redeemed::Refused(format!("{refusal:?}")),
        Err(Error::InvalidArgument { violations }) => {
            Redeemed::Refused(format!("invalid: {violations:?}"))
        }
        Err(_) => Redeemed::Unknown,
    };
    (seen, Position::default())
}

/// Presents a token until it is known what came of it. Also gives the successor, if there is one.
pub(crate) async fn rotate(
    client: &Client,
    tenant: &TenantId,
    token: &RefreshToken,
    roots: &Roots,
    name: &Name,
) -> (RotationSeen, Option<RefreshToken>) {
    let tenant = match client.tenant(tenant) {
        Ok(tenant) => tenant,
        Err(error) => return (RotationSeen::Refused(error.to_string()), None),
    };
    for _ in 0..CALLS_MAX {
        let context = RotateContext::new(&roots.client).request_id(name.0);
        match tenant.rotate(token, context, PATIENCE).await {
            Ok(rotation) => return seen(rotation),
            Err(Error::InvalidArgument { violations }) => {
                return (RotationSeen::Refused(format!("invalid: {violations:?}")), None);
            }
            Err(_) => {}
        }
    }
    (RotationSeen::Unknown, None)
}

fn seen(rotation: Rotation) -> (RotationSeen, Option<RefreshToken>) {
    match rotation {
        Rotation::Rotated(issued) => with_token(RotationSeen::Rotated, issued),
        Rotation::Replayed(issued) => with_token(RotationSeen::Replayed, issued),
        Rotation::Superseded { head, .. } => (RotationSeen::Superseded { head }, None),
        Rotation::Refused(Refusal::Reused(reuse)) => {
            (RotationSeen::Reused { revoked: reuse.revoked }, None)
        }
        Rotation::Refused(Refusal::Revoked(by)) => {
            (RotationSeen::Revoked { cause: by.cause, position: by.position }, None)
        }
        Rotation::Refused(refusal) => (RotationSeen::Refused(format!("{refusal:?}")), None),
    }
}

fn with_token(
    seen: fn(Successor) -> RotationSeen,
    issued: Issued,
) -> (RotationSeen, Option<RefreshToken>) {
    let text = issued.token.expose();
    let Ok(native) = NativeToken::parse(text.expose()) else {
        return (RotationSeen::Refused("the successor is no native token".into()), None);
    };
    let (presented, _) = native.presented();
    let successor = Successor {
        generation: issued.generation,
        digest: presented.digest,
        position: issued.position,
    };
    (seen(successor), Some(issued.token))
}

/// Revokes one family, by a token if one is given. `None`: nobody knows.
pub(crate) async fn revoke_family(
    client: &Client,
    key: &FamilyKey,
    token: Option<&RefreshToken>,
    roots: &Roots,
) -> Option<Position> {
    let tenant = client.tenant(&key.tenant).ok()?;
    let revoked = match token {
        Some(token) => tenant.revoke_token(token, &roots.client, PATIENCE).await,
        None => tenant.revoke_family(key.family, Some("logged out"), PATIENCE).await,
    };
    revoked.ok().map(|revoked| revoked.position)
}

/// Revokes all that matches. `None`: nobody knows.
pub(crate) async fn revoke_where(client: &Client, target: &Target) -> Option<Position> {
    let Target::Where { tenant, subject, client: of_client, device } = target else {
        return None;
    };
    let mut cut = Cut::of_whole_tenant().reason("logged out everywhere");
    if let Some(subject) = subject {
        cut = cut.subject(subject);
    }
    if let Some(of_client) = of_client {
        cut = cut.client(of_client);
    }
    if let Some(device) = device {
        cut = cut.device(device);
    }
    client.tenant(tenant).ok()?.revoke_where(cut, PATIENCE).await.ok()
}
