//! The operations of one tenant.

use jeton_core::command::{
    CreateFamily, Losers, RequestName, RevokeFamily, RevokeToken, Rotate, Touch, UpdateFamily,
};
use jeton_core::ids::{
    ClientId, DurationMs, FamilyId, Mac, Position, RequestId, SecretDigest, TenantId,
};
use jeton_core::reply::{FamilyView, Refusal};
use jeton_core::token::Secret;
use jeton_wire::answer::{self, Answered, RotateOutcome};
use jeton_wire::decode::{Asked, Consistency, Query};
use jeton_wire::encode;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use zeroize::Zeroizing;

use crate::answer::{Read, Revoked, Rotation, Updated, Validation};
use crate::client::{Client, Deadline};
use crate::error::Error;
use crate::family::{Check, FamilyUpdate, NewFamily, RotateContext};
use crate::id::IntoId;
use crate::opaque::Token;
use crate::record::Consumption;
use crate::revocation::Cut;
use crate::seal::{self, NONCE_BYTES, Place, SECRET_BYTES};
use crate::token::{Issued, RefreshToken};
use crate::transport::retry::Repeat;

/// The answer to `$variant`, decoded; anything else breaks the protocol.
macro_rules! decoded {
    ($response:expr, $variant:ident, $decode:path) => {
        match $response {
            jeton_wire::pb::v1::operation_result::Response::$variant(response) => $decode(response)
                .map_err(|violation| crate::error::Error::protocol(violation.to_string())),
            _ => Err(crate::error::Error::protocol("the answer is that of another operation")),
        }
    };
}
pub(crate) use decoded;

/// Operations of one tenant. Cheap to clone.
///
/// Every call has a deadline and may be made from any number of tasks at once. Mutations have a
/// name, drawn here if none is given, under which they are repeated after a failure without
/// happening twice.
///
/// Dropping a call's future stops waiting for it: what had left may still happen.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub(crate) client: Client,
    pub(crate) tenant: TenantId,
}

impl Tenant {
    pub(crate) fn new(client: Client, tenant: TenantId) -> Self {
        Self { client, tenant }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &TenantId {
        &self.tenant
    }

    /// Starts a family, and issues its first token.
    ///
    /// # Errors
    /// [`Error::Refused`] with `TenantUnknown`, `SessionDead`, `Suspended`, `Revoked` (a cutoff
    /// since `authenticated_at`), `AlreadyExists`, `CapReached` or `LimitReached`, and whatever any
    /// call may fail with.
    pub async fn create_family(
        &self,
        new: NewFamily,
        deadline: impl Into<Deadline>,
    ) -> Result<Issued, Error> {
        let (create, secret) = self.native_family(new)?;
        let answered = self.create(&create, deadline.into()).await?;
        self.first_token(create.family, secret, answered)
    }

    /// A family of native tokens to be made, and the secret of its first one.
    pub(crate) fn native_family(&self, new: NewFamily) -> Result<(CreateFamily, Secret), Error> {
        let mut random = Zeroizing::new([0; SECRET_BYTES + 16]);
        self.client.fill(&mut random[..])?;
        let (secret, random) = mint(&random[..]);
        let create = new_family(new, FamilyId(split(random).0), secret.digest(), false)?;
        Ok((create, secret))
    }

    /// The first token of a family that was made.
    pub(crate) fn first_token(
        &self,
        family: FamilyId,
        secret: Secret,
        answered: Answered<answer::Created>,
    ) -> Result<Issued, Error> {
        let (created, position) = first(family, answered)?;
        let issued = Issued::new(&self.tenant, secret, &created.token, position)
            .ok_or_else(|| Error::protocol("a native token has no mac"))?;
        let (evicted, over_soft_quota) = (created.evicted, created.over_soft_quota);
        Ok(Issued { evicted, over_soft_quota, ..issued })
    }

    /// Starts a family.
    pub(crate) async fn create(
        &self,
        create: &CreateFamily,
        deadline: Deadline,
    ) -> Result<Answered<answer::Created>, Error> {
        let name = self.name(None)?;
        let make = || Request::CreateFamily(encode::create_family(&self.tenant, name, create));
        let response = self.client.call(Repeat::Named, deadline, make).await?;
        decoded!(response, CreateFamily, answer::create_family)
    }

    /// Exchanges a token for its successor. However many callers present the same token at once,
    /// one of them rotates, and all get the identical successor.
    ///
    /// # Errors
    /// Whatever any call may fail with. Refusals are answers: see [`Rotation`].
    pub async fn rotate(
        &self,
        token: &RefreshToken,
        context: RotateContext,
        deadline: impl Into<Deadline>,
    ) -> Result<Rotation, Error> {
        let asked = self.native_rotation(token, context)?;
        let name = RequestName { id: asked.request, age: DurationMs(0) };
        let (rotate, mac) = (&asked.rotate, Some(&asked.mac));
        let make = || Request::Rotate(encode::rotate(&self.tenant, name, rotate, mac));
        let response = self.client.call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, Rotate, answer::rotate)?;
        self.rotation(asked.minted, answered)
    }

