//! What the world asks of access tokens.

use jeton_core::access::{Access, AccessClaims};
use jeton_core::ids::*;
use jeton_core::read;

use super::{Known, World, name, tenant_id};

impl Known {
    /// What an access token of this family says of itself.
    pub(super) fn claims(&self, family: Option<FamilyId>) -> AccessClaims {
        let (subject, client, device) = &self.who;
        AccessClaims {
            subject: Some(SubjectId::new(subject).unwrap()),
            client: Some(ClientId::new(client).unwrap()),
            device: device.as_ref().map(|name| DeviceId::new(name).unwrap()),
            session: self.session.clone(),
            family,
            position: Some(self.minted),
            ..AccessClaims::default()
        }
    }
}

impl World {
    /// Whether an access token may be used.
    pub(super) fn access(&self, tenant: u8, claims: AccessClaims) -> Access {
        let tenant = tenant_id(tenant);
        let answers = read::check_access(&self.tables, self.now, &tenant, &[claims]).unwrap();
        answers.unwrap()[0]
    }

    /// What is answered of all access tokens: with and without their family.
    pub fn accesses(&self) -> Vec<Access> {
        let claims = self.known.iter().flat_map(|((tenant, family), known)| {
            [(*tenant, known.claims(Some(*family))), (*tenant, known.claims(None))]
        });
        let denied = (0..8).map(|who| {
            let jti = Some(Jti::new(&name("jti", who, 1)).unwrap());
            let client = Some(ClientId::new(&name("client", who, 0)).unwrap());
            (who >> 2, AccessClaims { jti, client, ..Default::default() })
        });
        claims.chain(denied).map(|(tenant, claims)| self.access(tenant, claims)).collect()
    }
}
