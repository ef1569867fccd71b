//! Words about records. A record is named `kind/key`.
//!
//! ```text
//! kind code keep=yes misses=3 tenant=10 window=1m        what holds for a kind
//! put code/c value=v when=new|any|1 lifetime=1m index=a,b subject=alice for=f if=client:web
//! delete code/c version=1 · cut-records code index=a · collect code before=+1m max=10
//! consume code/c if=client:web for=f revoke=yes who=g
//! look-up code/c who=g · look-up code index=a who=g
//! seen dpop issuer=web key=j expires=+1m
//! get code/c · find code index=a max=2 · more        reads; `more` is the next page
//! ```

use std::fmt::Write as _;

use bytes::Bytes;
use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::read;
use jeton_core::reply::*;

use super::words::{self, Words, instant, place, position, short_span, span};
use super::{Store, Story, T0, named};

pub fn digest(name: &str) -> KeyDigest {
    KeyDigest(named(name))
}

fn kind(words: &Words) -> RecordKind {
    RecordKind::new(words.noun().split('/').next().unwrap()).unwrap()
}

fn key(words: &Words) -> KeyDigest {
    digest(words.noun().split_once('/').expect("kind/key").1)
}

fn family(words: &Words, name: &str) -> Option<FamilyId> {
    words.get(name).map(|name| FamilyId(named(name)))
}

fn preconditions(words: &Words) -> Vec<Precondition> {
    let pairs = words.get("if").into_iter().flat_map(|text| text.split(','));
    let pairs = pairs.map(|pair| pair.split_once(':').expect("name:value"));
    pairs.map(|(name, value)| Precondition { name: name.into(), digest: digest(value) }).collect()
}

fn settings(words: &Words) -> RecordKindSettings {
    let number = |name| words.number(name).map(|number| number as u32);
    let attempts = number("misses").map(|misses| AttemptLimits {
        misses_per_guesser: misses,
        misses_per_tenant: number("tenant").unwrap_or(100),
        window: words.get("window").map_or(DurationMs(60_000), span),
    });
    let keep = words.get("keep").is_some();
    RecordKindSettings { on_expiry: if keep { OnExpiry::Keep } else { OnExpiry::Hide }, attempts }
}

fn put(words: &Words) -> PutRecord {
    let mut index: Vec<_> =
        words.get("index").into_iter().flat_map(|keys| keys.split(',')).map(digest).collect();
    if words.get("unsorted").is_none() {
        index.sort();
    }
    let value = match words.number("bytes") {
        Some(len) => Bytes::from(vec![b'v'; len as usize]),
        None => Bytes::from(words.get("value").unwrap_or("v").to_owned()),
    };
    PutRecord {
        kind: kind(words),
        key: key(words),
        when: match words.get("when") {
            Some("new") => PutWhen::Absent,
            None | Some("any") => PutWhen::Always,
            Some(version) => PutWhen::Version(version.parse().unwrap()),
        },
        value,
        lifetime: words.get("lifetime").map(span),
        index,
        roots: RecordRoots {
            subject: words.get("subject").map(|name| SubjectId::new(name).unwrap()),
            client: words.get("client").map(|name| ClientId::new(name).unwrap()),
            session: words.get("session").map(|name| SessionId::new(name).unwrap()),
            device: words.get("device").map(|name| DeviceId::new(name).unwrap()),
            family: family(words, "family"),
        },
        family: family(words, "for"),
        preconditions: preconditions(words),
        authenticated_at: words.get("authenticated").map(position),
    }
}

fn consume_of(words: &Words) -> Consume {
    Consume {
        kind: kind(words),
        key: key(words),
        preconditions: preconditions(words),
        guesser: words.get("who").map(digest),
        family: family(words, "for"),
        revoke_on_replay: words.get("revoke").is_some(),
    }
}

/// `code=code/c` of a new family; the rest as of `consume`.
pub fn code(words: &Words) -> Option<Box<Consume>> {
    let (code_kind, name) = words.get("code")?.split_once('/').expect("kind/key");
    Some(Box::new(Consume {
        kind: RecordKind::new(code_kind).unwrap(),
        key: digest(name),
        preconditions: preconditions(words),
        guesser: words.get("who").map(digest),
        family: None,
        revoke_on_replay: words.get("revoke").is_some(),
    }))
}

/// The operation that these words ask for, if it is about records.
pub fn operation(words: &Words) -> Option<Operation> {
    let index = || digest(words.get("index").expect("an index key"));
    Some(match words.verb() {
        "kind" => {
            Operation::SetRecordKind(SetRecordKind { kind: kind(words), settings: settings(words) })
        }
        "put" => Operation::PutRecord(Box::new(put(words))),
        "delete" => Operation::DeleteRecord(DeleteRecord {
            kind: kind(words),
            key: key(words),
            version: words.number("version"),
        }),
        "cut-records" => {
            Operation::DeleteRecords(DeleteRecords { kind: kind(words), index: index() })
        }
        "collect" => Operation::CollectExpired(CollectExpired {
            kind: kind(words),
            before: words.get("before").map_or(UnixMs(u64::MAX), |at| T0.plus(span(at))),
            rows_max: words.number("max").unwrap_or(1_000) as u32,
        }),
        "consume" => Operation::Consume(Box::new(consume_of(words))),
        "look-up" => Operation::LookUpRecord(LookUpRecord {
            kind: kind(words),
            by: match words.get("index") {
                Some(_) => RecordName::Index(index()),
                None => RecordName::Key(key(words)),
            },
            guesser: digest(words.get("who").expect("who asks")),
        }),
        "seen" => Operation::SeenOnce(SeenOnce {
            kind: kind(words),
            issuer: IssuerId::new(words.get("issuer").unwrap_or("web")).unwrap(),
            key: digest(words.get("key").expect("a key")),
            expires_at: T0.plus(span(words.get("expires").expect("an end"))),
        }),
        _ => return None,
    })
}

