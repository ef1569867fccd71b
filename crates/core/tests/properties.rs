//! What holds of every history: random commands, on machines that must agree.
//!
//! `PROPTEST_CASES=20000 cargo test -p jeton-core --test properties` looks longer.

#![allow(clippy::unwrap_used)]

mod transactions;
mod world;

use std::sync::Arc;

use jeton_core::backup::{self, Header, Plan, Survey};
use jeton_core::codec;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::machine::Machine;
use jeton_core::reply::*;
use jeton_core::rows;
use jeton_core::tables::{MemTables, Tables as _};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use world::{Answers, Step, World, lock_steps, record_steps, steps};

fn restored_goes_on(world: &World, keep: bool) {
    let (mut survey, mut tables) = (Survey::default(), MemTables::new());
    for (key, value) in world.tables.rows() {
        let shown: serde_json::Value = serde_json::from_str(&rows::json(key, value)).unwrap();
        assert!(shown.get("damaged").is_none(), "{shown}");
        let Some(value) = backup::strip(key, value).unwrap() else { continue };
        assert_eq!(backup::strip(key, &value).unwrap().as_ref(), Some(&value), "it is left alone");
        survey.add(key, &value).unwrap();
        tables.put(key.to_vec(), value.to_vec());
    }
    assert!(!survey.kinds.contains_key("other"), "every kind has a name: {:?}", survey.kinds);
    let meta = world.machine.meta().clone();
    let (cluster, now) = (ClusterId([1; 16]), meta.clock);
    let release = String::new();
    let header = Header { cluster, node: 1, meta, made_at: now, rows: survey.rows, release };
    let keep = survey.tenants.iter().filter(|_| keep).cloned().collect();
    let (base, index) = (1 << 50, LogIndex(2));
    let plan = Plan { base, index, now, proofs_until: now, keep };
    let meta = backup::restore(&mut tables, &header, &survey, &plan).unwrap();
    assert_eq!(world::digest(&tables), meta.rows, "the digest follows");
    let mut machine = Machine::restore(&meta);
    let stamp = UnixMs(now.0 + 3_000 * 86_400_000);
    for index in 3.. {
        let operation = Operation::Sweep(Sweep { rows_max: 1_000 });
        let command = Arc::new(Command { tenant: None, request: None, operation });
        let lease_advance = DurationMs(1);
        let entry = Entry { stamp, lease_advance, commands: vec![command] };
        let mut answers = Answers::default();
        machine.apply(&mut tables, LogIndex(index), &entry, &mut answers).unwrap();
        assert_eq!(world::digest(&tables), machine.meta().rows);
        match &answers.replies[0].outcome {
            Ok(Done::Swept { more: true, .. }) => assert!(index < 1_000, "it comes to an end"),
            other => return assert!(other.is_ok(), "{other:?}"),
        }
    }
}

