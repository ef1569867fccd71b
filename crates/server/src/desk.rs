//! The life of a request between its connection and the node. Unary calls and pipelines both come
//! through here: a unary call is a pipeline of one.
//!
//! ```text
//!  message ─▶ take: decode, check, verify macs ─▶ node.submit ──▶ outbox ─▶ words ─▶ message
//!                 │                                                  ▲
//!                 ├─ reads of one message share one barrier ─────────┤
//!                 └─ unknown tenant or key: barrier, second look ────┘
//! ```
//!
//! No task per operation: a task is spawned for the reads of a message, and for the rare operation
//! that this node can't judge before it has caught up. Nothing here decides what the state machine
//! decides: a forged token is the only thing that is refused without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jeton_core::command::{Command, Operation};
use jeton_core::ids::{Mac, TenantId};
use jeton_core::reply::{Done, Refusal, Reply};
use jeton_core::tables::TablesError;
use jeton_raft::{Consistency, Node};
use jeton_wire::Failure;
use jeton_wire::decode::{self, Asked, Read, Write};
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::reply::{self, Kind};
use tokio::time::Instant;
use tracing::error;

use crate::feed::Feeds;
use crate::keys::{Keys, Verdict};
use crate::metrics::Metrics;
use crate::outbox::{Counting, Gauge, Issue, Outbox, Pending, Ready, Slot, result_of};
use crate::reads::{self, Asking};
use crate::transactions::{self, Parts};
use crate::waits::{AcquireName, Waits};
use crate::{events, failures, revocations};

/// What all connections share.
pub(crate) struct Desk {
    pub(crate) node: Node,
    pub(crate) keys: Keys,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) waits: Arc<Waits>,
    /// What is watched here.
    pub(crate) feeds: Arc<Feeds>,
    outstanding: Gauge,
    draining: AtomicBool,
}

impl Desk {
    /// `waits` is told by the node what becomes of those who wait.
    pub(crate) fn new(
        node: Node,
        metrics: Arc<Metrics>,
        waits: Arc<Waits>,
        feeds: Arc<Feeds>,
    ) -> Arc<Self> {
        Arc::new(Self {
            node,
            keys: Keys::default(),
            metrics,
            waits,
            feeds,
            outstanding: Gauge::default(),
            draining: AtomicBool::new(false),
        })
    }

    /// An outbox whose operations count as outstanding here.
    pub(crate) fn outbox(&self, held_max: usize) -> Arc<Outbox> {
        Outbox::new(held_max, self.outstanding.clone())
    }

