//! A view answers as the cluster does, however it came to know what it knows.
//!
//! `PROPTEST_CASES=20000 cargo test -p jeton-client view` looks longer.

#![allow(clippy::unwrap_used)]

mod history;

use std::collections::BTreeMap;

use jeton_core::access::{self, Access, AccessClaims, Basis};
use jeton_core::feed::{self, Change, FeedEntry};
use jeton_core::ids::{ClusterId, DurationMs, Position, UnixMs};
use jeton_core::read;
use jeton_wire::watch as wire;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::marks::Marks;
use history::{Act, History, Replica, Token, tenant};

const CLUSTER: ClusterId = ClusterId([5; 16]);
/// Nodes that may be watched.
const NODES: usize = 3;

/// What happens, and then what a watcher does.
#[derive(Debug, Clone)]
struct Step {
    acts: Vec<Act>,
    pause_ms: u64,
    /// For each watcher.
    watchers: Vec<(Doing, u8)>,
}

#[derive(Debug, Clone, Copy)]
enum Doing {
    /// Its connection breaks; it goes on at this node.
    CutOff,
    /// Its node applies so many entries more, and tells so much.
    Hear,
    /// It is echoed a probe: nothing that was committed is missing.
    Echo,
    /// It throws away what can matter no more.
    Forget,
    /// It starts from nothing.
    Anew,
}

fn act() -> impl Strategy<Value = Act> {
    (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(what, who, pick)| Act { what, who, pick })
}

fn step() -> impl Strategy<Value = Step> {
    let doing = prop_oneof![
        3 => Just(Doing::CutOff),
        6 => Just(Doing::Hear),
        3 => Just(Doing::Echo),
        2 => Just(Doing::Forget),
        1 => Just(Doing::Anew),
    ];
    let pause_ms = prop_oneof![
        20 => 0_u64..2_000,
        4 => 0_u64..1_800_000,
        // Longer than any place is known.
        1 => 80_000_000_u64..100_000_000,
    ];
    let acts = prop::collection::vec(act(), 1..4);
    let watchers = prop::collection::vec((doing, any::<u8>()), 3);
    (acts, pause_ms, watchers).prop_map(|(acts, pause_ms, watchers)| Step {
        acts,
        pause_ms,
        watchers,
    })
}

fn steps(len: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), len / 2..len)
}

/// A resource server: it watches one node after the other, as the server tells and as
/// [`crate::Watcher`] resumes, and keeps its marks by that.
#[derive(Default)]
struct Viewer {
    node: usize,
    /// Without: it has to take a snapshot.
    place: Option<(Position, UnixMs)>,
    taking: Option<Taking>,
    marks: Option<Marks>,
    /// Everything behind this was to be heard.
    from: Position,
    heard: Vec<(Position, Change)>,
    snapshots: usize,
}

/// A snapshot that is on its way: it comes in parts, while other things happen.
struct Taking {
    snapshot: feed::Snapshot,
    since: UnixMs,
    entries: Vec<FeedEntry>,
}

/// Over the wire and back.
fn sent(entry: FeedEntry) -> FeedEntry {
    wire::event_from(wire::event(CLUSTER, &entry)).unwrap().1
}

impl Viewer {
    fn does(&mut self, what: Doing, pick: u8, nodes: &mut [Replica], history: &History) {
        let rows_max = usize::from(pick % 3) + 1;
        match what {
            Doing::CutOff => {
                self.node = usize::from(pick) % NODES;
                self.taking = None;
                // The first barrier.
                nodes[self.node].apply(&history.committed, usize::MAX);
                let clock = nodes[self.node].machine.meta().clock;
                if !self.place.is_some_and(|(_, at)| feed::reaches_back_to(at, clock)) {
                    self.place = None;
                }
            }
            Doing::Hear => {
                nodes[self.node].apply(&history.committed, usize::from(pick % 3));
                self.hear(&nodes[self.node], rows_max);
            }
            Doing::Echo => {
                nodes[self.node].apply(&history.committed, usize::MAX);
                while !self.hear(&nodes[self.node], rows_max) {}
                let missing = history.told.last().map(|(last, _)| *last);
                assert!(missing <= self.place.map(|(position, _)| position));
            }
            Doing::Forget => {
                if let (Some(marks), Some((_, at))) = (&self.marks, self.place) {
                    marks.forget(at);
                }
            }
            Doing::Anew => {
                let (node, snapshots) = (self.node, self.snapshots);
                *self = Self { node, snapshots, ..Self::default() };
            }
        }
    }