    /// A rotation to be asked for, with its successor.
    pub(crate) fn native_rotation(
        &self,
        token: &RefreshToken,
        context: RotateContext,
    ) -> Result<NativeRotation, Error> {
        let client = context.checked()?.clone();
        if context.losers == Losers::Adopt {
            let problem = "adopt: the losers of a native token get the winner's successor";
            return Err(Error::violation("losers", problem.to_owned()));
        }
        let native = token.native();
        let place = Place {
            tenant: &self.tenant,
            family: native.family,
            generation: native.generation,
            client: &client,
        };
        let mut random = Zeroizing::new([0; SECRET_BYTES + NONCE_BYTES + 16]);
        self.client.fill(&mut random[..])?;
        let (successor, random) = mint(&random[..]);
        let (nonce, random) = split(random);
        let seal = seal::seal(&native.secret, place, &successor, &nonce);
        let request = context.request.unwrap_or(RequestId(split(random).0));

        let (presented, mac) = native.presented();
        let rotate = Rotate {
            token: presented.into(),
            successor: successor.digest(),
            seal,
            losers: Losers::Replay,
            client: client.clone(),
            binding: context.binding,
            origin: context.origin,
        };
        let minted = Minted { token: token.clone(), client, successor };
        Ok(NativeRotation { rotate, mac, request, minted })
    }

    /// What became of a rotation.
    pub(crate) fn rotation(
        &self,
        minted: Minted,
        answered: Answered<RotateOutcome>,
    ) -> Result<Rotation, Error> {
        let Answered { position, outcome } = answered;
        let Minted { token, client, successor } = minted;
        let native = token.native();
        let place = Place {
            tenant: &self.tenant,
            family: native.family,
            generation: native.generation,
            client: &client,
        };
        let issued = |secret: Secret, issued: &answer::Issued| {
            if (issued.family, issued.generation) != (native.family, native.generation.next()) {
                return Err(Error::protocol("the successor is not of the next generation"));
            }
            Issued::new(&self.tenant, secret, issued, position)
                .ok_or_else(|| Error::protocol("a native token has no mac"))
        };
        Ok(match outcome {
            Ok(RotateOutcome::Rotated(token)) => Rotation::Rotated(issued(successor, &token)?),
            Ok(RotateOutcome::Replayed { token, seal }) => {
                let opened = seal::open(&native.secret, place, &seal)?;
                // What an earlier attempt of this very call did is this call's own rotation.
                let own = opened == successor;
                let issued = issued(opened, &token)?;
                if own { Rotation::Rotated(issued) } else { Rotation::Replayed(issued) }
            }
            Ok(RotateOutcome::Superseded { head }) => Rotation::Superseded { head, position },
            Ok(RotateOutcome::Adopted(_)) => {
                return Err(Error::protocol("a native token's successor was adopted"));
            }
            Err(refusal) => Rotation::Refused(refusal),
        })
    }