/// Where a listing goes on: its words, and the key behind which.
pub type Listing = (RecordKind, KeyDigest, u32, Option<KeyDigest>);

impl<S: Store> Story<S> {
    pub fn look_at_records(&mut self, words: &Words, out: &mut String) {
        if words.verb() == "get" {
            let (kind, key) = (kind(words), key(words));
            let found = read::record(&self.store, self.now, &self.tenant, &kind, &key).unwrap();
            self.shown.read("GetRecord", "RecordView", &found);
            match found {
                Ok(found) => view(out, &found),
                Err(refusal) => words::refusal(out, &refusal),
            }
            return;
        }
        if words.verb() == "find" {
            let index = digest(words.get("index").expect("an index key"));
            let max = words.number("max").unwrap_or(100) as u32;
            self.listing = Some((kind(words), index, max, None));
        }
        let (kind, index, max, after) = self.listing.as_mut().expect("a page before this one");
        let (tables, tenant) = (&self.store, &self.tenant);
        let page =
            read::records(tables, self.now, tenant, kind, index, after.as_ref(), *max).unwrap();
        self.shown.read("FindRecords", "RecordPage", &page);
        match page {
            Ok(page) => {
                page.records.iter().for_each(|found| view(out, found));
                *after = page.next;
                writeln!(out, "{}", if page.next.is_some() { "and more" } else { "that is all" })
                    .unwrap();
            }
            Err(refusal) => words::refusal(out, &refusal),
        }
    }
}

/// A kind, as `kinds` lists it.
pub fn kind_settings(out: &mut String, kind: &RecordKind, settings: &RecordKindSettings) {
    write!(out, "{kind}: {:?}", settings.on_expiry).unwrap();
    if let Some(it) = settings.attempts {
        let (who, tenant) = (it.misses_per_guesser, it.misses_per_tenant);
        write!(out, ", {who} misses a guesser, {tenant} in all").unwrap();
        write!(out, ", in {}", short_span(it.window)).unwrap();
    }
    writeln!(out).unwrap();
}

/// A value, if it is short enough to be read.
fn text(value: &[u8]) -> String {
    match value.len() {
        0..100 => String::from_utf8_lossy(value).into_owned(),
        long => format!("{long} bytes"),
    }
}

fn view(out: &mut String, view: &RecordView) {
    write!(out, "{}, version {}", text(&view.value), view.version).unwrap();
    write!(out, ", created {}, origin {}", place(view.created), place(view.origin)).unwrap();
    match view.expires_at {
        Some(at) if view.expired => write!(out, ", EXPIRED {}", instant(at)).unwrap(),
        Some(at) => write!(out, ", ends {}", instant(at)).unwrap(),
        None => {}
    }
    if let Some(at) = view.consumed_at {
        write!(out, ", consumed {}", instant(at)).unwrap();
    }
    writeln!(out, "{}", if view.family.is_some() { ", has a family" } else { "" }).unwrap();
}

/// Writes what was done, if it is about records.
pub fn done(out: &mut String, done: &Done) -> bool {
    match done {
        Done::RecordPut { version } => writeln!(out, "put, version {version}"),
        Done::RecordFound(found) => {
            write!(out, "found ").unwrap();
            view(out, found);
            Ok(())
        }
        Done::RecordDeleted { existed: true } => writeln!(out, "deleted"),
        Done::RecordDeleted { existed: false } => writeln!(out, "nothing to delete"),
        Done::Collected { count, more } => {
            writeln!(out, "collected {count}{}", if *more { ", and there are more" } else { "" })
        }
        Done::Consumed(it) => {
            writeln!(out, "FIRST: {}, origin {}", text(&it.value), place(it.origin))
        }
        Done::Fresh => writeln!(out, "FRESH"),
        _ => return false,
    }
    .unwrap();
    true
}

/// Writes why not, if it is about records.
pub fn refusal(out: &mut String, refusal: &Refusal) -> bool {
    let made = |family: &Option<FamilyId>| if family.is_some() { ", made a family" } else { "" };
    match refusal {
        Refusal::PreconditionFailed => writeln!(out, "PRECONDITION_FAILED"),
        Refusal::Already { at, family } => {
            writeln!(out, "ALREADY {}{}", instant(*at), made(family))
        }
        Refusal::AttemptsExceeded { retry_after } => {
            writeln!(out, "ATTEMPTS_EXCEEDED: retry after {}", short_span(*retry_after))
        }
        Refusal::Replay => writeln!(out, "REPLAY"),
        Refusal::Code(CodeRefusal::Already { at, family }) => {
            writeln!(out, "CODE_ALREADY {}{}", instant(*at), made(family))
        }
        Refusal::Code(CodeRefusal::Expired { at }) => {
            writeln!(out, "CODE_EXPIRED {}", instant(*at))
        }
        Refusal::Code(CodeRefusal::NotFound) => writeln!(out, "CODE_NOT_FOUND"),
        Refusal::Code(CodeRefusal::PreconditionFailed) => {
            writeln!(out, "CODE_PRECONDITION_FAILED")
        }
        _ => return false,
    }
    .unwrap();
    true
}
