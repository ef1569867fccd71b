//! What of the state goes into a backup, and what a restore makes of it.
//!
//! A backup is all rows at one position but for those by which something could be handed out once
//! more ([`strip`]): seals of refresh tokens, remembered replies, and everything about leases.
//!
//! A restore makes another cluster of it. Whatever happened behind the backup is unknown then, so
//! nothing that may have ended meanwhile comes alive. [`restore`] writes one mark into each
//! tenant, under a position above everything ever issued, and every rule that could be fooled asks
//! it:
//!
//! | what | after a restore |
//! |---|---|
//! | families and sessions, and what is made from older ones | revoked, as by a cut of the tenant |
//! | access tokens | denied, as by that cut; who watches is told |
//! | records of kinds that are consumed | gone, but for tombstones, which still tell |
//! | other records | readable; consumed only once they are written again |
//! | `SeenOnce` | `REPLAY` for what ends before [`Plan::proofs_until`] |
//! | a request whose first attempt was earlier | `STALE_REQUEST`: its answer is forgotten |
//! | locks | free; fences go on above all that there were |
//!
//! A kind is taken for consumed if the backup has a tombstone of it, or a record with
//! preconditions. An operator may waive all rows but the last two for a tenant ([`Plan::keep`]).
//!
//! Pure, like all of this crate: time and ids come from the caller, and who writes the rows keeps
//! what a crash leaves.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{self, decode_row, encode};
use crate::command::Except;
use crate::digest::row_digest;
use crate::expiry;
use crate::family::FamilyRow;
use crate::feed::{Change, FeedRow};
use crate::ids::{ClusterId, DurationMs, LogIndex, Position, RecordKind, TenantId, UnixMs};
use crate::keys::{self, kind};
use crate::limits;
use crate::machine::Meta;
use crate::record::RecordRow;
use crate::reply::{Event, Replies, Reply};
use crate::rows;
use crate::tables::{Tables, TablesError};
use crate::tenant::{self, Restored, Tenant};
use crate::turn::{TenantCache, Turn};

/// How long proofs are taken to live if an operator doesn't say.
pub const PROOFS_LIVE: DurationMs = DurationMs::from_secs(24 * 3_600);

/// More kinds of consumed records than this are remembered as "all".
const ONE_TIME_KINDS_MAX: usize = 256;
/// A header is small.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Tenants read at a time.
const PAGE: usize = 64;

/// What stands in front of a backup's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The cluster that it was made of.
    pub cluster: ClusterId,
    /// The node that wrote it.
    pub node: u64,
    /// Counters of the state, as they were with *all* rows.
    pub meta: Meta,
    /// By the wall clock of that node.
    pub made_at: UnixMs,
    /// Rows in the backup.
    pub rows: u64,
    /// Release that wrote it.
    pub release: String,
}

impl Header {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`codec::DecodeError`] if it is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(bytes, HEADER_BYTES_MAX)
    }
}

/// The value of a row as it goes into a backup; `None` if it doesn't.
///
/// # Errors
/// [`TablesError`] if it isn't a row that this machine wrote.
pub fn strip(key: &[u8], value: &Bytes) -> Result<Option<Bytes>, TablesError> {
    let target = match key.first() {
        Some(&kind::EXPIRY) => keys::expiry_target(key).and_then(|target| target.first()),
        first => first,
    };
    Ok(match target {
        Some(
            &(kind::REPLY | kind::LOCK | kind::LOCK_WAITER | kind::LOCK_RESULT | kind::LEASE_DUE),
        ) => None,
        Some(&kind::FAMILY) if key.first() == Some(&kind::FAMILY) => {
            let mut row = FamilyRow::decode(value)?;
            match row.head.seal.take() {
                Some(_) => Some(row.encode().into()),
                None => Some(value.clone()),
            }
        }
        _ => Some(value.clone()),
    })
}

/// What there is in a backup: fed row by row, which decodes each.
#[derive(Debug, Default)]
pub struct Survey {
    /// Rows by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Tenants.
    pub tenants: BTreeSet<TenantId>,
    /// All rows.
    pub rows: u64,
    /// Sum of the rows' digests, wrapping.
    pub digest: u128,
    /// Kinds of records that are consumed.
    one_time: BTreeMap<TenantId, BTreeSet<RecordKind>>,
}

impl Survey {
    /// Looks at one row.
    ///
    /// # Errors
    /// [`TablesError`] if it isn't one that a state machine wrote.
    pub fn add(&mut self, key: &[u8], value: &Bytes) -> Result<(), TablesError> {
        self.rows += 1;
        self.digest = self.digest.wrapping_add(row_digest(key, value));
        *self.kinds.entry(rows::kind_name(key)).or_default() += 1;
        let Some((first, (tenant, _))) = key.first().zip(keys::split_tenant(key)) else {
            return rows::check(key, value);
        };
        match *first {
            kind::TENANT => drop(self.tenants.insert(tenant)),
            kind::RECORD => {
                let row: RecordRow = decode_row(value)?;
                let one_time = row.consumed_at.is_some() || !row.preconditions.is_empty();
                let named = keys::record::record_of(key).filter(|_| one_time);
                if let Some((tenant, kind, _)) = named {
                    let kinds = self.one_time.entry(tenant).or_default();
                    if kinds.len() <= ONE_TIME_KINDS_MAX {
                        kinds.insert(kind);
                    }
                }
            }
            _ => {}
        }
        rows::check(key, value)
    }
}

