//! What a row's key says, field by field. The layouts are those of [`crate::keys`].

use serde::{Serialize, Serializer};

use crate::ids::{FamilyId, RequestId};
use crate::keys::{index, kind};
use crate::revocation;
use crate::suspension;

use super::kind_name;

/// A part of a key.
#[derive(Debug, PartialEq)]
pub(super) enum Field {
    Text(String),
    Millis(u64),
    /// A digest: so many bytes.
    Hidden(usize),
    /// What an entry of an index is about.
    Row(Fields),
}

pub(super) type Fields = Vec<(&'static str, Field)>;

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Millis(number) => to.serialize_u64(*number),
            Self::Hidden(bytes) => to.collect_str(&format_args!("({bytes} bytes)")),
            Self::Row(fields) => to.collect_map(fields.iter().map(|(name, field)| (name, field))),
        }
    }
}

/// The fields of a key, the name of its kind first. A key that this release did not write has
/// `damaged_key` as its last one.
pub(super) fn fields(key: &[u8]) -> Fields {
    let mut reader = Reader { rest: key.get(1..).unwrap_or_default(), fields: Vec::new() };
    reader.push("kind", Field::Text(kind_name(key).to_owned()));
    let read = key.first().and_then(|kind| reader.row(*kind));
    if read.is_none() || !reader.rest.is_empty() {
        reader.push("damaged_key", Field::Text("the key is none of this release".to_owned()));
    }
    reader.fields
}

struct Reader<'k> {
    rest: &'k [u8],
    fields: Fields,
}

