//! What may happen in the small world, and how often.

use proptest::prelude::*;

use super::records;
use super::sessions::Ask;

const FAMILIES: u8 = 2;

/// One thing that happens. Numbers are reduced to what there is.
#[derive(Debug, Clone)]
pub struct Step {
    pub what: What,
    pub tenant: u8,
    pub family: u8,
    /// Names of subject, client, device, binding, address.
    pub who: u8,
    /// Presented generation, counted back from the head; the last one is beyond it.
    pub back: u8,
    /// Time that passes before, in ms.
    pub pause: u64,
    /// How long the request was on its way, in ms.
    pub age: u64,
    /// A name of its own, or one out of few.
    pub name: Option<u8>,
    /// The same command once more, after this time.
    pub again: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub enum What {
    Tenant,
    Settings,
    Key,
    Compromise,
    Create,
    Rotate,
    Touch,
    Update,
    Revoke,
    RevokeToken,
    Cut,
    Acquire,
    Renew,
    Release,
    Publish,
    Withdraw,
    ExpireLeases,
    Deny,
    Session(Ask),
    /// One of the operations on records.
    Record(u8),
}

impl Step {
    /// Whether it means the same for tokens of both kinds: opaque ones have no key to leak.
    pub fn is_of_both_kinds(&self) -> bool {
        !matches!(self.what, What::Compromise)
    }

    /// A tenant without a rotation limit and a family in it, when nothing else happens.
    pub fn calm() -> Self {
        let (what, tenant, family, who) = (What::Create, 0, 0, 0);
        Self { what, tenant, family, who, back: 0, pause: 0, age: 0, name: None, again: None }
    }
}

fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0_u64..200,
        4 => 200_u64..4_000,
        3 => 4_000_u64..90_000,
        1 => 90_000_u64..1_500_000,
        1 => 1_500_000_u64..200_000_000,
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        1 => Just(What::Tenant),
        1 => Just(What::Settings),
        1 => Just(What::Key),
        1 => Just(What::Compromise),
        9 => Just(What::Create),
        60 => Just(What::Rotate),
        3 => Just(What::Touch),
        3 => Just(What::Update),
        1 => Just(What::Revoke),
        1 => Just(What::RevokeToken),
        1 => Just(What::Cut),
        4 => lock_what(),
        2 => records::what(),
    ]
}

fn lock_what() -> impl Strategy<Value = What> {
    prop_oneof![
        8 => Just(What::Acquire),
        3 => Just(What::Renew),
        3 => Just(What::Release),
        2 => Just(What::Publish),
        1 => Just(What::Withdraw),
        3 => Just(What::ExpireLeases),
        4 => Just(What::Session(Ask::Create)),
        2 => Just(What::Session(Ask::Touch)),
        1 => Just(What::Session(Ask::End)),
        1 => Just(What::Session(Ask::Suspend)),
        3 => Just(What::Session(Ask::Resume)),
        1 => Just(What::Session(Ask::Reauthenticate)),
    ]
}

pub fn steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    steps_of(what(), max)
}

/// Steps that are all about locks.
pub fn lock_steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    steps_of(lock_what(), max)
}

/// Steps that are mostly about records.
pub fn record_steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    let what = prop_oneof![
        12 => records::what(),
        1 => Just(What::Cut),
        1 => Just(What::Create),
        1 => Just(What::Session(Ask::Create)),
        1 => Just(What::Session(Ask::Suspend)),
        2 => Just(What::Session(Ask::Resume)),
    ];
    steps_of(what, max)
}

/// Steps that can be part of a transaction, mostly.
pub fn part_steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    let what = prop_oneof![
        4 => Just(What::Create),
        10 => Just(What::Rotate),
        2 => Just(What::Touch),
        2 => Just(What::Update),
        1 => Just(What::Revoke),
        10 => records::what(),
        2 => Just(What::Session(Ask::Create)),
        1 => Just(What::Session(Ask::Touch)),
        1 => Just(What::Session(Ask::End)),
        1 => Just(What::Acquire),
        1 => Just(What::Release),
    ];
    steps_of(what, max)
}

fn steps_of(what: impl Strategy<Value = What>, max: usize) -> impl Strategy<Value = Vec<Step>> {
    let who = prop_oneof![6 => Just(0_u8), 1 => any::<u8>()];
    let back = prop_oneof![4 => Just(0_u8), 3 => Just(1_u8), 3 => any::<u8>()];
    let age = prop_oneof![4 => Just(0_u64), 2 => 0_u64..40_000, 1 => 0_u64..700_000];
    let name = prop_oneof![6 => Just(None), 1 => (0_u8..4).prop_map(Some)];
    let again =
        prop_oneof![3 => Just(None), 1 => Just(Some(0)), 1 => (0_u64..700_000).prop_map(Some)];
    let step = (
        what,
        prop_oneof![5 => Just(0_u8), 1 => Just(1_u8)],
        0..FAMILIES,
        who,
        back,
        pause(),
        age,
        name,
        again,
    )
        .prop_map(|(what, tenant, family, who, back, pause, age, name, again)| Step {
            what,
            tenant,
            family,
            who,
            back,
            pause,
            age,
            name,
            again,
        });
    prop::collection::vec(step, 1..max)
}
