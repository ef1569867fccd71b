//! Connections to peers, by address and lane. Made when first used, shared by all calls, and made
//! again by the transport after they broke.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};

use super::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A ping this often, also while nothing is said.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(1);
/// A connection whose ping isn't answered for so long is dead.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// What is said over a connection of its own, so that a large transfer never delays a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Replication, forwarded commands, read index.
    Log,
    /// Heartbeats, votes, reports, probes.
    Liveness,
    /// Base files.
    Bulk,
}

/// The seam to the network: how a connection is made. TLS and simulation come in here.
pub trait Connector: Send + Sync + 'static {
    /// A channel to the endpoint, connected when first used.
    fn connect(&self, endpoint: Endpoint) -> Channel;
}

/// Plain TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, endpoint: Endpoint) -> Channel {
        endpoint.connect_lazy()
    }
}

/// Why a call to a peer failed before it gave an answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PeerCallError {
    /// No such address can exist.
    #[error("{address:?} is no host:port")]
    Address {
        /// As it was configured.
        address: String,
    },
    /// Nobody answered there in time.
    #[error("{address} can't be reached: {why}")]
    Unreachable {
        /// The peer address.
        address: String,
        /// As the transport says it.
        why: String,
    },
    /// The node that answered is not the one that was meant, or not ready for it.
    #[error("{address} refused: {why}")]
    Refused {
        /// The peer address.
        address: String,
        /// In its words.
        why: String,
    },
    /// It answered something that makes no sense.
    #[error("{address} gave a broken answer: {why}")]
    Broken {
        /// The peer address.
        address: String,
        /// What was wrong.
        why: String,
    },
}

impl PeerCallError {
    /// Sorts a status: what the peer decided, from what the transport suffered.
    pub(super) fn from_status(address: &str, status: &tonic::Status) -> Self {
        use tonic::Code;
        let (address, why) = (address.to_owned(), status.message().to_owned());
        match status.code() {
            Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
                Self::Refused { address, why }
            }
            Code::InvalidArgument | Code::OutOfRange | Code::DataLoss | Code::Unimplemented => {
                Self::Broken { address, why }
            }
            code => Self::Unreachable { address, why: format!("{why} ({code:?})") },
        }
    }

    pub(super) fn timeout(address: &str, after: Duration) -> Self {
        let why = format!("no answer within {} ms", after.as_millis());
        Self::Unreachable { address: address.to_owned(), why }
    }
}

/// All connections of a node to its peers.
pub(super) struct Connections {
    connector: Arc<dyn Connector>,
    channels: Mutex<BTreeMap<(String, Lane), Channel>>,
}

impl Connections {
    pub(super) fn new(connector: Arc<dyn Connector>) -> Self {
        Self { connector, channels: Mutex::new(BTreeMap::new()) }
    }

    /// The connection to `address` for that lane.
    pub(super) fn channel(&self, address: &str, lane: Lane) -> Result<Channel, PeerCallError> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(&(address.to_owned(), lane)) {
            return Ok(channel.clone());
        }
        let endpoint = endpoint(address)?;
        let channel = self.connector.connect(endpoint);
        channels.insert((address.to_owned(), lane), channel.clone());
        Ok(channel)
    }

    /// Forgets the connections of a peer that was removed or moved.
    pub(super) fn forget(&self, address: &str) {
        self.channels.lock().retain(|(known, _), _| known != address);
    }
}

fn endpoint(address: &str) -> Result<Endpoint, PeerCallError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| PeerCallError::Address { address: address.to_owned() })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}
