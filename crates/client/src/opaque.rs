//! Opaque refresh tokens: minted by an authorization server, known to the cluster by the digest of
//! their text alone.

use std::sync::Arc;

use bytes::Bytes;
use jeton_core::command::{CreateFamily, Losers, Presented, Rotate};
use jeton_core::ids::{ClientId, FamilyId, Generation, Mac, Position, SecretDigest};
use jeton_core::reply::{FamilyView, Refusal};
use jeton_core::token::{PREFIX, opaque_digest};
use jeton_wire::answer::{self, Answered, RotateOutcome};
use jeton_wire::decode::{Consistency, Query};
use jeton_wire::encode;
use jeton_wire::pb::v1::operation::Request;
use zeroize::Zeroizing;

use crate::answer::Read;
use crate::client::Deadline;
use crate::error::Error;
use crate::family::{NewFamily, RotateContext};
use crate::seal::{self, NONCE_BYTES};
use crate::tenant::{self, Tenant, decoded, new_family, split};
use crate::token::{Issued, RefreshToken};
use crate::transport::retry::Repeat;

pub use jeton_core::token::{OPAQUE_BYTES_MAX, OPAQUE_BYTES_MIN};

/// Why a text can't be an opaque token. Never repeats any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpaqueTokenError {
    /// Shorter than any text that holds 128 bits.
    #[error("an opaque token has at least {OPAQUE_BYTES_MIN} bytes, this text has {bytes}")]
    Short {
        /// How many it has.
        bytes: usize,
    },
    /// Longer than any that is sealed.
    #[error("an opaque token has at most {OPAQUE_BYTES_MAX} bytes, this text has {bytes}")]
    Long {
        /// How many it has.
        bytes: usize,
    },
    /// It looks like a native token, which is shown in another way.
    #[error("it begins with {PREFIX} like a native token: parse it as a RefreshToken")]
    Native,
}

/// A refresh token that an authorization server minted: any text with at least 128 bits of
/// randomness. The cluster sees its digest only.
///
/// It can't be printed; [`OpaqueToken::expose`] gives its text to whoever hands it to the client
/// that it is for. Comparing takes the same time whatever differs. It is erased from memory when
/// the last clone is dropped.
///
/// ```
/// # use jeton_client::OpaqueToken;
/// assert!(OpaqueToken::new("too short").is_err());
/// assert!(OpaqueToken::new("tGzv3JOkF0XG5Qx2TlKWIA").is_ok());
/// ```
///
/// ```compile_fail
/// # use jeton_client::OpaqueToken;
/// fn print(token: &OpaqueToken) {
///     println!("{token}"); // it has no text of its own
/// }
/// ```
#[derive(Clone)]
pub struct OpaqueToken(Arc<Zeroizing<String>>);

impl OpaqueToken {
    /// Wraps a text. Its randomness can't be checked: draw at least 128 bits.
    ///
    /// # Errors
    /// [`OpaqueTokenError`] if it can't be an opaque token.
    pub fn new(text: &str) -> Result<Self, OpaqueTokenError> {
        let bytes = text.len();
        if text.starts_with(PREFIX) {
            return Err(OpaqueTokenError::Native);
        }
        match bytes {
            0..OPAQUE_BYTES_MIN => Err(OpaqueTokenError::Short { bytes }),
            OPAQUE_BYTES_MIN..=OPAQUE_BYTES_MAX => {
                Ok(Self(Arc::new(Zeroizing::new(text.to_owned()))))
            }
            _ => Err(OpaqueTokenError::Long { bytes }),
        }
    }

    /// Its text. Hand it to the client that it is for, and keep it nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// First 16 bytes of the SHA-256 of its text: what the cluster knows it by.
    pub(crate) fn digest(&self) -> SecretDigest {
        opaque_digest(&self.0).expect("its length was checked")
    }
}

impl PartialEq for OpaqueToken {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for OpaqueToken {}

impl std::fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpaqueToken(…)")
    }
}

/// What the answer to a rotation is made into a token with.
pub(crate) struct Brought {
    token: OpaqueToken,
    successor: OpaqueToken,
    client: ClientId,
    losers: Losers,
}

pub(crate) mod sealed {
    use super::{Mac, Presented};

    /// How a token is shown to the cluster.
    pub trait Shown {
        fn shown(&self) -> (Presented, Option<Mac>);
    }
}

