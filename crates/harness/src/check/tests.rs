//! Hand-made histories: a good one that must pass, and bad ones that must not.

use jeton_core::ids::{
    ClientId, FamilyId, Generation, Position, SecretDigest, SubjectId, TenantId,
};
use jeton_core::reply::RevocationCause;

use super::{Rule, judge};
use crate::history::{
    Call, Caller, Creation, DeadBy, FamilyKey, FamilySeen, History, NodeView, Revocation, Roots,
    Rotation, RotationSeen, Successor, Target, Tick,
};

/// A history under construction: ticks and positions grow as it is told.
struct Tale {
    history: History,
    nodes: Vec<NodeView>,
    tick: u64,
    position: u64,
}

fn key() -> FamilyKey {
    FamilyKey { tenant: TenantId::new("acme").unwrap(), family: FamilyId([7; 16]) }
}

fn subject(name: &str) -> Target {
    Target::Where {
        tenant: key().tenant,
        subject: Some(SubjectId::new(name).unwrap()),
        client: None,
        device: None,
    }
}

fn alive(head: u64) -> FamilySeen {
    FamilySeen::Present { head: Generation(head), dead: None, newest_valid: Some(true) }
}

fn dead(head: u64, cause: RevocationCause, position: Position) -> FamilySeen {
    let dead = Some(DeadBy::Revoked { cause, position });
    FamilySeen::Present { head: Generation(head), dead, newest_valid: None }
}

impl Tale {
    /// alice's family, just created, on three nodes that agree.
    fn new() -> Self {
        let mut tale =
            Self { history: History::default(), nodes: Vec::new(), tick: 0, position: 0 };
        let roots = Roots {
            subject: SubjectId::new("alice").unwrap(),
            client: ClientId::new("web").unwrap(),
            device: None,
        };
        let creation = Creation { roots, position: tale.place(), call: tale.call() };
        tale.history.families.entry(key()).or_default().creation = Some(creation);
        for node in ["one", "two", "three"] {
            let digests = [(Position(4_096), "aa".to_owned())].into();
            tale.nodes.push(NodeView { node: node.into(), digests, ..NodeView::default() });
        }
        tale
    }

    fn place(&mut self) -> Position {
        self.position += 1;
        Position(self.position)
    }

    fn call(&mut self) -> Call {
        self.tick += 2;
        Call { invoked: Tick(self.tick), returned: Tick(self.tick + 1) }
    }

    fn present(&mut self, presented: u64, caller: Caller, seen: RotationSeen) -> &mut Self {
        let call = self.call();
        let rotation = Rotation { presented: Generation(presented), caller, call, seen };
        self.history.families.entry(key()).or_default().rotations.push(rotation);
        self
    }

    fn rotated(&mut self, presented: u64) -> &mut Self {
        let successor = self.successor(presented + 1, 0);
        self.present(presented, Caller::Owner, RotationSeen::Rotated(successor))
    }

    fn successor(&mut self, generation: u64, salt: u8) -> Successor {
        let mut digest = [salt; 16];
        digest[0] = u8::try_from(generation).unwrap();
        Successor {
            generation: Generation(generation),
            digest: SecretDigest(digest),
            position: self.place(),
        }
    }

    fn revoked(&mut self, target: Target) -> Position {
        let (call, at) = (self.call(), self.place());
        self.history.revocations.push(Revocation { target, call, acknowledged: Some(at) });
        at
    }

    fn everywhere(&mut self, seen: &FamilySeen) -> &mut Self {
        for node in &mut self.nodes {
            node.families.insert(key(), seen.clone());
        }
        self
    }

