//! What is encrypted comes back under its passphrase, and no other way; nothing that was done to
//! the file goes unnoticed.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::io;
use std::path::Path;
use std::sync::Arc;

use jeton_storage::disk::{Disk, DiskFile, MemDisk};
use jeton_storage::sealed::{Cost, Passphrase, SealedError, SealedFile, SealedWriter, is_sealed};

/// Cheap: what is tested is not how long it takes.
const CHEAP: Cost = Cost(4);
const FRAME: usize = 64 * 1024;
const HEADER: usize = 79;
const SEALED_FRAME: usize = FRAME + 16;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec()).unwrap()
}

fn file(content: &[u8]) -> Arc<dyn DiskFile> {
    let disk = MemDisk::default();
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.create_new(Path::new("/d/f")).unwrap();
    file.write_at(content, 0).unwrap();
    file
}

/// Bytes that differ from frame to frame.
fn clear(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at) as u8).collect()
}

fn sealed(clear: &[u8], piece: usize) -> Vec<u8> {
    let file = file(&[]);
    let mut writer =
        SealedWriter::begin(Arc::clone(&file), &passphrase("right"), [7; 32], CHEAP).unwrap();
    clear.chunks(piece).for_each(|piece| writer.write(piece).unwrap());
    writer.finish().unwrap();
    file.read_all().unwrap()
}

/// All of it, as it was written; or why not.
fn read(content: &[u8], words: &str) -> Result<Vec<u8>, SealedError> {
    let opened = SealedFile::open(file(content), &passphrase(words))?;
    opened.read_all().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => *error.into_inner().unwrap().downcast().unwrap(),
        _ => panic!("{error}"),
    })
}

#[test]
fn what_was_written_is_read_whatever_its_length() {
    for len in [0, 1, 15, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME + 77] {
        let clear = clear(len);
        let content = sealed(&clear, 10_007);
        assert_eq!(read(&content, "right").unwrap(), clear, "{len} bytes");
        assert_eq!(content, sealed(&clear, FRAME), "pieces make no difference");
        let frames = len.div_ceil(FRAME).max(1);
        assert_eq!(content.len(), HEADER + len + 16 * frames);
        assert!(is_sealed(file(&content).as_ref()).unwrap());
        let plain = clear.windows(16).next();
        assert!(plain.is_none_or(|plain| content.windows(16).all(|part| part != plain)));
    }
}

#[test]
fn any_place_can_be_read_alone() {
    let clear = clear(3 * FRAME + 5);
    let content = sealed(&clear, FRAME);
    let opened = SealedFile::open(file(&content), &passphrase("right")).unwrap();
    for at in [3 * FRAME, FRAME - 3, 0, 2 * FRAME + 9] {
        let mut piece = [0; 5];
        opened.read_exact_at(&mut piece, at as u64).unwrap();
        assert_eq!(piece, clear[at..at + 5], "at {at}");
    }
    assert_eq!(opened.read_at(&mut [0; 5], clear.len() as u64).unwrap(), 0, "the end");
    assert!(opened.write_at(b"x", 0).is_err(), "it is for reading");
}

#[test]
fn another_passphrase_is_told_from_damage() {
    let content = sealed(&clear(100), 100);
    assert!(matches!(read(&content, "wrong"), Err(SealedError::Passphrase)));
    assert!(Passphrase::new(Vec::new()).is_none(), "an empty one is none");
    assert_eq!(format!("{:?}", passphrase("right")), "Passphrase(…)");
}

#[test]
fn every_flipped_bit_is_noticed() {
    let clear = clear(2 * FRAME + 300);
    let content = sealed(&clear, FRAME);
    let header = 0..HEADER;
    let frames = (HEADER..content.len()).step_by(997).chain([content.len() - 1]);
    for at in header.chain(frames) {
        let mut flipped = content.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = read(&flipped, "right").unwrap_err();
        match at {
            0..8 => assert!(matches!(error, SealedError::NotSealed), "byte {at}: {error}"),
            8..HEADER => assert!(matches!(error, SealedError::Header), "byte {at}: {error}"),
            _ => {
                let SealedError::Frame { from, to, .. } = error else { panic!("{at}: {error}") };
                assert!((from..to).contains(&(at as u64)), "byte {at} is not in {from} to {to}");
            }
        }
    }
}

