//! A page, from all that is known of an operation.

use std::fmt::Write as _;

use serde_json::Value;

use super::fields::{self, Types};
use super::{Entry, Operation, first};
use crate::http::Comments;

/// What opens every page.
const MADE: &str =
    "<!-- Made by `cargo run -p jeton-server --example reference -- operations`. Don't edit. -->";

/// Messages that are an operation's input or output, and its page.
fn linked(operations: &[Operation]) -> Vec<(String, String)> {
    let ends = operations.iter().flat_map(|it| {
        [it.method.input(), it.method.output()].map(|m| (m.full_name().to_owned(), it.name.clone()))
    });
    ends.collect()
}

/// The page of an operation.
pub(super) fn of(operation: &Operation, answer: Option<&str>, all: &[Operation]) -> String {
    let (method, name) = (&operation.method, &operation.name);
    let comments = Comments::of(&method.parent_file());
    let mut out = format!("{MADE}\n# {name}\n\n{}\n\n", comments.at(method.path()));
    let (linked, mut types) = (linked(all), Types::default());
    ways(operation, &mut out);
    let inputs = fields::table(&method.input(), &mut types, &linked, true);
    let streams = |yes| if yes { " A stream of these messages.\n\n" } else { "" };
    let _ = write!(out, "\n## Inputs\n\n{}{inputs}", streams(method.is_client_streaming()));
    let outputs = fields::table(&method.output(), &mut types, &linked, true);
    let _ = write!(out, "\n## Answer\n\n{}{outputs}", streams(method.is_server_streaming()));
    if let Some(entry) = &operation.entry {
        replies(entry, &mut out);
        example(operation, entry, answer, &mut out);
    }
    let explained = fields::explained(&mut types, &linked);
    if !explained.is_empty() {
        let _ = write!(out, "\n## Types\n{explained}");
    }
    out
}

/// How it is called, and where it is explained.
fn ways(operation: &Operation, out: &mut String) {
    let service = operation.method.parent_service();
    let _ = writeln!(out, "| | |\n|---|---|");
    let grpc = format!("{}/{}", service.full_name(), operation.method.name());
    let _ = writeln!(out, "| gRPC | `{grpc}` |");
    match &operation.path {
        Some(path) => {
            let _ = writeln!(out, "| HTTP | `POST {path}`, as [JSON](../http.md#json) |");
        }
        None => {
            let http = operation.entry.as_ref().map_or("", |entry| &entry.http);
            let http = if http.is_empty() { "none: a stream needs gRPC" } else { http };
            let _ = writeln!(out, "| HTTP | {http} |");
        }
    }
    let Some(entry) = &operation.entry else { return };
    let named = |name: &str| if name.is_empty() { "none".to_owned() } else { format!("`{name}`") };
    let _ = writeln!(out, "| command line | {} |", named(&entry.cli));
    let _ = writeln!(out, "| Rust client | {} |", named(&entry.rust));
    let title = entry.guide.split(['.', '#']).next().unwrap_or_default();
    let _ = writeln!(out, "| explained in | [{title}](../{}) |", entry.guide);
    if !entry.told.is_empty() {
        let folder = "../../../crates/core/tests/transcripts";
        let told = entry.told.iter().map(|told| format!("[{told}](<{folder}/{told}.txt>)"));
        let told = told.collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "| told by the transcripts | {told} |");
    }
}

