//! After a run: every node is asked about every family, and for its digests.
//!
//! Each node is asked alone, for an answer that is at least as new as the newest acknowledged
//! position: what it says then must hold all that callers were told.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use jeton_client::{Check, Client, Consistency, Error, RefreshToken, Refusal, Validation};
use jeton_core::ids::Position;
use tokio::time::{Instant, sleep};

use crate::check::common_position;
use crate::cluster::Cluster;
use crate::history::{DeadBy, FamilyKey, FamilySeen, History, NodeView, RotationSeen};

/// Questions that are outstanding at one node.
const CONCURRENCY: usize = 256;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the nodes may take to report a digest at a common position: they are made every second.
const DIGESTS_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// Asks every node about everything. `newest` holds the tokens that owners take for alive.
pub async fn survey(
    cluster: &Cluster,
    history: &History,
    newest: &HashMap<FamilyKey, RefreshToken>,
) -> Result<Vec<NodeView>> {
    let position = newest_position(history);
    let mut nodes = Vec::new();
    for node in 0..cluster.len() {
        let name = cluster.name(node);
        let client = cluster.client(node)?;
        let families = ask_all(client, history, newest, position)
            .await
            .with_context(|| format!("{name} did not answer the survey"))?;
        nodes.push(NodeView { node: name.to_owned(), families, digests: BTreeMap::new() });
    }
    wait_for_digests(cluster, &mut nodes, position).await?;
    Ok(nodes)
}

/// The newest position that any caller was told.
pub fn newest_position(history: &History) -> Position {
    let creations = history.families.values().filter_map(|f| Some(f.creation.as_ref()?.position));
    let rotations = history.families.values().flat_map(|f| &f.rotations);
    let rotations = rotations.filter_map(|r| match &r.seen {
        RotationSeen::Rotated(s) | RotationSeen::Replayed(s) => Some(s.position),
        _ => None,
    });
    let revocations = history.revocations.iter().filter_map(|r| r.acknowledged);
    creations.chain(rotations).chain(revocations).max().unwrap_or_default()
}

async fn ask_all(
    client: &Client,
    history: &History,
    newest: &HashMap<FamilyKey, RefreshToken>,
    position: Position,
) -> Result<HashMap<FamilyKey, FamilySeen>> {
    let asked = history.families.keys().map(|key| async move {
        let seen = ask(client, key, newest.get(key), position).await?;
        Ok::<_, Error>((key.clone(), seen))
    });
    Ok(futures::stream::iter(asked).buffer_unordered(CONCURRENCY).try_collect().await?)
}

async fn ask(
    client: &Client,
    key: &FamilyKey,
    token: Option<&RefreshToken>,
    position: Position,
) -> Result<FamilySeen, Error> {
    let tenant = client.tenant(&key.tenant)?;
    let at_least = Consistency::AtLeast(position);
    let family = match tenant.get_family(key.family, at_least, PATIENCE).await {
        Ok(read) => read.value,
        Err(Error::Refused(Refusal::NotFound | Refusal::TenantUnknown)) => {
            return Ok(FamilySeen::Missing);
        }
        Err(error) => return Err(error),
    };
    let head = family.generation;
    let dead = family.dead.map(|why| match why {
        Refusal::Revoked(by) => DeadBy::Revoked { cause: by.cause, position: by.position },
        other => DeadBy::Other(format!("{other:?}")),
    });
    let newest_valid = match token {
        Some(token) if dead.is_none() => {
            let check = Check::new().consistency(at_least);
            let answer = tenant.validate(token, check, PATIENCE).await?;
            Some(matches!(answer, Validation::Active(_)))
        }
        _ => None,
    };
    Ok(FamilySeen::Present { head, dead, newest_valid })
}

/// Collects digests until all nodes have reported one at the same position, after everything that
/// callers saw. If they never do, the verdict says so.
async fn wait_for_digests(
    cluster: &Cluster,
    nodes: &mut [NodeView],
    after: Position,
) -> Result<()> {
    let deadline = Instant::now() + DIGESTS_WITHIN;
    while common_position(nodes).is_none() && Instant::now() < deadline {
        for (place, view) in nodes.iter_mut().enumerate() {
            let Ok(status) = cluster.status(place).await else { continue };
            let fresh = status.digests.into_iter().filter(|(position, _)| *position > after);
            view.digests.extend(fresh);
        }
        sleep(POLL).await;
    }
    Ok(())
}
