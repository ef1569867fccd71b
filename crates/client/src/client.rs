//! The client: one for a whole process, cheap to clone.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::ids::{RequestId, TenantId};
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use tokio::time::Instant;

use crate::admin::Admin;
use crate::config::Config;
use crate::error::Error;
use crate::id::IntoId;
use crate::keeper::Keeper;
use crate::tenant::Tenant;
use crate::transport::call::{Attempt, CallError};
use crate::transport::node::Node;
use crate::transport::retry::{Judged, Next, Repeat, Retry};
use crate::transport::router::{Router, Toward};

/// When a call has to be over. Every call has one: give a `Duration` from now, or an
/// [`Instant`] that several calls share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The longest time that a call may take; beyond it, its name is no longer remembered.
    pub const MAX: Duration = Duration::from_secs(10 * 60);

    /// So long from now, at most [`Deadline::MAX`].
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration.min(Self::MAX))
    }

    /// The instant that it stands for.
    #[must_use]
    pub fn at(self) -> Instant {
        self.0
    }
}

impl From<Duration> for Deadline {
    fn from(duration: Duration) -> Self {
        Self::after(duration)
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self(instant.min(Instant::now() + Self::MAX))
    }
}

/// A client of one cluster. Clones share its connections; the last one to go closes them.
///
/// Everything that is outstanding at the same time travels together on one stream, so use one
/// client for the whole process, and call it from as many tasks as you like.
#[derive(Clone)]
pub struct Client {
    router: Arc<Router>,
    keeper: Arc<Keeper>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", self.router.config()).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to any of the configured endpoints. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the configuration is wrong, [`Error::Unavailable`] if no
    /// endpoint answers in time.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let config = config.checked()?;
        match Router::connect(config).await {
            Ok(router) => Ok(Self { router, keeper: Arc::default() }),
            Err(why) => Err(Error::Unavailable { why }),
        }
    }

    /// The operations of one tenant. Asks nobody whether it exists.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if that can't be a tenant's name.
    pub fn tenant(&self, tenant: impl IntoId<TenantId>) -> Result<Tenant, Error> {
        let tenant =
            tenant.into_id().map_err(|error| Error::violation("tenant", error.to_string()))?;
        Ok(Tenant::new(self.clone(), tenant))
    }

    /// What operators do: the cluster, its members, its tenants.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// How it was set up.
    pub(crate) fn config(&self) -> &Config {
        self.router.config()
    }

    /// Fills `bytes` with randomness.
    pub(crate) fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        Ok(self.router.config().entropy.fill(bytes)?)
    }

    /// A new name for a mutation.
    pub(crate) fn new_request_id(&self) -> Result<RequestId, Error> {
        let mut id = [0; 16];
        self.fill(&mut id)?;
        Ok(RequestId(id))
    }

    /// One operation of the pipeline, repeated as far as that is safe. `make` builds the same
    /// request each time.
    pub(crate) async fn call(
        &self,
        repeat: Repeat,
        deadline: Deadline,
        make: impl Fn() -> Request,
    ) -> Result<Response, Error> {
        self.call_paced(repeat, self.attempt_timeout(), deadline, make).await
    }

    /// The same, where the first attempt may take `pace`.
    pub(crate) async fn call_paced(
        &self,
        repeat: Repeat,
        pace: Duration,
        deadline: Deadline,
        make: impl Fn() -> Request,
    ) -> Result<Response, Error> {
        let attempt = |node: Arc<Node>, attempt: Attempt| {
            let request = make();
            async move { node.call(request, attempt).await }
        };
        let retry = Retry::new(self.router.config(), repeat, deadline.0).paced(pace);
        self.repeat_as(Toward::Any, retry, deadline, attempt).await
    }

    /// How long the first attempt at an operation may take.
    pub(crate) fn attempt_timeout(&self) -> Duration {
        self.router.config().attempt_timeout
    }

    /// Who keeps this client's leases.
    pub(crate) fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// Repeats `attempt` on one node after the other, as far as that is safe, until it is answered
    /// or the deadline passes. `toward` says where the first attempt goes.
    pub(crate) async fn repeat<T, F, A>(
        &self,
        toward: Toward,
        repeat: Repeat,
        deadline: Deadline,
        attempt: F,
    ) -> Result<T, Error>
    where
        F: Fn(Arc<Node>, Attempt) -> A,
        A: Future<Output = Result<T, CallError>>,
    {
        let retry = Retry::new(self.router.config(), repeat, deadline.0);
        self.repeat_as(toward, retry, deadline, attempt).await
    }

    async fn repeat_as<T, F, A>(
        &self,
        toward: Toward,
        mut retry: Retry<'_>,
        deadline: Deadline,
        attempt: F,
    ) -> Result<T, Error>
    where
        F: Fn(Arc<Node>, Attempt) -> A,
        A: Future<Output = Result<T, CallError>>,
    {
        let first = Instant::now();
        let mut now = first;
        let mut place = self.router.first(toward);
        loop {
            let times = Attempt { first, deadline: retry.begin(now) };
            let reached = match place.take() {
                Some(leader) => self.router.node_at(&leader, times.deadline).await,
                None => self.router.node(times.deadline).await,
            };
            let (node, result) = match reached {
                Ok(node) => {
                    let result = attempt(Arc::clone(&node), times).await;
                    (Some(node), result)
                }
                Err(why) => (None, Err(CallError::NotSent(why.into()))),
            };
            let error = match result {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tracing::debug!(?error, "an attempt gave no answer");
            let judged = retry.judge(error, Instant::now());
            let (leader, pause) = self.turn(&mut retry, judged, node.as_ref(), deadline).await?;
            place = leader;
            tokio::time::sleep(pause).await;
            now = Instant::now();
        }
    }

    /// Leaves the node that failed, if need be. Says where the leader is that the failure named, if
    /// the next attempt is to go there, and what to wait for first.
    async fn turn(
        &self,
        retry: &mut Retry<'_>,
        judged: Judged,
        node: Option<&Arc<Node>>,
        deadline: Deadline,
    ) -> Result<(Option<Arc<str>>, Duration), Error> {
        if let (Some(hop), Some(node)) = (judged.hop, node)
            && let Some(leader) = self.router.follow(&hop.address, node, deadline.0).await
        {
            retry.followed();
            if hop.leave {
                self.router.leave(node);
            }
            return Ok((Some(leader), hop.pause));
        }
        match judged.next {
            Next::Stop(error) => Err(error),
            Next::Again { pause, elsewhere } => {
                if let Some(node) = node.filter(|_| elsewhere) {
                    self.router.leave(node);
                }
                Ok((None, pause))
            }
        }
    }
}
