//! Steps of a transaction, and what each needs until its answer is there.

use jeton_core::command::{
    DeleteRecord, DeleteRecords, EndSession, Part, RevokeFamily, SeenOnce, Touch, UpdateFamily,
};
use jeton_core::ids::{
    FamilyId, IssuerId, KeyDigest, Mac, RecordKind, RequestId, SessionId, UnixMs,
};
use jeton_core::token::Secret;

use crate::error::Error;
use crate::family::{FamilyUpdate, NewFamily, RotateContext};
use crate::id::IntoId;
use crate::opaque::{Brought, OpaqueToken, Token};
use crate::record::{Consumption, NewRecord, digest};
use crate::session::{NewSession, SessionChange, named};
use crate::tenant::{Minted, Tenant};
use crate::token::RefreshToken;

/// One operation of a transaction: what a call of its own would take, but for its name.
#[derive(Clone)]
pub struct Step(Result<Kind, Error>);

#[derive(Clone)]
enum Kind {
    /// Needs nothing but itself.
    Plain(Part, Option<Mac>),
    CreateFamily(Box<NewFamily>),
    CreateOpaqueFamily(Box<NewFamily>, OpaqueToken),
    Rotate(RefreshToken, Box<RotateContext>),
    RotateOpaque(OpaqueToken, OpaqueToken, Box<RotateContext>),
}

impl std::fmt::Debug for Step {
    /// Without tokens, keys and values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match &self.0 {
            Ok(Kind::Plain(part, _)) => part.name(),
            Ok(Kind::CreateFamily(_) | Kind::CreateOpaqueFamily(..)) => "create_family",
            Ok(Kind::Rotate(..) | Kind::RotateOpaque(..)) => "rotate",
            Err(_) => "invalid",
        };
        f.debug_tuple("Step").field(&name).finish()
    }
}

/// A step with all that was minted for it.
pub(super) struct Prepared {
    pub(super) part: Part,
    /// Of the native token that it presents.
    pub(super) mac: Option<Mac>,
    pub(super) expected: Expected,
}

/// What the answer to a step is made of.
pub(super) enum Expected {
    /// It says everything itself.
    Plain,
    Family(FamilyId, Secret),
    OpaqueFamily(FamilyId, OpaqueToken),
    Rotation(Minted),
    OpaqueRotation(Brought),
}

impl Step {
    fn plain(part: Result<Part, Error>) -> Self {
        Self(part.map(|part| Kind::Plain(part, None)))
    }

    /// Creates or replaces a record.
    #[must_use]
    pub fn put_record(new: NewRecord) -> Self {
        let put = unnamed(new.request).and_then(|()| new.checked());
        Self::plain(put.map(|put| Part::PutRecord(Box::new(put))))
    }

    /// Deletes a record; only if it is still at `version`, if one is named.
    pub fn delete_record(
        kind: impl IntoId<RecordKind>,
        key: KeyDigest,
        version: Option<u64>,
    ) -> Self {
        let kind = id("kind", kind);
        Self::plain(kind.map(|kind| Part::DeleteRecord(DeleteRecord { kind, key, version })))
    }

    /// Deletes all records that have an index key before the transaction. Comes before what puts
    /// one that has it.
    pub fn delete_records(kind: impl IntoId<RecordKind>, index: KeyDigest) -> Self {
        let kind = id("kind", kind);
        Self::plain(kind.map(|kind| Part::DeleteRecords(DeleteRecords { kind, index })))
    }

    /// Takes a record's value.
    #[must_use]
    pub fn consume(consumption: Consumption) -> Self {
        let consume = unnamed(consumption.request).and_then(|()| consumption.checked());
        Self::plain(consume.map(|consume| Part::Consume(Box::new(consume))))
    }

    /// Goes on only if a proof is shown for the first time.
    pub fn seen_once(
        kind: impl IntoId<RecordKind>,
        issuer: impl IntoId<IssuerId>,
        proof: impl AsRef<[u8]>,
        expires_at: UnixMs,
    ) -> Self {
        let key = digest(proof);
        let named = id("kind", kind).and_then(|kind| Ok((kind, id("issuer", issuer)?)));
        Self::plain(
            named.map(|(kind, issuer)| Part::SeenOnce(SeenOnce { kind, issuer, key, expires_at })),
        )
    }

    /// Starts a family of native tokens, and issues its first.
    #[must_use]
    pub fn create_family(new: NewFamily) -> Self {
        Self(Ok(Kind::CreateFamily(Box::new(new))))
    }

