//! Which replies of the pages the transcripts of the core must show, and whether they do.
//!
//! `crates/core/tests/shown.txt` lists what they show: an operation, a reply, and in which of them.
//! A reply of a page is called there as its fourth word says, or else by the names in capitals
//! that it bears itself. More than one name: all of them are shown. `?NAME`: it may be shown, but
//! need not, since a node refuses it before the state machine does. `node`: it comes from the
//! node, and a state machine never says it.

use std::collections::{BTreeMap, BTreeSet};

use super::{FOLDER, Operation, first, operations};

/// What only the machine's own upkeep does. It has no pages.
const UPKEEP: &[&str] = &["DigestAt", "ExpireLeases", "Sweep", "SweepRevocation"];

/// What the transcripts show of one operation: replies, each with their titles.
type Shown<'a> = BTreeMap<&'a str, &'a str>;

/// Where pages and transcripts differ, by what `shown.txt` holds.
#[must_use]
pub fn differences(shown: &str) -> Vec<String> {
    let mut by_operation: BTreeMap<&str, Shown<'_>> = BTreeMap::new();
    for line in shown.lines().filter(|line| !line.starts_with('#')) {
        let (names, titles) = line.split_once(": ").unwrap_or((line, ""));
        let (operation, reply) = names.split_once(' ').unwrap_or((names, ""));
        by_operation.entry(operation).or_default().insert(reply, titles);
    }
    let mut faults = Vec::new();
    for operation in operations() {
        let method = operation.method.name().to_owned();
        let shown = by_operation.remove(method.as_str()).unwrap_or_default();
        compare(&operation, &shown, &mut faults);
    }
    let others = by_operation.into_keys().filter(|name| !UPKEEP.contains(name));
    faults.extend(others.map(|name| format!("{name} is told in transcripts, and has no page")));
    faults
}

fn compare(operation: &Operation, shown: &Shown<'_>, faults: &mut Vec<String>) {
    let (name, Some(entry)) = (&operation.name, &operation.entry) else { return };
    let first = first::rows(&entry.first).unwrap_or_default().iter();
    let first = first.map(|row| (row.0, row.3));
    let own = entry.replies.iter().map(|row| (row.0.as_str(), row.3.as_str()));
    let mut listed = BTreeSet::new();
    for (reply, names) in first.chain(own) {
        let names: Vec<&str> = match names {
            "" => capitals(reply).collect(),
            names => names.split(' ').collect(),
        };
        if names.is_empty() {
            faults.push(format!("{name}: what do transcripts show of {reply}? See {FOLDER}"));
        }
        for label in names.into_iter().filter(|label| *label != "node") {
            if let Some(label) = label.strip_prefix('?') {
                listed.insert(label);
            } else {
                if !shown.contains_key(label) {
                    faults.push(format!("{name}: no transcript shows {label}, {reply}"));
                }
                listed.insert(label);
            }
        }
    }
    for (reply, titles) in shown {
        if !listed.contains(reply) {
            faults.push(format!("{name} answers {reply} in {titles}: its page doesn't list it"));
        }
    }
    for title in &entry.told {
        if !shown.values().any(|titles| titles.split(", ").any(|one| one == title)) {
            faults.push(format!("{name} is not told by {title:?}, as its page says"));
        }
    }
}

/// The words in capitals among those that are marked as code.
fn capitals(reply: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    reply.split('`').skip(1).step_by(2).filter(is_name)
}
