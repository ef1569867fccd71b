//! Reads the files back, and decides whether what can't be read was never promised or was lost.
//!
//! The records are followed from the oldest segment on, each by the crc of the one before. Where
//! that ends, at offset *T* of some segment, there are these cases:
//!
//! | behind *T* | verdict |
//! |---|---|
//! | only zeros, also in later segments | the end of the log |
//! | a record that says that *T* was synced, or anything in a later segment | refused: damage |
//! | the record at *T* is whole, but does not follow the one before | refused: damage |
//! | something else | a batch that a crash cut short: zeroed, synced, and reported |
//!
//! Zeroing leaves, if it is cut short itself, a shorter torn batch: the next start does it again.
//! Before anything is reported to be in the log, its files and the directory are synced: after the
//! death of a process its last writes may be in the system's memory only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::error::LogError;
use super::index::Index;
use super::kept::Kept;
use super::record::{self, Kind};
use super::segment::{self, FIRST_RECORD};
use super::writer::Tail;
use crate::disk::{Disk, DiskFile};

/// What opening a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Segments in use.
    pub segments: usize,
    /// Entries that are there.
    pub entries: u64,
    /// A batch that a crash cut short was cut off.
    pub torn: Option<Torn>,
    /// The last thing in the log is the note that everything before it was synced: nothing that was
    /// acknowledged can be missing. Without it, as after a power cut, damage to the very last batch
    /// looks like a batch that was cut short: then `torn` is set.
    pub marked: bool,
}

/// A batch that a crash cut short. Nobody was told that it was durable, unless its bytes were
/// damaged after they were synced and the note of that sync is lost too; see [`LogReport::marked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub file: PathBuf,
    /// Where the log ends now.
    pub offset: u64,
    /// Bytes behind it that were not zero, and are now.
    pub bytes: u64,
}

pub struct Recovered {
    pub index: Index,
    pub kept: Kept,
    pub tail: Tail,
    pub blank: Option<(u64, Arc<dyn DiskFile>)>,
    pub unneeded: Vec<u64>,
    pub report: LogReport,
}

/// Whether there is any segment in `dir`. It changes nothing.
pub fn exists(disk: &dyn Disk, dir: &Path) -> Result<bool, LogError> {
    if !disk.exists(dir).map_err(LogError::io("look for", dir))? {
        return Ok(false);
    }
    let names = disk.list(dir).map_err(LogError::io("list", dir))?;
    Ok(names.iter().any(|name| segment::sequence(name).is_some()))
}

/// Opens the log in `dir`; makes an empty one if there is none.
pub fn recover(disk: &dyn Disk, dir: &Path, segment_bytes: u64) -> Result<Recovered, LogError> {
    disk.create_dir_all(dir).map_err(LogError::io("create", dir))?;
    let names = disk.list(dir).map_err(LogError::io("list", dir))?;
    if names.iter().any(|name| name == segment::TMP) {
        let tmp = dir.join(segment::TMP);
        disk.remove(&tmp).map_err(LogError::io("remove", &tmp))?;
    }
    let mut sequences: Vec<u64> = names.iter().filter_map(|name| segment::sequence(name)).collect();
    if sequences.is_empty() {
        segment::create(disk, dir, 1, segment_bytes)?;
        sequences.push(1);
    }
    disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
    let mut replay = Replay { dir: dir.to_owned(), ..Replay::default() };
    for sequence in sequences {
        let path = segment::path(dir, sequence);
        let file = disk.open(&path).map_err(LogError::io("open", &path))?;
        let content = file.read_all().map_err(LogError::io("read", &path))?;
        segment::check(&path, &content, sequence)?;
        replay.segment(sequence, file, &content)?;
    }
    replay.finish()
}

#[derive(Default)]
struct Replay {
    dir: PathBuf,
    index: Index,
    kept: Kept,
    /// Header crc of the last record; `None` before the first.
    crc: Option<u32>,
    /// The segment read last, and whether it ends with a seal.
    last: Option<(u64, bool)>,
    /// Where the log ends, once that is known.
    tail: Option<Tail>,
    torn: Option<Torn>,
    marked: bool,
    blank: Option<(u64, Arc<dyn DiskFile>)>,
}

/// Why the records of a segment end.
enum End {
    Sealed,
    At(usize),
}

impl Replay {
    fn segment(
        &mut self,
        sequence: u64,
        file: Arc<dyn DiskFile>,
        content: &[u8],
    ) -> Result<(), LogError> {
        if let Some((last, _)) = self.last
            && sequence != last + 1
        {
            return Err(self.missing(last + 1, "there are newer segments"));
        }
        let blank = used(content) == FIRST_RECORD;
        if let Some(tail) = &self.tail {
            if !blank {
                let path = segment::path(&self.dir, tail.sequence);
                let why = format!("the log ends here, but segment {sequence} is in use");
                return Err(LogError::damaged(&path, tail.at, why));
            }
            self.blank.get_or_insert((sequence, file));
            self.last = Some((sequence, false));
            return Ok(());
        }
        if self.crc.is_none() && sequence > 1 && blank {
            return Err(self.missing(sequence - 1, "a blank segment follows it"));
        }
        self.index.add_segment(sequence, Arc::clone(&file), self.kept.next);
        let end = self.records(sequence, content)?;
        file.sync().map_err(LogError::sync(&segment::path(&self.dir, sequence)))?;
        self.last = Some((sequence, matches!(end, End::Sealed)));
        if let End::At(at) = end {
            self.torn = self.judge_tail(sequence, content, at)?;
            let crc = self.crc.unwrap_or(0);
            self.tail = Some(Tail { sequence, file, bytes: content.len(), at, crc });
        }
        Ok(())
    }

