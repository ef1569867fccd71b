//! Exit codes, and which failure gets which. Scripts rely on them: they never change meaning.

use std::fmt;
use std::process::ExitCode;

use jeton_client::Error;
use jeton_server::offline::OfflineError;
use jeton_server::offline::inspect::InspectError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The cluster judged and said no, or a check found something wrong.
    Refused = 1,
    /// The command line, the configuration or a value in it is wrong.
    Usage = 2,
    /// It could not be done: nobody reachable, no quorum, an I/O error. Nothing happened.
    Failed = 3,
    /// Nobody knows whether it happened: read before repeating it.
    Unknown = 4,
}

/// The part of `--help` that explains them.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  refused: the cluster judged and said no, or a check found something wrong
  2  usage: the command line, the configuration or a value in it is wrong
  3  failed: nobody reachable, no quorum, an I/O error; nothing happened
  4  unknown: it may have happened; read before repeating it";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Refused => "REFUSED",
            Self::Usage => "USAGE",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The code for whatever a command failed with.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<Usage>().is_some() {
            return Self::Usage;
        }
        match error.downcast_ref::<OfflineError>() {
            Some(OfflineError::Exists(_) | OfflineError::Encrypted(_)) => return Self::Usage,
            Some(verdict) if verdict.is_verdict() => return Self::Refused,
            _ => {}
        }
        match error.downcast_ref::<InspectError>() {
            Some(InspectError::NoNode(_)) => return Self::Usage,
            Some(verdict) if verdict.is_verdict() => return Self::Refused,
            _ => {}
        }
        error.downcast_ref::<Error>().map_or(Self::Failed, |error| match error {
            error if error.outcome_unknown() => Self::Unknown,
            Error::Refused(_) | Error::Denied { .. } => Self::Refused,
            Error::InvalidArgument { .. } => Self::Usage,
            Error::Failed { code, .. } => match *code {
                "INVALID_ARGUMENT" | "OUT_OF_RANGE" => Self::Usage,
                "UNAVAILABLE" | "UNIMPLEMENTED" => Self::Failed,
                _ => Self::Refused,
            },
            _ => Self::Failed,
        })
    }
}

/// A mistake of whoever typed the command, found after parsing.
#[derive(Debug)]
pub struct Usage(String);

impl Usage {
    /// In words, with what to do.
    pub fn error(message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(message.into()))
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

#[cfg(test)]
mod tests {
    use jeton_core::reply::Refusal;

    use super::*;

    #[test]
    fn failures_get_their_documented_codes() {
        let code = |error: Error| Exit::of(&anyhow::Error::new(error).context("while testing"));
        assert_eq!(code(Error::Refused(Refusal::NotFound)), Exit::Refused);
        assert_eq!(code(Error::Unavailable { why: "all down".into() }), Exit::Failed);
        assert_eq!(code(Error::InvalidArgument { violations: Vec::new() }), Exit::Usage);
        for (outcome_unknown, exit) in [(true, Exit::Unknown), (false, Exit::Failed)] {
            let error = Error::DeadlineExceeded { outcome_unknown, attempts: 1, last: None };
            assert_eq!(code(error), exit);
        }
        assert_eq!(Exit::of(&Usage::error("no such flag")), Exit::Usage);
        assert_eq!(Exit::of(&anyhow::anyhow!("disk full")), Exit::Failed);
    }
}
