//! Directories of nodes that don't run, whole and damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jeton_core::ids::Generation;
use jeton_core::rows;
use jeton_raft::Node;
use jeton_raft::inspect::{EntryContent, InspectError, Inspection};
use jeton_storage::data_dir::DataDirError;

use crate::harness::{Family, Place, deadline, done, family, pause, single_seamed};

/// A node on real files that has made a family, and rotated it.
async fn lived(rotations: u64) -> (Place, Node, Family) {
    let (place, node) = single_seamed(|seams| seams.rows = None).await;
    let mut family = family(&node).await;
    for _ in 0..rotations {
        let (rotate, next) = family.rotate();
        done(&node, rotate).await;
        family.head = next;
    }
    (place, node, family)
}

fn data(place: &Place) -> PathBuf {
    place.config().data_dir
}

/// Opens copies of it, once nobody holds the directory any more.
async fn inspect(place: &Place, scratch: &Path) -> Result<Inspection, InspectError> {
    let until = deadline();
    loop {
        match Inspection::open(&data(place), scratch) {
            Err(InspectError::DataDir(DataDirError::InUse { .. })) => pause(until).await,
            other => return other,
        }
    }
}

/// Every file below a directory.
fn files(dir: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            let disk = jeton_storage::disk::RealDisk;
            let file = jeton_storage::disk::Disk::open(&disk, &path).unwrap();
            into.insert(path, file.read_all().unwrap());
        }
    }
}

fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    files(dir, &mut all);
    all
}

fn generation(inspection: &Inspection) -> Option<Generation> {
    let mut found = None;
    let show = |key: &[u8], value: &bytes::Bytes| {
        let row: serde_json::Value = serde_json::from_str(&rows::json(key, value)).unwrap();
        let generation = row["row"]["head"]["generation"].as_str().unwrap();
        found = Some(Generation(generation.parse().unwrap()));
        true
    };
    inspection.rows("family", show).unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_is_shown_as_it_is_and_left_as_it_is() {
    let (place, node, _) = lived(5).await;
    let in_use = Inspection::open(&data(&place), place.dir.path()).err().unwrap();
    assert!(in_use.to_string().contains("in use"), "{in_use}");
    assert!(!in_use.is_verdict(), "it is whole, perhaps");
    let cluster = node.cluster();
    node.shutdown().await;
    drop(node);
    let scratch = tempfile::tempdir().unwrap();
    let before = content(&data(&place));
    let inspection = inspect(&place, scratch.path()).await.unwrap();
    assert_eq!(inspection.problems(), [] as [String; 0]);
    let stamp = inspection.stamp().unwrap();
    assert_eq!(stamp.cluster, cluster);
    let (log, state) = (inspection.log().unwrap().unwrap(), inspection.state().unwrap().unwrap());
    assert_eq!(state.applied, log.last, "a node that stops makes a checkpoint");
    assert_eq!(state.voters, [stamp.node].into());
    assert!(log.vote.is_some_and(|vote| vote.committed && vote.node == stamp.node));
    let counted = inspection.count().unwrap();
    assert_eq!(counted.digest, state.meta.rows);
    assert_eq!(counted.kinds["family"].rows, 1);
    assert_eq!(counted.all.rows, counted.kinds.values().map(|tally| tally.rows).sum::<u64>());
    assert!(counted.damaged.is_none());
    assert_eq!(generation(&inspection), Some(Generation(5)));
    let mut rotations = 0;
    let count = |entry: jeton_raft::inspect::EntrySeen| {
        if let EntryContent::Commands { operations, .. } = entry.content {
            rotations += operations.get("rotate").unwrap_or(&0);
        }
        true
    };
    inspection.entries(0, u64::MAX, count).unwrap();
    assert_eq!(rotations, 5);
    assert_eq!(content(&data(&place)), before, "nothing there has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_behind_the_checkpoint_is_replayed_on_demand() {
    let (place, node, _) = lived(5).await;
    drop(node);
    let scratch = tempfile::tempdir().unwrap();
    let mut inspection = inspect(&place, scratch.path()).await.unwrap();
    assert_eq!(inspection.problems(), [] as [String; 0]);
    assert_eq!(generation(&inspection), None, "there was no checkpoint");
    let replayed = inspection.replay().unwrap();
    let (log, state) = (inspection.log().unwrap().unwrap(), inspection.state().unwrap().unwrap());
    assert_eq!(state.applied, log.committed);
    assert!(replayed > 0);
    assert_eq!(inspection.count().unwrap().digest, state.meta.rows);
    // The last one may not be known to be committed.
    assert!(generation(&inspection) >= Some(Generation(4)));
    assert_eq!(inspection.replay().unwrap(), 0, "there is no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_would_refuse_or_repair_is_told() {
    let (place, node, _) = lived(5).await;
    node.rebase().await.unwrap();
    node.shutdown().await;
    drop(node);
    drop(inspect(&place, tempfile::tempdir().unwrap().path()).await.unwrap());
    let problems = |damage: &dyn Fn(&Path)| {
        let (home, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (path, bytes) in content(&data(&place)) {
            let to = home.path().join(path.strip_prefix(data(&place)).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            write(&to, &bytes);
        }
        damage(home.path());
        let inspection = Inspection::open(home.path(), scratch.path()).unwrap();
        let told = inspection.problems().join("\n");
        let copy = scratch.path().to_string_lossy().into_owned();
        assert!(!told.contains(&copy), "the copy's name means nothing to anybody: {told}");
        (told, generation(&inspection))
    };
    assert_eq!(problems(&|_| ()), (String::new(), Some(Generation(5))));
    let (told, rows) = problems(&|dir| std::fs::remove_dir_all(dir.join("log")).unwrap());
    assert!(told.contains("the log in") && told.contains("is lost"), "{told}");
    assert!(rows.is_some(), "the state is shown all the same");
    let (told, _) = problems(&|dir| flip(&one(dir, "log", "log-"), 600));
    assert!(told.contains("damaged at offset"), "{told}");
    let (told, rows) = problems(&|dir| flip(&one(dir, "state", "base-"), 200));
    assert!(told.contains("base-") && told.contains("damaged"), "{told}");
    assert_eq!(rows, Some(Generation(5)), "the rows are whole");
    let (told, _) = problems(&|dir| flip(&dir.join("state/OWNER"), 9));
    assert!(told.contains("comes from another directory"), "{told}");
    let none = tempfile::tempdir().unwrap();
    let refused = Inspection::open(none.path(), none.path()).err().unwrap();
    assert!(matches!(refused, InspectError::NoNode(_)), "{refused}");
}

fn write(path: &Path, bytes: &[u8]) {
    let disk = jeton_storage::disk::RealDisk;
    let file = jeton_storage::disk::Disk::open_or_create(&disk, path).unwrap();
    file.write_at(bytes, 0).unwrap();
}

/// The only file of a part whose name begins so.
fn one(dir: &Path, part: &str, name: &str) -> PathBuf {
    let all = content(&dir.join(part)).into_keys();
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name));
    let found: Vec<_> = all.filter(named).collect();
    found.first().unwrap_or_else(|| panic!("there is no {name} in {}", dir.display())).clone()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = content(path.parent().unwrap())[path].clone();
    bytes[at] ^= 1;
    write(path, &bytes);
}
