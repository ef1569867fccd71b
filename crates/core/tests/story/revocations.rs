//! Revocations of all that matches, in stories.
//!
//! ```text
//! cut subject=alice ip=10.0.0.0/8 region=eu attributes=ua:curl before=1m except=f,g spare=s
//! count …                                    what that would hit
//! hits 3.0 …                                 what that has hit
//! revocation 3.0                             how far its sweep is
//! mark 3.0 rows=2                            a step of that sweep
//! next-sweep                                 the one that a leader would go on with
//! ```

use std::fmt::Write as _;
use std::sync::Arc;

use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::read::{self, Counted, MatchWalk};
use jeton_core::reply::*;
use jeton_core::tables::ReadTables;

use super::words::{self, Words};
use super::{Store, Story, T0, named, sessions};

fn criteria(words: &Words) -> Criteria {
    Criteria {
        subject: words.get("subject").map(|name| SubjectId::new(name).unwrap()),
        client: words.get("client").map(|name| ClientId::new(name).unwrap()),
        device: words.get("device").map(|name| DeviceId::new(name).unwrap()),
        session: words.get("session").map(sessions::session),
        region: words.get("region").map(Arc::from),
        ip: words.get("ip").map(|text| text.parse().unwrap()),
        attributes: words.attributes().unwrap_or_default(),
        created_before: words.get("before").map(|text| T0.plus(words::span(text))),
    }
}

fn except(words: &Words) -> Except {
    let list = |name| words.get(name).into_iter().flat_map(|text| text.split(','));
    Except {
        families: list("except").map(|name| FamilyId(named(name))).collect(),
        sessions: list("spare").map(sessions::session).collect(),
    }
}

pub fn wish(words: &Words) -> Operation {
    let reason = words.get("reason").map(Arc::from);
    let (matching, except) = (criteria(words), except(words));
    Operation::RevokeWhere(Box::new(RevokeWhere { matching, except, reason }))
}

pub fn step(tenant: &TenantId, words: &Words) -> Operation {
    Operation::SweepRevocation(SweepRevocation {
        tenant: tenant.clone(),
        revocation: words::position(words.noun()),
        rows_max: words.number("rows").unwrap_or(1_000) as u32,
    })
}

impl<S: Store> Story<S> {
    pub(super) fn look_at_revocations(&mut self, words: &Words, out: &mut String) {
        let (store, now, tenant) = (&self.store, self.now, &self.tenant);
        match words.verb() {
            "count" | "hits" => {
                let matching = criteria(words);
                let counted = match words.verb() {
                    "count" => Counted::Would(except(words)),
                    _ => Counted::Has(words::position(words.noun())),
                };
                let count = count(store, now, tenant, matching, counted);
                self.shown.read("RevokeWhere", "MatchCount", &count);
                match count {
                    Ok(MatchCount { families, sessions, exact }) => {
                        let about = if exact { "" } else { "about " };
                        writeln!(out, "{about}{families} families, {sessions} sessions").unwrap();
                    }
                    Err(refusal) => words::refusal(out, &refusal),
                }
            }
            "revocation" => {
                let at = words::position(words.noun());
                let view = read::revocation(store, now, tenant, at).unwrap();
                self.shown.read("GetRevocation", "RevocationView", &view);
                match view {
                    Ok(view) => tell(out, &view),
                    Err(refusal) => words::refusal(out, &refusal),
                }
            }
            _ => match read::next_revocation_sweep(store, None).unwrap() {
                Some(due) => {
                    let crowd = if due.crowded { ", crowded" } else { "" };
                    let at = words::place(due.revocation);
                    writeln!(out, "{} {at}{crowd}", due.tenant).unwrap();
                }
                None => writeln!(out, "none").unwrap(),
            },
        }
    }
}

fn count<T: ReadTables>(
    tables: &T,
    now: UnixMs,
    tenant: &TenantId,
    matching: Criteria,
    counted: Counted,
) -> Result<MatchCount, Refusal> {
    let mut walk = MatchWalk::new(matching, counted);
    loop {
        if let Some(count) = walk.look(tables, now, tenant, 2).unwrap()? {
            return Ok(count);
        }
    }
}

fn tell(out: &mut String, view: &RevocationView) {
    let reason = view.reason.as_ref().map(|text| format!(", reason {text}"));
    let kept = view.kept.families.len() + view.kept.sessions.len();
    let kept = if kept > 0 { format!(", but for {kept}") } else { String::new() };
    write!(out, "{} at {}", words::place(view.revocation), words::instant(view.at)).unwrap();
    write!(out, "{}{kept}: ", reason.unwrap_or_default()).unwrap();
    match view.sweep {
        None => writeln!(out, "a cutoff").unwrap(),
        Some(SweepProgress { looked, rows_estimate, families, sessions, done_at }) => {
            let state = match done_at {
                Some(at) => format!("done {}", words::instant(at)),
                None => "active".to_owned(),
            };
            let marked = format!("marked {families} families, {sessions} sessions");
            writeln!(out, "{state}, looked at {looked} of about {rows_estimate}, {marked}")
                .unwrap();
        }
    }
}

pub fn done(done: &Done) -> Option<String> {
    let Done::RevokedWhere(it) = done else { return None };
    let what = if it.predicate { "Predicate" } else { "Cut" };
    let kept = it.kept.families.len() + it.kept.sessions.len();
    Some(if kept > 0 { format!("{what}, but for {kept}") } else { what.to_owned() })
}

pub fn event(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::Predicate { .. } => Some("all that matches is revoked".to_owned()),
        EventKind::PredicateSwept { revocation, .. } => {
            Some(format!("all that {} has hit is marked", words::place(*revocation)))
        }
        _ => None,
    }
}