/// Few cases by default: `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let default = ProptestConfig::default();
    let cases = if asked { default.cases } else { 64 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    /// One successor a generation, nothing after a revocation, retries that change nothing, reads
    /// that agree with apply, and a digest that follows: see `World::check_entry`.
    #[test]
    fn every_history_keeps_its_promises(steps in steps(80)) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
            world.check_listings();
        }
    }

    /// Fences only grow, a hold ends before the next begins, nobody is overtaken: see
    /// `Locks::check_entry`.
    #[test]
    fn every_history_of_locks_keeps_its_promises(steps in lock_steps(120)) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
        }
    }

    /// A value is handed out once, versions count changes, what was deleted is gone: see
    /// `World::check_record`.
    #[test]
    fn every_history_of_records_keeps_its_promises(steps in record_steps(120)) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
        }
    }

    /// Every row can be backed up and read back, nothing of it could be handed out again, and what
    /// is restored goes on: to its last sweep.
    #[test]
    fn every_history_can_be_backed_up_and_restored(
        steps in steps(60),
        records in record_steps(40),
        locks in lock_steps(40),
        keep in any::<bool>(),
    ) {
        let mut world = World::default();
        for step in steps.iter().chain(&records).chain(&locks) {
            world.step(step);
        }
        restored_goes_on(&world, keep);
    }

    /// The sweep reclaims records, and nobody can tell.
    #[test]
    fn a_sweep_of_records_changes_no_answer(
        steps in record_steps(80),
        often in 1_usize..6,
        rows in 1_u32..40,
    ) {
        let (mut swept, mut unswept) = (World::default(), World::default());
        for (at, step) in steps.iter().enumerate() {
            if at % often == 0 {
                swept.maintain(Operation::Sweep(Sweep { rows_max: rows }));
                unswept.maintain(Operation::DigestAt);
            }
            prop_assert_eq!(swept.step(step), unswept.step(step), "step {:?}", step);
            prop_assert_eq!(swept.records(), unswept.records());
        }
    }

    /// The sweep reclaims space, and nobody can tell.
    #[test]
    fn a_sweep_changes_no_answer(steps in steps(60), often in 1_usize..6, rows in 1_u32..40) {
        let (mut swept, mut unswept) = (World::default(), World::default());
        for (at, step) in steps.iter().enumerate() {
            if at % often == 0 {
                swept.maintain(Operation::Sweep(Sweep { rows_max: rows }));
                unswept.maintain(Operation::DigestAt);
            }
            let (with, without) = (swept.step(step), unswept.step(step));
            prop_assert_eq!(with, without, "step {:?}", step);
            prop_assert_eq!(swept.views(), unswept.views());
            prop_assert_eq!(swept.listings(), unswept.listings());
            prop_assert_eq!(swept.session_views(), unswept.session_views());
            prop_assert_eq!(swept.accesses(), unswept.accesses());
        }
    }

    /// Native and opaque tokens obey one table: the same script is answered alike.
    #[test]
    fn native_and_opaque_families_agree(steps in steps(80)) {
        let (mut native, mut opaque) = (World::of_kind(false), World::of_kind(true));
        for step in steps.iter().filter(|step| step.is_of_both_kinds()) {
            let (one, other) = (native.step(step), opaque.step(step));
            let plain = |replies: Vec<Reply>| replies.into_iter().map(world::kindless).collect();
            let (one, other): (Vec<_>, Vec<_>) = (plain(one), plain(other));
            prop_assert_eq!(one, other, "step {:?}", step);
            prop_assert_eq!(native.listings(), opaque.listings());
        }
        prop_assert_eq!(&native.said.events, &opaque.said.events);
        let views = |world: &World| {
            let views = world.views().into_iter();
            views.map(|view| view.map(|view| FamilyView { opaque: false, ..view })).collect()
        };
        let (one, other): (Vec<_>, Vec<_>) = (views(&native), views(&opaque));
        prop_assert_eq!(one, other);
    }

    /// The same entries give the same rows and the same digest: at once, from their bytes, and
    /// from any point at which the machine was put away.
    #[test]
    fn replay_is_replay(steps in steps(60), away in 0_usize..60) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
        }
        let (mut machine, mut tables) = (Machine::new(), MemTables::new());
        let mut answers = Answers::default();
        for (at, (index, bytes)) in world.log.iter().enumerate() {
            if at == away {
                let meta = codec::encode(machine.meta());
                machine = Machine::restore(&codec::decode(&meta, 1_024).unwrap());
            }
            let entry = codec::decode_entry(bytes).unwrap();
            machine.apply(&mut tables, LogIndex(*index), &entry, &mut answers).unwrap();
        }
        prop_assert_eq!(&answers.replies, &world.said.replies);
        prop_assert_eq!(&answers.events, &world.said.events);
        prop_assert_eq!(machine.meta(), world.machine.meta());
        prop_assert_eq!(machine.meta().digest(), world.machine.meta().digest());
        prop_assert_eq!(tables, world.tables);
    }

    /// Commands in one entry are judged as if each came alone.
    #[test]
    fn an_entry_is_its_commands_in_order(steps in steps(40), size in 2_usize..9) {
        let mut world = World::default();
        steps.iter().for_each(|step| drop(world.step(step)));
        let commands: Vec<_> = world.log.iter()
            .flat_map(|(_, bytes)| codec::decode_entry(bytes).unwrap().commands)
            // A fence is a position, and those are others in other entries.
            .filter(|command| !names_a_fence(&command.operation)).collect();
        let run = |size: usize| {
            let (mut machine, mut tables) = (Machine::new(), MemTables::new());
            let mut answers = Answers::default();
            for (at, commands) in commands.chunks(size).enumerate() {
                let commands = commands.to_vec();
                let entry = Entry { stamp: world::T0, lease_advance: DurationMs(0), commands };
                let index = LogIndex(at as u64 + 1);
                machine.apply(&mut tables, index, &entry, &mut answers).unwrap();
            }
            answers.replies.into_iter().map(|reply| world::kind(&reply)).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(1), run(size));
    }

    /// Bytes from outside are an entry or an error; an entry is applied or refused.
    #[test]
    fn hostile_bytes_never_panic(
        steps in steps(30),
        at in 0_usize..1_000,
        garbage in prop::collection::vec(any::<u8>(), 1..8),
        cut in 0_usize..400,
    ) {
        let mut world = World::default();
        steps.iter().for_each(|step| drop(world.step(step)));
        let (compare, parts) = (world.comparisons(&steps), world.parts(&steps));
        let transaction = world.transaction(compare, parts);
        world.apply(vec![transaction]);
        let (mut machine, mut tables) = (Machine::new(), MemTables::new());
        for (index, bytes) in &world.log {
            let mut bytes = bytes.to_vec();
            if index % 3 == 0 {
                let at = at % bytes.len();
                for (place, byte) in bytes.iter_mut().skip(at).zip(&garbage) {
                    *place = *byte;
                }
                bytes.truncate(cut.max(1));
            } else if index % 3 == 1 {
                let at = at % bytes.len();
                bytes[at] = bytes[at].wrapping_add(garbage[0]);
            }
            let Ok(entry) = codec::decode_entry(&bytes) else { continue };
            let mut answers = Answers::default();
            machine.apply(&mut tables, LogIndex(*index), &entry, &mut answers).unwrap();
            prop_assert_eq!(answers.replies.len(), entry.commands.len());
        }
        prop_assert_eq!(machine.meta().rows, world::digest(&tables));
    }

    /// Numbers at the ends of their ranges.
    #[test]
    fn hostile_numbers_never_panic(
        stamps in prop::collection::vec(prop_oneof![Just(u64::MAX), Just(0), any::<u64>()], 1..12),
        ages in prop::collection::vec(prop_oneof![Just(u64::MAX), 0_u64..700_000], 12),
        generations in prop::collection::vec(prop_oneof![Just(u64::MAX), 0_u64..4], 12),
        steps in steps(12),
    ) {
        let mut world = World::default();
        steps.iter().for_each(|step| drop(world.step(step)));
        let first = world.log.last().map_or(0, |(index, _)| *index);
        for (at, stamp) in stamps.iter().enumerate() {
            let mut commands = world.everything(generations[at]);
            let operations = commands.iter().map(|command| command.operation.clone());
            let parts = operations.filter_map(|it| Part::try_from(it).ok()).collect();
            let compare = world.comparisons(&steps);
            commands.push(world.transaction(compare, parts));
            for command in &mut commands {
                if let Some(request) = &mut Arc::make_mut(command).request {
                    request.age = DurationMs(ages[at]);
                }
            }
            let (stamp, lease_advance) = (UnixMs(*stamp), DurationMs(*stamp));
            let entry = Entry { stamp, lease_advance, commands };
            let entry = codec::decode_entry(&codec::encode_entry(&entry)).unwrap();
            let index = LogIndex(first + 1 + at as u64);
            let mut answers = Answers::default();
            world.machine.apply(&mut world.tables, index, &entry, &mut answers).unwrap();
            prop_assert_eq!(world.machine.meta().rows, world::digest(&world.tables));
        }
    }
}

