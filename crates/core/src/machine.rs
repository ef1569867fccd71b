//! The one door: entries of the log, applied in order, change everything that ever changes.
//!
//! A machine is a few counters ([`Meta`]) and a cache of decoded tenants; all else is rows. The
//! store keeps the rows and the counters of an entry together: after a crash both are those of
//! some entry, and applying the entries behind it again gives the same rows, replies and digest.

use serde::{Deserialize, Serialize};

use crate::admission;
use crate::codec::encode;
use crate::command::{Command, Entry, Operation, RequestName};
use crate::denial;
use crate::digest::bytes_digest;
use crate::expiry;
use crate::family::{create, revoke, rotate, touch, update};
use crate::feed;
use crate::ids::{LeaseMs, LogIndex, Position, TenantId, UnixMs};
use crate::lease::{acquire, expire, hold};
use crate::limits;
use crate::record;
use crate::reply::{Done, Refusal, Replies, Reply, StateDigest};
use crate::request;
use crate::revocation;
use crate::session;
use crate::suspension;
use crate::tables::{Tables, TablesError};
use crate::tenant::{self, Tenant};
use crate::transact;
use crate::turn::{TenantCache, Turn};

/// The clock stops here (year 9999): a stamp from beyond can't make sums overflow.
const CLOCK_MAX: UnixMs = UnixMs(253_402_300_799_999);

/// Everything of the state that is not a row. Small; the store keeps it with the rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Added to log indexes in positions: 0, until a restore sets it above anything ever issued.
    pub base: u64,
    /// The largest stamp so far.
    pub clock: UnixMs,
    /// Lease time: the leaders' monotonic milliseconds since the beginning.
    pub lease_clock: LeaseMs,
    /// Wrapping sum of [`crate::digest::row_digest`] over all rows.
    pub rows: u128,
    /// Position of the last command applied.
    pub position: Position,
}

impl Meta {
    /// The digest of the whole state: of all rows, and of these counters.
    #[must_use]
    pub fn digest(&self) -> StateDigest {
        StateDigest(bytes_digest(&encode(self)))
    }
}

/// The state machine, but for its rows.
#[derive(Debug, Default)]
pub struct Machine {
    meta: Meta,
    tenants: TenantCache,
}

impl Machine {
    /// An empty state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A state that was kept: `meta` as it was together with the rows.
    #[must_use]
    pub fn restore(meta: &Meta) -> Self {
        Self { meta: meta.clone(), tenants: TenantCache::new() }
    }

    /// The counters.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Applies the entry at `index`, and says what became of each of its commands.
    ///
    /// # Errors
    /// [`TablesError`] if the store below failed, or holds bytes that this machine never wrote. The
    /// entry may be applied in part then: neither it nor this machine may be used any further.
    ///
    /// # Panics
    /// If `index` is not above every index applied before: a bug of whoever calls.
    pub fn apply<T: Tables, R: Replies>(
        &mut self,
        tables: &mut T,
        index: LogIndex,
        entry: &Entry,
        replies: &mut R,
    ) -> Result<(), TablesError> {
        let first = Position::new(self.meta.base, index, 0);
        let fresh = self.meta.position == Position::default();
        assert!(fresh || first > self.meta.position, "entry {} was applied before", index.0);
        self.meta.clock = self.meta.clock.max(entry.stamp.min(CLOCK_MAX));
        self.meta.lease_clock = self.meta.lease_clock.plus(entry.lease_advance);
        self.meta.position = first;
        for (place, command) in entry.commands.iter().enumerate() {
            let reply = if place < limits::BATCH_COMMANDS_MAX {
                self.meta.position = Position::new(self.meta.base, index, place);
                self.command(tables, command, replies)?
            } else {
                // A longer entry can't be proposed or decoded, and would run out of positions.
                let max = limits::BATCH_COMMANDS_MAX;
                let refusal = Refusal::limit("BATCH_COMMANDS_MAX", max);
                let (position, at) = (self.meta.position, self.meta.clock);
                Reply { position, at, outcome: Err(refusal) }
            };
            if replies.wanted() {
                replies.reply(place, reply);
            }
        }
        Ok(())
    }

    fn command<T: Tables, R: Replies>(
        &mut self,
        tables: &mut T,
        command: &Command,
        replies: &mut R,
    ) -> Result<Reply, TablesError> {
        if let Operation::DigestAt = command.operation {
            let (position, at, digest) = (self.meta.position, self.meta.clock, self.meta.digest());
            replies.digest(position, digest);
            return Ok(Reply { position, at, outcome: Ok(Done::Digest(digest)) });
        }
        let mut turn = Turn {
            tables,
            replies,
            tenants: &mut self.tenants,
            rows: &mut self.meta.rows,
            now: self.meta.clock,
            lease_now: self.meta.lease_clock,
            position: self.meta.position,
            changes: Vec::new(),
        };
        let reply = judge(&mut turn, command)?;
        feed::record(&mut turn)?;
        Ok(reply)
    }
}

/// Whatever a command is: maintenance, or a mutation.
fn judge<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    command: &Command,
) -> Result<Reply, TablesError> {
    let outcome = match &command.operation {
        Operation::Sweep(wish) => expiry::sweep(turn, *wish)?,
        Operation::SweepRevocation(wish) => revocation::sweep::sweep(turn, wish)?,
        Operation::ExpireLeases(wish) => expire::expire(turn, *wish)?,
        Operation::Withdraw(wish) => acquire::withdraw(turn, command, wish)?,
        _ => return mutate(turn, command),
    };
    Ok(turn.reply(outcome))
}

