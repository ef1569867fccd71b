//! Sorted rows in one file: what redo and base files are made of.
//!
//! ```text
//!   magic 8 ‖ version u16 ‖ crc u32        the start
//!   head                                   one frame: marker, and the index it builds on
//!   rows …                                 frames of about 256 KiB of rows in order of key
//!   end                                    one frame: number of rows, xxh3-128 of all before it
//!
//!   frame = kind u8 ‖ stored u32 ‖ raw u32 ‖ crc u32 ‖ payload    crc over all but itself
//!   row   = key length u32 ‖ key ‖ 0, or 1 ‖ value length u32 ‖ value    0: a removal
//! ```
//!
//! Big endian. Payloads with `raw > 0` are zstd frames that become `raw` bytes. Every byte is under
//! a checksum, which is compared before the byte is looked at, and nothing may follow the end: a
//! file that was cut, grown or altered is never read as another one.
//!
//! A file is written under its name with `.tmp` behind it, synced, renamed, and the directory is
//! synced: a crash leaves the whole file or none, and perhaps a `.tmp` that opening removes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use xxhash_rust::xxh3::Xxh3;

use super::error::StateError;
use super::marker::Marker;
use crate::disk::{Disk, DiskFile};

const VERSION: u16 = 1;
const START_BYTES: usize = 8 + 2 + 4;
const FRAME_HEAD_BYTES: usize = 1 + 4 + 4 + 4;
/// A frame of rows is closed at this size, before compression.
const FRAME_BYTES: usize = 256 << 10;
/// No frame becomes larger than this: rows are far smaller.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Written bytes after which the file is synced in between, so that the last sync, which log syncs
/// on the same disk wait for, is short.
const SYNC_BYTES: u64 = 32 << 20;
/// Low, since the rows are mostly digests and ids.
const ZSTD_LEVEL: i32 = 1;

const HEAD: u8 = 1;
const ROWS: u8 = 2;
const END: u8 = 3;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes on top of an earlier state.
    Redo,
    /// A whole state.
    Base,
    /// What of a whole state may leave the cluster.
    Backup,
}

impl Kind {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Redo => *b"jetonred",
            Self::Base => *b"jetonbas",
            Self::Backup => *b"jetonbak",
        }
    }
}

/// What stands in front of the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The state that the rows make.
    pub(super) marker: Marker,
    /// Index of the state they build on; `None`: on nothing.
    pub(super) previous: Option<u64>,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.previous.is_some())];
        out.extend_from_slice(&self.previous.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&self.marker.encode());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (some, rest) = bytes.split_first()?;
        let (previous, marker) = rest.split_first_chunk::<8>()?;
        let previous = (*some == 1).then_some(u64::from_be_bytes(*previous));
        Some(Self { marker: Marker::decode(marker).ok()?, previous })
    }
}

/// A row, or `None` for its removal.
pub(super) type Write = (Bytes, Option<Bytes>);

/// Makes an error of what the file system said about `path`.
pub(super) fn disk_error(
    what: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Disk { what, path, source }
}

/// `path` with `.tmp` behind it.
pub(super) fn tmp_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// Writes one file.
pub(super) struct Writer<'d> {
    disk: &'d dyn Disk,
    path: PathBuf,
    tmp: PathBuf,
    file: Arc<dyn DiskFile>,
    kind: Kind,
    at: u64,
    synced: u64,
    hash: Xxh3,
    frame: Vec<u8>,
    rows: u64,
}

impl<'d> Writer<'d> {
    /// Begins the file that will be `path`.
    pub(super) fn create(
        disk: &'d dyn Disk,
        path: &Path,
        kind: Kind,
        head: &Head,
    ) -> Result<Self, StateError> {
        let tmp = tmp_path(path);
        let file = disk.open_or_create(&tmp).map_err(disk_error("create", &tmp))?;
        file.set_len(0).map_err(disk_error("empty", &tmp))?;
        let mut writer = Self {
            disk,
            path: path.to_owned(),
            tmp,
            file,
            kind,
            at: 0,
            synced: 0,
            hash: Xxh3::new(),
            frame: Vec::with_capacity(FRAME_BYTES + 4096),
            rows: 0,
        };
        let mut start = [kind.magic().as_slice(), &VERSION.to_be_bytes()].concat();
        start.extend_from_slice(&crc32fast::hash(&start).to_be_bytes());
        writer.append(&start)?;
        writer.frame(HEAD, &head.encode())?;
        Ok(writer)
    }

