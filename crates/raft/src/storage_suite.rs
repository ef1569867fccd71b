//! openraft's own tests of a log and a state machine, over ours: real files, rows in memory. And
//! what our state machine adds to an entry by where it stands in the log.

use std::sync::Arc;

use jeton_core::codec;
use jeton_core::command::{Command, Entry as CoreEntry, Operation};
use jeton_core::ids::{DurationMs, UnixMs};
use jeton_storage::disk::RealDisk;
use jeton_storage::log::{LogOptions, RaftLog};
use jeton_storage::state::{Checkpointer, MemStore, State, StateOptions};
use openraft::StorageError;
use openraft::storage::{EntryResponder, RaftStateMachine as _};
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::log_store::LogStore;
use crate::state_machine::{MarkerForm, Progress, StateMachine};
use crate::types::{Entry, Payload, Proposal, TypeConfig, log_id};

struct Builder;

/// What must outlive a store.
type Guard = (Checkpointer, TempDir);

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        let disk = Arc::new(RealDisk);
        let (log_dir, state_dir) = (dir.path().join("log"), dir.path().join("state"));
        for dir in [&log_dir, &state_dir] {
            jeton_storage::disk::Disk::create_dir_all(disk.as_ref(), dir).unwrap();
        }
        let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
        let (log, _) = RaftLog::open(disk.clone(), &log_dir, options).unwrap();
        let rows = Arc::new(MemStore::new());
        let (state, _) = State::open_on(disk, rows, &state_dir, StateOptions::default()).unwrap();
        // The suite applies entries that it never appends, so no log can be waited for.
        let machine = StateMachine::start_synced(
            state.clone(),
            Arc::new(|_| Ok(())),
            Arc::new(Progress::default()),
            None,
        )
        .unwrap();
        let checkpointer = Checkpointer::start(&state, Arc::new(|_| Ok(()))).unwrap();
        Ok(((checkpointer, dir), LogStore::new(log).unwrap(), machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_state_machine_keep_openrafts_contract() {
    Suite::test_all(Builder).await.unwrap();
}

/// An entry of this term, by which its leader has counted that much.
fn counted(term: u64, index: u64, ms: u64) -> EntryResponder<TypeConfig> {
    let entry = CoreEntry {
        stamp: UnixMs(1),
        lease_advance: DurationMs(ms),
        commands: vec![Arc::new(Command {
            tenant: None,
            request: None,
            operation: Operation::DigestAt,
        })],
    };
    let proposal = Proposal { bytes: codec::encode_entry(&entry), entry: None };
    (Entry { log_id: log_id(term, term, index), payload: Payload::Normal(proposal) }, None)
}

/// A node that led, was deposed, and leads again may propose what it had counted before: that time
/// was another's in part. Only what is counted within one term counts.
#[tokio::test(flavor = "multi_thread")]
async fn lease_time_is_counted_within_a_term() {
    let (_guard, _log, mut machine) = Builder.build().await.unwrap();
    let clock = |machine: &StateMachine| {
        let view = machine.state().view();
        MarkerForm::of(view.marker()).unwrap().meta().lease_clock.0
    };
    // (term, counted, lease time after it)
    let history = [
        (1, 500, 0),
        (1, 20, 20),
        (1, 30, 50),
        (2, 0, 50),
        (2, 10, 60),
        (3, 9_000, 60),
        (3, 5, 65),
        (5, 7_000, 65),
    ];
    for (index, (term, ms, want)) in (1..).zip(history) {
        let entry = futures::stream::iter([Ok(counted(term, index, ms))]);
        machine.apply(entry).await.unwrap();
        assert_eq!(clock(&machine), want, "term {term}, {ms} ms");
    }
}
