//! Puts records into the live segment: the part of the log that only the flusher touches.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::error::LogError;
use super::index::Index;
use super::kept::Kept;
use super::record::{self, Kind};
use super::segment::{self, FIRST_RECORD};
use super::spare::Spare;
use crate::disk::DiskFile;

/// One write that somebody asked for.
#[derive(Debug)]
pub enum Op {
    Entries { first: u64, entries: Vec<Bytes> },
    Vote(Bytes),
    Committed(Bytes),
    Owner(Bytes),
    Truncate(u64),
    Purge(u64, Bytes),
}

/// The live segment, and where its records end.
#[derive(Debug)]
pub struct Tail {
    pub sequence: u64,
    pub file: Arc<dyn DiskFile>,
    pub bytes: usize,
    /// Where the next record goes; all before it is synced.
    pub at: usize,
    /// Header crc of the last record.
    pub crc: u32,
}

#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    tail: Tail,
    /// Records that lie behind `tail.at` and are not written yet.
    buffer: Vec<u8>,
    /// Below this offset everything is synced.
    synced_to: usize,
    /// Whether something was written or is in the buffer since the last sync.
    dirty: bool,
    /// Whether a record says that everything is synced up to it.
    marked: bool,
    purged: bool,
    kept: Kept,
    index: Arc<Mutex<Index>>,
    spare: Arc<Spare>,
    pub syncs: u64,
    pub bytes: u64,
}

impl Writer {
    pub fn new(
        dir: PathBuf,
        tail: Tail,
        kept: Kept,
        index: Arc<Mutex<Index>>,
        spare: Arc<Spare>,
        marked: bool,
    ) -> Self {
        let (synced_to, begun) = (tail.at, tail.at > FIRST_RECORD);
        spare.prepare(tail.sequence + 1);
        let mut writer = Self {
            dir,
            tail,
            buffer: Vec::new(),
            synced_to,
            dirty: false,
            marked: marked || !begun,
            purged: false,
            kept,
            index,
            spare,
            syncs: 0,
            bytes: 0,
        };
        if !begun {
            writer.begin();
        }
        writer
    }

    /// Puts the records of `op` into the buffer; they are durable after [`Writer::sync`].
    pub fn write(&mut self, op: &Op) -> Result<(), LogError> {
        match op {
            Op::Entries { first, entries } => {
                for (index, entry) in (*first..).zip(entries) {
                    let offset = self.put(Kind::Entry, index, entry)?;
                    self.kept.append(index, 1)?;
                    let mut positions = self.index.lock();
                    positions.add(index, offset);
                    positions.set_end(self.end() as u32);
                }
            }
            Op::Vote(vote) => {
                self.put(Kind::Vote, 0, vote)?;
                self.kept.vote = Some(vote.clone());
            }
            Op::Committed(committed) => {
                self.put(Kind::Committed, 0, committed)?;
                self.kept.committed = Some(committed.clone());
            }
            Op::Owner(owner) => {
                self.put(Kind::Owner, 0, owner)?;
                self.kept.owner = Some(owner.clone());
            }
            Op::Truncate(index) => {
                self.put(Kind::Truncate, *index, &[])?;
                self.kept.truncate(*index);
                self.index.lock().truncate(self.kept.next);
            }
            Op::Purge(index, log_id) => {
                self.put(Kind::Purge, *index, log_id)?;
                self.kept.purge(*index, log_id.clone());
                self.index.lock().purge(*index);
                self.purged = true;
            }
        }
        Ok(())
    }

    /// Makes everything durable that was written. Then, not before, segments that nobody needs
    /// any more are removed.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.write_out()?;
        if self.dirty {
            let path = segment::path(&self.dir, self.tail.sequence);
            self.tail.file.sync().map_err(LogError::sync(&path))?;
            self.syncs += 1;
            self.synced_to = self.tail.at;
            (self.dirty, self.marked) = (false, false);
        }
        if std::mem::take(&mut self.purged) {
            let unneeded = self.index.lock().remove_unneeded();
            self.spare.remove(unneeded);
        }
        Ok(())
    }

    /// Writes, without a sync of its own, that everything up to here is synced. As long as this
    /// gets to the disk, also the last batch can't be mistaken for one that was cut short.
    pub fn mark(&mut self) -> Result<(), LogError> {
        if self.marked || self.end() + 2 * record::HEADER_BYTES > self.tail.bytes {
            return Ok(());
        }
        self.push(Kind::Synced, 0, &[]);
        self.marked = true;
        self.write_out()
    }

    /// Bytes left for entries in the live segment.
    pub fn room(&self) -> u64 {
        self.tail.bytes.saturating_sub(self.end() + record::HEADER_BYTES) as u64
    }

    fn end(&self) -> usize {
        self.tail.at + self.buffer.len()
    }

    /// Puts one record and returns its offset; goes on in the next segment if it doesn't fit.
    fn put(&mut self, kind: Kind, index: u64, payload: &[u8]) -> Result<u32, LogError> {
        let needed = record::size(payload.len()) + record::HEADER_BYTES;
        if self.end() + needed > self.tail.bytes {
            self.rotate()?;
        }
        Ok(self.push(kind, index, payload))
    }

    fn push(&mut self, kind: Kind, index: u64, payload: &[u8]) -> u32 {
        let at = self.end();
        let record = (kind, index, payload);
        let synced_to = self.synced_to as u32;
        self.tail.crc = record::encode(&mut self.buffer, record, self.tail.crc, synced_to);
        at as u32
    }

    fn write_out(&mut self) -> Result<(), LogError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let offset = self.tail.at as u64;
        self.tail.file.write_at(&self.buffer, offset).map_err(|error| {
            LogError::io("write", &segment::path(&self.dir, self.tail.sequence))(error)
        })?;
        self.bytes += self.buffer.len() as u64;
        self.tail.at += self.buffer.len();
        self.buffer.clear();
        self.dirty = true;
        Ok(())
    }

    /// Seals the live segment and goes on in the next one. The next one is there, durably, before
    /// the seal is written; the old one is synced before anything is written to the new one.
    fn rotate(&mut self) -> Result<(), LogError> {
        let sequence = self.tail.sequence + 1;
        let file = self.spare.take(sequence)?;
        let path = segment::path(&self.dir, sequence);
        let bytes = file.len().map_err(LogError::io("measure", &path))?;
        self.push(Kind::Seal, self.kept.next, &[]);
        self.index.lock().set_end(self.end() as u32);
        self.sync()?;
        self.index.lock().add_segment(sequence, Arc::clone(&file), self.kept.next);
        let crc = self.tail.crc;
        self.tail = Tail { sequence, file, bytes: bytes as usize, at: FIRST_RECORD, crc };
        self.synced_to = FIRST_RECORD;
        self.spare.prepare(sequence + 1);
        self.begin();
        Ok(())
    }

    /// Starts a segment with everything that is known without the ones before, so that they can be
    /// removed one day without copying anything.
    fn begin(&mut self) {
        let kept = self.kept.clone();
        self.push(Kind::Begin, kept.next, &kept.first.to_le_bytes());
        if let Some(owner) = &kept.owner {
            self.push(Kind::Owner, 0, owner);
        }
        if let Some(vote) = &kept.vote {
            self.push(Kind::Vote, 0, vote);
        }
        if let Some(committed) = &kept.committed {
            self.push(Kind::Committed, 0, committed);
        }
        if let Some((index, log_id)) = &kept.purged {
            self.push(Kind::Purge, *index, log_id);
        }
        self.index.lock().set_end(self.end() as u32);
    }
}
