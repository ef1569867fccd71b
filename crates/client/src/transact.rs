//! Several operations in one: all of them happen, or none.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use jeton_client::{Consumption, Error, NewFamily, NewRecord, Step, Tenant, When, digest};
//! # async fn run(tenant: &Tenant, code: &str) -> Result<(), Error> {
//! let consent = NewRecord::new("consent", digest("alice/web")).value("openid email");
//! let done = tenant
//!     .transact()
//!     .when(When::record_absent("consent", digest("alice/web")))
//!     .then(Step::consume(Consumption::new("code", digest(code)).precondition("client", "web")))
//!     .then(Step::create_family(NewFamily::new("alice", "web")))
//!     .then(Step::put_record(consent.create_only()))
//!     .send(Duration::from_secs(5))
//!     .await?;
//! match done.outcome {
//!     Ok(performed) => println!("{} operations at {}", performed.len(), done.position),
//!     Err(stopped) => println!("operation {} was refused: {:?}", stopped.operation, stopped.why),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Tokens are minted and sealed here, as for calls of their own. Values of records are sealed by
//! [`Tenant::seal_value`] before they are given to a [`NewRecord`], as always.

mod perform;
mod step;

use jeton_core::command::{Comparison, Transact};
use jeton_core::ids::{
    FamilyId, Fence, Generation, KeyDigest, LockName, Position, RecordKind, RequestId,
};
use jeton_core::reply::Refusal;
use jeton_wire::Violation;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::transact::{self as wire, Ran};

pub use perform::Performed;
pub use step::Step;

use crate::client::Deadline;
use crate::error::Error;
use crate::id::IntoId;
use crate::lease::Lease;
use crate::tenant::{Tenant, decoded, unless_refused};
use crate::transport::retry::Repeat;
use step::Prepared;

/// Something that must hold, or the other branch runs. See `docs/reference/transactions.md`.
#[derive(Debug, Clone)]
pub struct When(Result<Comparison, Error>);

impl When {
    /// A read shows the record, at this version.
    pub fn record_version(kind: impl IntoId<RecordKind>, key: KeyDigest, version: u64) -> Self {
        Self::record(kind, |kind| Comparison::RecordVersion { kind, key, version })
    }

    /// A read shows the record: also one that was consumed.
    pub fn record_exists(kind: impl IntoId<RecordKind>, key: KeyDigest) -> Self {
        Self::record(kind, |kind| Comparison::RecordExists { kind, key })
    }

    /// A read doesn't show the record.
    pub fn record_absent(kind: impl IntoId<RecordKind>, key: KeyDigest) -> Self {
        Self::record(kind, |kind| Comparison::RecordAbsent { kind, key })
    }

    fn record(kind: impl IntoId<RecordKind>, of: impl FnOnce(RecordKind) -> Comparison) -> Self {
        let kind = kind.into_id().map_err(|error| Error::violation("kind", error.to_string()));
        Self(kind.map(of))
    }

    /// The family is neither dead, nor suspended, nor expired.
    #[must_use]
    pub fn family_alive(family: FamilyId) -> Self {
        Self(Ok(Comparison::FamilyAlive { family }))
    }

    /// This very grant of the lock is held, as the cluster sees it when it judges.
    pub fn lock_held(lock: impl IntoId<LockName>, fence: Fence) -> Self {
        let lock = lock.into_id().map_err(|error| Error::violation("lock", error.to_string()));
        Self(lock.map(|lock| Comparison::LockHeld { lock, fence }))
    }

    /// This lease is held, as the cluster sees it when it judges: a write that comes late, whatever
    /// its sender believes, is none.
    #[must_use]
    pub fn held(lease: &Lease) -> Self {
        let name = lease.name();
        Self(Ok(Comparison::LockHeld { lock: name.lock.clone(), fence: name.fence }))
    }
}

/// A transaction to be: see [`Tenant::transact`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before it is sent"]
pub struct Transaction {
    tenant: Tenant,
    compare: Vec<When>,
    then: Vec<Step>,
    otherwise: Vec<Step>,
    request: Option<RequestId>,
}

/// What a transaction came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Transacted {
    /// Where that was decided, and where all stands that it did.
    pub position: Position,
    /// The first condition that did not hold, by its place: the steps of `otherwise` were to run.
    /// `None`: all held, and those of `then` were.
    pub unmet: Option<usize>,
    /// What its steps did, each in its place; or the one that was refused, and none took effect.
    pub outcome: Result<Vec<Performed>, Stopped>,
}

