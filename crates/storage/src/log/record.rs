//! One record: a header of 32 bytes, its payload, zeros up to a multiple of 8. Little-endian.
//!
//! ```text
//!  0        4    5     8          16         20          24            28           32
//!  | length | kind | 0 | index    | previous | synced to | payload crc | header crc | payload …
//! ```
//!
//! *previous* is the header crc of the record before, also across segments: a record can't be taken
//! out, moved, or left over from another time. *synced to* is the offset in the same segment below
//! which everything had been synced before this record was written: a record that can't be read
//! below that offset was there once, so it is damage; above it, it may be a write that a crash cut
//! short. The payload's crc covers the padding too, so that no bit is outside of every checksum.

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 32;

/// What a record is about. Numbers are for ever; new kinds are only added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First in each segment. Index: the next entry's. Payload: the index of the first entry.
    Begin = 1,
    /// An entry.
    Entry = 2,
    /// The vote that counts from here on.
    Vote = 3,
    /// The committed log id known here.
    Committed = 4,
    /// Entries from this index on are gone.
    Truncate = 5,
    /// Entries up to this index are gone. Payload: the log id of the last of them.
    Purge = 6,
    /// Last in a segment: it goes on in the next one, which is there.
    Seal = 7,
    /// Says nothing but its header's *synced to*.
    Synced = 8,
    /// Whose log this is, from here on.
    Owner = 9,
}

/// A header that has passed its checksum.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub payload_bytes: usize,
    pub kind: Kind,
    pub index: u64,
    pub previous: u32,
    pub synced_to: u32,
    payload_crc: u32,
    /// What the next record's `previous` must be.
    pub crc: u32,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::{Begin, Committed, Entry, Owner, Purge, Seal, Synced, Truncate, Vote};
        [Begin, Entry, Vote, Committed, Truncate, Purge, Seal, Synced, Owner]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Bytes that a record with such a payload takes.
pub fn size(payload_bytes: usize) -> usize {
    HEADER_BYTES + payload_bytes.next_multiple_of(8)
}

/// Appends a record to `buffer` and returns its header's crc.
pub fn encode(
    buffer: &mut Vec<u8>,
    (kind, index, payload): (Kind, u64, &[u8]),
    previous: u32,
    synced_to: u32,
) -> u32 {
    const PADDING: [u8; 8] = [0; 8];
    let padding = &PADDING[..payload.len().next_multiple_of(8) - payload.len()];
    let mut payload_crc = crc32fast::Hasher::new();
    payload_crc.update(payload);
    payload_crc.update(padding);
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[4] = kind as u8;
    header[8..16].copy_from_slice(&index.to_le_bytes());
    header[16..20].copy_from_slice(&previous.to_le_bytes());
    header[20..24].copy_from_slice(&synced_to.to_le_bytes());
    header[24..28].copy_from_slice(&payload_crc.finalize().to_le_bytes());
    let crc = crc32fast::hash(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(payload);
    buffer.extend_from_slice(padding);
    crc
}

/// The header that `bytes` start with, if its checksum is right.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let crc = u32_at(header, 28);
    if crc32fast::hash(&header[..28]) != crc {
        return None;
    }
    Some(Header {
        payload_bytes: u32_at(header, 0) as usize,
        kind: Kind::from_byte(header[4])?,
        index: u64::from(u32_at(header, 8)) | u64::from(u32_at(header, 12)) << 32,
        previous: u32_at(header, 16),
        synced_to: u32_at(header, 20),
        payload_crc: u32_at(header, 24),
        crc,
    })
}

impl Header {
    /// The payload of the record that `bytes` start with, if its checksum is right.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let padded = bytes.get(HEADER_BYTES..size(self.payload_bytes))?;
        (crc32fast::hash(padded) == self.payload_crc).then(|| &padded[..self.payload_bytes])
    }
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
