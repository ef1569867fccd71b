//! Files that only who knows a passphrase can read or change unnoticed: encrypted backups.
//!
//! ```text
//!   magic 8 ‖ version u16 ‖ cost u8 ‖ salt 32      in clear, bound into the keys
//!   commitment 32 ‖ crc u32                        says whether the passphrase is right
//!   frames: 64 KiB each, the last one 0 to 64 KiB, and a tag of 16 bytes behind each
//! ```
//!
//! Big endian. scrypt (RFC 7914; N = 2^cost, r = 8, p = 1) makes a secret of passphrase and salt,
//! HKDF-SHA256 (RFC 5869) of that the key, a nonce prefix and the commitment, with all before the
//! commitment as info. The salt is random for each file, so is the key, therefore. The frames are
//! the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015) over XChaCha20-Poly1305: the
//! nonce of each holds its number, and whether it is the last. So a frame that was altered, moved,
//! dropped or taken from another file does not open, and neither does the last one of a file that
//! was cut. XChaCha20-Poly1305 alone does not say which key a message is of; the commitment does.
//!
//! A frame is opened and authenticated before a byte of it is looked at, and can be opened alone:
//! [`SealedFile`] is read like any other file. What is in it, nothing here knows.

use std::fmt;
use std::io;
use std::sync::Arc;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::stream::{NewStream as _, StreamBE32, StreamPrimitive as _};
use hkdf::Hkdf;
use parking_lot::Mutex;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::disk::DiskFile;

const MAGIC: [u8; 8] = *b"jetonenc";
const VERSION: u16 = 1;
/// Bytes of the header that the keys depend on.
const BOUND_BYTES: usize = 8 + 2 + 1 + 32;
const HEADER_BYTES: usize = BOUND_BYTES + 32 + 4;
/// Clear bytes of a frame.
const FRAME_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
const SEALED_FRAME_BYTES: u64 = (FRAME_BYTES + TAG_BYTES) as u64;
/// A file may ask for no more: 256 MiB of memory, and a second or so.
const COST_MAX: u8 = 18;

/// What a file is encrypted under. Not printable, erased from memory when dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Any bytes; `None` if there are none.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (!bytes.is_empty()).then_some(Self(bytes))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// How hard it is to try a passphrase: 2^this × 1 KiB of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost(pub u8);

impl Default for Cost {
    /// 128 MiB, some tenths of a second.
    fn default() -> Self {
        Self(17)
    }
}

/// Why a file can't be opened, or read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// It does not begin like one.
    #[error("it is not an encrypted file, or its first bytes are damaged")]
    NotSealed,
    /// Of a newer release.
    #[error("its encryption has version {version}, which a newer release wrote")]
    Newer {
        /// The version.
        version: u16,
    },
    /// The header does not match its checksum.
    #[error("its first {HEADER_BYTES} bytes are damaged")]
    Header,
    /// It asks for more memory than any file may.
    #[error("it asks for 2^{cost} KiB of memory to open it: at most 2^{COST_MAX} are given")]
    TooCostly {
        /// What it asks for.
        cost: u8,
    },
    /// The header is whole, and not of this passphrase.
    #[error("the passphrase is not the one that it was encrypted with")]
    Passphrase,
    /// There is less of it than the shortest one has.
    #[error("it ends too early: {bytes} bytes are no whole encrypted file")]
    Short {
        /// Its length.
        bytes: u64,
    },
    /// A frame does not open.
    #[error(
        "bytes {from} to {to} of {bytes} are not what was written there: it was damaged, cut or \
         altered"
    )]
    Frame {
        /// First byte of the frame.
        from: u64,
        /// Behind its last byte.
        to: u64,
        /// Length of the file.
        bytes: u64,
    },
    /// The disk did not do what it was asked to.
    #[error("it can't be read")]
    Io(#[from] io::Error),
}

/// The cipher of one file.
struct Stream {
    frames: StreamBE32<XChaCha20Poly1305>,
    commitment: [u8; 32],
}

impl Stream {
    /// Derives it; `bound` is the beginning of the header.
    fn derive(passphrase: &Passphrase, bound: &[u8; BOUND_BYTES]) -> io::Result<Self> {
        let (cost, salt) = (bound[10], &bound[11..]);
        let params = scrypt::Params::new(cost, 8, 1, 32).map_err(told)?;
        let mut secret = Zeroizing::new([0; 32]);
        scrypt::scrypt(&passphrase.0, salt, &params, &mut *secret).map_err(told)?;
        let mut keys = Zeroizing::new([0; 32 + 19 + 32]);
        let info: [&[u8]; 2] = [b"jeton/sealed/1", bound];
        Hkdf::<Sha256>::new(None, &*secret).expand_multi_info(&info, &mut *keys).map_err(told)?;
        let (key, rest) = keys.split_at(32);
        let (nonce, committed) = rest.split_at(19);
        let mut commitment = [0; 32];
        commitment.copy_from_slice(committed);
        Ok(Self { frames: StreamBE32::new(key.into(), nonce.into()), commitment })
    }
}