/// Why a transaction did nothing. An answer, not a fault: don't retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The step that was refused, by its place in its branch.
    pub operation: usize,
    /// Why.
    pub why: StoppedBy,
}

/// What stopped a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoppedBy {
    /// The step was refused. What the refusal does by itself was done: a family whose spent token
    /// came back is dead.
    Refused(Refusal),
    /// A sibling holds a newer token than the one that was to be rotated.
    Superseded {
        /// Generation of the newest token.
        head: Generation,
    },
}

impl Tenant {
    /// Several operations in one: all of them happen at one position, or none does. Say what must
    /// hold, and what is to be done, and [`Transaction::send`] it.
    pub fn transact(&self) -> Transaction {
        let (compare, then, otherwise) = (Vec::new(), Vec::new(), Vec::new());
        Transaction { tenant: self.clone(), compare, then, otherwise, request: None }
    }
}

impl Transaction {
    /// One more condition: at most 32. All must hold, judged in order before anything is changed.
    pub fn when(mut self, condition: When) -> Self {
        self.compare.push(condition);
        self
    }

    /// One more step if all conditions hold: at most 32.
    pub fn then(mut self, step: Step) -> Self {
        self.then.push(step);
        self
    }

    /// One more step if one of the conditions does not hold: at most 32.
    pub fn otherwise(mut self, step: Step) -> Self {
        self.otherwise.push(step);
        self
    }

    /// The name of the transaction. Default: drawn by this client, kept for its own retries. Tokens
    /// are minted anew by each call, so that a later call is another transaction under any name if
    /// it issues one.
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.request = Some(id);
        self
    }

    /// Has it judged, and done.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] names the field with its way there (`then[1].kind`).
    /// [`Error::Refused`] if the transaction as a whole was: `NotFound` (a token in it is forged),
    /// `Revoked`, `NameReused`, `LimitReached` or `TenantUnknown`. [`Error::RateLimited`] if a
    /// family rotates too fast. And whatever any call may fail with. That a step was refused is an
    /// answer: see [`Transacted`].
    pub async fn send(self, deadline: impl Into<Deadline>) -> Result<Transacted, Error> {
        let Self { tenant, compare, then, otherwise, request } = self;
        let name = tenant.name(request)?;
        let compare = compare.into_iter().enumerate();
        let compare =
            compare.map(|(at, when)| when.0.map_err(|e| inside(&format!("compare[{at}]"), e)));
        let compare = compare.collect::<Result<Vec<_>, _>>()?;
        let prepare = |branch: &str, steps: Vec<Step>| {
            let steps = steps.into_iter().enumerate().map(|(at, step)| {
                step.prepare(&tenant).map_err(|e| inside(&format!("{branch}[{at}]"), e))
            });
            steps.collect::<Result<Vec<Prepared>, _>>()
        };
        let (then, otherwise) = (prepare("then", then)?, prepare("otherwise", otherwise)?);
        let parts = |steps: &[Prepared]| steps.iter().map(|step| step.part.clone()).collect();
        let wish = Transact { compare, then: parts(&then), otherwise: parts(&otherwise) };
        if let Err(Refusal::Invalid { field, problem }) = wish.check() {
            return Err(Error::violation(&field, problem.to_string()));
        }
        let macs: Vec<_> = then.iter().chain(&otherwise).map(|step| step.mac).collect();
        let asked = wire::request(tenant.id(), name, &wish, &macs)
            .ok_or_else(|| Error::protocol("a step can't be part of a transaction"))?;
        let make = || Request::Transact(asked.clone());
        let response = tenant.client().call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, Transact, wire::transacted)?;
        let position = answered.position;
        let done = unless_refused(answered)?;
        let unmet = done.unmet.map(|at| at as usize);
        let steps = if unmet.is_none() { then } else { otherwise };
        let outcome = match done.ran {
            Ran::Through(answers) => Ok(perform::all(&tenant, steps, answers)?),
            Ran::Stopped { operation, answer } => {
                Err(Stopped { operation: operation as usize, why: perform::stopped(*answer)? })
            }
        };
        Ok(Transacted { position, unmet, outcome })
    }
}

/// An error with the way to its fields.
fn inside(path: &str, error: Error) -> Error {
    match error {
        Error::InvalidArgument { violations } => {
            let violations = violations
                .into_iter()
                .map(|it| Violation::new(&format!("{path}.{}", it.field), it.description));
            Error::InvalidArgument { violations: violations.collect() }
        }
        other => other,
    }
}
