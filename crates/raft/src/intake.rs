//! Where commands wait until they are proposed or forwarded: one queue for a node.
//!
//! Revocations come first. The others take turns by origin and tenant, so that no tenant and no
//! follower can starve another. Rotations that are equal (same tenant, token, client and bindings)
//! wait for the first of them instead of entering the queue: once that is applied, the others are
//! judged by a read. What is not proposed goes back to the front; nothing is answered twice.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jeton_core::codec;
use jeton_core::command::{Binding, Command, Operation, Presented, PresentedToken};
use jeton_core::ids::{ClientId, DurationMs, TenantId};
use jeton_core::limits;
use jeton_core::reply::Reply;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::millis;
use crate::errors::ProposeError;
use crate::types::NodeId;

/// Commands that may wait; revocations may wait beyond it.
const QUEUE_COMMANDS_MAX: usize = 65_536;
/// Bytes that may wait.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Revocations are shed only beyond this many times the limits.
const URGENT_RESERVE: usize = 2;
/// A batch starts whenever fewer than this many are in flight.
pub(crate) const FLIGHTS_MIN: usize = 2;
/// Largest command: payload and attributes at their limits, with room.
const COMMAND_BYTES_MAX: usize = 256 * 1024;

/// What one that waits costs beside its bytes, about.
const WAITING_BYTES: usize = 256;

/// One shared sink per connection: an answer costs no allocation.
pub trait ReplySink: Send + Sync {
    /// The answer to what was submitted under `tag`. Called exactly once; must not block.
    fn reply(&self, tag: u64, result: Result<Reply, ProposeError>);
}

/// A command that waits for its answer.
pub(crate) struct Waiting {
    pub(crate) command: Arc<Command>,
    pub(crate) bytes: usize,
    /// Since when its age has not been brought up to date.
    pub(crate) since: Instant,
    pub(crate) deadline: Instant,
    pub(crate) tag: u64,
    pub(crate) sink: Arc<dyn ReplySink>,
    /// The node that forwarded it; `None` if it came from a client of this node.
    pub(crate) origin: Option<NodeId>,
    /// The group of equal rotations that wait for this one.
    pub(crate) group: Option<RotationKey>,
}

impl Waiting {
    pub(crate) fn new(
        command: Arc<Command>,
        deadline: Instant,
        tag: u64,
        sink: Arc<dyn ReplySink>,
        origin: Option<NodeId>,
    ) -> Self {
        let bytes = codec::command_bytes(&command) + WAITING_BYTES;
        Self { command, bytes, since: Instant::now(), deadline, tag, sink, origin, group: None }
    }

    /// Adds the time that this node has held it to the request's age.
    pub(crate) fn age(&mut self, now: Instant) {
        let held = millis(now.saturating_duration_since(self.since));
        if held == 0 || self.command.request.is_none() {
            return;
        }
        self.since += Duration::from_millis(held);
        Arc::make_mut(&mut self.command).grow_older(DurationMs(held));
    }
}

/// What makes rotations equal.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RotationKey {
    tenant: TenantId,
    token: Presented,
    client: ClientId,
    binding: Binding,
}

impl Hash for RotationKey {
    /// The digest is random, and stands for the whole token and its tenant. Who presents it can
    /// choose the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (Presented::Native(PresentedToken { digest, .. }) | Presented::Opaque(digest)) =
            self.token;
        state.write(&digest.0);
        self.client.hash(state);
        self.binding.hash(state);
    }
}

impl RotationKey {
    fn of(command: &Command) -> Option<Self> {
        match (&command.operation, &command.tenant) {
            (Operation::Rotate(rotate), Some(tenant)) => Some(Self {
                tenant: tenant.clone(),
                token: rotate.token,
                client: rotate.client.clone(),
                binding: rotate.binding.clone(),
            }),
            _ => None,
        }
    }
}

fn bytes_of(group: &[Waiting]) -> usize {
    group.iter().map(|waiting| waiting.bytes).sum()
}

/// Revocations: first in every queue, last to be shed.
pub(crate) fn is_urgent(command: &Command) -> bool {
    matches!(
        command.operation,
        Operation::RevokeFamily(_)
            | Operation::RevokeToken(_)
            | Operation::RevokeWhere(_)
            | Operation::EndSession(_)
            | Operation::Suspend(_)
            | Operation::RequireReauthentication(_)
    )
}

