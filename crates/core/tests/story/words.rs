//! Words of a story, and how answers are written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use jeton_core::access::{Access, AccessClaims};
use jeton_core::command::{CapPolicy, CapScope, FamilyCap, SettingsChange};
use jeton_core::feed::FeedEntry;
use jeton_core::ids::*;
use jeton_core::reply::*;

use super::T0;

/// `verb noun name=value …`
pub struct Words {
    verb: String,
    noun: String,
    named: BTreeMap<String, String>,
    parts: Vec<Self>,
}

impl Words {
    pub fn new(text: &str) -> Self {
        let mut parts = text.split(" & ");
        let mut words = parts.next().expect("words").split_whitespace().peekable();
        let verb = words.next().expect("a command").to_owned();
        let noun = words.next_if(|word| !word.contains('=')).unwrap_or_default().to_owned();
        let named = words.map(|word| word.split_once('=').expect("name=value"));
        let named = named.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { verb, noun, named, parts: parts.map(Self::new).collect() }
    }

    /// What follows behind ` & `.
    pub fn parts(&self) -> &[Self] {
        &self.parts
    }

    pub fn verb(&self) -> &str {
        &self.verb
    }

    pub fn noun(&self) -> &str {
        &self.noun
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.named.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).map(|text| text.parse().expect("a number"))
    }

    /// `attributes=a:1,b:2`
    pub fn attributes(&self) -> Option<Vec<(Arc<str>, Arc<str>)>> {
        let pairs = self.get("attributes")?.split(',').map(|pair| pair.split_once(':').unwrap());
        Some(pairs.map(|(name, value)| (Arc::from(name), Arc::from(value))).collect())
    }

    /// `cap=3:subject:evict`, `cap=1:client:deny`
    pub fn cap(&self) -> Option<FamilyCap> {
        let mut parts = self.get("cap")?.split(':');
        let max = parts.next()?.parse().expect("a number");
        let scope = match parts.next()? {
            "subject" => CapScope::Subject,
            "client" => CapScope::SubjectClient,
            other => panic!("no such scope: {other}"),
        };
        let policy = match parts.next()? {
            "evict" => CapPolicy::EvictOldest,
            "deny" => CapPolicy::Deny,
            other => panic!("no such policy: {other}"),
        };
        Some(FamilyCap { max, scope, policy })
    }

    /// What an access token says of itself; `issued=1m` is a minute after the beginning.
    pub fn claims(&self, family: fn(&str) -> [u8; 16]) -> AccessClaims {
        AccessClaims {
            jti: self.get("jti").map(|name| Jti::new(name).unwrap()),
            subject: self.get("subject").map(|name| SubjectId::new(name).unwrap()),
            client: self.get("client").map(|name| ClientId::new(name).unwrap()),
            device: self.get("device").map(|name| DeviceId::new(name).unwrap()),
            session: self.get("session").map(|name| SessionId::new(name).unwrap()),
            family: self.get("family").map(|name| FamilyId(family(name))),
            position: self.get("position").map(position),
            issued_at: self.get("issued").map(|text| T0.plus(span(text))),
        }
    }

    pub fn settings(&self) -> SettingsChange {
        let number = |name| self.number(name).map(|value| value as u32);
        SettingsChange {
            grace_default: self.get("grace").map(span),
            family_lifetime_max: self.get("lifetime").map(span),
            idle_default: self.get("idle").map(span),
            access_ttl_max: self.get("access").map(span),
            rotation_burst: number("burst"),
            rotations_per_s: number("rate"),
            shadow: self.get("shadow").map(|value| value == "on"),
            families_max_soft: self.number("quota"),
            ancestors_max: number("ancestors"),
        }
    }
}

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `+5s`, `10m`, `250ms`
pub fn span(text: &str) -> DurationMs {
    let text = text.trim_start_matches('+');
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = &text[digits.len()..];
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit).expect("a unit of time");
    DurationMs(digits.parse::<u64>().expect("a number") * ms)
}

/// `3.1`: entry and place.
pub fn position(text: &str) -> Position {
    let (index, place) = text.split_once('.').expect("index.place");
    Position::new(0, LogIndex(index.parse().unwrap()), place.parse().unwrap())
}

