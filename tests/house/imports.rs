//! Imports go one way only, and each heavy dependency is known to one crate.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Ours, and which of ours each may use at run time. A new arrow needs a page in `docs/decisions/`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("jeton-core", &[]),
    ("jeton-wire", &["jeton-core"]),
    ("jeton-storage", &["jeton-core"]),
    ("jeton-raft", &["jeton-core", "jeton-storage"]),
    ("jeton-server", &["jeton-core", "jeton-wire", "jeton-raft", "jeton-storage"]),
    ("jeton-client", &["jeton-core", "jeton-wire"]),
    ("jeton-harness", &["jeton-core", "jeton-wire", "jeton-client"]),
    ("jeton", &["jeton-client", "jeton-wire", "jeton-core", "jeton-server", "jeton-harness"]),
    ("jeton-tests", &[]),
];

/// Heavy dependencies, and the only packages that may know them.
const KNOWN_BY: &[(&str, &[&str])] = &[
    ("bincode", &["jeton-core"]),
    ("sled", &["jeton-storage"]),
    ("zstd", &["jeton-storage"]),
    ("openraft", &["jeton-raft"]),
    ("openraft-rt", &["jeton-raft"]),
    ("openraft-rt-tokio", &["jeton-raft"]),
    ("openraft-macros", &["jeton-raft"]),
    ("clap", &["jeton"]),
    // Seals of tokens and values; files under a passphrase (docs/decisions/0012).
    ("chacha20poly1305", &["jeton-client", "jeton-storage"]),
    ("scrypt", &["jeton-storage"]),
    ("toml", &["jeton-server"]),
    ("axum", &["jeton-server"]),
    ("prost-reflect", &["jeton-server"]),
];

/// What the pure core must not even be able to reach.
const NEVER_IN_CORE: &[&str] = &["tokio", "rand", "getrandom", "prost", "tonic", "tracing"];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(super::root())
        .output()
        .expect("cargo metadata runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let used = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
                .collect();
            (package["name"].as_str().expect("a name").to_owned(), used)
        })
        .collect()
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let dependencies = dependencies();
    let table: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let ours: BTreeSet<&str> = table.keys().copied().collect();
    assert_eq!(
        dependencies.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        ours,
        "the table and the workspace name the same packages"
    );
    for (package, used) in &dependencies {
        for import in used.iter().filter(|name| ours.contains(name.as_str())) {
            assert!(
                table[package.as_str()].contains(&import.as_str()),
                "{package} must not import {import}: see the table in ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn each_heavy_dependency_is_known_to_one_crate() {
    for (package, used) in dependencies() {
        for (heavy, knowers) in KNOWN_BY {
            assert!(
                !used.contains(*heavy) || knowers.contains(&package.as_str()),
                "{package} imports {heavy}, which only {knowers:?} may know"
            );
        }
        if package == "jeton-core" {
            for banned in NEVER_IN_CORE {
                assert!(!used.contains(*banned), "the pure core imports {banned}");
            }
        }
    }
}

#[test]
fn only_the_codec_knows_bincode() {
    for path in super::files(&super::root().join("crates"), "rs") {
        let text = std::fs::read_to_string(&path).expect("source is text");
        if !path.ends_with("core/src/codec.rs") {
            assert!(!text.contains("bincode::"), "{} uses bincode", super::shown(&path));
        }
    }
}
