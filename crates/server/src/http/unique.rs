//! JSON in which no object names a member twice. Which of the two counts, readers disagree about
//! (RFC 8259 §4), and what a proxy judged must be what this node executes.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::error::Error;

/// Whether `json` is well-formed and names no member twice.
///
/// # Errors
/// The parser's, or one that says `there twice`, with line and column.
pub(super) fn check(json: &[u8]) -> Result<(), Error> {
    let mut json = Deserializer::from_slice(json);
    Unique.deserialize(&mut json)?;
    json.end()
}

#[derive(Clone, Copy)]
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

macro_rules! plain {
    ($($visit:ident: $type:ty),*) => {$(
        fn $visit<E>(self, _: $type) -> Result<(), E> {
            Ok(())
        }
    )*};
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    plain!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !seen.insert(name) {
                members.next_value::<IgnoredAny>()?;
                return Err(serde::de::Error::custom("a member is there twice"));
            }
            members.next_value_seed(self)?;
        }
        Ok(())
    }
}
