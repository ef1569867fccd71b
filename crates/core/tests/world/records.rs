//! Records in the small world, and what must hold of them: each life is consumed at most once, and
//! its tombstone is never written over; versions count changes; what was deleted or cut stays gone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::read;
use jeton_core::reply::*;
use proptest::prelude::*;

use super::{Step, What, World, name, tenant_id};

const KEYS: u8 = 3;
const CONSUME: u8 = 6;
pub(super) const PUT: u8 = 7;

/// What was said of a record, and nothing else.
#[derive(Default)]
struct Known {
    /// The version that was told last, in this life.
    version: u64,
    /// Values that were handed out.
    taken: BTreeSet<Bytes>,
}

#[derive(Default)]
pub struct Records {
    known: BTreeMap<(TenantId, RecordKind, KeyDigest), Known>,
    /// Proofs that were fresh, until their end.
    fresh: BTreeMap<(TenantId, KeyDigest), UnixMs>,
}

pub(super) fn what() -> impl Strategy<Value = What> {
    prop_oneof![4 => Just(PUT), 3 => Just(CONSUME), 6 => 0..CONSUME].prop_map(What::Record)
}

/// What was found is looked for anew: it may be gone by then.
pub(super) fn goes_on(operation: &Operation) -> bool {
    matches!(operation, Operation::LookUpRecord(_))
}

fn kind(step: &Step) -> RecordKind {
    RecordKind::new(&name("kind", step.who, 3)).unwrap()
}

fn key(step: &Step) -> KeyDigest {
    KeyDigest([step.family.wrapping_add(step.back) % KEYS; 16])
}

fn index(step: &Step) -> KeyDigest {
    KeyDigest([0x10 + (step.who >> 4) % 2; 16])
}

fn preconditions(step: &Step) -> Vec<Precondition> {
    let digest = KeyDigest([(step.who >> 1) % 2; 16]);
    vec![Precondition { name: "client".into(), digest }]
}

pub(super) fn consume(step: &Step, family: Option<FamilyId>) -> Consume {
    Consume {
        kind: kind(step),
        key: key(step),
        preconditions: preconditions(step),
        guesser: Some(KeyDigest([step.back; 16])),
        family,
        revoke_on_replay: step.back & 2 != 0,
    }
}

impl World {
    pub(super) fn record_operation(&mut self, step: &Step, which: u8) -> Operation {
        let (kind, key) = (kind(step), key(step));
        let subject = SubjectId::new(&name("subject", step.who, 1)).unwrap();
        match which {
            0 => Operation::SetRecordKind(SetRecordKind {
                kind,
                settings: RecordKindSettings {
                    on_expiry: if step.back & 1 == 0 { OnExpiry::Hide } else { OnExpiry::Keep },
                    attempts: (step.back & 4 != 0).then_some(AttemptLimits {
                        misses_per_guesser: 1,
                        misses_per_tenant: 3,
                        window: DurationMs(60_000),
                    }),
                },
            }),
            1 => Operation::DeleteRecord(DeleteRecord {
                kind,
                key,
                version: (step.who & 1 != 0).then_some(1),
            }),
            2 => Operation::DeleteRecords(DeleteRecords { kind, index: index(step) }),
            3 => Operation::CollectExpired(CollectExpired {
                kind,
                before: UnixMs(u64::MAX),
                rows_max: 1_000,
            }),
            4 => Operation::LookUpRecord(LookUpRecord {
                kind,
                by: match step.who & 1 {
                    0 => RecordName::Key(key),
                    _ => RecordName::Index(index(step)),
                },
                guesser: KeyDigest([step.back; 16]),
            }),
            5 => Operation::SeenOnce(SeenOnce {
                kind,
                issuer: IssuerId::new("issuer").unwrap(),
                key,
                expires_at: self.now.plus(DurationMs(u64::from(step.back) * 20_000)),
            }),
            CONSUME => Operation::Consume(Box::new(consume(step, Some(self.family_id(step))))),
            _ => Operation::PutRecord(Box::new(PutRecord {
                kind,
                key,
                when: match step.back % 5 {
                    0 => PutWhen::Always,
                    1 | 2 => PutWhen::Absent,
                    version => PutWhen::Version(u64::from(version) - 2),
                },
                // No two of them are alike, so that it shows who got which.
                value: Bytes::from(self.requests.to_be_bytes().to_vec()),
                lifetime: Some(DurationMs(1 + 30_000 * u64::from(step.back))),
                index: (step.who & 64 != 0).then(|| index(step)).into_iter().collect(),
                roots: RecordRoots {
                    subject: (step.who & 4 == 0).then_some(subject),
                    ..RecordRoots::default()
                },
                family: None,
                preconditions: preconditions(step),
                authenticated_at: None,
            })),
        }
    }

