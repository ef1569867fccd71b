//! The successors of a token are one: the chain of a family is a path, not a tree.

use std::collections::BTreeMap;

use jeton_core::ids::{Generation, Position};

use super::{Rule, Story, Verdict};
use crate::history::{RotationSeen, Successor};

/// At most one caller rotated each generation, and all that were answered got the same successor,
/// made at the same position. Positions grow along the chain.
pub(super) fn check(story: &Story<'_>, verdict: &mut Verdict) {
    let mut made: BTreeMap<Generation, Successor> = BTreeMap::new();
    let mut winners: BTreeMap<Generation, u32> = BTreeMap::new();
    let mut add = |rule, detail| verdict.violations.push(story.violation(rule, detail));
    for rotation in &story.family.rotations {
        let successor = match &rotation.seen {
            RotationSeen::Rotated(successor) => {
                *winners.entry(rotation.presented).or_default() += 1;
                successor
            }
            RotationSeen::Replayed(successor) => successor,
            _ => continue,
        };
        if successor.generation != rotation.presented.next() {
            add(
                Rule::WrongAnswer,
                format!(
                    "generation {} was answered with generation {}",
                    rotation.presented.0, successor.generation.0
                ),
            );
        }
        let first = *made.entry(successor.generation).or_insert(*successor);
        if first.digest != successor.digest || first.position != successor.position {
            add(
                Rule::DoubleSuccessor,
                format!(
                    "two tokens of generation {}, made at {} and {}",
                    successor.generation.0, first.position, successor.position
                ),
            );
        }
    }
    for (generation, winners) in winners.into_iter().filter(|(_, count)| *count > 1) {
        add(
            Rule::DoubleSuccessor,
            format!("{winners} callers were told that they rotated generation {}", generation.0),
        );
    }
    let mut before: Position = story.creation.position;
    for successor in made.values() {
        if successor.position <= before {
            add(
                Rule::WrongAnswer,
                format!(
                    "generation {} was made at {}, not after {before}",
                    successor.generation.0, successor.position
                ),
            );
        }
        before = successor.position;
    }
}
