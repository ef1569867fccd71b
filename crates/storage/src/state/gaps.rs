//! Ranges of keys known to hold no row.
//!
//! The sweep of expired rows always scans from the same key and removes what it finds, so between
//! two checkpoints it would walk over everything it removed before, again and again. It is
//! remembered here instead: a scan that passed many removals notes the gap, a write into a gap
//! cuts it. Freezing and checkpoints move rows between layers and change no gap.

use bytes::Bytes;

/// Gaps remembered at once; the oldest is forgotten for a new one.
const GAPS_MAX: usize = 8;
/// Removals a scan must have passed for the gap to be worth remembering.
const SKIPPED_MIN: usize = 32;

/// No row has a key with `from <= key < to`.
#[derive(Debug)]
struct Gap {
    from: Bytes,
    to: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Gaps {
    gaps: Vec<Gap>,
}

impl Gaps {
    /// Where a scan of `from..to` may start.
    pub(super) fn skip(&self, from: &[u8], to: &[u8]) -> Bytes {
        let known = self.gaps.iter().find(|gap| gap.from <= from && from < gap.to);
        match known {
            Some(gap) if gap.to < to => gap.to.clone(),
            Some(_) => Bytes::copy_from_slice(to),
            None => Bytes::copy_from_slice(from),
        }
    }

    /// A scan passed `skipped` removals and saw no row with `from <= key < to`.
    pub(super) fn found(&mut self, from: &[u8], to: &[u8], skipped: usize) {
        if skipped < SKIPPED_MIN || from >= to {
            return;
        }
        if let Some(gap) = self.gaps.iter_mut().find(|gap| gap.from <= from && from <= gap.to) {
            if gap.to < to {
                gap.to = Bytes::copy_from_slice(to);
            }
            return;
        }
        if self.gaps.len() == GAPS_MAX {
            self.gaps.remove(0);
        }
        self.gaps.push(Gap { from: Bytes::copy_from_slice(from), to: Bytes::copy_from_slice(to) });
    }

    /// A row was written under `key`.
    pub(super) fn filled(&mut self, key: &Bytes) {
        self.gaps.retain_mut(|gap| {
            if gap.from <= *key && *key < gap.to {
                gap.to = key.clone();
            }
            gap.from < gap.to
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_skipped_until_it_is_written_into() {
        let mut gaps = Gaps::default();
        gaps.found(b"b", b"m", SKIPPED_MIN);
        assert_eq!(gaps.skip(b"b", b"z"), "m");
        assert_eq!(gaps.skip(b"c", b"z"), "m");
        assert_eq!(gaps.skip(b"c", b"d"), "d");
        assert_eq!(gaps.skip(b"a", b"z"), "a");
        assert_eq!(gaps.skip(b"m", b"z"), "m");
        gaps.filled(&Bytes::from_static(b"f"));
        assert_eq!(gaps.skip(b"b", b"z"), "f");
        assert_eq!(gaps.skip(b"g", b"z"), "g");
        gaps.filled(&Bytes::from_static(b"b"));
        assert_eq!(gaps.skip(b"b", b"z"), "b");
    }

    #[test]
    fn gaps_that_touch_become_one() {
        let mut gaps = Gaps::default();
        gaps.found(b"b", b"f", SKIPPED_MIN);
        gaps.found(b"f", b"k", SKIPPED_MIN);
        assert_eq!(gaps.skip(b"b", b"z"), "k");
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut gaps = Gaps::default();
        for first in b'a'..=b'y' {
            gaps.found(&[first], &[first, 1], SKIPPED_MIN);
        }
        assert_eq!(gaps.gaps.len(), GAPS_MAX);
    }
}