type LaneKey = (Option<NodeId>, Option<TenantId>);

#[derive(Default)]
struct Queue {
    urgent: VecDeque<Waiting>,
    /// Few, and looked at for every command: compared sooner than hashed.
    lanes: BTreeMap<LaneKey, VecDeque<Waiting>>,
    /// Lanes that hold something, in turn.
    ring: VecDeque<LaneKey>,
    groups: HashMap<RotationKey, Vec<Waiting>>,
    len: usize,
    bytes: usize,
    /// Those in groups, and their bytes.
    grouped: usize,
    grouped_bytes: usize,
    /// No deadline is earlier than this.
    earliest: Option<Instant>,
    closed: bool,
}

/// The queue of a node.
#[derive(Default)]
pub(crate) struct Intake {
    queue: Mutex<Queue>,
    /// Told when there is more to do.
    pub(crate) more: Notify,
    /// Batches proposed and not yet answered.
    pub(crate) in_flight: AtomicUsize,
}

impl Intake {
    /// Takes a command in, or answers it at once if it can't be.
    pub(crate) fn push(&self, mut waiting: Waiting, collapse: bool) {
        let mut wake = false;
        let refused = {
            let mut queue = self.queue.lock();
            match queue.admit(&waiting) {
                Err(error) => Some((waiting, error)),
                Ok(()) => {
                    let key = if collapse { RotationKey::of(&waiting.command) } else { None };
                    if let Some(key) = key {
                        queue.note_deadline(waiting.deadline);
                        let bytes = waiting.bytes;
                        if let Some(group) = queue.groups.get_mut(&key) {
                            group.push(waiting);
                            queue.grouped += 1;
                            queue.grouped_bytes += bytes;
                            return;
                        }
                        queue.groups.insert(key.clone(), Vec::new());
                        waiting.group = Some(key);
                    }
                    queue.put_back(waiting);
                    // Read under the lock: a batch that lands meanwhile wakes the pump itself.
                    wake = self.in_flight.load(Ordering::Acquire) < FLIGHTS_MIN || queue.is_full();
                    None
                }
            }
        };
        if let Some((waiting, error)) = refused {
            waiting.sink.reply(waiting.tag, Err(error));
        } else if wake {
            self.more.notify_one();
        }
    }

    /// What was not proposed waits again, before all others.
    pub(crate) fn give_back(&self, batch: Vec<Waiting>) {
        let mut queue = self.queue.lock();
        for waiting in batch.into_iter().rev() {
            queue.put_front(waiting);
        }
        drop(queue);
        self.more.notify_one();
    }

    /// The next batch: at most `commands_max` commands and about `bytes_max` bytes, at least one.
    pub(crate) fn take(&self, commands_max: usize, bytes_max: usize) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        let mut batch = Vec::with_capacity(queue.len.min(commands_max));
        let mut bytes = 0;
        while batch.len() < commands_max {
            let Some(next) = queue.peek_bytes() else { break };
            if !batch.is_empty() && bytes + next > bytes_max {
                break;
            }
            bytes += next;
            batch.extend(queue.pop());
        }
        batch
    }

    /// Commands that wait, and whether they fill a batch.
    pub(crate) fn waiting(&self) -> (usize, bool) {
        let queue = self.queue.lock();
        (queue.len, queue.is_full())
    }

    /// Those that waited for a rotation that now has an answer, or will never get one.
    pub(crate) fn group(&self, key: &RotationKey) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        let group = queue.groups.remove(key).unwrap_or_default();
        queue.grouped -= group.len();
        queue.grouped_bytes -= bytes_of(&group);
        group
    }

    /// Takes out everything whose deadline has passed, those in groups too.
    pub(crate) fn expired(&self, now: Instant) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        if queue.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        queue.earliest = None;
        let mut out = Vec::new();
        queue.drain_where(|waiting| waiting.deadline <= now, &mut out);
        let mut earliest = queue.earliest;
        let (mut grouped, mut grouped_bytes) = (0, 0);
        for group in queue.groups.values_mut() {
            let (late, kept): (Vec<_>, Vec<_>) =
                group.drain(..).partition(|waiting| waiting.deadline <= now);
            out.extend(late);
            grouped += kept.len();
            grouped_bytes += bytes_of(&kept);
            earliest = kept.iter().map(|waiting| waiting.deadline).chain(earliest).min();
            *group = kept;
        }
        (queue.grouped, queue.grouped_bytes) = (grouped, grouped_bytes);
        queue.earliest = earliest;
        out
    }

    /// Takes out what other nodes have forwarded here: they must hear that we don't lead.
    pub(crate) fn foreign(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        let mut out = Vec::new();
        queue.drain_where(|waiting| waiting.origin.is_some(), &mut out);
        out
    }

    /// Takes nothing any more; gives back all that waits.
    pub(crate) fn close(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        queue.closed = true;
        // Groups first: nobody is to wait for an heir any more.
        let mut out: Vec<Waiting> = queue.groups.drain().flat_map(|(_, group)| group).collect();
        (queue.grouped, queue.grouped_bytes) = (0, 0);
        queue.drain_where(|_| true, &mut out);
        out
    }
}

