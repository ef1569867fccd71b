//! What holds of every transaction: all of it happens, or nothing but what a refusal does itself.

use bytes::Bytes;
use jeton_core::codec;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::limits;
use jeton_core::machine::Machine;
use jeton_core::reply::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use crate::world::{self, Step, World, part_steps, record_steps, steps};

/// What random transactions came to.
#[derive(Debug, Default)]
struct Tally {
    through: usize,
    stopped_alike: usize,
    stopped_by_itself: usize,
    unmet: usize,
    whole: usize,
}

/// Two worlds with the same history: one for a transaction, one for its operations.
fn worlds(history: &[Step]) -> (World, World) {
    let (mut one, mut other) = (World::default(), World::default());
    for step in history {
        one.step(step);
        other.step(step);
    }
    assert_eq!(one.machine.meta(), other.machine.meta());
    (one, other)
}

/// A transaction, and what its operations do alone.
fn check(history: &[Step], compared: &[Step], parts: &[Step], tally: &mut Tally) {
    let (mut one, mut other) = worlds(history);
    let (compare, parts) = (one.comparisons(compared), one.parts(parts));
    let _ = (other.comparisons(compared), other.parts(&[]));
    if parts.is_empty() {
        return;
    }
    let command = one.transaction(compare, parts.clone());
    let before = one.rows_without_replies();
    let (replies, events) = one.apply(vec![command.clone()]);
    let reply = &replies[0];
    match &reply.outcome {
        Ok(Done::Transacted(done)) => {
            let branch = if done.unmet.is_none() { &parts[..] } else { &parts[..1] };
            tally.unmet += usize::from(done.unmet.is_some());
            match &done.ran {
                Ran::Through(answers) => {
                    tally.through += 1;
                    assert_eq!(answers.len(), branch.len());
                    let alone = branch.iter().map(|part| other.named_alone(part)).collect();
                    let (singly, told) = other.apply(alone);
                    let kinds =
                        |replies: &[Reply]| -> Vec<_> { replies.iter().map(world::kind).collect() };
                    assert_eq!(kinds(answers), kinds(&singly), "{branch:?}");
                    let what = |events: &[Event]| -> Vec<_> {
                        events.iter().map(|event| format!("{:?}", event.kind)).collect()
                    };
                    assert_eq!(what(&events), what(&told));
                    assert_eq!(one.shown(), other.shown());
                }
                Ran::Stopped { operation, answer } => {
                    let part = &branch[*operation as usize];
                    let (alone, told) = other.apply(vec![World::alone(&command, part)]);
                    if alone[0] == **answer {
                        tally.stopped_alike += 1;
                        assert_eq!(one.rows_without_replies(), other.rows_without_replies());
                        assert_eq!(events, told);
                    } else {
                        tally.stopped_by_itself += 1;
                        assert_eq!(one.rows_without_replies(), before, "nothing is left of it");
                        assert_eq!(events, []);
                    }
                }
            }
        }
        Err(_) => {
            tally.whole += 1;
            assert_eq!(one.rows_without_replies(), before, "nothing is left of it");
            assert_eq!(events, []);
        }
        Ok(other) => panic!("{other:?}"),
    }
    // Its retry changes nothing, raises nothing, and is answered alike. What came too fast is
    // judged anew, and comes too fast still.
    let after = one.tables.clone();
    let (again, events) = one.apply(vec![command]);
    assert_eq!(one.tables, after, "a retry changes nothing");
    assert_eq!(events, []);
    if !matches!(reply.outcome, Err(Refusal::RateLimited { .. })) {
        assert_eq!(again, replies);
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn a_transaction_is_its_operations_or_nothing(
        history in prop_oneof![steps(30), record_steps(50), part_steps(30)],
        compared in part_steps(2),
        parts in part_steps(6),
        compares in any::<bool>(),
    ) {
        let compared = if compares { &compared[..] } else { &[] };
        check(&history, compared, &parts, &mut Tally::default());
    }
}

/// Random transactions that never get anywhere would prove nothing.
#[test]
fn random_transactions_come_to_every_end() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut tally = Tally::default();
    for round in 0..400 {
        let mut some = |max| part_steps(max).new_tree(&mut runner).unwrap().current();
        let (history, compared, parts) = (some(40), some(3), some(5));
        let compared = if round % 3 == 0 { &compared[..] } else { &[] };
        check(&history, compared, &parts, &mut tally);
    }
    let Tally { through, stopped_alike, stopped_by_itself, unmet, whole } = tally;
    let all = [through, stopped_alike, stopped_by_itself, unmet, whole];
    assert!(all.iter().all(|count| *count > 3), "{tally:?}");
}