/// How a backup is restored.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of the new cluster: above all indexes and bases that there ever were.
    pub base: u64,
    /// The log index that the restore stands for.
    pub index: LogIndex,
    /// Now, by the wall clock.
    pub now: UnixMs,
    /// Proofs that end by then may have been seen behind the backup.
    pub proofs_until: UnixMs,
    /// Tenants whose cut the operator waives.
    pub keep: BTreeSet<TenantId>,
}

/// Why a backup can't be restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// New positions would not be above old ones.
    #[error(
        "the restore's position {new} would not be above the backup's {old}: this machine's \
         clock is behind; set it right and try again"
    )]
    NotAbove {
        /// Of the restore.
        new: Position,
        /// Of the backup.
        old: Position,
    },
    /// The clock is behind that of the cluster that was backed up.
    #[error(
        "this machine's clock is {behind_ms} ms behind the backup's: set it right and try again"
    )]
    ClockBehind {
        /// How far.
        behind_ms: u64,
    },
    /// A tenant is to be kept that isn't there.
    #[error("the backup has no tenant {0}")]
    NoTenant(TenantId),
    /// The rows can't be read or written.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

/// A clock may be this much behind the backup's without being taken for wrong.
const CLOCK_BEHIND_MAX: DurationMs = DurationMs::from_secs(10);

/// Whether a backup can be restored so: before anything is written.
///
/// # Errors
/// [`RestoreError`].
pub fn admit(header: &Header, survey: &Survey, plan: &Plan) -> Result<(), RestoreError> {
    let (new, old) = (Position::new(plan.base, plan.index, 0), header.meta.position);
    if new <= old || plan.base <= header.meta.base {
        return Err(RestoreError::NotAbove { new, old });
    }
    let behind = header.meta.clock.since(plan.now);
    if behind > CLOCK_BEHIND_MAX {
        return Err(RestoreError::ClockBehind { behind_ms: behind.0 });
    }
    let missing = plan.keep.iter().find(|tenant| !survey.tenants.contains(*tenant));
    missing.map_or(Ok(()), |tenant| Err(RestoreError::NoTenant(tenant.clone())))
}

/// Nobody is told of a restore but those who watch, later.
struct Nobody;

impl Replies for Nobody {
    fn wanted(&self) -> bool {
        false
    }
    fn reply(&mut self, _: usize, _: Reply) {}
    fn event(&mut self, _: Event) {}
}

/// Marks every tenant as restored: the first change of the new cluster. `meta` is the backup's,
/// with the digest of its rows.
///
/// # Errors
/// [`RestoreError`].
pub fn restore<T: Tables>(
    tables: &mut T,
    header: &Header,
    survey: &Survey,
    plan: &Plan,
) -> Result<Meta, RestoreError> {
    admit(header, survey, plan)?;
    let mut meta = Meta {
        base: plan.base,
        clock: header.meta.clock.max(plan.now),
        rows: survey.digest,
        position: Position::new(plan.base, plan.index, 0),
        ..header.meta.clone()
    };
    let (mut from, to) = keys::all_tenants();
    let mut turn = Turn {
        tables,
        replies: &mut Nobody,
        tenants: &mut TenantCache::new(),
        rows: &mut meta.rows,
        now: meta.clock,
        lease_now: meta.lease_clock,
        position: meta.position,
        changes: Vec::new(),
    };
    loop {
        let page = turn.tables.scan(&from, &to, PAGE)?;
        for (key, row) in &page {
            let Some(id) = keys::tenant_of(key) else { continue };
            mark(&mut turn, &id, decode_row(row)?, survey, plan)?;
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => from = [last, [0].as_slice()].concat(),
            _ => return Ok(meta),
        }
    }
}

fn mark<T: Tables>(
    turn: &mut Turn<'_, T, Nobody>,
    id: &TenantId,
    tenant: Tenant,
    survey: &Survey,
    plan: &Plan,
) -> Result<(), TablesError> {
    let kept = plan.keep.contains(id);
    let one_time = survey.one_time.get(id).cloned().unwrap_or_default();
    let one_time = (one_time.len() <= ONE_TIME_KINDS_MAX).then(|| one_time.into_iter().collect());
    let restored = Restored {
        position: turn.position,
        at: turn.now,
        kept,
        proofs_until: plan.proofs_until,
        one_time,
    };
    let until = turn.now.plus(tenant.settings.access_ttl_max).plus(limits::ACCESS_SKEW);
    // An earlier restore's mark stays where this one kills nothing.
    let restored = match tenant.restored.clone().filter(|earlier| kept && !earlier.kept) {
        Some(earlier) => Restored { at: turn.now, ..earlier },
        None => restored,
    };
    tenant::store(turn, id, &Tenant { restored: Some(restored), ..tenant })?;
    if kept {
        return Ok(());
    }
    // Those who watch hear of it, and so does whoever takes a snapshot.
    let cut = Change::Cutoff {
        subject: None,
        client: None,
        device: None,
        session: None,
        except: Except::default(),
    };
    let row = FeedRow::new(turn.now, until, vec![cut]);
    let key = keys::feed(id, turn.position);
    expiry::schedule_new(turn, &key, None, row.ends_at());
    turn.put(key, None, encode(&row));
    Ok(())
}