impl Queue {
    fn admit(&self, waiting: &Waiting) -> Result<(), ProposeError> {
        if self.closed {
            return Err(ProposeError::Shutdown);
        }
        if waiting.bytes > COMMAND_BYTES_MAX {
            let (bytes, max) = (waiting.bytes, COMMAND_BYTES_MAX);
            return Err(ProposeError::TooLarge { bytes, max });
        }
        let reserve = if is_urgent(&waiting.command) { URGENT_RESERVE } else { 1 };
        if self.len + self.grouped >= QUEUE_COMMANDS_MAX * reserve
            || self.bytes + self.grouped_bytes >= QUEUE_BYTES_MAX * reserve
        {
            return Err(ProposeError::Overloaded { retry_after: Duration::from_millis(100) });
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.len >= limits::BATCH_COMMANDS_MAX || self.bytes >= limits::BATCH_BYTES_MAX
    }

    fn note_deadline(&mut self, deadline: Instant) {
        self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
    }

    fn lane(&mut self, waiting: &Waiting) -> &mut VecDeque<Waiting> {
        let key = (waiting.origin, waiting.command.tenant.clone());
        let lane = self.lanes.entry(key).or_insert_with_key(|key| {
            self.ring.push_back(key.clone());
            VecDeque::new()
        });
        self.len += 1;
        self.bytes += waiting.bytes;
        lane
    }

    fn put_back(&mut self, waiting: Waiting) {
        self.note_deadline(waiting.deadline);
        if is_urgent(&waiting.command) {
            self.count_urgent(&waiting);
            self.urgent.push_back(waiting);
        } else {
            self.lane(&waiting).push_back(waiting);
        }
    }

    fn put_front(&mut self, waiting: Waiting) {
        self.note_deadline(waiting.deadline);
        if is_urgent(&waiting.command) {
            self.count_urgent(&waiting);
            self.urgent.push_front(waiting);
        } else {
            self.lane(&waiting).push_front(waiting);
        }
    }

    fn count_urgent(&mut self, waiting: &Waiting) {
        self.len += 1;
        self.bytes += waiting.bytes;
    }

    fn peek_bytes(&self) -> Option<usize> {
        let next = match self.urgent.front() {
            Some(next) => Some(next),
            None => self.lanes.get(self.ring.front()?)?.front(),
        };
        next.map(|waiting| waiting.bytes)
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = match self.urgent.pop_front() {
            Some(waiting) => waiting,
            None => {
                let key = self.ring.pop_front()?;
                let lane = self.lanes.get_mut(&key)?;
                let waiting = lane.pop_front()?;
                // An empty lane leaves, so that lanes of the past cost nothing.
                if lane.is_empty() {
                    self.lanes.remove(&key);
                } else {
                    self.ring.push_back(key);
                }
                waiting
            }
        };
        self.len -= 1;
        self.bytes -= waiting.bytes;
        Some(waiting)
    }

    fn drain_where(&mut self, goes: impl Fn(&Waiting) -> bool, out: &mut Vec<Waiting>) {
        let mut kept = Vec::with_capacity(self.len);
        let mut leaderless = Vec::new();
        while let Some(mut waiting) = self.pop() {
            if goes(&waiting) {
                leaderless.extend(waiting.group.take());
                out.push(waiting);
            } else {
                kept.push(waiting);
            }
        }
        for waiting in kept {
            self.put_back(waiting);
        }
        // Those who waited for one that goes must find another to wait for.
        for key in leaderless {
            let mut orphans = self.groups.remove(&key).unwrap_or_default();
            if orphans.is_empty() {
                continue;
            }
            let mut heir = orphans.remove(0);
            self.grouped -= 1;
            self.grouped_bytes -= heir.bytes;
            heir.group = Some(key.clone());
            self.groups.insert(key, orphans);
            self.put_back(heir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_core::command::{Losers, Origin, PresentedToken, RequestName, RevokeFamily, Rotate};
    use jeton_core::ids::{FamilyId, Generation, Kid, RequestId, SecretDigest};

    #[derive(Default)]
    struct Answers(Mutex<Vec<(u64, Result<Reply, ProposeError>)>>);

    impl ReplySink for Answers {
        fn reply(&self, tag: u64, result: Result<Reply, ProposeError>) {
            self.0.lock().push((tag, result));
        }
    }

    fn tenant(name: &str) -> Option<TenantId> {
        Some(TenantId::new(name).unwrap())
    }

    fn named(tenant: Option<TenantId>, operation: Operation) -> Command {
        let request = RequestName { id: RequestId([1; 16]), age: DurationMs(0) };
        Command { tenant, request: Some(request), operation }
    }

    fn rotation(of: &str, family: u8) -> Command {
        let token = PresentedToken {
            kid: Kid(0),
            family: FamilyId([family; 16]),
            generation: Generation(0),
            digest: SecretDigest([family; 16]),
        };
        let rotate = Rotate {
            token: token.into(),
            successor: SecretDigest([9; 16]),
            seal: bytes::Bytes::new(),
            losers: Losers::Replay,
            client: ClientId::new("web").unwrap(),
            binding: Binding::default(),
            origin: Origin::default(),
        };
        named(tenant(of), Operation::Rotate(Box::new(rotate)))
    }

    fn waiting(command: Command, tag: u64, after: Duration) -> Waiting {
        let sink: Arc<dyn ReplySink> = Arc::new(Answers::default());
        Waiting::new(Arc::new(command), Instant::now() + after, tag, sink, None)
    }

    const LONG: Duration = Duration::from_secs(60);

    fn tags(batch: &[Waiting]) -> Vec<u64> {
        batch.iter().map(|waiting| waiting.tag).collect()
    }

    #[tokio::test]
    async fn tenants_take_turns_and_revocations_come_first() {
        let intake = Intake::default();
        for tag in 0..4 {
            intake.push(waiting(rotation("loud", tag), u64::from(tag), LONG), true);
        }
        intake.push(waiting(rotation("quiet", 9), 9, LONG), true);
        let revoke = RevokeFamily { family: FamilyId([0; 16]), reason: None };
        let revoke = named(tenant("loud"), Operation::RevokeFamily(revoke));
        intake.push(waiting(revoke, 100, LONG), true);
        assert_eq!(tags(&intake.take(10, usize::MAX)), [100, 0, 9, 1, 2, 3]);
        assert_eq!(intake.waiting().0, 0);
    }

    #[tokio::test]
    async fn a_batch_ends_at_its_bytes_but_is_never_empty() {
        let intake = Intake::default();
        for tag in 0..3 {
            intake.push(waiting(rotation("a", tag), u64::from(tag), LONG), true);
        }
        let first = intake.take(10, 1);
        assert_eq!(first.len(), 1);
        assert_eq!(intake.take(10, 2 * first[0].bytes).len(), 2);
    }

    #[tokio::test]
    async fn equal_rotations_wait_for_the_first_of_them() {
        let intake = Intake::default();
        for tag in 0..3 {
            intake.push(waiting(rotation("a", 7), tag, LONG), true);
        }
        intake.push(waiting(rotation("a", 8), 3, LONG), true);
        let batch = intake.take(10, usize::MAX);
        assert_eq!(tags(&batch), [0, 3]);
        let key = batch[0].group.clone().unwrap();
        assert_eq!(tags(&intake.group(&key)), [1, 2]);
        assert!(intake.group(&key).is_empty(), "they are let go once");
    }

    #[tokio::test]
    async fn what_was_not_proposed_comes_first_and_in_its_order() {
        let intake = Intake::default();
        for tag in 0..4 {
            intake.push(waiting(rotation("a", tag), u64::from(tag), LONG), true);
        }
        let batch = intake.take(2, usize::MAX);
        intake.give_back(batch);
        assert_eq!(tags(&intake.take(10, usize::MAX)), [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn an_expired_rotation_leaves_an_heir_for_its_equals() {
        let intake = Intake::default();
        intake.push(waiting(rotation("a", 7), 0, Duration::ZERO), true);
        intake.push(waiting(rotation("a", 7), 1, LONG), true);
        intake.push(waiting(rotation("a", 7), 2, LONG), true);
        assert_eq!(tags(&intake.expired(Instant::now())), [0]);
        let batch = intake.take(10, usize::MAX);
        assert_eq!(tags(&batch), [1]);
        assert_eq!(tags(&intake.group(batch[0].group.as_ref().unwrap())), [2]);
    }

    #[tokio::test]
    async fn a_full_queue_sheds_all_but_revocations() {
        let intake = Intake::default();
        let answers = Arc::new(Answers::default());
        let sink: Arc<dyn ReplySink> = answers.clone();
        for tag in 0..=QUEUE_COMMANDS_MAX as u64 {
            let mut next = waiting(rotation("a", 7), tag, LONG);
            next.sink = Arc::clone(&sink);
            intake.push(next, true);
        }
        let shed = std::mem::take(&mut *answers.0.lock());
        assert_eq!(shed.len(), 1);
        assert!(matches!(shed[0].1, Err(ProposeError::Overloaded { .. })));
        let revoke = RevokeFamily { family: FamilyId([0; 16]), reason: None };
        let mut urgent = waiting(named(tenant("a"), Operation::RevokeFamily(revoke)), 1, LONG);
        urgent.sink = sink;
        intake.push(urgent, true);
        assert!(answers.0.lock().is_empty(), "the revocation waits, it is not shed");
    }

    #[tokio::test]
    async fn the_bytes_of_equal_rotations_are_limited_too() {
        let intake = Intake::default();
        let answers = Arc::new(Answers::default());
        let mut large = rotation("a", 7);
        if let Operation::Rotate(rotate) = &mut large.operation {
            rotate.seal = vec![0; limits::SEAL_BYTES_MAX].into();
        }
        let fit = QUEUE_BYTES_MAX as u64 / limits::SEAL_BYTES_MAX as u64;
        for round in 0..2 {
            for tag in 0..=fit {
                let mut next = waiting(large.clone(), tag, LONG);
                next.sink = answers.clone();
                intake.push(next, true);
            }
            assert!(!std::mem::take(&mut *answers.0.lock()).is_empty(), "{round}: none was shed");
            let first = intake.take(2, usize::MAX).remove(0);
            let equals = intake.group(first.group.as_ref().unwrap());
            assert!(equals.len() as u64 > fit / 2, "{round}: room came back");
        }
    }

    #[tokio::test]
    async fn the_time_that_it_was_held_makes_a_request_older_once() {
        let mut held = waiting(rotation("a", 1), 0, LONG);
        let taken = held.since;
        held.age(taken + Duration::from_micros(1_500));
        held.age(taken + Duration::from_micros(3_000));
        held.age(taken + Duration::from_micros(3_100));
        assert_eq!(held.command.request.unwrap().age, DurationMs(3));
    }

    #[tokio::test]
    async fn a_closed_queue_says_so() {
        let intake = Intake::default();
        intake.push(waiting(rotation("a", 1), 0, LONG), true);
        intake.push(waiting(rotation("a", 1), 1, LONG), true);
        assert_eq!(intake.close().len(), 2);
        let answers = Arc::new(Answers::default());
        let mut late = waiting(rotation("a", 1), 2, LONG);
        late.sink = answers.clone();
        intake.push(late, true);
        assert_eq!(*answers.0.lock(), [(2, Err(ProposeError::Shutdown))]);
    }
}
