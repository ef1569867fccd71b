//! The reference of operations: complete, up to date, and true. Every example that it shows is
//! asked of a real node here, and answered as it says.
//!
//! `JETON_EXAMPLES=write` keeps the answers that come instead of comparing them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jeton_server::reference::{self, COMMAND, FOLDER, Operation};
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::web::call;

/// Members that are another at each run: `position` is any name that ends with it.
const DIFFERENT: &[(&str, &str)] = &[
    ("osition", "position"),
    ("fence", "fence"),
    ("nixMs", "unix ms"),
    ("mac", "mac"),
    ("ageMs", "ms"),
    ("remainingMs", "ms"),
    ("clusterId", "cluster id"),
    ("digest", "digest"),
    ("extPageToken", "page token"),
];

/// Also how every other example's tenant is made.
const CREATE_TENANT: &str = "TenantService.CreateTenant";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn answer_file(name: &str) -> PathBuf {
    root().join(FOLDER).join("answers").join(format!("{name}.json"))
}

#[test]
fn every_operation_is_described() {
    let faults = reference::faults();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_pages_are_what_the_sources_make_of_them() {
    let pages = reference::pages(&|name| std::fs::read_to_string(answer_file(name)).ok());
    let folder = root().join("docs/reference/operations");
    for (name, page) in &pages {
        let written = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(written == *page, "docs/reference/operations/{name} is out of date: {COMMAND}");
    }
    for entry in std::fs::read_dir(&folder).expect("a folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(pages.contains_key(&name), "{name} is no operation's page any more: {COMMAND}");
    }
}

/// Each reply of each page is shown by a transcript, and nothing is shown that no page lists.
#[test]
fn transcripts_show_every_reply_of_every_operation() {
    let path = root().join("crates/core/tests/shown.txt");
    let shown = std::fs::read_to_string(path).expect("a list that transcripts make");
    let differences = reference::differences(&shown);
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}

#[test]
fn the_pages_list_replies_in_the_order_in_which_they_are_answered() {
    let path = root().join("crates/core/tests/order.txt");
    let order = std::fs::read_to_string(path).expect("a list that ladders make");
    let misplaced = reference::misplaced(&order);
    assert!(misplaced.is_empty(), "\n{}\n", misplaced.join("\n"));
}

#[test]
fn what_the_entries_name_is_there() {
    let known: Vec<String> = reference::operations().into_iter().map(|it| it.name).collect();
    for operation in reference::operations() {
        let (name, entry) = (&operation.name, operation.entry.expect("an entry"));
        for told in &entry.told {
            let path = root().join(format!("crates/core/tests/transcripts/{told}.txt"));
            assert!(path.exists(), "{name}: there is no transcript {told:?}");
        }
        let page = entry.guide.split('#').next().unwrap_or_default();
        let guide = std::fs::read_to_string(root().join("docs/reference").join(page));
        let guide = guide.unwrap_or_else(|error| panic!("{name}: {page}: {error}"));
        if let Some((_, anchor)) = entry.guide.split_once('#') {
            let found = guide.lines().filter(|line| line.starts_with('#')).any(|line| {
                let words = line.trim_start_matches('#').trim().to_ascii_lowercase();
                let kept = words.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c));
                kept.collect::<String>().replace(' ', "-") == anchor
            });
            assert!(found, "{name}: {page} has no section {anchor}");
        }
        for before in &entry.after {
            assert!(known.contains(before), "{name}: there is no operation {before}");
        }
    }
}

/// Public functions of the Rust client, as `Type::name`.
fn functions() -> BTreeSet<String> {
    let mut functions = BTreeSet::new();
    let mut folders = vec![root().join("crates/client/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("source is text");
            let mut of = "";
            for line in text.lines() {
                if let Some(named) = line.strip_prefix("impl ") {
                    of = named.split([' ', '<']).next().unwrap_or_default();
                }
                let function = ["    pub fn ", "    pub async fn ", "    pub const fn "];
                let function = function.iter().find_map(|start| line.strip_prefix(start));
                if let Some(name) = function.and_then(|rest| rest.split(['(', '<']).next()) {
                    functions.insert(format!("{of}::{name}"));
                }
            }
        }
    }
    functions
}

#[test]
fn the_functions_that_the_entries_name_are_there() {
    let functions = functions();
    let mut named = 0;
    for operation in reference::operations() {
        let rust = operation.entry.map(|entry| entry.rust).unwrap_or_default();
        for function in rust.split(", ").filter(|function| !function.is_empty()) {
            let there = functions.contains(function);
            assert!(there, "{}: the client has no {function}", operation.name);
            named += 1;
        }
    }
    assert!(named > 40, "the entries name {named} functions only");
}

/// One node that is asked all examples, each in a tenant of its own.
struct Asker {
    rig: Rig,
    operations: BTreeMap<String, Operation>,
    tenants: u32,
    /// The cluster's clock.
    now: u64,
}

