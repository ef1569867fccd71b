//! What is in force, in memory: one mark a revocation, found by a keyed hash of what it names.
//!
//! Readers never wait: shards are replaced as a whole, and a shard is small. A mark takes 48 bytes.
//! Names are not kept, only 128 bits of a hash under a key of this process: with a million marks
//! two of them meet once in 10²⁶.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use jeton_core::access::{Claims, Facts, Lineage, Mark};
use jeton_core::command::{Except, Suspendable};
use jeton_core::feed::{Change, FeedEntry};
use jeton_core::ids::{FamilyId, Position, UnixMs};
use jeton_core::reply::RevocationCause;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Shards; a million marks are a thousand in each.
const SHARDS: usize = 1_024;

/// A factor that loses nothing, and leaves no two places of a name alike.
const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// What a mark is about.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Jti = 1,
    Session = 2,
    Family = 3,
    FamilySuspended = 4,
    SubjectSuspended = 5,
    ClientSuspended = 6,
    TenantSuspended = 7,
    Reauthentication = 8,
    /// And the mask.
    Cutoff = 16,
}

#[derive(Clone, Copy)]
struct Held {
    mark: Mark,
    until: UnixMs,
}

/// Keys are hashes already.
#[derive(Default)]
struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, key: u128) {
        self.0 = (key >> 64) as u64;
    }
}

type Shard = HashMap<u128, Held, BuildHasherDefault<Taken>>;

/// See the module. Written by one task, read by any.
pub(super) struct Marks {
    seed: u64,
    shards: Box<[ArcSwap<Shard>]>,
    /// Masks of the cutoffs that there ever were.
    masks: AtomicU16,
    /// Kinds of suspensions and calls to authenticate anew that there ever were, as bits.
    kinds: AtomicU16,
    /// How many marks.
    len: AtomicU64,
    /// What cutoffs leave alone, by their keys. Few have any.
    spared: ArcSwap<HashMap<u128, Spared>>,
}

/// What the cutoff at a position leaves alone.
#[derive(Clone)]
struct Spared {
    position: Position,
    until: UnixMs,
    except: Arc<Except>,
}

impl Marks {
    pub(super) fn new(seed: u64) -> Self {
        let shards = (0..SHARDS).map(|_| ArcSwap::from_pointee(Shard::default()));
        let (masks, kinds, len) = (AtomicU16::new(0), AtomicU16::new(0), AtomicU64::new(0));
        let spared = ArcSwap::default();
        Self { seed, shards: shards.collect(), masks, kinds, len, spared }
    }

    /// All of a snapshot at once.
    pub(super) fn of(seed: u64, entries: &[FeedEntry]) -> Self {
        let marks = Self::new(seed);
        let mut shards: Vec<Shard> = (0..SHARDS).map(|_| Shard::default()).collect();
        for entry in entries {
            marks.each(entry, |key, held| change(&mut shards[shard_of(key)], key, held, entry));
        }
        let len: usize = shards.iter().map(HashMap::len).sum();
        marks.len.store(len as u64, Ordering::Relaxed);
        for (place, shard) in marks.shards.iter().zip(shards) {
            place.store(Arc::new(shard));
        }
        marks
    }

    /// Takes in what one command changed.
    pub(super) fn take(&self, entry: &FeedEntry) {
        self.each(entry, |key, held| {
            let place = &self.shards[shard_of(key)];
            let mut shard = Shard::clone(&place.load());
            let before = shard.len();
            change(&mut shard, key, held, entry);
            let grown = (shard.len() as u64).wrapping_sub(before as u64);
            self.len.fetch_add(grown, Ordering::Relaxed);
            place.store(Arc::new(shard));
        });
    }

