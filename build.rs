//! Makes the stubs and the descriptor set out of `proto/`, without protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost_types::FileDescriptorSet;

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
    let messages = compiler.file_descriptor_set();
    let mut served = messages.clone();
    answer_as_stream(&mut served, "Run").ok_or("there is no Run")?;
    let stubs = tonic_prost_build::configure().build_transport(false);
    let server = out.join("server");
    fs::create_dir_all(&server)?;
    stubs
        .clone()
        .build_client(false)
        .extern_path(".remex.v1", "crate::v1")
        .out_dir(server)
        .compile_fds(served)?;
    stubs
        .build_server(false)
        .bytes(".")
        .boxed(".remex.v1.InteractRequest.message.start")
        .compile_fds(messages)?;
    Ok(())
}

/// Has servers answer `call` with a stream, which on the wire is the same if one message comes. gRPC libraries and proxies that
/// were told to retry do so until they have seen a response's headers; those of a stream leave before its messages, so
/// that a command is not run twice because a connection was lost under it.
fn answer_as_stream(files: &mut FileDescriptorSet, call: &str) -> Option<()> {
    let services = files.file.iter_mut().flat_map(|file| &mut file.service);
    let mut methods = services.flat_map(|service| &mut service.method);
    let method = methods.find(|method| method.name() == call)?;
    method.server_streaming = Some(true);
    Some(())
}
