//! Fields of messages as tables: names as in the .proto files, meanings from their comments.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use crate::http::Comments;

/// What every answer may hold, explained on a page of its own.
const REFUSAL: &str = "jeton.v1.Refusal";

/// Messages and enumerations that a page must explain below its tables.
#[derive(Default)]
pub(super) struct Types {
    seen: BTreeSet<String>,
    waiting: Vec<Kind>,
}

impl Types {
    /// A field's type, with a link to where it is explained. `operations` are the names of those
    /// messages that have a page of their own, with it.
    fn link(&mut self, kind: &Kind, operations: &[(String, String)]) -> String {
        let (full, short) = match kind {
            Kind::Message(message) => (message.full_name().to_owned(), message.name().to_owned()),
            Kind::Enum(kind) => (kind.full_name().to_owned(), kind.name().to_owned()),
            plain => return format!("{plain:?}").to_ascii_lowercase(),
        };
        if full == REFUSAL {
            return format!("[`{short}`](refusal.md)");
        }
        if let Some((_, page)) = operations.iter().find(|(message, _)| *message == full) {
            return format!("[`{short}`]({page}.md)");
        }
        let in_refusal = full.starts_with("jeton.v1.Refusal.");
        if in_refusal {
            return format!("[`{short}`](refusal.md)");
        }
        if self.seen.insert(full) {
            self.waiting.push(kind.clone());
        }
        format!("[`{short}`](#{})", short.to_ascii_lowercase())
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The fields of a message: those of messages within it are shown one level deep.
pub(super) fn table(
    message: &MessageDescriptor,
    types: &mut Types,
    operations: &[(String, String)],
    deep: bool,
) -> String {
    if message.fields().len() == 0 {
        return "No fields.\n".to_owned();
    }
    let mut out = "| field | type | meaning and limits |\n|---|---|---|\n".to_owned();
    rows(message, "", types, operations, deep, &mut out);
    out
}

fn rows(
    message: &MessageDescriptor,
    prefix: &str,
    types: &mut Types,
    operations: &[(String, String)],
    deep: bool,
    out: &mut String,
) {
    let comments = Comments::of(&message.parent_file());
    for field in message.fields() {
        let inner = inner(&field, operations).filter(|_| deep);
        let shown = match &inner {
            // Shown right below: it needs no other place.
            Some(inner) => format!("`{}`", inner.name()),
            None => kind(&field, types, operations),
        };
        let mut words = comments.at(field.path()).to_owned();
        if let Some(choice) = field.containing_oneof().filter(|choice| choice.fields().len() > 1) {
            let _ = write!(words, " One of `{}`.", choice.name());
        }
        let name = format!("{prefix}{}", field.name());
        let shown = shown.trim();
        let _ = writeln!(out, "| `{name}` | {shown} | {} |", cell(words.trim()));
        if let Some(inner) = inner {
            let every = if field.is_list() { "[]" } else { "" };
            rows(&inner, &format!("{name}{every}."), types, operations, false, out);
        }
    }
}

/// The message that is shown together with the field that holds it.
fn inner(field: &FieldDescriptor, operations: &[(String, String)]) -> Option<MessageDescriptor> {
    let Kind::Message(message) = field.kind() else { return None };
    let elsewhere = message.full_name() == REFUSAL
        || operations.iter().any(|(name, _)| name == message.full_name());
    (!field.is_map() && !elsewhere).then_some(message)
}

fn kind(field: &FieldDescriptor, types: &mut Types, operations: &[(String, String)]) -> String {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let key = types.link(&entry.map_entry_key_field().kind(), operations);
        let value = types.link(&entry.map_entry_value_field().kind(), operations);
        return format!("map of {key} to {value}");
    }
    let one = types.link(&field.kind(), operations);
    if field.is_list() {
        return format!("list of {one}");
    }
    let optional = field.supports_presence() && !matches!(field.kind(), Kind::Message(_));
    let alone = field.containing_oneof().is_none_or(|choice| choice.fields().len() == 1);
    if optional && alone { format!("{one}, optional") } else { one }
}

/// All that was linked to, and what that links to in turn.
pub(super) fn explained(types: &mut Types, operations: &[(String, String)]) -> String {
    let mut out = String::new();
    while !types.waiting.is_empty() {
        let next = types.waiting.remove(0);
        match &next {
            Kind::Message(message) => {
                let comments = Comments::of(&message.parent_file());
                let words = comments.at(message.path());
                let fields = table(message, types, operations, false);
                let _ = write!(out, "\n### {}\n\n{words}\n\n{fields}", message.name());
            }
            Kind::Enum(kind) => out.push_str(&enumeration(kind)),
            _ => {}
        }
    }
    out
}

/// The values of an enumeration.
pub(super) fn enumeration(kind: &EnumDescriptor) -> String {
    let comments = Comments::of(&kind.parent_file());
    let words = comments.at(kind.path());
    let mut out = format!("\n### {}\n\n{words}\n\n| value | meaning |\n|---|---|\n", kind.name());
    for value in kind.values() {
        let _ = writeln!(out, "| `{}` | {} |", value.name(), cell(comments.at(value.path())));
    }
    out
}
