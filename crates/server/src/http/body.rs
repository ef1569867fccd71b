//! Bodies: of the right type, of a bounded size, in a bounded time.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use futures::StreamExt as _;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// More bytes than allowed.
    TooLarge,
    /// It did not come in time, or broke off.
    Incomplete,
}

/// Longest time that a body may take, whatever deadline its caller named.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Whether the body is said to be of this type; parameters (`; charset=utf-8`) don't matter.
pub(super) fn is_of_type(headers: &HeaderMap, want: &str) -> bool {
    let Some(text) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(want)
}

/// Reads a body of at most `max` bytes. What was read is erased when it is dropped.
pub(super) async fn read(
    body: Body,
    max: usize,
    deadline: Instant,
) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let until = deadline.min(Instant::now() + BODY_TIME_MAX);
    let reading = tokio::time::timeout_at(until, gather(body, max));
    reading.await.unwrap_or(Err(BodyError::Incomplete))
}

async fn gather(body: Body, max: usize) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let mut frames = body.into_data_stream();
    let mut bytes = Zeroizing::new(Vec::new());
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| BodyError::Incomplete)?;
        if frame.len() > max - bytes.len() {
            return Err(BodyError::TooLarge);
        }
        if bytes.len() + frame.len() > bytes.capacity() {
            // Growing in place would leave pieces behind in freed memory.
            let capacity = (2 * (bytes.len() + frame.len())).clamp(512.min(max), max);
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn frames(frames: Vec<&'static [u8]>) -> Body {
        Body::from_stream(futures::stream::iter(frames.into_iter().map(Ok::<_, Infallible>)))
    }

    #[tokio::test]
    async fn a_body_of_the_largest_size_is_read_and_one_byte_more_is_not() {
        let soon = Instant::now() + Duration::from_secs(5);
        let read_whole = |max| read(frames(vec![b"abc", b"", b"def"]), max, soon);
        assert_eq!(read_whole(6).await.expect("it fits").as_slice(), b"abcdef");
        assert_eq!(read_whole(5).await, Err(BodyError::TooLarge));
        assert_eq!(read_whole(0).await, Err(BodyError::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let endless = Body::from_stream(futures::stream::pending::<Result<&[u8], Infallible>>());
        let late = Instant::now() + Duration::from_secs(3_600);
        let began = Instant::now();
        assert_eq!(read(endless, 10, late).await, Err(BodyError::Incomplete));
        assert!(began.elapsed() <= BODY_TIME_MAX + Duration::from_millis(10));
    }

    #[test]
    fn a_type_is_compared_without_its_parameters() {
        let is_json = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, text.parse().expect("a header value"));
            is_of_type(&headers, "application/json")
        };
        assert!(is_json("application/json"));
        assert!(is_json("Application/JSON ; charset=utf-8"));
        assert!(!is_json("text/plain") && !is_json("application/jsonp") && !is_json(""));
        assert!(!is_of_type(&HeaderMap::new(), "application/json"));
    }
}
