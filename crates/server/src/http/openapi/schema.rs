//! Messages and enumerations as JSON Schema, with the comments of the .proto files.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::reference;

/// Comments of one .proto file, by their place in it.
pub(crate) struct Comments(BTreeMap<Vec<i32>, String>);

impl Comments {
    pub(crate) fn of(file: &FileDescriptor) -> Self {
        let proto = file.file_descriptor_proto();
        let locations = proto.source_code_info.iter().flat_map(|info| &info.location);
        let comments = locations.filter_map(|location| {
            let lines = location.leading_comments.as_deref()?.lines().map(str::trim);
            Some((location.path.clone(), lines.collect::<Vec<_>>().join(" ").trim().to_owned()))
        });
        Self(comments.collect())
    }

    pub(crate) fn at(&self, path: &[i32]) -> &str {
        self.0.get(path).map_or("", String::as_str)
    }
}

/// All that was referred to.
#[derive(Default)]
pub(super) struct Schemas(Map<String, Value>);

impl Schemas {
    pub(super) fn insert(&mut self, name: &str, schema: Value) {
        self.0.insert(name.to_owned(), schema);
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// A reference to a message's schema, which is made if it isn't there.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.full_name();
        if !self.0.contains_key(name) {
            // First, so that a message may hold itself.
            self.insert(name, Value::Null);
            let comments = Comments::of(&message.parent_file());
            let mut properties = Map::new();
            for field in message.fields() {
                properties.insert(field.json_name().to_owned(), self.field(&field, &comments));
            }
            let schema = json!({
                "type": "object",
                "description": comments.at(message.path()),
                "properties": properties,
            });
            self.insert(name, schema);
        }
        reference(name)
    }

    fn enumeration(&mut self, kind: &EnumDescriptor) -> Value {
        let name = kind.full_name();
        if !self.0.contains_key(name) {
            let comments = Comments::of(&kind.parent_file());
            let mut words = comments.at(kind.path()).to_owned();
            let mut names = Vec::new();
            for value in kind.values() {
                words.push_str(&format!("\n- `{}`: {}", value.name(), comments.at(value.path())));
                names.push(value.name().to_owned());
            }
            let schema = json!({ "type": "string", "enum": names, "description": words });
            self.insert(name, schema);
        }
        reference(name)
    }

    fn field(&mut self, field: &FieldDescriptor, comments: &Comments) -> Value {
        let mut schema = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return Value::Null };
            let value = self.kind(&entry.map_entry_value_field().kind());
            json!({ "type": "object", "additionalProperties": value })
        } else if field.is_list() {
            json!({ "type": "array", "items": self.kind(&field.kind()) })
        } else {
            self.kind(&field.kind())
        };
        let mut words = comments.at(field.path()).to_owned();
        // proto3's `optional` is a oneof of one, which says nothing.
        if let Some(choice) = field.containing_oneof().filter(|choice| choice.fields().len() > 1) {
            words.push_str(&format!(" At most one of `{}`.", choice.name()));
        }
        schema["description"] = json!(words);
        schema
    }

    /// As protobuf's JSON form writes it.
    fn kind(&mut self, kind: &Kind) -> Value {
        let whole = |format: &str| json!({ "type": "string", "format": format });
        match kind {
            Kind::Message(message) => self.message(message),
            Kind::Enum(kind) => self.enumeration(kind),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0 }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer" }),
            Kind::Uint64 | Kind::Fixed64 => whole("uint64"),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => whole("int64"),
        }
    }
}
