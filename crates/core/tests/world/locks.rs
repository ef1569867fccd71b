//! Locks in the small world, and what must hold of them: fences only grow, a hold ends before the
//! next begins, and nobody is overtaken.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::limits;
use jeton_core::machine::Meta;
use jeton_core::reply::*;

use super::{Step, What, World, name};

const LOCKS: u8 = 2;

/// A lock of a tenant.
type Which = (TenantId, LockName);

/// What was said of a lock, and nothing else.
#[derive(Default)]
struct Known {
    /// The newest grant that was told.
    last: Fence,
    /// Who was granted it, while nothing says that it has ended.
    held: Option<(LeaseName, LeaseMs, DurationMs)>,
    /// Places that wait, and until when.
    waiting: BTreeMap<Position, LeaseMs>,
}

#[derive(Default)]
pub struct Locks {
    known: BTreeMap<Which, Known>,
    /// What waits where.
    places: BTreeMap<Position, (Which, HolderId)>,
    /// Requests that may be asked again or taken back.
    requests: Vec<(LockName, RequestId)>,
}

/// A retry of these may change something: it counts from its own entry.
pub fn goes_on(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Acquire(_)
            | Operation::Renew(_)
            | Operation::Withdraw(_)
            | Operation::ExpireLeases(_)
    )
}

impl Locks {
    fn granted(&mut self, which: &Which, holder: HolderId, reply: &Reply, now: LeaseMs) {
        let Ok(Done::Granted(granted)) = &reply.outcome else { panic!("no grant: {reply:?}") };
        let known = self.known.entry(which.clone()).or_default();
        assert!(granted.fence > known.last, "fences only grow");
        assert_eq!(granted.fence.0, reply.position.0, "a fence is the grant's position");
        if let Some((lease, until, _)) = &known.held {
            assert!(*until <= now, "{lease:?} is held until {until:?}, and it is {now:?}");
        }
        known.last = granted.fence;
        let lease = LeaseName { lock: which.1.clone(), holder, fence: granted.fence };
        known.held = Some((lease, now.plus(granted.ttl), granted.ttl));
    }

    /// From what one entry answered.
    pub fn check_entry(&mut self, entry: &Entry, said: (&[Reply], &[LeaseNotice]), meta: &Meta) {
        let now = meta.lease_clock;
        let [command] = &entry.commands[..] else { return };
        let reply = &said.0[0];
        let new = reply.position == meta.position;
        let tenant = command.tenant.clone();
        // What ends a hold is told by the reply; whom that lets in, by the notices.
        match (&command.operation, &reply.outcome) {
            (Operation::Renew(wish), Ok(Done::Renewed { lost })) => {
                for (place, lease) in (0..).zip(&wish.leases) {
                    let key = (tenant.clone().unwrap(), lease.lock.clone());
                    let held = self.known.get_mut(&key).and_then(|known| known.held.as_mut());
                    match held {
                        Some((known, until, ttl)) if known == lease && *until > now => {
                            assert!(!lost.contains(&place), "{lease:?} was held");
                            *until = now.plus(*ttl).max(*until);
                        }
                        _ => assert!(lost.contains(&place), "{lease:?} was lost"),
                    }
                }
            }
            (Operation::Release(Release { lease }), Ok(_)) if new => self.ended(&tenant, lease),
            (Operation::Publish(wish), Ok(_)) if new && wish.release => {
                self.ended(&tenant, &wish.lease);
            }
            (Operation::Withdraw(wish), Ok(_)) => {
                if let Some(known) =
                    self.known.get_mut(&(tenant.clone().unwrap(), wish.lock.clone()))
                {
                    // It may have been this one's: then it is over, and no promise is left.
                    known.held = known.held.take().filter(|_| said.1.is_empty());
                }
            }
            _ => {}
        }
        for notice in said.1 {
            if let LeaseNotice::Settled { place, reply } = notice {
                let (which, holder) = self.places.remove(place).expect("it waits");
                let waiting = &mut self.known.get_mut(&which).unwrap().waiting;
                waiting.remove(place);
                if reply.outcome.is_ok() {
                    let ahead = waiting.range(..place).find(|(_, until)| **until > now);
                    assert_eq!(ahead, None, "nobody who still waits is overtaken");
                    self.granted(&which, holder, reply, now);
                }
            }
        }
        if let (Operation::Acquire(wish), true) = (&command.operation, new) {
            let which = (tenant.unwrap(), wish.lock.clone());
            match &reply.outcome {
                // A retry in the entry that granted it repeats what the notice has told.
                Ok(Done::Granted(granted))
                    if self.known.get(&which).is_none_or(|known| known.last < granted.fence) =>
                {
                    self.granted(&which, wish.holder.clone(), reply, now);
                }
                Ok(Done::Queued { .. }) => {
                    let age = command.request.unwrap().age.0;
                    let until = now.plus(DurationMs(wish.wait.0 - age));
                    let known = self.known.entry(which.clone()).or_default();
                    known.waiting.insert(reply.position, until);
                    self.places.insert(reply.position, (which, wish.holder.clone()));
                }
                _ => {}
            }
            self.requests.push((wish.lock.clone(), command.request.unwrap().id));
        }
    }

