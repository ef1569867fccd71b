//! openraft's own tests of a log and a state machine, over ours: real files, rows in memory.

use std::sync::Arc;

use jeton_storage::disk::RealDisk;
use jeton_storage::log::{LogOptions, RaftLog};
use jeton_storage::state::{Checkpointer, MemStore, State, StateOptions};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::log_store::LogStore;
use crate::state_machine::{Progress, StateMachine};
use crate::types::TypeConfig;

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