fn names_a_fence(operation: &Operation) -> bool {
    matches!(operation, Operation::Renew(_) | Operation::Release(_) | Operation::Publish(_))
}

/// Random histories that never get anywhere would prove nothing.
#[test]
fn random_histories_reach_every_answer() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    for round in 0..460 {
        let steps = match round {
            0..300 => steps(80).new_tree(&mut runner).unwrap().current(),
            300..360 => lock_steps(120).new_tree(&mut runner).unwrap().current(),
            _ => record_steps(120).new_tree(&mut runner).unwrap().current(),
        };
        let mut world = World::default();
        steps.iter().for_each(|step| drop(world.step(step)));
        for reply in &world.said.replies {
            *seen.entry(world::kind(reply)).or_insert(0) += 1;
        }
    }
    let expected = [
        "Err Already",
        "Err AlreadyExists",
        "Err AttemptsExceeded",
        "Err BindingMismatch",
        "Err CapReached",
        "Err ClientMismatch",
        "Err Code",
        "Err Expired",
        "Err Held",
        "Err Integrity",
        "Err Invalid",
        "Err Lost",
        "Err NameReused",
        "Err NotFound",
        "Err PreconditionFailed",
        "Err RateLimited",
        "Err Replay",
        "Err Reused",
        "Err Revoked",
        "Err SessionDead",
        "Err StaleRequest",
        "Err Suspended",
        "Err VersionMismatch",
        "Ok Adopted",
        "Ok Collected",
        "Ok Consumed",
        "Ok Cut",
        "Ok FamilyCreated",
        "Ok FamilyUpdated",
        "Ok Fresh",
        "Ok Granted",
        "Ok KeyMarkedCompromised",
        "Ok NothingToRevoke",
        "Ok Published",
        "Ok Queued",
        "Ok RecordDeleted",
        "Ok RecordFound",
        "Ok RecordKindSet",
        "Ok RecordPut",
        "Ok Released",
        "Ok Renewed",
        "Ok Replayed",
        "Ok Resumed",
        "Ok Revoked",
        "Ok Rotated",
        "Ok SessionCreated",
        "Ok SessionEnded",
        "Ok SessionTouched",
        "Ok Superseded",
        "Ok Swept",
        "Ok Suspended",
        "Ok TenantCreated",
        "Ok TenantKeyRotated",
        "Ok TenantSet",
        "Ok Touched",
        "Ok Withdrawn",
    ];
    let missing: Vec<_> = expected.iter().filter(|kind| !seen.contains_key(**kind)).collect();
    assert!(seen["Ok Rotated"] > 500, "{seen:?}");
    assert!(missing.is_empty(), "never answered: {missing:?} of {seen:?}");
}