    fn ended(&mut self, tenant: &Option<TenantId>, lease: &LeaseName) {
        let which = (tenant.clone().unwrap(), lease.lock.clone());
        let held = self.known.get_mut(&which).and_then(|known| known.held.take());
        assert_eq!(held.map(|(held, ..)| held).as_ref(), Some(lease), "only the holder ends it");
    }
}

impl World {
    pub(super) fn lock_operation(&mut self, step: &Step, what: What) -> Operation {
        let tenant = super::tenant_id(step.tenant);
        let lock = LockName::new(&format!("lock{}", step.family % LOCKS)).unwrap();
        let holder = HolderId::new(&name("holder", step.who, 0)).unwrap();
        let known = self.locks.known.get(&(tenant, lock.clone()));
        let held = known.and_then(|known| known.held.as_ref()).map(|(lease, ..)| lease.clone());
        let lease = match held {
            Some(held) if step.who & 2 == 0 => held,
            _ => LeaseName { lock: lock.clone(), holder: holder.clone(), fence: Fence(9) },
        };
        match what {
            What::Acquire => Operation::Acquire(Acquire {
                lock,
                holder,
                ttl: DurationMs(2_000 + 30_000 * u64::from(step.back)).min(limits::LEASE_TTL_MAX),
                wait: match step.who & 4 {
                    0 => DurationMs(20_000 * u64::from(step.back)).min(limits::LOCK_WAIT_MAX),
                    _ => DurationMs(0),
                },
            }),
            What::Renew => Operation::Renew(Renew { leases: vec![lease.clone(), lease] }),
            What::Release => Operation::Release(Release { lease }),
            What::Publish => Operation::Publish(Publish {
                lease,
                sealed: Bytes::from_static(b"result"),
                ttl: DurationMs(1 + 9_000 * u64::from(step.back)),
                release: step.back & 1 == 0,
            }),
            What::Withdraw => {
                let at = usize::from(step.back) % self.locks.requests.len().max(1);
                let known = self.locks.requests.get(at).cloned();
                let (lock, acquire) = known.unwrap_or((lock, RequestId([7; 16])));
                Operation::Withdraw(Withdraw { lock, acquire, asked: None })
            }
            _ => Operation::ExpireLeases(Sweep { rows_max: u32::from(step.back) }),
        }
    }

    /// One gets a lock, and the others wait for it.
    pub fn queue_up(&mut self, others: usize) {
        let step = Step { what: What::Acquire, ..Step::calm() };
        for nth in 0..=others {
            let acquire = Acquire {
                lock: LockName::new("long").unwrap(),
                holder: HolderId::new(&format!("holder {nth}")).unwrap(),
                ttl: DurationMs::from_secs(10),
                wait: DurationMs(if nth == 0 { 0 } else { 600_000 }),
            };
            let command = self.command(&step, Operation::Acquire(acquire));
            self.enter_unchecked(command);
        }
    }

    /// The lock goes from hand to hand until nobody wants it any more: in the order in which they
    /// came.
    pub fn work_off(&mut self, times: usize) {
        let step = Step { what: What::Release, ..Step::calm() };
        let lock = LockName::new("long").unwrap();
        let mut fence = self.said.replies.iter().find_map(|reply| match &reply.outcome {
            Ok(Done::Granted(granted)) => Some(granted.fence),
            _ => None,
        });
        for nth in 0..times {
            let holder = HolderId::new(&format!("holder {nth}")).unwrap();
            let lease = LeaseName { lock: lock.clone(), holder, fence: fence.unwrap() };
            self.said.notices.clear();
            let command = self.command(&step, Operation::Release(Release { lease }));
            self.enter_unchecked(command);
            assert_eq!(self.said.replies.last().unwrap().outcome, Ok(Done::Released));
            fence = self.said.notices.iter().find_map(|notice| match notice {
                LeaseNotice::Settled { reply, .. } => Some(Fence(reply.position.0)),
                LeaseNotice::Changed { .. } => None,
            });
            assert_eq!(fence.is_some(), nth + 1 < times, "the next one has it at once");
        }
    }

    /// An entry without a look at every row: for many.
    fn enter_unchecked(&mut self, command: Command) {
        let index = LogIndex(self.log.last().map_or(1, |(index, _)| index + 1));
        let commands = vec![Arc::new(command)];
        let entry = Entry { stamp: self.now, lease_advance: DurationMs(0), commands };
        self.log.push((index.0, Bytes::new()));
        self.machine.apply(&mut self.tables, index, &entry, &mut self.said).unwrap();
    }
}
