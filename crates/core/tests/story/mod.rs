//! A small language for telling what happens to a cluster, and its answers.
//!
//! ```text
//! clock +5s                                  time passes
//! tenant acme burst=2 rate=1 shadow=on       everything after is about this tenant
//! in acme                                    go back to a tenant
//! create f subject=alice client=web          a family; its first token is f.0; `opaque=yes`
//! rotate f.0 id=a age=5s client=web          its successor is f.1; `secret=` forges another
//! rotate f.0 mint=x losers=adopt seal=no     opaque: the successor's text is x; see `secret=`
//! crowd f.0 16                               sixteen losers who want to be adopted
//! spin f.0 16                                sixteen rotations, one after the other
//! touch f.1 · update f · revoke f · revoke-token f.0 · cut subject=alice · sweep 10
//! reauthenticate alice                       what was authenticated before is dead
//! session s subject=alice · touch-session s · end s · create f session=s
//! suspend subject=alice · resume client=web · suspend family=f · suspend tenant
//! show-session s · sessions alice max=2 after=s ended=yes · clients s
//! key · compromise 1 · settings … · digest   maintenance
//! acquire l by=a ttl=10s wait=5s id=x        a lock; and what else `locks` knows
//! put code/c value=v lifetime=1m             a record; and what else `records` knows
//! times 300 put k/# value=v                  three hundred commands; the last answer tells
//! failover                                   lease time stood still since the last entry
//! transact if=absent:k/c & put k/c & else …    all or none; see `transact`
//! deny t client=web expires=5m               an access token
//! show f · validate f.1 · rows · sealed f    reads
//! show-tenant · tenants max=2 · kinds        what operators see
//! feed after=3.0 · snapshot                  what watchers hear
//! list subject=alice dead=yes by=2           families, two rows of the index at a time
//! cut ip=10.0.0.0/8 except=f · count …       and what else `revocations` knows
//! check jti=t client=web position=3.0 issued=1m · check family=f
//! one ; two                                  both in one entry
//! ```
//!
//! An answer begins with its position, as index.place; a line with `!` is an event. Behind the
//! scenes every entry is also replayed from its bytes on a second machine, rotations are judged by
//! the read side first, and the digest is computed anew.

mod locks;
mod look;
mod records;
mod revocations;
mod sessions;
pub mod shown;
pub mod store;
mod transact;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::codec;
use jeton_core::command::*;
use jeton_core::digest::row_digest;
use jeton_core::ids::*;
use jeton_core::read::{self, Judged, Tenants};
use jeton_core::reply::*;

use shown::Shown;
use store::{Memory, Store};
use words::Words;

/// When every story begins.
pub const T0: UnixMs = UnixMs(1_800_000_000_000);

/// Bytes that follow from a word.
fn named(word: &str) -> [u8; 16] {
    let low = row_digest(b"story", word.as_bytes());
    low.to_be_bytes()
}

/// What an entry answered.
#[derive(Default)]
pub struct Answers {
    pub replies: Vec<Reply>,
    pub events: Vec<Event>,
    pub notices: Vec<LeaseNotice>,
}

impl Replies for Answers {
    fn wanted(&self) -> bool {
        true
    }
    fn reply(&mut self, place: usize, reply: Reply) {
        assert_eq!(place, self.replies.len(), "replies come in order");
        self.replies.push(reply);
    }
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
    fn lease(&mut self, notice: LeaseNotice) {
        self.notices.push(notice);
    }
}

/// A follower: nobody waits for its replies.
struct Silent;

impl Replies for Silent {
    fn wanted(&self) -> bool {
        false
    }
    fn reply(&mut self, _: usize, _: Reply) {
        panic!("no replies were wanted");
    }
    fn event(&mut self, _: Event) {}
}

/// What happens, and what was heard of it.
pub struct Story<S> {
    store: S,
    follower: Memory,
    index: u64,
    now: UnixMs,
    /// Lease time that has passed since the last entry.
    leased: DurationMs,
    tenant: TenantId,
    /// Digests of tokens, as they were answered.
    tokens: BTreeMap<(String, u64), SecretDigest>,
    /// Families whose tokens are opaque.
    opaque: BTreeSet<String>,
    requests: u64,
    /// The listing of records that `more` goes on with.
    listing: Option<records::Listing>,
    /// Losers that were told of as a crowd.
    crowded: u64,
    /// Which replies of which operations were heard.
    shown: Shown,
}

/// Tells a transcript, and returns it with the answers that came.
pub fn run<S: Store>(text: &str, story: &mut Story<S>) -> String {
    let mut out = String::new();
    let mut answering = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            out.push_str(&story.tell(command));
            story.store.turn_the_page();
            answering = true;
        } else if line.is_empty() || line.starts_with('#') {
            writeln!(out, "{line}").unwrap();
            answering = false;
        } else {
            assert!(answering, "an answer without a command: {line}");
        }
    }
    out
}

