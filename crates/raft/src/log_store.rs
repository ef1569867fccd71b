//! openraft's log over [`jeton_storage`]'s Raft log: translation, and nothing that could be lost.
//!
//! What a crash leaves behind is the log's own business (one ordered file of records): a vote or an
//! append that was not confirmed may or may not be there, in order, without a hole. `committed` is
//! written in the same order but never waited for, because it is awaited before every apply; losing
//! its last value only means that these entries are applied again once the cluster commits them.
//!
//! Beside the log it keeps the *decoded* core entries that this node proposed itself, until they
//! are applied: the leader never decodes what it encoded.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use jeton_core::command::Entry as CoreEntry;
use jeton_storage::log::RaftLog;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::types::{
    Entry, LogId, Payload, TypeConfig, Vote, decode_log_id, decode_record, decode_record_header,
    decode_vote, encode_log_id, encode_record, encode_vote,
};

/// Bytes of one append RPC, and of one step of applying.
const READ_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Decoded entries kept; beyond that they are decoded again when they are applied.
const DECODED_MAX: usize = 4_096;

/// The log as openraft wants it. Clones share everything.
#[derive(Clone)]
pub struct LogStore {
    log: RaftLog,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    decoded: VecDeque<(LogId, Arc<CoreEntry>)>,
}

impl LogStore {
    /// Takes over an open log.
    ///
    /// # Errors
    /// If its vote, committed or purged log id were written by another program version.
    pub fn new(log: RaftLog) -> io::Result<Self> {
        let state = log.state();
        let shared = Shared {
            vote: state.vote.map(|bytes| decode_vote(&bytes)).transpose().map_err(other)?,
            committed: state
                .committed
                .map(|bytes| decode_log_id(&bytes))
                .transpose()
                .map_err(other)?,
            purged: state
                .purged
                .map(|(_, bytes)| decode_log_id(&bytes))
                .transpose()
                .map_err(other)?,
            decoded: VecDeque::new(),
        };
        Ok(Self { log, shared: Arc::new(Mutex::new(shared)) })
    }

    fn entries(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let records = self.log.read(from, to, READ_BYTES_MAX).map_err(other)?;
        records.into_iter().map(|(index, record)| self.entry(index, record)).collect()
    }

    fn entry(&self, index: u64, record: Bytes) -> io::Result<Entry> {
        let mut entry = decode_record(index, record).map_err(other)?;
        if let Payload::Normal(proposal) = &mut entry.payload {
            let shared = self.shared.lock();
            let found = shared.decoded.binary_search_by_key(&index, |(id, _)| id.index());
            proposal.entry = found
                .ok()
                .and_then(|at| shared.decoded.get(at))
                .filter(|(id, _)| *id == entry.log_id)
                .map(|(_, decoded)| Arc::clone(decoded));
        }
        Ok(entry)
    }

    fn last_log_id(&self) -> io::Result<Option<LogId>> {
        let state = self.log.state();
        let purged = self.shared.lock().purged;
        let Some(last) = state.last else { return Ok(purged) };
        if purged.is_some_and(|purged| purged.index() >= last) {
            return Ok(purged);
        }
        let records = self.log.read(last, last + 1, READ_BYTES_MAX).map_err(other)?;
        let Some((index, record)) = records.first() else {
            return Err(io::Error::other(format!(
                "log entry {last} is the last, but is not there"
            )));
        };
        decode_record_header(*index, record).map(|(_, id)| Some(id)).map_err(other)
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

/// `from..to` of any range; openraft may ask for an inverted one, which is empty.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(&from) => from,
        Bound::Excluded(&from) => from.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(&to) => to.saturating_add(1),
        Bound::Excluded(&to) => to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (mut from, to) = bounds(&range);
        let mut all = Vec::new();
        while from < to {
            let some = self.entries(from, to)?;
            let Some(last) = some.last() else { break };
            from = last.log_id.index() + 1;
            all.extend(some);
        }
        Ok(all)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        if start < end { self.entries(start, end) } else { Ok(Vec::new()) }
    }

    /// Only the state machine's worker reads this way, in order: what it has taken is decoded
    /// nowhere else.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = bounds(&range);
        let store = self.clone();
        let steps = stream::unfold(Some((store, from, to)), |state| async move {
            let (store, from, to) = state?;
            if from >= to {
                return None;
            }
            match store.entries(from, to) {
                Err(error) => Some((vec![Err(error)], None)),
                Ok(some) => {
                    let next = some.last()?.log_id.index() + 1;
                    let mut shared = store.shared.lock();
                    while shared.decoded.front().is_some_and(|(id, _)| id.index() < next) {
                        shared.decoded.pop_front();
                    }
                    drop(shared);
                    Some((some.into_iter().map(Ok).collect(), Some((store, next, to))))
                }
            }
        });
        futures::StreamExt::flat_map(steps, stream::iter)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let last_log_id = self.last_log_id()?;
        let last_purged_log_id = self.shared.lock().purged;
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, saved) = completion();
        self.log.save_vote(encode_vote(vote), done);
        saved.await?;
        self.shared.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(id) = committed {
            self.log.save_committed(encode_log_id(&id));
            self.shared.lock().committed = Some(id);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.lock().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut first = None;
        let mut records = Vec::new();
        {
            let mut shared = self.shared.lock();
            for mut entry in entries {
                first.get_or_insert(entry.log_id.index());
                records.push(encode_record(&entry));
                if let Payload::Normal(proposal) = &mut entry.payload
                    && let Some(decoded) = proposal.entry.take()
                {
                    if shared.decoded.len() >= DECODED_MAX {
                        shared.decoded.pop_front();
                    }
                    shared.decoded.push_back((entry.log_id, decoded));
                }
            }
        }
        let Some(first) = first else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let done = Box::new(move |result: Result<(), jeton_storage::log::LogError>| {
            callback.io_completed(result.map_err(other));
        });
        self.log.append(first, records, done);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index() + 1);
        {
            let mut shared = self.shared.lock();
            while shared.decoded.back().is_some_and(|(id, _)| id.index() >= from) {
                shared.decoded.pop_back();
            }
        }
        let (done, truncated) = completion();
        self.log.truncate_from(from, done);
        truncated.await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        if self.shared.lock().purged.is_some_and(|purged| purged >= upto) {
            return Ok(());
        }
        let (done, purged) = completion();
        self.log.purge(upto.index(), encode_log_id(&upto), done);
        purged.await?;
        self.shared.lock().purged = Some(upto);
        Ok(())
    }
}

/// A completion for the log, and the future that waits for it.
fn completion() -> (jeton_storage::log::Done, impl Future<Output = io::Result<()>> + Send) {
    let (sender, receiver) = oneshot::channel();
    let done = Box::new(move |result: Result<(), jeton_storage::log::LogError>| {
        // Nobody waits any more when the node is stopping.
        let _ = sender.send(result.map_err(other));
    });
    let wait = async move {
        match receiver.await {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the log stopped before this was written")),
        }
    };
    (done, wait)
}