/// A token of either kind.
pub trait Token: sealed::Shown {}

impl sealed::Shown for RefreshToken {
    fn shown(&self) -> (Presented, Option<Mac>) {
        let (token, mac) = self.native().presented();
        (token.into(), Some(mac))
    }
}

impl sealed::Shown for OpaqueToken {
    fn shown(&self) -> (Presented, Option<Mac>) {
        (Presented::Opaque(self.digest()), None)
    }
}

impl Token for RefreshToken {}
impl Token for OpaqueToken {}

/// What became of a presented opaque token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpaqueRotation {
    /// This call rotated: its successor is the head now.
    Rotated(Issued<OpaqueToken>),
    /// Another call with the same token rotated: this is the identical successor. The one that
    /// this call brought is worth nothing.
    Replayed(Issued<OpaqueToken>),
    /// Another call rotated, and the successor that this call brought is as good as its own: asked
    /// for by [`RotateContext::adopt`].
    Adopted(Issued<OpaqueToken>),
    /// A sibling holds a newer token already: use that one. Nothing is lost, nobody is suspected.
    Superseded {
        /// Generation of the newest token.
        head: Generation,
        /// Where that was decided.
        position: Position,
    },
    /// The token buys nothing. An answer, not a fault: don't retry.
    Refused(Refusal),
}

impl Tenant {
    /// Starts a family of opaque tokens, with `first` as its first. All its tokens are opaque.
    ///
    /// # Errors
    /// As [`Tenant::create_family`], and [`Error::Refused`] with `DigestInUse`.
    pub async fn create_opaque_family(
        &self,
        new: NewFamily,
        first: &OpaqueToken,
        deadline: impl Into<Deadline>,
    ) -> Result<Issued<OpaqueToken>, Error> {
        let create = self.opaque_family(new, first)?;
        let answered = self.create(&create, deadline.into()).await?;
        self.first_opaque_token(create.family, first, answered)
    }

    /// A family of opaque tokens to be made.
    pub(crate) fn opaque_family(
        &self,
        new: NewFamily,
        first: &OpaqueToken,
    ) -> Result<CreateFamily, Error> {
        let mut family = [0; 16];
        self.client().fill(&mut family)?;
        new_family(new, FamilyId(family), first.digest(), true)
    }

    /// The first token of a family that was made.
    pub(crate) fn first_opaque_token(
        &self,
        family: FamilyId,
        first: &OpaqueToken,
        answered: Answered<answer::Created>,
    ) -> Result<Issued<OpaqueToken>, Error> {
        let (created, position) = tenant::first(family, answered)?;
        let issued = self.issued(first, &created.token, position)?;
        let (evicted, over_soft_quota) = (created.evicted, created.over_soft_quota);
        Ok(Issued { evicted, over_soft_quota, ..issued })
    }

    /// Exchanges an opaque token for `successor`, which the caller has minted. However many callers
    /// present the same token at once, one of them rotates. The others get its successor, or with
    /// [`RotateContext::adopt`] go on with their own.
    ///
    /// # Errors
    /// Whatever any call may fail with. Refusals are answers: see [`OpaqueRotation`].
    pub async fn rotate_opaque(
        &self,
        token: &OpaqueToken,
        successor: &OpaqueToken,
        context: RotateContext,
        deadline: impl Into<Deadline>,
    ) -> Result<OpaqueRotation, Error> {
        let name = self.name(context.request)?;
        let (rotate, brought) = self.opaque_rotation_asked(token, successor, context)?;
        let make = || Request::Rotate(encode::rotate(self.id(), name, &rotate, None));
        let response = self.client().call(Repeat::Named, deadline.into(), make).await?;
        let answered = decoded!(response, Rotate, answer::rotate)?;
        self.opaque_rotation(&brought, answered)
    }

    /// A rotation to be asked for.
    pub(crate) fn opaque_rotation_asked(
        &self,
        token: &OpaqueToken,
        successor: &OpaqueToken,
        context: RotateContext,
    ) -> Result<(Rotate, Brought), Error> {
        let client = context.checked()?.clone();
        let mut random = [0; NONCE_BYTES];
        self.client().fill(&mut random)?;
        let (nonce, _) = split(&random);
        let text = successor.expose().as_bytes();
        let seal: Bytes = seal::seal_text(self.text_place(token, &client), text, &nonce);
        let rotate = Rotate {
            token: Presented::Opaque(token.digest()),
            successor: successor.digest(),
            seal,
            losers: context.losers,
            client: client.clone(),
            binding: context.binding,
            origin: context.origin,
        };
        let losers = context.losers;
        let (token, successor) = (token.clone(), successor.clone());
        Ok((rotate, Brought { token, successor, client, losers }))
    }