    /// Operations that wait for an answer, of all connections.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.read()
    }

    /// From now on nothing new is taken; what is outstanding goes on, but for those who wait.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.waits.close();
    }

    /// Whether nothing new is taken any more.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Takes in the operations of one message, received at `received`.
    pub(crate) fn take(
        self: &Arc<Self>,
        operations: Vec<v1::Operation>,
        received: Instant,
        outbox: &Arc<Outbox>,
    ) {
        let mut asking = Vec::new();
        for operation in operations {
            let tag = operation.tag;
            if let Err(failure) = self.take_one(operation, received, outbox, &mut asking) {
                outbox.answer(tag, Err(failure));
            }
        }
        if !asking.is_empty() {
            let (desk, outbox) = (self.clone(), outbox.clone());
            tokio::spawn(async move { reads::answer(&desk, asking, &outbox).await });
        }
    }

    fn take_one(
        self: &Arc<Self>,
        operation: v1::Operation,
        received: Instant,
        outbox: &Arc<Outbox>,
        asking: &mut Vec<Asking>,
    ) -> Result<(), Failure> {
        if self.is_draining() {
            return Err(failures::shutting_down().leader(self.leader()));
        }
        let deadline = received + decode::deadline(operation.deadline_ms)?;
        let times = Times { received, deadline };
        match decode::operation(operation.request)? {
            Asked::Read(read) => asking.push(self.open_read(read, operation.tag, deadline, outbox)),
            Asked::Write(write) => self.write(write, operation.tag, times, outbox)?,
        }
        Ok(())
    }

    fn open_read(&self, read: Read, tag: u64, deadline: Instant, outbox: &Outbox) -> Asking {
        let kind = match &read.query {
            decode::Query::Validate { .. } => Kind::Validate,
            decode::Query::Family(_) | decode::Query::FamilyOf { .. } => Kind::GetFamily,
            decode::Query::Families(_) => Kind::ListFamilies,
            decode::Query::FamilyCount(_) => Kind::CountFamilies,
            decode::Query::Access(_) => Kind::CheckAccess,
            decode::Query::Session(query) => Kind::Session(query.kind()),
            decode::Query::Flight(_) => Kind::Await,
            decode::Query::Lock(_) => Kind::GetLock,
            decode::Query::Matching(_) => Kind::RevokeWhere,
            decode::Query::Revocation(_) => Kind::GetRevocation,
            decode::Query::Record(_) => Kind::GetRecord,
            decode::Query::Records(_) => Kind::FindRecords,
        };
        let slot = outbox.open(Pending::of(tag, kind, deadline));
        Asking { read, kind, slot, deadline }
    }

    /// Judges the token, if there is one, and hands the command to the node.
    fn write(
        self: &Arc<Self>,
        write: Write,
        tag: u64,
        times: Times,
        outbox: &Arc<Outbox>,
    ) -> Result<(), Failure> {
        let deadline = times.deadline;
        let (Some(kind), Some(tenant)) =
            (Kind::of(&write.command.operation), write.command.tenant.clone())
        else {
            return Err(reply::bug("clients can't ask for this"));
        };
        match self.judge(&write, &tenant).map_err(|error| unreadable(&error))? {
            Verdict::Genuine => {
                let issue = issue(&write.command.operation, &tenant);
                let parts = Parts::of(&write.command.operation, &tenant);
                let acquire = self.acquire(&write.command);
                let counting = counting(&write.command, &tenant, times.received);
                let pending = Pending::of(tag, kind, deadline);
                let slot = outbox.open(Pending { issue, acquire, parts, counting, ..pending });
                self.submit(write, slot, times, outbox);
            }
            Verdict::Forged => {
                let response = self.refuse(kind, Refusal::NotFound);
                outbox.answer(tag, response);
            }
            Verdict::Unknown => {
                let issue = issue(&write.command.operation, &tenant);
                let parts = Parts::of(&write.command.operation, &tenant);
                let counting = counting(&write.command, &tenant, times.received);
                let pending = Pending::of(tag, kind, deadline);
                let slot = outbox.open(Pending { issue, parts, counting, ..pending });
                let (desk, outbox) = (self.clone(), outbox.clone());
                tokio::spawn(async move {
                    desk.second_look(write, &tenant, kind, slot, times, &outbox).await;
                });
            }
        }
        Ok(())
    }

    /// Whether the tokens that a mutation presents may be known to the cluster: a transaction with
    /// a forged one is refused as a whole.
    fn judge(&self, write: &Write, tenant: &TenantId) -> Result<Verdict, TablesError> {
        let mut worst = Verdict::Genuine;
        for (token, mac) in write.presented() {
            match self.keys.verify(&self.node, tenant, token, mac)? {
                Verdict::Forged => return Ok(Verdict::Forged),
                Verdict::Unknown => worst = Verdict::Unknown,
                Verdict::Genuine => {}
            }
        }
        Ok(worst)
    }

    /// What a command is known by among those who wait, if it may have to.
    fn acquire(&self, command: &Command) -> Option<AcquireName> {
        let Operation::Acquire(wish) = &command.operation else { return None };
        let (tenant, lock) = (command.tenant.clone()?, wish.lock.clone());
        let request = command.request.as_ref()?.id;
        Some(AcquireName { tenant, lock, request, waits: Arc::clone(&self.waits) })
    }

    fn submit(&self, write: Write, slot: Slot, times: Times, outbox: &Arc<Outbox>) {
        let Times { received, deadline } = times;
        self.node.submit(write.command, received, deadline, Outbox::tag(slot), outbox.clone());
    }

    /// Judges a token whose tenant or key this node did not know, after it has caught up. However
    /// long that takes, the token was presented when its message came in.
    async fn second_look(
        &self,
        write: Write,
        tenant: &TenantId,
        kind: Kind,
        slot: Slot,
        times: Times,
        outbox: &Arc<Outbox>,
    ) {
        let barrier = self.node.read_point(Consistency::Linearizable, times.deadline);
        if let Err(error) = barrier.await {
            outbox.complete(slot, Err(failures::of_read(&error, self.leader())));
            return;
        }
        let refusal = match self.judge(&write, tenant) {
            Ok(Verdict::Genuine) => return self.submit(write, slot, times, outbox),
            Ok(Verdict::Forged) => Ok(Refusal::NotFound),
            Ok(Verdict::Unknown) => self.unknown_tenant_or_key(tenant),
            Err(error) => Err(unreadable(&error)),
        };
        outbox.complete(slot, refusal.and_then(|refusal| self.refuse(kind, refusal)));
    }

    /// Which of the two it is. Call it behind a barrier.
    pub(crate) fn unknown_tenant_or_key(&self, tenant: &TenantId) -> Result<Refusal, Failure> {
        match self.keys.knows(&self.node, tenant) {
            Ok(true) => Ok(Refusal::NotFound),
            Ok(false) => Ok(Refusal::TenantUnknown),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// A refusal that entered no log: its position is what this node has applied. Whoever revokes
    /// a token that is none has what was asked for (RFC 7009 §2.2).
    fn refuse(&self, kind: Kind, refusal: Refusal) -> Result<Response, Failure> {
        let seen = self.node.view(|_, meta| Ok((meta.position, meta.clock)));
        let (position, at) = seen.map_err(|error| unreadable(&error))?;
        let outcome = match (kind, refusal) {
            (Kind::RevokeToken, Refusal::NotFound) => Ok(Done::NothingToRevoke),
            (_, refusal) => Err(refusal),
        };
        reply::mutation(kind, Reply { position, at, outcome }, None)
    }

    /// Results of what is ready, in words.
    pub(crate) fn results(
        self: &Arc<Self>,
        ready: Ready,
        outbox: &Arc<Outbox>,
    ) -> Vec<v1::OperationResult> {
        let mut results = ready.done;
        results.reserve(ready.replies.len() + ready.overdue.len());
        // When a leader is lost, everything outstanding fails at once: it is looked up once then.
        let mut leader = None;
        for (pending, replied) in ready.replies {
            let tag = pending.tag;
            let worded = match replied {
                Ok(reply) => self.word(pending, reply, outbox),
                Err(error) => {
                    let leader = leader.get_or_insert_with(|| self.leader());
                    Some(Err(failures::of_proposal(&error, leader.clone())))
                }
            };
            results.extend(worded.map(|result| result_of(tag, result)));
        }
        for pending in ready.overdue {
            results.push(result_of(pending.tag, Err(failures::overdue())));
        }
        self.metrics.operations.count(&results);
        results
    }

    /// A reply of the node in words. `None`: it waits for this node to catch up, and will come
    /// through the outbox again.
    fn word(
        self: &Arc<Self>,
        pending: Pending,
        reply: Reply,
        outbox: &Arc<Outbox>,
    ) -> Option<Result<Response, Failure>> {
        if let Some(issue) = &pending.issue {
            events::answered(&issue.tenant, &reply);
        }
        if let Some(parts) = &pending.parts {
            parts.answered(&reply);
        }
        if let (Some(_), Ok(Done::RevokedWhere(_))) = (&pending.counting, &reply.outcome) {
            revocations::count_later(self, &pending, reply, outbox);
            return None;
        }
        if let (Some(counting), Err(Refusal::SweepsPending { retry_after })) =
            (&pending.counting, &reply.outcome)
            && revocations::come_again(self, &pending, counting, *retry_after, outbox)
        {
            return None;
        }
        match self.try_word(&pending, reply) {
            Ok(Worded::Done(response)) => Some(Ok(response)),
            Ok(Worded::KeyUnknown(reply)) => {
                let slot = outbox.open(pending.clone());
                let (desk, outbox) = (self.clone(), outbox.clone());
                tokio::spawn(async move {
                    let result = desk.word_later(&pending, reply).await;
                    outbox.complete(slot, result);
                });
                None
            }
            Err(failure) => Some(Err(failure)),
        }
    }

    /// The node that answered knew a key which this one has yet to apply.
    async fn word_later(&self, pending: &Pending, reply: Reply) -> Result<Response, Failure> {
        let seen = Consistency::AtLeast(reply.position);
        if self.node.read_point(seen, pending.deadline).await.is_err() {
            return Err(failures::overdue());
        }
        match self.try_word(pending, reply)? {
            Worded::Done(response) => Ok(response),
            Worded::KeyUnknown(_) => {
                Err(reply::bug("a token was issued under a key that does not exist"))
            }
        }
    }

    fn try_word(&self, pending: &Pending, reply: Reply) -> Result<Worded, Failure> {
        if let Some(parts) = &pending.parts {
            return transactions::word(self, parts, reply);
        }
        let mac = match self.mac_for(pending.issue.as_ref(), &reply)? {
            Issued::Nothing => None,
            Issued::Mac(mac) => Some(mac),
            Issued::KeyUnknown => return Ok(Worded::KeyUnknown(reply)),
        };
        reply::mutation(pending.kind, reply, mac.as_ref()).map(Worded::Done)
    }

    /// The mac of the token that a reply issues, if it issues one.
    pub(crate) fn mac_for(&self, issue: Option<&Issue>, reply: &Reply) -> Result<Issued, Failure> {
        let Some(issue) = issue else { return Ok(Issued::Nothing) };
        let (issue, token) = match &reply.outcome {
            Ok(Done::FamilyCreated(it)) => (issue.clone(), &it.first),
            Ok(Done::Rotated(it)) => (issue.clone(), it),
            Ok(Done::Replayed(it)) => {
                (Issue { digest: it.successor, ..issue.clone() }, &it.rotated)
            }
            _ => return Ok(Issued::Nothing),
        };
        let Some(kid) = token.kid else { return Ok(Issued::Nothing) };
        let mac = self.keys.mac(&self.node, &issue, kid, token);
        match mac.map_err(|error| failures::unshown(&unreadable(&error)))? {
            Some(mac) => Ok(Issued::Mac(mac)),
            None => Ok(Issued::KeyUnknown),
        }
    }

    /// The leader's client address, if this node knows it and does not lead itself.
    pub(crate) fn leader(&self) -> Option<String> {
        let status = self.node.status();
        let leader = status.leader.filter(|leader| *leader != status.node)?;
        let member = status.members.into_iter().find(|member| member.id == leader)?;
        Some(member.member.client_addr)
    }
}

/// When an operation came in, and when it must be answered.
#[derive(Clone, Copy)]
struct Times {
    received: Instant,
    deadline: Instant,
}

/// What a reply issues.
pub(crate) enum Issued {
    /// No native token.
    Nothing,
    /// One with this mac.
    Mac(Mac),
    /// One whose key this node doesn't know yet.
    KeyUnknown,
}

/// A reply in words, or as it is if a key is missing here.
#[expect(clippy::large_enum_variant, reason = "a box would cost every answer an allocation")]
pub(crate) enum Worded {
    Done(Response),
    KeyUnknown(Reply),
}

/// What is to be counted once a revocation is in force.
fn counting(command: &Command, tenant: &TenantId, received: Instant) -> Option<Arc<Counting>> {
    let Operation::RevokeWhere(revoke) = &command.operation else { return None };
    let (tenant, matching) = (tenant.clone(), revoke.matching.clone());
    Some(Arc::new(Counting { tenant, matching, command: command.clone(), received }))
}

/// What the mac of the token that an operation issues is made over.
fn issue(operation: &Operation, tenant: &TenantId) -> Option<Issue> {
    let digest = match operation {
        Operation::CreateFamily(create) => create.digest,
        Operation::Rotate(rotate) => rotate.successor,
        _ => return None,
    };
    Some(Issue { tenant: tenant.clone(), digest })
}

/// The state could not be read: told to the operator here, once, and to the caller in general.
pub(crate) fn unreadable(error: &TablesError) -> Failure {
    error!(%error, "the state could not be read");
    failures::storage()
}