    /// From what was said, and nothing else.
    pub(super) fn check_record(&mut self, command: &Command, reply: &Reply) {
        let new = reply.position == self.machine.meta().position;
        let tenant = command.tenant.clone().unwrap();
        match (&command.operation, &reply.outcome) {
            (Operation::PutRecord(wish), Ok(Done::RecordPut { version })) if new => {
                let key = (tenant, wish.kind.clone(), wish.key);
                let known = self.records.known.entry(key).or_default();
                assert!(*version == 1 || *version == known.version + 1, "versions count changes");
                assert!(*version == 1 || wish.when != PutWhen::Absent, "nothing is put over");
                known.version = *version;
            }
            (Operation::Consume(wish), Ok(Done::Consumed(consumed))) => {
                let key = (tenant, wish.kind.clone(), wish.key);
                let known = self.records.known.entry(key).or_default();
                let first = known.taken.insert(consumed.value.clone());
                assert_eq!(first, new, "a value is handed out once, and to its winner again");
            }
            (Operation::SeenOnce(wish), Ok(Done::Fresh)) if new => {
                let mut named = wish.key;
                named.0[0] = wish.kind.as_str().as_bytes()[4];
                let until = self.records.fresh.insert((tenant, named), wish.expires_at);
                assert!(until.is_none_or(|until| until <= reply.at), "fresh twice");
            }
            (Operation::DeleteRecord(wish), Ok(Done::RecordDeleted { .. })) if new => {
                let (kind, key) = (&wish.kind, &wish.key);
                let read = read::record(&self.tables, self.now, &tenant, kind, key).unwrap();
                assert!(read.is_err(), "what was deleted is gone");
            }
            (Operation::DeleteRecords(wish), Ok(Done::Cut)) if new => {
                let (kind, index) = (&wish.kind, &wish.index);
                let (tables, now) = (&self.tables, self.now);
                let page = read::records(tables, now, &tenant, kind, index, None, 10).unwrap();
                assert!(
                    page.is_ok_and(|page| page.records.is_empty()) || self.counts(&tenant, kind)
                );
            }
            _ => {}
        }
    }

    fn counts(&self, tenant: &TenantId, kind: &RecordKind) -> bool {
        let settings = read::record_kind(&self.tables, tenant, kind).unwrap();
        settings.is_ok_and(|settings| settings.attempts.is_some())
    }

    /// All records that reads show, by key and by index key.
    pub fn records(&self) -> Vec<Result<RecordView, Refusal>> {
        let (tables, now) = (&self.tables, self.now);
        let mut shown = Vec::new();
        for (tenant, who) in [(0, 0), (0, 8), (1, 0)] {
            let tenant = tenant_id(tenant);
            let kind = kind(&Step { who, ..Step::calm() });
            for byte in 0..KEYS {
                let key = KeyDigest([byte; 16]);
                shown.push(read::record(tables, now, &tenant, &kind, &key).unwrap());
            }
            for byte in [0x10, 0x11] {
                let index = KeyDigest([byte; 16]);
                let page = read::records(tables, now, &tenant, &kind, &index, None, 10).unwrap();
                match page {
                    Ok(page) => shown.extend(page.records.into_iter().map(Ok)),
                    Err(refusal) => shown.push(Err(refusal)),
                }
            }
        }
        shown
    }
}
