//! Sentences for people out of what machines answered. Never a token, digest, payload or key.

use std::time::Duration;

use jeton_wire::Violation;

/// Violations, joined.
pub(crate) fn list(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What the last attempt ended with, in brackets.
pub(crate) fn last(last: Option<&str>) -> String {
    last.map(|last| format!(" (the last one: {last})")).unwrap_or_default()
}

/// A pause, as a sentence.
pub(crate) fn retry_after(pause: Option<Duration>) -> String {
    pause.map(|pause| format!("; come back in {} ms", pause.as_millis())).unwrap_or_default()
}

/// A reason behind its code.
pub(crate) fn reason(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(", {reason}") }
}