    /// Says whether a token is the live head of its family. Changes nothing, and never judges
    /// reuse.
    ///
    /// # Errors
    /// Whatever any read may fail with. Refusals are answers: see [`Validation`].
    pub async fn validate(
        &self,
        token: &impl Token,
        check: Check,
        deadline: impl Into<Deadline>,
    ) -> Result<Validation, Error> {
        check.checked()?;
        let (token, mac) = token.shown();
        let query = Query::Validate { token, mac, client: check.client, binding: check.binding };
        let response = self.read(query, check.consistency, deadline.into()).await?;
        let seen = decoded!(response, Validate, answer::validate)?;
        Ok(match seen.outcome {
            Ok(value) => {
                Validation::Active(Box::new(Read { value, position: seen.position, age: seen.age }))
            }
            Err(refusal) => Validation::Refused(refusal),
        })
    }

    /// Confirms that a token arrived at its client: from `settle` (5 s) later on, its predecessor
    /// is no more answered with it. Only the head can be confirmed.
    ///
    /// # Errors
    /// [`Error::Refused`] if it isn't the live head, and whatever any call may fail with.
    pub async fn touch(
        &self,
        token: &impl Token,
        deadline: impl Into<Deadline>,
    ) -> Result<Position, Error> {
        let (token, mac) = token.shown();
        let touch = Touch { token };
        let name = self.name(None)?;
        let make = || Request::Touch(encode::touch(&self.tenant, name, &touch, mac.as_ref()));
        let response = self.client.call(Repeat::Named, deadline.into(), make).await?;
        positioned(decoded!(response, Touch, answer::touch)?)
    }

    /// Shows a family, dead or alive. Never a secret, digest or seal.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NotFound` or `TenantUnknown`, and whatever any read may fail with.
    pub async fn get_family(
        &self,
        family: FamilyId,
        consistency: Consistency,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<FamilyView>, Error> {
        let response = self.read(Query::Family(family), consistency, deadline.into()).await?;
        let seen = decoded!(response, GetFamily, answer::get_family)?;
        let value = seen.outcome.map_err(Error::Refused)?;
        Ok(Read { value, position: seen.position, age: seen.age })
    }

    /// Changes a family, if it is still at the version that was read.
    ///
    /// # Errors
    /// [`Error::Refused`] with `VersionMismatch`, `NotFound`, `Revoked` or `Expired`, and whatever
    /// any call may fail with.
    pub async fn update_family(
        &self,
        family: FamilyId,
        update: FamilyUpdate,
        deadline: impl Into<Deadline>,
    ) -> Result<Updated, Error> {
        let name = self.name(update.request)?;
        let update = UpdateFamily {
            family,
            version: update.version,
            attributes: update.attributes,
            payload: update.payload,
            grace: update.grace,
        };
        let make = || Request::UpdateFamily(encode::update_family(&self.tenant, name, &update));
        let response = self.client.call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, UpdateFamily, answer::update_family)?;
        let position = answered.position;
        unless_refused(answered).map(|version| Updated { position, version })
    }

    /// Revokes the family of a token (RFC 7009): any genuine token of it does, the newest or an
    /// old one. An unknown token is success, told apart.
    ///
    /// # Errors
    /// [`Error::Refused`] with `ClientMismatch` if it is another client's, and whatever any call
    /// may fail with.
    pub async fn revoke_token(
        &self,
        token: &impl Token,
        client: impl IntoId<ClientId>,
        deadline: impl Into<Deadline>,
    ) -> Result<Revoked, Error> {
        let client =
            client.into_id().map_err(|error| Error::violation("client", error.to_string()))?;
        let (token, mac) = token.shown();
        let revoke = RevokeToken { token, client };
        let name = self.name(None)?;
        let make = || {
            Request::RevokeToken(encode::revoke_token(&self.tenant, name, &revoke, mac.as_ref()))
        };
        let response = self.client.call(Repeat::Named, deadline.into(), make).await?;
        revoked(decoded!(response, RevokeToken, answer::revoke_token)?)
    }

    /// Revokes one family. The reason, at most 256 bytes, is told to those whom it hits.
    ///
    /// # Errors
    /// Whatever any call may fail with.
    pub async fn revoke_family(
        &self,
        family: FamilyId,
        reason: Option<&str>,
        deadline: impl Into<Deadline>,
    ) -> Result<Revoked, Error> {
        let revoke = RevokeFamily { family, reason: reason.map(Into::into) };
        let name = self.name(None)?;
        let make = || Request::RevokeFamily(encode::revoke_family(&self.tenant, name, &revoke));
        let response = self.client.call(Repeat::Named, deadline.into(), make).await?;
        revoked(decoded!(response, RevokeFamily, answer::revoke_family)?)
    }

