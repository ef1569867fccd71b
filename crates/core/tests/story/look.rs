//! Words that look, and change nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jeton_core::feed::{self, Snapshot};
use jeton_core::ids::*;
use jeton_core::read::{self, FamilyQuery};
use jeton_core::reply::Refusal;

use super::words::{self, Words};
use super::{Store, Story, binding, named, records};

impl<S: Store> Story<S> {
    /// What changes nothing.
    pub(super) fn look(&mut self, words: &Words) -> Option<String> {
        let mut out = String::new();
        match words.verb() {
            "clock" => {
                let span = words::span(words.noun());
                self.now = self.now.plus(span);
                self.leased.0 += span.0;
                writeln!(out, "now {}", words::instant(self.now)).unwrap();
            }
            "in" => self.tenant = TenantId::new(words.noun()).unwrap(),
            "show" => {
                let (store, tenant) = (&self.store, &self.tenant);
                let view = if words.noun().contains('.') {
                    read::family_of(store, self.now, tenant, &self.token(words))
                } else {
                    read::family(store, self.now, tenant, FamilyId(named(words.noun())))
                };
                let view = view.unwrap();
                self.shown.read("GetFamily", "FamilyView", &view);
                words::family(&mut out, view);
            }
            "validate" => {
                let token = self.token(words);
                let client = words.get("client").map(|name| ClientId::new(name).unwrap());
                let binding = words.get("jkt").map(|_| binding(words));
                let answer = read::validate(
                    &self.store,
                    self.now,
                    &self.tenant,
                    &token,
                    client.as_ref(),
                    binding.as_ref(),
                );
                let answer = answer.unwrap();
                self.shown.read("Validate", "Active", &answer);
                match answer {
                    Ok(view) => writeln!(out, "active {}", view.subject).unwrap(),
                    Err(refusal) => words::refusal(&mut out, &refusal),
                }
            }
            "failover" => self.leased = DurationMs(0),
            "get" | "find" | "more" => self.look_at_records(words, &mut out),
            "lock" | "await" => self.look_at_lock(words, &mut out),
            "list" => self.list(&mut out, words),
            "check" => {
                let claims = words.claims(named);
                let (store, tenant) = (&self.store, &self.tenant);
                let times = words.number("times").unwrap_or(1) as usize;
                let answer = read::check_access(store, self.now, tenant, &vec![claims; times]);
                match answer.unwrap() {
                    Ok(answers) => answers.iter().for_each(|told| {
                        self.shown.access(told);
                        words::access(&mut out, told);
                    }),
                    Err(refusal) => {
                        self.shown.refused("CheckAccess", &refusal);
                        words::refusal(&mut out, &refusal);
                    }
                }
            }
            "feed" => {
                let after = words.get("after").map_or(Position(0), words::position);
                let found = feed::entries(&self.store, &self.tenant, after, 100).unwrap();
                found.iter().for_each(|entry| words::feed(&mut out, entry));
                self.shown.told("Watch", "FeedEntry", !found.is_empty());
            }
            "suspended" => {
                let all = feed::suspensions(&self.store, &self.tenant, None, 100).unwrap();
                all.0.iter().for_each(|entry| words::feed(&mut out, entry));
            }
            "snapshot" => self.snapshot(&mut out),
            "show-tenant" | "tenants" | "kinds" => self.look_at_tenants(words, &mut out),
            "rows" => self.rows(&mut out),
            "sealed" => {
                let seal = format!("seal of {}", words.noun());
                let found = self.store.rows().iter().any(|(_, value)| {
                    value.windows(seal.len()).any(|part| part == seal.as_bytes())
                });
                writeln!(out, "{}", if found { "kept" } else { "erased" }).unwrap();
            }
            "keys" => {
                let keys = read::tenant_keys(&self.store, &self.tenant).unwrap().unwrap();
                writeln!(out, "current {}", keys.current().0).unwrap();
            }
            "count" | "hits" | "revocation" | "next-sweep" => {
                self.look_at_revocations(words, &mut out);
            }
            "show-session" | "sessions" | "clients" => self.look_at_sessions(words, &mut out),
            _ => return None,
        }
        Some(out)
    }

    fn snapshot(&mut self, out: &mut String) {
        let (mut snapshot, mut last) = (Snapshot::default(), false);
        while !last {
            let (store, meta) = (&self.store, self.store.meta());
            let part = snapshot.part(store, meta, &self.tenant, 2).unwrap();
            part.0.iter().for_each(|entry| words::feed(out, entry));
            self.shown.told("SnapshotRevocations", "FeedEntry", !part.0.is_empty());
            last = part.1;
        }
    }