impl Reader<'_> {
    fn push(&mut self, name: &'static str, field: Field) {
        self.fields.push((name, field));
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    fn text(&mut self, name: &'static str) -> Option<()> {
        let len = u16::from_be_bytes(self.bytes()?);
        let (text, rest) = self.rest.split_at_checked(usize::from(len))?;
        self.rest = rest;
        self.push(name, Field::Text(std::str::from_utf8(text).ok()?.to_owned()));
        Some(())
    }

    /// Positions and generations are strings in JSON.
    fn number(&mut self, name: &'static str) -> Option<()> {
        let number = u64::from_be_bytes(self.bytes()?);
        self.push(name, Field::Text(number.to_string()));
        Some(())
    }

    fn millis(&mut self, name: &'static str) -> Option<()> {
        let number = u64::from_be_bytes(self.bytes()?);
        self.push(name, Field::Millis(number));
        Some(())
    }

    fn digest(&mut self, name: &'static str) -> Option<()> {
        let bytes: [u8; 16] = self.bytes()?;
        self.push(name, Field::Hidden(bytes.len()));
        Some(())
    }

    fn family(&mut self) -> Option<()> {
        let family = FamilyId(self.bytes()?);
        self.push("family", Field::Text(family.to_string()));
        Some(())
    }

    fn word(&mut self, name: &'static str, word: &str) {
        self.push(name, Field::Text(word.to_owned()));
    }

    /// The target of an entry of an index of what is due.
    fn target(&mut self) {
        self.push("of", Field::Row(fields(self.rest)));
        self.rest = &[];
    }

    fn row(&mut self, kind: u8) -> Option<()> {
        if let kind::EXPIRY | kind::LEASE_DUE = kind {
            let none: [u8; 2] = self.bytes()?;
            self.millis(if kind == kind::EXPIRY { "due_unix_ms" } else { "due_lease_ms" })?;
            self.target();
            return (none == [0; 2]).then_some(());
        }
        self.text("tenant")?;
        match kind {
            kind::TENANT | kind::TENANT_KEYS => Some(()),
            kind::CUTOFF => self.cutoff(),
            kind::SUSPENSION => self.suspension(),
            kind::REAUTHENTICATION => self.text("subject"),
            kind::PREDICATE | kind::REVOCATION => self.number("revocation"),
            kind::FAMILY => self.family(),
            kind::REPLY => {
                let request = RequestId(self.bytes()?);
                self.push("request_id", Field::Text(request.to_string()));
                Some(())
            }
            kind::SESSION => self.text("session"),
            kind::SESSION_INDEX => self.session_index(),
            kind::FAMILY_INDEX => self.family_index(),
            kind::ANCESTOR => self.ancestor(),
            kind::DENIED => self.text("jti").and_then(|()| self.text("client")),
            kind::FEED => self.number("position"),
            kind::LOCK | kind::LOCK_RESULT => self.text("lock"),
            kind::LOCK_WAITER => self.text("lock").and_then(|()| self.number("since")),
            _ => self.text("record_kind").and_then(|()| self.record(kind)),
        }
    }

    fn record(&mut self, kind: u8) -> Option<()> {
        match kind {
            kind::RECORD => self.digest("key"),
            kind::RECORD_CUT => self.digest("index_key"),
            kind::RECORD_KIND => Some(()),
            kind::ATTEMPTS if self.rest.is_empty() => Some(()),
            kind::ATTEMPTS => self.digest("guesser"),
            kind::SEEN => self.text("issuer").and_then(|()| self.digest("key")),
            kind::RECORD_INDEX => {
                match self.byte()? {
                    0 => self.digest("index_key")?,
                    1 => self.millis("expires_unix_ms")?,
                    _ => return None,
                }
                self.digest("key")
            }
            _ => None,
        }
    }

    fn cutoff(&mut self) -> Option<()> {
        let mask = self.byte()?;
        for (bit, name) in revocation::NAMED {
            if mask & bit != 0 {
                self.text(name)?;
            }
        }
        Some(())
    }

    fn suspension(&mut self) -> Option<()> {
        match self.byte()? {
            suspension::SUBJECT => self.text("subject"),
            suspension::CLIENT => self.text("client"),
            // Its name is empty: all of it is meant.
            suspension::TENANT => self.bytes().filter(|len| *len == [0; 2]).map(|_| ()),
            _ => None,
        }
    }

    fn session_index(&mut self) -> Option<()> {
        match self.byte()? {
            1 => self.text("subject").and_then(|()| self.text("session")),
            2 => self.text("session").and_then(|()| self.text("client")),
            _ => None,
        }
    }

    fn family_index(&mut self) -> Option<()> {
        let (what, names): (&str, &[&'static str]) = match self.byte()? {
            index::KEPT => {
                self.word("index", "kept");
                return Some(());
            }
            index::SUBJECT => ("subject", &["subject"]),
            index::CLIENT => ("client", &["client"]),
            index::SUBJECT_CLIENT => ("subject_client", &["subject", "client"]),
            index::DEVICE => ("device", &["device"]),
            index::SESSION => ("session", &["session"]),
            index::ROSTER => ("roster", &["subject"]),
            index::ROSTER_CLIENT => ("roster_client", &["subject", "client"]),
            _ => return None,
        };
        self.word("index", what);
        for name in names {
            self.text(name)?;
        }
        if what.starts_with("roster") {
            return Some(());
        }
        self.number("created").and_then(|()| self.family())
    }

    fn ancestor(&mut self) -> Option<()> {
        match self.byte()? {
            0 => {
                self.word("index", "by_digest");
                self.digest("digest")
            }
            1 => {
                self.word("index", "of_family");
                self.family()?;
                self.number("created")?;
                self.number("generation")?;
                self.digest("digest")
            }
            2 => {
                self.word("index", "chain");
                self.family()?;
                self.number("created")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Position, TenantId, UnixMs};
    use crate::keys;

    fn shown(key: &[u8]) -> String {
        serde_json::to_string(&Field::Row(fields(key))).unwrap()
    }

    #[test]
    fn keys_are_told_in_words() {
        let id = TenantId::new("acme").unwrap();
        let family = keys::family(&id, FamilyId([0xab; 16]));
        let hex = "ab".repeat(16);
        let told = format!(r#"{{"kind":"family","tenant":"acme","family":"{hex}"}}"#);
        assert_eq!(shown(&family), told);
        let due = keys::expiry(UnixMs(7), &family);
        assert_eq!(shown(&due), format!(r#"{{"kind":"expiry","due_unix_ms":7,"of":{told}}}"#));
        let cutoff = keys::cutoff(&id, 9, [Some("alice"), None, None, Some("sid")]);
        let told = r#"{"kind":"cutoff","tenant":"acme","subject":"alice","session":"sid"}"#;
        assert_eq!(shown(&cutoff), told);
        let feed = keys::feed(&id, Position(u64::MAX));
        assert!(shown(&feed).ends_with(r#""position":"18446744073709551615"}"#));
    }

    #[test]
    fn a_key_that_is_cut_short_or_goes_on_is_told() {
        let key = keys::family(&TenantId::new("acme").unwrap(), FamilyId([1; 16]));
        assert!(shown(&key[..key.len() - 1]).contains("damaged_key"));
        assert!(shown(&[&key[..], &[0]].concat()).contains("damaged_key"));
        assert!(!shown(&key).contains("damaged_key"));
        assert!(shown(&[]).contains("damaged_key"));
    }
}
