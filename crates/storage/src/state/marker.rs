//! The marker: which log entry the rows stand at, and what they must add up to.
//!
//! On disk, big endian: version `u8` = 1 ‖ index `u64` ‖ rows `u128` ‖ length of opaque `u32` ‖
//! opaque ‖ CRC-32 of all that `u32`.

use bytes::Bytes;

const VERSION: u8 = 1;
/// Bytes of an encoded marker beside its opaque part.
const FIXED_BYTES: usize = 1 + 8 + 16 + 4 + 4;

/// Which log entry a state stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Log index of the last entry applied.
    pub index: u64,
    /// Sum of all rows' digests (`jeton_core`'s `row_digest`), wrapping: the machine's own count,
    /// with which the rows found on disk are compared.
    pub rows: u128,
    /// What the layer above keeps with it: log id, membership, the machine's counters.
    pub opaque: Bytes,
}

/// Bytes that are not a marker.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarkerError {
    /// Truncated, altered, or something else.
    #[error("the marker is damaged")]
    Damaged,
    /// Written by a newer release.
    #[error("the marker has format version {0}, this release knows up to {VERSION}")]
    Newer(u8),
}

impl Marker {
    /// The bytes that are stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + self.opaque.len());
        out.push(VERSION);
        out.extend_from_slice(&self.index.to_be_bytes());
        out.extend_from_slice(&self.rows.to_be_bytes());
        let opaque_len = u32::try_from(self.opaque.len()).expect("a marker is small");
        out.extend_from_slice(&opaque_len.to_be_bytes());
        out.extend_from_slice(&self.opaque);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads what [`Marker::encode`] wrote.
    ///
    /// # Errors
    /// [`MarkerError`] if it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, MarkerError> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(MarkerError::Damaged)?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(MarkerError::Damaged);
        }
        let (version, rest) = body.split_first().ok_or(MarkerError::Damaged)?;
        if *version != VERSION {
            return Err(MarkerError::Newer(*version));
        }
        let (index, rest) = rest.split_first_chunk::<8>().ok_or(MarkerError::Damaged)?;
        let (rows, rest) = rest.split_first_chunk::<16>().ok_or(MarkerError::Damaged)?;
        let (opaque_len, opaque) = rest.split_first_chunk::<4>().ok_or(MarkerError::Damaged)?;
        if usize::try_from(u32::from_be_bytes(*opaque_len)) != Ok(opaque.len()) {
            return Err(MarkerError::Damaged);
        }
        Ok(Self {
            index: u64::from_be_bytes(*index),
            rows: u128::from_be_bytes(*rows),
            opaque: Bytes::copy_from_slice(opaque),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Marker {
        Marker { index: 7, rows: 0x0102, opaque: Bytes::from_static(b"meta") }
    }

    /// Golden bytes: what version 1 looks like for ever.
    #[test]
    fn version_one_stays_readable() {
        let golden = [
            1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 4,
            b'm', b'e', b't', b'a',
        ];
        let encoded = sample().encode();
        assert_eq!(encoded[..golden.len()], golden);
        assert_eq!(Marker::decode(&encoded), Ok(sample()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let encoded = sample().encode();
        for bit in 0..encoded.len() * 8 {
            let mut flipped = encoded.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Marker::decode(&flipped), Err(MarkerError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        let encoded = sample().encode();
        for len in 0..encoded.len() {
            assert_eq!(Marker::decode(&encoded[..len]), Err(MarkerError::Damaged));
        }
    }
}
