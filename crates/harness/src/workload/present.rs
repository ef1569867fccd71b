//! Calls of the client, and what their answers are in the words of the history.
//!
//! Whoever calls here stays patient: an operation is repeated under its own name until its outcome
//! is known, or nobody can be expected to wait any longer.

use anyhow::{Context, Result};
use jeton_client::admin::SettingsChange;
use jeton_client::{
    Client, Cut, Error, Issued, NewFamily, RefreshToken, Refusal, RotateContext, Rotation,
};
use jeton_core::ids::{Position, RequestId, TenantId};
use jeton_core::token::NativeToken;
use rand::Rng;
use rand::rngs::StdRng;

use super::plan::{PATIENCE, TenantPlan};
use crate::history::{FamilyKey, Roots, RotationSeen, Successor, Target};

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
