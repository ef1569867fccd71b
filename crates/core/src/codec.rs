//! Bytes of rows and log entries. The only user of bincode; rows of families, which every rotation
//! reads and writes, are written without it ([`plain`]).
//!
//! A format version stands in front of every value, so that a later format can tell an earlier
//! one. What comes from outside or from a disk is decoded with a limit on its size, and is refused
//! with words if it isn't exactly one value: never a panic, never an unbounded allocation.

use bincode::enc::write::SizeWriter;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::{Command, Entry};
use crate::limits;
use crate::tables::TablesError;

pub(crate) mod plain;

pub use plain::PlainError;
use plain::{Plain, Reader};

/// The format that is written.
pub const FORMAT: u8 = 1;

/// Allocations while decoding are bounded by this many bytes, whatever a length claims.
const ALLOCATION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why bytes could not be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There was nothing at all.
    #[error("no bytes: at least a format version was expected")]
    Empty,
    /// Written by a later release, or not by this program.
    #[error("format version {found} is not known: this release reads {FORMAT}")]
    Format {
        /// The version found.
        found: u8,
    },
    /// More bytes than such a value may have.
    #[error("{len} bytes: the limit is {max}")]
    TooLarge {
        /// How many there are.
        len: usize,
        /// How many there may be.
        max: usize,
    },
    /// Not the bytes of such a value.
    #[error("not a value of this kind")]
    Malformed(#[source] bincode::error::DecodeError),
    /// Not the bytes of such a row.
    #[error("not a row of this kind")]
    Plain(#[source] PlainError),
    /// A value, and something behind it.
    #[error("{excess} bytes too many behind the value")]
    Trailing {
        /// How many.
        excess: usize,
    },
    /// More commands than a log entry may hold.
    #[error("{commands} commands in one entry: the limit is {}", limits::BATCH_COMMANDS_MAX)]
    TooManyCommands {
        /// How many.
        commands: usize,
    },
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<ALLOCATION_BYTES_MAX>()
}

/// The bytes of `value`, behind their format version.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Most rows fit: growing step by step would copy them several times.
    let mut bytes = Vec::with_capacity(512);
    bytes.push(FORMAT);
    bincode::serde::encode_into_std_write(value, &mut bytes, config())
        .expect("a vector takes every byte, and our types know their lengths");
    bytes
}

/// The value in `bytes`.
///
/// # Errors
/// [`DecodeError`] if there are more than `bytes_max` bytes, or they are not exactly one value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Result<T, DecodeError> {
    let body = body(bytes, bytes_max)?;
    let (value, read) =
        bincode::serde::borrow_decode_from_slice(body, config()).map_err(DecodeError::Malformed)?;
    whole(value, body.len() - read)
}

/// What stands behind the format version.
fn body(bytes: &[u8], bytes_max: usize) -> Result<&[u8], DecodeError> {
    if bytes.len() > bytes_max {
        return Err(DecodeError::TooLarge { len: bytes.len(), max: bytes_max });
    }
    match bytes.split_first().ok_or(DecodeError::Empty)? {
        (&FORMAT, body) => Ok(body),
        (&found, _) => Err(DecodeError::Format { found }),
    }
}

fn whole<T>(value: T, excess: usize) -> Result<T, DecodeError> {
    match excess {
        0 => Ok(value),
        excess => Err(DecodeError::Trailing { excess }),
    }
}

/// How many bytes the command takes in an entry, now. Its age may take a few more later.
#[must_use]
pub fn command_bytes(command: &Command) -> usize {
    let mut counted = SizeWriter::default();
    bincode::serde::encode_into_writer(command, &mut counted, config())
        .expect("counting takes every byte, and our types know their lengths");
    counted.bytes_written
}

/// The bytes of a log entry.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Bytes {
    encode(entry).into()
}

/// The log entry in `bytes`.
///
/// # Errors
/// [`DecodeError`] if it isn't one, or is beyond [`limits::ENTRY_BYTES_MAX`] or
/// [`limits::BATCH_COMMANDS_MAX`].
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let entry: Entry = decode(bytes, limits::ENTRY_BYTES_MAX)?;
    match entry.commands.len() {
        commands if commands > limits::BATCH_COMMANDS_MAX => {
            Err(DecodeError::TooManyCommands { commands })
        }
        _ => Ok(entry),
    }
}

/// The value of a row that this machine wrote. Not being able to read it back is damage below.
pub(crate) fn decode_row<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TablesError> {
    decode(bytes, limits::ROW_BYTES_MAX).map_err(|error| TablesError(Box::new(error)))
}

/// The bytes of a row with a plain layout, behind their format version.
pub(crate) fn encode_plain<T: Plain>(row: &T) -> Vec<u8> {
    // As above: most fit.
    let mut bytes = Vec::with_capacity(512);
    bytes.push(FORMAT);
    row.write(&mut bytes);
    bytes
}

/// The value of a row with a plain layout that this machine wrote.
pub(crate) fn decode_plain<T: Plain>(bytes: &[u8]) -> Result<T, TablesError> {
    let read = || {
        let mut reader = Reader(body(bytes, limits::ROW_BYTES_MAX)?);
        let row = T::read(&mut reader).map_err(DecodeError::Plain)?;
        whole(row, reader.0.len())
    };
    read().map_err(|error| TablesError(Box::new(error)))
}
