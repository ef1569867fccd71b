//! A backup holds the rows that are left of a base, and no damage of it goes unnoticed.

use std::path::Path;

use bytes::Bytes;
use jeton_core::digest::row_digest;
use jeton_core::tables::TablesError;
use jeton_storage::disk::Disk;
use jeton_storage::state::{
    BackupReader, BaseReader, StateError, base_of_backup, publish_backup, write_backup,
};

use crate::world::{DIR, Log, World, synced};

const FILE: &str = "/state/taken";
type Rows = Vec<(Bytes, Bytes)>;

fn strip(key: &[u8], value: &Bytes) -> Result<Option<Bytes>, TablesError> {
    Ok((key != b"\x60secret").then(|| value.slice(..value.len().min(3))))
}

/// A world with a backup of so many rows at [`FILE`], and those rows.
fn backed_up(rows: u32, bytes: usize) -> (World, Rows) {
    let mut log = Log::default();
    let row = |nth: u32| {
        let key = [b"\x50".as_slice(), &nth.to_be_bytes()].concat();
        (key, Some(vec![nth as u8; bytes]))
    };
    let secret = (b"\x60secret".to_vec(), Some(vec![1]));
    log.push((0..rows).map(row).chain([secret]).collect());
    let world = World::default();
    let (state, _) = world.open().unwrap();
    log.apply(&state, 1).unwrap();
    state.checkpoint(&synced).unwrap();
    let base = state.build_base().unwrap().unwrap();
    let path = Path::new(DIR).join("outgoing-0.tmp");
    let header = |_: &_, rows: u64| Ok::<_, StateError>(format!("{rows} rows").into());
    let (file, len) = write_backup(&world.disk, &base.path, &path, &strip, &header).unwrap();
    assert!(!world.disk.exists(&path).unwrap(), "its name is gone");
    let content = file.read_all().unwrap();
    assert_eq!(content.len() as u64, len);
    put(&world, &content);
    let left = log.rows(1).into_iter().filter_map(|(key, value)| {
        Some((Bytes::from(key.clone()), strip(&key, &value.into()).unwrap()?))
    });
    let left = left.collect();
    (world, left)
}

fn put(world: &World, content: &[u8]) {
    let file = world.disk.open_or_create(Path::new(FILE)).unwrap();
    file.set_len(0).unwrap();
    file.write_at(content, 0).unwrap();
}

fn content(world: &World) -> Vec<u8> {
    world.disk.open(Path::new(FILE)).unwrap().read_all().unwrap()
}

fn open(world: &World, path: &Path) -> Result<BackupReader, StateError> {
    BackupReader::over(world.disk.open(path).unwrap(), path)
}

fn read(world: &World) -> Result<Rows, StateError> {
    let mut reader = open(world, Path::new(FILE))?;
    let mut rows = Vec::new();
    while let Some(page) = reader.next_rows()? {
        rows.extend(page);
    }
    Ok(rows)
}

#[test]
fn it_holds_what_is_left_and_becomes_a_base_again() {
    let (world, left) = backed_up(1_000, 900);
    assert_eq!(read(&world).unwrap(), left);
    let reader = open(&world, Path::new(FILE)).unwrap();
    let mut marker = reader.marker().clone();
    assert_eq!(marker.opaque, "1000 rows");
    let sum = left.iter().fold(0_u128, |sum, (k, v)| sum.wrapping_add(row_digest(k, v)));
    assert_eq!(marker.rows, sum, "the digest is that of what is left");
    marker.index = 1;
    let base = Path::new(DIR).join("incoming-new");
    base_of_backup(&world.disk, reader, &base, &marker).unwrap();
    assert_eq!(BaseReader::verify(&world.disk, &base).unwrap(), 1_000);
    // One is not taken for the other.
    assert!(open(&world, &base).is_err());
    assert!(BaseReader::open(&world.disk, Path::new(FILE)).is_err());
    publish_backup(&world.disk, Path::new(FILE), &Path::new(DIR).join("named")).unwrap();
    assert!(world.files().contains(&"named".to_owned()));
}

#[test]
fn every_flipped_bit_and_every_truncation_is_told_with_its_place() {
    let (world, _) = backed_up(40, 9);
    let whole = content(&world);
    let check = |what: &str| match read(&world) {
        Err(StateError::Damaged { why, .. }) => assert!(why.contains("byte"), "{what}: {why}"),
        other => panic!("{what}: {other:?}"),
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        put(&world, &flipped);
        check(&format!("byte {at}"));
        put(&world, &whole[..at]);
        check(&format!("cut at {at}"));
    }
    put(&world, &[&whole[..], &[0]].concat());
    check("grown");
}

#[test]
fn frames_can_not_be_left_out_or_exchanged() {
    // Values that stay 3 bytes: several frames need many rows.
    let (world, _) = backed_up(60_000, 3);
    let whole = content(&world);
    let mut starts = vec![14];
    loop {
        let at = starts[starts.len() - 1];
        let Some(head) = whole.get(at..at + 13) else { break };
        let stored = u32::from_be_bytes(head[1..5].try_into().unwrap()) as usize;
        starts.push(at + 13 + stored);
    }
    assert_eq!(starts.last(), Some(&whole.len()), "that is how frames are");
    let frames = starts.len() - 1;
    assert!(frames >= 5, "a head, rows, rows, rows, an end: {frames}");
    for frame in 0..frames {
        let (from, to) = (starts[frame], starts[frame + 1]);
        put(&world, &[&whole[..from], &whole[to..]].concat());
        assert!(read(&world).is_err(), "frame {frame} is missing");
        put(&world, &whole[..to]);
        assert_eq!(read(&world).is_ok(), frame + 1 == frames, "cut behind frame {frame}");
    }
    let middle = &whole[starts[2]..starts[3]];
    let exchanged =
        [&whole[..starts[1]], middle, &whole[starts[1]..starts[2]], &whole[starts[3]..]].concat();
    put(&world, &exchanged);
    assert!(read(&world).is_err(), "two frames are exchanged");
}
