//! A plain layout, written and read without serde: for what every rotation writes and reads on
//! every node.
//!
//! ```text
//!   numbers      8, 4 or 2 bytes, little endian
//!   digests, ids as they are
//!   lengths      LEB128: 7 bits a byte, the lowest first
//!   text, bytes  length, then the bytes
//!   options      0, or 1 and the value
//!   lists        length, then the values
//!   structures   their fields in order
//! ```
//!
//! There is one list of fields for both directions ([`plain!`]), so they can't disagree. Reading
//! checks what serde's way checks: identifiers, UTF-8, lengths against what is left.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ids::{
    ClientId, DeviceId, DurationMs, FamilyId, Generation, Kid, Position, RequestId, SecretDigest,
    SessionId, SubjectId, UnixMs,
};

/// Why bytes are not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem}, {left} bytes before the end")]
pub struct PlainError {
    problem: &'static str,
    left: usize,
}

/// What has yet to be read.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn wrong(&self, problem: &'static str) -> PlainError {
        PlainError { problem, left: self.0.len() }
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], PlainError> {
        let (bytes, left) = self.0.split_at_checked(len).ok_or(self.wrong("it is cut off"))?;
        self.0 = left;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PlainError> {
        let (bytes, left) = self.0.split_first_chunk().ok_or(self.wrong("it is cut off"))?;
        self.0 = left;
        Ok(*bytes)
    }

    fn len(&mut self) -> Result<usize, PlainError> {
        let mut len = 0;
        for shift in (0..u32::BITS).step_by(7) {
            let [byte] = self.array()?;
            len |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // Nothing here is longer than memory: it is compared with what is left.
                return Ok(len as usize);
            }
        }
        Err(self.wrong("a length without an end"))
    }

    fn text(&mut self) -> Result<&'a str, PlainError> {
        let len = self.len()?;
        let bytes = self.bytes(len)?;
        std::str::from_utf8(bytes).map_err(|_| self.wrong("text that is not UTF-8"))
    }
}

fn write_len(mut len: usize, to: &mut Vec<u8>) {
    while len >= 0x80 {
        to.push(len as u8 | 0x80);
        len >>= 7;
    }
    to.push(len as u8);
}

fn write_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    write_len(bytes.len(), to);
    to.extend_from_slice(bytes);
}

/// A value with a plain layout.
pub(crate) trait Plain: Sized {
    fn write(&self, to: &mut Vec<u8>);
    fn read(from: &mut Reader<'_>) -> Result<Self, PlainError>;
}

/// The layout of a structure: these fields, in this order.
macro_rules! plain {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::codec::plain::Plain for $name {
            fn write(&self, to: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::codec::plain::Plain::write($field, to);)*
            }

            fn read(
                from: &mut $crate::codec::plain::Reader<'_>,
            ) -> Result<Self, $crate::codec::plain::PlainError> {
                Ok(Self { $($field: $crate::codec::plain::Plain::read(from)?),* })
            }
        }
    };
}
pub(crate) use plain;

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Plain for $number {
            fn write(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, PlainError> {
                Ok(Self::from_le_bytes(from.array()?))
            }
        }
    )*};
}
numbers!(u16, u32, u64);

