//! The verdict: does what callers saw, and what every node says afterwards, keep the contract?
//!
//! One invariant a file. Each gets the whole `Case` and adds what it finds wrong. An outcome that
//! nobody knows is neither success nor failure: it explains what it may have done and proves
//! nothing. A question that can't be answered is a violation too ([`Rule::Undecided`]).
//!
//! The rules are written from the contract, not from the state machine.

mod chain;
mod codes;
mod digests;
mod durable;
mod locks;
mod looks;
mod revoked;
mod stolen;
#[cfg(test)]
mod tests;

pub use digests::common_position;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use jeton_core::ids::{SubjectId, TenantId};

use crate::history::{
    Caller, CodeHistory, Creation, FamilyHistory, FamilyKey, FamilySeen, History, NodeView,
    Revocation, Target,
};

/// Which promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Something acknowledged is not there, or does not hold.
    Lost,
    /// A token got two successors, or two callers were told that they rotated it.
    DoubleSuccessor,
    /// A family died that nobody revoked.
    FalseRevocation,
    /// Something succeeded although it was revoked before.
    SucceededWhenDead,
    /// A stolen token was served, or its family lives on.
    MissedTheft,
    /// Two callers got something for one code, or one for another's.
    DoubleRedemption,
    /// Two held one lock at once, or a fence did not grow.
    LockOverlap,
    /// What a lock guards was written with a fence that was none any more.
    StaleWrite,
    /// A local view let somebody in who, as it claimed to know, was revoked.
    StaleView,
    /// An answer that a healthy cluster doesn't give.
    WrongAnswer,
    /// Replicas differ at one position.
    DigestsDiffer,
    /// It could not be judged.
    Undecided,
}

/// One broken promise, in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// Which one.
    pub rule: Rule,
    /// Of which family, if of one.
    pub family: Option<FamilyKey>,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.family {
            Some(key) => {
                write!(f, "{:?}: {} {}: {}", self.rule, key.tenant, key.family, self.detail)
            }
            None => write!(f, "{:?}: {}", self.rule, self.detail),
        }
    }
}

/// The outcome of the check.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Empty if all promises were kept.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn ok(&self) -> bool {
        self.violations.is_empty()
    }

    /// How often one rule was broken.
    pub fn count(&self, rule: Rule) -> usize {
        self.violations.iter().filter(|v| v.rule == rule).count()
    }

    /// Whether all replicas were seen to be equal at one position.
    pub fn digests_equal(&self, nodes: &[NodeView]) -> bool {
        digests::common_position(nodes).is_some() && self.count(Rule::DigestsDiffer) == 0
    }
}

/// Judges a run.
pub fn judge(history: &History, nodes: &[NodeView]) -> Verdict {
    let case = Case::new(history, nodes);
    let mut verdict = Verdict::default();
    for story in case.stories() {
        chain::check(&story, &mut verdict);
        durable::check(&story, &mut verdict);
        revoked::check(&story, &mut verdict);
        stolen::check(&story, &mut verdict);
        codes::check_family(&story, &mut verdict);
    }
    codes::check(history, &mut verdict);
    locks::check(history, &mut verdict);
    looks::check(history, &mut verdict);
    digests::check(nodes, &mut verdict);
    verdict
}

/// A run, indexed.
struct Case<'a> {
    history: &'a History,
    nodes: &'a [NodeView],
    /// Revocations of one subject and more.
    by_subject: HashMap<(&'a TenantId, &'a SubjectId), Vec<&'a Revocation>>,
    /// Revocations of one family.
    by_family: BTreeMap<&'a FamilyKey, Vec<&'a Revocation>>,
    /// All others.
    general: Vec<&'a Revocation>,
    /// Codes by the families that were made from them.
    codes: HashMap<&'a FamilyKey, &'a CodeHistory>,
}

/// One family with all that bears on it.
struct Story<'a> {
    key: &'a FamilyKey,
    creation: &'a Creation,
    family: &'a FamilyHistory,
    /// The code that it was made from.
    code: Option<&'a CodeHistory>,
    /// Revocations aimed at it, in force or unknown, whatever their position.
    aimed: Vec<&'a Revocation>,
    /// What each node says of it; `None`: it was not asked.
    seen: Vec<(&'a str, Option<&'a FamilySeen>)>,
}

impl<'a> Case<'a> {
    fn new(history: &'a History, nodes: &'a [NodeView]) -> Self {
        let mut case = Self {
            history,
            nodes,
            by_subject: HashMap::new(),
            by_family: BTreeMap::new(),
            general: Vec::new(),
            codes: HashMap::new(),
        };
        for code in &history.codes {
            case.codes.extend(code.families().map(|key| (key, code)));
        }
        for revocation in &history.revocations {
            match &revocation.target {
                Target::Family(key) | Target::Token(key) => {
                    case.by_family.entry(key).or_default().push(revocation);
                }
                Target::Where { tenant, subject: Some(subject), .. } => {
                    case.by_subject.entry((tenant, subject)).or_default().push(revocation);
                }
                Target::Where { .. } => case.general.push(revocation),
            }
        }
        case
    }

    /// Families whose creation was acknowledged: of others nothing is promised.
    fn stories(&self) -> impl Iterator<Item = Story<'_>> {
        self.history.families.iter().filter_map(|(key, family)| {
            let creation = family.creation.as_ref()?;
            let subject = self.by_subject.get(&(&key.tenant, &creation.roots.subject));
            let aimed = subject
                .into_iter()
                .chain(self.by_family.get(key))
                .flatten()
                .chain(&self.general)
                .copied()
                .filter(|r| r.target.covers(key, &creation.roots))
                .collect();
            let seen = self.nodes.iter().map(|n| (n.node.as_str(), n.families.get(key))).collect();
            let code = self.codes.get(key).copied();
            Some(Story { key, creation, family, code, aimed, seen })
        })
    }
}

impl Story<'_> {
    /// Revocations that are known to be in force on it: later than its creation.
    fn in_force(&self) -> impl Iterator<Item = &Revocation> {
        let born = self.creation.position;
        self.aimed.iter().copied().filter(move |r| r.acknowledged.is_some_and(|at| at > born))
    }

    /// Whether somebody presented one of its spent tokens.
    fn robbed(&self) -> bool {
        self.family.rotations.iter().any(|r| r.caller == Caller::Thief)
    }

    fn violation(&self, rule: Rule, detail: String) -> Violation {
        Violation { rule, family: Some(self.key.clone()), detail }
    }
}
