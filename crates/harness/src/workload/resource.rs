//! A resource server: keeps a local view of what is revoked, and looks how each acknowledged
//! revocation comes to it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jeton_client::{Claims, RevocationView, Verdict, ViewOptions};
use jeton_core::ids::{Position, SubjectId};
use tokio::time::{Instant, sleep};

use super::{TENANTS, Workload};
use crate::history::Look;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// How long a view may take to hear of a revocation, while nodes are killed.
const HEARD_WITHIN: Duration = Duration::from_secs(20);
/// Somebody whom nobody revokes.
const BYSTANDER: &str = "bystander";

/// A resource server, with a view of each tenant.
pub(crate) struct Resource {
    views: Vec<RevocationView>,
}

impl Resource {
    pub(crate) fn new(workload: &Workload) -> Result<Arc<Self>> {
        let views = (0..TENANTS.len()).map(|tenant| {
            let client = &workload.clients[tenant % workload.clients.len()];
            client.tenant(&workload.tenants[tenant])?.view(ViewOptions::default())
        });
        Ok(Arc::new(Self { views: views.collect::<Result<_, _>>()? }))
    }

    /// Looks until access is denied to what the user was given before the revocation at
    /// `position`, which has just been acknowledged.
    pub(crate) async fn look(
        &self,
        workload: &Workload,
        tenant: usize,
        subject: SubjectId,
        position: Position,
    ) -> Look {
        let acknowledged = Instant::now();
        let view = &self.views[tenant];
        let before = Position(position.0.saturating_sub(1));
        let claims = |subject| Claims { subject, position: Some(before), ..Claims::default() };
        let (revoked, bystander) = (claims(Some(subject.as_str())), claims(Some(BYSTANDER)));
        let mut let_in = 0;
        let denied_after = loop {
            // Read in this order: the view only becomes newer.
            let now = Instant::now();
            let newer = view.staleness().is_some_and(|age| now - age > acknowledged);
            match view.check(&revoked) {
                Verdict::Denied(_) => break Some(acknowledged.elapsed()),
                Verdict::Active => let_in += u64::from(newer),
                Verdict::Stale(_) => {}
            }
            if acknowledged.elapsed() > HEARD_WITHIN {
                break None;
            }
            sleep(LOOK).await;
        };
        let wrongly_denied = matches!(view.check(&bystander), Verdict::Denied(_));
        let tenant = workload.tenants[tenant].clone();
        Look { tenant, subject, position, denied_after, let_in, wrongly_denied }
    }
}
