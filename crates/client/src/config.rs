//! How a client is set up: where the nodes are, how long it waits, where its randomness is from.

use std::sync::Arc;
use std::time::Duration;

use crate::entropy::{Entropy, OsEntropy};
use crate::error::{Error, Violation};

/// Most endpoints that a client keeps, those that it learned about included.
pub(crate) const ENDPOINTS_MAX: usize = 64;

/// Which addresses a client may connect to.
///
/// A node that can't do what it was asked says where the leader is, and the client goes there. That
/// word alone is not trusted: a failure might come from anybody on the way, and send the client and
/// its tokens' digests elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that it was configured with, and those that the status of a node it is connected to
    /// names as a member's client address.
    Members,
    /// Those that it was configured with, as they are written there, and no others.
    Configured,
}

/// How to reach a cluster. Every node serves everything, so any of them will do; with several, the
/// client goes on with another one when the one it talks to fails.
///
/// ```
/// use std::time::Duration;
/// use jeton_client::Config;
///
/// let config = Config::new(["10.0.0.1:7401", "10.0.0.2:7401", "10.0.0.3:7401"])
///     .connect_timeout(Duration::from_millis(500))
///     .prefer_leader(true);
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) endpoints: Vec<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) backoff_first: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) unary: bool,
    pub(crate) prefer_leader: bool,
    pub(crate) reach: Reach,
    pub(crate) hint_lifetime: Duration,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Config {
    /// A client of the cluster that these nodes belong to: addresses of their client ports,
    /// `host:port`, one at least.
    pub fn new<I, S>(endpoints: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            connect_timeout: Duration::from_secs(1),
            attempt_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_secs(1),
            backoff_first: Duration::from_millis(10),
            backoff_max: Duration::from_millis(200),
            unary: false,
            prefer_leader: false,
            reach: Reach::Members,
            hint_lifetime: Duration::from_secs(5),
            entropy: Arc::new(OsEntropy),
        }
    }

    /// How long one node may take to accept a connection before the next one is tried. Default 1 s,
    /// at least 1 ms.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the first attempt at an operation may take before it is repeated on another node,
    /// under the same name; each further attempt may take twice as long. Default 3 s, at least
    /// 1 ms. It bounds what a node that is cut off from the others can cost; deadlines bound the
    /// whole.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How often a connection in use is probed (HTTP/2 PING), and how long the answer may take
    /// before the connection counts as broken. Default 1 s, at least 1 ms.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// Pauses between attempts: random, below `first`, doubled by each attempt up to `max`. Where
    /// the cluster names a pause itself, at least that. Defaults 10 ms and 200 ms.
    #[must_use]
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.backoff_first = first;
        self.backoff_max = max;
        self
    }

    /// Sends every operation as a call of its own instead of sharing one stream: 10 to 20 times the
    /// CPU. For comparisons and for proxies that break streams. Default off.
    #[must_use]
    pub fn unary(mut self, unary: bool) -> Self {
        self.unary = unary;
        self
    }

    /// Finds out which node leads, and talks to that one while it can be reached: saves the hop
    /// from the others to the leader. It is asked for once a second, and failures that name the
    /// leader count, too. Default off: clients spread over all endpoints.
    #[must_use]
    pub fn prefer_leader(mut self, prefer: bool) -> Self {
        self.prefer_leader = prefer;
        self
    }

    /// Which addresses the client may connect to. Default [`Reach::Members`]. Set
    /// [`Reach::Configured`] where the addresses that members know each other by lead elsewhere:
    /// through an address translation, a tunnel, or a firewall that lets single nodes through.
    #[must_use]
    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// How long it is remembered who leads after a node named the leader: for that time, changes of
    /// members go straight there, and with [`Config::prefer_leader`] everything does. Default 5 s;
    /// zero uses what a failure says for the next attempt at the same operation only.
    #[must_use]
    pub fn hint_lifetime(mut self, lifetime: Duration) -> Self {
        self.hint_lifetime = lifetime;
        self
    }

    /// Where secrets, ids, nonces and jitter come from. Default [`OsEntropy`].
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Checks the whole, and gives every endpoint the form of a URI.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        let mut violations = Vec::new();
        if self.endpoints.is_empty() || self.endpoints.len() > ENDPOINTS_MAX {
            let len = self.endpoints.len();
            let problem = format!("has {len} addresses: give 1 to {ENDPOINTS_MAX}");
            violations.push(Violation::new("endpoints", problem));
        }
        for (place, endpoint) in self.endpoints.iter_mut().enumerate() {
            match uri(endpoint) {
                Ok(uri) => *endpoint = uri,
                Err(problem) => {
                    violations.push(Violation::new(&format!("endpoints[{place}]"), problem));
                }
            }
        }
        let durations = [
            ("connect_timeout", self.connect_timeout),
            ("attempt_timeout", self.attempt_timeout),
            ("keep_alive", self.keep_alive),
        ];
        for (field, duration) in durations {
            if duration < Duration::from_millis(1) {
                let problem = format!("is {duration:?}: the minimum is 1 ms");
                violations.push(Violation::new(field, problem));
            }
        }
        if violations.is_empty() { Ok(self) } else { Err(Error::InvalidArgument { violations }) }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("endpoints", &self.endpoints)
            .field("connect_timeout", &self.connect_timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("keep_alive", &self.keep_alive)
            .field("backoff_first", &self.backoff_first)
            .field("backoff_max", &self.backoff_max)
            .field("unary", &self.unary)
            .field("prefer_leader", &self.prefer_leader)
            .field("reach", &self.reach)
            .field("hint_lifetime", &self.hint_lifetime)
            .finish_non_exhaustive()
    }
}

/// `host:port` or `http://host:port` as a URI.
pub(crate) fn uri(endpoint: &str) -> Result<String, String> {
    let bare = match endpoint.split_once("://") {
        Some(("http", bare)) => bare.trim_end_matches('/'),
        Some((scheme, _)) => {
            return Err(format!("has the scheme {scheme}: this client speaks http only"));
        }
        None => endpoint,
    };
    let uri = format!("http://{bare}");
    match uri.parse::<tonic::transport::Uri>() {
        Ok(parsed) if parsed.port_u16().is_some() && parsed.path() == "/" => Ok(uri),
        Ok(_) => Err("is no address: write host:port".to_owned()),
        Err(error) => Err(format!("is no address ({error}): write host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_uris() {
        assert_eq!(uri("127.0.0.1:7401").as_deref(), Ok("http://127.0.0.1:7401"));
        assert_eq!(uri("http://node-1:7401/").as_deref(), Ok("http://node-1:7401"));
        assert_eq!(uri("[::1]:7401").as_deref(), Ok("http://[::1]:7401"));
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        let config = Config::new(["https://a:1", "a", "a:1/x", ""]).connect_timeout(Duration::ZERO);
        let Err(Error::InvalidArgument { violations }) = config.checked() else {
            panic!("nothing of it is right");
        };
        let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(
            fields,
            ["endpoints[0]", "endpoints[1]", "endpoints[2]", "endpoints[3]", "connect_timeout"]
        );
        assert!(Config::new(Vec::<String>::new()).checked().is_err());
    }
}
