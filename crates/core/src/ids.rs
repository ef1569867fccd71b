//! The plain values that everything else is made of: identifiers, positions, instants, durations.
//!
//! Every one is a newtype, so that a generation can't be passed for an index. Text identifiers are
//! shared (`Arc<str>`): cloning one is a reference count.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits;

/// Why a text identifier was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Identifiers name something, so they can't be empty.
    #[error("{what} is empty: give 1 to {} bytes of UTF-8", limits::ID_BYTES_MAX)]
    Empty {
        /// The kind of identifier, for example `subject`.
        what: &'static str,
    },
    /// Longer than [`limits::ID_BYTES_MAX`].
    #[error("{what} has {len} bytes: the limit is {}", limits::ID_BYTES_MAX)]
    TooLong {
        /// The kind of identifier.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// Control characters make log lines and tables ambiguous.
    #[error("{what} holds a control character at byte {at}: remove it")]
    Control {
        /// The kind of identifier.
        what: &'static str,
        /// Offset of the character in bytes.
        at: usize,
    },
    /// Fixed-size identifiers have exactly one length.
    #[error("{what} has {len} bytes: it must have exactly {want}")]
    WrongLength {
        /// The kind of identifier.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The length it must have.
        want: usize,
    },
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Checks and wraps a ", $what, ": 1 to 256 bytes of UTF-8 without")]
            /// control characters.
            ///
            /// # Errors
            /// [`IdError`] says what was wrong.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check_text($what, text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// Checks as [`Self::new`] does: bytes from outside can't make a bad identifier.
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", $what))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }
                from.deserialize_str(Text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", &self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn check_text(what: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > limits::ID_BYTES_MAX {
        return Err(IdError::TooLong { what, len: text.len() });
    }
    if text.bytes().all(|b| (b' '..0x7f).contains(&b)) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(IdError::Control { what, at }),
        None => Ok(()),
    }
}

text_id!(
    /// A tenant: the unit of isolation. Every key starts with it.
    TenantId, "tenant"
);
text_id!(
    /// The user (`sub`, OpenID Connect Core §2) that a family belongs to.
    SubjectId, "subject"
);
text_id!(
    /// The OAuth client (`client_id`, RFC 6749 §2.2).
    ClientId, "client"
);
text_id!(
    /// The device that a family was issued to, named by the authorization server.
    DeviceId, "device"
);
text_id!(
    /// A single sign-on session at the authorization server (`sid`, OpenID Connect Front-Channel
    /// Logout §3).
    SessionId, "session"
);
text_id!(
    /// A lock: whatever the callers agree on.
    LockName, "lock"
);
text_id!(
    /// Who holds a lock, or waits for it. Two that share a name are told apart by their fences.
    HolderId, "holder"
);

text_id!(
    /// An access token, by its `jti` claim (RFC 7519 §4.1.7).
    Jti, "jti"
);

/// Reads exactly `N` bytes, raw or as hexadecimal. One copy, where the derived code takes a step
/// for each byte.
struct FixedBytes<const N: usize>;

impl<const N: usize> de::Visitor<'_> for FixedBytes<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<[u8; N], E> {
        <[u8; N]>::try_from(bytes).map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<[u8; N], E> {
        let mut bytes = [0; N];
        if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(E::invalid_length(text.len(), &self));
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(E::custom)?;
        }
        Ok(bytes)
    }
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            #[doc = concat!("Wraps a ", $what, " given as a byte string.")]
            ///
            /// # Errors
            /// [`IdError::WrongLength`] unless it has exactly the right length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                <[u8; $len]>::try_from(bytes).map(Self).map_err(|_| IdError::WrongLength {
                    what: $what,
                    len: bytes.len(),
                    want: $len,
                })
            }
        }

        impl Serialize for $name {
            /// Raw bytes; hexadecimal where people read.
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() {
                    return to.collect_str(self);
                }
                to.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    return from.deserialize_str(FixedBytes::<$len>).map(Self);
                }
                from.deserialize_bytes(FixedBytes::<$len>).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    };
}

macro_rules! debug_as_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

byte_id!(
    /// A family of refresh tokens: 16 bytes chosen by the caller, never reused.
    FamilyId, 16, "family id"
);
byte_id!(
    /// The name of a mutation: 16 random bytes, the same on every retry of it.
    RequestId, 16, "request id"
);
byte_id!(
    /// Names one cluster for its whole life; a restore makes another one.
    ClusterId, 16, "cluster id"
);
debug_as_display!(FamilyId, RequestId, ClusterId);

