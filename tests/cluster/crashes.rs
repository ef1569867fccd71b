//! One node after the other is killed, comes back, and has everything.

use anyhow::Result;
use jeton_client::{Check, Rotation, Validation};

use crate::world::{COME_UP, PATIENCE, World, own};

#[tokio::test]
async fn a_node_that_was_down_catches_up_and_serves_the_truth() -> Result<()> {
    let mut world = World::new(&[]).await?;
    let tenant = world.tenant()?;
    let mut tokens: Vec<_> =
        world.families("carol", 50).await?.into_iter().map(|family| family.token).collect();
    for node in 0..world.cluster.len() {
        world.cluster.kill(node).await?;
        let mut newest = None;
        for token in &mut tokens {
            let Rotation::Rotated(next) = tenant.rotate(token, own(), PATIENCE).await? else {
                anyhow::bail!("a head did not rotate while node {node} was down");
            };
            *token = next.token;
            newest = newest.max(Some(next.position));
        }
        world.cluster.restart(node)?;
        world.cluster.wait_ready(COME_UP).await?;
        let returned = world.tenant_on(node)?;
        for token in &tokens {
            let answer = returned.validate(token, Check::new(), PATIENCE).await?;
            let Validation::Active(read) = answer else {
                anyhow::bail!("node {node} answers {answer:?} for a living head");
            };
            assert!(Some(read.position) >= newest, "an answer from before it was down");
        }
    }
    Ok(())
}
