//! The power fails at every call to the disk while a backup is restored.

use std::collections::BTreeSet;
use std::path::Path;

use jeton_core::command::{
    Command, CreateTenant, Entry, KeyMaterial, Operation, RequestName, SeenOnce, TenantSettings,
};
use jeton_core::digest::row_digest;
use jeton_core::ids::{IssuerId, KeyDigest, RecordKind, RequestId, UnixMs};
use jeton_core::machine::Machine;
use jeton_core::reply::{Event, Replies, Reply};
use jeton_core::tables::ReadTables as _;
use jeton_storage::data_dir::Stamp;
use jeton_storage::disk::{Loss, MemDisk};
use jeton_storage::state::{MemStore, write_backup};

use super::*;
use crate::stores::meet;

const FILE: &str = "/operator/backup";
const DIR: &str = "/data";
const NOW: UnixMs = UnixMs(1_800_000_000_000);
/// Proofs that the backup knows: rows enough for several writes.
const PROOFS: u8 = 20;

/// The restore's clock: a minute behind the backup.
struct Later;

impl Clock for Later {
    fn wall(&self) -> UnixMs {
        NOW.plus(DurationMs::from_secs(60))
    }
}

struct Nobody;

impl Replies for Nobody {
    fn wanted(&self) -> bool {
        true
    }
    fn reply(&mut self, _: usize, reply: Reply) {
        assert!(reply.outcome.is_ok(), "{:?}", reply.outcome);
    }
    fn event(&mut self, _: Event) {}
}

fn membership() -> Membership {
    let members = BTreeMap::from([(7, Member::default())]);
    Membership::new(vec![BTreeSet::from([7])], members).unwrap()
}

fn operations() -> Vec<Operation> {
    let create = CreateTenant { settings: TenantSettings::default(), key: KeyMaterial([7; 32]) };
    let seen = |nth: u8| {
        let (kind, issuer) = (RecordKind::new("dpop").unwrap(), IssuerId::new("web").unwrap());
        let (key, expires_at) = (KeyDigest([nth; 16]), NOW.plus(DurationMs::from_secs(3_600)));
        Operation::SeenOnce(SeenOnce { kind, issuer, key, expires_at })
    };
    [Operation::CreateTenant(create)].into_iter().chain((0..PROOFS).map(seen)).collect()
}

/// A backup on the operator's disk.
fn backup() -> Source {
    let disk = MemDisk::new();
    for dir in ["/old", "/operator"] {
        disk.create_dir_all(Path::new(dir)).unwrap();
    }
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = Arc::new(MemStore::new());
    let (state, _) =
        State::open_on(shared, store, Path::new("/old"), StateOptions::default()).unwrap();
    let mut machine = Machine::new();
    for (index, operation) in (1..).zip(operations()) {
        let request = RequestName { id: RequestId([index as u8; 16]), age: DurationMs(0) };
        let tenant = Some(TenantId::new("acme").unwrap());
        let commands = vec![Arc::new(Command { tenant, request: Some(request), operation })];
        let entry = Entry { stamp: NOW, lease_advance: DurationMs(1), commands };
        let mut changes = state.begin().unwrap();
        machine.apply(&mut changes, LogIndex(index), &entry, &mut Nobody).unwrap();
        let meta = machine.meta().clone();
        let (rows, form) = MarkerForm::restored(meta, log_id(1, 7, index), &membership());
        changes.commit(Marker { index, rows, opaque: form.encode() });
    }
    state.checkpoint(&|_| Ok(())).unwrap();
    let base = state.build_base().unwrap().unwrap();
    let header = |marker: &Marker, rows: u64| {
        let meta = MarkerForm::decode(&marker.opaque).unwrap().meta().clone();
        let cluster = ClusterId([1; 16]);
        let release = "test".to_owned();
        Ok(Header { cluster, node: 7, meta, made_at: NOW, rows, release }.encode())
    };
    let path = Path::new("/operator/made");
    let (made, _) = write_backup(&disk, &base.path, path, &backup::strip, &header).unwrap();
    let file = disk.create_new(Path::new(FILE)).unwrap();
    file.write_at(&made.read_all().unwrap(), 0).unwrap();
    Source::open(&disk, Path::new(FILE), None).unwrap()
}

/// A machine that is restored on.
#[derive(Default)]
struct Target {
    disk: MemDisk,
    rows: MemStore,
}

impl Target {
    fn restore(&self, source: &Source) -> Result<Restored, OfflineError> {
        let wish = Restore {
            data_dir: DIR.into(),
            peer_addr: "127.0.0.1:7402".to_owned(),
            client_addr: "127.0.0.1:7401".to_owned(),
            keep: BTreeSet::new(),
            proofs_live: DurationMs::from_secs(60),
        };
        let log = LogOptions { inline: true, segment_bytes: 4 << 10, ..LogOptions::default() };
        let (disk, rows) = (Arc::new(self.disk.clone()), Arc::new(self.rows.clone()));
        restore_on(&Place { disk, rows, log }, source, &wish, &Later)
    }

