//! Where the entries are: four bytes for each, and the segments that hold them.
//!
//! The entries of one segment that still count have consecutive indexes and ascending offsets,
//! since entries are only added behind the last one and only dropped from either end. So a segment
//! needs the index of its first one and a list of offsets.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::disk::DiskFile;

/// All segments, oldest first; the last one is written to.
#[derive(Debug, Default)]
pub struct Index {
    segments: VecDeque<Segment>,
}

#[derive(Debug)]
struct Segment {
    sequence: u64,
    file: Arc<dyn DiskFile>,
    /// Bytes in use.
    end: u32,
    first: u64,
    offsets: Vec<u32>,
}

/// Entries that lie in one stretch of one file.
#[derive(Debug)]
pub struct Run {
    pub sequence: u64,
    pub file: Arc<dyn DiskFile>,
    pub first: u64,
    /// Where each record starts.
    pub offsets: Vec<u32>,
    /// Where the stretch ends; there may be records of other kinds before it.
    pub end: u32,
}

impl Segment {
    fn next(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }
}

impl Index {
    pub fn add_segment(&mut self, sequence: u64, file: Arc<dyn DiskFile>, next: u64) {
        let segment = Segment { sequence, file, end: 0, first: next, offsets: Vec::new() };
        self.segments.push_back(segment);
    }

    /// Notes an entry in the last segment.
    pub fn add(&mut self, index: u64, offset: u32) {
        if let Some(segment) = self.segments.back_mut() {
            if segment.offsets.is_empty() {
                segment.first = index;
            }
            debug_assert_eq!(segment.next(), index, "entries of a segment are consecutive");
            segment.offsets.push(offset);
        }
    }

    pub fn set_end(&mut self, end: u32) {
        if let Some(segment) = self.segments.back_mut() {
            segment.end = end;
        }
    }

    /// Forgets entries from `index` on.
    pub fn truncate(&mut self, index: u64) {
        for segment in self.segments.iter_mut().rev() {
            if segment.next() <= index {
                break;
            }
            segment.offsets.truncate(index.saturating_sub(segment.first) as usize);
            segment.first = segment.first.min(index);
        }
    }

    /// Forgets what is of no use when entries up to `index` are gone: all in the segments that end
    /// there. They stay until [`Index::remove_unneeded`].
    pub fn purge(&mut self, index: u64) {
        for segment in &mut self.segments {
            if segment.next() > index + 1 {
                break;
            }
            segment.offsets.clear();
            segment.first = index + 1;
        }
    }

    /// Takes out the oldest segments as long as they hold no entry; never the last one.
    pub fn remove_unneeded(&mut self) -> Vec<u64> {
        let mut removed = Vec::new();
        while self.segments.len() > 1
            && let Some(segment) = self.segments.pop_front_if(|front| front.offsets.is_empty())
        {
            removed.push(segment.sequence);
        }
        removed
    }

    /// The oldest segment, and the first entry in any of them.
    pub fn oldest(&self) -> Option<(u64, Option<u64>)> {
        let first = self.segments.iter().find(|segment| !segment.offsets.is_empty());
        Some((self.segments.front()?.sequence, first.map(|segment| segment.first)))
    }

    /// Entries from `from` on, before `to`, from one segment: the first one, and more while the
    /// stretch is at most `bytes_max`. `None` if `from` is not here.
    pub fn run(&self, from: u64, to: u64, bytes_max: usize) -> Option<Run> {
        let at = self.segments.partition_point(|segment| segment.next() <= from);
        let segment = self.segments.get(at).filter(|segment| segment.first <= from)?;
        let skip = (from - segment.first) as usize;
        let take = (to.min(segment.next()) - from) as usize;
        let rest = &segment.offsets[skip..];
        let end_of = |entry: usize| rest.get(entry + 1).copied().unwrap_or(segment.end);
        let mut count = 1;
        while count < take && (end_of(count) - rest[0]) as usize <= bytes_max {
            count += 1;
        }
        Some(Run {
            sequence: segment.sequence,
            file: Arc::clone(&segment.file),
            first: from,
            offsets: rest[..count].to_vec(),
            end: end_of(count - 1),
        })
    }

    /// Bytes of all segments from the entry `index` on.
    pub fn bytes_since(&self, index: u64) -> u64 {
        let newer = self.segments.iter().filter(|segment| segment.next() > index);
        let bytes = newer.map(|segment| {
            let skip = index.saturating_sub(segment.first) as usize;
            u64::from(segment.end - segment.offsets.get(skip).copied().unwrap_or(0))
        });
        bytes.sum()
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }
}
