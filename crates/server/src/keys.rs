//! Tenants' keys as this node knows them, to check macs before anything is proposed and to make
//! them after it was applied.
//!
//! Keys are only ever added, and tenants never removed, so what was seen once stays true: the keys
//! are kept decoded, and looked up in the state again only for a key that is not among them. That
//! a key is missing *here* proves nothing: this node may lag. [`Verdict::Unknown`] must be followed
//! by a linearizable read and a second look.

use std::collections::HashMap;
use std::sync::Arc;

use jeton_core::command::Presented;
use jeton_core::ids::{Kid, Mac, TenantId};
use jeton_core::mac::TenantKeys;
use jeton_core::read;
use jeton_core::reply::Rotated;
use jeton_core::tables::TablesError;
use jeton_raft::Node;
use parking_lot::RwLock;

use crate::outbox::Issue;

/// Whether a token is one of the tenant's own: by its mac, or if it is opaque by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its mac is right, or its digest known.
    Genuine,
    /// Its mac is wrong, under a key that is known here.
    Forged,
    /// This node doesn't know the tenant, the key, or the digest.
    Unknown,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    tenants: RwLock<HashMap<TenantId, Arc<TenantKeys>>>,
}

impl Keys {
    /// Judges a presented token: so that one that nobody issued costs no entry of the log.
    pub(crate) fn verify(
        &self,
        node: &Node,
        tenant: &TenantId,
        token: &Presented,
        mac: Option<&Mac>,
    ) -> Result<Verdict, TablesError> {
        let (token, mac) = match (token, mac) {
            (Presented::Native(token), Some(mac)) => (token, mac),
            (Presented::Native(_), None) => return Ok(Verdict::Forged),
            (Presented::Opaque(digest), _) => {
                let known = node.view(|tables, _| read::may_know(tables, tenant, *digest))?;
                return Ok(if known { Verdict::Genuine } else { Verdict::Unknown });
            }
        };
        let own = self.with(node, tenant, |keys| {
            keys.mac(token.kid, token.family, token.generation, token.digest)
        })?;
        Ok(match own {
            Some(own) if own == *mac => Verdict::Genuine,
            Some(_) => Verdict::Forged,
            None => Verdict::Unknown,
        })
    }

    /// The mac of an issued token; `None` if this node doesn't know the key yet.
    pub(crate) fn mac(
        &self,
        node: &Node,
        issue: &Issue,
        kid: Kid,
        token: &Rotated,
    ) -> Result<Option<Mac>, TablesError> {
        self.with(node, &issue.tenant, |keys| {
            keys.mac(kid, token.family, token.generation, issue.digest)
        })
    }

    /// Whether the tenant exists, as far as this node knows.
    pub(crate) fn knows(&self, node: &Node, tenant: &TenantId) -> Result<bool, TablesError> {
        Ok(self.with(node, tenant, |_| Some(()))?.is_some())
    }

    /// Asks the keys that are kept, then those in the state.
    fn with<R>(
        &self,
        node: &Node,
        tenant: &TenantId,
        ask: impl Fn(&TenantKeys) -> Option<R>,
    ) -> Result<Option<R>, TablesError> {
        let kept = self.tenants.read().get(tenant).cloned();
        if let Some(answer) = kept.as_deref().and_then(&ask) {
            return Ok(Some(answer));
        }
        let Some(fresh) = node.view(|tables, _| read::tenant_keys(tables, tenant))? else {
            return Ok(None);
        };
        let answer = ask(&fresh);
        // Only what is new is kept: a flood of tokens under unknown keys writes nothing.
        if answer.is_some() {
            self.tenants.write().insert(tenant.clone(), Arc::new(fresh));
        }
        Ok(answer)
    }
}
