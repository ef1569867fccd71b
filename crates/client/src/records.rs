//! Operations on records of one tenant.

use jeton_core::command::{
    CollectExpired, DeleteRecord, DeleteRecords, LookUpRecord, RecordName, SeenOnce,
};
use jeton_core::ids::{IssuerId, KeyDigest, Position, RecordKind, UnixMs};
use jeton_core::limits;
use jeton_core::reply::{RecordView, Refusal};
use jeton_wire::answer::Seen as Looked;
use jeton_wire::decode::Consistency;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::record::{self as wire, RecordsAsked};

use crate::answer::{Read, Updated};
use crate::client::Deadline;
use crate::error::Error;
use crate::id::IntoId;
use crate::record::{Collected, Consumed, Consumption, NewRecord, RecordPage, Seen, digest, never};
use crate::tenant::{Tenant, decoded, positioned, unless_refused};
use crate::transport::retry::Repeat;

fn kind(kind: impl IntoId<RecordKind>) -> Result<RecordKind, Error> {
    kind.into_id().map_err(|error| Error::violation("kind", error.to_string()))
}

fn read<T>(seen: Looked<T>) -> Result<Read<T>, Error> {
    let value = seen.outcome.map_err(Error::Refused)?;
    Ok(Read { value, position: seen.position, age: seen.age })
}

