//! Compiles the protocol files with a pure-Rust compiler, so that no `protoc` needs to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "drover/v1/common.proto",
    "drover/v1/declaration.proto",
    "drover/v1/workflow.proto",
    "drover/v1/definition.proto",
    "drover/v1/fleet.proto",
    "drover/v1/admin.proto",
    "drover/v1/worker.proto",
    "world/v1/world.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
