//! Makes the stubs and the descriptor set out of `proto/`, without protoc.

use std::{env, error::Error, fs, path::PathBuf};

const PROTOS: [&str; 2] = ["remex/v1/exec.proto", "remex/v1/echo.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    // Source info carries the comments that `grpcurl describe` shows.
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(PROTOS)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // Encoded by protox, which keeps options that prost-types does not know.
    fs::write(
        out.join("descriptor_set.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .boxed(".remex.v1.InteractRequest.message.start")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
