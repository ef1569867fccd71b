//! Generates the peer protocol's types and stubs. protox compiles the schema in Rust: no system
//! `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    let schema = "../../proto/jeton/peer/v1/peer.proto";
    println!("cargo:rerun-if-changed={schema}");
    let descriptors = protox::compile([schema], [root])?;
    tonic_prost_build::configure().bytes(".jeton.peer.v1").compile_fds(descriptors)?;
    Ok(())
}
