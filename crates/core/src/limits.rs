//! Limits on everything, each with its unit in its name. What is beyond one is refused with words.

use crate::ids::DurationMs;

/// Text identifiers: tenant, subject, client, device.
pub const ID_BYTES_MAX: usize = 256;
/// A family's opaque payload.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Attributes of a family.
pub const ATTRIBUTES_MAX: usize = 16;
/// The name of an attribute.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// The value of an attribute.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 256;
/// The sealed successor that a rotation carries.
pub const SEAL_BYTES_MAX: usize = 16 * 1024;
/// Key thumbprints (`jkt`, `x5t#S256`): base64url of SHA-256 is 43 bytes; anything longer is none.
pub const THUMBPRINT_BYTES_MAX: usize = 64;
/// An address as text: an IPv6 address with a zone fits.
pub const IP_BYTES_MAX: usize = 64;
/// A revocation's free-text reason.
pub const REASON_BYTES_MAX: usize = 256;
/// Predicates of a tenant that are active at once. At the limit, the oldest is swept to its end
/// before another one is made: who asks for it comes again until then, and is never refused.
pub const PREDICATES_MAX: usize = 64;
/// From so many on, their sweeps take no rest.
pub const PREDICATES_CROWD: usize = PREDICATES_MAX / 2;
/// How long who asks for one more than [`PREDICATES_MAX`] waits before it comes again.
pub const PREDICATE_PAUSE: DurationMs = DurationMs(250);
/// Families and sessions, together, that a revocation may leave alone.
pub const EXCEPTIONS_MAX: usize = 16;
/// Commands in one log entry.
pub const BATCH_COMMANDS_MAX: usize = 1_024;
/// How many rotations of one family a tenant may allow to come at once.
pub const ROTATION_BURST_MAX: u32 = 1_000_000;
/// How many rotations of one family a second a tenant may sustain; the limit counts milliseconds.
pub const ROTATIONS_PER_S_MAX: u32 = 1_000;
/// Encoded bytes of one log entry; a single larger command travels alone.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Predecessors that a family row remembers.
pub const RING_LEN: usize = 4;
/// Rows that one sweep entry may visit.
pub const SWEEP_ROWS_MAX: u32 = 1_000;
/// Encoded bytes of one row: the largest family with room to spare.
pub const ROW_BYTES_MAX: usize = 256 * 1024;
/// Encoded bytes of one log entry that are decoded at all: a full batch plus one large command.
pub const ENTRY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Keys of one tenant, retired ones included.
pub const TENANT_KEYS_MAX: usize = 64;
/// Tenants of one cluster.
pub const TENANTS_MAX: usize = 4_096;
/// Fewest generations that a family of opaque tokens may remember behind its head.
pub const ANCESTORS_MIN: u32 = 16;
/// Most generations that a family of opaque tokens may remember behind its head.
pub const ANCESTORS_MAX: u32 = 65_536;
/// Tokens that may stand for one generation, beside the one that won it.
pub const ALIASES_MAX: u16 = 128;
/// Generations of a dead family that one visit of the sweep forgets.
pub const ANCESTORS_RECLAIMED: usize = 250;
/// Families that a cap may allow at once. Also the most that one creation may evict, but for those
/// of a subject that was never capped before: [`ROSTER_MEMBERS_MAX`].
pub const CAP_FAMILIES_MAX: u32 = 256;
/// Families that a capped subject's roster may name.
pub const ROSTER_MEMBERS_MAX: usize = 1_024;
/// Families, dead ones included, that the first cap of a subject may look through.
pub const ROSTER_SEARCH_MAX: usize = 10_000;
/// Families that are counted one by one; beyond it a count is a lower bound.
pub const COUNT_EXACT_MAX: u64 = 10_000;
/// Distinct clients that families of one session may be bound for.
pub const SESSION_CLIENTS_MAX: usize = 1_024;
/// Clients to notify that the answer to the end of a session names; the rest is listed.
pub const NOTIFIED_CLIENTS_MAX: usize = 128;
/// About the bytes of a page of a listing: what has more goes on the next one.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Rows a page of a listing.
pub const PAGE_ROWS_MAX: u32 = 1_000;

