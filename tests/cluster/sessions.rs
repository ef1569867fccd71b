//! The end of a session is one command, and nothing that was bound to it gets past it. A suspension
//! is seen at once on every node, and so is its end.

use anyhow::{Context, Result, bail};
use futures::future::join_all;
use jeton_client::{
    Check, Consistency, Error, Issued, NewFamily, NewSession, Rotation, SessionChange, SubjectId,
    Suspendable, Tenant, Validation,
};
use jeton_core::reply::{Refusal, RevocationCause};

use crate::world::{CLIENT, PATIENCE, World, own};

/// Families bound to one session.
const BOUND: usize = 90;

async fn bound(tenants: &[Tenant], session: &str, subject: &str) -> Result<Vec<Issued>> {
    let made = (0..BOUND).map(|n| {
        let new = NewFamily::new(subject, CLIENT).session(session);
        tenants[n % tenants.len()].create_family(new, PATIENCE)
    });
    join_all(made).await.into_iter().map(|made| Ok(made?)).collect()
}

fn cause_of(validation: &Validation) -> Option<RevocationCause> {
    match validation {
        Validation::Refused(Refusal::Revoked(by)) => Some(by.cause),
        _ => None,
    }
}

#[tokio::test]
async fn nothing_of_a_session_succeeds_after_its_end() -> Result<()> {
    let world = World::new(&["--digest-every-ms", "0", "--sweep-every-ms", "0"]).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    for round in 0..6 {
        let (session, subject) = (format!("sid-{round}"), format!("user-{round}"));
        let new = NewSession::new(session.as_str(), subject.as_str());
        tenants[round % 3].create_session(new, PATIENCE).await?;
        let families = bound(&tenants, &session, &subject).await?;
        let offline = NewFamily::new(subject.as_str(), CLIENT);
        let offline = tenants[0].create_family(offline, PATIENCE).await?;

        // Rotations on all nodes, new families and touches race with the end.
        let rotations = families.iter().enumerate().map(|(n, family)| {
            let tenant = tenants[n % 3].clone();
            async move { tenant.rotate(&family.token, own(), PATIENCE).await }
        });
        let creations = (0..30).map(|n| {
            let new = NewFamily::new(subject.as_str(), "late").session(session.as_str());
            let tenant = tenants[n % 3].clone();
            async move { tenant.create_family(new, PATIENCE).await }
        });
        let touches = (0..10).map(|n| {
            tenants[n % 3].touch_session(session.as_str(), SessionChange::none(), PATIENCE)
        });
        let end = tenants[round % 3].end_session(session.as_str(), Some("logout"), PATIENCE);
        let (rotations, creations, touches, over) =
            tokio::join!(join_all(rotations), join_all(creations), join_all(touches), end);
        let over = over?;
        let mut born = Vec::new();
        for rotation in rotations {
            match rotation? {
                Rotation::Rotated(issued) => {
                    assert!(issued.position < over.position, "rotated behind the end");
                    born.push(issued.token);
                }
                Rotation::Refused(Refusal::Revoked(by)) => {
                    assert_eq!((by.cause, by.position), (RevocationCause::Session, over.position));
                }
                other => bail!("a family of an ended session answers {other:?}"),
            }
        }
        for creation in creations {
            match creation {
                Ok(issued) => {
                    assert!(issued.position < over.position, "bound behind the end");
                    born.push(issued.token);
                }
                Err(Error::Refused(Refusal::SessionDead { by })) => {
                    assert_eq!(by.map(|by| by.position), Some(over.position));
                }
                Err(error) => return Err(error.into()),
            }
        }
        for touch in touches {
            match touch {
                Ok(used) => assert!(used.position < over.position, "touched behind the end"),
                Err(Error::Refused(Refusal::Revoked(by))) => {
                    assert_eq!(by.position, over.position);
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (n, token) in born.iter().enumerate() {
            let answer = tenants[n % 3].validate(token, Check::new(), PATIENCE).await?;
            assert_eq!(cause_of(&answer), Some(RevocationCause::Session), "{answer:?}");
        }
        // Whom to notify, and who outlives it.
        let told: Vec<_> = over.clients.iter().map(|client| client.as_str()).collect();
        assert!(told.contains(&CLIENT) && over.next.is_none(), "{told:?}");
        let rotated = tenants[1].rotate(&offline.token, own(), PATIENCE).await?;
        assert!(
            matches!(rotated, Rotation::Rotated(_)),
            "unbound families outlive it: {rotated:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn ending_a_session_is_one_command_however_much_is_bound() -> Result<()> {
    let world = World::new(&["--digest-every-ms", "0", "--sweep-every-ms", "0"]).await?;
    let leader = world.cluster.leader(PATIENCE).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    tenants[0].create_session(NewSession::new("sid", "alice"), PATIENCE).await?;
    bound(&tenants, "sid", "alice").await?;
    let before = world.commands(leader).await?;
    let over = tenants[leader].end_session("sid", None, PATIENCE).await?;
    assert_eq!(world.commands(leader).await? - before, 1, "the end of a session is one command");
    for tenant in &tenants {
        let read = tenant.get_session("sid", Consistency::Linearizable, PATIENCE).await?;
        match read.value.dead {
            Some(Refusal::Revoked(by)) => assert_eq!(by.position, over.position),
            other => bail!("an ended session is shown as {other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_suspension_and_its_end_are_seen_at_once_on_every_node() -> Result<()> {
    let world = World::new(&[]).await?;
    let tenants = [world.tenant_on(0)?, world.tenant_on(1)?, world.tenant_on(2)?];
    tenants[0].create_session(NewSession::new("sid", "alice"), PATIENCE).await?;
    let mut family =
        tenants[0].create_family(NewFamily::new("alice", CLIENT).session("sid"), PATIENCE).await?;
    let what = || SubjectId::new("alice").map(Suspendable::Subject).context("a good id");
    for round in 0..9 {
        let held = tenants[round % 3].suspend(what()?, Some("fraud"), PATIENCE).await?;
        assert!(!held.already);
        for (node, tenant) in tenants.iter().enumerate() {
            let answer = tenant.validate(&family.token, Check::new(), PATIENCE).await?;
            assert_eq!(cause_of(&answer), Some(RevocationCause::Suspension), "node {node}");
            match tenant.rotate(&family.token, own(), PATIENCE).await? {
                Rotation::Refused(Refusal::Revoked(by)) => assert_eq!(by.position, held.position),
                other => bail!("node {node} answers {other:?} for what is suspended"),
            }
            match tenant.create_family(NewFamily::new("alice", CLIENT), PATIENCE).await {
                Err(Error::Refused(Refusal::Suspended(by))) => {
                    assert_eq!(by.position, held.position);
                }
                other => bail!("node {node} makes {other:?} for a suspended subject"),
            }
        }
        let resumed = tenants[(round + 1) % 3].resume(what()?, PATIENCE).await?;
        assert!(!resumed.already && resumed.position > held.position);
        for (node, tenant) in tenants.iter().enumerate() {
            let answer = tenant.validate(&family.token, Check::new(), PATIENCE).await?;
            assert!(matches!(answer, Validation::Active(_)), "node {node} answers {answer:?}");
        }
        let rotated = tenants[(round + 2) % 3].rotate(&family.token, own(), PATIENCE).await?;
        let Rotation::Rotated(next) = rotated else { bail!("resumed, it answers {rotated:?}") };
        family = next;
    }

    // Logging in anew is required at once, too, and a new log-in lives.
    let position = tenants[1].require_reauthentication("alice", None, PATIENCE).await?;
    for tenant in &tenants {
        match tenant.rotate(&family.token, own(), PATIENCE).await? {
            Rotation::Refused(Refusal::Revoked(by)) => assert_eq!(by.position, position),
            other => bail!("an old log-in answers {other:?}"),
        }
    }
    let new = NewSession::new("sid-2", "alice").authenticated_at(position);
    tenants[2].create_session(new, PATIENCE).await?;
    let new = NewFamily::new("alice", CLIENT).session("sid-2");
    let family = tenants[0].create_family(new, PATIENCE).await?;
    let rotated = tenants[1].rotate(&family.token, own(), PATIENCE).await?;
    assert!(matches!(rotated, Rotation::Rotated(_)), "{rotated:?}");
    Ok(())
}
