//! Who leads, as the nodes said, and which addresses a client may go to because of it.
//!
//! A failure names the leader (`ErrorInfo.metadata["leader"]`), and a failure may come from anybody
//! who can put one in front of the client. So a hint alone opens no connection: its address must be
//! one that the client was configured with, or one that the status of a node that the client
//! already talks to names as a member's. [`Reach::Configured`] forbids the latter, too.
//!
//! A hint is forgotten after a while, when the node that it names is left, and when nobody answers
//! there: behind an address translation, the addresses that members know each other by lead
//! nowhere, and are then passed over for [`UNREACHABLE_FOR`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::{Config, ENDPOINTS_MAX, Reach};

/// How long an address at which nobody answered is passed over.
pub(crate) const UNREACHABLE_FOR: Duration = Duration::from_secs(5);
/// How often a status is asked for because of an address that nobody vouches for.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether to go where a hint points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go there.
    Follow,
    /// Only if the status of the node that gave the hint names a member there.
    Ask,
    /// Don't.
    Pass,
}

/// See the module. Addresses are URIs.
pub(crate) struct Hints {
    configured: Vec<String>,
    reach: Reach,
    lifetime: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Addresses of members, by the newest status.
    members: Vec<String>,
    /// When a status was asked for last because of a hint.
    asked: Option<Instant>,
    leader: Option<Known>,
    /// Where nobody answered, and until when it is passed over.
    unreachable: HashMap<Arc<str>, Instant>,
}

struct Known {
    uri: Arc<str>,
    until: Instant,
}

impl Hints {
    /// No hint yet.
    pub fn new(config: &Config) -> Self {
        Self {
            configured: config.endpoints.clone(),
            reach: config.reach,
            lifetime: config.hint_lifetime,
            state: Mutex::default(),
        }
    }

    /// Whether to go to `uri`. Says [`Verdict::Ask`] once in a while only, so that hints to foreign
    /// addresses don't make every failure cost a status.
    pub fn judge(&self, uri: &str, now: Instant) -> Verdict {
        let mut state = self.state.lock();
        if state.unreachable.get(uri).is_some_and(|until| now < *until) {
            return Verdict::Pass;
        }
        if self.vouched(&state, uri) {
            return Verdict::Follow;
        }
        let asked_lately =
            state.asked.is_some_and(|at| now.saturating_duration_since(at) < ASK_INTERVAL);
        if self.reach == Reach::Configured || asked_lately {
            return Verdict::Pass;
        }
        state.asked = Some(now);
        Verdict::Ask
    }

    fn vouched(&self, state: &State, uri: &str) -> bool {
        let named = || self.reach == Reach::Members && state.members.iter().any(|it| it == uri);
        self.configured.iter().any(|it| it == uri) || named()
    }

    /// Whether an address was configured, or is a member's by the newest status.
    pub fn knows(&self, uri: &str) -> bool {
        self.vouched(&self.state.lock(), uri)
    }

    /// Keeps the addresses of the members that a status named, in place of earlier ones. Who is
    /// none of them does not lead.
    pub fn name_members(&self, uris: impl Iterator<Item = String>) {
        let mut state = self.state.lock();
        state.members = uris.take(ENDPOINTS_MAX).collect();
        if state.leader.as_ref().is_some_and(|known| !self.vouched(&state, &known.uri)) {
            state.leader = None;
        }
    }

    /// Keeps who leads.
    pub fn learn(&self, uri: &Arc<str>, now: Instant) {
        let until = now + self.lifetime;
        self.state.lock().leader = Some(Known { uri: Arc::clone(uri), until });
    }

    /// Who leads, unless that was said too long ago.
    pub fn leader(&self, now: Instant) -> Option<Arc<str>> {
        let state = self.state.lock();
        state.leader.as_ref().filter(|known| now < known.until).map(|known| Arc::clone(&known.uri))
    }