/// A request older than this is refused as `STALE_REQUEST`; its reply is remembered twice as long.
pub const REQUEST_TTL: DurationMs = DurationMs::from_secs(10 * 60);
/// After the successor was used for this long, its predecessor is no more answered with it.
pub const SETTLE: DurationMs = DurationMs::from_secs(5);
/// How long answers name the cause of an expiry or a death, before they become `NOT_FOUND`.
pub const RETENTION: DurationMs = DurationMs::from_secs(24 * 60 * 60);
/// Longest grace window of a family.
pub const GRACE_MAX: DurationMs = DurationMs::from_secs(60 * 60);
/// Longest absolute lifetime of a family that a tenant may allow.
pub const FAMILY_LIFETIME_MAX: DurationMs = DurationMs::from_secs(400 * 24 * 60 * 60);
/// Longest access-token lifetime that a tenant may declare.
pub const ACCESS_TTL_MAX: DurationMs = DurationMs::from_secs(30 * 24 * 60 * 60);
/// How often the sweep looks through the roster of a capped subject.
pub const ROSTER_VISIT_EVERY: DurationMs = DurationMs::from_secs(24 * 60 * 60);
/// How far clocks of servers that look at access tokens may be apart: a denial outlives its token's
/// expiry by this, and an access token that says only when it was issued counts as older than a
/// cutoff if it was issued up to this long after it.
pub const ACCESS_SKEW: DurationMs = DurationMs::from_secs(5);
/// Highest age that a bounded read may name: what is that old on one node is so on all of them.
pub const BOUNDED_AGE_MAX: DurationMs = DurationMs::from_secs(60);
/// How long one who watches revocations may be away and go on where they were.
pub const FEED_KEPT: DurationMs = DurationMs::from_secs(24 * 60 * 60);
/// Access tokens that one `CheckAccess` may ask about.
pub const ACCESS_CHECKS_MAX: usize = 256;
/// How often the sweep looks at a family that may have been rotated since, to erase its seal.
pub const SEAL_VISIT_EVERY: DurationMs = DurationMs::from_secs(24 * 60 * 60);

/// Those who wait for one lock.
pub const LOCK_WAITERS_MAX: u32 = 10_000;
/// Leases that one `Renew` names.
pub const RENEW_LEASES_MAX: usize = 256;
/// The sealed result of a single flight.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Shortest lease: below it, the way to the cluster and back takes most of it.
pub const LEASE_TTL_MIN: DurationMs = DurationMs(100);
/// Longest lease. A longer hold renews.
pub const LEASE_TTL_MAX: DurationMs = DurationMs::from_secs(60 * 60);
/// Longest wait for a lock: as long as the name of its request is good.
pub const LOCK_WAIT_MAX: DurationMs = REQUEST_TTL;
/// How long the result of a single flight may be handed out.
pub const RESULT_TTL_MAX: DurationMs = DurationMs::from_secs(60 * 60);

/// A record's value.
pub const RECORD_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Index keys of a record.
pub const INDEX_KEYS_MAX: usize = 8;
/// Preconditions of a record.
pub const PRECONDITIONS_MAX: usize = 8;
/// The name of a precondition.
pub const PRECONDITION_NAME_BYTES_MAX: usize = 64;
/// Kinds of records of one tenant that have settings of their own.
pub const RECORD_KINDS_MAX: usize = 256;
/// Longest lifetime of a record that ends at all.
pub const RECORD_LIFETIME_MAX: DurationMs = FAMILY_LIFETIME_MAX;
/// How long after its expiry a record with roots can be kept: cutoffs do not outlive it then.
pub const RECORD_KEPT_MAX: DurationMs = FAMILY_LIFETIME_MAX;
/// Longest window in which misses are counted.
pub const ATTEMPTS_WINDOW_MAX: DurationMs = DurationMs::from_secs(24 * 60 * 60);
/// Misses within a window that a tenant may be allowed; each guesser among them takes a row.
pub const ATTEMPTS_MISSES_MAX: u32 = 1_000_000;
/// Records that one `CollectExpired` may delete.
pub const COLLECT_ROWS_MAX: u32 = 1_000;
/// Records that one visit of a sweep to a cut on an index key may look at.
pub const CUT_ROWS_MAX: u32 = 250;
/// Index entries that one look at records of an index key goes through.
pub const FIND_ROWS_MAX: usize = 64;
/// Comparisons of a transaction.
pub const TRANSACTION_COMPARISONS_MAX: usize = 32;
/// Operations of one branch of a transaction.
pub const TRANSACTION_OPERATIONS_MAX: usize = 32;
/// Encoded bytes of all answers of a transaction: they are remembered in one row.
pub const TRANSACTION_REPLY_BYTES_MAX: usize = 192 * 1024;
/// Furthest end of a proof that is seen once.
pub const SEEN_LIFETIME_MAX: DurationMs = FAMILY_LIFETIME_MAX;