    /// Starts a family of opaque tokens, with `first` as its first.
    #[must_use]
    pub fn create_opaque_family(new: NewFamily, first: &OpaqueToken) -> Self {
        Self(Ok(Kind::CreateOpaqueFamily(Box::new(new), first.clone())))
    }

    /// Exchanges a token for its successor. At most once for each family.
    #[must_use]
    pub fn rotate(token: &RefreshToken, context: RotateContext) -> Self {
        let asked = unnamed(context.request);
        Self(asked.map(|()| Kind::Rotate(token.clone(), Box::new(context))))
    }

    /// Exchanges an opaque token for `successor`. At most once for each family.
    #[must_use]
    pub fn rotate_opaque(
        token: &OpaqueToken,
        successor: &OpaqueToken,
        context: RotateContext,
    ) -> Self {
        let (token, successor) = (token.clone(), successor.clone());
        let asked = unnamed(context.request);
        Self(asked.map(|()| Kind::RotateOpaque(token, successor, Box::new(context))))
    }

    /// Confirms that a token arrived at its client.
    pub fn touch(token: &impl Token) -> Self {
        let (token, mac) = token.shown();
        Self(Ok(Kind::Plain(Part::Touch(Touch { token }), mac)))
    }

    /// Changes a family, if it is still at the version that was read.
    #[must_use]
    pub fn update_family(family: FamilyId, update: FamilyUpdate) -> Self {
        let asked = unnamed(update.request);
        let FamilyUpdate { version, attributes, payload, grace, .. } = update;
        let update = UpdateFamily { family, version, attributes, payload, grace };
        Self::plain(asked.map(|()| Part::UpdateFamily(Box::new(update))))
    }

    /// Revokes one family. The reason, at most 256 bytes, is told to those whom it hits.
    #[must_use]
    pub fn revoke_family(family: FamilyId, reason: Option<&str>) -> Self {
        let revoke = RevokeFamily { family, reason: reason.map(Into::into) };
        Self::plain(Ok(Part::RevokeFamily(revoke)))
    }

    /// Starts a session.
    #[must_use]
    pub fn create_session(new: NewSession) -> Self {
        let create = unnamed(new.request).and_then(|()| new.checked());
        Self::plain(create.map(|create| Part::CreateSession(Box::new(create))))
    }

    /// Says that a session was used, and may change what it carries.
    pub fn touch_session(session: impl IntoId<SessionId>, change: SessionChange) -> Self {
        let session = unnamed(change.request).and_then(|()| named(session));
        Self::plain(session.map(|session| Part::TouchSession(Box::new(change.of(session)))))
    }

    /// Ends a session, and all that is bound to it.
    pub fn end_session(session: impl IntoId<SessionId>, reason: Option<&str>) -> Self {
        let reason = reason.map(Into::into);
        Self::plain(named(session).map(|session| Part::EndSession(EndSession { session, reason })))
    }

    /// Mints what is to be minted.
    pub(super) fn prepare(self, tenant: &Tenant) -> Result<Prepared, Error> {
        Ok(match self.0? {
            Kind::Plain(part, mac) => Prepared { part, mac, expected: Expected::Plain },
            Kind::CreateFamily(new) => {
                let (create, secret) = tenant.native_family(*new)?;
                let expected = Expected::Family(create.family, secret);
                Prepared { part: Part::CreateFamily(Box::new(create)), mac: None, expected }
            }
            Kind::CreateOpaqueFamily(new, first) => {
                let create = tenant.opaque_family(*new, &first)?;
                let expected = Expected::OpaqueFamily(create.family, first);
                Prepared { part: Part::CreateFamily(Box::new(create)), mac: None, expected }
            }
            Kind::Rotate(token, context) => {
                let asked = tenant.native_rotation(&token, *context)?;
                let (part, mac) = (Part::Rotate(Box::new(asked.rotate)), Some(asked.mac));
                Prepared { part, mac, expected: Expected::Rotation(asked.minted) }
            }
            Kind::RotateOpaque(token, successor, context) => {
                let (rotate, brought) =
                    tenant.opaque_rotation_asked(&token, &successor, *context)?;
                let expected = Expected::OpaqueRotation(brought);
                Prepared { part: Part::Rotate(Box::new(rotate)), mac: None, expected }
            }
        })
    }
}

fn id<T>(field: &str, id: impl IntoId<T>) -> Result<T, Error> {
    id.into_id().map_err(|error| Error::violation(field, error.to_string()))
}

/// The transaction has a name, its steps have none.
fn unnamed(request: Option<RequestId>) -> Result<(), Error> {
    match request {
        Some(_) => {
            let problem = "is named: name the transaction instead";
            Err(Error::violation("request_id", problem.to_owned()))
        }
        None => Ok(()),
    }
}
