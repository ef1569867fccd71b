//! How long a unary caller waits: the `grpc-timeout` header, which is mandatory.

use std::time::Duration;

use jeton_wire::Failure;
use jeton_wire::decode::DEADLINE_MS_MAX;
use jeton_wire::failure::reason;
use tokio::time::Instant;
use tonic::Code;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::MetadataMap;

/// The header.
const HEADER: &str = "grpc-timeout";
/// Less than this is no time to do anything in: it counts as passed when the call comes in.
const LEAST: Duration = Duration::from_millis(1);
/// Answers must travel before the caller gives up: a tenth of its time is kept for that, at most
/// this. It also keeps the transport's own timer, which knows no details, from firing first.
const TRAVEL_MAX: Duration = Duration::from_millis(50);

/// When a unary call that came in at `received` must be answered.
///
/// # Errors
/// [`Failure`] if the header is missing, no timeout, or passed already: below 1 ms.
pub(crate) fn of_unary(metadata: &MetadataMap, received: Instant) -> Result<Instant, Failure> {
    let Some(header) = metadata.get(HEADER) else {
        return Err(Failure::new(
            Code::InvalidArgument,
            reason::DEADLINE_MISSING,
            "the call has no deadline: set one in your gRPC client (it sends the header \
             grpc-timeout); 1 to 5 seconds are usual",
        )
        .not_executed());
    };
    let left = header.to_str().ok().and_then(parse).ok_or_else(|| {
        Failure::new(
            Code::InvalidArgument,
            reason::INVALID_REQUEST,
            "the header grpc-timeout is malformed: send 1 to 8 digits and one of H, M, S, m, u, n",
        )
        .not_executed()
    })?;
    if left < LEAST {
        return Err(expired());
    }
    let left = left.min(Duration::from_millis(DEADLINE_MS_MAX));
    Ok(received + (left - (left / 10).min(TRAVEL_MAX)))
}

/// Whether a call can't be answered in time, by its headers alone. Its body need not have come: the
/// transport's own timer would end the call before that, without details.
pub(crate) fn is_passed(headers: &HeaderMap) -> bool {
    let header = headers.get(HEADER).and_then(|header| header.to_str().ok());
    header.and_then(parse).is_some_and(|left| left < LEAST)
}

/// The deadline had passed before anything was done.
pub(crate) fn expired() -> Failure {
    Failure::new(
        Code::DeadlineExceeded,
        reason::DEADLINE_EXCEEDED,
        "the deadline had passed when the request came in; it was not executed: allow more time",
    )
    .not_executed()
}

/// 1 to 8 digits and a unit (gRPC over HTTP/2, "Timeout").
fn parse(header: &str) -> Option<Duration> {
    let unit = header.chars().last()?;
    let digits = header.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(value * 3_600),
        'M' => Duration::from_secs(value * 60),
        'S' => Duration::from_secs(value),
        'm' => Duration::from_millis(value),
        'u' => Duration::from_micros(value),
        'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(header: Option<&str>) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        if let Some(header) = header {
            metadata.insert(HEADER, header.parse().expect("a header value"));
        }
        metadata
    }

    #[test]
    fn a_timeout_is_kept_but_for_the_way_back() {
        let now = Instant::now();
        let at = |header| of_unary(&metadata(Some(header)), now).expect("valid") - now;
        assert_eq!(at("100m"), Duration::from_millis(90));
        assert_eq!(at("5S"), Duration::from_millis(4_950));
        assert_eq!(at("99999999H"), Duration::from_millis(DEADLINE_MS_MAX) - TRAVEL_MAX);
    }

    #[test]
    fn missing_malformed_and_passed_timeouts_are_told_apart() {
        let now = Instant::now();
        let fails = |header| of_unary(&metadata(header), now).expect_err("refused");
        let missing = fails(None);
        assert_eq!((missing.code, &*missing.reason), (Code::InvalidArgument, "DEADLINE_MISSING"));
        for header in ["", "S", "5", "5s", "-5S", "123456789S", "5.0S", "+5S"] {
            let bad = fails(Some(header));
            assert_eq!(bad.code, Code::InvalidArgument, "{header}");
            assert!(bad.message.contains("grpc-timeout"), "{header}");
        }
        for header in ["0m", "1n", "999u", "999999n"] {
            let passed = fails(Some(header));
            assert_eq!((passed.code, passed.not_executed), (Code::DeadlineExceeded, true));
            assert!(is_passed(metadata(Some(header)).as_ref()), "{header}");
        }
        for header in [None, Some("1m"), Some("1000u"), Some("5"), Some("")] {
            assert!(!is_passed(metadata(header).as_ref()), "{header:?}");
        }
    }
}
