//! Digests of rows: how replicas know that they hold the same, and how storage knows that a disk
//! lost nothing.
//!
//! The digest of a state is a multiset hash: the wrapping sum of one 128-bit hash for each row. So
//! it is kept up to date by a subtraction and an addition for each change, and it does not depend
//! on the order in which rows are looked at. It detects damage and divergence; it is no defence
//! against someone who can write rows.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128, xxh3_128_with_seed};

/// The hash of one row. Add those of all rows (wrapping) for the digest of a state.
#[must_use]
pub fn row_digest(key: &[u8], value: &[u8]) -> u128 {
    // The key is the seed: no buffer to join them, and no doubt where one ends.
    xxh3_128_with_seed(value, xxh3_64(key))
}

/// The hash of a byte string on its own, for what is compared and never trusted.
pub(crate) fn bytes_digest(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}
