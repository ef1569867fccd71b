//! Compiles the protobuf files in `proto/` with protox: no `protoc` is needed.

use std::path::PathBuf;

use prost::Message as _;

/// Messages that hold digests, macs, seals or payloads: `redact.rs` prints them without.
const HIDDEN: &[&str] = &[
    "jeton.v1.PresentedToken",
    "jeton.v1.Successor",
    "jeton.v1.IssuedToken",
    "jeton.v1.ReplayedToken",
    "jeton.v1.CreateFamilyRequest",
    "jeton.v1.UpdateFamilyRequest",
    "jeton.v1.Family",
    "jeton.v1.CreateSessionRequest",
    "jeton.v1.TouchSessionRequest",
    "jeton.v1.Session",
    "jeton.v1.PublishRequest",
    "jeton.v1.FlightResult",
    "jeton.v1.Precondition",
    "jeton.v1.Consumption",
    "jeton.v1.PutRecordRequest",
    "jeton.v1.Record",
    "jeton.v1.GetRecordRequest",
    "jeton.v1.FindRecordsRequest",
    "jeton.v1.RecordPage",
    "jeton.v1.LookUpRecordRequest",
    "jeton.v1.DeleteRecordRequest",
    "jeton.v1.DeleteRecordsRequest",
    "jeton.v1.ConsumedRecord",
    "jeton.v1.SeenOnceRequest",
    "jeton.v1.RecordKey",
    "jeton.v1.RecordAtVersion",
];

/// What would make every answer as large as the largest: those to rotations are moved often.
const BOXED: &[&str] = &[
    ".jeton.v1.ValidateResponse.outcome.active",
    ".jeton.v1.GetFamilyResponse.outcome.family",
    ".jeton.v1.GetSessionResponse.outcome.session",
    ".jeton.v1.GetRecordResponse.outcome.record",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = [
        "jeton/v1/types.proto",
        "jeton/v1/token.proto",
        "jeton/v1/access.proto",
        "jeton/v1/record.proto",
        "jeton/v1/revocation.proto",
        "jeton/v1/session.proto",
        "jeton/v1/lock.proto",
        "jeton/v1/transaction.proto",
        "jeton/v1/pipeline.proto",
        "jeton/v1/watch.proto",
        "jeton/admin/v1/admin.proto",
        "google/rpc/details.proto",
    ];
    let descriptors = protox::compile(files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    #[allow(clippy::disallowed_methods)] // a build has no seams
    std::fs::write(out, descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    for large in BOXED {
        config.boxed(large);
    }
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .bytes(".")
        .btree_map(".")
        .skip_debug(HIDDEN.iter().copied())
        .codec_path("crate::codec::WireCodec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