impl Asker {
    /// The answer to an operation's example, after those that come before it, as a page shows it.
    async fn ask(&mut self, name: &str) -> Value {
        self.tenants += 1;
        self.now = self.rig.status().await.clock_unix_ms;
        let tenant = format!("\"acme-{}\"", self.tenants);
        if name != CREATE_TENANT {
            let create = self.text(CREATE_TENANT, &tenant, &BTreeMap::new());
            let created = call(self.rig.addr, "/admin/v1/TenantService/CreateTenant", &create);
            assert_eq!(created.await.status, 200, "{create}");
        }
        let mut order = Vec::new();
        self.order(name, &mut order);
        let mut answers = BTreeMap::new();
        let mut status = 0;
        for step in order {
            let path = self.operations[&step].path.clone().expect("no stream");
            let request = self.text(&step, &tenant, &answers);
            let answer = call(self.rig.addr, &path, &request).await;
            assert!(step == name || answer.status == 200, "before {name}: {answer:?}");
            status = answer.status;
            answers.insert(step, answer.json());
        }
        let text = answers[name].to_string().replace(&tenant, "\"acme\"");
        let mut body = serde_json::from_str(&text).expect("JSON");
        let entry = self.operations[name].entry.as_ref().expect("an entry");
        calm(&mut body, &entry.differ);
        json!({ "status": status, "body": body })
    }

    /// The operations that come before one, and itself.
    fn order(&self, name: &str, order: &mut Vec<String>) {
        let entry = self.operations[name].entry.as_ref().expect("an entry");
        for before in &entry.after {
            self.order(before, order);
        }
        if !order.iter().any(|known| known == name) {
            order.push(name.to_owned());
        }
    }

    /// An example's request, with what stands in angle brackets filled in.
    fn text(&self, name: &str, tenant: &str, answers: &BTreeMap<String, Value>) -> Value {
        let entry = self.operations[name].entry.as_ref().expect("an entry");
        let mut text = entry.request.replace("\"acme\"", tenant);
        text = text.replace("<a minute from now>", &(self.now + 60_000).to_string());
        while let Some((before, rest)) = text.split_once('<') {
            let (inside, after) = rest.split_once('>').expect("a bracket that closes");
            let (member, of) = inside.split_once(" of ").expect("<member of operation>");
            let known = answers.get(of).and_then(|answer| find(answer, member));
            let known = known.unwrap_or_else(|| panic!("{name}: {of} answered no {member}"));
            text = format!("{before}{known}{after}");
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
    }
}

/// The first member of this name, wherever it is.
fn find(value: &Value, member: &str) -> Option<String> {
    match value {
        Value::Object(members) => match members.get(member) {
            Some(Value::String(found)) => Some(found.clone()),
            Some(found) => Some(found.to_string()),
            None => members.values().find_map(|inner| find(inner, member)),
        },
        Value::Array(items) => items.iter().find_map(|inner| find(inner, member)),
        _ => None,
    }
}

/// Puts names in the place of what is another at each run.
fn calm(value: &mut Value, differ: &[String]) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let always = DIFFERENT.iter().find(|(end, _)| name.ends_with(end));
                let shown = match (always, differ.contains(name)) {
                    (Some((_, shown)), _) => shown,
                    (None, true) => name.as_str(),
                    (None, false) => "",
                };
                let plain = inner.is_string() || inner.is_number() || inner.is_null();
                let nothing = inner.as_str() == Some("") || inner.is_null();
                if shown.is_empty() || !plain || nothing {
                    calm(inner, differ);
                } else {
                    *inner = Value::from(format!("<{shown}>"));
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| calm(inner, differ)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods)] // a tool of the test writes its files without seams
async fn every_example_is_answered_as_the_pages_say() {
    let operations = reference::operations().into_iter().map(|it| (it.name.clone(), it)).collect();
    let mut asker = Asker { rig: Rig::start().await, operations, tenants: 0, now: 0 };
    let write = std::env::var("JETON_EXAMPLES").is_ok_and(|how| how == "write");
    let unary = asker.operations.iter().filter(|(_, it)| it.path.is_some());
    let names: Vec<String> = unary.map(|(name, _)| name.clone()).collect();
    let mut faults = Vec::new();
    for name in names {
        let answer = serde_json::to_string_pretty(&asker.ask(&name).await).expect("JSON") + "\n";
        let file = answer_file(&name);
        if write {
            std::fs::write(&file, answer).expect("a file that can be written");
        } else if std::fs::read_to_string(&file).unwrap_or_default() != answer {
            faults.push(format!("{name} answered\n{answer}"));
        }
    }
    asker.rig.stop().await;
    assert!(
        faults.is_empty(),
        "{}\nThese are not the answers that {FOLDER}/answers holds. If they are right:\n  \
         JETON_EXAMPLES=write cargo test -p jeton-server --test server examples\n  {COMMAND}",
        faults.join("\n")
    );
}