    fn crash(&self, loss: Loss) {
        self.disk.crash(loss);
        let mut nth = 0_u32;
        self.rows.crash(|| {
            nth += 1;
            match loss {
                Loss::Unsynced => false,
                Loss::Nothing => true,
                Loss::Some(seed) => (seed >> (nth % 64)) & 1 == 1,
            }
        });
    }

    /// Whose the directory is, as a node's start would be told.
    fn look(&self) -> Result<Option<Stamp>, DataDirError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        DataDir::open(disk, Path::new(DIR), Expect::default()).map(|dir| dir.stamped())
    }

    fn empty(&mut self) {
        self.disk.remove_dir_all(Path::new(DIR)).unwrap();
        self.rows = MemStore::new();
    }

    /// It is the directory of a node that starts, with all that the backup holds.
    fn is_whole(&self) {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let dir = DataDir::open(Arc::clone(&disk), Path::new(DIR), Expect::default()).unwrap();
        let (log_dir, state_dir) = (Path::new(DIR).join("log"), Path::new(DIR).join("state"));
        let parts = Parts { dir: &dir, log: &log_dir, state: &state_dir };
        parts.check_log_exists().unwrap();
        let options = LogOptions { inline: true, segment_bytes: 4 << 10, ..LogOptions::default() };
        let (log, _) = RaftLog::open(Arc::clone(&disk), &log_dir, options).unwrap();
        let store = Arc::new(self.rows.clone());
        let (state, report) =
            State::open_on(disk, store, &state_dir, StateOptions::default()).unwrap();
        assert_eq!(report.findings, [], "nothing is left to do");
        parts.check(&log, true).unwrap();
        let base = state.base().map(|base| base.marker.index);
        meet(&log.state(), state.marker().map(|marker| marker.index), base).unwrap();
        assert!(log.state().vote.is_some(), "it leads");
        let form = MarkerForm::of(state.marker().as_ref()).unwrap();
        assert_eq!(form.meta().base, Later.wall().0 * 1_000);
        let rows = state.view().scan(&[], &[0xff], usize::MAX).unwrap();
        let digests = rows.iter().map(|(key, value)| row_digest(key, value));
        assert_eq!(digests.fold(0, u128::wrapping_add), form.meta().rows);
        let proofs = rows.iter().filter(|(key, _)| rows::kind_name(key) == "seen");
        assert_eq!(proofs.count(), usize::from(PROOFS));
    }
}

/// What became of a restore that was cut.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Nothing,
    Half,
    Whole,
}

/// Judges what a cut has left, and restores again.
fn judge(mut target: Target, source: &Source) -> Left {
    let left = match target.look() {
        Ok(None) => Left::Nothing,
        Err(DataDirError::HalfRestored { .. }) => {
            let again = target.restore(source).unwrap_err();
            let told = again.to_string();
            assert!(told.contains("empty the directory and restore again"), "{told}");
            target.empty();
            Left::Half
        }
        Ok(Some(stamp)) => {
            assert!(stamp.incarnation.is_some(), "only a whole one is a node's");
            target.is_whole();
            return Left::Whole;
        }
        Err(other) => panic!("nobody knows what this is: {other}"),
    };
    target.restore(source).unwrap();
    target.is_whole();
    left
}

const LOSSES: [Loss; 4] =
    [Loss::Unsynced, Loss::Nothing, Loss::Some(0x5a5a), Loss::Some(0xdead_beef)];

#[test]
fn power_cut_at_every_call_leaves_nothing_half_or_whole_and_it_is_known_which() {
    let source = backup();
    let mut seen = BTreeSet::new();
    for loss in LOSSES {
        let mut last = Left::Nothing;
        for calls in 0.. {
            let target = Target::default();
            target.disk.stop_after(calls);
            let restored = target.restore(&source);
            if !target.disk.stopped() {
                restored.unwrap();
                target.crash(loss);
                assert_eq!(judge(target, &source), Left::Whole, "what was told to be done is");
                assert!(calls > 20, "only {calls} calls: what was cut?");
                break;
            }
            restored.unwrap_err();
            target.crash(loss);
            let left = judge(target, &source);
            assert!(left >= last, "{left:?} after {calls} calls, {last:?} before");
            last = left;
            seen.insert(format!("{last:?}"));
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn rows_that_stop_at_every_write_leave_a_restore_that_is_known_to_be_half() {
    let source = backup();
    for writes in 0.. {
        let target = Target::default();
        target.rows.fail_after(writes);
        if target.restore(&source).is_ok() {
            assert!(writes > u64::from(PROOFS), "only {writes} writes: what was cut?");
            break;
        }
        target.crash(Loss::Some(writes));
        assert_eq!(judge(target, &source), Left::Half, "after {writes} writes");
    }
}
