//! Revoking a subject is one command however much it hits, and nothing slips through.

use anyhow::{Result, bail};
use futures::future::join_all;
use jeton_client::{Check, Cut, NewFamily, Rotation, Validation};
use jeton_core::reply::{Refusal, RevocationCause};
use tokio::time::Instant;

use crate::world::{CLIENT, PATIENCE, World, own};

/// Families of the subject that is revoked.
const FAMILIES: usize = 100_000;

#[tokio::test]
async fn revoking_a_hundred_thousand_families_is_one_command() -> Result<()> {
    let world = World::new(&["--digest-every-ms", "0", "--sweep-every-ms", "0"]).await?;
    let leader = world.cluster.leader(PATIENCE).await?;
    let tenant = world.tenant_on(leader)?;
    let families = world.families("mallory", FAMILIES).await?;
    let other = world.families("trudy", 1).await?.remove(0);

    let before = world.commands(leader).await?;
    let started = Instant::now();
    let cut = tenant.revoke_where(Cut::of_subject("mallory").reason("stolen"), PATIENCE).await?;
    let revoking = started.elapsed();
    let commands = world.commands(leader).await? - before;
    assert_eq!(commands, 1, "a revocation is one command");

    let started = Instant::now();
    let Rotation::Rotated(_) = tenant.rotate(&other.token, own(), PATIENCE).await? else {
        bail!("another subject's family was hit");
    };
    println!("revoking {FAMILIES} families took {revoking:?}, a rotation {:?}", started.elapsed());

    // On every node, whichever family.
    for node in 0..world.cluster.len() {
        let tenant = world.tenant_on(node)?;
        let checks = families
            .iter()
            .step_by(97)
            .map(|family| tenant.validate(&family.token, Check::new(), PATIENCE));
        for answer in join_all(checks).await {
            match answer? {
                Validation::Refused(Refusal::Revoked(by)) => {
                    assert_eq!((by.cause, by.position), (RevocationCause::Cutoff, cut));
                }
                other => bail!("node {node} answers {other:?} for a revoked family"),
            }
        }
    }
    // Dead for good, and the user can log in again at once.
    match tenant.rotate(&families[0].token, own(), PATIENCE).await? {
        Rotation::Refused(Refusal::Revoked(_)) => {}
        other => bail!("a revoked family answers {other:?}"),
    }
    let again = world.families("mallory", 1).await?.remove(0);
    assert!(matches!(tenant.rotate(&again.token, own(), PATIENCE).await?, Rotation::Rotated(_)));
    Ok(())
}

#[tokio::test]
async fn nothing_from_before_a_cut_succeeds_after_it() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    for round in 0..10 {
        let subject = format!("user-{round}");
        let families = world.families(&subject, 60).await?;
        let login = families.iter().map(|family| family.position).max().expect("sixty families");

        // Rotations of what lives, and creations from a login before the cut, race with the cut.
        let rotations = families.iter().enumerate().map(|(n, family)| {
            let tenant = tenants[n % 3].clone();
            async move { tenant.rotate(&family.token, own(), PATIENCE).await }
        });
        let creations = (0..60).map(|n| {
            let new = NewFamily::new(subject.as_str(), CLIENT).authenticated_at(login);
            let tenant = tenants[n % 3].clone();
            async move { tenant.create_family(new, PATIENCE).await }
        });
        let cut = tenants[round % 3].revoke_where(Cut::of_subject(subject.as_str()), PATIENCE);
        let (rotations, creations, cut) =
            tokio::join!(join_all(rotations), join_all(creations), cut);
        let cut = cut?;

        let mut born = Vec::new();
        for rotation in rotations {
            match rotation? {
                Rotation::Rotated(issued) => {
                    assert!(issued.position < cut, "rotated behind the cut");
                    born.push(issued.token);
                }
                Rotation::Refused(Refusal::Revoked(by)) => assert_eq!(by.position, cut),
                other => bail!("a family of a revoked subject answers {other:?}"),
            }
        }
        for creation in creations {
            match creation {
                Ok(issued) => {
                    assert!(issued.position < cut, "created behind the cut from before it");
                    born.push(issued.token);
                }
                Err(error) => match error.refusal() {
                    Some(Refusal::Revoked(by)) => assert_eq!(by.position, cut),
                    _ => return Err(error.into()),
                },
            }
        }
        for (n, token) in born.iter().enumerate() {
            let answer = tenants[n % 3].validate(token, Check::new(), PATIENCE).await?;
            assert!(
                matches!(answer, Validation::Refused(Refusal::Revoked(_))),
                "what was born before the cut lives on: {answer:?}"
            );
        }
    }
    Ok(())
}