text_id!(
    /// A kind of records: authorization codes, pushed requests, clients, …
    RecordKind, "record kind"
);
text_id!(
    /// Who issued a proof (`iss`, RFC 7519 §4.1.1).
    IssuerId, "issuer"
);

/// Digest of what names a record, or of what is compared: first 16 bytes of a SHA-256, or of an
/// HMAC if the plain text could be guessed. It can't be printed: a digest of a code finds it.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub struct KeyDigest(pub [u8; 16]);

/// First 16 bytes of the SHA-256 of a token's secret. It can't be printed: logs never hold one.
#[derive(Clone, Copy, Eq)]
pub struct SecretDigest(pub [u8; 16]);

/// Message authentication code over a native token, by its tenant's key. Not printable either.
#[derive(Clone, Copy, Eq)]
pub struct Mac(pub [u8; 16]);

macro_rules! hidden_bytes {
    ($($name:ident),*) => {$(
        impl PartialEq for $name {
            /// Takes the same time whatever the bytes are.
            fn eq(&self, other: &Self) -> bool {
                subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_bytes(FixedBytes::<16>).map(Self)
            }
        }

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}
hidden_bytes!(SecretDigest, Mac, KeyDigest);

/// Number of a tenant's key. Keys are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kid(pub u16);

/// Which token of a family: 0 is the first, each rotation adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation that a rotation of this one makes.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Counters in rows take the same space whatever their value: a family that rotates does not grow.
macro_rules! fixed_counter {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            /// Eight bytes, little endian; a string where people read (JSON numbers lose digits).
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() {
                    return to.collect_str(&self.0);
                }
                to.serialize_bytes(&self.0.to_le_bytes())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    let text = String::deserialize(from)?;
                    return text.parse().map(Self).map_err(de::Error::custom);
                }
                let bytes = from.deserialize_bytes(FixedBytes::<8>)?;
                Ok(Self(u64::from_le_bytes(bytes)))
            }
        }
    )*};
}
fixed_counter!(Generation, Position, Fence);

/// Index of an entry in the Raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogIndex(pub u64);

/// Place of a command in the order of everything that ever happened in the cluster:
/// `(base + log index) × 2¹¹ + place in the entry`. In JSON it is written as a string.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

impl Position {
    /// Bits that hold the place in the entry.
    pub const PLACE_BITS: u32 = 11;

    /// The position of command number `place` of the entry at `index`.
    #[must_use]
    pub fn new(base: u64, index: LogIndex, place: usize) -> Self {
        debug_assert!(place < 1 << Self::PLACE_BITS);
        Self((base.saturating_add(index.0) << Self::PLACE_BITS) | place as u64)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
debug_as_display!(Position);

/// Number of a grant of a lock: the position of the command that granted it. Every later grant of
/// the same lock has a larger one, for ever, also after a restore. What the lock guards refuses
/// whoever comes with a smaller fence than it has seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Fence(pub u64);

impl From<Position> for Fence {
    fn from(position: Position) -> Self {
        Self(position.0)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
debug_as_display!(Fence);

/// An instant of wall time in Unix milliseconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct UnixMs(pub u64);

/// A length of time in milliseconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct DurationMs(pub u64);

impl DurationMs {
    /// That many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000)
    }
}

/// An instant of lease time: milliseconds of the leaders' monotonic clocks since the beginning of
/// the cluster. Never faster than real time, and standing still without a leader.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct LeaseMs(pub u64);

impl LeaseMs {
    /// This instant moved forward; stops at the end of time.
    #[must_use]
    pub fn plus(self, by: DurationMs) -> Self {
        Self(self.0.saturating_add(by.0))
    }

    /// Time since `earlier`, zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}

impl UnixMs {
    /// This instant moved forward; stops at the end of time.
    #[must_use]
    pub fn plus(self, by: DurationMs) -> Self {
        Self(self.0.saturating_add(by.0))
    }

    /// Whether `span` has passed since this instant, exactly `span` included.
    #[must_use]
    pub fn passed(self, span: DurationMs, now: Self) -> bool {
        now >= self.plus(span)
    }

    /// This instant moved back; stops at 1970.
    #[must_use]
    pub fn minus(self, by: DurationMs) -> Self {
        Self(self.0.saturating_sub(by.0))
    }

    /// Time since `earlier`, zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}