/// A mutation: its name first, then whether it was answered before, then its rule.
fn mutate<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    command: &Command,
) -> Result<Reply, TablesError> {
    let name = match admission::request(command.request.as_ref()) {
        Ok(name) => name,
        Err(refusal) => return Ok(turn.reply(Err(refusal))),
    };
    let Some(id) = &command.tenant else {
        return Ok(turn.reply(Err(Refusal::invalid("tenant", "missing: name one"))));
    };
    let tenant = turn.tenant(id)?;
    // What was answered before a restore is not remembered: it can't be judged once more.
    let restored = tenant.as_ref().and_then(|tenant| tenant.restored.as_ref());
    if restored.is_some_and(|restored| turn.now.minus(name.age) < restored.at) {
        return Ok(turn.reply(Err(Refusal::StaleRequest)));
    }
    match (&command.operation, &tenant) {
        // These two are remembered by the family's own row.
        (Operation::Rotate(wish), Some(tenant)) => {
            return rotate::rotate(turn, id, tenant, name, wish);
        }
        (Operation::Touch(wish), Some(tenant)) => {
            let outcome = touch::touch(turn, id, tenant, name, wish)?;
            return Ok(turn.reply(outcome));
        }
        // This one is remembered, and what is remembered changes while it waits.
        (Operation::Acquire(wish), Some(_)) => {
            return acquire::acquire(turn, id, name, &command.operation, wish);
        }
        // And this one is judged anew: what a lease was is no answer to what it is.
        (Operation::Renew(wish), Some(_)) => {
            let outcome = hold::renew(turn, id, wish)?;
            return Ok(turn.reply(outcome));
        }
        (Operation::CreateTenant(_), None) | (_, Some(_)) => {}
        (_, None) => return Ok(turn.reply(Err(Refusal::TenantUnknown))),
    }
    let request = request::digest(&command.operation);
    if let Some(reply) = request::recall(turn, id, name, request)? {
        return Ok(reply);
    }
    let outcome = perform(turn, id, tenant.as_deref(), name, &command.operation)?;
    let reply = turn.reply(outcome);
    // These have changed nothing, and are judged anew: a look-up that found something, and what
    // came too fast or too early.
    let anew = matches!(
        reply.outcome,
        Ok(Done::RecordFound(_)) | Err(Refusal::RateLimited { .. } | Refusal::SweepsPending { .. })
    );
    if !anew {
        request::remember(turn, id, name, request, &command.operation, &reply)?;
    }
    Ok(reply)
}

/// The rule of an operation that is remembered by its name.
fn perform<T: Tables, R: Replies>(
    turn: &mut Turn<'_, T, R>,
    id: &TenantId,
    tenant: Option<&Tenant>,
    name: RequestName,
    operation: &Operation,
) -> Result<Result<Done, Refusal>, TablesError> {
    let tenant = match (operation, tenant) {
        (Operation::CreateTenant(wish), _) => return tenant::create(turn, id, wish),
        (_, None) => return Ok(Err(Refusal::TenantUnknown)),
        (_, Some(tenant)) => tenant,
    };
    match operation {
        Operation::SetTenant(wish) => tenant::set(turn, id, tenant, wish),
        Operation::RotateTenantKey(wish) => tenant::rotate_key(turn, id, tenant, wish),
        Operation::MarkKeyCompromised(wish) => tenant::mark_compromised(turn, id, tenant, wish),
        Operation::CreateFamily(wish) => create::create(turn, id, tenant, wish),
        Operation::UpdateFamily(wish) => update::update(turn, id, tenant, name, wish),
        Operation::RevokeFamily(wish) => revoke::revoke_family(turn, id, tenant, wish),
        Operation::RevokeToken(wish) => revoke::revoke_token(turn, id, tenant, wish),
        Operation::RevokeWhere(wish) => revocation::revoke_where(turn, id, tenant, wish),
        Operation::RequireReauthentication(wish) => {
            revocation::require_reauthentication(turn, id, tenant, wish)
        }
        Operation::RevokeAccessToken(wish) => denial::revoke_access_token(turn, id, tenant, wish),
        Operation::CreateSession(wish) => session::create::create(turn, id, tenant, wish),
        Operation::TouchSession(wish) => session::touch::touch(turn, id, tenant, wish),
        Operation::EndSession(wish) => session::end::end(turn, id, tenant, wish),
        Operation::Suspend(wish) => suspension::suspend(turn, id, tenant, wish),
        Operation::Resume(wish) => suspension::resume(turn, id, tenant, wish),
        Operation::Release(wish) => hold::release(turn, id, wish),
        Operation::Publish(wish) => hold::publish(turn, id, wish),
        Operation::SetRecordKind(wish) => record::kind::set(turn, id, wish),
        Operation::PutRecord(wish) => record::put::put(turn, id, tenant, wish),
        Operation::LookUpRecord(wish) => record::attempts::look_up(turn, id, tenant, wish),
        Operation::DeleteRecord(wish) => record::delete::delete(turn, id, tenant, wish),
        Operation::DeleteRecords(wish) => record::delete::cut(turn, id, wish),
        Operation::CollectExpired(wish) => record::collect::collect(turn, id, tenant, wish),
        Operation::Consume(wish) => record::consume::consume(turn, id, tenant, wish),
        Operation::SeenOnce(wish) => record::seen::seen_once(turn, id, tenant, wish),
        Operation::Transact(wish) => transact::transact(turn, id, tenant, name, wish),
        Operation::CreateTenant(_)
        | Operation::Rotate(_)
        | Operation::Touch(_)
        | Operation::Sweep(_)
        | Operation::SweepRevocation(_)
        | Operation::DigestAt
        | Operation::Acquire(_)
        | Operation::Renew(_)
        | Operation::Withdraw(_)
        | Operation::ExpireLeases(_) => unreachable!("answered above"),
    }
}
