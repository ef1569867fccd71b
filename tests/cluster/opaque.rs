//! Opaque tokens: a thousand callers, three nodes, one chain.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use futures::future::join_all;
use jeton_client::{
    Check, Consistency, Generation, NewFamily, OpaqueRotation, OpaqueToken, RotateContext, Tenant,
    Validation,
};
use jeton_core::limits::ALIASES_MAX;
use jeton_core::reply::Refusal;

use crate::world::{CLIENT, PATIENCE, World, own};

const CALLERS: usize = 1_000;
static MINTED: AtomicUsize = AtomicUsize::new(0);

/// As an authorization server would, but for the randomness.
fn mint() -> OpaqueToken {
    let number = MINTED.fetch_add(1, Ordering::SeqCst);
    OpaqueToken::new(&format!("opaque-token-of-this-test-{number}")).expect("long enough")
}

/// Each caller presents its token, with a successor of its own, through the next node.
async fn present(
    tenants: &[Tenant],
    tokens: &[OpaqueToken],
    context: fn() -> RotateContext,
) -> Result<Vec<OpaqueRotation>> {
    let calls = tokens.iter().enumerate().map(|(n, token)| {
        let (tenant, token) = (tenants[n % tenants.len()].clone(), token.clone());
        let successor = mint();
        tokio::spawn(
            async move { tenant.rotate_opaque(&token, &successor, context(), PATIENCE).await },
        )
    });
    let mut answers = Vec::new();
    for answer in join_all(calls).await {
        answers.push(answer??);
    }
    Ok(answers)
}

#[derive(Default)]
struct Told {
    rotated: usize,
    adopted: usize,
    replayed: BTreeSet<String>,
    superseded: usize,
    /// What each caller holds now.
    held: Vec<OpaqueToken>,
}

fn told(answers: Vec<OpaqueRotation>, generation: u64) -> Result<Told> {
    let mut told = Told::default();
    for answer in answers {
        let issued = match answer {
            OpaqueRotation::Rotated(issued) => {
                told.rotated += 1;
                issued
            }
            OpaqueRotation::Adopted(issued) => {
                told.adopted += 1;
                issued
            }
            OpaqueRotation::Replayed(issued) => {
                told.replayed.insert(issued.token.expose().to_owned());
                issued
            }
            OpaqueRotation::Superseded { head, .. } => {
                assert_eq!(head, Generation(generation));
                told.superseded += 1;
                continue;
            }
            OpaqueRotation::Refused(refusal) => bail!("a sibling was refused: {refusal:?}"),
        };
        assert_eq!(issued.generation, Generation(generation), "one path, not a tree");
        told.held.push(issued.token);
    }
    Ok(told)
}

#[tokio::test]
async fn a_thousand_losers_are_adopted_or_answered_and_the_chain_is_a_path() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    let first = mint();
    let new = NewFamily::new("alice", CLIENT);
    let family = tenants[0].create_opaque_family(new, &first, PATIENCE).await?.family;

    let tokens = vec![first.clone(); CALLERS];
    let one = told(present(&tenants, &tokens, || own().adopt()).await?, 1)?;
    assert_eq!(one.rotated, 1, "exactly one rotation");
    assert_eq!(one.adopted, usize::from(ALIASES_MAX), "as many are adopted as may be");
    assert_eq!(one.replayed.len(), 1, "everyone else holds the winner's");
    assert_eq!(one.held.len(), CALLERS, "everyone has a token");
    // Everyone's works, on every node.
    let checks = one.held.iter().enumerate().map(|(n, token)| {
        let tenant = &tenants[(n + 1) % 3];
        tenant.validate(token, Check::new().client(CLIENT), PATIENCE)
    });
    for check in join_all(checks).await {
        assert!(matches!(check?, Validation::Active(_)));
    }
    let spent = tenants[1].validate(&first, Check::new(), PATIENCE).await?;
    assert!(matches!(spent, Validation::Refused(Refusal::Spent { head: Generation(1) })));

    // Everyone goes on with what it holds: one of them rotates for all.
    let two = told(present(&tenants, &one.held, || own().adopt()).await?, 2)?;
    assert_eq!(two.rotated, 1, "exactly one rotation");
    assert_eq!(two.adopted, usize::from(ALIASES_MAX));
    assert!(two.replayed.len() <= 1, "nobody holds what nobody sealed for it");
    let view = tenants[2].get_family_of(&first, Consistency::Linearizable, PATIENCE).await?.value;
    assert_eq!((view.family, view.generation), (family, Generation(2)));
    assert!(view.opaque && view.dead.is_none(), "nobody was taken for a thief");
    Ok(())
}

#[tokio::test]
async fn a_stampede_of_opaque_tokens_has_one_successor_and_theft_is_found() -> Result<()> {
    let world = World::new(&["--digest-every-ms", "0", "--sweep-every-ms", "0"]).await?;
    let leader = world.cluster.leader(PATIENCE).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    let first = mint();
    let new = NewFamily::new("bob", CLIENT).grace(std::time::Duration::from_secs(20));
    let family = tenants[0].create_opaque_family(new, &first, PATIENCE).await?.family;
    let Err(taken) =
        tenants[1].create_opaque_family(NewFamily::new("eve", CLIENT), &first, PATIENCE).await
    else {
        bail!("one digest for two families")
    };
    assert_eq!(taken.refusal(), Some(&Refusal::DigestInUse));

    let before = world.commands(leader).await?;
    let tokens = vec![first.clone(); CALLERS];
    let one = told(present(&tenants, &tokens, own).await?, 1)?;
    assert_eq!((one.rotated, one.adopted, one.superseded), (1, 0, 0));
    assert_eq!(one.replayed.len(), 1, "one successor for all");
    let held: BTreeSet<&str> = one.held.iter().map(OpaqueToken::expose).collect();
    assert_eq!(held.len(), 1);
    let commands = world.commands(leader).await? - before;
    assert!(commands <= 5, "{commands} commands entered the log for one rotation");

    // What nobody minted is refused on every node without an entry, whatever is asked of it.
    let before = world.commands(leader).await?;
    for tenant in &tenants {
        let forged = mint();
        let answer = tenant.rotate_opaque(&forged, &mint(), own(), PATIENCE).await?;
        assert_eq!(answer, OpaqueRotation::Refused(Refusal::NotFound));
        let touched = tenant.touch(&forged, PATIENCE).await.map(drop);
        let error = touched.expect_err("nobody minted it");
        assert_eq!(error.refusal(), Some(&Refusal::NotFound));
        tenant.revoke_token(&forged, CLIENT, PATIENCE).await?;
    }
    assert_eq!(world.commands(leader).await?, before);

    // Its owner goes on; whoever kept the first one is a thief after the grace window, which has
    // passed for one that says when it was presented only by coming now.
    let change = jeton_client::FamilyUpdate::new(1).grace(std::time::Duration::ZERO);
    tenants[0].update_family(family, change, PATIENCE).await?;
    let caught = tenants[2].rotate_opaque(&first, &mint(), own(), PATIENCE).await?;
    let OpaqueRotation::Refused(Refusal::Reused(reuse)) = caught else {
        bail!("a thief was told {caught:?}")
    };
    assert!(reuse.revoked);
    let dead = tenants[1].validate(&one.held[0], Check::new(), PATIENCE).await?;
    assert!(matches!(dead, Validation::Refused(Refusal::Revoked(_))), "{dead:?}");
    Ok(())
}
