//! Why a server did not start, for its operator: what was wrong, what to do, and an exit code.

use std::io;
use std::net::SocketAddr;

use crate::config::ConfigError;
use crate::logging::LoggingError;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Log lines have nowhere to go.
    #[error("logging could not be set up")]
    Logging(#[from] LoggingError),
    /// Somebody else listens there.
    #[error(
        "{address} ({key}) is in use: stop the process that listens there, or choose another port"
    )]
    PortInUse {
        /// The address.
        address: SocketAddr,
        /// The setting that names it.
        key: &'static str,
        /// As the system tells it.
        #[source]
        source: io::Error,
    },
    /// The address can't be listened on.
    #[error("cannot listen on {address} ({key}): choose an address of this machine")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that names it.
        key: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The node did not start: data directory in use or of another cluster, damaged log, …
    #[error("the node did not start")]
    Node(#[from] jeton_raft::StartError),
}

impl StartError {
    /// The process's exit code, as in BSD's `sysexits.h`: 78 configuration, 75 try again (port or
    /// directory in use), 74 input and output, also what is damaged or lost.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(ConfigError::Read { .. }) => 74,
            Self::Config(_) | Self::Logging(_) => 78,
            Self::PortInUse { .. } => 75,
            Self::Listen { .. } => 74,
            Self::Node(jeton_raft::StartError::Config(_)) => 78,
            Self::Node(jeton_raft::StartError::InUse(_)) => 75,
            Self::Node(_) => 74,
        }
    }

    pub(crate) fn listen(address: SocketAddr, key: &'static str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AddrInUse {
            Self::PortInUse { address, key, source }
        } else {
            Self::Listen { address, key, source }
        }
    }
}