    fn rules(&self) -> Vec<Rule> {
        let verdict = judge(&self.history, &self.nodes);
        let mut rules: Vec<Rule> = verdict.violations.iter().map(|v| v.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

#[test]
fn a_good_history_passes() {
    let mut tale = Tale::new();
    tale.rotated(0).rotated(1);
    let again = tale.history.families[&key()].rotations[1].seen.clone();
    let RotationSeen::Rotated(successor) = again else { panic!("not rotated") };
    tale.present(1, Caller::Owner, RotationSeen::Replayed(successor));
    tale.everywhere(&alive(2));
    assert_eq!(tale.rules(), []);
    assert!(judge(&tale.history, &tale.nodes).digests_equal(&tale.nodes));
}

#[test]
fn a_lost_rotation_is_found_on_a_single_node() {
    let mut tale = Tale::new();
    tale.rotated(0).rotated(1).everywhere(&alive(2));
    tale.nodes[1].families.insert(key(), alive(1));
    assert_eq!(tale.rules(), [Rule::Lost]);
}

#[test]
fn a_lost_family_is_found() {
    let mut tale = Tale::new();
    tale.everywhere(&alive(0));
    tale.nodes[2].families.insert(key(), FamilySeen::Missing);
    assert_eq!(tale.rules(), [Rule::Lost]);
}

#[test]
fn another_head_of_the_same_generation_is_found() {
    let mut tale = Tale::new();
    tale.rotated(0).everywhere(&alive(1));
    let other = FamilySeen::Present { head: Generation(1), dead: None, newest_valid: Some(false) };
    tale.nodes[0].families.insert(key(), other);
    assert_eq!(tale.rules(), [Rule::Lost]);
}

#[test]
fn a_head_that_nobody_was_given_is_found_unless_an_outcome_is_unknown() {
    let mut tale = Tale::new();
    tale.rotated(0).everywhere(&alive(2));
    assert_eq!(tale.rules(), [Rule::WrongAnswer]);
    tale.present(1, Caller::Owner, RotationSeen::Unknown);
    assert_eq!(tale.rules(), []);
    tale.everywhere(&alive(3));
    assert_eq!(tale.rules(), [Rule::WrongAnswer]);
}

#[test]
fn a_rotation_that_was_told_revoked_may_have_happened_before() {
    let mut tale = Tale::new();
    let at = tale.revoked(subject("alice"));
    let told = RotationSeen::Revoked { cause: RevocationCause::Cutoff, position: at };
    tale.present(0, Caller::Owner, told);
    tale.everywhere(&dead(1, RevocationCause::Cutoff, at));
    assert_eq!(tale.rules(), []);
    tale.everywhere(&dead(2, RevocationCause::Cutoff, at));
    assert_eq!(tale.rules(), [Rule::WrongAnswer]);
}

#[test]
fn two_successors_of_one_token_are_found() {
    let mut tale = Tale::new();
    tale.rotated(0);
    let fork = tale.successor(1, 9);
    tale.present(0, Caller::Owner, RotationSeen::Replayed(fork)).everywhere(&alive(1));
    assert_eq!(tale.rules(), [Rule::DoubleSuccessor]);
}

#[test]
fn two_winners_of_one_rotation_are_found() {
    let mut tale = Tale::new();
    tale.rotated(0);
    let same = tale.history.families[&key()].rotations[0].seen.clone();
    tale.present(0, Caller::Owner, same).everywhere(&alive(1));
    assert_eq!(tale.rules(), [Rule::DoubleSuccessor]);
}

#[test]
fn a_chain_that_runs_backwards_is_found() {
    let mut tale = Tale::new();
    let early = tale.successor(2, 0);
    tale.rotated(0);
    tale.present(1, Caller::Owner, RotationSeen::Rotated(early)).everywhere(&alive(2));
    assert_eq!(tale.rules(), [Rule::WrongAnswer]);
}

#[test]
fn a_revoked_family_that_still_lives_on_a_node_is_found() {
    let mut tale = Tale::new();
    let at = tale.revoked(subject("alice"));
    tale.everywhere(&dead(0, RevocationCause::Cutoff, at));
    assert_eq!(tale.rules(), []);
    tale.nodes[0].families.insert(key(), alive(0));
    assert_eq!(tale.rules(), [Rule::Lost]);
}

#[test]
fn a_rotation_after_a_revocation_is_found() {
    let mut tale = Tale::new();
    let at = tale.revoked(subject("alice"));
    tale.rotated(0).everywhere(&dead(1, RevocationCause::Cutoff, at));
    assert_eq!(tale.rules(), [Rule::SucceededWhenDead]);
}

#[test]
fn a_replay_that_was_called_after_a_revocation_is_found() {
    let mut tale = Tale::new();
    tale.rotated(0);
    let RotationSeen::Rotated(old) = tale.history.families[&key()].rotations[0].seen else {
        panic!("not rotated")
    };
    let at = tale.revoked(Target::Family(key()));
    tale.everywhere(&dead(1, RevocationCause::Family, at));
    assert_eq!(tale.rules(), []);
    tale.present(0, Caller::Owner, RotationSeen::Replayed(old));
    assert_eq!(tale.rules(), [Rule::SucceededWhenDead]);
}

#[test]
fn a_death_that_nobody_caused_is_found() {
    let mut tale = Tale::new();
    let at = tale.revoked(subject("bob"));
    tale.everywhere(&alive(0));
    assert_eq!(tale.rules(), []);
    tale.nodes[2].families.insert(key(), dead(0, RevocationCause::Cutoff, at));
    assert_eq!(tale.rules(), [Rule::FalseRevocation]);
}

#[test]
fn a_cutoff_does_not_reach_what_was_created_after_it() {
    let mut tale = Tale::new();
    let at = tale.revoked(subject("alice"));
    let born = tale.place();
    let creation = tale.history.families.get_mut(&key()).and_then(|f| f.creation.as_mut());
    creation.unwrap().position = born;
    tale.everywhere(&alive(0));
    assert_eq!(tale.rules(), []);
    tale.everywhere(&dead(0, RevocationCause::Cutoff, at));
    assert_eq!(tale.rules(), [Rule::FalseRevocation]);
}

#[test]
fn a_caller_that_is_told_dead_before_anybody_revoked_is_a_false_revocation() {
    let mut tale = Tale::new();
    let position = Position(99);
    let told = RotationSeen::Revoked { cause: RevocationCause::Cutoff, position };
    tale.present(0, Caller::Owner, told);
    tale.position = 98;
    let at = tale.revoked(subject("alice"));
    assert_eq!(at, position);
    tale.everywhere(&dead(0, RevocationCause::Cutoff, at));
    assert_eq!(tale.rules(), [Rule::FalseRevocation]);
}

#[test]
fn an_owner_who_is_judged_a_thief_is_a_false_revocation() {
    let mut tale = Tale::new();
    tale.present(0, Caller::Owner, RotationSeen::Reused { revoked: true });
    let at = tale.place();
    tale.everywhere(&dead(0, RevocationCause::Reuse, at));
    assert_eq!(tale.rules(), [Rule::FalseRevocation]);
}

#[test]
fn a_caught_theft_passes_and_a_missed_one_is_found() {
    let mut tale = Tale::new();
    tale.rotated(0).rotated(1);
    tale.present(0, Caller::Thief, RotationSeen::Reused { revoked: true });
    let at = tale.place();
    tale.everywhere(&dead(2, RevocationCause::Reuse, at));
    assert_eq!(tale.rules(), []);
    tale.nodes[1].families.insert(key(), alive(2));
    assert_eq!(tale.rules(), [Rule::MissedTheft]);

    let mut tale = Tale::new();
    tale.rotated(0);
    let RotationSeen::Rotated(loot) = tale.history.families[&key()].rotations[0].seen else {
        panic!("not rotated")
    };
    tale.present(0, Caller::Thief, RotationSeen::Replayed(loot)).everywhere(&alive(1));
    assert_eq!(tale.rules(), [Rule::MissedTheft]);
}

#[test]
fn an_unknown_revocation_explains_a_death_and_promises_none() {
    for seen in [alive(0), dead(0, RevocationCause::Cutoff, Position(50))] {
        let mut tale = Tale::new();
        let call = tale.call();
        let unknown = Revocation { target: subject("alice"), call, acknowledged: None };
        tale.history.revocations.push(unknown);
        tale.everywhere(&seen);
        assert_eq!(tale.rules(), []);
    }
}

#[test]
fn a_refusal_that_only_a_forgetful_store_gives_is_found() {
    let mut tale = Tale::new();
    tale.present(0, Caller::Owner, RotationSeen::Refused("NOT_FOUND".into()));
    tale.everywhere(&alive(0));
    assert_eq!(tale.rules(), [Rule::WrongAnswer]);
}

#[test]
fn replicas_that_differ_are_found_and_no_common_position_is_undecided() {
    let mut tale = Tale::new();
    tale.everywhere(&alive(0));
    tale.nodes[2].digests = [(Position(4_096), "bb".to_owned())].into();
    assert_eq!(tale.rules(), [Rule::DigestsDiffer]);
    assert!(!judge(&tale.history, &tale.nodes).digests_equal(&tale.nodes));
    tale.nodes[2].digests = [(Position(8_192), "aa".to_owned())].into();
    assert_eq!(tale.rules(), [Rule::Undecided]);
}

#[test]
fn a_node_that_was_not_asked_leaves_the_case_undecided() {
    let mut tale = Tale::new();
    tale.everywhere(&alive(0));
    tale.nodes[0].families.clear();
    assert_eq!(tale.rules(), [Rule::Undecided]);
}
