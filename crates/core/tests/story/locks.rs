//! Words about locks.
//!
//! ```text
//! acquire l by=a ttl=10s wait=5s id=x · withdraw l acquire=x asked=3.0
//! renew l,m by=a fence=2.0,3.0 · release l by=a fence=2.0
//! publish l by=a fence=2.0 result=words ttl=10s release=yes · expire 10
//! lock l · await l after=2.0                 reads
//! ```
//!
//! A line with `~` is told to those who wait, wherever they are.

use std::fmt::Write as _;

use bytes::Bytes;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::read;
use jeton_core::reply::*;

use super::words::{self, Words, place, position, short_span, span};
use super::{Store, Story, named};

fn lock_name(name: &str) -> LockName {
    LockName::new(name).unwrap()
}

fn leases(words: &Words) -> Vec<LeaseName> {
    let holder = HolderId::new(words.get("by").unwrap_or("a")).unwrap();
    let fences = words.get("fence").expect("a fence").split(',').map(position);
    let locks = words.noun().split(',').map(lock_name);
    locks
        .zip(fences)
        .map(|(lock, fence)| LeaseName { lock, holder: holder.clone(), fence: fence.into() })
        .collect()
}

/// The operation that these words ask for, if it is about locks.
pub fn operation(words: &Words) -> Option<Operation> {
    let ttl = words.get("ttl").map_or(DurationMs::from_secs(10), span);
    Some(match words.verb() {
        "acquire" => Operation::Acquire(Acquire {
            lock: lock_name(words.noun()),
            holder: HolderId::new(words.get("by").unwrap_or("a")).unwrap(),
            ttl,
            wait: words.get("wait").map_or(DurationMs(0), span),
        }),
        "withdraw" => Operation::Withdraw(Withdraw {
            lock: lock_name(words.noun()),
            acquire: RequestId(named(words.get("acquire").expect("a name"))),
            asked: words.get("asked").map(position),
        }),
        "renew" => Operation::Renew(Renew { leases: leases(words) }),
        "release" => Operation::Release(Release { lease: leases(words).remove(0) }),
        "publish" => Operation::Publish(Publish {
            lease: leases(words).remove(0),
            sealed: Bytes::from(words.get("result").unwrap_or_default().to_owned()),
            ttl,
            release: words.get("release").is_some(),
        }),
        "expire" => {
            let rows_max = words.noun().parse().unwrap();
            Operation::ExpireLeases(Sweep { rows_max })
        }
        _ => return None,
    })
}

impl<S: Store> Story<S> {
    pub(super) fn look_at_lock(&mut self, words: &Words, out: &mut String) {
        let (meta, lock) = (self.store.meta(), lock_name(words.noun()));
        if words.verb() == "await" {
            let after = words.get("after").map_or(Position(0), position);
            let flight = read::flight(&self.store, meta, &self.tenant, &lock, after.into());
            let flight = flight.unwrap();
            let what = match &flight {
                Ok(Flight::Landed { .. }) => "Landed",
                Ok(Flight::Flying(_)) => "Flying",
                _ => "Grounded",
            };
            self.shown.read("Await", what, &flight);
            match flight {
                Ok(Flight::Landed { fence, sealed }) => {
                    let result = String::from_utf8_lossy(&sealed);
                    writeln!(out, "landed {}: {result}", place(Position(fence.0))).unwrap();
                }
                Ok(Flight::Flying(held)) => {
                    writeln!(out, "flying: {}", held_words(&held)).unwrap();
                }
                Ok(Flight::Grounded) => writeln!(out, "grounded").unwrap(),
                Err(refusal) => words::refusal(out, &refusal),
            }
            return;
        }
        let view = read::lock(&self.store, meta, &self.tenant, &lock).unwrap();
        self.shown.read("GetLock", "LockView", &view);
        match view {
            Ok(LockView { held: None, waiters }) => {
                writeln!(out, "free, {waiters} waiting").unwrap();
            }
            Ok(LockView { held: Some(held), waiters }) => {
                writeln!(out, "held by {}, {waiters} waiting", held_words(&held)).unwrap();
            }
            Err(refusal) => words::refusal(out, &refusal),
        }
    }
}

fn held_words(held: &HeldView) -> String {
    let fence = place(Position(held.fence.0));
    format!("{}, fence {fence}, {} left", held.holder, short_span(held.remaining))
}

/// Writes what was done, if it is about locks.
pub fn done(out: &mut String, done: &Done) -> bool {
    match done {
        Done::Granted(granted) => {
            let waited = if granted.waited { ", after a wait" } else { "" };
            let fence = place(Position(granted.fence.0));
            writeln!(out, "GRANTED fence {fence} for {}{waited}", short_span(granted.ttl))
        }
        Done::Queued { asked } => writeln!(out, "QUEUED, asked at {}", place(*asked)),
        Done::Renewed { lost } if lost.is_empty() => writeln!(out, "renewed"),
        Done::Renewed { lost } => writeln!(out, "renewed, but LOST {lost:?}"),
        Done::Released => writeln!(out, "released"),
        Done::Published => writeln!(out, "published"),
        Done::Withdrawn => writeln!(out, "withdrawn"),
        _ => return false,
    }
    .unwrap();
    true
}

pub fn notice(out: &mut String, notice: &LeaseNotice) {
    match notice {
        LeaseNotice::Settled { place: waited, reply } => {
            write!(out, "  ~ to {}: ", place(*waited)).unwrap();
            words::reply(out, reply);
        }
        LeaseNotice::Changed { lock, .. } => writeln!(out, "  ~ {lock} changed").unwrap(),
    }
}
