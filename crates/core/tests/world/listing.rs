//! Families as listings show them: what a cap promises, and what no sweep may change.

use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::read::{self, FamilyQuery};
use jeton_core::reply::*;

use super::{Step, World, name, tenant_id};

/// Sometimes one family a subject, or a subject and client.
pub(super) fn cap(step: &Step) -> Option<FamilyCap> {
    let scope = if step.back & 1 == 0 { CapScope::Subject } else { CapScope::SubjectClient };
    let policy = if step.back & 2 == 0 { CapPolicy::EvictOldest } else { CapPolicy::Deny };
    (step.who & 128 != 0).then_some(FamilyCap { max: 1, scope, policy })
}

impl World {
    /// All that matches, walked in steps of `rows_max`.
    pub fn listed(&self, tenant: u8, query: &FamilyQuery, rows_max: usize) -> Vec<FamilyId> {
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let tenant = tenant_id(tenant);
            let slice = read::families(&self.tables, self.now, &tenant, query, after, rows_max);
            let slice = slice.unwrap().unwrap();
            all.extend(slice.families.iter().map(|view| view.family));
            after = slice.next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// Listings by every root, with and without the dead, in steps of three sizes.
    pub fn listings(&self) -> Vec<Vec<FamilyId>> {
        let mut listings = Vec::new();
        for (tenant, who) in [(0, 0), (0, 3), (1, 0)] {
            let subject = Some(SubjectId::new(&name("subject", who, 1)).unwrap());
            let client = Some(ClientId::new(&name("client", who, 0)).unwrap());
            let device = Some(DeviceId::new(&name("device", who, 2)).unwrap());
            for roots in 1..8 {
                let query = FamilyQuery {
                    subject: subject.clone().filter(|_| roots & 1 != 0),
                    client: client.clone().filter(|_| roots & 2 != 0),
                    device: device.clone().filter(|_| roots & 4 != 0),
                    session: None,
                    attributes: Vec::new(),
                    include_dead: who == 0,
                };
                let all = self.listed(tenant, &query, 64);
                for rows_max in [1, 2] {
                    assert_eq!(self.listed(tenant, &query, rows_max), all, "steps change nothing");
                }
                listings.push(all);
            }
        }
        listings
    }

    /// A listing is what was known to be made and reads as alive, by every root.
    pub fn check_listings(&self) {
        for tenant in [0, 1] {
            for who in 0..4 {
                let subject = SubjectId::new(&name("subject", who, 1)).unwrap();
                let client = ClientId::new(&name("client", who, 0)).unwrap();
                let of = |(of, _): &(u8, FamilyId)| *of == tenant;
                let known = self.known.keys().filter(|key| of(key)).map(|(_, family)| *family);
                let mut alive: Vec<_> = known
                    .filter_map(|family| {
                        let view = read::family(&self.tables, self.now, &tenant_id(tenant), family);
                        view.unwrap().ok().filter(|view| view.dead.is_none())
                    })
                    .filter(|view| view.subject == subject && view.client == client)
                    .collect();
                alive.sort_by_key(|view| view.created);
                let alive: Vec<_> = alive.into_iter().map(|view| view.family).collect();
                let (subject, client) = (Some(subject), Some(client));
                let query = FamilyQuery { subject, client, ..FamilyQuery::default() };
                assert_eq!(self.listed(tenant, &query, 2), alive);
            }
        }
    }

    /// Never one more than the cap, and the evicted are dead.
    pub(super) fn check_cap(&mut self, tenant: u8, wish: &CreateFamily, reply: &Reply) {
        let Ok(Done::FamilyCreated(created)) = &reply.outcome else { return };
        for family in &created.evicted {
            let evicted = self.known.get_mut(&(tenant, *family)).unwrap();
            assert_eq!(evicted.dead, None, "only what lives is evicted");
            evicted.dead = Some(reply.position);
        }
        let Some(cap) = wish.cap else { return };
        let client = Some(wish.client.clone()).filter(|_| cap.scope == CapScope::SubjectClient);
        let subject = Some(wish.subject.clone());
        let query = FamilyQuery { subject, client, ..FamilyQuery::default() };
        let live = self.listed(tenant, &query, 64).len();
        assert!(live <= cap.max as usize, "{live} live under a cap of {}", cap.max);
    }
}