    /// Adds a row, or a removal; keys in ascending order.
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        put_bytes(&mut self.frame, key);
        self.frame.push(u8::from(value.is_some()));
        if let Some(value) = value {
            put_bytes(&mut self.frame, value);
        }
        self.rows += 1;
        if self.frame.len() >= FRAME_BYTES { self.close_frame() } else { Ok(()) }
    }

    /// Makes the file whole, durable and visible under its name; returns its length.
    pub(super) fn finish(mut self) -> Result<u64, StateError> {
        self.close_frame()?;
        let mut end = self.rows.to_be_bytes().to_vec();
        end.extend_from_slice(&self.hash.digest128().to_be_bytes());
        self.frame(END, &end)?;
        self.file.sync().map_err(disk_error("sync", &self.tmp))?;
        publish(self.disk, &self.tmp, &self.path)?;
        Ok(self.at)
    }

    /// Gives up; what was written is removed.
    pub(super) fn abandon(self) -> Result<(), StateError> {
        self.disk.remove(&self.tmp).map_err(disk_error("remove", &self.tmp))
    }

    fn close_frame(&mut self) -> Result<(), StateError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.frame);
        self.frame(ROWS, &rows)?;
        rows.clear();
        self.frame = rows;
        Ok(())
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> Result<(), StateError> {
        let squeezed = match (self.kind, kind) {
            // Level 1 with valid parameters into a growing vector fails only without memory.
            (Kind::Base | Kind::Backup, ROWS) => Some(
                zstd::bulk::compress(payload, ZSTD_LEVEL)
                    .map_err(disk_error("compress", &self.tmp))?,
            ),
            _ => None,
        };
        let raw = if squeezed.is_some() { payload.len() } else { 0 };
        let stored = squeezed.as_deref().unwrap_or(payload);
        let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + stored.len());
        frame.push(kind);
        frame.extend_from_slice(&len_u32(stored.len()).to_be_bytes());
        frame.extend_from_slice(&len_u32(raw).to_be_bytes());
        let crc = frame_crc(&frame, stored);
        frame.extend_from_slice(&crc.to_be_bytes());
        frame.extend_from_slice(stored);
        self.append(&frame)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.file.write_at(bytes, self.at).map_err(disk_error("write", &self.tmp))?;
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        if self.at - self.synced >= SYNC_BYTES {
            self.file.sync().map_err(disk_error("sync", &self.tmp))?;
            self.synced = self.at;
        }
        Ok(())
    }
}

/// Renames a file that is synced, durably.
pub(super) fn publish(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StateError> {
    disk.rename(from, to).map_err(disk_error("rename", from))?;
    let dir = to.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir).map_err(disk_error("sync", dir))
}

/// Makes a durable copy of a file, whole or not at all.
pub(super) fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StateError> {
    let source = disk.open(from).map_err(disk_error("open", from))?;
    let tmp = tmp_path(to);
    let target = disk.open_or_create(&tmp).map_err(disk_error("create", &tmp))?;
    target.set_len(0).map_err(disk_error("empty", &tmp))?;
    let mut piece = vec![0; FRAME_BYTES];
    let mut at = 0;
    loop {
        let count = source.read_at(&mut piece, at).map_err(disk_error("read", from))?;
        if count == 0 {
            break;
        }
        target.write_at(&piece[..count], at).map_err(disk_error("write", &tmp))?;
        at += count as u64;
    }
    target.sync().map_err(disk_error("sync", &tmp))?;
    publish(disk, &tmp, to)
}

/// Reads one file from its beginning.
pub(super) struct Reader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    len: u64,
    at: u64,
    hash: Xxh3,
    head: Head,
    rows: u64,
    last: Option<Bytes>,
    kind: Kind,
    ended: bool,
}

impl Reader {
    /// Opens a file and checks its head.
    pub(super) fn open(disk: &dyn Disk, path: &Path, kind: Kind) -> Result<Self, StateError> {
        let file = disk.open(path).map_err(disk_error("open", path))?;
        Self::over(file, path, kind)
    }

