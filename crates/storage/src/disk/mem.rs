//! A disk in memory that keeps what was synced apart from what was only written.
//!
//! It is as unkind as a real one may be: a crash keeps any part of what was not synced, sector by
//! sector, file names included; a failed sync drops what it could not write, so that a second sync
//! that succeeds proves nothing. Two things are never done to a caller: a rename is atomic, and a
//! sector holds either of the contents it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, Lock};

const SECTOR_BYTES: usize = 512;

/// What a crash takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: only the process was killed. What was not synced is still there, and still not
    /// synced: the next crash may take it.
    Nothing,
    /// All that was not synced.
    Unsynced,
    /// Some of what was not synced, by this seed.
    Some(u64),
}

/// A disk in memory; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows at each crash: handles and locks from before it are dead.
    epoch: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, Node>,
    names_synced: BTreeMap<PathBuf, Node>,
    /// Changes to names that no `sync_dir` has covered yet, in order.
    names_pending: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    syncs: u64,
    syncs_fail: bool,
    bytes_max: Option<u64>,
    calls_left: Option<u64>,
    stopped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Debug)]
struct NameChange {
    dir: PathBuf,
    /// New meaning of each name: a rename has two, and they happen together.
    names: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Debug, Default)]
struct Inode {
    content: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Debug)]
struct MemFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    epoch: u64,
}

struct MemLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    epoch: u64,
}

impl MemDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine stops and starts again. Handles and locks from before answer only errors;
    /// faults are over, except that a small disk stays small.
    pub fn crash(&self, loss: Loss) {
        let state = &mut *self.state.lock();
        match loss {
            Loss::Nothing => {}
            Loss::Unsynced => state.lose(|| false),
            Loss::Some(seed) => {
                let mut random = Random(seed);
                state.lose(|| random.coin());
            }
        }
        state.epoch += 1;
        state.locks.clear();
        state.syncs_fail = false;
        state.calls_left = None;
        state.stopped = false;
    }

    /// After this many more calls that change something, the next one fails, perhaps after having
    /// had its effect, and so does every call after it until [`MemDisk::crash`].
    pub fn stop_after(&self, calls: u64) {
        self.state.lock().calls_left = Some(calls);
    }

    /// Whether [`MemDisk::stop_after`] has struck.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// From now on syncs fail, and lose what they should have made durable.
    pub fn fail_syncs(&self, fail: bool) {
        self.state.lock().syncs_fail = fail;
    }

    /// The disk holds this many bytes; `None` for no limit.
    pub fn limit(&self, bytes_max: Option<u64>) {
        self.state.lock().bytes_max = bytes_max;
    }

    /// Bytes in all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// How many times a file was synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Flips one bit of a file, behind everybody's back.
    pub fn flip_bit(&self, path: &Path, bit: u64) {
        self.damage(path, |bytes| bytes[(bit / 8) as usize] ^= 1 << (bit % 8));
    }

    /// Changes a file in any way, behind everybody's back, and durably.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn damage(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) {
        let state = &mut *self.state.lock();
        let Some(&Node::File(inode)) = state.names.get(path) else {
            panic!("no file {}", path.display());
        };
        change(&mut state.inodes[inode].content);
        change(&mut state.inodes[inode].synced);
    }

    /// What a file holds, synced or not; `None` if there is no such file.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        match state.names.get(path) {
            Some(&Node::File(inode)) => Some(state.inodes[inode].content.clone()),
            _ => None,
        }
    }

    /// A copy of this disk as it is now, with everything in it synced.
    #[must_use]
    pub fn fork(&self) -> Self {
        let copy = Self::new();
        {
            let (from, to) = (self.state.lock(), &mut *copy.state.lock());
            to.inodes = (from.inodes.iter())
                .map(|inode| Inode {
                    content: inode.content.clone(),
                    synced: inode.content.clone(),
                    pending: Vec::new(),
                })
                .collect();
            to.names.clone_from(&from.names);
            to.names_synced.clone_from(&from.names);
        }
        copy
    }

    fn file(&self, inode: usize, epoch: u64) -> Arc<dyn DiskFile> {
        Arc::new(MemFile { state: Arc::clone(&self.state), inode, epoch })
    }
}

