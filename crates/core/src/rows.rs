//! What rows are, for those who look at them without judging: the name of each kind, whether a
//! value can be read as what its key says, and both as JSON.
//!
//! A dump shows no secret. Whatever is bytes (digests, seals, keys, values, payloads) is shown as
//! its length; identifiers, times, positions, attributes and reasons as they are.

mod key;

use std::io;

use bytes::Bytes;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::codec::decode_row;
use crate::command::RecordKindSettings;
use crate::denial::Denial;
use crate::family::FamilyRow;
use crate::family::cap::Roster;
use crate::family::opaque::Ancestor;
use crate::feed::FeedRow;
use crate::ids::TenantId;
use crate::keys::{self, kind};
use crate::lease::{Landed, LockRow, Waiter};
use crate::record::RecordRow;
use crate::record::attempts::Misses;
use crate::record::delete::RecordCut;
use crate::record::seen::Seen;
use crate::request::Remembered;
use crate::revocation::Cutoff;
use crate::revocation::predicate::Predicate;
use crate::session::{IndexRow, SessionRow};
use crate::suspension::Suspended;
use crate::tables::TablesError;
use crate::tenant::{KeysRow, Tenant};

/// All kinds, in the order of their rows.
const KINDS: &[(u8, &str)] = &[
    (kind::TENANT, "tenant"),
    (kind::TENANT_KEYS, "tenant_keys"),
    (kind::CUTOFF, "cutoff"),
    (kind::SUSPENSION, "suspension"),
    (kind::REAUTHENTICATION, "reauthentication"),
    (kind::RECORD_CUT, "record_cut"),
    (kind::RECORD_KIND, "record_kind"),
    (kind::PREDICATE, "predicate"),
    (kind::FAMILY, "family"),
    (kind::REPLY, "reply"),
    (kind::EXPIRY, "expiry"),
    (kind::SESSION, "session"),
    (kind::FAMILY_INDEX, "family_index"),
    (kind::ANCESTOR, "ancestor"),
    (kind::SESSION_INDEX, "session_index"),
    (kind::RECORD, "record"),
    (kind::RECORD_INDEX, "record_index"),
    (kind::ATTEMPTS, "attempts"),
    (kind::SEEN, "seen"),
    (kind::LOCK, "lock"),
    (kind::LOCK_WAITER, "lock_waiter"),
    (kind::LOCK_RESULT, "lock_result"),
    (kind::DENIED, "denied"),
    (kind::FEED, "feed"),
    (kind::LEASE_DUE, "lease_due"),
    (kind::REVOCATION, "revocation"),
];

/// How a row of a type is read.
type Read<T> = fn(&[u8]) -> Result<T, TablesError>;

/// What is done with a row once its type is known.
trait Look {
    type Seen;
    fn at<T: Serialize>(self, read: Read<T>) -> Self::Seen;
}

/// Finds the type of a row from its key.
fn look<L: Look>(key: &[u8], look: L) -> L::Seen {
    let Some(first) = key.first() else { return look.at(decode_row::<()>) };
    match *first {
        kind::TENANT => look.at(decode_row::<Tenant>),
        kind::TENANT_KEYS => look.at(decode_row::<KeysRow>),
        kind::CUTOFF | kind::REAUTHENTICATION => look.at(decode_row::<Cutoff>),
        kind::SUSPENSION => look.at(decode_row::<Suspended>),
        kind::RECORD_CUT => look.at(decode_row::<RecordCut>),
        kind::RECORD_KIND => look.at(decode_row::<RecordKindSettings>),
        kind::PREDICATE | kind::REVOCATION => look.at(decode_row::<Predicate>),
        kind::FAMILY => look.at(FamilyRow::decode),
        kind::REPLY => look.at(decode_row::<Remembered>),
        kind::SESSION => look.at(decode_row::<SessionRow>),
        kind::SESSION_INDEX => look.at(decode_row::<IndexRow>),
        kind::RECORD => look.at(decode_row::<RecordRow>),
        kind::ATTEMPTS => look.at(decode_row::<Misses>),
        kind::SEEN => look.at(decode_row::<Seen>),
        kind::LOCK => look.at(decode_row::<LockRow>),
        kind::LOCK_WAITER => look.at(decode_row::<Waiter>),
        kind::LOCK_RESULT => look.at(decode_row::<Landed>),
        kind::DENIED => look.at(decode_row::<Denial>),
        kind::FEED => look.at(decode_row::<FeedRow>),
        kind::FAMILY_INDEX => match keys::family_index_of(key) {
            Some(keys::index::KEPT) => look.at(decode_row::<u64>),
            Some(keys::index::ROSTER | keys::index::ROSTER_CLIENT) => look.at(decode_row::<Roster>),
            _ => look.at(decode_row::<()>),
        },
        kind::ANCESTOR if keys::is_ancestor(key) => look.at(decode_row::<Ancestor>),
        // Entries of indexes: their keys say it all.
        _ => look.at(decode_row::<()>),
    }
}

