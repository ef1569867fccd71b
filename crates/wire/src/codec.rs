//! Protobuf over gRPC, with errors that blame the right side.
//!
//! tonic's own codec answers `INTERNAL` for every message that it can't decode, so a caller that
//! sends text which is not UTF-8 is told that the *server* is broken. Here an undecodable request
//! is `INVALID_ARGUMENT` with the message and field that prost names; an undecodable response stays
//! `INTERNAL`, since there the other side is at fault.

use std::marker::PhantomData;

use prost::{Message, Name};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

use crate::failure::{Failure, reason};

/// Encodes `T`, decodes `U`.
#[derive(Debug, Clone)]
pub struct WireCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for WireCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for WireCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = WireEncoder<T>;
    type Decoder = WireDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        WireEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        WireDecoder(PhantomData)
    }
}

/// See [`WireCodec`].
#[derive(Debug)]
pub struct WireEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for WireEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buf).map_err(|error| Status::internal(error.to_string()))
    }
}

/// See [`WireCodec`].
#[derive(Debug)]
pub struct WireDecoder<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for WireDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decode_message(buf).map(Some).map_err(Status::from)
    }
}

/// Decodes one message.
///
/// # Errors
/// [`Failure`] `UNDECODABLE_MESSAGE`: `INVALID_ARGUMENT` for a request, `INTERNAL` for a response.
pub fn decode_message<U: Message + Name + Default>(buf: impl bytes::Buf) -> Result<U, Failure> {
    U::decode(buf).map_err(|error| {
        let code =
            if U::NAME.ends_with("Response") { Code::Internal } else { Code::InvalidArgument };
        let cause = error.to_string();
        // prost's own prefix says nothing that this message doesn't.
        let cause = cause.trim_start_matches("failed to decode Protobuf message: ");
        let mut failure = Failure::new(
            code,
            reason::UNDECODABLE_MESSAGE,
            format!(
                "this is no {} of {}: {cause}; encode it with the .proto files of this version",
                U::NAME,
                U::PACKAGE
            ),
        );
        failure.not_executed = code == Code::InvalidArgument;
        failure
    })
}