macro_rules! wrapped {
    ($($name:ident),*) => {$(
        impl Plain for $name {
            fn write(&self, to: &mut Vec<u8>) {
                self.0.write(to);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, PlainError> {
                Plain::read(from).map(Self)
            }
        }
    )*};
}
wrapped!(Generation, Position, UnixMs, DurationMs, Kid, SecretDigest, RequestId, FamilyId);

macro_rules! names {
    ($($name:ident),*) => {$(
        impl Plain for $name {
            fn write(&self, to: &mut Vec<u8>) {
                write_bytes(self.as_str().as_bytes(), to);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, PlainError> {
                let text = from.text()?;
                Self::new(text).map_err(|_| from.wrong("text that is no identifier"))
            }
        }
    )*};
}
names!(SubjectId, ClientId, DeviceId, SessionId);

impl<const N: usize> Plain for [u8; N] {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, PlainError> {
        from.array()
    }
}

impl Plain for Arc<str> {
    fn write(&self, to: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, PlainError> {
        from.text().map(Arc::from)
    }
}

impl Plain for Bytes {
    fn write(&self, to: &mut Vec<u8>) {
        write_bytes(self, to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, PlainError> {
        let len = from.len()?;
        from.bytes(len).map(Bytes::copy_from_slice)
    }
}

impl<T: Plain> Plain for Option<T> {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, PlainError> {
        match from.array()? {
            [0] => Ok(None),
            [1] => T::read(from).map(Some),
            _ => Err(from.wrong("an option that is neither there nor not")),
        }
    }
}

impl<T: Plain> Plain for Vec<T> {
    fn write(&self, to: &mut Vec<u8>) {
        write_len(self.len(), to);
        for value in self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, PlainError> {
        let len = from.len()?;
        // Each value takes a byte at least; a length that lies allocates little.
        if len > from.0.len() {
            return Err(from.wrong("it is cut off"));
        }
        let mut values = Self::with_capacity(len.min(64));
        for _ in 0..len {
            values.push(T::read(from)?);
        }
        Ok(values)
    }
}

impl<A: Plain, B: Plain> Plain for (A, B) {
    fn write(&self, to: &mut Vec<u8>) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, PlainError> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

/// What is rarely there, by serde: as a byte string.
macro_rules! rare {
    ($($name:ty),*) => {$(
        impl $crate::codec::plain::Plain for $name {
            fn write(&self, to: &mut Vec<u8>) {
                $crate::codec::plain::write_rare(self, to);
            }

            fn read(
                from: &mut $crate::codec::plain::Reader<'_>,
            ) -> Result<Self, $crate::codec::plain::PlainError> {
                $crate::codec::plain::read_rare(from)
            }
        }
    )*};
}
pub(crate) use rare;

pub(crate) fn write_rare<T: Serialize>(value: &T, to: &mut Vec<u8>) {
    write_bytes(&super::encode(value), to);
}

pub(crate) fn read_rare<T: DeserializeOwned>(from: &mut Reader<'_>) -> Result<T, PlainError> {
    let len = from.len()?;
    let bytes = from.bytes(len)?;
    super::decode(bytes, len).map_err(|_| from.wrong("not a value of this kind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Row {
        at: UnixMs,
        kid: Kid,
        digest: SecretDigest,
        client: ClientId,
        device: Option<DeviceId>,
        attributes: Vec<(Arc<str>, Arc<str>)>,
        payload: Bytes,
    }
    plain!(Row { at, kid, digest, client, device, attributes, payload });

    fn row(payload: usize) -> Row {
        Row {
            at: UnixMs(1_700_000_000_000),
            kid: Kid(3),
            digest: SecretDigest([7; 16]),
            client: ClientId::new("web").unwrap(),
            device: Some(DeviceId::new("größe").unwrap()),
            attributes: vec![("amr".into(), "otp".into()), ("acr".into(), "".into())],
            payload: vec![9; payload].into(),
        }
    }

    fn written(row: &Row) -> Vec<u8> {
        let mut bytes = Vec::new();
        row.write(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        for payload in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
            let bytes = written(&row(payload));
            let mut reader = Reader(&bytes);
            assert_eq!(Row::read(&mut reader).unwrap(), row(payload));
            assert!(reader.0.is_empty());
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_is_refused() {
        let bytes = written(&row(130));
        for len in 0..bytes.len() {
            let error = Row::read(&mut Reader(&bytes[..len])).unwrap_err();
            assert!(error.to_string().starts_with("it is cut off"), "{len}: {error}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_place() {
        let read = |bytes: &[u8]| Option::<ClientId>::read(&mut Reader(bytes));
        let says = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert_eq!(read(&[1, 1, b'a']).unwrap().unwrap().as_str(), "a");
        let neither = "an option that is neither there nor not, 1 bytes before the end";
        assert_eq!(says(&[2, 1]), neither);
        assert_eq!(says(&[1, 1, 0xff]), "text that is not UTF-8, 0 bytes before the end");
        assert_eq!(says(&[1, 1, b'\n']), "text that is no identifier, 0 bytes before the end");
        assert_eq!(says(&[1, 0]), "text that is no identifier, 0 bytes before the end");
        let endless = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(says(&endless), "a length without an end, 1 bytes before the end");
        let huge = Vec::<u64>::read(&mut Reader(&[0xff, 0xff, 0xff, 0x7f, 0, 0]));
        assert_eq!(huge.unwrap_err().to_string(), "it is cut off, 2 bytes before the end");
    }
}