fn put(name: u8, value: usize) -> Part {
    Part::PutRecord(Box::new(PutRecord {
        kind: RecordKind::new("code").unwrap(),
        key: KeyDigest([name; 16]),
        when: PutWhen::Always,
        value: Bytes::from(vec![name; value]),
        lifetime: Some(DurationMs::from_secs(600)),
        index: Vec::new(),
        roots: RecordRoots::default(),
        family: None,
        preconditions: Vec::new(),
        authenticated_at: None,
    }))
}

fn consume(name: u8) -> Part {
    Part::Consume(Box::new(Consume {
        kind: RecordKind::new("code").unwrap(),
        key: KeyDigest([name; 16]),
        preconditions: Vec::new(),
        guesser: None,
        family: None,
        revoke_on_replay: false,
    }))
}

fn transact(world: &mut World, compare: Vec<Comparison>, then: Vec<Part>) -> Reply {
    let command = world.transaction(compare, then);
    world.apply(vec![command]).0.remove(0)
}

#[test]
fn a_branch_has_as_many_operations_as_its_limit_and_not_one_more() {
    let mut world = World::default();
    let max = limits::TRANSACTION_OPERATIONS_MAX;
    let parts = |count: usize| (0..count).map(|at| put(at as u8, 1)).collect::<Vec<_>>();
    let reply = transact(&mut world, Vec::new(), parts(max));
    let Ok(Done::Transacted(done)) = reply.outcome else { panic!("{reply:?}") };
    assert!(matches!(done.ran, Ran::Through(answers) if answers.len() == max));
    let reply = transact(&mut world, Vec::new(), parts(max + 1));
    assert!(matches!(reply.outcome, Err(Refusal::Invalid { field, .. }) if &*field == "then"));
}

#[test]
fn there_are_as_many_comparisons_as_their_limit_and_not_one_more() {
    let mut world = World::default();
    let max = limits::TRANSACTION_COMPARISONS_MAX;
    let absent = |at: usize| {
        let (kind, key) = (RecordKind::new("none").unwrap(), KeyDigest([at as u8; 16]));
        Comparison::RecordAbsent { kind, key }
    };
    let compare = |count: usize| (0..count).map(absent).collect::<Vec<_>>();
    let reply = transact(&mut world, compare(max), vec![put(1, 1)]);
    assert!(matches!(reply.outcome, Ok(Done::Transacted(done)) if done.unmet.is_none()));
    let reply = transact(&mut world, compare(max + 1), vec![put(1, 1)]);
    assert!(matches!(reply.outcome, Err(Refusal::Invalid { field, .. }) if &*field == "compare"));
}

/// The answers are remembered in one row: as much as the limit fits, and one byte more is refused
/// before anything is consumed.
#[test]
fn answers_are_as_long_as_their_limit_and_not_one_byte_longer() {
    let max = limits::TRANSACTION_REPLY_BYTES_MAX;
    let run = |last: usize| {
        let mut world = World::default();
        for (name, len) in [(1, 64 * 1024), (2, 64 * 1024), (3, last)] {
            transact(&mut world, Vec::new(), vec![put(name, len)]);
        }
        let consumed = transact(&mut world, Vec::new(), vec![consume(1), consume(2), consume(3)]);
        let again = transact(&mut world, Vec::new(), vec![consume(3)]);
        (consumed.outcome, again.outcome)
    };
    let len = |outcome: &Result<Done, Refusal>| match outcome {
        Ok(Done::Transacted(done)) => match &done.ran {
            Ran::Through(answers) => codec::encode(answers).len(),
            Ran::Stopped { .. } => panic!("nothing is in its way"),
        },
        other => panic!("{other:?}"),
    };
    let below = 60 * 1024;
    let fits = below + (max - len(&run(below).0));
    let (consumed, again) = run(fits);
    assert_eq!(len(&consumed), max);
    assert!(matches!(again, Ok(Done::Transacted(done)) if matches!(done.ran, Ran::Stopped { .. })));
    let (refused, again) = run(fits + 1);
    let limit = "TRANSACTION_REPLY_BYTES_MAX";
    assert!(matches!(refused, Err(Refusal::LimitReached { limit: name, .. }) if &*name == limit));
    assert!(matches!(again, Ok(Done::Transacted(done)) if matches!(done.ran, Ran::Through(_))));
}

/// What is remembered of a transaction is read back from its row, also after a restart.
#[test]
fn the_longest_answer_is_remembered() {
    let mut world = World::default();
    for name in 1..4 {
        transact(&mut world, Vec::new(), vec![put(name, 63 * 1024)]);
    }
    let command = world.transaction(Vec::new(), vec![consume(1), consume(2), consume(3)]);
    let (first, _) = world.apply(vec![command.clone()]);
    world.machine = Machine::restore(world.machine.meta());
    let (again, _) = world.apply(vec![command]);
    assert_eq!(first, again);
}