impl Tenant {
    /// Creates or replaces a record.
    ///
    /// # Errors
    /// [`Error::Refused`] with `Already` (it was consumed), `AlreadyExists`, `NotFound`,
    /// `VersionMismatch`, `Revoked`, `Suspended` or `LimitReached`, and whatever any call may fail
    /// with.
    pub async fn put_record(
        &self,
        new: NewRecord,
        deadline: impl Into<Deadline>,
    ) -> Result<Updated, Error> {
        let name = self.name(new.request)?;
        let put = new.checked()?;
        let make = || Request::PutRecord(wire::put_request(self.id(), name, &put));
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, PutRecord, wire::put_record)?;
        let position = answered.position;
        unless_refused(answered).map(|version| Updated { position, version })
    }

    /// Shows a record.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NotFound` or `TenantUnknown`, [`Error::InvalidArgument`] in kinds
    /// that count misses (see [`Tenant::look_up_record`]), and whatever any read may fail with.
    pub async fn get_record(
        &self,
        kind_of: impl IntoId<RecordKind>,
        key: KeyDigest,
        consistency: Consistency,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<RecordView>, Error> {
        let by = RecordName::Key(key);
        let asked = RecordsAsked { kind: kind(kind_of)?, by, after: None, records_max: 1 };
        let response = self.read(wire_query(asked), consistency, deadline.into()).await?;
        read(decoded!(response, GetRecord, wire::get_record)?)
    }

    /// Shows the records that have an index key, at most `records_max` (1 to 1,000) of them. `page`
    /// is what the page before this one named as `next`. A record that has the key during the whole
    /// listing is met exactly once, others may be.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] in kinds that count misses, and whatever any read may fail with.
    pub async fn find_records(
        &self,
        kind_of: impl IntoId<RecordKind>,
        index_key: KeyDigest,
        page: Option<&str>,
        records_max: u32,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<RecordPage>, Error> {
        let by = RecordName::Index(index_key);
        let asked = RecordsAsked { kind: kind(kind_of)?, by, after: None, records_max };
        let make = || {
            let consistency = Consistency::Linearizable;
            Request::FindRecords(wire::find_request(self.id(), &asked, page, consistency))
        };
        let response = self.client().call(Repeat::Read, deadline.into(), make).await?;
        let found = read(decoded!(response, FindRecords, wire::find_records)?)?;
        let value = RecordPage { records: found.value.records, next: found.value.next };
        Ok(Read { value, position: found.position, age: found.age })
    }

    /// Shows a record of a kind that counts misses. `guesser` is who asks: a session or an address.
    /// Each look-up is an entry of the log, so that none of a thousand at once goes uncounted.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NotFound` (counted) or `AttemptsExceeded`, and whatever any call
    /// may fail with.
    pub async fn look_up_record(
        &self,
        kind_of: impl IntoId<RecordKind>,
        by: RecordName,
        guesser: impl AsRef<[u8]>,
        deadline: impl Into<Deadline>,
    ) -> Result<RecordView, Error> {
        let look_up = LookUpRecord { kind: kind(kind_of)?, by, guesser: digest(guesser) };
        let name = self.name(None)?;
        let make = || Request::LookUpRecord(wire::look_up_request(self.id(), name, &look_up));
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        unless_refused(decoded!(response, LookUpRecord, wire::look_up_record)?)
    }

    /// Deletes a record; says whether there was one. That it was consumed is still known.
    ///
    /// # Errors
    /// [`Error::Refused`] with `VersionMismatch`, or `NotFound` if a version was named, and
    /// whatever any call may fail with.
    pub async fn delete_record(
        &self,
        kind_of: impl IntoId<RecordKind>,
        key: KeyDigest,
        version: Option<u64>,
        deadline: impl Into<Deadline>,
    ) -> Result<bool, Error> {
        let delete = DeleteRecord { kind: kind(kind_of)?, key, version };
        let name = self.name(None)?;
        let make = || Request::DeleteRecord(wire::delete_request(self.id(), name, &delete));
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        unless_refused(decoded!(response, DeleteRecord, wire::delete_record)?)
    }

    /// Deletes all records that have an index key: gone from the answered position on, however many
    /// they are.
    ///
    /// # Errors
    /// Whatever any call may fail with.
    pub async fn delete_records(
        &self,
        kind_of: impl IntoId<RecordKind>,
        index_key: KeyDigest,
        deadline: impl Into<Deadline>,
    ) -> Result<Position, Error> {
        let delete = DeleteRecords { kind: kind(kind_of)?, index: index_key };
        let name = self.name(None)?;
        let make = || Request::DeleteRecords(wire::delete_all_request(self.id(), name, &delete));
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        positioned(decoded!(response, DeleteRecords, wire::delete_records)?)
    }

    /// Deletes records that were kept after they expired, before an instant if one is named: all of
    /// them, some a command, until the deadline.
    ///
    /// # Errors
    /// Whatever any call may fail with, if it failed before anything was collected.
    pub async fn collect_expired(
        &self,
        kind_of: impl IntoId<RecordKind>,
        before: Option<UnixMs>,
        deadline: impl Into<Deadline>,
    ) -> Result<Collected, Error> {
        let (kind, deadline) = (kind(kind_of)?, deadline.into());
        let before = before.unwrap_or_else(never);
        let collect = CollectExpired { kind, before, rows_max: limits::COLLECT_ROWS_MAX };
        let mut count = 0;
        loop {
            let name = self.name(None)?;
            let make = || Request::CollectExpired(wire::collect_request(self.id(), name, &collect));
            let response = match self.client().call(Repeat::Named, deadline, make).await {
                Err(_) if count > 0 => return Ok(Collected { count, more: true }),
                response => response?,
            };
            let some = decoded!(response, CollectExpired, wire::collect_expired)?;
            let some = unless_refused(some)?;
            count += u64::from(some.count);
            if !some.more {
                return Ok(Collected { count, more: false });
            }
        }
    }

    /// Takes a record's value: exactly one caller in the world gets it. A call that is repeated
    /// under the same name gets it again.
    ///
    /// # Errors
    /// Whatever any call may fail with. Refusals are answers: see [`Consumed`].
    pub async fn consume(
        &self,
        consumption: Consumption,
        deadline: impl Into<Deadline>,
    ) -> Result<Consumed, Error> {
        let name = self.name(consumption.request)?;
        let consume = consumption.checked()?;
        let make = || Request::Consume(wire::consume_request(self.id(), name, &consume));
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, Consume, wire::consume)?;
        let position = answered.position;
        Ok(match answered.outcome {
            Ok(record) => Consumed::First { record: Box::new(record), position },
            Err(refusal) => Consumed::Refused(refusal),
        })
    }

    /// Says whether a proof is shown for the first time: a client assertion, a DPoP proof. `id` is
    /// its `jti`, `expires_at` its `exp`.
    ///
    /// # Errors
    /// [`Error::Refused`] for what is no answer of that, and whatever any call may fail with.
    pub async fn seen_once(
        &self,
        kind_of: impl IntoId<RecordKind>,
        issuer: impl IntoId<IssuerId>,
        id: impl AsRef<[u8]>,
        expires_at: UnixMs,
        deadline: impl Into<Deadline>,
    ) -> Result<Seen, Error> {
        let issuer =
            issuer.into_id().map_err(|error| Error::violation("issuer", error.to_string()))?;
        let seen = SeenOnce { kind: kind(kind_of)?, issuer, key: digest(id), expires_at };
        let name = self.name(None)?;
        let make = || Request::SeenOnce(wire::seen_request(self.id(), name, &seen));
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        match decoded!(response, SeenOnce, wire::seen_once)?.outcome {
            Ok(()) => Ok(Seen::Fresh),
            Err(Refusal::Replay) => Ok(Seen::Replay),
            Err(Refusal::Expired { .. }) => Ok(Seen::Expired),
            Err(refusal) => Err(Error::Refused(refusal)),
        }
    }
}

fn wire_query(asked: RecordsAsked) -> jeton_wire::decode::Query {
    jeton_wire::decode::Query::Record(asked)
}