    /// Takes a part in; `true` if there was no more on this node.
    fn hear(&mut self, node: &Replica, rows_max: usize) -> bool {
        let meta = node.machine.meta();
        let Some((position, at)) = self.place else {
            return self.take_part(node, rows_max);
        };
        let found = feed::entries(&node.tables, &tenant(), position, rows_max).unwrap();
        if !feed::reaches_back_to(at, meta.clock) {
            self.place = None;
            return false;
        }
        let all = found.len() < rows_max;
        for entry in found {
            let entry = sent(entry);
            self.place = Some((entry.position, entry.at));
            self.heard.extend(entry.changes.iter().map(|it| (entry.position, it.clone())));
            self.marks.as_ref().unwrap().take(&entry);
        }
        if all {
            self.place = Some((meta.position.max(position), meta.clock.max(at)));
        }
        all
    }

    /// The next part of a snapshot.
    fn take_part(&mut self, node: &Replica, rows_max: usize) -> bool {
        let meta = node.machine.meta();
        // Nobody waits for one so long.
        self.taking = self.taking.take().filter(|it| feed::reaches_back_to(it.since, meta.clock));
        let taking = self.taking.get_or_insert_with(|| Taking {
            snapshot: feed::Snapshot::default(),
            since: meta.clock,
            entries: Vec::new(),
        });
        let part = taking.snapshot.part(&node.tables, meta, &tenant(), rows_max);
        let (found, last) = part.unwrap();
        taking.entries.extend(found.into_iter().map(sent));
        if last {
            let entries = std::mem::take(&mut taking.entries);
            self.taking = None;
            self.marks = Some(Marks::of(rows_max as u64, &entries));
            self.place = Some((meta.position, meta.clock));
            (self.from, self.heard) = (meta.position, Vec::new());
            self.snapshots += 1;
        }
        last
    }

    /// What it heard is what happened behind its beginning, up to its place.
    fn has_heard(&self, history: &History) -> bool {
        let Some((place, _)) = self.place else { return true };
        let told = history.told.iter();
        told.filter(|(position, _)| self.from < *position && *position <= place).eq(&self.heard)
    }

    /// Whether its marks are those of its node: it has heard all that this node has applied.
    fn is_level(&self, node: &Replica) -> bool {
        self.place.is_some_and(|(place, _)| place == node.machine.meta().position)
    }
}

/// Both answers to all access tokens that were made by then and are not dead anyway, at the same
/// position.
fn both(viewer: &Viewer, node: &Replica, tokens: &[Token]) -> Vec<(AccessClaims, Access, Access)> {
    let (Some(marks), true) = (&viewer.marks, viewer.is_level(node)) else { return Vec::new() };
    let meta = node.machine.meta();
    let clock = meta.clock;
    let alive = tokens.iter().filter(|it| it.made_at <= meta.position && clock < it.ends_at);
    let asked = alive.map(|Token { claims, .. }| {
        let of_core =
            read::check_access(&node.tables, clock, &tenant(), std::slice::from_ref(claims));
        let Ok(of_view) = access::judge(marks, &claims.as_claims());
        (claims.clone(), of_core.unwrap().unwrap()[0], of_view)
    });
    asked.collect()
}

/// What a token says that lacks the claims whose bit is not set.
fn lacking(claims: &AccessClaims, kept: u8) -> AccessClaims {
    fn keep<T: Clone>(claim: &Option<T>, kept: u8, bit: u8) -> Option<T> {
        claim.clone().filter(|_| kept & (1 << bit) != 0)
    }
    let client = keep(&claims.client, kept, 0);
    AccessClaims {
        // It is never asked about without its client.
        jti: keep(&claims.jti, kept, 1).filter(|_| client.is_some()),
        subject: keep(&claims.subject, kept, 2),
        client,
        device: keep(&claims.device, kept, 3),
        session: keep(&claims.session, kept, 4),
        family: keep(&claims.family, kept, 5),
        position: keep(&claims.position, kept, 6),
        // One that says nothing at all of its time is another story.
        issued_at: keep(&claims.issued_at, kept, 7).or(claims.issued_at.filter(|_| kept & 64 == 0)),
    }
}

struct Run {
    history: History,
    nodes: Vec<Replica>,
    viewers: Vec<Viewer>,
}

impl Run {
    fn new() -> Self {
        let history = History::new();
        let mut nodes: Vec<_> = (0..NODES).map(|_| Replica::default()).collect();
        nodes.iter_mut().for_each(|node| node.apply(&history.committed, usize::MAX));
        let viewers = (0..NODES).map(|node| Viewer { node, ..Viewer::default() }).collect();
        Self { history, nodes, viewers }
    }

