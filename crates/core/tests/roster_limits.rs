//! What the first cap of a subject may cost: each limit of a roster, and one above it.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::limits;
use jeton_core::machine::Machine;
use jeton_core::reply::*;
use jeton_core::tables::MemTables;

struct Heard(Vec<Reply>);

impl Replies for Heard {
    fn wanted(&self) -> bool {
        true
    }
    fn reply(&mut self, _: usize, reply: Reply) {
        self.0.push(reply);
    }
    fn event(&mut self, _: Event) {}
}

#[derive(Default)]
struct World {
    machine: Machine,
    tables: MemTables,
    index: u64,
    named: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self::default();
        let settings = TenantSettings::default();
        let key = KeyMaterial([7; 32]);
        world.does(vec![Operation::CreateTenant(CreateTenant { settings, key })]);
        world
    }

    /// Everything in one entry.
    fn does(&mut self, operations: Vec<Operation>) -> Vec<Result<Done, Refusal>> {
        self.index += 1;
        let commands = operations.into_iter().map(|operation| {
            self.named += 1;
            let id = RequestId(u128::from(self.named).to_be_bytes());
            let request = Some(RequestName { id, age: DurationMs(0) });
            let tenant = Some(TenantId::new("acme").unwrap());
            Arc::new(Command { tenant, request, operation })
        });
        let commands = commands.collect();
        let (stamp, lease_advance) = (UnixMs(1_800_000_000_000), DurationMs(0));
        let entry = Entry { stamp, lease_advance, commands };
        let mut heard = Heard(Vec::new());
        let index = LogIndex(self.index);
        self.machine.apply(&mut self.tables, index, &entry, &mut heard).unwrap();
        heard.0.into_iter().map(|reply| reply.outcome).collect()
    }

    fn login(&mut self, cap: Option<FamilyCap>) -> Operation {
        self.named += 1;
        Operation::CreateFamily(Box::new(CreateFamily {
            family: FamilyId(u128::from(self.named).to_be_bytes()),
            digest: SecretDigest([1; 16]),
            opaque: false,
            subject: SubjectId::new("alice").unwrap(),
            client: ClientId::new("web").unwrap(),
            device: None,
            binding: Binding::default(),
            ip: None,
            attributes: Vec::new(),
            payload: bytes::Bytes::new(),
            lifetime: None,
            idle: None,
            grace: None,
            authenticated_at: None,
            cap,
            session: None,
            code: None,
        }))
    }

    fn logins(&mut self, count: usize) {
        for from in (0..count).step_by(1_000) {
            let some = (count - from).min(1_000);
            let logins = (0..some).map(|_| self.login(None)).collect();
            assert!(self.does(logins).iter().all(Result::is_ok));
        }
    }

    fn capped(&mut self, policy: CapPolicy) -> Result<Done, Refusal> {
        let cap = FamilyCap { max: 3, scope: CapScope::Subject, policy };
        let login = self.login(Some(cap));
        self.does(vec![login]).remove(0)
    }

    fn cut(&mut self) {
        let subject = Some(SubjectId::new("alice").unwrap());
        let matching = Criteria { subject, ..Criteria::default() };
        let all = RevokeWhere { matching, ..RevokeWhere::default() };
        self.does(vec![Operation::RevokeWhere(Box::new(all))]);
    }
}

fn evicted(made: Result<Done, Refusal>) -> usize {
    let Ok(Done::FamilyCreated(created)) = made else { panic!("{made:?}") };
    created.evicted.len()
}

fn limit(made: Result<Done, Refusal>) -> String {
    let Err(Refusal::LimitReached { limit, .. }) = made else { panic!("{made:?}") };
    limit.to_string()
}

#[test]
fn the_first_cap_evicts_as_many_as_a_roster_names_and_no_more() {
    let mut world = World::new();
    world.logins(limits::ROSTER_MEMBERS_MAX + 1);
    assert_eq!(limit(world.capped(CapPolicy::EvictOldest)), "ROSTER_MEMBERS_MAX");
    assert_eq!(limit(world.capped(CapPolicy::Deny)), "ROSTER_MEMBERS_MAX");
    // What is dead is not named: now there is room for a roster.
    world.cut();
    world.logins(limits::ROSTER_MEMBERS_MAX);
    assert_eq!(evicted(world.capped(CapPolicy::EvictOldest)), limits::ROSTER_MEMBERS_MAX - 2);
    assert_eq!(evicted(world.capped(CapPolicy::EvictOldest)), 1, "three live, the oldest goes");
}

#[test]
fn the_first_cap_looks_through_so_many_families_and_no_more() {
    let mut world = World::new();
    world.logins(limits::ROSTER_SEARCH_MAX);
    world.cut();
    assert_eq!(evicted(world.capped(CapPolicy::Deny)), 0, "all of them are dead");

    let mut world = World::new();
    world.logins(limits::ROSTER_SEARCH_MAX + 1);
    world.cut();
    assert_eq!(limit(world.capped(CapPolicy::Deny)), "ROSTER_SEARCH_MAX");
}

#[test]
fn a_roster_that_outgrows_itself_is_given_up_and_made_anew() {
    let mut world = World::new();
    assert_eq!(evicted(world.capped(CapPolicy::Deny)), 0);
    world.logins(limits::ROSTER_MEMBERS_MAX - 1);
    let full = Err(Refusal::CapReached { max: 3 });
    assert_eq!(world.capped(CapPolicy::Deny), full, "as many as it names");
    world.logins(1);
    assert_eq!(limit(world.capped(CapPolicy::Deny)), "ROSTER_MEMBERS_MAX");
    world.cut();
    assert_eq!(evicted(world.capped(CapPolicy::Deny)), 0, "it was made anew");
    world.logins(2);
    assert_eq!(world.capped(CapPolicy::Deny), full);
}