#[test]
fn a_file_that_was_cut_anywhere_is_noticed() {
    let content = sealed(&clear(2 * FRAME + 300), FRAME);
    let ends_of_frames = [0, 1, 2].map(|frames| HEADER + frames * SEALED_FRAME);
    let cuts = (0..content.len()).step_by(1_009).chain(0..HEADER + 20).chain(ends_of_frames);
    for len in cuts {
        let error = read(&content[..len], "right").unwrap_err();
        let told = matches!(
            error,
            SealedError::NotSealed | SealedError::Short { .. } | SealedError::Frame { .. }
        );
        assert!(told, "{len} bytes: {error}");
    }
    let longer = [&content[..], &[0; 40]].concat();
    assert!(matches!(read(&longer, "right"), Err(SealedError::Frame { .. })));
}

#[test]
fn frames_can_t_change_places_nor_come_from_another_file() {
    let content = sealed(&clear(3 * FRAME), FRAME);
    let at = |frame: usize| HEADER + frame * SEALED_FRAME..HEADER + (frame + 1) * SEALED_FRAME;
    let mut swapped = content.clone();
    swapped[at(0)].copy_from_slice(&content[at(1)]);
    swapped[at(1)].copy_from_slice(&content[at(0)]);
    assert!(matches!(read(&swapped, "right"), Err(SealedError::Frame { .. })));
    let dropped = [&content[..HEADER], &content[at(1).start..]].concat();
    assert!(matches!(read(&dropped, "right"), Err(SealedError::Frame { .. })));
    // The same bytes under the same passphrase, of another salt.
    let other = file(&[]);
    let mut writer =
        SealedWriter::begin(Arc::clone(&other), &passphrase("right"), [8; 32], CHEAP).unwrap();
    writer.write(&clear(3 * FRAME)).unwrap();
    writer.finish().unwrap();
    let mut grafted = content.clone();
    grafted[at(1)].copy_from_slice(&other.read_all().unwrap()[at(1)]);
    assert!(matches!(read(&grafted, "right"), Err(SealedError::Frame { .. })));
}

#[test]
fn a_hostile_header_gets_neither_memory_nor_time() {
    let content = sealed(b"x", 1);
    let with = |at: usize, byte: u8| {
        let mut hostile = content.clone();
        hostile[at] = byte;
        let crc = crc32fast::hash(&hostile[..HEADER - 4]).to_be_bytes();
        hostile[HEADER - 4..HEADER].copy_from_slice(&crc);
        read(&hostile, "right").unwrap_err()
    };
    for cost in [0, 19, 63, 255] {
        assert!(matches!(with(10, cost), SealedError::TooCostly { .. }));
    }
    assert!(matches!(with(9, 2), SealedError::Newer { version: 2 }));
    // Its keys depend on every byte of it.
    assert!(matches!(with(10, 5), SealedError::Passphrase));
    assert!(matches!(with(11, 0), SealedError::Passphrase));
    let too_much =
        SealedWriter::begin(file(&[]), &passphrase("right"), [7; 32], Cost(19)).err().unwrap();
    assert_eq!(too_much.kind(), io::ErrorKind::InvalidInput);
}

/// The bytes of version 1, made of a known passphrase and salt by another program, from the
/// description in `docs/reference/backup.md`: they must open for ever.
#[test]
fn the_form_is_the_documented_one() {
    let content = sealed(b"hello", 5);
    let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}

const GOLDEN: &str = "\
    6a65746f6e656e63000104070707070707070707070707070707070707070707070707070707070707070751\
    786a9279a4b86acd86e872afe7f7c48ce8c029c56307d13ffa7f61e83d079059d8ece68c68537a1b99936ef5\
    1ae1414f6f7789a4b6dbb9b2";
