//! A caller: owns some families and plays scenes with them until the workload stops.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jeton_client::{Client, RefreshToken};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};

use super::Workload;
use super::family::Held;
use super::plan::{REST, TENANTS};
use super::present::{self, Name};
use crate::history::{self, RotationSeen, Target};

/// Scenes out of a thousand; the rest are plain rotations.
const LOST_REPLIES: u32 = 60;
const STAMPEDES: u32 = 3;
const ROBBERIES: u32 = 12;
const LOGOUTS: u32 = 2;

/// Longest time after which a reply is given up as lost.
const LOST_AFTER_MS_MAX: u64 = 12;

pub(crate) struct Caller {
    workload: Arc<Workload>,
    number: usize,
    rng: StdRng,
    families: Vec<Held>,
    /// Families that rest until a thief comes, in order of that time.
    victims: VecDeque<(Instant, Held)>,
}

/// What became of a family in a scene.
enum Fate {
    Lives,
    Dead,
}

impl Caller {
    pub(crate) fn new(workload: Arc<Workload>, number: usize, families: Vec<Held>) -> Self {
        let seed = workload.plan.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let rng = StdRng::seed_from_u64(seed);
        Self { workload, number, rng, families, victims: VecDeque::new() }
    }

    /// Plays until the workload stops; returns the families that are taken for alive.
    pub(crate) async fn run(mut self) -> Vec<Held> {
        while !self.workload.stopped() {
            if self.victims.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                if let Some((_, victim)) = self.victims.pop_front() {
                    self.rob(victim).await;
                }
                continue;
            }
            if self.families.is_empty() {
                sleep(Duration::from_millis(50)).await;
                continue;
            }
            let place = self.rng.random_range(0..self.families.len());
            let held = self.families.swap_remove(place);
            self.scene(held).await;
            sleep(self.workload.plan.pause).await;
        }
        self.families.into_iter().chain(self.victims.into_iter().map(|(_, held)| held)).collect()
    }

    async fn scene(&mut self, mut held: Held) {
        let dice = self.rng.random_range(0..1_000);
        let thieves = TENANTS[held.tenant].thieves;
        let fate = if dice < LOST_REPLIES {
            self.lose_reply(&mut held).await
        } else if dice < LOST_REPLIES + STAMPEDES && !thieves {
            self.stampede(&mut held).await
        } else if dice < LOST_REPLIES + ROBBERIES && thieves && !held.spent.is_empty() {
            return self.victims.push_back((Instant::now() + REST, held));
        } else if dice >= 1_000 - LOGOUTS {
            self.log_out(&held).await
        } else {
            self.rotate(&mut held).await
        };
        self.settle(held, fate).await;
    }

    /// Keeps a living family; a dead one's user logs in again.
    async fn settle(&mut self, held: Held, fate: Fate) {
        match fate {
            Fate::Lives => self.families.push(held),
            Fate::Dead if self.workload.stopped() => {}
            Fate::Dead => {
                let client = self.client(0).clone();
                if let Ok(new) = self.workload.create(&client, held.tenant, held.roots).await {
                    self.families.push(new);
                }
            }
        }
    }

    async fn rotate(&mut self, held: &mut Held) -> Fate {
        let seen = self.present(held, &held.token.clone(), history::Caller::Owner).await;
        after(held, seen)
    }

    /// The reply gets lost on its way; the caller asks again under the same name.
    async fn lose_reply(&mut self, held: &mut Held) -> Fate {
        let workload = Arc::clone(&self.workload);
        let name = Name::random(&mut self.rng);
        let patience = Duration::from_millis(self.rng.random_range(0..LOST_AFTER_MS_MAX));
        let (first, second) = (self.client(0).clone(), self.client(1).clone());
        let (token, roots) = (held.token.clone(), held.roots.clone());
        let tenant = &workload.tenants[held.tenant];
        let call = present::rotate(&first, tenant, &token, &roots, &name);
        let invoked = workload.recorder.invoke();
        if let Ok((seen, _)) = timeout(patience, call).await {
            // It did come: whoever asks again must get the same.
            let owner = history::Caller::Owner;
            workload.recorder.rotation(invoked, &held.key, token.generation(), owner, seen);
        }
        let again = present::rotate(&second, tenant, &token, &roots, &name).await;
        let owner = history::Caller::Owner;
        workload.recorder.rotation(invoked, &held.key, token.generation(), owner, again.0.clone());
        after(held, again)
    }

    /// Everybody at once, with one token, through all nodes.
    async fn stampede(&mut self, held: &mut Held) -> Fate {
        let workload = Arc::clone(&self.workload);
        let Ok(_turn) = workload.stampedes.try_acquire() else {
            return self.rotate(held).await;
        };
        let token = held.token.clone();
        let key = held.key.clone();
        let callers = (0..workload.plan.stampede).map(|n| {
            let client = workload.pinned[n % workload.pinned.len()].clone();
            let name = Name::random(&mut self.rng);
            let (workload, token, held) = (&workload, &token, &*held);
            let key = &key;
            async move {
                let invoked = workload.recorder.invoke();
                let tenant = &workload.tenants[held.tenant];
                let answer = present::rotate(&client, tenant, token, &held.roots, &name).await;
                let owner = history::Caller::Owner;
                let seen = answer.0.clone();
                workload.recorder.rotation(invoked, key, token.generation(), owner, seen);
                answer
            }
        });
        let callers: Vec<_> = callers.collect();
        let answers = join_all(callers).await;
        let mut dead = false;
        for answer in answers {
            dead |= matches!(after(held, answer), Fate::Dead);
        }
        if dead { Fate::Dead } else { Fate::Lives }
    }

    /// A thief presents a spent token of a family that has rested; half of the time while its owner
    /// rotates.
    async fn rob(&mut self, mut held: Held) {
        let stolen = self.rng.random_range(0..held.spent.len());
        let Some(stolen) = held.spent.get(stolen).cloned() else { return };
        let owner_too = self.rng.random_bool(0.5);
        let newest = held.token.clone();
        let (thief_client, owner_client) = (self.client(1).clone(), self.client(0).clone());
        let (thief, owner) = (Name::random(&mut self.rng), Name::random(&mut self.rng));
        let workload = Arc::clone(&self.workload);
        let theft = play(&workload, &thief_client, &held, &stolen, &thief, history::Caller::Thief);
        let (theft, rotation) = if owner_too {
            let rotation =
                play(&workload, &owner_client, &held, &newest, &owner, history::Caller::Owner);
            let (theft, rotation) = tokio::join!(theft, rotation);
            (theft, Some(rotation))
        } else {
            (theft.await, None)
        };
        let served = rotation.map(|rotation| after(&mut held, rotation));
        let fate = match theft.0 {
            // Whatever happened to it, the next rotation will tell.
            RotationSeen::Unknown => served.unwrap_or(Fate::Lives),
            _ => Fate::Dead,
        };
        // The owner finds out, and logs in again.
        if matches!(fate, Fate::Dead) {
            let newest = held.token.clone();
            self.present(&held, &newest, history::Caller::Owner).await;
        }
        self.settle(held, fate).await;
    }

    /// The user logs out of one family: by its token, or by its id.
    async fn log_out(&mut self, held: &Held) -> Fate {
        let by_token = self.rng.random_bool(0.5);
        let target = if by_token {
            Target::Token(held.key.clone())
        } else {
            Target::Family(held.key.clone())
        };
        let client = self.client(0).clone();
        let invoked = self.workload.recorder.invoke();
        let token = by_token.then_some(&held.token);
        let at = present::revoke_family(&client, &held.key, token, &held.roots).await;
        self.workload.recorder.revocation(invoked, target, at);
        if at.is_some() { Fate::Dead } else { Fate::Lives }
    }

    async fn present(
        &mut self,
        held: &Held,
        token: &RefreshToken,
        who: history::Caller,
    ) -> (RotationSeen, Option<RefreshToken>) {
        let name = Name::random(&mut self.rng);
        let client = self.client(0).clone();
        play(&self.workload, &client, held, token, &name, who).await
    }

    /// One of the clients: this caller's own, or another caller's.
    fn client(&self, offset: usize) -> &Client {
        let clients = &self.workload.clients;
        &clients[(self.number + offset) % clients.len()]
    }
}

/// Presents a token and records what came back.
async fn play(
    workload: &Workload,
    client: &Client,
    held: &Held,
    token: &RefreshToken,
    name: &Name,
    who: history::Caller,
) -> (RotationSeen, Option<RefreshToken>) {
    let invoked = workload.recorder.invoke();
    let tenant = &workload.tenants[held.tenant];
    let answer = present::rotate(client, tenant, token, &held.roots, name).await;
    workload.recorder.rotation(invoked, &held.key, token.generation(), who, answer.0.clone());
    answer
}

/// What an owner makes of an answer.
fn after(held: &mut Held, (seen, token): (RotationSeen, Option<RefreshToken>)) -> Fate {
    match seen {
        RotationSeen::Reused { .. } | RotationSeen::Revoked { .. } | RotationSeen::Refused(_) => {
            return Fate::Dead;
        }
        _ => {}
    }
    if let Some(token) = token {
        held.renewed(token);
    }
    Fate::Lives
}
