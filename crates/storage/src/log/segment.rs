//! A segment file: its name, its header, and how one comes into being.
//!
//! ```text
//! log-0000000000000007:  header (64 bytes) | Begin | records … | Seal | zeros
//! header:                magic 8 | format 4 | 0 4 | sequence 8 | file's bytes 8 | 0 28 | crc 4
//! ```
//!
//! It is made under a temporary name, header and zeros written and synced, then renamed, then the
//! directory is synced. A crash on the way leaves a temporary file, which is removed at the next
//! start, or a blank segment, which is used. So a file with a segment's name always has a whole
//! header and its full length; anything else is damage. Segments are never used twice: every byte
//! behind the last record is zero.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::LogError;
use crate::disk::{Disk, DiskFile};

/// Where the first record starts.
pub const FIRST_RECORD: usize = 64;
/// Room in each segment that entries can't have: its header, what is carried over, the seal.
pub const RESERVED_BYTES: usize = 1152;
/// The most that a vote or a log id may have, so that they always fit in the reserved room.
pub const SMALL_BYTES_MAX: usize = 256;
/// The most that the owner may have, for the same reason.
pub const OWNER_BYTES_MAX: usize = 64;
/// Name of a segment in the making.
pub const TMP: &str = "next.tmp";

const MAGIC: [u8; 8] = *b"JETONLOG";
const FORMAT: u32 = 1;

/// The file of a segment.
pub fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("log-{sequence:016}"))
}

/// The sequence number that a file's name stands for; `None` if it is not a segment.
pub fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-").filter(|digits| digits.len() == 16)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Makes a blank segment of that many bytes, durably.
pub fn create(
    disk: &dyn Disk,
    dir: &Path,
    sequence: u64,
    bytes: u64,
) -> Result<Arc<dyn DiskFile>, LogError> {
    let tmp = dir.join(TMP);
    let made = || -> io::Result<_> {
        let file = disk.open_or_create(&tmp)?;
        file.set_len(0)?;
        file.write_at(&header(sequence, bytes), 0)?;
        file.preallocate(bytes)?;
        file.sync()?;
        disk.rename(&tmp, &path(dir, sequence))?;
        disk.sync_dir(dir)?;
        Ok(file)
    };
    let made = made().map_err(LogError::io("prepare", &tmp));
    if matches!(&made, Err(error) if error.is_full()) {
        // Its bytes are needed elsewhere. If that fails too, the next try overwrites the file.
        let _ = disk.remove(&tmp);
    }
    made
}

fn header(sequence: u64, bytes: u64) -> [u8; FIRST_RECORD] {
    let mut header = [0; FIRST_RECORD];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&sequence.to_le_bytes());
    header[24..32].copy_from_slice(&bytes.to_le_bytes());
    let crc = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whether `content` starts with the header of this segment and is as long as it says.
pub fn check(file: &Path, content: &[u8], expected: u64) -> Result<(), LogError> {
    let damaged = |why: &str| LogError::damaged(file, 0, why);
    let Some(found) = content.first_chunk::<FIRST_RECORD>() else {
        return Err(damaged("the file is shorter than a segment's header"));
    };
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&found[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    if crc32fast::hash(&found[..60]) != (number(56) >> 32) as u32 {
        return Err(damaged("the checksum of the segment's header does not match"));
    }
    if found[..8] != MAGIC {
        return Err(damaged("it does not start as a segment does"));
    }
    let format = number(8) as u32;
    if format != FORMAT {
        return Err(LogError::NewerFormat { file: file.into(), found: format, known: FORMAT });
    }
    if number(16) != expected {
        return Err(damaged("its header names another segment: the file was renamed"));
    }
    if number(24) != content.len() as u64 {
        let why = format!("its header says {} bytes, it has {}", number(24), content.len());
        return Err(damaged(&why));
    }
    Ok(())
}