    /// Forgets that the node at `uri` leads.
    pub fn forget(&self, uri: &str) {
        let mut state = self.state.lock();
        if state.leader.as_ref().is_some_and(|known| *known.uri == *uri) {
            state.leader = None;
        }
    }

    /// Nobody answered at `uri`.
    pub fn unreachable(&self, uri: &Arc<str>, now: Instant) {
        self.forget(uri);
        let mut state = self.state.lock();
        state.unreachable.retain(|_, until| now < *until);
        state.unreachable.insert(Arc::clone(uri), now + UNREACHABLE_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "http://10.0.0.1:7401";
    const OTHER: &str = "http://10.0.0.2:7401";
    const SECOND: Duration = Duration::from_secs(1);

    fn hints(reach: Reach) -> Hints {
        let config = Config::new(["10.0.0.1:7401"]).reach(reach).hint_lifetime(SECOND * 3);
        Hints::new(&config.checked().unwrap())
    }

    #[test]
    fn only_configured_addresses_and_members_are_gone_to() {
        let (hints, now) = (hints(Reach::Members), Instant::now());
        assert_eq!(hints.judge(OWN, now), Verdict::Follow);
        assert_eq!(hints.judge(OTHER, now), Verdict::Ask);
        assert_eq!(hints.judge(OTHER, now), Verdict::Pass, "it was asked for a moment ago");
        assert_eq!(hints.judge(OTHER, now + ASK_INTERVAL), Verdict::Ask);
        hints.name_members([OTHER.to_owned()].into_iter());
        assert_eq!(hints.judge(OTHER, now), Verdict::Follow);
        hints.name_members(std::iter::empty());
        assert_eq!(hints.judge(OTHER, now), Verdict::Pass, "it is no member any more");
    }

    #[test]
    fn who_may_reach_configured_addresses_only_asks_nobody_else() {
        let (hints, now) = (hints(Reach::Configured), Instant::now());
        hints.name_members([OTHER.to_owned()].into_iter());
        assert_eq!(hints.judge(OTHER, now), Verdict::Pass);
        assert_eq!(hints.judge(OWN, now), Verdict::Follow);
    }

    #[test]
    fn a_leader_is_forgotten_after_the_lifetime_and_when_it_is_left() {
        let (hints, now) = (hints(Reach::Members), Instant::now());
        let (own, other): (Arc<str>, Arc<str>) = (OWN.into(), OTHER.into());
        hints.learn(&own, now);
        assert_eq!(hints.leader(now + SECOND * 2), Some(Arc::clone(&own)));
        assert_eq!(hints.leader(now + SECOND * 3), None);
        hints.learn(&own, now);
        hints.forget(&other);
        assert_eq!(hints.leader(now), Some(Arc::clone(&own)));
        hints.forget(&own);
        assert_eq!(hints.leader(now), None);
    }

    #[test]
    fn who_is_no_member_any_more_is_neither_known_nor_leads() {
        let (hints, now) = (hints(Reach::Members), Instant::now());
        hints.name_members([OTHER.to_owned()].into_iter());
        hints.learn(&OTHER.into(), now);
        assert!(hints.knows(OTHER) && hints.leader(now).is_some());
        hints.name_members(std::iter::empty());
        assert!(!hints.knows(OTHER) && hints.leader(now).is_none());
        hints.learn(&OWN.into(), now);
        hints.name_members(std::iter::empty());
        assert!(hints.knows(OWN) && hints.leader(now).is_some(), "it was configured");
    }

    #[test]
    fn where_nobody_answered_is_passed_over_for_a_while() {
        let (hints, now) = (hints(Reach::Members), Instant::now());
        let own: Arc<str> = OWN.into();
        hints.learn(&own, now);
        hints.unreachable(&own, now);
        assert_eq!(hints.leader(now), None);
        assert_eq!(hints.judge(OWN, now), Verdict::Pass);
        assert_eq!(hints.judge(OWN, now + UNREACHABLE_FOR), Verdict::Follow);
    }
}