impl Disk for MemDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if is_root(dir) {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(Path::new(""));
        self.create_dir_all(parent)?;
        if !self.exists(dir)? {
            self.state.lock().rename(parent, vec![(dir.to_owned(), Some(Node::Dir))])?;
        }
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.check_dir(dir)?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state.lock().names.contains_key(path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        match state.names.get(path) {
            Some(&Node::File(inode)) => Ok(self.file(inode, state.epoch)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let dir = path.parent().unwrap_or(Path::new(""));
        state.check_dir(dir)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.rename(dir, vec![(path.to_owned(), Some(Node::File(inode)))])?;
        Ok(self.file(inode, state.epoch))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if from.parent() != to.parent() {
            return Err(io::Error::other("renames stay within one directory"));
        }
        let Some(&node @ Node::File(_)) = state.names.get(from) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let dir = from.parent().unwrap_or(Path::new("")).to_owned();
        state.rename(&dir, vec![(from.to_owned(), None), (to.to_owned(), Some(node))])
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let Some(Node::File(_)) = state.names.get(path) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        state.rename(&dir, vec![(path.to_owned(), None)])
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_dir(dir)?;
        let inside: Vec<_> = state.names.keys().filter(|p| p.starts_with(dir)).cloned().collect();
        for path in inside.into_iter().rev() {
            let parent = path.parent().unwrap_or(Path::new("")).to_owned();
            state.rename(&parent, vec![(path, None)])?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.state.lock();
        state.check_dir(dir)?;
        if !state.call()? {
            return Err(stopped());
        }
        let pending = std::mem::take(&mut state.names_pending);
        let (now, later) = pending.into_iter().partition(|change| change.dir == dir);
        state.names_pending = later;
        let now: Vec<NameChange> = now;
        now.iter().for_each(|change| apply_names(&mut state.names_synced, change));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.open_or_create(path)?;
        let mut state = self.state.lock();
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        let (path, epoch) = (path.to_owned(), state.epoch);
        let held = MemLock { state: Arc::clone(&self.state), path, epoch };
        Ok(Some(Lock { _held: Box::new(held) }))
    }
}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

impl State {
    /// Keeps of what was not synced what `kept` says, and of that only what has a name.
    fn lose(&mut self, mut kept: impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.names_pending) {
            if kept() {
                apply_names(&mut self.names_synced, &change);
            }
        }
        for inode in &mut self.inodes {
            for change in std::mem::take(&mut inode.pending) {
                match change {
                    Change::SetLen(len) if kept() => inode.synced.resize(len, 0),
                    Change::SetLen(_) => {}
                    Change::Write { at, bytes } => {
                        for (at, sector) in sectors(at, &bytes) {
                            if kept() {
                                write(&mut inode.synced, at, sector);
                            }
                        }
                    }
                }
            }
            inode.content.clone_from(&inode.synced);
        }
        let names = &self.names_synced;
        let reachable = |path: &Path| {
            path.ancestors().skip(1).all(|dir| is_root(dir) || names.get(dir) == Some(&Node::Dir))
        };
        let found = names.iter().filter(|(path, _)| reachable(path));
        self.names = found.map(|(path, node)| (path.clone(), *node)).collect();
        self.names_synced = self.names.clone();
    }

    /// Counts a call that changes something. An error if the disk has stopped; else whether it
    /// still works after this call: if not, the call is to have its effect and to fail.
    fn call(&mut self) -> io::Result<bool> {
        if self.stopped {
            return Err(stopped());
        }
        match &mut self.calls_left {
            Some(0) => self.stopped = true,
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(!self.stopped)
    }

    fn rename(&mut self, dir: &Path, names: Vec<(PathBuf, Option<Node>)>) -> io::Result<()> {
        let works = self.call()?;
        let change = NameChange { dir: dir.to_owned(), names };
        apply_names(&mut self.names, &change);
        self.names_pending.push(change);
        if works { Ok(()) } else { Err(stopped()) }
    }

    fn check_dir(&self, dir: &Path) -> io::Result<()> {
        if is_root(dir) || self.names.get(dir) == Some(&Node::Dir) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("no directory {}", dir.display())))
    }

    fn used(&self) -> u64 {
        let files = self.names.values().filter_map(|node| match node {
            Node::File(inode) => Some(self.inodes[*inode].content.len() as u64),
            Node::Dir => None,
        });
        files.sum()
    }
}

impl MemFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let state = &mut *self.state.lock();
        if state.epoch != self.epoch {
            return Err(io::Error::other("opened before the crash"));
        }
        let works = state.call()?;
        let len = state.inodes[self.inode].content.len();
        let grown = match &change {
            Change::Write { at, bytes } => (at + bytes.len()).saturating_sub(len),
            Change::SetLen(new) => new.saturating_sub(len),
        };
        if let Some(bytes_max) = state.bytes_max
            && grown > 0
            && state.used() + grown as u64 > bytes_max
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[self.inode];
        apply(&mut inode.content, &change);
        inode.pending.push(change);
        if works { Ok(()) } else { Err(stopped()) }
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state.lock();
        if state.epoch != self.epoch {
            return Err(io::Error::other("opened before the crash"));
        }
        let content = &state.inodes[self.inode].content;
        let rest = content.get(offset as usize..).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write { at: offset as usize, bytes: bytes.to_vec() })
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.state.lock();
        if state.epoch != self.epoch {
            return Err(io::Error::other("opened before the crash"));
        }
        if !state.call()? {
            return Err(stopped());
        }
        state.syncs += 1;
        let inode = &mut state.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if state.syncs_fail {
            return Err(io::Error::other("the disk failed to sync"));
        }
        pending.iter().for_each(|change| apply(&mut inode.synced, change));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().inodes[self.inode].content.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(len as usize))
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let now = self.len()? as usize;
        let missing = (len as usize).saturating_sub(now);
        self.change(Change::Write { at: now, bytes: vec![0; missing] })
    }
}

fn apply_names(names: &mut BTreeMap<PathBuf, Node>, change: &NameChange) {
    for (path, node) in &change.names {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => write(content, *at, bytes),
        Change::SetLen(len) => content.resize(*len, 0),
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The pieces of a write that lie in one sector each.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let rest = bytes.len() - done;
        if rest == 0 {
            return None;
        }
        let start = at + done;
        let piece = rest.min(SECTOR_BYTES - start % SECTOR_BYTES);
        done += piece;
        Some((start, &bytes[done - piece..done]))
    })
}

fn stopped() -> io::Error {
    io::Error::other("the disk has stopped")
}

fn is_root(dir: &Path) -> bool {
    dir.parent().is_none()
}

/// SplitMix64: enough to choose what a crash keeps.
struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 1 == 1
    }
}
