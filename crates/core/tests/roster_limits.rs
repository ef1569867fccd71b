//! What the first cap of a subject may cost: each limit of a roster, and one above it.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod fixture;

use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::limits;
use jeton_core::reply::*;

use fixture::{State, family, number};

/// A tenant in which alice logs in often.
struct Logins {
    state: State,
    count: u64,
}

impl Logins {
    fn new() -> Self {
        Self { state: State::new(), count: 0 }
    }

    fn login(&mut self, cap: Option<FamilyCap>) -> Operation {
        self.count += 1;
        family(|new| {
            new.family = FamilyId(number(self.count));
            new.cap = cap;
        })
    }

    fn come(&mut self, count: usize) {
        for from in (0..count).step_by(1_000) {
            let some = (count - from).min(1_000);
            let logins = (0..some).map(|_| self.login(None)).collect();
            assert!(self.state.ask_all(logins).iter().all(Result::is_ok));
        }
    }

    fn capped(&mut self, policy: CapPolicy) -> Result<Done, Refusal> {
        let cap = FamilyCap { max: 3, scope: CapScope::Subject, policy };
        let login = self.login(Some(cap));
        self.state.ask(login)
    }

    fn cut(&mut self) {
        let subject = Some(SubjectId::new("alice").unwrap());
        let matching = Criteria { subject, ..Criteria::default() };
        let all = RevokeWhere { matching, ..RevokeWhere::default() };
        self.state.ask(Operation::RevokeWhere(Box::new(all))).unwrap();
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
    let mut logins = Logins::new();
    logins.come(limits::ROSTER_MEMBERS_MAX + 1);
    assert_eq!(limit(logins.capped(CapPolicy::EvictOldest)), "ROSTER_MEMBERS_MAX");
    assert_eq!(limit(logins.capped(CapPolicy::Deny)), "ROSTER_MEMBERS_MAX");
    // What is dead is not named: now there is room for a roster.
    logins.cut();
    logins.come(limits::ROSTER_MEMBERS_MAX);
    assert_eq!(evicted(logins.capped(CapPolicy::EvictOldest)), limits::ROSTER_MEMBERS_MAX - 2);
    assert_eq!(evicted(logins.capped(CapPolicy::EvictOldest)), 1, "three live, the oldest goes");
}

#[test]
fn the_first_cap_looks_through_so_many_families_and_no_more() {
    let mut logins = Logins::new();
    logins.come(limits::ROSTER_SEARCH_MAX);
    logins.cut();
    assert_eq!(evicted(logins.capped(CapPolicy::Deny)), 0, "all of them are dead");

    let mut logins = Logins::new();
    logins.come(limits::ROSTER_SEARCH_MAX + 1);
    logins.cut();
    assert_eq!(limit(logins.capped(CapPolicy::Deny)), "ROSTER_SEARCH_MAX");
}

#[test]
fn a_roster_that_outgrows_itself_is_given_up_and_made_anew() {
    let mut logins = Logins::new();
    assert_eq!(evicted(logins.capped(CapPolicy::Deny)), 0);
    logins.come(limits::ROSTER_MEMBERS_MAX - 1);
    let full = Err(Refusal::CapReached { max: 3 });
    assert_eq!(logins.capped(CapPolicy::Deny), full, "as many as it names");
    logins.come(1);
    assert_eq!(limit(logins.capped(CapPolicy::Deny)), "ROSTER_MEMBERS_MAX");
    logins.cut();
    assert_eq!(evicted(logins.capped(CapPolicy::Deny)), 0, "it was made anew");
    logins.come(2);
    assert_eq!(logins.capped(CapPolicy::Deny), full);
}