impl<S: Store> Story<S> {
    /// Nothing has happened yet.
    pub fn over(store: S) -> Self {
        Self {
            store,
            follower: Memory::default(),
            index: 0,
            now: T0,
            leased: DurationMs(0),
            tenant: TenantId::new("nobody").unwrap(),
            tokens: BTreeMap::new(),
            opaque: BTreeSet::new(),
            requests: 0,
            listing: None,
            crowded: 0,
            shown: Shown::default(),
        }
    }

    /// Where the rows are.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Which replies were heard.
    pub fn into_shown(self) -> BTreeSet<(String, String)> {
        self.shown.all
    }

    /// Replies in the order in which they were heard since the last time.
    pub fn take_heard(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.shown.heard)
    }

    /// Does one line of the story.
    pub fn tell(&mut self, line: &str) -> String {
        let mut out = String::new();
        if let Some(spin) = line.strip_prefix("spin ") {
            return self.spin(spin);
        }
        if let Some(crowd) = line.strip_prefix("crowd ") {
            return self.crowd(crowd);
        }
        if let Some(times) = line.strip_prefix("times ") {
            return self.times(times);
        }
        let mut commands = Vec::new();
        for part in line.split(" ; ") {
            let words = Words::new(part);
            match self.look(&words) {
                Some(answer) => out.push_str(&answer),
                None => commands.push((self.command(&words), words)),
            }
        }
        if !commands.is_empty() {
            out.push_str(&self.enter(commands));
        }
        out
    }

    /// `spin f.0 16`: as many rotations, each of the token before. The last answer tells.
    fn spin(&mut self, line: &str) -> String {
        let (token, times) = line.split_once(' ').expect("a token, and how many rotations");
        let (family, first) = token.split_once('.').expect("family.generation");
        let (first, times): (u64, u64) = (first.parse().unwrap(), times.parse().unwrap());
        let rotations = first..first + times;
        rotations
            .map(|generation| self.tell(&format!("rotate {family}.{generation}")))
            .last()
            .unwrap()
    }

    /// `times 2000 put k/#`: as many commands, `#` counts from 1, up to a thousand in an entry. The
    /// last answer tells.
    fn times(&mut self, line: &str) -> String {
        let (times, line) = line.split_once(' ').expect("how many times, and what");
        let times: u64 = times.parse().unwrap();
        let mut last = String::new();
        for from in (1..=times).step_by(1_000) {
            let numbers = from..=times.min(from + 999);
            let lines = numbers.map(|n| line.replace('#', &n.to_string()));
            last = self.tell(&lines.collect::<Vec<_>>().join(" ; "));
        }
        let answer = last.lines().rfind(|line| !line.starts_with(' ')).unwrap();
        format!("{answer}\n")
    }

    /// `crowd f.0 16`: as many losers with successors of their own, `crowd-0` and so on. The last
    /// answer tells.
    fn crowd(&mut self, line: &str) -> String {
        let (token, times) = line.split_once(' ').expect("a token, and how many losers");
        let from = self.crowded;
        self.crowded += times.parse::<u64>().unwrap();
        let losers = from..self.crowded;
        let tell = |n| self.tell(&format!("rotate {token} mint=crowd-{n} losers=adopt"));
        losers.map(tell).last().unwrap()
    }

    fn request(&mut self, words: &Words) -> Option<RequestName> {
        if words.get("id") == Some("none") {
            return None;
        }
        self.requests += 1;
        let fresh = format!("request {}", self.requests);
        let id = RequestId(named(words.get("id").unwrap_or(&fresh)));
        let age = words.get("age").map_or(DurationMs(0), words::span);
        Some(RequestName { id, age })
    }

    fn command(&mut self, words: &Words) -> Command {
        let maintenance = matches!(words.verb(), "sweep" | "digest" | "expire" | "mark");
        let request = if maintenance { None } else { self.request(words) };
        if words.verb() == "tenant" {
            self.tenant = TenantId::new(words.noun()).unwrap();
        }
        let operation = self.operation(words, request);
        let tenant = (!maintenance).then(|| self.tenant.clone());
        Command { tenant, request, operation }
    }

    fn operation(&mut self, words: &Words, request: Option<RequestName>) -> Operation {
        let reason = words.get("reason").map(Arc::from);
        let client = words.get("client").map(|name| ClientId::new(name).unwrap());
        let device = words.get("device").map(|name| DeviceId::new(name).unwrap());
        let web = || ClientId::new("web").unwrap();
        let key = || KeyMaterial([self.requests as u8; 32]);
        match words.verb() {
            "tenant" => Operation::CreateTenant(CreateTenant {
                settings: words.settings().over(&TenantSettings::default()),
                key: key(),
            }),
            "settings" => {
                let version = words.number("version");
                Operation::SetTenant(SetTenant { changes: words.settings(), version })
            }
            "key" => Operation::RotateTenantKey(RotateTenantKey { key: key() }),
            "compromise" => {
                let kid = Kid(words.noun().parse().unwrap());
                Operation::MarkKeyCompromised(MarkKeyCompromised { kid })
            }
            "create" => Operation::CreateFamily(Box::new(self.create(words))),
            "rotate" => Operation::Rotate(Box::new(Rotate {
                token: self.token(words),
                successor: SecretDigest(match words.get("mint") {
                    Some(text) => named(text),
                    None => named(&format!("{request:?} of {}", words.noun())),
                }),
                seal: match words.get("seal") {
                    None => Bytes::from(format!("seal of {}", words.noun())),
                    Some(_) => Bytes::new(),
                },
                losers: words.get("losers").map_or(Losers::Replay, |_| Losers::Adopt),
                client: client.unwrap_or_else(web),
                binding: binding(words),
                origin: Origin { device, ip: words.get("ip").map(Arc::from) },
            })),
            "touch" => Operation::Touch(Touch { token: self.token(words) }),
            "update" => Operation::UpdateFamily(Box::new(UpdateFamily {
                family: FamilyId(named(words.noun())),
                version: words.number("version").unwrap_or(1),
                attributes: words.attributes(),
                payload: words.get("payload").map(|text| Bytes::from(text.to_owned())),
                grace: words.get("grace").map(words::span),
            })),
            "revoke" => {
                let family = FamilyId(named(words.noun()));
                Operation::RevokeFamily(RevokeFamily { family, reason })
            }
            "revoke-token" => Operation::RevokeToken(RevokeToken {
                token: self.token(words),
                client: client.unwrap_or_else(web),
            }),
            "cut" => revocations::wish(words),
            "mark" => revocations::step(&self.tenant, words),
            "deny" => Operation::RevokeAccessToken(RevokeAccessToken {
                jti: Jti::new(words.noun()).unwrap(),
                client: client.unwrap_or_else(web),
                expires_at: match words.get("expired") {
                    Some(ago) => Some(self.now.minus(words::span(ago))),
                    None => words.get("expires").map(|span| self.now.plus(words::span(span))),
                },
            }),
            "reauthenticate" => {
                let subject = SubjectId::new(words.noun()).unwrap();
                Operation::RequireReauthentication(RequireReauthentication { subject, reason })
            }
            "session" => Operation::CreateSession(Box::new(sessions::create(words))),
            "touch-session" => Operation::TouchSession(Box::new(sessions::touch(words))),
            "end" => {
                let session = sessions::session(words.noun());
                Operation::EndSession(EndSession { session, reason })
            }
            "suspend" => Operation::Suspend(Suspend { what: sessions::suspendable(words), reason }),
            "resume" => Operation::Resume(Resume { what: sessions::suspendable(words) }),
            "sweep" => {
                let rows_max = words.noun().parse().unwrap();
                Operation::Sweep(Sweep { rows_max })
            }
            "digest" => Operation::DigestAt,
            "transact" => self.transact(words, request),
            other => match locks::operation(words).or_else(|| records::operation(words)) {
                Some(operation) => operation,
                None => panic!("no such word: {other}"),
            },
        }
    }

    fn create(&mut self, words: &Words) -> CreateFamily {
        let name = words.noun().to_owned();
        if words.get("again").is_some() {
            self.tokens.retain(|(known, _), _| *known != name);
        }
        let first = format!("first of {name}");
        let digest = SecretDigest(named(words.get("mint").unwrap_or(&first)));
        self.tokens.entry((name.clone(), 0)).or_insert(digest);
        let opaque = words.get("opaque").is_some();
        if opaque {
            self.opaque.insert(name.clone());
        }
        CreateFamily {
            family: FamilyId(named(&name)),
            digest,
            opaque,
            subject: SubjectId::new(words.get("subject").unwrap_or("alice")).unwrap(),
            client: ClientId::new(words.get("client").unwrap_or("web")).unwrap(),
            device: words.get("device").map(|name| DeviceId::new(name).unwrap()),
            binding: binding(words),
            ip: words.get("ip").map(Arc::from),
            attributes: words.attributes().unwrap_or_default(),
            payload: Bytes::from(words.get("payload").unwrap_or_default().to_owned()),
            lifetime: words.get("lifetime").map(words::span),
            idle: words.get("idle").map(words::span),
            grace: words.get("grace").map(words::span),
            authenticated_at: words.get("authenticated").map(words::position),
            cap: words.cap(),
            session: words.get("session").map(sessions::session),
            code: records::code(words),
        }
    }

    /// A token by its name, `family.generation`; with `secret=`, another under the same name.
    fn token(&self, words: &Words) -> Presented {
        let (family, generation) = words.noun().split_once('.').expect("family.generation");
        let generation: u64 = generation.parse().unwrap();
        let known = self.tokens.get(&(family.to_owned(), generation)).copied();
        let digest = match words.get("secret") {
            Some(secret) => SecretDigest(named(secret)),
            None => known.unwrap_or(SecretDigest(named("never made"))),
        };
        if self.opaque.contains(family) && words.get("native").is_none() {
            return Presented::Opaque(digest);
        }
        Presented::Native(PresentedToken {
            kid: Kid(words.number("kid").unwrap_or(1) as u16),
            family: FamilyId(named(family)),
            generation: Generation(generation),
            digest,
        })
    }

    /// Puts commands into one entry, and checks what must hold of every entry.
    fn enter(&mut self, commands: Vec<(Command, Words)>) -> String {
        let (commands, words): (Vec<_>, Vec<_>) = commands.into_iter().unzip();
        let commands: Vec<_> = commands.into_iter().map(Arc::new).collect();
        let judged = match &commands[..] {
            [only] => self.judged(only),
            _ => None,
        };
        self.index += 1;
        let index = LogIndex(self.index);
        let lease_advance = std::mem::take(&mut self.leased);
        let entry = Entry { stamp: self.now, lease_advance, commands };
        let before = matches!(judged, Some(Judged::Settled(_))).then(|| self.store.rows());
        let mut answers = Answers::default();
        self.store.apply(index, &entry, &mut answers);

        let decoded = codec::decode_entry(&codec::encode_entry(&entry)).unwrap();
        assert_eq!(decoded, entry, "an entry survives its bytes");
        self.follower.apply(index, &decoded, &mut Silent);
        let (meta, rows) = (self.store.meta(), self.store.rows());
        assert_eq!(self.follower.meta(), meta);
        assert_eq!(self.follower.rows(), rows);
        let digests = rows.iter().map(|(key, value)| row_digest(key, value));
        assert_eq!(meta.rows, digests.fold(0_u128, u128::wrapping_add), "the digest follows");
        if let Some(Judged::Settled(reply)) = &judged {
            assert_eq!(reply.outcome, answers.replies[0].outcome, "reads and apply agree");
            assert_eq!(before, Some(rows), "what reads may answer changes nothing");
            assert!(answers.events.is_empty(), "what reads may answer raises nothing");
        }

        let mut out = String::new();
        for ((reply, words), command) in answers.replies.iter().zip(&words).zip(&entry.commands) {
            self.shown.reply(command, Position::new(0, index, 0), reply);
            self.learn(reply, words, command);
            words::reply(&mut out, reply);
        }
        if matches!(judged, Some(Judged::Settled(_))) {
            out.insert_str(0, "without an entry: ");
        }
        answers.events.iter().for_each(|event| words::event(&mut out, event));
        for notice in &answers.notices {
            if let LeaseNotice::Settled { reply, .. } = notice {
                self.shown.settled(reply);
            }
            locks::notice(&mut out, notice);
        }
        out
    }

    fn judged(&self, command: &Command) -> Option<Judged> {
        let (Operation::Rotate(wish), Some(name)) = (&command.operation, &command.request) else {
            return None;
        };
        let (meta, tenant) = (self.store.meta(), &self.tenant);
        let known = Tenants::default().look(&self.store, tenant).unwrap();
        let tenant = (tenant, known.as_ref());
        Some(read::judge_rotation(&self.store, meta, self.now, tenant, name, wish).unwrap())
    }

    /// Remembers the tokens that were handed out; a second one of a generation is a failure.
    fn learn(&mut self, reply: &Reply, words: &Words, command: &Command) {
        let (generation, successor) = match &reply.outcome {
            Ok(Done::Rotated(rotated)) => {
                let Operation::Rotate(wish) = &command.operation else {
                    panic!("only a rotation rotates");
                };
                (rotated.generation, wish.successor)
            }
            Ok(Done::Replayed(replayed)) => (replayed.rotated.generation, replayed.successor),
            Ok(Done::Transacted(it)) => return self.learn_all(it, words, command),
            _ => return,
        };
        let family = words.noun().split_once('.').unwrap().0.to_owned();
        let known = self.tokens.entry((family, generation.0)).or_insert(successor);
        assert_eq!(*known, successor, "one successor for everyone");
    }
}

fn binding(words: &Words) -> Binding {
    Binding { jkt: words.get("jkt").map(Arc::from), x5t_s256: words.get("x5t").map(Arc::from) }
}