    /// The same, with a file that is open.
    pub(super) fn over(
        file: Arc<dyn DiskFile>,
        path: &Path,
        kind: Kind,
    ) -> Result<Self, StateError> {
        let len = file.len().map_err(disk_error("read", path))?;
        let head =
            Head { marker: Marker { index: 0, rows: 0, opaque: Bytes::new() }, previous: None };
        let mut reader = Self {
            path: path.to_owned(),
            file,
            len,
            at: 0,
            hash: Xxh3::new(),
            head,
            rows: 0,
            last: None,
            kind,
            ended: false,
        };
        reader.check_start()?;
        let (frame, payload) = reader.frame()?;
        let head = Head::decode(&payload).filter(|_| frame == HEAD);
        reader.head = head.ok_or_else(|| reader.damaged("it has no head"))?;
        Ok(reader)
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// What the file is called.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes.
    pub(super) fn file_bytes(&self) -> u64 {
        self.len
    }

    /// The next rows, in order of key; `None` after the last, and only if the whole file was as
    /// it was written.
    pub(super) fn next_rows(&mut self) -> Result<Option<Vec<Write>>, StateError> {
        if self.ended {
            return Ok(None);
        }
        let before = self.hash.digest128();
        let (frame, payload) = self.frame()?;
        match frame {
            ROWS => self.rows_of(payload).map(Some),
            END => {
                let expected = [self.rows.to_be_bytes().as_slice(), &before.to_be_bytes()].concat();
                if payload != expected {
                    return Err(self.damaged("its rows aren't those that were written"));
                }
                if self.at != self.len {
                    return Err(self.damaged("bytes follow its end"));
                }
                self.ended = true;
                Ok(None)
            }
            _ => Err(self.damaged("a frame is of an unknown kind")),
        }
    }

    fn rows_of(&mut self, mut payload: Bytes) -> Result<Vec<Write>, StateError> {
        let mut rows = Vec::new();
        while !payload.is_empty() {
            let Some(row) = take_row(&mut payload) else {
                return Err(self.damaged("a row does not fit its frame"));
            };
            if self.last.as_ref().is_some_and(|last| *last >= row.0) {
                return Err(self.damaged("its rows are out of order"));
            }
            if self.kind != Kind::Redo && row.1.is_none() {
                return Err(self.damaged("a whole state removes no rows"));
            }
            self.last = Some(row.0.clone());
            self.rows += 1;
            rows.push(row);
        }
        Ok(rows)
    }

    fn check_start(&mut self) -> Result<(), StateError> {
        let start = self.take(START_BYTES)?;
        let (body, crc) = start.split_at(START_BYTES - 4);
        let (magic, version) = body.split_at(8);
        if crc32fast::hash(body).to_be_bytes() != crc || magic != self.kind.magic() {
            return Err(self.damaged("it does not start like such a file"));
        }
        let version = u16::from_be_bytes([version[0], version[1]]);
        if version != VERSION {
            return Err(StateError::Newer { path: self.path.clone(), version });
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(u8, Bytes), StateError> {
        let mut head = self.take(FRAME_HEAD_BYTES)?;
        let under_crc = head.slice(..FRAME_HEAD_BYTES - 4);
        let (kind, stored, raw, crc) =
            (head.get_u8(), head.get_u32() as usize, head.get_u32() as usize, head.get_u32());
        if raw > FRAME_BYTES_MAX || stored > FRAME_BYTES_MAX {
            return Err(self.damaged("a frame is too long"));
        }
        let stored = self.take(stored)?;
        if frame_crc(&under_crc, &stored) != crc {
            return Err(self.damaged("a frame's checksum does not match"));
        }
        if raw == 0 {
            return Ok((kind, stored));
        }
        match zstd::bulk::decompress(&stored, raw) {
            Ok(payload) if payload.len() == raw => Ok((kind, payload.into())),
            _ => Err(self.damaged("a frame can't be decompressed")),
        }
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, StateError> {
        if self.len - self.at < bytes as u64 {
            return Err(self.damaged("it ends too early"));
        }
        let mut buffer = vec![0; bytes];
        self.file.read_exact_at(&mut buffer, self.at).map_err(disk_error("read", &self.path))?;
        self.hash.update(&buffer);
        self.at += bytes as u64;
        Ok(buffer.into())
    }

    fn damaged(&self, why: &str) -> StateError {
        StateError::Damaged {
            path: self.path.clone(),
            why: format!("{why} (before byte {} of {})", self.at, self.len),
        }
    }
}

fn frame_crc(head: &[u8], stored: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(stored);
    crc.finalize()
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("frames and rows are far below 4 GiB")
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&len_u32(bytes.len()).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take_bytes(from: &mut Bytes) -> Option<Bytes> {
    let len = from.try_get_u32().ok()? as usize;
    (len <= from.len()).then(|| from.split_to(len))
}

fn take_row(from: &mut Bytes) -> Option<Write> {
    let key = take_bytes(from)?;
    match from.try_get_u8().ok()? {
        0 => Some((key, None)),
        1 => Some((key, Some(take_bytes(from)?))),
        _ => None,
    }
}
