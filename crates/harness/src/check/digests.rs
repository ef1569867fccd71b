//! Replicas are equal: at the same position they have the same digest.

use std::collections::BTreeMap;

use jeton_core::ids::Position;

use super::{Rule, Verdict, Violation};
use crate::history::NodeView;

/// No two nodes differ at any position that both reported, and there is one that all reported.
pub(super) fn check(nodes: &[NodeView], verdict: &mut Verdict) {
    let mut add = |rule, detail| verdict.violations.push(Violation { rule, family: None, detail });
    if common_position(nodes).is_none() {
        add(Rule::Undecided, "the nodes reported no digest at a common position".into());
    }
    let mut first: BTreeMap<Position, (&str, &str)> = BTreeMap::new();
    for node in nodes {
        for (position, digest) in &node.digests {
            let (other, seen) = first.entry(*position).or_insert((&node.node, digest));
            if *seen != digest {
                let node = &node.node;
                let detail = format!("at {position}: {seen} on {other}, {digest} on {node}");
                add(Rule::DigestsDiffer, detail);
            }
        }
    }
}

/// The newest position that every node reported a digest at.
pub fn common_position(nodes: &[NodeView]) -> Option<Position> {
    let (first, others) = nodes.split_first()?;
    let shared = |at: &&Position| others.iter().all(|n| n.digests.contains_key(*at));
    first.digests.keys().rev().find(shared).copied()
}