    /// Forgets what can matter to no access token any more.
    pub(super) fn forget(&self, clock: UnixMs) {
        if self.spared.load().values().any(|spared| spared.until <= clock) {
            self.change_spared(|all| all.retain(|_, spared| clock < spared.until));
        }
        for place in &self.shards {
            let shard = place.load();
            if shard.values().any(|held| held.until <= clock) {
                let mut kept = Shard::clone(&shard);
                kept.retain(|_, held| clock < held.until);
                self.len.fetch_sub((shard.len() - kept.len()) as u64, Ordering::Relaxed);
                place.store(Arc::new(kept));
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// What the tables take: a place for each mark that fits, and a byte to find it by.
    pub(super) fn bytes(&self) -> u64 {
        let place = size_of::<(u128, Held)>() + 1;
        let places = self.shards.iter().map(|shard| match shard.load().capacity() {
            small @ ..=7 => small + 1,
            // An eighth of the places stays free.
            large => large / 7 * 8,
        });
        (places.sum::<usize>() * place) as u64
    }

    /// The marks that an entry sets, or takes away (`None`), in order.
    fn each(&self, entry: &FeedEntry, mut tell: impl FnMut(u128, Option<Held>)) {
        for change in &entry.changes {
            let (key, cause) = match change {
                Change::FamilyRevoked { family, cause } => {
                    (self.family_key(Kind::Family, *family), Some(*cause))
                }
                Change::SessionEnded { session } => {
                    let key = self.key(Kind::Session as u8, &[Some(session.as_str())]);
                    (key, Some(RevocationCause::Session))
                }
                Change::Cutoff { subject, client, device, session, except } => {
                    let names = [
                        subject.as_ref().map(|id| id.as_str()),
                        client.as_ref().map(|id| id.as_str()),
                        device.as_ref().map(|id| id.as_str()),
                        session.as_ref().map(|id| id.as_str()),
                    ];
                    let bits =
                        names.iter().enumerate().map(|(bit, n)| u8::from(n.is_some()) << bit);
                    let mask: u8 = bits.sum();
                    self.masks.fetch_or(1 << mask, Ordering::Release);
                    let key = self.key(Kind::Cutoff as u8 + mask, &names);
                    if *except != Except::default() {
                        self.spare(key, entry, except);
                    }
                    (key, Some(RevocationCause::Cutoff))
                }
                Change::Reauthentication { subject } => {
                    let key = self.of_kind(Kind::Reauthentication, Some(subject.as_str()));
                    (key, Some(RevocationCause::Reauthentication))
                }
                Change::AccessTokenRevoked { jti, client } => {
                    let names = [Some(jti.as_str()), Some(client.as_str())];
                    (self.key(Kind::Jti as u8, &names), Some(RevocationCause::AccessToken))
                }
                Change::Suspended { what } => {
                    (self.root_key(what), Some(RevocationCause::Suspension))
                }
                Change::Resumed { what } => (self.root_key(what), None),
                // Decoding lets nothing through that is newer than this page.
                _ => continue,
            };
            // A suspension lasts until it is taken back. Under a suspended family nothing new is
            // made, and what was made before is dead by then.
            let lasts = match change {
                Change::Suspended { what } => !matches!(what, Suspendable::Family(_)),
                _ => false,
            };
            let until = if lasts { UnixMs(u64::MAX) } else { entry.until };
            let mark = |cause| Mark { cause, position: entry.position, at: entry.at };
            tell(key, cause.map(|cause| Held { mark: mark(cause), until }));
        }
    }

    /// Notes what a cutoff leaves alone: before its mark is set, so that nobody is denied for a
    /// moment. It is looked at together with the mark of the same position only.
    fn spare(&self, key: u128, entry: &FeedEntry, except: &Except) {
        let (position, until) = (entry.position, entry.until);
        let spared = Spared { position, until, except: Arc::new(except.clone()) };
        self.change_spared(|all| {
            if all.get(&key).is_none_or(|known| known.position <= position) {
                all.insert(key, spared);
            }
        });
    }

    fn change_spared(&self, change: impl FnOnce(&mut HashMap<u128, Spared>)) {
        let mut all = HashMap::clone(&self.spared.load());
        change(&mut all);
        self.spared.store(Arc::new(all));
    }

    /// Whether the cutoff under this key leaves alone what the claims name.
    fn spares(&self, key: u128, mark: &Mark, claims: &Claims<'_>) -> bool {
        let all = self.spared.load();
        let Some(spared) = all.get(&key).filter(|spared| spared.position == mark.position) else {
            return false;
        };
        let Except { families, sessions } = &*spared.except;
        claims.family.is_some_and(|family| families.contains(&family))
            || claims.session.is_some_and(|name| sessions.iter().any(|id| id.as_str() == name))
    }

    /// Names of one kind are always as many, and in the same places.
    fn key(&self, kind: u8, names: &[Option<&str>]) -> u128 {
        let mut seed = self.seed ^ (u64::from(kind) << 32);
        let mut key = 0;
        for name in names {
            seed = seed.wrapping_add(1);
            if let Some(name) = name {
                key = (key ^ xxh3_128_with_seed(name.as_bytes(), seed)).wrapping_mul(ODD);
            }
        }
        // What was multiplied is in the upper bits; shards are chosen by the lower ones.
        key ^ (key >> 64) ^ u128::from(kind)
    }

    fn family_key(&self, kind: Kind, family: FamilyId) -> u128 {
        xxh3_128_with_seed(&family.0, self.seed ^ ((kind as u64) << 32))
    }

    /// The key of a kind that is rare: noted, so that a check can leave it out.
    fn of_kind(&self, kind: Kind, name: Option<&str>) -> u128 {
        self.kinds.fetch_or(1 << kind as u16, Ordering::Release);
        self.key(kind as u8, &[name])
    }

    fn root_key(&self, what: &Suspendable) -> u128 {
        match what {
            Suspendable::Subject(id) => self.of_kind(Kind::SubjectSuspended, Some(id.as_str())),
            Suspendable::Client(id) => self.of_kind(Kind::ClientSuspended, Some(id.as_str())),
            Suspendable::Tenant => self.of_kind(Kind::TenantSuspended, None),
            Suspendable::Family(family) => {
                self.kinds.fetch_or(1 << Kind::FamilySuspended as u16, Ordering::Release);
                self.family_key(Kind::FamilySuspended, *family)
            }
        }
    }

    fn find(&self, key: u128) -> Option<Mark> {
        self.shards[shard_of(key)].load().get(&key).map(|held| held.mark)
    }

    fn has(&self, kind: Kind) -> bool {
        self.kinds.load(Ordering::Acquire) & (1 << kind as u16) != 0
    }

    fn rare(&self, kind: Kind, name: Option<&str>) -> Option<Mark> {
        self.has(kind).then(|| self.find(self.key(kind as u8, &[name])))?
    }
}

fn shard_of(key: u128) -> usize {
    (key as usize) % SHARDS
}

/// The newest stands: entries of a snapshot may come behind what they were replaced by.
fn change(shard: &mut Shard, key: u128, held: Option<Held>, entry: &FeedEntry) {
    let newer = shard.get(&key).is_none_or(|known| known.mark.position <= entry.position);
    match held {
        Some(held) if newer => {
            shard.insert(key, held);
        }
        None if newer => {
            shard.remove(&key);
        }
        _ => {}
    }
}

impl Facts for Marks {
    type Error = Infallible;

    fn denial(&self, jti: &str, client: &str) -> Result<Option<Mark>, Infallible> {
        Ok(self.find(self.key(Kind::Jti as u8, &[Some(jti), Some(client)])))
    }

    fn suspension(
        &self,
        subject: Option<&str>,
        client: Option<&str>,
    ) -> Result<Option<Mark>, Infallible> {
        let of_subject = subject.and_then(|id| self.rare(Kind::SubjectSuspended, Some(id)));
        let of_client = client.and_then(|id| self.rare(Kind::ClientSuspended, Some(id)));
        let of_tenant = self.rare(Kind::TenantSuspended, None);
        let all = [of_subject, of_client, of_tenant].into_iter().flatten();
        Ok(all.min_by_key(|mark| mark.position))
    }

    fn session(&self, session: &str) -> Result<Option<Mark>, Infallible> {
        Ok(self.find(self.key(Kind::Session as u8, &[Some(session)])))
    }

    fn family(&self, family: FamilyId) -> Result<Option<Mark>, Infallible> {
        if let Some(dead) = self.find(self.family_key(Kind::Family, family)) {
            return Ok(Some(dead));
        }
        let suspended = self.has(Kind::FamilySuspended);
        Ok(suspended.then(|| self.find(self.family_key(Kind::FamilySuspended, family))).flatten())
    }

    fn lineage(&self, _: &Claims<'_>) -> Result<Lineage, Infallible> {
        Ok(Lineage::Unknown)
    }

    fn cutoff_masks(&self) -> u16 {
        self.masks.load(Ordering::Acquire)
    }

    fn cutoff(
        &self,
        mask: u8,
        names: [Option<&str>; 4],
        claims: &Claims<'_>,
    ) -> Result<Option<Mark>, Infallible> {
        let key = self.key(Kind::Cutoff as u8 + mask, &names);
        Ok(self.find(key).filter(|mark| !self.spares(key, mark, claims)))
    }

    fn reauthentication(&self, subject: &str) -> Result<Option<Mark>, Infallible> {
        Ok(self.rare(Kind::Reauthentication, Some(subject)))
    }
}
