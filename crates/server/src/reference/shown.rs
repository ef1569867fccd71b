//! Which replies of the pages the transcripts of the core must show, and whether they do.
//!
//! `crates/core/tests/shown.txt` lists what they show: an operation, a reply, and in which of them;
//! `order.txt` beside it which answer comes first where several might.
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
    let name = &operation.name;
    let mut listed = BTreeSet::new();
    for row in rows(operation) {
        if row.names.is_empty() {
            faults.push(format!("{name}: what do transcripts show of {}? See {FOLDER}", row.reply));
        }
        for label in row.names.iter().filter(|label| **label != NODE) {
            let needed = label.strip_prefix('?');
            if needed.is_none() && !shown.contains_key(label) {
                faults.push(format!("{name}: no transcript shows {label}, {}", row.reply));
            }
            listed.insert(needed.unwrap_or(label));
        }
    }
    for (reply, titles) in shown {
        if !listed.contains(reply) {
            faults.push(format!("{name} answers {reply} in {titles}: its page doesn't list it"));
        }
    }
    for title in operation.entry.iter().flat_map(|entry| &entry.told) {
        if !shown.values().any(|titles| titles.split(", ").any(|one| one == title)) {
            faults.push(format!("{name} is not told by {title:?}, as its page says"));
        }
    }
}

/// Where the order of a page's replies is another than that of the answers in `order.txt`.
#[must_use]
pub fn misplaced(order: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut operations: BTreeMap<String, (Operation, bool)> =
        operations().into_iter().map(|it| (it.method.name().to_owned(), (it, false))).collect();
    for line in order.lines().filter(|line| !line.starts_with('#')) {
        let (method, answers) = line.split_once(": ").unwrap_or((line, ""));
        let Some((operation, climbed)) = operations.get_mut(method) else {
            faults.push(format!("{method} has an order, and no page"));
            continue;
        };
        *climbed = true;
        let (rows, mut at) = (rows(operation), 0);
        for label in answers.split(", ") {
            let holds = |row: &Row<'_>| row.names.contains(&label);
            // What only the node's own look at the fields may say as well is not looked for.
            let Some(last) = rows.iter().rposition(holds) else { continue };
            match rows[at..].iter().position(holds) {
                Some(further) => at += further,
                None => faults.push(format!(
                    "{method}: {label} comes after {:?}, and stands before it, at {} of its page",
                    rows[at].reply,
                    last + 1
                )),
            }
        }
    }
    for (name, (operation, climbed)) in operations {
        let refusals: BTreeSet<&str> =
            rows(&operation).iter().flat_map(|row| row.names.clone()).filter(is_name).collect();
        if refusals.len() > 1 && !climbed {
            faults.push(format!("{name}: no ladder shows which of its refusals comes first"));
        }
    }
    faults
}

/// What comes from the node, and never from a state machine.
const NODE: &str = "node";

/// A reply of a page, and what transcripts call it.
struct Row<'a> {
    reply: &'a str,
    names: Vec<&'a str>,
}

fn rows(operation: &Operation) -> Vec<Row<'_>> {
    let Some(entry) = &operation.entry else { return Vec::new() };
    let first = first::rows(&entry.first).unwrap_or_default().iter();
    let first = first.map(|row| (row.0, row.3));
    let own = entry.replies.iter().map(|row| (row.0.as_str(), row.3.as_str()));
    let rows = first.chain(own).map(|(reply, names)| match names {
        "" => Row { reply, names: reply.split('`').skip(1).step_by(2).filter(is_name).collect() },
        names => Row { reply, names: names.split(' ').collect() },
    });
    rows.collect()
}

/// Whether a word is in capitals, as refusals are.
fn is_name(word: &&str) -> bool {
    word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}
