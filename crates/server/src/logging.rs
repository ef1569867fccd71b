//! Where log lines go, and in which form. Never a token, digest, seal, payload or key: types that
//! hold one print themselves without.

use std::borrow::Cow;
use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Config, LogFormat};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The filter is none.
    #[error("log_filter is invalid")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// This process logs already.
    #[error("logging is set up already")]
    Again(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What openraft says without end: of each look at the clock while there is no leader, sixty times
/// a second, and of each failed call to a peer that is down. The node itself says once who leads,
/// and which members are gone.
const REPETITIVE: &str = "openraft=warn,openraft::core::heartbeat=error,\
                          openraft::replication=error,\
                          openraft::engine::handler::replication_handler=error";

/// The filter, without what repeats itself unless it is asked for.
fn directives(filter: &str) -> Cow<'_, str> {
    if filter.contains("openraft") {
        return filter.into();
    }
    format!("{filter},{REPETITIVE}").into()
}

/// Sends log lines to standard error, once per process. Binaries call it; tests needn't.
///
/// # Errors
/// [`LoggingError`].
pub fn init(config: &Config) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(directives(&config.log_filter).as_ref());
    let filter = filter.map_err(LoggingError::Filter)?;
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(LoggingError::Again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_itself_is_left_out_unless_it_is_named() {
        for filter in ["info", "", "warn,jeton_raft=debug"] {
            let whole = directives(filter);
            assert!(whole.contains("openraft::replication=error"), "{whole}");
            assert!(EnvFilter::try_new(whole.as_ref()).is_ok(), "{whole}");
        }
        assert_eq!(directives("info,openraft=debug"), "info,openraft=debug");
    }
}
