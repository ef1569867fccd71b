//! Where secrets, ids, nonces and jitter come from. Everything random in this crate is drawn here,
//! so that a simulation can replay it.

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// A source of random bytes fit for secrets.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// [`EntropyError`] if none can be had. Nothing is minted then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The operating system gave no randomness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no randomness to be had: {why}")]
pub struct EntropyError {
    /// What the source said.
    pub why: String,
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|error| EntropyError { why: error.to_string() })
    }
}

/// A generator whose whole output follows from a number. For simulations and tests only: whoever
/// knows the seed knows every secret, and two clients of one seed mint the same tokens.
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// The generator that follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl std::fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeededEntropy(…)")
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.lock().fill_bytes(bytes);
        Ok(())
    }
}

/// A whole number below `bound`, or 0 without randomness: jitter that fails is no jitter.
pub(crate) fn below(entropy: &dyn Entropy, bound: u64) -> u64 {
    let mut bytes = [0; 8];
    match entropy.fill(&mut bytes) {
        // The bias of the remainder doesn't matter for jitter.
        Ok(()) if bound > 0 => u64::from_le_bytes(bytes) % bound,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let draw = |seed| {
            let mut bytes = [0; 32];
            SeededEntropy::new(seed).fill(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn the_operating_system_never_repeats_itself() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        OsEntropy.fill(&mut one).unwrap();
        OsEntropy.fill(&mut two).unwrap();
        assert_ne!(one, two);
    }

    #[test]
    fn jitter_stays_below_its_bound() {
        let entropy = SeededEntropy::new(1);
        assert!((0..1_000).all(|_| below(&entropy, 10) < 10));
        assert_eq!(below(&entropy, 0), 0);
    }
}