/// The names of all kinds, in the order of their rows.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(_, name)| *name)
}

/// What a row's kind is called; `other` if it is none of this release.
#[must_use]
pub fn kind_name(key: &[u8]) -> &'static str {
    let named = KINDS.iter().find(|(kind, _)| key.first() == Some(kind));
    named.map_or("other", |(_, name)| *name)
}

/// From where to where the rows of a kind are; `None` if there is no such kind.
#[must_use]
pub fn range_of(kind: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (kind, _) = KINDS.iter().find(|(_, name)| *name == kind)?;
    Some((vec![*kind], vec![kind + 1]))
}

/// The tenant that a row belongs to; an entry of an index of what is due to that of its target.
#[must_use]
pub fn tenant_of(key: &[u8]) -> Option<TenantId> {
    let target = match key.first() {
        Some(&kind::EXPIRY) => keys::expiry_target(key)?,
        Some(&kind::LEASE_DUE) => keys::lease_due_target(key)?.1,
        _ => key,
    };
    keys::split_tenant(target).map(|(tenant, _)| tenant)
}

/// Whether a value can be read as what its key says.
///
/// # Errors
/// [`TablesError`] if this release did not write it.
pub fn check(key: &[u8], value: &Bytes) -> Result<(), TablesError> {
    struct Check<'a>(&'a Bytes);
    impl Look for Check<'_> {
        type Seen = Result<(), TablesError>;
        fn at<T: Serialize>(self, read: Read<T>) -> Self::Seen {
            read(self.0).map(drop)
        }
    }
    look(key, Check(value))
}

/// A row as one JSON object on one line: what its key says, its bytes, and what is in it (`row`) or
/// why that can't be read (`damaged`). Secrets are left out, as the head of this module says.
#[must_use]
pub fn json(key: &[u8], value: &Bytes) -> String {
    let mut line = Vec::new();
    let mut to = serde_json::Serializer::with_formatter(&mut line, Lengths);
    // A vector takes every byte, and our types have text for keys.
    match (Shown { key, value }).serialize(&mut to) {
        Ok(()) => String::from_utf8_lossy(&line).into_owned(),
        Err(error) => serde_json::json!({ "damaged": error.to_string() }).to_string(),
    }
}

/// Shows bytes as how many there are.
struct Lengths;

impl serde_json::ser::Formatter for Lengths {
    fn write_byte_array<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        value: &[u8],
    ) -> io::Result<()> {
        write!(writer, "\"({} bytes)\"", value.len())
    }
}

struct Shown<'a> {
    key: &'a [u8],
    value: &'a Bytes,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        struct Value<'a, M>(&'a Bytes, &'a mut M);
        impl<M: serde::ser::SerializeMap> Look for Value<'_, M> {
            type Seen = Result<(), M::Error>;
            fn at<T: Serialize>(self, read: Read<T>) -> Self::Seen {
                match read(self.0) {
                    Ok(row) => self.1.serialize_entry("row", &row),
                    Err(error) => self.1.serialize_entry("damaged", &error.to_string()),
                }
            }
        }
        let mut map = to.serialize_map(None)?;
        for (name, field) in key::fields(self.key) {
            map.serialize_entry(name, &field)?;
        }
        map.serialize_entry("bytes", &self.value.len())?;
        look(self.key, Value(self.value, &mut map))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_the_order_of_their_rows() {
        assert!(KINDS.is_sorted_by(|(a, _), (b, _)| a < b));
        for (kind, name) in KINDS {
            assert_eq!(kind_name(&[*kind, 0, 0]), *name);
            assert_eq!(range_of(name), Some((vec![*kind], vec![kind + 1])));
        }
        assert_eq!(kind_name(&[0xff]), "other");
        assert_eq!(range_of("other"), None);
    }

    #[test]
    fn what_is_no_row_is_told_and_not_shown() {
        let nonsense = Bytes::from_static(&[1, 2, 3]);
        for (kind, _) in KINDS {
            for key in [&[*kind][..], &[*kind, 0, 9, b'a'], &[*kind, 0, 1, b'a', 77, 0xff, 0xff]] {
                let line = json(key, &nonsense);
                let told: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(told["kind"], kind_name(key), "{line}");
                let readable = check(key, &nonsense).is_ok();
                assert_eq!(told.get("damaged").is_none(), readable, "{line}");
            }
        }
    }
}