    /// Follows the records of one segment.
    fn records(&mut self, sequence: u64, content: &[u8]) -> Result<End, LogError> {
        let path = segment::path(&self.dir, sequence);
        let mut at = FIRST_RECORD;
        loop {
            let rest = content.get(at..).unwrap_or(&[]);
            let Some(header) = record::header(rest) else { break };
            let damaged = |why: String| Err(LogError::damaged(&path, at, why));
            if (header.kind == Kind::Begin) != (at == FIRST_RECORD) {
                return damaged(format!("a record of kind {:?} can't be here", header.kind));
            }
            if self.crc.is_some_and(|crc| crc != header.previous) {
                return damaged("the record does not follow the one before it".into());
            }
            let Some(payload) = header.payload(rest) else { break };
            if let Err(why) = self.take(&header, payload, at) {
                return damaged(why);
            }
            self.crc = Some(header.crc);
            self.marked = header.kind == Kind::Synced;
            at += record::size(payload.len());
            self.index.set_end(at as u32);
            if header.kind == Kind::Seal {
                return Ok(End::Sealed);
            }
        }
        Ok(End::At(at))
    }

    fn take(&mut self, header: &record::Header, payload: &[u8], at: usize) -> Result<(), String> {
        let (kept, index) = (&mut self.kept, header.index);
        let bytes = || Bytes::copy_from_slice(payload);
        match header.kind {
            Kind::Begin => {
                let first = payload.try_into().map_err(|_| "a short first record".to_owned())?;
                let first = u64::from_le_bytes(first);
                if self.crc.is_none() {
                    (kept.first, kept.next) = (first, index);
                } else if (kept.first, kept.next) != (first, index) {
                    return Err(format!(
                        "the segment goes on with entry {index}, not {}",
                        kept.next
                    ));
                }
            }
            Kind::Entry => {
                kept.append(index, 1).map_err(|error| error.to_string())?;
                self.index.add(index, at as u32);
            }
            Kind::Vote => kept.vote = Some(bytes()),
            Kind::Committed => kept.committed = Some(bytes()),
            Kind::Owner => kept.owner = Some(bytes()),
            Kind::Truncate => {
                kept.truncate(index);
                self.index.truncate(kept.next);
            }
            Kind::Purge => {
                kept.purge(index, bytes());
                self.index.purge(index);
            }
            Kind::Seal | Kind::Synced => {}
        }
        Ok(())
    }

    /// What the bytes are from `at` on, where no record follows.
    fn judge_tail(
        &self,
        sequence: u64,
        content: &[u8],
        at: usize,
    ) -> Result<Option<Torn>, LogError> {
        let used = used(content);
        if used <= at {
            return Ok(None);
        }
        let path = segment::path(&self.dir, sequence);
        let witness = (at..used).step_by(8).find(|&offset| {
            record::header(&content[offset..])
                .is_some_and(|header| (at + 1..=offset).contains(&(header.synced_to as usize)))
        });
        match witness {
            Some(offset) => Err(LogError::damaged(
                &path,
                at,
                format!("the record can't be read, and the one at {offset} says it was synced"),
            )),
            None => Ok(Some(Torn { file: path, offset: at as u64, bytes: (used - at) as u64 })),
        }
    }

    fn finish(mut self) -> Result<Recovered, LogError> {
        let Some(tail) = self.tail.take() else {
            let next = self.last.map_or(1, |(sequence, _)| sequence + 1);
            return Err(self.missing(next, "the one before it ends with a seal"));
        };
        let (oldest, first) = self.index.oldest().unwrap_or((1, None));
        if !self.kept.is_empty() && first.is_none_or(|first| first > self.kept.first) {
            return Err(self.missing(oldest.saturating_sub(1), "entries not purged were in it"));
        }
        if let Some(torn) = &self.torn {
            let zeros = vec![0; torn.bytes as usize];
            let path = &torn.file;
            tail.file.write_at(&zeros, torn.offset).map_err(LogError::io("write", path))?;
            tail.file.sync().map_err(LogError::sync(path))?;
        }
        let unneeded = self.index.remove_unneeded();
        let report = LogReport {
            segments: self.index.segments(),
            entries: self.kept.next - self.kept.first,
            marked: self.marked && self.torn.is_none(),
            torn: self.torn,
        };
        let (index, kept, blank) = (self.index, self.kept, self.blank);
        Ok(Recovered { index, kept, tail, blank, unneeded, report })
    }

    fn missing(&self, sequence: u64, why: &'static str) -> LogError {
        LogError::Missing { file: segment::path(&self.dir, sequence), why }
    }
}

/// Where the zeros start that reach to the end of the segment.
fn used(content: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut end = content.len();
    // A page at a time first: a segment is mostly zeros.
    while end >= FIRST_RECORD + ZEROS.len() && content[end - ZEROS.len()..end] == ZEROS {
        end -= ZEROS.len();
    }
    while end > FIRST_RECORD && content[end - 1] == 0 {
        end -= 1;
    }
    end
}
