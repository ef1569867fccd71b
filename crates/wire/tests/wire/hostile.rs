//! Whatever bytes come in: an error or a request, never a panic.

use bytes::Bytes;
use jeton_core::command::KeyMaterial;
use jeton_wire::pb::{admin_v1, v1};
use jeton_wire::{Failure, admin, answer, codec, decode, encode};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use tonic::{Code, Status};

use crate::samples;

/// Decodes as a server would.
fn serve(bytes: &[u8]) -> usize {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(message) = codec::decode_message::<v1::PipelineRequest>(bytes.clone()) else {
        return 0;
    };
    let operations = message.operations.len();
    for operation in message.operations {
        let _ = decode::deadline(operation.deadline_ms);
        if let Err(violation) = decode::operation(operation.request) {
            let failure = Failure::from(violation);
            assert_eq!(failure.code, Code::InvalidArgument);
            assert_eq!(Failure::from(Status::from(failure.clone())), failure);
        }
    }
    operations
}

/// Decodes as a client would.
fn receive(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(message) = codec::decode_message::<v1::PipelineResponse>(bytes) {
        for result in message.results {
            let _ = answer::operation(result);
        }
    }
}

fn administer(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(r) = codec::decode_message::<admin_v1::CreateTenantRequest>(bytes.clone()) {
        let _ = admin::create_tenant(&r, KeyMaterial([0; 32]));
    }
    if let Ok(r) = codec::decode_message::<admin_v1::SetTenantRequest>(bytes.clone()) {
        let _ = admin::set_tenant(&r);
    }
    if let Ok(r) = codec::decode_message::<admin_v1::MarkKeyCompromisedRequest>(bytes.clone()) {
        let _ = admin::mark_key_compromised(&r);
    }
    if let Ok(r) = codec::decode_message::<admin_v1::GetTenantResponse>(bytes) {
        let _ = r.tenant.map(|tenant| admin::tenant_view(&tenant));
    }
}

fn everything() -> Vec<jeton_wire::decode::Asked> {
    samples::all().into_iter().chain([crate::transactions::all()]).collect()
}

/// A good message with all operations in it.
fn good() -> Vec<u8> {
    let operations = everything()
        .iter()
        .enumerate()
        .map(|(tag, asked)| v1::Operation {
            tag: tag as u64,
            deadline_ms: 1_000,
            request: encode::operation(asked),
        })
        .collect();
    v1::PipelineRequest { operations }.encode_to_vec()
}

#[test]
fn every_cut_of_a_good_message_is_judged() {
    let good = good();
    for len in 0..good.len() {
        serve(&good[..len]);
    }
    assert_eq!(serve(&good), everything().len());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..512)) {
        serve(&bytes);
        receive(&bytes);
        administer(&bytes);
    }

    #[test]
    fn good_messages_with_bytes_changed_never_panic(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = good();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        serve(&bytes);
        receive(&bytes);
    }

    #[test]
    fn statuses_with_any_details_never_panic(
        details in vec(any::<u8>(), 0..256),
        code in 0..17i32,
    ) {
        let status = Status::with_details(Code::from_i32(code), "m", Bytes::from(details));
        prop_assert_eq!(Failure::from(&status).code, status.code());
    }
}