    /// What became of a rotation.
    pub(crate) fn opaque_rotation(
        &self,
        brought: &Brought,
        answered: Answered<RotateOutcome>,
    ) -> Result<OpaqueRotation, Error> {
        let Answered { position, outcome } = answered;
        let Brought { token, successor, client, losers } = brought;
        let issued = |token: &OpaqueToken, issued| self.issued(token, issued, position);
        Ok(match outcome {
            Ok(RotateOutcome::Rotated(it)) => OpaqueRotation::Rotated(issued(successor, &it)?),
            Ok(RotateOutcome::Adopted(it)) if *losers == Losers::Adopt => {
                OpaqueRotation::Adopted(issued(successor, &it)?)
            }
            Ok(RotateOutcome::Adopted(_)) => {
                return Err(Error::protocol("a successor was adopted, and nobody asked for it"));
            }
            Ok(RotateOutcome::Replayed { token: it, seal }) => {
                let opened = seal::open_text(self.text_place(token, client), &seal)?;
                let opened = OpaqueToken::new(&opened)
                    .map_err(|error| Error::protocol(error.to_string()))?;
                // What an earlier attempt of this very call did is this call's own rotation.
                let own = opened == *successor;
                let issued = issued(&opened, &it)?;
                if own { OpaqueRotation::Rotated(issued) } else { OpaqueRotation::Replayed(issued) }
            }
            Ok(RotateOutcome::Superseded { head }) => OpaqueRotation::Superseded { head, position },
            Err(refusal) => OpaqueRotation::Refused(refusal),
        })
    }

    /// Shows the family of a token, the newest or an old one: dead or alive, never a verdict on the
    /// token.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NotFound` or `TenantUnknown`, and whatever any read may fail with.
    pub async fn get_family_of(
        &self,
        token: &impl Token,
        consistency: Consistency,
        deadline: impl Into<Deadline>,
    ) -> Result<Read<FamilyView>, Error> {
        let (token, mac) = token.shown();
        let query = Query::FamilyOf { token, mac };
        let response = self.read(query, consistency, deadline.into()).await?;
        let seen = decoded!(response, GetFamily, answer::get_family)?;
        let value = seen.outcome.map_err(Error::Refused)?;
        Ok(Read { value, position: seen.position, age: seen.age })
    }

    fn text_place<'a>(
        &'a self,
        token: &'a OpaqueToken,
        client: &'a ClientId,
    ) -> seal::TextPlace<'a> {
        let presented = token.expose().as_bytes();
        seal::TextPlace { tenant: self.id(), presented, digest: token.digest(), client }
    }

    fn issued(
        &self,
        token: &OpaqueToken,
        issued: &answer::Issued,
        position: Position,
    ) -> Result<Issued<OpaqueToken>, Error> {
        if issued.key.is_some() {
            return Err(Error::protocol("an opaque token has a mac"));
        }
        Ok(Issued::of(token.clone(), issued, position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_wrong_length_is_none_and_not_repeated() {
        for (len, good) in [(0, false), (21, false), (22, true), (4_096, true), (4_097, false)] {
            let text = "x".repeat(len);
            let made = OpaqueToken::new(&text);
            assert_eq!(made.is_ok(), good, "{len}");
            assert!(made.err().is_none_or(|error| !error.to_string().contains("xx")));
        }
        let native = format!("{PREFIX}{}", "x".repeat(40));
        assert_eq!(OpaqueToken::new(&native), Err(OpaqueTokenError::Native));
    }

    #[test]
    fn debugging_shows_nothing_of_it_and_equal_texts_are_equal() {
        let token = OpaqueToken::new("secret-secret-secret-secret").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(token, OpaqueToken::new("secret-secret-secret-secret").unwrap());
        assert_ne!(token, OpaqueToken::new("secret-secret-secret-secrex").unwrap());
    }
}