/// An error of the ciphers, which are no errors by trait.
fn told(error: impl fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// Encrypts what is written into a file, in order.
pub struct SealedWriter {
    file: Arc<dyn DiskFile>,
    stream: Stream,
    /// Number of the next frame, and where it goes.
    frame: u32,
    at: u64,
    /// Clear bytes that are no frame yet: whether a full one is the last is known when more come.
    pending: Zeroizing<Vec<u8>>,
}

impl SealedWriter {
    /// Writes the header into an empty file. `salt` is random, for this file alone.
    ///
    /// # Errors
    /// What the operating system says; `InvalidInput` if the cost is beyond what is ever read.
    pub fn begin(
        file: Arc<dyn DiskFile>,
        passphrase: &Passphrase,
        salt: [u8; 32],
        cost: Cost,
    ) -> io::Result<Self> {
        if cost.0 > COST_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bound = [0; BOUND_BYTES];
        bound[..8].copy_from_slice(&MAGIC);
        bound[8..10].copy_from_slice(&VERSION.to_be_bytes());
        bound[10] = cost.0;
        bound[11..].copy_from_slice(&salt);
        let stream = Stream::derive(passphrase, &bound)?;
        let mut header = [&bound[..], &stream.commitment].concat();
        header.extend_from_slice(&crc32fast::hash(&header).to_be_bytes());
        file.write_at(&header, 0)?;
        let pending = Zeroizing::new(Vec::with_capacity(FRAME_BYTES));
        Ok(Self { file, stream, frame: 0, at: HEADER_BYTES as u64, pending })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// What the operating system says; then the file is of no use.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.pending.len() == FRAME_BYTES {
                self.seal(false)?;
            }
            let room = FRAME_BYTES - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Writes the last frame. The file is still to be synced.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(mut self) -> io::Result<()> {
        self.seal(true)
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let sealed = self.stream.frames.encrypt(self.frame, last, self.pending.as_slice());
        let sealed = sealed.map_err(|_| io::Error::other("a frame can't be encrypted"))?;
        self.file.write_at(&sealed, self.at)?;
        self.at += sealed.len() as u64;
        self.pending.clear();
        let next = self.frame.checked_add(1);
        self.frame = next.ok_or_else(|| io::Error::other("more frames than a file may have"))?;
        Ok(())
    }
}

/// Whether a file begins like an encrypted one.
///
/// # Errors
/// What the operating system says.
pub fn is_sealed(file: &dyn DiskFile) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) => Ok(magic == MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// An encrypted file, read as what was written into it. It can't be written.
pub struct SealedFile {
    file: Arc<dyn DiskFile>,
    stream: Stream,
    /// Length of the encrypted file.
    bytes: u64,
    frames: u32,
    /// The frame that was read last.
    open: Mutex<Option<(u32, Zeroizing<Vec<u8>>)>>,
}

impl fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedFile").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl SealedFile {
    /// Opens it, and its last frame: one that was cut is noticed here, other damage when it is
    /// read.
    ///
    /// # Errors
    /// [`SealedError`].
    pub fn open(file: Arc<dyn DiskFile>, passphrase: &Passphrase) -> Result<Self, SealedError> {
        if !is_sealed(file.as_ref())? {
            return Err(SealedError::NotSealed);
        }
        let bytes = file.len()?;
        let short = SealedError::Short { bytes };
        let mut header = [0; HEADER_BYTES];
        if bytes < (HEADER_BYTES + TAG_BYTES) as u64 {
            return Err(short);
        }
        file.read_exact_at(&mut header, 0)?;
        let version = u16::from_be_bytes([header[8], header[9]]);
        let (body, crc) = header.split_at(HEADER_BYTES - 4);
        if crc32fast::hash(body).to_be_bytes() != crc {
            return Err(SealedError::Header);
        }
        if version != VERSION {
            return Err(SealedError::Newer { version });
        }
        let mut bound = [0; BOUND_BYTES];
        bound.copy_from_slice(&body[..BOUND_BYTES]);
        let cost = bound[10];
        if cost == 0 || cost > COST_MAX {
            return Err(SealedError::TooCostly { cost });
        }
        let stream = Stream::derive(passphrase, &bound)?;
        if stream.commitment != body[BOUND_BYTES..] {
            return Err(SealedError::Passphrase);
        }
        let sealed = bytes - HEADER_BYTES as u64;
        let rest = sealed % SEALED_FRAME_BYTES;
        if (1..TAG_BYTES as u64).contains(&rest) {
            return Err(short);
        }
        let frames = u32::try_from(sealed.div_ceil(SEALED_FRAME_BYTES)).map_err(|_| short)?;
        let opened = Self { file, stream, bytes, frames, open: Mutex::new(None) };
        opened.frame(frames - 1)?;
        Ok(opened)
    }

    /// Opens a frame.
    fn frame(&self, frame: u32) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let from = HEADER_BYTES as u64 + u64::from(frame) * SEALED_FRAME_BYTES;
        let to = self.bytes.min(from + SEALED_FRAME_BYTES);
        let mut sealed = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut sealed, from)?;
        let last = frame + 1 == self.frames;
        let opened = self.stream.frames.decrypt(frame, last, sealed.as_slice());
        opened.map(Zeroizing::new).map_err(|_| SealedError::Frame { from, to, bytes: self.bytes })
    }
}

/// Damage met while reading is an error of the kind `InvalidData` that holds a [`SealedError`].
impl DiskFile for SealedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let frame = offset / FRAME_BYTES as u64;
        let Some(frame) = u32::try_from(frame).ok().filter(|frame| *frame < self.frames) else {
            return Ok(0);
        };
        let mut open = self.open.lock();
        let clear = match &mut *open {
            Some((number, clear)) if *number == frame => clear,
            stale => {
                let clear = self.frame(frame).map_err(|error| match error {
                    SealedError::Io(error) => error,
                    damage => io::Error::new(io::ErrorKind::InvalidData, damage),
                })?;
                &mut stale.insert((frame, clear)).1
            }
        };
        let from = (offset % FRAME_BYTES as u64) as usize;
        let rest = clear.get(from..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        let tags = u64::from(self.frames) * TAG_BYTES as u64;
        Ok(self.bytes - HEADER_BYTES as u64 - tags)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn preallocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