fn replies(entry: &Entry, out: &mut String) {
    let _ = write!(
        out,
        "\n## Replies, in order of precedence\n\n| # | reply | when | what changes |\n\
         |---|---|---|---|\n"
    );
    let first = first::rows(&entry.first).unwrap_or_default().iter().copied();
    let own = entry.replies.iter().map(|it| (it.0.as_str(), it.1.as_str(), it.2.as_str()));
    let first = first.map(|(reply, when, change, _)| (reply, when, change));
    for (number, (reply, when, change)) in (1..).zip(first.chain(own)) {
        let _ = writeln!(out, "| {number} | {reply} | {when} | {change} |");
    }
    for note in &entry.notes {
        let _ = write!(out, "\n{note}\n");
    }
    let _ = write!(out, "\n## Failures\n\n");
    if !entry.failures.is_empty() {
        let _ = writeln!(out, "| reason | when |\n|---|---|");
        for failed in &entry.failures {
            let _ = writeln!(out, "| `{}` | {} |", failed.0, failed.1);
        }
        out.push('\n');
    }
    let _ = writeln!(
        out,
        "Any operation may fail with the [common failures](../requests.md#three-kinds-of-no). On a \
         write\n`UNAVAILABLE` and `DEADLINE_EXCEEDED` mean *unknown*, unless the failure says \
         otherwise: repeat it under the same name."
    );
}

fn example(operation: &Operation, entry: &Entry, answer: Option<&str>, out: &mut String) {
    let _ = write!(out, "\n## Example\n\n");
    let Some(path) = &operation.path else {
        let _ = writeln!(out, "{}", entry.session.trim());
        return;
    };
    if !entry.after.is_empty() {
        let links = entry.after.iter().map(|it| format!("[{it}]({it}.md#example)"));
        let links = links.collect::<Vec<_>>().join(", then ");
        let _ = writeln!(out, "After the example of {links}:\n");
    }
    let request = entry.request.trim();
    let _ = writeln!(out, "```http\nPOST {path}\nContent-Type: application/json\n\n{request}\n```");
    let answer = answer.and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(answer) = answer {
        let body = serde_json::to_string_pretty(&answer["body"]).unwrap_or_default();
        let _ = writeln!(out, "\nThe answer, status {}:\n\n```json\n{body}\n```", answer["status"]);
    }
    let _ = writeln!(out, "\nWhat stands in `<…>` differs each time.");
}

/// The page that leads to all others.
pub(super) fn index(operations: &[Operation]) -> String {
    let mut out = format!(
        "{MADE}\n# Operations\n\nA page for each operation of the API: inputs with their limits, \
         replies in order of precedence, failures, an\nexample. What holds for all of them stands \
         in [requests](../requests.md), what they are about in the pages that\neach names. Every \
         refusal is explained in [refusals](refusal.md). Field names are those of the .proto \
         files; in JSON\nthey are in lowerCamelCase: [http](../http.md#json).\n"
    );
    let mut last = String::new();
    for operation in operations {
        let service = operation.method.parent_service();
        let comments = Comments::of(&operation.method.parent_file());
        if service.full_name() != last {
            last = service.full_name().to_owned();
            let _ = write!(
                out,
                "\n## {}\n\n{}\n\n| operation | what it does |\n|---|---|\n",
                service.name(),
                comments.at(service.path())
            );
        }
        let (method, name) = (operation.method.name(), &operation.name);
        let words = comments.at(operation.method.path()).replace('|', "\\|");
        let _ = writeln!(out, "| [{method}]({name}.md) | {words} |");
    }
    out
}

/// The page of what every answer may hold.
pub(super) fn refusal(operations: &[Operation]) -> String {
    let mut out = format!("{MADE}\n# Refusals\n\n");
    let linked = linked(operations);
    let pool = operations.first().map(|it| it.method.parent_pool().clone());
    let refusal = pool.and_then(|pool| pool.get_message_by_name("jeton.v1.Refusal"));
    let Some(refusal) = refusal else { return out };
    let comments = Comments::of(&refusal.parent_file());
    let _ = write!(
        out,
        "{} What tells it from a failure: [requests](../requests.md#three-kinds-of-no).\n\n",
        comments.at(refusal.path())
    );
    let mut types = Types::default();
    out.push_str(&fields::table(&refusal, &mut types, &linked, false));
    for kind in refusal.child_enums() {
        out.push_str(&fields::enumeration(&kind));
    }
    out.push_str(&fields::explained(&mut types, &linked));
    out
}