    /// Revokes all that matches and was made before, at once, however much it is. Answers the
    /// position from which on it is in force.
    ///
    /// # Errors
    /// Whatever any call may fail with.
    pub async fn revoke_where(
        &self,
        cut: Cut,
        deadline: impl Into<Deadline>,
    ) -> Result<Position, Error> {
        Ok(self.revoke_matching(cut, deadline).await?.revocation)
    }

    pub(crate) async fn read(
        &self,
        query: Query,
        consistency: Consistency,
        deadline: Deadline,
    ) -> Result<Response, Error> {
        let make = || self.read_request(query.clone(), consistency);
        self.client.call(Repeat::Read, deadline, make).await
    }

    pub(crate) fn read_request(&self, query: Query, consistency: Consistency) -> Request {
        let read = jeton_wire::decode::Read { tenant: self.tenant.clone(), query, consistency };
        encode::operation(&Asked::Read(read)).expect("every read can be encoded")
    }

    /// The name of a mutation. Its age is written when it leaves.
    pub(crate) fn name(&self, given: Option<RequestId>) -> Result<RequestName, Error> {
        let id = match given {
            Some(id) => id,
            None => self.client.new_request_id()?,
        };
        Ok(RequestName { id, age: DurationMs(0) })
    }
}

/// A rotation of a native token, to be asked for.
pub(crate) struct NativeRotation {
    pub(crate) rotate: Rotate,
    pub(crate) mac: Mac,
    pub(crate) request: RequestId,
    pub(crate) minted: Minted,
}

/// What its answer is made into a token with.
pub(crate) struct Minted {
    token: RefreshToken,
    client: ClientId,
    successor: Secret,
}

/// A family to be made, under `family` unless it names an id itself.
pub(crate) fn new_family(
    new: NewFamily,
    family: FamilyId,
    digest: SecretDigest,
    opaque: bool,
) -> Result<CreateFamily, Error> {
    let (subject, client) = new.checked()?;
    let rest = new.rest;
    Ok(CreateFamily {
        family: rest.family.unwrap_or(family),
        digest,
        opaque,
        subject,
        client,
        device: rest.device,
        binding: rest.binding,
        ip: rest.ip,
        attributes: rest.attributes,
        payload: rest.payload,
        lifetime: rest.lifetime,
        idle: rest.idle,
        grace: rest.grace,
        authenticated_at: rest.authenticated_at,
        cap: rest.cap,
        session: rest.session,
        code: rest.code.map(Consumption::checked).transpose()?.map(Box::new),
    })
}

/// What the cluster says of a new family's first token.
pub(crate) fn first(
    family: FamilyId,
    answered: Answered<answer::Created>,
) -> Result<(answer::Created, Position), Error> {
    let position = answered.position;
    let created = unless_refused(answered)?;
    if (created.token.generation.0, created.token.family) != (0, family) {
        return Err(Error::protocol("the first token is of another family or generation"));
    }
    Ok((created, position))
}

/// A secret out of random bytes, and the bytes that are left.
fn mint(random: &[u8]) -> (Secret, &[u8]) {
    let (bytes, rest) = split::<SECRET_BYTES>(random);
    (Secret::new(bytes), rest)
}

/// The first `N` random bytes, and those that are left.
pub(crate) fn split<const N: usize>(random: &[u8]) -> ([u8; N], &[u8]) {
    let (first, rest) = random.split_first_chunk().expect("enough randomness was drawn");
    (*first, rest)
}

pub(crate) fn unless_refused<T>(answered: Answered<T>) -> Result<T, Error> {
    answered.outcome.map_err(refused)
}

pub(crate) fn positioned(answered: Answered<()>) -> Result<Position, Error> {
    let position = answered.position;
    unless_refused(answered).map(|()| position)
}

pub(crate) fn revoked(answered: Answered<answer::Revocation>) -> Result<Revoked, Error> {
    let position = answered.position;
    unless_refused(answered).map(|outcome| Revoked { position, outcome })
}

fn refused(refusal: Refusal) -> Error {
    Error::Refused(refusal)
}