    fn look_at_tenants(&mut self, words: &Words, out: &mut String) {
        let (store, tenant) = (&self.store, &self.tenant);
        match words.verb() {
            "show-tenant" => {
                let view = read::tenant(store, tenant).unwrap().ok_or(Refusal::TenantUnknown);
                self.shown.read("GetTenant", "TenantView", &view);
                match view {
                    Ok(view) => words::tenant(out, &view),
                    Err(refusal) => words::refusal(out, &refusal),
                }
            }
            "tenants" => {
                let after = words.get("after").map(|name| TenantId::new(name).unwrap());
                let max = words.number("max").unwrap_or(100) as usize;
                let views = read::tenants(store, after.as_ref(), max).unwrap();
                views.iter().for_each(|view| words::tenant(out, view));
                self.shown.told("ListTenants", "TenantViews", !views.is_empty());
            }
            _ => {
                let known = read::tenant(store, tenant).unwrap().ok_or(Refusal::TenantUnknown);
                self.shown.read("ListRecordKinds", "RecordKinds", &known);
                if let Err(refusal) = known {
                    return words::refusal(out, &refusal);
                }
                for (kind, settings) in read::record_kinds(store, tenant).unwrap() {
                    records::kind_settings(out, &kind, &settings);
                }
            }
        }
    }

    /// All pages of a listing. Families are told by the names of their first tokens.
    fn list(&mut self, out: &mut String, words: &Words) {
        let query = FamilyQuery {
            subject: words.get("subject").map(|name| SubjectId::new(name).unwrap()),
            client: words.get("client").map(|name| ClientId::new(name).unwrap()),
            device: words.get("device").map(|name| DeviceId::new(name).unwrap()),
            session: words.get("session").map(|name| SessionId::new(name).unwrap()),
            attributes: words.attributes().unwrap_or_default(),
            include_dead: words.get("dead").is_some(),
        };
        let rows_max = words.number("by").unwrap_or(64) as usize;
        let (mut after, mut count) = (None, 0);
        loop {
            let (store, tenant) = (&self.store, &self.tenant);
            let slice = read::families(store, self.now, tenant, &query, after, rows_max).unwrap();
            self.shown.read("ListFamilies", "FamilySlice", &slice);
            // They are counted by the same walk.
            self.shown.read("CountFamilies", "Count", &slice);
            let slice = match slice {
                Ok(slice) => slice,
                Err(refusal) => return words::refusal(out, &refusal),
            };
            for view in slice.families {
                let name = self.tokens.keys().find(|(name, _)| view.family.0 == named(name));
                let dead = if view.dead.is_some() { " (dead)" } else { "" };
                write!(out, "{}{dead} ", name.unwrap().0).unwrap();
                assert!(view.payload.is_empty(), "payloads are not listed");
                count += 1;
            }
            after = slice.next;
            if after.is_none() {
                return writeln!(out, "= {count}").unwrap();
            }
            write!(out, "| ").unwrap();
        }
    }

    fn rows(&self, out: &mut String) {
        let mut counts = BTreeMap::new();
        for (key, _) in self.store.rows() {
            // Behind the tenant's name stands what a row of the family index is.
            let what = if key[0] == 0x44 { key[3 + usize::from(key[2])] } else { 0 };
            *counts.entry((key[0], what >= 0x10)).or_insert(0) += 1;
        }
        let kind = |(kind, roster): &(u8, bool)| match kind {
            1 => "tenants",
            2 => "keys",
            3 => "cutoffs",
            4 => "suspensions",
            5 => "reauthentications",
            0x0a => "predicates",
            0x51 => "revocations",
            0x40 => "families",
            0x41 => "replies",
            0x42 => "due",
            0x08 => "record cuts",
            0x09 => "kinds",
            0x47 => "records",
            0x48 => "index",
            0x49 => "misses",
            0x4a => "seen",
            0x4b => "locks",
            0x4c => "waiters",
            0x4d => "results",
            0x50 => "leases due",
            0x45 => "ancestors",
            0x44 if *roster => "rosters",
            0x44 => "index",
            0x43 => "sessions",
            0x46 => "indexed",
            0x4e => "denials",
            0x4f => "feed",
            _ => "others",
        };
        let counts = counts.iter().map(|(byte, count)| format!("{}={count}", kind(byte)));
        let counts = counts.collect::<Vec<_>>().join(" ");
        writeln!(out, "{}", if counts.is_empty() { "none" } else { &counts }).unwrap();
    }
}
