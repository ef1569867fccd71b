//! A directory that is being made from a backup is nobody's until it is whole.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::path::Path;
use std::sync::Arc;

use jeton_core::ids::ClusterId;
use jeton_storage::data_dir::{DataDir, DataDirError, Expect};
use jeton_storage::disk::{Disk, Loss, MemDisk};

const DIR: &str = "/data";

fn open(disk: &MemDisk) -> Result<DataDir, DataDirError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    DataDir::open(disk, Path::new(DIR), Expect::default())
}

#[test]
fn a_crash_before_its_end_leaves_a_directory_that_is_refused() {
    for stamped in [false, true] {
        let disk = MemDisk::default();
        let dir = open(&disk).unwrap();
        dir.begin_restore().unwrap();
        if stamped {
            dir.stamp(ClusterId([1; 16]), 1).unwrap();
        }
        drop(dir);
        disk.crash(Loss::Some(7));
        let refused = open(&disk).unwrap_err();
        assert!(matches!(refused, DataDirError::HalfRestored { .. }), "{refused}");
        assert!(refused.to_string().contains("empty the directory and restore again"));
        // Emptied, it may be restored into.
        disk.remove_dir_all(Path::new(DIR)).unwrap();
        open(&disk).unwrap().begin_restore().unwrap();
    }
}

#[test]
fn a_whole_one_is_a_node_s_and_not_restored_into() {
    let disk = MemDisk::default();
    let dir = open(&disk).unwrap();
    dir.begin_restore().unwrap();
    dir.stamp(ClusterId([1; 16]), 1).unwrap();
    dir.end_restore().unwrap();
    drop(dir);
    disk.crash(Loss::Some(7));
    let dir = open(&disk).unwrap();
    assert_eq!(dir.stamped().unwrap().node, 1);
    assert!(matches!(dir.begin_restore(), Err(DataDirError::NotEmpty { .. })));
}