/// Ten rotations or 165,000 (a grant of that length has brought another server down): the same
/// row, and the same number of rows.
#[test]
fn a_family_does_not_grow() {
    let mut world = World::default();
    world.step(&Step::calm());
    let size = |world: &World| world.tables.rows().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    let mut rotate = |times: usize| {
        for _ in 0..times {
            world.rotate_head(0);
        }
        size(&world)
    };
    let ten = rotate(10);
    let many = rotate(164_990);
    assert_eq!(ten, many);
}

/// An entry may hold no more commands than it has places; the rest is refused, none is lost.
#[test]
fn an_entry_that_is_too_long_is_refused() {
    let command =
        |request| Arc::new(Command { tenant: None, request, operation: Operation::DigestAt });
    let commands = vec![command(None); 3_000];
    let entry = Entry { stamp: world::T0, lease_advance: DurationMs(0), commands };
    assert!(codec::decode_entry(&codec::encode_entry(&entry)).is_err());
    let mut answers = Answers::default();
    let (mut machine, mut tables) = (Machine::new(), MemTables::new());
    machine.apply(&mut tables, LogIndex(1), &entry, &mut answers).unwrap();
    assert_eq!(answers.replies.iter().filter(|reply| reply.outcome.is_ok()).count(), 1_024);
    assert_eq!(answers.replies.len(), 3_000);
}

/// The queue before a lock is as long as its limit, and one more is refused. Nobody is forgotten,
/// nobody is overtaken, and nothing is left of it in the end.
#[test]
fn ten_thousand_wait_for_a_lock_and_no_more() {
    let mut world = World::default();
    let rows = world.tables.rows().filter(|(key, _)| key[0] >= 0x4b).count();
    let max = jeton_core::limits::LOCK_WAITERS_MAX as usize;
    world.queue_up(max + 1);
    let queued = |reply: &&jeton_core::reply::Reply| world::kind(reply) == "Ok Queued";
    assert_eq!(world.said.replies.iter().filter(queued).count(), max);
    assert_eq!(world::kind(world.said.replies.last().unwrap()), "Err LimitReached");
    world.work_off(max + 1);
    let left = world.tables.rows().filter(|(key, _)| key[0] >= 0x4b).count();
    assert_eq!(left, rows, "a lock that nobody wants has no rows");
}