    /// The viewers and their nodes, after it.
    fn step(&mut self, step: &Step) {
        self.history.step(&step.acts, DurationMs(step.pause_ms));
        for (viewer, (doing, pick)) in self.viewers.iter_mut().zip(&step.watchers) {
            viewer.does(*doing, *pick, &mut self.nodes, &self.history);
        }
    }

    fn answers(&self, tokens: &[Token]) -> Vec<(AccessClaims, Access, Access)> {
        let viewers = self.viewers.iter();
        viewers.flat_map(|viewer| both(viewer, &self.nodes[viewer.node], tokens)).collect()
    }
}

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let default = ProptestConfig::default();
    let cases = if asked { default.cases } else { 64 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    /// Of access tokens that carry what they should, a view says what `CheckAccess` says at the
    /// same position: the same basis, cause, position and time.
    #[test]
    fn a_view_answers_as_the_cluster_does(steps in steps(60)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
            for (claims, of_core, of_view) in run.answers(&run.history.tokens) {
                prop_assert_eq!(of_core, of_view, "{:?}", claims);
            }
        }
    }

    /// Of others, too, but for what only the rows of families and sessions tell.
    #[test]
    fn claims_that_are_missing_cost_what_the_documents_say(
        steps in steps(60),
        kept in prop::collection::vec(any::<u8>(), 40),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
            let full = run.history.tokens.iter().zip(kept.iter().cycle());
            let lacking = full.map(|(token, kept)| {
                let claims = lacking(&token.claims, *kept);
                Token { claims, ..token.clone() }
            });
            let tokens: Vec<_> = lacking.collect();
            for (claims, of_core, of_view) in run.answers(&tokens) {
                let basis = |access| match access {
                    Access::Denied(denied) => Some(denied.basis),
                    Access::Active => None,
                };
                let by_roots = matches!(basis(of_core), Some(Basis::Family | Basis::Session))
                    && matches!(basis(of_view), None | Some(Basis::IssuedAt));
                let by_seconds = claims.position.is_none()
                    && of_core == Access::Active
                    && basis(of_view) == Some(Basis::IssuedAt);
                let rows = claims.family.is_some() || claims.session.is_some();
                prop_assert!(
                    of_core == of_view || (rows && (by_roots || by_seconds)),
                    "{:?}: {:?}, and the view says {:?}", claims, of_core, of_view
                );
            }
        }
    }

    /// Who is cut off at random, and goes on at another node, hears everything that happens once
    /// and in order.
    #[test]
    fn a_watcher_misses_nothing_and_hears_nothing_twice(steps in steps(120)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
            prop_assert!(run.viewers.iter().all(|viewer| viewer.has_heard(&run.history)));
        }
        for viewer in &mut run.viewers {
            viewer.does(Doing::Echo, 2, &mut run.nodes, &run.history);
            prop_assert!(viewer.has_heard(&run.history));
        }
    }
}

/// Random histories in which nothing is denied, or nobody is cut off, would prove nothing.
#[test]
fn random_histories_reach_every_answer() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut snapshots, mut heard) = (0, 0);
    for _ in 0..150 {
        let mut run = Run::new();
        for step in steps(60).new_tree(&mut runner).unwrap().current() {
            run.step(&step);
            for (_, _, answer) in run.answers(&run.history.tokens) {
                let answer = match answer {
                    Access::Active => "active".to_owned(),
                    Access::Denied(denied) => format!("{:?} {:?}", denied.basis, denied.cause),
                };
                *seen.entry(answer).or_default() += 1;
            }
        }
        snapshots += run.viewers.iter().map(|viewer| viewer.snapshots).sum::<usize>();
        heard += run.viewers.iter().map(|viewer| viewer.heard.len()).sum::<usize>();
    }
    let expected = [
        "Family Evicted",
        "Family Family",
        "Family Reuse",
        "Family Suspension",
        "Jti AccessToken",
        "Position Cutoff",
        "Position Reauthentication",
        "Session Session",
        "Suspension Suspension",
        "active",
    ];
    let missing: Vec<_> = expected.iter().filter(|answer| !seen.contains_key(**answer)).collect();
    assert!(missing.is_empty(), "never answered: {missing:?} of {seen:?}");
    assert!(
        seen["active"] > 1_000 && snapshots > 300 && heard > 1_000,
        "{snapshots} snapshots, {heard} heard, {seen:?}"
    );
}
