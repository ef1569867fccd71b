//! Callers of `jeton bench revoke`, and what each knows of its families.
//!
//! While the run goes on they only write down what they are told: which answers were right is known
//! when the revocation's position is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use jeton_client::{
    Consistency, FamilyView, Issued, Position, RefreshToken, RevocationCause, RevokedBy,
    RotateContext, Rotation, Tenant,
};
use jeton_core::reply::Refusal;
use tokio::time::{Instant, sleep};

use super::CLIENT;
use crate::bench::nodes::PATIENCE;

/// One rotation in so many comes from inside, when all that was there is revoked.
const MOVES_IN: usize = 4;
/// How long a probe rests.
const PROBE_REST: Duration = Duration::from_millis(10);

/// An address that is revoked.
pub fn inside(number: u32) -> String {
    let [_, b, c, d] = number.to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

/// One that is not.
pub fn outside(number: u32) -> String {
    let [.., c, d] = number.to_be_bytes();
    format!("192.168.{c}.{d}")
}

/// Where the run is: what all callers go by.
#[derive(Debug)]
pub struct Stage {
    began: Instant,
    /// The revocation's position; 0 before it was answered.
    revocation: AtomicU64,
    over: AtomicBool,
}

impl Stage {
    /// The run begins.
    pub fn new() -> Self {
        let (revocation, over) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { began: Instant::now(), revocation, over }
    }

    /// Time since it began.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// It is known where the revocation is.
    pub fn revoked(&self, position: Position) {
        self.revocation.store(position.0, Ordering::Release);
    }

    /// Callers finish what they are at.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    fn is_revoked(&self) -> bool {
        self.revocation.load(Ordering::Acquire) != 0
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// A family, as its caller knows it.
#[derive(Debug)]
pub struct Family {
    token: RefreshToken,
    rotations: u64,
    /// Of its newest token.
    position: Position,
    /// Where it was revoked, as it was told; each time the same.
    revoked: Option<Position>,
    /// How often it was refused.
    pub refused: u64,
    /// It was outside, and rotated from inside when all that was there had been revoked.
    pub moved_in: bool,
}

impl Family {
    /// A new one.
    pub fn new(issued: Issued) -> Self {
        Self {
            token: issued.token,
            rotations: 0,
            position: issued.position,
            revoked: None,
            refused: 0,
            moved_in: false,
        }
    }

    /// Rotates it once, and takes down what was answered. Whether it was rotated.
    async fn rotate(&mut self, tenant: &Tenant, ip: &str) -> Result<bool> {
        let context = RotateContext::new(CLIENT).ip(ip);
        match tenant.rotate(&self.token, context, PATIENCE).await? {
            Rotation::Rotated(issued) => {
                let (was, is) = (self.token.generation(), issued.generation);
                ensure!(is == was.next(), "generation {} was rotated into {}", was.0, is.0);
                self.position = issued.position;
                self.token = issued.token;
                self.rotations += 1;
                Ok(true)
            }
            Rotation::Refused(Refusal::Revoked(by)) => {
                let position = position_of(&by)?;
                let known = *self.revoked.get_or_insert(position);
                ensure!(known == position, "revoked at {known}, and again at {position}");
                self.refused += 1;
                Ok(false)
            }
            other => bail!("a rotation was answered {other:?}"),
        }
    }
}

fn position_of(by: &RevokedBy) -> Result<Position> {
    ensure!(by.cause == RevocationCause::Predicate, "nobody has revoked this: {by:?}");
    Ok(by.position)
}

/// A successful rotation.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it was answered, since the run began.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
}

/// What a caller brings home.
#[derive(Debug)]
pub struct Share {
    /// Its families.
    pub families: Vec<Family>,
    /// Its successful rotations.
    pub samples: Vec<Sample>,
}

/// Rotates families outside in turn, until the run is over.
pub async fn rotate(tenant: Tenant, mut families: Vec<Family>, stage: Arc<Stage>) -> Result<Share> {
    let mut samples = Vec::new();
    for (turn, number) in (0..families.len()).cycle().enumerate() {
        if stage.is_over() {
            break;
        }
        let family = &mut families[number];
        let moves_in = stage.is_revoked() && turn.is_multiple_of(MOVES_IN);
        let address = u32::try_from(number)?;
        let ip = if moves_in { inside(address) } else { outside(address) };
        let began = stage.now();
        if family.rotate(&tenant, &ip).await? {
            let at = stage.now();
            samples.push(Sample { at, took: at - began });
            family.moved_in |= moves_in;
        }
    }
    Ok(Share { families, samples })
}

/// Rotates families inside in turn, slowly, until the run is over.
pub async fn probe(
    tenant: Tenant,
    mut families: Vec<Family>,
    stage: Arc<Stage>,
) -> Result<Vec<Family>> {
    for number in (0..families.len()).cycle() {
        if stage.is_over() {
            break;
        }
        let address = u32::try_from(number)?;
        let ip = if stage.is_revoked() { outside(address) } else { inside(address) };
        families[number].rotate(&tenant, &ip).await?;
        sleep(PROBE_REST).await;
    }
    Ok(families)
}

/// Presents a family from inside once more, from outside. What is wrong, if it was ever saved.
pub async fn saved(
    tenant: &Tenant,
    family: &Family,
    revocation: Position,
) -> Result<Option<String>> {
    let id = family.token.family();
    if family.position > revocation {
        return Ok(Some(format!("{id} was rotated at {}, after it was revoked", family.position)));
    }
    if family.revoked.is_some_and(|position| position != revocation) {
        return Ok(Some(format!("{id} was revoked at {:?}", family.revoked)));
    }
    let context = RotateContext::new(CLIENT).ip(&outside(0));
    Ok(match tenant.rotate(&family.token, context, PATIENCE).await? {
        Rotation::Refused(Refusal::Revoked(by)) if position_of(&by)? == revocation => None,
        other => Some(format!("{id} is answered {other:?}")),
    })
}

/// Looks at a family from outside once more. What is wrong, if it was ever killed or set back.
pub async fn killed(tenant: &Tenant, family: &Family) -> Result<Option<String>> {
    let id = family.token.family();
    if let Some(position) = family.revoked {
        return Ok(Some(format!("{id} was refused as revoked at {position}")));
    }
    let read = tenant.get_family(id, Consistency::Linearizable, PATIENCE).await?;
    let FamilyView { generation, dead, .. } = read.value;
    if let Some(dead) = dead {
        return Ok(Some(format!("{id} is dead: {dead:?}")));
    }
    let rotations = family.rotations;
    let told = generation.0 == rotations;
    Ok((!told).then(|| format!("{id} is at {generation:?} after {rotations} rotations")))
}