pub fn short_span(span: DurationMs) -> String {
    let (mut left, mut out) = (span.0, String::new());
    for (unit, ms) in UNITS {
        if left >= ms {
            write!(out, "{}{unit}", left / ms).unwrap();
            left %= ms;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

pub fn instant(at: UnixMs) -> String {
    format!("+{}", short_span(at.since(T0)))
}

pub fn place(position: Position) -> String {
    let bits = Position::PLACE_BITS;
    format!("{}.{}", position.0 >> bits, position.0 & ((1 << bits) - 1))
}

pub fn reply(out: &mut String, reply: &Reply) {
    write!(out, "{} ", place(reply.position)).unwrap();
    match &reply.outcome {
        Ok(answer) => done(out, answer),
        Err(answer) => refusal(out, answer),
    }
}

fn done(out: &mut String, done: &Done) {
    let told = super::sessions::done(done).or_else(|| super::revocations::done(done));
    if let Some(text) = told {
        return writeln!(out, "{text}").unwrap();
    }
    match done {
        Done::FamilyCreated(created) => {
            let first = &created.first;
            let ends = (instant(first.expires_at), instant(first.idle_expires_at));
            write!(out, "created, ends {}, idle {}", ends.0, ends.1).unwrap();
            if !created.evicted.is_empty() {
                write!(out, ", evicted {}", created.evicted.len()).unwrap();
            }
            writeln!(out, "{}", if created.over_soft_quota { ", over quota" } else { "" })
        }
        Done::Rotated(rotated) => {
            write!(out, "rotated: ").unwrap();
            rotation(out, rotated)
        }
        Done::Replayed(replayed) => {
            let seal = String::from_utf8_lossy(&replayed.seal);
            write!(out, "replayed, {seal}{}: ", elsewhere(replayed.whence)).unwrap();
            rotation(out, &replayed.rotated)
        }
        Done::Adopted(adopted) => {
            write!(out, "adopted{}: ", elsewhere(adopted.whence)).unwrap();
            rotation(out, &adopted.rotated)
        }
        Done::Superseded { head } => writeln!(out, "superseded by generation {}", head.0),
        Done::TenantSet { version } => writeln!(out, "set, version {version}"),
        Done::TenantKeyRotated { kid } => writeln!(out, "key {} is new", kid.0),
        Done::FamilyUpdated { version } => writeln!(out, "updated, version {version}"),
        Done::Revoked { already: false } => writeln!(out, "revoked"),
        Done::Revoked { already: true } => writeln!(out, "was dead already"),
        Done::Swept { visited, reclaimed, more } => {
            let more = if *more { ", more to do" } else { "" };
            writeln!(out, "swept: visited {visited}, reclaimed {reclaimed}{more}")
        }
        Done::Digest(_) => writeln!(out, "digest"),
        Done::Transacted(it) => super::transact::done(out, it),
        other if super::locks::done(out, other) => Ok(()),
        other if super::records::done(out, other) => Ok(()),
        other => writeln!(out, "{other:?}"),
    }
    .unwrap();
}

fn elsewhere(whence: Whence) -> &'static str {
    if whence.is_elsewhere() { ", elsewhere" } else { "" }
}

fn rotation(out: &mut String, rotated: &Rotated) -> std::fmt::Result {
    let (generation, idle) = (rotated.generation.0, instant(rotated.idle_expires_at));
    let key = rotated.kid.map(|kid| format!(", key {}", kid.0)).unwrap_or_default();
    writeln!(out, "generation {generation}{key}, idle {idle}")
}

pub fn refusal(out: &mut String, refusal: &Refusal) {
    match refusal {
        Refusal::Revoked(by) => cause(out, "REVOKED", by),
        Refusal::SessionDead { by: None } => writeln!(out, "SESSION_DEAD: there is none"),
        Refusal::SessionDead { by: Some(by) } => cause(out, "SESSION_DEAD", by),
        Refusal::Suspended(by) => cause(out, "SUSPENDED", by),
        Refusal::Expired { absolute, idle } => {
            writeln!(out, "EXPIRED: absolute {}, idle {}", instant(*absolute), instant(*idle))
        }
        Refusal::Integrity { head } => writeln!(out, "INTEGRITY: head is {}", head.0),
        Refusal::Reused(reuse) => {
            write!(out, "REUSED ").unwrap();
            write_reuse(out, reuse)
        }
        Refusal::RateLimited { retry_after } => {
            writeln!(out, "RATE_LIMITED: retry after {}", short_span(*retry_after))
        }
        Refusal::SweepsPending { retry_after } => {
            writeln!(out, "SWEEPS_PENDING: retry after {}", short_span(*retry_after))
        }
        Refusal::Spent { head } => writeln!(out, "SPENT: head is {}", head.0),
        Refusal::DigestInUse => writeln!(out, "DIGEST_IN_USE"),
        Refusal::CapReached { max } => writeln!(out, "CAP_REACHED: {max}"),
        Refusal::VersionMismatch { version } => writeln!(out, "VERSION_MISMATCH: is {version}"),
        Refusal::LimitReached { limit, max } => writeln!(out, "LIMIT_REACHED: {limit}={max}"),
        other if super::records::refusal(out, other) => Ok(()),
        Refusal::Held { holder, remaining } => {
            writeln!(out, "HELD by {holder}, {} left", short_span(*remaining))
        }
        Refusal::Invalid { field, problem } => writeln!(out, "INVALID {field}: {problem}"),
        other => writeln!(out, "{other:?}"),
    }
    .unwrap();
}

fn cause(out: &mut String, refusal: &str, by: &RevokedBy) -> std::fmt::Result {
    let reason = by.reason.as_ref().map(|text| format!(", reason {text}"));
    let (cause, at) = (by.cause, place(by.position));
    let when = instant(by.at);
    writeln!(out, "{refusal} by {cause:?} at {at}, {when}{}", reason.unwrap_or_default())
}

pub fn access(out: &mut String, access: &Access) {
    match access {
        Access::Active => writeln!(out, "active"),
        Access::Denied(by) => {
            let (basis, cause, at) = (by.basis, by.cause, place(by.position));
            writeln!(out, "DENIED by {basis:?}: {cause:?} at {at}, {}", instant(by.at))
        }
    }
    .unwrap();
}

pub fn feed(out: &mut String, entry: &FeedEntry) {
    let (at, until) = (place(entry.position), entry.until.0.checked_sub(T0.0));
    let until = until.filter(|_| entry.until != UnixMs(u64::MAX)).map(DurationMs);
    let until = until.map_or("for ever".to_owned(), |span| format!("until +{}", short_span(span)));
    writeln!(out, "{at} {:?}, {until}", entry.changes).unwrap();
}

fn write_reuse(out: &mut String, reuse: &Reuse) -> std::fmt::Result {
    let age = reuse.age.map_or("unknown".to_owned(), short_span);
    let known = |same: Option<bool>| match same {
        Some(true) => "same",
        Some(false) => "another",
        None => "unknown",
    };
    let (device, ip) = (known(reuse.same_device), known(reuse.same_ip));
    let effect = if reuse.revoked { "revoked" } else { "spared" };
    let (class, gap) = (reuse.class, reuse.generation_gap);
    writeln!(out, "{class:?}: age {age}, gap {gap}, device {device}, ip {ip}, {effect}")
}

pub fn event(out: &mut String, event: &Event) {
    write!(out, "  ! {} ", place(event.position)).unwrap();
    let kind = &event.kind;
    let told = super::sessions::event(kind).or_else(|| super::revocations::event(kind));
    if let Some(text) = told {
        return writeln!(out, "{text}").unwrap();
    }
    match &event.kind {
        EventKind::Reuse(reuse) => {
            write!(out, "reuse, ").unwrap();
            write_reuse(out, reuse)
        }
        EventKind::ClientMismatch { presented } => writeln!(out, "client mismatch: {presented}"),
        EventKind::BindingMismatch => writeln!(out, "binding mismatch"),
        EventKind::Integrity { presented, head } => {
            writeln!(out, "integrity: presented {}, head {}", presented.0, head.0)
        }
        EventKind::OldTokenInGrace => writeln!(out, "a token older than the ring, within grace"),
        EventKind::FamilyRevoked { cause } => writeln!(out, "family revoked by {cause:?}"),
        EventKind::Cutoff { subject, client, device, session, except } => {
            let names = [
                ("subject", subject.as_ref().map(SubjectId::as_str)),
                ("client", client.as_ref().map(ClientId::as_str)),
                ("device", device.as_ref().map(DeviceId::as_str)),
                ("session", session.as_ref().map(SessionId::as_str)),
            ];
            let named = names.into_iter().filter_map(|(kind, name)| Some((kind, name?)));
            let text: String = named.map(|(kind, name)| format!(" {kind}={name}")).collect();
            let spared = except.families.len() + except.sessions.len();
            let but = if spared > 0 { format!(", but for {spared}") } else { String::new() };
            writeln!(out, "cutoff{}{but}", if text.is_empty() { " of the tenant" } else { &text })
        }
        EventKind::Reauthentication { subject } => writeln!(out, "{subject} must log in anew"),
        EventKind::SoftQuota { kept } => writeln!(out, "quota crossed: {kept} rows"),
        EventKind::KeyCompromised { kid } => writeln!(out, "key {} is compromised", kid.0),
        EventKind::RecordReplayed { kind } => writeln!(out, "a {kind} came back"),
        EventKind::AccessTokenRevoked { jti, client, until } => {
            writeln!(out, "access token {jti} of {client} revoked until {}", instant(*until))
        }
        other => writeln!(out, "{other:?}"),
    }
    .unwrap();
}

pub fn tenant(out: &mut String, view: &TenantView) {
    let (grace, version) = (short_span(view.settings.grace_default), view.version);
    write!(out, "{}, version {version}, grace {grace}, key {}", view.tenant, view.kid.0).unwrap();
    view.compromised.iter().for_each(|kid| write!(out, ", {} leaked", kid.0).unwrap());
    writeln!(out).unwrap();
}

pub fn family(out: &mut String, view: Result<FamilyView, Refusal>) {
    let view = match view {
        Ok(view) => view,
        Err(answer) => return refusal(out, &answer),
    };
    let (generation, version) = (view.generation.0, view.version);
    write!(out, "{} on {}, generation {generation}", view.subject, view.client).unwrap();
    write!(out, ", version {version}, created {}", place(view.created)).unwrap();
    write!(out, ", origin {}, idle {}", place(view.origin), instant(view.idle_expires_at)).unwrap();
    if let Some(ip) = &view.ip {
        write!(out, ", ip {ip}").unwrap();
    }
    for (name, value) in &view.attributes {
        write!(out, ", {name}: {value}").unwrap();
    }
    if !view.payload.is_empty() {
        write!(out, ", payload {}", String::from_utf8_lossy(&view.payload)).unwrap();
    }
    match &view.dead {
        None => writeln!(out, ", alive").unwrap(),
        Some(cause) => {
            write!(out, ", dead: ").unwrap();
            refusal(out, cause);
        }
    }
}
