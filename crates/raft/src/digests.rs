//! Compares the replicas' digests of the whole state, position by position, on the leader.
//!
//! A digest that a majority of voters share is agreed; a node that has another one at that position
//! holds a different state and fences itself. Where all voters have reported and no majority
//! agrees, nobody knows who is right: that is a dispute, and the leader stops serving.

use std::collections::{BTreeMap, BTreeSet};

use jeton_core::ids::Position;
use jeton_core::reply::StateDigest;

use crate::types::NodeId;

/// Positions that are remembered.
const POSITIONS_MAX: usize = 16;

/// What the voters said.
#[derive(Debug, Default)]
pub(crate) struct DigestBook {
    said: BTreeMap<Position, BTreeMap<NodeId, StateDigest>>,
}

impl DigestBook {
    pub(crate) fn note(&mut self, node: NodeId, digests: &[(Position, StateDigest)]) {
        for (position, digest) in digests {
            self.said.entry(*position).or_default().insert(node, *digest);
        }
        while self.said.len() > POSITIONS_MAX {
            self.said.pop_first();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.said.clear();
    }

    /// Digests that a majority of each config shares, oldest first.
    pub(crate) fn agreed(&self, configs: &[BTreeSet<NodeId>]) -> Vec<(Position, StateDigest)> {
        let agreed = |said: &BTreeMap<NodeId, StateDigest>| {
            let candidates: BTreeSet<u128> = said.values().map(|digest| digest.0).collect();
            candidates.into_iter().map(StateDigest).find(|candidate| {
                !configs.is_empty()
                    && configs.iter().all(|config| {
                        let votes = config.iter().filter(|node| said.get(node) == Some(candidate));
                        votes.count() * 2 > config.len()
                    })
            })
        };
        self.said.iter().filter_map(|(at, said)| Some((*at, agreed(said)?))).collect()
    }

    /// A position at which every voter has spoken and no majority agrees.
    pub(crate) fn dispute(&self, configs: &[BTreeSet<NodeId>]) -> Option<Position> {
        let agreed: BTreeSet<Position> =
            self.agreed(configs).into_iter().map(|(at, _)| at).collect();
        self.said
            .iter()
            .filter(|(at, said)| {
                !agreed.contains(at) && configs.iter().flatten().all(|node| said.contains_key(node))
            })
            .map(|(at, _)| *at)
            .next_back()
    }
}

/// The first position at which `ours` differs from what is agreed.
pub(crate) fn differs(
    ours: impl IntoIterator<Item = (Position, StateDigest)>,
    agreed: &[(Position, StateDigest)],
) -> Option<Position> {
    ours.into_iter()
        .find(|(at, digest)| agreed.iter().any(|(other, theirs)| other == at && theirs != digest))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: StateDigest = StateDigest(1);
    const B: StateDigest = StateDigest(2);
    const C: StateDigest = StateDigest(3);

    fn three() -> Vec<BTreeSet<NodeId>> {
        vec![[1, 2, 3].into_iter().collect()]
    }

    #[test]
    fn a_minority_is_found_out_and_a_majority_is_not() {
        let mut book = DigestBook::default();
        book.note(1, &[(Position(10), A)]);
        assert!(book.agreed(&three()).is_empty(), "one voter is no majority");
        book.note(2, &[(Position(10), A)]);
        book.note(3, &[(Position(10), B)]);
        let agreed = book.agreed(&three());
        assert_eq!(agreed, [(Position(10), A)]);
        assert_eq!(differs([(Position(10), B)], &agreed), Some(Position(10)));
        assert_eq!(differs([(Position(10), A), (Position(11), B)], &agreed), None);
        assert_eq!(book.dispute(&three()), None);
    }

    #[test]
    fn three_opinions_are_a_dispute() {
        let mut book = DigestBook::default();
        book.note(1, &[(Position(10), A)]);
        book.note(2, &[(Position(10), B)]);
        assert_eq!(book.dispute(&three()), None, "the third may still decide it");
        book.note(3, &[(Position(10), C)]);
        assert_eq!(book.dispute(&three()), Some(Position(10)));
    }

    #[test]
    fn a_learner_has_no_say() {
        let mut book = DigestBook::default();
        book.note(1, &[(Position(10), A)]);
        book.note(9, &[(Position(10), A)]);
        assert!(book.agreed(&three()).is_empty());
    }
}
